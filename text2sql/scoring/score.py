"""Scores predictions by execution: extraction, sandbox and comparator joined, one typed outcome for every row.

Every gold is run before any prediction; what fails is `gold_error` and leaves the denominator. Of several golds that a
question has, those that run count, and a prediction is right if it equals any. Everything that a model
wrote runs in worker processes (`compute.workforce`) that share nothing but the code, and on an engine of its own
those of no other engine's rows: the rows are the same from one worker or many, and after a kill the scoring goes on
behind the last row that it had finished. It runs here and never again: the first rows of both results are kept beside
the scores for whoever shows them.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from text2sql.base.errors import UserError
from text2sql.base.files import json_line, write_jsonl
from text2sql.base.resume import whole_lines
from text2sql.engines.compute import Workers, workforce
from text2sql.engines.duckdb import PROCESS_BYTES
from text2sql.engines.pool import Lost, alarm
from text2sql.engines.protocol import Engine, EngineLost
from text2sql.engines.question import (
    ALONE,
    SQLITE,
    Engines,
    Fillings,
    Foreign,
    Question,
    again,
    databases,
    engine_of,
    foreign_rows,
    load,
    row_question,
    setup_script,
    statement,
    verdict_of,
    versions,
)
from text2sql.engines.sqlite import DEFAULT_LIMITS, Answer, Failure, Limits, other_dialects
from text2sql.scoring.compare import compare
from text2sql.scoring.gold import Gold, answer_gold, plan
from text2sql.scoring.metrics import METRICS, Case, measure
from text2sql.scoring.policy import OUTCOMES, POLICY_VERSION, Verdict
from text2sql.scoring.results import first_rows
from text2sql.sql.context import brings_rows
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
    number: int = 1  # its place among the question's golds


Golds = tuple[GoldCheck, ...]  # of one question, as `_usable` has them


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


# From a script of SQLite and two queries, gold and prediction: a small database on which their answers differ, with
# both (`databases.witness`); None where there is none to show. Bounded in what it does, not by the clock.
Witness = Callable[[str, str, str], dict[str, Any] | None]


class Scored(NamedTuple):
    """What is written about one prediction: a line of the scores, and a line of the results beside them."""

    row: dict[str, Any]
    results: dict[str, Any]


def score_file(
    path: Path,
    items: Sequence[Item],
    *,
    workers: Workers,
    limits: Limits = DEFAULT_LIMITS,
    engines: Engines = ALONE,
    results: Path | None = None,
    unfinished: Path | None = None,
    witness: Witness | None = None,
    by: Callable[..., Iterator["Scored"]] | None = None,
) -> dict[str, int]:
    """Writes what `score_all` says of the items to JSON Lines files, atomically; returns the number of rows by outcome.

    by: what says it in place of `score_all`, with the same arguments. path: of the scores. results: of the first rows
    of both results, where they are to be kept; where they are not, a witness stands in the scores. Rows finished so far
    wait in `unfinished`, whose name must depend on everything that the result does (`score_key`). Raises UserError, and
    writes nothing, when a row could not be scored for no fault of its own.
    """
    outcomes: Counter[str] = Counter()
    kept: list[dict] = []

    def rows() -> Iterator[dict]:
        scored = (by or score_all)(
            items, workers=workers, limits=limits, engines=engines, unfinished=unfinished, witness=witness
        )
        for row, shown in tqdm(scored, total=len(items), unit="row", desc="score", disable=None):
            outcomes[row["outcome"]] += 1
            if row["outcome"] == "infra_error":
                if unfinished:
                    unfinished.unlink()
                raise UserError(f"row {row['id']} could not be scored ({row['error']}); run again")
            if results:
                kept.append(shown)
            elif witness:
                row = {**row, "witness": shown["witness"]}
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
    databases: Mapping[str, Fillings],
    unusable: Mapping[str, str],
    generations: Sequence[dict],
    engines: Engines = ALONE,
) -> list[Item]:
    """The items of one arm: rows of the evaluation table joined by id with their databases and their generations.

    databases: filled databases by row id; unusable: why there are none; both and engines as `row_question` takes them.
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
            _filled_question(row, databases.get(row["id"], Fillings()), unusable.get(row["id"]), engines),
            generated[row["id"]]["text"],
            generated[row["id"]]["finish_reason"] == "length",
            tuple((one["text"], one["finish_reason"] == "length") for one in generated[row["id"]].get("samples", ())),
        )
        for row in rows
    ]


def _filled_question(row: dict, filled: Fillings, problem: str | None, engines: Engines) -> Question:
    return row_question(row, filled.ordinary, problem, engines, filled.harsh, filled.dialect)


def foreign_arm(rows: Iterable[Mapping], databases: Mapping[str, Fillings]) -> Counter[Foreign]:
    """How many rows of the evaluation table, with their filled databases, are of which other dialect."""
    return foreign_rows((row["dialect"], row["database"], _for_sqlite(row, databases.get(row["id"]))) for row in rows)


def _for_sqlite(row: Mapping, filled: Fillings | None) -> bool:
    return filled is not None and filled.dialect is None and not brings_rows(row["context"], row["dialect"])


def score_key(
    items: Sequence[Item],
    limits: Limits = DEFAULT_LIMITS,
    engines: Engines = ALONE,
    witness: Witness | None = None,
) -> str:
    """A digest of all that the scores depend on: the items, the limits, the code, the engines' versions, witnesses."""
    rooms = Path(__file__).parents[1]
    digest = hashlib.sha256(
        json.dumps([asdict(limits), versions(engines), POLICY_VERSION, witness is not None], sort_keys=True).encode()
    )
    for room in ("engines", "scoring", "databases", "sql"):
        for source in sorted((rooms / room).glob("*.py")):
            digest.update(source.read_bytes())
    for item in items:
        digest.update(json.dumps([item.id, item.question, item.prediction, item.truncated, item.samples]).encode())
    return digest.hexdigest()[:16]


def score_rows(
    items: Sequence[Item], *, workers: Workers, limits: Limits = DEFAULT_LIMITS, engines: Engines = ALONE
) -> Iterator[dict[str, Any]]:
    """The rows of `score_all` alone, without the results."""
    return (scored.row for scored in score_all(items, workers=workers, limits=limits, engines=engines))


def score_all(
    items: Sequence[Item],
    *,
    workers: Workers,
    limits: Limits = DEFAULT_LIMITS,
    engines: Engines = ALONE,
    unfinished: Path | None = None,
    witness: Witness | None = None,
) -> Iterator[Scored]:
    """Yields what is said of every item, in their order. engines: those that are there beside SQLite.

    `row`: {id, outcome, the metrics and flags of `metrics.py`, sql, error, engine, engine_version, failed, gold}: the
    verdicts are booleans, null for gold_error and infra_error; `sql` is the extracted statement, untranslated; `engine`
    names where it ran; `failed` says on how many of the databases, the harsh ones aside, the answer differs, null where
    it did not run; `gold` is the place, counted from 1, of the gold that a right answer equals, null for others. Of
    several golds everything is said by the one that the prediction meets best.
    `results`: {id, databases, database, gold, prediction, witness}: how many databases there are, and the first rows
    (`results.first_rows`, or {error}) on the one, counted from 1, that shows the verdict: where a wrong answer first
    differs from the gold, else where the gold first has rows. `prediction` is null where there is no verdict, `witness`
    where the outcome is no mismatch on a script of SQLite, or none was asked for.
    A prediction has `limits.seconds` for all of its databases together, a gold twice that.
    """
    done = [] if unfinished is None else [Scored(line["row"], line["results"]) for line in whole_lines(unfinished)]
    yield from done
    rest = items[len(done) :]
    assert [scored.row["id"] for scored in done] == [item.id for item in items[: len(done)]]
    fresh = _score_fresh(rest, workers, limits, engines, witness)
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


def _score_fresh(
    items: Sequence[Item], workers: Workers, limits: Limits, engines: Engines, witness: Witness | None
) -> Iterator[Scored]:
    on = {question: engine_of(question, engines) for question in dict.fromkeys(item.question for item in items)}
    most = max((1 + len(question.alternatives) for question in on), default=1)
    with ExitStack() as stack:
        runs = {
            engine: stack.enter_context(_workers(engine, engines, workers, limits, witness, most))
            for engine in dict.fromkeys(on.values())
        }
        checks: dict[Question, Golds] = {}
        for engine, run in runs.items():
            checks |= _check_golds(run, (question for question in on if on[question] == engine))
        results = {engine: run(_predictions(items, on, engine, checks)) for engine, run in runs.items()}
        for item in items:
            engine, gold = on[item.question], checks[item.question][0]
            if gold.problem is not None:
                yield _scored(item, engine, gold, gold.outcome, _extract(item), gold.problem)
                continue
            scored = next(results[engine])
            yield _lost(item, engine, gold, scored) if isinstance(scored, Lost) else scored
        assert all(next(rest, None) is None for rest in results.values())


def _predictions(
    items: Sequence[Item], on: Mapping[Question, Engine], engine: Engine, checks: Mapping[Question, Golds]
) -> Iterator[tuple[Item, Golds]]:
    """What the workers of an engine get: its items with their golds, where these can be scored against."""
    for item in items:
        golds = checks[item.question]
        if on[item.question] == engine and golds[0].problem is None:
            yield item, golds


def gold_problems(
    questions: Iterable[Question], *, workers: Workers, limits: Limits = DEFAULT_LIMITS
) -> dict[Question, str | None]:
    """For every question, why it cannot be scored: None when a gold runs on its databases and equals itself there."""
    with _workers(SQLITE, ALONE, workers, limits) as run:
        return {question: golds[0].problem for question, golds in _check_golds(run, dict.fromkeys(questions)).items()}


def _check_golds(run: Callable[[Iterable], Iterator], questions: Iterable[Question]) -> dict[Question, Golds]:
    given = list(questions)
    different = list(dict.fromkeys(gold for question in given for gold in question.by_gold()))
    checks = {
        gold: _lost_gold(result) if isinstance(result, Lost) else result
        for gold, result in zip(different, run(different), strict=True)
    }
    return {
        question: _usable([checks[gold]._replace(number=n) for n, gold in enumerate(question.by_gold(), 1)])
        for question in given
    }


def _usable(golds: Sequence[GoldCheck]) -> Golds:
    """Those that run; of these, those that return rows where there are any, so that an empty answer proves nothing."""
    sound = tuple(gold for gold in golds if gold.problem is None)
    return tuple(gold for gold in sound if not gold.vacuous) or sound or (golds[0],)


def _lost_gold(lost: Lost) -> GoldCheck:
    if lost.reason == "engine":
        return GoldCheck(lost.error, outcome="infra_error")
    return GoldCheck(f"{lost.reason}: {lost.error}")


def _workers(
    engine: Engine, engines: Engines, workers: Workers, limits: Limits, witness: Witness | None = None, golds: int = 1
) -> AbstractContextManager[Callable[[Iterable], Iterator]]:
    statements = 4 * golds - 3  # every gold has its own alarms
    return engine_workers(partial(_work, witness=witness), engine, engines, workers, limits, statements)


def engine_workers(
    work: Callable[..., Any], engine: Engine, engines: Engines, workers: Workers, limits: Limits, statements: int = 1
) -> AbstractContextManager[Callable[[Iterable], Iterator]]:
    """Workers for what runs on an engine, one of `engines` or SQLite: `work(item, place=, limits=, engines=)`, where
    `engine_at` gives the engine, with so many statements of a model each."""
    # Golds and predictions have alarms of their own; this leaves room for building the databases besides.
    seconds = (3 + statements) * (limits.seconds + _grace(engine))
    place = next((key for key, other in engines.items() if other == engine), None)
    return workforce(
        partial(work, place=place, limits=limits),
        workers=workers,
        engines={} if place is None else {place: engine},
        most=None if engine.name in IN_PROCESS else SERVER_WORKERS,
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


def engine_at(place: str | None, engines: Engines) -> Engine:
    """The engine of that key; None is SQLite."""
    return SQLITE if place is None else engines[place]


def _work(
    task: Question | tuple[Item, Golds], place: str | None, limits: Limits, witness: Witness | None, engines: Engines
) -> Any:
    engine = engine_at(place, engines)
    try:
        if isinstance(task, Question):
            return again(lambda: _check_gold(task, engine, limits))
        return again(lambda: _score_best(*task, engine, limits, witness))
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


def _score_best(item: Item, golds: Golds, engine: Engine, limits: Limits, witness: Witness | None) -> Scored:
    """What is said of an item by the gold that it meets best, the first of equals."""
    best: Scored | None = None
    for gold in golds:
        question = item.question.by_gold()[gold.number - 1]
        scored = _score(replace(item, question=question), gold, engine, limits, witness)
        if best is None or _met(scored) > _met(best):
            best = scored
        if scored.row["failed"] is None or all(_met(best)):  # it does not run, or meets all that can be met
            break
    assert best is not None
    return best


def _met(scored: Scored) -> tuple[bool, ...]:
    return tuple(bool(scored.row[name]) for name in METRICS if name != "format_valid")


def _score(item: Item, gold: GoldCheck, engine: Engine, limits: Limits, witness: Witness | None = None) -> Scored:
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
    if not right and witness is not None:
        shown["witness"] = _witness(witness, item.question, sql, shown["database"], engine)
    return _scored(item, engine, gold, outcome, extracted, verdicts=verdicts, harsh=harsh, shown=shown)


def _witness(witness: Witness, question: Question, sql: str, database: int, engine: Engine) -> dict[str, Any] | None:
    """The witness of a mismatch on a database counted from 1."""
    if engine != SQLITE or not question.setups:
        return None
    script = setup_script(question.setups[database - 1], question.setup_dialect)
    gold = statement(question.gold_sql, question, engine)
    return None if isinstance(script, Failure) or isinstance(gold, Failure) else witness(script, gold, sql)


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
    row |= {"engine": verdict_of(question, engine), "engine_version": engine.version}
    row["failed"] = sum(not verdict.ex for verdict in verdicts) if verdicts else None
    row["gold"] = gold.number if row["ex"] else None
    if gold.problem is not None:
        shown = {"database": None, "gold": {"error": gold.problem}, "prediction": None}
    elif shown is None:
        shown = {"database": gold.database, "gold": gold.result, "prediction": {"error": error or outcome}}
    return Scored(row, {"id": item.id, "databases": gold.databases, "witness": None, **shown})


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
