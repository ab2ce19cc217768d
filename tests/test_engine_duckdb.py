"""DuckDB, in this process: what it builds, what it answers, and that attacks change nothing."""

from decimal import Decimal

import engine_rules as rules
import pytest
from engine_rules import SETUP, outcome

from text2sql.engines import cells, duckdb
from text2sql.engines.cells import Json
from text2sql.engines.sqlite import Failure, Limits


@pytest.fixture(scope="module")
def engine():
    return duckdb.engine()


@pytest.fixture
def database(engine):
    database = engine.build(SETUP)
    assert not isinstance(database, Failure), database
    yield database
    database.close()


def test_queries_answer(engine):
    rules.queries_answer(engine)


def test_every_failure_has_its_name(engine, database):
    rules.failures_have_their_names(engine, database, [
        ("SELECT 1; SELECT 2", "syntax"),
        ("SELECT DATE_FORMAT(b, '%Y') FROM t", "dialect"),
        ("SELECT CAST('x' AS INTEGER)", "schema"),
        ("SELECT random()", "refused"),
        ("DESCRIBE t", "not_a_query"),
        ("SHOW TABLES", "not_a_query"),
        ("SELECT " + "(" * 2_000 + "1" + ")" * 2_000, "too_large"),
        ("(SELECT a FROM t)", "ok"),
        ("FROM t", "ok"),
        ("VALUES (1), (2)", "ok"),
        ("SELECT UNNEST([1, 2])", "ok"),
        ("SELECT x FROM range(3) AS r(x)", "ok"),
    ])  # fmt: skip


def test_hostile_predictions_get_their_verdicts(engine):
    rules.hostile_predictions_get_their_verdicts(engine)


secret = [1, 2, 3]  # a variable that a query must not find
ATTACKS = [
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT * FROM read_blob('/etc/passwd')",
    "SELECT * FROM read_json('/etc/passwd')",
    "SELECT * FROM read_parquet('https://localhost:1/x.parquet')",
    "SELECT * FROM '/etc/passwd'",
    "SELECT * FROM '/etc/passwd.csv'",
    "FROM '/etc/hosts'",
    "SELECT * FROM glob('/*')",
    "SELECT * FROM sniff_csv('/etc/passwd')",
    "SELECT * FROM parquet_metadata('/etc/passwd')",
    "SELECT getenv('HOME')",
    "SELECT * FROM secret",
    "SELECT * FROM duckdb_settings()",
    "SELECT * FROM duckdb_secrets()",
    "SELECT * FROM duckdb_tables",
    "SELECT * FROM information_schema.tables",
    "SELECT * FROM sqlite_master",
    "SELECT * FROM pg_catalog.pg_class",
    "SELECT * FROM query('SELECT 1')",
    "SELECT * FROM query_table('t')",
    "SELECT * FROM json_execute_serialized_sql('{}')",
    "SELECT * FROM checkpoint()",
    "SELECT * FROM enable_logging()",
    "SELECT * FROM pragma_database_size()",
    "SELECT current_setting('memory_limit')",
    "SELECT nextval('s')",
    "SELECT * FROM stepping",
    "SELECT setseed(0.5)",
    "SELECT write_log('x')",
    "SELECT sleep_ms(10000)",
    "SELECT pg_sleep(10)",
    "ATTACH '{folder}/x.db'",
    "ATTACH ':memory:' AS x",
    "DETACH db",
    "USE memory",
    "INSTALL httpfs",
    "LOAD httpfs",
    "FORCE INSTALL httpfs FROM 'https://localhost:1'",
    "COPY t TO '{folder}/x.csv'",
    "COPY (SELECT 1) TO '{folder}/x.parquet'",
    "EXPORT DATABASE '{folder}/x'",
    "IMPORT DATABASE '{folder}'",
    "PRAGMA database_list",
    "PRAGMA enable_profiling",
    "SET memory_limit = '100GB'",
    "SET enable_external_access = true",
    "RESET ALL",
    "CALL enable_logging()",
    "CHECKPOINT",
    "VACUUM",
    "CREATE TEMP TABLE u AS SELECT 1",
    "CREATE SECRET x (TYPE s3)",
    "PREPARE p AS SELECT 1",
    "SET VARIABLE x = 1",
    "WITH x AS (SELECT 1) INSERT INTO t SELECT 9, 'q'",
    "INSERT INTO t VALUES (9, 'q') RETURNING a",
    "TRUNCATE t",
    "SELECT count(*) FROM range(10000000000) AS a, range(10) AS b WHERE a.range % 7 = b.range",
    "SELECT sum(a.range) FROM range(3000000) AS a, range(3000000) AS b",
]


def test_attacks_change_nothing(engine, tmp_path):
    database = engine.build(SETUP + "CREATE SEQUENCE s; CREATE VIEW stepping AS SELECT nextval('s')")
    assert not isinstance(database, Failure), database

    def state():
        return database.connection.execute(
            "SELECT (SELECT last_value FROM duckdb_sequences()), (SELECT string_agg(database_name) FROM"
            " duckdb_databases()), (SELECT count(*) FROM duckdb_tables()), current_setting('memory_limit')"
        ).fetchone()

    attacks = [attack.replace("{folder}", str(tmp_path)) for attack in ATTACKS]
    rules.attacks_change_nothing(engine, database, attacks, tmp_path, state)
    database.close()


@pytest.mark.parametrize(
    "script, expected",
    [
        ("BEGIN; CREATE TABLE t (a INT); COMMIT; CREATE SCHEMA s; CREATE TABLE s.t (a ENUM('x', 'y'), b INT[])", "ok"),
        ("CREATE TABLE t (a INT", "syntax"),
        ("CREATE TABLE t (a INT PRIMARY KEY); INSERT INTO t VALUES (1), (1)", "schema"),
        ("CREATE TABLE t AS SELECT * FROM read_csv('/etc/passwd')", "refused"),
        ("CREATE TABLE t (a INT); COPY t FROM '/etc/passwd'", "refused"),
        ("CREATE TABLE t (a INT); COPY t TO '/tmp/x'", "refused"),
        ("ATTACH ':memory:' AS x", "refused"),
        ("INSTALL httpfs", "refused"),
        ("CREATE TABLE memory.main.t (a INT)", "schema"),
        ("DROP MACRO now", "refused"),
        ("SET memory_limit = '100GB'", "refused"),
        ("CREATE TABLE t AS SELECT sum(a.range) FROM range(3000000) AS a, range(3000000) AS b", "timeout"),
        ("SELECT '\ud800'", "syntax"),
    ],
)
def test_a_setup_can_do_what_a_setup_needs_and_no_more(engine, script, expected):
    database = engine.build(script, Limits(seconds=1))
    found = outcome(database)
    if found == "ok":
        database.close()
    assert found == expected
    after = engine.build(SETUP)
    assert after.query("SELECT COUNT(*) FROM t").rows == [(3,)]
    after.close()


def test_deadlines_are_kept_and_the_database_lives_on(engine):
    rules.deadlines_are_kept_and_the_database_lives_on(engine)


def test_caps_are_errors_not_truncations(engine):
    rules.caps_are_errors_not_truncations(engine)


def test_the_clock_stands_still(engine):
    rules.the_clock_stands_still(engine)


def test_ties_are_found_by_the_engine(engine):
    rules.ties_are_found_by_the_engine(engine)


def test_numbers_and_dates_compare_by_value(database):
    rules.numbers_and_dates_compare_by_value(database)
    for gold, predicted, expected in (
        ("SELECT a > 1, b FROM t", "SELECT CASE WHEN a > 1 THEN 1 ELSE 0 END, b FROM t", (True, False)),
        ("SELECT true", "SELECT 'true'", (False, False)),
        ("SELECT [1, 2]", "SELECT [2, 1]", (False, False)),
        ("""SELECT '{"a": 1.0}'::JSON""", """SELECT '{"a" : 1}'::JSON""", (True, True)),
        ("SELECT 'nan'::DOUBLE", "SELECT 'nan'::DOUBLE", (True, True)),
        ("SELECT 0.1::FLOAT", "SELECT 0.1::DOUBLE", (True, True)),
    ):
        assert rules.verdict(database, gold, predicted) == expected, (gold, predicted)


def test_every_type_is_the_cell_that_the_table_says(database):
    answer = database.query(
        "SELECT 1::HUGEINT, 1.10, 'nan'::DOUBLE, [1.1::FLOAT, NULL], {'b': 2.50, 'a': NULL}, MAP {'k': 1},"
        " '\\x00\\xFF'::BLOB, '00000000-0000-0000-0000-000000000001'::UUID, '101'::BIT,"
        " TIMESTAMPTZ '2024-01-01 00:00+02'"
    )
    assert answer.rows[0][:9] == (
        1, Decimal("1.1"), cells.NAN, (1.1, None), Json('{"a":null,"b":2.5}'), Json('{"k":1}'), b"\x00\xff",
        "00000000-0000-0000-0000-000000000001", "101",
    )  # fmt: skip
    assert str(answer.rows[0][9]) == "2023-12-31 22:00:00" and answer.kinds[9] == "timestamp"


def test_values_come_back_as_they_were_spelled(engine):
    rules.values_come_back_as_they_were_spelled(engine, [*rules.PLAIN_VALUES, True, (1, 2), float("inf")])


def test_works_in_worker_processes(engine):
    rules.works_in_worker_processes(engine, "SELECT sum(a.range) FROM range(3000000) AS a, range(3000000) AS b")


def test_databases_do_not_see_each_other(engine, database):
    other = engine.build("CREATE TABLE u (a INT)")
    assert outcome(other.query("SELECT * FROM t")) == "schema"
    assert outcome(database.query("SELECT * FROM u")) == "schema"
    other.close()
