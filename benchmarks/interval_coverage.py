"""How often the intervals of a gain hold the truth, and how often "it helped" is false, by simulation.

python benchmarks/interval_coverage.py [--trials 10000] [--seed 0]

Prints a Markdown table, in percent, and ends with exit code 1 where a target is missed: intervals hold the truth 94 %
of the time from five databases on and 93 % below, and "it helped" is said at most 3 % of the time where it did not. Two
figures in a cell are without and with a spread of the gain between databases (standard deviation 15 points); coverage
is the lower of that at a gain and at none. Beside it stands the percentile bootstrap over whole databases.

A trial draws databases, each with its own gain, and questions that flip: seven a database, or seven in the mean with
very unequal sizes. *Few flips* are 10 % of the questions, as between two similar recipes; *many* are 50 %, as between
two arms that have nothing in common. A database whose gain is above its share of flips gets as many flips as the gain.
"""

import argparse
import itertools
import sys
from typing import NamedTuple

import numpy as np

from text2sql.scoring.stats import FEWEST, limits, on_alike, on_these

DATABASES = (1, 2, 3, 4, 5, 10, 18)
SPREADS = (0.0, 0.15)
FLIPS = (0.5, 0.1)
INTERVALS = ("these", "alike", "bootstrap")
SIZE = 7
BOOTSTRAPPED = 2000  # trials in which the bootstrap is tried too, which takes most of the time


class Row(NamedTuple):
    """One setting, and over its trials the shares of intervals that held the truth and of false claims."""

    flips: float
    gain: float
    spread: float
    unequal: bool
    databases: int
    these: float
    alike: float | None
    bootstrap: float | None
    false: float  # "it helped" by the headline's interval, while it had not


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rows = table(args.trials, args.seed)
    print("| flips | databases | sizes | on these databases | on databases like these | bootstrap | false help |")
    print("|---|---|---|---|---|---|---|")
    for flips, databases, unequal in itertools.product(FLIPS, DATABASES, (False, True)):
        group = [row for row in rows if (row.flips, row.databases, row.unequal) == (flips, databases, unequal)]
        cells = [f"{100 * flips:.0f} %", str(databases), "unequal" if unequal else "equal"]
        cells += [" / ".join(lowest(group, name, spread) for spread in SPREADS) for name in INTERVALS]
        cells.append(" / ".join(f"{max(100 * row.false for row in group if row.spread == s):.1f}" for s in SPREADS))
        print(f"| {' | '.join(cells)} |")
    missed = [row for row in rows if not holds(row)]
    print(f"\n{len(rows)} settings, {args.trials:,} trials each, targets missed in {len(missed)}")
    return bool(missed)


def lowest(rows: list[Row], interval: str, spread: float) -> str:
    """The lower coverage of the two gains, in percent."""
    shares = [getattr(row, interval) for row in rows if row.spread == spread]
    return "–" if None in shares else f"{100 * min(shares):.1f}"


def table(trials: int, seed: int) -> list[Row]:
    """Every setting; the gain is 10 points with many flips, 3 with few, and 0."""
    settings = itertools.product(FLIPS, (True, False), SPREADS, (False, True), DATABASES)
    return [
        simulate(share, (0.1 if share > 0.2 else 0.03) * helps, spread, unequal, databases, trials, [seed, place])
        for place, (share, helps, spread, unequal, databases) in enumerate(settings)
    ]


def holds(row: Row) -> bool:
    """Whether a setting meets the targets; two databases give no interval that anything is concluded from."""
    least = 0.94 if row.databases >= FEWEST else 0.93
    covered = [row.these, *([row.alike] if row.alike is not None and row.databases > 2 else [])]
    return min(covered) >= least and row.false <= 0.03


def simulate(
    flips: float, gain: float, spread: float, unequal: bool, databases: int, trials: int, seed: list[int]
) -> Row:
    """One setting, all trials at once: arrays of (trials, databases)."""
    rng = np.random.default_rng(seed)
    shape = (trials, databases)
    sizes = np.full(shape, SIZE)
    if unequal:
        sizes = np.maximum(1, rng.multinomial(databases * SIZE, rng.dirichlet(np.full(databases, 1.5), trials)))
    gains = np.clip(gain + rng.normal(0, spread, shape), -1, 1)
    share = np.maximum(flips, abs(gains))
    won = rng.binomial(sizes, (share + gains) / 2)
    rest = 1 - (share + gains) / 2  # of which so many are lost
    lost = rng.binomial(sizes - won, np.divide((share - gains) / 2, rest, out=np.zeros(shape), where=rest > 1e-9))
    sums, squares = won - lost, won + lost
    truth = (sizes * gains).sum(axis=1) / sizes.sum(axis=1)  # of these databases

    these = limits([on_these(sums, squares, sizes)])
    covered = held(these, truth)
    if databases == 1:
        return Row(flips, gain, spread, unequal, databases, covered, None, None, false_claims(these[0], truth))
    alike = limits([on_these(sums, squares, sizes), on_alike(sums, sizes)])
    drawn = rng.multinomial(databases, np.full(databases, 1 / databases), 500)
    some = slice(BOOTSTRAPPED)
    resampled = (drawn @ sums[some].T) / (drawn @ sizes[some].T)
    bootstrap = np.quantile(resampled, [0.025, 0.975], axis=0)
    false = false_claims(alike[0], gain) if databases >= FEWEST else false_claims(these[0], truth)
    shares = (covered, held(alike, gain), held(bootstrap, gain), false)
    return Row(flips, gain, spread, unequal, databases, *shares)


def false_claims(lower: np.ndarray, truth: np.ndarray | float) -> float:
    """The share of trials where "it helped" is claimed and it had not."""
    return float(((lower > 0) & (truth <= 0)).mean())


def held(interval: tuple[np.ndarray, np.ndarray] | np.ndarray, truth: np.ndarray | float) -> float:
    """The share of intervals that hold the truth."""
    return float(((interval[0] <= truth) & (truth <= interval[1])).mean())


if __name__ == "__main__":
    sys.exit(main())
