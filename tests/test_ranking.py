"""AUC, rank correlation and paired bootstrap: closed forms, invariance, and shuffled labels as control."""

import math

import numpy as np
import pytest
from scipy import stats

from neuinv.metrics import auc, paired_bootstrap, rank_correlation


def noise(count, seed=0):
    return np.random.default_rng(seed).normal(size=count)


@pytest.mark.parametrize(
    ("score", "positive", "value"),
    [
        ([1, 2, 3, 4], [0, 0, 1, 1], 1.0),
        ([1, 2, 3, 4], [1, 1, 0, 0], 0.0),
        ([5, 5, 5, 5], [0, 1, 0, 1], 0.5),
        ([1, 2, 2, 3], [0, 0, 1, 1], 3.5 / 4),
        ([1, math.inf, math.inf], [0, 1, 0], 0.75),
    ],
)
def test_the_auc_counts_the_pairs_in_order(score, positive, value):
    assert auc(score, positive) == pytest.approx(value)


def test_the_auc_is_mann_whitneys_statistic_and_turns_with_the_sign():
    score, positive = noise(60).round(1), noise(60, 1) > 0.3
    pairs = [(a > b) + (a == b) / 2 for a in score[positive] for b in score[~positive]]
    assert auc(score, positive) == pytest.approx(np.mean(pairs))
    assert auc(-score, positive) == pytest.approx(1 - auc(score, positive))


def test_rank_statistics_see_the_order_alone():
    x, y = noise(50), noise(50, 1) + noise(50)
    for kind in ("spearman", "kendall"):
        assert rank_correlation(np.exp(x), y**3, kind) == pytest.approx(rank_correlation(x, y, kind))
        assert rank_correlation(x, -x, kind) == pytest.approx(-1)
    assert auc(np.exp(x), y > 0) == auc(x, y > 0)


def test_rank_correlations_are_scipys():
    x, y = noise(40).round(1), (noise(40, 1) + noise(40)).round(1)
    assert rank_correlation(x, y) == pytest.approx(stats.spearmanr(x, y).statistic)
    assert rank_correlation(x, y, "kendall") == pytest.approx(stats.kendalltau(x, y).statistic)


def test_what_has_no_order_has_no_statistic():
    assert math.isnan(auc([1.0, 2.0], [True, True]))
    assert math.isnan(rank_correlation([1.0, 1.0], [1.0, 2.0]))


def test_shuffled_labels_give_intervals_around_a_half_and_around_zero():
    """The negative control: no predictor of noise is told from chance; a true one is."""
    truth, groups = noise(120), np.arange(120) % 24
    shuffled = np.random.default_rng(7).permutation(truth)
    found = paired_bootstrap(auc, {"x": truth}, shuffled > 0, groups, seed=0, count=300)["x"]
    assert found.low < 0.5 < found.high
    found = paired_bootstrap(rank_correlation, {"x": truth}, shuffled, groups, seed=0, count=300)["x"]
    assert found.low < 0 < found.high
    seen = paired_bootstrap(auc, {"x": truth + 0.5 * noise(120, 3)}, truth > 0, groups, seed=0, count=300)
    assert seen["x"].low > 0.5


def test_differences_are_taken_on_the_same_resamples():
    """The same predictor twice: the intervals are wide, the difference is exactly zero."""
    x, y = noise(60), noise(60) + 2 * noise(60, 1)
    predictors = {"x": x, "again": 3 * x + 1, "other": noise(60, 5)}
    found = paired_bootstrap(rank_correlation, predictors, y, np.arange(60) // 3, seed=1, count=200)
    again = found["again"]
    assert (again.difference, again.difference_low, again.difference_high) == (0, 0, 0)
    assert again.high - again.low > 0.1
    other = found["other"]
    assert other.difference == pytest.approx(found["x"].value - other.value)
    assert other.difference_low < other.difference < other.difference_high


def test_copies_of_a_case_buy_no_certainty():
    """Ten copies of each case in its group leave the interval as it was; ten groups would shrink it."""
    x, y = noise(30), noise(30) + noise(30, 1)
    options = {"seed": 2, "count": 400}
    once = paired_bootstrap(rank_correlation, {"x": x}, y, range(30), **options)["x"]
    copied = {"x": np.repeat(x, 10)}, np.repeat(y, 10)
    whole = paired_bootstrap(rank_correlation, *copied, np.repeat(range(30), 10), **options)["x"]
    wrong = paired_bootstrap(rank_correlation, *copied, range(300), **options)["x"]
    assert (whole.low, whole.high) == (pytest.approx(once.low), pytest.approx(once.high))
    assert wrong.high - wrong.low < 0.6 * (once.high - once.low)


def test_resamples_without_both_labels_are_counted_and_left_out():
    found = paired_bootstrap(auc, {"x": [1, 2, 3]}, [False, False, True], "abc", seed=0, count=500)["x"]
    # the positive case is in a resample with probability 1 - (2/3)^3, alone with (1/3)^3
    assert 500 * (1 - (2 / 3) ** 3 - (1 / 3) ** 3 - 0.1) < found.num_defined < 500 * (1 - (2 / 3) ** 3 + 0.05)
    assert found.low == found.high == 1


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: auc([1.0, math.nan], [True, False]), "NaN"),
        (lambda: auc([1.0], [True, False]), "shapes"),
        (lambda: rank_correlation([1, 2], [1, 2], "pearson"), "spearman"),
        (lambda: paired_bootstrap(auc, {}, [True], [0], seed=0), "at least one"),
        (lambda: paired_bootstrap(auc, {"x": [1, 2]}, [True, False], [0, 0], seed=0), "one group"),
        (lambda: paired_bootstrap(auc, {"x": [1, 2]}, [True, False], [0], seed=0), "one a case"),
        (lambda: paired_bootstrap(auc, {"x": [1, 2]}, [True, False], [0, 1], seed=0, count=3), "count"),
    ],
)
def test_bad_input_is_refused_in_words(call, words):
    with pytest.raises(ValueError, match=words):
        call()
