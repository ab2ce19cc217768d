"""What queries answer on their own engine, they answer by translation on SQLite, or say by name that they cannot.

`data/translation.jsonl` holds queries about the table below, with the rows that PostgreSQL 18 or MariaDB 10.11 gave
(null: the server refuses the query), and what the translation owes: equal rows, or one of the outcomes of a failure.
"""

import datetime
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from text2sql.base.files import read_jsonl
from text2sql.engines import mysql, postgres
from text2sql.engines.question import Question, databases, statement
from text2sql.engines.sqlite import Answer, Failure, Limits
from text2sql.scoring.compare import compare
from text2sql.scoring.gold import Gold
from text2sql.scoring.matching import Slice

PAIRS = list(read_jsonl(Path(__file__).parent / "data" / "translation.jsonl"))
POSTGRES = """
CREATE TABLE e (id INT PRIMARY KEY, first VARCHAR(20), last TEXT, d DATE, ts TIMESTAMP, n INT, price NUMERIC(10,2),
  cost DECIMAL(10,2), x DOUBLE PRECISION, r REAL, ok BOOLEAN, txt TEXT, dtxt TEXT, tm TIME, big BIGINT DEFAULT 10);
INSERT INTO e (id, first, last, d, ts, n, price, cost, x, r, ok, txt, dtxt, tm) VALUES
(1, 'Ann', 'Lee', '2024-01-31', '2024-01-31 10:30:00', 7, 30.00, 20.00, 2.5, 4.6, TRUE, '12', '2024-03-05', '08:05:00'),
(2, 'bob', 'RAY', '2024-02-29', '2024-02-29 00:00:00', 2, 45.05, 25.10, -1.5, 4.5, FALSE, '7.9', '2024-1-7',
  '13:00:00'),
(3, 'ANN', 'ray', '2023-12-31', '2023-12-31 23:59:59', 9, 0.10, 0.20, 3.5, 3.3, TRUE, 'abc', NULL, NULL),
(4, NULL, 'Lee', '2024-01-01', '2024-01-01 00:00:00', NULL, NULL, 0.30, 0.1, NULL, NULL, '', NULL, '23:59:59'),
(5, 'Zoe', 'O''x', '2024-06-15', '2024-06-15 12:34:56', -3, 1234.56, 99.99, 1e3, 2.1, FALSE, '5', '2020-02-02',
  '00:00:00');
"""
SETUPS = {
    "postgres": POSTGRES,
    "mysql": POSTGRES.replace("TIMESTAMP", "DATETIME")
    .replace("DOUBLE PRECISION", "DOUBLE")
    .replace("REAL", "FLOAT")
    .replace(" TEXT", " VARCHAR(30)"),
}
LIMITS = Limits(seconds=10.0)


def of(dialect: str) -> list:
    return [pytest.param(pair, id=pair["sql"][:60]) for pair in PAIRS if pair["dialect"] == dialect]


def as_text(rows: list) -> list[tuple]:
    """Cells as SQLite has them; a timestamp at midnight is its date, as for `ex`."""
    return [tuple(map(_as_text, row)) for row in rows]


def _as_text(cell: Any) -> Any:
    match cell:
        case bool():
            return int(cell)
        case Decimal():
            return int(cell) if cell == int(cell) else float(cell)
        case datetime.timedelta():
            return str(datetime.datetime.min + cell).split()[-1] if 0 <= cell.days < 1 else str(cell)
        case datetime.date() | datetime.time():
            cell = str(cell)
    return cell.removesuffix(" 00:00:00") if isinstance(cell, str) else cell


def same(expected: list, found: Answer) -> bool:
    rows = as_text(expected)
    gold = Gold(Answer(found.columns, rows), [Slice(rows, len(rows))])
    return compare(gold, Answer(found.columns, as_text(found.rows))).ex


@pytest.mark.parametrize("pair", of("postgres") + of("mysql"))
def test_a_translated_query_answers_as_its_engine_does_or_says_that_it_cannot(pair):
    dialect, setup = pair["dialect"], SETUPS[pair["dialect"]]
    question = Question(pair["sql"], (setup,), dialect=dialect, setup_dialect=dialect)
    sql = statement(pair["sql"], question)
    (database,) = databases(question, LIMITS)
    assert not isinstance(database, Failure), database
    answer = sql if isinstance(sql, Failure) else database.query(sql, LIMITS)
    if pair["translated"] == "equal":
        assert isinstance(answer, Answer), answer
        assert same(pair["rows"], answer), (sql, answer.rows)
    else:
        assert isinstance(answer, Failure) and answer.outcome == pair["translated"], (sql, answer)
        assert "\n" not in answer.error


@pytest.fixture(scope="module")
def postgres_database() -> Iterator[Any]:
    with postgres.private_server() as engine:
        database = engine.build(POSTGRES)
        assert not isinstance(database, Failure), database
        yield engine, database
        database.close()


@pytest.fixture(scope="module")
def mysql_database() -> Iterator[Any]:
    if not mysql.installed():
        pytest.skip("MariaDB is not installed (Debian: mariadb-server)")
    with mysql.private_server() as engine:
        database = engine.build(SETUPS["mysql"])
        assert not isinstance(database, Failure), database
        yield engine, database
        database.close()


@pytest.mark.parametrize("dialect", ["postgres", "mysql"])
def test_the_rows_are_those_of_the_engine_itself(dialect, request):
    engine, database = request.getfixturevalue(f"{dialect}_database")
    for pair in (pair for pair in PAIRS if pair["dialect"] == dialect):
        sql = statement(pair["sql"], Question(pair["sql"]), engine)
        answer = database.query(sql, LIMITS)
        if pair["rows"] is None:
            assert isinstance(answer, Failure), pair["sql"]
        else:
            assert isinstance(answer, Answer) and same(pair["rows"], answer), (pair["sql"], answer)
