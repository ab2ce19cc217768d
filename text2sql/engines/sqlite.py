"""Runs SQL that nobody vouches for on SQLite: deny by default, typed failures, no exception escapes.

Two kinds of untrusted text come here: scripts that build a private in-memory database (`build`), and single queries
on a database that they can only read (`query`). What this process cannot stop from within — one opcode that runs for
minutes — is the pool's to kill.
"""

import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache, lru_cache
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from sqlglot.dialects import Dialect
from sqlglot.expressions import FUNCTION_BY_NAME

from text2sql.base.errors import UserError
from text2sql.sql.clock import NOW
from text2sql.sql.spelling import literal, quoted


@dataclass(frozen=True)
class Limits:
    """What one statement (or one building script, for `seconds` and `length`) may use; more is a failure."""

    seconds: float = 2.0  # wall clock, seen every few thousand steps of SQLite's machine
    rows: int = 100_000  # of an answer
    cut: bool = False  # an answer of more rows is cut to them, and says so, instead of failing
    result_bytes: int = 32 * 2**20  # of text and blobs in an answer
    length: int = 2**20  # bytes of one text, blob or table row
    query_length: int = 50_000  # bytes of a query's text
    script_length: int = 16 * 2**20  # bytes of a building script
    database_bytes: int = 128 * 2**20  # of a built database
    columns: int = 500
    expression_depth: int = 1_000
    compound_terms: int = 50
    machine_steps: int = 250_000  # length of a compiled statement
    steps: int | None = None  # of SQLite's machine in one statement, where a bound is to be the same everywhere
    pattern_length: int = 1_000  # of a LIKE or GLOB pattern


DEFAULT_LIMITS = Limits()
CHECKED = 5_000  # steps of SQLite's machine between two looks at its deadline
PAGE = 4096  # bytes of a page of a built database: SQLite's default


@dataclass(frozen=True)
class Answer:
    """A query's result: its number of columns, its rows in SQLite's own types, and its columns' names.

    `kinds` are the columns' kinds by `engines.cells`, where the engine's columns have types (SQLite's have none).
    `more` says that rows beyond the limit were left off.
    """

    columns: int
    rows: list[tuple]
    names: tuple[str, ...] = field(default=(), compare=False)  # no part of what a query answers
    kinds: tuple[str, ...] = field(default=(), compare=False)
    more: bool = field(default=False, compare=False)

    @property
    def has_value(self) -> bool:
        """Whether some cell is not NULL."""
        return any(value is not None for row in self.rows for value in row)


@dataclass(frozen=True)
class Failure:
    """Why there is no answer. `outcome` is one of not_a_query, refused, syntax, schema, dialect, timeout, too_large."""

    outcome: str
    error: str


# Pure functions of their arguments, and the clock, which is pinned. Not here: chance (random, randomblob), the
# connection's state (changes, last_insert_rowid), the library's (sqlite_version …), files, extensions, tokenizers.
FUNCTIONS = frozenset(
    "-> ->> abs acos acosh asin asinh atan atan2 atanh avg bm25 ceil ceiling char coalesce concat concat_ws cos "
    "cosh count cume_dist current_date current_time current_timestamp date datetime degrees dense_rank exp "
    "first_value floor format glob group_concat hex highlight if ifnull iif instr json json_array "
    "json_array_length json_each json_extract json_group_array json_group_object json_insert json_object "
    "json_patch json_quote json_remove json_replace json_set json_tree json_type json_valid julianday lag "
    "last_value lead length like likelihood likely ln log log10 log2 lower ltrim match matchinfo max min mod "
    "nth_value ntile nullif octet_length offsets percent_rank pi pow power printf quote radians rank replace "
    "round row_number rtrim sign sin sinh snippet soundex sqrt strftime string_agg substr substring subtype sum "
    "tan tanh time total trim trunc typeof unhex unicode unixepoch unlikely upper zeroblob".split()
)
# What ALTER TABLE calls; no statement can call them by name.
_ALTERING_FUNCTIONS = frozenset(
    "sqlite_rename_table sqlite_rename_column sqlite_rename_test sqlite_rename_quotefix sqlite_drop_column".split()
)
_CLI_FUNCTIONS = frozenset("readfile writefile edit lsdir fsdir shell load_extension".split())
_CLOCK_FUNCTIONS = ("date", "time", "datetime", "julianday", "strftime", "unixepoch")
_CLOCK = re.compile(
    r"\b(date|time|datetime|julianday|strftime|unixepoch|current_date|current_time|current_timestamp)\b", re.IGNORECASE
)

_JSON_TABLES = re.compile(r"json_(each|tree)", re.IGNORECASE)

_READING = frozenset([sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_RECURSIVE])
_BUILDING = _READING | {
    sqlite3.SQLITE_CREATE_TABLE,
    sqlite3.SQLITE_CREATE_INDEX,
    sqlite3.SQLITE_CREATE_VIEW,
    sqlite3.SQLITE_CREATE_TRIGGER,
    sqlite3.SQLITE_ALTER_TABLE,
    sqlite3.SQLITE_DROP_TABLE,
    sqlite3.SQLITE_DROP_INDEX,
    sqlite3.SQLITE_DROP_VIEW,
    sqlite3.SQLITE_DROP_TRIGGER,
    sqlite3.SQLITE_INSERT,
    sqlite3.SQLITE_UPDATE,
    sqlite3.SQLITE_DELETE,
    sqlite3.SQLITE_REINDEX,
    sqlite3.SQLITE_ANALYZE,
    sqlite3.SQLITE_TRANSACTION,
    sqlite3.SQLITE_SAVEPOINT,
}


def _authorize_query(action: int, first, second, _database, _trigger) -> int:
    # Virtual tables that show the library's inside (dbstat, pragma_…) need more than reading and are denied with it.
    # Full-text tables ask whether the file has changed.
    allowed = (
        action in _READING
        or (action == sqlite3.SQLITE_FUNCTION and second.lower() in FUNCTIONS)
        or (action == sqlite3.SQLITE_PRAGMA and first.lower() == "data_version" and second is None)
    )
    return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY


def _authorize_building(action: int, first, second, database, trigger) -> int:
    if action == sqlite3.SQLITE_PRAGMA:
        # What dumps say about journals, encodings and caches has no bearing here and is passed over.
        return sqlite3.SQLITE_OK if first.lower() == "foreign_keys" else sqlite3.SQLITE_IGNORE
    if action in _BUILDING or (action == sqlite3.SQLITE_FUNCTION and second in _ALTERING_FUNCTIONS):
        return sqlite3.SQLITE_OK
    return _authorize_query(action, first, second, database, trigger)


class Connection(sqlite3.Connection):
    """A connection that knows what has been added to it for the statements that need it."""

    pinned = False
    json_tables = False
    bytes = 0  # of memory that a built database takes

    def query(self, sql: str, limits: Limits = DEFAULT_LIMITS) -> Answer | Failure:
        """As the function `query`: the interface of every engine's databases."""
        return query(self, sql, limits)


class SQLite(NamedTuple):
    """The engine: `version` is the library's."""

    version: str = sqlite3.sqlite_version
    name: str = "sqlite"
    dialect: str = "sqlite"

    def build(self, setup: str, limits: Limits = DEFAULT_LIMITS) -> Connection | Failure:
        """As the function `build`: the interface of every engine."""
        return build(setup, limits)

    def spell_name(self, name: str) -> str:
        return quoted(name, "`")

    def spell_value(self, value: Any) -> str:
        return literal(value)


def build(setup_sql: str, limits: Limits = DEFAULT_LIMITS) -> Connection | Failure:
    """A private in-memory database made by an untrusted script of DDL and rows; from then on it can only be read.

    A script is accepted exactly when `executescript` accepts it, save for what is refused: other files, extensions,
    virtual and temporary tables, VACUUM, functions of chance; PRAGMAs other than foreign_keys do nothing.
    """
    connection = _connect(":memory:", limits)
    connection.setlimit(sqlite3.SQLITE_LIMIT_SQL_LENGTH, limits.script_length)
    connection.execute(f"PRAGMA max_page_count = {limits.database_bytes // PAGE}")
    connection.set_authorizer(_authorize_building)
    if _CLOCK.search(setup_sql):
        _pin_clock(connection)
    if "random" in setup_sql.lower():
        _forbid_chance(connection)
    _start_deadline(connection, limits)
    try:
        connection.executescript(setup_sql)
        if connection.in_transaction:
            connection.commit()
    except MemoryError:  # what other databases hold, perhaps: the pool tries once more, alone
        connection.close()
        raise
    except Exception as error:  # encoding errors are no sqlite3.Error
        failure = _classify(error)
        connection.close()
        return failure
    connection.set_authorizer(None)
    connection.bytes = PAGE * connection.execute("PRAGMA page_count").fetchone()[0]
    return _only_queries(connection, limits)


def open_database(
    path: str | Path, limits: Limits = DEFAULT_LIMITS, *, live: bool = False, real_clock: bool = False
) -> Connection:
    """An SQLite file, read-only and taken as immutable: no lock, no journal, no byte of it ever changes.

    live: the file may be written meanwhile; it is read under SQLite's own locks. real_clock: the clock is not pinned.
    Raises UserError when there is no such file or it is not an SQLite database.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such database file")
    connection = _connect(f"{path.resolve().as_uri()}?mode=ro{'' if live else '&immutable=1'}", limits, uri=True)
    try:
        connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
    except sqlite3.Error as error:
        connection.close()
        raise UserError(f"{path}: cannot be read as an SQLite database ({error})") from error
    _connect_virtual_tables(connection)
    if real_clock:
        connection.pinned = True  # as it stands: `query` leaves it alone
    else:
        _pin_clock(connection)  # its views may read the clock
    return _only_queries(connection, limits)


def in_wal_mode(path: Path) -> bool:
    """Whether an SQLite file keeps new rows in a log beside it (bytes 18 and 19, sqlite.org/fileformat2.html)."""
    with open(path, "rb") as file:
        return file.read(20)[18:] == b"\2\2"


def rows_apart(path: Path) -> Path | None:
    """The log that holds rows which an SQLite file does not hold yet; None where the file holds all."""
    log = Path(f"{path}-wal")
    return log if in_wal_mode(path) and log.exists() and log.stat().st_size else None


# Those of SQLite's own modules that only search what the file holds.
VIRTUAL_TABLES = frozenset("fts3 fts4 fts5 rtree rtree_i32 geopoly".split())
_MODULE = re.compile(r"create\s+virtual\s+table\b.*?\busing\s+[\"'`\[]?(\w+)", re.IGNORECASE | re.DOTALL)


def _connect_virtual_tables(connection: Connection) -> None:
    """Full-text and R-tree tables read their settings at their first use, which a query may not do."""
    found = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table' AND rootpage = 0").fetchall()
    for name, statement in found:
        module = _MODULE.match(statement or "")
        if module is not None and module[1].lower() in VIRTUAL_TABLES:
            with suppress(sqlite3.Error):  # a broken one is named when it is asked
                connection.execute(f"SELECT * FROM {quoted(name, '`')} LIMIT 1").fetchall()


@contextmanager
def writing(connection: Connection) -> Iterator[None]:
    """Lets our own statements write to a database that `build` made, within the block; queries cannot, as before."""
    connection.set_authorizer(None)
    connection.execute("PRAGMA query_only = 0")
    try:
        yield
    finally:
        connection.execute("PRAGMA query_only = 1")
        connection.set_authorizer(_authorize_query)


def reads(connection: Connection, sql: str) -> set[tuple[str, str]]:
    """(table, column) in lower case of what a query reads, also through views; "" stands for no column of a table.

    The query is compiled and not run; it must be one that `query` answers.
    """
    found: set[tuple[str, str]] = set()

    def note(action: int, first, second, database, trigger) -> int:
        if action == sqlite3.SQLITE_READ:
            found.add((first.lower(), second.lower()))
        return _authorize_query(action, first, second, database, trigger)

    connection.set_authorizer(note)
    try:
        connection.execute(f"EXPLAIN {sql}").close()
    finally:
        connection.set_authorizer(_authorize_query)
    return found


def query(connection: Connection, sql: str, limits: Limits = DEFAULT_LIMITS) -> Answer | Failure:
    """The answer to one untrusted statement on a connection made by `build` or `open_database`.

    Every way to fail is a `Failure`; only MemoryError passes through, for the pool to count against the item that
    used the memory.
    """
    is_query, reads_clock, reads_json = _examine(sql)
    if not is_query:
        first = _FIRST_WORD.match(sql)
        if first is not None and first[1].lower() in _COMMANDS:
            return Failure("refused", f"not authorized: {first[1].upper()} is not a query")
        return Failure("not_a_query", "not a SELECT, WITH or VALUES statement")
    if reads_clock and not connection.pinned:
        _pin_clock(connection)
    if reads_json and not connection.json_tables:
        _add_json_tables(connection)
    _start_deadline(connection, limits)
    try:
        return _fetch(connection, sql, limits)
    except sqlite3.OperationalError as error:
        if "Could not decode to UTF-8" not in str(error):
            return _classify(error)
    except MemoryError:
        raise
    except Exception as error:
        return _classify(error)
    # Text that is not UTF-8, rare in practice: once more, with its bytes kept as lone surrogates.
    connection.text_factory = _decode
    try:
        return _fetch(connection, sql, limits)
    except sqlite3.Error as error:
        return _classify(error)
    finally:
        connection.text_factory = str


@lru_cache(maxsize=256)  # the same statement runs on many databases
def _examine(sql: str) -> tuple[bool, bool, bool]:
    """Whether a text begins as a query does, may read the clock, and may use JSON as a table."""
    first = _FIRST_WORD.match(sql)
    is_query = first is not None and first[1].lower() in ("select", "with", "values")
    return is_query, bool(_CLOCK.search(sql)), bool(_JSON_TABLES.search(sql))


# Parentheses are passed over, so that SQLite itself says that a query in them is none of its syntax.
_FIRST_WORD = re.compile(r"(?:\s|--[^\n]*(?:\n|$)|/\*.*?\*/|;|\()*([A-Za-z_]+)", re.DOTALL)
_COMMANDS = frozenset(
    "alter analyze attach begin call commit copy create delete detach drop end exec execute grant insert load "
    "lock merge pragma reindex release rename replace revoke rollback savepoint set truncate update use vacuum".split()
)


def _connect(database: str, limits: Limits, uri: bool = False) -> Connection:
    connection = sqlite3.connect(database, uri=uri, isolation_level=None, factory=Connection)
    connection.execute("PRAGMA temp_store = MEMORY")
    for category, value in (
        (sqlite3.SQLITE_LIMIT_LENGTH, max(limits.length, limits.script_length)),
        (sqlite3.SQLITE_LIMIT_ATTACHED, 0),
        (sqlite3.SQLITE_LIMIT_COLUMN, limits.columns),
        (sqlite3.SQLITE_LIMIT_EXPR_DEPTH, limits.expression_depth),
        (sqlite3.SQLITE_LIMIT_COMPOUND_SELECT, limits.compound_terms),
        (sqlite3.SQLITE_LIMIT_VDBE_OP, limits.machine_steps),
        (sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH, limits.pattern_length),
        (sqlite3.SQLITE_LIMIT_TRIGGER_DEPTH, 10),
    ):
        connection.setlimit(category, value)
    return connection


def _start_deadline(connection: Connection, limits: Limits) -> None:
    deadline, steps = time.monotonic() + limits.seconds, limits.steps
    if steps is None:
        connection.set_progress_handler(lambda: time.monotonic() > deadline, CHECKED)
    else:
        checks = count(CHECKED, CHECKED)
        connection.set_progress_handler(lambda: next(checks) > steps or time.monotonic() > deadline, CHECKED)


def _add_json_tables(connection: Connection) -> None:
    """Table-valued functions exist after their first use, which the authorizer would take for creating a table."""
    connection.set_authorizer(None)
    connection.execute("SELECT 1 FROM json_each('[]'), json_tree('[]')").fetchall()
    connection.set_authorizer(_authorize_query)
    connection.json_tables = True


def _only_queries(connection: Connection, limits: Limits) -> Connection:
    connection.set_authorizer(None)
    connection.execute("PRAGMA query_only = 1")
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, limits.length)
    connection.setlimit(sqlite3.SQLITE_LIMIT_SQL_LENGTH, limits.query_length)
    connection.set_authorizer(_authorize_query)
    return connection


def _fetch(connection: Connection, sql: str, limits: Limits) -> Answer | Failure:
    cursor = connection.execute(sql)
    try:
        if cursor.description is None:
            return Failure("not_a_query", "the statement has no result columns")
        names = tuple(column[0] for column in cursor.description)
        rows: list[tuple] = []
        size = 0
        while batch := cursor.fetchmany(1_000):
            size += sum(len(cell) for row in batch for cell in row if isinstance(cell, (str, bytes)))
            rows += batch
            if len(rows) > limits.rows:
                if limits.cut:
                    del rows[limits.rows :]
                    return Answer(len(cursor.description), rows, names, more=True)
                return Failure("too_large", f"more than {limits.rows} rows")
            if size > limits.result_bytes:
                return Failure("too_large", f"more than {limits.result_bytes} bytes of text and blobs")
        return Answer(len(cursor.description), rows, names)
    finally:
        cursor.close()


def _decode(text: bytes) -> str:
    return text.decode("utf-8", "surrogateescape")


_KINDS = (  # the first pattern found in SQLite's message names the outcome
    ("has no SQLite form", "dialect"),  # what a translation says of a value (`sqlite_generator`)
    ("interrupted", "timeout"),
    ("not authorized|authorization denied|prohibited|readonly|vtable|may not be modified|unsafe|raised", "refused"),
    ("too big|too large|too long|too many|too deep|is full|out of memory|too complex|stack overflow", "too_large"),
    ("incomplete input|syntax error|unrecognized token|one statement at a time|null character", "syntax"),
    ("no such function", "dialect"),
    ("no such module", "refused"),
    ("no such|ambiguous|has no column|overflow|constraint failed|already exists|reserved|JSON", "schema"),
)


def _classify(error: Exception) -> Failure:
    message = str(error)
    if isinstance(error, UnicodeError):
        return Failure("syntax", "the text holds a lone surrogate and has no UTF-8 form")
    if message.startswith("no such function"):
        return Failure(_unknown_function(message.rpartition(" ")[2]), message)
    for pattern, outcome in _KINDS:
        if re.search(pattern, message):
            return Failure(outcome, message)
    return Failure("syntax", message)


def _unknown_function(name: str) -> str:
    """The outcome for a function that SQLite lacks: other dialects have it, only its shell has it, or nobody."""
    if name.lower() in _CLI_FUNCTIONS:
        return "refused"
    return "dialect" if name.upper() in other_dialects() else "schema"


@cache
def other_dialects() -> frozenset[str]:
    """Upper-case names of the functions that sqlglot knows in some dialect."""
    names = set(FUNCTION_BY_NAME)
    for dialect in ("mysql", "postgres", "bigquery", "snowflake", "tsql", "oracle", "duckdb"):
        names.update(Dialect.get_or_raise(dialect).parser_class.FUNCTIONS)
    return frozenset(names)


def _forbid_chance(connection: Connection) -> None:
    """Column defaults call functions behind the authorizer's back; those of chance fail instead."""

    def forbidden(*_):
        raise ValueError

    connection.create_function("random", 0, forbidden)
    connection.create_function("randomblob", 1, forbidden)


def _pin_clock(connection: Connection) -> None:
    """Puts SQLite's own date functions behind functions of the same name whose 'now' is NOW."""
    for name, arguments, function in _pinned_functions():
        connection.create_function(name, arguments, function, deterministic=True)
    connection.pinned = True


@cache
def _pinned_functions() -> list[tuple[str, int, Callable]]:
    """Name, number of arguments (-1: any) and the function itself; made once, because contexts come by the million."""
    clock = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)

    def pinned(name: str) -> Callable:
        def function(*arguments):
            if not arguments or (name == "strftime" and len(arguments) == 1):
                arguments = (*arguments, NOW)
            arguments = [NOW if isinstance(a, str) and a.lower() == "now" else a for a in arguments]
            marks = ",".join("?" * len(arguments))
            return clock.execute(f"SELECT {name}({marks})", arguments).fetchone()[0]

        return function

    functions = [(name, -1, pinned(name)) for name in _CLOCK_FUNCTIONS]
    for name in ("date", "time", "timestamp"):
        value = clock.execute(f"SELECT {name.replace('timestamp', 'datetime')}(?)", [NOW]).fetchone()[0]
        functions.append((f"current_{name}", 0, lambda value=value: value))
    return functions
