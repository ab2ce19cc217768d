"""Statistics against published or hand-computed values."""

from math import comb

import numpy as np
import pytest

from text2sql.scoring.stats import caution, flips, kappa, mcnemar, paired_gain, wilson


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
    assert mcnemar(*flipped(won, lost)) == pytest.approx(p)


def test_flips_name_their_ids():
    assert flips(["a", "b", "c", "d"], [True, False, True, False], [True, True, False, False]) == {
        "won": ["b"],
        "lost": ["c"],
    }


def test_kappa_by_hand():
    # 20 yes-yes, 5 yes-no, 10 no-yes, 15 no-no: agreement 0.7, by chance 0.5 * 0.6 + 0.5 * 0.4 = 0.5.
    a = [True] * 25 + [False] * 25
    b = [True] * 20 + [False] * 5 + [True] * 10 + [False] * 15
    assert kappa(a, b) == pytest.approx(0.4)
    assert kappa([True, False], [False, True]) == pytest.approx(-1)
    assert kappa([True, True], [True, True]) is None


def test_gain_of_one_question_per_cluster_is_the_plain_bootstrap():
    # 60 of 200 won, 20 lost: gain 0.2, standard error sqrt((0.4 - 0.04) / 200) = 0.0424; the interval is near normal.
    base, finetuned = flipped(60, 20, 120)
    gain = paired_gain(base, finetuned, list(range(200)), seed=1)
    assert gain["gain"] == pytest.approx(0.2)
    assert (gain["lo"], gain["hi"]) == pytest.approx((0.2 - 1.96 * 0.0424, 0.2 + 1.96 * 0.0424), abs=0.01)


def test_questions_that_fall_together_widen_the_interval():
    base, finetuned = flipped(60, 20, 120)
    alone = paired_gain(base, finetuned, list(range(200)), seed=1)
    together = paired_gain(base, finetuned, [n // 20 for n in range(200)], seed=1)
    assert together["gain"] == alone["gain"]
    assert together["hi"] - together["lo"] > 2 * (alone["hi"] - alone["lo"])


def test_resampling_clusters_of_unequal_size_by_hand():
    # Two clusters: one question won, three unchanged. Drawn twice: the first alone 1/4, both 1/2, the second 1/4.
    gain = paired_gain([False] * 4, [True, False, False, False], ["a", "b", "b", "b"], seed=0, confidence=0.4)
    assert gain == {"gain": 0.25, "lo": 0.25, "hi": 0.25}
    wide = paired_gain([False] * 4, [True, False, False, False], ["a", "b", "b", "b"], seed=0)
    assert (wide["lo"], wide["hi"]) == (0.0, 1.0)


def test_no_difference_has_no_width_and_the_seed_decides():
    same = [True, False] * 50
    assert paired_gain(same, same, list(range(100)), seed=3) == {"gain": 0.0, "lo": 0.0, "hi": 0.0}
    base, finetuned = flipped(30, 10, 60)
    uneven = [n % 37 for n in range(100)]
    first, again, other = (paired_gain(base, finetuned, uneven, seed=seed) for seed in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize(("databases", "least", "most"), [(40, 0.90, 0.98), (18, 0.89, 0.97), (5, 0.75, 0.87)])
def test_the_interval_covers_the_truth_about_as_often_as_it_says(databases, least, most):
    """Less often where the databases are few, which the reader is then told."""
    rng = np.random.default_rng(0)
    cluster = np.repeat(np.arange(databases), 5)
    covered = 0
    for trial in range(400):
        chance = np.clip(rng.normal(0.5, 0.1, databases), 0, 1)[cluster]
        draws = rng.random((2, len(cluster)))
        gain = paired_gain(draws[0] < chance, draws[1] < chance + 0.1, cluster, resamples=500, seed=trial)
        covered += gain["lo"] <= 0.1 <= gain["hi"]
    assert least * 400 <= covered <= most * 400
    assert ("too narrow" in caution(databases)) == (databases == 5)


def test_questions_about_one_database_are_drawn_one_by_one():
    base, finetuned = flipped(20, 5, 75)
    alone = paired_gain(base, finetuned, ["shop"] * 100, seed=1)
    assert alone == paired_gain(base, finetuned, list(range(100)), seed=1) and alone["lo"] < alone["hi"]
    assert "nothing about others" in caution(1)


def test_ten_thousand_resamples_are_fast():
    import time

    rng = np.random.default_rng(0)
    begun = time.process_time()
    paired_gain(rng.random(8000) < 0.5, rng.random(8000) < 0.6, rng.integers(500, size=8000), seed=0)
    assert time.process_time() - begun < 2


@pytest.mark.parametrize("statistic", [mcnemar, kappa])
def test_unequal_or_no_verdicts_are_refused(statistic):
    with pytest.raises(ValueError, match="unequal"):
        statistic([True], [True, False])
    with pytest.raises(ValueError, match="no questions"):
        statistic([], [])
