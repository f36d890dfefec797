"""The cheapest scheme for a condition number and a tolerance."""

import itertools
import math

import torch

from neuinv._checks import FLOATING
from neuinv.iterations.bounds import check_kappa, check_kind, check_tolerance
from neuinv.iterations.composed import STAGE_DEGREES, ComposedChebyshev
from neuinv.iterations.optimal import Chebyshev
from neuinv.iterations.programs import load_programs
from neuinv.iterations.scheme import KINDS
from neuinv.iterations.staged import StagedProgram, apply_stage, initial_state, stage_matmuls

__all__ = ["best_scheme", "residual_before"]

MORE_PRODUCTS = 6  # than in exact arithmetic, at most


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
        relatively, and no algorithm then guarantees a residual below u kappa. A long last stage rounds
        worse than a short one, so up to six products more are spent where the estimate of its rounding, a
        heuristic, says that they are needed.

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
    if kind == "general" and Chebyshev(1, kind).worst_residual(kappa) <= tolerance:
        return Chebyshev(1, kind)
    return _scheme(_fewest_stages(kappa, tolerance, kind, dtype), kind)


def residual_before(num_matmuls, tolerance):
    """Return the largest residual from which known stages with so many products reach a tolerance.

    This is what a search for a first stage has to reach where a scheme is to have a given number of products.

    Parameters
    ----------
    num_matmuls : int
        Products of the stages, the two that each of them starts with included; 0 or 1 allow none.
    tolerance : float
        For the right residual in the end.

    Returns
    -------
    float
        In (0, 1); to a relative accuracy of 1e-9.

    Raises
    ------
    TypeError, ValueError
        ``tolerance`` is not a positive number.

    Examples
    --------
    >>> residual_before(0, 1e-2), residual_before(2, 1 / 17)  # T_2(3) = 17
    (0.01, 0.33333333)
    """
    tolerance = check_tolerance(tolerance)
    low, high = -20.0, math.log(math.acosh(1 / tolerance))  # of the logarithm of arcosh(1 / r)
    while high - low > 1e-10:
        middle = (low + high) / 2
        half = math.sinh(math.exp(middle) / 2)
        gap = 2 * half**2 / (1 + 2 * half**2)
        reached = _least_after((gap, 1 / (1 + 2 * half**2)), num_matmuls) <= tolerance
        low, high = (low, middle) if reached else (middle, high)
    return min(1 / math.cosh(math.exp(high)), 1.0) if num_matmuls > 1 else tolerance


def _least_after(state, num_matmuls):
    """Return the smallest residual that known stages with at most so many products reach from a state."""
    best = {0: state}
    for total in range(2, num_matmuls + 1):
        before = ((s, best.get(total - stage_matmuls(s))) for s in (*STAGE_DEGREES, *load_programs()))
        after = [apply_stage(state, stage) for stage, state in before if state]
        after = [state for state in after if state]
        if after:
            best[total] = min(after, key=lambda state: (state[1], -state[0]))
    return min(r for _, r in best.values())


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


def _fewest_stages(kappa, tolerance, kind, dtype):
    """Return the stages of fewest products that meet the tolerance; of those, the smallest residual.

    With a dtype they also leave room for rounding, unless none with MORE_PRODUCTS more does.

    The residual after a stage never grows with the residual before it, so that of all stages with equally
    many products it is enough to go on from those that reach least.
    """
    options = sorted([*STAGE_DEGREES, *load_programs()], key=stage_matmuls)
    best = {0: (initial_state(kappa, kind), ())}
    exact, limit = None, 0
    for total in itertools.count(2):
        found, rounded = [], []
        for stage in options:
            state, stages = best.get(total - stage_matmuls(stage), (None, ()))
            after = state and apply_stage(state, stage)
            if after:
                found.append((after, (*stages, stage)))
                if dtype and after[1] + _rounding(state, stage, kappa, kind, dtype) <= tolerance:
                    rounded.append(found[-1])
        if rounded:
            return min(rounded, key=lambda entry: entry[0][1])[1]
        if found:
            # 1 - r tells residuals near 1 apart, r those near 0.
            best[total] = min(found, key=lambda entry: (entry[0][1], -entry[0][0]))
            if best[total][0][1] <= tolerance and exact is None:
                exact, limit = best[total][1], total + (MORE_PRODUCTS if dtype else 0)
        if exact is not None and total >= limit:
            return exact


def _rounding(state, stage, kappa, kind, dtype):
    """Return an estimate of what rounding in a last stage adds to the residual.

    Observed on random matrices of n = 64 in float32: at most 10 g eps kappa for SPD matrices, and for general
    ones that times the root of the ratio 2 / gap which the stage itself inverts, with g the growth of a
    program, and 0.1 for stages of low degree.
    """
    growth = load_programs()[stage].growth if isinstance(stage, str) else 0.1
    ratio = 1.0 if kind == "spd" else math.sqrt(2 / state[0])
    return 10 * growth * torch.finfo(dtype).eps * kappa * ratio


def _scheme(stages, kind):
    if all(isinstance(stage, int) for stage in stages):
        return ComposedChebyshev(tuple(sorted(stages, reverse=True)), kind)
    return StagedProgram(stages, kind)
