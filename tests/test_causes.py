"""Why a query is wrong: the cause that a reader would name, on hand-written pairs and on mutants."""

import runpy

import pytest
from conftest import ROOT

from text2sql.sql.causes import CAUSES, NONE, UNPARSED, causes

SPIDER = ROOT.parent / "shared/data/spider"
PLAYERS = "SELECT name FROM player WHERE age > 20"


@pytest.mark.parametrize(
    ("gold", "predicted", "expected"),
    [
        (PLAYERS, "SELECT name FROM guild WHERE age > 20", ["table"]),
        (PLAYERS, "SELECT age FROM player WHERE age > 20", ["column"]),
        (PLAYERS, "SELECT name, age FROM player WHERE age > 20", ["column"]),
        (PLAYERS, "SELECT name FROM player WHERE size > 20", ["column"]),
        (PLAYERS, "SELECT name FROM player WHERE age > 21", ["literal"]),
        (PLAYERS, "SELECT name FROM player WHERE age >= 20", ["condition"]),
        (PLAYERS, "SELECT name FROM player", ["condition"]),
        (PLAYERS, "SELECT name FROM player WHERE NOT age > 20", ["condition"]),
        (PLAYERS, "SELECT DISTINCT name FROM player WHERE age > 20", ["distinct"]),
        (PLAYERS, "SELECT UPPER(name) FROM player WHERE age > 20", ["expression"]),
        (PLAYERS, "SELECT name FROM player WHERE ABS(age) > 20", ["expression"]),
        (PLAYERS, "SELECT name FROM player WHERE age > 20 ORDER BY name", ["order or limit"]),
        (PLAYERS, "SELECT name FROM player WHERE age > 20 LIMIT 1", ["order or limit"]),
        ("SELECT MAX(age) FROM player", "SELECT MIN(age) FROM player", ["aggregate"]),
        ("SELECT SUM(age) FROM player", "SELECT COUNT(age) FROM player", ["aggregate", "column"]),
        ("SELECT COUNT(*) FROM player", "SELECT COUNT(DISTINCT age) FROM player", ["distinct"]),
        ("SELECT age FROM player ORDER BY name", "SELECT age FROM player ORDER BY name DESC", ["order or limit"]),
        ("SELECT age FROM player GROUP BY age", "SELECT age FROM player GROUP BY name", ["grouping"]),
        (
            "SELECT age FROM player GROUP BY age HAVING COUNT(*) > 1",
            "SELECT age FROM player GROUP BY age HAVING SUM(size) > 1",
            ["aggregate"],
        ),
        (
            "SELECT p.name FROM player p JOIN guild g ON p.guild = g.id WHERE g.size > 3",
            "SELECT name FROM player WHERE size > 3",
            ["join"],
        ),
        (
            "SELECT p.name FROM player p JOIN guild g ON p.guild = g.id",
            "SELECT p.name FROM player p JOIN guild g ON p.id = g.id",
            ["join"],
        ),
        (
            "SELECT p.name FROM player p JOIN guild g ON p.guild = g.id",
            "SELECT p.name FROM player p LEFT JOIN guild g ON p.guild = g.id",
            ["join"],
        ),
        (
            "SELECT id FROM guild EXCEPT SELECT guild FROM player",
            "SELECT id FROM guild INTERSECT SELECT guild FROM player",
            ["set operation"],
        ),
        (
            "SELECT name FROM guild WHERE id IN (SELECT guild FROM player)",
            "SELECT name FROM guild WHERE id NOT IN (SELECT guild FROM player)",
            ["condition"],
        ),
        (
            "SELECT name FROM guild WHERE id IN (SELECT guild FROM player)",
            "SELECT g.name FROM guild g JOIN player p ON p.guild = g.id",
            ["nesting"],
        ),
        (
            "SELECT name FROM player WHERE age > (SELECT AVG(age) FROM player)",
            "SELECT name FROM player WHERE age > (SELECT MAX(age) FROM player)",
            ["aggregate"],
        ),
        (
            "SELECT name FROM player ORDER BY age DESC LIMIT 1",
            "SELECT name FROM player WHERE age = (SELECT MAX(age) FROM player)",
            ["condition", "order or limit", "nesting"],
        ),
        ("SELECT g.name FROM guild g, player p", "SELECT p.name FROM guild g, player p", ["column"]),
    ],
)
def test_the_cause_is_the_one_that_a_reader_would_name(gold, predicted, expected):
    assert causes(gold, predicted) == expected


@pytest.mark.parametrize(
    ("gold", "predicted"),
    [
        ("SELECT T1.name FROM player AS T1 WHERE T1.age = 'x'", 'SELECT "name" FROM Player WHERE age = "x"'),
        ("SELECT name FROM player WHERE age IN (1, 2)", "SELECT name FROM player WHERE age = 2 OR age = 1"),
        ("SELECT name FROM player WHERE age BETWEEN 1 AND 2", "SELECT name FROM player WHERE 2 >= age AND age >= 1"),
        ("SELECT age AS a FROM player ORDER BY a", "SELECT age FROM player ORDER BY 1"),
        ("SELECT name FROM player WHERE NOT age = 1", "SELECT name FROM player WHERE age <> 1.0"),
    ],
)
def test_another_spelling_is_no_difference(gold, predicted):
    assert causes(gold, predicted) == [NONE]


def test_a_small_difference_counts_only_where_there_is_no_other():
    gold = "SELECT COUNT(*) FROM player WHERE age > 1"
    assert causes(gold, "SELECT COUNT(id) FROM player WHERE age > 1") == ["aggregate", "column"]
    assert causes(gold, "SELECT COUNT(id) FROM player WHERE age > 2") == ["literal"]


def test_of_several_causes_the_one_that_decides_most_stands_first():
    found = causes("SELECT name FROM player WHERE age > 1 LIMIT 3", "SELECT size FROM guild WHERE age > 2 LIMIT 4")
    assert found == ["table", "column", "literal", "order or limit"]
    assert sorted(found, key=CAUSES.index) == found
    wider = causes("SELECT name FROM player", "SELECT p.name, g.name FROM player p JOIN guild g ON p.guild = g.id")
    assert wider == ["column", "join"]  # more columns can never be right


@pytest.mark.parametrize("sql", ["SELECT FROM", "SELECT " + "(" * 40 + "1" + ")" * 40, "", "DROP TABLE player"])
def test_what_cannot_be_read_is_said_to_be_so(sql):
    assert causes(PLAYERS, sql) == [UNPARSED]


def test_other_dialects_are_read_in_their_own_words():
    gold = 'SELECT "name" FROM "player" WHERE "at"::date = DATE \'2024-01-01\''
    assert causes(gold, gold.replace("2024", "2023"), "postgres") == ["literal"]
    assert causes("SELECT `name` FROM `player`", "SELECT `age` FROM `player`", "mysql") == ["column"]


@pytest.mark.skipif(not SPIDER.is_dir(), reason=f"{SPIDER} is not there")
def test_mutants_have_the_cause_that_made_them():
    """Every thirtieth of Spider's dev golds; all of them are read by benchmarks/causes.py, which gives the figures."""
    known = runpy.run_path(str(ROOT / "benchmarks/causes.py"))["known"]
    cases = list(known(SPIDER, every=30))
    right = [causes(gold, mutant)[0] in expected for _, expected, gold, mutant in cases]
    assert len(cases) > 100 and sum(right) > 0.95 * len(cases)
