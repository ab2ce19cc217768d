"""Paired statistics: both arms answer the same questions.

Every function takes one verdict per question (booleans), in the same order for both arms.
"""

from collections.abc import Hashable, Sequence
from typing import TypedDict

import numpy as np


class Gain(TypedDict):
    gain: float
    lo: float
    hi: float


def wilson(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval for a proportion (Wilson 1927, doi:10.2307/2276774). Raises ValueError for n = 0."""
    from statsmodels.stats.proportion import proportion_confint

    if n <= 0 or not 0 <= successes <= n:
        raise ValueError(f"{successes} of {n} is no proportion")
    low, high = proportion_confint(successes, n, alpha=1 - confidence, method="wilson")
    return float(low), float(high)


def paired_gain(
    base: Sequence[bool],
    finetuned: Sequence[bool],
    clusters: Sequence[Hashable],
    *,
    resamples: int = 10_000,
    seed: int,
    confidence: float = 0.95,
) -> Gain:
    """The gain in accuracy (finetuned - base) with a paired, clustered bootstrap percentile interval.

    Whole clusters (all questions of one database) are drawn with replacement, because questions about one database
    stand and fall together (Davison & Hinkley 1997, section 3.8); a resample's gain weighs every question it drew
    the same. Questions of a single cluster are drawn one by one: drawn whole, it would give an interval of no width.
    The same seed gives the same interval. Raises ValueError for no questions or unequal lengths.
    """
    _check(base, finetuned, clusters)
    difference = np.asarray(finetuned, float) - np.asarray(base, float)
    if len(set(clusters)) == 1:
        clusters = range(len(clusters))
    places: dict[Hashable, int] = {}
    cluster = np.array([places.setdefault(name, len(places)) for name in clusters])
    sums = np.bincount(cluster, difference)
    sizes = np.bincount(cluster)
    generator = np.random.default_rng(seed)
    gains = []
    rows = max(1, 2_000_000 // len(places))  # resamples at once, so that memory stays small
    for begin in range(0, resamples, rows):
        drawn = generator.integers(len(places), size=(min(rows, resamples - begin), len(places)))
        gains.append(sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1))
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.concatenate(gains), [tail, 1 - tail])
    return {"gain": float(difference.mean()), "lo": float(low), "hi": float(high)}


def caution(databases: int) -> str:
    """What to know about an interval over so few databases; nothing from ten on (docs/evaluation.md, Statistics)."""
    if databases >= 10:
        return ""
    if databases == 1:
        return "only one database, so the interval says nothing about others"
    return f"only {databases} databases, so the interval is likely too narrow"


def mcnemar(base: Sequence[bool], finetuned: Sequence[bool]) -> float:
    """The exact two-sided McNemar p-value: the binomial test on the questions that flipped (McNemar 1947)."""
    from scipy.stats import binomtest

    _check(base, finetuned)
    won = sum(bool(b) < bool(f) for b, f in zip(base, finetuned, strict=True))
    lost = sum(bool(b) > bool(f) for b, f in zip(base, finetuned, strict=True))
    return float(binomtest(won, won + lost).pvalue) if won + lost else 1.0


def flips(ids: Sequence[str], base: Sequence[bool], finetuned: Sequence[bool]) -> dict[str, list[str]]:
    """The ids that fine-tuning won and lost, in the order given."""
    _check(base, finetuned, ids)
    triples = list(zip(ids, base, finetuned, strict=True))
    return {
        "won": [name for name, before, after in triples if after and not before],
        "lost": [name for name, before, after in triples if before and not after],
    }


def kappa(a: Sequence[bool], b: Sequence[bool]) -> float | None:
    """Cohen's kappa between two raters (Cohen 1960, doi:10.1177/001316446002000104).

    None when both give one and the same answer throughout: chance alone would agree as well.
    """
    _check(a, b)
    n, agreed = len(a), sum(bool(left) == bool(right) for left, right in zip(a, b, strict=True))
    yes_a, yes_b = sum(map(bool, a)), sum(map(bool, b))
    by_chance = yes_a * yes_b + (n - yes_a) * (n - yes_b)  # of n * n
    return None if by_chance == n * n else (n * agreed - by_chance) / (n * n - by_chance)


def _check(first: Sequence, *others: Sequence) -> None:
    if len(first) == 0:
        raise ValueError("no questions to compare")
    if any(len(other) != len(first) for other in others):
        raise ValueError(f"unequal numbers of verdicts: {[len(first), *map(len, others)]}")
