"""Anybody's file: JSON Lines, JSON, CSV or Parquet with a question and its SQL in each record.

`ingest.path` is the file, or a folder with train… and test… files; `ingest.test_path` names a held-out file apart.
The columns are named as ours (`text2sql/dataset/rows.py`), which is how b-mc2/sql-create-context names them too, or
mapped by `ingest.columns`. With `ingest.database` (a SQLite file) the questions are about that database: its schema is
their context and its rows answer them. A mapped column `database` names such a file for each row.
"""

from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from text2sql.base.errors import UserError
from text2sql.base.params import IngestParams
from text2sql.dataset.rows import COLUMNS
from text2sql.sources.records import read_records, renamed, split_files
from text2sql.sources.schemas import schema_of_database


def load(params: IngestParams) -> dict[str, Iterable[dict]]:
    """The rows of the file or folder. Raises UserError when it is not given or holds no question, SQL or context."""
    if not params.path:
        raise UserError("ingest.path: not set; give the file (or folder) of questions and SQL")
    files = split_files(params.path, params.test_path)
    return {split: rows_of(paths, params) for split, paths in files.items()}


def rows_of(paths: list[Path], params: IngestParams) -> Iterator[dict]:
    columns = {name: name for name in COLUMNS} | params.columns
    has_database = params.database or "database" in params.columns
    needed = {"question", "answer", *params.columns} | (set() if has_database else {"context"})
    schema = cache(schema_of_database)
    for path in paths:
        for row in renamed(read_records(path), columns, str(path), sorted(needed)):
            database = row["database"] or params.database
            if database:
                row |= {"database": database, "context": row["context"] or schema(database)}
                row["db_id"] = row["db_id"] or Path(database).stem
            yield row
