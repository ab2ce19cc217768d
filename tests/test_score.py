"""Scoring: one typed outcome a row, the same bytes however it is run, and the command that anyone can use."""

import json
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from text2sql.base.errors import UserError
from text2sql.base.files import read_jsonl
from text2sql.cli import main
from text2sql.engines import duckdb, postgres
from text2sql.engines.question import Question
from text2sql.engines.sqlite import Limits
from text2sql.scoring.policy import OUTCOMES
from text2sql.scoring.score import Item, gold_problems, score_all, score_file, score_key, score_rows

DATA = Path(__file__).parents[1].parent / "shared" / "data"
SETUP = "CREATE TABLE t(a INTEGER, b TEXT); INSERT INTO t VALUES (1,'x'),(2,'y'),(3,'z');"
OTHER = "CREATE TABLE t(a INTEGER, b TEXT); INSERT INTO t VALUES (1,'y'),(5,'x');"
FIELDS = ["id", "outcome", "ex", "ex_harsh", "ex_strict", "ex_set", "em_text", "em_ast", "format_valid", "vacuous"]
FIELDS += ["ambiguous_gold", "sql", "error", "engine", "engine_version", "failed", "gold"]
ENDLESS = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT MAX(x) FROM c"
STUCK = "SELECT instr(printf('%.990000c', 'a'), printf('%.490000c', 'a') || 'b')"
GREEDY = f"{ENDLESS[:-20]} SELECT x, printf('%.900000c', 'x') FROM c ORDER BY 2"


def item(prediction, gold="SELECT a FROM t", setups=(SETUP,), name="row", **fields):
    truncated = fields.pop("truncated", False)
    return Item(name, Question(gold, tuple(setups), **fields), prediction, truncated)


def score(*items, **options):
    return list(score_rows(items, workers=1, **options))


def outcomes(*items, **options):
    return [row["outcome"] for row in score(*items, **options)]


def test_a_row_has_the_fields_of_the_interface_in_their_order():
    (row,) = score(item("SELECT b AS n FROM t;", gold="SELECT  b AS n FROM t"))
    assert list(row) == FIELDS
    assert row == {
        "id": "row", "outcome": "match", "ex": True, "ex_harsh": True, "ex_strict": True, "ex_set": True,
        "em_text": True, "em_ast": True, "format_valid": True, "vacuous": False, "ambiguous_gold": False,
        "sql": "SELECT b AS n FROM t", "error": None, "engine": "sqlite",
        "engine_version": sqlite3.sqlite_version, "failed": 0, "gold": 1,
    }  # fmt: skip


def test_a_mismatch_says_on_how_many_of_the_databases_it_is_one():
    same = "CREATE TABLE t(a INTEGER, b TEXT); INSERT INTO t VALUES (NULL, NULL);"
    (row,) = score(item("SELECT b FROM t", setups=(SETUP, same, OTHER), harsh=(OTHER,)))
    assert (row["outcome"], row["ex_harsh"], row["failed"]) == ("mismatch", False, 2)
    (row,) = score(item("SELECT c FROM t"))
    assert (row["outcome"], row["failed"]) == ("schema", None)


@pytest.mark.parametrize(
    ("prediction", "outcome", "gold", "exact"),
    [
        ("SELECT a FROM t", "match", 1, True),
        ("SELECT b FROM t;", "match", 2, True),
        ("SELECT b FROM t WHERE a > 0", "match", 2, False),
        ("SELECT a + 1 FROM t", "mismatch", None, False),
        ("SELECT c FROM t", "schema", None, False),
        ("no idea", "no_sql", None, False),
    ],
)
def test_of_several_golds_any_is_right_and_the_row_says_which_was_met(prediction, outcome, gold, exact):
    several = item(prediction, setups=(SETUP, OTHER), alternatives=("SELECT b FROM t", "SELECT broken"))
    (row,) = score(several)
    assert (row["outcome"], row["gold"], row["em_text"]) == (outcome, gold, exact)
    assert row["ex"] is row["ex_strict"] is (gold is not None)


def test_one_gold_is_right_on_all_databases_and_not_each_on_some():
    """Each gold has one of the answers on one of the databases."""
    golds = ("SELECT COUNT(*) FROM t WHERE a < 3", "SELECT COUNT(*) + 1 FROM t WHERE a < 4")
    (row,) = score(item("SELECT 2", gold=golds[0], setups=(SETUP, OTHER), alternatives=golds[1:]))
    assert (row["outcome"], row["failed"]) == ("mismatch", 1)


def test_a_question_is_a_gold_error_when_none_of_its_golds_runs():
    first, none = score(
        item("SELECT b FROM t", gold="SELECT broken", alternatives=("SELECT b FROM t",)),
        item("SELECT b FROM t", gold="SELECT broken", alternatives=("SELECT worse",)),
    )
    assert (first["outcome"], first["gold"]) == ("match", 2)
    assert (none["outcome"], none["gold"], none["error"]) == ("gold_error", None, "schema: no such column: broken")


def test_a_gold_without_rows_makes_no_empty_answer_right_where_another_gold_has_rows():
    empty = "SELECT a FROM t WHERE a > 9"
    several, alone = score(item(empty, alternatives=(empty,)), item(empty, gold=empty, alternatives=(f"{empty}9",)))
    assert (several["outcome"], several["gold"]) == ("mismatch", None)
    assert (alone["outcome"], alone["gold"]) == ("vacuous_match", 1)


def test_a_gold_met_by_its_text_is_preferred_to_one_met_by_its_answer():
    prediction = "SELECT a FROM t ORDER BY a"
    (row,) = score(item(prediction, alternatives=("SELECT a FROM t ORDER BY b", prediction)))
    assert (row["gold"], row["em_text"], row["em_ast"]) == (3, True, True)


def test_harsh_fillings_decide_ex_harsh_and_nothing_else():
    missing = "CREATE TABLE t(a INTEGER, b TEXT); INSERT INTO t VALUES (1,'y'),(NULL,'x');"
    prediction = "SELECT a FROM t WHERE a IS NOT NULL"
    (scored,) = score_all([item(prediction, setups=(SETUP, OTHER), harsh=(SETUP, missing))], workers=1)
    row = scored.row
    assert (row["outcome"], row["ex"], row["ex_strict"], row["ex_set"]) == ("match", True, True, True)
    assert (row["ex_harsh"], row["failed"], scored.results["databases"]) == (False, 0, 2)


@pytest.mark.parametrize(
    "prediction, expected",
    [
        ("SELECT a FROM t", "match"),
        ("SELECT b FROM t", "mismatch"),
        ("No idea.", "no_sql"),
        ("SELECT a FROM t WHERE (", "truncated"),
        ("EXPLAIN SELECT a FROM t", "not_a_query"),
        ("DROP TABLE t", "refused"),
        ("SELECT a FORM t", "syntax"),
        ("SELECT c FROM t", "schema"),
        ("SELECT YEAR(a) FROM t", "dialect"),
        (ENDLESS, "timeout"),
        (STUCK, "timeout"),
        ("SELECT zeroblob(100000000)", "too_large"),
        (ENDLESS.replace("MAX(x)", "x"), "too_large"),
    ],
)
def test_every_outcome_is_reached(prediction, expected):
    (row,) = score(item(prediction), limits=Limits(seconds=10 if expected == "too_large" else 0.3))
    assert row["outcome"] == expected
    assert row["ex"] is (expected == "match")
    assert list(row) == FIELDS


def test_a_match_on_no_rows_is_vacuous():
    (row,) = score(item("SELECT a FROM t WHERE a < 0", gold="SELECT a FROM t WHERE a > 9"))
    assert (row["outcome"], row["ex"], row["vacuous"]) == ("vacuous_match", True, True)


def test_what_a_gold_is_does_not_hang_on_the_prediction():
    """Whatever a model writes, the row says the same of its gold."""
    answers = ["SELECT a FROM t LIMIT 1", "SELECT 9", "None.", "SELECT (", "DROP TABLE t", "SELECT x FROM t", STUCK]
    for gold, flags in [
        ("SELECT a FROM t LIMIT 1", (False, True)),
        ("SELECT a FROM t WHERE a > 99", (True, False)),
        ("SELECT a FROM t ORDER BY a LIMIT 1", (False, False)),
    ]:
        rows = score(*(item(answer, gold=gold) for answer in answers), limits=Limits(seconds=0.3))
        assert [(row["vacuous"], row["ambiguous_gold"]) for row in rows] == [flags] * len(answers)


def test_a_gold_that_is_ambiguous_on_one_database_is_so_although_the_prediction_fails_on_the_first():
    single = "CREATE TABLE t(a INTEGER, b TEXT); INSERT INTO t VALUES (1, 'x');"
    (row,) = score(item("SELECT 7", gold="SELECT a FROM t LIMIT 1", setups=(single, SETUP)))
    assert (row["outcome"], row["ambiguous_gold"]) == ("mismatch", True)


def test_a_broken_gold_leaves_the_denominator_with_its_reason():
    broken = [
        item("SELECT 1", gold="SELECT a FROM u"),
        item("SELECT 1", gold="SELECT random()"),
        item("SELECT 1", setups=("CREATE TABLE",)),
        item("SELECT 1", gold=ENDLESS),
        item("SELECT 1", gold=STUCK),
        item("SELECT 1", setups=()),
    ]
    rows = score(*broken, item("SELECT a FROM t"), limits=Limits(seconds=0.3))
    assert [row["outcome"] for row in rows] == ["gold_error"] * 6 + ["match"]
    assert all(row["ex"] is None and row["error"] for row in rows[:6])
    assert "no such table: u" in rows[0]["error"] and "setup" in rows[2]["error"]


def test_all_databases_must_agree():
    same_on_the_first = item("SELECT a FROM t WHERE a < 4", setups=(SETUP, OTHER))
    (row,) = score(same_on_the_first)
    assert (row["outcome"], row["ex"], row["ex_set"]) == ("mismatch", False, False)
    assert outcomes(
        item("SELECT a FROM t WHERE b = 'q'", gold="SELECT a FROM t WHERE b = 'z'", setups=(OTHER, SETUP))
    ) == ["mismatch"]
    (row,) = score(item("SELECT a FROM t WHERE b = 'z'", gold="SELECT a FROM t WHERE b = 'z'", setups=(OTHER, SETUP)))
    assert (row["outcome"], row["vacuous"]) == ("match", False)


def test_a_token_limit_is_told_from_bad_sql():
    assert outcomes(item("SELECT a FROM t", truncated=True), item("SELECT a FROM t; and", truncated=True)) == [
        "truncated",
        "match",
    ]


def test_another_dialect_is_translated_for_gold_and_prediction_alike():
    ddl = "CREATE TABLE u (id INT PRIMARY KEY AUTO_INCREMENT, name VARCHAR(20)); INSERT INTO u VALUES (1, 'Kim');"
    gold = "SELECT CONCAT(name, '!') FROM u"
    rows = score(
        item("SELECT CONCAT(name, '!') FROM `u`;", gold, (ddl,), dialect="mysql", setup_dialect="mysql"),
        item("SELECT name FROM u", gold, (ddl,), dialect="mysql", setup_dialect="mysql"),
    )
    assert [row["outcome"] for row in rows] == ["match", "mismatch"]
    assert rows[0]["sql"] == "SELECT CONCAT(name, '!') FROM `u`"


# --- The results beside the scores -----------------------------------------------------------------------------------

EMPTY = "CREATE TABLE t(a INTEGER, b TEXT);"
PAIR = "CREATE TABLE t(a INTEGER, b TEXT); INSERT INTO t VALUES (1,'x'),(1,'y');"


def results(*items, **options):
    return [scored.results for scored in score_all(items, workers=1, **options)]


def rows_of(result):
    return result["rows"] if "rows" in result else result["error"]


def test_a_result_is_kept_on_the_first_database_that_shows_the_verdict():
    """A wrong query's on the first on which it differs from the gold, any other's on the first with rows."""
    setups = (EMPTY, SETUP, PAIR, OTHER)
    kept = results(
        item("SELECT a FROM t", setups=setups),
        item("SELECT DISTINCT a FROM t", setups=setups),
        item("SELECT 9", setups=setups),
        item("SELECT c FROM t", setups=setups),
        item("No idea.", setups=setups),
        item(STUCK, setups=setups),
        limits=Limits(seconds=0.5),
    )
    whole = [[1], [2], [3]]
    assert [(line["databases"], line["database"], rows_of(line["gold"])) for line in kept] == [
        (4, 2, whole), (4, 3, [[1], [1]]), (4, 1, []), (4, 2, whole), (4, 2, whole), (4, 2, whole),
    ]  # fmt: skip
    assert [rows_of(line["prediction"]) for line in kept] == [
        whole, [[1]], [[9]], "no such column: c", "no_sql", "stopped at the hard time limit",
    ]  # fmt: skip
    assert kept[1]["prediction"] == {"columns": ["a"], "rows": [[1]], "row_count": 1, "column_count": 1}


def test_a_match_on_no_rows_is_kept_on_the_first_database():
    (line,) = results(item("SELECT a FROM t", setups=(EMPTY, EMPTY.replace("TEXT", "BLOB"))))
    assert (line["database"], rows_of(line["gold"]), rows_of(line["prediction"])) == (1, [], [])


def test_a_broken_gold_keeps_its_error_and_no_prediction():
    (line,) = results(item("SELECT 1", gold="SELECT a FROM u", name="broken"))
    assert line == {
        "id": "broken", "databases": 0, "database": None, "gold": {"error": "schema: no such table: u"},
        "prediction": None, "witness": None,
    }  # fmt: skip


# --- However it is run -----------------------------------------------------------------------------------------------


def many(count=400, seed=0):
    chance = random.Random(seed)
    predictions = [
        "SELECT a FROM t",
        "SELECT b FROM t",
        "DROP TABLE t",
        "SELECT a FORM t",
        "SELECT a FROM t ORDER BY b",
    ]
    return [
        item(chance.choice(predictions), chance.choice(["SELECT a FROM t", "SELECT b FROM t"]), name=f"r{n}")
        for n in range(count)
    ]


def test_the_same_rows_from_any_number_of_workers():
    items = many()
    rows = list(score_rows(items, workers=1))
    assert list(score_rows(items, workers=2)) == rows
    assert [row["id"] for row in rows] == [one.id for one in items]
    assert {row["outcome"] for row in rows} <= set(OUTCOMES)


def test_rows_after_a_hostile_one_score_as_without_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    items = many(200)
    calm = list(score_rows(items, workers=2))
    attacks = {20: STUCK, 21: ENDLESS, 90: GREEDY, 91: "ATTACH 'x.db' AS y", 150: STUCK}
    attacked = [item(attacks[n], name=one.id) if n in attacks else one for n, one in enumerate(items)]
    begun = time.monotonic()
    rows = list(score_rows(attacked, workers=2, limits=Limits(seconds=0.5)))
    assert time.monotonic() - begun < 12
    assert [row for n, row in enumerate(rows) if n not in attacks] == [
        row for n, row in enumerate(calm) if n not in attacks
    ]
    assert not any(rows[n]["ex"] for n in attacks)
    assert list(tmp_path.iterdir()) == []


def test_an_attack_on_memory_stays_below_512_mib():
    probe = (
        "import resource\nfrom text2sql.engines.question import Question\n"
        "from text2sql.engines.sqlite import Limits\nfrom text2sql.scoring.score import Item, score_rows\n"
        f"item = Item('x', Question('SELECT 1', ({SETUP!r},)), {GREEDY!r})\n"
        "print([row['ex'] for row in score_rows([item], workers=1, limits=Limits(seconds=4))])\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n"
    )
    verdict, peak = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True).stdout.splitlines()
    assert verdict == "[False]"
    assert 200 * 1024 < int(peak) < 512 * 1024, "KiB; the attack did not get far enough, or too far"


def test_a_score_file_counts_every_row(tmp_path):
    items = many()
    counts = score_file(tmp_path / "scores.jsonl", items, workers=2, results=tmp_path / "results.jsonl")
    assert sum(counts.values()) == len(items)
    rows = [json.loads(line) for line in (tmp_path / "scores.jsonl").read_text().splitlines()]
    results = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert list(zip(rows, results, strict=True)) == list(score_all(items, workers=1))
    assert [line["id"] for line in results] == [one.id for one in items]


def test_what_finished_before_a_kill_is_not_done_again(tmp_path):
    items = many(3000)
    unfinished = tmp_path / "work" / f"{score_key(items)}.jsonl"
    stream = score_all(items, workers=1, unfinished=unfinished)
    for _ in range(1000):
        next(stream)
    stream.close()
    with open(unfinished, "a") as file:
        file.write('{"row": {"id": "half a li')
    kept = sum(1 for line in unfinished.read_text().splitlines() if line.endswith("}"))
    assert 900 <= kept <= 1000
    resumed, whole = tmp_path / "resumed", tmp_path / "whole"
    score_file(resumed / "scores", items, workers=2, results=resumed / "results", unfinished=unfinished)
    score_file(whole / "scores", items, workers=1, results=whole / "results")
    for name in ("scores", "results"):
        assert (resumed / name).read_bytes() == (whole / name).read_bytes()
    assert not unfinished.exists()


def test_the_key_of_unfinished_work_depends_on_all_inputs():
    base = score_key([item("SELECT a FROM t")])
    changed = [
        score_key([item("SELECT b FROM t")]),
        score_key([item("SELECT a FROM t", gold="SELECT b FROM t")]),
        score_key([item("SELECT a FROM t", setups=(OTHER,))]),
        score_key([item("SELECT a FROM t", truncated=True)]),
        score_key([item("SELECT a FROM t")], Limits(seconds=9)),
    ]
    assert len({base, *changed}) == 6


# --- Engines ---------------------------------------------------------------------------------------------------------

DUMP = """
CREATE TABLE public.sale (id integer NOT NULL, price numeric(10,2), day date);
COPY public.sale (id, price, day) FROM stdin;
1\t30.00\t2024-01-31
2\t45.50\t2024-02-29
\\.
"""
LIST = "CREATE TABLE t (a INTEGER, b TEXT[]); INSERT INTO t VALUES (7, ['x', 'y']);"


def foreign(dialect, setup, gold, prediction, name="row"):
    return item(prediction, gold, (setup,), name, dialect=dialect, setup_dialect=dialect)


@pytest.fixture(scope="module")
def engines():
    with postgres.private_server() as server:
        yield {"postgres": server, "duckdb": duckdb.engine()}


def everywhere() -> list[Item]:
    """Rows of four dialects in turn; two of them have an engine of their own."""
    months = "SELECT EXTRACT(MONTH FROM MAX(day)) - EXTRACT(MONTH FROM MIN(day)) FROM sale"
    kinds = [
        ("sqlite", SETUP, "SELECT a FROM t", "SELECT a FROM t"),
        ("postgres", DUMP, "SELECT SUM(price) / 2 FROM sale", "SELECT 37.75 FROM public.sale LIMIT 1"),
        ("postgres", DUMP, "SELECT MAX(day) - MIN(day) FROM sale", months),
        ("postgres", DUMP, "SELECT id FROM sale ORDER BY price OFFSET 1", "SELECT 2 FROM sale FETCH FIRST ROW ONLY"),
        ("duckdb", LIST, "SELECT b[1] FROM t", "SELECT 'x'"),
        ("mysql", SETUP, "SELECT CONCAT(b, '!') FROM t", "SELECT CONCAT(b, '!') FROM t"),
    ]
    return [foreign(*kind, name=f"{number}") for number, kind in enumerate(kinds * 3)]


def test_rows_run_on_the_engine_of_their_dialect_where_it_is_there(engines):
    rows = score(*everywhere(), engines=engines)
    verdicts = [
        ("sqlite", "match"), ("postgres", "match"), ("postgres", "mismatch"), ("postgres", "match"),
        ("duckdb", "match"), ("sqlite (translated)", "match"),
    ]  # fmt: skip
    assert [(row["engine"], row["outcome"]) for row in rows] == verdicts * 3
    assert [row["id"] for row in rows] == [f"{number}" for number in range(18)]
    assert list(score_rows(everywhere(), workers=2, engines=engines)) == rows


def test_without_engines_the_same_rows_are_translated():
    rows = score(*everywhere()[:6])
    assert [row["engine"] for row in rows] == ["sqlite"] + ["sqlite (translated)"] * 5
    assert [row["outcome"] for row in rows] == ["match", "match", "mismatch", "match", "gold_error", "match"]
    assert rows[4]["error"]


def test_results_of_an_engine_are_kept_as_those_of_sqlite(engines):
    (scored,) = score_all([foreign("postgres", DUMP, "SELECT price, day FROM sale", "SELECT 1")], workers=1,
                          engines=engines)  # fmt: skip
    assert scored.results["gold"]["rows"] == [["30.00", "2024-01-31"], ["45.50", "2024-02-29"]]


HOSTILE = {  # one of each kind
    "postgres": [
        "SELECT pg_sleep(60)",
        ENDLESS,
        "SELECT repeat('x', 300000000)",
        "DELETE FROM sale",
        "SELECT pg_terminate_backend(pg_backend_pid())",
        "SELECT pg_advisory_lock(1)",
        "SELECT pg_read_file('/etc/passwd')",
        "COPY sale TO '{folder}/copied'",
        "SELECT lo_export(lo_create(0), '{folder}/exported')",
        "SELECT set_config('role', 'none', false)",
        "SELECT id FROM sale FOR UPDATE",
        "SELECT * INTO copied FROM sale",
    ],
    "duckdb": [
        ENDLESS,
        "SELECT * FROM read_csv('/etc/passwd')",
        "COPY t TO '{folder}/copied.csv'",
        "ATTACH '{folder}/attached.db'",
        "INSTALL httpfs",
        "SELECT getenv('PATH')",
        "SET memory_limit = '9GB'",
        "SELECT repeat('x', 1000000000)",
        "DROP TABLE t",
    ],
}


def test_after_a_batch_of_attacks_nothing_is_left_and_every_other_row_has_its_verdict(engines, tmp_path, monkeypatch):
    import psycopg

    monkeypatch.chdir(tmp_path)
    golds = {"postgres": (DUMP, "SELECT id FROM sale"), "duckdb": (LIST, "SELECT b[1] FROM t")}
    attacks = [(name, attack.format(folder=tmp_path)) for name, listed in HOSTILE.items() for attack in listed]
    rows = score(
        *(foreign(name, *golds[name], sql) for name, attack in attacks for sql in (attack, golds[name][1])),
        limits=Limits(seconds=0.5), engines=engines,
    )  # fmt: skip
    assert [row["outcome"] for row in rows[1::2]] == ["match"] * len(attacks)
    assert not any(row["ex"] for row in rows[::2]) and {"refused", "timeout"} < {row["outcome"] for row in rows}
    assert list(tmp_path.iterdir()) == []
    with psycopg.connect(engines["postgres"].owner) as connection:
        left = (
            "SELECT (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'),"
            " (SELECT count(*) FROM pg_stat_activity WHERE datname LIKE '%slot%'),"
            " (SELECT count(*) FROM pg_largeobject_metadata)"
        )
        assert connection.execute(left).fetchone() == (0, 0, 0)


def test_a_server_that_is_gone_is_nobodys_wrong_answer(tmp_path):
    with postgres.private_server() as server:
        pass
    items = [foreign("postgres", DUMP, "SELECT id FROM sale", "SELECT id FROM sale")]
    (row,) = score(*items, engines={"postgres": server})
    assert (row["outcome"], row["ex"]) == ("infra_error", None)
    with pytest.raises(UserError, match=r"could not be scored \(PostgreSQL.*run again"):
        score_file(tmp_path / "scores.jsonl", items, workers=1, engines={"postgres": server})
    assert list(tmp_path.iterdir()) == []


def test_unfinished_work_of_another_version_of_an_engine_is_not_taken_up(engines):
    items = everywhere()
    other = {"duckdb": engines["duckdb"]._replace(version="0.0.1")}
    assert len({score_key(items), score_key(items, engines=engines), score_key(items, engines=other)}) == 3
    again = {"postgres": engines["postgres"]._replace(token="another"), "duckdb": engines["duckdb"]}
    assert score_key(items, engines=again) == score_key(items, engines=engines)


# --- The command -----------------------------------------------------------------------------------------------------


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "text2sql", "score", *map(str, arguments)], capture_output=True, text=True
    )


@pytest.fixture
def run(capfd):
    """Runs the command in this process, which has loaded all that it needs."""

    def called(*arguments):
        code = main(["score", *map(str, arguments)])
        return subprocess.CompletedProcess(arguments, code, *capfd.readouterr())

    return called


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_the_command_scores_any_predictions(tmp_path):
    database = tmp_path / "d.sqlite"
    made = sqlite3.connect(database)
    made.executescript(SETUP)
    made.close()
    before = database.read_bytes()
    gold = {"gold_sql": "SELECT a FROM t"}
    file = write(
        tmp_path / "p.jsonl",
        {"id": 1, "setup_sql": SETUP, **gold, "prediction": "SELECT a FROM t"},
        {"id": "two", "database": str(database), **gold, "prediction": "DELETE FROM t"},
        {"id": "3", "database": str(database), **gold, "prediction": "SELECT '\ud800'", "dialect": None},
        {"id": "4", "setup_sql": SETUP, "gold_sql": "SELECT", "prediction": ""},
    )
    ended = command(file, "--workers", 2)
    rows = [json.loads(line) for line in ended.stdout.splitlines()]
    assert ended.returncode == 0, ended.stderr
    assert [(row["id"], row["outcome"], row["ex"]) for row in rows] == [
        (1, "match", True), ("two", "refused", False), ("3", "syntax", False), ("4", "gold_error", None),
    ]  # fmt: skip
    assert "gold_error: 4" in ended.stderr and "ex 0.3333" in ended.stderr
    assert database.read_bytes() == before
    assert command(file, "--out", tmp_path / "s.jsonl").stdout == ""
    assert (tmp_path / "s.jsonl").read_text() == ended.stdout
    assert {path.name for path in tmp_path.iterdir()} == {"d.sqlite", "p.jsonl", "s.jsonl"}


def test_the_command_takes_a_list_of_golds_with_rows_and_without(run, tmp_path):
    golds = {"gold_sql": ["SELECT a FROM t", "SELECT a, b FROM t"]}
    bare = SETUP.partition(";")[0] + ";"
    file = write(
        tmp_path / "p.jsonl",
        {"id": 1, "setup_sql": SETUP, **golds, "prediction": "SELECT a, b FROM t"},
        {"id": 2, "setup_sql": bare, **golds, "prediction": "SELECT a FROM t"},
        {"id": 3, "setup_sql": bare, **golds, "prediction": "SELECT b FROM t"},
    )
    rows = [json.loads(line) for line in run(file, "--populate", 2).stdout.splitlines()]
    assert [(row["outcome"], row["gold"]) for row in rows] == [("match", 2), ("match", 1), ("mismatch", None)]


def test_the_command_starts_a_server_where_a_row_needs_it_and_says_what_it_translates(run, tmp_path):
    given = {"setup_sql": DUMP, "gold_sql": "SELECT MAX(day) - MIN(day) FROM sale", "prediction": "SELECT 29"}
    other = {"setup_sql": SETUP, "gold_sql": "SELECT a FROM t", "prediction": "SELECT a FROM t", "dialect": "tsql"}
    file = write(tmp_path / "p.jsonl", {"id": 1, "dialect": "postgres", **given}, {"id": 2, **other})
    own, translated = run(file), run(file, "--engine", "sqlite")
    assert [json.loads(line)["outcome"] for line in own.stdout.splitlines()] == ["match", "match"]
    assert "engines: postgres 1, sqlite (translated) 1" in own.stderr
    assert own.stderr.startswith("1 rows of dialect tsql run on SQLite by translation: there is no engine for it here")
    assert [json.loads(line)["outcome"] for line in translated.stdout.splitlines()] == ["match", "match"]
    assert "1 rows of dialect postgres run on SQLite by translation: evaluation.engine is sqlite" in translated.stderr


def test_a_password_in_a_url_is_refused_in_one_line(run, tmp_path):
    file = write(tmp_path / "p.jsonl", {"id": 1, "setup_sql": SETUP, "gold_sql": "SELECT 1", "prediction": "SELECT 1"})
    ended = run(file, "--postgres-url", "postgresql://me:secret@host/db")
    assert ended.returncode == 1 and len(ended.stderr.splitlines()) == 1
    assert "postgres_url: its form is postgresql://user@host" in ended.stderr and "secret" not in ended.stderr


def test_the_command_fills_setups_without_rows(run, tmp_path):
    setup = "CREATE TABLE emp(id INTEGER PRIMARY KEY, pay INTEGER NOT NULL, dept TEXT);"
    gold = "SELECT id FROM emp WHERE pay >= 10"
    file = write(
        tmp_path / "p.jsonl",
        *({"id": p, "setup_sql": setup, "gold_sql": gold, "prediction": p} for p in (gold, gold.replace(">=", ">"))),
    )
    bare = [json.loads(line)["outcome"] for line in run(file).stdout.splitlines()]
    full = [json.loads(line)["outcome"] for line in run(file, "--populate", 3).stdout.splitlines()]
    assert bare == ["vacuous_match", "vacuous_match"]
    assert full == ["match", "mismatch"]


@pytest.mark.parametrize(
    "row, message",
    [
        ({"setup_sql": "", "gold_sql": "", "prediction": ""}, "no id"),
        ({"id": 1, "setup_sql": "", "prediction": ""}, "no gold_sql"),
        ({"id": 1, "setup_sql": "", "gold_sql": [], "prediction": ""}, "gold_sql must be text, or a list of at least"),
        ({"id": 1, "setup_sql": "", "gold_sql": ""}, "no prediction"),
        ({"id": 1, "gold_sql": "", "prediction": ""}, "either setup_sql or database"),
        ({"id": 1, "setup_sql": "", "database": "x", "gold_sql": "", "prediction": ""}, "either setup_sql or database"),
        ({"id": 1, "database": "absent.sqlite", "gold_sql": "", "prediction": ""}, "no such database file"),
        ({"id": 1, "setup_sql": 3, "gold_sql": "", "prediction": ""}, "setup_sql must be text, not int"),
    ],
)
def test_a_row_that_is_no_row_is_named(row, message, run, tmp_path):
    ended = run(write(tmp_path / "p.jsonl", row))
    assert ended.returncode == 1
    assert message in ended.stderr and "row 1" in ended.stderr and len(ended.stderr.splitlines()) == 1


def test_a_killed_command_goes_on_and_writes_the_same_bytes(tmp_path):
    row = {"setup_sql": SETUP, "gold_sql": "SELECT a FROM t", "prediction": "SELECT a FROM t"}
    rows = [{"id": n, **row} | ({"prediction": ENDLESS} if n % 200 == 199 else {}) for n in range(1000)]
    file = write(tmp_path / "p.jsonl", *rows)
    arguments = [file, "--timeout", 0.4, "--workers", 1, "--out"]
    assert command(*arguments, tmp_path / "whole.jsonl").returncode == 0
    process = subprocess.Popen(
        [sys.executable, "-m", "text2sql", "score", *map(str, arguments), str(tmp_path / "killed.jsonl")],
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        waiting = list(tmp_path.glob(".killed.jsonl.*.unfinished"))
        if waiting and waiting[0].stat().st_size > 40_000:
            break
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "killed.jsonl").exists() and waiting
    assert command(*arguments, tmp_path / "killed.jsonl").returncode == 0
    assert (tmp_path / "killed.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert not list(tmp_path.glob(".killed*unfinished"))


def test_a_row_that_nobody_can_score_fails_the_file(tmp_path, monkeypatch):
    lost = {"id": "r0", "outcome": "infra_error", "ex": None, "error": "the machine is on fire"}
    unfinished = tmp_path / "unfinished.jsonl"
    unfinished.write_text(json.dumps({"row": lost, "results": {"id": "r0"}}) + "\n")
    with pytest.raises(UserError, match="row r0 could not be scored"):
        score_file(
            tmp_path / "scores.jsonl", many(1), workers=1, results=tmp_path / "results.jsonl", unfinished=unfinished
        )
    assert list(tmp_path.iterdir()) == []


# --- Gold as its own prediction --------------------------------------------------------------------------------------


def own_answers(rows):
    """How many golds can be scored, after asserting that each of these is right as its own prediction."""
    items = [Item(str(n), question, question.gold_sql) for n, question in enumerate(rows)]
    scored = [row for row in score_rows(items, workers=2) if row["outcome"] != "gold_error"]
    assert all(row["ex_strict"] and row["em_ast"] and row["format_valid"] for row in scored)
    return len(scored)


def test_golds_are_their_own_right_answers():
    golds = [
        "SELECT a FROM t",
        "SELECT b FROM t ORDER BY a DESC LIMIT 2;",
        'SELECT a FROM t WHERE b = "x"',
        "VALUES (1)",
    ]
    assert own_answers([Question(gold, (SETUP,)) for gold in golds]) == 4


@pytest.mark.parametrize("name", ["wikisql/dev", "ko_sql_create_context/test"])
def test_real_golds_are_their_own_right_answers(name):
    file = DATA / f"{name}.jsonl.gz"
    if not file.exists():
        pytest.skip(f"{file} is absent")
    rows = list(read_jsonl(file))
    sample = random.Random(0).sample(rows, 500)
    assert own_answers([Question(row["answer"], (row["context"],)) for row in sample]) >= 0.96 * 500


def test_golds_on_a_real_database_are_their_own_right_answers():
    folder = DATA / "geography"
    if not folder.exists():
        pytest.skip(f"{folder} is absent")
    questions = []
    for entry in json.loads((folder / "geography.json").read_text()):
        sql = entry["sql"][0]
        for name, value in entry["sentences"][0]["variables"].items():
            sql = sql.replace(name, value)
        questions.append(Question(sql, database=str(folder / "geography.sqlite")))
    assert own_answers(questions) >= 0.98 * len(questions)
    problems = gold_problems(questions, workers=2)
    assert all(problem is None or "no such column" in problem or "syntax" in problem for problem in problems.values())
