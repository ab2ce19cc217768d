"""A database of the user's own, on a server: a session that can only read, for a while, and is always rolled back.

`ask` shows what it answers; scoring compares it (`OwnDatabase`).
"""

import importlib.util
import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import quote, quote_plus

from sqlalchemy import URL, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from text2sql.base.errors import UserError, install
from text2sql.base.text import one_line
from text2sql.engines import cells, own_mysql, own_postgres, own_schema
from text2sql.engines.protocol import Database, EngineLost
from text2sql.engines.sqlite import DEFAULT_LIMITS, Answer, Failure, Limits
from text2sql.sql.spelling import quoted

CONNECT_SECONDS = 10
DIALECTS = {"sqlite": "sqlite", "postgresql": "postgres", "postgres": "postgres", "mysql": "mysql", "mariadb": "mysql"}
DRIVERS = {  # dialect: (SQLAlchemy's name for it with its driver, the driver's module, our extra)
    "postgres": ("postgresql+psycopg", "psycopg", "postgres"),
    "mysql": ("mysql+pymysql", "pymysql", "mysql"),
}


def connect(url: URL, dialect: str, option: str) -> Engine:
    """SQLAlchemy's engine, its every transaction read-only, after a first connection. option: what named the URL.

    Raises UserError.
    """
    url = url.set(drivername=DRIVERS[dialect][0])
    options: dict[str, Any] = {"connect_timeout": CONNECT_SECONDS}
    if dialect == "mysql":
        if url.password is None and "MYSQL_PWD" in os.environ:  # PostgreSQL's driver reads PGPASSWORD itself
            url = url.set(password=os.environ["MYSQL_PWD"])
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
        prepare = own_postgres.only_reading if dialect == "postgres" else own_mysql.only_reading
        event.listen(engine, "connect", lambda connection, _record: prepare(connection))
        with engine.connect():
            pass
    except (SQLAlchemyError, TypeError, ValueError, OSError) as error:  # options of the URL that the driver lacks
        raise UserError(f"{shown(url)}: no connection ({reason(error, url)}); check {option} and the server") from error
    return engine


def check_driver(url: URL, dialect: str, option: str) -> None:
    """Raises UserError where the driver is not installed."""
    _, module, extra = DRIVERS[dialect]
    if importlib.util.find_spec(module) is None:
        raise UserError(f"{option}: {url.get_backend_name()} needs its driver; `{install(extra)}`")


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
    module = own_postgres if dialect == "postgres" else own_mysql
    driver: Any = engine.dialect.dbapi
    try:
        with engine.connect() as session:
            return module.powers(session.connection.driver_connection)
    except (SQLAlchemyError, driver.Error, OSError) as error:
        why = reason(error, engine.url)
        raise UserError(f"{shown(engine.url)}: the login's rights cannot be read ({why})") from error


def runner(engine: Engine, dialect: str, seconds: float, rows: int) -> Callable[[str], Answer | Failure]:
    """What runs a statement on the server for at most `seconds` and gives at most `rows` of its rows, as the server
    writes them."""
    limits = Limits(seconds=seconds, rows=rows, cut=True)

    def run(sql: str) -> Answer | Failure:
        try:
            return asked(engine, dialect, sql, limits)
        except EngineLost as lost:
            return Failure("schema", str(lost))

    return run


def asked(engine: Engine, dialect: str, sql: str, limits: Limits, scoring: bool = False) -> Answer | Failure:
    """The answer to an untrusted statement, on a connection that ends with it, and with that all that the server does
    for it. scoring: as `own_postgres.answer` and `own_mysql.answer`.

    Raises EngineLost where the server cannot be reached.
    """
    driver: Any = engine.dialect.dbapi
    mariadb = getattr(engine.dialect, "is_mariadb", False)
    answer = own_postgres.answer if dialect == "postgres" else partial(own_mysql.answer, mariadb=mariadb)
    try:
        with engine.connect() as session:
            found = answer(session.connection.driver_connection, sql, limits, scoring=scoring)
    except (SQLAlchemyError, driver.Error, OSError) as error:
        raise EngineLost(reason(error, engine.url)) from error
    return replace(found, error=without_secrets(found.error, engine.url)) if isinstance(found, Failure) else found


# --- As an engine that scores ----------------------------------------------------------------------------------------


class Own(NamedTuple):
    """A database of the user's own, by its URL without a password; nothing is built there."""

    url: str
    version: str
    name: str
    dialect: str

    def build(self, setup: str, limits: Limits = DEFAULT_LIMITS) -> Database | Failure:
        """As `protocol.Engine.build`: refused."""
        return Failure("refused", "nothing is built on a server that holds a database of your own")

    def spell_name(self, name: str) -> str:
        return quoted(name, "`" if self.dialect == "mysql" else '"')

    def spell_value(self, value: Any) -> str:
        return cells.spell(value)


class OwnDatabase:
    """The database at a URL, to be read."""

    def __init__(self, url: str, option: str) -> None:
        """option: what named the URL. Raises UserError."""
        parsed = address(url, option)
        self.dialect = server_dialect(parsed, option)
        self.name = parsed.database or ""
        self.engine = connect(parsed, self.dialect, option)

    def query(self, sql: str, limits: Limits = DEFAULT_LIMITS) -> Answer | Failure:
        """As `protocol.Database.query`."""
        return asked(self.engine, self.dialect, sql, limits, scoring=True)

    def close(self) -> None:
        """As `protocol.Database.close`; the database stays."""
        self.engine.dispose()


def trusted(url: str, trust_login: bool) -> Own:
    """The engine at a URL, after a first connection. Raises UserError where the login may do more than read, unless it
    is to be trusted."""
    database = OwnDatabase(url, "the database's URL")
    may = powers(database.engine, database.dialect)
    if may and not trust_login:
        raise UserError(
            f"{shown(database.engine.url)}: the login is {may}; use one that may only read (docs/security.md has the"
            " lines that make it), or take the risk with evaluation.trust_login (of the command: --trust-login)"
        )
    version = ".".join(map(str, database.engine.dialect.server_version_info or ()))
    database.close()
    return Own(url, version, database.dialect, database.dialect)


def read_schema(url: str, option: str) -> tuple[str, str, str]:
    """The schema of the database at a URL as a script of what the login may read, its dialect and the database's name.

    option: what named the URL. Raises UserError.
    """
    database = OwnDatabase(url, option)
    script, _ = schema(database.engine, None)
    database.close()
    if not script:
        raise UserError(f"{option}: the database has no tables, or none that this login may read")
    return script, database.dialect, database.name


def schema(engine: Engine, name: str | None) -> tuple[str, list[str]]:
    """A schema of a server's database (by default the login's) as a script, and lines about what of it could not be
    read. Raises UserError."""
    try:
        return own_schema.read_server(engine, name)
    except SQLAlchemyError as error:
        raise UserError(f"{shown(engine.url)}: the schema cannot be read ({reason(error, engine.url)})") from error


def address(url: str, option: str) -> URL:
    """The URL of a server. Raises UserError, which never quotes it."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        form = "postgresql://user:password@host:5432/database, or the path of an SQLite file"
        raise UserError(f"{option}: not a database URL; its form is {form} (special characters as %40)") from error
    return parsed


def server_dialect(url: URL, option: str) -> str:
    """The dialect of a server's URL. Raises UserError where it is none of ours, or its driver is not there."""
    dialect = DIALECTS.get(url.get_backend_name(), "sqlite")
    if dialect == "sqlite":
        kind = one_line(url.get_backend_name())
        raise UserError(f"{option}: a URL names a server of postgresql, mysql or mariadb, and this one {kind}")
    check_driver(url, dialect, option)
    return dialect
