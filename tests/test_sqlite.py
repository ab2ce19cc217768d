"""The sandbox: what a script may build, what a query may read, and how everything else fails by name."""

import sqlite3
import time

import pytest

from text2sql.base.errors import UserError
from text2sql.engines.sqlite import Answer, Connection, Failure, Limits, build, open_database, query
from text2sql.sql.clock import NOW

SETUP = "CREATE TABLE t(a INTEGER, b TEXT); INSERT INTO t VALUES (1,'x'),(2,'y');"


@pytest.fixture
def connection():
    return build(SETUP)


def outcome(result):
    return result.outcome if isinstance(result, Failure) else "ok"


def test_an_answer_is_its_columns_and_rows(connection):
    assert query(connection, "SELECT b, a FROM t;") == Answer(2, [("x", 1), ("y", 2)])
    assert query(connection, "SELECT a AS n FROM t").names == ("n",)


@pytest.mark.parametrize(
    "sql, expected",
    [
        ("", "not_a_query"),
        ("-- nothing", "not_a_query"),
        ("EXPLAIN SELECT 1", "not_a_query"),
        ("SELECT a FORM t", "syntax"),
        ("SELECT a FROM", "syntax"),
        ("SELECT 1; SELECT 2", "syntax"),
        ("SELECT '\0'", "syntax"),
        ("SELECT '\ud800'", "syntax"),
        ("SELECT c FROM t", "schema"),
        ("SELECT a FROM u", "schema"),
        ("SELECT no_such_function_anywhere(a) FROM t", "schema"),
        ("SELECT SUM(x) FROM (SELECT 9223372036854775807 AS x UNION ALL SELECT 1)", "schema"),
        ("SELECT DATE_FORMAT(b, '%Y') FROM t", "dialect"),
        ("SELECT readfile('/etc/passwd')", "refused"),
        ("DELETE FROM t", "refused"),
        ("WITH x AS (SELECT 1) DELETE FROM t", "refused"),
        ("PRAGMA query_only = 0", "refused"),
        ("SELECT * FROM pragma_table_info('t')", "refused"),
        ("SELECT random()", "refused"),
        ("SELECT hex(zeroblob(200000000))", "too_large"),
        ("SELECT " + "(" * 500 + "1" + ")" * 500, "too_large"),
        ("WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x FROM c", "too_large"),
        ("WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT MAX(x) FROM c", "timeout"),
    ],
)
def test_every_failure_has_its_name(connection, sql, expected):
    assert outcome(query(connection, sql, Limits(seconds=1.5, rows=1000))) == expected


def test_a_deadline_is_kept_and_the_connection_lives_on(connection):
    endless = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT MAX(x) FROM c"
    begun = time.monotonic()
    assert query(connection, endless, Limits(seconds=0.2)).outcome == "timeout"
    assert time.monotonic() - begun < 1
    assert query(connection, "SELECT COUNT(*) FROM t").rows == [(2,)]


def test_caps_are_errors_not_truncations(connection):
    assert query(connection, "SELECT * FROM t", Limits(rows=1)) == Failure("too_large", "more than 1 rows")
    wide = query(connection, "SELECT printf('%.1000c', 'x') FROM t", Limits(result_bytes=1999))
    assert wide.outcome == "too_large"


def test_the_clock_stands_still(connection):
    sql = "SELECT datetime('now'), CURRENT_TIMESTAMP, date(), strftime('%Y'), datetime('2020-01-31', '+1 day')"
    assert query(connection, sql).rows == [(NOW, NOW, NOW[:10], NOW[:4], "2020-02-01 00:00:00")]
    assert query(
        build("CREATE TABLE t(d DEFAULT CURRENT_DATE); INSERT INTO t DEFAULT VALUES"), "SELECT d FROM t"
    ).rows == [(NOW[:10],)]


def test_text_that_is_not_utf8_keeps_its_bytes(connection):
    assert query(connection, "SELECT CAST(X'ff' AS TEXT), b FROM t WHERE a = 1").rows == [("\udcff", "x")]
    assert query(connection, "SELECT b FROM t").rows == [("x",), ("y",)]


def test_json_tables_can_be_read(connection):
    assert query(connection, "SELECT value FROM json_each('[1,2]')").rows == [(1,), (2,)]


ACCEPTED = [
    "CREATE TABLE t(a); BEGIN; INSERT INTO t VALUES (1); COMMIT;",
    "CREATE TABLE t(a); BEGIN; INSERT INTO t VALUES (1);",
    "PRAGMA foreign_keys = ON; PRAGMA journal_mode = WAL; CREATE TABLE t(a);",
    "CREATE TABLE t(a PRIMARY KEY); CREATE INDEX i ON t(a); CREATE VIEW v AS SELECT a FROM t; ANALYZE;",
    "CREATE TABLE t(a); ALTER TABLE t ADD COLUMN b; ALTER TABLE t RENAME COLUMN b TO c; ALTER TABLE t DROP COLUMN c;",
    "CREATE TABLE t(a); CREATE TRIGGER g AFTER INSERT ON t BEGIN UPDATE t SET a = 2; END; INSERT INTO t VALUES (1);",
    "DROP TABLE IF EXISTS t; CREATE TABLE t(a, b DEFAULT CURRENT_TIMESTAMP);",
    "SELECT 1;",
    "",
]
REJECTED = [
    ("CREATE TABLE t(a", "syntax"),
    ("CREATE TABLE t(a); CREATE TABLE t(a)", "schema"),
    ("CREATE TABLE t(a UNIQUE); INSERT INTO t VALUES (1),(1)", "schema"),
    (
        "PRAGMA foreign_keys = 1; CREATE TABLE p(i PRIMARY KEY);"
        "CREATE TABLE c(i REFERENCES p); INSERT INTO c VALUES (1)",
        "schema",
    ),
    ("CREATE TABLE t(a); INSERT INTO u VALUES (1)", "schema"),
    ("\ud800", "syntax"),
]
REFUSED = [
    "ATTACH 'x.db' AS x",
    "VACUUM INTO 'x.db'",
    "CREATE TEMP TABLE t(a)",
    "CREATE VIRTUAL TABLE t USING fts5(a)",
    "CREATE TABLE t(a DEFAULT (random())); INSERT INTO t DEFAULT VALUES",
    "CREATE TABLE t(a); INSERT INTO t VALUES (randomblob(9))",
    "PRAGMA writable_schema = 1; CREATE TABLE t(a); UPDATE sqlite_master SET sql = 'x'",
    "SELECT load_extension('x')",
]


@pytest.mark.parametrize("script", ACCEPTED)
def test_build_accepts_what_executescript_accepts(script):
    sqlite3.connect(":memory:").executescript(script)
    assert isinstance(build(script), Connection)


@pytest.mark.parametrize("script, expected", REJECTED)
def test_build_rejects_what_executescript_rejects(script, expected):
    with pytest.raises((sqlite3.Error, UnicodeError)):
        sqlite3.connect(":memory:").executescript(script)
    assert outcome(build(script)) == expected


@pytest.mark.parametrize("script", REFUSED)
def test_build_refuses_what_reaches_outside(script, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert outcome(build(script)) == "refused"
    assert list(tmp_path.iterdir()) == []


def test_build_has_a_deadline_and_a_size():
    counting = (
        "CREATE TABLE t(a); INSERT INTO t WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT "
    )
    assert outcome(build(counting + "zeroblob(100000) FROM c", Limits(database_bytes=2**20))) == "too_large"
    assert outcome(build(counting + "MAX(x) FROM c", Limits(seconds=0.2))) == "timeout"


def test_a_file_is_read_and_never_changed(tmp_path):
    path = tmp_path / "a database?.sqlite"
    made = sqlite3.connect(path)
    made.executescript(SETUP)
    made.close()
    before = path.read_bytes()
    connection = open_database(path)
    assert query(connection, "SELECT COUNT(*) FROM t").rows == [(2,)]
    for attack in ("DELETE FROM t", "CREATE TABLE u(a)", "VACUUM", "PRAGMA user_version = 7"):
        assert outcome(query(connection, attack)) == "refused"
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_no_database_is_a_user_error(tmp_path):
    with pytest.raises(UserError, match="no such database file"):
        open_database(tmp_path / "absent.sqlite")
    (tmp_path / "text.sqlite").write_text("This is not a database. " * 100)
    with pytest.raises(UserError, match="cannot be read as an SQLite database"):
        open_database(tmp_path / "text.sqlite")
