"""DuckDB, in this process: every setup in a catalogue of its own, closed to files, network, extensions and settings.

An instance takes tens of milliseconds and much address space, a catalogue in it less than a millisecond; so a process
has one instance, in which catalogues have names that nobody can guess and no query can look up. What this process
cannot stop from within (one function that runs for minutes, memory that DuckDB takes without counting it) is
the pool's to kill.
"""

import contextlib
import importlib.util
import json
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from functools import cache, lru_cache
from typing import Any, NamedTuple

from text2sql.base.errors import UserError, install
from text2sql.engines import cells
from text2sql.engines.protocol import EngineLost, not_text
from text2sql.engines.sqlite import DEFAULT_LIMITS, NOW, Answer, Failure, Limits, other_dialects

CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "threads": "1",
    "memory_limit": "192MB",
    "temp_directory": "",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    "python_enable_replacements": "false",  # a table's name is never a variable of this program
}
BATCH = 1_000  # rows fetched at a time
TICK_SECONDS = 0.02  # how late a deadline may be seen
# What keeps a query over more rows than a few from running away; the rest costs more here than it saves.
OPTIMIZERS = frozenset(
    "filter_pushdown filter_pullup join_order deliminator expression_rewriter limit_pushdown top_n unused_columns"
    " cte_filter_pusher cte_inlining in_clause empty_result_pullup".split()
)
PROCESS_BYTES = 768 * 2**20  # of a process that holds an instance: it reserves more addresses than it uses


class DuckDB(NamedTuple):
    """The engine: `version` is the library's."""

    version: str
    name: str = "duckdb"
    dialect: str = "duckdb"

    def build(self, setup: str, limits: Limits = DEFAULT_LIMITS) -> "DuckDBDatabase | Failure":
        """As `protocol.Engine.build`."""
        database = DuckDBDatabase(setup, limits)
        failure = database.rebuild()
        return database if failure is None else failure

    def spell_name(self, name: str) -> str:
        return '"' + name.replace('"', '""') + '"'

    def spell_value(self, value: Any) -> str:
        if isinstance(value, bytes):
            return "'" + "".join(f"\\x{byte:02X}" for byte in value) + "'::BLOB"
        return cells.spell(value)


def engine() -> DuckDB:
    """DuckDB as it is installed. Raises UserError where it is not."""
    if not installed():
        raise UserError(f"DuckDB is not there; {install('duckdb')}")
    import duckdb

    return DuckDB(duckdb.__version__)


def installed() -> bool:
    """Whether the package is there."""
    return importlib.util.find_spec("duckdb") is not None


# --- The instance ----------------------------------------------------------------------------------------------------

_CLOCK = {  # macros that hide DuckDB's own functions of these names
    **dict.fromkeys(
        ["now", "get_current_timestamp", "transaction_timestamp", "current_timestamp"], f"TIMESTAMPTZ '{NOW}+00'"
    ),
    **dict.fromkeys(["current_localtimestamp", "localtimestamp"], f"TIMESTAMP '{NOW}'"),
    **dict.fromkeys(["current_date", "today"], f"DATE '{NOW[:10]}'"),
    **dict.fromkeys(["current_localtime", "localtime"], f"TIME '{NOW[11:]}'"),
    **dict.fromkeys(["get_current_time", "current_time"], f"TIMETZ '{NOW[11:]}+00'"),
}


class _Instance:
    """This process's DuckDB: the catalogue of the clock, and one for each setup."""

    def __init__(self) -> None:
        import duckdb

        self.clock = _catalogue()
        self.root = duckdb.connect(":memory:", config=CONFIG)
        self.root.execute(f"SET TimeZone = 'UTC'; ATTACH ':memory:' AS {self.clock}; USE {self.clock}; DETACH memory")
        for name, value in _CLOCK.items():
            self.root.execute(f'CREATE MACRO "{name}"() AS {value}')
        listed = self.root.execute("SELECT name FROM duckdb_optimizers()").fetchall()
        idle = ",".join(name for (name,) in listed if name not in OPTIMIZERS)
        self.root.execute(f"SET disabled_optimizers = '{idle}'")
        self.root.execute("SET enable_external_access = false; SET lock_configuration = true")
        found = self.root.execute("SELECT DISTINCT function_name FROM duckdb_functions() WHERE stability = 'VOLATILE'")
        self.refused = frozenset(name for (name,) in found.fetchall()) | TELLING
        (self.serialize,) = self.root.extract_statements("SELECT json_serialize_sql(?)")
        self.databases = 0


_instances: list[_Instance] = []  # the last is in use; the others were given up by DuckDB


def _instance() -> _Instance:
    if not _instances:
        _instances.append(_Instance())
    return _instances[-1]


def _catalogue() -> str:
    return f"t2s{uuid.uuid4().hex}"


_BUILDING = frozenset(
    "SELECT INSERT UPDATE DELETE MERGE_INTO CREATE ALTER DROP TRANSACTION SET VARIABLE_SET VACUUM COPY".split()
)
_SHARED = re.compile(r"\bdrop\s+(?:macro|function)\b", re.IGNORECASE)  # it would find those of the clock


class DuckDBDatabase:
    """A setup in a catalogue. It is built again where DuckDB gave its instance up."""

    dialect = "duckdb"

    def __init__(self, setup: str, limits: Limits) -> None:
        self.setup, self.limits = setup, limits
        self.name = _catalogue()
        self.instance: _Instance | None = None
        self.connection: Any = None

    def rebuild(self) -> Failure | None:
        """Runs the setup. Why it cannot be built, or None."""
        if len(self.setup) > self.limits.script_length:
            return Failure("too_large", f"more than {self.limits.script_length} characters of script")
        if _SHARED.search(self.setup):
            return Failure("refused", "DROP MACRO is not part of a setup")
        self.instance = _instance()
        self.instance.databases += 1
        self.connection = self.instance.root.cursor()
        path = f"SET search_path = '{self.name},{self.instance.clock}'"
        end = time.monotonic() + self.limits.seconds
        try:
            self.setup.encode()
            self.connection.execute(f"ATTACH ':memory:' AS {self.name}; USE {self.name}; {path}")
            for statement in self.connection.extract_statements(self.setup):
                kind = statement.type.name
                if kind not in _BUILDING:
                    raise _Refused(f"{kind} is not part of a setup")
                if kind == "TRANSACTION":  # a failed statement fails the script anyway
                    continue
                with _deadline(self.connection, end - time.monotonic()):
                    self.connection.execute(statement)
            self.connection.execute(f"{path}; BEGIN TRANSACTION READ ONLY")
        except MemoryError:
            raise
        except Exception as error:
            failure = self._failure(error)
            self.close()
            return failure
        return None

    def query(self, sql: str, limits: Limits = DEFAULT_LIMITS) -> Answer | Failure:
        """As `protocol.Database.query`."""
        if len(sql) > limits.query_length:
            return Failure("too_large", f"more than {limits.query_length} characters of SQL")
        statement = examine(sql)
        if isinstance(statement, Failure):
            return statement
        if self.instance is not _instance() and (failure := self.rebuild()) is not None:
            raise EngineLost(f"DuckDB: a database that was there cannot be built again ({failure.error})")
        try:
            with _deadline(self.connection, limits.seconds):
                return self._fetch(statement, limits)
        except MemoryError:
            raise
        except Exception as error:
            self._start_over()
            return self._failure(error)

    def ask(self, sql: str) -> Answer | Failure:
        """The answer to a query of this program's own, which is not examined."""
        return self._fetch(sql, self.limits)

    def close(self) -> None:
        """As `protocol.Database.close`."""
        instance, self.instance = self.instance, None
        connection, self.connection = self.connection, None
        if instance is None:
            return
        instance.databases -= 1
        connection.close()
        if instance in _instances:
            with contextlib.suppress(Exception):  # the setup failed before there was a catalogue
                instance.root.execute(f"DETACH {self.name}")

    def _failure(self, error: Exception) -> Failure:
        """Raises MemoryError where the reason may be what other databases hold: the pool tries once more, alone."""
        failure = _classify(error)
        if type(error).__name__ == "OutOfMemoryException" and self.instance and self.instance.databases > 1:
            raise MemoryError(failure.error) from error
        return Failure(failure.outcome, failure.error.replace(f"{self.name}.", "").replace(self.name, "database"))

    def _start_over(self) -> None:
        """A failed statement ends its transaction; a fatal error ends the instance, and every database in it."""
        try:
            self.connection.execute("ROLLBACK; BEGIN TRANSACTION READ ONLY")
        except Exception:
            _instances.clear()

    def _fetch(self, statement: Any, limits: Limits) -> Answer | Failure:
        """statement: a text, or what DuckDB made of one, which spares it a quarter of its work on each database."""
        cursor = self.connection.execute(statement)
        names = tuple(column[0] for column in cursor.description)
        types = [column[1] for column in cursor.description]
        readers = [_reader(kind) for kind in types]
        changed = any(reader is not None for reader in readers)
        rows: list[tuple] = []
        size = 0
        while batch := cursor.fetchmany(BATCH):
            size += sum(len(cell) for row in batch for cell in row if isinstance(cell, (str, bytes)))
            rows += [_cells(row, readers) for row in batch] if changed else batch
            if len(rows) > limits.rows or size > limits.result_bytes:
                self._start_over()
                break
        if size > limits.result_bytes:
            return Failure("too_large", f"more than {limits.result_bytes} bytes of text and blobs")
        more = len(rows) > limits.rows
        if more and not limits.cut:
            return Failure("too_large", f"more than {limits.rows} rows")
        del rows[limits.rows :]
        return Answer(len(names), rows, names, tuple(map(_kind, types)), more=more)


def _cells(row: tuple, readers: list) -> tuple:
    return tuple(
        cell if cell is None or reader is None else reader(cell) for cell, reader in zip(row, readers, strict=True)
    )


class _Refused(Exception):
    """A statement that is not run."""


class _Watch(threading.Thread):
    """Interrupts a connection at its deadline: one thread for all, which looks up now and then, since starting one, or
    waking it, costs as much as a query."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.lock = threading.Lock()
        self.connection: Any = None
        self.end = 0.0
        self.start()

    def run(self) -> None:
        while True:
            time.sleep(TICK_SECONDS)
            with self.lock:  # again at the next tick, should it have come between two statements
                if self.connection is not None and time.monotonic() > self.end:
                    self.connection.interrupt()


@cache
def _watch() -> _Watch:
    return _Watch()


@contextlib.contextmanager
def _deadline(connection: Any, seconds: float) -> Iterator[None]:
    """Interrupts what the connection does in the block once it has had its time."""
    watch = _watch()
    with watch.lock:
        watch.connection, watch.end = connection, time.monotonic() + max(0.0, seconds)
    try:
        yield
    finally:
        with watch.lock:
            watch.connection = None


# --- What may be asked -----------------------------------------------------------------------------------------------

TABLE_FUNCTIONS = frozenset(
    "generate_series generate_subscripts json_each json_tree range regexp_split_to_table repeat "
    "repeat_row unnest".split()
)
# They tell of the session or the program, though they change nothing.
TELLING = frozenset(
    "current_catalog current_database current_query current_schema current_schemas current_setting getvariable "
    "in_search_path inet_client_addr inet_client_port inet_server_addr inet_server_port pg_conf_load_time "
    "pg_postmaster_start_time pg_sleep txid_current user version get_block_size current_role current_user "
    "session_user".split()
)
_CATALOGUE = re.compile(r"(?:information_schema|pg_catalog)\.|\w*\.(?:duckdb|sqlite|pragma|pg)_", re.IGNORECASE)
_READING = re.compile(r"(?:\s|--[^\n]*(?:\n|$)|/\*.*?\*/|;)*(?:(?:select|with|values|from|table)\b|\()", re.I | re.S)
_FIRST_WORD = re.compile(r"(?:\s|--[^\n]*(?:\n|$)|/\*.*?\*/|;)*([A-Za-z_]+)", re.DOTALL)
_COMMANDS = frozenset(
    "alter analyze attach begin call checkpoint comment commit copy create deallocate delete detach drop execute "
    "export force import insert install load merge pragma prepare reset rollback set truncate update use vacuum".split()
)


@lru_cache(maxsize=256)  # the same statement runs on many databases
def examine(sql: str) -> Any:
    """DuckDB's own reading of a text that is one query of functions which only compute; a Failure for any other."""
    if (failure := not_text(sql)) is not None:
        return failure
    if not _READING.match(sql):
        first = _FIRST_WORD.match(sql)
        if first is not None and first[1].lower() in _COMMANDS:
            return Failure("refused", f"not authorized: {first[1].upper()} is not a query")
        return Failure("not_a_query", "not a SELECT, WITH, VALUES, FROM or TABLE statement")
    instance = _instance()
    try:
        statements = instance.root.extract_statements(sql)
        if len(statements) != 1:
            return Failure("syntax", "not one statement")
        if statements[0].type.name != "SELECT":
            return Failure("refused", f"not authorized: {statements[0].type.name} is not a query")
        tree = json.loads(instance.root.execute(instance.serialize, [sql]).fetchall()[0][0])
    except MemoryError:
        raise
    except Exception as error:
        return _classify(error)
    if tree["error"]:
        return Failure("syntax", _first_line(tree["error_message"]))
    nodes: list[Any] = [tree]
    while nodes:
        node = nodes.pop()
        if isinstance(node, list):
            nodes += node
        elif isinstance(node, dict):
            nodes += node.values()
            if "function_name" in node and node["function_name"].lower() in instance.refused:
                return Failure("refused", f"the function {node['function_name']} is not known to be harmless")
            if node.get("type") == "TABLE_FUNCTION":
                name = node["function"].get("function_name", "").lower()
                if name not in TABLE_FUNCTIONS:
                    return Failure("refused", f"the table function {name} is not known to be harmless")
            if node.get("type") == "BASE_TABLE" and _CATALOGUE.match(f"{node['schema_name']}.{node['table_name']}"):
                return Failure("refused", f"{node['table_name']} tells of more than this database")
    return statements[0]


# --- DuckDB's words --------------------------------------------------------------------------------------------------

_OUTCOMES = {
    "InterruptException": "timeout",
    "OutOfMemoryException": "too_large",
    "PermissionException": "refused",
    "TransactionException": "refused",
    "IOException": "refused",
    "HTTPException": "refused",
    "_Refused": "refused",
    "ParserException": "syntax",
    "SyntaxException": "syntax",
    "NotImplementedException": "dialect",
}


def _classify(error: Exception) -> Failure:
    text = _first_line(str(error))
    if isinstance(error, UnicodeError):
        return Failure("syntax", "the text holds a lone surrogate and has no UTF-8 form")
    if "depth limit" in text or isinstance(error, RecursionError):
        return Failure("too_large", text)
    if "configuration has been locked" in text or "read-only" in text:
        return Failure("refused", text)
    if unknown := re.search(r"Function with name (\w+) does not exist", text):
        return Failure("dialect" if unknown[1].upper() in other_dialects() else "schema", text)
    return Failure(_OUTCOMES.get(type(error).__name__, "schema"), text)


def _first_line(text: str) -> str:
    """DuckDB's message without its suggestions, which tell of what else is there."""
    line = (text.strip().splitlines() or ["no reason given"])[0]
    return re.split(r" Did you mean|! Did you mean| Candidate", line)[0]


# --- Cells -----------------------------------------------------------------------------------------------------------


def _kind(kind: Any) -> str:
    name = str(kind)
    if name.startswith("TIMESTAMP"):
        return cells.TIMESTAMP
    return {"BOOLEAN": cells.BOOLEAN, "DATE": cells.DATE}.get(name, cells.OTHER)


def _reader(kind: Any) -> Callable[[Any], Any] | None:
    """What makes a cell of a value of some type; None where the value is one."""
    name = str(kind)
    if name == "JSON":
        return cells.json_cell
    match kind.id:
        case "float":
            return _single
        case "double":
            return cells.number
        case "timestamp with time zone":
            return cells.utc
        case "uuid" | "time with time zone":
            return str
        case "list" | "array":
            inner = _reader(kind.children[0][1]) or (lambda value: value)
            return lambda values: tuple(None if value is None else inner(value) for value in values)
        case "struct" | "map":
            return cells.json_cell
    return None


def _single(value: float) -> Any:
    import numpy

    return cells.number(float(str(numpy.float32(value))))
