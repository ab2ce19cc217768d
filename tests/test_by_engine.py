"""Rows of another dialect without data are filled for their own engine: in its types, kept by what it answers."""

import json
from contextlib import closing

import pytest

from text2sql.base.files import write_jsonl
from text2sql.cli import main
from text2sql.databases import by_engine
from text2sql.databases.many import populate_rows
from text2sql.databases.populate import fillings
from text2sql.engines import duckdb, mysql, postgres
from text2sql.engines.question import Question, engine_of, row_question
from text2sql.engines.sqlite import Failure
from text2sql.scoring.score import Item, score_rows

POSTGRES = """
CREATE TYPE mood AS ENUM ('happy', 'sad');
CREATE DOMAIN amount AS NUMERIC(8,2) CHECK (VALUE > 0);
CREATE SCHEMA shop;
CREATE TABLE shop.customers (id INTEGER GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name VARCHAR(40) UNIQUE NOT NULL,
  feels mood NOT NULL, active BOOLEAN NOT NULL, tags TEXT[], info JSONB, ref UUID, joined TIMESTAMPTZ, "Seen" DATE);
CREATE TABLE shop.orders (id SERIAL PRIMARY KEY, customer_id INTEGER NOT NULL REFERENCES shop.customers(id),
  paid amount NOT NULL, day DATE NOT NULL, twice NUMERIC GENERATED ALWAYS AS (paid * 2) STORED, code CHAR(3),
  status VARCHAR(10) CHECK (status IN ('open', 'paid')), waited INTERVAL, raw BYTEA);
"""
GOLDS = [
    "SELECT name FROM shop.customers WHERE active AND feels = 'happy' AND 'vip' = ANY(tags)",
    "SELECT name FROM shop.customers WHERE info->>'city' = 'Seoul'",
    "SELECT DATE_TRUNC('month', day)::date AS m, COUNT(*) FILTER (WHERE status = 'paid') FROM shop.orders GROUP BY 1",
    "SELECT c.name, SUM(o.twice) FROM shop.customers c JOIN shop.orders o ON o.customer_id = c.id"
    " WHERE o.day >= DATE '2024-01-01' GROUP BY c.name HAVING SUM(o.paid) > 100",
]
MYSQL = """
CREATE TABLE `customers` (id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(40) UNIQUE NOT NULL, boss INT,
  feels ENUM('happy','sad'), active BOOLEAN, info JSON, joined DATETIME, FOREIGN KEY (boss) REFERENCES customers(id));
"""
DUCKDB = """
CREATE TABLE customers (id INTEGER PRIMARY KEY, name VARCHAR UNIQUE NOT NULL, feels ENUM('happy', 'sad'),
  boss INTEGER REFERENCES customers(id), tags VARCHAR[], paid DECIMAL(8,2) CHECK (paid > 0), made TIMESTAMP);
"""


@pytest.fixture(scope="module")
def server():
    with postgres.private_server() as started:
        yield started


def rows_of(engine, script: str, sql: str) -> list:
    database = engine.build(script)
    assert not isinstance(database, Failure), database
    with closing(database):
        return database.query(sql).rows


@pytest.mark.parametrize("gold", GOLDS)
def test_fillings_hold_postgresqls_types_and_the_gold_finds_rows(server, gold):
    filled = by_engine.populate(server, POSTGRES, gold, 2, 1)
    assert (filled.usable, filled.reason, len(filled.scripts), len(filled.harsh)) == (True, None, 2, 1)
    assert any(rows_of(server, script, gold) for script in filled.scripts)
    assert filled.power.killed > filled.power.survived  # mutants of the gold, which ran there too


def test_fillings_hold_every_constraint_and_fill_every_column(server):
    gold = "SELECT o.code, c.name FROM shop.orders o JOIN shop.customers c ON c.id = o.customer_id WHERE o.paid > 5"
    (script,) = by_engine.populate(server, POSTGRES, gold, 1, 1).scripts
    columns = {"customers": ["tags", "info", "ref", "joined", "Seen"], "orders": ["twice", "code", "waited", "raw"]}
    empty = [
        name
        for table, names in columns.items()
        for name in names
        if not rows_of(server, script, f'SELECT 1 FROM shop.{table} WHERE "{name}" IS NOT NULL')
    ]
    assert empty == []
    assert rows_of(server, script, "SELECT COUNT(*) FROM shop.orders WHERE twice <> paid * 2 OR length(code) > 3") == [
        (0,)
    ]


def test_a_gold_that_cannot_be_filled_for_says_why_in_the_engines_words(server):
    for context, gold, reason in (
        ("CREATE TABLE t (a INTEGR)", "SELECT a FROM t", 'gold_error: context: type "integr" does not exist'),
        ("CREATE TABLE t (a INT)", "SELECT b FROM t", 'gold_error: column "b" does not exist'),
        ("CREATE TABLE t (a INT)", "SELECT a FROM t WHERE a <> a", "no_rows: no filling makes the gold return rows"),
        (
            "CREATE TABLE t (a POINT NOT NULL)",
            "SELECT a FROM t",
            "no_rows: postgres does not take the rows: null value",
        ),
    ):
        filled = by_engine.populate(server, context, gold, 1, 1)
        assert not filled.usable and (filled.reason or "").startswith(reason), filled.reason


def test_fillings_for_duckdb_hold_its_types_and_references_to_the_same_table():
    gold = "SELECT a.name FROM customers a JOIN customers b ON a.boss = b.id WHERE list_contains(b.tags, 'vip')"
    filled = by_engine.populate(duckdb.engine(), DUCKDB, gold, 2, 1)
    assert filled.usable and any(rows_of(duckdb.engine(), script, gold) for script in filled.scripts)


@pytest.mark.skipif(not mysql.installed(), reason="no MariaDB is installed (Debian: mariadb-server)")
def test_fillings_for_mysql_hold_its_types_and_references_to_the_same_table():
    gold = (
        "SELECT a.name FROM customers a JOIN customers b ON a.boss = b.id WHERE b.feels = 'sad' AND YEAR(a.joined) > 9"
    )
    with mysql.private_server() as engine:
        filled = by_engine.populate(engine, MYSQL, gold, 1, 1)
        assert filled.usable and rows_of(engine, filled.scripts[0], gold)


@pytest.fixture(scope="module")
def made(server, tmp_path_factory):
    rows = [
        {"id": "pg", "context": POSTGRES, "dialect": "postgres", "answer": GOLDS[1]},
        {"id": "lite", "context": "CREATE TABLE t (a INTEGER);", "dialect": "sqlite", "answer": "SELECT a FROM t"},
        {"id": "my", "context": MYSQL, "dialect": "mysql", "answer": "SELECT name FROM customers"},
    ]
    engines = {"postgres": server}
    return rows, engines, populate_rows(rows, 2, 7, 2, tmp_path_factory.mktemp("made") / "unfinished.jsonl", engines)


def test_rows_are_filled_for_the_engines_that_are_there_and_for_sqlite_where_none_is(made):
    _, _, (instances, results) = made
    assert [row["usable"] for row in results] == [True, True, True]
    filled = fillings(instances, results)
    assert {name: filled[name].dialect for name in filled} == {"pg": "postgres", "lite": None, "my": None}
    assert sum("dialect" in row for row in instances) == 3  # SQLite's rows are as they were


def test_predictions_are_scored_on_the_engine_that_the_databases_were_filled_for(made):
    rows, engines, (instances, results) = made
    filled = fillings(instances, results)
    items = []
    for row in rows:
        own = filled[row["id"]]
        question = row_question(row | {"database": None}, own.ordinary, None, engines, own.harsh, own.dialect)
        items += [
            Item(row["id"], question, row["answer"]),
            Item(f"{row['id']}-wrong", question, f"{row['answer']} LIMIT 0"),
        ]
    scored = list(score_rows(items, workers=1, engines=engines))
    assert [(row["id"], row["engine"], row["ex"]) for row in scored] == [
        ("pg", "postgres", True), ("pg-wrong", "postgres", False),
        ("lite", "sqlite", True), ("lite-wrong", "sqlite", False),
        ("my", "sqlite (translated)", True), ("my-wrong", "sqlite (translated)", False),
    ]  # fmt: skip


def test_databases_filled_for_an_engine_that_is_not_there_any_more_are_translated():
    row = {"answer": "SELECT a FROM t", "context": "CREATE TABLE t (a INT);", "dialect": "postgres", "database": None}
    script = "CREATE TABLE t (a INT);\nINSERT INTO t (a) VALUES\n(1), (2);\n"
    question = row_question(row, (script,), filled_in="postgres")
    assert isinstance(question, Question) and engine_of(question, {}).name == "sqlite"
    (scored,) = score_rows([Item("1", question, "SELECT a FROM t WHERE a < 9")], workers=1)
    assert (scored["ex"], scored["engine"]) == (True, "sqlite (translated)")


def test_the_same_seed_gives_the_same_bytes_in_another_process(server, tmp_path, made):
    rows, engines, before = made
    again = populate_rows(rows[:1], 2, 7, 1, tmp_path / "again.jsonl", engines)
    assert json.dumps(again[0]) == json.dumps([row for row in before[0] if row["key"] == again[1][0]["key"]])


def test_a_machine_without_the_engine_does_as_on_sqlite_and_says_in_one_line_what_it_did(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(postgres, "installed", lambda: False)  # stands for a machine without it
    path = tmp_path / "predictions.jsonl"
    row = {"setup_sql": "CREATE TABLE t (a SERIAL PRIMARY KEY, b TEXT);", "dialect": "postgres"}
    golds = ["SELECT b FROM t WHERE b ILIKE 'a%'", "SELECT a::text FROM t"]
    write_jsonl(path, [row | {"id": n, "gold_sql": gold, "prediction": gold} for n, gold in enumerate(golds)])
    scores = []
    for choice in ("auto", "sqlite"):
        assert main(["score", str(path), "--populate", "2", "--engine", choice, "--workers", "1"]) == 0
        said = capsys.readouterr()
        scores.append(said.out)
        about = [line for line in said.err.splitlines() if "by translation" in line]
        assert len(about) == 1 and about[0].startswith("2 rows of dialect postgres run on SQLite by translation")
    assert scores[0] == scores[1] and scores[0].count('"ex": true') == 2
