r"""The spread of a family, :math:`q_F = \min_M \sup_{A \in F} \lVert I - AM\rVert_2`, with a bracket.

If :math:`q_F < 1` then k Newton-Schulz steps from the minimiser leave right residuals of at most
:math:`q_F^{2^k}`, whatever the condition number (`thm-spread`). The problem is convex; its dual is

.. math:: q_F = \max \Bigl\{ \sum_i \operatorname{tr} Y_i : \sum_i A_i^{\mathsf T} Y_i = 0,\
          \sum_i \lVert Y_i \rVert_* \le 1 \Bigr\}

with nuclear norms, so that any M gives an upper bound by evaluation and any feasible Y a lower one.
"""

import enum
from dataclasses import dataclass

import numpy as np
import torch
from scipy import optimize

from neuinv._checks import as_integer, check_matrices
from neuinv._linalg import solve
from neuinv.spectrum.pairs import pair_distance, pair_ratio

__all__ = ["Spread", "SpreadStatus", "spread"]

FIRST_SHARPNESS, LAST_SHARPNESS = 30.0, 3e5


class SpreadStatus(enum.Enum):
    """How the bracket ended; the value is a sentence for a reader."""

    CLOSED = "The bracket is closed to the tolerance."
    OPEN = "The bracket is open: the steps ended first; more steps narrow it, and both ends hold as they are."
    NO_CONTRACTION = "No constant was found that contracts: the upper end is 1, that of M = 0."


@dataclass(frozen=True)
class Spread:
    r"""The spread of a sample, ``low <= q <= high``.

    Attributes
    ----------
    low, high : float
        Bounds of :math:`\min_M \max_i \lVert I - A_i M\rVert_2` over the sample, dimensionless; up to
        rounding. The spread of the family behind the sample is at least ``low``; ``high`` says nothing about
        unseen members.
    M : Tensor, shape (n, n), float64
        The constant that attains ``high``, in the unit 1 / unit of ``A``.
    ratio : float
        A lower bound of :math:`s = \max_{i,j} \lVert A_i A_j^{-1}\rVert_2`; q >= (s - 1)/(s + 1).
        ``low`` starts from the larger bound d/(d + 2) of :func:`pair_distance`.
    num_steps : int
        Evaluations of the smoothed objective.
    status : SpreadStatus
    """

    low: float
    high: float
    M: torch.Tensor
    ratio: float
    num_steps: int
    status: SpreadStatus


def spread(A, *, tolerance=1e-2, num_steps=400):
    r"""Return a bracket of the spread of a sample of matrices.

    Parameters
    ----------
    A : Tensor, shape (N, n, n)
        The sample; a single matrix has spread 0 or, where it is singular, 1.
    tolerance : float
        Wanted relative width of the bracket, in (0, 1).
    num_steps : int
        Evaluations at most, each of N singular value decompositions.

    Returns
    -------
    Spread

    Raises
    ------
    TypeError, ValueError
        Bad matrices, more than one batch dimension, or a tolerance or number of steps out of range.

    Notes
    -----
    The maximum of all singular values is smoothed by a sum of exponentials, sharpened in stages, and
    minimised by L-BFGS in the variable K = A_0 M near I. The gradient of the smoothed maximum with respect to
    the residuals has nuclear norm 1 and becomes dual feasible by a least squares correction.

    Examples
    --------
    The spread of {1, 3} is (s - 1)/(s + 1) with s = 3, attained by M = 1/2.

    >>> found = spread(torch.tensor([[[1.0]], [[3.0]]], dtype=torch.float64))
    >>> bool(found.low <= 0.5 <= found.high <= 0.505)
    True
    """
    check_matrices(A)
    if A.ndim == 2:
        A = A[None]
    if A.ndim != 3:
        raise ValueError(f"A has shape {tuple(A.shape)}; pass one sample (N, n, n).")
    if not 0 < tolerance < 1:
        raise ValueError(f"tolerance is {tolerance}; pass a number in (0, 1).")
    num_steps = as_integer(num_steps, "num_steps", 1)
    # The spread does not change when all matrices are divided by one number; products could overflow.
    unit = A.double().abs().amax().item() or 1.0
    A = A.double().cpu() / unit
    search = _Search(A, tolerance)
    search.run(num_steps)
    low, status = search.low, SpreadStatus.OPEN
    if search.high >= 1:
        status = SpreadStatus.NO_CONTRACTION
    elif search.high - low <= tolerance * search.high or search.high <= 1e-14 * A.shape[-1]:
        status = SpreadStatus.CLOSED
    return Spread(low, search.high, search.best / unit, search.ratio, search.evaluations, status)


class _Spent(Exception):
    """All evaluations that were asked for are done."""


class _Search:
    """Upper and lower bounds that only ever improve."""

    def __init__(self, A, tolerance):
        self.A, self.tolerance = A, tolerance
        self.n = A.shape[-1]
        self.evaluations = 0
        self.best, self.high, self.low = torch.zeros(self.n, self.n, dtype=A.dtype), 1.0, 0.0
        self.ratio = pair_ratio(A)
        # An infinite ratio may be a matrix that is merely singular to working precision: it proves nothing
        # more than the dual does.
        if self.ratio < 1e12:
            distance = pair_distance(A)  # at least s - 1: the bound is at least (s - 1)/(s + 1)
            self.low = distance / (distance + 2) * (1 - 1e-9)
        self.gram = (A.mT @ A).sum(dim=0)
        self.start = self._starts()

    def _starts(self):
        """Return the best of: the inverse of the mean, least squares, each for all residuals."""
        eye = torch.eye(self.n, dtype=self.A.dtype)
        least_squares = torch.linalg.lstsq(self.gram, self.A.sum(dim=0).mT).solution
        candidates = [least_squares, solve(self.A.mean(dim=0), eye), solve(self.A[0], eye)]
        for M in candidates:
            if torch.isfinite(M).all():
                self.offer(M)
        return self.best if self.high < 1 else least_squares

    def offer(self, M):
        worst = torch.linalg.matrix_norm(self.A @ M - torch.eye(self.n, dtype=M.dtype), 2).max().item()
        if worst < self.high:
            self.best, self.high = M.clone(), worst

    def closed(self):
        return self.high - self.low <= self.tolerance * self.high or self.high < 1e-14 * self.n

    def run(self, num_steps):
        M0 = self.start
        if self.closed() or not torch.isfinite(M0).all():
            return
        B = self.A @ M0  # near I where the start is good: the variable K = M0^{-1} M is well scaled
        x = np.eye(self.n).ravel()
        sharpness = FIRST_SHARPNESS
        while sharpness <= LAST_SHARPNESS and self.evaluations < num_steps and not self.closed():
            beta = sharpness / max(self.high, 1e-12)
            self.latest = x
            try:
                x = optimize.minimize(
                    self._smoothed,
                    x,
                    args=(B, M0, beta, num_steps),
                    jac=True,
                    method="L-BFGS-B",
                    options={"maxfun": 150, "maxcor": 30},
                ).x
            except _Spent:
                x = self.latest
            self._polish(x, B, M0, beta)
            sharpness *= 5

    def _residuals(self, x, B, beta):
        K = torch.from_numpy(np.asarray(x)).reshape(self.n, self.n)
        R = torch.eye(self.n, dtype=B.dtype) - B @ K
        U, sigma, Vh = torch.linalg.svd(R)
        weights = torch.softmax((beta * sigma).flatten(), dim=0).reshape(sigma.shape)
        return K, sigma, (U * weights[:, None, :]) @ Vh

    def _smoothed(self, x, B, M0, beta, num_steps):
        # The line search of L-BFGS-B looks at its own limit only between iterations.
        if self.evaluations >= num_steps:
            raise _Spent
        self.latest = x.copy()
        K, sigma, Y = self._residuals(x, B, beta)
        self.evaluations += 1
        worst = sigma.max().item()
        if worst < self.high:
            self.best, self.high = M0 @ K, worst
        value = torch.logsumexp((beta * sigma).flatten(), dim=0).item() / beta
        return value, -(B.mT @ Y).sum(dim=0).flatten().numpy()

    def _polish(self, x, B, M0, beta):
        """Make the gradient of the smoothed maximum dual feasible, and evaluate both bounds."""
        K, _, Y = self._residuals(x, B, beta)
        self.offer(M0 @ K)
        # The correction falls on the matrices that carry the dual: a change elsewhere costs nuclear norm.
        mass = torch.linalg.matrix_norm(Y, "nuc")
        for share in (mass, mass + mass.mean(), torch.ones_like(mass)):
            defect = (self.A.mT @ Y).sum(dim=0)
            weighted = (share[:, None, None] * (self.A.mT @ self.A)).sum(dim=0)
            Z = torch.linalg.lstsq(weighted, defect).solution
            feasible = Y - share[:, None, None] * (self.A @ Z)
            left = (self.A.mT @ feasible).sum(dim=0)
            total = torch.linalg.matrix_norm(feasible, "nuc").sum()
            # What rounding leaves of the constraint costs at most its nuclear norm times ||M|| for the
            # optimal M; ||I - A M|| <= 1 there gives ||M|| <= 2 ||A^-1|| of the best conditioned member.
            slack = torch.linalg.matrix_norm(left, "nuc") * self._largest_M()
            bound = (feasible.diagonal(dim1=-2, dim2=-1).sum() - slack) / total
            self.low = max(self.low, min(bound.item() * (1 - 1e-11), self.high))

    def _largest_M(self):
        if not hasattr(self, "_M_norm"):
            self._M_norm = 2 / torch.linalg.svdvals(self.A)[:, -1].max().clamp(min=1e-300)
        return self._M_norm
