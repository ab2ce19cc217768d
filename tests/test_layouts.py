"""Files as people have them: layouts, encodings, types of cells; what is not taken is counted."""

import gzip
import json
import sqlite3
from collections import Counter
from contextlib import closing
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_sources import answers, ingest, rows_of, write

from text2sql.base.errors import UserError
from text2sql.base.files import read_json
from text2sql.dataset.labels import language_of
from text2sql.dataset.rows import read_table
from text2sql.sources import FENCE, FURTHER_GOLD, write_raw
from text2sql.sources.values import cell_of
from text2sql.sql.golds import alternatives_in

DDL = "CREATE TABLE shop (id INTEGER, name TEXT, city TEXT);"
ROW = {"question": "How many shops?", "context": DDL, "answer": "SELECT COUNT(*) FROM shop"}


def lines(*rows: dict) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def database(path: Path, *rows: tuple) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(DDL)
        connection.executemany("INSERT INTO shop VALUES (?, ?, ?)", rows)
        connection.commit()
    return path


def schema_entry(name: str = "shop") -> dict:
    """An entry of Spider's tables.json about one table with two columns."""
    return {
        "db_id": name,
        "table_names_original": ["shop"],
        "column_names_original": [[-1, "*"], [0, "id"], [0, "name"]],
        "column_types": ["text", "number", "text"],
        "primary_keys": [1],
        "foreign_keys": [],
    }


def account_of(params, folder: Path) -> dict[str, dict[str, dict[str, int]]]:
    write_raw(params, folder)
    return read_json(folder / "account.json")


# --- Data sets --------------------------------------------------------------------------------------------------------


def test_birds_evidence_becomes_the_notes_and_its_databases_answer(tmp_path):
    for part in ("train", "dev"):
        record = {"question_id": 7, "db_id": "shop", "question": f"Eligible in {part}?", "difficulty": "simple"}
        record |= {"evidence": "eligible means id > 1", "SQL": "SELECT COUNT(*) FROM shop WHERE id > 1"}
        folder = tmp_path / f"{part}_20240627"
        write(folder / f"{part}.json", json.dumps([record]))
        write(folder / f"{part}_tables.json", json.dumps([schema_entry()]))
        database(folder / f"{part}_databases" / "shop" / "shop.sqlite", (1, "a", "x"), (2, "b", "y"))
    rows = rows_of(ingest("bird", tmp_path))
    (train,), (test,) = rows["train"], rows["test"]
    assert (test["question"], test["notes"], test["db_id"]) == ("Eligible in dev?", "eligible means id > 1", "shop")
    assert answers(train) == answers(test) == [(1,)]
    assert "CREATE TABLE shop" in test["context"] and train["id"] != test["id"]


def test_birds_parts_in_one_folder_have_each_their_own_databases(tmp_path):
    for part, rows in (("train", 2), ("dev", 3)):
        record = {"db_id": "shop", "question": part, "evidence": "", "SQL": "SELECT COUNT(*) FROM shop"}
        write(tmp_path / f"{part}.json", json.dumps([record]))
        write(tmp_path / f"{part}_tables.json", json.dumps([schema_entry()]))
        database(tmp_path / f"{part}_databases" / "shop" / "shop.sqlite", *[(n, "a", "x") for n in range(rows)])
    found = rows_of(ingest("bird", tmp_path))
    assert (answers(found["train"][0]), answers(found["test"][0])) == ([(2,)], [(3,)])


@pytest.mark.parametrize(("dialect", "answer"), [(None, "sqlite"), ("mariadb", "mysql"), ("postgresql", "postgresql")])
def test_mini_dev_has_a_file_for_each_dialect(tmp_path, dialect, answer):
    for name in ("sqlite", "mysql", "postgresql"):
        record = {"question_id": 1, "db_id": "shop", "question": "?", "evidence": "", "SQL": f"SELECT '{name}'"}
        write(tmp_path / f"mini_dev_{name}.json", json.dumps([record]))
    write(tmp_path / "dev_tables.json", json.dumps([schema_entry()]))
    (row,) = rows_of(ingest("bird", tmp_path, dialect=dialect))["test"]
    assert row["answer"] == f"SELECT '{answer}'"
    assert row["dialect"] == {"mariadb": "mysql", "postgresql": "postgres"}.get(dialect, "sqlite")


@pytest.mark.parametrize(
    "record",
    [
        {"instruction": "Write SQL.", "input": f"{DDL}\n\n-- How many shops?", "output": "SELECT COUNT(*) FROM shop"},
        {"instruction": "How many shops?", "input": DDL, "output": "```sql\nSELECT COUNT(*) FROM shop\n```"},
        {"instruction": f"{DDL}\nHow many shops?", "input": "", "output": "SELECT COUNT(*) FROM shop"},
        {"instruction": f"Schema:\n{DDL}", "input": "How many shops?", "output": "SELECT COUNT(*) FROM shop"},
    ],
)
def test_alpaca_gives_schema_question_and_sql_wherever_they_stand(tmp_path, record):
    (row,) = rows_of(ingest("alpaca", write(tmp_path / "a.json", json.dumps([record]))))["train"]
    assert {name: row[name] for name in ROW} == ROW


def test_sharegpt_is_a_chat_too(tmp_path):
    turns = [("system", DDL), ("human", "How many shops?"), ("gpt", "SELECT COUNT(*) FROM shop")]
    record = {"conversations": [{"from": who, "value": what} for who, what in turns]}
    (row,) = rows_of(ingest("chat", write(tmp_path / "s.json", json.dumps([record]))))["train"]
    assert {name: row[name] for name in ROW} == ROW


def test_a_later_turn_of_a_chat_is_left_out_and_counted_unless_it_brings_its_schema(tmp_path):
    def said(*turns: str) -> dict:
        roles = ["system", *["user", "assistant"] * 3]
        return {"messages": [{"role": r, "content": c} for r, c in zip(roles, turns, strict=False)]}

    leaning = said(DDL, "How many shops?", "SELECT COUNT(*) FROM shop", "And only in Seoul?", "SELECT 1 FROM shop")
    apart = said("", f"{DDL}\nHow many?", "SELECT 1", "CREATE TABLE b (x INT);\nHow many b?", "SELECT 2")
    path = write(tmp_path / "c.jsonl", lines(leaning, apart))
    assert [row["question"] for row in rows_of(ingest("chat", path))["train"]] == [
        "How many shops?",
        "How many?",
        "How many b?",
    ]
    counted = account_of(ingest("chat", path), tmp_path / "raw")
    assert counted["train"]["left_out"] == {"a later turn of a chat, which needs the turns before it": 1}


def test_a_message_without_content_says_nothing_and_the_row_is_incomplete(tmp_path):
    record = {"messages": [{"role": "user", "content": f"{DDL}\nHow many?"}, {"role": "assistant", "content": None}]}
    (row,) = rows_of(ingest("chat", write(tmp_path / "c.jsonl", lines(record))))["train"]
    assert row["answer"] == ""


@pytest.mark.parametrize(
    "messages",
    [
        [("user", [{"type": "text", "text": DDL}, {"type": "text", "text": ROW["question"]}])],
        [("user", DDL), ("user", ROW["question"])],
        [("developer", DDL), ("user", ROW["question"])],
        [("user", f"{DDL} {ROW['question']}")],
    ],
)
def test_a_turn_may_come_in_parts_and_on_one_line(tmp_path, messages):
    said = [{"role": role, "content": content} for role, content in [*messages, ("assistant", ROW["answer"])]]
    path = write(tmp_path / "c.jsonl", lines({"messages": said}, {"messages": said[:1]}))
    (row,) = rows_of(ingest("chat", path))["train"]
    assert {name: row[name] for name in ROW} == ROW
    counted = account_of(ingest("chat", path), tmp_path / "raw")
    assert counted["train"]["left_out"] == {"a chat without a question and its reply": 1}


def test_spider_is_read_as_the_hubs_parquet_with_schemas_from_the_databases(tmp_path):
    for split in ("train", "validation"):
        rows = [{"db_id": "shop", "query": "SELECT COUNT(*) FROM shop", "question": f"How many {split}?"}]
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / f"{split}-00000-of-00001.parquet")
    database(tmp_path / "database" / "shop" / "shop.sqlite", (1, "a", "x"))
    rows = rows_of(ingest("spider", tmp_path))
    assert [rows[split][0]["question"] for split in ("train", "test")] == ["How many train?", "How many validation?"]
    assert answers(rows["test"][0]) == [(1,)] and rows["test"][0]["context"] == DDL


def test_a_variant_of_spider_asks_in_the_column_that_is_named(tmp_path):
    record = {
        "db_id": "shop",
        "SpiderQuestion": "How many shops?",
        "SpiderSynQuestion": "How many stores?",
        "query": "SELECT 1",
    }
    write(tmp_path / "dev.json", json.dumps([record]))
    write(tmp_path / "tables.json", json.dumps([schema_entry()]))
    (row,) = rows_of(ingest("spider", tmp_path, columns={"question": "SpiderSynQuestion"}))["test"]
    assert row["question"] == "How many stores?"


def test_kaggledbqa_trains_on_the_few_shots_and_reads_no_row_twice(tmp_path):
    write(tmp_path / "KaggleDBQA_tables.json", json.dumps([schema_entry()]))
    few, test = ({"db_id": "shop", "question": f"{n}?", "query": "SELECT COUNT(*) FROM shop"} for n in ("few", "test"))
    for name, records in (("shop", [few, test]), ("shop_fewshot", [few]), ("shop_test", [test])):
        write(tmp_path / "examples" / f"{name}.json", json.dumps(records))
    database(tmp_path / "databases" / "shop" / "shop.sqlite", (1, "a", "x"))
    rows = rows_of(ingest("kaggledbqa", tmp_path))
    assert [[row["question"] for row in rows[split]] for split in ("train", "test")] == [["few?"], ["test?"]]
    assert answers(rows["test"][0]) == [(1,)]


def test_aihubs_own_database_answers_where_it_is_there(tmp_path):
    question = {
        "db_id": "shop",
        "utterance": "가게는 몇 곳이야?",
        "query": "SELECT COUNT(*) FROM shop",
        "utterance_id": "A",
    }
    write(tmp_path / "Training" / "q.json", json.dumps({"data": [question]}))
    write(tmp_path / "Training" / "s.json", json.dumps({"data": [schema_entry()]}))
    database(tmp_path / "Other" / "db" / "shop.sqlite", (1, "a", "x"))
    assert answers(rows_of(ingest("aihub", tmp_path))["train"][0]) == [(1,)]


def test_ko_text2sql_holds_the_game_database_out_however_its_number_is_written(tmp_path):
    games = "CREATE TABLE players (id INT PRIMARY KEY AUTO_INCREMENT);"
    head = "db_id,context,question,answer\n"
    write(tmp_path / "test.csv", f"{head}1,{games},?,SELECT 1\n")
    write(
        tmp_path / "train.csv",
        f"{head}1.0,{games},a,SELECT 1\n2.0,CREATE TABLE b (x INT);,b,SELECT 2\n,{games},c,SELECT 3\n",
    )
    (kept,) = rows_of(ingest("ko_text2sql", tmp_path))["train"]
    assert (kept["db_id"], kept["question"]) == ("2", "b")
    counted = account_of(ingest("ko_text2sql", tmp_path), tmp_path / "raw")
    assert counted["train"]["left_out"] == {"about the game database, which the test split asks about": 2}


def test_a_set_in_folds_is_read_whole_or_by_the_fold_that_is_named(tmp_path):
    entries = [
        {
            "query-split": str(n),
            "sql": ["SELECT name FROM shop"],
            "variables": [],
            "sentences": [{"text": f"shops {n}", "variables": {}, "question-split": str((n + 1) % 3)}],
        }
        for n in range(3)
    ]
    path = write(tmp_path / "folds.json", json.dumps(entries))
    database(tmp_path / "folds.sqlite", (1, "a", "x"))
    sizes = {
        config: {split: len(rows) for split, rows in rows_of(ingest("text2sql_data", path, config=config)).items()}
        for config in (None, "question:0", "query:2")
    }
    assert sizes == {
        None: {"train": 3, "test": 0},
        "question:0": {"train": 2, "test": 1},
        "query:2": {"train": 2, "test": 1},
    }
    with pytest.raises(UserError, match=r"no fold '9' by question-split; there are 0, 1, 2"):
        rows_of(ingest("text2sql_data", path, config="question:9"))


def test_sql_evals_cells_stand_for_every_query_that_is_accepted(tmp_path):
    accepts = "SELECT {id, name}, COUNT(*) FROM shop GROUP BY {}; SELECT ';' FROM shop;"
    head = "question,query,db_name,query_category,instructions\n"
    path = write(tmp_path / "q.csv", f'{head}How many?,"{accepts}",shop,group_by,a shop is a place\n')
    database(tmp_path / "dbs" / "shop.sqlite", (1, "a", "x"))
    (row,) = rows_of(ingest("sql_eval", path, database=str(tmp_path / "dbs"), dialect="sqlite"))["train"]
    assert (row["db_id"], row["notes"], row["dialect"]) == ("shop", "a shop is a place", "sqlite")
    assert [row["answer"], *alternatives_in(row["alternatives"])] == [
        "SELECT id, COUNT(*) FROM shop GROUP BY id",
        "SELECT name, COUNT(*) FROM shop GROUP BY name",
        "SELECT id, name, COUNT(*) FROM shop GROUP BY id, name",
        "SELECT ';' FROM shop",
    ]


# --- Anybody's file ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["q.json", "q.ndjson", "q.txt", "q.jsonl"])
@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"])
def test_json_lines_are_read_under_any_name_and_behind_a_byte_order_mark(tmp_path, name, start):
    (tmp_path / name).write_bytes(start + lines(ROW, ROW).encode())
    assert len(rows_of(ingest("file", tmp_path / name))["train"]) == 2


@pytest.mark.parametrize(
    ("name", "before", "mark", "encoding"),
    [
        ("q.csv", "", ",", "utf-8"),
        ("q.csv", "", ";", "utf-8-sig"),
        ("q.tsv", "", "\t", "utf-8"),
        ("q.csv", "", "\t", "utf-16"),
        ("q.csv", "", "|", "utf-8"),
        ("q.csv", "sep=;\r\n", ";", "utf-8-sig"),
        ("q.csv", "\n\n", ",", "utf-8"),
    ],
)
def test_tables_are_read_whatever_stands_between_their_cells(tmp_path, name, before, mark, encoding):
    cells = [[f'"{cell}"' for cell in line] for line in (("question", "context", "answer "), ROW.values())]
    (tmp_path / name).write_bytes((before + "\n".join(mark.join(line) for line in cells)).encode(encoding))
    (row,) = rows_of(ingest("file", tmp_path / name))["train"]
    assert {key: row[key] for key in ROW} == ROW


def test_a_quote_that_is_not_doubled_is_named_with_its_line_and_read_over(tmp_path, capsys):
    cells = '"Which are "in stock"?","CREATE TABLE t (a INT)","SELECT a FROM t"'
    path = write(tmp_path / "q.csv", f"question,context,answer\n{cells}\n")
    (row,) = rows_of(ingest("file", path))["train"]
    assert row["answer"] == "SELECT a FROM t" and "in stock" in row["question"]
    assert "q.csv, line 2: a quote inside a quoted cell is not doubled" in capsys.readouterr().err
    open_quote = write(tmp_path / "p.csv", 'question,context,answer\n"Which?,c,SELECT 1\n')
    with pytest.raises(UserError, match=r"p.csv, line 2: cannot be read as CSV \(unexpected end of data\)"):
        rows_of(ingest("file", open_quote))


def test_a_workbook_is_read_from_its_first_sheet(tmp_path):
    book = openpyxl.Workbook()
    for line in ([None] * 5, ["id", None, *ROW], [1, "x", *ROW.values()], [None] * 5, [2, "x", *ROW.values()]):
        book.active.append(line)
    book.save(tmp_path / "q.xlsx")
    assert [row["id"] for row in rows_of(ingest("file", tmp_path / "q.xlsx"))["train"]] == ["1", "2"]


@pytest.mark.parametrize("name", ["질문.csv", "질문.jsonl", "질문.csv.gz"])
def test_cp949_is_named_with_the_command_that_converts_it(tmp_path, name):
    data = "question,context,answer\n가게는 몇 곳이야?,c,SELECT 1\n".encode("cp949")
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    with pytest.raises(UserError, match=r"CP949.*`iconv -f CP949 -t UTF-8 ") as raised:
        rows_of(ingest("file", tmp_path / name))
    assert "\n" not in str(raised.value)


def test_a_split_column_holds_rows_out_and_counts_the_rest(tmp_path):
    splits = ["train", "test", "dev", None, "spare"]
    path = write(tmp_path / "q.jsonl", lines(*(ROW | {"id": str(split), "split": split} for split in splits)))
    rows = rows_of(ingest("file", path))
    assert [[row["id"] for row in rows[split]] for split in ("train", "test")] == [["train", "None"], ["test"]]
    left_out = account_of(ingest("file", path), tmp_path / "raw")["train"]["left_out"]
    assert left_out == {"its split is validation": 1, "its split is spare": 1}
    off = rows_of(ingest("file", path, columns={"split": None}))
    assert [len(off["train"]), len(off["test"])] == [5, 0]


def test_a_split_column_counts_the_rest_where_it_holds_nothing_out(tmp_path):
    path = write(tmp_path / "q.jsonl", lines(ROW | {"split": "train"}, ROW | {"split": "spare"}))
    assert account_of(ingest("file", path), tmp_path / "raw")["train"]["left_out"] == {"its split is spare": 1}
    other = write(tmp_path / "o.jsonl", lines(ROW | {"split": "hard"}, ROW | {"split": "easy"}))  # no split of rows
    assert len(rows_of(ingest("file", other))["train"]) == 2


@pytest.mark.parametrize("cells_of", [list, lambda cells: {str(n): cell for n, cell in enumerate(cells)}])
def test_a_table_by_columns_as_pandas_writes_it_is_read_row_by_row(tmp_path, cells_of):
    table = {name: cells_of([cell, f"{cell} "]) for name, cell in ROW.items()}
    rows = rows_of(ingest("file", write(tmp_path / "q.json", json.dumps(table))))["train"]
    assert [(row["question"], row["answer"]) for row in rows] == [
        (ROW["question"] + end, ROW["answer"] + end) for end in ("", " ")
    ]


def test_a_database_column_of_mere_names_is_the_db_id_and_can_be_switched_off(tmp_path):
    path = write(tmp_path / "q.jsonl", lines(ROW | {"database": "northwind", "language": "SQL"}))
    (row,) = rows_of(ingest("file", path))["train"]
    assert (row["db_id"], row["database"], row["language"]) == ("northwind", None, "en")
    (row,) = rows_of(ingest("file", path, columns={"database": None}))["train"]
    assert (row["db_id"], row["database"]) == ("shop", None)


def test_a_database_column_names_files_from_the_folder_of_the_questions(tmp_path):
    database(tmp_path / "dbs" / "shop.sqlite", (1, "a", "x"))
    path = write(tmp_path / "q.jsonl", lines(*(ROW | {"database": f"dbs/{name}.sqlite"} for name in ("shop", "gone"))))
    there, gone = rows_of(ingest("file", path))["train"]
    assert answers(there) == [(1,)]
    assert gone["database"] == "dbs/gone.sqlite"  # of which `validate` says that it is not there


def test_a_folder_of_databases_is_asked_by_db_id(tmp_path):
    database(tmp_path / "dbs" / "one" / "one.sqlite", (1, "a", "x"))
    database(tmp_path / "dbs" / "two.db", (1, "a", "x"), (2, "b", "y"))
    write(tmp_path / "dbs" / "three.sql", "CREATE TABLE shop (id INT);\nINSERT INTO shop VALUES (1), (2), (3);")
    asked = [
        {"question": "How many?", "answer": "SELECT COUNT(*) FROM shop", "db_id": n} for n in ("one", "two", "three")
    ]
    folder = str(tmp_path / "dbs")
    rows = rows_of(ingest("file", write(tmp_path / "q.jsonl", lines(*asked)), database=folder))["train"]
    assert [answers(row) for row in rows] == [[(1,)], [(2,)], [(3,)]]
    path = write(tmp_path / "p.jsonl", lines(asked[0], asked[0] | {"db_id": "four"}))
    with pytest.raises(UserError, match=r"row 2: no database 'four' in .*; there are one, three, two"):
        rows_of(ingest("file", path, database=folder))


def test_one_script_is_the_context_of_all_questions(tmp_path):
    script = write(tmp_path / "schema.sql", "\ufeff" + DDL)
    path = write(tmp_path / "q.csv", "question,answer\nHow many?,SELECT COUNT(*) FROM shop\n")
    (row,) = rows_of(ingest("file", path, database=str(script)))["train"]
    assert (row["context"], row["db_id"], row["database"]) == (DDL, "schema", None)


def test_code_fences_around_the_sql_are_taken_off_and_counted(tmp_path):
    fenced = ["```sql\nSELECT 1\n```", "```\nSELECT 2```", "SELECT '```'", "```sql\nSELECT 3\n``` or ```SELECT 4```"]
    path = write(tmp_path / "q.jsonl", lines(*(ROW | {"answer": answer} for answer in fenced)))
    assert [row["answer"] for row in rows_of(ingest("file", path))["train"]] == ["SELECT 1", "SELECT 2", *fenced[2:]]
    assert account_of(ingest("file", path), tmp_path / "raw")["train"]["changed"] == {FENCE: 2}


@pytest.mark.parametrize(
    ("columns", "cells"),
    [
        ({"answer": "answers"}, {"answers": ["SELECT 1", "SELECT 2", "SELECT 1"]}),
        ({}, {"answers": ["SELECT 1", "SELECT 2"]}),
        ({}, {"answer": "SELECT 1", "answers": ["SELECT 2"]}),
        ({"answer": "sql"}, {"sql": "SELECT 1", "answers": ["SELECT 1", "SELECT 2"]}),
        ({"alternatives": "others"}, {"answer": "SELECT 1", "others": ["SELECT 2"]}),
        ({}, {"answer": "SELECT 1", "alternatives": "SELECT 2"}),
        ({}, {"answer": ["```sql\nSELECT 1\n```", None], "alternatives": '["SELECT 2", "SELECT 1"]'}),
    ],
)
def test_a_row_brings_several_golds_as_a_list_or_as_alternatives(tmp_path, columns, cells):
    row = {name: text for name, text in ROW.items() if name != "answer"} | cells
    (found,) = rows_of(ingest("file", write(tmp_path / "q.jsonl", lines(row)), columns=columns))["train"]
    assert (found["answer"], alternatives_in(found["alternatives"])) == ("SELECT 1", ("SELECT 2",))


def test_rows_of_one_id_that_ask_the_same_are_one_row_with_several_golds(tmp_path):
    golds = [ROW | {"id": "7", "answer": f"SELECT {n}"} for n in (1, 2, 2, 3)]
    others = [ROW, ROW | {"id": "7", "question": "How many cities?"}, ROW]
    path = write(tmp_path / "q.jsonl", lines(golds[0], *others, *golds[1:]))
    counted = account_of(ingest("file", path, test_path=str(path)), tmp_path / "raw")
    for split, ids in (("train", ["7", "train-2", "7-2", "train-4"]), ("test", ["7-3", "test-2", "7-4", "test-4"])):
        rows = read_table(tmp_path / "raw" / f"{split}.parquet").to_dict("records")
        assert [row["id"] for row in rows] == ids
        assert rows[0]["answer"] == "SELECT 1"
        assert alternatives_in(rows[0]["alternatives"]) == ("SELECT 2", "SELECT 3")
        assert [row["alternatives"] for row in rows[1:]] == [None] * 3
        assert counted[split]["left_out"] == {FURTHER_GOLD: 3}


def test_a_repeated_id_costs_no_time(tmp_path):
    rows = [ROW | {"id": "1", "question": f"{n}?"} for n in range(3000)]
    path = write(tmp_path / "q.jsonl", lines(*rows, *(row | {"answer": "SELECT 2"} for row in rows)))
    found = rows_of(ingest("file", path))["train"]
    assert len({row["id"] for row in found}) == len(found) == 3000


def test_the_equivalent_queries_of_text2sql_data_are_golds(tmp_path):
    sentence = {"text": "shops in city0", "variables": {"city0": "Seoul"}, "question-split": "train"}
    queries = ['SELECT name FROM shop WHERE city = "city0"', 'SELECT s.name FROM shop s WHERE s.city = "city0"']
    entry = {"query-split": "train", "sql": queries, "variables": [{"name": "city0", "example": "x"}]}
    path = write(tmp_path / "shop.json", json.dumps([entry | {"sentences": [sentence]}]))
    database(tmp_path / "shop.sqlite", (1, "a", "Seoul"))
    (row,) = rows_of(ingest("text2sql_data", path))["train"]
    assert [row["answer"], *alternatives_in(row["alternatives"])] == [sql.replace("city0", "Seoul") for sql in queries]


# --- Cells ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        ("id", 1.0, "1"),
        ("db_id", "1.0", "1"),
        ("id", Decimal("2.00"), "2"),
        ("question", Decimal("2.50"), "2.50"),
        ("id", Decimal(10**35), "1" + "0" * 35),
        ("question", "1.0", "1.0"),
        ("question", float("nan"), None),
        ("answer", Decimal("NaN"), None),
        ("question", 1.5, "1.5"),
        ("question", True, "true"),
        ("question", date(2024, 2, 1), "2024-02-01"),
        ("question", datetime(2024, 2, 1, 10), "2024-02-01 10:00:00"),
        ("context", b"CREATE", "CREATE"),
        ("context", b"\xff\xfe", "fffe"),
        ("notes", ["a", Decimal("1.5")], '["a", "1.5"]'),
        ("language", "ko-KR", "ko"),
        ("language", "Korean", None),
        ("question", None, None),
    ],
)
def test_a_cell_of_any_type_is_text_or_missing(column, value, expected):
    assert cell_of(column, value) == expected


def test_decimals_of_parquet_are_ids(tmp_path):
    table = pa.table(
        {name: [text] for name, text in ROW.items()} | {"id": pa.array([Decimal("7")], pa.decimal128(9, 2))}
    )
    pq.write_table(table, tmp_path / "q.parquet")
    assert rows_of(ingest("file", tmp_path / "q.parquet"))["train"][0]["id"] == "7"


@pytest.mark.parametrize(
    ("question", "language"),
    [
        ("How many shops are in 서울?", "ko"),
        ("東京の店はいくつありますか", "ja"),
        ("北京有多少家商店？", "zh"),
        ("Сколько магазинов в Москве?", "ru"),
        ("Liệt kê tên khách hàng", "vi"),
        ("Which orders did Nguyễn place in March?", "en"),
        ("Show the shops of Müller in São Paulo", "en"),
    ],
)
def test_languages_are_told_apart_by_their_script(question, language):
    assert language_of(question) == language


# --- The account ------------------------------------------------------------------------------------------------------


def test_the_rows_of_a_split_that_another_took_the_place_of_are_counted(tmp_path):
    for name, count in (("train", 1), ("test", 2), ("dev", 3)):
        write(tmp_path / "files" / f"{name}.jsonl", lines(*[ROW] * count))
    counted = account_of(ingest("file", tmp_path / "files"), tmp_path / "raw")
    assert counted["test"]["left_out"] == {"dev.jsonl is not read": 3}


def test_a_source_that_gives_no_row_says_why(tmp_path):
    entry = {"query-split": "dev", "sql": ["SELECT 1"], "variables": [], "sentences": [{"text": "x", "variables": {}}]}
    entry["sentences"][0]["question-split"] = "exclude"
    path = write(tmp_path / "places.json", json.dumps([entry]))
    database(tmp_path / "places.sqlite")
    with pytest.raises(UserError, match=r"gives no row from .*; all rows are left out: its question-split is exclude"):
        write_raw(ingest("text2sql_data", path), tmp_path / "raw")


def test_columns_are_refused_where_the_source_has_none(tmp_path):
    with pytest.raises(UserError, match=r"ingest.columns: the source chat has no columns to map"):
        rows_of(ingest("chat", tmp_path, columns={"question": "q"}))


def test_an_unknown_dialect_of_all_rows_is_refused_and_of_one_row_is_its_own_matter(tmp_path):
    path = write(tmp_path / "q.jsonl", lines(ROW | {"dialect": "MariaDB"}, ROW | {"dialect": "klingon"}))
    assert Counter(row["dialect"] for row in rows_of(ingest("file", path))["train"]) == {"mysql": 1, "klingon": 1}
    with pytest.raises(UserError, match=r"ingest.dialect: unknown SQL dialect 'klingon'"):
        rows_of(ingest("file", path, dialect="klingon"))
