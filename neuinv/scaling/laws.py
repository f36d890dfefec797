r"""Three laws of an error y in a size x: constant, power, and power with a floor, :math:`a x^{-b} + c`.

They are fitted to logarithms: least squares on a grid, then damped Gauss-Newton steps from its best point, so
that no start can be wrong.

:mod:`neuinv.laws` fits other laws to other data, and shares no code with this module. There copies stand
at the same condition numbers, a law is judged by its misfit to their means alone, and each of eight shapes
has starts of its own. Here sizes have unequal numbers of seeds, which are weights, the criterion counts every
error, and one law contains the others at a bound, so that one grid is the start of all. With the steps of
that module the ends of the intervals of floors that the data do not determine move in the second digit.
"""

import math
from dataclasses import dataclass

import numpy as np

from neuinv._checks import as_integer

__all__ = ["LAWS", "LawFit", "ScalingFit", "fit_law", "fit_scaling", "synthetic_errors"]

# Free numbers of each law, the variance of the logarithms included.
LAWS = {"constant": 2, "power": 3, "floor": 4}
LEVEL = 0.95
# Exponents, and floors in units of a x^-b at the middle of the sizes.
EXPONENTS, FLOORS = np.geomspace(0.02, 8, 60), np.geomspace(1e-4, 1e4, 65)
NEWTON_STEPS = 30
# Of the sum of squares, so that data without noise have a finite criterion.
LEAST_SQUARES = 1e-24


@dataclass(frozen=True)
class LawFit:
    """One law fitted to errors: y = scale x^-exponent + floor.

    Attributes
    ----------
    law : str
        A key of ``LAWS``.
    scale, exponent, floor : float
        The a, b >= 0 where floor > 0, and c >= 0; in the units of y and x.
    misfit : float
        Root mean square of ln(y / law): 0.1 is a misfit of about 10 %.
    aicc : float
        Akaike's criterion for small samples, with normal logarithms; smaller is better.
    num_points : int
        How many errors were fitted.
    """

    law: str
    scale: float
    exponent: float
    floor: float
    misfit: float
    aicc: float
    num_points: int

    def __call__(self, x):
        """Return the law's value at the sizes ``x``."""
        return self.scale * np.asarray(x, dtype=float) ** -self.exponent + self.floor


@dataclass(frozen=True)
class ScalingFit:
    """All laws fitted to the same errors, with bootstrap intervals over the seeds.

    Attributes
    ----------
    laws : dict of str to LawFit
        One a law.
    exponent, floor : (float, float)
        Intervals of 95 % of the exponent of the power law and of the floor of the law with one.
    """

    laws: dict
    exponent: tuple
    floor: tuple

    @property
    def favoured(self):
        """The law of least criterion; one with a floor only where the interval of the floor excludes 0."""
        ranked = sorted(self.laws.values(), key=lambda fit: fit.aicc)
        return next(fit.law for fit in ranked if fit.law != "floor" or self.floor[0] > 0)


def fit_law(x, y, law):
    r"""Fit one law to errors by least squares in :math:`\ln y`.

    Parameters
    ----------
    x, y : array-like, shape (N,)
        Sizes and errors, positive; sizes repeat where there are several seeds.
    law : {"constant", "power", "floor"}
        Which.

    Returns
    -------
    LawFit

    Raises
    ------
    ValueError
        An unknown law, lengths that differ, numbers that are not positive and finite, fewer than 4 sizes or
        6 errors.

    Examples
    --------
    >>> x = [1, 10, 100, 1000, 10000, 100000]
    >>> found = fit_law(x, [2 * t**-0.5 + 0.1 for t in x], "floor")
    >>> round(found.exponent, 3), round(found.floor, 3)
    (0.5, 0.1)
    """
    if law not in LAWS:
        raise ValueError(f"law is {law!r}; use one of {', '.join(LAWS)}.")
    sizes, means, counts, within = _by_size(*_checked(x, y))
    return _fitted(law, sizes, means, counts, within)


def fit_scaling(x, y, *, seed, count=200):
    """Fit all laws, with intervals from errors drawn with replacement among the seeds of each size.

    Parameters
    ----------
    x, y : array-like, shape (N,)
        As for :func:`fit_law`.
    seed : int
        Of the resampling.
    count : int
        Resamples, at least 20.

    Returns
    -------
    ScalingFit

    Raises
    ------
    TypeError, ValueError
        As :func:`fit_law`, or a bad seed or count.

    Notes
    -----
    The mean of a resample of S seeds has (S - 1)/S of the variance that a mean has; its deviation is scaled
    up by the root of S/(S - 1). The intervals hold for the law if it is right, and know nothing of others.
    """
    count = as_integer(count, "count", 20)
    x, y = _checked(x, y)
    laws = {law: fit_law(x, y, law) for law in LAWS}
    sizes, index = np.unique(x, return_inverse=True)
    groups = [np.log(y[index == k]) for k in range(len(sizes))]
    generator = np.random.default_rng(as_integer(seed, "seed", 0))
    counts = np.array([len(g) for g in groups], dtype=float)
    means = np.stack([_resampled(g, count, generator) for g in groups], axis=1)  # (resamples, sizes)
    exponents = _solved("power", sizes, means, counts)[0]
    floors = _solved("floor", sizes, means, counts)[1]
    return ScalingFit(laws, _interval(exponents), _interval(floors))


def synthetic_errors(x, *, scale, exponent, floor, noise, seed):
    r"""Return errors of a known law, :math:`(a x^{-b} + c)\,e^{\varepsilon}` with normal :math:`\varepsilon`.

    Parameters
    ----------
    x : array-like, shape (N,)
        Sizes.
    scale, exponent, floor : float
        The law.
    noise : float
        Standard deviation of the logarithm.
    seed : int
        Of the noise.

    Returns
    -------
    ndarray, shape (N,)
    """
    x = np.asarray(x, dtype=float)
    epsilon = np.random.default_rng(seed).normal(size=len(x))
    return (scale * x**-exponent + floor) * np.exp(noise * epsilon)


def _resampled(group, count, generator):
    """Return means of resamples of a group, their deviations scaled to the variance of a mean."""
    drawn, center = generator.choice(group, (count, len(group))).mean(axis=1), group.mean()
    return center + (drawn - center) * math.sqrt(len(group) / max(len(group) - 1, 1))


def _interval(values):
    return tuple(np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist())


def _checked(x, y):
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if x.ndim != 1 or x.shape != y.shape:
        raise ValueError(f"the shapes are {x.shape} and {y.shape}; pass two sequences of one length.")
    for name, values in (("x", x), ("y", y)):
        if not (np.isfinite(values) & (values > 0)).all():
            raise ValueError(f"{name} has a number that is not positive and finite; leave such errors out.")
    if len(np.unique(x)) < 4 or len(x) < 6:
        raise ValueError(f"{len(np.unique(x))} sizes and {len(x)} errors; pass at least 4 and 6.")
    return x, y


def _by_size(x, y):
    """Return sizes, mean logarithms, counts, and the sum of squares within sizes, which no law touches."""
    sizes, index, counts = np.unique(x, return_inverse=True, return_counts=True)
    logs = np.log(y)
    means = np.bincount(index, logs) / counts
    return sizes, means, counts.astype(float), float(((logs - means[index]) ** 2).sum())


def _fitted(law, sizes, means, counts, within):
    exponent, floor, scale, squares = (float(v[0]) for v in _solved(law, sizes, means[None], counts))
    total, number, k = max(squares + within, LEAST_SQUARES), int(counts.sum()), LAWS[law]
    aicc = number * math.log(total / number) + 2 * k + 2 * k * (k + 1) / (number - k - 1)
    return LawFit(law, scale, exponent, floor, math.sqrt(total / number), aicc, number)


def _solved(law, sizes, means, counts):
    """Return exponent, floor, scale and sum of squares for every row of means, (resamples, sizes)."""
    middle = math.exp((counts * np.log(sizes)).sum() / counts.sum())
    t = np.log(sizes / middle)
    center = means @ counts / counts.sum()
    rest = means - center[:, None]
    if law == "constant":
        nothing = np.zeros(len(means))
        return nothing, np.exp(center), nothing, rest**2 @ counts
    exponent = -(rest @ (counts * t)) / (counts * t * t).sum()
    squares = (rest + exponent[:, None] * t) ** 2 @ counts
    ratio = np.zeros(len(means))
    if law == "floor":
        found, *bent = _search(t, means, counts)
        # The power law is the law with floor 0, so that it can only be bettered.
        better = found < squares * (1 - 1e-9)
        squares = np.where(better, found, squares)
        straight = (exponent, ratio, center)
        exponent, ratio, center = (np.where(better, *pair) for pair in zip(bent, straight, strict=True))
    return exponent, np.exp(center) * ratio, np.exp(center) * middle**exponent, squares


def _search(t, means, counts):
    """Return the least sum of squares, the exponent, the floor in units of the scale, and ln of the scale."""
    best, z = _grid(t, means, counts)
    low, high = np.log([EXPONENTS[0], FLOORS[0]]), np.log([EXPONENTS[-1], FLOORS[-1]])
    damping = np.full(len(means), 1e-3)
    for _ in range(NEWTON_STEPS):
        rest, slopes = _residuals(z, t, means)
        weighted = counts[:, None] * slopes
        normal = np.einsum("rsi,rsj->rij", slopes, weighted) + damping[:, None, None] * np.eye(3)
        step = np.linalg.solve(normal, np.einsum("rsi,rs->ri", weighted, rest)[..., None])[..., 0]
        trial = z + step
        trial[:, :2] = np.clip(trial[:, :2], low, high)
        value = _residuals(trial, t, means)[0] ** 2 @ counts
        better = value < best
        z, best = np.where(better[:, None], trial, z), np.where(better, value, best)
        damping = np.where(better, damping / 10, damping * 10).clip(1e-12, 1e12)
    return best, np.exp(z[:, 0]), np.exp(z[:, 1]), z[:, 2]


def _grid(t, means, counts):
    """Return the least sum of squares over the grid, and ln b, ln c and ln a there, (resamples, 3)."""
    b, c = EXPONENTS, FLOORS
    law = np.log(np.exp(-b[:, None, None] * t) + c[None, :, None]).reshape(-1, len(t))
    weights = counts / counts.sum()
    law = law - (law @ weights)[:, None]  # centred, as the means below
    center = means @ weights
    # |m - l|^2 = |m|^2 - 2 m.l + |l|^2, the first of which does not depend on the law
    squares = law**2 @ counts - 2 * ((means - center[:, None]) * counts) @ law.T
    best = squares.argmin(axis=1)
    z = np.stack([np.log(b)[best // len(c)], np.log(c)[best % len(c)], np.zeros(len(best))], axis=1)
    z[:, 2] = _residuals(z, t, means)[0] @ weights
    return _residuals(z, t, means)[0] ** 2 @ counts, z


def _residuals(z, t, means):
    """Return means - ln(law), (resamples, sizes), and the derivatives of ln(law), (resamples, sizes, 3)."""
    exponent, floor = np.exp(z[:, :1]), np.exp(z[:, 1:2])
    falling = np.exp(-exponent * t)
    law = falling + floor
    slopes = [-exponent * t * falling / law, floor / law, np.ones_like(law)]
    return means - z[:, 2:] - np.log(law), np.stack(slopes, axis=-1)
