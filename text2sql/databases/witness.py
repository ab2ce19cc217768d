"""A witness: one small database on which a prediction answers otherwise than its gold, to be seen at a glance.

It is a database of the score with rows taken away as long as the answers still differ, by delta debugging (Zeller and
Hildebrandt, "Simplifying and isolating failure-inducing input", 2002): halves first, then smaller parts, at last single
rows. What makes a filling ordinary stays: a row keeps the partner that it refers to, a table that is read keeps a row,
and a gold that answered with rows goes on doing so; else every difference would shrink to one of missing rows.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from functools import lru_cache
from typing import Any, NamedTuple

from text2sql.databases import aims
from text2sql.databases.ordinary import ordinary
from text2sql.databases.schema import Schema, read_schema
from text2sql.engines.sqlite import Answer, Connection, Failure, Limits, build, query, reads, writing
from text2sql.scoring.compare import compare
from text2sql.scoring.gold import Plan, answer_gold, plan
from text2sql.scoring.results import cell
from text2sql.sql.spelling import quoted

TRIALS = 120  # databases looked at, at most: a bound that is the same on every machine
STEPS = 400_000  # of SQLite's machine for one statement on one of them, for the same reason
ROWS = 60  # of a witness and of each answer; a larger one shows nothing at a glance
WHOLE = 4_000  # rows of a database that is shrunk at all

Row = tuple[str, int]  # table and rowid


class _Case(NamedTuple):
    """A gold and a prediction on one database, and what its shrunk form has to keep."""

    connection: Connection
    gold: Plan
    prediction: str
    answered: bool  # the gold has a value to show

    def answers(self, limits: Limits) -> tuple[Answer, Answer] | None:
        """What gold and prediction answer, where these differ and the gold still has a value to show."""
        gold = answer_gold(self.connection, self.gold, limits)
        if isinstance(gold, Failure) or (self.answered and not gold.answer.has_value):
            return None
        answer = query(self.connection, self.prediction, limits)
        if isinstance(answer, Failure) or compare(gold, answer).ex:
            return None
        return gold.answer, answer


def witness(script: str, gold: str, prediction: str) -> dict[str, Any] | None:
    """A small database on which SQLite's answers to two queries differ, as they do on the one that a script builds.

    {tables: {name: {columns, rows}}, gold: rows, prediction: rows}: of the tables that either query reads, the columns
    that it reads and the keys; cells as `scoring.results` keeps them. None where the answers do not differ, the
    database is too large to be shrunk, or what is left of it is too large to be seen at a glance.
    """
    limits = Limits(rows=WHOLE, steps=STEPS)
    connection = build(script)
    if isinstance(connection, Failure):
        return None
    with closing(connection):
        schema = _ordinary(script, gold)
        whole = answer_gold(connection, plan(gold), limits)
        if schema is None or isinstance(whole, Failure):
            return None
        case = _Case(connection, plan(gold), prediction, whole.answer.has_value)
        try:
            read = reads(connection, gold) | reads(connection, prediction)
            tables = [table.name for name, table in schema.tables.items() if name in {of for of, _ in read}]
            with writing(connection):
                connection.execute("PRAGMA foreign_keys = 0")
            rows = _rows(connection, tables)
            if len(rows) > WHOLE or case.answers(limits) is None:
                return None
            left = _shrunk(case, rows, _partners(connection, schema, tables), limits)
        except sqlite3.Error:  # a table without rowids, a trigger that forbids to delete
            return None
        answers = case.answers(limits)
        if answers is None or len(left) > ROWS or any(len(answer.rows) > ROWS for answer in answers):
            return None
        return {
            "tables": {name: _shown(connection, schema, name, read) for name in tables},
            "gold": [[cell(value) for value in row] for row in answers[0].rows],
            "prediction": [[cell(value) for value in row] for row in answers[1].rows],
        }


@lru_cache(maxsize=64)  # many predictions are about one gold
def _ordinary(script: str, gold: str) -> Schema | None:
    """The schema by whose references rows have their partners in an ordinary filling for the gold."""
    schema = read_schema(script)
    if isinstance(schema, Failure):
        return None
    with closing(sqlite3.connect(":memory:")) as empty:
        return ordinary(schema, aims.read_aim(aims.parse(gold, schema), schema, empty))


def _rows(connection: Connection, tables: list[str]) -> list[Row]:
    return [
        (name, rowid)
        for name in tables
        for (rowid,) in connection.execute(f"SELECT rowid FROM {quoted(name)} ORDER BY rowid")
    ]


def _partners(connection: Connection, schema: Schema, tables: list[str]) -> list[dict[Row, set[Row]]]:
    """For each reference among the tables: its rows that have partners, with these."""
    found = []
    for name in tables:
        for link in schema.tables[name.lower()].foreign_keys:
            if link.parent not in tables:
                continue
            pairs = zip(link.columns, link.parent_columns, strict=True)
            match = " AND ".join(f"c.{quoted(child)} = p.{quoted(parent)}" for child, parent in pairs)
            held: dict[Row, set[Row]] = {}
            for child, parent in connection.execute(
                f"SELECT c.rowid, p.rowid FROM {quoted(name)} c JOIN {quoted(link.parent)} p ON {match}"
            ):
                held.setdefault((name, child), set()).add((link.parent, parent))
            found.append(held)
    return found


def _shrunk(case: _Case, rows: list[Row], partners: list[dict[Row, set[Row]]], limits: Limits) -> list[Row]:
    """The rows that are left when no more can be taken away, or all trials are spent; the others are deleted."""
    trials = 0
    size = max(1, len(rows) // 2)
    while True:
        before = len(rows)
        for part in list(_parts(rows, size)):
            gone = _with_children(set(part) & set(rows), set(rows), partners)
            if not gone or {name for name, _ in rows} != {name for name, _ in set(rows) - gone}:
                continue
            if trials == TRIALS:
                return rows
            trials += 1
            if _differ_without(case, gone, limits):
                rows = [row for row in rows if row not in gone]
        if size == 1 and len(rows) == before:
            return rows
        size = max(1, size // 2)


def _parts(rows: list[Row], size: int) -> Iterator[list[Row]]:
    """Parts of at most `size` rows, each of one table."""
    for name in dict.fromkeys(name for name, _ in rows):
        own = [row for row in rows if row[0] == name]
        yield from (own[start : start + size] for start in range(0, len(own), size))


def _with_children(gone: set[Row], rows: set[Row], partners: list[dict[Row, set[Row]]]) -> set[Row]:
    """The rows, and all that would be left without a partner that they had."""
    while True:
        left = rows - gone
        more = {child for held in partners for child, parents in held.items() if child in left and not parents & left}
        if not more:
            return gone
        gone = gone | more


def _differ_without(case: _Case, gone: set[Row], limits: Limits) -> bool:
    """Deletes the rows; puts them back where the answers do not differ without them."""
    connection = case.connection
    with writing(connection):
        connection.execute("SAVEPOINT trial")
        for name in sorted({name for name, _ in gone}):
            marks = ", ".join(str(rowid) for of, rowid in sorted(gone) if of == name)
            connection.execute(f"DELETE FROM {quoted(name)} WHERE rowid IN ({marks})")
    differ = case.answers(limits) is not None
    with writing(connection):
        if not differ:
            connection.execute("ROLLBACK TO trial")
        connection.execute("RELEASE trial")
    return differ


def _shown(connection: Connection, schema: Schema, name: str, read: set[tuple[str, str]]) -> dict[str, Any]:
    table = schema.tables[name.lower()]
    keys = {*table.primary_key, *(column for link in table.foreign_keys for column in link.columns)}
    columns = [c for c in table.columns if c in keys or (name.lower(), c.lower()) in read]
    columns = columns or list(table.columns)[:1]
    rows = connection.execute(f"SELECT {', '.join(map(quoted, columns))} FROM {quoted(name)} ORDER BY rowid")
    return {"columns": columns, "rows": [[cell(value) for value in row] for row in rows]}
