"""The first rows of both queries' results, for a judge that may look at them (`judge.show_results`)."""

import itertools
from collections.abc import Iterable, Iterator
from contextlib import closing
from typing import Any

from text2sql.engines.pool import Lost, cores, guarded_map
from text2sql.engines.sqlite import Answer, Connection, Failure, build, open_database, query
from text2sql.sql.context import brings_rows
from text2sql.sql.dialect import Untranslatable, to_sqlite, to_sqlite_ddl

SECONDS = 5.0  # for one row: its database and both queries
SIDES = ("answer", "sql")  # the row's gold and generated query
CELL = 200  # characters of a cell that are shown


def with_results(rows: Iterable[dict[str, Any]], count: int) -> Iterator[dict[str, Any]]:
    """The rows, each with `results`: what `first_rows` gives for gold and generated SQL, or None without a database.

    A database is the row's own SQLite file, or the script `setup_sql` that was made for it, or its context where that
    brings rows. The SQL runs in the sandbox, translated from the row's `dialect`.
    """
    shown, items = itertools.tee(rows)
    # guarded_map draws ahead of what it yields by a bounded number of rows, and so does the tee.
    results = guarded_map(both_results, ((row, count) for row in items), workers=cores(), seconds=2 * SECONDS)
    for row, result in zip(shown, results, strict=True):
        yield {**row, "results": None if isinstance(result, Lost) else result}


def both_results(item: tuple[dict[str, Any], int]) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """First rows of gold's and generated SQL's results for (row, count); None when there is no database."""
    row, count = item
    database = database_of(row)
    if database is None or isinstance(database, Failure):
        return None
    with closing(database):
        gold, generated = (first_rows(answer(database, row[name] or "", row.get("dialect")), count) for name in SIDES)
    return gold, generated


def database_of(row: dict[str, Any]) -> Connection | Failure | None:
    """The database to show a row's results on; None when there is none."""
    if row.get("database"):
        return open_database(row["database"])
    if row.get("setup_sql"):
        return build(row["setup_sql"])
    if not brings_rows(row["context"]):
        return None
    script = to_sqlite_ddl(row["context"], row.get("dialect"))
    return Failure("dialect", script.reason) if isinstance(script, Untranslatable) else build(script)


def answer(database: Connection, sql: str, dialect: str | None) -> Answer | Failure:
    """A query's result, or why there is none."""
    translated = to_sqlite(sql, dialect)
    if isinstance(translated, Untranslatable):
        return Failure(translated.outcome, translated.reason)
    return query(database, translated)


def first_rows(answer: Any, count: int) -> dict[str, Any]:
    """What the judge sees of a result: the first `count` rows and how many there are, or the error."""
    if isinstance(answer, Failure):
        return {"error": answer.error}
    return {"rows": [[_cell(cell) for cell in row] for row in answer.rows[:count]], "row_count": len(answer.rows)}


def _cell(value: Any) -> Any:
    if isinstance(value, bytes):
        value = f"x'{value.hex()}'"
    return value[:CELL] if isinstance(value, str) else value
