"""PostgreSQL, MySQL and MariaDB: a session that can only read, for a while, and is always rolled back."""

import contextlib
import importlib.util
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote, quote_plus

from sqlalchemy import URL, Engine, create_engine, event
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from text2sql.base.errors import UserError, install
from text2sql.base.text import one_line
from text2sql.engines.guard import MYSQL_FUNCTIONS, checked
from text2sql.engines.sqlite import Answer, Failure

CONNECT_SECONDS = 10
DRIVERS = {  # dialect: (SQLAlchemy's name for it with its driver, the driver's module, our extra)
    "postgres": ("postgresql+psycopg", "psycopg", "postgres"),
    "mysql": ("mysql+pymysql", "pymysql", "mysql"),
}
# What PostgreSQL calls volatile because it differs from call to call, and does nothing else.
HARMLESS = frozenset(["random", "clock_timestamp", "timeofday", "gen_random_uuid"])


def connect(url: URL, dialect: str) -> Engine:
    """An engine whose every transaction is read-only, after a first connection. Raises UserError."""
    url = url.set(drivername=DRIVERS[dialect][0])
    if dialect == "mysql":
        url = url.update_query_dict({"charset": "utf8mb4"})
    try:
        engine = create_engine(url, poolclass=NullPool, connect_args={"connect_timeout": CONNECT_SECONDS})
        event.listen(engine, "connect", only_reading[dialect])
        with engine.connect():
            pass
    except (SQLAlchemyError, TypeError, ValueError, OSError) as error:  # options of the URL that the driver lacks
        raise UserError(f"{shown(url)}: no connection ({reason(error, url)}); check --db and the server") from error
    return engine


def check_driver(url: URL, dialect: str) -> None:
    """Raises UserError where the driver is not installed."""
    _, module, extra = DRIVERS[dialect]
    if importlib.util.find_spec(module) is None:
        raise UserError(f"--db: {url.get_backend_name()} needs its driver; `{install(extra)}`")


def shown(url: URL) -> str:
    """The address without its password and options."""
    return one_line(url.set(query={}).render_as_string(hide_password=True))


def reason(error: Exception, url: URL) -> str:
    """An error's text on one line without the URL's secrets."""
    text = one_line(getattr(error, "orig", None) or error)
    options = [
        value
        for name, values in url.normalized_query.items()
        if any(word in name for word in ("pass", "key", "token"))
        for value in values
    ]
    for secret in filter(None, [url.password, *options]):
        for form in (secret, quote_plus(secret), quote(secret)):
            text = text.replace(form, "***")
    return text


def postgres_only_reading(connection: Any, _record: Any) -> None:
    """PostgreSQL: all transactions read-only; literals as the guard reads them."""
    connection.execute("SET standard_conforming_strings = on")
    connection.commit()
    connection.read_only = True


def mysql_only_reading(connection: Any, _record: Any) -> None:
    """MySQL and MariaDB: all transactions read-only; quotes and backslashes as the guard reads them."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT @@SESSION.sql_mode")
        strict = "ONLY_FULL_GROUP_BY" in cursor.fetchone()[0]
        cursor.execute(f"SET SESSION sql_mode = '{'ONLY_FULL_GROUP_BY' if strict else ''}'")
        cursor.execute("SET SESSION TRANSACTION READ ONLY")


only_reading = {"postgres": postgres_only_reading, "mysql": mysql_only_reading}


def runner(engine: Engine, dialect: str, seconds: float, rows: int) -> Callable[[str], Answer | Failure]:
    """What runs a statement on the server for at most `seconds` and gives at most `rows` of its rows."""
    cursor_of = {"postgres": postgres_cursor, "mysql": mysql_cursor}[dialect]
    driver: Any = engine.dialect.dbapi

    def run(sql: str) -> Answer | Failure:
        try:
            with engine.connect() as session:
                connection: Any = session.connection.driver_connection
                denied = denied_by_postgres(connection) if dialect == "postgres" else unknown_to_mysql
                text = checked(sql, dialect, denied)
                if isinstance(text, Failure):
                    return text
                try:
                    with cursor_of(connection, engine, text, seconds, rows) as cursor:
                        return fetched(cursor, rows)
                finally:
                    connection.rollback()
        except (SQLAlchemyError, driver.Error, OSError) as error:
            return failure(error, engine.url)

    return run


def fetched(cursor: Any, rows: int) -> Answer | Failure:
    """At most `rows` rows of an executed cursor."""
    if cursor.description is None:
        return Failure("not_a_query", "the statement has no result columns")
    found = [tuple(row) for row in cursor.fetchmany(rows + 1)]
    names = tuple(column[0] for column in cursor.description)
    return Answer(len(names), found[:rows], names, more=len(found) > rows)


@contextlib.contextmanager
def postgres_cursor(connection: Any, engine: Engine, sql: str, seconds: float, rows: int) -> Iterator[Any]:
    """A cursor on the server, which takes one query and nothing else, and sends rows as they are fetched."""
    connection.execute(f"SET LOCAL statement_timeout = {int(seconds * 1000)}")
    with connection.cursor("answer") as cursor:
        cursor.execute(sql)
        yield cursor


@contextlib.contextmanager
def mysql_cursor(connection: Any, engine: Engine, sql: str, seconds: float, rows: int) -> Iterator[Any]:
    """An executed cursor under a deadline; the driver sends one statement at a time."""
    deadline = f"max_statement_time = {seconds}" if engine.dialect.is_mariadb else (  # type: ignore[attr-defined]
        f"max_execution_time = {int(seconds * 1000)}"
    )  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute(f"SET SESSION {deadline}, sql_select_limit = {rows + 1}")
        cursor.execute("START TRANSACTION READ ONLY")
        cursor.execute(sql)
        yield cursor


def denied_by_postgres(connection: Any) -> Callable[[set[str]], set[str]]:
    """Tells the function names that PostgreSQL does not vouch for, or does not know.

    Its catalogue says of each function whether calling it may do something (volatile). Of functions that were added
    to the server only immutable ones are let through: extensions call functions stable that run a text as SQL.
    """

    def denied(names: set[str]) -> set[str]:
        found = connection.execute(
            "SELECT lower(proname), bool_and(provolatile = 'i' OR (nspname = 'pg_catalog'"
            " AND (provolatile = 's' OR proname = ANY(%s)))) FROM pg_catalog.pg_proc"
            " JOIN pg_catalog.pg_namespace ON pg_namespace.oid = pronamespace"
            " WHERE lower(proname) = ANY(%s) GROUP BY 1",
            [sorted(HARMLESS), sorted(names)],
        ).fetchall()
        return names - {name for name, harmless in found if harmless}

    return denied


def unknown_to_mysql(names: set[str]) -> set[str]:
    """The function names that are not among those known to be pure."""
    return names - MYSQL_FUNCTIONS


def failure(error: Exception, url: URL) -> Failure:
    """A server's error as the sandbox words it."""
    text = reason(error, url)
    late = any(words in text for words in ("statement timeout", "max_statement_time", "execution time exceeded"))
    return Failure("timeout" if late else "schema", text)
