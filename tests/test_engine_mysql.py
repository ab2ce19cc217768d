"""MariaDB, where it is installed: what it builds, what it answers, and that attacks change nothing."""

import contextlib
import os
import time
from pathlib import Path

import engine_rules as rules
import pytest
from engine_rules import SETUP, outcome

from text2sql.base.errors import UserError
from text2sql.engines import mysql
from text2sql.engines.question import Question
from text2sql.engines.sqlite import Failure, Limits
from text2sql.scoring.score import Item, score_rows

pytestmark = pytest.mark.skipif(not mysql.installed(), reason="MariaDB is not installed (Debian: mariadb-server)")


@pytest.fixture(scope="module")
def engine():
    with mysql.private_server() as started:
        yield started


@pytest.fixture
def database(engine):
    database = engine.build(SETUP)
    assert not isinstance(database, Failure), database
    yield database
    database.close()


def owner(engine, sql):
    import pymysql

    connection = pymysql.connect(**dict(engine.owner), autocommit=True)
    with contextlib.closing(connection), connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall()


def under_way(engine) -> int:
    """The queries that the server is at, this one left out; a killed one has ten seconds in which to end."""
    count = "SELECT COUNT(*) - 1 FROM information_schema.processlist WHERE command = 'Query'"
    end = time.monotonic() + 10
    while (found := owner(engine, count)[0][0]) and time.monotonic() < end:
        time.sleep(0.1)
    return found


def test_queries_answer(engine):
    rules.queries_answer(engine)


def test_every_failure_has_its_name(engine, database):
    rules.failures_have_their_names(engine, database, [
        ("SELECT a FROM t FOR UPDATE", "refused"),
        ("SELECT STRFTIME('%Y', b) FROM t", "dialect"),
        ("SELECT SLEEP(9)", "refused"),
        ("SELECT RAND()", "refused"),
        ("(SELECT a FROM t)", "ok"),
        ("SELECT a FROM t # a comment", "ok"),
        ("SELECT CONCAT('it\\'s;', b) FROM t", "ok"),
    ])  # fmt: skip


def test_hostile_predictions_get_their_verdicts(engine):
    rules.hostile_predictions_get_their_verdicts(engine)


ATTACKS = [
    "SELECT * FROM t INTO OUTFILE '{folder}/x'",
    "SELECT a INTO DUMPFILE '{folder}/x' FROM t",
    "SELECT a INTO @x FROM t",
    "SELECT @x := 1",
    "SELECT LOAD_FILE('/etc/passwd')",
    "LOAD DATA INFILE '/etc/passwd' INTO TABLE t",
    "LOAD DATA LOCAL INFILE '/etc/passwd' INTO TABLE t",
    "SELECT GET_LOCK('x', 10)",
    "SELECT RELEASE_ALL_LOCKS()",
    "SELECT SLEEP(30)",
    "SELECT `SLEEP`(30)",
    "SELECT SLEEP /**/ (30)",
    "SELECT BENCHMARK(1000000000, MD5('a'))",
    "SELECT 1 /*! + SLEEP(30) */",
    "SELECT 1 /*M! + SLEEP(30) */",
    "SELECT MASTER_POS_WAIT('x', 1, 30)",
    "SELECT NEXTVAL(s)",
    "SELECT NEXT VALUE FOR s",
    "SELECT LAST_INSERT_ID(5)",
    "SELECT @@version",
    "SELECT @@datadir",
    "SELECT * FROM mysql.user",
    "SELECT * FROM mysql.global_priv",
    "SELECT * FROM t LOCK IN SHARE MODE",
    "SELECT SYS_EXEC('id')",
    "SELECT a FROM t PROCEDURE ANALYSE()",
    "HANDLER t OPEN",
    "LOCK TABLES t WRITE",
    "FLUSH TABLES",
    "KILL 1",
    "SET GLOBAL max_connections = 1",
    "SET PASSWORD = PASSWORD('x')",
    "PREPARE x FROM 'SELECT 1'",
    "DO SLEEP(9)",
    "CALL x()",
    "CREATE TEMPORARY TABLE u (a INT)",
    "INSTALL PLUGIN x SONAME 'x.so'",
    "SELECT a FROM t; DELETE FROM t",
    "INSERT INTO t VALUES (9, 'q') RETURNING a",
    "SELECT COUNT(*) FROM t a, t b, t c, t d, t e, t f, t g, t h, t i, t j, t k, t l, t m, t n, t o, t p, t q, t r",
]


def test_attacks_change_nothing(engine, tmp_path):
    tmp_path.chmod(0o777)
    database = engine.build(SETUP + "CREATE SEQUENCE s;")
    assert not isinstance(database, Failure), database

    def state():
        return (
            owner(engine, f"SELECT next_not_cached_value FROM {database.name}.s"),
            under_way(engine),
            owner(engine, "SELECT COUNT(*) FROM mysql.global_priv"),
        )

    attacks = [attack.replace("{folder}", str(tmp_path)) for attack in ATTACKS]
    rules.attacks_change_nothing(engine, database, attacks, tmp_path, state)
    database.close()


@pytest.mark.parametrize(
    "script, expected",
    [
        ("CREATE DATABASE shop; USE shop; CREATE TABLE t (a INT); INSERT INTO t VALUES (1)", "ok"),
        ("-- of two\nSET NAMES utf8mb4;\nCREATE DATABASE shop;\n\nUSE shop;\nCREATE TABLE t (a INT);", "ok"),
        ("CREATE TABLE t (a VARCHAR(9) COLLATE utf8mb4_0900_ai_ci) DEFAULT CHARSET=utf8mb4", "ok"),  # MySQL 8's default
        ("", "ok"),
        ("CREATE TABLE t (a INT", "syntax"),
        ("CREATE TABLE t (a INT PRIMARY KEY); INSERT INTO t VALUES (1), (1)", "schema"),
        ("CREATE TABLE t (a TEXT); LOAD DATA INFILE '/etc/passwd' INTO TABLE t", "refused"),
        ("SELECT 1 INTO OUTFILE '/tmp/x'", "refused"),
        ("CREATE USER boss", "refused"),
        ("SET GLOBAL max_connections = 1", "refused"),
        ("SELECT SLEEP(30)", "timeout"),
        ("SELECT '\ud800'", "syntax"),
    ],
)
def test_a_setup_can_do_what_a_setup_needs_and_no_more(engine, script, expected):
    database = engine.build(script, Limits(seconds=2))
    found = outcome(database)
    if found == "ok":
        database.close()
    assert found == expected
    after = engine.build(SETUP)
    assert after.query("SELECT COUNT(*) FROM t").rows == [(3,)]
    after.close()


def test_deadlines_are_kept_and_the_database_lives_on(engine):
    rules.deadlines_are_kept_and_the_database_lives_on(engine, ATTACKS[-1])


def test_caps_are_errors_not_truncations(engine):
    rules.caps_are_errors_not_truncations(engine)


def test_the_clock_stands_still(engine):
    rules.the_clock_stands_still(engine)


def test_ties_are_found_by_the_engine(engine, database):
    rules.ties_are_found_by_the_engine(engine)
    assert rules.verdict(database, "SELECT a FROM t ORDER BY b LIMIT 1, 1", "SELECT 2") == (True, True)


def test_numbers_and_dates_compare_by_value(database):
    rules.numbers_and_dates_compare_by_value(database)
    cased = "SELECT CASE WHEN a > 1 THEN 1 ELSE 0 END FROM t"  # here, a boolean is a number
    assert rules.verdict(database, "SELECT a > 1 FROM t", cased) == (True, True)


def test_values_come_back_as_they_were_spelled(engine):
    rules.values_come_back_as_they_were_spelled(engine, rules.PLAIN_VALUES)


def test_works_in_worker_processes(engine):
    rules.works_in_worker_processes(engine, ATTACKS[-1])


def test_databases_do_not_see_each_other(engine, database):
    other = engine.build("CREATE TABLE u (a INT)")
    assert outcome(other.query("SELECT * FROM t")) == "schema"
    assert outcome(database.query("SELECT * FROM u")) == "schema"
    other.close()


def test_the_server_and_its_folder_are_gone_with_the_block():
    with mysql.private_server() as started:
        folder = Path(dict(started.owner)["unix_socket"]).parent
        assert folder.stat().st_mode & 0o777 == 0o700
        pid = int((folder / "pid").read_text())
    assert not folder.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_foreign_key_to_a_table_that_is_not_there_is_passed_over(engine):
    script = "CREATE TABLE orders (id INT PRIMARY KEY, shop INT, FOREIGN KEY (shop) REFERENCES {}(id));"
    rows = "INSERT INTO orders VALUES (1, 7);"
    database = engine.build(script.format("shops") + rows)
    assert database.query("SELECT shop FROM orders").rows == [(7,)]
    database.close()
    there = "CREATE TABLE shops (id INT PRIMARY KEY);" + script.format("shops") + rows
    assert outcome(engine.build(there)) == "schema"


def test_a_recursion_that_the_server_cuts_short_is_no_answer(database):
    counting = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < {}) SELECT MAX(x) FROM c"
    assert database.query(counting.format(1000)).rows == [(1000,)]
    for sql in (counting.format(1002), rules.ENDLESS):
        assert database.query(sql) == Failure("too_large", "a recursion of more than 1000 steps")
    assert database.query("SELECT COUNT(*) FROM t").rows == [(3,)]


def test_after_a_hundred_attacks_nothing_is_left_and_every_other_row_has_its_verdict(engine, tmp_path, monkeypatch):
    tmp_path.chmod(0o777)
    monkeypatch.chdir(tmp_path)
    attacks = [attack.replace("{folder}", str(tmp_path)) for attack in ATTACKS] + [rules.ENDLESS]
    quick = [attack for attack in attacks if attack not in ATTACKS[-1:]]
    attacks += quick[: 100 - len(attacks)]
    attacks += quick[: 100 - len(attacks)]
    folder = Path(dict(engine.owner)["unix_socket"]).parent

    def asked(number: int, sql: str) -> Item:
        question = Question("SELECT a, b FROM t ORDER BY a", (SETUP,), dialect="mysql", setup_dialect="mysql")
        return Item(f"{number}", question, sql)

    def state():
        return (
            owner(engine, "SELECT schema_name FROM information_schema.schemata ORDER BY 1"),
            owner(engine, "SELECT user FROM mysql.global_priv ORDER BY 1"),
            under_way(engine),
            owner(engine, "SELECT trx_id FROM information_schema.innodb_trx"),
            sorted(path.name for path in folder.iterdir()),
        )

    ordinary = [*["SELECT a, b FROM t ORDER BY a"] * 3, "SELECT a, b FROM t WHERE a > 1", "SELECT b FROM t"]
    items = [asked(number, ordinary[number % 5]) for number in range(200)]
    before = state()
    attacked = [asked(number, attacks[number // 2]) if number % 2 else each for number, each in enumerate(items)]
    with mysql.prepared(dict(engine.owner)) as server:
        calm = list(score_rows(items, workers=2, engines={"mysql": server}))
        rows = list(score_rows(attacked, workers=2, limits=Limits(seconds=0.5), engines={"mysql": server}))
    assert rows[::2] == calm[::2]
    assert len(attacks) == 100 and not any(row["ex"] for row in rows[1::2])
    assert {"refused", "timeout", "too_large"} <= {row["outcome"] for row in rows[1::2]}
    assert list(tmp_path.iterdir()) == [] and state() == before


def test_a_server_by_url_keeps_nothing_of_what_was_made(engine):
    def made():
        return owner(engine, "SHOW DATABASES"), owner(engine, "SELECT User FROM mysql.user")

    before = made()
    with mysql.prepared(dict(engine.owner)) as again:
        assert again.build(SETUP).query("SELECT COUNT(*) FROM t").rows == [(3,)]
    assert made() == before
    weak = {**dict(engine.owner), "user": f"{engine.token}r", "password": engine.secret}
    with pytest.raises(UserError, match="must be allowed to make users"), contextlib.ExitStack() as stack:
        stack.enter_context(mysql.prepared(weak))
