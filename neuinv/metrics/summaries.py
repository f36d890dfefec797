"""Median, quantile and worst value of a quantity over a sample, or by intervals of the condition number."""

import math
import numbers
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import numpy as np
import torch

from neuinv.metrics.errors import condition_number


@dataclass(frozen=True)
class ConditionBin:
    """Summary of a quantity over the matrices with ``low <= kappa < high``, in the last bin ``<= high``."""

    low: float
    high: float
    count: int
    median: float
    quantile_99: float
    worst: float


def summary_by_condition(A, values, edges=(1, 10, 100, 1e3, 1e4, float("inf"))):
    """Return one :class:`ConditionBin` per interval of condition numbers, empty ones included.

    Parameters
    ----------
    A : Tensor, shape (batch, n, n)
        The matrices.
    values : Tensor, shape (batch,)
        The quantity, one number a matrix; infinity is allowed, NaN is not.
    edges : sequence of float
        At least two, increasing, finite except perhaps the last; the last bin is closed on the right, so that
        an infinite last edge takes in the matrices of infinite condition number.

    Returns
    -------
    tuple of ConditionBin
        Median, 99 % quantile and worst value are NaN where ``count`` is 0.

    Raises
    ------
    TypeError, ValueError
        Bad matrices, values that are complex or no numbers, another number of them, a NaN, or edges that are
        too few, do not increase or do not cover a matrix.

    Examples
    --------
    >>> import torch
    >>> A = torch.eye(2).expand(3, 2, 2)
    >>> summary_by_condition(A, torch.tensor([1.0, 2.0, 9.0]), edges=(1, 10))[0].median
    2.0
    """
    kappa = condition_number(A).reshape(-1)
    values = _as_real(values).to(kappa.device).reshape(-1)
    if len(values) != len(kappa):
        raise ValueError(f"values has {len(values)} entries for {len(kappa)} matrices; pass one a matrix.")
    if torch.isnan(values).any():
        raise ValueError("values has a NaN; decide what it stands for (inf for a failure) before a summary.")
    edges = _checked_edges(edges)
    outside = (kappa < edges[0]) | (kappa > edges[-1])
    if outside.any():
        worst = kappa[outside][0].item()
        raise ValueError(f"edges {edges} leave out a matrix with kappa = {worst:.3g}; widen them.")
    bins = []
    for low, high in pairwise(edges):
        inside = values[(kappa >= low) & ((kappa < high) | (high == edges[-1]))]
        bins.append(ConditionBin(low, high, len(inside), *quantiles(inside, (0.5, 0.99, 1.0))))
    return tuple(bins)


def _as_real(values):
    try:
        # by way of NumPy, which keeps Python floats in double precision
        values = values if isinstance(values, torch.Tensor) else torch.as_tensor(np.asarray(values))
    except (TypeError, ValueError):
        raise TypeError("values is no sequence of numbers; pass a tensor (batch,).") from None
    if values.is_complex():
        raise TypeError(f"values is complex ({values.dtype}); pass real numbers such as values.abs().")
    return values.detach().double()


def _checked_edges(edges):
    if not np.iterable(edges):
        raise TypeError(f"edges is {edges!r}; pass numbers such as (1, 10, 100).")
    # A tensor of edges yields tensors, NumPy its own floats.
    edges = tuple(edge.item() if hasattr(edge, "item") else edge for edge in edges)
    if any(not isinstance(edge, numbers.Real) or isinstance(edge, bool) for edge in edges):
        raise TypeError(f"edges is {edges}; pass numbers such as (1, 10, 100).")
    if len(edges) < 2:
        raise ValueError(f"edges is {edges}; pass at least two, such as (1, float('inf')).")
    if not all(map(math.isfinite, edges[:-1])) or math.isnan(edges[-1]):
        raise ValueError(f"edges is {edges}; pass finite numbers, the last of which may be infinite.")
    if any(a >= b for a, b in pairwise(edges)):
        raise ValueError(f"edges is {edges}; pass increasing numbers.")
    return tuple(map(float, edges))


def quantiles(values, levels=(0.5, 0.999, 1.0), *, lower=False):
    """Return quantiles of a sample, each of them one of its values.

    Parameters
    ----------
    values : Tensor, shape (N,)
        The sample; infinity is allowed, NaN is not.
    levels : sequence of float
        Shares p in (0, 1]; 0.5 is a median, 1 the largest value.
    lower : bool
        Where p N is whole, the values of ranks p N and p N + 1 both are quantiles: the smaller one is
        returned instead of the larger one.

    Returns
    -------
    list of float
        NaN where the sample is empty.

    Raises
    ------
    ValueError
        A NaN.

    Examples
    --------
    >>> import torch
    >>> sample = torch.tensor([4.0, 1.0, 3.0, 2.0])
    >>> quantiles(sample), quantiles(sample, lower=True)
    ([3.0, 4.0, 4.0], [2.0, 4.0, 4.0])
    """
    if torch.isnan(values).any():
        raise ValueError("values has a NaN; decide what it stands for (inf for a failure) before a summary.")
    count = len(values)
    if count == 0:
        return [math.nan] * len(levels)
    # Order statistics, not interpolation: infinities would turn an interpolated quantile into NaN.
    # In exact decimals: 0.07 times 100 is above 7 in floats.
    shares = [Fraction(str(float(p))) * count for p in levels]
    places = [math.ceil(share) - 1 if lower else min(count - 1, math.floor(share)) for share in shares]
    return values.double().sort().values[places].tolist()
