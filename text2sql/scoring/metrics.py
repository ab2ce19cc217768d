"""What is measured of every prediction. A metric is one function here, marked `@metric`.

To add one, write a function from a `Case` to a boolean under that mark; its name is the metric's. It is then a field of
every row of the scores (null where there is no verdict), a share in metrics/ARM.json, and a line of
`python -m text2sql score`. It runs in the sandbox's worker processes, right after the prediction. Say in
docs/evaluation.md what it means; raise POLICY_VERSION when a metric that is already there changes.

`@flag` marks what is said of the gold alone: reports count it, they give no share of it.
"""

from collections.abc import Callable
from typing import NamedTuple

from text2sql.scoring.policy import MATCHES, NOT_SCORED, Verdict
from text2sql.sql import exact_match
from text2sql.sql.extract import Extracted


class Case(NamedTuple):
    """One scored prediction with everything that a metric may look at."""

    gold_sql: str
    dialect: str | None  # of gold and prediction; None is SQLite
    extracted: Extracted  # what the model's text holds
    outcome: str  # one of policy.OUTCOMES
    verdicts: tuple[Verdict, ...]  # by database, up to the first that settles it; none where the prediction did not run
    vacuous: bool  # the gold has no row on any database
    ambiguous: bool  # the gold's LIMIT cuts through a tie on one of them
    harsh: tuple[Verdict, ...] = ()  # by harsh filling, up to the first that settles it; none unless it is right so far


Measure = Callable[[Case], bool]
METRICS: dict[str, Measure] = {}
FLAGS: dict[str, Measure] = {}


def metric(function: Measure) -> Measure:
    """Registers a metric under the function's name, in the order of the fields."""
    METRICS[function.__name__] = function
    return function


def flag(function: Measure) -> Measure:
    """Registers a property of the gold under the function's name."""
    FLAGS[function.__name__] = function
    return function


def measure(case: Case) -> dict[str, bool | None]:
    """Every metric and flag by name; None where the case has no verdict."""
    measures = METRICS | FLAGS
    if case.outcome in NOT_SCORED:
        return dict.fromkeys(measures)
    return {name: function(case) for name, function in measures.items()}


@metric
def ex(case: Case) -> bool:
    """The answer is the gold's on every database, under one permutation of the columns on each."""
    return case.outcome in MATCHES


@metric
def ex_harsh(case: Case) -> bool:
    """As `ex`, and on the harsh fillings too, where there are any."""
    return ex(case) and all(verdict.ex for verdict in case.harsh)


@metric
def ex_strict(case: Case) -> bool:
    """As `ex`, column by column as they stand."""
    return bool(case.verdicts) and all(verdict.ex_strict for verdict in case.verdicts)


@metric
def ex_set(case: Case) -> bool:
    """The answers are equal as sets of rows, as BIRD compares."""
    return bool(case.verdicts) and all(verdict.ex_set for verdict in case.verdicts)


@metric
def em_text(case: Case) -> bool:
    """The text is the gold's, white space and a last semicolon aside."""
    return case.extracted.outcome is None and exact_match.em_text(case.gold_sql, case.extracted.sql or "", case.dialect)


@metric
def em_ast(case: Case) -> bool:
    """The parsed query is the gold's. Equal trees give equal answers, so only those are parsed."""
    if not case.verdicts:
        return em_text(case)
    return ex_strict(case) and exact_match.em_ast(case.gold_sql, case.extracted.sql or "", case.dialect)


@metric
def format_valid(case: Case) -> bool:
    """The model's text is the statement and nothing else."""
    return case.extracted.format_valid


@flag
def vacuous(case: Case) -> bool:
    """The gold returns no row on any of its databases."""
    return case.vacuous


@flag
def ambiguous_gold(case: Case) -> bool:
    """The gold's LIMIT cuts through a tie, so that several answers are right."""
    return case.ambiguous
