"""Singular values and condition numbers of a sample, and the tail of the inverse's norm."""

import math
from dataclasses import dataclass

import torch

from neuinv._checks import as_integer, check_matrices
from neuinv.gaussian_tail import hill_estimator

__all__ = ["Quantiles", "SingularValueSummary", "singular_value_summary", "tail_index"]

LEVELS = (0.05, 0.5, 0.95, 0.99)


@dataclass(frozen=True)
class Quantiles:
    """Order statistics of one quantity over a sample: exact for the sample, *estimates* for its family.

    Attributes
    ----------
    least, low, median, high, extreme, greatest : float
        Minimum, the 5 %, 50 %, 95 % and 99 % quantiles (the smallest value with at least that share of the
        sample at or below it), maximum.
    """

    least: float
    low: float
    median: float
    high: float
    extreme: float
    greatest: float


@dataclass(frozen=True)
class SingularValueSummary:
    """Quantiles of sigma_min, sigma_max (unit of the matrices) and kappa (dimensionless) of ``count``
    matrices.

    Attributes
    ----------
    count : int
        How many matrices.
    sigma_min, sigma_max, cond : Quantiles
        The worst values are ``sigma_min.least``, ``sigma_max.greatest`` and ``cond.greatest``.
    num_unresolved : int
        Matrices whose sigma_min is below n eps sigma_max, eps = 2^-52: it is rounding there, and so is kappa.
    """

    count: int
    sigma_min: Quantiles
    sigma_max: Quantiles
    cond: Quantiles
    num_unresolved: int


def _quantiles(values):
    ordered = values.sort().values
    # Order statistics, not interpolation: infinities would turn an interpolated quantile into NaN.
    indices = [max(0, math.ceil(level * len(ordered)) - 1) for level in LEVELS]
    return Quantiles(*ordered[[0, *indices, len(ordered) - 1]].tolist())


def _extreme_singular_values(A):
    check_matrices(A)
    sigma = torch.linalg.svdvals(A.detach().double()).reshape(-1, A.shape[-1])
    return sigma[:, -1], sigma[:, 0]


def singular_value_summary(A):
    r"""Return quantiles and worst values of sigma_min, sigma_max and kappa of a sample.

    Parameters
    ----------
    A : Tensor, shape (..., n, n)
        The sample.

    Returns
    -------
    SingularValueSummary
        Computed in float64. kappa is infinite where the computed sigma_min is 0.

    Raises
    ------
    TypeError, ValueError
        Bad matrices.

    Examples
    --------
    >>> A = torch.diag_embed(torch.tensor([[1.0, 2.0], [1.0, 4.0], [1.0, 8.0]]))
    >>> singular_value_summary(A).cond.median
    4.0
    """
    return summarize(*_extreme_singular_values(A), A.shape[-1])


def summarize(smallest, largest, n):
    """Return the :class:`SingularValueSummary` of extreme singular values (N,), float64, already computed."""
    cond = torch.where(smallest > 0, largest / smallest, torch.inf)
    unresolved = smallest <= n * torch.finfo(torch.float64).eps * largest
    return SingularValueSummary(
        len(smallest), _quantiles(smallest), _quantiles(largest), _quantiles(cond), int(unresolved.sum())
    )


def tail_index(A, k=None):
    r"""Estimate the tail index of :math:`\lVert A^{-1}\rVert_2`, the a of P(norm > x) ~ x^-a, with its
    interval.

    Parameters
    ----------
    A : Tensor, shape (..., n, n)
        A sample of at least 20 matrices.
    k : int, optional
        How many of the largest norms to use; the square root of the sample size unless given.

    Returns
    -------
    TailIndex
        An *estimate*. An index of at most 1 means an infinite mean of the norm. Where norms are bounded there
        is no tail: the estimate then grows without limit with the sample.

    Raises
    ------
    TypeError
        Bad matrices, or ``k`` no integer.
    ValueError
        Bad matrices, fewer than 20, a matrix that is singular to working precision, ``k`` out of range, or
        the largest norms all equal.

    Examples
    --------
    >>> A = (1 / torch.arange(1, 101, dtype=torch.float64))[:, None, None]
    >>> tail_index(A, 10).k
    10
    """
    smallest, _ = _extreme_singular_values(A)
    if len(smallest) < 20:
        raise ValueError(f"A holds {len(smallest)} matrices; pass at least 20 to estimate a tail.")
    if not (smallest > 0).all():
        index = int(torch.nonzero(~(smallest > 0))[0])
        raise ValueError(f"A[{index}] is singular, its inverse has no norm; remove singular matrices.")
    k = math.isqrt(len(smallest)) if k is None else as_integer(k, "k", 1)
    return hill_estimator((1 / smallest).cpu().numpy(), k)
