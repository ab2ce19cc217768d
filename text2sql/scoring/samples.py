"""Scores answers of several candidates: the choice among them by execution, as `ask` makes it, and what it missed.

Every candidate is scored as an answer of its own (score.py). Those that run then vote on the question's first database,
its own rows where it brings some: a choice that saw the other filled databases would know more than `ask` can, to which
one database is there, and these are aimed at the gold.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from text2sql.engines.compute import Workers
from text2sql.engines.pool import Lost
from text2sql.engines.protocol import Engine, EngineLost
from text2sql.engines.question import ALONE, Engines, Question, again, databases, engine_of, statement
from text2sql.engines.sqlite import DEFAULT_LIMITS, Answer, Failure, Limits
from text2sql.scoring.choose import choose
from text2sql.scoring.score import Item, Scored, Witness, engine_at, engine_workers, score_all


class Ballot(NamedTuple):
    """A question and the queries of those of its candidates that ran, the earlier candidate's first."""

    question: Question
    queries: tuple[str, ...]


class Choice(NamedTuple):
    """The place of the chosen query on its ballot, and how many queries have its result."""

    place: int
    agreed: int


def score_samples(
    items: Sequence[Item],
    *,
    workers: Workers,
    limits: Limits = DEFAULT_LIMITS,
    engines: Engines = ALONE,
    unfinished: Path | None = None,
    witness: Witness | None = None,
) -> Iterator[Scored]:
    """What `score_all` says of each item's chosen candidate, in the items' order, with more fields in `row`.

    `chosen`: the place of the candidate, 0 for the greedy answer; `agreed`: how many of the `samples` candidates have
    its result, 0 where none has one or it is empty; `ex_greedy`: the greedy answer's verdict; `oracle`: whether any
    candidate is right. All but `samples` are null for a gold that cannot be scored against.
    """
    groups = [[item, *(replace(item, prediction=text, truncated=cut) for text, cut in item.samples)] for item in items]
    different = [one for group in groups for one in dict.fromkeys(group)]
    scored = score_all(
        different, workers=workers, limits=limits, engines=engines, unfinished=unfinished, witness=witness
    )
    bar = iter(tqdm(scored, total=len(different), unit="answer", desc="score candidates", disable=None))
    candidates = [_all_scored(group, bar) for group in groups]
    ran = [[place for place, one in enumerate(group) if one.row["failed"] is not None] for group in candidates]
    ballots = [
        Ballot(item.question, tuple(group[place].row["sql"] for place in places))
        for item, group, places in zip(items, candidates, ran, strict=True)
    ]
    for group, places, choice in zip(candidates, ran, count(ballots, workers, limits, engines), strict=True):
        yield _chosen(group, places, choice)


def _all_scored(group: Sequence[Item], scored: Iterator[Scored]) -> list[Scored]:
    """What is said of each candidate, where `scored` goes on with that of the different ones."""
    found = {one: next(scored) for one in dict.fromkeys(group)}
    return [found[one] for one in group]


def _chosen(candidates: Sequence[Scored], ran: Sequence[int], choice: Choice | Lost) -> Scored:
    """The chosen candidate's row and results. Where the vote, or a candidate, failed for no fault of its own, that is
    what the row says."""
    lost = next((one for one in candidates if one.row["outcome"] == "infra_error"), None)
    if lost is None and isinstance(choice, Lost):
        lost = candidates[0]._replace(row=candidates[0].row | {"outcome": "infra_error", "error": choice.error})
    if lost is not None:
        return lost
    assert isinstance(choice, Choice)
    place = ran[choice.place] if ran else 0
    right = [one.row["ex"] for one in candidates]
    scored = right[0] is not None
    more = {
        "samples": len(candidates),
        "chosen": place if scored else None,
        "agreed": choice.agreed if scored else None,
        "ex_greedy": right[0],
        "oracle": any(right) if scored else None,
    }
    return Scored(candidates[place].row | more, candidates[place].results)


def count(ballots: Sequence[Ballot], workers: Workers, limits: Limits, engines: Engines) -> Iterator[Choice | Lost]:
    """The choice of each ballot, in their order, made in worker processes of its engine."""
    on = [engine_of(ballot.question, engines) for ballot in ballots]
    most = max((len(ballot.queries) for ballot in ballots), default=0)
    with ExitStack() as stack:
        found = {
            engine: stack.enter_context(engine_workers(_vote, engine, engines, workers, limits, most))(
                [ballot for ballot, own in zip(ballots, on, strict=True) if own == engine]
            )
            for engine in dict.fromkeys(on)
        }
        for engine in on:
            yield next(found[engine])


# --- In the worker processes -----------------------------------------------------------------------------------------


def _vote(ballot: Ballot, place: str | None, limits: Limits, engines: Engines) -> Choice | Lost:
    if not ballot.queries:
        return Choice(0, 0)
    try:
        return again(lambda: _choose(ballot, engine_at(place, engines), limits))
    except EngineLost as error:
        return Lost("engine", str(error))


def _choose(ballot: Ballot, engine: Engine, limits: Limits) -> Choice:
    database = next(databases(ballot.question, limits, engine))
    if isinstance(database, Failure):
        raise EngineLost(database.error)  # it was there when the candidates were scored
    queries = {sql: statement(sql, ballot.question, engine) for sql in ballot.queries}
    answers: dict[str, Answer | Failure] = {
        sql: text if isinstance(text, Failure) else database.query(text, limits) for sql, text in queries.items()
    }
    return Choice(*choose(ballot.queries, [answers[sql] for sql in ballot.queries], engine.dialect))
