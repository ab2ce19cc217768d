"""Anybody's file: JSON Lines, JSON, CSV, Parquet or Excel with a question and its SQL in each record.

`ingest.path` is the file, or a folder with train… and test… files; `ingest.test_path` names a held-out file apart, and
in a single file a column `split` says which rows are held out. The columns are named as ours
(`text2sql/dataset/rows.py`), which is how b-mc2/sql-create-context names them too, or mapped by `ingest.columns`; one
that means something else there is switched off by null.

`ingest.database` says what the questions are about, where the file brings no contexts:

| it is | then |
|---|---|
| an SQLite file | its schema is the context of all questions, its rows answer them |
| an SQL script | it is the context of all questions (a dump in `ingest.dialect`, with or without rows) |
| a URL | the schema that its login may read is the context of all questions, its rows answer them |
| a folder | each question's `db_id` names its SQLite file or script: NAME.sqlite, NAME/NAME.sqlite, NAME.sql … |

A question with several golds brings them as a list in `answer` or `answers`, as `alternatives`, or as rows of one id.

A column `database` names such an SQLite file for each row, from here or from the folder of the questions; where it
holds mere names, they are taken for `db_id`.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from text2sql.base.errors import UserError
from text2sql.base.files import is_url
from text2sql.base.params import IngestParams
from text2sql.dataset.rows import COLUMNS
from text2sql.sources.left_out import LeftOut, Splits
from text2sql.sources.records import SPLITS, mapped_by, read_records, renamed, split_files, unread
from text2sql.sources.schemas import (
    DATABASES,
    database_in,
    is_sqlite_file,
    names_in,
    read_script_file,
    schema_of_database,
)

ROWS_OF = {name: split for split, names in SPLITS.items() for name in names}


class About(NamedTuple):
    """What a question is about."""

    context: str
    database: str | None  # an SQLite file, or a URL
    dialect: str | None = None
    name: str | None = None


def load(params: IngestParams) -> Splits:
    """The rows of the file or folder. Raises UserError when it is not given or holds no question, SQL or context."""
    if not params.path:
        raise UserError("ingest.path: not set; give the file (or folder) of questions and SQL")
    columns = {name: name for name in (*COLUMNS, "split")} | mapped_by(params)
    files = split_files(params.path, params.test_path)
    rows: dict[str, Iterator] = {split: rows_of(files[split], columns, params) for split in ("train", "test")}
    if Path(params.path).is_file() and (by := columns["split"]):
        named = splits_in(files["train"][0], by)
        held_out = None if params.test_path else next((name for name in ("test", "validation") if name in named), None)
        if params.test_path or named & SPLITS.keys():
            rows["train"] = parted(rows["train"], "train", held_out)
        if held_out:
            rows["test"] = parted(rows_of(files["train"], columns, params), held_out, "train")
    elif files["unread"]:
        rows["test"] = chained(rows["test"], unread(files["unread"]))
    return rows


def chained(rows: Iterable[dict], more: Iterable[LeftOut]) -> Iterator[dict | LeftOut]:
    yield from rows
    yield from more


def splits_in(path: Path, column: str) -> set[str]:
    """The splits that a file's own column names; none where a record lacks the column."""
    found = set()
    for record in read_records(path):
        if column not in record:
            return set()
        if record[column] not in (None, ""):
            found.add(split_named(record[column]))
    return found


def split_named(value: object) -> str:
    """The split that a cell names, `train` where it is empty; a name that is none of ours as it stands."""
    name = str(value if value is not None else "").strip().lower()
    return ROWS_OF.get(name, name or "train")


def parted(rows: Iterable[dict], wanted: str, elsewhere: str | None) -> Iterator[dict | LeftOut]:
    """The rows of a split, by their column `split`. Those of the split read `elsewhere` pass in silence."""
    for row in rows:
        split = split_named(row["split"])
        if split == wanted:
            yield row
        elif split != elsewhere and wanted == "train":
            yield LeftOut(f"its split is {split}")


def rows_of(paths: list[Path], columns: dict[str, str | None], params: IngestParams) -> Iterator[dict]:
    mapped = {name for name, theirs in params.columns.items() if theirs is not None}
    brings_context = params.database or "database" in mapped
    needed = {"question", "answer", *mapped} | (set() if brings_context else {"context"})
    about, schema = subjects(params.database), cache(schema_of_database)
    for path in paths:
        for number, row in enumerate(renamed(answered(read_records(path)), columns, str(path), sorted(needed)), 1):
            database = file_named(row["database"], path.parent)
            if database and "database" not in mapped and not is_named_as_file(database):
                row["db_id"] = row["db_id"] or database
                database = None
            row["database"] = database
            try:
                if database:
                    row["context"] = row["context"] or schema(database)
                    row["db_id"] = row["db_id"] or Path(database).stem
                elif about is not None:
                    found = about(row["db_id"])
                    row |= {"context": row["context"] or found.context, "database": found.database}
                    row["dialect"] = row["dialect"] or params.dialect or found.dialect
                    row["db_id"] = row["db_id"] or found.name or Path(params.database or "").stem
            except UserError as error:
                raise UserError(f"{path}, row {number}: {error}") from error
            yield row


def answered(records: Iterable[dict]) -> Iterator[dict]:
    """The records; a list `answers` stands for `answer` and `alternatives` where these are not there."""
    for record in records:
        if (golds := record.get("answers")) is not None:
            record = {"answer": golds, "alternatives": golds} | record
        yield record


def file_named(name: str | None, folder: Path) -> str | None:
    """The database file of a name, which is given from here or from the folder; the name where there is none."""
    return str(folder / name) if name and not Path(name).is_file() and (folder / name).is_file() else name


def is_named_as_file(name: str) -> bool:
    """Whether a cell means a file: there is one of its name, or it ends as SQLite files do."""
    return Path(name).is_file() or Path(name).suffix in DATABASES


def subjects(database: str | None) -> Callable[[str | None], About] | None:
    """From a question's db_id to what it is about, by `ingest.database`; None where that is not set."""
    if database is None:
        return None
    if is_url(database):
        from text2sql.engines import own  # SQLAlchemy is slow to load

        context, dialect, name = own.read_schema(database, "ingest.database")
        about = About(context, database, dialect, name)
        return lambda _: about
    path = Path(database)

    @cache
    def described(file: Path) -> About:
        if is_sqlite_file(file):
            return About(schema_of_database(file), str(file))
        return About(read_script_file(file), None)

    def named(name: str | None) -> About:
        if not name:
            raise UserError("no db_id, which names its database in ingest.database; map it by ingest.columns")
        file = database_in(path, name)
        if file is None:
            raise UserError(
                f"no database {name!r} in {path} (ingest.database); there are {', '.join(names_in(path)) or 'none'}"
            )
        return described(file)

    return named if path.is_dir() else lambda _: described(path)
