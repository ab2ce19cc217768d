"""MySQL and MariaDB: one query of functions known to do nothing but compute, in a read-only transaction."""

from collections.abc import Set
from typing import Any

from text2sql.engines import cells, mysql
from text2sql.engines.cells import document
from text2sql.engines.guard import MYSQL_FUNCTIONS, checked, refused
from text2sql.engines.sqlite import Answer, Failure, Limits

POWERS = ("SUPER", "FILE", "SHUTDOWN", "CREATE USER", "SYSTEM_VARIABLES_ADMIN")  # by which a login can do anything
NO_SUCH_FUNCTION = 1305


def only_reading(connection: Any) -> None:
    """Makes every transaction of a new connection read-only, quotes and backslashes as the guard reads them."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT @@SESSION.sql_mode")
        strict = "ONLY_FULL_GROUP_BY" in cursor.fetchone()[0]
        cursor.execute(f"SET SESSION sql_mode = '{'ONLY_FULL_GROUP_BY' if strict else ''}'")
        cursor.execute("SET SESSION TRANSACTION READ ONLY")


def write_as_the_server(connection: Any) -> None:
    """Makes cells those of `cells`: dates and times as text, since Python has no day 0 and no hour -1."""
    from pymysql.constants import FIELD_TYPE

    written = (FIELD_TYPE.DATE, FIELD_TYPE.NEWDATE, FIELD_TYPE.TIME, FIELD_TYPE.DATETIME, FIELD_TYPE.TIMESTAMP)
    kept = {kind: decoder for kind, decoder in connection.decoders.items() if kind not in written}
    connection.decoders = kept | {FIELD_TYPE.JSON: document, FIELD_TYPE.BIT: bits}


def bits(data: bytes) -> int:
    """A BIT as the number that it is."""
    return int.from_bytes(data, "big")


def powers(connection: Any) -> str | None:
    """What a login may do that no reader should, or None. Who may not see other logins' rights sees their own."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT DISTINCT privilege_type FROM information_schema.user_privileges")
        held = {name for (name,) in cursor.fetchall()}
    return next((f"one with the right {name} ON *.*" for name in POWERS if name in held), None)


def answer(connection: Any, sql: str, limits: Limits, mariadb: bool, scoring: bool = False) -> Answer | Failure:
    """The answer to an untrusted query on a connection that `only_reading` prepared, which is then to be closed.

    scoring: cells are values, the clock stands still, and chance is refused; else cells are as the server writes them.
    """
    from pymysql import MySQLError

    if len(sql) > limits.query_length:
        return Failure("too_large", f"more than {limits.query_length} characters of SQL")
    deadline = f"max_statement_time = {limits.seconds}" if mariadb else (
        f"max_execution_time = {int(limits.seconds * 1000)}"
    )  # fmt: skip
    try:
        text = checked(sql, lambda names: judged(connection, names, mysql.FUNCTIONS if scoring else MYSQL_FUNCTIONS))
        if isinstance(text, Failure):
            return text
        with connection.cursor() as cursor:
            cursor.execute(f"SET SESSION {deadline}, sql_select_limit = {limits.rows + 1}")
            cursor.execute("START TRANSACTION READ ONLY")
        if scoring:
            with connection.cursor() as cursor:
                cursor.execute(mysql.CLOCK)
            connection.decoders = connection.decoders | {mysql.JSON: cells.json_cell}
        else:
            write_as_the_server(connection)
        connection._read_timeout = limits.seconds + mysql.GRACE_SECONDS
        return mysql.fetch(connection, text, limits, connection._force_close)
    except (MySQLError, OSError, ValueError) as error:
        if mysql.late(error):
            return Failure("timeout", f"not ended {mysql.GRACE_SECONDS} s after its deadline")
        return mysql.failure(error)


def judged(connection: Any, names: Set[str], harmless: Set[str]) -> Failure | None:
    """Why functions are not called: no such function, a stored one, or one that is not known to be harmless."""
    denied = (names - harmless) | stored(connection, names)
    missing = (missing_function(connection, name) for name in sorted(denied))
    return next(filter(None, missing), None) or (refused(denied) if denied else None)


def stored(connection: Any, names: Set[str]) -> Set[str]:
    """Which of some names the database has functions of its own for: those may do anything, whatever their name."""
    if not names:
        return frozenset()
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT LOWER(routine_name) FROM information_schema.routines"
            " WHERE routine_schema = DATABASE() AND LOWER(routine_name) IN %s",
            [sorted(names)],
        )
        return frozenset(name for (name,) in cursor.fetchall())


def missing_function(connection: Any, name: str) -> Failure | None:
    """The server's own words where it has no such function. It is asked to prepare a call, which it never makes."""
    from pymysql import MySQLError

    call = f"SELECT `{name.replace('`', '``')}`()"
    try:
        with connection.cursor() as cursor:
            cursor.execute("PREPARE call_of_it FROM %s", [call])
            cursor.execute("DEALLOCATE PREPARE call_of_it")
    except MySQLError as error:
        return mysql.failure(error) if error.args[0] == NO_SUCH_FUNCTION else None
    return None
