"""Runs as git keeps them: DVC experiments and commits, with their parameters, lock and figures; no data needed.

A DVC experiment is a git commit under `refs/exps/` whose tree holds params.yaml, dvc.lock and metrics/. Git's objects
are read as they are: `dvc.api.exp_show` loads the pipeline of every revision, which takes 19 s where this takes 1.3 s
(50 experiments; benchmarks/experiments.py), and shows a failed experiment with the figures of the commit it came from.
"""

import contextlib
import functools
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import yaml

from text2sql.base.errors import UserError
from text2sql.base.text import one_line, printable
from text2sql.dataset.parts import Part
from text2sql.experiments import lock
from text2sql.experiments.git import (
    DONE,
    FAILED,
    branches,
    experiment_refs,
    git,
    head_revision,
    read_objects,
    resolve,
    tree,
)

READ = ("params.yaml", "dvc.yaml", "dvc.lock", "metrics/summary.json", "metrics/comparison.json")
EMPTY, STALE, BROKEN = "no metrics", "not run to the end", "unreadable"
EVALUATION = "data/selected/eval.parquet"
SOURCES = ("text2sql", "stages", "prompts", "configs")


@dataclass(frozen=True)
class Run:
    """One experiment or commit. `params` and `summary` are flat (dotted keys); `summary` is empty unless DONE."""

    name: str
    revision: str
    baseline: str | None  # the commit that an experiment started from
    state: str
    problem: str  # what is wrong, where the state is STALE or BROKEN
    params: dict[str, Any]
    pipeline: dict[str, Any]  # the stages as dvc.yaml defines them
    stages: dict[str, dict]  # of dvc.lock
    files: dict[str, str]  # MD5 sums of what the commit itself holds, by path, and of what its .dvc files stand for
    summary: dict[str, Any]
    comparison: dict[str, Any]  # metrics/comparison.json, where the state is DONE

    @property
    def arm(self) -> str:
        """The headline's arm: the trained one that the gain is of."""
        return self.comparison.get("arm", "finetuned")

    @property
    def over(self) -> str:
        """The untrained arm that the gain is over."""
        return self.comparison.get("over", "base")

    @property
    def arms(self) -> list[str]:
        """All arms of the run, in its order."""
        return list(self.comparison.get("kinds", ("base", "finetuned")))

    @property
    def ex(self) -> float | None:
        """Execution accuracy of the headline's arm on the test part; None for a run without figures."""
        return self.figures().get(f"ex.{self.arm}")

    @property
    def ranked_on(self) -> Part:
        """The part of the evaluation that runs are ranked on: the tuning part where there is one."""
        return "tuning" if "tuning.n" in self.summary else "test"

    def figures(self, part: Part = "test") -> dict[str, Any]:
        """The figures of one part, as `summary` names those of the test part."""
        if part == "test":
            return self.summary
        return {key[len(part) + 1 :]: value for key, value in self.summary.items() if key.startswith(f"{part}.")}

    def best_untrained(self, part: Part = "test") -> str:
        """The untrained arm that a part's gain is over."""
        return self.figures(part).get("ex.over", self.over)

    @functools.cached_property
    def locked(self) -> dict[str, str | None]:
        """The MD5 sums that dvc.lock holds, by path."""
        return lock.checksums(self.stages)

    @functools.cached_property
    def known(self) -> dict[str, str]:
        """The MD5 sums of the files that the commit holds, and of the outputs that its dvc.lock records."""
        return {entry["path"]: str(entry.get("md5")) for _, entry in lock.entries(self.stages, "outs")} | self.files

    @functools.cached_property
    def folders(self) -> dict[str, dict[str, str]]:
        """Of `known` what is inside each folder."""
        found: dict[str, dict[str, str]] = {}
        for path, md5 in self.known.items():
            parent = path.rpartition("/")[0]
            while parent:
                found.setdefault(parent, {})[path] = md5
                parent = parent.rpartition("/")[0]
        return found


def every_run() -> list[Run]:
    """All experiments under the commits that they started from: the current commit, its experiments by EX, best
    first, then the other commits, the latest first, with theirs."""
    head, named = head_revision(), branches()
    found = experiment_refs()
    others = {baseline for _, _, baseline, _ in found} - {head}
    ordered = [head, *(git("rev-list", "--no-walk", *sorted(others)).split() if others else [])]
    commits = [(named.get(commit, commit[:7]), commit, None, DONE) for commit in ordered]
    runs = load_runs([*commits, *found])
    children = sorted(runs[len(commits) :], key=lambda run: (-rank_ex(run), run.name))
    return [
        run
        for commit in runs[: len(commits)]
        for run in (commit, *(c for c in children if c.baseline == commit.revision))
    ]


def rank_ex(run: Run) -> float:
    """Execution accuracy on the part that the run is ranked on; -1 for a run without figures."""
    return run.figures(run.ranked_on).get(f"ex.{run.arm}", -1.0)


def named_runs(*names: str) -> list[Run]:
    """The runs of experiments' names or git revisions, in whatever state they are. Raises UserError from `resolve`."""
    states = {revision: state for _, revision, _, state in experiment_refs()}
    found = [resolve(name) for name in names]
    return load_runs([(name, revision, None, states.get(revision, DONE)) for name, revision in found])


def load_runs(entries: Sequence[tuple[str, str, str | None, str]]) -> list[Run]:
    """The runs of (name, revision, baseline, state), in three git processes and one more a run."""
    revisions = [revision for _, revision, _, _ in entries]
    contents = read_objects([f"{revision}:./{path}" for revision in revisions for path in READ])
    read = [contents[place : place + len(READ)] for place in range(0, len(contents), len(READ))]
    files = committed_files(revisions, {top for texts in read for top in top_folders(texts[2])})
    return [to_run(*entry, texts, files[entry[1]]) for entry, texts in zip(entries, read, strict=True)]


def top_folders(text: bytes | None) -> set[str]:
    """The folders, or files, of the project in which a dvc.lock names anything; none where it is missing or broken."""
    try:
        return {path.partition("/")[0] for path in lock.checksums(lock.read_stages(parse_yaml(text)))}
    except ValueError:
        return set()


def committed_files(revisions: Iterable[str], tops: set[str]) -> dict[str, dict[str, str]]:
    """For each commit the MD5 sums of the files that it holds in these folders, and of those that .dvc files there
    stand for. Every object is read once, however many commits hold it."""
    trees = {
        revision: {path: name for path, name in tree(revision).items() if path.partition("/")[0] in tops}
        for revision in dict.fromkeys(revisions)
    }
    names = list({name for files in trees.values() for name in files.values()})
    contents = {name: content or b"" for name, content in zip(names, read_objects(names), strict=True)}
    md5 = {name: lock.file_md5(content) for name, content in contents.items()}
    found = {}
    for revision, files in trees.items():
        found[revision] = {path: md5[name] for path, name in files.items()}
        for path, name in files.items():
            if path.endswith(".dvc"):
                # Of a broken one nothing is known: its folder is among those that cannot be checked.
                with contextlib.suppress(ValueError):
                    found[revision] |= lock.pointed_at(path, parse_yaml(contents[name]))
    return found


def to_run(
    name: str,
    revision: str,
    baseline: str | None,
    state: str,
    texts: Sequence[bytes | None],
    files: dict[str, str],
) -> Run:
    """A run from what its commit holds; its figures count only where they belong to its parameters, code and data.

    texts: the contents of READ. files: of `committed_files`.
    """
    params, pipeline, locked, summary, comparison = texts
    run = Run(name, revision, baseline, state, "", {}, {}, {}, files, {}, {})
    try:
        values = mapping(parse_yaml(params), "params.yaml")
        defined = lock.read_definitions(parse_yaml(pipeline))
        run = replace(run, params=flat(values), pipeline=defined)
        stages = lock.read_stages(parse_yaml(locked)) if locked is not None else {}
        run = replace(run, stages=present_stages(stages, defined, run.params))
        figures = flat(mapping(json.loads(summary or b"{}"), "metrics/summary.json"))
        figures = {re.sub(r"\.ft$", ".finetuned", key): value for key, value in figures.items()}  # 0.2.0 and before
        compared = mapping(json.loads(comparison or b"{}"), "metrics/comparison.json")
    except ValueError as error:
        return replace(run, state=BROKEN, problem=one_line(str(error)))
    if state != DONE:
        return run
    if not figures:
        return replace(run, state=EMPTY)
    done = replace(run, summary=figures, comparison=compared)
    problem = (disagreement(run) or contradiction(done)) if locked is not None else "there is no dvc.lock"
    return replace(run, state=STALE, problem=problem) if problem else done


def mapping(value: Any, path: str) -> dict:
    """A file's values, none where it is empty. Raises ValueError where they are no mapping."""
    if not isinstance(value, dict | None):
        raise ValueError(f"{path} does not hold keys and values")
    return value or {}


def present_stages(stages: dict[str, dict], pipeline: Mapping, params: Mapping[str, Any]) -> dict[str, dict]:
    """The stages of dvc.lock that dvc.yaml still defines: DVC leaves those of a removed arm in the file."""
    if not pipeline:
        return stages
    names = {name: lock.stage_names(name, definition, params) for name, definition in pipeline.items()}
    present = {}
    for name, stage in stages.items():
        family = name.partition("@")[0]
        known = names.get(family, set())
        if known is None or name in known:
            present[name] = stage
    return present


class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """PyYAML's fast loader, which reads 1e-05 as a number as DVC does (YAML 1.2)."""


Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


@functools.lru_cache(maxsize=512)
def parse_yaml(text: bytes | None) -> Any:
    """A YAML document, not to be changed; None where there is none. Raises ValueError when it is broken.

    Runs share most of their files, so each content is parsed once.
    """
    try:
        return yaml.load(text or b"", Loader=Loader)
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


def disagreement(run: Run) -> str:
    """Where a commit's files and its dvc.lock are not of one run: the first key, stage or file; "" when they agree."""
    for name, definition in run.pipeline.items():
        for missing in sorted((lock.stage_names(name, definition, run.params) or set()) - run.stages.keys()):
            return f"stage {missing} has never run"
    for name, stage in run.stages.items():
        for section, locked in stage.get("params", {}).get("params.yaml", {}).items():
            locked = flat({section: locked})
            now = {key: value for key, value in run.params.items() if key == section or key.startswith(f"{section}.")}
            for key in sorted(locked.keys() | now.keys()):
                if key not in now or key not in locked or now[key] != locked[key]:
                    return f"{key} is {now.get(key)} in params.yaml, {locked.get(key)} in dvc.lock (stage {name})"
    made = {entry["path"]: entry.get("md5") for _, entry in lock.entries(run.stages, "outs")}
    for name, dep in lock.entries(run.stages, "deps"):
        if made.setdefault(dep["path"], dep.get("md5")) != dep.get("md5"):
            return f"stage {name} has not run on the present {dep['path']}"
    for path in (path for path in run.locked if is_other(run, path)):
        reader = next((name for name, dep in lock.entries(run.stages, "deps") if dep["path"] == path), None)
        changed = f"was changed and not run (stage {reader})"
        return f"{path} {changed if reader else 'is not the one that dvc.lock records'}"
    for path in uncached_outs(run):
        if not any(lock.touch(path, file) for file in run.files):
            return f"{path} is missing"
    return ""


def contradiction(run: Run) -> str:
    """A gain that nothing can have made: both of its arms wrote the same texts, and EX differs."""
    arms = run.over, run.arm
    outs = {entry["path"]: entry.get("md5") for _, entry in lock.entries(run.stages, "outs")}
    texts = [md5 for arm in arms for path, md5 in outs.items() if re.fullmatch(rf"data/generations/{arm}\.\w+", path)]
    if len(texts) == 2 and texts[0] == texts[1] and run.summary.get(f"ex.{run.over}") != run.ex:
        return f"the arms {run.over} and {run.arm} wrote the same texts, and the figures give them another EX"
    return ""


def is_other(run: Run, path: str) -> bool:
    """Whether a commit holds another content of a path than its dvc.lock records."""
    held = held_md5(run, path)
    if held is None:
        return is_source(path)
    return held != run.locked[path] and not is_partly_held(run, path)


def is_source(path: str) -> bool:
    """Whether git holds all that a stage reads at a path; of `inputs` it may hold a part."""
    return path.partition("/")[0] in SOURCES or path.endswith(".py")


def uncached_outs(run: Run) -> list[str]:
    """The outputs that dvc.yaml leaves to git."""
    return [
        path
        for definition in run.pipeline.values()
        for out in (*(definition.get("outs") or []), *(definition.get("metrics") or []))
        if isinstance(out, Mapping)
        for path, options in out.items()
        if not options.get("cache", True) and "${" not in path
    ]


def held_md5(run: Run, path: str) -> str | None:
    """The checksum of a path as the commit itself has it: of a file or folder in git, with what .dvc files there and
    dvc.lock's outputs stand for. None where nothing of it is known, or where a folder of data is inside."""
    if path in run.files:
        return run.files[path]
    inside = files_inside(run, path)
    if not inside or any(md5.endswith(".dir") for md5 in inside.values()):
        return None
    return lock.folder_md5({name.removeprefix(f"{path}/"): md5 for name, md5 in inside.items()})


def files_inside(run: Run, path: str) -> dict[str, str]:
    """The files of a folder that a commit knows of, by path: its own and the outputs that its dvc.lock records."""
    return run.folders.get(path, {})


def is_partly_held(run: Run, path: str) -> bool:
    """Whether a folder held files, when it was run, that git does not have: then the commit cannot tell of a change."""
    if is_source(path) or path in uncached_outs(run):  # of which git holds everything
        return False
    counts = [entry.get("nfiles", 0) for _, entry in lock.entries(run.stages) if entry["path"] == path]
    return max(counts, default=0) > len(files_inside(run, path)) > 0


def unchecked(run: Run) -> list[str]:
    """Folders of the user's that stages read and that git holds in part only, so that no change there would be seen."""
    made = [entry["path"] for _, entry in lock.entries(run.stages, "outs")]
    read = {entry["path"] for _, entry in lock.entries(run.stages, "deps")}
    return sorted(path for path in read if not any(lock.touch(path, out) for out in made) and is_partly_held(run, path))


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


def questions_of(run: Run) -> tuple[str | None, float]:
    """The evaluation questions of a run and how they are parted; runs of the same ones can be ranked together."""
    return checksum(run, EVALUATION), run.params.get("select.tuning") or 0.0


def same_questions(before: Run, after: Run) -> bool:
    """Whether two runs were evaluated on the same questions, parted alike."""
    return questions_of(before) == questions_of(after)


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
    return run.locked.get(path)
