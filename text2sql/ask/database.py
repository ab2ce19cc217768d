"""A database to ask, whatever kind: its dialect, its tables, and a way to run a query that can only read."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import URL

from text2sql.ask import sqlite
from text2sql.base.errors import UserError
from text2sql.base.text import one_line
from text2sql.engines import own, own_schema
from text2sql.engines.sqlite import Answer, Failure
from text2sql.models.schema import Values
from text2sql.models.values import few, sample_query
from text2sql.sql.ddl import Column, Table


class Database(NamedTuple):
    """`dialect` is sqlglot's name; `script` the schema as DDL; `notes` are lines about what of it could not be read;
    `powers` says what the login may do that no reader should, and is None where that is nothing."""

    name: str
    dialect: str
    script: str
    notes: list[str]
    run: Callable[[str], Answer | Failure]
    powers: str | None = None

    @property
    def tables(self) -> list[Table]:
        """The tables of the script, one of which there is at least."""
        return own_schema.tables_of(self.script, self.dialect)

    def values(self, count: int) -> Values:
        """What reads at most `count` values of a table's columns from the database, each table once."""
        mark = '"' if self.dialect == "postgres" else "`"

        @cache
        def read(table: Table, columns: tuple[Column, ...]) -> dict[str, Sequence[str]]:
            answer = self.run(sample_query(table, columns, mark))
            return {} if isinstance(answer, Failure) else few(columns, answer.rows, count)

        return lambda table, columns: read(table, tuple(columns))


@contextlib.contextmanager
def connect(
    address: str, seconds: float, rows: int, schema_name: str | None = None, tables: Sequence[str] = ()
) -> Iterator[Database]:
    """The database at an SQLAlchemy URL, or the path of an SQLite file. Raises UserError.

    seconds and rows limit each query. schema_name: of a server, in place of the login's own; tables: those to show.
    """
    url, dialect = check(address)
    powers = None
    with contextlib.ExitStack() as stack:
        if dialect == "sqlite":
            if schema_name:
                raise UserError("--schema: an SQLite file has one schema; leave it out")
            path = Path(url.database or "")
            name = path.stem
            script, notes = sqlite.schema(path)
            run = stack.enter_context(sqlite.runner(path, seconds, rows))
        else:
            engine = own.connect(url, dialect, "--db")
            stack.callback(engine.dispose)
            name = schema_name or url.database or ""
            script, notes = own.schema(engine, schema_name or None)
            run = own.runner(engine, dialect, seconds, rows)
            powers = own.powers(engine, dialect)
        if not script:
            raise UserError("--db: the database has no tables, or none that this login may read")
        if tables:
            script = own_schema.only(script, dialect, tables)
        yield Database(name, dialect, script, notes, run, powers)


def check(address: str) -> tuple[URL, str]:
    """The address and its dialect, before anything is opened. Raises UserError."""
    url = parsed(address)
    dialect = own.DIALECTS.get(url.get_backend_name())
    if dialect is None:
        kind = one_line(url.get_backend_name())
        raise UserError(f"--db: no such kind of database as {kind}; there are sqlite, postgresql, mysql and mariadb")
    if dialect == "sqlite" and not Path(url.database or "").is_file():
        raise UserError(f"--db: no such SQLite file as {one_line(url.database or '')!r}; its form is sqlite:///shop.db")
    if dialect != "sqlite":
        own.check_driver(url, dialect, "--db")
    return url, dialect


def parsed(address: str) -> URL:
    """The URL; what has no scheme is the path of an SQLite file. Raises UserError, which never quotes the address."""
    if "://" not in address:
        return URL.create("sqlite", database=address)
    return own.address(address, "--db")
