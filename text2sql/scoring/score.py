"""Scores predictions by execution: extraction, sandbox and comparator joined, one typed outcome for every row.

Every gold is run before any prediction; what fails is `gold_error` and leaves the denominator. Everything that a model
wrote runs in worker processes (`pool.guarded_workers`) that share nothing but the code: the rows are the same from
one worker or many, and after a kill the scoring goes on behind the last row that it had finished.
"""

import hashlib
import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

from text2sql.base.errors import UserError
from text2sql.base.files import json_line, write_jsonl
from text2sql.base.resume import whole_lines
from text2sql.engines.pool import Lost, alarm, guarded_workers
from text2sql.engines.sqlite import (
    DEFAULT_LIMITS,
    Connection,
    Failure,
    Limits,
    build,
    open_database,
    other_dialects,
    query,
)
from text2sql.scoring.compare import POLICY_VERSION, compare
from text2sql.scoring.gold import Gold, answer_gold, plan
from text2sql.sql.context import brings_rows
from text2sql.sql.exact_match import em_ast, em_text
from text2sql.sql.extract import Extracted, extract

MATCHES = ("match", "vacuous_match")
MISSES = (
    "mismatch", "no_sql", "truncated", "not_a_query", "refused", "syntax", "schema", "dialect", "timeout", "too_large",
)  # fmt: skip
NOT_SCORED = ("gold_error", "infra_error")
OUTCOMES = (*MATCHES, *MISSES, *NOT_SCORED)

GRACE_SECONDS = 0.2  # between a deadline that SQLite heeds itself and the kill
MEMORY_BYTES = 384 * 2**20  # of a worker process, the interpreter included


class Question(NamedTuple):
    """A gold query and the databases that it and its predictions run on."""

    gold_sql: str
    setups: tuple[str, ...] = ()  # scripts, one for each database
    database: str | None = None  # or the path of an SQLite file
    dialect: str | None = None  # of gold and prediction; None is SQLite
    setup_dialect: str | None = None  # of the scripts
    problem: str | None = None  # why there is no database to score on, where that is known


class GoldCheck(NamedTuple):
    """What is known of a gold before any prediction is looked at: a property of the gold and its databases alone."""

    problem: str | None  # why it cannot be scored against
    vacuous: bool = False  # it returns no row on any of its databases
    ambiguous: bool = False  # its LIMIT cuts through a tie on one of them


@dataclass(frozen=True)
class Item:
    """One prediction to score. `prediction` is the model's raw text; `truncated` says that it hit the token limit."""

    id: str
    question: Question
    prediction: str
    truncated: bool = False


def score_file(
    path: Path, items: Sequence[Item], *, workers: int, limits: Limits = DEFAULT_LIMITS, unfinished: Path | None = None
) -> dict[str, int]:
    """Writes `score_rows` of the items to a JSON Lines file, atomically; returns the number of rows by outcome.

    Rows finished so far wait in `unfinished`, whose name must depend on everything that the result does
    (`score_key`). Raises UserError, and writes nothing, when a row could not be scored for no fault of its own.
    """
    from tqdm import tqdm

    outcomes: Counter[str] = Counter()

    def counted() -> Iterator[dict]:
        rows = score_rows(items, workers=workers, limits=limits, unfinished=unfinished)
        for row in tqdm(rows, total=len(items), unit="row", desc="score", disable=None):
            outcomes[row["outcome"]] += 1
            if row["outcome"] == "infra_error":
                if unfinished:
                    unfinished.unlink()
                raise UserError(f"row {row['id']} could not be scored ({row['error']}); run again")
            yield row

    write_jsonl(path, counted())
    if unfinished:
        unfinished.unlink(missing_ok=True)
    assert outcomes.total() == len(items) and set(outcomes) <= set(OUTCOMES)
    return {outcome: outcomes[outcome] for outcome in OUTCOMES}


def arm_items(
    rows: Sequence[dict],
    databases: Mapping[str, Sequence[str]],
    unusable: Mapping[str, str],
    generations: Sequence[dict],
) -> list[Item]:
    """The items of one arm: rows of the evaluation table joined by id with their databases and their generations.

    databases: scripts in SQLite by row id, run beside the context where that brings rows, else in its place.
    unusable: why no script could be made, by row id; such a row has no verdict unless its context brings rows.
    Raises UserError when the generations are not those of the rows, one each.
    """
    generated = {generation["id"]: generation for generation in generations}
    ids = [row["id"] for row in rows]
    if sorted(generated) != sorted(ids) or len(generations) != len(ids):
        missing = len(set(ids) - set(generated))
        raise UserError(f"{missing} of {len(ids)} questions have no generation of their own; run `dvc repro`")
    return [
        Item(
            row["id"],
            _question(row, databases.get(row["id"], ()), unusable.get(row["id"])),
            generated[row["id"]]["text"],
            generated[row["id"]]["finish_reason"] == "length",
        )
        for row in rows
    ]


def _question(row: dict, scripts: Sequence[str], problem: str | None) -> Question:
    dialect = row["dialect"]
    if row["database"] is not None:
        return Question(row["answer"], database=row["database"], dialect=dialect)
    if not brings_rows(row["context"]):
        if not scripts and problem is None:
            problem = "its context brings no rows and none were made (populate.instances is 0)"
        return Question(row["answer"], tuple(scripts), dialect=dialect, problem=problem)
    context = _translate(row["context"], dialect, ddl=True)
    if isinstance(context, Failure):
        return Question(row["answer"], dialect=dialect, problem=f"{context.outcome}: {context.error}")
    return Question(row["answer"], (context, *scripts), dialect=dialect)


def score_key(items: Sequence[Item], limits: Limits = DEFAULT_LIMITS) -> str:
    """A digest of everything that the scores depend on: the items, the limits, the code and SQLite's version."""
    rooms = Path(__file__).parents[1]
    digest = hashlib.sha256(json.dumps([asdict(limits), sqlite3.sqlite_version, POLICY_VERSION]).encode())
    for room in ("engines", "scoring", "sql"):
        for source in sorted((rooms / room).glob("*.py")):
            digest.update(source.read_bytes())
    for item in items:
        digest.update(json.dumps([item.id, item.question, item.prediction, item.truncated]).encode())
    return digest.hexdigest()[:16]


def score_rows(
    items: Sequence[Item], *, workers: int, limits: Limits = DEFAULT_LIMITS, unfinished: Path | None = None
) -> Iterator[dict[str, Any]]:
    """Yields one row for every item, in their order.

    `{id, outcome, ex, ex_strict, ex_set, em_text, em_ast, format_valid, vacuous, ambiguous_gold, sql, error}`:
    the verdicts are booleans, null for gold_error and infra_error; `sql` is the extracted statement, untranslated.
    A prediction has `limits.seconds` for all of its databases together, a gold twice that.
    """
    rows = [] if unfinished is None else whole_lines(unfinished)
    yield from rows
    rest = items[len(rows) :]
    assert [row["id"] for row in rows] == [item.id for item in items[: len(rows)]]
    scored = _score_all(rest, workers, limits)
    if unfinished is None:
        yield from scored
        return
    unfinished.parent.mkdir(parents=True, exist_ok=True)
    with open(unfinished, "a", encoding="utf-8", errors="backslashreplace") as file:
        for count, row in enumerate(scored, 1):
            file.write(json_line(row) + "\n")
            if count % 64 == 0:
                file.flush()
            yield row


def _score_all(items: Sequence[Item], workers: int, limits: Limits) -> Iterator[dict[str, Any]]:
    with _workers(workers, limits) as run:
        checks = _check_golds(run, [item.question for item in items])
        results = run(item for item in items if checks[item.question].problem is None)
        for item in items:
            gold = checks[item.question]
            if gold.problem is not None:
                yield _row(item, "gold_error", _extract(item), error=gold.problem)
                continue
            row = next(results)
            row = _lost_row(item, row) if isinstance(row, Lost) else row
            if row["outcome"] not in NOT_SCORED:
                row |= {"vacuous": gold.vacuous, "ambiguous_gold": gold.ambiguous}
            yield row
        assert next(results, None) is None


def gold_problems(
    questions: Iterable[Question], *, workers: int, limits: Limits = DEFAULT_LIMITS
) -> dict[Question, str | None]:
    """For every gold, why it cannot be scored against: None when it runs on its databases and equals itself there."""
    with _workers(workers, limits) as run:
        return {question: check.problem for question, check in _check_golds(run, questions).items()}


def _check_golds(run: Callable[[Iterable], Iterator], questions: Iterable[Question]) -> dict[Question, GoldCheck]:
    different = list(dict.fromkeys(questions))
    return {
        question: GoldCheck(f"{result.reason}: {result.error}") if isinstance(result, Lost) else result
        for question, result in zip(different, run(different), strict=True)
    }


def _workers(workers: int, limits: Limits) -> AbstractContextManager[Callable[[Iterable], Iterator]]:
    # Golds and predictions have alarms of their own; this leaves room for building the databases besides.
    seconds = 4 * (limits.seconds + GRACE_SECONDS)
    return guarded_workers(
        partial(_work, limits=limits),
        workers=workers,
        seconds=seconds,
        memory_bytes=MEMORY_BYTES,
        initializer=other_dialects,  # and with it sqlglot
    )


# --- In the worker processes -----------------------------------------------------------------------------------------


def _work(task: Question | Item, limits: Limits) -> Any:
    return _score(task, limits) if isinstance(task, Item) else _check_gold(task, limits)


def _check_gold(question: Question, limits: Limits) -> GoldCheck:
    with alarm(2 * limits.seconds + GRACE_SECONDS):
        golds = _golds(question, limits)
    if isinstance(golds, Failure):
        return GoldCheck(f"{golds.outcome}: {golds.error}")
    if not all(compare(gold, gold.answer).ex_strict for gold in golds):
        return GoldCheck("mismatch: the gold's answer does not equal itself")
    return GoldCheck(
        None, vacuous=not any(gold.answer.rows for gold in golds), ambiguous=any(gold.ambiguous for gold in golds)
    )


def _score(item: Item, limits: Limits) -> dict[str, Any]:
    extracted = _extract(item)
    if extracted.outcome is not None:
        return _row(item, extracted.outcome, extracted)
    golds = _golds(item.question, limits)
    if isinstance(golds, Failure):  # the gold ran before, so this is the machine's fault
        return _row(item, "infra_error", extracted, error=f"gold: {golds.error}")
    with alarm(limits.seconds + GRACE_SECONDS):
        sql = _translate(extracted.sql or "", item.question.dialect)
    if isinstance(sql, Failure):
        return _row(item, sql.outcome, extracted, error=sql.error)

    ex = ex_strict = ex_set = True
    with alarm(limits.seconds + GRACE_SECONDS):
        for connection, gold in zip(_databases(item.question, limits), golds, strict=True):
            assert not isinstance(connection, Failure)
            answer = query(connection, sql, limits)
            if isinstance(answer, Failure):
                return _row(item, answer.outcome, extracted, error=answer.error)
            verdict = compare(gold, answer)
            ex, ex_strict, ex_set = ex and verdict.ex, ex_strict and verdict.ex_strict, ex_set and verdict.ex_set
            if not ex and not ex_set:
                break
    match = "match" if any(gold.answer.rows for gold in golds) else "vacuous_match"
    row = _row(item, match if ex else "mismatch", extracted, ex_strict=ex_strict, ex_set=ex_set)
    # Equal trees give equal answers, so that only those need parsing.
    row["em_ast"] = ex_strict and em_ast(item.question.gold_sql, extracted.sql or "", item.question.dialect)
    return row


def _extract(item: Item) -> Extracted:
    return extract(item.prediction, item.truncated, item.question.dialect)


def _row(item: Item, outcome: str, extracted: Extracted, error: str | None = None, **fields: bool) -> dict[str, Any]:
    row: dict[str, Any] = {"id": item.id, "outcome": outcome}
    if outcome in NOT_SCORED:
        verdicts = ("ex", "ex_strict", "ex_set", "em_text", "em_ast", "format_valid", "vacuous", "ambiguous_gold")
        row |= dict.fromkeys(verdicts)
    else:
        same_text = extracted.outcome is None and em_text(
            item.question.gold_sql, extracted.sql or "", item.question.dialect
        )
        row |= {"ex": outcome in MATCHES, "ex_strict": False, "ex_set": False, "em_text": same_text}
        row |= {"em_ast": same_text, "format_valid": extracted.format_valid, "vacuous": False, "ambiguous_gold": False}
    return row | fields | {"sql": extracted.sql, "error": error}


def _lost_row(item: Item, lost: Lost) -> dict[str, Any]:
    # The gold went through its own run, so what ended this worker is the prediction; only a crash may be neither's.
    outcome = {"timeout": "timeout", "memory": "too_large", "crash": "infra_error"}[lost.reason]
    return _row(item, outcome, _extract(item), error=lost.error)


@lru_cache(maxsize=128)
def _golds(question: Question, limits: Limits) -> list[Gold] | Failure:
    """The gold's answers on its databases, or why there are none."""
    if question.problem is not None:
        return Failure("no_database", question.problem)
    if not question.setups and question.database is None:
        return Failure("schema", "there is no database to run on")
    sql = _translate(question.gold_sql, question.dialect)
    if isinstance(sql, Failure):
        return sql
    gold_plan = plan(sql)
    golds = []
    for connection in _databases(question, limits):
        if isinstance(connection, Failure):
            return Failure(connection.outcome, f"setup: {connection.error}")
        gold = answer_gold(connection, gold_plan, limits)
        if isinstance(gold, Failure):
            return gold
        golds.append(gold)
    return golds


def _databases(question: Question, limits: Limits) -> Iterator[Connection | Failure]:
    if question.database is not None:
        yield _opened(question.database, limits)
    for setup in question.setups:
        yield _built(setup, question.setup_dialect, limits)


@lru_cache(maxsize=32)
def _opened(path: str, limits: Limits) -> Connection:
    return open_database(path, limits)


@lru_cache(maxsize=256)
def _built(setup: str, dialect: str | None, limits: Limits) -> Connection | Failure:
    script = _translate(setup, dialect, ddl=True)
    return script if isinstance(script, Failure) else build(script, limits)


def _translate(sql: str, dialect: str | None, ddl: bool = False) -> str | Failure:
    if dialect is None or dialect.lower() in ("", "sqlite"):
        return sql
    from text2sql.sql.dialect import Untranslatable, to_sqlite, to_sqlite_ddl

    translated = (to_sqlite_ddl if ddl else to_sqlite)(sql, dialect)
    if isinstance(translated, Untranslatable):
        return Failure(translated.outcome, translated.reason)
    return translated
