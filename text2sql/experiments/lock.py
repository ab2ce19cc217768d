"""What dvc.lock records of a run: the checksums of all that its stages read and wrote."""

import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping
from typing import Any


def read_stages(lock: Any) -> dict[str, dict]:
    """The stages in a dvc.lock that was parsed. Raises ValueError where it has another form."""
    stages = lock.get("stages") if isinstance(lock, Mapping) else None
    if not isinstance(stages, dict) or not all(map(is_stage, stages.values())):
        raise ValueError("dvc.lock has no stages as DVC writes them")
    return stages


def is_stage(stage: Any) -> bool:
    if not isinstance(stage, Mapping):
        return False
    entries = [*(stage.get("deps") or []), *(stage.get("outs") or [])]
    params = stage.get("params", {})
    return (
        isinstance(params, Mapping)
        and all(isinstance(values, Mapping) for values in params.values())
        and all(isinstance(entry, Mapping) and isinstance(entry.get("path"), str) for entry in entries)
    )


def read_definitions(pipeline: Any) -> dict[str, dict]:
    """The stages in a dvc.yaml that was parsed; none where there is no file. Raises ValueError for another form."""
    stages = {} if pipeline is None else pipeline.get("stages", {}) if isinstance(pipeline, Mapping) else None
    if not isinstance(stages, dict) or not all(map(is_definition, stages.values())):
        raise ValueError("dvc.yaml does not define stages as DVC reads them")
    return stages


def is_definition(stage: Any) -> bool:
    return isinstance(stage, Mapping) and isinstance(stage.get("matrix", {}), Mapping)


def stage_names(name: str, definition: Mapping, params: Mapping[str, Any]) -> set[str] | None:
    """The names in dvc.lock of what dvc.yaml defines as one stage; None where they cannot be known from here.

    `matrix` and `foreach` make one stage an item, NAME@ITEM (DVC's rule); `${KEY}` stands for a value of params.yaml.
    params: flat (dotted keys).
    """
    if "matrix" in definition:
        axes = [items(axis, params) for axis in definition["matrix"].values()]
        chosen = [axis for axis in axes if axis is not None]
        return {f"{name}@{'-'.join(one)}" for one in itertools.product(*chosen)} if len(chosen) == len(axes) else None
    if "foreach" in definition:
        looped = items(definition["foreach"], params)
        return None if looped is None else {f"{name}@{item}" for item in looped}
    return {name}


def items(given: Any, params: Mapping[str, Any]) -> list[str] | None:
    """The names that a loop's items get: a mapping's keys, or a list's plain values. None for any other."""
    if isinstance(given, str):
        key = given.removeprefix("${").removesuffix("}")
        below = [name.removeprefix(f"{key}.").partition(".")[0] for name in params if name.startswith(f"{key}.")]
        given = params.get(key, dict.fromkeys(below) or None)
    if isinstance(given, Mapping | list) and not any(isinstance(item, Mapping | list) for item in given):
        return [str(item) for item in given]
    return None


def entries(stages: Mapping[str, Mapping], *kinds: str) -> Iterator[tuple[str, dict]]:
    """(stage, entry) of all that the stages read (`deps`) and wrote (`outs`)."""
    for name, stage in stages.items():
        for kind in kinds or ("deps", "outs"):
            for entry in stage.get(kind) or []:
                yield name, entry


def checksums(stages: Mapping[str, Mapping]) -> dict[str, str | None]:
    """The MD5 sum of each path that a stage reads or writes; of a folder, that of DVC's listing."""
    return {entry["path"]: entry.get("md5") for _, entry in entries(stages)}


def touch(path: str, other: str) -> bool:
    """Whether two paths are one, or one is inside the other."""
    return path == other or path.startswith(f"{other}/") or other.startswith(f"{path}/")


def file_md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def folder_md5(files: Mapping[str, str]) -> str:
    """DVC's checksum of a folder: that of the JSON list of its files. files: relative path to MD5 sum."""
    listed = [{"md5": md5, "relpath": name} for name, md5 in sorted(files.items())]
    return file_md5(json.dumps(listed, sort_keys=True).encode()) + ".dir"


def pointed_at(path: str, pointer: Any) -> dict[str, str]:
    """The data that a .dvc file, parsed, stands for: path to MD5 sum; of a folder, that of DVC's listing."""
    place = path.rpartition("/")[0]
    outs = pointer.get("outs") if isinstance(pointer, Mapping) else None
    return {f"{place}/{out['path']}".lstrip("/"): str(out.get("md5")) for out in outs or []}
