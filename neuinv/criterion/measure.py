"""What a verdict measures on its sample, with work that depends on sizes alone and never on a clock."""

import math
from dataclasses import astuple, dataclass, replace

import numpy as np
import torch

from neuinv._linalg import inverse_or_nan, sign_and_log
from neuinv.gaussian_tail import hill_estimator
from neuinv.spectrum import (
    GreenInterval,
    Quantiles,
    SingularValueSummary,
    Spread,
    green_interval,
    spread,
)
from neuinv.spectrum.summary import summarize

__all__ = ["Measurements", "measure"]

EPS = torch.finfo(torch.float64).eps
# Work in units of n^3. A singular value decomposition of one matrix takes a few of them, eigenvalues of a
# nonsymmetric one about ten times as many.
EIGENVALUE_WORK, PAIR_WORK, SPREAD_WORK = 2.5e9, 5e9, 1e10
MOST_SPREAD_STEPS = 40
THICKNESSES = (0.05, 0.2)
GREEN_DEGREE = 16
TAIL_SAMPLES = 50


@dataclass(frozen=True)
class Measurements:
    """Numbers of a sample of N matrices; each an estimate for the family, unless its comment says otherwise.

    Attributes
    ----------
    count, n : int
        N and the size.
    values : SingularValueSummary
        Quantiles of sigma_min, sigma_max and kappa.
    cond : Tensor, shape (N,)
        kappa of each member, infinite where sigma_min is 0.
    low, high : float
        Least sigma_min and greatest sigma_max: delta and R of the sample.
    scaled_low, scaled_high : float
        The same of A / ||A||_F.
    symmetric, positive : bool
        Whether each member is symmetric to the last bit, and has positive eigenvalues only.
    equal : bool
        Whether all members are one matrix.
    num_positive, num_negative : int
        Determinants of either sign, where sigma_min is beyond rounding; the others are undecided.
    eigenvalues : ndarray, complex
        Of ``num_spectra`` members.
    green : GreenInterval or None
        Of the thickened cloud of eigenvalues; None where an eigenvalue is 0.
    zero_in_field : float
        Share of the members of ``num_spectra`` whose field of values holds 0.
    spread : Spread
        Of ``num_fitted`` members.
    held_out : float or None
        max ||I - A M|| over ``num_held_out`` other members, M from the spread; None without others.
    forced_slope : float or None
        Largest slope, Frobenius norm, that two members force on a map of relative error 0; None for one.
    tail, scaled_tail : TailIndex or None
        Of the norm of the inverse, as it is and after dividing each member by its Frobenius norm; None for
        small or bounded samples.
    """

    count: int
    n: int
    values: SingularValueSummary
    cond: torch.Tensor
    low: float
    high: float
    scaled_low: float
    scaled_high: float
    symmetric: bool
    positive: bool
    equal: bool
    num_positive: int
    num_negative: int
    eigenvalues: np.ndarray
    num_spectra: int
    green: GreenInterval | None
    zero_in_field: float
    spread: Spread
    num_fitted: int
    held_out: float | None
    num_held_out: int
    forced_slope: float | None
    num_pairs: int
    tail: object | None
    scaled_tail: object | None

    @property
    def worst_cond(self):
        """The largest kappa of a member."""
        return self.values.cond.greatest

    @property
    def absolute_ratio(self):
        """R / delta: the condition number of the family as it is, without a division by the norm."""
        return self.high / self.low if self.low > 0 else float("inf")

    @property
    def scaled_ratio(self):
        """R / delta of the members divided by their Frobenius norms."""
        return self.scaled_high / self.scaled_low if self.scaled_low > 0 else float("inf")


def measure(A, tolerance):
    """Return the :class:`Measurements` of a sample.

    Parameters
    ----------
    A : Tensor, shape (N, n, n), float64
        The sample.
    tolerance : float
        Of the right residual, for the slope that accuracy forces.

    Returns
    -------
    Measurements

    Raises
    ------
    TypeError, ValueError
        Bad matrices.
    """
    count, n = len(A), A.shape[-1]
    # One unit for all: squares and products of badly scaled matrices would overflow.
    unit = A.abs().amax().item() or 1.0
    A = A / unit
    sigma = torch.linalg.svdvals(A)
    smallest, largest = sigma[:, -1], sigma[:, 0]
    frobenius = sigma.square().sum(dim=1).sqrt().clamp(min=torch.finfo(torch.float64).tiny)
    decided = smallest > n * EPS * largest
    signs = sign_and_log(A)[0]
    spectra = A[_evenly(count, EIGENVALUE_WORK / n**3)]
    symmetric = bool((A == A.mT).all())
    eigenvalues = _eigenvalues(spectra, symmetric)
    fitted, others, steps = _split(count, n)
    found = spread(A[fitted], num_steps=steps)
    held_out = _worst_residual(A[others], found.M) if len(others) else None
    slope, num_pairs = _forced_slope(A, decided, tolerance)
    return Measurements(
        count=count,
        n=n,
        values=_rescaled(summarize(smallest, largest, n), unit),
        cond=torch.where(smallest > 0, largest / smallest, torch.inf),
        low=smallest.min().item() * unit,
        high=largest.max().item() * unit,
        scaled_low=(smallest / frobenius).min().item(),
        scaled_high=(largest / frobenius).max().item(),
        symmetric=symmetric,
        positive=symmetric and bool((torch.linalg.eigvalsh(A)[:, 0] > 0).all()),
        equal=bool((A == A[:1]).all()),
        num_positive=int((decided & (signs > 0)).sum()),
        num_negative=int((decided & (signs < 0)).sum()),
        eigenvalues=eigenvalues * unit,
        num_spectra=len(spectra),
        green=_green(eigenvalues),
        zero_in_field=_share_of_fields_with_zero(spectra),
        spread=found,
        num_fitted=len(fitted),
        held_out=held_out,
        num_held_out=len(others),
        # twice: the square of the unit may overflow, or vanish
        forced_slope=None if slope is None else slope / unit / unit,
        num_pairs=num_pairs,
        tail=_tail(smallest[decided]),
        scaled_tail=_tail((smallest / frobenius)[decided]),
    )


def _rescaled(summary, unit):
    """Return the summary in the unit of the matrices before they were divided by ``unit``."""

    def times(quantiles):
        return Quantiles(*(value * unit for value in astuple(quantiles)))

    return replace(summary, sigma_min=times(summary.sigma_min), sigma_max=times(summary.sigma_max))


def _evenly(count, room):
    """Return the indices of at most ``room`` members, at least one, evenly spaced."""
    kept = max(1, min(count, int(room)))
    return torch.arange(kept) * count // kept


def _eigenvalues(A, symmetric):
    values = torch.linalg.eigvalsh(A).to(torch.complex128) if symmetric else torch.linalg.eigvals(A)
    return values.flatten().numpy()


def _green(eigenvalues):
    # A relative disc about an eigenvalue of 0 is that point: 0 lies in the spectrum and g = 0 there.
    if np.abs(eigenvalues).min() <= EPS * np.abs(eigenvalues).max():
        return None
    return green_interval(eigenvalues, THICKNESSES, max_degree=GREEN_DEGREE)


def _share_of_fields_with_zero(A):
    ends = torch.linalg.eigvalsh((A + A.mT) / 2)
    return ((ends[:, 0] <= 0) & (ends[:, -1] >= 0)).double().mean().item()


def _split(count, n):
    """Return which members the constant is fitted to, which ones test it, and how many steps are made."""
    room = int(np.clip(SPREAD_WORK / (20 * n**3), 16, 100))
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    fitted = order[: min(room, max(1, count // 2))]
    # A file may be drawn in an order that means something: neither half is a contiguous part of it.
    others = order[len(fitted) :][: 4 * room] if count > 1 else order[:0]
    steps = int(np.clip(SPREAD_WORK / (len(fitted) * n**3), 4, MOST_SPREAD_STEPS))
    return fitted, others, steps


def _worst_residual(A, M):
    residual = A @ M
    residual.diagonal(dim1=-2, dim2=-1).sub_(1)
    return torch.linalg.matrix_norm(residual, 2).max().item()


def _forced_slope(A, decided, tolerance):
    """Return the largest (|A^-1 - B^-1| - tolerance (|A^-1| + |B^-1|)) / |A - B|_F of the pairs looked at."""
    A = A[decided]
    A = A[_evenly(len(A), min(200, PAIR_WORK / (4 * A.shape[-1] ** 3)))] if len(A) else A
    if len(A) < 2:
        return None, 0
    X = inverse_or_nan(A)
    i, j = torch.triu_indices(len(A), len(A), 1)
    away, apart = _distances(A)[i, j], _distances(X)[i, j]
    ratio = torch.where(away > 0, apart / away.clamp(min=torch.finfo(torch.float64).tiny), 0.0)
    if not (ratio > 0).any():
        return None, len(i)
    best = torch.topk(ratio, min(50, len(ratio))).indices
    i, j = i[best], j[best]
    norms = torch.linalg.matrix_norm(X, 2)
    rise = torch.linalg.matrix_norm(X[i] - X[j], 2) - tolerance * (norms[i] + norms[j])
    run = torch.linalg.matrix_norm(A[i] - A[j])
    return max(0.0, (rise / run)[run > 0].max().item()), len(ratio)


def _distances(A):
    """Return the Frobenius distances of all pairs, shape (N, N)."""
    flat = A.flatten(1)
    flat = flat - flat.mean(dim=0)
    return torch.cdist(flat, flat, compute_mode="donot_use_mm_for_euclid_dist")


def _tail(smallest):
    if len(smallest) < TAIL_SAMPLES:
        return None
    try:
        return hill_estimator((1 / smallest).numpy(), math.isqrt(len(smallest)))
    except ValueError:  # equal largest norms: no tail
        return None
