"""A SQLite file that may be in use: read without a change to it, or a file beside it."""

import contextlib
import fcntl
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from text2sql.base.errors import UserError
from text2sql.base.text import one_line
from text2sql.engines.pool import Lost, guarded_workers
from text2sql.engines.sqlite import Answer, Failure, Limits, in_wal_mode, open_database, query, rows_apart
from text2sql.sql.spelling import quoted

COLUMNS = 2_000  # of a table: SQLite's own limit
DEAD_MAN_SWITCH = 128  # that byte's place
SLACK = 6.0  # seconds beyond its deadline that a statement's process may live: SQLite waits five for a lock


class Task(NamedTuple):
    """One statement for the sandbox's process."""

    path: str
    sql: str
    limits: Limits
    live: bool


@contextlib.contextmanager
def readable(path: Path) -> Iterator[tuple[Path, bool]]:
    """(file, whether to read it under locks) such that reading leaves no trace and misses no committed row.

    A database in WAL mode keeps new rows in a log beside it. While a program has it open, the log and its index are
    there and a reader joins in. A log that nobody has open was left by a crash, or copied: reading it would make its
    index anew, so a copy is read. Without a log, the file holds everything and nobody has it open.
    """
    log, index = Path(f"{path}-wal"), Path(f"{path}-shm")
    if not in_wal_mode(path) or (log.exists() and in_use(index)):
        yield path, True
    elif rows_apart(path) is None:
        yield path, False
    else:
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder, "database")
            shutil.copyfile(path, copy)
            shutil.copyfile(log, f"{copy}-wal")
            with contextlib.closing(sqlite3.connect(copy)) as connection:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()  # the log's rows into the file
            yield copy, False


def in_use(index: Path) -> bool:
    """Whether a program has the log's index open; each holds a lock on one byte of it (sqlite.org/walformat.html)."""
    if not index.exists():
        return False
    try:
        with open(index, "r+b") as file:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, DEAD_MAN_SWITCH)
    except OSError:  # locked, or not ours to write: SQLite then joins it for reading alone
        return True
    return False


def run_task(task: Task) -> Answer | Failure:
    """The answer to one statement, in a process of the pool."""
    try:
        connection = open_database(task.path, task.limits, live=task.live, real_clock=True)
    except UserError as error:
        return Failure("schema", str(error))
    with contextlib.closing(connection):
        return query(connection, task.sql, task.limits)


@contextlib.contextmanager
def runner(path: Path, seconds: float, rows: int) -> Iterator[Callable[[str], Answer | Failure]]:
    """What runs a statement on the file in a process of its own, for at most `seconds`, and gives at most `rows`."""
    limits = Limits(seconds=seconds, rows=rows, cut=True, columns=COLUMNS)

    with guarded_workers(run_task, workers=1, seconds=seconds + SLACK) as run_all:

        def run(sql: str) -> Answer | Failure:
            with readable(path) as (file, live):
                (answer,) = run_all([Task(str(file), sql, limits, live)])
            return Failure(answer.reason, answer.error) if isinstance(answer, Lost) else answer

        yield run


def schema(path: Path) -> tuple[str, list[str]]:
    """The statements that made the file's tables and views, as `sources.schemas.schema_of_database` gives them, and a
    line about each view that cannot be read and is left out. Raises UserError.
    """
    if not path.is_file():
        raise UserError(f"{one_line(path)}: no such database file; fix --db")
    broken, statements = [], []
    try:
        with readable(path) as (file, live):
            uri = f"{file.resolve().as_uri()}?mode=ro{'' if live else '&immutable=1'}"
            with contextlib.closing(sqlite3.connect(uri, uri=True)) as connection:
                made = connection.execute(
                    "SELECT type, name, sql FROM sqlite_master WHERE type IN ('table', 'view') AND sql IS NOT NULL"
                    " AND name NOT LIKE 'sqlite!_%' ESCAPE '!' ORDER BY rowid"
                ).fetchall()
                for kind, name, sql in made:
                    try:
                        if kind == "view":
                            connection.execute(f"SELECT * FROM {quoted(name)} LIMIT 0")  # prepared, and so resolved
                        statements.append(f"{sql.strip().rstrip(';')};")
                    except sqlite3.Error as error:
                        broken.append(f"the view {one_line(name)} cannot be read and is left out ({one_line(error)})")
    except sqlite3.Error as error:
        raise UserError(f"{one_line(path)}: cannot be read as an SQLite database ({one_line(error)})") from error
    return "\n".join(statements), broken
