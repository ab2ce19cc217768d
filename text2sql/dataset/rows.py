"""The one table of the project: a row is a question about a database with its gold SQL.

| column | meaning |
|---|---|
| id | stable, unique in the split; every later file joins by it |
| db_id | schema or database the question is about; splits hold whole databases out |
| dialect | sqlglot name of the dialect of context and answer: sqlite, mysql, postgres … |
| context | DDL, with INSERTs where the source has them |
| question | natural language |
| answer | gold SQL |
| domain, complexity, language | as the source gives them, or derived; may be null |
| database | path of a real SQLite file the question is about; null when `context` is all there is |
| notes | what the asker knows beside the schema (BIRD's evidence, business terms); may be null |
| alternatives | further golds, as right as `answer`: a JSON list of SQL (`sql/golds.py`); null where there are none |
"""

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from text2sql.base.errors import UserError
from text2sql.base.files import atomic_write

if TYPE_CHECKING:  # slow to load, and most callers take rows alone
    import pandas as pd

COLUMNS = [
    "id",
    "db_id",
    "dialect",
    "context",
    "question",
    "answer",
    "domain",
    "complexity",
    "language",
    "database",
    "notes",
    "alternatives",
]


def to_table(rows: Iterable[dict]) -> "pd.DataFrame":
    """Rows as a table with exactly COLUMNS, every cell str or None; keys that a row lacks are None."""
    import pandas as pd

    return pd.DataFrame([[row.get(name) for name in COLUMNS] for row in rows], columns=COLUMNS, dtype=object)


def write_table(path: str | os.PathLike, table: "pd.DataFrame") -> None:
    """Writes a table of text columns as Parquet, atomically; the same table gives the same bytes."""
    schema = pa.schema([(name, pa.string()) for name in table.columns])
    arrays = pa.Table.from_pandas(table, schema=schema, preserve_index=False).replace_schema_metadata(None)
    with atomic_write(path, "wb") as file:
        pq.write_table(arrays, file, compression="zstd")


def read_table(path: str | os.PathLike) -> "pd.DataFrame":
    """The table written by `write_table`: object columns of str or None. Raises UserError as `read_rows` does."""
    return _read(path).to_pandas().astype(object).where(lambda table: table.notna(), None)


def read_rows(path: str | os.PathLike, columns: Sequence[str] | None = None) -> list[dict]:
    """The rows of such a table, or those of their columns alone. Raises UserError where it is missing or cut off."""
    return _read(path, columns).to_pylist()


def _read(path: str | os.PathLike, columns: Sequence[str] | None = None) -> pa.Table:
    try:
        with pq.ParquetFile(path) as file:  # pq.read_table loads pandas
            return file.read(None if columns is None else list(columns))
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; run the stage that writes it (`dvc repro`)") from error
    except pa.ArrowInvalid as error:
        raise UserError(f"{path}: not a whole Parquet file; remove it and run `dvc repro`") from error


@contextlib.contextmanager
def table_writer(path: str | os.PathLike, columns: Sequence[str] = COLUMNS) -> Iterator[pq.ParquetWriter]:
    """A writer that takes a table of text columns batch by batch (`write_batch`), for tables larger than memory.

    The file appears, complete, when the block ends; equal batches give equal bytes.
    """
    schema = pa.schema([(name, pa.string()) for name in columns])
    with atomic_write(path, "wb") as file, pq.ParquetWriter(file, schema, compression="zstd") as writer:
        yield writer


def to_batch(rows: Iterable[dict], columns: Sequence[str] = COLUMNS) -> pa.RecordBatch:
    """Rows as a record batch of text columns. What UTF-8 cannot hold (a lone surrogate) becomes its escape."""
    rows = list(rows)
    cells = [[row.get(name) for row in rows] for name in columns]
    schema = pa.schema([(name, pa.string()) for name in columns])
    try:
        arrays = [pa.array(column, pa.string()) for column in cells]
    except UnicodeEncodeError:
        arrays = [pa.array([None if text is None else _utf8(text) for text in column], pa.string()) for column in cells]
    return pa.record_batch(arrays, schema=schema)


def _utf8(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def write_rows(path: str | os.PathLike, rows: Iterable[dict], size: int = 8192) -> int:
    """Writes rows with COLUMNS as Parquet, `size` at a time, atomically. Returns how many there were."""
    rows, count = iter(rows), 0
    with table_writer(path) as writer:
        while chunk := list(islice(rows, size)):
            writer.write_batch(to_batch(chunk))
            count += len(chunk)
    return count


def read_batches(
    path: str | os.PathLike, columns: Sequence[str] | None = None, size: int = 8192
) -> Iterator[pa.RecordBatch]:
    """A table of `write_rows` or `write_table`, at most `size` rows at a time. Raises UserError when it is missing."""
    try:
        with pq.ParquetFile(path, pre_buffer=False) as file:  # a buffer would keep all that was read of the file
            yield from file.iter_batches(batch_size=size, columns=None if columns is None else list(columns))
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; run the stage that writes it (`dvc repro`)") from error


def count_rows(path: str | os.PathLike) -> int:
    """The number of rows in a table, from its footer alone. Raises UserError when it is missing."""
    try:
        return pq.read_metadata(path).num_rows
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; run the stage that writes it (`dvc repro`)") from error
