"""A question's databases are opened one way, in order, and what cannot be opened or translated says why."""

import sqlite3

import pytest

from text2sql.base.errors import UserError
from text2sql.dataset.verdict import run
from text2sql.engines.question import NO_ROWS, Question, databases, gold_answer, row_question, setup_script, statement
from text2sql.engines.sqlite import Answer, Failure, Limits, query

LIMITS = Limits(seconds=5.0)
DDL = "CREATE TABLE t (a INTEGER, b TEXT);"
FILLED = f"{DDL} INSERT INTO t VALUES (1, 'x'), (2, 'y');"
MYSQL = "CREATE TABLE `t` (a INT AUTO_INCREMENT PRIMARY KEY, b VARCHAR(9)); INSERT INTO t VALUES (1, 'x');"


def row(context: str = DDL, dialect: str = "sqlite", database: str | None = None) -> dict:
    return {"answer": "SELECT a FROM t", "context": context, "dialect": dialect, "database": database}


@pytest.fixture
def file(tmp_path) -> str:
    path = tmp_path / "own.sqlite"
    connection = sqlite3.connect(path)
    connection.executescript(FILLED)
    connection.close()
    return str(path)


def answers(question: Question) -> list:
    return [query(database, question.gold_sql, LIMITS).rows for database in databases(question, LIMITS)]


def test_a_row_is_judged_on_its_own_file_whatever_else_it_brings(file):
    question = row_question(row(FILLED, database=file), (DDL,), "no filling helps")
    assert (question.database, question.setups, question.problem) == (file, (), None)
    assert answers(question) == [[(1,), (2,)]]


def test_fillings_stand_beside_a_context_with_rows_and_in_place_of_one_without(file):
    other = f"{DDL} INSERT INTO t VALUES (7, 'z');"
    assert answers(row_question(row(FILLED), (other,))) == [[(1,), (2,)], [(7,)]]
    assert answers(row_question(row(), (other,))) == [[(7,)]]


@pytest.mark.parametrize(
    ("given", "problem", "expected"),
    [
        (row(), None, NO_ROWS),
        (row(), "no_rows: no filling makes the gold return rows", "no_rows: no filling makes the gold return rows"),
        (row(FILLED), "no_rows: no filling makes the gold return rows", None),
        (row("ALTER TABLE t ADD b INT; INSERT INTO t VALUES (1);", "mysql"), None, "dialect: ALTER TABLE in a context"),
    ],
)
def test_a_question_without_a_database_says_why(given, problem, expected):
    question = row_question(given, (), problem)
    assert (question.problem or "").startswith(expected or "") and (question.problem is None) is (expected is None)


def test_a_database_is_opened_once_for_all_questions_about_it(file):
    first, second = (Question(sql, (FILLED,)) for sql in ("SELECT a FROM t", "SELECT b FROM t"))
    assert list(databases(first, LIMITS)) == list(databases(second, LIMITS))
    files = (Question(sql, database=file) for sql in ("SELECT a FROM t", "SELECT b FROM t"))
    assert len({database for question in files for database in databases(question, LIMITS)}) == 1


def test_a_setup_that_cannot_be_built_is_a_failure_in_its_place():
    good, bad = databases(Question("SELECT 1", (FILLED, "CREATE TABL")), LIMITS)
    assert not isinstance(good, Failure)
    assert isinstance(bad, Failure) and bad.outcome == "syntax"


def test_gold_and_setup_are_translated_from_their_dialects():
    question = Question("SELECT CONCAT(b, '!') FROM t", (MYSQL,), dialect="mysql", setup_dialect="mysql")
    assert gold_answer(question, LIMITS) == Answer(1, [("x!",)])
    assert isinstance(gold_answer(question._replace(gold_sql="SELECT UUID()"), LIMITS), Failure)
    assert statement("SELECT  1", None) == statement("SELECT  1", "SQLite") == "SELECT  1"
    assert isinstance(setup_script("SELEC (", "mysql"), Failure)
    with pytest.raises(UserError, match="unknown SQL dialect 'klingon'"):
        statement("SELECT 1", "klingon")


@pytest.mark.parametrize(
    "gold", ["SELECT a FROM t", "SELECT c FROM t", "SELEC", "DELETE FROM t", "SELECT YEAR(a) FROM t"]
)
def test_validation_and_scoring_see_the_same_answer(gold):
    (database,) = databases(Question(gold, (FILLED,)), LIMITS)
    assert run(FILLED, gold, "sqlite", None, LIMITS) == query(database, gold, LIMITS)


def test_a_gold_that_runs_alone_leaves_no_database_open(file):
    assert gold_answer(Question("SELECT b FROM t", database=file), LIMITS) == Answer(1, [("x",), ("y",)])
    with sqlite3.connect(file) as writer:  # nothing holds a lock on it
        writer.execute("INSERT INTO t VALUES (3, 'z')")
    assert gold_answer(Question("SELECT COUNT(*) FROM t", database=file), LIMITS) == Answer(1, [(3,)])
