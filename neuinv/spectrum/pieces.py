r"""Pieces of boundary, and how far a polynomial can rise between the samples on one.

A real polynomial of degree d on an interval, sampled at M > d Chebyshev points, has
:math:`\max |f| \le \max_j |f(x_j)| / \cos(\pi d / 2M)` (Ehlich and Zeller 1964), and a trigonometric
polynomial of degree d at N > 2d equispaced points has :math:`\max |f| \le \max_j |f(t_j)| / \cos(\pi d / N)`.
On every piece here :math:`|q|^2`, or q itself, is such a polynomial, so that a maximum over samples is turned
into a proved bound over the whole piece.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

__all__ = ["Circle", "Piece", "Segment", "SymmetricArc"]


class Piece(ABC):
    """A smooth piece of the boundary of a set; its mirror image is meant too."""

    @abstractmethod
    def at(self, t):
        """Return the points at the parameters ``t`` in [0, 1], complex."""

    @staticmethod
    def parameters(count):
        """Return the ``count`` midpoints of a division of [0, 1], and both ends."""
        return np.r_[0.0, (np.arange(count) + 0.5) / count, 1.0]

    @abstractmethod
    def overshoot(self, degree, count):
        """Return a factor c with max |q| <= c max over ``parameters(count)`` for real q of the degree."""

    @abstractmethod
    def green(self):
        """Return Green's function at 0 of the complement of the piece alone: closed form."""


@dataclass(frozen=True)
class Segment(Piece):
    """The segment from ``start`` to ``end``."""

    start: complex
    end: complex

    def at(self, t):
        """Return middle + half cos(pi t), which makes midpoints of [0, 1] Chebyshev points."""
        middle, half = (self.start + self.end) / 2, (self.end - self.start) / 2
        return middle + half * np.cos(np.pi * t)

    def overshoot(self, degree, count):
        """Return the Ehlich-Zeller factor: q has degree m on a real segment, |q|^2 has 2m elsewhere."""
        if self.start.imag == 0 == self.end.imag:
            return 1 / math.cos(math.pi * degree / (2 * count))
        return 1 / math.sqrt(math.cos(math.pi * 2 * degree / (2 * count)))

    def green(self):
        """Return ln |x + sqrt(x^2 - 1)| with x = -middle / half, the branch outside the unit disc."""
        x = -(self.start + self.end) / (self.end - self.start)
        root = np.sqrt(complex(x * x - 1))
        return math.log(max(abs(x + root), abs(x - root), 1.0))


@dataclass(frozen=True)
class SymmetricArc(Piece):
    """The arc of angles |t| <= ``half_angle`` about a real ``center``; a negative radius opens leftwards."""

    center: float
    radius: float
    half_angle: float

    def at(self, t):
        """Return points of the upper half, where midpoints of [0, 1] are Chebyshev points of the cosine."""
        low = math.cos(self.half_angle)
        # 1 - cosine without cancellation, since the sine is its square root.
        below = (1 - low) * np.sin(np.pi * t / 2) ** 2
        return self.center + self.radius * (1 - below + 1j * np.sqrt(np.clip(below * (2 - below), 0, None)))

    def overshoot(self, degree, count):
        """Return the Ehlich-Zeller factor: |q|^2 is a polynomial of degree m in cos t."""
        return 1 / math.sqrt(math.cos(math.pi * degree / (2 * count)))

    def green(self):
        """Return Green's function at 0, by the map of the outside of the arc to the outside of a disc."""
        # For center 0 the value is -ln sin(a/2); a concentric disc (a = pi) gives max(0, ln(|c|/r)).
        if self.half_angle == math.pi:
            return math.log(max(1.0, abs(self.center / self.radius)))
        return arc_green(-self.center / self.radius, self.half_angle)


def arc_green(z, a):
    """Return Green's function at z, pole at infinity, of the complement of {e^{it}: |t| <= a}, a < pi.

    The Moebius map w = i (1 - z)/(1 + z) takes the arc to the real interval |w| <= tan(a/2), and infinity to
    -i: Green's function of the outside of an interval with a finite pole then follows from Joukowski's map.
    """
    if abs(z + 1) < 1e-300:
        return _green_pole(np.inf, -1j, a)
    return _green_pole(1j * (1 - z) / (1 + z), -1j, a)


def _green_pole(w, pole, a):
    half = math.tan(a / 2)
    image, pole = _joukowski(w / half), _joukowski(pole / half)
    if np.isinf(image):
        return math.log(abs(pole))
    return math.log(max(1.0, abs((1 - np.conj(pole) * image) / (image - pole))))


def _joukowski(x):
    if np.isinf(x):
        return np.inf
    root = np.sqrt(complex(x * x - 1))
    return max(x + root, x - root, key=abs)


@dataclass(frozen=True)
class Circle(Piece):
    """The full circle about a complex ``center``."""

    center: complex
    radius: float

    def at(self, t):
        """Return points of the whole circle, equispaced in t."""
        return self.center + self.radius * np.exp(2j * np.pi * t)

    def overshoot(self, degree, count):
        """Return the factor of a trigonometric polynomial: |q|^2 has degree m in the angle."""
        return 1 / math.sqrt(math.cos(math.pi * degree / count)) if count > 2 * degree else math.inf

    def green(self):
        """Return ln(|center| / radius), 0 where the disc holds the origin."""
        return math.log(max(1.0, abs(self.center) / self.radius))
