"""What figures allow one to say, in sentences: the one place that draws conclusions (docs/statistics.md).

Whatever prints a result (terminal, pull request, model card, page) prints these sentences, so that no two places
conclude differently. A sentence claims a difference only where the interval beside it leaves out 0.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from text2sql.scoring.forms import Changed
from text2sql.scoring.stats import (
    FEW,
    FEWEST,
    FLIPS,
    Agreement,
    Equivalence,
    Interval,
    PairedGain,
    least_gain,
    luck_of_best,
)

Verdict = Literal["better", "worse", "not shown"]
ENOUGH = 0.05  # the gain that an evaluation set should be able to show


class Conclusion(NamedTuple):
    """The verdict on one arm beside another, the sentence that says it, and the sentences that say its limits."""

    verdict: Verdict
    claim: str
    limits: tuple[str, ...]

    @property
    def text(self) -> str:
        return " ".join([self.claim, *self.limits])


def conclude(
    gain: PairedGain,
    *,
    arm: str,
    over: str,
    trainings: Literal[0, 1, 2] = 1,
    among: int = 1,
    compared: int = 1,
    holm_p: float | None = None,
) -> Conclusion:
    """What the gain of `arm` over `over` allows one to say.

    trainings: how many lie between the two: 1 for a fine-tuned arm against an untrained one, 2 for two training runs,
    0 for two untrained arms or two forms of one model. among: of how many untrained arms `over` is the best, beside a
    fine-tuned one; the pick flatters it, so that "hurt" takes a p that holds for so many. compared: how many
    comparisons stand side by side, and holm_p: the headline's p adjusted for them (`stats.holm`); a difference that
    does not survive the adjustment is not claimed. Raises ValueError for one of the two without the other.
    """
    if (compared > 1) != (holm_p is not None):
        raise ValueError(f"{compared} comparisons side by side, adjusted p: {holm_p}")
    alone = direction(gain.headline)
    by_pick = alone == "worse" and among * gain.headline.p >= 0.05
    by_number = holm_p is not None and holm_p >= 0.05
    verdict: Verdict = "not shown" if by_pick or by_number else alone
    size = f"{points(gain.gain)} points{rival(over, among) if trainings == 1 else ''} {where(gain)} ({evidence(gain)})"
    if alone == "not shown":
        claim = f"No detectable difference, so {unshown(arm, over, trainings)}: {size}. {detectable(gain)}"
    elif verdict == "not shown":
        claim = f"All comparisons considered, {unshown(arm, over, trainings)}: {size}."
    elif trainings == 1:
        claim = f"Fine-tuning {'helped' if verdict == 'better' else 'hurt'}: {size}."
    else:
        claim = f"{arm} is {verdict} than {over}: {size}."
    limits = (
        side_by_side(compared, holm_p, alone) if holm_p is not None else "",
        picked(among, by_pick) if among > 1 else "",
        reach(gain),
        luck(gain, trainings) if trainings else "",
    )
    return Conclusion(verdict, claim, tuple(limit for limit in limits if limit))


def rival(over: str, among: int) -> str:
    """What fine-tuning is measured against, and whether that is the best that goes without."""
    return f" over {over}, the best of {among} untrained arms," if among > 1 else f" over {over}"


def direction(interval: Interval) -> Verdict:
    """Better or worse where the interval leaves out 0."""
    return "better" if interval.lo > 0 else "worse" if interval.hi < 0 else "not shown"


def where(gain: PairedGain) -> str:
    """What the headline's interval is about."""
    if gain.headline is gain.alike:
        return "on databases like these"
    return "on this database" if gain.databases == 1 else f"on these {gain.databases} databases"


def evidence(gain: PairedGain) -> str:
    """The interval, what it rests on, and the tests that fit so many databases."""
    database = "1 database" if gain.databases == 1 else f"{gain.databases} databases"
    parts = [f"95 % interval {span(gain.headline)}", f"{gain.n:,} questions about {database}"]
    if gain.flips is None:
        return ", ".join([*parts, probability(gain.headline.p)])
    parts.append(f"won {gain.flips.won:,}, lost {gain.flips.lost:,}")
    if gain.flips.mcnemar_p is not None:
        return ", ".join([*parts, f"McNemar {probability(gain.flips.mcnemar_p)}"])
    parts.append(probability(gain.headline.p))
    if gain.databases < FEW and gain.flips.sign_flip_p is not None and gain.flips.smallest_p is not None:
        smallest = f"smallest possible {gain.flips.smallest_p:.2g}"
        parts.append(f"sign flip over databases {probability(gain.flips.sign_flip_p)}, {smallest}")
    return ", ".join(parts)


def unshown(arm: str, over: str, trainings: int) -> str:
    """What is not claimed."""
    if trainings == 1:
        return "it is not shown that fine-tuning helped or hurt"
    return f"it is not shown that {arm} and {over} differ"


def detectable(gain: PairedGain) -> str:
    """What a gain would have had to be."""
    if gain.headline.least >= 1:
        return "No gain is so large that this run could have been expected to detect it."
    least = f"{100 * gain.headline.least:.1f} points"
    return f"The least gain that this run could have been expected to detect (four times in five) is {least}."


def side_by_side(compared: int, holm_p: float, alone: Verdict) -> str:
    """What the number of comparisons does to the claim."""
    adjusted = f"Holm-adjusted {probability(holm_p)}"
    if alone != "not shown" and holm_p >= 0.05:
        return f"Alone it would pass for {alone}; among {compared} comparisons it does not ({adjusted})."
    return f"{adjusted} for {compared} comparisons side by side."


def picked(among: int, by_pick: bool) -> str:
    """What choosing the best untrained arm on the evaluation questions does to the gain over it."""
    pick = f"The best of {among} untrained arms was picked on these same questions, which flatters it"
    return f"{pick}: the loss may be no more than that." if by_pick else f"{pick} and makes the gain look smaller."


def reach(gain: PairedGain) -> str:
    """What the headline's interval does not speak of."""
    if gain.databases <= 2:
        return f"Nothing follows for other databases from {'one' if gain.databases == 1 else 'two'}."
    if gain.databases < FEWEST and gain.alike is not None:
        return (
            f"This is no statement about other databases: {gain.databases} are too few for one, and for databases like "
            f"these the interval is {span(gain.alike)}."
        )
    return "This is no statement about other kinds of databases or questions."


def luck(gain: PairedGain, trainings: int) -> str:
    """What is known of training luck."""
    if gain.training is None:
        return "Training luck is unmeasured: with another seed the gain may be another."
    counts = [str(count) for count in gain.seeds if count > 1]
    unmeasured = "; the other recipe's luck is unmeasured" if trainings > len(counts) else ""
    return (
        f"± {100 * gain.questions:.1f} points by the choice of questions, "
        f"± {100 * gain.training:.1f} by training luck ({' and '.join(counts)} seeds{unmeasured})."
    )


def best_of(runs: int, gain: PairedGain, *, tuning: bool) -> str:
    """What choosing the best of several runs on these questions does to its figures; nothing for one.

    gain: of one of the runs over another, for the standard error of their difference on these questions. tuning:
    whether the questions are the tuning part's, so that others are left to judge the choice.
    """
    if runs == 1:
        return ""
    se = (gain.these.hi - gain.these.lo) / (2 * 1.96)
    left = (
        "It was chosen on the tuning part; the test part says what it brings."
        if tuning
        else "It was chosen on the test part, so that no question is left to judge it by; select.tuning keeps some."
    )
    return (
        f"Best of {runs} on these same questions, so its figures are too good: the best of {runs} equal runs leads "
        f"their mean by about {100 * luck_of_best(runs, se):.1f} points through luck. {left}"
    )


def chosen_elsewhere(runs: int) -> str:
    """What may be said on the test part of the run that was the best of several on the tuning part."""
    return (
        f"Best of {runs} on the tuning part. The questions of the test part had no say in that, so its figures here "
        "are not flattered by the choice."
    )


def too_small(sizes: Sequence[int]) -> str:
    """What an evaluation set cannot show, before anything is run on it; nothing where it can show ENOUGH.

    sizes: questions of each database.
    """
    found = least_gain(sizes, FLIPS)
    least = found.alike if found.alike is not None and len(sizes) >= FEWEST else found.these
    if least <= ENOUGH:
        return ""
    questions = f"{sum(sizes):,} question{'s' * (sum(sizes) != 1)}"
    databases = f"{len(sizes):,} database{'s' * (len(sizes) != 1)}"
    return (
        f"{questions} about {databases} cannot show a gain of {100 * ENOUGH:g} points: the least gain that they can be "
        f"expected to detect is {100 * least:.1f} points, where {100 * FLIPS:g} % of the answers differ"
    )


def equality(found: Equivalence, *, arm: str, over: str) -> str:
    """Whether two arms that should not differ are equal within a margin."""
    interval = f"90 % interval {points(found.lo)} to {points(found.hi)}, {probability(found.p)}"
    margin = f"within {100 * found.margin:g} points"
    if found.equal:
        return f"{arm} and {over} are equal {margin} ({interval})."
    return f"It is not shown that {arm} and {over} are equal {margin} ({interval})."


def changed(found: Changed, *, arm: str, over: str) -> str:
    """What became of a model's answers in another form of it: texts and verdicts that changed, and whether it is equal
    within the margin."""
    flipped = f"{found.won + found.lost} of {found.verdicts:,} verdicts changed ({found.won} won, {found.lost} lost)"
    counts = f"{found.texts:,} of {found.questions:,} texts of {arm} differ from those of {over}, {flipped}."
    return counts if found.equivalence is None else f"{counts} {equality(found.equivalence, arm=arm, over=over)}"


def agreed(found: Agreement, *, raters: Sequence[str]) -> str:
    """How far two raters agree beyond chance, with the prevalence that kappa depends on."""
    shares = " and ".join(f"{100 * share:.1f} % ({rater})" for rater, share in zip(raters, found.yes, strict=True))
    if found.kappa is None:
        return f"Kappa is undefined where both give one and the same answer throughout; yes: {shares}."
    interval = "" if found.lo is None else f" (95 % interval {found.lo:.2f} to {found.hi:.2f})"
    return f"Cohen's kappa {found.kappa:.2f}{interval}; yes: {shares}."


def span(interval: Interval) -> str:
    """An interval in points."""
    return f"{points(interval.lo)} to {points(interval.hi)}"


def points(difference: float) -> str:
    """A difference of shares in percentage points, signed; one that would round to 0.0 keeps its first digit."""
    value = 100 * difference
    return f"{value:+.1g}" if 1e-9 < abs(value) < 0.05 else f"{value + 0.0:+.1f}"


def probability(p: float) -> str:
    """A p-value to two digits."""
    return "p < 0.0001" if p < 1e-4 else f"p = {p:.2g}"
