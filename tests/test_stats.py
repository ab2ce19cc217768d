"""Statistics against published or hand-computed values."""

import importlib.util
from math import comb, inf, sqrt

import numpy as np
import pytest
from conftest import ROOT

from text2sql.scoring.stats import (
    FEW,
    FEWEST,
    agreement,
    by_database,
    databases_needed,
    detectable,
    equivalence,
    estimate_gain,
    figures,
    flips,
    holm,
    least_gain,
    limits,
    luck_of_best,
    on_alike,
    on_these,
    questions_needed,
    sign_flip,
    wilson,
)


def test_wilson_agrees_with_newcombe_1998():
    # Newcombe, Statistics in Medicine 17 (1998) 857-872, table I, method 3 (score interval without correction).
    published = [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0000, 0.1611), (1, 29, 0.0061, 0.1718)]
    for successes, n, low, high in published:
        assert wilson(successes, n) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize("successes, n", [(0, 0), (3, 2), (-1, 5)])
def test_wilson_refuses_what_is_no_proportion(successes, n):
    with pytest.raises(ValueError):
        wilson(successes, n)


def flipped(won, lost, same=10):
    base = [False] * won + [True] * lost + [True] * same
    finetuned = [True] * won + [False] * lost + [True] * same
    return base, finetuned


@pytest.mark.parametrize(
    "won, lost, p",
    [
        (0, 0, 1.0),
        (3, 3, 1.0),
        (5, 0, 2 / 2**5),  # two tails of the fair coin
        (8, 1, 2 * (1 + 9) / 2**9),
        (1, 8, 2 * (1 + 9) / 2**9),
        (59, 6, 2 * sum(comb(65, k) for k in range(7)) / 2**65),
    ],
)
def test_mcnemar_is_the_exact_binomial_test_on_flips(won, lost, p):
    base, finetuned = flipped(won, lost)
    found = estimate_gain([base], [finetuned], ["shop"] * len(base)).flips
    assert (found.won, found.lost) == (won, lost) and found.mcnemar_p == pytest.approx(p)


def test_flips_name_their_ids():
    assert flips(["a", "b", "c", "d"], [True, False, True, False], [True, True, False, False]) == {
        "won": ["b"],
        "lost": ["c"],
    }


def test_kappa_by_hand():
    # 20 yes-yes, 5 yes-no, 10 no-yes, 15 no-no: agreement 0.7, by chance 0.5 * 0.6 + 0.5 * 0.4 = 0.5.
    a = [True] * 25 + [False] * 25
    b = [True] * 20 + [False] * 5 + [True] * 10 + [False] * 15
    assert agreement(a, b).kappa == pytest.approx(0.4)
    assert agreement([True, False], [False, True]).kappa == pytest.approx(-1)
    assert agreement([True, True], [True, True]).kappa is None


def test_unequal_or_no_verdicts_are_refused():
    with pytest.raises(ValueError, match="unequal"):
        agreement([True], [True, False])
    with pytest.raises(ValueError, match="no questions"):
        agreement([], [])
    with pytest.raises(ValueError, match="unequal"):
        estimate_gain([[True]], [[True, False]], ["a"])


# The interval on databases like these: CR2


def cr2_by_matrices(difference, clusters):
    """CR2's variance and Bell and McCaffrey's degrees of freedom of a mean, by the general matrix formulas."""
    names, place = np.unique(clusters, return_inverse=True)
    n = len(difference)
    x = np.ones((n, 1))
    rest = np.eye(n) - x @ x.T / n
    residuals = rest @ difference
    variance, columns = 0.0, []
    for number in range(len(names)):
        own = place == number
        values, vectors = np.linalg.eigh(rest[np.ix_(own, own)])
        root = vectors @ np.diag([v**-0.5 if v > 1e-12 else 0 for v in values]) @ vectors.T
        variance += (x[own].T @ root @ residuals[own]).item() ** 2 / n**2
        columns.append(rest[:, own] @ root @ x[own] / n)
    product = np.hstack(columns).T @ np.hstack(columns)
    return variance, np.trace(product) ** 2 / (product**2).sum()


def clubsandwich_df(n):
    """The closed form for a mean in clubSandwich's own tests (tests/testthat/test_intercept_formulas.R)."""
    total = n.sum()
    return total**2 / (
        total**2 * (n**2 / (total - n) ** 2).sum()
        - 2 * total * (n**3 / (total - n) ** 2).sum()
        + (n**2 / (total - n)).sum() ** 2
    )


@pytest.mark.parametrize("sizes", [[5] * 5, [3, 3, 3, 1, 3, 4], [30, 2, 2, 3, 8], [40, 1], list(range(1, 19))])
def test_cr2_in_closed_form_is_the_matrix_computation(sizes):
    rng = np.random.default_rng(1)
    clusters = np.repeat(np.arange(len(sizes)), sizes)
    difference = rng.integers(-1, 2, len(clusters)).astype(float)
    sums, _, counted = by_database(difference, clusters.tolist())
    found = on_alike(sums, counted)
    variance, df = cr2_by_matrices(difference, clusters)
    assert found.gain == pytest.approx(difference.mean())
    assert found.se**2 == pytest.approx(variance)
    assert found.df == pytest.approx(df) == pytest.approx(clubsandwich_df(np.array(sizes, float)))


def test_with_equal_databases_cr2_is_the_t_test_on_their_means():
    from scipy.stats import ttest_1samp

    sums = np.array([3, 1, 4, -1, 5, 0])
    found = on_alike(sums, np.full(6, 7))
    test = ttest_1samp(sums / 7, 0)
    assert found.df == pytest.approx(5)
    assert found.gain / found.se == pytest.approx(test.statistic)
    low, high = limits([found])
    assert (low, high) == pytest.approx(tuple(test.confidence_interval()))


# Published clustered pairs, as the R package clust.bin.pair 0.1.2 has them from the papers. Whether PET and SPECT
# rightly found nothing in each gland, by patient (Obuchowski 1998, Statistics in Medicine 17:1495). And patients whom
# they alone or their psychiatrist alone call intolerant of drugs, by psychiatrist (Donner & Petryshen 1989, Psychiatry
# Research 28:41); of these the split of the pairs that agree is missing here, so Eliasziw's 10.23 is not computed.
PET = "000 110 111 1 110 1111 111 11 11 1 110 11 111 11 00 110 110 110 11 1 11"
SPECT = "011 111 111 1 111 1111 111 11 10 1 110 11 111 11 11 110 110 111 11 1 11"
PATIENT_ALONE = [0, 1, 1, 1, 0, 3, 3, 3, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 3, 1, 1, 2, 0, 0, 0, 0, 0, 0, 0]
PSYCHIATRIST_ALONE = [4, 2, 3, 2, 1, 3, 0, 2, 2, 4, 2, 4, 3, 2, 1, 3, 1, 2, 0, 0, 0, 2, 1, 2, 2, 0, 0, 1, 1]
PATIENTS = [7, 6, 7, 6, 4, 6, 5, 8, 4, 7, 3, 6, 7, 6, 5, 4, 6, 5, 4, 3, 5, 4, 4, 2, 3, 2, 2, 3, 1]


def thyroids():
    """(before, after, patient) of every gland."""
    rows = [
        (pet == "1", spect == "1", patient)
        for patient, (pets, spects) in enumerate(zip(PET.split(), SPECT.split(), strict=True))
        for pet, spect in zip(pets, spects, strict=True)
    ]
    return [list(column) for column in zip(*rows, strict=True)]


def psychiatry():
    """(before, after, psychiatrist) of every patient; where both agree, both are taken to say no."""
    rows = [
        pair
        for doctor, (b, c, n) in enumerate(zip(PATIENT_ALONE, PSYCHIATRIST_ALONE, PATIENTS, strict=True))
        for pair in [(True, False, doctor)] * b + [(False, True, doctor)] * c + [(False, False, doctor)] * (n - b - c)
    ]
    return [list(column) for column in zip(*rows, strict=True)]


def clustered_sums(before, after, clusters):
    return by_database(np.asarray(after, float) - np.asarray(before, float), clusters)


@pytest.mark.parametrize(
    ("pairs", "n", "obuchowski", "durkalski", "yang"),
    [(thyroids, 51, 2.86, 2.32, 3.13), (psychiatry, 135, 7.19, 7.54, 8.43)],
)
def test_clustered_pairs_agree_with_published_mcnemar_statistics(pairs, n, obuchowski, durkalski, yang):
    sums, _, sizes = clustered_sums(*pairs())
    assert sizes.sum() == n
    k, residuals = len(sums), sums - sizes * sums.sum() / n
    scaled = (k - 1) / k * sums.sum() ** 2
    assert scaled / (sums**2).sum() == pytest.approx(obuchowski, abs=0.005)
    assert (sums / sizes).sum() ** 2 / ((sums / sizes) ** 2).sum() == pytest.approx(durkalski, abs=0.005)
    assert scaled / ((residuals**2).sum() + (sums**2).sum()) * 2 == pytest.approx(yang, abs=0.005)
    # Yang's variance is the mean of Obuchowski's, taken under no gain, and of the one at the gain found, which is ours.
    found = on_alike(sums, sizes)
    assert (found.gain / found.se) ** 2 == pytest.approx(1 / (2 / yang - 1 / obuchowski), rel=0.02)


def test_eliasziw_and_donners_statistic_of_the_thyroid_pairs():
    # 3.66: McNemar's statistic over 1 + (n_c - 1) rho, with rho from the analysis of variance of all four outcomes
    # (Eliasziw & Donner 1991, doi:10.1002/sim.4780101211). It shows that the concordant pairs are right too.
    before, after, patients = (np.array(column) for column in thyroids())
    counts = np.array([np.bincount(patients, mask) for mask in (before & after, before > after, before < after)])
    sizes = np.bincount(patients)
    table = np.vstack([counts, sizes - counts.sum(0)]).T
    k, n, share = len(sizes), sizes.sum(), table.sum(0) / sizes.sum()
    mean = n / k
    between = ((table - np.outer(sizes, share)) ** 2 / sizes[:, None]).sum() / k
    within = (table * (sizes[:, None] - table) / sizes[:, None]).sum() / (k * (mean - 1))
    n0 = mean - ((sizes - mean) ** 2).sum() / (k * (k - 1) * mean)
    rho_all = (between - within) / (between + (n0 - 1) * within)
    rho = 1 / (1 + (share[1] + share[2]) * (1 - rho_all) / rho_all)
    flipped = table[:, 1] + table[:, 2]
    some = (flipped > 0).sum()
    s = flipped.sum() / some
    s0 = s - (((flipped - s) ** 2).sum() - (k - some) * s**2) / (some * (some - 1) * s)
    inflation = 1 + (s0 + some * (s - s0) - 1) * rho
    mcnemars = (table[:, 1].sum() - table[:, 2].sum()) ** 2 / flipped.sum()
    assert mcnemars == 4.5 and mcnemars / inflation == pytest.approx(3.66, abs=0.005)


# Both intervals and the headline


def test_one_database_has_bonett_and_prices_interval():
    # 20 won, 5 lost of 100: (20 - 5) / 102 and the variance of 102 questions, their own plus one won and one lost.
    base, finetuned = flipped(20, 5, 75)
    gain = estimate_gain([base], [finetuned], ["shop"] * 100)
    se = sqrt(100 / 99 * (25 - 15**2 / 100) + 2) / 102
    assert (gain.these.lo, gain.these.hi) == pytest.approx((15 / 102 - 1.959964 * se, 15 / 102 + 1.959964 * se))
    assert gain.alike is None and gain.headline is gain.these
    assert gain.flips.mcnemar_p == pytest.approx(0.0040773, abs=1e-6) and gain.flips.sign_flip_p is None
    assert gain.these.least == pytest.approx((1.959964 + 0.841621) * se)


def test_files_hold_both_intervals_and_only_the_tests_that_fit():
    base, finetuned = flipped(20, 5, 35)

    def held(databases, seeds=1):
        return figures(estimate_gain([base], [finetuned] * seeds, [place % databases for place in range(60)]))

    one, few, many = held(1), held(FEWEST - 1), held(FEW)
    assert one["databases_like_these"] is None and one["sign_flip"] is None and one["mcnemar_p"] is not None
    assert few["headline"] == "these_databases" and many["headline"] == "databases_like_these"
    for found in (one, few, many):
        assert (found["lo"], found["hi"]) == (found[found["headline"]]["lo"], found[found["headline"]]["hi"])
        assert set(found["these_databases"]) == {"lo", "hi", "p", "least"} and found["gain"] == 0.25
    assert set(few["databases_like_these"]) == {"lo", "hi", "p", "least", "df"} and few["mcnemar_p"] is None
    assert few["sign_flip"]["smallest_p"] == 0.125 and many["sign_flip"] is None
    assert many["half_width"]["training"] is None
    seeds = held(FEW, seeds=3)
    assert seeds["seeds_averaged"] == [1, 3] and seeds["sign_flip"] is None and seeds["half_width"]["training"] == 0


def test_databases_that_differ_widen_only_the_interval_on_databases_like_these():
    base = [False] * 60
    finetuned = [place < 30 for place in range(60)]  # all of five databases won, none of five others
    apart = estimate_gain([base], [finetuned], [place // 6 for place in range(60)])
    mixed = estimate_gain([base], [finetuned], [place % 10 for place in range(60)])
    assert apart.gain == mixed.gain == 0.5
    assert apart.these.hi - apart.these.lo < mixed.these.hi - mixed.these.lo
    assert apart.alike.hi - apart.alike.lo > 2 * (mixed.alike.hi - mixed.alike.lo)


def test_the_headline_is_about_databases_like_these_from_five_on():
    base, finetuned = flipped(20, 5, 35)
    for databases in (2, FEWEST - 1, FEWEST, 12):
        gain = estimate_gain([base], [finetuned], [place % databases for place in range(60)])
        assert gain.headline is (gain.alike if databases >= FEWEST else gain.these)


def test_the_interval_on_databases_like_these_holds_the_one_on_these():
    rng = np.random.default_rng(3)
    for _ in range(200):
        databases = rng.integers(rng.integers(2, 12), size=30).tolist()
        if len(set(databases)) == 1:
            continue
        gain = estimate_gain([(rng.random(30) < 0.4).tolist()], [(rng.random(30) < 0.6).tolist()], databases)
        assert gain.alike.lo <= gain.these.lo <= gain.these.hi <= gain.alike.hi
        for interval in (gain.these, gain.alike):
            assert -1 <= interval.lo <= interval.hi <= 1
            assert (interval.lo <= 0 <= interval.hi) == (interval.p >= 0.05)


def test_arms_that_never_differ_are_not_certain_to_be_equal():
    same = [True, False] * 50
    gain = estimate_gain([same], [same], [place // 5 for place in range(100)])
    assert gain.gain == 0 and gain.alike.p == 1
    assert gain.alike.lo == pytest.approx(-1.959964 * sqrt(2) / 102) and gain.alike.hi == -gain.alike.lo


def test_databases_of_one_question_take_the_variance_of_all():
    base, finetuned = flipped(20, 5, 75)
    alone = estimate_gain([base], [finetuned], list(range(100)))
    assert alone.these == pytest.approx(estimate_gain([base], [finetuned], ["shop"] * 100).these)
    single = estimate_gain([[True]], [[False]], ["shop"])
    assert (single.these.lo, single.gain) == (-1, -1) and single.these.hi > 0


def test_a_handful_of_flips_in_one_direction_is_no_proof():
    """Five won and none lost, each in another database: CR2's own t would give p = 0.02, a coin 0.06."""
    base = [False] * 126
    finetuned = [place in (0, 7, 14, 21, 28) for place in range(126)]
    gain = estimate_gain([base], [finetuned], [place // 7 for place in range(126)])
    assert gain.alike.lo < 0 < gain.alike.hi and gain.alike.p > 0.05
    assert gain.flips.sign_flip_p == pytest.approx(2 / 2**5)


def coverage():
    spec = importlib.util.spec_from_file_location("coverage_benchmark", ROOT / "benchmarks/interval_coverage.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("databases", [3, 5, 18])
@pytest.mark.parametrize(("unequal", "spread"), [(False, 0.15), (True, 0.0), (True, 0.15)])
def test_intervals_hold_the_truth_as_often_as_they_say(databases, unequal, spread):
    """A short form of benchmarks/interval_coverage.py, whose table is in docs/statistics.md."""
    benchmark = coverage()
    for gain in (0.1, 0.0):
        row = benchmark.simulate(0.5, gain, spread, unequal, databases, 10_000, [databases, 0])
        assert benchmark.holds(row), row
        assert row.these < 0.975 and row.alike > row.bootstrap + 0.02, row


# Exact tests over databases


def test_sign_flips_are_counted_exactly():
    from itertools import product

    rng = np.random.default_rng(0)
    for _ in range(30):
        sums = rng.integers(-5, 6, rng.integers(1, 9)).tolist()
        flipped_sums = [
            abs(sum(s * v for s, v in zip(signs, sums, strict=True))) for signs in product((1, -1), repeat=len(sums))
        ]
        assert sign_flip(sums) == pytest.approx(np.mean([value >= abs(sum(sums)) for value in flipped_sums]))
    assert sign_flip([1] * 500) == pytest.approx(2 / 2**500)


def test_few_databases_say_how_small_their_p_can_be():
    base, finetuned = [False] * 20, [True] * 20
    gain = estimate_gain([base], [finetuned], [place // 5 for place in range(20)])
    assert gain.flips == (20, 0, 0.125, 0.125, None)


# Seeds


def test_one_seed_measures_no_training_luck_and_several_add_theirs():
    rng = np.random.default_rng(0)
    base = (rng.random(90) < 0.2).tolist()
    databases = [place // 5 for place in range(90)]
    lucky = [(rng.random(90) < share).tolist() for share in (0.3, 0.5, 0.7)]
    one = estimate_gain([base], lucky[:1], databases)
    three = estimate_gain([base], lucky, databases)
    accuracies = [np.mean(run) for run in lucky]
    assert one.training is None and one.flips is not None and one.seeds == (1, 1)
    assert three.gain == pytest.approx(np.mean(accuracies) - np.mean(base)) and three.flips is None
    assert three.training == pytest.approx(4.302653 * np.std(accuracies, ddof=1) / sqrt(3))  # t with 2 df
    assert three.alike.hi - three.alike.lo > 2 * three.questions


def test_seeds_that_agree_add_nothing():
    base, finetuned = flipped(20, 5, 35)
    databases = [place // 6 for place in range(60)]
    once, thrice = (estimate_gain([base], [finetuned] * count, databases) for count in (1, 3))
    assert thrice.alike == pytest.approx(once.alike) and thrice.training == 0


def test_with_training_luck_the_interval_holds_the_recipes_gain():
    """Five seeds, each lucky by 4 points; ten databases of seven questions that differ by 10 points."""
    rng = np.random.default_rng(0)
    databases = np.repeat(np.arange(10), 7)
    held = []
    for _ in range(400):
        base = np.where(rng.random(70) < 0.4, 1, 0)
        share = 0.5 + rng.normal(0, 0.1, 10)[databases] + rng.normal(0, 0.04, (5, 1))
        hard = rng.random(70)  # a question is hard or easy for every seed alike
        gain = estimate_gain([base.tolist()], (hard < share).tolist(), databases.tolist())
        held.append(gain.alike.lo <= 0.1 <= gain.alike.hi)
    assert np.mean(held) >= 0.94


# Several comparisons, equality, power


@pytest.mark.parametrize("seed", range(5))
def test_holm_is_that_of_statsmodels(seed):
    from statsmodels.stats.multitest import multipletests

    p_values = np.random.default_rng(seed).uniform(0, 0.2, size=2 + 3 * seed).tolist()
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1].tolist())


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.2]) == [0.2] and holm([]) == []


def test_the_best_of_equal_runs_leads_by_the_expected_largest_normal_number():
    # Harter 1961, doi:10.1093/biomet/48.1-2.151: 0.56419 of two, 1.26721 of six.
    assert luck_of_best(2, sqrt(2)) == pytest.approx(0.56419, abs=1e-5)
    assert luck_of_best(6, sqrt(2)) == pytest.approx(1.26721, abs=1e-5)
    assert luck_of_best(1, 1.0) == pytest.approx(0, abs=1e-9)
    with pytest.raises(ValueError):
        luck_of_best(0, 1.0)


def test_equality_is_the_90_percent_interval_within_the_margin():
    same = [True, False] * 64
    databases = [place // 8 for place in range(128)]
    found = equivalence(same, same, databases, 0.02)
    assert found.equal and found.hi == pytest.approx(1.644854 * sqrt(2) / 130)
    assert not equivalence(same, same, databases, 0.015).equal
    base, finetuned = flipped(20, 5, 103)
    for margin in (0.05, 0.1, 0.2, 0.3):
        found = equivalence(base, finetuned, databases, margin)
        assert found.equal == (-margin < found.lo and found.hi < margin)
        assert found.equal == (found.p < 0.05)
    with pytest.raises(ValueError, match="margin"):
        equivalence(same, same, databases, 0)


def test_arms_that_differ_by_the_margin_seldom_pass_for_equal():
    rng = np.random.default_rng(0)
    databases = [place // 20 for place in range(200)]
    passed = 0
    for _ in range(400):
        draw = rng.random(200)  # won 10 %, lost 5 %: a gain of exactly the margin
        passed += equivalence((draw >= 0.1).tolist(), (draw < 0.95).tolist(), databases, 0.05).equal
    assert passed <= 0.05 * 400


def test_least_gain_of_independent_questions_is_the_textbooks():
    # (1.96 + 0.84) * sqrt(flips / n)
    assert least_gain([128], 14 / 128).these == pytest.approx(0.081895, abs=1e-6)
    assert least_gain([1000], 0.106).these == pytest.approx(0.028844, abs=1e-6)
    assert questions_needed(0.05, 14 / 128, 1) == 344
    assert least_gain([128], 14 / 128).alike is None


@pytest.mark.parametrize(("databases", "between"), [(1, 0.0), (6, 0.0), (20, 0.1)])
def test_a_gain_is_detected_in_four_runs_of_five_with_the_questions_said_to_be_needed(databases, between):
    count = questions_needed(0.1, 0.3, databases, between)
    size = count // databases
    promised = least_gain([size] * databases, 0.3, between)
    assert (promised.alike if databases >= FEWEST else promised.these) == pytest.approx(0.1, rel=0.03)
    rng = np.random.default_rng(0)
    gains = 0.1 + rng.normal(0, between, (4000, databases))
    won = rng.binomial(size, (0.3 + np.clip(gains, -0.3, 0.3)) / 2)
    lost = rng.binomial(size - won, (0.3 - np.clip(gains, -0.3, 0.3)) / (2 - 0.3 - np.clip(gains, -0.3, 0.3)))
    sizes = np.full(won.shape, size)
    parts = [on_these(won - lost, won + lost, sizes)]
    if databases >= FEWEST:
        parts.append(on_alike(won - lost, sizes))
    assert (limits(parts)[0] > 0).mean() == pytest.approx(0.8, abs=0.06)


def test_databases_that_differ_cap_what_questions_can_do():
    assert questions_needed(0.05, 0.3, 8, 0.15) is None
    enough = databases_needed(0.05, 0.15)
    assert questions_needed(0.05, 0.3, enough, 0.15) and not questions_needed(0.05, 0.3, enough - 1, 0.15)
    assert questions_needed(0.05, 0.3, 4, 0.15)  # on these four databases, how they differ does not matter


@pytest.mark.parametrize("given", [([], 0.1), ([3, 0], 0.1), ([3], 0.0), ([3], 1.1)])
def test_power_refuses_what_cannot_be(given):
    with pytest.raises(ValueError):
        least_gain(*given)
    with pytest.raises(ValueError):
        questions_needed(0.3, 0.1, 5)
    with pytest.raises(ValueError):
        databases_needed(0.0, 0.1)


def test_more_databases_make_the_least_gain_smaller():
    found = [least_gain([4] * count, 0.2, 0.1).alike for count in (2, 5, 10, 40)]
    assert found == sorted(found, reverse=True) and found[0] == 1.0
    assert detectable(1.0, inf) == pytest.approx(1.959964 + 0.841621)


# Kappa with its interval


def test_kappa_has_fleiss_cohen_and_everitts_interval():
    # kappa 0.4 of the table 20, 5, 10, 15. Their standard error by hand:
    p = np.array([[20, 5], [10, 15]]) / 50
    rows, columns = p.sum(1), p.sum(0)
    chance = (rows * columns).sum()
    a = sum(p[i, i] * (1 - (rows[i] + columns[i]) * 0.6) ** 2 for i in (0, 1))
    b = 0.6**2 * sum(p[i, j] * (columns[i] + rows[j]) ** 2 for i in (0, 1) for j in (0, 1) if i != j)
    c = (0.4 - chance * 0.6) ** 2
    se = sqrt((a + b - c) / ((1 - chance) ** 2 * 50))
    found = agreement([True] * 25 + [False] * 25, [True] * 20 + [False] * 5 + [True] * 10 + [False] * 15)
    assert found.kappa == pytest.approx(0.4) and found.yes == (0.5, 0.6)
    assert (found.lo, found.hi) == pytest.approx((0.4 - 1.959964 * se, 0.4 + 1.959964 * se))


def test_kappa_without_an_interval_says_so():
    assert agreement([True, True], [True, True]) == (None, None, None, (1, 1))
    assert agreement([True, False], [True, False]) == (1, None, None, (0.5, 0.5))


@pytest.mark.parametrize(
    "arms", [([], [[True]], [1]), ([[True]], [], [1]), ([[True]], [[True, False]], [1]), ([[]], [[]], [])]
)
def test_gains_of_unequal_or_no_verdicts_are_refused(arms):
    with pytest.raises(ValueError):
        estimate_gain(*arms)
