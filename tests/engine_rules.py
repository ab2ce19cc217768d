"""What holds on every engine, as functions that each engine's tests call with an engine of their own."""

import datetime
import json
import os
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

from conftest import ROOT

from text2sql.engines.sqlite import NOW, Answer, Failure, Limits
from text2sql.scoring.compare import compare
from text2sql.scoring.gold import answer_gold, plan
from text2sql.sql.extract import extract

SETUP = "CREATE TABLE t(a INTEGER, b VARCHAR(20)); INSERT INTO t VALUES (1,'x'),(2,'y'),(3,'z');"
HOSTILE = [
    json.loads(line)
    for line in (ROOT / "tests/conformance/hostile.jsonl").read_text(encoding="utf-8").splitlines()
    if "hos-31" not in line  # a hole of SQLite's printf
]
ENDLESS = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT COUNT(*) FROM c"


def outcome(result: Any) -> str:
    return result.outcome if isinstance(result, Failure) else "ok"


def queries_answer(engine) -> None:
    database = engine.build(SETUP)
    answer = database.query("SELECT b, a FROM t ORDER BY a;")
    assert answer == Answer(2, [("x", 1), ("y", 2), ("z", 3)])
    assert answer.names == ("b", "a") and len(answer.kinds) == 2
    assert database.query("-- a comment\nSELECT COUNT(*) FROM t WHERE a > 9").rows == [(0,)]
    database.close()


def failures_have_their_names(engine, database, cases: list[tuple[str, str]]) -> None:
    common = [
        ("", "not_a_query"),
        ("-- nothing", "not_a_query"),
        ("EXPLAIN SELECT 1", "not_a_query"),
        (".shell id", "not_a_query"),
        ("SELECT a FROM FROM t", "syntax"),
        ("SELECT '\0'", "syntax"),
        ("SELECT '\ud800'", "syntax"),
        ("SELECT c FROM t", "schema"),
        ("SELECT a FROM no_such_table", "schema"),
        ("SELECT no_such_function_anywhere(a) FROM t", "schema"),
        ("DELETE FROM t", "refused"),
        ("DROP TABLE t", "refused"),
        ("CREATE TABLE u (a INTEGER)", "refused"),
    ]
    wrong = []
    for sql, expected in common + cases:
        answer = database.query(sql, Limits(seconds=5))
        if outcome(answer) != expected:
            wrong.append((sql, expected, answer))
    assert wrong == []


def hostile_predictions_get_their_verdicts(engine) -> None:
    """The attacks of the conformance file, one after the other on one database, as scoring runs them."""
    database = engine.build(SETUP)
    for case in HOSTILE:
        sql = extract(case["prediction"], False, engine.dialect).sql
        answer = database.query(sql, Limits(seconds=1, rows=10_000)) if sql else Failure("no_sql", "")
        gold = answer_gold(database, plan(case["gold_sql"], engine.dialect))
        # What SQLite finds too deep or too long may be none of both elsewhere, but is no right answer.
        right = not isinstance(answer, Failure) and not isinstance(gold, Failure) and compare(gold, answer).ex
        assert right == (case["expected"] is True), (case["id"], answer)
    assert database.query("SELECT a, b FROM t ORDER BY a").rows == [(1, "x"), (2, "y"), (3, "z")]
    database.close()


def attacks_change_nothing(engine, database, attacks: list[str], folder: Path, state) -> None:
    """Each attack fails and leaves no file in the folder that it runs in; what `state()` tells is as it was."""
    before = state()
    assert not list(folder.iterdir())
    here = os.getcwd()
    os.chdir(folder)
    try:
        survived = [sql for sql in attacks if not isinstance(database.query(sql, Limits(seconds=1)), Failure)]
    finally:
        os.chdir(here)
    assert survived == []
    assert database.query("SELECT a, b FROM t ORDER BY a").rows == [(1, "x"), (2, "y"), (3, "z")]
    assert state() == before
    assert not list(folder.iterdir())
    again = engine.build(SETUP)
    assert again.query("SELECT COUNT(*) FROM t").rows == [(3,)]
    again.close()


def deadlines_are_kept_and_the_database_lives_on(engine, endless: str = ENDLESS) -> None:
    database = engine.build(SETUP)
    begun = time.monotonic()
    assert outcome(database.query(endless, Limits(seconds=0.3))) == "timeout"
    assert time.monotonic() - begun < 3
    assert database.query("SELECT COUNT(*) FROM t", Limits(seconds=5)).rows == [(3,)]
    database.close()


def caps_are_errors_not_truncations(engine) -> None:
    database = engine.build(SETUP)
    assert database.query("SELECT * FROM t", Limits(rows=2)) == Failure("too_large", "more than 2 rows")
    cut = database.query("SELECT a FROM t ORDER BY a", Limits(rows=2, cut=True))
    assert cut.rows == [(1,), (2,)] and cut.more
    wide = "SELECT REPEAT(b, 1000) FROM t"
    assert outcome(database.query(wide, Limits(result_bytes=2999))) == "too_large"
    assert outcome(database.query("SELECT 1" + " " * 50_000)) == "too_large"
    assert database.query(wide).columns == 1
    database.close()


def the_clock_stands_still(engine) -> None:
    database = engine.build(
        "CREATE TABLE d(made TIMESTAMP DEFAULT CURRENT_TIMESTAMP, n INTEGER); INSERT INTO d (n) VALUES (1);"
    )
    now = datetime.datetime.fromisoformat(NOW)
    answer = database.query("SELECT CURRENT_DATE, CURRENT_TIMESTAMP, now(), made FROM d WHERE n < 5")
    assert answer.rows == [(now.date(), now, now, now)]
    assert answer.names[0].lower() == "current_date" and answer.kinds[0] == "date"
    database.close()


def ties_are_found_by_the_engine(engine) -> None:
    """The comparator's own ranking, on the engine: rows that tie may swap, and a LIMIT through a tie is ambiguous."""
    database = engine.build(
        "CREATE TABLE t(a INTEGER, b INTEGER); INSERT INTO t VALUES (1,1),(2,1),(3,2),(4,2),(5,NULL),(6,3);"
    )

    def gold(sql: str):
        found = answer_gold(database, plan(sql, engine.dialect))
        assert not isinstance(found, Failure), found
        return found

    def right(sql: str, predicted: str) -> bool:
        return compare(gold(sql), database.query(predicted)).ex

    assert right("SELECT a FROM t WHERE b < 3 ORDER BY b", "SELECT a FROM t WHERE b < 3 ORDER BY b, a DESC")
    assert not right("SELECT a FROM t WHERE b < 3 ORDER BY b", "SELECT a FROM t WHERE b < 3 ORDER BY b DESC")
    first = gold("SELECT a FROM t WHERE b IS NOT NULL ORDER BY b LIMIT 1")
    assert first.ambiguous and compare(first, Answer(1, [(2,)])).ex and not compare(first, Answer(1, [(3,)])).ex
    later = gold("SELECT a, b FROM t WHERE b IS NOT NULL ORDER BY 2 LIMIT 2 OFFSET 2")
    assert not later.ambiguous and compare(later, Answer(2, [(4, 2), (3, 2)])).ex
    grouped = "WITH x AS (SELECT b, COUNT(*) AS n FROM t GROUP BY b) SELECT b FROM x WHERE b < 3"
    counted = gold(f"{grouped} ORDER BY n DESC LIMIT 1")
    assert counted.ambiguous and compare(counted, Answer(1, [(2,)])).ex
    database.close()


def verdict(database, gold: str, predicted: str) -> tuple[bool, bool]:
    """`ex` and `ex_strict`."""
    legal = answer_gold(database, plan(gold, database.dialect))
    assert not isinstance(legal, Failure), legal
    answer = database.query(predicted)
    assert not isinstance(answer, Failure), answer
    found = compare(legal, answer)
    return found.ex, found.ex_strict


def numbers_and_dates_compare_by_value(database) -> None:
    same, loosely, different = (True, True), (True, False), (False, False)
    midnight = "SELECT CAST('2024-01-02 00:00:00' AS {0}), 'x'"
    stamp = "DATETIME" if database.dialect == "mysql" else "TIMESTAMP"
    double = "DOUBLE" if database.dialect == "mysql" else "DOUBLE PRECISION"
    for gold, predicted, expected in (
        ("SELECT CAST(1.50 AS DECIMAL(8,2))", "SELECT CAST(1.5 AS DECIMAL(8,1))", same),
        ("SELECT CAST(2 AS DECIMAL(8,2))", "SELECT 2", same),
        ("SELECT CAST(1.50 AS DECIMAL(8,2))", f"SELECT CAST(1.5 AS {double})", same),
        ("SELECT CAST(0.10 AS DECIMAL(8,2))", "SELECT CAST(0.11 AS DECIMAL(8,2))", different),
        ("SELECT CAST(1.5 AS DECIMAL(8,2))", "SELECT '1.5'", different),
        ("SELECT DATE '2024-01-02'", "SELECT '2024-01-02'", different),
        ("SELECT DATE '2024-01-02', 'x'", midnight.format(stamp), loosely),
        ("SELECT 'x', DATE '2024-01-02'", midnight.format(stamp), loosely),
        ("SELECT DATE '2024-01-02', 'x'", f"SELECT CAST('2024-01-02 00:00:01' AS {stamp}), 'x'", different),
    ):
        assert verdict(database, gold, predicted) == expected, (gold, predicted)


def values_come_back_as_they_were_spelled(engine, values: list) -> None:
    database = engine.build(SETUP)
    spelled = ", ".join(map(engine.spell_value, values))
    assert database.query(f"SELECT {spelled}").rows == [tuple(values)]
    name = 'an "odd" `name`'
    assert database.query(f"SELECT a AS {engine.spell_name(name)} FROM t WHERE a = 1").names == (name,)
    database.close()


PLAIN_VALUES = [None, 1, -5, Decimal("1.25"), 0.5, "it's", "줄\n\\n", datetime.date(2024, 1, 2), b"\x00'\\\xff",
                datetime.datetime(2024, 1, 2, 3, 4, 5)]  # fmt: skip


def count_rows(engine, item: tuple[str, str]) -> Any:
    """For worker processes: builds, asks, closes."""
    setup, sql = item
    database = engine.build(setup)
    if isinstance(database, Failure):
        return database.outcome
    answer = database.query(sql, Limits(seconds=0.5))
    database.close()
    return answer.outcome if isinstance(answer, Failure) else answer.rows


def works_in_worker_processes(engine, hostile: str) -> None:
    """The engine travels to the pool's workers, and a row that has to be stopped costs its neighbours nothing."""
    from functools import partial

    from text2sql.engines.pool import Lost, guarded_map

    items = [(SETUP, "SELECT COUNT(*) FROM t")] * 6
    items[2] = (SETUP, hostile)
    count = partial(count_rows, engine)
    found = list(guarded_map(count, items, workers=2, seconds=3, chunk=2, memory_bytes=768 * 2**20))
    assert isinstance(found[2], (str, Lost)) and [row for place, row in enumerate(found) if place != 2] == [[(3,)]] * 5
