"""MySQL and MariaDB: an installed server, started privately, or one that a URL names.

Their DDL cannot be rolled back, so each setup has a database of its own, dropped when it is closed. What stands
between a query and harm: `guard.checked` (one query, of functions known to do nothing but compute), a user who may
SELECT and nothing else, read-only transactions, the server's deadline, and limits of its process on memory and files.
"""

import contextlib
import getpass
import importlib.util
import os
import re
import shutil
import signal
import uuid
from collections.abc import Callable, Iterator, Set
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from text2sql.base.errors import UserError, install
from text2sql.engines import cells, private
from text2sql.engines.guard import MYSQL_FUNCTIONS, RUN_COMMENT, checked, refused
from text2sql.engines.protocol import EngineLost
from text2sql.engines.server import UNPRIVILEGED
from text2sql.engines.sqlite import DEFAULT_LIMITS, NOW, Answer, Failure, Limits, other_dialects
from text2sql.sql.dump import without_routines
from text2sql.sql.mariadb import NoForm, as_mariadb, by_expression, lacking, with_collations

MEMORY_BYTES = 1536 * 2**20  # of the server's one process
GRACE_SECONDS = 1.0  # between a deadline that the server heeds itself and the end of the connection
BATCH = 1_000  # rows fetched at a time
CUT_SHORT = 1931  # MariaDB's warning that an answer may lack rows
# Without chance, the clock that does not stand still, and what tells of the server and the login.
FUNCTIONS = MYSQL_FUNCTIONS - frozenset(
    "rand uuid uuid_v4 uuid_v7 version sysdate current_role current_user database schema session_user system_user user "
    "extractvalue updatexml".split()
)
CLOCK = "SET SESSION timestamp = 1718454896, time_zone = '+00:00'"  # NOW
assert NOW == "2024-06-15 12:34:56"


class MySQL(NamedTuple):
    """A prepared server. `owner` are pymysql's arguments for a login that may do anything; `token` names what was made
    on it, and `secret` is the password of the two users that were."""

    owner: tuple[tuple[str, Any], ...]
    token: str
    secret: str
    version: str
    mariadb: bool
    name: str = "mysql"
    dialect: str = "mysql"

    def build(self, setup: str, limits: Limits = DEFAULT_LIMITS) -> "MySQLDatabase | Failure":
        """As `Engine.build`. CREATE DATABASE, USE, triggers and routines, as a dump brings them, are passed over; so
        are a script's foreign keys where one refers to a table that it does not define.
        """
        if len(setup) > limits.script_length:
            return Failure("too_large", f"more than {limits.script_length} characters of script")
        script = without_routines(setup)
        script = with_collations(script) if self.mariadb else script
        found = self._built(script, limits)
        if isinstance(found, Failure) and _NO_PARENT.search(found.error):
            found = self._built(f"SET foreign_key_checks = 0;\n{script}", limits)
        return found

    def _built(self, script: str, limits: Limits) -> "MySQLDatabase | Failure":
        database = MySQLDatabase(self, f"{self.token}_{uuid.uuid4().hex[:10]}")
        try:
            failure = database.run_script(script, limits)
        except MemoryError:
            failure = Failure("too_large", "the script does not fit into memory")
        if failure is not None:
            database.close()
            return failure
        return database

    def spell_name(self, name: str) -> str:
        return "`" + name.replace("`", "``") + "`"

    def spell_value(self, value: Any) -> str:
        if isinstance(value, bytes):
            return f"X'{value.hex()}'"
        return cells.spell(value.replace("\\", "\\\\") if isinstance(value, str) else value)


def installed() -> bool:
    """Whether there is a server to start and the package that speaks with it."""
    return _program("mariadbd") is not None and importlib.util.find_spec("pymysql") is not None


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin")


def login(url: str) -> dict[str, Any]:
    """pymysql's arguments for the login that a URL names (mysql://user@host:3306); its password is in MYSQL_PWD."""
    parts = urlsplit(url)
    return {
        "host": parts.hostname,
        "port": parts.port or 3306,
        "user": unquote(parts.username or "root"),
        "password": os.environ.get("MYSQL_PWD", ""),
    }


@contextlib.contextmanager
def private_server() -> Iterator[MySQL]:
    """A MariaDB of one's own (`private.server`). Raises UserError where none is installed, or it does not start."""
    programs = [_program("mariadbd"), _program("mariadb-install-db")]
    if not all(programs) or importlib.util.find_spec("pymysql") is None:
        raise UserError(
            f"MariaDB is not there; install Debian's mariadb-server, and {install('mysql')};"
            " or set evaluation.mysql_url"
        )
    import pymysql

    with private.folder() as folder:
        user = UNPRIVILEGED if os.getuid() == 0 else getpass.getuser()
        owner = {"unix_socket": f"{folder}/s", "user": "root", "ssl_disabled": True}  # no network
        settings = {
            "datadir": f"{folder}/data", "socket": f"{folder}/s", "pid-file": f"{folder}/pid", "tmpdir": str(folder),
            "secure-file-priv": f"{folder}/data", "innodb-buffer-pool-size": "64M", "innodb-log-file-size": "16M",
            "innodb-flush-log-at-trx-commit": "0", "innodb-flush-method": "nosync", "innodb-doublewrite": "0",
            "character-set-server": "utf8mb4", "default-time-zone": "+00:00", "max-connections": "300",
            "max-allowed-packet": "16M", "sysdate-is-now": "1", "table-open-cache": "400",
            "event-scheduler": "disabled",
            "performance-schema": "0", "local-infile": "0", "max-session-mem-used": str(256 * 2**20),
        }  # fmt: skip
        with private.server(
            "MariaDB",
            folder,
            [str(programs[1]), "--no-defaults", f"--datadir={folder}/data", f"--user={user}", "--skip-test-db",
             "--auth-root-authentication-method=normal", "--innodb-log-file-size=5M"],
            [str(programs[0]), "--no-defaults", "--skip-networking", "--skip-log-bin", "--skip-symbolic-links",
             *(f"--{name}={value}" for name, value in settings.items())],
            lambda: pymysql.connect(**owner).close(),
            memory_bytes=MEMORY_BYTES,
            file_bytes=DEFAULT_LIMITS.database_bytes,
            stop=signal.SIGKILL,
        ), prepared(owner) as engine:  # fmt: skip
            yield engine


@contextlib.contextmanager
def prepared(owner: dict[str, Any]) -> Iterator[MySQL]:
    """A server with the two users that build and ask; what was made is dropped at the end.

    owner: pymysql's arguments for a login that may make users and databases. Raises UserError where it may not.
    """
    import pymysql

    token, secret = f"t2s{uuid.uuid4().hex[:8]}", uuid.uuid4().hex
    host = "localhost" if "unix_socket" in owner else "%"
    names = f"`{token}\\_%`.*"
    try:
        connection = pymysql.connect(**owner, autocommit=True, connect_timeout=10)
        with contextlib.closing(connection), connection.cursor() as cursor:
            for who, rights in (
                ("b", "SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, ALTER, INDEX, REFERENCES, CREATE VIEW, SHOW VIEW,"
                      " TRIGGER, CREATE TEMPORARY TABLES, LOCK TABLES"),
                ("r", "SELECT, SHOW VIEW"),
            ):  # fmt: skip
                cursor.execute(f"CREATE USER {token}{who}@'{host}' IDENTIFIED BY '{secret}'")
                cursor.execute(f"GRANT {rights} ON {names} TO {token}{who}@'{host}'")
            cursor.execute("SELECT VERSION()")
            version = cursor.fetchone()[0]
    except pymysql.MySQLError as error:
        raise UserError(
            f"the MySQL login for evaluation must be allowed to make users and databases ({error})"
        ) from None
    engine = MySQL(tuple(owner.items()), token, secret, version, "mariadb" in version.lower())
    try:
        yield engine
    finally:
        _forget(token)
        with contextlib.suppress(pymysql.MySQLError):
            connection = pymysql.connect(**owner, autocommit=True)
            with contextlib.closing(connection), connection.cursor() as cursor:
                cursor.execute("SHOW DATABASES LIKE %s", [f"{token}\\_%"])
                for (name,) in cursor.fetchall():
                    cursor.execute(f"DROP DATABASE {name}")
                cursor.execute(f"DROP USER {token}b@'{host}', {token}r@'{host}'")


# --- This process's connections --------------------------------------------------------------------------------------

_connections: dict[tuple[str, str], Any] = {}  # by token and whose: the owner's, the builder's, the reader's


def _forget(token: str) -> None:
    for key in [key for key in _connections if key[0] == token]:
        with contextlib.suppress(Exception):
            _connections.pop(key).close()


def _connection(engine: MySQL, who: str) -> Any:
    """The connection as `owner`, `b` or `r`; read-only as the last. Raises EngineLost."""
    import pymysql
    from pymysql.constants import CLIENT

    if (engine.token, who) in _connections:
        return _connections[engine.token, who]
    arguments = dict(engine.owner) | {"autocommit": True, "charset": "utf8mb4", "connect_timeout": 10}
    if who != "owner":
        arguments |= {"user": engine.token + who, "password": engine.secret}
    if who == "b":
        arguments["client_flag"] = CLIENT.MULTI_STATEMENTS
    try:
        connection = pymysql.connect(**arguments)
        with connection.cursor() as cursor:
            if who != "owner":
                cursor.execute(CLOCK)
            if who == "r":
                cursor.execute("SET SESSION TRANSACTION READ ONLY")
    except pymysql.MySQLError as error:
        raise EngineLost(f"MySQL: {error}") from error
    connection.decoders = connection.decoders | {JSON: cells.json_cell}
    connection.seconds = connection.rows = connection.chosen = None  # the limits that are set, and the database
    _connections[engine.token, who] = connection
    return connection


def _end(engine: MySQL, who: str) -> None:
    """Ends a connection and what the server does for it."""
    import pymysql

    connection = _connections.pop((engine.token, who), None)
    if connection is None:
        return
    pid = connection.thread_id()
    connection._force_close()
    with contextlib.suppress(pymysql.MySQLError, EngineLost), _connection(engine, "owner").cursor() as cursor:
        cursor.execute(f"KILL {pid}")


def late(error: Exception) -> bool:
    """Whether the driver gave up waiting."""
    return isinstance(error, TimeoutError) or "timed out" in str(error)


# --- Databases -------------------------------------------------------------------------------------------------------

_NO_PARENT = re.compile(r"errno: 150\b|Failed to open the referenced table")
# With the semicolon behind it: a server takes no empty statement.
_PASSED_OVER = re.compile(
    r"(^|;)(?:\s*(?:(?:create|drop)\s+(?:database|schema)|use)\b[^;]*(?:;|\Z))+", re.IGNORECASE | re.MULTILINE
)


class MySQLDatabase:
    """A setup in a database of its own."""

    dialect = "mysql"

    def __init__(self, engine: MySQL, name: str) -> None:
        self.engine, self.name = engine, name

    def run_script(self, setup: str, limits: Limits) -> Failure | None:
        """Builds the setup. Why it cannot be built, or None."""
        import pymysql

        try:
            with _connection(self.engine, "owner").cursor() as cursor:
                cursor.execute(f"CREATE DATABASE {self.name} CHARACTER SET utf8mb4")
        except pymysql.MySQLError as error:
            _end(self.engine, "owner")
            raise EngineLost(f"MySQL: {error}") from error
        connection = _connection(self.engine, "b")
        try:
            connection.select_db(self.name)
            connection._read_timeout = limits.seconds  # between two of the script's answers
            with connection.cursor() as cursor:
                cursor.execute(_PASSED_OVER.sub(r"\1", setup).strip(" ;\n\t") or "SELECT 1")
                while cursor.nextset():
                    pass
            return None
        except UnicodeEncodeError:
            return Failure("syntax", "the text holds a lone surrogate and has no UTF-8 form")
        except (pymysql.MySQLError, OSError) as error:
            if late(error):
                return Failure("timeout", f"the script takes more than {limits.seconds} s")
            return self._failure(error, "")
        finally:
            _end(self.engine, "b")  # whatever the script set, the next one does not find

    def query(self, sql: str, limits: Limits = DEFAULT_LIMITS) -> Answer | Failure:
        """As `protocol.Database.query`."""
        import pymysql

        if len(sql) > limits.query_length:
            return Failure("too_large", f"more than {limits.query_length} characters of SQL")
        text = examine(sql, self.engine.mariadb)
        if isinstance(text, Failure):
            return text
        connection = _connection(self.engine, "r")
        try:
            self._limit(connection, limits)
            return self._fetch(connection, text, limits)
        except (pymysql.MySQLError, OSError, ValueError) as error:
            if _lost(error):
                _end(self.engine, "r")
            if late(error):
                return Failure("timeout", f"not ended {GRACE_SECONDS} s after its deadline")
            if _lost(error):
                raise EngineLost(f"MySQL: {error}") from error
            return self._failure(error, text)

    def close(self) -> None:
        """As `protocol.Database.close`."""
        import pymysql

        with contextlib.suppress(pymysql.MySQLError, EngineLost), _connection(self.engine, "owner").cursor() as cursor:
            cursor.execute(f"DROP DATABASE IF EXISTS {self.name}")

    def _limit(self, connection: Any, limits: Limits) -> None:
        if connection.chosen != self.name:
            connection.select_db(self.name)
            connection.chosen = self.name
        if (connection.seconds, connection.rows) != (limits.seconds, limits.rows):
            deadline = (
                f"max_statement_time = {limits.seconds}"
                if self.engine.mariadb
                else f"max_execution_time = {int(limits.seconds * 1000)}"
            )
            with connection.cursor() as cursor:
                cursor.execute(f"SET SESSION {deadline}, sql_select_limit = {limits.rows + 1}")
            connection.seconds, connection.rows = limits.seconds, limits.rows
            connection._read_timeout = limits.seconds + GRACE_SECONDS

    def _fetch(self, connection: Any, text: str, limits: Limits) -> Answer | Failure:
        """As `fetch`; once more for each aggregate that MariaDB does not know by its alias where rows are sorted."""
        import pymysql

        while True:
            try:
                return fetch(connection, text, limits, lambda: _end(self.engine, "r"))
            except pymysql.MySQLError as error:
                alias = self.engine.mariadb and _BY_ALIAS.search(str(error.args[-1]))
                written = by_expression(text, alias[1]) if alias else text
                if written == text or len(written) > limits.query_length:
                    raise
                text = written

    def _failure(self, error: Exception, text: str) -> Failure:
        found = failure(error)
        if self.engine.mariadb and found.outcome in ("syntax", "schema", "refused"):
            if (what := lacking(text)) is not None:
                return Failure("dialect", f"MariaDB has no {what}")
            if _BY_ALIAS.search(found.error):
                return Failure("dialect", found.error)
        return Failure(found.outcome, found.error.replace(f"{self.name}.", "").replace(self.name, "database"))


def fetch(connection: Any, text: str, limits: Limits, end: Callable[[], None]) -> Answer | Failure:
    """The answer to a query within limits. end: ends the connection, because closing a cursor would read the rest.

    MariaDB ends a recursion after a thousand steps with a warning alone, where MySQL fails. Raises pymysql's errors,
    OSError, ValueError.
    """
    from pymysql.cursors import SSCursor

    cursor = connection.cursor(SSCursor)
    cursor.execute(text)
    if cursor.description is None:
        return Failure("not_a_query", "the statement has no result columns")
    names = tuple(column[0] for column in cursor.description)
    codes = [column[1] for column in cursor.description]
    rows: list[tuple] = []
    size = 0
    while batch := cursor.fetchmany(BATCH):
        size += sum(len(cell) for row in batch for cell in row if isinstance(cell, (str, bytes)))
        rows += batch
        if len(rows) > limits.rows or size > limits.result_bytes:
            break
    more = len(rows) > limits.rows
    if more or size > limits.result_bytes:
        end()
    else:
        cursor.close()
    if size > limits.result_bytes:
        return Failure("too_large", f"more than {limits.result_bytes} bytes of text and blobs")
    if more and not limits.cut:
        return Failure("too_large", f"more than {limits.rows} rows")
    if not more and "recursive" in text.lower() and any(code == CUT_SHORT for _, code, _ in connection.show_warnings()):
        return Failure("too_large", "a recursion of more than 1000 steps")
    del rows[limits.rows :]
    return Answer(len(names), rows, names, tuple(_KINDS.get(code, cells.OTHER) for code in codes), more=more)


def failure(error: Exception) -> Failure:
    """A server's error as the sandbox words it."""
    code = error.args[0] if error.args and isinstance(error.args[0], int) else 0
    text = str(error.args[-1] if error.args else error)
    text = (text.strip().splitlines() or [type(error).__name__])[0]
    if code == 1305:  # no such function
        known = re.search(r"(\w+) does not exist", text)
        return Failure("dialect" if known and known[1].upper() in other_dialects() else "schema", text)
    for codes, outcome in _OUTCOMES:
        if code in codes:
            return Failure(outcome, text)
    return Failure("schema", text)


_OUTCOMES = (  # the server's error numbers
    ((1064, 1149, 1065), "syntax"),
    ((1044, 1045, 1142, 1143, 1227, 1290, 1370, 1792), "refused"),
    ((1317, 1969, 3024), "timeout"),
    ((3, 1021, 1037, 1038, 1041, 1114, 1118, 1153, 1301, 1436, 3636, 5), "too_large"),
)


def _lost(error: Exception) -> bool:
    return isinstance(error, OSError) or (bool(error.args) and error.args[0] in (0, 2003, 2006, 2013, 1927))


_FIRST_WORD = re.compile(r"(?:\s|--[^\n]*(?:\n|$)|#[^\n]*(?:\n|$)|/\*(?![!M+]).*?\*/|;|\()*([A-Za-z_]*)", re.DOTALL)
_READING = ("select", "with", "values", "table")
_COMMANDS = frozenset(
    "alter analyze begin call change check checksum commit create deallocate delete do drop execute flush get grant "
    "handler import insert install kill load lock optimize prepare purge release rename repair replace reset revoke "
    "rollback savepoint set shutdown signal start stop truncate uninstall unlock update use xa".split()
)
# Functions of MySQL and MariaDB that are refused; others that are not known are those of other systems, or nobody's.
_HARMFUL = frozenset(
    "benchmark get_lock is_free_lock is_used_lock last_insert_id lastval load_file master_gtid_wait master_pos_wait "
    "nextval rand random_bytes release_all_locks release_lock setval sleep sysdate user uuid uuid_short version "
    "connection_id current_role current_user database extractvalue found_rows row_count schema session_user "
    "source_pos_wait sys_eval sys_exec system_user updatexml wait_for_executed_gtid_set".split()
)


_BY_ALIAS = re.compile(r"Reference '(.+)' not supported \(reference to group function\)")


@lru_cache(maxsize=256)  # the same statement runs on many databases
def examine(sql: str, mariadb: bool) -> str | Failure:
    """The text to send for a query, or why it is not sent. mariadb: whether it is to be written as MariaDB reads it."""
    if "\0" in sql:
        return Failure("syntax", "the text holds a null character")
    first = _FIRST_WORD.match(sql)
    word = first[1].lower() if first else ""
    if word not in _READING and "/*" not in sql:
        if word in _COMMANDS:
            return Failure("refused", f"not authorized: {word.upper()} is not a query")
        return Failure("not_a_query", "not a SELECT, WITH, VALUES or TABLE statement")
    try:
        written = as_mariadb(sql) if mariadb and not RUN_COMMENT.search(sql) else sql
    except NoForm as why:
        return Failure(why.outcome, str(why))
    return checked(written, _judged)


def _judged(names: Set[str]) -> Failure | None:
    unknown = names - FUNCTIONS
    if harmful := unknown & _HARMFUL:
        return refused(harmful)
    if unknown:
        name = min(unknown)
        return Failure("dialect" if name.upper() in other_dialects() else "schema", f"no such function: {name}")
    return None


# --- Cells: pymysql's own, but for JSON ------------------------------------------------------------------------------

JSON = 245  # the type's number
_KINDS = {10: cells.DATE, 14: cells.DATE, 7: cells.TIMESTAMP, 12: cells.TIMESTAMP}
