"""A question's gold and its databases, opened one way for everybody who runs SQL on them.

Which engine a question runs on is decided here and nowhere else (`engine_of`): the one of its scripts' dialect, where
that is there; else SQLite, for which `statement` and `databases` translate what is written in another dialect. Callers
see a statement to run, a database to run it on, or a `Failure` that says why there is none.
"""

import importlib
import re
import sqlite3
from bisect import bisect_left
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from urllib.parse import quote

from text2sql.base.errors import install
from text2sql.base.files import is_url
from text2sql.engines import duckdb, mysql, postgres
from text2sql.engines.protocol import Database, Engine, EngineLost, Engines
from text2sql.engines.sqlite import Answer, Connection, Failure, Limits, SQLite, open_database, rows_apart
from text2sql.sql.context import brings_rows
from text2sql.sql.dialect import (
    Untranslatable,
    declared,
    is_sqlite,
    left_out,
    to_sqlite,
    to_sqlite_ddl,
    without_database,
)
from text2sql.sql.dialect_names import dialect_name, known
from text2sql.sql.foreign import FOREIGN_FUNCTIONS, foreign_construct
from text2sql.sql.golds import alternatives_in

if TYPE_CHECKING:  # pydantic, in every worker process
    from text2sql.base.params import EvaluationParams

NO_ROWS = "its context brings no rows and none were made (populate.instances is 0)"
SQLITE = SQLite()
TRANSLATED = "sqlite (translated)"
KEPT = 256  # databases of SQLite that a process keeps open
KEPT_BYTES = 96 * 2**20  # of memory that they may take together, but for the one in use
KEPT_ELSEWHERE = 10  # of another engine: each is a connection to PostgreSQL, and a part of DuckDB's memory

ALONE: Engines = {}  # SQLite alone
T = TypeVar("T")


class Question(NamedTuple):
    """A gold query and the databases that it and its predictions run on."""

    gold_sql: str
    setups: tuple[str, ...] = ()  # scripts, one for each database
    database: str | None = None  # or the path of an SQLite file, or the URL of a database on a server
    dialect: str | None = None  # of gold and prediction; None is SQLite
    setup_dialect: str | None = None  # of the scripts
    problem: str | None = None  # why there is no database to score on, where that is known
    harsh: tuple[str, ...] = ()  # further scripts, which decide the stricter verdict `ex_harsh` alone
    alternatives: tuple[str, ...] = ()  # further golds: what equals any of them is right
    ddl: str | None = None  # the script, in `dialect`, that declares the columns' types, where no setup is it

    def by_gold(self) -> "tuple[Question, ...]":
        """The question once for each of its golds."""
        return tuple(self._replace(gold_sql=gold, alternatives=()) for gold in (self.gold_sql, *self.alternatives))


class Fillings(NamedTuple):
    """The scripts of filled databases that a row is scored on, by tier."""

    ordinary: tuple[str, ...] = ()
    harsh: tuple[str, ...] = ()
    dialect: str | None = None  # of the scripts; None is SQLite


def row_question(
    row: Mapping[str, Any],
    scripts: Sequence[str] = (),
    problem: str | None = None,
    engines: Engines = ALONE,
    harsh: Sequence[str] = (),
    filled_in: str | None = None,
) -> Question:
    """The question of a row of the evaluation table {answer, context, database, dialect, alternatives?}.

    scripts: filled databases, beside the row's context where that brings rows, else in its place. filled_in: their
    dialect, and that of the harsh ones; None is SQLite, whose scripts are left out where the context brings rows and
    goes to an engine of its own. problem: why no script could be made; it stands unless the context brings rows or the
    row has a file of its own.
    """
    asked = Question(row["answer"], dialect=row["dialect"], alternatives=alternatives_in(row.get("alternatives")))
    if row["database"] is not None:
        return asked._replace(database=row["database"])
    own = asked._replace(setups=(row["context"],), setup_dialect=asked.dialect)
    has_rows = brings_rows(row["context"], asked.dialect)
    if filled_in is not None:
        setups = (*own.setups, *scripts) if has_rows else tuple(scripts)
        return own._replace(setups=setups, harsh=tuple(harsh))
    if has_rows and engine_of(own, engines) != SQLITE:
        return own
    if not has_rows:
        problem = problem if scripts or problem is not None else NO_ROWS
        return asked._replace(setups=tuple(scripts), problem=problem, harsh=tuple(harsh), ddl=row["context"])
    context = setup_script(row["context"], asked.dialect)
    if isinstance(context, Failure):
        return asked._replace(problem=f"{context.outcome}: {context.error}")
    return asked._replace(setups=(context, *scripts), harsh=tuple(harsh), ddl=row["context"])


# --- The choice of an engine -----------------------------------------------------------------------------------------


class Foreign(NamedTuple):
    """What decides on the engine of a row that is not SQLite's."""

    dialect: str
    on_sqlite: bool  # whether its databases are SQLite's: a file, or fillings that were made for SQLite
    url: str | None = None  # of the server that holds its database


def foreign_rows(rows: Iterable[tuple[str | None, str | None, bool]]) -> Counter[Foreign]:
    """How many rows, given as (dialect, database, whether they were filled for SQLite), are of which other dialect that
    is known."""
    return Counter(
        Foreign(dialect_name(dialect or ""), not url and (filled or database is not None), url)
        for dialect, database, filled in rows
        if (url := database if database and is_url(database) else None)
        or (not is_sqlite(dialect) and known(dialect or ""))
    )


def engine_of(question: Question, engines: Engines) -> Engine:
    """The engine that a question runs on: its own database's, or of those given the one of its scripts' dialect, else
    SQLite."""
    if question.database is not None and is_url(question.database):
        return engines[question.database]
    if not engines or question.database is not None or is_sqlite(question.setup_dialect):
        return SQLITE
    return engines.get(dialect_name(question.setup_dialect or ""), SQLITE)


def verdict_of(question: Question, engine: Engine) -> str:
    """The name of the engine that a verdict comes from, which says too whether the question was translated for it."""
    return TRANSLATED if engine == SQLITE and not is_sqlite(question.dialect) else engine.name


_SYSTEMS = {"duckdb": "DuckDB", "mysql": "MySQL or MariaDB", "postgres": "PostgreSQL"}


def available(dialect: str, choice: "EvaluationParams") -> bool:
    """Whether there is an engine for a dialect, and leave to use it."""
    if choice.engine != "auto":
        return False
    match dialect:
        case "postgres":
            return choice.postgres_url is not None or postgres.installed()
        case "mysql":
            return choice.mysql_url is not None or mysql.installed()
        case "duckdb":
            return duckdb.installed()
    return False


def open_engines(rows: Iterable[Foreign], choice: "EvaluationParams") -> AbstractContextManager[Engines]:
    """The engines that rows need, as `open_dialects` gives them."""
    return open_dialects({row.url or row.dialect for row in rows if row.url or not row.on_sqlite}, choice)


@contextmanager
def open_dialects(dialects: Iterable[str], choice: "EvaluationParams") -> Iterator[Engines]:
    """The engines of these dialects that are there; servers that had to be started are gone with the block.

    dialects: or the URL of a database of the user's own. Raises UserError where a server cannot be reached or does not
    start, or a login to such a database may do more than read.
    """
    with ExitStack() as stack:
        yield {
            key: _trusted(key, choice) if is_url(key) else stack.enter_context(_opened(key, choice))
            for key in sorted(dialects)
            if is_url(key) or available(key, choice)
        }


def _opened(dialect: str, choice: "EvaluationParams") -> AbstractContextManager[Engine]:
    if dialect == "duckdb":
        return nullcontext(duckdb.engine())
    if dialect == "postgres":
        return postgres.prepared(choice.postgres_url) if choice.postgres_url else postgres.private_server()
    return mysql.prepared(mysql.login(choice.mysql_url)) if choice.mysql_url else mysql.private_server()


def _trusted(url: str, choice: "EvaluationParams") -> Engine:
    from text2sql.engines import own  # SQLAlchemy is slow to load

    return own.trusted(url, choice.trust_login)


def translations(rows: Mapping[Foreign, int], choice: "EvaluationParams") -> Iterator[str]:
    """A line for each dialect whose rows run on SQLite by translation, and what would give them their own engine."""
    for row, count in sorted(rows.items()):
        if row.url or (not row.on_sqlite and available(row.dialect, choice)):
            continue
        line = f"{count:,} rows of dialect {row.dialect} run on SQLite by translation"
        if row.on_sqlite:
            yield f"{line}: their databases are SQLite's"
        elif row.dialect not in _SYSTEMS:
            yield f"{line}: there is no engine for it here"
        elif choice.engine != "auto":
            yield f"{line}: evaluation.engine is {choice.engine}"
        else:
            server = "Debian's mariadb-server and " if row.dialect == "mysql" else ""
            yield f"{line}; {server}`{install(row.dialect)}` runs them on {_SYSTEMS[row.dialect]}"


def left_out_of(rows: Iterable[tuple[str | None, str | None]], engines: Engines) -> Iterator[str]:
    """A line that counts by name the statements which translation leaves out of rows' scripts, where there are any.

    rows: (script, dialect). engines: those that are there; what runs on them is not translated.
    """
    foreign = (
        (script, dialect_name(dialect)) for script, dialect in rows if script and dialect and not is_sqlite(dialect)
    )
    found = Counter(name for script, dialect in foreign if dialect not in engines for name in left_out(script, dialect))
    if found:
        yield "left out of scripts by translation: " + ", ".join(f"{name} ({n:,})" for name, n in found.most_common())


def versions(engines: Engines) -> dict[str, str]:
    """The version of each engine that is there, SQLite's first: databases and verdicts are equal where these are."""
    return {SQLITE.name: SQLITE.version} | {key: engines[key].version for key in sorted(engines)}


def load(engine: Engine) -> None:
    """Imports what speaks with an engine, so that processes forked afterwards have it."""
    driver = {"duckdb": "duckdb", "mysql": "pymysql", "postgres": "psycopg"}.get(engine.name)
    if driver is not None:
        importlib.import_module(driver)


def again(call: Callable[[], T]) -> T:
    """What the call gives; once more, on databases opened anew, where the engine was lost meanwhile.

    Raises EngineLost where it is lost again.
    """
    try:
        return call()
    except EngineLost:
        _kept.clear()
        return call()


# --- Statements and databases ----------------------------------------------------------------------------------------


def statement(sql: str, question: Question, engine: Engine = SQLITE) -> str | Failure:
    """A query in the question's dialect as its engine runs it.

    Raises UserError for a dialect that sqlglot does not know.
    """
    if engine != SQLITE:
        return without_database(sql) if engine.dialect == "mysql" else sql
    if not question.dialect or is_sqlite(question.dialect):
        return sql
    if question.ddl is not None:
        types = declared(question.ddl, question.dialect)
    elif question.setups:
        types = declared(question.setups[0], question.setup_dialect)
    else:
        types = declared(_ddl_of(question.database) if question.database else "", None)
    return _failure_or_text(to_sqlite(sql, question.dialect, types))


@lru_cache(maxsize=32)
def _ddl_of(path: str) -> str:
    """What an SQLite file's tables declare; nothing where it cannot be read, which opening it says."""
    try:
        with closing(sqlite3.connect(f"file:{quote(path)}?mode=ro&immutable=1", uri=True)) as connection:
            found = connection.execute("SELECT sql FROM sqlite_master WHERE type = 'table'").fetchall()
    except sqlite3.Error:
        return ""
    return ";\n".join(sql for (sql,) in found)


def setup_script(script: str, dialect: str | None) -> str | Failure:
    """A script of DDL and rows as SQLite builds it. Raises as `statement`."""
    return _failure_or_text(to_sqlite_ddl(script, dialect))


def _failure_or_text(translated: str | Untranslatable) -> str | Failure:
    if isinstance(translated, Untranslatable):
        return Failure(translated.outcome, translated.reason)
    return translated


def databases(question: Question, limits: Limits, engine: Engine = SQLITE) -> Iterator[Database | Failure]:
    """The databases that a question is scored on, the harsh ones last, each opened when its turn comes.

    They stay open for the next question about the same ones, so a caller does not close them. Raises UserError for a
    file that is missing or no SQLite database.
    """
    if question.database is not None:
        yield _kept_file(question.database, limits)
    for setup in (*question.setups, *question.harsh):
        yield _kept(engine, setup, question.setup_dialect, limits)


def gold_answer(question: Question, limits: Limits, engine: Engine = SQLITE) -> Answer | Failure:
    """What the gold answers on the question's first database. SQLite's is opened for it alone and closed again; on
    another engine, where building a schema takes long, it stays open for the next question about the same one.

    A failure says which of the two texts failed (`context`, in which statement, or `SQL`), and is of outcome `dialect`
    where SQLite finds no syntax in what is another system's. `limits.seconds` is the deadline of the script and of the
    gold alike. Raises UserError as `databases` does.
    """
    sql = statement(question.gold_sql, question, engine)
    if isinstance(sql, Failure):
        return Failure(sql.outcome, f"SQL: {sql.error}")
    kept = question.database is None and engine != SQLITE
    database: Database | Failure
    if question.database is not None:
        database = _open_file(question.database, limits)
    else:
        database = (_kept if kept else _build)(engine, question.setups[0], question.setup_dialect, limits)
    if isinstance(database, Failure):
        return _in_context(database, question, engine, limits)
    with nullcontext() if kept else closing(database):
        answer = database.query(sql, limits)
    if isinstance(answer, Failure):
        return _in_dialect(answer, "SQL", question.gold_sql, question.dialect, engine)
    return answer


_NEXT_STATEMENT = re.compile(r"\)\s*(CREATE|INSERT|ALTER|DROP)\b", re.IGNORECASE)
# SQLite takes `INTERVAL` for a column, and so the unit in DATEDIFF(day, a, b).
_UNIT_AS_COLUMN = re.compile(
    r"no such column: (?:interval|second|minute|hour|day|week|month|quarter|year)\b", re.IGNORECASE
)


def _in_context(failure: Failure, question: Question, engine: Engine, limits: Limits) -> Failure:
    """The failure of a script with the number of its first statement that fails, where SQLite ran it as it is."""
    if question.database is not None:  # a file has no script
        return failure
    script = question.setups[0]
    if (
        engine != SQLITE
        or not is_sqlite(question.setup_dialect)
        or failure.outcome not in ("syntax", "schema", "dialect")
    ):
        return Failure(failure.outcome, f"context: {failure.error}")
    ends = _ends_of_statements(script)
    first = bisect_left(ends, True, key=lambda end: _fails(script[:end], limits))
    if first == len(ends):
        return _in_dialect(failure, "context", script, question.setup_dialect, engine)
    text = script[ends[first - 1] if first else 0 : ends[first]]
    failure = _in_dialect(
        failure, f"context, statement {first + 1} of {len(ends)}", text, question.setup_dialect, engine
    )
    joined = _NEXT_STATEMENT.search(text)
    if joined and f'near "{joined[1]}"' in failure.error:
        return Failure(failure.outcome, f"{failure.error} (a semicolon is missing before {joined[1]})")
    return failure


def _in_dialect(failure: Failure, where: str, text: str, dialect: str | None, engine: Engine) -> Failure:
    """The failure with where it stands; of outcome `dialect` for SQLite's complaint about another system's syntax."""
    construct = None
    if failure.error.removeprefix("no such function: ").upper() in FOREIGN_FUNCTIONS:
        return Failure("dialect", f"{where}: {failure.error}")
    misread = failure.outcome == "syntax" or _UNIT_AS_COLUMN.search(failure.error)
    if misread and engine == SQLITE and is_sqlite(dialect):
        construct = foreign_construct(text)
    if construct is None:
        return Failure(failure.outcome, f"{where}: {failure.error}")
    return Failure("dialect", f"{where}: {failure.error} ({construct} is not SQLite's)")


def _ends_of_statements(script: str) -> list[int]:
    """Where each statement of a script ends, behind its semicolon; a trigger is one."""
    ends, start = [], 0
    for match in re.finditer(";", script):
        if sqlite3.complete_statement(script[start : match.end()]):
            start = match.end()
            ends.append(start)
    return [*ends, len(script)] if script[start:].strip() else ends


def _fails(script: str, limits: Limits) -> bool:
    built = SQLITE.build(script, limits)
    if isinstance(built, Failure):
        return True
    built.close()
    return False


def _build(engine: Engine, setup: str, dialect: str | None, limits: Limits) -> Database | Failure:
    if engine.dialect == "mysql":
        return engine.build(without_database(setup), limits)
    script = setup if engine != SQLITE else setup_script(setup, dialect)
    return script if isinstance(script, Failure) else engine.build(script, limits)


class _Kept:
    """The databases built last, as `_build` gives them; the one that was not asked for the longest is closed first."""

    def __init__(self) -> None:
        self.databases: OrderedDict[tuple, Database | Failure] = OrderedDict()

    def __call__(self, engine: Engine, *rest: Any) -> Database | Failure:
        key = (engine.name, *rest)
        if key in self.databases:
            self.databases.move_to_end(key)
        else:
            most = KEPT if engine == SQLITE else KEPT_ELSEWHERE
            while len(self.databases) >= most or sum(map(_bytes, self.databases.values())) > KEPT_BYTES:
                _close(self.databases.popitem(last=False)[1])
            self.databases[key] = _build(engine, *rest)
        return self.databases[key]

    def clear(self) -> None:
        while self.databases:
            _close(self.databases.popitem()[1])


def _bytes(database: Database | Failure) -> int:
    return database.bytes if isinstance(database, Connection) else 0


def _close(database: Database | Failure) -> None:
    if not isinstance(database, Failure):
        database.close()


def _open_file(path: str, limits: Limits) -> Database | Failure:
    """A database on a server, or an SQLite file that holds all of its rows. Raises UserError where there is none."""
    if is_url(path):
        from text2sql.engines import own

        return own.OwnDatabase(path, "the database's URL")
    database = open_database(path, limits)
    if (log := rows_apart(Path(path))) is None:
        return database
    database.close()
    return Failure(
        "refused",
        f"the newest rows of {Path(path).name} are in {log.name}; close the program that has it open, or make a copy"
        " with VACUUM INTO",
    )


_kept = _Kept()
_kept_file = lru_cache(maxsize=32)(_open_file)
