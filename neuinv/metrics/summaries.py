"""Median, 99 % quantile and worst value of a quantity, by intervals of the condition number."""

from dataclasses import dataclass
from itertools import pairwise

import torch

from neuinv.metrics.errors import condition_number


@dataclass(frozen=True)
class ConditionBin:
    """Summary of a quantity over the matrices with ``low <= kappa < high``."""

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
        Increasing; the last bin is closed on the right.

    Returns
    -------
    tuple of ConditionBin
        Median, 99 % quantile and worst value are NaN where ``count`` is 0.

    Raises
    ------
    TypeError, ValueError
        Bad matrices, another number of values, a NaN, or edges that do not increase or do not cover a matrix.

    Examples
    --------
    >>> import torch
    >>> A = torch.eye(2).expand(3, 2, 2)
    >>> summary_by_condition(A, torch.tensor([1.0, 2.0, 9.0]), edges=(1, 10))[0].median
    2.0
    """
    kappa = condition_number(A).reshape(-1)
    values = torch.as_tensor(values, dtype=torch.float64, device=kappa.device).reshape(-1)
    if len(values) != len(kappa):
        raise ValueError(f"values has {len(values)} entries for {len(kappa)} matrices; pass one a matrix.")
    if torch.isnan(values).any():
        raise ValueError("values has a NaN; decide what it stands for (inf for a failure) before a summary.")
    if any(a >= b for a, b in pairwise(edges)):
        raise ValueError(f"edges is {tuple(edges)}; pass increasing numbers.")
    # Rounding can put the kappa of an orthogonal matrix a few ulp below 1.
    kappa = kappa.clamp(min=1.0)
    if ((kappa < edges[0]) | (kappa > edges[-1])).any():
        raise ValueError(
            f"edges {tuple(edges)} leave out a matrix with kappa = {kappa.max().item():.3g}; widen them."
        )
    bins = []
    for low, high in pairwise(edges):
        inside = values[(kappa >= low) & ((kappa < high) | (high == edges[-1]))].sort().values
        bins.append(ConditionBin(float(low), float(high), len(inside), *_order_statistics(inside)))
    return tuple(bins)


def _order_statistics(ordered):
    # Order statistics, not interpolation: infinities would turn an interpolated quantile into NaN.
    if len(ordered) == 0:
        return float("nan"), float("nan"), float("nan")
    positions = (0.5, 0.99, 1.0)
    indices = [min(len(ordered) - 1, int(p * len(ordered))) for p in positions]
    return tuple(ordered[indices].tolist())
