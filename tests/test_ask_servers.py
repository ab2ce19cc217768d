"""`ask` on a real PostgreSQL and a real MariaDB, started from the system's packages; skipped where there are none.

SQLite takes part where every system must do the same.
"""

import contextlib
import glob
import os
import shutil
import sqlite3
import subprocess
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import ROOT

from text2sql.ask import database, schema, session
from text2sql.base.errors import UserError
from text2sql.cli import main
from text2sql.engines import guard
from text2sql.engines.sqlite import Answer, Failure

PASSWORD = "geheim/p@ss:w0rd"
QUOTED = "geheim%2Fp%40ss%3Aw0rd"
SHOP = [
    "CREATE TABLE customers (customer_id INTEGER PRIMARY KEY, name VARCHAR(40))",
    "CREATE TABLE t (a INTEGER, b VARCHAR(20), c DECIMAL(8, 2), d DATE, customer_id INTEGER,"
    " FOREIGN KEY (customer_id) REFERENCES customers(customer_id))",
    "INSERT INTO customers VALUES (1, 'Ada'), (2, '지민')",
    "INSERT INTO t VALUES (1, 'x', 1.5, '2026-05-02', 1), (2, 'y', 2.25, '2026-05-03', 1), (3, 'z', 9, NULL, 2)",
    "CREATE VIEW seen AS SELECT a, b FROM t",
]


def program(name: str) -> str:
    """The path of a server's program. Skips the test where it is not installed."""
    found = shutil.which(name) or next(iter(glob.glob(f"/usr/lib/postgresql/*/bin/{name}")), None)
    found = found or next((path for path in (f"/usr/sbin/{name}", f"/usr/bin/{name}") if os.path.exists(path)), None)
    if found is None:
        pytest.skip(f"{name} is not installed (Debian: postgresql, mariadb-server)")
    return os.path.realpath(found)


@contextlib.contextmanager
def server_folder():
    """A short path (sockets allow no long one) that the server's user may use, and how to become that user."""
    as_nobody = {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.getuid() == 0 else {}
    folder = Path(tempfile.mkdtemp(prefix="ask"))
    if as_nobody:
        shutil.chown(folder, "nobody", "nogroup")
    try:
        yield folder, as_nobody | {"cwd": folder}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def running(command: list, user: dict, log: Path, admin):
    """A server's process, once `admin` gives a connection; ended at the end."""
    with open(log, "wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, **user)
    try:
        end = time.monotonic() + 120
        while True:
            try:
                connection = admin()
                break
            except Exception:
                if process.poll() is not None or time.monotonic() > end:
                    pytest.fail(f"the server does not start: {log.read_text(errors='replace')[-2000:]}")
                time.sleep(0.1)
        yield connection
    finally:
        process.terminate()
        process.wait(timeout=60)


@pytest.fixture(scope="module")
def postgres():
    psycopg = pytest.importorskip("psycopg", reason="psycopg is not installed (the extra `postgres`)")
    initdb, postgres = program("initdb"), program("postgres")
    with server_folder() as (folder, user):
        (folder / "password").write_text(PASSWORD)
        (folder / "password").chmod(0o644)
        options = ["-U", "boss", "-A", "scram-sha-256", "--pwfile", folder / "password", "-E", "UTF8", "--no-locale"]
        subprocess.run([initdb, "-D", folder / "data", "-N", *options], check=True, capture_output=True, **user)
        admin = lambda: psycopg.connect(  # noqa: E731
            host=str(folder), user="boss", password=PASSWORD, dbname="postgres", autocommit=True
        )
        command = [postgres, "-D", folder / "data", "-k", folder, "-c", "listen_addresses=", "-c", "fsync=off"]
        with running(command, user, folder / "log", admin) as connection:
            for statement in [
                *SHOP,
                "COMMENT ON COLUMN customers.name IS 'first name'",
                "CREATE SEQUENCE s",
                "CREATE FUNCTION touch() RETURNS int LANGUAGE sql AS 'INSERT INTO t (a) VALUES (99); SELECT 1'",
                "CREATE FUNCTION runs(text) RETURNS int STABLE LANGUAGE plpgsql AS 'BEGIN EXECUTE $1; RETURN 1; END'",
            ]:
                connection.execute(statement)
            yield SimpleNamespace(
                url=f"postgresql://boss:{QUOTED}@/postgres?host={folder}",
                folder=folder,
                sums=lambda: connection.execute(
                    "SELECT (SELECT md5(string_agg(t::text, ',' ORDER BY a)) FROM t), (SELECT count(*) FROM pg_class),"
                    " (SELECT last_value::text || is_called FROM s), (SELECT count(*) FROM pg_largeobject_metadata),"
                    " (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory')"
                ).fetchall(),
            )
            connection.close()


@pytest.fixture(scope="module")
def mariadb():
    pymysql = pytest.importorskip("pymysql", reason="pymysql is not installed (the extra `mysql`)")
    install, mariadbd = program("mariadb-install-db"), program("mariadbd")
    with server_folder() as (folder, user):
        data, socket = folder / "data", folder / "s"
        subprocess.run(
            [install, "--no-defaults", f"--datadir={data}", "--auth-root-authentication-method=normal",
             "--skip-test-db", "--innodb-log-file-size=5M"],
            check=True, capture_output=True, **user,
        )  # fmt: skip
        command = [mariadbd, "--no-defaults", f"--datadir={data}", f"--socket={socket}", "--skip-networking",
                   f"--pid-file={folder}/pid", "--innodb-buffer-pool-size=16M", "--secure-file-priv="]  # fmt: skip
        admin = lambda: pymysql.connect(unix_socket=str(socket), user="root", autocommit=True)  # noqa: E731
        with running(command, user, folder / "log", admin) as connection:
            cursor = connection.cursor()
            for statement in [
                "CREATE DATABASE shop CHARACTER SET utf8mb4",
                "USE shop",
                *SHOP,
                "ALTER TABLE customers MODIFY name VARCHAR(40) COMMENT 'first name', COMMENT 'who buys'",
                "CREATE SEQUENCE s",
                "CREATE FUNCTION touch() RETURNS INT MODIFIES SQL DATA"
                " BEGIN INSERT INTO t (a) VALUES (99); RETURN 1; END",
                f"CREATE USER boss IDENTIFIED BY '{PASSWORD}'",
                "GRANT ALL ON *.* TO boss",
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

            url = f"mysql://boss:{QUOTED}@localhost/shop?unix_socket={socket}"
            yield SimpleNamespace(url=url, folder=folder, sums=sums)
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


@pytest.mark.parametrize(("name", "own"), [("postgres", POSTGRES), ("mariadb", MARIADB), ("sqlite_file", SQLITE)])
def test_every_attack_is_refused_and_changes_nothing(request, name, own):
    server = request.getfixturevalue(name)
    before = server.sums()
    attacks = [line.format(folder=server.folder) for line in (WRITES + own).splitlines() if line]
    assert len(attacks) >= 31
    with database.connect(server.url, 1.0, 100, False) as opened:
        for attack in attacks:
            for text in (attack, f"SELECT 1; {attack}"):
                answer = opened.run(text)
                assert isinstance(answer, Failure), text
        assert opened.run("SELECT count(*) FROM t").rows == [(3,)]
    assert server.sums() == before
    assert not (server.folder / "stolen").exists()


@pytest.mark.parametrize("name", ["postgres", "mariadb"])
def test_the_server_itself_refuses_to_write(request, monkeypatch, name):
    """With the guard taken away the session still only reads: one wall behind the other."""
    server = request.getfixturevalue(name)
    before = server.sums()
    monkeypatch.setattr("text2sql.ask.servers.checked", lambda sql, dialect, denied: sql)
    with database.connect(server.url, 1.0, 100, False) as opened:
        for attack in ("DELETE FROM t", "DROP TABLE t", "CREATE TABLE u (a INTEGER)", "SELECT touch()",
                       "SELECT 1; DELETE FROM t", "COMMIT; DELETE FROM t", "ALTER TABLE t RENAME TO u"):  # fmt: skip
            assert isinstance(opened.run(attack), Failure), attack
        sleep = "SELECT pg_sleep(30)" if name == "postgres" else "SELECT COUNT(*) FROM t a" + "".join(
            f" JOIN t t{n}" for n in range(18)
        )  # fmt: skip
        assert opened.run(sleep).outcome == "timeout"
    assert server.sums() == before


@pytest.mark.parametrize("name", ["postgres", "mariadb"])
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


@pytest.mark.parametrize("name", ["postgres", "mariadb"])
def test_the_schema_comes_with_keys_and_comments(request, name):
    server = request.getfixturevalue(name)
    with database.connect(server.url, 5.0, 100, True) as opened:
        statements = {table.name: table.statement for table in opened.tables}
    assert set(statements) - {"s"} == {"customers", "t", "seen"}  # MariaDB shows a sequence as a table
    assert "name VARCHAR(40) /* first name; e.g. 'Ada', '지민' */" in statements["customers"]
    assert "customer_id INTEGER PRIMARY KEY" in statements["customers"].replace("(11)", "")
    assert "customer_id INTEGER REFERENCES customers(customer_id)" in statements["t"].replace("(11)", "")
    assert "/* view" in statements["seen"]


@pytest.mark.parametrize("name", ["postgres", "mariadb"])
def test_the_command_asks_in_the_servers_dialect(request, name, tmp_path, monkeypatch, capsys):
    """A stub stands for the model."""
    server = request.getfixturevalue(name)
    for part in ("params.yaml", "prompts/en.txt", "prompts/ko.txt"):
        (tmp_path / part).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / part, tmp_path / part)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(session, "check_arm", lambda config, arm: None)
    model = session.Model(
        lambda prompts, samples, seed: [["SELECT a, c, d FROM t ORDER BY a"] * samples], len, len, 9000
    )
    monkeypatch.setattr(session, "load", lambda *arguments: model)
    assert main(["ask", "--db", server.url, "--json", "--samples", "2", "x"]) == 0
    out, err = capsys.readouterr()
    assert '"rows": [[1, "1.50", "2026-05-02"], [2, "2.25", "2026-05-03"], [3, "9.00", null]]' in out
    assert '"agreed": 2' in out and err == ""


@pytest.mark.parametrize("name", ["postgres", "mariadb"])
def test_no_password_in_any_error(request, name):
    server = request.getfixturevalue(name)
    bad = ["w0rd", "geheim"]
    for url in (
        server.url.replace(QUOTED, "geheim-w0rd"),  # a wrong one
        server.url.replace("postgres?", "none?").replace("/shop?", "/none?"),
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
    nothing = lambda names: set()  # noqa: E731
    sent = guard.checked("SELECT COUNT(*)/* a */, 'it''s -- no' -- b\nFROM t /* x */;", "mysql", nothing)
    assert sent == "SELECT COUNT(*) , 'it''s -- no' FROM t"
    for bad in (
        "SELECT 1; SELECT 2",
        "SELECT 'a\0b'",
        "SELECT '\ud800'",
        "",
        "SELECT (" * 3000,
        "SHOW TABLES",
    ):
        assert isinstance(guard.checked(bad, "mysql", nothing), Failure), bad
    asked: list[set[str]] = []
    guard.checked(
        'SELECT lower(a), "Odd"(b), f (1) FROM t AS x(a, b)', "postgres", lambda names: asked.append(names) or set()
    )
    assert asked == [{"lower", "odd", "f"}]


def test_a_server_that_never_answers_is_one_line(monkeypatch):
    """Nobody listens at the socket."""
    for scheme in ("postgresql", "mysql"):
        url = f"{scheme}://u:s3cret@127.0.0.1:1/x"
        with pytest.raises(UserError, match="no connection") as raised, database.connect(url, 1.0, 10, False):
            pass
        assert "s3cret" not in str(raised.value) and "\n" not in str(raised.value)
    assert schema.commented("") == ""
