"""Runs as git keeps them: DVC experiments and commits, with their parameters, lock and figures; no data needed.

A DVC experiment is a git commit under `refs/exps/` whose tree holds params.yaml, dvc.lock and metrics/. Git's objects
are read as they are: `dvc.api.exp_show` loads the pipeline of every revision, which takes 19 s where this takes 0.6 s
(50 experiments; benchmarks/experiments.py), and shows a failed experiment with the figures of the commit it came from.
"""

import functools
import json
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from text2sql.errors import UserError

EVALUATION = "data/selected/eval.parquet"
READ = ("params.yaml", "dvc.lock", "metrics/summary.json")
DONE, FAILED, QUEUED = "done", "failed", "queued or running"
EMPTY, STALE, BROKEN = "no metrics", "not run to the end", "unreadable"
QUEUES = {"refs/exps/celery/failed": FAILED, "refs/exps/celery/stash": QUEUED}


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


# Git


def git(*arguments: str) -> str:
    """What a git command prints. Raises UserError with git's own words when it fails."""
    done = subprocess.run(["git", *arguments], capture_output=True)
    if done.returncode:
        message = " ".join(done.stderr.decode(errors="replace").split()) or "it failed without a word"
        raise UserError(f"git {arguments[0]}: {message}")
    return done.stdout.decode(errors="replace")


def read_objects(names: Sequence[str]) -> list[bytes | None]:
    """The contents of git objects (`REVISION:./PATH`, from the current folder), None for those that are not there."""
    request = "".join(f"{name}\n" for name in names).encode()
    done = subprocess.run(["git", "cat-file", "--batch"], input=request, capture_output=True)
    if done.returncode:
        raise UserError(f"git cat-file: {' '.join(done.stderr.decode(errors='replace').split())}")
    found: list[bytes | None] = []
    place = 0
    for _ in names:
        end = done.stdout.index(b"\n", place)
        header = done.stdout[place:end]
        place = end + 1
        if header.endswith(b" missing"):
            found.append(None)
        else:
            size = int(header.rsplit(b" ", 1)[1])
            found.append(done.stdout[place : place + size])
            place += size + 1
    return found


def experiment_refs() -> list[tuple[str, str, str, str]]:
    """(name, revision, baseline, state) of every experiment: those that ran, and those in DVC's queue."""
    found = []
    queues = []
    for line in git("for-each-ref", "--format=%(objectname) %(refname)", "refs/exps/").splitlines():
        revision, ref = line.split(" ", 1)
        match = re.fullmatch(r"refs/exps/([0-9a-f]{2})/([0-9a-f]{38})/(.+)", ref)
        if match:
            found.append((match[3], revision, match[1] + match[2], DONE))
        elif ref in QUEUES:
            queues.append(ref)
    for ref in queues:
        # The queue is a git stash: an entry of the reflog for each experiment, "dvc-exp:REVISION:BASELINE:NAME".
        for line in reflog(ref):
            revision, message = line.split(" ", 1)
            match = re.search(r"dvc-exp:[0-9a-f]{40}:([0-9a-f]{40}):?([^:]*)", message)
            if match:
                found.append((match[2] or revision[:7], revision, match[1], QUEUES[ref]))
    return found


def reflog(ref: str) -> list[str]:
    """The commit and message of each entry; none where a worker has just emptied the queue."""
    try:
        return git("log", "--walk-reflogs", "--format=%H %gs", ref).splitlines()
    except UserError:
        if git("for-each-ref", ref):
            raise
        return []


def branches() -> dict[str, str]:
    """Commit to the name of a branch that points at it; the current branch wins."""
    named = dict(
        line.split(" ", 1)
        for line in git("for-each-ref", "--format=%(objectname) %(refname:short)", "refs/heads/").splitlines()
    )
    head = head_revision()
    current = git("rev-parse", "--abbrev-ref", "HEAD").strip()
    return named if current == "HEAD" else named | {head: current}


def head_revision() -> str:
    """The commit that is checked out. Raises UserError where there is none."""
    try:
        return git("rev-parse", "--verify", "--quiet", "HEAD").strip()
    except UserError as error:
        raise UserError("no git repository with a commit here; run from the project's folder") from error


def resolve(name: str) -> tuple[str, str]:
    """(name, commit) of an experiment's name or any git revision. Raises UserError when there is none, or several.

    Of experiments of one name, that of the current commit is meant.
    """
    head = head_revision()
    candidates = [(revision, baseline) for found, revision, baseline, _ in experiment_refs() if found == name]
    own = [candidate for candidate in candidates if candidate[1] == head] or candidates
    if len(own) > 1:
        commits = ", ".join(revision[:7] for revision, _ in own)
        raise UserError(f"{plain(name)}: several experiments have this name; give a commit instead: {commits}")
    if own:
        return name, own[0][0]
    try:
        return name, git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}").strip()
    except UserError as error:
        problem = "no experiment and no git revision of this name; `python -m text2sql experiments` lists them"
        raise UserError(f"{plain(name)}: {problem}") from error


# Runs


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
        problem = f" ({plain(run.problem)})" if run.problem else ""
        todo = (
            "`dvc queue logs` says why"
            if run.state == FAILED
            else "run it with `dvc exp run`, or `dvc repro` and a commit"
        )
        raise UserError(f"{plain(run.name)}: {run.state}{problem}; {todo}")
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
    """The flat values of a preset's file as a commit has it; none where it has no such file, or a broken one."""
    (text,) = read_objects([f"{revision}:./stages/presets/{name}.yaml"])
    try:
        return flat(parse_yaml(text) or {})
    except (ValueError, AttributeError):
        return {}


def checksum(run: Run, path: str) -> str | None:
    """The MD5 sum that dvc.lock holds for a path that a stage reads or writes."""
    for stage in run.stages.values():
        for entry in (*stage.get("deps", []), *stage.get("outs", [])):
            if entry["path"] == path:
                return entry.get("md5")
    return None


# Seeds


def recipe(run: Run) -> dict[str, Any]:
    """Everything that decides a run but its `seed`: for each stage the command, the parameters, and the checksums of
    what it reads and writes, without what the seed reaches. Two runs of one recipe differ in nothing but the seed."""
    seeded = seeded_stages(run.stages)
    reached = [out["path"] for name in seeded for out in run.stages[name].get("outs", [])]
    return {
        name: {
            "cmd": stage.get("cmd"),
            "params": [{**values, "seed": None} for values in stage.get("params", {}).values()],
            "deps": {
                dep["path"]: dep.get("md5")
                for dep in stage.get("deps", [])
                if not any(touch(dep["path"], path) for path in reached)
            },
            "outs": {out["path"]: out.get("md5") for out in stage.get("outs", []) if name not in seeded},
        }
        for name, stage in run.stages.items()
    }


def seeded_stages(stages: Mapping[str, Mapping]) -> set[str]:
    """The stages that read the parameter `seed`, and all that stand behind them."""
    seeded: set[str] = {
        name for name, stage in stages.items() if "seed" in stage.get("params", {}).get("params.yaml", {})
    }
    while True:
        outs = [out["path"] for name in seeded for out in stages[name].get("outs", [])]
        behind = {
            name
            for name, stage in stages.items()
            if any(touch(dep["path"], out) for dep in stage.get("deps", []) for out in outs)
        }
        if behind <= seeded:
            return seeded
        seeded |= behind


def touch(path: str, other: str) -> bool:
    """Whether two paths are one, or one is inside the other."""
    return path == other or path.startswith(f"{other}/") or other.startswith(f"{path}/")


def seed_groups(runs: Sequence[Run]) -> list[list[Run]]:
    """The runs that are seeds of one recipe, by recipe, each seed once; recipes with a single seed are left out."""
    groups: list[tuple[dict, dict[Any, Run]]] = []
    for run in runs:
        key = recipe(run)
        seeds = next((seeds for other, seeds in groups if other == key), None)
        if seeds is None:
            seeds = {}
            groups.append((key, seeds))
        seeds.setdefault(run.params.get("seed"), run)
    return [list(seeds.values()) for _, seeds in groups if len(seeds) > 1]


def spread(values: Sequence[float]) -> dict[str, float]:
    """Mean, sample standard deviation (n - 1), least and greatest of at least two values."""
    import statistics

    return {"mean": statistics.fmean(values), "sd": statistics.stdev(values), "min": min(values), "max": max(values)}


# Two runs, paired


def load_arm(run: Run, arm: str = "finetuned") -> dict[str, Any]:
    """The details of one arm, metrics/ARM.json. Raises UserError when the commit holds none, or one of before it
    listed its questions."""
    (text,) = read_objects([f"{run.revision}:./metrics/{arm}.json"])
    try:
        details = json.loads(text or b"{}")
    except ValueError as error:
        raise UserError(f"{plain(run.name)}: metrics/{arm}.json is not valid JSON ({error})") from error
    if "questions" not in details:
        raise UserError(f"{plain(run.name)}: metrics/{arm}.json lists no questions; run `dvc repro report` and commit")
    return details


def load_comparable(before: Run, after: Run) -> tuple[dict[str, Any], dict[str, Any]]:
    """The details of both runs' fine-tuned arms.

    Raises UserError where their verdicts follow different rules, so that no figure of theirs compares.
    """
    one, other = load_arm(before), load_arm(after)
    if one["policy_version"] != other["policy_version"]:
        names = f"{plain(before.name)} and {plain(after.name)}"
        versions = f"{one['policy_version']} and {other['policy_version']}"
        raise UserError(f"{names} were scored under policy versions {versions}; run the older one again")
    return one, other


def paired(before: Run, after: Run, *, common: bool = False) -> dict[str, Any]:
    """The fine-tuned arms of two runs on the same questions: gain with its interval over whole databases, exact
    McNemar p, ids won and lost, and how many questions were left out for want of a verdict in both.

    common: compare the questions that both answered, where they answered different ones. Raises UserError when the
    runs did not answer the same questions, or were scored under different policies.
    """
    from text2sql import stats

    require_figures(before)
    require_figures(after)
    one, other = load_comparable(before, after)
    names = f"{plain(before.name)} and {plain(after.name)}"
    shared = [key for key in one["questions"] if key in other["questions"]]
    different = checksum(before, EVALUATION) != checksum(after, EVALUATION)
    if different or len(shared) != len(one["questions"]) or len(shared) != len(other["questions"]):
        counts = f"{len(one['questions'])} and {len(other['questions'])}"
        if not common:
            raise UserError(
                f"{names} answered different evaluation questions ({counts}); --common compares those of both"
            )
        if checksum(before, "data/raw") != checksum(after, "data/raw"):
            raise UserError(f"{names} come from different data, where the same id is not the same question")
    scored = [key for key in shared if one["questions"][key][1] is not None and other["questions"][key][1] is not None]
    if not scored:
        raise UserError(f"{names} have no question in common that both have a verdict on")
    left, right = ([details["questions"][key][1] for key in scored] for details in (one, other))
    databases = [one["questions"][key][0] for key in scored]
    gain = stats.paired_gain(left, right, databases, seed=0)
    return {
        "before": before.name,
        "after": after.name,
        "n": len(scored),
        "databases": len(set(databases)),
        "ex_before": sum(left) / len(scored),
        "ex_after": sum(right) / len(scored),
        **gain,
        "detectable": not gain["lo"] <= 0 <= gain["hi"],
        "mcnemar_p": stats.mcnemar(left, right),
        **stats.flips(scored, left, right),
        "left_out": len(one["questions"].keys() | other["questions"].keys()) - len(scored),
        "same_databases": checksum(before, "data/databases") == checksum(after, "data/databases"),
        "database_of": dict(zip(scored, databases, strict=True)),
    }


def question_texts(run: Run) -> dict[str, str]:
    """Id to question text, where the evaluation table is in this machine's DVC cache; else nothing."""
    import os

    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    from text2sql.rows import read_table

    md5 = checksum(run, EVALUATION)
    try:
        with Repo() as repo:
            path = repo.cache.local.oid_to_path(md5) if md5 else ""
    except DvcException:
        return {}
    if not os.path.exists(path):
        return {}
    table = read_table(path)
    return dict(zip(table["id"], table["question"], strict=True))


# Text


def plain(text: Any) -> str:
    """Text that cannot steer a terminal: what is not printable is written as its escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in str(text))


def verdict(comparison: Mapping) -> str:
    """What a paired comparison says, in one sentence."""
    lo, hi = f"{100 * comparison['lo']:+.1f}", f"{100 * comparison['hi']:+.1f}"
    flips = f"won {len(comparison['won'])}, lost {len(comparison['lost'])}, McNemar p = {comparison['mcnemar_p']:.2g}"
    said = f"{100 * comparison['gain']:+.1f} points (95 % interval {lo} to {hi}; {flips})"
    return said if comparison["detectable"] else f"{said}: no detectable difference, the interval holds 0"
