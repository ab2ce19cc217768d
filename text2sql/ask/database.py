"""A database to ask, whatever kind: its dialect, its tables, and a way to run a query that can only read."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import URL, Engine, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from text2sql.ask import schema, servers, sqlite
from text2sql.base.errors import UserError
from text2sql.base.text import one_line
from text2sql.engines.sqlite import Answer, Failure
from text2sql.sql.spelling import literal, quoted

SAMPLES, SAMPLE_LENGTH = 3, 40  # of the values of one column, with --sample-values
DIALECTS = {"sqlite": "sqlite", "postgresql": "postgres", "postgres": "postgres", "mysql": "mysql", "mariadb": "mysql"}


class Database(NamedTuple):
    """`dialect` is sqlglot's name; `notes` are lines about what of the schema could not be read; `powers` says what the
    login may do that no reader should, and is None where that is nothing."""

    dialect: str
    tables: list[schema.Table]
    notes: list[str]
    run: Callable[[str], Answer | Failure]
    powers: str | None = None


@contextlib.contextmanager
def connect(address: str, seconds: float, rows: int, sample_values: bool) -> Iterator[Database]:
    """The database at an SQLAlchemy URL, or the path of an SQLite file. Raises UserError.

    seconds and rows limit each query.
    """
    url, dialect = check(address)
    powers = None
    with contextlib.ExitStack() as stack:
        if dialect == "sqlite":
            path = Path(url.database or "")
            tables, notes = sqlite.schema(path)
            run = stack.enter_context(sqlite.runner(path, seconds, rows))
        else:
            engine = servers.connect(url, dialect)
            stack.callback(engine.dispose)
            tables, notes = read_server(engine)
            run = servers.runner(engine, dialect, seconds, rows)
            powers = servers.powers(engine, dialect)
        if not tables:
            raise UserError("--db: the database has no tables, or none that this login may read")
        if sample_values:
            tables = schema.with_values(tables, lambda table: samples(table, dialect, run))
        yield Database(dialect, tables, notes, run, powers)


def check(address: str) -> tuple[URL, str]:
    """The address and its dialect, before anything is opened. Raises UserError."""
    url = parsed(address)
    dialect = DIALECTS.get(url.get_backend_name())
    if dialect is None:
        kind = one_line(url.get_backend_name())
        raise UserError(f"--db: no such kind of database as {kind}; there are sqlite, postgresql, mysql and mariadb")
    if dialect == "sqlite" and not Path(url.database or "").is_file():
        raise UserError(f"--db: no such SQLite file as {one_line(url.database or '')!r}; its form is sqlite:///shop.db")
    if dialect != "sqlite":
        servers.check_driver(url, dialect)
    return url, dialect


def parsed(address: str) -> URL:
    """The URL; what has no scheme is the path of an SQLite file. Raises UserError, which never quotes the address."""
    if "://" not in address:
        return URL.create("sqlite", database=address)
    try:
        return make_url(address)
    except (ArgumentError, ValueError) as error:
        form = "postgresql://user:password@host:5432/database, or the path of an SQLite file"
        raise UserError(f"--db: not a database URL; its form is {form} (special characters as %40)") from error


def read_server(engine: Engine) -> tuple[list[schema.Table], list[str]]:
    """The tables of a server's database. Raises UserError."""
    try:
        return schema.read_tables(engine, engine.dialect.identifier_preparer.quote)
    except SQLAlchemyError as error:
        raise UserError(
            f"{servers.shown(engine.url)}: the schema cannot be read ({servers.reason(error, engine.url)})"
        ) from error


def samples(table: schema.Table, dialect: str, run: Callable[[str], Answer | Failure]) -> dict[str, tuple[str, ...]]:
    """A few different short values of each column as SQL literals, from the table's first rows."""
    name = quoted(table.name, "`" if dialect == "mysql" else '"')
    answer = run(f"SELECT * FROM {name} LIMIT 50")
    if isinstance(answer, Failure):
        return {}
    found = {}
    for place, column in enumerate(answer.names):
        cells = dict.fromkeys(row[place] for row in answer.rows if isinstance(row[place], int | float | str))
        found[column] = tuple([text for text in map(literal, cells) if len(text) <= SAMPLE_LENGTH][:SAMPLES])
    return found
