"""How well one quantity orders another: AUC, rank correlation and their paired bootstrap intervals."""

from dataclasses import dataclass

import numpy as np

from neuinv._checks import as_integer

__all__ = ["RankStatistic", "auc", "paired_bootstrap", "rank_correlation"]

LEVEL = 0.95


@dataclass(frozen=True)
class RankStatistic:
    """A statistic of one predictor with its bootstrap interval, and its difference to a reference.

    Attributes
    ----------
    value, low, high : float
        The statistic, and the 2.5 % and 97.5 % quantiles of its bootstrap distribution.
    difference, difference_low, difference_high : float
        The same for the reference's statistic minus this one's, on the same resamples; 0 for the reference.
    num_defined : int
        Resamples on which the statistic exists; the others are left out.
    """

    value: float
    low: float
    high: float
    difference: float
    difference_low: float
    difference_high: float
    num_defined: int


def auc(score, positive):
    r"""Return the probability that a positive case has the larger score, ties counted one half.

    Parameters
    ----------
    score : array-like, shape (N,)
        Numbers, infinities included.
    positive : array-like of bool, shape (N,)
        Which cases are positive.

    Returns
    -------
    float
        1/2 for a score that says nothing, 1 for one that separates; NaN where all cases are of one kind.

    Raises
    ------
    ValueError
        A NaN, or lengths that differ.

    Examples
    --------
    >>> auc([1.0, 2.0, 3.0, 3.0], [False, False, True, False])
    0.8333333333333334
    """
    from scipy.stats import rankdata

    score, positive = _pair(score, np.asarray(positive, dtype=bool))
    hits = int(positive.sum())
    misses = len(score) - hits
    if not hits or not misses:
        return float("nan")
    return float((rankdata(score)[positive].sum() - hits * (hits + 1) / 2) / (hits * misses))


def rank_correlation(x, y, kind="spearman"):
    """Return Spearman's rho or Kendall's tau-b.

    Parameters
    ----------
    x, y : array-like, shape (N,)
        Numbers, infinities included.
    kind : {"spearman", "kendall"}
        Which.

    Returns
    -------
    float
        In [-1, 1]; NaN where one of them is constant.

    Raises
    ------
    ValueError
        A NaN, lengths that differ, or an unknown kind.

    Examples
    --------
    >>> round(rank_correlation([1, 2, 3], [1, 10, 100]), 12)
    1.0
    """
    from scipy.stats import kendalltau, rankdata

    x, y = _pair(x, y)
    if kind not in ("spearman", "kendall"):
        raise ValueError(f"kind is {kind!r}; use 'spearman' or 'kendall'.")
    x, y = rankdata(x), rankdata(y)
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    if kind == "kendall":
        return float(kendalltau(x, y).statistic)
    return float(np.corrcoef(x, y)[0, 1])


def paired_bootstrap(statistic, predictors, outcome, groups, *, seed, count=1000):
    """Return a statistic of several predictors of one outcome, with paired intervals by resampled groups.

    Whole groups are drawn with replacement, because the members of a group are alike, and each resample is
    shared by all predictors, because they are compared on the same cases.

    Parameters
    ----------
    statistic : callable
        (predictor, outcome) -> float, such as :func:`auc`; NaN where it does not exist.
    predictors : dict of str to array-like, each of shape (N,)
        The first is the reference that the others are compared with.
    outcome : array-like, shape (N,)
        What is predicted.
    groups : sequence, length N
        The group of each case; at least two different ones.
    seed : int
        Of the resamples.
    count : int
        Resamples, at least 20.

    Returns
    -------
    dict of str to RankStatistic

    Raises
    ------
    ValueError
        No predictor, fewer than two groups or 20 resamples, lengths that differ, or a NaN.

    Examples
    --------
    >>> found = paired_bootstrap(auc, {"x": [0, 1, 2, 3]}, [False, False, True, True], "abab", seed=0)
    >>> found["x"].value
    1.0
    """
    count = as_integer(count, "count", 20)
    outcome = np.asarray(outcome)
    if not predictors:
        raise ValueError("predictors is empty; pass at least one, the reference first.")
    table = {name: _pair(values, outcome)[0] for name, values in predictors.items()}
    members = _members(groups, len(outcome))
    generator = np.random.default_rng(seed)
    drawn = {name: np.empty(count) for name in table}
    for k in range(count):
        rows = np.concatenate([members[g] for g in generator.integers(len(members), size=len(members))])
        for name, values in table.items():
            drawn[name][k] = statistic(values[rows], outcome[rows])
    values = {name: statistic(values, outcome) for name, values in table.items()}
    reference = next(iter(table))
    return {
        name: RankStatistic(
            values[name],
            *_interval(drawn[name]),
            values[reference] - values[name],
            *_interval(drawn[reference] - drawn[name]),
            int(np.isfinite(drawn[name]).sum()),
        )
        for name in table
    }


def _members(groups, length):
    groups = list(groups)
    if len(groups) != length:
        raise ValueError(f"groups has {len(groups)} entries for {length} cases; pass one a case.")
    members = {}
    for row, group in enumerate(groups):
        members.setdefault(group, []).append(row)
    if len(members) < 2:
        raise ValueError("groups holds one group; pass at least two, or resample single cases.")
    return [np.array(rows) for rows in members.values()]


def _interval(values):
    values = values[np.isfinite(values)]
    if len(values) == 0:
        return float("nan"), float("nan")
    return tuple(np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist())


def _pair(x, y):
    x, y = np.asarray(x, dtype=float), np.asarray(y)
    if x.ndim != 1 or x.shape != y.shape:
        raise ValueError(f"the shapes are {x.shape} and {y.shape}; pass two sequences of one length.")
    if np.isnan(x).any() or (y.dtype.kind == "f" and np.isnan(y).any()):
        raise ValueError("a value is NaN; decide what it stands for (inf for a failure) before ranking.")
    return x, y
