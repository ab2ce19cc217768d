"""What of a script is schema and what is rows: one answer, whoever asks."""

import sqlite3
import time
from contextlib import closing

import pytest

from text2sql.dataset.leaks import normal_schema
from text2sql.dataset.verdict import check
from text2sql.sql.context import brings_rows, schema_of

DDL = "CREATE TABLE singer (id INT, name TEXT)"
TABLES = "CREATE TABLE t (a INT);\nCREATE TABLE u (a INT);"
TRIGGER = "CREATE TRIGGER g AFTER INSERT ON t BEGIN INSERT INTO u VALUES (CASE new.a WHEN 1 THEN 2 END); END;"

ROWS = {
    "INSERT INTO": "INSERT INTO t VALUES (1);",
    "REPLACE INTO": "REPLACE INTO t VALUES (1);",
    "INSERT OR IGNORE INTO": "INSERT OR IGNORE INTO t VALUES (1);",
    "lower case, across lines": "insert\n  into t\nvalues (1)",
    "behind a comment": "/* one; row */ -- of t\nINSERT INTO t VALUES (1);",
    "WITH … INSERT": "WITH v (x) AS (SELECT 1) INSERT INTO t SELECT x FROM v;",
    "WITH … REPLACE": "WITH v (x) AS (SELECT 1) REPLACE INTO t SELECT x FROM v;",
    "from a query": "INSERT INTO t SELECT 1;",
    "behind a trigger": "CREATE TRIGGER g AFTER UPDATE ON t BEGIN SELECT 1; END; INSERT INTO t VALUES (1);",
    "behind a table with a column called begin": 'CREATE TABLE event ("end" INT, begin INT); INSERT INTO t VALUES (1);',
}
NO_ROWS = {
    "tables alone": "",
    "a table's name": "CREATE TABLE insert_log (a INT);",
    "a quoted name": 'CREATE TABLE "insert into" (a INT);',
    "a literal": "CREATE TABLE v (a TEXT DEFAULT 'x; INSERT INTO t VALUES (1);');",
    "a line comment": "-- INSERT INTO t VALUES (1);",
    "a comment": "/* REPLACE INTO t VALUES (1); */",
    "a trigger": TRIGGER,
    "a temporary trigger": TRIGGER.replace("CREATE", "CREATE TEMP"),
    "the function replace": "CREATE VIEW w AS SELECT replace(a, 'x', 'y') FROM t;",
    "a query that begins with WITH": "WITH v AS (SELECT replace(a, 'x', 'y') FROM t) SELECT * FROM v;",
    "an explained statement": "EXPLAIN INSERT INTO t VALUES (1);",
}


def in_sqlite(script: str) -> bool:
    """Whether the tables hold rows when the script has run."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(script)
        return any(connection.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0] for table in "tu")


@pytest.mark.parametrize(
    ("script", "expected"),
    [pytest.param(f"{TABLES}\n{script}", True, id=name) for name, script in ROWS.items()]
    + [pytest.param(f"{TABLES}\n{script}", False, id=name) for name, script in NO_ROWS.items()],
)
def test_validation_prompts_leaks_and_scoring_agree_with_sqlite_on_whether_a_script_brings_rows(script, expected):
    assert in_sqlite(script) == expected
    assert brings_rows(script) == expected
    rejected = check((script, "SELECT 1", "?", "sqlite", None), has_rows=True, runs=False, returns_rows=False)
    assert (rejected is None) == expected
    shown = schema_of(script)
    assert not brings_rows(shown) and not in_sqlite(shown)
    assert normal_schema(script) == normal_schema(shown)
    with closing(sqlite3.connect(":memory:")) as whole, closing(sqlite3.connect(":memory:")) as schema:
        whole.executescript(script)
        schema.executescript(shown)
        objects = "SELECT name, sql FROM sqlite_master"
        assert whole.execute(objects).fetchall() == schema.execute(objects).fetchall()


# Dumps of other systems


COPY = """CREATE TABLE t (a integer, b text);
COPY public.t (a, b) FROM stdin;
1\tit's; CREATE TABLE x (a int);
2\t\\N
\\.

CREATE VIEW v AS SELECT a FROM t;
"""
FUNCTION = """CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $body$
BEGIN
  INSERT INTO log VALUES (NEW.a); -- it's
  RETURN NEW;
END;
$body$;
CREATE TRIGGER g AFTER INSERT ON t EXECUTE FUNCTION f();
"""
ROUTINE = """DELIMITER //
CREATE DEFINER=`root`@`localhost` PROCEDURE p()
BEGIN
  IF 1 THEN INSERT INTO t VALUES (1); END IF;
  BEGIN INSERT INTO t VALUES (2); END;
END //
DELIMITER ;
"""


def test_the_data_lines_of_a_postgres_dump_are_rows():
    assert brings_rows(COPY, "postgres")
    assert schema_of(COPY, "postgres") == ("CREATE TABLE t (a integer, b text);\nCREATE VIEW v AS SELECT a FROM t;")


def test_a_copy_to_a_file_brings_no_rows():
    assert not brings_rows("CREATE TABLE t (a int); COPY (SELECT a FROM t) TO '/tmp/x';", "postgres")
    assert not brings_rows("CREATE TABLE t (a int); COPY t TO stdout;", "postgres")


@pytest.mark.parametrize(("body", "dialect"), [(FUNCTION, "postgres"), (ROUTINE, "mysql")])
def test_the_body_of_a_routine_inserts_nothing(body, dialect):
    assert not brings_rows(body, dialect)
    assert brings_rows(body + "INSERT INTO t VALUES (3);", dialect)


def test_a_backslash_escapes_a_quote_where_the_dialect_says_so():
    script = r"CREATE TABLE t (a TEXT DEFAULT 'it\'s; INSERT INTO t'); INSERT INTO t VALUES ('it\'s; x');"
    assert schema_of(script, "mysql") == r"CREATE TABLE t (a TEXT DEFAULT 'it\'s; INSERT INTO t');"
    assert brings_rows(script, "mysql")


# As written


@pytest.mark.parametrize(
    ("script", "shown"),
    [
        (f"{DDL}; INSERT INTO singer VALUES (1, 'a'), (2, 'b;c');", f"{DDL};"),
        (f"{DDL};insert into singer values (1, 'x'); CREATE VIEW v AS SELECT 1", f"{DDL};\nCREATE VIEW v AS SELECT 1;"),
        ("CREATE TABLE t (a TEXT DEFAULT 'x; INSERT INTO t');", "CREATE TABLE t (a TEXT DEFAULT 'x; INSERT INTO t');"),
        ("CREATE TABLE t (\n  a INT, -- a; b\n  b INT\n);", "CREATE TABLE t (\n  a INT, -- a; b\n  b INT\n);"),
        ("CREATE TABLE 가수 (이름 TEXT);\nINSERT INTO 가수 VALUES ('김;이');", "CREATE TABLE 가수 (이름 TEXT);"),
        ("CREATE TABLE `select` ([a b] INT); INSERT INTO `select` VALUES (1)", "CREATE TABLE `select` ([a b] INT);"),
        ("CREATE TABLE inserts (insert_at INT)", "CREATE TABLE inserts (insert_at INT);"),
        ("CREATE   TABLE\tt (a INT)  ;;; ", "CREATE   TABLE\tt (a INT);"),
        ("-- singers\n" + DDL + " -- all; of them\n; /* no more */", f"{DDL};"),
        ("INSERT INTO t VALUES (1)", ""),
        ("", ""),
    ],
)
def test_the_schema_is_the_script_without_its_inserts_as_written(script, shown):
    assert schema_of(script) == shown


def test_a_script_that_cannot_be_cut_is_shown_whole():
    broken = "CREATE TABLE t (a TEXT); INSERT INTO t VALUES ('its)"
    assert schema_of(broken) == broken


def test_a_long_script_is_read_in_time_that_grows_with_its_length():
    def seconds(rows: int) -> float:
        script = DDL + ";" + "INSERT INTO singer VALUES (1, 'it''s -- /* ; '), (2, '\"');" * rows + TRIGGER
        start = time.process_time()
        assert schema_of(script).startswith(DDL)
        return time.process_time() - start

    assert seconds(20_000) < 40 * max(seconds(1_000), 1e-3)
