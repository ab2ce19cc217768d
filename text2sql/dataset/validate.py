"""Which rows are valid: their context and SQL run in the sandbox, and each reject keeps its reason.

The rules, each of which can be switched off in `validate`:

| rule | a row passes when |
|---|---|
| complete | it has a question, an SQL and a context or database (always on) |
| has_rows | its context brings rows (INSERT), or it has a database of its own |
| runs | context and SQL run on SQLite; another dialect runs in translation |
| returns_rows | the SQL returns at least one row |

A row stops at the first rule it breaks. With all rules on the verdict is that of running `executescript(context)` and
`execute(answer).fetchall()` on an empty database, except where the sandbox refuses what would run there.
"""

import functools
import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from text2sql.base.errors import UserError, install
from text2sql.dataset.rows import COLUMNS, count_rows, read_batches, table_writer
from text2sql.engines.pool import Lost, guarded_map
from text2sql.engines.sqlite import Answer, Failure, Limits, build, open_database, query

if TYPE_CHECKING:
    import pyarrow as pa

    from text2sql.base.params import ValidateParams

CHUNK = 128  # rows that travel to a worker process together
RAY_BLOCK = 4096  # rows of one Ray task
RULES = ("complete", "has_rows", "runs", "returns_rows")

# What a verdict needs of a row
ITEM_COLUMNS = ("context", "answer", "question", "dialect", "database")
Item = tuple[str, str, str, str, str | None]
# Why a row is not valid
REASON_COLUMNS = ("rule", "error_class", "message")
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
    if has_rows and not database and "INSERT" not in context.upper():
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
        from text2sql.sql.dialect import Untranslatable, to_sqlite, to_sqlite_ddl

        translated = to_sqlite(answer, dialect), "" if database else to_sqlite_ddl(context, dialect)
        for text in translated:
            if isinstance(text, Untranslatable):
                return Failure(text.outcome, text.reason)
        answer, context = translated
    connection = open_database(database, limits) if database else build(context, limits)
    if isinstance(connection, Failure):
        return connection
    with closing(connection):
        return query(connection, answer, limits)


def verdicts(items: Iterable[Item], params: "ValidateParams", workers: int) -> Iterator[Reject | None]:
    """The verdict on each item, in their order, from worker processes; memory does not grow with their number."""
    return guarded_verdicts(items, rules_of(params), workers)


def rules_of(params: "ValidateParams") -> dict:
    return {name: getattr(params, name) for name in ("has_rows", "runs", "returns_rows", "seconds")}


def guarded_verdicts(items: Iterable[Item], rules: Mapping, workers: int) -> Iterator[Reject | None]:
    judge = functools.partial(check, **rules)
    # The hard limit covers building the context and the SQL, each with a deadline of its own.
    for answer in guarded_map(judge, items, workers=workers, seconds=2 * rules["seconds"] + 1, chunk=CHUNK):
        yield ("runs", answer.reason, answer.error) if isinstance(answer, Lost) else answer


def ray_verdicts(path: Path, params: "ValidateParams", workers: int) -> Iterator[Reject | None]:
    """The verdict on each row of a table, in its order, from the Ray cluster at RAY_ADDRESS, or one on this machine.

    Every machine of the cluster must see the table under the same path. Raises UserError when Ray is not installed.
    """
    try:
        import ray
    except ImportError as error:
        raise UserError(f"validate.engine: ray is not installed; `{install('ray')}`, or set it to local") from error
    cpus = None if "RAY_ADDRESS" in os.environ else workers
    ray.init(num_cpus=cpus, ignore_reinit_error=True, logging_level=logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    rows = ray.data.read_parquet(str(path.resolve())).select_columns(list(ITEM_COLUMNS))
    blocks = rows.repartition(target_num_rows_per_block=RAY_BLOCK)
    judged = blocks.map_batches(
        judge_batch, batch_format="pyarrow", batch_size=RAY_BLOCK, fn_kwargs={"rules": rules_of(params)}
    )
    for batch in judged.iter_batches(batch_format="pyarrow", batch_size=None):
        for reject in zip(*(batch.column(name).to_pylist() for name in REASON_COLUMNS), strict=True):
            yield reject if reject[0] else None


def judge_batch(batch: "pa.Table", rules: Mapping) -> "pa.Table":
    """What a Ray worker does with some rows: the same verdicts, guarded by a child process of its own."""
    import pyarrow as pa

    items = zip(*(batch.column(name).to_pylist() for name in ITEM_COLUMNS), strict=True)
    rejects = [reject or (None, None, None) for reject in guarded_verdicts(items, rules, workers=1)]
    columns = [pa.array(cells, pa.string()) for cells in zip(*rejects, strict=True)]
    return pa.table(columns, names=list(REASON_COLUMNS))


REJECTED = [*COLUMNS, "split", *REASON_COLUMNS]


def validate_tables(
    raw: Mapping[str, Path], valid: Mapping[str, Path], rejected: Path, params: "ValidateParams", workers: int
) -> dict[str, dict]:
    """Splits each raw table into its valid rows and its rejects, and counts both.

    raw, valid: the table of each split, read and written; rejected: one table of every split's rejects, with the
    columns of REJECTED; workers: processes, which change nothing but the time. Returns the funnel: for each split the
    rows `read`, those left after each rule, `kept`, and `rejects` by rule and error class.
    """
    from tqdm import tqdm

    funnel = {}
    with table_writer(rejected, REJECTED) as rejects:
        for split, path in raw.items():
            with (
                table_writer(valid[split]) as keeps,
                tqdm(total=count_rows(path), desc=f"validate {split}", unit=" rows", mininterval=0.5) as progress,
            ):
                funnel[split] = validate_split(split, path, keeps, rejects, params, workers, progress)
    return funnel


def validate_split(split: str, path: Path, keeps, rejects, params: "ValidateParams", workers: int, progress) -> dict:
    import pyarrow as pa

    found: Counter[tuple[str, str]] = Counter()
    read = kept = 0
    if params.engine == "ray":
        answers = ray_verdicts(path, params, workers)
    else:
        answers = verdicts(items_of(path), params, workers)
    for batch in read_batches(path):
        judged = list(islice(answers, batch.num_rows))
        reasons = [reject for reject in judged if reject]
        if len(reasons) < len(judged):
            keeps.write_batch(batch.filter(pa.array([reject is None for reject in judged])))
        if reasons:
            bad = batch.filter(pa.array([reject is not None for reject in judged]))
            columns = [
                pa.array(cells, pa.string()) for cells in zip(*((split, *reason) for reason in reasons), strict=True)
            ]
            rejects.write_batch(pa.record_batch([*bad.columns, *columns], names=REJECTED))
            found.update((rule, error) for rule, error, _ in reasons)
        read, kept = read + len(judged), kept + len(judged) - len(reasons)
        progress.update(len(judged))
    assert read == count_rows(path) == kept + found.total(), (
        f"{split}: {read} rows, {kept} kept, {found.total()} rejected"
    )
    return funnel_of(read, found)


def items_of(path: Path) -> Iterator[Item]:
    for batch in read_batches(path, ITEM_COLUMNS):
        yield from zip(*(batch.column(name).to_pylist() for name in ITEM_COLUMNS), strict=True)


def funnel_of(read: int, found: Mapping[tuple[str, str], int]) -> dict:
    """Rows read, left after each rule, kept; and the rejects by rule and error class, most frequent first."""
    left, steps = read, {}
    for rule in RULES:
        left -= sum(count for (broken, _), count in found.items() if broken == rule)
        steps[rule] = left
    rejects: dict[str, dict[str, int]] = {rule: {} for rule in RULES}
    for (rule, error), count in sorted(found.items(), key=lambda pair: (-pair[1], pair[0])):
        rejects[rule][error] = count
    return {"read": read, **steps, "kept": left, "rejects": {rule: by for rule, by in rejects.items() if by}}
