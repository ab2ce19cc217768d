"""Questions made from a bare database: they run, they differ, and they train alone."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from test_select import select
from test_sources import answers, ingest, rows_of, write

from text2sql.base.errors import UserError
from text2sql.dataset.labels import GENERATED, language_of
from text2sql.sources.database import described

SHOP = """
CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT NOT NULL, city TEXT, joined DATE);
CREATE TABLE "order" (id INTEGER PRIMARY KEY, customerId INTEGER REFERENCES customers(id), "total price" REAL,
                      year INT);
CREATE TABLE notes (body BLOB);
CREATE TABLE empty (a INT, b TEXT);
"""
ASKED = {
    "question": "How many customers live in Busan?",
    "answer": "SELECT COUNT(*) FROM customers WHERE city = 'Busan'",
}


@pytest.fixture
def shop(tmp_path) -> Path:
    path = tmp_path / "shop.sqlite"
    with closing(sqlite3.connect(path)) as db:
        db.executescript(SHOP)
        people = [
            (n, f"Ann {chr(65 + n)}", ("Seoul", "Busan", None)[n % 3], f"2024-0{n % 9 + 1}-01") for n in range(12)
        ]
        db.executemany("INSERT INTO customers VALUES (?, ?, ?, ?)", people)
        orders = [(n, n % 10, 7.5 * n, 2020 + n % 4) for n in range(40)]
        db.executemany('INSERT INTO "order" VALUES (?, ?, ?, ?)', orders)
        db.execute("INSERT INTO notes VALUES (x'00'), (x'01')")
        db.commit()
    return path


def test_a_database_is_described_by_its_names_values_and_foreign_keys(shop):
    schema, _ = described(shop)
    assert {table.name: (table.one, table.label) for table in schema.tables} == {
        "customers": ("customer", "customers"),
        '"order"': ("order", "orders"),
    }
    kinds = {column.name: (column.kind, column.label) for table in schema.tables for column in table.columns}
    assert kinds == {
        "id": ("key", "ID"),
        "name": ("name", "name"),
        "city": ("category", "city"),
        "joined": ("date", "joined"),
        "customerId": ("ref", "customer ID"),
        '"total price"': ("measure", "total price"),
        "year": ("year", "year"),
    }
    assert [(child.name, ref.name, parent.name) for child, ref, parent in schema.relations] == [
        ('"order"', "customerId", "customers")
    ]


def test_generated_questions_run_return_rows_and_differ(shop, tmp_path):
    held_out = write(tmp_path / "asked.jsonl", json.dumps(ASKED))
    given = ingest("database", database=str(shop), test_path=str(held_out), rows=60)
    rows = rows_of(given)
    assert rows == rows_of(given)
    train = rows["train"]
    assert [row["question"] for row in rows["test"]] == [ASKED["question"]]
    assert len(train) == 60 == len({row["question"] for row in train}) == len({row["answer"] for row in train})
    assert {(row["domain"], row["db_id"], row["language"]) for row in train} == {(GENERATED, "shop", "en")}
    assert len({row["complexity"] for row in train}) >= 4 and any("JOIN" in row["answer"] for row in train)
    for row in train:
        assert any(cell is not None for line in answers(row) for cell in line)


def test_questions_are_spread_over_a_folder_of_databases_and_stand_behind_those_of_a_file(shop, tmp_path):
    for name in ("one", "two"):
        (tmp_path / "dbs" / name).mkdir(parents=True)
        (tmp_path / "dbs" / name / f"{name}.sqlite").write_bytes(shop.read_bytes())
    path = write(tmp_path / "asked.jsonl", json.dumps(ASKED | {"db_id": "one"}))
    train = rows_of(ingest("database", path, database=str(tmp_path / "dbs"), rows=9))["train"]
    assert [row["db_id"] for row in train] == ["one"] + ["one"] * 5 + ["two"] * 4
    assert [row["domain"] for row in train] == [None] + [GENERATED] * 9


def test_a_database_that_holds_little_gives_what_it_has_and_a_note(tmp_path, capsys):
    with closing(sqlite3.connect(tmp_path / "s.db")) as db:
        db.executescript("CREATE TABLE t (a TEXT); INSERT INTO t VALUES ('x'), ('y')")
    path = write(tmp_path / "asked.jsonl", json.dumps({"question": "?", "answer": "SELECT a FROM t"}))
    train = rows_of(ingest("database", database=str(tmp_path / "s.db"), test_path=str(path), rows=500))["train"]
    assert 0 < len(train) < 500
    assert f"gives {len(train)} of 500 questions" in capsys.readouterr().err


def test_where_the_names_are_korean_so_are_the_questions(tmp_path):
    with closing(sqlite3.connect(tmp_path / "가게.db")) as db:
        db.executescript("CREATE TABLE 고객 (번호 INTEGER PRIMARY KEY, 이름 TEXT, 도시 TEXT, 나이 INT)")
        rows = [(n, f"고객{n}", ("서울", "부산")[n % 2], 20 + n) for n in range(9)]
        db.executemany("INSERT INTO 고객 VALUES (?, ?, ?, ?)", rows)
        db.commit()
    path = write(tmp_path / "asked.jsonl", json.dumps({"question": "?", "answer": "SELECT 1"}))
    train = rows_of(ingest("database", database=str(tmp_path / "가게.db"), test_path=str(path), rows=20))["train"]
    assert len(train) == 20 and {(row["language"], language_of(row["question"])) for row in train} == {("ko", "ko")}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "ingest.test_path: not set; generated questions only train"),
        ({"test_path": "q.jsonl"}, "ingest.database: not set"),
        ({"test_path": "q.jsonl", "database": "s.sql"}, "no SQLite file with rows"),
    ],
)
def test_what_is_missing_is_said(tmp_path, monkeypatch, changes, message):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "q.jsonl", json.dumps(ASKED | {"context": "c"}))
    write(tmp_path / "s.sql", SHOP)
    with pytest.raises(UserError, match=message):
        rows_of(ingest("database", **changes))


@pytest.mark.parametrize("split", ["auto", "holdout"])
def test_generated_questions_never_evaluate(tmp_path, split):
    ddl = "CREATE TABLE t (a INT)"
    about = {"db_id": "t", "context": ddl, "dialect": "sqlite", "complexity": "basic SQL", "language": "en"}
    asked = [about | {"id": f"h{n}", "question": f"{n * 7919} please", "answer": f"SELECT {n}"} for n in range(12)]
    made = [
        about | {"id": f"g{n}", "question": f"made {n * 104729}", "answer": f"SELECT a + {n}", "domain": GENERATED}
        for n in range(50)
    ]
    _, train, evaluation = select(tmp_path, made + asked, split=split)
    assert 0 < len(evaluation) < 12 and {row["id"][0] for row in evaluation} == {"h"}
    assert sum(row["domain"] == GENERATED for row in train) == 50
