r"""Three laws of an error y in a size x: constant, power, and power with a floor, :math:`a x^{-b} + c`.

They are fitted to logarithms, with a grid whose points are solved in closed form: no start can be wrong.
"""

import math
from dataclasses import dataclass

import numpy as np

from neuinv._checks import as_integer

__all__ = ["LAWS", "LawFit", "ScalingFit", "fit_law", "fit_scaling", "synthetic_errors"]

# Free numbers of each law, the variance of the logarithms included.
LAWS = {"constant": 2, "power": 3, "floor": 4}
LEVEL = 0.95
# Exponents, and floors in units of a x^-b at the middle of the sizes; the zooms refine both.
EXPONENTS, FLOORS = np.geomspace(0.02, 8, 100), np.geomspace(1e-4, 1e4, 97)
ZOOMS, ZOOM_POINTS = 6, 7
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
    With S seeds a size the drawn means vary by a factor of the root of (S - 1)/S too little: the intervals
    are about a tenth too narrow for S = 5.
    """
    count = as_integer(count, "count", 20)
    x, y = _checked(x, y)
    laws = {law: fit_law(x, y, law) for law in LAWS}
    sizes, index = np.unique(x, return_inverse=True)
    groups = [np.log(y[index == k]) for k in range(len(sizes))]
    generator = np.random.default_rng(as_integer(seed, "seed", 0))
    counts, exponents, floors = np.array([len(g) for g in groups], dtype=float), [], []
    for _ in range(count):
        means = np.array([generator.choice(g, len(g)).mean() for g in groups])
        exponents.append(_fitted("power", sizes, means, counts, 0.0).exponent)
        floors.append(_fitted("floor", sizes, means, counts, 0.0).floor)
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
    middle = math.exp((counts * np.log(sizes)).sum() / counts.sum())
    t = np.log(sizes / middle)
    center = (counts * means).sum() / counts.sum()
    spread = (counts * t * t).sum()
    slope = 0.0 if law == "constant" else -(counts * t * (means - center)).sum() / spread
    squares = (counts * (means - center + slope * t) ** 2).sum()
    exponent, ratio = slope, 0.0
    if law == "floor":
        found = _search(t, means, counts)
        # The power law is the law with floor 0, so that it can only be bettered.
        if found[0] < squares * (1 - 1e-9):
            squares, exponent, ratio, center = found
    total, number = max(squares + within, LEAST_SQUARES), int(counts.sum())
    size = math.exp(center)
    scale = size * middle**exponent
    k = LAWS[law]
    aicc = number * math.log(total / number) + 2 * k + 2 * k * (k + 1) / (number - k - 1)
    if law == "constant":
        scale, exponent, ratio = 0.0, 0.0, 1.0
    return LawFit(law, scale, exponent, size * ratio, math.sqrt(total / number), aicc, number)


def _search(t, means, counts):
    """Return the least sum of squares over exponents and floors, with both and the logarithm of the scale."""
    b, c = EXPONENTS, FLOORS
    for _ in range(ZOOMS + 1):
        squares, alpha = _profile(t, means, counts, b, c)
        i, j = np.unravel_index(squares.argmin(), squares.shape)
        best = (squares[i, j], b[i], c[j], alpha[i, j])
        b, c = _zoomed(b, i), _zoomed(c, j)
    return tuple(float(value) for value in best)


def _zoomed(grid, k):
    return np.geomspace(grid[max(k - 1, 0)], grid[min(k + 1, len(grid) - 1)], ZOOM_POINTS)


def _profile(t, means, counts, b, c):
    """Return the sum of squares and ln a for every exponent and floor, each (exponents, floors)."""
    law = np.log(np.exp(-b[:, None, None] * t) + c[None, :, None])  # (exponents, floors, sizes)
    rest = means - law
    alpha = rest @ counts / counts.sum()
    return ((rest - alpha[..., None]) ** 2) @ counts, alpha
