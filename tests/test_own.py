"""A database of the user's own, by its URL: its schema is the context, gold and prediction run there, reading only."""

import datetime
import json
import subprocess
import sys
from decimal import Decimal

import psycopg
import pytest
from conftest import ROOT

from text2sql.base.errors import UserError
from text2sql.base.params import EvaluationParams, problem_of_url
from text2sql.dataset.verdict import check
from text2sql.engines import mysql, own, postgres
from text2sql.engines.question import Question, foreign_rows, open_engines
from text2sql.engines.sqlite import Answer, Limits
from text2sql.models.values import values_of
from text2sql.scoring.score import Item, score_rows
from text2sql.sources import read
from text2sql.sql.ddl import read_script

AUTO = EvaluationParams(engine="auto", postgres_url=None, mysql_url=None, trust_login=False)
SHOP = """
CREATE TYPE mood AS ENUM ('happy', 'sad');
CREATE TABLE customers (id INTEGER PRIMARY KEY, name VARCHAR(40), feels mood, paid NUMERIC(8,2), joined DATE);
INSERT INTO customers VALUES (1, 'Ada', 'happy', 1.50, '2024-01-02'), (2, 'Bo', 'sad', 2.25, '2024-03-04');
CREATE TABLE secrets (word TEXT);
CREATE SEQUENCE s;
CREATE FUNCTION touch() RETURNS bigint LANGUAGE sql AS $$ SELECT nextval('s') $$;
CREATE ROLE reader LOGIN;
GRANT SELECT ON customers TO reader;
GRANT USAGE ON SEQUENCE s TO reader;
"""


@pytest.fixture(scope="module")
def shop():
    """(URL for a login that may read, URL for the superuser) of a database on a server that is not the project's."""
    with postgres.private_server() as server:
        host = psycopg.conninfo.conninfo_to_dict(server.owner)["host"]
        with psycopg.connect(server.owner, autocommit=True) as connection:
            connection.execute("CREATE DATABASE shop")
        with psycopg.connect(server.owner, dbname="shop") as connection:
            connection.execute(SHOP)
        yield f"postgresql://reader@/shop?host={host}", f"postgresql://owner@/shop?host={host}"


def on(url: str, choice: EvaluationParams = AUTO):
    return open_engines(foreign_rows([("postgres", url, False)]), choice)


def test_gold_and_prediction_run_there_and_cells_compare_by_value(shop):
    url, _ = shop
    with on(url) as engines:
        items = [
            Item(
                str(number),
                Question("SELECT paid, joined FROM customers", database=url, dialect="postgres"),
                prediction,
            )
            for number, prediction in enumerate(
                [
                    "SELECT paid::numeric(9,3), joined FROM customers ORDER BY id DESC",
                    "SELECT paid, joined::timestamp FROM customers",
                    "SELECT paid FROM customers",
                    "SELECT word, 1 FROM secrets",
                    "DELETE FROM customers",
                    "SELECT touch(), joined FROM customers",
                ]
            )
        ]
        scored = list(score_rows(items, workers=2, engines=engines))
        assert {row["engine"] for row in scored} == {"postgres"}
        assert {row["engine_version"] for row in scored} == {engines[url].version}
        assert engines[url].version.startswith("18")
    outcomes = ["match", "match", "mismatch", "refused", "refused", "refused"]
    assert [row["outcome"] for row in scored] == outcomes
    assert [row["ex_strict"] for row in scored[:2]] == [True, False]  # a date is no timestamp


def test_what_differs_from_call_to_call_is_refused_where_answers_are_compared(shop):
    database = own.OwnDatabase(shop[0], "the test")
    for sql in ("SELECT now()", "SELECT CURRENT_DATE", "SELECT DATE 'today'", "SELECT random()", "SELECT current_user"):
        assert database.query(sql).outcome == "refused", sql
    assert database.query("SELECT paid, joined, feels FROM customers WHERE id = 1") == Answer(
        3, [(Decimal("1.50"), datetime.date(2024, 1, 2), "happy")]
    )
    assert database.query("SELECT pg_sleep(9)", Limits(seconds=0.3)).outcome == "refused"
    endless = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT COUNT(*) FROM c"
    assert database.query(endless, Limits(seconds=0.3)).outcome == "timeout"
    assert database.query("SELECT * FROM customers", Limits(rows=1)).outcome == "too_large"
    database.close()


def test_a_login_that_may_do_more_than_read_is_refused_unless_it_is_trusted(shop):
    _, url = shop
    with (
        pytest.raises(
            UserError, match=r"the login is a superuser; use one that may only read.*evaluation\.trust_login"
        ),
        on(url),
    ):
        pass
    with on(url, AUTO.model_copy(update={"trust_login": True})) as engines:
        question = Question("SELECT name FROM customers", database=url, dialect="postgres")
        rows = score_rows(
            [Item("1", question, "SELECT name FROM customers; DROP TABLE customers")], workers=1, engines=engines
        )
        assert [row["outcome"] for row in rows] == ["match"]  # the first statement alone, which reads
        rows = score_rows([Item("1", question, "DROP TABLE customers")], workers=1, engines=engines)
        assert [row["outcome"] for row in rows] == ["refused"]


def test_nothing_is_left_on_the_server(shop):
    _, owner = shop
    with psycopg.connect(owner) as connection:
        names = "SELECT datname FROM pg_database WHERE datname NOT LIKE 't2s%' ORDER BY 1"
        assert connection.execute(names).fetchall() == [("postgres",), ("shop",), ("template0",), ("template1",)]
        assert connection.execute("SELECT last_value, is_called FROM s").fetchone() == (1, False)
        assert connection.execute("SELECT COUNT(*) FROM customers").fetchone() == (2,)
        asking = "SELECT COUNT(*) FROM pg_stat_activity WHERE usename = 'reader'"
        assert connection.execute(asking).fetchone() == (0,)


INGEST = {
    "source": "file", "test_path": None, "config": None, "revision": None, "columns": {}, "dialect": None, "rows": 1,
    "seed": 1,
}  # fmt: skip


def test_ingest_takes_its_schema_for_the_context_and_validation_runs_there(shop, tmp_path):
    from text2sql.base.params import IngestParams

    url, _ = shop
    path = tmp_path / "questions.jsonl"
    path.write_text(json.dumps({"question": "Who?", "answer": "SELECT name FROM customers WHERE feels = 'sad'"}) + "\n")
    (row,) = read(IngestParams(**INGEST, path=str(path), database=url))["train"]
    assert (row["dialect"], row["database"], row["db_id"]) == ("postgres", url, "shop")
    assert (
        "CREATE TABLE customers" in row["context"] and "secrets" not in row["context"]
    )  # which its login may not read
    item = (row["context"], row["answer"], row["question"], row["dialect"], row["database"])
    with on(url) as engines:
        assert check(item, has_rows=True, runs=True, returns_rows=True, engines=engines) is None
        broken = (item[0], "SELECT nome FROM customers", *item[2:])
        assert check(broken, has_rows=True, runs=True, returns_rows=True, engines=engines)[:2] == ("runs", "schema")
    (table,) = read_script(row["context"], "postgres").tables
    with pytest.raises(UserError, match="a database on a server is not read for prompts"):
        values_of(row, 2)(table, table.columns)


@pytest.mark.parametrize(
    ("url", "good"),
    [
        ("postgresql://reader@host:5432/shop", True),
        ("mysql://reader@host/shop?unix_socket=/run/s", True),
        ("postgresql://reader:secret@host/shop", False),
        ("oracle://reader@host/shop", False),
    ],
)
def test_a_password_stands_in_no_url(url, good):
    problem = problem_of_url(url)
    assert (problem is None) == good and "secret" not in (problem or "")


def test_the_command_scores_on_a_database_by_its_url(shop, tmp_path):
    url, owner = shop
    path = tmp_path / "predictions.jsonl"
    row = {"id": 1, "database": url, "dialect": "postgres", "gold_sql": "SELECT 1", "prediction": "SELECT 1"}
    path.write_text(json.dumps(row) + "\n" + json.dumps(row | {"id": 2, "prediction": "SELECT 2"}) + "\n")
    command = [sys.executable, "-m", "text2sql", "score", str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert [json.loads(line)["ex"] for line in done.stdout.splitlines()] == [True, False], done.stderr
    assert "translat" not in done.stderr
    path.write_text(json.dumps(row | {"database": owner}) + "\n")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and "superuser" in done.stderr and "--trust-login" in done.stderr


@pytest.mark.skipif(not mysql.installed(), reason="no MariaDB is installed (Debian: mariadb-server)")
def test_a_database_of_mariadb_is_read_the_same_way(monkeypatch):
    import pymysql

    with mysql.private_server() as server:
        owner = dict(server.owner)
        with pymysql.connect(**owner, autocommit=True) as connection, connection.cursor() as cursor:
            for statement in (
                "CREATE DATABASE shop", "CREATE TABLE shop.t (a INT PRIMARY KEY, b DATETIME)",
                "INSERT INTO shop.t VALUES (1, '2024-06-15 12:34:56')",
                "CREATE USER reader@localhost IDENTIFIED BY 'geheim'", "GRANT SELECT ON shop.* TO reader@localhost",
            ):  # fmt: skip
                cursor.execute(statement)
        monkeypatch.setenv("MYSQL_PWD", "geheim")
        url = f"mysql://reader@localhost/shop?unix_socket={owner['unix_socket']}"
        assert own.read_schema(url, "the test")[:2] == ("CREATE TABLE t (a int(11) PRIMARY KEY, b datetime);", "mysql")
        with open_engines(foreign_rows([("mysql", url, False)]), AUTO) as engines:
            question = Question(
                "SELECT a FROM t WHERE b = NOW()", database=url, dialect="mysql"
            )  # the clock stands still
            items = [
                Item("1", question, "SELECT a FROM t"),
                Item("2", question, "SELECT SLEEP(9)"),
                Item("3", question, "DROP TABLE t"),
            ]
            scored = list(score_rows(items, workers=1, engines=engines))
        assert [(row["engine"], row["outcome"]) for row in scored] == [
            ("mysql", "match"),
            ("mysql", "refused"),
            ("mysql", "refused"),
        ]
        monkeypatch.delenv("MYSQL_PWD")
        with pytest.raises(UserError, match="Access denied"):
            own.read_schema(url, "the test")
