r"""Brackets of :math:`E_m` on whole sets: an exchange of points, and a bound for what lies between them."""

from dataclasses import dataclass, field

import numpy as np

from neuinv._checks import as_integer
from neuinv.spectrum.minimax import ResidualPolynomial, minimax_residual
from neuinv.spectrum.sets import SpectrumSet, ThickenedCloud

__all__ = ["SetBracket", "check_set", "minimax_bracket"]

MAX_SAMPLES = 16_000  # of the boundary, where an upper bound is evaluated
EXCHANGES = 6


def check_set(E):
    """Return ``E`` if it is a set.

    Raises
    ------
    TypeError
        It is something else, such as an array of points.
    """
    if not isinstance(E, SpectrumSet):
        raise TypeError(
            f"E is a {type(E).__name__}, not a set; a finite cloud gives no upper bound on Green's function: "
            "pass ThickenedCloud(points, h), or call green_interval(points)."
        )
    return E


@dataclass(frozen=True)
class SetBracket:
    """A bracket of E_m of a set, and the polynomial behind its upper end.

    Attributes
    ----------
    degree : int
        m.
    lower, upper : float
        ``lower <= E_m <= upper``, proved up to rounding.
    sampled : float
        The largest modulus of the polynomial that was found on the set, between the two: an estimate of E_m.
    polynomial : ResidualPolynomial
    """

    degree: int
    lower: float
    upper: float
    sampled: float
    polynomial: ResidualPolynomial = field(repr=False)


def minimax_bracket(E, degree, *, tolerance=1e-6):
    r"""Return a bracket of :math:`E_m(E) = \min_{q(0)=1} \max_E |q|` for a set.

    Parameters
    ----------
    E : SpectrumSet
        The set; only its boundary matters.
    degree : int
        m >= 1.
    tolerance : float
        Wanted relative rise between the sampled points; it stops the exchange, and does not enter the bounds.

    Returns
    -------
    SetBracket
        Both proved up to rounding: ``lower`` because the points are in E, ``upper`` because ``|q|^2`` is a
        polynomial along each piece of the boundary, whose rise between samples is bounded.

    Raises
    ------
    TypeError
        ``E`` is no set.
    ValueError
        ``degree`` below 1 or too large for double precision.

    Examples
    --------
    >>> from neuinv.spectrum import interval
    >>> bracket = minimax_bracket(interval(1, 9), 2)
    >>> bool(bracket.lower <= 8 / 17 <= bracket.upper)
    True
    """
    degree = as_integer(degree, "degree", 1)
    pieces = check_set(E).pieces()
    fine = max(4 * degree + 1, min(100 * degree, MAX_SAMPLES // len(pieces)))
    t = pieces[0].parameters(fine)
    dense = [piece.at(t) for piece in pieces]
    z = _outermost(E, np.concatenate(dense))
    # Few at first: the exchange adds points where they are missing.
    z = z[:: max(1, len(z) // (12 * degree))]
    lower, best = 0.0, None
    for _ in range(EXCHANGES):
        q = minimax_residual(z, degree, tolerance=tolerance / 4)
        lower = max(lower, q.lower)
        moduli = [np.abs(q(points)) for points in dense]
        peaks = [piece.at(_peaks(t, m, q.upper)) for piece, m in zip(pieces, moduli, strict=True)]
        peaks = _outermost(E, np.concatenate(peaks))
        sampled = max(q.upper, np.abs(q(peaks)).max(initial=0.0))
        if best is None or sampled < best[0]:
            best = sampled, q, moduli
        if sampled <= q.upper * (1 + tolerance):
            break
        z = np.concatenate([z, peaks])
    sampled, q, moduli = best
    upper = max(m.max() * piece.overshoot(degree, fine) for m, piece in zip(moduli, pieces, strict=True))
    upper = min(1.0, max(upper, sampled) * (1 + 1e-11))
    return SetBracket(degree, float(lower), float(upper), float(min(1.0, sampled)), q)


def _peaks(t, moduli, level):
    """Return where the parabolas through three neighbours peak, near or above ``level``."""
    left, middle, right = moduli[:-2], moduli[1:-1], moduli[2:]
    curvature = left - 2 * middle + right
    # A peak between samples of fineness 100 a degree rises by 1e-4 of its height.
    peak = (middle >= left) & (middle >= right) & (middle > level * (1 - 2e-4)) & (curvature < 0)
    shift = 0.5 * (left - right)[peak] / curvature[peak] * (t[2] - t[1])
    ends = t[[0, -1]][moduli[[0, -1]] > level]
    return np.clip(np.r_[t[1:-1][peak] + shift, ends], 0.0, 1.0)


def _outermost(E, z):
    """Return the points that lie in no open disc of a cloud: no maximum is at others."""
    if not isinstance(E, ThickenedCloud):
        return z
    z = z[z.imag >= 0]
    keep = np.ones(len(z), dtype=bool)
    for c, r in zip(E.points, E.radii(), strict=True):
        keep &= (np.abs(z - c) >= r * (1 - 1e-9)) & (np.abs(z - np.conj(c)) >= r * (1 - 1e-9))
    return z[keep]
