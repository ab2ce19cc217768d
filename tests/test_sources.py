"""Every source gives the project's rows from files in its own format."""

import gzip
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from text2sql.base.errors import UserError
from text2sql.base.params import IngestParams
from text2sql.dataset.labels import complexity_of, language_of
from text2sql.dataset.rows import COLUMNS, read_table, write_rows
from text2sql.sources import SOURCES, read
from text2sql.sources.schemas import ddl_of_spider, name_of_schema

DATA = Path(__file__).parent / "data"


def ingest(source: str, path: Path | str | None = None, **changes) -> IngestParams:
    values = {
        "source": source,
        "path": None if path is None else str(path),
        "test_path": None,
        "config": None,
        "revision": None,
        "columns": {},
        "database": None,
        "dialect": None,
        "rows": 20,
        "seed": 3,
    }
    return IngestParams(**(values | changes))


def rows_of(params: IngestParams) -> dict[str, list[dict]]:
    return {split: list(rows) for split, rows in read(params).items()}


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def answers(row: dict) -> list[tuple]:
    """What the gold SQL returns on the row's database, or on its context."""
    with closing(sqlite3.connect(row["database"] or ":memory:")) as connection:
        if not row["database"]:
            connection.executescript(row["context"])
        return connection.execute(row["answer"]).fetchall()


# Public data sets in their own format


def test_every_source_has_a_module_with_load():
    import importlib

    for module in SOURCES.values():
        assert callable(importlib.import_module(f"text2sql.sources.{module}").load)


def test_synthetic_rows_come_from_the_seed():
    first, again, other = (rows_of(ingest("synthetic", seed=seed))["train"] for seed in (3, 3, 4))
    assert len(first) == 20
    assert first == again != other


def test_gretel_keeps_id_domain_complexity_and_the_inserts():
    rows = rows_of(ingest("gretel", DATA / "gretel"))
    assert [row["id"] for row in rows["train"]] == ["5097", "5098"]
    assert [row["domain"] for row in rows["train"]] == ["space", "energy"]
    assert [row["complexity"] for row in rows["train"]] == ["basic SQL", "aggregation"]
    assert answers(rows["train"][0]) == [("Ann",)]
    assert rows["test"][0]["question"] == "List the crew."


def test_ko_text2sql_trains_on_every_database_but_the_one_of_its_test_split():
    rows = rows_of(ingest("ko_text2sql", DATA / "ko_text2sql"))
    assert [row["db_id"] for row in rows["train"]] == ["2"]
    assert [row["db_id"] for row in rows["test"]] == ["1"]
    assert {row["dialect"] for split in rows.values() for row in split} == {"mysql"}
    assert {row["language"] for split in rows.values() for row in split} == {"ko"}


def test_a_local_copy_with_several_configurations_is_read_by_the_one_asked_for():
    assert "정제" not in rows_of(ingest("ko_text2sql", DATA / "ko_text2sql"))["test"][0]["question"]
    clean = rows_of(ingest("ko_text2sql", DATA / "ko_text2sql", config="clean"))
    assert "정제" in clean["test"][0]["question"]
    assert [len(clean["train"]), len(clean["test"])] == [1, 1]


def test_spider_makes_the_context_from_tables_json_and_finds_the_databases():
    rows = rows_of(ingest("spider", DATA / "spider"))
    assert [row["question"] for row in rows["train"]] == [
        "How many farms are there?",
        "Which kinds of animals live there?",
    ]
    farm, shop = rows["train"][0], rows["test"][0]
    assert farm["database"].endswith("database/farm/farm.sqlite")
    assert answers(farm) == [(2,)]
    assert shop["database"] is None
    assert answers(shop) == []  # the DDL alone: it builds, and holds no row


def test_spiders_ddl_has_types_and_keys_and_builds_the_same_schema_in_sqlite():
    schema = json.loads((DATA / "spider" / "tables.json").read_text())[0]
    ddl = ddl_of_spider(schema)
    assert ddl == (
        'CREATE TABLE farm (\n  Farm_ID NUMERIC,\n  "Year Founded" DATETIME,\n  PRIMARY KEY (Farm_ID)\n);\n'
        "CREATE TABLE animal (\n  ID NUMERIC,\n  Farm NUMERIC,\n  Kind TEXT,\n  PRIMARY KEY (ID),\n"
        "  FOREIGN KEY (Farm) REFERENCES farm(Farm_ID)\n);"
    )
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(ddl)
        assert [row[1] for row in connection.execute("PRAGMA table_info(farm)")] == ["Farm_ID", "Year Founded"]
        assert connection.execute("PRAGMA foreign_key_list(animal)").fetchone()[2:5] == ("farm", "Farm", "Farm_ID")


def test_sqlites_own_tables_are_left_out_of_spiders_ddl():
    schema = json.loads((DATA / "spider" / "tables.json").read_text())[1]
    assert "sqlite_sequence" not in ddl_of_spider(schema)


def test_spider_ko_asks_in_korean_about_spiders_schemas():
    rows = rows_of(ingest("spider_ko", DATA / "spider_ko"))
    assert rows["train"][0]["question"] == "농장은 몇 개인가요?"
    assert rows["test"][0]["question"] == "모든 가게를 보여주세요."
    assert "CREATE TABLE shop" in rows["test"][0]["context"]


def test_wikisql_renders_structured_queries_over_a_table_with_its_rows():
    guard, count = rows_of(ingest("wikisql", DATA / "wikisql"))["train"]
    assert guard["answer"] == "SELECT Player FROM table_1_1000_1 WHERE Position = 'GUARD'"
    assert answers(guard) == [("Ann Lee",)]  # text compares without regard to case
    assert count["answer"] == 'SELECT COUNT(Player) FROM table_1_1000_1 WHERE "No." > 7'
    assert answers(count) == [(2,)]


def test_wikisql_uses_the_real_database_and_its_column_names_where_it_is_there():
    (row,) = rows_of(ingest("wikisql", DATA / "wikisql"))["test"]
    assert row["answer"] == "SELECT col1 FROM table_2_2000_2 WHERE col0 = 'bo o''hara'"
    assert "col1 REAL, -- No.\n" in row["context"]
    assert answers(row) == [(7.5,)]
    row["database"] = None
    assert answers(row) == []  # the context alone builds too


def test_aihub_joins_questions_to_schemas_across_files():
    rows = rows_of(ingest("aihub", DATA / "aihub"))
    (train,), (test,) = rows["train"], rows["test"]
    assert (train["id"], train["db_id"], train["question"]) == ("A1", "seoul_park_1", "공원은 몇 곳이야?")
    assert answers(train) == [(0,)]
    assert test["answer"] == "SELECT Kind FROM 시설"


def test_chats_give_schema_question_and_sql_whoever_says_the_schema():
    in_system, with_headings, in_user = rows_of(ingest("chat", DATA / "chat" / "train.jsonl"))["train"]
    ddl = "CREATE TABLE crew (id INT, name TEXT);\nCREATE TABLE ship (id INT, crew INT);"
    assert [row["context"] for row in (in_system, with_headings, in_user)] == [ddl] * 3
    assert in_system["question"] == "How many are in the crew?"
    assert with_headings["question"] == "선원은 몇 명인가요?"
    assert with_headings["answer"] == "SELECT COUNT(*) FROM crew"
    assert "name the ships." in in_user["question"] and "CREATE" not in in_user["question"]


def test_text2sql_data_fills_in_variables_and_asks_the_real_database():
    rows = rows_of(ingest("text2sql_data", DATA / "text2sql_data" / "places.json"))
    assert [row["question"] for row in rows["train"]] == ["which cities lie in texas", "how many cities are there"]
    assert answers(rows["train"][0]) == [("austin",)]
    assert [row["question"] for row in rows["test"]] == ["cities of ohio"]
    by_query = rows_of(ingest("text2sql_data", DATA / "text2sql_data" / "places.json", config="query"))
    assert [row["question"] for row in by_query["test"]] == ["how many cities are there"]
    assert by_query["train"][2]["question"] == "arizona cities"  # no value of its own: the variable's example


# Anybody's file

ROW = {"question": "How many?", "context": "CREATE TABLE t (a INT);", "answer": "SELECT COUNT(*) FROM t"}


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".json", ".csv", ".csv.gz", ".parquet"])
def test_a_file_of_any_kind_gives_the_same_rows(tmp_path, suffix):
    path = tmp_path / f"questions{suffix}"
    text = {
        ".jsonl": json.dumps(ROW) + "\n",
        ".json": json.dumps([ROW]),
        ".csv": "question,context,answer\nHow many?,CREATE TABLE t (a INT);,SELECT COUNT(*) FROM t\n",
    }
    if suffix == ".parquet":
        write_rows(path, [ROW])
    elif suffix.endswith(".gz"):
        path.write_bytes(gzip.compress(text[suffix.removesuffix(".gz")].encode()))
    else:
        path.write_text(text[suffix])
    rows = rows_of(ingest("file", path))
    expected = ROW | {"id": "train-1", "db_id": "t", "complexity": "aggregation", "language": "en", "dialect": "sqlite"}
    assert {key: rows["train"][0][key] for key in expected} == expected
    assert rows["test"] == []


def test_columns_map_our_names_to_the_files(tmp_path):
    path = write(
        tmp_path / "q.jsonl", json.dumps({"nl": "How many?", "ddl": "CREATE TABLE t (a INT)", "gold": "SELECT 1"})
    )
    columns = {"question": "nl", "context": "ddl", "answer": "gold"}
    (row,) = rows_of(ingest("file", path, columns=columns, dialect="postgres"))["train"]
    assert (row["question"], row["answer"], row["dialect"]) == ("How many?", "SELECT 1", "postgres")


def test_a_folder_is_read_by_the_names_of_its_files(tmp_path):
    for name in ("train", "dev", "test"):
        write(tmp_path / f"{name}.jsonl", json.dumps(ROW | {"id": name}))
    rows = rows_of(ingest("sql_create_context", tmp_path))
    assert [[row["id"] for row in rows[split]] for split in ("train", "test")] == [["train"], ["test"]]
    (tmp_path / "test.jsonl").unlink()
    assert rows_of(ingest("sql_create_context", tmp_path))["test"][0]["id"] == "dev"


def test_own_database_gives_the_context_and_the_answers(tmp_path):
    path = write(
        tmp_path / "q.jsonl", json.dumps({"question": "Which cities?", "answer": "SELECT city_name FROM city"})
    )
    database = DATA / "text2sql_data" / "places.sqlite"
    (row,) = rows_of(ingest("file", path, database=str(database)))["train"]
    assert row["context"] == "CREATE TABLE city (city_name TEXT, state_name TEXT);"
    assert row["db_id"] == "places"
    assert answers(row) == [("austin",), ("dayton",)]


def test_ids_stay_unique_over_both_splits(tmp_path):
    ids = ("a", "a", "a-2", "a")
    lines = "\n".join(json.dumps(ROW | {"id": row_id, "question": f"{n}?"}) for n, row_id in enumerate(ids))
    path = write(tmp_path / "q.jsonl", lines)
    rows = rows_of(ingest("file", path, test_path=str(path)))
    found = [row["id"] for split in ("train", "test") for row in rows[split]]
    assert found[:3] == ["a", "a-2", "a-2-2"]
    assert len(set(found)) == 8


def test_what_utf8_cannot_hold_is_written_as_its_escape(tmp_path):
    path = write(tmp_path / "q.jsonl", '{"question": "\\ud800?", "context": "c", "answer": "SELECT 1"}')
    write_rows(tmp_path / "t.parquet", read(ingest("file", path))["train"])
    assert read_table(tmp_path / "t.parquet")["question"][0] == "\\ud800?"


# Bad input: one line that names the file, the row or key, and the remedy


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("q.jsonl", json.dumps(ROW) + '\n{"question": \n', "line 2: not valid JSON"),
        ("q.jsonl", "[1]\n", "line 1: expected a JSON object"),
        ("q.jsonl", "", "holds no rows"),
        ("q.jsonl", json.dumps(ROW) + "\n" + json.dumps({"question": "x"}), "row 2: no column 'answer' for answer"),
        ("q.json", "{}", "expected a JSON list of objects"),
        ("q.json", "[", "not valid JSON"),
        ("q.csv", "question,context,answer\na,b\n", "line 2: not as many cells as the header"),
        ("q.csv", "question,context\na,b\n", "row 1: no column 'answer' for answer; it has question, context"),
        ("q.parquet", "no parquet", "not a readable Parquet file"),
        ("q.jsonl.gz", "no gzip", "cannot be read as UTF-8 text"),
        ("q.xls", "x", "unknown kind of file"),
    ],
)
def test_a_bad_file_is_named_with_row_and_remedy(tmp_path, name, text, message):
    path = write(tmp_path / name, text)
    with pytest.raises(UserError, match=message) as raised:
        rows_of(ingest("file", path))
    assert str(path) in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "params, message",
    [
        (ingest("nowhere"), "ingest.source: no source named 'nowhere'; choose one of synthetic, file"),
        (ingest("file"), "ingest.path: not set"),
        (ingest("file", "absent.jsonl"), "absent.jsonl: no such file or folder; fix ingest.path"),
        (ingest("chat", DATA / "chat" / "train.jsonl", test_path="absent.csv"), "absent.csv: no such file"),
        (ingest("file", DATA / "gretel" / "synthetic_text_to_sql_test.snappy.parquet"), "no column 'answer'"),
        (ingest("spider", DATA / "aihub"), "tables.json: no such file"),
        (ingest("wikisql", DATA / "spider"), "holds no train.jsonl"),
        (ingest("chat", DATA / "wikisql" / "train.jsonl"), "row 1: expected `messages`"),
        (ingest("text2sql_data", DATA / "spider" / "dev.json"), "dev.sqlite: no such database"),
        (ingest("text2sql_data", DATA / "text2sql_data" / "places.json", config="x"), "ingest.config: 'x'"),
        (ingest("ko_text2sql"), "ingest.revision: shangrilar/ko_text2sql needs a pinned commit"),
    ],
)
def test_what_is_missing_is_said_in_one_line(params, message):
    with pytest.raises(UserError, match=message) as raised:
        rows_of(params)
    assert "\n" not in str(raised.value)


def test_a_question_about_an_unknown_schema_is_named(tmp_path):
    shutil.copy(DATA / "spider" / "tables.json", tmp_path)
    write(tmp_path / "dev.json", json.dumps([{"db_id": "nowhere", "question": "?", "query": "SELECT 1"}]))
    with pytest.raises(UserError, match=r"row 1: database 'nowhere' is not in tables.json"):
        rows_of(ingest("spider", tmp_path))


@pytest.mark.parametrize("source, revision", [("gretel", None), ("ko_text2sql", "0" * 40), ("spider_ko", "0" * 40)])
def test_without_hub_and_cache_one_line_says_how_to_pass_a_local_copy(tmp_path, source, revision):
    path = None
    if source == "spider_ko":
        shutil.copy(DATA / "spider" / "tables.json", tmp_path)
        write(tmp_path / "train_spider.json", "[{}]")
        path = tmp_path
    program = (
        "from tests.test_sources import ingest, rows_of\nfrom text2sql.base.errors import UserError\n"
        f"try: rows_of(ingest({source!r}, {path and str(path)!r}, revision={revision!r}))\n"
        "except UserError as error: print(error)"
    )
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf")}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **offline},
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "set ingest.path to the file or folder" in done.stdout, done.stderr
    assert done.stdout.count("\n") == 1


# Derived columns


@pytest.mark.parametrize(
    "sql, expected",
    [
        ("SELECT a FROM t WHERE b = 'JOIN UNION WITH'", "basic SQL"),
        ("SELECT COUNT(*) FROM t", "aggregation"),
        ("SELECT a FROM t GROUP BY a", "aggregation"),
        ("SELECT * FROM t JOIN u ON t.a = u.a", "single join"),
        ("SELECT COUNT(*) FROM t, u WHERE t.a = u.a", "single join"),
        ("SELECT * FROM t JOIN u ON t.a = u.a LEFT JOIN v ON v.a = u.a", "multiple_joins"),
        ("SELECT * FROM t WHERE a > (SELECT AVG(a) FROM t)", "subqueries"),
        ("SELECT RANK() OVER (ORDER BY a) FROM t", "window functions"),
        ("SELECT a FROM t UNION SELECT a FROM u", "set operations"),
        ("WITH w AS (SELECT a FROM t) SELECT * FROM w", "CTEs"),
        ("SELECT FROM WHERE", "unparsed"),
    ],
)
def test_complexity_is_the_strongest_class_that_the_query_has(sql, expected):
    assert complexity_of(sql) == expected


def test_language_goes_by_script():
    assert [language_of(text) for text in ("How many?", "table t의 행은?", "ㅋㅋ", "")] == ["en", "ko", "ko", "en"]


def test_a_schema_without_a_name_is_named_by_its_tables():
    assert name_of_schema('CREATE TABLE "B" (x INT); create table if not exists a (y INT)') == "a+b"
    many = " ".join(f"CREATE TABLE a_rather_long_name_{i} (x INT);" for i in range(9))
    assert len(name_of_schema(many)) == 60
    assert name_of_schema("none") != name_of_schema("other")


def test_every_row_has_exactly_the_projects_columns(tmp_path):
    write_rows(tmp_path / "t.parquet", read(ingest("spider", DATA / "spider"))["train"])
    assert list(read_table(tmp_path / "t.parquet").columns) == COLUMNS


def test_a_stage_that_fails_leaves_nothing_half_written(tmp_path):
    path = write(tmp_path / "q.jsonl", json.dumps(ROW) + "\nbroken\n")
    with pytest.raises(UserError):
        write_rows(tmp_path / "out" / "t.parquet", read(ingest("file", path))["train"])
    assert list((tmp_path / "out").iterdir()) == []
