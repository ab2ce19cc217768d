"""Decides whether a predicted answer is the gold answer (docs/evaluation.md states the policy in words).

Answers are bags of rows. Where the gold query orders its rows, rows that tie on its sort keys may swap, and where its
LIMIT cuts through a tie every legal cut is right; both are found out by ranking the gold's rows, without its LIMIT,
by its own sort keys in SQLite itself.
"""

from text2sql.engines.sqlite import Answer
from text2sql.scoring.gold import Gold
from text2sql.scoring.matching import fits, fits_permuted
from text2sql.scoring.policy import Verdict


def compare(gold: Gold, predicted: Answer) -> Verdict:
    """The verdict of policy version 1 on one pair of answers."""
    rows, expected = predicted.rows, gold.answer
    if rows == expected.rows and predicted.columns == expected.columns:
        return Verdict(True, True, True, not rows)
    ex_set = set(expected.rows) == set(rows)
    if expected.columns != predicted.columns or len(rows) != len(expected.rows):
        return Verdict(False, False, ex_set, not expected.rows)
    strict = fits(gold.slices, rows)
    ex = strict or (expected.columns > 1 and fits_permuted(gold.slices, rows))
    return Verdict(ex, strict, ex_set, not expected.rows)
