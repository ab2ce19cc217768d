"""Mutants of a gold, and the rules by which a change is no change."""

from collections import Counter

import pytest

from text2sql.databases import aims
from text2sql.databases.mutants import OF_A_KIND, Power, mutants
from text2sql.databases.schema import read_schema
from text2sql.engines.sqlite import Answer, build, query

CONTEXT = (
    "CREATE TABLE guild (id INTEGER PRIMARY KEY, name TEXT, size INT);"
    "CREATE TABLE player (id INT PRIMARY KEY, name TEXT, age INT, guild INT NOT NULL REFERENCES guild(id), "
    "boss INT REFERENCES player(id))"
)
SCHEMA = read_schema(CONTEXT)


def mutants_of(sql: str) -> dict[str, str | None]:
    """Mutant text → rule of equivalence."""
    return {mutant.sql: mutant.equivalent for mutant in mutants(aims.parse(sql, SCHEMA), SCHEMA)}


@pytest.mark.parametrize(
    ("gold", "mutant"),
    [
        ("SELECT name FROM player WHERE age >= 20", "SELECT name FROM player WHERE age > 20"),
        ("SELECT name FROM player WHERE age >= 20", "SELECT name FROM player WHERE age >= 21"),
        ("SELECT name FROM player WHERE name LIKE '%용사%'", "SELECT name FROM player WHERE name LIKE '용사%'"),
        ("SELECT name FROM player WHERE name = 'Bob'", "SELECT name FROM player WHERE name = 'BOB'"),
        ("SELECT name FROM player WHERE name = 'Bob'", "SELECT name FROM player WHERE name = 'Bo'"),
        ("SELECT name FROM player WHERE age = 1 AND id = 2", "SELECT name FROM player WHERE (age = 1 OR id = 2)"),
        ("SELECT name FROM player WHERE age = 1 AND id = 2", "SELECT name FROM player WHERE (age = 1)"),
        ("SELECT name FROM player", "SELECT DISTINCT name FROM player"),
        ("SELECT DISTINCT name FROM player", "SELECT name FROM player"),
        ("SELECT MAX(age) FROM player", "SELECT MIN(age) FROM player"),
        ("SELECT COUNT(age) FROM player", "SELECT COUNT(DISTINCT age) FROM player"),
        ("SELECT COUNT(age) FROM player", "SELECT COUNT(*) FROM player"),
        ("SELECT name FROM player ORDER BY age LIMIT 3", "SELECT name FROM player ORDER BY age LIMIT 4"),
        ("SELECT name FROM player ORDER BY age LIMIT 3", "SELECT name FROM player ORDER BY age DESC LIMIT 3"),
        ("SELECT name FROM player ORDER BY age LIMIT 3", "SELECT name FROM player LIMIT 3"),
        (
            "SELECT age FROM player UNION SELECT size FROM guild",
            "SELECT age FROM player UNION ALL SELECT size FROM guild",
        ),
        (
            "SELECT age FROM player EXCEPT SELECT size FROM guild",
            "SELECT age FROM player INTERSECT SELECT size FROM guild",
        ),
        ("SELECT age FROM player GROUP BY age HAVING COUNT(*) > 1", "SELECT age FROM player GROUP BY age"),
        (
            "SELECT age FROM player WHERE boss IN (SELECT id FROM guild)",
            "SELECT age FROM player WHERE NOT boss IN (SELECT id FROM guild)",
        ),
        ("SELECT age FROM player", 'SELECT "guild" FROM player'),
        (
            "SELECT g.size FROM guild AS g JOIN player AS p ON p.guild = g.id",
            'SELECT g.size FROM guild AS g JOIN player AS p ON p.guild = g.id GROUP BY "g"."rowid"',
        ),
        ("SELECT COUNT(*) FROM player", 'SELECT COUNT(DISTINCT "player"."age") FROM player'),
        (
            "SELECT g.name, COUNT(*) FROM guild AS g JOIN player AS p ON p.guild = g.id GROUP BY g.id",
            "SELECT g.name, COUNT(*) FROM guild AS g JOIN player AS p ON p.guild = g.id GROUP BY g.name",
        ),
        (
            "SELECT g.name, COUNT(*) FROM guild AS g JOIN player AS p ON p.guild = g.id GROUP BY g.name",
            'SELECT g.name, COUNT(*) FROM guild AS g JOIN player AS p ON p.guild = g.id GROUP BY "g"."id"',
        ),
        (
            "SELECT name FROM player ORDER BY age LIMIT 1",
            "SELECT name FROM player WHERE age = (SELECT age FROM player ORDER BY age LIMIT 1)",
        ),
        (
            "SELECT age FROM player GROUP BY age ORDER BY COUNT(*) DESC LIMIT 1",
            "SELECT age FROM player GROUP BY age HAVING COUNT(*) = "
            "(SELECT COUNT(*) FROM player GROUP BY age ORDER BY COUNT(*) DESC LIMIT 1)",
        ),
        ("SELECT AVG(age) FROM player", "SELECT ROUND(AVG(age)) FROM player"),
        ("SELECT AVG(age) FROM player", "SELECT (CAST(SUM(age) * 1.0 AS REAL) / COUNT(*)) FROM player"),
        ("SELECT age FROM player WHERE name = 'Bob'", "SELECT age FROM player WHERE name = 'Bob' COLLATE NOCASE"),
        ("SELECT age FROM player LIMIT 3 OFFSET 20", "SELECT age FROM player LIMIT 3 OFFSET 21"),
        ("SELECT name FROM player ORDER BY age", "SELECT name FROM player WHERE NOT age IS NULL ORDER BY age"),
        (
            "SELECT guild FROM player WHERE age = 1 INTERSECT SELECT guild FROM player WHERE age = 2",
            "SELECT guild FROM player WHERE (age = 1) AND (age = 2)",
        ),
        (
            "SELECT guild FROM player WHERE age = 1 INTERSECT SELECT guild FROM player WHERE age = 2",
            "SELECT guild FROM player WHERE (age = 1) OR (age = 2) GROUP BY guild HAVING COUNT(*) >= 2",
        ),
        (
            "SELECT guild FROM player WHERE age = 1 EXCEPT SELECT guild FROM player WHERE age = 2",
            "SELECT guild FROM player WHERE (age = 1) AND NOT (age = 2)",
        ),
        (
            "SELECT name FROM guild WHERE id NOT IN (SELECT guild FROM player WHERE age = 1)",
            "SELECT name FROM guild WHERE id IN (SELECT guild FROM player WHERE NOT (age = 1))",
        ),
        (
            "SELECT guild FROM player GROUP BY guild ORDER BY COUNT(*) DESC LIMIT 1",
            'SELECT guild FROM player GROUP BY guild ORDER BY SUM("player"."age") DESC LIMIT 1',
        ),
        (
            "SELECT COUNT(*) FROM guild AS g JOIN player AS p ON g.id = p.guild OR g.id = p.boss",
            "SELECT SUM((g.id = p.guild) + (g.id = p.boss)) FROM guild AS g JOIN player AS p"
            " ON g.id = p.guild OR g.id = p.boss",
        ),
    ],
)
def test_changes(gold, mutant):
    assert mutants_of(gold).get(mutant, "absent") is None


def test_every_mutant_parses_and_differs_in_text():
    gold = (
        "SELECT p.name, COUNT(*) FROM player p JOIN guild g ON p.guild = g.id "
        "WHERE g.size BETWEEN 2 AND 5 GROUP BY p.name"
    )
    found = mutants_of(gold)
    assert len(found) == len(set(found)) > 10
    assert gold not in found
    assert all(isinstance(query(build(CONTEXT), sql), Answer) for sql in found)


@pytest.mark.parametrize(
    ("gold", "mutant"),
    [
        ("SELECT id, name FROM player", "SELECT DISTINCT id, name FROM player"),
        ("SELECT COUNT(*) FROM player", "SELECT DISTINCT COUNT(*) FROM player"),
        ("SELECT name FROM player GROUP BY name", "SELECT DISTINCT name FROM player GROUP BY name"),
        ("SELECT p.name FROM player AS p WHERE p.id = 3", "SELECT DISTINCT p.name FROM player AS p WHERE p.id = 3"),
        ("SELECT COUNT(id) FROM player", "SELECT COUNT(*) FROM player"),
        ("SELECT COUNT(id) FROM player", "SELECT COUNT(DISTINCT id) FROM player"),
        (
            "SELECT p.name FROM player AS p JOIN guild AS g ON p.guild = g.id",
            "SELECT p.name FROM player AS p LEFT JOIN guild AS g ON p.guild = g.id",
        ),
        (
            "SELECT p.name FROM guild AS g JOIN player AS p ON p.guild = g.id WHERE p.age > 3",
            "SELECT p.name FROM guild AS g LEFT JOIN player AS p ON p.guild = g.id WHERE p.age > 3",
        ),
        (
            "SELECT name FROM guild WHERE id IN (SELECT guild FROM player)",
            "SELECT name FROM guild WHERE id IN (SELECT DISTINCT guild FROM player)",
        ),
        ("SELECT name FROM player ORDER BY guild", "SELECT name FROM player WHERE NOT guild IS NULL ORDER BY guild"),
        (
            "SELECT p.name FROM player AS p",
            'SELECT p.name FROM player AS p JOIN "guild" AS _parent ON "p"."guild" = "_parent"."id"',
        ),
    ],
)
def test_changes_that_a_rule_proves_to_be_none(gold, mutant):
    assert mutants_of(gold)[mutant]


@pytest.mark.parametrize(
    ("gold", "mutant"),
    [  # near the rules, but real changes: a nullable foreign key, the wrong direction, a NULL-keeping condition
        (
            "SELECT p.name FROM player AS p JOIN player AS b ON p.boss = b.id",
            "SELECT p.name FROM player AS p LEFT JOIN player AS b ON p.boss = b.id",
        ),
        (
            "SELECT g.name FROM guild AS g JOIN player AS p ON p.guild = g.id",
            "SELECT g.name FROM guild AS g LEFT JOIN player AS p ON p.guild = g.id",
        ),
        (
            "SELECT g.name FROM guild AS g JOIN player AS p ON p.guild = g.id WHERE p.age IS NULL",
            "SELECT g.name FROM guild AS g LEFT JOIN player AS p ON p.guild = g.id WHERE p.age IS NULL",
        ),
        (
            "SELECT g.id FROM guild AS g JOIN player AS p ON p.guild = g.id",
            "SELECT DISTINCT g.id FROM guild AS g JOIN player AS p ON p.guild = g.id",
        ),
        ("SELECT name FROM player ORDER BY age LIMIT 1", "SELECT DISTINCT name FROM player ORDER BY age LIMIT 1"),
    ],
)
def test_rules_do_not_reach_too_far(gold, mutant):
    assert mutants_of(gold)[mutant] is None


def test_a_double_quoted_name_that_is_no_column_is_a_literal():
    found = mutants_of('SELECT "name" FROM player WHERE name = "Bob"')
    assert any(sql.endswith("name = 'BOB'") for sql in found)


def test_rates():
    power = Power(mutants=20, killed=10, harshly=2, survived=3, equivalent=4, presumed=1)
    assert (power.raw_rate, power.kill_rate) == (0.6, 0.8)
    assert Power(0, 0, 0, 0, 0, 0).kill_rate is None


def test_a_gold_of_hundreds_of_conditions_has_some_mutants_of_each_kind():
    gold = "SELECT name FROM player WHERE " + " OR ".join(f"age = {7 * n}" for n in range(200))
    kinds = Counter(mutant.kind for mutant in mutants(aims.parse(gold, SCHEMA), SCHEMA))
    assert {"comparison", "literal", "and/or", "condition dropped", "column", "distinct"} <= kinds.keys()
    assert max(kinds.values()) <= 2 * OF_A_KIND
