"""In what two runs differ, by their dvc.lock as a whole, by the files of their commits, and by where they ran."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from text2sql.base.arms import ADAPTER, BASE_MODEL
from text2sql.base.text import printable
from text2sql.experiments import lock
from text2sql.experiments.git import DONE
from text2sql.experiments.runs import Run, changed_params, checksum, files_inside, held_md5, is_partly_held, is_source

INSTRUMENT = "scoring instrument"
MACHINE, VERSIONS = "machine", "library versions"
GENERATIONS, SCORES = "data/generations", "data/scores"
LATER = (GENERATIONS, SCORES, "data/results", "data/judgements")  # made from a model's answers
# What verdicts depend on beside code, parameters and data: keys of metrics/comparison.json.
RULES = {"policy_version": "policy version", "sqlite": "SQLite", "sqlglot": "sqlglot"}
HARDWARE = ("processor", "instructions", "threads", "card", "device")
PARTS = ("training", "report")


def differences(before: Run, after: Run) -> dict[str, list[str]]:
    """What differs between two runs, by kind; kinds without a difference are left out.

    parameters: keys · prompts, code: files · data: the first paths that differ, not those made from them · base model ·
    pipeline: stages that dvc.yaml defines differently · scoring instrument: all of the above that the scoring stages
    read, the filled databases, and the comparator's policy, libraries and engines · library versions · machine:
    processor, its instructions, threads and card. Files are compared as the commits hold them, whether or not they were
    run; data by the checksums in dvc.lock. What one of the two did not record is no difference.
    """
    changed = [path for path in read_paths(before, after) if differs(before, after, path)]
    files = [file for path in changed for file in changed_files(before, after, path)]
    params = list(changed_params(after, before))
    rules = [*changed_values(before.comparison, after.comparison, RULES), *changed_engines(before, after)]
    found = {
        "parameters": [*params, *(file for file in files if kind(file) == "settings")],
        "prompts": [file for file in files if kind(file) == "prompts"],
        "code": [file for file in files if kind(file) == "code"],
        "data": [*(file for file in files if kind(file) == "data"), *changed_data(before, after)],
        "base model": [BASE_MODEL] if differs(before, after, BASE_MODEL) else [],
        "pipeline": changed_stages(before, after),
        INSTRUMENT: [*instrument(before, after, params), *rules],
        VERSIONS: changed_versions(before, after),
        MACHINE: changed_machines(before, after),
    }
    return {name: list(dict.fromkeys(items)) for name, items in found.items() if items}


def kind(path: str) -> str:
    """What a file that stages read is, by the folder that it stands in."""
    top = path.partition("/")[0]
    if top == "prompts" or path.startswith("stages/prompts/"):
        return "prompts"
    return {"text2sql": "code", "stages": "code", "configs": "settings"}.get(
        top, "code" if path.endswith(".py") else "data"
    )


def rooms(files: Iterable[str]) -> list[str]:
    """The rooms of the library, or the scripts, that code files belong to."""
    parts = [path.split("/") for path in files]
    return list(dict.fromkeys(path[1] if path[0] == "text2sql" and len(path) > 2 else path[-1] for path in parts))


def read_paths(*runs: Run) -> list[str]:
    """What the stages of the runs read and no stage makes: code, prompts, settings, inputs."""
    made = {entry["path"] for run in runs for _, entry in lock.entries(run.stages, "outs")}
    read = {entry["path"] for run in runs for _, entry in lock.entries(run.stages, "deps")}
    return sorted(path for path in read if not any(lock.touch(path, out) for out in made))


def differs(before: Run, after: Run, path: str) -> bool:
    """Whether two runs have another content of a path. A run without dvc.lock knows of its own files alone."""
    one, other = content_md5(before, path), content_md5(after, path)
    known = all(md5 or run.stages for run, md5 in ((before, one), (after, other)))
    return known and one != other


def content_md5(run: Run, path: str) -> str | None:
    """The checksum of what a commit has at a path: of its own files where git holds all of them, run or not; else the
    one in dvc.lock."""
    locked = checksum(run, path)
    if locked and (run.state == DONE or is_partly_held(run, path)):
        return locked
    return held_md5(run, path) or (None if is_source(path) and run.files else locked)


def changed_files(before: Run, after: Run, path: str) -> list[str]:
    """The files of a folder that differ, where git holds them; else the path itself."""
    one, other = files_inside(before, path), files_inside(after, path)
    return [name for name in sorted(one | other) if one.get(name) != other.get(name)] or [path]


def changed_data(before: Run, after: Run) -> list[str]:
    """The outputs of the stages before training that differ, but not those that were made from others of them."""
    made = {
        entry["path"]: name
        for run in (before, after)
        for name, entry in lock.entries(run.stages, "outs")
        if entry["path"].startswith("data/") and not any(lock.touch(entry["path"], path) for path in LATER)
    }
    changed = {path: name for path, name in made.items() if differs(before, after, path)}
    stages = before.stages | after.stages
    caused = {
        name
        for name in set(changed.values())
        for dep in stages[name].get("deps") or []
        if any(lock.touch(dep["path"], path) for path in changed) and differs(before, after, dep["path"])
    }
    return [path for path, name in changed.items() if name not in caused]


def changed_stages(before: Run, after: Run) -> list[str]:
    """The stages that two dvc.yaml define differently."""
    names = before.pipeline | after.pipeline
    return [name for name in names if before.pipeline.get(name) != after.pipeline.get(name)]


def scoring_stages(run: Run) -> list[str]:
    """The stages that turn generated texts into verdicts."""
    makers = {name for name, entry in lock.entries(run.stages, "outs") if lock.touch(entry["path"], SCORES)}
    readers = {name for name, entry in lock.entries(run.stages, "deps") if lock.touch(entry["path"], GENERATIONS)}
    return sorted(makers or readers)


def instrument(before: Run, after: Run, changed_params: Sequence[str]) -> list[str]:
    """What differs of that which the scoring stages read beside the texts: files, data, and keys of parameters."""
    paths, sections = set(), set()
    for run in (before, after):
        for name in scoring_stages(run):
            stage = run.stages[name]
            paths |= {dep["path"] for dep in stage.get("deps") or []}
            sections |= set(stage.get("params", {}).get("params.yaml", {}))
    read = sorted(path for path in paths if not lock.touch(path, GENERATIONS) and differs(before, after, path))
    return [
        *(file for path in read for file in changed_files(before, after, path)),
        *(key for key in changed_params if key.partition(".")[0] in sections),
    ]


def changed_values(before: Mapping, after: Mapping, names: Mapping[str, str]) -> list[str]:
    """`NAME OLD → NEW` of the values that differ; one that either side lacks is no difference."""
    return [
        printable(f"{label} {before[key]} → {after[key]}")
        for key, label in names.items()
        if None not in (before.get(key), after.get(key)) and before[key] != after[key]
    ]


def machine(run: Run) -> dict[str, dict[str, Any]]:
    """Where a run took place, by part (`training`, `report`), as base/machine.py describes it; {} if not recorded."""
    recorded = run.comparison.get("machine")
    parts = recorded if isinstance(recorded, Mapping) else {}
    return {part: dict(parts[part]) for part in PARTS if isinstance(parts.get(part), Mapping)}


def changed_engines(before: Run, after: Run) -> list[str]:
    """Engines of other versions that gave the verdicts; SQLite's stands in RULES."""
    one, other = (run.comparison.get("engine_versions") or {} for run in (before, after))
    return changed_values(one, other, {name: name for name in one if name != "sqlite"})


def changed_versions(before: Run, after: Run) -> list[str]:
    """Libraries of other versions, of training and of the report."""
    found = []
    for part in PARTS:
        one, other = (machine(run).get(part, {}).get("versions", {}) for run in (before, after))
        found += changed_values(one, other, {name: name for name in one | other})
    return found


def changed_machines(before: Run, after: Run) -> list[str]:
    """Processors, instructions, threads and cards that differ, of training and of the report."""
    found = []
    for part in PARTS:
        one, other = (machine(run).get(part, {}) for run in (before, after))
        found += changed_values(one, other, {name: name for name in HARDWARE})
    return found


def texts_md5(run: Run) -> dict[str, str | None]:
    """The checksum of each arm's generated texts, by the name of the file."""
    outs = (entry for _, entry in lock.entries(run.stages, "outs"))
    return {entry["path"]: entry.get("md5") for entry in outs if entry["path"].startswith(f"{GENERATIONS}/")}


def same_texts(before: Run, after: Run) -> bool:
    """Whether the headline's arms wrote the same texts in both runs, byte for byte."""
    one, other = (
        {md5 for path, md5 in texts_md5(run).items() if path.rpartition("/")[2].partition(".")[0] == run.arm}
        for run in (before, after)
    )
    return bool(one) and one == other


def same_scores(before: Run, after: Run) -> bool:
    """Whether the figures of both runs were made from the same scores by the same code and parameters."""
    one, other = (
        {
            name: (
                run.stages[name].get("params"),
                {dep["path"]: dep.get("md5") for dep in run.stages[name].get("deps") or []},
            )
            for name, out in lock.entries(run.stages, "outs")
            if out["path"] == "metrics/summary.json"
        }
        for run in (before, after)
    )
    return bool(one) and one == other and not changed_values(before.comparison, after.comparison, RULES)


def same_adapter(before: Run, after: Run) -> bool:
    """Whether both runs hold the same trained adapter."""
    md5 = checksum(before, ADAPTER)
    return md5 is not None and md5 == checksum(after, ADAPTER)


def cause(before: Run, after: Run, found: Mapping[str, Sequence[str]]) -> str:
    """Why the change in the trained arm's figures is not, or not surely, training's; "" where nothing speaks
    against it. found: their `differences`."""
    scored = f"the scoring instrument differs ({listed(found[INSTRUMENT])})" if INSTRUMENT in found else ""
    if same_texts(before, after):
        what = scored or "nothing in dvc.lock explains it (a time limit in scoring?)"
        return f"the generated texts are the same in both, so what changed is not training's: {what}"
    if same_adapter(before, after):
        asked = "the adapter is the same in both, so what changed is not training's but comes from how it was asked"
        return f"{asked}; {scored}" if scored else asked
    return f"{scored}, so what changed is not the model's alone" if scored else ""


def elsewhere(found: Mapping[str, Sequence[str]]) -> str:
    """In one line, that two runs come from different machines or library versions; "" where none is known to differ.
    found: their `differences`."""
    parts = [f"different {name}: {listed(found[name])}" for name in (MACHINE, VERSIONS) if name in found]
    rounding = "low precision rounds differently there, so that texts and EX may differ by that alone"
    return f"{'; '.join(parts)}; {rounding}" if parts else ""


def unrecorded(before: Run, after: Run) -> list[str]:
    """The names of the runs whose figures do not say on which machine they were made."""
    return list(dict.fromkeys(run.name for run in (before, after) if not machine(run)))


def listed(items: Sequence[str], most: int = 5) -> str:
    """The first few items in a line, and how many more there are."""
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(map(printable, items[:most])) + more
