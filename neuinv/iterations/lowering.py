"""Schemes as numbers: what a kernel, or a loop around a library's products, has to know of them."""

import functools
from dataclasses import dataclass

import torch

from neuinv.iterations.composed import (
    STAGE_DEGREES,
    ComposedChebyshev,
    factors_of_nine,
    next_gap,
    stage_coefficients,
)
from neuinv.iterations.optimal import Chebyshev
from neuinv.iterations.programs import program
from neuinv.iterations.scheme import _as_number, _check_interval
from neuinv.iterations.staged import StagedProgram
from neuinv.iterations.stepwise import Stepwise

__all__ = ["Lowered", "coefficients", "lower", "shared_coefficients"]


@dataclass(frozen=True)
class Lowered:
    """How a scheme runs; the numbers are those of :func:`coefficients`.

    Parameters
    ----------
    form : {"newton", "staged"}
        Steps X <- f (X + X (I - AX)), or stages X <- X p(I - AX).
    kind : {"spd", "general"}
        Whether it starts from a polynomial in A, or from a multiple of A^T.
    sizes : tuple of int
        For ``"staged"``, the products of each p.
    steps : int
        For ``"newton"``, how many.
    """

    form: str
    kind: str
    sizes: tuple = ()
    steps: int = 0


def lower(scheme):
    """Return the :class:`Lowered` of a scheme.

    Parameters
    ----------
    scheme : Scheme
        Newton-Schulz, classical or scaled, or what ``best_scheme`` returns.

    Raises
    ------
    NotImplementedError
        Another scheme.

    Examples
    --------
    >>> from neuinv.iterations import best_scheme
    >>> lower(best_scheme(10.0, 1e-3)).sizes
    (4,)
    """
    if isinstance(scheme, Stepwise) and scheme._order == 2:
        free = 1 if scheme.kind == "spd" and scheme.num_steps > 0 else 0
        return Lowered("newton", scheme.kind, steps=scheme.num_steps - free)
    if isinstance(scheme, Chebyshev) and scheme.degree == 1:
        return Lowered("newton", scheme.kind)
    if isinstance(scheme, (ComposedChebyshev, StagedProgram)):
        sizes = [
            program(s).num_matmuls if isinstance(s, str) else STAGE_DEGREES.index(s) for s in scheme.stages
        ]
        return Lowered("staged", scheme.kind, sizes=tuple(sizes))
    raise NotImplementedError(f"{scheme!r} has no form for kernels; call it on the matrices themselves.")


def coefficients(scheme, A, interval):
    """Return the numbers of a scheme for an interval, in the order in which they are used.

    Parameters
    ----------
    scheme : Scheme
        One that :func:`lower` knows.
    A : Tensor, shape (batch, n, n)
        For its batch and device alone.
    interval : pair of floats, or of Tensors of shape (batch,)
        As in a call of the scheme.

    Returns
    -------
    list of float, or Tensor of float64 (batch, numbers)
        A list where all matrices share an interval. It starts with 1 / b. For steps there follow a and b of
        the start a I + b A, or b A^T, and the factors f; for stages g of the start g I or g A^T and, stage by
        stage, 1 / radius, the left and right coefficients of each product, and those of the result, all in
        ascending order from that of I. They belong to A / b.

    Raises
    ------
    NotImplementedError, ValueError
        Another scheme, or a bad interval.
    """
    form = lower(scheme)
    if all(isinstance(end, (int, float)) for end in interval):
        interval = [torch.tensor(float(end), dtype=torch.float64) for end in interval]
        low, high = (end.reshape(1, 1) for end in interval)
        if not 0 < float(low) <= float(high) < float("inf"):
            raise ValueError(f"interval is {tuple(map(float, interval))}; pass (a, b) with 0 < a <= b.")
    else:
        low, high = _check_interval(interval, A)
    ratio = low / high if scheme.kind == "spd" else (low / high).square()
    ratio, single = _as_number(ratio), _as_number(high)
    if not (isinstance(ratio, float) and isinstance(single, float)):
        ratio, single = (torch.as_tensor(v, dtype=torch.float64, device=A.device) for v in (ratio, high))
    if isinstance(scheme, StagedProgram):
        scheme._check_ratio(ratio)
    values = [1 / single, *(_steps if form.form == "newton" else _stages)(scheme, ratio)]
    if isinstance(single, float):
        return [float(value) for value in values]
    shape, options = (len(A), 1, 1), {"dtype": torch.float64, "device": A.device}
    return torch.stack([torch.as_tensor(v, **options).expand(shape)[:, 0, 0] for v in values], dim=1)


@functools.lru_cache(maxsize=256)
def shared_coefficients(scheme, interval, dtype, device):
    """Return the numbers for an interval of two floats, as a Tensor on the device and as a tuple.

    They are kept: a copy to the device waits for it, and the numbers of one scheme are used again and again.
    """
    values = coefficients(scheme, torch.empty(1, 1, 1), interval)
    return torch.tensor(values, dtype=dtype, device=device), tuple(values)


def _steps(scheme, ratio):
    gamma, gap = 2 / (1 + ratio), 2 * ratio / (1 + ratio)
    form, factors = lower(scheme), []
    start = [gamma * 0, gamma] if scheme.kind == "general" else [gamma, gamma * 0]
    if isinstance(scheme, Chebyshev):
        return start
    if scheme.kind == "spd" and scheme.num_steps > 0:
        gap, factor = scheme._advance(gap)
        start = [2 * factor * gamma, -factor * gamma * gamma]
    for _ in range(form.steps):
        gap, factor = scheme._advance(gap)
        factors.append(factor)
    return start + factors


def _stages(scheme, ratio):
    gap = 2 * ratio / (1 + ratio)
    values = [2 / (1 + ratio)]
    for stage in scheme.stages:
        if isinstance(stage, str):
            chosen = program(stage)
            rows = (chosen.left, chosen.right, chosen.out)
            radius, gap = chosen.radius, ratio * 0 + (1 - chosen.supremum)
        else:
            rows, radius = _degree_rows(stage_coefficients(stage, gap)), 1.0
            gap = next_gap(stage, gap)
        left, right, out = rows
        values.append(1 / radius)
        for a, b in zip(left, right, strict=True):
            values += [*a, *b]
        values += out
    return values


def _degree_rows(c):
    """Return the left, right and final coefficients with which ``evaluate_polynomial`` works."""
    square = (0.0, 1.0)
    if len(c) == 2:
        return (), (), c
    if len(c) == 3:
        return (square,), (square,), c
    if len(c) == 5:
        return (square, (0.0, 0.0, 1.0)), (square, (c[2], c[3], c[4])), (c[0], c[1], 0.0, 1.0)
    half, a, b, d, e, f = factors_of_nine(c)
    left = (square, (0.0, 0.0, 1.0), (0.0, b, a, 1.0))
    right = (square, (0.0, half, 1.0), (0.0, e, d, 1.0))
    return left, right, (c[0], c[1], c[2] - c[8] * b * e, c[8] * f, c[8])
