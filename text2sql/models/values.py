"""A few real values of a database's text columns, for its prompts: how a name or a category is written there."""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from functools import lru_cache
from pathlib import Path

from text2sql.base.errors import UserError
from text2sql.base.files import is_url
from text2sql.models.schema import Values
from text2sql.sql.ddl import Column, Table, inserted_texts, keys_of
from text2sql.sql.spelling import literal, quoted

ROWS = 1000  # of a table that are looked at, its first ones
LENGTH = 40  # characters of one value, as SQL; longer ones are passed over


def values_of(row: Mapping, count: int) -> Values:
    """What gives at most `count` values a column of a row's database, or else of the INSERTs in its context."""

    def find(table: Table, columns: Sequence[Column]) -> Mapping[str, Sequence[str]]:
        if row.get("database"):
            return file_values(row["database"], table, tuple(columns), count)
        return script_values(row["context"], row.get("dialect"), table, columns, count)

    return find


def script_values(
    script: str, dialect: str | None, table: Table, columns: Sequence[Column], count: int
) -> dict[str, Sequence[str]]:
    """Values from a script's INSERTs, as they are written there."""
    texts = inserted_texts(script, dialect, ROWS)
    found: dict[str, Sequence[str]] = {}
    for column in columns:
        places = [(key, column.name.lower()) for key in keys_of(table.name)]
        known = next((texts[place] for place in places if place in texts), ())
        found[column.name] = [text for text in known if len(text) <= LENGTH][:count]
    return found


@lru_cache(maxsize=4096)
def file_values(path: str, table: Table, columns: tuple[Column, ...], count: int) -> dict[str, Sequence[str]]:
    """Values from an SQLite file; none of a table that is not in it, or lacks a column. Raises UserError."""
    if is_url(path):
        raise UserError("prompt.values: a database on a server is not read for prompts; set it to 0")
    if not Path(path).is_file():
        raise UserError(f"{path}: no such database file, of which prompt.values shows values; put it back, or set 0")
    try:
        with closing(sqlite3.connect(f"{Path(path).resolve().as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
            connection.text_factory = lambda text: text.decode("utf-8", "backslashreplace")
            try:
                rows = connection.execute(sample_query(table, columns, "`"))
            except sqlite3.OperationalError as error:
                if "no such" not in str(error):
                    raise
                return {}
            return few(columns, rows, count)
    except sqlite3.Error as error:
        raise UserError(f"{path}: cannot be read as an SQLite database ({error}); fix the file") from error


def sample_query(table: Table, columns: Sequence[Column], mark: str) -> str:
    """The query for a table's first rows; `mark` is the quote around a name."""
    return f"SELECT {', '.join(quoted(column.name, mark) for column in columns)} FROM {table.spelled} LIMIT {ROWS}"


def few(columns: Sequence[Column], rows: Iterable[Sequence], count: int) -> dict[str, Sequence[str]]:
    """The first `count` different short texts of each column, as SQL literals."""
    found: dict[str, dict[str, None]] = {column.name: {} for column in columns}
    for row in rows:
        for column, cell in zip(columns, row, strict=True):
            known = found[column.name]
            if isinstance(cell, str) and cell and len(known) < count and len(text := literal(cell)) <= LENGTH:
                known[text] = None
    return {name: list(texts) for name, texts in found.items()}
