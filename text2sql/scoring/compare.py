"""Decides whether a predicted answer is the gold answer (docs/evaluation.md states the policy in words).

Answers are bags of rows. Where the gold query orders its rows, rows that tie on its sort keys may swap, and where its
LIMIT cuts through a tie every legal cut is right; both are found out by ranking the gold's rows, without its LIMIT,
by its own sort keys on the engine itself.
"""

from collections.abc import Sequence
from datetime import date, datetime, time

from text2sql.engines.cells import BOOLEAN, DATE, TIMESTAMP
from text2sql.engines.sqlite import Answer
from text2sql.scoring.gold import Gold
from text2sql.scoring.matching import Row, Slice, fits, fits_permuted
from text2sql.scoring.policy import Verdict


def compare(gold: Gold, predicted: Answer) -> Verdict:
    """The verdict of the policy on one pair of answers."""
    rows, expected = predicted.rows, gold.answer
    alike = expected.kinds == predicted.kinds or _alike(expected, predicted)
    if rows == expected.rows and predicted.columns == expected.columns:
        return Verdict(True, alike, True, not rows)
    ex_set = set(expected.rows) == set(rows)
    if expected.columns != predicted.columns or len(rows) != len(expected.rows):
        return Verdict(False, False, ex_set, not expected.rows)
    slices = gold.slices
    if not alike and _meet(expected.kinds, predicted.kinds):
        slices, rows = [Slice(_at_midnight(part.rows), part.take) for part in slices], _at_midnight(rows)
    as_they_stand = fits(slices, rows)
    ex = as_they_stand or (expected.columns > 1 and fits_permuted(slices, rows))
    return Verdict(ex, alike and as_they_stand, ex_set, not expected.rows)


def _alike(expected: Answer, predicted: Answer) -> bool:
    """Whether no boolean stands beside a number and no date beside a timestamp, column by column as they stand.

    Python takes True for 1. A column that holds nothing but NULL stands beside any other.
    """
    if not expected.columns == predicted.columns == len(expected.kinds) == len(predicted.kinds):
        return True
    return not any(
        ours != theirs
        and {ours, theirs} & {BOOLEAN, DATE, TIMESTAMP}
        and all(any(row[place] is not None for row in answer.rows) for answer in (expected, predicted))
        for place, (ours, theirs) in enumerate(zip(expected.kinds, predicted.kinds, strict=True))
    )


def _meet(ours: Sequence[str], theirs: Sequence[str]) -> bool:
    """Whether a date may have to be compared with a timestamp."""
    return (DATE in ours and TIMESTAMP in theirs) or (TIMESTAMP in ours and DATE in theirs)


def _at_midnight(rows: list[Row]) -> list[Row]:
    return [tuple(datetime.combine(cell, time()) if type(cell) is date else cell for cell in row) for row in rows]
