r"""Green's function of the outside of a spectrum, at the origin: the rate at which polynomials can invert.

With :math:`g = g_E(0)`, pole at infinity, :math:`E_m \ge e^{-mg}` for every degree m and
:math:`E_m^{1/m} \to e^{-g}`; g = 0 where 0 lies in E or in a hole of E, and no polynomial in A inverts then.
"""

import enum
import math
from dataclasses import dataclass

import numpy as np
from scipy import optimize

from neuinv._checks import as_integer
from neuinv.spectrum.bracket import check_set, minimax_bracket
from neuinv.spectrum.minimax import as_points
from neuinv.spectrum.sets import ThickenedCloud

__all__ = [
    "GreenFunction",
    "GreenInterval",
    "GreenStatus",
    "convergence_factor",
    "green_function",
    "green_interval",
    "rate_estimates",
]

LARGEST_CLOUD = 150


class GreenStatus(enum.Enum):
    """Where a value of Green's function comes from; the value is a sentence for a reader."""

    CLOSED_FORM = "The value is a closed form, exact up to rounding."
    ESTIMATE = "The value is an estimate from minimax polynomials of two degrees; low and high are bounds."
    NO_DECAY = (
        "No polynomial of the degrees tried is below 1 on the set: 0 lies in it or is surrounded by it, or "
        "the gap through which 0 reaches infinity is too narrow for these degrees; the value is an estimate."
    )


@dataclass(frozen=True)
class GreenFunction:
    """Green's function at 0, with a bracket.

    Attributes
    ----------
    value : float
        g, dimensionless, >= 0; ``float()`` returns it.
    low, high : float
        ``low <= g <= high``, proved up to rounding: from :math:`g \\ge -\\ln(E_m)/m`, and from parts of the
        set that have a closed form (a smaller set has a larger g).
    change : float
        How much the estimate moved when the degree was last doubled; 0 for a closed form.
    degree : int
        The larger degree used, 0 for a closed form.
    status : GreenStatus
    """

    value: float
    low: float
    high: float
    change: float
    degree: int
    status: GreenStatus

    def __float__(self):
        return self.value

    def convergence_factor(self):
        """Return exp(-g): in the long run each further degree multiplies the best residual by it."""
        return math.exp(-self.value)


@dataclass(frozen=True)
class GreenInterval:
    """Green's function of a thickened cloud over a range of thicknesses.

    Attributes
    ----------
    thicknesses : tuple of float
        h, increasing.
    lowest, highest : tuple of GreenFunction
        For each h, of a set that holds all discs of radius h and of one that they hold; the same where the
        cloud was not thinned.
    """

    thicknesses: tuple
    lowest: tuple
    highest: tuple

    @property
    def low(self):
        """The least estimate: of the largest thickness."""
        return min(g.value for g in self.lowest)

    @property
    def high(self):
        """The greatest estimate: of the smallest thickness."""
        return max(g.value for g in self.highest)


def rate_estimates(first, second, degree):
    r"""Estimate g from E_m and E_{2m} in two ways.

    The first is :math:`\ln(E_m/E_{2m})/m`, right for :math:`E_m \approx C e^{-mg}`. The second solves
    :math:`E_m = C/(e^{mg} + (C - 1)e^{-mg})`, which is 1 at m = 0, and exact for discs (C = 1), intervals and
    pairs of equal ones (C = 2, even m), however small m g is.

    Parameters
    ----------
    first, second : float
        E_m and E_{2m}.
    degree : int
        m.

    Returns
    -------
    tuple of float
        Both estimates; 0 where E_{2m} is 1 up to 1e-9.

    Raises
    ------
    ValueError
        Not 0 < E_{2m} <= E_m <= 1.

    Examples
    --------
    >>> _, g = rate_estimates(8 / 17, 1 / (2 * (17 / 8) ** 2 - 1), 2)
    >>> round(g / math.log(2), 9)
    1.0
    """
    if not 0 < second <= first * (1 + 1e-6) or not first <= 1 + 1e-9:
        raise ValueError(f"E_m is {first} and E_2m is {second}; pass 0 < E_2m <= E_m <= 1.")
    a, b = 1 / first, 1 / second
    if b - 1 <= 1e-9:
        return 0.0, 0.0
    plain = max(0.0, math.log(b / a)) / degree
    if a - 1 <= 1e-9:
        return plain, plain
    if b <= a * a * (1 + 1e-9):
        return plain, math.log(b) / (2 * degree)  # C = 1, as for a disc

    def excess(log_x):
        # The model at 2m over b, less 1, with C from the model at m.
        x = math.exp(log_x)
        C = (x * x - 1) / (a * x - 1)
        return C * b / (x * x) - 1 - (C - 1) / x**4

    top = math.log(2 * b / a + a)
    if excess(top) > 0:
        return plain, plain
    return plain, optimize.brentq(excess, math.log(a), top, xtol=1e-14) / degree


def green_function(E, *, max_degree=64, numeric=False):
    r"""Return Green's function of the complement of E at 0, pole at infinity.

    Parameters
    ----------
    E : SpectrumSet
        The set: :func:`interval`, :func:`two_intervals`, :class:`Intervals`, :class:`Disc`, :class:`Arc`,
        :class:`AnnularSector`, :class:`Polygon` or :class:`ThickenedCloud`.
    max_degree : int
        The largest degree of a minimax polynomial, at least 8.
    numeric : bool
        Use minimax polynomials alone, even where the set or a part of it has a closed form; ``high`` is then
        infinite.

    Returns
    -------
    GreenFunction
        With a closed form ``low`` and ``high`` are the value. Without one they are bounds, and ``value`` is
        an estimate. Against closed forms, at degree 64, its relative error was below 3e-4 for intervals with
        kappa <= 100 and pairs of intervals, 1e-2 at kappa = 1000, 1e-5 for discs and 2e-2 for arcs up to 0.95
        pi.

    Raises
    ------
    TypeError
        ``E`` is no set, such as an array of points.
    ValueError
        ``max_degree`` below 8.

    Notes
    -----
    The convergence factor of polynomials on E is exp(-g) (theorem ``thm-rate`` of the book). Source:
    Ransford (1995).

    Examples
    --------
    >>> from neuinv.spectrum import interval
    >>> round(green_function(interval(1, 4)).value - math.log(3), 12)
    0.0
    """
    check_set(E)
    max_degree = as_integer(max_degree, "max_degree", 8)
    exact = None if numeric else E.closed_form()
    if exact is not None:
        return GreenFunction(exact, exact, exact, 0.0, 0, GreenStatus.CLOSED_FORM)
    high = math.inf if numeric else min(piece.green() for piece in E.pieces())
    m, value, change, guesses = 4, 0.0, math.inf, (math.inf, math.inf)
    # The many discs of a cloud are expensive, and a thickness is a choice anyway.
    tolerance = 1e-4 if isinstance(E, ThickenedCloud) else 1e-6
    previous = minimax_bracket(E, m, tolerance=tolerance)
    low = -math.log(previous.upper) / m
    while 2 * m <= max_degree and not (0 < change <= 1e-7 * value or m * value > 40):
        bracket = minimax_bracket(E, 2 * m, tolerance=tolerance)
        low = max(low, -math.log(bracket.upper) / (2 * m))
        first = _middle(previous)
        estimates = rate_estimates(first, min(first, _middle(bracket)), m)
        # The one that moved less when the degree was doubled; the model, which starts better, breaks ties.
        moves = [abs(new - old) for new, old in zip(estimates, guesses, strict=True)]
        which = 0 if moves[0] < moves[1] else 1
        change, guesses = moves[which], estimates
        value = min(max(estimates[which], low), high)
        previous, m = bracket, 2 * m
    status = GreenStatus.ESTIMATE if previous.lower < 1 - 1e-9 else GreenStatus.NO_DECAY
    return GreenFunction(value, max(0.0, min(low, high)), high, change, m, status)


def _middle(bracket):
    return math.sqrt(bracket.lower * bracket.sampled)


def convergence_factor(E, **options):
    """Return exp(-g) of the set, between 0 and 1; the arguments and errors are those of
    :func:`green_function`.

    Examples
    --------
    >>> from neuinv.spectrum import Disc
    >>> round(convergence_factor(Disc(center=2, radius=1)), 12)
    0.5
    """
    return green_function(E, **options).convergence_factor()


def green_interval(points, thicknesses=(0.05, 0.1, 0.2, 0.4), *, relative=True, max_degree=32):
    r"""Return Green's function at 0 of a cloud thickened by h, over a range of h.

    A finite cloud bounds nothing from above: with every further point of the family g can fall (proposition
    ``prop-cloud`` of the book). So the answer is an interval over h and never a yes or no.

    Parameters
    ----------
    points : array-like, shape (...,)
        Such as the eigenvalues of a sample.
    thicknesses : sequence of float
        The h, positive.
    relative : bool
        Discs of radius ``h |z|`` (the default, which does not depend on scale) or of radius h.
    max_degree : int
        As in :func:`green_function`.

    Returns
    -------
    GreenInterval
        A cloud of more than 150 points is thinned; two sets then enclose the thickened cloud.

    Raises
    ------
    TypeError, ValueError
        Bad points (see :func:`as_points`), no thickness, or one that is not positive.

    Examples
    --------
    >>> found = green_interval([2.0, 2.5, 3.0], (0.1, 0.3))
    >>> bool(0 < found.low < found.high)
    True
    """
    z = as_points(points)
    hs = sorted(float(h) for h in np.atleast_1d(np.asarray(thicknesses, dtype=float)))
    if not hs or not all(0 < h < math.inf for h in hs):
        raise ValueError(f"thicknesses is {thicknesses}; pass positive numbers such as (0.05, 0.1).")
    kept, cover = _thin(z, relative)
    lowest, highest = [], []
    for h in hs:
        highest.append(green_function(ThickenedCloud(kept, h, relative), max_degree=max_degree))
        # |w - z| <= h |z| and |z - k| <= cover |k| give |w - k| <= (h (1 + cover) + cover) |k|.
        wide = h * (1 + cover) + cover if relative else h + cover
        larger = ThickenedCloud(kept, wide, relative)
        lowest.append(highest[-1] if cover == 0 else green_function(larger, max_degree=max_degree))
    return GreenInterval(tuple(hs), tuple(lowest), tuple(highest))


def _thin(z, relative):
    """Return at most LARGEST_CLOUD of the points, farthest first, and how far they are from the others."""
    if len(z) <= LARGEST_CLOUD:
        return z, 0.0
    unit = np.abs(z) if relative else np.ones(len(z))
    start = int(np.argmin(np.abs(z)))
    kept, distance = [], np.full(len(z), np.inf)
    following = start
    for _ in range(LARGEST_CLOUD):
        kept.append(following)
        center = z[following]
        away = np.minimum(np.abs(z - center), np.abs(z - center.conjugate()))
        # A point 0 is covered by itself alone.
        distance = np.minimum(distance, np.where(away == 0, 0.0, away / max(unit[following], 1e-300)))
        following = int(np.argmax(distance))
    return z[kept], float(distance.max())
