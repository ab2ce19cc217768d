"""How far the agreement of an arm's candidates tells right answers from wrong ones: coverage against accuracy.

Answers on which fewer candidates agree can be left unsaid. Coverage is the share of the questions that are answered
then, EX the share of those answers that is right (El-Yaniv and Wiener 2010, selective classification).
"""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from text2sql.report.numbers import mean, rounded
from text2sql.scoring import stats


def describe_samples(scored: Sequence[Mapping]) -> dict[str, Any]:
    """What the candidates of an arm brought, from its scores with a verdict (`samples.score_samples`).

    n: of candidates. ex_greedy: EX of the greedy answers alone; oracle: share of questions with a right candidate.
    curve: for each agreement that occurs, the highest first, the answers that have at least so much; area:
    under the curve of risk, one less EX, over coverage; threshold: by `suggested`.
    """
    verdicts = [(score["agreed"], score["ex"]) for score in scored]
    points = curve(verdicts)
    return {
        "n": scored[0]["samples"],
        "ex_greedy": rounded(mean(score["ex_greedy"] for score in scored)),
        "oracle": rounded(mean(score["oracle"] for score in scored)),
        "area": rounded(area(verdicts)),
        "threshold": suggested(points),
        "curve": points,
    }


def curve(verdicts: Sequence[tuple[int, bool]]) -> list[dict[str, Any]]:
    """For each agreement that occurs the answers with at least so much: {agreed, n, coverage, ex, lo, hi}.

    verdicts: (agreed, right) of each question. lo, hi: Wilson's 95 % interval of ex.
    """
    points = []
    for agreed in sorted({agreed for agreed, _ in verdicts}, reverse=True):
        kept = [right for found, right in verdicts if found >= agreed]
        low, high = stats.wilson(sum(kept), len(kept))
        points.append(
            {
                "agreed": agreed,
                "n": len(kept),
                "coverage": rounded(len(kept) / len(verdicts)),
                **{name: rounded(figure) for name, figure in (("ex", mean(kept)), ("lo", low), ("hi", high))},
            }
        )
    return points


def suggested(points: Sequence[Mapping]) -> dict[str, Any] | None:
    """The point below whose agreement an answer is to be called unsure; None where that is so of every answer.

    Of the points whose interval of EX lies above one half, the one at which right answers outnumber wrong ones by the
    most: Chow's rule (1970) where a wrong answer costs what a right one brings. Of equally good ones the widest.
    """
    sure = [point for point in points if point["lo"] > 0.5]
    return dict(max(reversed(sure), key=lambda point: point["n"] * (2 * point["ex"] - 1))) if sure else None


def area(verdicts: Sequence[tuple[int, bool]]) -> float:
    """The mean risk over all coverages, answers given in the order of their agreement and equal ones in any order.

    Where agreement says nothing it is the share of wrong answers, and the less the more it says (AURC, Geifman et al.
    2019).
    """
    asked = wrong = total = 0.0
    ordered = sorted(verdicts, key=lambda verdict: -verdict[0])
    for _, group in groupby(ordered, key=lambda verdict: verdict[0]):
        rights = [right for _, right in group]
        share = 1 - mean(rights)
        total += sum((wrong + share * count) / (asked + count) for count in range(1, len(rights) + 1))
        asked, wrong = asked + len(rights), wrong + share * len(rights)
    return total / len(verdicts)


def coverage_rows(details: Mapping[str, Mapping]) -> list[dict[str, Any]]:
    """The curves as rows of a plot, the arms as series; an arm without samples is one point, all answers."""
    whole = lambda arm: {"coverage": 1.0, "ex": arm["ex"], "lo": arm["ex_lo"], "hi": arm["ex_hi"], "agreed": 1}  # noqa: E731
    keys = ("coverage", "ex", "lo", "hi", "agreed")
    return [
        {"series": name, **{key: point[key] for key in keys}}
        for name, arm in details.items()
        for point in (arm["samples"]["curve"] if "samples" in arm else [whole(arm)])
    ]
