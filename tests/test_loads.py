"""The table of loads in docs/data.md: each of its commands reads files of its format, and they validate as it says."""

import json
import re
import shutil
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from conftest import ROOT
from test_layouts import DDL, database, lines, schema_entry
from test_sources import DATA, write
from test_validate import switches

from text2sql.base.params import IngestParams, read_yaml
from text2sql.commands.preset import overlaid
from text2sql.dataset.verdict import check
from text2sql.sources import read
from text2sql.sql.golds import alternatives_in

PAGE = (ROOT / "docs/data.md").read_text(encoding="utf-8")
PRESET = overlaid(read_yaml(ROOT / "presets/quickstart.yaml"), read_yaml(ROOT / "presets/file.yaml"))
EVALUATION_ONLY = ("Spider, dev.json with tables.json", "Spider-Syn, Spider-DK, Spider-Realistic", "BIRD mini-dev")
EVALUATION_ONLY += ("BIRD mini-dev in MySQL", "BIRD mini-dev in PostgreSQL")
SHARED = ROOT.parent / "shared" / "data"
COUNT = "SELECT COUNT(*) FROM shop"
ASKED = {"db_id": "shop", "question": "How many shops?", "query": COUNT}
ROW = {"question": "How many shops?", "context": DDL, "answer": COUNT}


def loads() -> dict[str, tuple[dict, str, str]]:
    """From each data set in the table to its settings and its columns `rows` and `kept`."""
    table = re.search(r"^\| data \| behind .*?\n\|.*?\n(.*?)\n\n", PAGE, re.DOTALL | re.MULTILINE)[1]
    found = {}
    for line in table.splitlines():
        name, flags, _, rows, kept, _ = (cell.strip() for cell in line.strip("|").split(" | "))
        settings: dict = {}
        for flag in re.findall(r"-S (?:'(.*?)'|(\S+))", flags.strip("`")):
            key, value = next(filter(None, flag)).split("=", 1)
            section, *path, last = key.removeprefix("+").split(".")
            place = settings.setdefault(section, {})
            for part in path:
                place = place.setdefault(part, {})
            place[last] = yaml.safe_load(value)
        found[name] = (settings, rows, kept)
    return found


LOADS = loads()


# --- A few rows of each format, where the table's command looks for them ----------------------------------------------


def copied(name: str) -> Callable[[Path], None]:
    """The small files of a format that stand under tests/data."""
    return lambda inputs: shutil.copytree(DATA / name, inputs / name) and None


def from_shared(name: str, to: str, small: Callable[[Path], None]) -> Callable[[Path], None]:
    """The real file's first rows where it is there, else a few in its format."""

    def build(inputs: Path) -> None:
        (inputs / to).parent.mkdir(parents=True, exist_ok=True)
        if (SHARED / name).exists():
            (inputs / to).symlink_to(SHARED / name)
        else:
            small(inputs)

    return build


def bird(inputs: Path) -> None:
    record = {"question_id": 7, "db_id": "shop", "question": "How many?", "evidence": "a shop", "SQL": COUNT}
    for part in ("train", "dev"):
        folder = inputs / "bird" / part
        write(folder / f"{part}.json", json.dumps([record]))
        write(folder / f"{part}_tables.json", json.dumps([schema_entry()]))
        database(folder / f"{part}_databases" / "shop" / "shop.sqlite", (1, "a", "x"))


def mini_dev(inputs: Path) -> None:
    folder = inputs / "minidev" / "MINIDEV"
    for name, sql in (("sqlite", COUNT), ("mysql", "SELECT `id` FROM `shop`"), ("postgresql", 'SELECT "id" FROM shop')):
        record = {"question_id": 1, "db_id": "shop", "question": "?", "evidence": "", "SQL": sql}
        write(folder / f"mini_dev_{name}.json", json.dumps([record]))
    write(folder / "dev_tables.json", json.dumps([schema_entry()]))
    database(folder / "dev_databases" / "shop" / "shop.sqlite", (1, "a", "x"))


def spider_parquet(inputs: Path) -> None:
    for split in ("train", "validation"):
        path = inputs / "spider" / "spider" / f"{split}-00000-of-00001.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist([ASKED]), path)
    database(inputs / "spider" / "database" / "shop" / "shop.sqlite", (1, "a", "x"))


def spider_variant(inputs: Path) -> None:
    record = {"db_id": "shop", "SpiderQuestion": "a?", "SpiderSynQuestion": "b?", "query": COUNT}
    write(inputs / "spider-syn" / "dev.json", json.dumps([record]))
    write(inputs / "spider-syn" / "tables.json", json.dumps([schema_entry()]))


def spider_dev(inputs: Path) -> None:
    write(inputs / "spider" / "dev.json", json.dumps([ASKED]))
    write(inputs / "spider" / "tables.json", json.dumps([schema_entry()]))


def kaggledbqa(inputs: Path) -> None:
    folder = inputs / "KaggleDBQA"
    write(folder / "KaggleDBQA_tables.json", json.dumps([schema_entry()]))
    for name in ("shop_fewshot", "shop_test"):
        write(folder / "examples" / f"{name}.json", json.dumps([ASKED]))
    database(folder / "databases" / "shop" / "shop.sqlite", (1, "a", "x"))


def folds(inputs: Path) -> None:
    sentences = [{"text": "how many", "variables": {}, "question-split": str(n)} for n in range(10)]
    entry = {"query-split": "0", "sql": [COUNT], "variables": [], "sentences": sentences}
    write(inputs / "restaurants.json", json.dumps([entry]))
    database(inputs / "restaurants.sqlite", (1, "a", "x"))


def geography(inputs: Path) -> None:
    if SHARED.exists():
        for name in ("geography.json", "geography.sqlite"):
            (inputs / name).symlink_to(SHARED / "geography" / name)
    else:
        for kind in ("json", "sqlite"):
            shutil.copy(DATA / "text2sql_data" / f"places.{kind}", inputs / f"geography.{kind}")


def geography_questions(inputs: Path) -> None:
    geography(inputs)
    write(inputs / "asked.jsonl", lines({"question": "How many?", "answer": "SELECT 1"}))


def sql_eval(inputs: Path) -> None:
    folder = inputs / "sql-eval"
    for name in ("instruct_advanced_postgres", "questions_gen_postgres"):
        write(folder / f"{name}.csv", f"question,query,db_name,instructions\n?,{COUNT};SELECT 1,shop,\n")
    write(folder / "databases" / "shop.sql", "CREATE TABLE public.shop (id bigint);\nINSERT INTO shop VALUES (1);")


def b_mc2(inputs: Path) -> None:
    write(inputs / "sql_create_context_v4.json", json.dumps([ROW]))


def two_files(folder: str) -> Callable[[Path], None]:
    def build(inputs: Path) -> None:
        for split in ("train", "test"):
            write(inputs / folder / f"{split}.jsonl", lines(ROW))

    return build


def sharegpt(inputs: Path) -> None:
    turns = [("system", DDL), ("human", "How many shops?"), ("gpt", COUNT)]
    write(inputs / "sharegpt.json", json.dumps([{"conversations": [{"from": w, "value": t} for w, t in turns]}]))


def alpaca(inputs: Path) -> None:
    record = {"instruction": "Write SQL.", "input": f"{DDL}\n\n-- How many shops?", "output": COUNT}
    write(inputs / "alpaca.json", json.dumps([record]))


def folder_of_databases(inputs: Path) -> None:
    write(inputs / "questions.jsonl", lines(ASKED))
    database(inputs / "databases" / "shop" / "shop.sqlite", (1, "a", "x"))


def sede(inputs: Path) -> None:
    record = {"Title": "Top posts", "Description": "by score", "QueryBody": "SELECT TOP 2 Id FROM Posts ORDER BY Score"}
    write(inputs / "sede" / "train.jsonl", lines(record))
    write(inputs / "sede" / "val.jsonl", lines(record))
    write(inputs / "stackexchange.sql", "CREATE TABLE [Posts] ([Id] int NOT NULL, [Score] int)\nGO\n")


def semicolons(inputs: Path) -> None:
    write(inputs / "질문.csv", f"\ufeffsep=;\r\n질문;SQL\r\n가게는 몇 곳이야?;{COUNT}\r\n")
    database(inputs / "shop.db", (1, "a", "x"))


def workbook(inputs: Path) -> None:
    book = openpyxl.Workbook()
    for line in (["question", "golds"], ["How many?", json.dumps([COUNT, "SELECT COUNT(id) FROM shop"])]):
        book.active.append(line)
    book.save(inputs / "questions.xlsx")
    write(inputs / "dump.sql", f"-- MySQL dump 10.13\n{DDL}\nINSERT INTO `shop` VALUES (1,'a','x');\n")


BUILDERS: dict[str, Callable[[Path], None]] = {
    "Spider, dev.json with tables.json": from_shared("spider", "spider", spider_dev),
    "Spider with its databases": copied("spider"),
    "Spider from the hub": spider_parquet,
    "Spider-Syn, Spider-DK, Spider-Realistic": spider_variant,
    "Spider-KO": copied("spider_ko"),
    "BIRD": bird,
    "BIRD mini-dev": mini_dev,
    "BIRD mini-dev in MySQL": mini_dev,
    "BIRD mini-dev in PostgreSQL": mini_dev,
    "KaggleDBQA": kaggledbqa,
    "gretel": copied("gretel"),
    "ko_text2sql": copied("ko_text2sql"),
    "ko_text2sql, clean": copied("ko_text2sql"),
    "WikiSQL as published": copied("wikisql"),
    "WikiSQL as rows": from_shared("wikisql", "wikisql", two_files("wikisql")),
    "sql-create-context": b_mc2,
    "sql-create-context in Korean": from_shared("ko_sql_create_context", "ko", two_files("ko")),
    "GeoQuery by question": geography,
    "GeoQuery by query": geography,
    "Restaurants, Academic, IMDB, Yelp": folds,
    "sql-eval, instruct_advanced": sql_eval,
    "sql-eval, questions_gen": sql_eval,
    "AI Hub NL2SQL": copied("aihub"),
    "chats (messages)": copied("chat"),
    "ShareGPT": sharegpt,
    "alpaca": alpaca,
    "SEDE": sede,
    "a file and a folder of databases": folder_of_databases,
    "a semicolon CSV and an SQLite file": semicolons,
    "a workbook and a dump": workbook,
    "generated from GeoQuery's database": geography_questions,
}


def test_every_load_of_the_table_is_tried():
    assert [*LOADS] == [*BUILDERS] and len(BUILDERS) >= 26


@pytest.mark.parametrize("name", BUILDERS)
def test_a_load_is_one_command(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "inputs").mkdir()
    BUILDERS[name](tmp_path / "inputs")
    settings, *_ = LOADS[name]
    assert settings.keys() <= {"ingest", "validate"}
    found = read(IngestParams(**overlaid(PRESET["ingest"], settings["ingest"])))
    rules = switches(**PRESET["validate"] | settings.get("validate", {}))
    for split, rows in found.items():
        firsts = list(islice(rows, 20))
        valid = [row for row in firsts if any(check(item, **rules) is None for item in golds_of(row))]
        assert valid or not firsts, (split, firsts[0])
        assert firsts or split == "test" or name in EVALUATION_ONLY


def golds_of(row: dict) -> list[tuple]:
    """What is checked of a row, once for each of its golds."""
    golds = (row["answer"], *alternatives_in(row["alternatives"]))
    return [(row["context"], gold, row["question"], row["dialect"], row["database"]) for gold in golds]
