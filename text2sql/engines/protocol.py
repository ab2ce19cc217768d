"""What an engine is to the rest of the project: it builds a database from a script, and answers queries on it.

The comparator needs no more than `Database.query`: it ranks a gold's rows by a query of its own on the same database
(`compare.answer_gold`), so that collations, the place of NULLs and ordinals mean what they mean to the engine.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

from text2sql.engines.sqlite import DEFAULT_LIMITS, Answer, Failure, Limits


class Database(Protocol):
    """A database that can only be read, and stays as it is whatever is asked of it."""

    def query(self, sql: str, limits: Limits = DEFAULT_LIMITS) -> Answer | Failure:
        """The answer to one untrusted statement; every way to fail is a `Failure`. Cells are those of `cells`.

        Raises EngineLost where the engine itself is gone, which is no fault of the statement.
        """
        ...

    def close(self) -> None:
        """Gives up the database. One that was built is gone with this."""
        ...


class Engine(Protocol):
    """A way to run SQL of one dialect. It can be pickled: worker processes open what they need for themselves."""

    @property
    def name(self) -> str:
        """sqlite | duckdb | postgres | mysql"""
        ...

    @property
    def version(self) -> str:
        """Of the engine itself."""
        ...

    @property
    def dialect(self) -> str:
        """sqlglot's name."""
        ...

    def __hash__(self) -> int: ...

    def build(self, setup: str, limits: Limits = DEFAULT_LIMITS) -> Database | Failure:
        """A private database made by an untrusted script of DDL and rows in the engine's dialect.

        Raises EngineLost as `Database.query` does.
        """
        ...

    def spell_name(self, name: str) -> str:
        """A name as SQL text that stands for exactly this name."""
        ...

    def spell_value(self, value: Any) -> str:
        """A cell, as `cells` describes them, as SQL text."""
        ...


Engines = Mapping[str, Engine]  # by the dialect that they run; SQLite is always there and not among them
Opener = Callable[[Iterable[str]], AbstractContextManager[Engines]]  # of the engines of some dialects


class EngineLost(Exception):
    """The engine cannot be reached any more: the machine's fault, so that the row is `infra_error`."""


def not_text(sql: str) -> Failure | None:
    """Why a query cannot be sent as text in UTF-8; None where it can."""
    if "\0" in sql:
        return Failure("syntax", "the text holds a null character")
    try:
        sql.encode()
    except UnicodeEncodeError:
        return Failure("syntax", "the text holds a lone surrogate and has no UTF-8 form")
    return None
