"""`validate` keeps what the plain check keeps, refuses what is dangerous, and accounts for every row."""

import gzip
import json
import random
import sqlite3
import time
from contextlib import closing
from itertools import islice
from pathlib import Path

import pytest

from text2sql.base.params import EvaluationParams, ValidateParams
from text2sql.dataset.rows import read_batches, read_table, write_rows
from text2sql.dataset.validate import REJECTED, validate_tables
from text2sql.dataset.verdict import check, holds_rows, verdicts
from text2sql.scoring.score import arm_items, score_rows
from text2sql.sources import synthetic
from text2sql.sources.schemas import ddl_of_spider
from text2sql.sql.golds import alternatives_cell, alternatives_in

SHARED = Path(__file__).parents[1].parent / "shared" / "data"
AUTO = EvaluationParams(engine="auto", postgres_url=None, mysql_url=None, trust_login=False)
CONTEXT = "CREATE TABLE t (a INT, b TEXT); INSERT INTO t VALUES (1, 'x'), (2, NULL);"


def rules(**changes) -> ValidateParams:
    values = {"has_rows": True, "runs": True, "returns_rows": True, "test_rows": "valid"}
    values |= {"seconds": 1.0}
    return ValidateParams(**(values | changes))


def switches(**changes) -> dict:
    return rules(**changes).model_dump(exclude={"test_rows"})


def verdict(
    context: str = CONTEXT, answer: str = "SELECT a FROM t", question="?", dialect="sqlite", database=None, **on
):
    return check((context, answer, question, dialect, database), **(switches() | on))


def runs_and_returns(context: str, answer: str) -> bool | None:
    """The exercise's own check, with nothing between the SQL and the machine. None: it runs but returns no row."""
    try:
        with closing(sqlite3.connect(":memory:")) as connection:
            connection.executescript(context)
            return bool(connection.execute(answer).fetchall()) or None
    except Exception:
        return False


def test_of_several_golds_those_that_are_valid_stay(tmp_path):
    row = {"context": CONTEXT, "question": "?", "dialect": "sqlite"}
    golds = {
        "sound": ["SELECT a FROM t", "SELECT b FROM t"],
        "second": ["SELECT c FROM t", "SELECT b FROM t", "SELECT a FROM t WHERE a > 5"],
        "none": ["SELECT c FROM t", "SELECT"],
        "one": ["SELECT a FROM t"],
    }
    rows = [
        row | {"id": id, "answer": first, "alternatives": alternatives_cell(rest)}
        for id, (first, *rest) in golds.items()
    ]
    for test_rows, kept in (("valid", ["sound", "second", "one"]), ("all", list(golds))):
        write_rows(tmp_path / "raw.parquet", rows)
        funnel = validate_tables(
            {"test": tmp_path / "raw.parquet"}, {"test": tmp_path / "valid.parquet"}, tmp_path / "rejected.parquet",
            rules(test_rows=test_rows), AUTO, workers=2,
        )["test"]  # fmt: skip
        valid = read_table(tmp_path / "valid.parquet").to_dict("records")
        left = {r["id"]: [r["answer"], *alternatives_in(r["alternatives"])] for r in valid}
        assert list(left) == kept
        assert (left["sound"], left["second"]) == (golds["sound"], ["SELECT b FROM t"])
        assert left.get("none", golds["none"]) == golds["none"]
        assert funnel["golds"] == {"read": 7, "kept": 3}
        assert funnel.get("gold_errors", {}) == ({"schema": 1} if test_rows == "all" else {})


# The rules


@pytest.mark.parametrize(
    "changes, expected",
    [
        ({}, None),
        ({"question": " "}, ("complete", "missing")),
        ({"answer": ""}, ("complete", "missing")),
        ({"context": ""}, ("complete", "missing")),
        ({"context": "CREATE TABLE t (a INT)"}, ("has_rows", "no_insert")),
        ({"context": CONTEXT + "CREATE TABEL u;"}, ("runs", "syntax")),
        ({"context": CONTEXT + "INSERT INTO u VALUES (1);"}, ("runs", "schema")),
        ({"answer": "SELECT FROM t"}, ("runs", "syntax")),
        ({"answer": "SELECT c FROM t"}, ("runs", "schema")),
        ({"answer": "SELECT DATEDIFF(a, b) FROM t"}, ("runs", "dialect")),
        ({"answer": "SELECT 1; SELECT 2"}, ("runs", "syntax")),
        ({"answer": "DELETE FROM t RETURNING a"}, ("runs", "refused")),
        ({"answer": "SELECT a FROM t WHERE a > 5"}, ("returns_rows", "empty")),
        ({"answer": "SELECT NULL"}, None),
    ],
)
def test_a_row_stops_at_the_first_rule_it_breaks(changes, expected):
    reject = verdict(**changes)
    assert (reject and reject[:2]) == expected


def test_each_rule_can_be_switched_off():
    assert verdict("CREATE TABLE t (a INT)", has_rows=False, returns_rows=False) is None
    assert verdict("CREATE TABLE t (a INT)", has_rows=False)[0] == "returns_rows"
    assert verdict(answer="SELECT a FROM t WHERE a > 5", returns_rows=False) is None
    assert verdict(answer="SELECT c FROM t", runs=False, returns_rows=False) is None
    assert verdict(answer="SELECT c FROM t", runs=False)[:2] == ("returns_rows", "schema")


def test_a_real_database_brings_the_rows(tmp_path):
    with closing(sqlite3.connect(tmp_path / "t.sqlite")) as connection:
        connection.executescript(CONTEXT)
    database = str(tmp_path / "t.sqlite")
    assert verdict("CREATE TABLE t (a INT)", database=database) is None
    assert verdict("", "SELECT a FROM t WHERE a > 5", database=database)[0] == "returns_rows"


def test_a_row_of_a_missing_database_or_an_unknown_dialect_is_rejected_and_ends_nothing():
    items = [("", "SELECT 1", "?", "sqlite", "absent.sqlite"), (CONTEXT, "SELECT 1", "?", "klingon", None)]
    missing, unknown, good = verdicts([*items, (CONTEXT, "SELECT 1", "?", "sqlite", None)], switches(), 2)
    assert missing == ("complete", "missing", "absent.sqlite: no such database file")
    assert unknown[:2] == ("complete", "dialect") and "unknown SQL dialect 'klingon'" in unknown[2]
    assert good is None


@pytest.mark.parametrize(
    ("context", "by_what_it_does", "literally"),
    [
        ("CREATE TABLE a (x INT); INSERT INTO a VALUES (1);", True, True),
        ("CREATE TABLE log (id INT, inserted_at DATE);", False, True),
        ("CREATE TABLE a (x INT); CREATE TRIGGER t AFTER INSERT ON a BEGIN SELECT 1; END;", False, True),
        ("CREATE TABLE a (x INT PRIMARY KEY); REPLACE INTO a VALUES (1);", True, False),
    ],
)
def test_has_rows_goes_by_what_the_script_does_or_by_the_exercises_word(context, by_what_it_does, literally):
    for rule, passes in ((True, by_what_it_does), ("literal", literally)):
        reject = verdict(context, "SELECT 1", has_rows=rule, returns_rows=False)
        assert (reject is None) is passes


def test_on_real_rows_of_ddl_both_rules_about_inserts_agree():
    with gzip.open(shared("wikisql/train.jsonl.gz"), "rt", encoding="utf-8") as lines:
        contexts = [json.loads(line)["context"] for line in lines]
    differ = [c for c in contexts if holds_rows(c, "sqlite", True) != holds_rows(c, "sqlite", False)]
    assert len(differ) == 0


def test_another_dialect_runs_in_translation():
    context = (
        "CREATE TABLE players (id INT PRIMARY KEY AUTO_INCREMENT, name VARCHAR(20), seen DATETIME) ENGINE=InnoDB;"
        "INSERT INTO players (name, seen) VALUES ('Ann', '2999-01-01 10:00:00');"
    )
    answer = "SELECT CONCAT(name, '!') FROM players WHERE seen >= DATE_SUB(NOW(), INTERVAL 7 DAY)"
    assert verdict(context, answer, dialect="mysql") is None
    assert verdict(context, answer)[0] == "runs"  # as SQLite it is nonsense
    assert verdict(context, "SELECT FROM WHERE", dialect="mysql")[:2] == ("runs", "syntax")


def test_rows_run_on_the_engine_of_their_dialect_where_it_may_be_used(tmp_path, capsys):
    context = "CREATE TABLE t (a INTEGER, b TEXT[]); INSERT INTO t VALUES (7, ['x', 'y']);"
    answers = ["SELECT b[1] FROM t", "SELECT c FROM t", "SELECT a FROM t WHERE a > 7", "SELECT * FROM read_csv('x')"]
    rows = [{"id": answer, "db_id": "d", "question": "?", "answer": answer} for answer in answers]
    rows = [row | {"context": context, "dialect": "duckdb", "database": None} for row in rows]
    ddl = rows[0] | {"context": context.partition(";")[0]}
    other = rows[0] | {
        "id": "tsql",
        "dialect": "tsql",
        "context": "CREATE TABLE t (a INT)",
        "answer": "SELECT a FROM t",
    }
    funnel = run_tables(tmp_path, {"train": rows, "test": [ddl, other]}, rules(has_rows=False))
    assert funnel["train"]["rejects"] == {"runs": {"refused": 1, "schema": 1}, "returns_rows": {"empty": 1}}
    assert list(read_table(tmp_path / "valid_train.parquet").id) == answers[:1]
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "1 rows of dialect tsql run on SQLite by translation: there is no engine for it here"
    assert funnel["test"]["rejects"] == {"returns_rows": {"empty": 2}}  # both ran


# Hostile rows

ATTACKS = {
    "endless recursion": (
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT MAX(i) FROM n",
        "timeout",
    ),
    "a gigabyte": ("SELECT hex(zeroblob(1000000000))", "too_large"),
    "rows without end": (
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT printf('%10000s', i) FROM n",
        "too_large",
    ),
    "a file": ("ATTACH DATABASE '{file}' AS f", "refused"),
    "an extension": ("SELECT load_extension('{file}')", "refused"),
}


def test_each_attack_is_a_reject_with_its_reason_and_costs_no_other_row(tmp_path):
    file = tmp_path / "written.sqlite"
    items = [(CONTEXT, "SELECT a FROM t", "?", "sqlite", None)]
    for sql, _ in ATTACKS.values():
        items += [(CONTEXT, sql.format(file=file), "?", "sqlite", None), items[0]]
    start = time.monotonic()
    found = list(verdicts(items, switches(seconds=0.5), 2))
    assert time.monotonic() - start < 20
    assert found[::2] == [None] * (len(ATTACKS) + 1)
    assert [reject[:2] for reject in found[1::2]] == [("runs", reason) for _, reason in ATTACKS.values()]
    assert not file.exists()


def test_a_context_is_as_untrusted_as_the_sql(tmp_path):
    file = tmp_path / "written.sqlite"
    contexts = [
        f"ATTACH DATABASE '{file}' AS f; CREATE TABLE f.t (a INT); INSERT INTO f.t VALUES (1);",
        f"{CONTEXT} VACUUM INTO '{file}';",
        CONTEXT + "INSERT INTO t WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i, 'x' FROM n;",
        CONTEXT + "CREATE TABLE g AS SELECT hex(zeroblob(1000000000));",
    ]
    found = list(
        verdicts([(context, "SELECT 1", "?", "sqlite", None) for context in contexts], switches(seconds=0.5), 2)
    )
    assert [reject[0] for reject in found] == ["runs"] * 4
    assert [reject[1] for reject in found[:2]] == ["refused"] * 2
    assert {reject[1] for reject in found[2:]} <= {"timeout", "too_large", "memory"}
    assert not file.exists()


# The same verdicts as the plain check


def differences(items: list[tuple], params: ValidateParams) -> list[tuple]:
    """(what the plain check says, our reject, SQL) where the two disagree."""
    found = []
    for item, reject in zip(items, verdicts(items, params.model_dump(exclude={"test_rows"}), 2), strict=True):
        plain = runs_and_returns(item[0], item[1])
        plain_keeps = plain is True or (plain is None and not params.returns_rows)
        if plain_keeps != (reject is None):
            found.append((plain, reject, item[1]))
    return found


def only_refusals(found: list[tuple]) -> bool:
    """Whether every difference is a row that would run unsandboxed and is refused here, by class."""
    return all(plain is not False and reject and reject[1] in ("refused", "not_a_query") for plain, reject, _ in found)


def test_generated_rows_get_the_plain_checks_verdict():
    items = [(r["context"], r["answer"], r["question"], "sqlite", None) for r in synthetic.rows(8_000, seed=29)]
    found = differences(items, rules(has_rows=False))
    assert only_refusals(found), found[:5]
    assert len(found) < 8


def shared(name: str) -> Path:
    if not (SHARED / name).exists():
        pytest.skip(f"../shared/data/{name} is not there: this test compares verdicts on real data")
    return SHARED / name


@pytest.mark.parametrize(
    "name",
    ["ko_sql_create_context/train", "ko_sql_create_context/test", "wikisql/train", "wikisql/dev", "wikisql/test"],
)
def test_real_rows_of_ddl_alone_get_the_plain_checks_verdict(name):
    with gzip.open(shared(f"{name}.jsonl.gz"), "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in islice(lines, 16_000)]
    items = [(row["context"], row["answer"], row["question"], "sqlite", None) for row in rows]
    found = differences(items, rules(has_rows=False, returns_rows=False))
    assert only_refusals(found), found[:5]


def test_spider_gets_the_plain_checks_verdict():
    schemas = {s["db_id"]: ddl_of_spider(s) for s in json.loads((shared("spider") / "tables.json").read_text())}
    rows = json.loads((shared("spider") / "dev.json").read_text())
    items = [(schemas[row["db_id"]], row["query"], row["question"], "sqlite", None) for row in rows]
    assert differences(items, rules(has_rows=False, returns_rows=False)) == []


def test_a_real_filled_database_gives_the_verdicts_of_its_dump():
    from text2sql.sources import text2sql_data
    from text2sql.sources.records import read_json_list

    path = shared("geography") / "geography.json"
    database = path.with_suffix(".sqlite")
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
        dump = "\n".join(connection.iterdump())
    rows = [
        row
        for split in ("train", "test")
        for row in text2sql_data.rows_of(read_json_list(path), path, database, dump, "question-split", split)
        if isinstance(row, dict)
    ][::4]
    plain = [runs_and_returns(dump, row["answer"]) is True for row in rows]
    for database_of in (lambda row: row["database"], lambda row: None):
        items = [(dump, row["answer"], row["question"], "sqlite", database_of(row)) for row in rows]
        assert [reject is None for reject in verdicts(items, switches(), 2)] == plain


# The stage


def run_tables(folder: Path, rows: dict[str, list[dict]], params: ValidateParams, workers: int = 2) -> dict:
    raw = {split: folder / f"raw_{split}.parquet" for split in rows}
    valid = {split: folder / f"valid_{split}.parquet" for split in rows}
    for split, path in raw.items():
        write_rows(path, rows[split])
    return validate_tables(raw, valid, folder / "rejected.parquet", params, AUTO, workers)


def test_kept_and_rejected_add_up_to_what_was_read(tmp_path):
    rows = {"train": list(synthetic.rows(300, seed=1)), "test": list(synthetic.rows(100, seed=2))}
    funnel = run_tables(tmp_path, rows, rules())
    rejected = read_table(tmp_path / "rejected.parquet")
    assert list(rejected.columns) == REJECTED
    for split, given in rows.items():
        kept = read_table(tmp_path / f"valid_{split}.parquet")
        lost = rejected[rejected["split"] == split]
        assert [row["id"] for row in given if row["id"] in set(kept["id"])] == list(kept["id"])
        assert sorted([*kept["id"], *lost["id"]]) == sorted(row["id"] for row in given)
        assert funnel[split]["read"] == len(given)
        assert funnel[split]["kept"] == funnel[split]["returns_rows"] == len(kept)
        assert funnel[split]["read"] - funnel[split]["kept"] == sum(
            rows for classes in funnel[split]["rejects"].values() for rows in classes.values()
        )
    assert lost["message"].map(bool).all() and lost["rule"].isin(["complete", "has_rows", "runs", "returns_rows"]).all()


def test_of_a_test_split_that_is_kept_whole_golds_that_fail_are_gold_errors_of_the_whole(tmp_path):
    """As ko_text2sql's 112 questions, some of whose golds name a table that their context lacks."""
    golds = ("SELECT a FROM t", "SELECT a FROM absent", "SELECT b FROM t")
    rows = [
        {"id": str(n), "db_id": "t", "dialect": "mysql", "context": CONTEXT, "question": f"{n}?", "answer": gold}
        for n, gold in enumerate(golds)
    ]
    sqlite = EvaluationParams(engine="sqlite", postgres_url=None, mysql_url=None, trust_login=False)
    write_rows(tmp_path / "raw.parquet", rows)
    tables = {"test": tmp_path / "raw.parquet"}, {"test": tmp_path / "valid.parquet"}
    funnel = validate_tables(*tables, tmp_path / "rejected.parquet", rules(test_rows="all"), sqlite, workers=1)
    assert (funnel["test"]["kept"], funnel["test"]["gold_errors"]) == (3, {"schema": 1})
    kept = read_table(tmp_path / "valid.parquet").to_dict("records")
    answers = [{"id": row["id"], "text": row["answer"], "finish_reason": "stop"} for row in kept]
    scored = score_rows(arm_items(kept, {}, {}, answers), workers=1)
    assert [row["outcome"] for row in scored] == ["match", "gold_error", "match"]


def test_an_empty_split_is_an_empty_table(tmp_path):
    funnel = run_tables(tmp_path, {"train": list(synthetic.rows(20, seed=1)), "test": []}, rules())
    assert funnel["test"]["read"] == 0
    assert len(read_table(tmp_path / "valid_test.parquet")) == 0


def test_the_outputs_have_the_same_bytes_whatever_the_number_of_workers(tmp_path):
    outputs = []
    for workers in (1, 3):
        folder = tmp_path / str(workers)
        folder.mkdir()
        rows = {"train": list(synthetic.rows(700, seed=4))}
        funnel = run_tables(folder, rows, rules(), workers)
        outputs.append((funnel, [path.read_bytes() for path in sorted(folder.iterdir())]))
    assert outputs[0] == outputs[1]


def test_memory_does_not_grow_with_the_rows(tmp_path):
    """The parent holds a few batches, however long the table is."""
    import tracemalloc

    rows, peaks = list(synthetic.rows(10_000, seed=1)), []
    for copies in (1, 4):
        write_rows(tmp_path / "raw.parquet", (row for _ in range(copies) for row in rows))
        tracemalloc.start()
        validate_tables(
            {"train": tmp_path / "raw.parquet"},
            {"train": tmp_path / "valid.parquet"},
            tmp_path / "bad.parquet",
            rules(has_rows=False, runs=False, returns_rows=False),
            AUTO,
            workers=2,
        )
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]


def test_reading_a_table_keeps_nothing_of_what_was_read(tmp_path):
    """Arrow's own memory, which Python's count does not hold."""
    import pyarrow as pa

    texts = random.Random(1)
    write_rows(tmp_path / "raw.parquet", ({"context": texts.randbytes(500).hex()} for _ in range(20_000)), size=1000)
    before = pa.total_allocated_bytes()
    held = [pa.total_allocated_bytes() - before for _ in read_batches(tmp_path / "raw.parquet", size=1000)]
    assert len(held) == 20 and max(held) < 1.1 * held[0]
