"""The cheapest scheme for a condition number and a tolerance."""

import math

import torch

from neuinv._checks import FLOATING
from neuinv.iterations.bounds import check_kappa, check_kind, check_tolerance, lower_bound_matmuls
from neuinv.iterations.composed import STAGE_DEGREES, ComposedChebyshev
from neuinv.iterations.optimal import Chebyshev
from neuinv.iterations.scheme import KINDS

__all__ = ["best_scheme"]


def best_scheme(kappa, tolerance, kind="spd", dtype=None):
    """Return the known scheme with the fewest matrix products whose worst residual meets a tolerance.

    Among schemes with equally many products it is the one with the smallest worst residual. How far it may
    be from the fewest possible, :func:`lower_bound_matmuls` tells.

    Parameters
    ----------
    kappa : float
        Ratio b / a >= 1 of the interval that holds the eigenvalues (spd) or singular values (general).
    tolerance : float
        For the right residual, in exact arithmetic; positive.
    kind : {"spd", "general"}
        Which matrices.
    dtype : torch.dtype, optional
        The floating type of the matrices. Storing a matrix changes it by up to u, the unit roundoff,
        relatively, and no algorithm then guarantees a residual below u kappa.

    Returns
    -------
    Scheme
        With ``num_matmuls``, and ``worst_residual(kappa) <= tolerance``.

    Raises
    ------
    TypeError, ValueError
        ``kappa``, ``tolerance`` or ``kind`` is not as above, ``dtype`` is no floating type, or the tolerance
        is below u kappa.

    Examples
    --------
    >>> scheme = best_scheme(10.0, 1e-2)
    >>> scheme.num_matmuls, scheme.worst_residual(10.0)
    (3, 0.005511)
    """
    check_kind(kind, KINDS)
    kappa, tolerance = check_kappa(kappa), check_tolerance(tolerance)
    _check_reachable(kappa, tolerance, dtype)
    # No scheme can need fewer products than every program does.
    num_matmuls = lower_bound_matmuls(kappa, tolerance, kind)
    while True:
        fitting = [s for s in _candidates(num_matmuls, kind) if s.worst_residual(kappa) <= tolerance]
        if fitting:
            return min(fitting, key=lambda scheme: scheme.worst_residual(kappa))
        num_matmuls += 1


def _check_reachable(kappa, tolerance, dtype):
    if dtype is None:
        return
    if dtype not in FLOATING:
        raise TypeError(f"dtype is {dtype!r}; pass one of {', '.join(map(str, FLOATING))}.")
    floor = torch.finfo(dtype).eps / 2 * kappa
    if floor > tolerance:
        raise ValueError(
            f"tolerance is {tolerance:g}, below u kappa = {floor:.2g}, the residual that storing a matrix in "
            f"{dtype} may cause; ask for at least that, or use a dtype of more digits."
        )


def _candidates(num_matmuls, kind):
    """Return the schemes with exactly so many products, of each class the one of the highest degree."""
    if kind == "general" and num_matmuls == 0:
        return [Chebyshev(1, kind)]
    stages = _best_stages(num_matmuls + 2 if kind == "spd" else num_matmuls)
    return [ComposedChebyshev(stages, kind)] if stages else []


def _best_stages(cost):
    """Return the degrees of stages that cost so many products, two more than their polynomials', in all.

    Of all such the ones of the largest product; empty where there are none.
    """
    best = {0: ()}
    for total in range(1, cost + 1):
        # The last stage first, so that stages of high degree, which are evaluated first, stand first.
        options = [
            (*best[total - 2 - k], degree) for k, degree in enumerate(STAGE_DEGREES) if total - 2 - k in best
        ]
        if options:
            best[total] = tuple(sorted(max(options, key=math.prod), reverse=True))
    return best.get(cost, ())
