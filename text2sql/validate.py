"""Which rows are valid: their context and SQL run in the sandbox, and each reject keeps its reason.

The rules, each of which can be switched off in `validate`:

| rule | a row passes when |
|---|---|
| complete | it has a question, an SQL and a context or database (always on) |
| has_rows | its context brings rows (INSERT or REPLACE), or it has a database of its own |
| runs | context and SQL run on SQLite; another dialect runs in translation |
| returns_rows | the SQL returns at least one row |

A row stops at the first rule it breaks. With all rules on the verdict is that of running `executescript(context)` and
`execute(answer).fetchall()` on an empty database, except where the sandbox refuses what would run there.
"""

import functools
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path

from text2sql.params import ValidateParams
from text2sql.rows import COLUMNS, count_rows, read_batches, table_writer
from text2sql.sqlexec.pool import Lost, guarded_map
from text2sql.sqlexec.sandbox import Answer, Failure, Limits, build, open_database, query

RULES = ("complete", "has_rows", "runs", "returns_rows")

INSERTS = re.compile(r"\b(?:INSERT|REPLACE)\b[\s\w]{0,30}\bINTO\b", re.IGNORECASE)

# (context, answer, question, dialect, database): what a verdict needs of a row
Item = tuple[str, str, str, str, str | None]
# (rule, error class, message); None: the row is valid
Reject = tuple[str, str, str]


def check(item: Item, has_rows: bool, runs: bool, returns_rows: bool, seconds: float = 2.0) -> Reject | None:
    """The verdict on one row: None when it is valid, else the rule it broke, the class of the error, its message.

    A class is one of the sandbox's outcomes (syntax, schema, dialect, refused, timeout, too_large, not_a_query), or
    missing, no_insert, empty, for what needs no run. `seconds` is the deadline of the context and of the SQL alike.
    """
    context, answer, question, dialect, database = item
    for name, text in (("question", question), ("answer", answer), ("context", context or database)):
        if not text or not text.strip():
            return "complete", "missing", f"no {name}"
    if has_rows and not database and not INSERTS.search(context):
        return "has_rows", "no_insert", "the context holds no INSERT"
    if not runs and not returns_rows:
        return None
    result = run(context, answer, dialect, database, Limits(seconds=seconds))
    if isinstance(result, Failure):
        return "runs" if runs else "returns_rows", result.outcome, result.error
    if returns_rows and not result.rows:
        return "returns_rows", "empty", "the SQL returns no row"
    return None


def run(context: str, answer: str, dialect: str, database: str | None, limits: Limits) -> Answer | Failure:
    """What the SQL answers on the row's database file, or on a database made from its context; maybe translated."""
    if dialect != "sqlite":
        from text2sql.sqlexec.dialect import Untranslatable, to_sqlite, to_sqlite_ddl

        answer, context = to_sqlite(answer, dialect), context if database else to_sqlite_ddl(context, dialect)
        for text in (answer, context):
            if isinstance(text, Untranslatable):
                return Failure(text.outcome, text.reason)
    connection = open_database(database, limits) if database else build(context, limits)
    if isinstance(connection, Failure):
        return connection
    with closing(connection):
        return query(connection, answer, limits)


def verdicts(items: Iterable[Item], params: ValidateParams) -> Iterator[Reject | None]:
    """The verdict on each item, in their order, from worker processes; memory does not grow with their number."""
    rules = {name: getattr(params, name) for name in ("has_rows", "runs", "returns_rows", "seconds")}
    judge = functools.partial(check, **rules)
    workers = params.workers or os.cpu_count() or 1
    # The hard limit covers building the context and the SQL, each with a deadline of its own.
    for answer in guarded_map(judge, items, workers=workers, seconds=2 * params.seconds + 1):
        yield ("runs", answer.reason, answer.error) if isinstance(answer, Lost) else answer


REJECTED = [*COLUMNS, "split", "rule", "error_class", "message"]


def validate_tables(
    raw: Mapping[str, Path], valid: Mapping[str, Path], rejected: Path, params: ValidateParams
) -> dict[str, dict]:
    """Splits each raw table into its valid rows and its rejects, and counts both.

    raw, valid: the table of each split, read and written; rejected: one table of every split's rejects, with the
    columns of REJECTED. Returns the funnel: for each split the rows `read`, those left after each rule, `kept`, and
    `rejects` by rule and error class.
    """
    from tqdm import tqdm

    funnel = {}
    with table_writer(rejected, REJECTED) as rejects:
        for split, path in raw.items():
            with (
                table_writer(valid[split]) as keeps,
                tqdm(total=count_rows(path), desc=f"validate {split}", unit=" rows", mininterval=0.5) as progress,
            ):
                funnel[split] = validate_split(split, path, keeps, rejects, params, progress)
    return funnel


def validate_split(split: str, path: Path, keeps, rejects, params: ValidateParams, progress) -> dict:
    import pyarrow as pa

    found: Counter[tuple[str, str]] = Counter()
    read = kept = 0
    answers = verdicts(items_of(path), params)
    for batch in read_batches(path):
        judged = [next(answers) for _ in range(batch.num_rows)]
        good = batch.filter(pa.array([reject is None for reject in judged]))
        bad = batch.filter(pa.array([reject is not None for reject in judged]))
        if good.num_rows:
            keeps.write_batch(good)
        if bad.num_rows:
            reasons = [reject for reject in judged if reject]
            columns = [
                pa.array([split] * len(reasons)),
                *(pa.array(column, pa.string()) for column in zip(*reasons, strict=True)),
            ]
            rejects.write_batch(pa.record_batch([*bad.columns, *columns], names=REJECTED))
            found.update((rule, error) for rule, error, _ in reasons)
        read, kept = read + batch.num_rows, kept + good.num_rows
        progress.update(batch.num_rows)
    assert kept + found.total() == read, f"{split}: {kept} kept and {found.total()} rejected are not {read} read"
    return funnel_of(read, found)


def funnel_of(read: int, found: Mapping[tuple[str, str], int]) -> dict:
    """Rows read, left after each rule, kept; and the rejects by rule and error class, most frequent first."""
    left, steps = read, {}
    for rule in RULES:
        left -= sum(count for (broken, _), count in found.items() if broken == rule)
        steps[rule] = left
    rejects = {rule: {} for rule in RULES}
    for (rule, error), count in sorted(found.items(), key=lambda pair: (-pair[1], pair[0])):
        rejects[rule][error] = count
    return {"read": read, **steps, "kept": left, "rejects": {rule: by for rule, by in rejects.items() if by}}


def items_of(path: Path) -> Iterator[Item]:
    columns = ["context", "answer", "question", "dialect", "database"]
    for batch in read_batches(path, columns):
        yield from zip(*(batch.column(name).to_pylist() for name in columns), strict=True)
