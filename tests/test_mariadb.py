"""MySQL 8's SQL on MariaDB: what is spelled differently is written anew, everything else goes as it stands."""

import pytest
from engine_rules import outcome

from text2sql.engines import mysql
from text2sql.engines.sqlite import Failure
from text2sql.sql.mariadb import NoForm, as_mariadb, by_expression, with_collations

SETUP = """
CREATE TABLE t (a INT, b VARCHAR(20) COLLATE utf8mb4_0900_as_cs, j JSON, d DATE)
  ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_0900_ai_ci;
INSERT INTO t VALUES (1, 'x', '{"n": 10, "s": "q"}', '2024-01-01'), (2, 'y', '{"n": 9, "s": "Q"}', '2024-01-05'),
  (2, 'z', '{"n": null}', '2024-02-01');
"""


@pytest.fixture(scope="module")
def database():
    if not mysql.installed():
        pytest.skip("MariaDB is not installed (Debian: mariadb-server)")
    with mysql.private_server() as engine:
        if not engine.mariadb:
            pytest.skip("the server is MySQL itself")
        built = engine.build(SETUP)
        assert not isinstance(built, Failure), built
        yield built


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT  a -- a comment\nFROM t WHERE b REGEXP 'x'  ORDER BY a ;",
        "SELECT 'REGEXP_LIKE(a, b)', `any_value`, \"j->'$.a'\", 'utf8mb4_0900_ai_ci' FROM t",
        "SELECT a FROM t WHERE (a, b) IN (ROW(1, 'x'), ROW(2, 'y')) AND (SELECT 1) AND (b) = 'x'",
        "SELECT LAG(a, 1) OVER (ORDER BY d), CAST(a AS FLOAT), REGEXP_REPLACE(b, 'x', 'y') FROM t",
        "WITH q(x) AS (SELECT a FROM t), r(y) AS (SELECT x FROM q) SELECT y FROM r",
        "SELECT '",
    ],
)
def test_a_statement_without_such_a_construct_keeps_every_byte(sql):
    assert as_mariadb(sql) == sql
    assert by_expression("SELECT COUNT(*) AS n FROM t", "n") == "SELECT COUNT(*) AS n FROM t"


@pytest.mark.parametrize(
    "sql, rows",
    [
        # An aggregate's alias in an expression that sorts
        ("SELECT b, SUM(a) AS s, COUNT(*) c FROM t GROUP BY b"
         " ORDER BY CASE WHEN s IS NULL THEN 1 END, s*c DESC, `b` DESC", [("z", 2, 1), ("y", 2, 1), ("x", 1, 1)]),
        ("SELECT k FROM (SELECT b AS k, ROUND(AVG(a), 1) AS m FROM t GROUP BY b ORDER BY -m, k LIMIT 2) AS q"
         " ORDER BY k", [("y",), ("z",)]),
        ("SELECT DISTINCT COUNT(*) AS n, a FROM t GROUP BY a ORDER BY n * 1.0 / (SELECT COUNT(*) AS n FROM t) DESC",
         [(2, 2), (1, 1)]),
        ("SELECT b, SUM(a) AS a FROM t GROUP BY b ORDER BY t.a * -1, b", [("y", 2), ("z", 2), ("x", 1)]),
        # Regular expressions
        ("SELECT b FROM t WHERE REGEXP_LIKE(b, '^[xy]$') ORDER BY 1", [("x",), ("y",)]),
        ("SELECT REGEXP_LIKE('a', 'A', 'c'), REGEXP_LIKE('a', 'A', 'i'), REGEXP_LIKE('a', 'A', 'ic'), 'a' REGEXP 'A',"
         " REGEXP_LIKE('a\\nb', 'a.b'), REGEXP_LIKE('a\\nb', 'a.b', 'n'), REGEXP_LIKE('a\\nb', '^b', 'm'),"
         " REGEXP_LIKE(NULL, 'a', 'c')", [(0, 1, 0, 1, 0, 1, 1, None)]),
        ("SELECT REGEXP_SUBSTR('abc', 'z'), REGEXP_SUBSTR('abc', 'b.'), REGEXP_SUBSTR('abc', 'z*')",
         [(None, "bc", "")]),
        ("SELECT REGEXP_REPLACE('2024-05', '(\\\\d+)-(\\\\d+)', '$2/$1')", [("05/2024",)]),
        # JSON
        ("SELECT j->>'$.s', t.`j` -> '$.n' FROM t WHERE j->'$.n' >= 9 ORDER BY j->>'$.n'", [("q", "10"), ("Q", "9")]),
        # Windows
        ("SELECT LAG(a, 1, 0) OVER (ORDER BY d), LEAD(b, 2, 'none') OVER w FROM t WINDOW w AS (ORDER BY d) ORDER BY d",
         [(0, "z"), (1, "none"), (2, "none")]),
        ("SELECT FIRST_VALUE(a) RESPECT NULLS OVER (ORDER BY d), NTH_VALUE(a, 1) FROM FIRST OVER (ORDER BY d) FROM t",
         [(1, 1)] * 3),
        # The rest
        ("SELECT a, ANY_VALUE(REGEXP_LIKE(b, 'x')), COUNT(*) FROM t GROUP BY a ORDER BY a", [(1, 1, 1), (2, 0, 2)]),
        ("VALUES ROW(1, 2), ROW(3, 4) ORDER BY column_1 DESC LIMIT 1", [(3, 4)]),
        ("SELECT q.y FROM (VALUES ROW(1, 'a'), ROW(2, 'b')) AS q(x, y) JOIN (SELECT * FROM t) AS u (a, b, j, d)"
         " ON u.a = q.x GROUP BY q.y ORDER BY q.y", [("a",), ("b",)]),
        ("TABLE t LIMIT 0", []),
        ("SELECT CAST(16777217 AS REAL)", [(16777217.0,)]),
        ("SELECT 'a' COLLATE utf8mb4_0900_ai_ci = 'A', 'a' COLLATE utf8mb4_0900_ai_ci = 'a ', b = 'X' FROM t"
         " WHERE a = 1", [(1, 0, 0)]),
    ],
)  # fmt: skip
def test_mariadb_answers_what_mysql_8_would(database, sql, rows):
    answer = database.query(sql)
    assert not isinstance(answer, Failure), answer
    assert answer.rows == rows


@pytest.mark.parametrize(
    "sql, named",
    [
        ("SELECT q.a FROM t, LATERAL (SELECT t.a) AS q", "LATERAL"),
        ("SELECT a, GROUPING(a) FROM t GROUP BY a WITH ROLLUP", "GROUPING"),
        ("SELECT a, COUNT(*) FROM t GROUP BY a WITH ROLLUP ORDER BY a", "ORDER BY beside WITH ROLLUP"),
        ("SELECT 1 MEMBER OF('[1, 2]')", "MEMBER OF"),
        ("SELECT SUM(a) OVER (ORDER BY d RANGE BETWEEN INTERVAL 6 DAY PRECEDING AND CURRENT ROW) FROM t", "RANGE"),
        ("SELECT JSON_VALUE(j, '$.n' RETURNING SIGNED) FROM t", "RETURNING"),
        ("SELECT CAST('[1]' AS JSON)", "CAST AS JSON"),
        ("SELECT REGEXP_REPLACE(b, 'x', 'y', 1, 0, 'i') FROM t", "REGEXP_REPLACE with a position"),
        ("SELECT REGEXP_LIKE(b, 'x', CONCAT('i')) FROM t", "REGEXP_LIKE"),
        ("SELECT BIN_TO_UUID(b) FROM t", "BIN_TO_UUID"),
        ("SELECT a FROM t ORDER BY a, j->'$.n'", "order of JSON values"),
        ("SELECT MAX(j->'$.n') FROM t", "order of JSON values"),
        ("SELECT b, SUM(a) AS s FROM t GROUP BY b ORDER BY (SELECT s)", "'s'"),
    ],
)
def test_what_mariadb_has_no_form_of_is_named(database, sql, named):
    answer = database.query(sql)
    assert outcome(answer) == "dialect" and named in answer.error, answer


def test_what_is_wrong_in_mysql_too_keeps_its_name(database):
    for sql, expected in (
        ("SELECT REGEXP_LIKE(b, 'x') FROM no_such_table", "schema"),
        ("SELECT a FROM t WHERE a IN (SELECT a FROM t LIMIT 1)", "schema"),  # neither has LIMIT there
        ("SELECT ANY_VALUE(SLEEP(9)) FROM t", "refused"),
        ("SELECT ANY_VALUE(@@datadir)", "refused"),
        ("SELECT ANY_VALUE(1 /*! + SLEEP(9) */)", "refused"),
        ("SELECT * FROM (SELECT SLEEP(9)) AS q(x)", "refused"),
        ("SELECT a, SUM(a) AS s FROM t GROUP BY a ORDER BY s + SLEEP(9)", "refused"),
        ("WITH RECURSIVE r AS (SELECT 'a' AS s UNION ALL SELECT CONCAT(s, s) FROM r) SELECT * FROM r", "schema"),
    ):
        assert outcome(database.query(sql)) == expected, sql


def test_what_would_grow_without_end_is_too_large():
    doubled = "REGEXP_SUBSTR(" * 40 + "a" + ", 'b')" * 40
    deep = "ANY_VALUE(" * 3_000 + "a" + ")" * 3_000
    for sql in (doubled, deep):
        with pytest.raises(NoForm, match="nested too deeply") as found:
            as_mariadb(f"SELECT {sql}")
        assert found.value.outcome == "too_large"


def test_a_scripts_texts_are_left_alone_where_its_collations_are_not():
    script = "CREATE TABLE t (a TEXT COLLATE `utf8mb4_0900_ai_ci`); INSERT INTO t VALUES ('utf8mb4_0900_ai_ci');"
    assert with_collations(script) == script.replace("`utf8mb4_0900_ai_ci`", "utf8mb4_uca1400_nopad_ai_ci")
