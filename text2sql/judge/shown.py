"""The first rows of both queries' results, for a judge that may look at them (`judge.show_results`)."""

import itertools
import os
from collections.abc import Iterable, Iterator
from typing import Any

from text2sql.sqlexec.pool import Lost, guarded_map
from text2sql.sqlexec.sandbox import Connection, Failure, build, open_database, query

SECONDS = 5.0  # for one row: its database and both queries
CELL = 200  # characters of a cell that are shown


def with_results(rows: Iterable[dict[str, Any]], count: int) -> Iterator[dict[str, Any]]:
    """The rows, each with `results`: what `first_rows` gives for gold and generated SQL, or None without a database.

    A database is the row's own SQLite file, or its context where that brings rows. The SQL runs in the sandbox.
    """
    shown, items = itertools.tee(rows)
    # guarded_map draws ahead of what it yields by a bounded number of rows, and so does the tee.
    results = guarded_map(
        both_results, ((row, count) for row in items), workers=os.cpu_count() or 1, seconds=2 * SECONDS
    )
    for row, result in zip(shown, results, strict=True):
        yield {**row, "results": None if isinstance(result, Lost) else result}


def both_results(item: tuple[dict[str, Any], int]) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """First rows of gold's and generated SQL's results for (row, count); None when there is no database."""
    row, count = item
    if row.get("database"):
        database: Connection | Failure = open_database(row["database"])
    elif "insert" in row["context"].lower():
        database = build(row["context"])
    else:
        return None
    if isinstance(database, Failure):
        return None
    try:
        gold, generated = (first_rows(query(database, row[name] or ""), count) for name in ("answer", "sql"))
    finally:
        database.close()
    return gold, generated


def first_rows(answer: Any, count: int) -> dict[str, Any]:
    """What the judge sees of a result: the first `count` rows and how many there are, or the error."""
    if isinstance(answer, Failure):
        return {"error": answer.error}
    return {"rows": [[_cell(cell) for cell in row] for row in answer.rows[:count]], "row_count": len(answer.rows)}


def _cell(value: Any) -> Any:
    if isinstance(value, bytes):
        value = f"x'{value.hex()}'"
    return value[:CELL] if isinstance(value, str) else value
