"""A question's gold and its databases, opened one way for everybody who runs SQL on them.

Which engine a question runs on is decided here and nowhere else. It is SQLite for every question: `statement` and
`databases` translate what is written in another dialect. An engine of that dialect takes their place by answering both
for its questions; callers see a statement to run, a database to run it on, or a `Failure` that says why there is none.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from functools import lru_cache
from typing import Any, NamedTuple

from text2sql.engines.sqlite import Answer, Connection, Failure, Limits, build, open_database, query
from text2sql.sql.context import brings_rows
from text2sql.sql.dialect import Untranslatable, to_sqlite, to_sqlite_ddl

NO_ROWS = "its context brings no rows and none were made (populate.instances is 0)"


class Question(NamedTuple):
    """A gold query and the databases that it and its predictions run on."""

    gold_sql: str
    setups: tuple[str, ...] = ()  # scripts, one for each database
    database: str | None = None  # or the path of an SQLite file
    dialect: str | None = None  # of gold and prediction; None is SQLite
    setup_dialect: str | None = None  # of the scripts
    problem: str | None = None  # why there is no database to score on, where that is known


def row_question(row: Mapping[str, Any], scripts: Sequence[str] = (), problem: str | None = None) -> Question:
    """The question of a row of the evaluation table {answer, context, database, dialect}.

    scripts: filled databases in SQLite, beside the row's context where that brings rows, else in its place. problem:
    why no script could be made; it stands unless the context brings rows or the row has a file of its own.
    """
    dialect = row["dialect"]
    if row["database"] is not None:
        return Question(row["answer"], database=row["database"], dialect=dialect)
    if not brings_rows(row["context"], dialect):
        problem = problem if scripts or problem is not None else NO_ROWS
        return Question(row["answer"], tuple(scripts), dialect=dialect, problem=problem)
    context = setup_script(row["context"], dialect)
    if isinstance(context, Failure):
        return Question(row["answer"], dialect=dialect, problem=f"{context.outcome}: {context.error}")
    return Question(row["answer"], (context, *scripts), dialect=dialect)


def statement(sql: str, dialect: str | None) -> str | Failure:
    """A query of `dialect` (a sqlglot name; None is SQLite) as the question's engine runs it.

    Raises UserError for a dialect that sqlglot does not know.
    """
    return _failure_or_text(to_sqlite(sql, dialect))


@lru_cache(maxsize=128)  # many questions are about one schema
def setup_script(script: str, dialect: str | None) -> str | Failure:
    """A script of DDL and rows as the question's engine builds it. Raises as `statement`."""
    return _failure_or_text(to_sqlite_ddl(script, dialect))


def _failure_or_text(translated: str | Untranslatable) -> str | Failure:
    if isinstance(translated, Untranslatable):
        return Failure(translated.outcome, translated.reason)
    return translated


def databases(question: Question, limits: Limits) -> Iterator[Connection | Failure]:
    """The databases that a question is scored on, in their order, each opened when its turn comes.

    They stay open for the next question about the same ones, so a caller does not close them. Raises UserError for a
    file that is missing or no SQLite database.
    """
    if question.database is not None:
        yield _kept_file(question.database, limits)
    for setup in question.setups:
        yield _kept_build(setup, question.setup_dialect, limits)


def gold_answer(question: Question, limits: Limits) -> Answer | Failure:
    """What the gold answers on the question's first database, which is opened for it alone and closed again.

    `limits.seconds` is the deadline of the script and of the gold alike. Raises UserError as `databases` does.
    """
    sql = statement(question.gold_sql, question.dialect)
    if isinstance(sql, Failure):
        return sql
    if question.database is not None:
        connection: Connection | Failure = open_database(question.database, limits)
    else:
        connection = _build(question.setups[0], question.setup_dialect, limits)
    if isinstance(connection, Failure):
        return connection
    with closing(connection):
        return query(connection, sql, limits)


def _build(setup: str, dialect: str | None, limits: Limits) -> Connection | Failure:
    script = setup_script(setup, dialect)
    return script if isinstance(script, Failure) else build(script, limits)


_kept_file = lru_cache(maxsize=32)(open_database)
_kept_build = lru_cache(maxsize=256)(_build)
