"""The verdict on a row: its context and SQL run in the sandbox. What worker processes import, and no more.

The rules, each of which can be switched off in `validate`:

| rule | a row passes when |
|---|---|
| complete | it has a question, an SQL, a context or database, and a dialect that sqlglot knows (always on) |
| has_rows | its context brings rows (INSERT, REPLACE, COPY), or it has a database of its own |
| has_rows: literal | the word INSERT stands anywhere in its context, or it has a database of its own |
| runs | context and SQL run on the engine that `engines.question` chooses |
| returns_rows | the SQL returns at least one row |

A row stops at the first rule it breaks. With all rules on the verdict is that of running `executescript(context)` and
`execute(answer).fetchall()` on an empty database, except where the sandbox refuses what would run there.
The exercise's own check is `literal`. The two differ where INSERT stands in a comment, a literal, a name or a trigger
alone, and where rows come by REPLACE or COPY.
"""

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from text2sql.base.errors import UserError
from text2sql.base.files import is_url
from text2sql.engines.compute import Workers, workforce
from text2sql.engines.duckdb import PROCESS_BYTES
from text2sql.engines.pool import Lost
from text2sql.engines.protocol import EngineLost
from text2sql.engines.question import ALONE, Engines, Question, again, engine_of, gold_answer
from text2sql.engines.sqlite import Answer, Failure, Limits
from text2sql.sql.context import brings_rows
from text2sql.sql.dialect_names import known, unknown_dialect
from text2sql.sql.golds import alternatives_in

if TYPE_CHECKING:  # not in every worker process
    import pyarrow as pa

CHUNK = 128  # rows that travel to a worker process together
MEMORY_BYTES = 512 * 2**20  # of a worker process
RULES = ("complete", "has_rows", "runs", "returns_rows")

# What a verdict needs of a row
ITEM_COLUMNS = ("context", "answer", "question", "dialect", "database", "alternatives")
Item = tuple[str, str, str, str, str | None]
# Why a row is not valid
REASON_COLUMNS = ("rule", "error_class", "message")
Reject = tuple[str, str, str]


def items_in(batch: "pa.RecordBatch | pa.Table") -> Iterator[list[Item]]:
    """The items of each row of a table with ITEM_COLUMNS: one for each of its golds, the answer first."""
    cells = (batch.column(name).to_pylist() for name in ITEM_COLUMNS)
    for context, answer, question, dialect, database, alternatives in zip(*cells, strict=True):
        golds: Sequence[str] = (answer, *alternatives_in(alternatives))
        yield [(context, gold, question, dialect, database) for gold in golds]


def check(
    item: Item,
    has_rows: bool | Literal["literal"],
    runs: bool,
    returns_rows: bool,
    seconds: float = 2.0,
    engines: Engines = ALONE,
) -> Reject | None:
    """The verdict on one row: None when it is valid, else the rule it broke, the class of the error, its message.

    A class is one of the sandbox's outcomes (syntax, schema, dialect, refused, timeout, too_large, not_a_query), or
    missing, no_insert, empty, for what needs no run; a message says which of context and SQL failed. `seconds` is the
    deadline of the context and of the SQL alike, `engines` are those that are there beside SQLite. Raises UserError
    where one is lost.
    """
    context, answer, question, dialect, database = item
    for name, text in (("question", question), ("answer", answer), ("context", context or database)):
        if not text or not text.strip():
            return "complete", "missing", f"no {name}"
    if not known(dialect):
        return "complete", "dialect", unknown_dialect(dialect)
    if database and not is_url(database) and not Path(database).is_file():
        return "complete", "missing", f"{database}: no such database file"
    if has_rows and not database and not holds_rows(context, dialect, literally=has_rows == "literal"):
        return "has_rows", "no_insert", "the context holds no INSERT"
    if not runs and not returns_rows:
        return None
    result = run(context, answer, dialect, database, Limits(seconds=seconds), engines)
    if isinstance(result, Failure):
        return "runs" if runs else "returns_rows", result.outcome, result.error
    if returns_rows and not result.rows:
        return "returns_rows", "empty", "the SQL returns no row"
    return None


def holds_rows(context: str, dialect: str, literally: bool) -> bool:
    """Whether a context passes has_rows; literally: where the word INSERT stands anywhere in it, in any case."""
    return "INSERT" in context.upper() if literally else brings_rows(context, dialect)


def run(
    context: str, answer: str, dialect: str, database: str | None, limits: Limits, engines: Engines = ALONE
) -> Answer | Failure:
    """What the SQL answers on the row's database file, or on a database made from its context; maybe translated.

    Raises UserError where the engine is lost.
    """
    setups = () if database else (context,)
    question = Question(answer, setups, database or None, dialect, setup_dialect=dialect)
    try:
        return again(lambda: gold_answer(question, limits, engine_of(question, engines)))
    except EngineLost as error:
        raise UserError(f"{error}; run again") from error


def verdicts(
    items: Iterable[Item], rules: Mapping, workers: Workers, engines: Engines = ALONE
) -> Iterator[Reject | None]:
    """The verdict on each item, in their order, from worker processes; memory does not grow with their number.

    rules, engines: the arguments of `check` beside the item. workers: as `compute.workforce` takes them.
    """
    # The hard limit covers building the context and the SQL, each with a deadline of its own.
    limit = 2 * rules["seconds"] + (3 if engines else 1)
    memory = PROCESS_BYTES if "duckdb" in engines else MEMORY_BYTES
    judge = functools.partial(check, **rules)
    with workforce(judge, workers=workers, engines=engines, seconds=limit, memory_bytes=memory, chunk=CHUNK) as run:
        for answer in run(items):
            yield ("runs", answer.reason, answer.error) if isinstance(answer, Lost) else answer
