"""Runs as git keeps them: DVC experiments and commits, with their parameters, lock and figures; no data needed.

A DVC experiment is a git commit under `refs/exps/` whose tree holds params.yaml, dvc.lock and metrics/. Git's objects
are read as they are: `dvc.api.exp_show` loads the pipeline of every revision, which takes 19 s where this takes 0.6 s
(50 experiments; benchmarks/experiments.py), and shows a failed experiment with the figures of the commit it came from.
"""

import functools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from text2sql.base.errors import UserError
from text2sql.base.text import printable
from text2sql.experiments.git import DONE, FAILED, branches, experiment_refs, git, head_revision, read_objects, resolve

READ = ("params.yaml", "dvc.lock", "metrics/summary.json")
EMPTY, STALE, BROKEN = "no metrics", "not run to the end", "unreadable"


@dataclass(frozen=True)
class Run:
    """One experiment or commit. `params` and `summary` are flat (dotted keys); `summary` is empty unless DONE."""

    name: str
    revision: str
    baseline: str | None  # the commit that an experiment started from
    state: str
    problem: str  # what is wrong, where the state is STALE or BROKEN
    params: dict[str, Any]
    stages: dict[str, dict]  # of dvc.lock
    summary: dict[str, Any]


def every_run() -> list[Run]:
    """All experiments under the commits that they started from: the current commit, its experiments by EX, best
    first, then the other commits, the latest first, with theirs."""
    head, named = head_revision(), branches()
    found = experiment_refs()
    others = {baseline for _, _, baseline, _ in found} - {head}
    ordered = [head, *(git("rev-list", "--no-walk", *sorted(others)).split() if others else [])]
    commits = [(named.get(commit, commit[:7]), commit, None, DONE) for commit in ordered]
    runs = load_runs([*commits, *found])
    children = sorted(runs[len(commits) :], key=lambda run: (-run.summary.get("ex.ft", -1), run.name))
    return [
        run
        for commit in runs[: len(commits)]
        for run in (commit, *(c for c in children if c.baseline == commit.revision))
    ]


def load_run(name: str) -> Run:
    """The run of an experiment's name or a git revision, in whatever state it is. Raises UserError from `resolve`."""
    name, revision = resolve(name)
    state = next((state for _, found, _, state in experiment_refs() if found == revision), DONE)
    return load_runs([(name, revision, None, state)])[0]


def load_runs(entries: Sequence[tuple[str, str, str | None, str]]) -> list[Run]:
    """The runs of (name, revision, baseline, state), all read by one git process."""
    contents = read_objects([f"{revision}:./{path}" for _, revision, _, _ in entries for path in READ])
    return [
        to_run(*entry, *contents[3 * place : 3 * place + 3])  # type: ignore[misc]
        for place, entry in enumerate(entries)
    ]


def to_run(
    name: str,
    revision: str,
    baseline: str | None,
    state: str,
    params: bytes | None,
    lock: bytes | None,
    summary: bytes | None,
) -> Run:
    """A run from what its commit holds; its figures count only where they belong to its parameters."""
    values: dict = {}
    stages: dict = {}
    figures: dict = {}
    problem = ""
    try:
        values = parse_yaml(params) or {}
        stages = (parse_yaml(lock) or {}).get("stages", {})
        figures = json.loads(summary) if summary else {}
    except ValueError as error:
        state, problem = BROKEN, " ".join(str(error).split())
    if state == DONE:
        problem = disagreement(values, stages)
        state = EMPTY if not figures else STALE if problem else DONE
    return Run(name, revision, baseline, state, problem, flat(values), stages, flat(figures) if state == DONE else {})


@functools.lru_cache
def yaml_loader() -> type:
    """PyYAML's fast loader, which reads 1e-05 as a number as DVC does (YAML 1.2)."""
    import yaml

    class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
        pass

    number = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$")
    Loader.add_implicit_resolver("tag:yaml.org,2002:float", number, list("-+0123456789"))
    return Loader


def parse_yaml(text: bytes | None) -> Any:
    """A YAML document; None where there is none. Raises ValueError when it is broken."""
    import yaml

    try:
        return yaml.load(text or b"", Loader=yaml_loader())
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


def flat(values: Mapping, prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, with dotted keys."""
    items: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            items |= flat(value, f"{prefix}{key}.")
        else:
            items[f"{prefix}{key}"] = value
    return items


def disagreement(params: Mapping, stages: Mapping[str, Mapping]) -> str:
    """Where params.yaml and dvc.lock of one commit are not of one run: the first key or stage; "" when they agree."""
    given = flat(params)
    for name, stage in stages.items():
        for section, locked in stage.get("params", {}).get("params.yaml", {}).items():
            locked = flat({section: locked})
            now = {key: value for key, value in given.items() if key == section or key.startswith(f"{section}.")}
            for key in sorted(locked.keys() | now.keys()):
                if key not in now or key not in locked or now[key] != locked[key]:
                    return f"{key} is {now.get(key)} in params.yaml, {locked.get(key)} in dvc.lock (stage {name})"
    made = {out["path"]: out.get("md5") for stage in stages.values() for out in stage.get("outs", [])}
    for name, stage in stages.items():
        for dep in stage.get("deps", []):
            if dep["path"] in made and made[dep["path"]] != dep.get("md5"):
                return f"stage {name} has not run on the present {dep['path']}"
    return ""


def require_figures(run: Run) -> Run:
    """The run, if it has figures. Raises UserError saying why not."""
    if run.state != DONE:
        problem = f" ({printable(run.problem)})" if run.problem else ""
        todo = (
            "`dvc queue logs` says why"
            if run.state == FAILED
            else "run it with `dvc exp run`, or `dvc repro` and a commit"
        )
        raise UserError(f"{printable(run.name)}: {run.state}{problem}; {todo}")
    return run


def changed_params(run: Run, reference: Run) -> dict[str, tuple[Any, Any]]:
    """Keys whose values differ, as (reference's, run's); None for a key that one of them lacks."""
    keys = sorted(run.params.keys() | reference.params.keys())
    pairs = {key: (reference.params.get(key), run.params.get(key)) for key in keys}
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}


def own_changes(run: Run, reference: Run) -> dict[str, Any]:
    """Values of a run that are neither the reference's nor, where its preset is another, what that preset says."""
    name = run.params.get("preset")
    recipe = preset_values(run.baseline or run.revision, str(name)) if name != reference.params.get("preset") else {}
    expected = replace(reference, params=reference.params | recipe | {"preset": name})
    return {key: value for key, (_, value) in changed_params(run, expected).items()}


@functools.lru_cache
def preset_values(revision: str, name: str) -> dict[str, Any]:
    """The flat values of a recipe at a commit: the defaults, overridden by each preset in its name (`file+smoke`).

    None where there is no such file, or a broken one.
    """
    texts = read_objects([f"{revision}:./presets/{one}.yaml" for one in ("quickstart", *name.split("+"))])
    try:
        layers = [flat(parse_yaml(text) or {}) for text in texts]
    except (ValueError, AttributeError):
        return {}
    return {} if None in texts else {key: value for layer in layers for key, value in layer.items()}


def checksum(run: Run, path: str) -> str | None:
    """The MD5 sum that dvc.lock holds for a path that a stage reads or writes."""
    for stage in run.stages.values():
        for entry in (*stage.get("deps", []), *stage.get("outs", [])):
            if entry["path"] == path:
                return entry.get("md5")
    return None
