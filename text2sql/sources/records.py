"""Records (dicts) from files of any usual kind, from a folder of them, or from a data set on the hub."""

import csv
import gzip
import json
import re
import shlex
import sys
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO
from zipfile import BadZipFile

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
from openpyxl.utils.exceptions import InvalidFileException

from text2sql.base.errors import UserError
from text2sql.base.files import json_lines
from text2sql.base.params import IngestParams
from text2sql.base.text import first_line
from text2sql.sources.left_out import LeftOut, Splits
from text2sql.sources.values import cell_of

SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".xlsx")
# How the files of a split are named; `dev` and `validation` stand in for `test` where there is none.
SPLITS = {
    "train": ("train", "training", "tl"),
    "test": ("test",),
    "validation": ("validation", "valid", "val", "dev", "eval", "vl"),
}


# --- Files ------------------------------------------------------------------------------------------------------------


def read_records(path: str | Path) -> Iterator[dict]:
    """The records of a JSON Lines, JSON (a list of objects), CSV (commas, semicolons, tabs), Parquet or Excel file.

    Text may be gzipped and begin with a byte order mark; JSON and JSON Lines are told apart by what is in the file,
    whatever its name. Of a workbook the first sheet is read. Raises UserError naming the file and the line for what is
    missing, empty or broken.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file; fix ingest.path or ingest.test_path")
    records = readers(path)
    first = next(records, None)
    if first is None:
        raise UserError(f"{path}: holds no rows; give a file with at least one")
    yield first
    yield from records


def readers(path: Path) -> Iterator[dict]:
    """The records of a file by the kind that its first bytes and its name say."""
    with open(path, "rb") as file:
        magic = file.read(4)
    name = path.name.lower().removesuffix(".gz")
    if magic == b"PAR1" or name.endswith(".parquet"):
        return read_parquet(path)
    if name.endswith(".xlsx"):
        return read_workbook(path)
    if name.endswith((".csv", ".tsv")):
        return read_csv(path)
    start = beginning(path)
    is_json = start.startswith("{") or re.match(r"\[\s*(\{|\Z)", start)
    if name.endswith(".txt") and not is_json:
        return read_csv(path)
    if name.endswith((".jsonl", ".ndjson")) and not start.startswith("["):
        return read_lines(path)
    if name.endswith(".json") or is_json:
        return read_lines(path) if is_line_of_json(start) else iter(read_json_list(path))
    if name.endswith((".jsonl", ".ndjson")):
        return read_lines(path)
    raise UserError(f"{path}: unknown kind of file; it must hold JSON, or end in one of {', '.join(SUFFIXES)}")


def beginning(path: Path) -> str:
    """The first line of a text that is not blank, from its first sign on."""
    with open_text(path) as file:
        try:
            return next((line.lstrip() for line in file if line.strip()), "")
        except (UnicodeDecodeError, OSError, EOFError, zlib.error) as error:
            raise unreadable(path, error) from error


def is_line_of_json(line: str) -> bool:
    """Whether a line is a row of its own: a whole object, and no document that holds its rows in another way."""
    try:
        value = json.loads(line)
    except ValueError:
        return False
    if not isinstance(value, dict) or not value:
        return False
    return not isinstance(value.get("data"), list) and not is_by_columns(value)


def is_by_columns(value: dict) -> bool:
    """Whether an object is a table as pandas writes it: {column: {index: cell}}, or {column: [cell, …]}."""
    first, *rest = columns = list(value.values())
    if not rest or not all(type(column) is type(first) for column in columns):
        return False
    if isinstance(first, dict):
        return all(column.keys() == first.keys() for column in rest)
    return isinstance(first, list) and all(
        len(column) == len(first) and not any(isinstance(cell, dict | list) for cell in column) for column in columns
    )


def open_text(path: Path) -> TextIO:
    """A text file, gzipped or not: UTF-8, or UTF-16 where its byte order mark says so."""
    opener = gzip.open if path.name.lower().endswith(".gz") else open
    try:
        with opener(path, "rb") as file:
            utf16 = file.read(2) in (b"\xff\xfe", b"\xfe\xff")
    except (OSError, EOFError, zlib.error) as error:
        raise unreadable(path, error) from error
    return opener(path, "rt", encoding="utf-16" if utf16 else "utf-8-sig", newline="")  # type: ignore[return-value]


def unreadable(path: Path, error: Exception) -> UserError:
    """The line for a text file that cannot be decoded; CP949, in which Korean spreadsheets save, is recognised."""
    if not isinstance(error, UnicodeDecodeError):
        return UserError(f"{path}: cannot be read as UTF-8 text ({first_line(error)}); fix or replace the file")
    opener = gzip.open if path.name.lower().endswith(".gz") else open
    with opener(path, "rb") as file:
        sample = file.read(2**20)
    try:
        sample[: sample.rfind(b"\n") + 1 or None].decode("cp949")
    except UnicodeDecodeError:
        return UserError(f'{path}: not UTF-8 ({first_line(error)}); save it as "CSV UTF-8", or as UTF-8 text')
    given, made = shlex.quote(str(path)), shlex.quote(str(path.with_stem(f"{path.stem}-utf8")))
    return UserError(
        f'{path}: not UTF-8 but, by its bytes, CP949; save it as "CSV UTF-8", or convert it: '
        f"`iconv -f CP949 -t UTF-8 {given} > {made}`"
    )


def read_lines(path: Path) -> Iterator[dict]:
    try:
        with open_text(path) as file:
            yield from json_lines(file, path)
    except (UnicodeDecodeError, gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise unreadable(path, error) from error


def read_parquet(path: Path) -> Iterator[dict]:
    try:
        with pq.ParquetFile(path, pre_buffer=False) as file:  # a buffer would keep all that was read of the file
            for batch in file.iter_batches(batch_size=2048):
                yield from batch.to_pylist()
    except pa.ArrowException as error:
        raise UserError(f"{path}: not a readable Parquet file ({first_line(error)})") from error


def read_workbook(path: Path) -> Iterator[dict]:
    """The rows of a workbook's first sheet, under the names in its first line that is not empty.

    Empty lines are left out, and so are columns without a name.
    """
    try:
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    except (InvalidFileException, BadZipFile, KeyError, ValueError, OSError) as error:
        raise UserError(f"{path}: not a readable Excel workbook ({first_line(error)})") from error
    lines = (cells for cells in book.worksheets[0].iter_rows(values_only=True) if any(c is not None for c in cells))
    header = next(lines, ())
    for cells in lines:
        yield {str(name).strip(): cell for name, cell in zip(header, cells, strict=False) if name is not None}
    book.close()


def read_csv(path: Path) -> Iterator[dict]:
    """The rows of a table of text. A quote inside a quoted cell that is not doubled is named and read over."""
    csv.field_size_limit(2**31 - 1)
    try:
        strict = is_strict(path)
        with open_text(path) as file:
            reader = csv.DictReader(file, strict=strict, delimiter=delimiter_of(file))
            reader.fieldnames = [name.strip() for name in reader.fieldnames or ()]
            for row in reader:
                if None in row or None in row.values():
                    raise UserError(f"{path}, line {reader.line_num}: not as many cells as the header; fix the line")
                yield row
    except (UnicodeDecodeError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise unreadable(path, error) from error


def is_strict(path: Path) -> bool:
    """Whether a table keeps to the rules of CSV; says on stderr where it does not but can be read all the same.

    Raises UserError with the line where it cannot.
    """
    with open_text(path) as file:
        lines = csv.reader(file, strict=True, delimiter=delimiter_of(file))
        try:
            for _ in lines:
                pass
        except csv.Error as error:
            where = f"{path}, line {lines.line_num}"
            if "expected after" not in str(error):
                raise UserError(f"{where}: cannot be read as CSV ({first_line(error)}); fix the line") from error
            print(f"note: {where}: a quote inside a quoted cell is not doubled; it is read without it", file=sys.stderr)
            return False
    return True


def delimiter_of(file: TextIO) -> str:
    """What stands between the names of a table's header outside of quotes: a comma, semicolon, tab or bar.

    Reads on to the header, behind empty lines and the line `sep=;` that Excel writes.
    """
    start, header = 0, file.readline()
    while header and (not header.strip() or re.fullmatch(r"sep=.\s*", header)):
        start, header = file.tell(), file.readline()
    file.seek(start)
    bare = re.sub(r'"(?:[^"]|"")*"', "", header)
    return max(",;\t|", key=bare.count)


def read_json_list(path: Path) -> list[dict]:
    """The objects of a JSON document: a list of them, an object with one under `data`, or a table by columns."""
    try:
        with open_text(path) as file:
            value = json.load(file)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except UnicodeDecodeError as error:
        raise unreadable(path, error) from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not valid JSON ({first_line(error)})") from error
    if isinstance(value, dict) and value and is_by_columns(value):
        columns = [column.values() if isinstance(column, dict) else column for column in value.values()]
        return [dict(zip(value, cells, strict=True)) for cells in zip(*columns, strict=True)]
    rows = value.get("data") if isinstance(value, dict) else value
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UserError(f"{path}: expected a JSON list of objects (or one under the key `data`)")
    return rows


# --- Splits -----------------------------------------------------------------------------------------------------------


def is_data(path: Path) -> bool:
    return path.name.lower().removesuffix(".gz").endswith(SUFFIXES)


def split_files(path: str | Path, test_path: str | None = None) -> dict[str, list[Path]]:
    """The files of each split under `path`: one file is all training rows; in a folder the file names say the split.

    A file belongs to a split when a part of its name (or its folder's) is `train`, `test`, or `dev`/`validation`,
    which stands in for a missing `test`. `test_path` names the held-out file outright. Under `unread` stand the files
    of a split that another took the place of. Raises UserError when there is none.
    """
    path = Path(path)
    found: dict[str, list[Path]]
    if path.is_file():
        found = {"train": [path], "test": [], "unread": []}
    elif path.is_dir():
        files = sorted(file for file in path.rglob("*") if is_data(file))
        named = {split: [file for file in files if split_of(file.relative_to(path)) == split] for split in SPLITS}
        found = {"train": named["train"], "test": named["test"] or named["validation"]}
        if not found["train"] and not found["test"]:
            raise UserError(f"{path}: no data files named train… or test… ending in one of {', '.join(SUFFIXES)}")
        found["unread"] = named["validation"] if named["test"] else []
    else:
        raise UserError(f"{path}: no such file or folder; fix ingest.path")
    if test_path:
        found |= {"test": [Path(test_path)], "unread": found["unread"] + found["test"]}
    return found


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


def unread(paths: Iterable[Path]) -> Iterator[LeftOut]:
    """The rows of files that are not read, counted, so that the account begins at what the files hold."""
    for path in paths:
        yield LeftOut(f"{path.name} is not read", sum(1 for _ in read_records(path)))


def local_or_hub(name: str, params: IngestParams, revision: str | None, config: str | None = None) -> Splits:
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
    return {"train": chain_files(files["train"]), "test": chain_files(files["test"], files["unread"])}


def chain_files(paths: Iterable[Path], left_out: Iterable[Path] = ()) -> Iterator[dict | LeftOut]:
    """The records of files one after another, then the counts of those that are left out."""
    for path in paths:
        yield from read_records(path)
    yield from unread(left_out)


# --- Columns ----------------------------------------------------------------------------------------------------------


def mapped_by(params: IngestParams) -> dict[str, str | None]:
    """The user's own names of columns, to put over a source's."""
    return dict(params.columns.items())


def renamed(
    records: Iterable[dict | LeftOut], columns: Mapping[str, str | None], source: str, needed: Iterable[str]
) -> Iterator[Any]:
    """Rows from records by `{our column: theirs}`; every value becomes text or null (`cell_of`).

    A column whose name is null is not read. What is left out passes through. Raises UserError naming the first record
    that lacks a needed column.
    """
    asked = [(ours, theirs) for ours in needed if (theirs := columns[ours]) is not None]
    for number, record in enumerate(records, 1):
        if isinstance(record, LeftOut):
            yield record
            continue
        for ours, theirs in asked:
            if theirs not in record:
                raise UserError(
                    f"{source}, row {number}: no column {theirs!r} for {ours}; it has "
                    f"{', '.join(map(str, record))}; set ingest.columns"
                )
        yield {ours: cell_of(ours, record.get(theirs)) for ours, theirs in columns.items()}
