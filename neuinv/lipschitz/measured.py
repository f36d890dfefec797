"""Lower bounds of Lipschitz constants by search: each is an estimate from below, attained at named points.

All are in the Euclidean norm of one sample (Frobenius on matrices), weighted by max(1, ||x||, ||y||)^-p, so
that they compare with the L of a class of exponent p, or, with p = 0, with the bound on a ball.
"""

import copy
import math
from dataclasses import dataclass

import torch

from neuinv._checks import make_generator

__all__ = ["LowerBound", "adversarial_pairs", "jacobian_ascent", "sampled_lower_bound", "secant", "secants"]

# Closer pairs measure the rounding of f: a difference of 1e-5 leaves 1e-11 of relative error.
SMALLEST_DISTANCE = 1e-5


@dataclass(frozen=True)
class LowerBound:
    """The largest quotient that a search found: an estimate of L from below, in the Euclidean norm.

    Attributes
    ----------
    value : float
        The quotient, in output / input units, divided by max(1, ||x||, ||y||)^p.
    method : str
        "secants", "adversarial pairs" or "jacobian ascent".
    x, y : Tensor, of the shape of one sample
        Where it is attained; for the Jacobian y is a unit direction.
    p : int or float
        Exponent of the weight.
    num_evaluations : int
        Of the map or its derivative, over all samples.
    """

    value: float
    method: str
    x: torch.Tensor
    y: torch.Tensor
    p: float
    num_evaluations: int


def _lengths(x):
    return torch.linalg.vector_norm(x.flatten(1), dim=1)


def _unit(x):
    length = _lengths(x).clamp(min=torch.finfo(x.dtype).tiny)
    return x / length.reshape(-1, *([1] * (x.ndim - 1)))


def _weight(p, *points):
    sizes = torch.stack([_lengths(x) for x in points]).amax(dim=0)
    return sizes.clamp(min=1.0) ** p


def secant(f, x, y, p=0):
    r"""Return :math:`\lVert f(x)-f(y)\rVert / (\max(1,\lVert x\rVert,\lVert y\rVert)^p \lVert x-y\rVert)`.

    Parameters
    ----------
    f : callable
        (batch, ...) -> (batch, ...), sample by sample.
    x, y : Tensor, shape (batch, ...)
        Pairs; a pair closer than 1e-5 max(1, ||x||) gives 0, because rounding would decide.
    p : int or float
        Exponent of the weight.

    Returns
    -------
    Tensor, shape (batch,)
        At most L for a map in Lip(c, L, p).
    """
    distance = _lengths(x - y)
    trusted = distance >= SMALLEST_DISTANCE * _weight(1, x, y)
    quotient = _lengths(f(x) - f(y)) / torch.where(trusted, distance, torch.ones_like(distance))
    return torch.where(trusted, quotient / _weight(p, x, y), torch.zeros_like(distance))


def _prepare(f, input_shape, seed):
    """Return the map in float64 and a generator; a module is copied, so that the caller's keeps its dtype."""
    if isinstance(f, torch.nn.Module):
        f = copy.deepcopy(f).double().cpu()
        for parameter in f.parameters():
            parameter.requires_grad_(False)
    return f, tuple(input_shape), make_generator(seed)


def _ball(count, shape, radius, generator):
    """Return points whose norms are spread over three decades up to ``radius``; the first is 0."""
    directions = _unit(torch.randn(count, *shape, generator=generator, dtype=torch.float64))
    sizes = radius * 10.0 ** (-3 * torch.rand(count, generator=generator, dtype=torch.float64))
    points = directions * sizes.reshape(-1, *([1] * len(shape)))
    points[0] = 0
    return points


def _into_ball(x, radius):
    factor = (radius / _lengths(x).clamp(min=1e-300)).clamp(max=1.0)
    return x * factor.reshape(-1, *([1] * (x.ndim - 1)))


def _best(values, x, y, method, p, count):
    value, index = torch.nan_to_num(values.detach(), nan=-math.inf).max(dim=0)
    return LowerBound(value.item(), method, x[index].detach(), y[index].detach(), p, count)


def secants(f, input_shape, *, radius=1.0, p=0, seed, count=1000):
    """Return the largest quotient over random pairs of the ball, at distances over three decades.

    Parameters
    ----------
    f : torch.nn.Module or callable
        (batch, ...) -> (batch, ...), sample by sample, in float64.
    input_shape : tuple of int
        Of one sample.
    radius : float
        Of the ball around 0 that is searched.
    p : int or float
        Exponent of the weight.
    seed : int
        Of the points.
    count : int
        Number of pairs.

    Returns
    -------
    LowerBound
    """
    f, shape, generator = _prepare(f, input_shape, seed)
    x = _ball(count, shape, radius, generator)
    y = _into_ball(x + _ball(count, shape, 2 * radius, generator), radius)
    with torch.no_grad():
        return _best(secant(f, x, y, p), x, y, "secants", p, 2 * count)


def adversarial_pairs(f, input_shape, *, radius=1.0, p=0, seed, count=64, num_steps=40):
    """Return the largest quotient that projected gradient ascent over both points of a pair finds.

    The parameters are those of :func:`secants`, and ``num_steps``, the number of steps.
    """
    f, shape, generator = _prepare(f, input_shape, seed)
    x = _ball(count, shape, radius, generator)
    y = _into_ball(x + _ball(count, shape, 2 * radius, generator), radius)
    best = None
    for k in range(num_steps + 1):
        x, y = x.detach().requires_grad_(True), y.detach().requires_grad_(True)
        values = secant(f, x, y, p)
        found = _best(values, x, y, "adversarial pairs", p, 2 * count * (num_steps + 1))
        best = found if best is None or found.value > best.value else best
        if k == num_steps or not values.requires_grad:
            break
        gradients = torch.autograd.grad(values.sum(), (x, y), allow_unused=True)
        # Steps are relative to the distance of the pair: a close pair stays close.
        size = 0.5 * 0.02 ** (k / num_steps) * _lengths(x.detach() - y.detach()).clamp(min=1e-4 * radius)
        size = size.reshape(-1, *([1] * len(shape)))
        moved = [
            _into_ball(z.detach() + size * _unit(torch.nan_to_num(g)), radius)
            for z, g in zip((x, y), gradients, strict=True)
        ]
        x, y = moved
    return best


def jacobian_ascent(f, input_shape, *, radius=1.0, p=0, seed, count=64, num_steps=40):
    r"""Return the largest :math:`\lVert J(x)v\rVert / \max(1,\lVert x\rVert)^p` over unit v found by ascent.

    The parameters are those of :func:`adversarial_pairs`. Each step is one power iteration for v and one
    gradient step for x; where f is piecewise linear the gradient is 0 and x stays at its random start. J v is
    the central difference over x - hv, x + hv: the value is that of a pair, for which the class must hold.
    """
    f, shape, generator = _prepare(f, input_shape, seed)
    x = _ball(count, shape, radius, generator)
    v = _unit(torch.randn(count, *shape, generator=generator, dtype=torch.float64))
    best = None
    for k in range(num_steps + 1):
        lengths = _lengths(x).clamp(min=1e-3 * radius).reshape(-1, *([1] * len(shape)))
        stretched, values, gradient = _stretch(f, x, v, 1e-4 * lengths, p)
        found = _best(values, x, v, "jacobian ascent", p, 3 * count * (num_steps + 1))
        best = found if best is None or found.value > best.value else best
        back = _pull_back(f, x, stretched)
        alive = (_lengths(back) > 0).reshape(-1, *([1] * len(shape)))
        v = torch.where(alive, _unit(back), v)
        x = _into_ball(x + 0.3 * 0.01 ** (k / num_steps) * lengths * gradient, radius)
    return best


def _stretch(f, x, v, h, p):
    """Return J(x) v by a central difference, its weighted norm, and the direction in which that grows."""
    x = x.detach().requires_grad_(True)
    above, below = x + h * v, x - h * v
    steps = 2 * h.reshape(-1)
    difference = f(above) - f(below)
    values = _lengths(difference) / (steps * _weight(p, above, below))
    gradient = None
    if values.requires_grad:
        (gradient,) = torch.autograd.grad(values.sum(), x, allow_unused=True)
    gradient = torch.zeros_like(x) if gradient is None else _unit(torch.nan_to_num(gradient))
    return difference.detach(), values.detach(), gradient


def _pull_back(f, x, direction):
    """Return J(x)^T direction."""
    x = x.detach().requires_grad_(True)
    out = f(x)
    if not out.requires_grad:
        return torch.zeros_like(x)
    (back,) = torch.autograd.grad(out, x, direction, allow_unused=True)
    return torch.zeros_like(x) if back is None else back


def sampled_lower_bound(f, input_shape, *, radius=1.0, p=0, seed, count=64, num_steps=40):
    """Return the best of secants, adversarial pairs and Jacobian ascent: an estimate of L from below.

    Parameters
    ----------
    f : torch.nn.Module or callable
        (batch, ...) -> (batch, ...), sample by sample and differentiable by torch; a module is
        copied and evaluated in float64.
    input_shape : tuple of int
        Of one sample.
    radius : float
        Of the ball around 0 that is searched, > 0.
    p : int or float
        Exponent of the weight: that of the class, or 0 for a bound on the ball.
    seed : int
        Of the starting points.
    count, num_steps : int
        Starts and steps of the two ascents; ``count`` * ``num_steps`` random secants are drawn.

    Returns
    -------
    LowerBound
        In the Euclidean (Frobenius) norm. Never above the L of a class that the map is in, but for rounding.

    Raises
    ------
    ValueError
        A radius that is not positive and finite.

    Examples
    --------
    >>> found = sampled_lower_bound(lambda x: 3 * x, (2,), seed=0)
    >>> round(found.value, 6)
    3.0
    """
    if not 0 < radius < math.inf:
        raise ValueError(f"radius is {radius}; pass a positive number.")
    settings = {"radius": radius, "p": p, "seed": seed}
    found = [
        secants(f, input_shape, count=max(1, count * num_steps), **settings),
        adversarial_pairs(f, input_shape, count=count, num_steps=num_steps, **settings),
        jacobian_ascent(f, input_shape, count=count, num_steps=num_steps, **settings),
    ]
    return max(found, key=lambda bound: bound.value)
