"""Generated evaluation databases: they honour the schema, serve the golds, and tell wrong queries from right ones."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from text2sql.base.files import read_jsonl
from text2sql.databases import aims, many
from text2sql.databases import populate as populating
from text2sql.databases.filler import Pools
from text2sql.databases.many import populate_rows
from text2sql.databases.ordinary import ordinary
from text2sql.databases.populate import fillings, populate, read_databases, summarize, write_databases
from text2sql.databases.schema import read_schema
from text2sql.databases.words import words_for
from text2sql.engines.sqlite import Answer, Failure, build, query
from text2sql.scoring.compare import compare
from text2sql.scoring.gold import answer_gold, plan
from text2sql.sql.dialect import declared, to_sqlite, to_sqlite_ddl

KOREAN_GAMES = Path(__file__).parent / "data" / "korean_games.jsonl"
SHARED = Path(__file__).parents[1].parent / "shared" / "data"
SHOP = (
    "CREATE TABLE shop (id INTEGER PRIMARY KEY, name TEXT UNIQUE NOT NULL, city TEXT, opened DATE);"
    "CREATE TABLE staff (id INTEGER PRIMARY KEY, shop INT NOT NULL, name TEXT NOT NULL,"
    " pay REAL CHECK (pay BETWEEN 10 AND 90), grade TEXT CHECK (grade IN ('a', 'b', 'c')), boss INT,"
    " FOREIGN KEY (shop) REFERENCES shop(id), FOREIGN KEY (boss) REFERENCES staff(id));"
    "CREATE TABLE sale (shop INT, day DATE, amount INT NOT NULL, agent INT, PRIMARY KEY (shop, day),"
    " FOREIGN KEY (shop) REFERENCES shop(id), FOREIGN KEY (agent) REFERENCES agents(id))"
)
GOLDS = [
    "SELECT name FROM staff WHERE pay >= 20 AND grade = 'b'",
    "SELECT name FROM shop WHERE name LIKE '%용사%'",
    "SELECT COUNT(*) FROM sale WHERE amount > 500",
    "SELECT s.name, COUNT(*) FROM shop AS s JOIN staff AS t ON t.shop = s.id GROUP BY s.id HAVING COUNT(*) >= 3",
    "SELECT name FROM shop WHERE id NOT IN (SELECT shop FROM sale WHERE day > '2024-01-31')",
    "SELECT city FROM shop WHERE opened < '2020-01-01' INTERSECT SELECT city FROM shop WHERE opened > '2022-01-01'",
    "SELECT name FROM staff ORDER BY pay DESC LIMIT 3",
    "SELECT t.name FROM staff AS t WHERE t.boss IS NULL",
]


def passes(scripts: list[str], gold: str, prediction: str) -> bool:
    """Whether the prediction is right on every instance, by the comparator's policy."""
    for script in scripts:
        connection = build(script)
        answer = query(connection, prediction)
        if isinstance(answer, Failure) or not compare(answer_gold(connection, plan(gold)), answer).ex:
            return False
    return True


def instances(context: str, gold: str, k: int = 5) -> list[str]:
    """The scripts of both tiers."""
    filled = populate(context, gold, k, seed=1)
    assert filled.usable, filled.reason
    assert (len(filled.scripts), len(filled.harsh)) == (k, (k + 1) // 2)
    return filled.scripts + filled.harsh


def dangling(script: str) -> int:
    """Children without a parent, over all foreign keys to tables that exist."""
    connection = build(script)
    schema = read_schema(script)
    count = 0
    for table in schema.tables.values():
        for link in table.foreign_keys:
            pairs = list(zip(link.columns, link.parent_columns, strict=True))
            match = " AND ".join(f'c."{child}" = p."{parent}"' for child, parent in pairs)
            known = " AND ".join(f'c."{child}" IS NOT NULL' for child, _ in pairs)
            count += query(
                connection,
                f'SELECT COUNT(*) FROM "{table.name}" c WHERE {known} '
                f'AND NOT EXISTS (SELECT 1 FROM "{link.parent}" p WHERE {match})',
            ).rows[0][0]
    return count


# --- constraints -----------------------------------------------------------------------------------------------------


def test_instances_honour_the_schema():
    """`build` runs the script on the context's own DDL, so that it holds PRIMARY KEY, UNIQUE, NOT NULL and CHECK."""
    scripts = [script for gold in GOLDS for script in instances(SHOP, gold)]
    for script in scripts:
        connection = build(script)
        assert not isinstance(connection, Failure)
        assert dangling(script) == 0
        (keyless,) = query(connection, "SELECT COUNT(*) FROM sale WHERE shop IS NULL OR day IS NULL").rows[0]
        assert keyless == 0  # SQLite would take NULL in a primary key; SQL does not
    # A foreign key to a table that is not there (agents) forbids nothing.
    assert any(query(build(s), "SELECT 1 FROM sale WHERE agent IS NOT NULL").rows for s in scripts)


@pytest.mark.parametrize(
    "context",
    [
        "CREATE TABLE t (id INT PRIMARY KEY, up INT NOT NULL REFERENCES t(id))",
        "CREATE TABLE a (id INT PRIMARY KEY, b INT NOT NULL REFERENCES b(id));"
        "CREATE TABLE b (id INT PRIMARY KEY, a INT NOT NULL REFERENCES a(id))",
        "CREATE TABLE p (x INT, y TEXT, PRIMARY KEY (x, y));"
        "CREATE TABLE c (x INT NOT NULL, y TEXT NOT NULL, n INT, FOREIGN KEY (x, y) REFERENCES p(x, y))",
        "CREATE TABLE p (code TEXT, n INT); CREATE TABLE c (code TEXT NOT NULL REFERENCES p(code), n INT)",
        "CREATE TABLE p (id INT PRIMARY KEY); CREATE TABLE c (id TEXT PRIMARY KEY REFERENCES p(id), n INT)",
        "CREATE TABLE t (id INT PRIMARY KEY, n INT CHECK (n > 100 AND n < 110), m INT CHECK (m IN (7, 9)) NOT NULL)",
        "CREATE TABLE t (id INT PRIMARY KEY, FOREIGN KEY (id) REFERENCES t(id), FOREIGN KEY (id) REFERENCES gone(id))",
    ],
)
def test_keys_of_every_form(context):
    table = read_schema(context).tables.popitem()[1].name
    for script in instances(context, f"SELECT * FROM {table}"):
        assert dangling(script) == 0


def test_rows_of_the_context_give_way_to_rows_of_the_instance():
    context = "CREATE TABLE t (a INT PRIMARY KEY, b TEXT); INSERT INTO t VALUES (1, 'only here')"
    gold = "SELECT b FROM t WHERE b <> 'x'"
    rows = [query(build(script), "SELECT COUNT(*) FROM t").rows[0][0] for script in instances(context, gold)]
    assert max(rows) > 1


# --- what the instances tell apart ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("context", "gold", "wrong"),
    [
        ("CREATE TABLE t (a INT, b TEXT)", "SELECT b FROM t WHERE a >= 5", "SELECT b FROM t WHERE a > 5"),
        ("CREATE TABLE t (a INT, b TEXT)", "SELECT b FROM t WHERE a > 5", "SELECT b FROM t WHERE a >= 5"),
        ("CREATE TABLE t (a TEXT, b TEXT)", "SELECT b FROM t WHERE a > 5", "SELECT b FROM t WHERE a >= 5"),
        ("CREATE TABLE t (b TEXT)", "SELECT b FROM t WHERE b LIKE '%용사%'", "SELECT b FROM t WHERE b LIKE '용사%'"),
        ("CREATE TABLE t (b TEXT)", "SELECT b FROM t WHERE b LIKE '용사%'", "SELECT b FROM t WHERE b LIKE '%용사%'"),
        ("CREATE TABLE t (b TEXT)", 'SELECT b FROM t WHERE b = "Bob"', "SELECT b FROM t WHERE lower(b) = 'bob'"),
        ("CREATE TABLE t (a INT, b TEXT)", "SELECT DISTINCT b FROM t", "SELECT b FROM t"),
        ("CREATE TABLE t (a INT, b TEXT)", "SELECT COUNT(b) FROM t", "SELECT COUNT(*) FROM t"),
        ("CREATE TABLE t (a INT, b TEXT)", "SELECT b FROM t WHERE a IS NULL", "SELECT b FROM t WHERE a = 0"),
        (
            "CREATE TABLE t (d DATE, b TEXT)",
            "SELECT b FROM t WHERE d >= '2024-03-01'",
            "SELECT b FROM t WHERE d > '2024-03-01'",
        ),
        (
            "CREATE TABLE t (d DATE, b TEXT)",
            "SELECT b FROM t WHERE strftime('%Y', d) = '2023'",
            "SELECT b FROM t WHERE d >= '2023-01-01'",
        ),
        (
            "CREATE TABLE t (a INT, b TEXT)",
            "SELECT b FROM t GROUP BY b HAVING COUNT(*) > 40",
            "SELECT b FROM t GROUP BY b HAVING COUNT(*) >= 40",
        ),
        (
            "CREATE TABLE t (a INT, b TEXT)",
            "SELECT b FROM t WHERE a > (SELECT AVG(a) FROM t)",
            "SELECT b FROM t WHERE a >= (SELECT AVG(a) FROM t)",
        ),
        ("CREATE TABLE t (a INT, b TEXT)", "SELECT b FROM t ORDER BY a LIMIT 3", "SELECT b FROM t ORDER BY b LIMIT 3"),
    ],
)
def test_a_near_miss_never_passes(context, gold, wrong):
    scripts = instances(context, gold)
    assert passes(scripts, gold, gold)
    assert not passes(scripts, gold, wrong)


@pytest.mark.parametrize(
    "key", ["INT PRIMARY KEY", "INT UNIQUE", "INT"]
)  # what is referred to is a key, declared or not
def test_a_join_through_a_not_null_foreign_key_changes_nothing(key):
    context = (
        f"CREATE TABLE guild (id {key}, name TEXT);"
        "CREATE TABLE player (id INT PRIMARY KEY, name TEXT, guild INT NOT NULL REFERENCES guild(id),"
        " old INT REFERENCES guild(id))"
    )
    gold = "SELECT name FROM player"
    scripts = instances(context, gold)
    assert passes(scripts, gold, "SELECT p.name FROM player p JOIN guild g ON p.guild = g.id")
    assert not passes(scripts, gold, "SELECT p.name FROM player p JOIN guild g ON p.old = g.id")  # may be NULL


def test_golds_that_no_filling_can_serve_are_named():
    context = "CREATE TABLE t (a INT, b TEXT)"
    filled = [populate(context, gold, 3, 1) for gold in ("SELECT a FROM t WHERE 1 = 2", "SELECT c FROM t", "SELEC")]
    assert [result.usable for result in filled] == [False, False, False]
    assert [result.reason.split(":")[0] for result in filled] == ["no_rows", "gold_error", "gold_error"]
    assert [result.scripts + result.harsh for result in filled] == [[], [], []]


PLAIN = "CREATE TABLE t (a REAL, b TEXT, c DATE);"


@pytest.mark.parametrize(
    "gold",
    [
        "SELECT a FROM t WHERE a < 9e999",
        "SELECT a FROM t WHERE a = -9e999 OR b = char(0)",
        "SELECT b FROM t WHERE b >= 'x' || char(0)",
        "SELECT a FROM t WHERE a < " + "+".join(["1"] * 20),
    ],
)
def test_a_constant_at_the_edge_of_what_sqlite_knows_does_no_harm(gold):
    filled = populate(PLAIN, gold, 2, 1)
    assert (filled.usable, filled.reason) == (True, None)


BAD = "SELECT a FROM t WHERE a > 5"


def test_a_gold_with_a_value_that_cannot_be_written_is_filled_for_without_its_aim(monkeypatch):
    """No such gold is known, so that the value is put in."""
    read_aim = aims.read_aim

    def with_no_value(tree, schema, connection):
        aim = read_aim(tree, schema, connection)
        aim.constants["t", "a"].append(object())
        return aim

    monkeypatch.setattr(aims, "read_aim", with_no_value)
    filled = populate(PLAIN, BAD, 2, 1)
    assert filled.usable and len(filled.scripts) == 2


def test_a_gold_whose_mutants_cannot_be_made_is_filled_for_without_them(monkeypatch):
    """No such gold is known, so that the error is put in."""

    def failing(tree, *_):
        if tree is not None:
            raise KeyError("a construct")
        return []

    monkeypatch.setattr(populating, "mutants", failing)
    filled = populate(PLAIN, BAD, 2, 1)
    assert (filled.usable, filled.power.mutants) == (True, 0)


def test_a_gold_that_fails_on_every_filling_is_named(monkeypatch):
    """No such gold is known, so that the error is put in."""

    def failing(*_):
        raise ZeroDivisionError("of something")

    monkeypatch.setattr(populating.Gold, "look", failing)
    filled = many._job((PLAIN, "sqlite", BAD, 2, 1), {})
    assert (filled["usable"], filled["reason"]) == (False, "lost: of something")


def test_counts_of_mutants_add_up():
    for gold in GOLDS:
        result = populate(SHOP, gold, 5, seed=1)
        power = result.power
        parts = power.killed + power.harshly + power.survived + power.equivalent + power.presumed
        assert parts == power.mutants > 0
        assert [sum(kind) for kind in zip(*result.by_kind.values(), strict=True)] == [
            power.killed,
            power.harshly,
            power.survived,
            power.equivalent,
            power.presumed,
        ]
        assert power.presumed == len(result.undecided)
        assert power.kill_rate >= 0.9


# --- what is ordinary ------------------------------------------------------------------------------------------------

FAIR = (
    "CREATE TABLE singer (id INTEGER PRIMARY KEY, name TEXT, song_name TEXT, pay REAL, age INT);"
    "CREATE TABLE concert (id INTEGER PRIMARY KEY, concert_name TEXT, year INT, singer INT REFERENCES singer(id));"
    "CREATE TABLE road (id INTEGER PRIMARY KEY, a INT REFERENCES singer(id), b INT REFERENCES singer(id))"
)


def strict_keys(gold: str, context: str = FAIR) -> set[tuple[str, str]]:
    """(table, column) of what ordinary fillings repeat no value of, beside the keys of the schema."""
    schema = read_schema(context)
    strict = ordinary(schema, aims.read_aim(aims.parse(gold, schema), schema, build(context)))
    return {(table, column) for table, (column,) in strict.undeclared}


def test_names_of_a_row_are_its_own_and_those_of_something_else_or_of_what_has_a_year_may_repeat():
    assert strict_keys("SELECT age FROM singer") == {("singer", "name")}


def test_a_measure_that_a_limit_ranks_by_does_not_tie_but_a_count_may():
    assert ("singer", "pay") in strict_keys("SELECT id FROM singer ORDER BY pay LIMIT 1")
    assert ("singer", "pay") not in strict_keys("SELECT id FROM singer ORDER BY pay")
    assert ("singer", "age") not in strict_keys("SELECT id FROM singer ORDER BY age LIMIT 1")
    best = "SELECT id FROM singer ORDER BY {} DESC LIMIT 1"
    all_best = "SELECT id FROM singer WHERE {0} = (SELECT max({0}) FROM singer)"
    for column, right in (("pay", True), ("age", False)):
        gold = best.format(column)
        assert passes(populate(FAIR, gold, 5, 1).scripts, gold, all_best.format(column)) is right


HALL = "CREATE TABLE hall (id INTEGER PRIMARY KEY, hall_name TEXT, seats INT, avgRating INT, age_of_roof INT)"


def test_the_largest_of_an_amount_is_one_rows_own_but_the_smallest_and_grades_and_ages_tie():
    first = "SELECT hall_name FROM hall ORDER BY {} LIMIT 1"
    unique = {key: strict_keys(first.format(key), HALL) for key in ("seats DESC", "seats", "avgRating DESC")}
    assert [("hall", "seats") in keys for keys in unique.values()] == [True, False, False]
    assert ("hall", "age_of_roof") not in strict_keys(first.format("age_of_roof DESC"), HALL)
    for key, extreme, right in (("seats DESC", "max(seats)", True), ("seats", "min(seats)", False)):
        scripts = populate(HALL, first.format(key), 5, 1).scripts
        other = f"SELECT hall_name FROM hall WHERE seats = (SELECT {extreme} FROM hall)"
        assert passes(scripts, first.format(key), other) is right


@pytest.mark.parametrize(("parent", "right"), [("country", True), ("guild", False)])
def test_no_two_countries_have_one_name_where_a_limit_picks_one(parent, right):
    context = (
        f"CREATE TABLE {parent} (id INTEGER PRIMARY KEY, {parent}_name TEXT);"
        f"CREATE TABLE maker (id INTEGER PRIMARY KEY, maker_name TEXT, home INT REFERENCES {parent}(id))"
    )
    gold = (
        f"SELECT p.{parent}_name FROM maker AS m JOIN {parent} AS p ON m.home = p.id"
        " GROUP BY p.id ORDER BY count(*) DESC LIMIT 1"
    )
    by_name = gold.replace("GROUP BY p.id", f"GROUP BY p.{parent}_name")
    assert passes(populate(context, gold, 5, 1).scripts, gold, by_name) is right


SHIPS = (
    "CREATE TABLE ship (id INTEGER PRIMARY KEY, name TEXT);"
    "CREATE TABLE loss (id INTEGER PRIMARY KEY, ship INT REFERENCES ship(id), note TEXT, killed INT, injured INT)"
)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("direction", ["ASC", "DESC"])
def test_groups_that_a_limit_picks_from_differ_in_all_that_may_be_counted(direction, seed):
    """A count of rows, a sum of any column, and both sides of an OR counted for one row."""
    most = "SELECT s.id FROM ship AS s JOIN loss AS x ON x.ship = s.id GROUP BY s.id ORDER BY {} {} LIMIT 1"
    gold = most.format("count(*)", direction)
    scripts = populate(SHIPS, gold, 5, seed).scripts
    assert not any(passes(scripts, gold, most.format(f"sum({column})", direction)) for column in ("killed", "injured"))
    ends = (
        "SELECT s.id FROM singer AS s JOIN road AS r ON s.id = r.a OR s.id = r.b GROUP BY s.id"
        f" ORDER BY count(*) {direction} LIMIT 1"
    )
    both = (
        "SELECT id FROM (SELECT a AS id FROM road UNION ALL SELECT b FROM road)"
        f" GROUP BY id ORDER BY count(*) {direction} LIMIT 1"
    )
    assert not passes(populate(FAIR, ends, 5, seed).scripts, ends, both)


AIRLINES = (
    "CREATE TABLE airline (id INTEGER PRIMARY KEY, name TEXT);"
    "CREATE TABLE flight (airline INT REFERENCES airline(id), number INT, gate INT, PRIMARY KEY (airline, number))"
)


def test_groups_have_just_the_sizes_that_a_condition_on_their_count_tells_apart():
    schema = read_schema(AIRLINES)
    joined = "SELECT {} FROM airline AS a JOIN flight AS f ON f.airline = a.id GROUP BY a.name"
    gold = populating.read_gold(joined.format("a.name") + " HAVING count(*) > 10", schema, build(AIRLINES))
    for name in "abc":
        script = populating.candidate(gold.strict, Pools(gold.strict, [gold.aim]), gold, 3, name, gaps=False)
        sizes = query(build(script), joined.format("count(*)") + " ORDER BY 1").rows
        assert sizes == [(9,), (10,), (11,)]


def test_what_shares_a_name_differs_in_what_is_shown_beside_it():
    gold = (
        "SELECT c.concert_name, c.year, count(*) FROM concert AS c JOIN singer AS s ON c.singer = s.id"
        " GROUP BY c.id ORDER BY count(*) DESC LIMIT 1"
    )
    scripts = populate(FAIR, gold, 5, 1).scripts
    assert passes(scripts, gold, gold.replace("c.id ", "c.concert_name, c.year "))


def test_a_mutant_that_may_win_a_tie_with_the_gold_is_not_told_apart():
    """Rows 1 and 3 tie for the gold, 2 and 3 for the mutant: whoever writes it otherwise may get row 3."""
    schema = read_schema("CREATE TABLE t (id INTEGER PRIMARY KEY, a INT, b INT)")
    gold = populating.read_gold("SELECT id FROM t ORDER BY a LIMIT 1", schema, build(schema.before[0]))
    (by_b,) = [number for number, mutant in enumerate(gold.mutants) if mutant.sql.endswith('ORDER BY "b" LIMIT 1')]
    rows = schema.before[0] + "; INSERT INTO t VALUES (1, 0, 1), (2, 1, 0), (3, {}, 0)"
    assert gold.look(rows.format(0), {by_b}) == (True, set())
    assert gold.look(rows.format(1), {by_b}) == (True, {by_b})


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(
    ("gold", "wrong"),
    [
        (
            "SELECT s.id FROM singer AS s JOIN road AS r ON s.id = r.a OR s.id = r.b GROUP BY s.id"
            " ORDER BY count(*) DESC LIMIT 1",
            "SELECT a FROM road GROUP BY a ORDER BY count(*) DESC LIMIT 1",
        ),
        (
            "SELECT singer FROM concert WHERE year = 2014 INTERSECT SELECT singer FROM concert WHERE year = 2015",
            "SELECT singer FROM concert WHERE year = 2014 OR year = 2015 GROUP BY singer HAVING count(*) >= 2",
        ),
        (
            "SELECT c.concert_name, count(*) FROM concert AS c JOIN singer AS s ON c.singer = s.id GROUP BY c.id",
            "SELECT c.concert_name, count(*) FROM concert AS c JOIN singer AS s ON c.singer = s.id"
            " GROUP BY c.concert_name",
        ),
        (
            "SELECT s.name FROM singer AS s JOIN concert AS c ON c.singer = s.id GROUP BY s.id"
            " ORDER BY count(*) DESC LIMIT 1",
            "SELECT s.name FROM singer AS s JOIN concert AS c ON c.singer = s.id GROUP BY s.id"
            " ORDER BY sum(s.age) DESC LIMIT 1",
        ),
    ],
)
def test_what_models_take_for_the_same_is_told_apart_by_ordinary_fillings(gold, wrong, seed):
    scripts = populate(FAIR, gold, 5, seed).scripts
    assert passes(scripts, gold, gold)
    assert not passes(scripts, gold, wrong)


def test_rows_can_be_read():
    context = (
        "CREATE TABLE customer (id INT PRIMARY KEY, name TEXT, city TEXT, email TEXT, founded_year INT, note TEXT)"
    )
    rows = query(build(populate(context, "SELECT note FROM customer", 1, 0).scripts[0]), "SELECT * FROM customer").rows
    assert all(email.partition("@")[2].lower() == "example.com" for _, _, _, email, _, _ in rows)
    assert {city.split()[0].title() for _, _, city, _, _, _ in rows} <= set(words_for("customer", "city", False))
    assert any(1964 <= year <= 2024 for *_, year, _ in rows)
    korean = context.replace("customer", "고객")
    rows = query(build(populate(korean, "SELECT note FROM 고객", 1, 0).scripts[0]), "SELECT name, city FROM 고객").rows
    assert all(re.search("[가-힣]", name) and re.search("[가-힣]", city) for name, city in rows)


# --- many rows -------------------------------------------------------------------------------------------------------


def game_rows(count: int) -> list[dict]:
    return list(read_jsonl(KOREAN_GAMES))[:count]


def test_korean_game_rows_are_usable(tmp_path):
    rows = game_rows(100)
    made, results = populate_rows(rows, 5, 13, 2, tmp_path / "unfinished.jsonl")
    total = summarize(results)
    assert total["n"] == len(rows) >= 40
    assert total["usable"] >= 0.97 * total["n"], total["unusable"]
    assert total["kill_rate"] >= 0.95
    write_databases(tmp_path, made, results)
    scripts = read_databases(tmp_path)
    for row in rows:
        gold = to_sqlite(row["answer"], "mysql", declared(row["context"], "mysql"))
        assert len(scripts[row["id"]].ordinary) == 5
        assert passes(scripts[row["id"]].ordinary, gold, gold)
        assert all(dangling(script) == 0 for script in scripts[row["id"]].harsh)


def test_what_cannot_be_translated_is_named(tmp_path):
    rows = [
        {
            "id": "1",
            "dialect": "mysql",
            "context": "CREATE TABLE t (a INT)",
            "answer": "SELECT a FROM t ORDER BY RAND()",
        },
        {"id": "2", "dialect": "mysql", "context": "CREATE TABLE t (a INT)", "answer": "SELECT a FROM t"},
        {"id": "3", "dialect": "mysql", "context": "CREATE TABLE", "answer": "SELECT a FROM t"},
        {"id": "4", "dialect": None, "context": "CREATE TABLE t (a INT)", "answer": "SELECT NOW() FROM t"},
    ]
    _, results = populate_rows(rows, 2, 13, 1, tmp_path / "unfinished.jsonl")
    assert [result["id"] for result in results] == ["1", "2", "3", "4"]
    assert [result["usable"] for result in results] == [False, True, False, False]
    assert results[0]["reason"].startswith("dialect: RAND")
    assert results[2]["reason"].startswith("gold_error: context")
    assert results[3]["reason"].startswith("gold_error: no such function")
    assert summarize(results)["unusable"] == {"dialect": 1, "gold_error": 2}


def test_same_bytes_for_one_and_two_workers(tmp_path):
    rows = game_rows(12)
    for workers in (1, 2):
        write_databases(tmp_path / str(workers), *populate_rows(rows, 3, 7, workers, tmp_path / f"u{workers}"))
    for name in ("instances.jsonl", "rows.jsonl"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()


def test_another_seed_gives_other_rows():
    assert populate(SHOP, GOLDS[0], 1, seed=1).scripts != populate(SHOP, GOLDS[0], 1, seed=2).scripts


def test_the_fillings_of_a_gold_do_not_depend_on_what_else_stands_in_the_file(tmp_path):
    rows = [{"id": gold, "context": SHOP, "answer": gold, "dialect": "sqlite"} for gold in GOLDS]
    together = fillings(*populate_rows(rows, 2, 3, 1, tmp_path / "together"))
    alone = fillings(*populate_rows([rows[4]], 2, 3, 1, tmp_path / "alone"))
    reversed_ = fillings(*populate_rows(rows[:3:-1], 2, 3, 1, tmp_path / "reversed"))
    assert together[GOLDS[4]] == alone[GOLDS[4]] == reversed_[GOLDS[4]]


def test_equal_questions_share_their_fillings(tmp_path):
    rows = [{"id": n, "context": PLAIN, "answer": BAD, "dialect": None} for n in range(2)]
    made, results = populate_rows(rows, 2, 3, 1, tmp_path / "unfinished.jsonl")
    assert len(made) == 2 + 1
    assert results[0]["key"] == results[1]["key"]


def test_goes_on_after_a_kill(tmp_path):
    rows = game_rows(12)
    code = (
        "import json, sys; from text2sql.databases.many import populate_rows\n"
        "populate_rows(json.load(open(sys.argv[1])), 3, 7, 1, sys.argv[2])"
    )
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    unfinished = tmp_path / "unfinished.jsonl"
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "rows.json"), str(unfinished)],
        stderr=subprocess.DEVNULL,
        cwd=Path(__file__).parents[1],
    )
    while process.poll() is None and not (unfinished.exists() and unfinished.read_bytes().count(b"\n") >= 2):
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    with open(unfinished, "ab") as file:
        file.write(b'{"job": "cut o')
    kept = unfinished.read_bytes().count(b"\n")
    assert kept >= 2
    resumed = populate_rows(rows, 3, 7, 2, unfinished)
    assert resumed == populate_rows(rows, 3, 7, 2, tmp_path / "fresh.jsonl")
    assert unfinished.read_bytes().count(b"\n") == (tmp_path / "fresh.jsonl").read_bytes().count(b"\n")


# --- real data -------------------------------------------------------------------------------------------------------


def test_wikisql_style_rows_with_double_quoted_strings(tmp_path):
    path = SHARED / "ko_sql_create_context" / "test.jsonl.gz"
    if not path.exists():
        pytest.skip(f"{path} is absent")
    rows = [row for _, row in zip(range(40), read_jsonl(path), strict=False)]
    rows = [{"id": r["id"], "context": r["context"], "answer": r["answer"], "dialect": "sqlite"} for r in rows]
    _, results = populate_rows(rows, 5, 13, 2, tmp_path / "unfinished.jsonl")
    total = summarize(results)
    assert total["usable"] + total["unusable"].get("gold_error", 0) >= 39
    assert total["kill_rate"] >= 0.95


@pytest.mark.parametrize("db_id", ["pets_1"])
def test_spider_schema(db_id):
    folder = SHARED / "spider"
    if not folder.exists():
        pytest.skip(f"{folder} is absent")
    from text2sql.sources.schemas import ddl_of_spider

    schemas = json.loads((folder / "tables.json").read_text())
    golds = {row["query"] for row in json.loads((folder / "dev.json").read_text()) if row["db_id"] == db_id}
    context = ddl_of_spider(next(schema for schema in schemas if schema["db_id"] == db_id))
    filled = [populate(context, gold, 5, seed=13) for gold in sorted(golds)[::4]]
    assert all(result.usable for result in filled)
    killed = sum(result.power.killed + result.power.harshly for result in filled)
    assert killed / (killed + sum(result.power.survived for result in filled)) >= 0.99
    for result in filled:
        assert all(dangling(script) == 0 for script in result.scripts + result.harsh)


def test_rules_of_equivalence_hold_on_instances():
    """A mutant called equivalent by rule answers as its gold on every filling."""
    from text2sql.databases import aims
    from text2sql.databases.mutants import mutants

    schema = read_schema(SHOP)
    scripts = [script for gold in GOLDS for script in instances(SHOP, gold, 2)]
    golds = [
        *GOLDS,
        "SELECT s.name FROM staff t JOIN shop s ON t.shop = s.id",
        "SELECT shop, day FROM sale",
        "SELECT grade FROM staff ORDER BY name",
    ]
    seen = set()
    for gold in golds:
        for mutant in mutants(aims.parse(gold, schema), schema):
            if mutant.equivalent:
                seen.add(mutant.kind)
                assert passes(scripts, gold, mutant.sql), mutant
    assert {"distinct", "join kind", "join added", "not null"} <= seen


def test_translated_context_is_what_the_instances_build_on():
    row = game_rows(1)[0]
    ddl = to_sqlite_ddl(row["context"], "mysql")
    gold = to_sqlite(row["answer"], "mysql", declared(row["context"], "mysql"))
    script = instances(ddl, gold)[0]
    assert isinstance(query(build(script), gold), Answer)
