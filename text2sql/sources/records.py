"""Records (dicts) from files of any usual kind, from a folder of them, or from a data set on the hub."""

import csv
import gzip
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from text2sql.base.errors import UserError
from text2sql.base.files import read_jsonl
from text2sql.base.params import IngestParams
from text2sql.base.text import first_line

SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".csv", ".csv.gz", ".parquet")
# How the files of a split are named; `dev` and `validation` stand in for `test` where there is none.
SPLITS = {
    "train": ("train", "training", "tl"),
    "test": ("test",),
    "validation": ("validation", "valid", "dev", "vl"),
}


def read_records(path: str | Path) -> Iterator[dict]:
    """The records of a JSON Lines (.jsonl, .gz), JSON (a list of objects), CSV (.gz) or Parquet file.

    Raises UserError naming the file and the line for what is missing, empty or broken.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file; fix ingest.path or ingest.test_path")
    if not path.name.endswith(SUFFIXES):
        raise UserError(f"{path}: unknown kind of file; it must end in one of {', '.join(SUFFIXES)}")
    if path.name.endswith(".parquet"):
        records = read_parquet(path)
    elif path.name.endswith((".csv", ".csv.gz")):
        records = read_csv(path)
    elif path.name.endswith(".json"):
        records = iter(read_json_list(path))
    else:
        records = read_jsonl(path)
    first = next(records, None)
    if first is None:
        raise UserError(f"{path}: holds no rows; give a file with at least one")
    yield first
    yield from records


def read_parquet(path: Path) -> Iterator[dict]:
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=2048):
                yield from batch.to_pylist()
    except pa.ArrowException as error:
        raise UserError(f"{path}: not a readable Parquet file ({first_line(error)})") from error


def read_csv(path: Path) -> Iterator[dict]:
    opener = gzip.open if path.name.endswith(".gz") else open
    csv.field_size_limit(2**31 - 1)
    try:
        with opener(path, "rt", encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            for row in reader:
                if None in row or None in row.values():
                    raise UserError(f"{path}, line {reader.line_num}: not as many cells as the header; fix the line")
                yield row
    except UnicodeDecodeError as error:
        raise UserError(f'{path}: not UTF-8 ({first_line(error)}); save it as "CSV UTF-8"') from error
    except (csv.Error, EOFError, gzip.BadGzipFile) as error:
        raise UserError(f"{path}: cannot be read as CSV ({first_line(error)}); fix the line or the file") from error


def read_json_list(path: Path) -> list[dict]:
    """The objects of a JSON document that is a list of objects, or an object with one under `data`."""
    try:
        value = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON ({first_line(error)})") from error
    rows = value.get("data") if isinstance(value, dict) else value
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UserError(f"{path}: expected a JSON list of objects (or one under the key `data`)")
    return rows


def split_files(path: str | Path, test_path: str | None = None) -> dict[str, list[Path]]:
    """The files of each split under `path`: one file is all training rows; in a folder the file names say the split.

    A file belongs to a split when a part of its name (or its folder's) is `train`, `test`, or `dev`/`validation`,
    which stands in for a missing `test`. `test_path` names the held-out file outright. Raises UserError when there is
    none.
    """
    path = Path(path)
    if path.is_file():
        found = {"train": [path], "test": []}
    elif path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.name.endswith(SUFFIXES))
        named = {split: [file for file in files if split_of(file.relative_to(path)) == split] for split in SPLITS}
        found = {"train": named["train"], "test": named["test"] or named["validation"]}
        if not found["train"] and not found["test"]:
            raise UserError(f"{path}: no data files named train… or test… ending in one of {', '.join(SUFFIXES)}")
    else:
        raise UserError(f"{path}: no such file or folder; fix ingest.path")
    return found | ({"test": [Path(test_path)]} if test_path else {})


def split_of(path: Path) -> str | None:
    """The split that a file's name, or else its folder's, says."""
    for part in reversed(path.parts):
        words = words_of(Path(part))
        for split, names in SPLITS.items():
            if words & set(names):
                return split
    return None


def words_of(path: Path) -> set[str]:
    """The words, in lower case, of a path's names."""
    return set(re.split(r"[\W_]+", str(path).lower()))


def local_or_hub(
    name: str, params: IngestParams, revision: str | None, config: str | None = None
) -> dict[str, Iterable[dict]]:
    """The records of each split of a hub data set, or of the local copy of it at `ingest.path`.

    name: the data set's id on the hub. revision, config: what to take where `ingest` does not say. A local folder with
    several configurations is read by the one wanted. Raises UserError as `split_files` and `from_hub` do.
    """
    config = params.config or config
    if not params.path:
        from text2sql.sources.hub import from_hub  # loads the hub's client, which takes seconds

        return from_hub(name, config, params.revision or revision)
    files = split_files(params.path, params.test_path)
    if config:
        root = Path(params.path)
        wanted = {
            split: [path for path in paths if path.is_relative_to(root) and config in words_of(path.relative_to(root))]
            for split, paths in files.items()
        }
        files = {split: wanted[split] or paths for split, paths in files.items()}
    return {split: chain_files(paths) for split, paths in files.items()}


def chain_files(paths: list[Path]) -> Iterator[dict]:
    for path in paths:
        yield from read_records(path)


def renamed(records: Iterable[dict], columns: dict[str, str], source: str, needed: Iterable[str]) -> Iterator[dict]:
    """Rows from records by `{our column: theirs}`; every value becomes text, null stays null.

    Raises UserError naming the first record that lacks a needed column.
    """
    for number, record in enumerate(records, 1):
        for ours in needed:
            if columns[ours] not in record:
                raise UserError(
                    f"{source}, row {number}: no column {columns[ours]!r} for {ours}; it has "
                    f"{', '.join(map(str, record))}; set ingest.columns"
                )
        yield {ours: text_of(record.get(theirs)) for ours, theirs in columns.items()}


def text_of(value) -> str | None:
    return None if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
