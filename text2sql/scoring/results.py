"""The first rows of a result, as they are kept beside the scores and shown in the explorer and to a judge."""

from collections.abc import Sequence
from typing import Any

from text2sql.engines.cells import json_cell

ROWS = 5  # of a result
COLUMNS = 8
CELL = 60  # characters of a cell or a column's name


def first_rows(names: Sequence[str], rows: Sequence[tuple]) -> dict[str, Any]:
    """{columns, rows, row_count, column_count}: the first rows and columns as JSON, and how many of both there are.

    names: of the columns, all of them. rows: cells as `engines.cells` describes them.
    """
    return {
        "columns": [shorten(name, CELL) for name in names[:COLUMNS]],
        "rows": [[cell(value) for value in row[:COLUMNS]] for row in rows[:ROWS]],
        "row_count": len(rows),
        "column_count": len(names),
    }


def cell(value: Any) -> Any:
    """A value as JSON that a browser shows as SQLite would: what it cannot hold, as large numbers, goes as text."""
    if isinstance(value, bytes):
        value = f"x'{value[: CELL // 2].hex()}'" + (" …" if len(value) > CELL // 2 else "")
    if isinstance(value, tuple):
        value = json_cell(value)
    if value is None or (isinstance(value, (int, float)) and -(2**53) < value < 2**53):
        return value
    return shorten(str(value), CELL)


def shorten(text: str, length: int) -> str:
    """The text, or its beginning with the number of characters left out."""
    return text if len(text) <= length else f"{text[:length]} … ({len(text) - length} more characters)"
