"""Scores predictions by execution: extraction, sandbox and comparator joined, one typed outcome for every row.

Every gold is run before any prediction; what fails is `gold_error` and leaves the denominator. Everything that a model
wrote runs in worker processes (`pool.guarded_workers`) that share nothing but the code, and on an engine of its own
those of no other engine's rows: the rows are the same from one worker or many, and after a kill the scoring goes on
behind the last row that it had finished. It runs here and never again: the first rows of both results are kept beside
the scores for whoever shows them.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from text2sql.base.errors import UserError
from text2sql.base.files import json_line, write_jsonl
from text2sql.base.resume import whole_lines
from text2sql.engines.duckdb import PROCESS_BYTES
from text2sql.engines.pool import Lost, alarm, guarded_workers
from text2sql.engines.protocol import Engine, EngineLost
from text2sql.engines.question import (
    ALONE,
    SQLITE,
    Engines,
    Question,
    again,
    databases,
    engine_of,
    load,
    row_question,
    statement,
    verdict_of,
    versions,
)
from text2sql.engines.sqlite import DEFAULT_LIMITS, Answer, Failure, Limits, other_dialects
from text2sql.scoring.compare import compare
from text2sql.scoring.gold import Gold, answer_gold, plan
from text2sql.scoring.metrics import Case, measure
from text2sql.scoring.policy import OUTCOMES, POLICY_VERSION, Verdict
from text2sql.scoring.results import first_rows
from text2sql.sql.extract import Extracted, extract

GRACE_SECONDS = 0.2  # between a deadline that SQLite heeds itself and the kill
SERVER_GRACE_SECONDS = 1.5  # the same of a server, whose module has a grace of its own
MEMORY_BYTES = 384 * 2**20  # of a worker process, the interpreter included
SERVER_WORKERS = 8  # each keeps KEPT_ELSEWHERE connections, and a server takes 100 unless told otherwise
IN_PROCESS = ("sqlite", "duckdb")


class GoldCheck(NamedTuple):
    """What is known of a gold before any prediction is looked at: a property of the gold and its databases alone."""

    problem: str | None  # why it cannot be scored against
    vacuous: bool = False  # it returns no row on any of its databases
    ambiguous: bool = False  # its LIMIT cuts through a tie on one of them
    databases: int = 0  # how many it has, the harsh ones aside
    database: int = 1  # the first on which it has rows, counted from 1; 1 where there is none
    result: dict[str, Any] | None = None  # its first rows there
    outcome: str = "gold_error"  # where there is a problem; infra_error where it is not the gold's


@dataclass(frozen=True)
class Item:
    """One prediction to score. `prediction` is the model's raw text; `truncated` says that it hit the token limit.

    samples: further candidates, text and truncated, among which `samples.score_samples` chooses.
    """

    id: str
    question: Question
    prediction: str
    truncated: bool = False
    samples: tuple[tuple[str, bool], ...] = ()


class Scored(NamedTuple):
    """What is written about one prediction: a line of the scores, and a line of the results beside them."""

    row: dict[str, Any]
    results: dict[str, Any]


def score_file(
    path: Path,
    items: Sequence[Item],
    *,
    workers: int,
    limits: Limits = DEFAULT_LIMITS,
    engines: Engines = ALONE,
    results: Path | None = None,
    unfinished: Path | None = None,
    by: Callable[..., Iterator["Scored"]] | None = None,
) -> dict[str, int]:
    """Writes what `score_all` says of the items to JSON Lines files, atomically; returns the number of rows by outcome.

    by: what says it in place of `score_all`, with the same arguments. path: of the scores. results: of the first rows
    of both results, where they are to be kept. Rows finished so far wait in `unfinished`, whose name must depend on
    everything that the result does (`score_key`). Raises UserError, and writes nothing, when a row could not be scored
    for no fault of its own.
    """
    outcomes: Counter[str] = Counter()
    kept: list[dict] = []

    def rows() -> Iterator[dict]:
        scored = (by or score_all)(items, workers=workers, limits=limits, engines=engines, unfinished=unfinished)
        for row, shown in tqdm(scored, total=len(items), unit="row", desc="score", disable=None):
            outcomes[row["outcome"]] += 1
            if row["outcome"] == "infra_error":
                if unfinished:
                    unfinished.unlink()
                raise UserError(f"row {row['id']} could not be scored ({row['error']}); run again")
            if results:
                kept.append(shown)
            yield row

    write_jsonl(path, rows())
    if results:
        write_jsonl(results, kept)
    if unfinished:
        unfinished.unlink(missing_ok=True)
    assert outcomes.total() == len(items) and set(outcomes) <= set(OUTCOMES)
    return {outcome: outcomes[outcome] for outcome in OUTCOMES}


def arm_items(
    rows: Sequence[dict],
    databases: Mapping[str, tuple[Sequence[str], Sequence[str]]],
    unusable: Mapping[str, str],
    generations: Sequence[dict],
    engines: Engines = ALONE,
) -> list[Item]:
    """The items of one arm: rows of the evaluation table joined by id with their databases and their generations.

    databases: filled databases by row id, ordinary and harsh; unusable: why there are none; both and engines as
    `row_question` takes them. Raises UserError when the generations are not those of the rows, one each.
    """
    generated = {generation["id"]: generation for generation in generations}
    ids = [row["id"] for row in rows]
    if sorted(generated) != sorted(ids) or len(generations) != len(ids):
        missing = len(set(ids) - set(generated))
        raise UserError(f"{missing} of {len(ids)} questions have no generation of their own; run `dvc repro`")
    return [
        Item(
            row["id"],
            _filled_question(row, databases.get(row["id"], ((), ())), unusable.get(row["id"]), engines),
            generated[row["id"]]["text"],
            generated[row["id"]]["finish_reason"] == "length",
            tuple((one["text"], one["finish_reason"] == "length") for one in generated[row["id"]].get("samples", ())),
        )
        for row in rows
    ]


def _filled_question(
    row: dict, filled: tuple[Sequence[str], Sequence[str]], problem: str | None, engines: Engines
) -> Question:
    ordinary, harsh = filled
    return row_question(row, ordinary, problem, engines, harsh)


def score_key(items: Sequence[Item], limits: Limits = DEFAULT_LIMITS, engines: Engines = ALONE) -> str:
    """A digest of everything that the scores depend on: the items, the limits, the code and the engines' versions."""
    rooms = Path(__file__).parents[1]
    digest = hashlib.sha256(json.dumps([asdict(limits), versions(engines), POLICY_VERSION], sort_keys=True).encode())
    for room in ("engines", "scoring", "sql"):
        for source in sorted((rooms / room).glob("*.py")):
            digest.update(source.read_bytes())
    for item in items:
        digest.update(json.dumps([item.id, item.question, item.prediction, item.truncated, item.samples]).encode())
    return digest.hexdigest()[:16]


def score_rows(
    items: Sequence[Item], *, workers: int, limits: Limits = DEFAULT_LIMITS, engines: Engines = ALONE
) -> Iterator[dict[str, Any]]:
    """The rows of `score_all` alone, without the results."""
    return (scored.row for scored in score_all(items, workers=workers, limits=limits, engines=engines))


def score_all(
    items: Sequence[Item],
    *,
    workers: int,
    limits: Limits = DEFAULT_LIMITS,
    engines: Engines = ALONE,
    unfinished: Path | None = None,
) -> Iterator[Scored]:
    """Yields what is said of every item, in their order. engines: those that are there beside SQLite.

    `row`: {id, outcome, the metrics and flags of `metrics.py`, sql, error, engine, failed}: the verdicts are booleans,
    null for gold_error and infra_error; `sql` is the extracted statement, untranslated; `engine` names where it ran;
    `failed` says on how many of the databases, the harsh ones aside, the answer differs, null where it did not run.
    `results`: {id, databases, database, gold, prediction}: how many databases there are, and the first rows
    (`results.first_rows`, or {error}) on the one, counted from 1, that shows the verdict: where a wrong answer first
    differs from the gold, else where the gold first has rows. `prediction` is null where there is no verdict.
    A prediction has `limits.seconds` for all of its databases together, a gold twice that.
    """
    done = [] if unfinished is None else [Scored(line["row"], line["results"]) for line in whole_lines(unfinished)]
    yield from done
    rest = items[len(done) :]
    assert [scored.row["id"] for scored in done] == [item.id for item in items[: len(done)]]
    fresh = _score_fresh(rest, workers, limits, engines)
    if unfinished is None:
        yield from fresh
        return
    unfinished.parent.mkdir(parents=True, exist_ok=True)
    with open(unfinished, "a", encoding="utf-8", errors="backslashreplace") as file:
        for count, scored in enumerate(fresh, 1):
            file.write(json_line(scored._asdict()) + "\n")
            if count % 64 == 0:
                file.flush()
            yield scored


def _score_fresh(items: Sequence[Item], workers: int, limits: Limits, engines: Engines) -> Iterator[Scored]:
    on = {question: engine_of(question, engines) for question in dict.fromkeys(item.question for item in items)}
    with ExitStack() as stack:
        runs = {engine: stack.enter_context(_workers(engine, workers, limits)) for engine in dict.fromkeys(on.values())}
        checks: dict[Question, GoldCheck] = {}
        for engine, run in runs.items():
            checks |= _check_golds(run, (question for question in on if on[question] == engine))
        results = {engine: run(_predictions(items, on, engine, checks)) for engine, run in runs.items()}
        for item in items:
            engine, gold = on[item.question], checks[item.question]
            if gold.problem is not None:
                yield _scored(item, engine, gold, gold.outcome, _extract(item), gold.problem)
                continue
            scored = next(results[engine])
            yield _lost(item, engine, gold, scored) if isinstance(scored, Lost) else scored
        assert all(next(rest, None) is None for rest in results.values())


def _predictions(
    items: Sequence[Item], on: Mapping[Question, Engine], engine: Engine, checks: Mapping[Question, GoldCheck]
) -> Iterator[tuple[Item, GoldCheck]]:
    """What the workers of an engine get: its items with their golds, where these can be scored against."""
    for item in items:
        gold = checks[item.question]
        if on[item.question] == engine and gold.problem is None:
            yield item, gold


def gold_problems(
    questions: Iterable[Question], *, workers: int, limits: Limits = DEFAULT_LIMITS
) -> dict[Question, str | None]:
    """For every gold, why it cannot be scored against: None when it runs on its databases and equals itself there."""
    with _workers(SQLITE, workers, limits) as run:
        return {question: check.problem for question, check in _check_golds(run, dict.fromkeys(questions)).items()}


def _check_golds(run: Callable[[Iterable], Iterator], questions: Iterable[Question]) -> dict[Question, GoldCheck]:
    different = list(questions)
    return {
        question: _lost_gold(result) if isinstance(result, Lost) else result
        for question, result in zip(different, run(different), strict=True)
    }


def _lost_gold(lost: Lost) -> GoldCheck:
    if lost.reason == "engine":
        return GoldCheck(lost.error, outcome="infra_error")
    return GoldCheck(f"{lost.reason}: {lost.error}")


def _workers(engine: Engine, workers: int, limits: Limits) -> AbstractContextManager[Callable[[Iterable], Iterator]]:
    return engine_workers(partial(_work, engine=engine), engine, workers, limits)


def engine_workers(
    work: Callable[..., Any], engine: Engine, workers: int, limits: Limits, statements: int = 1
) -> AbstractContextManager[Callable[[Iterable], Iterator]]:
    """Workers for what runs on an engine: `work(item, limits=limits)`, each of so many statements of a model."""
    # Golds and predictions have alarms of their own; this leaves room for building the databases besides.
    seconds = (3 + statements) * (limits.seconds + _grace(engine))
    return guarded_workers(
        partial(work, limits=limits),
        workers=workers if engine.name in IN_PROCESS else min(workers, SERVER_WORKERS),
        seconds=seconds,
        memory_bytes=PROCESS_BYTES if engine.name == "duckdb" else MEMORY_BYTES,
        initializer=partial(_prepare, engine),
    )


def _prepare(engine: Engine) -> None:
    other_dialects()
    load(engine)


def _grace(engine: Engine) -> float:
    return GRACE_SECONDS if engine.name in IN_PROCESS else SERVER_GRACE_SECONDS


def _lost(item: Item, engine: Engine, gold: GoldCheck, lost: Lost) -> Scored:
    # The gold went through its own run, so what ended this worker is the prediction; only a crash may be neither's.
    outcome = {"timeout": "timeout", "memory": "too_large"}.get(lost.reason, "infra_error")
    return _scored(item, engine, gold, outcome, _extract(item), lost.error)


# --- In the worker processes -----------------------------------------------------------------------------------------


def _work(task: Question | tuple[Item, GoldCheck], engine: Engine, limits: Limits) -> Any:
    try:
        if isinstance(task, Question):
            return again(lambda: _check_gold(task, engine, limits))
        return again(lambda: _score(*task, engine, limits))
    except EngineLost as error:
        return Lost("engine", str(error))


def _check_gold(question: Question, engine: Engine, limits: Limits) -> GoldCheck:
    with alarm(2 * limits.seconds + _grace(engine)):
        golds = _golds(question, engine, limits)
    if isinstance(golds, Failure):
        return GoldCheck(f"{golds.outcome}: {golds.error}")
    if not all(compare(gold, gold.answer).ex_strict for gold in golds):
        return GoldCheck("mismatch: the gold's answer does not equal itself")
    golds = golds[: len(golds) - len(question.harsh)]
    filled = next((place for place, gold in enumerate(golds) if gold.answer.rows), None)
    shown = filled or 0
    return GoldCheck(
        None,
        vacuous=filled is None,
        ambiguous=any(gold.ambiguous for gold in golds),
        databases=len(golds),
        database=shown + 1,
        result=_first_rows(golds[shown].answer),
    )


def _score(item: Item, gold: GoldCheck, engine: Engine, limits: Limits) -> Scored:
    extracted = _extract(item)
    if extracted.outcome is not None:
        return _scored(item, engine, gold, extracted.outcome, extracted)
    golds = _golds(item.question, engine, limits)
    if isinstance(golds, Failure):  # the gold ran before, so this is the machine's fault
        return _scored(item, engine, gold, "infra_error", extracted, f"gold: {golds.error}")
    with alarm(limits.seconds + _grace(engine)):
        sql = statement(extracted.sql or "", item.question, engine)
    if isinstance(sql, Failure):
        return _scored(item, engine, gold, sql.outcome, extracted, sql.error)

    verdicts: list[Verdict] = []
    harsh: list[Verdict] = []
    shown: dict[str, Any] = {}  # database, gold and prediction of the results
    opened = databases(item.question, limits, engine)
    if engine != SQLITE:  # a database that had to make room is built again before the clock runs
        opened = iter(list(opened))
    with alarm(limits.seconds + _grace(engine)):
        for number, (database, expected) in enumerate(zip(opened, golds, strict=True), start=1):
            assert not isinstance(database, Failure)
            answer = database.query(sql, limits)
            if isinstance(answer, Failure):
                return _scored(item, engine, gold, answer.outcome, extracted, answer.error)
            verdict = compare(expected, answer)
            if number > gold.databases:
                harsh.append(verdict)
            else:
                right = all(earlier.ex for earlier in verdicts)
                verdicts.append(verdict)
                if right and (number == gold.database or not verdict.ex):
                    kept = gold.result if number == gold.database else _first_rows(expected.answer)
                    shown = {"database": number, "gold": kept, "prediction": _first_rows(answer)}
            if number >= gold.databases and not all(earlier.ex for earlier in (*verdicts, *harsh)):
                break
    right = all(verdict.ex for verdict in verdicts)
    match = "vacuous_match" if gold.vacuous else "match"
    outcome = match if right else "mismatch"
    return _scored(item, engine, gold, outcome, extracted, verdicts=verdicts, harsh=harsh, shown=shown)


def _scored(
    item: Item,
    engine: Engine,
    gold: GoldCheck,
    outcome: str,
    extracted: Extracted,
    error: str | None = None,
    verdicts: Sequence[Verdict] = (),
    harsh: Sequence[Verdict] = (),
    shown: Mapping[str, Any] | None = None,
) -> Scored:
    """Row and results of an item. shown: database, gold and prediction of the results, where the prediction ran."""
    question = item.question
    case = Case(
        question.gold_sql, question.dialect, extracted, outcome, tuple(verdicts), gold.vacuous, gold.ambiguous,
        tuple(harsh),
    )  # fmt: skip
    row: dict[str, Any] = {"id": item.id, "outcome": outcome, **measure(case), "sql": extracted.sql, "error": error}
    row["engine"] = verdict_of(question, engine)
    row["failed"] = sum(not verdict.ex for verdict in verdicts) if verdicts else None
    if gold.problem is not None:
        shown = {"database": None, "gold": {"error": gold.problem}, "prediction": None}
    elif shown is None:
        shown = {"database": gold.database, "gold": gold.result, "prediction": {"error": error or outcome}}
    return Scored(row, {"id": item.id, "databases": gold.databases, **shown})


def _first_rows(answer: Answer) -> dict[str, Any]:
    return first_rows(answer.names, answer.rows)


def _extract(item: Item) -> Extracted:
    return extract(item.prediction, item.truncated, item.question.dialect)


@lru_cache(maxsize=128)
def _golds(question: Question, engine: Engine, limits: Limits) -> list[Gold] | Failure:
    """The gold's answers on its databases, or why there are none."""
    if question.problem is not None:
        return Failure("no_database", question.problem)
    if not question.setups and question.database is None:
        return Failure("schema", "there is no database to run on")
    sql = statement(question.gold_sql, question, engine)
    if isinstance(sql, Failure):
        return sql
    gold_plan = plan(sql, engine.dialect)
    golds = []
    for database in databases(question, limits, engine):
        if isinstance(database, Failure):
            return Failure(database.outcome, f"setup: {database.error}")
        gold = answer_gold(database, gold_plan, limits)
        if isinstance(gold, Failure):
            return gold
        golds.append(gold)
    return golds
