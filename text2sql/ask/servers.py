"""Servers: a session that can only read, for a while, and is always rolled back."""

import importlib.util
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import quote, quote_plus

from sqlalchemy import URL, Engine, create_engine, event
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from text2sql.ask import mysql, postgres
from text2sql.base.errors import UserError, install
from text2sql.base.text import one_line
from text2sql.engines.sqlite import Answer, Failure, Limits

CONNECT_SECONDS = 10
DRIVERS = {  # dialect: (SQLAlchemy's name for it with its driver, the driver's module, our extra)
    "postgres": ("postgresql+psycopg", "psycopg", "postgres"),
    "mysql": ("mysql+pymysql", "pymysql", "mysql"),
}


def connect(url: URL, dialect: str) -> Engine:
    """An engine whose every transaction is read-only, after a first connection. Raises UserError."""
    url = url.set(drivername=DRIVERS[dialect][0])
    options: dict[str, Any] = {"connect_timeout": CONNECT_SECONDS}
    if dialect == "mysql":
        url = url.update_query_dict({"charset": "utf8mb4"})
        if "unix_socket" in url.query:
            options["ssl_disabled"] = True  # no network; reading certificates takes 0.2 s a connection
    try:
        engine = create_engine(
            url,
            poolclass=NullPool,
            pool_reset_on_return=None,  # connections end with what was asked on them
            connect_args=options,
        )
        prepare = postgres.only_reading if dialect == "postgres" else mysql.only_reading
        event.listen(engine, "connect", lambda connection, _record: prepare(connection))
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
    return without_secrets(one_line(getattr(error, "orig", None) or error), url)


def without_secrets(text: str, url: URL) -> str:
    """A text without the password and keys of a URL, however they are spelled there."""
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


def powers(engine: Engine, dialect: str) -> str | None:
    """What the login may do that no reader should, or None. Raises UserError where the server does not say."""
    module = postgres if dialect == "postgres" else mysql
    driver: Any = engine.dialect.dbapi
    try:
        with engine.connect() as session:
            return module.powers(session.connection.driver_connection)
    except (SQLAlchemyError, driver.Error, OSError) as error:
        why = reason(error, engine.url)
        raise UserError(f"{shown(engine.url)}: the login's rights cannot be read ({why})") from error


def runner(engine: Engine, dialect: str, seconds: float, rows: int) -> Callable[[str], Answer | Failure]:
    """What runs a statement on the server for at most `seconds` and gives at most `rows` of its rows.

    Each has a connection of its own, which ends with it, and with that all that the server does for it.
    """
    limits = Limits(seconds=seconds, rows=rows, cut=True)
    driver: Any = engine.dialect.dbapi
    mariadb = getattr(engine.dialect, "is_mariadb", False)
    answer = postgres.answer if dialect == "postgres" else partial(mysql.answer, mariadb=mariadb)

    def run(sql: str) -> Answer | Failure:
        try:
            with engine.connect() as session:
                found = answer(session.connection.driver_connection, sql, limits)
        except (SQLAlchemyError, driver.Error, OSError) as error:
            return Failure("schema", reason(error, engine.url))
        return replace(found, error=without_secrets(found.error, engine.url)) if isinstance(found, Failure) else found

    return run
