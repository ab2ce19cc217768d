"""Paired statistics: the arms answer the same questions (docs/statistics.md).

Verdicts come as one boolean per question, in the same order for both arms; gains, shares and their limits are shares,
so that 0.01 is one point. Two intervals answer two questions. *On these databases*: how would other questions about the
same databases have come out? *On databases like these*: how would other databases have come out? The second is the
headline from FEWEST databases on, the first below.
"""

from collections.abc import Hashable, Sequence
from math import ceil, inf, sqrt
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

FEWEST = 5  # databases from which on something is concluded about others like them
FEW = 10  # databases below which the exact test over databases stands beside the other
POWER = 0.8  # "detectable" is a gain that a run shows with this chance, by an interval of 95 %
FLIPS = 0.2  # the share of questions on which two arms are expected to differ, where nothing better is known


class Estimate(NamedTuple):
    """Gains with their standard errors and the degrees of freedom of their t; three arrays of one shape."""

    gain: NDArray[np.float64]
    se: NDArray[np.float64]
    df: NDArray[np.float64]


class Interval(NamedTuple):
    """A 95 % interval of the gain, the two-sided p of no gain that goes with it, and the least detectable gain."""

    lo: float
    hi: float
    p: float
    least: float


class Flips(NamedTuple):
    """How many questions were won and lost, and the exact tests on them (None where their assumption fails)."""

    won: int
    lost: int
    sign_flip_p: float | None  # over databases; None with one
    smallest_p: float | None  # that so many databases can give, whatever the gain
    mcnemar_p: float | None  # takes questions as independent; None with several databases


class PairedGain(NamedTuple):
    """The gain of one arm over another on the same questions, with what may be concluded from it."""

    gain: float
    n: int  # questions
    databases: int
    these: Interval
    alike: Interval | None  # None with one database
    df: float | None  # Bell and McCaffrey's, of `alike`
    flips: Flips | None  # None over several seeds
    seeds: tuple[int, int]  # training runs averaged, of the arm before and of the arm after
    questions: float  # half the width that the choice of questions (and databases) gives to the headline's interval
    training: float | None  # half the width that training luck gives; None where no arm has several seeds

    @property
    def headline(self) -> Interval:
        """On databases like these from FEWEST databases on, on these databases below."""
        return self.alike if self.alike is not None and self.databases >= FEWEST else self.these


class Equivalence(NamedTuple):
    """Two one-sided tests: whether the gain lies within the margin on either side; lo and hi are the 90 % interval."""

    margin: float
    lo: float
    hi: float
    p: float
    equal: bool


class LeastGain(NamedTuple):
    """The least gains that a run can be expected to detect; `alike` is None with one database."""

    these: float
    alike: float | None


class Agreement(NamedTuple):
    """Cohen's kappa of two raters with its 95 % interval, and the share of yes that each gave (prevalence).

    kappa is None when both give one and the same answer throughout: chance alone would agree as well. lo and hi are
    None with it, and where agreement is perfect or one rater gives one answer throughout: the normal approximation then
    has no width.
    """

    kappa: float | None
    lo: float | None
    hi: float | None
    yes: tuple[float, float]


def wilson(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval for a proportion (Wilson 1927, doi:10.2307/2276774). Raises ValueError for n = 0."""
    from statsmodels.stats.proportion import proportion_confint

    if n <= 0 or not 0 <= successes <= n:
        raise ValueError(f"{successes} of {n} is no proportion")
    low, high = proportion_confint(successes, n, alpha=1 - confidence, method="wilson")
    return float(low), float(high)


# The gain and its two intervals


def estimate_gain(
    before: Sequence[Sequence[bool]], after: Sequence[Sequence[bool]], databases: Sequence[Hashable]
) -> PairedGain:
    """The gain of `after` over `before`, each the verdicts of one or several seeds of one recipe on the same questions.

    databases: which database each question is about. Over several seeds a question counts with the mean of its
    verdicts, and the variance between the seeds' accuracies, over their number, is added to both intervals. Part of it
    is already in the questions' variance, so the sum errs on the safe side. An untrained arm has one run and no
    training luck. Raises ValueError for no runs, no questions or unequal lengths.
    """
    if not before or not after:
        raise ValueError("no runs to compare")
    _check(databases, *before, *after)
    runs = [np.asarray(arm, float) for arm in (before, after)]
    difference = runs[1].mean(axis=0) - runs[0].mean(axis=0)
    sums, squares, sizes = by_database(difference, databases)
    luck, luck_df = training_variance([arm.mean(axis=1) for arm in runs])
    n, several = len(difference), len(sizes) > 1
    parts = [on_these(sums, squares, sizes), *([on_alike(sums, sizes)] if several else [])]
    headline = parts if len(sizes) >= FEWEST else parts[:1]
    lucky = [with_training(part, luck, luck_df) for part in parts]
    single = len(before) == len(after) == 1
    return PairedGain(
        gain=float(difference.mean()),
        n=n,
        databases=len(sizes),
        these=summarize(lucky[:1]),
        alike=summarize(lucky) if several else None,
        df=float(parts[1].df) if several else None,
        flips=exact_tests(sums, squares) if single else None,
        seeds=(len(before), len(after)),
        questions=float(max(quantile(0.975, part.df) * part.se for part in headline)),
        training=None if single else float(quantile(0.975, luck_df) * sqrt(luck)),
    )


def by_database(
    difference: NDArray[np.float64], databases: Sequence[Hashable]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """For each database the sum of its questions' differences, of their squares, and how many questions it has."""
    places: dict[Hashable, int] = {}
    place = np.array([places.setdefault(name, len(places)) for name in databases])
    sums, squares = (np.bincount(place, weights).astype(float) for weights in (difference, difference**2))
    return sums, squares, np.bincount(place)


def on_these(sums: ArrayLike, squares: ArrayLike, sizes: ArrayLike) -> Estimate:
    """The gain where other questions might have been asked about the same databases: questions drawn within each.

    All (..., databases), as `by_database` gives them. Stratified variance (Cochran 1977, Sampling Techniques, 5.3): the
    sum over databases of their questions' variances. A database of one question has none, so the variance of all
    questions stands in for it (5A.12, collapsed strata, which errs on the wide side). One question won and one lost are
    added (Bonett & Price 2012, doi:10.3102/1076998611411915), so that few flips do not look like certainty.
    """
    sums, squares, sizes = (np.asarray(given, float) for given in (sums, squares, sizes))
    n, total = sizes.sum(-1), sums.sum(-1)
    overall = np.where(n > 1, (squares.sum(-1) - total**2 / n) / np.maximum(n - 1, 1), 1.0)
    own = (squares - sums**2 / sizes) / np.maximum(sizes - 1, 1)
    variance = (sizes * np.where(sizes > 1, own, overall[..., None])).sum(-1) + 2
    return Estimate(total / (n + 2), np.sqrt(variance) / (n + 2), np.full(n.shape, inf))


def on_alike(sums: ArrayLike, sizes: ArrayLike) -> Estimate:
    """The gain where other databases like these might have been drawn, of two databases or more.

    Both (..., databases). The cluster-robust variance CR2 and its degrees of freedom (Bell & McCaffrey 2002, Survey
    Methodology 28:169; Pustejovsky & Tipton 2018, doi:10.1080/07350015.2016.1247004) in the closed form of a mean: with
    w = sizes / n and e = sums - sizes * gain, V = sum(e**2 / (1 - w)) / n**2, q = w**2 / (1 - w) and
    df = 1 / (sum(w**2) + sum(q)**2 - sum(q**2)).
    """
    sums, sizes = np.asarray(sums, float), np.asarray(sizes, float)
    n = sizes.sum(-1)
    gain = sums.sum(-1) / n
    w = sizes / n[..., None]
    residuals = sums - sizes * gain[..., None]
    variance = (residuals**2 / (1 - w)).sum(-1) / n**2
    q = w**2 / (1 - w)
    return Estimate(gain, np.sqrt(variance), 1 / ((w**2).sum(-1) + q.sum(-1) ** 2 - (q**2).sum(-1)))


def limits(parts: Sequence[Estimate], confidence: float = 0.95) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The interval that holds those of all parts, clipped to ±1.

    The interval on databases like these has two parts, CR2 and the one on these databases: with few flips, or where the
    databases happen to agree, CR2 alone may be narrower than the choice of questions allows.
    """
    tail = (1 + confidence) / 2
    widths = [quantile(tail, part.df) * part.se for part in parts]
    lo = np.min([part.gain - width for part, width in zip(parts, widths, strict=True)], axis=0)
    hi = np.max([part.gain + width for part, width in zip(parts, widths, strict=True)], axis=0)
    return np.clip(lo, -1, 1), np.clip(hi, -1, 1)


def summarize(parts: Sequence[Estimate]) -> Interval:
    """The interval of single estimates, with the p that falls below 0.05 just where the interval leaves out 0."""
    lo, hi = (float(limit) for limit in limits(parts))
    p = max(2 * float(tail(abs(part.gain), part)) for part in parts)
    least = max(float(detectable(part.se, part.df)) for part in parts)
    return Interval(lo, hi, p, min(1.0, least))


def quantile(probability: float, df: ArrayLike) -> NDArray[np.float64]:
    """Student's t; the normal distribution where df is infinite. By `scipy.special`, which loads three times as fast as
    `scipy.stats` and computes the same there."""
    from scipy.special import stdtrit

    return stdtrit(df, probability)


def tail(distance: ArrayLike, part: Estimate) -> NDArray[np.float64]:
    """The chance of an estimate at least so far above the truth; 1/2 at no distance, also without a standard error."""
    from scipy.special import stdtr

    distance = np.asarray(distance, float)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(distance == 0, 0.5, stdtr(part.df, -distance / part.se))


def detectable(se: ArrayLike, df: ArrayLike) -> NDArray[np.float64]:
    """The least gain that is detected with the chance POWER (Bloom 1995, doi:10.1177/0193841X9501900504)."""
    return (quantile(0.975, df) + quantile(POWER, df)) * np.asarray(se)


def figures(gain: PairedGain) -> dict[str, Any]:
    """A gain as files hold it: `lo` and `hi` are the headline's, which `headline` names; None where something is not
    defined or, as the exact tests, does not fit so many databases."""
    alike, flips = gain.alike, gain.flips
    exact = flips if 1 < gain.databases < FEW else None
    return {
        "n": gain.n,
        "databases": gain.databases,
        "gain": gain.gain,
        "lo": gain.headline.lo,
        "hi": gain.headline.hi,
        "headline": "databases_like_these" if gain.headline is alike else "these_databases",
        "these_databases": gain.these._asdict(),
        "databases_like_these": None if alike is None else {**alike._asdict(), "df": gain.df},
        "sign_flip": None if exact is None else {"p": exact.sign_flip_p, "smallest_p": exact.smallest_p},
        "mcnemar_p": None if flips is None else flips.mcnemar_p,
        "seeds_averaged": list(gain.seeds),
        "half_width": {"questions": gain.questions, "training": gain.training},
    }


# Training luck


def training_variance(accuracies: Sequence[NDArray[np.float64]]) -> tuple[float, float]:
    """The variance that training luck gives to a gain, and its degrees of freedom, from the accuracies of each arm's
    seeds; an arm of one seed adds nothing. Welch and Satterthwaite where both have several. (0, inf) where none has."""
    several = [arm for arm in accuracies if len(arm) > 1]
    variances = [float(arm.var(ddof=1)) / len(arm) for arm in several]
    spread = sum(v**2 / (len(arm) - 1) for v, arm in zip(variances, several, strict=True))
    if not several:
        return 0.0, inf
    return sum(variances), sum(variances) ** 2 / spread if spread else float(min(len(arm) - 1 for arm in several))


def with_training(part: Estimate, variance: float, df: float) -> Estimate:
    """An estimate with training luck added; the degrees of freedom are Satterthwaite's (1946, doi:10.2307/3002019)."""
    if not variance:
        return part
    total = part.se**2 + variance
    return Estimate(part.gain, np.sqrt(total), total**2 / (part.se**4 / part.df + variance**2 / df))


# Exact tests


def exact_tests(sums: NDArray[np.float64], squares: NDArray[np.float64]) -> Flips:
    """The exact tests on the flips of two single runs, from `by_database`."""
    from scipy.stats import binomtest

    flipped, total = round(squares.sum()), round(sums.sum())
    won, lost = (flipped + total) // 2, (flipped - total) // 2
    if len(sums) > 1:
        return Flips(won, lost, sign_flip(sums.round().astype(int).tolist()), 2.0 ** (1 - len(sums)), None)
    return Flips(won, lost, None, None, float(binomtest(won, flipped).pvalue) if flipped else 1.0)


def sign_flip(sums: Sequence[int]) -> float:
    """The exact two-sided p of the sum where each database's sum may as well have had the other sign (Fisher 1935, The
    Design of Experiments, 21). Sums are whole numbers, so that their distribution is found by adding one at a time."""
    sizes = [abs(value) for value in sums if value]
    chance = np.ones(1)  # of -reach, -reach + 1, ..., reach
    for size in sizes:
        wider = np.zeros(len(chance) + 2 * size)
        wider[: len(chance)] += chance / 2
        wider[2 * size :] += chance / 2
        chance = wider
    reach = sum(sizes)
    return min(1.0, float(chance[np.abs(np.arange(-reach, reach + 1)) >= abs(sum(sums))].sum()))


# Several comparisons, equality, power


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for standing side by side (Holm 1979): the chance of a single false claim among them holds.

    By hand, because statsmodels' `multipletests` loads pandas, which is half of the time of `experiments`.
    """
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = highest
    return adjusted


def luck_of_best(runs: int, se: float) -> float:
    """By how much the best of so many equally good runs leads their mean through luck alone.

    se: the standard error of the difference of two of them. It is the expected largest of `runs` independent normal
    numbers, each with the variance se**2 / 2. Raises ValueError for no run.
    """
    from scipy.integrate import quad
    from scipy.stats import norm

    if runs < 1:
        raise ValueError(f"the best of {runs} runs")
    expected = quad(lambda x: x * runs * norm.pdf(x) * norm.cdf(x) ** (runs - 1), -10, 10)[0]
    return max(0.0, float(expected)) * se / sqrt(2)


def equivalence(
    before: Sequence[bool], after: Sequence[bool], databases: Sequence[Hashable], margin: float
) -> Equivalence:
    """Whether two arms are equal within `margin`, by two one-sided tests at 5 % (Schuirmann 1987,
    doi:10.1007/BF01068419) on the standard errors of the headline: whether its 90 % interval lies within ±margin.

    Raises ValueError for a margin that is not between 0 and 1, no questions or unequal lengths.
    """
    if not 0 < margin < 1:
        raise ValueError(f"a margin of {margin} is not between 0 and 1")
    _check(databases, before, after)
    sums, squares, sizes = by_database(np.asarray(after, float) - np.asarray(before, float), databases)
    parts = [on_these(sums, squares, sizes), *([on_alike(sums, sizes)] if len(sizes) >= FEWEST else [])]
    lo, hi = (float(limit) for limit in limits(parts, 0.9))
    p = max(float(tail(margin - sign * part.gain, part)) for part in parts for sign in (1, -1))
    return Equivalence(margin, lo, hi, p, p < 0.05)


def least_gain(sizes: Sequence[int], flips: float, between: float = 0.0) -> LeastGain:
    """The least gains that an evaluation can be expected to detect (95 % interval, POWER), before it is run.

    sizes: questions of each database. flips: the share of questions on which the two arms are expected to differ.
    between: the standard deviation of the true gain between databases. The variance of a question's difference is
    taken as `flips`, which errs on the safe side by the gain squared (Connor 1987, doi:10.2307/2531961). Raises
    ValueError for no questions or a share outside 0 to 1.
    """
    if not sizes or min(sizes) < 1:
        raise ValueError("every database needs a question")
    if not 0 < flips <= 1 or not 0 <= between <= 1:
        raise ValueError(f"flips {flips} and a standard deviation of {between} are not both shares")
    w = np.asarray(sizes, float) / sum(sizes)
    these = float(detectable(sqrt(flips / sum(sizes)), inf))
    if len(sizes) == 1:
        return LeastGain(min(1.0, these), None)
    df = on_alike(np.zeros(len(sizes)), sizes).df
    alike = float(detectable(sqrt(flips / sum(sizes) + between**2 * float((w**2).sum())), df))
    return LeastGain(min(1.0, these), min(1.0, alike))


def questions_needed(gain: float, flips: float, databases: int, between: float = 0.0) -> int | None:
    """How many questions, spread evenly over so many databases, detect a gain as `least_gain` has it, by the headline's
    interval; None where no number does, because the databases are too few for how much they differ.

    Raises ValueError for a gain that so few flips cannot give.
    """
    if not 0 < gain <= flips:
        raise ValueError(f"a gain of {gain} takes flips of at least as much, not {flips}")
    alike = databases >= FEWEST
    left = (gain / float(detectable(1.0, databases - 1 if alike else inf))) ** 2 - alike * between**2 / databases
    return max(databases, ceil(flips / left)) if left > 0 else None


def databases_needed(gain: float, between: float) -> int:
    """The fewest databases (at least FEWEST) that can detect a gain with enough questions. ValueError for no gain."""
    if not gain > 0:
        raise ValueError(f"a gain of {gain} cannot be detected")
    databases = FEWEST
    while questions_needed(gain, 1.0, databases, between) is None:
        databases += 1
    return databases


# Counts of single verdicts


def flips(ids: Sequence[str], base: Sequence[bool], finetuned: Sequence[bool]) -> dict[str, list[str]]:
    """The ids that fine-tuning won and lost, in the order given."""
    _check(base, finetuned, ids)
    triples = list(zip(ids, base, finetuned, strict=True))
    return {
        "won": [name for name, before, after in triples if after and not before],
        "lost": [name for name, before, after in triples if before and not after],
    }


def agreement(a: Sequence[bool], b: Sequence[bool]) -> Agreement:
    """Cohen's kappa between two raters with its interval (Cohen 1960, doi:10.1177/001316446002000104; the standard
    error of Fleiss, Cohen and Everitt 1969, doi:10.1037/h0028106) and the prevalence without which it cannot be read.

    Raises ValueError for no questions or unequal lengths.
    """
    from statsmodels.stats.inter_rater import cohens_kappa

    _check(a, b)
    pairs = [(bool(left), bool(right)) for left, right in zip(a, b, strict=True)]
    yes = (sum(left for left, _ in pairs) / len(pairs), sum(right for _, right in pairs) / len(pairs))
    if yes in ((0, 0), (1, 1)):
        return Agreement(None, None, None, yes)
    table = [[pairs.count((left, right)) for right in (False, True)] for left in (False, True)]
    with np.errstate(invalid="ignore"):  # of statsmodels' test of kappa, which is not used
        found = cohens_kappa(table)
    if found.std_kappa < 1e-9:
        return Agreement(float(found.kappa), None, None, yes)
    return Agreement(float(found.kappa), max(-1.0, float(found.kappa_low)), min(1.0, float(found.kappa_upp)), yes)


def _check(first: Sequence, *others: Sequence) -> None:
    if len(first) == 0:
        raise ValueError("no questions to compare")
    if any(len(other) != len(first) for other in others):
        raise ValueError(f"unequal numbers of verdicts: {[len(first), *map(len, others)]}")
