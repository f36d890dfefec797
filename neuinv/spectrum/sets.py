r"""Sets in the complex plane that hold the spectra of real matrices: compact, and symmetric in the real axis.

A set knows its boundary in pieces and, where one is known, Green's function of its complement at the origin
(pole at infinity) in closed form.
"""

import cmath
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from neuinv.spectrum.minimax import as_points
from neuinv.spectrum.pieces import Circle, Segment, SymmetricArc

__all__ = [
    "AnnularSector",
    "Arc",
    "Disc",
    "Intervals",
    "Polygon",
    "SpectrumSet",
    "ThickenedCloud",
    "interval",
    "two_intervals",
]


class SpectrumSet(ABC):
    """A compact set, symmetric in the real axis."""

    @abstractmethod
    def pieces(self):
        """Return the pieces of a set between the outer boundary and the set itself."""

    @abstractmethod
    def separates(self):
        """Tell whether the origin lies in the set or in a bounded component of its complement, if known."""

    def closed_form(self):
        """Return Green's function at 0 in closed form, or None."""
        return 0.0 if self.separates() else None


def _number(value, name, low=-math.inf, high=math.inf):
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name} is {value!r}; pass a real number.") from None
    if not (math.isfinite(number) and low <= number <= high):
        span = "finite" if low == -math.inf else f"in [{low:g}, {high:g}]"
        raise ValueError(f"{name} is {value}; pass a number, {span}.")
    return number


@dataclass(frozen=True)
class Intervals(SpectrumSet):
    """A union of disjoint real intervals, given as ``((a, b), (c, d), ...)`` from left to right."""

    ends: tuple

    def __post_init__(self):
        try:
            ends = tuple((_number(a, "an end"), _number(b, "an end")) for a, b in self.ends)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"ends is {self.ends!r} ({error}); pass pairs such as ((1, 2), (3, 4))."
            ) from None
        flat = [x for pair in ends for x in pair]
        if not ends or any(a >= b for a, b in pairwise(flat)):
            raise ValueError(f"ends is {self.ends!r}; pass increasing pairs such as ((1, 2), (3, 4)).")
        object.__setattr__(self, "ends", ends)

    def pieces(self):
        """Return the intervals as segments."""
        return [Segment(complex(a), complex(b)) for a, b in self.ends]

    def separates(self):
        """Tell whether an interval holds 0; the complement has no bounded component."""
        return any(a <= 0 <= b for a, b in self.ends)

    def closed_form(self):
        r"""Return it for one interval, and for two of equal length; None for others.

        With x the origin seen from the middle in half-lengths it is :math:`\ln(|x| + \sqrt{x^2 - 1})`; two
        equal intervals are the preimage of one under :math:`(z - c)^2`, which halves the value.
        """
        if self.separates():
            return 0.0
        if len(self.ends) == 1:
            return _interval_green(*self.ends[0], 0.0)
        if len(self.ends) == 2:
            (a, b), (c, d) = self.ends
            if abs((b - a) - (d - c)) <= 1e-14 * (d - a):
                middle = (a + d) / 2
                return _interval_green(((c - b) / 2) ** 2, ((d - a) / 2) ** 2, middle**2) / 2
        return None


def _interval_green(a, b, point):
    x = abs((2 * point - a - b) / (b - a))
    # acosh(x) without the cancellation in x - 1.
    excess = max(0.0, 2 * ((a - point) if point < a else (point - b)) / (b - a))
    return math.log1p(excess + math.sqrt(excess * (excess + 2))) if x >= 1 else 0.0


def interval(a, b):
    """Return the set [a, b] of spectra of symmetric matrices, a < b."""
    return Intervals(((a, b),))


def two_intervals(a, b):
    """Return the set [-b, -a] and [a, b] of spectra of indefinite symmetric matrices, 0 < a < b."""
    return Intervals(((-b, -a), (a, b)))


@dataclass(frozen=True)
class Disc(SpectrumSet):
    """The disc about a real ``center``."""

    center: float
    radius: float

    def __post_init__(self):
        _real_center(self)

    def pieces(self):
        """Return the circle."""
        return [SymmetricArc(self.center, self.radius, math.pi)]

    def separates(self):
        """Tell whether the disc holds 0."""
        return abs(self.center) <= self.radius

    def closed_form(self):
        """Return ``ln(|center| / radius)``, or 0."""
        return self.pieces()[0].green()


def _real_center(disc):
    if isinstance(disc.center, complex):
        raise ValueError(f"center is {disc.center}; pass a real one, or ThickenedCloud([center], radius).")
    object.__setattr__(disc, "center", _number(disc.center, "center"))
    object.__setattr__(disc, "radius", _number(disc.radius, "radius", 1e-300))


@dataclass(frozen=True)
class Arc(SpectrumSet):
    """The arc of angles of at most ``half_angle`` either way of a circle about a real ``center``."""

    radius: float
    half_angle: float
    center: float = 0.0

    def __post_init__(self):
        _real_center(self)
        object.__setattr__(self, "half_angle", _number(self.half_angle, "half_angle", 1e-6, math.pi))

    def pieces(self):
        """Return the arc."""
        return [SymmetricArc(self.center, self.radius, self.half_angle)]

    def separates(self):
        """Tell whether the circle is closed and holds 0 in its disc, or 0 is on the arc."""
        inside = abs(self.center) <= self.radius
        on_arc = self.center == -self.radius or (self.center == self.radius and self.half_angle == math.pi)
        return on_arc or (inside and self.half_angle == math.pi)

    def closed_form(self):
        """Return -ln sin(half_angle / 2) for center 0, and its Moebius form elsewhere."""
        return 0.0 if self.separates() else self.pieces()[0].green()


@dataclass(frozen=True)
class AnnularSector(SpectrumSet):
    """All z with ``inner <= |z| <= outer`` and ``|arg z| <= half_angle``."""

    inner: float
    outer: float
    half_angle: float

    def __post_init__(self):
        object.__setattr__(self, "inner", _number(self.inner, "inner", 0.0))
        object.__setattr__(self, "outer", _number(self.outer, "outer", 1e-300))
        object.__setattr__(self, "half_angle", _number(self.half_angle, "half_angle", 1e-6, math.pi))
        if self.inner >= self.outer:
            raise ValueError(f"inner is {self.inner} and outer {self.outer}; pass inner < outer.")

    def pieces(self):
        """Return both arcs and one of the two straight sides."""
        side = cmath.exp(1j * self.half_angle)
        arcs = [SymmetricArc(0.0, r, self.half_angle) for r in (self.inner, self.outer) if r > 0]
        if self.half_angle == math.pi:
            return arcs[-1:]
        return [*arcs, Segment(self.inner * side, self.outer * side)]

    def separates(self):
        """Tell whether the annulus is closed, or reaches 0."""
        return self.half_angle == math.pi or self.inner == 0


@dataclass(frozen=True)
class Polygon(SpectrumSet):
    """The filled simple polygon with the given vertices in order, symmetric in the real axis.

    Vertices in the upper half-plane alone (from one real end to the other) are completed by their mirror
    image.
    """

    vertices: tuple

    def __post_init__(self):
        try:
            z = np.asarray(self.vertices).astype(complex).ravel()
        except (TypeError, ValueError):
            raise TypeError(f"vertices is {self.vertices!r}; pass complex numbers in order.") from None
        if not np.isfinite(z).all():
            raise ValueError("vertices has a NaN or an infinity; pass finite numbers.")
        if (z.imag >= 0).all():
            z = np.r_[z, z[::-1].conj()[z[::-1].imag > 0]]
        mirrored = {complex(x) for x in z} == {complex(x.conjugate()) for x in z}
        if len(z) < 3 or not mirrored or np.abs(z.imag).max() == 0:
            raise ValueError(
                f"vertices has {len(z)} numbers; pass a polygon symmetric in the real axis, or its "
                "upper half."
            )
        object.__setattr__(self, "vertices", tuple(complex(x) for x in z))

    def pieces(self):
        """Return the edges that reach the closed upper half-plane."""
        edges = zip(self.vertices, self.vertices[1:] + self.vertices[:1], strict=True)
        return [
            Segment(a, b) for a, b in edges if max(a.imag, b.imag) > 0 or (a.imag == 0 == b.imag and a != b)
        ]

    def separates(self):
        """Tell whether the winding number about 0 is not 0, or 0 is on an edge."""
        z = np.array(self.vertices)
        following = np.roll(z, -1)
        cross, along = (z.conj() * following).imag, (z.conj() * following).real
        size = np.abs(z).max() ** 2
        on_edge = (np.abs(cross) <= 1e-15 * size) & (along <= 0)
        return bool(on_edge.any()) or abs(np.arctan2(cross, along).sum()) > math.pi


@dataclass(frozen=True)
class ThickenedCloud(SpectrumSet):
    """The union of closed discs about the points and their conjugates.

    Attributes
    ----------
    points : sequence of complex
        Such as the eigenvalues of a sample; kept folded to the upper half-plane.
    thickness : float
        h > 0: the radius of every disc, or with ``relative`` the radius in units of the modulus of its
        center.
    relative : bool
        Relative discs do not depend on the scale of the points, and hold 0 only where h >= 1.
    """

    points: tuple
    thickness: float
    relative: bool = False

    def __post_init__(self):
        object.__setattr__(self, "points", tuple(as_points(self.points).tolist()))
        object.__setattr__(self, "thickness", _number(self.thickness, "thickness", 1e-12))

    def radii(self):
        """Return the radius of each disc; a relative disc about 0 is that point alone."""
        return [self.thickness * (abs(z) if self.relative else 1.0) for z in self.points]

    def pieces(self):
        """Return the circles."""
        pairs = zip(self.points, self.radii(), strict=True)
        return [Circle(z, h) if z.imag else SymmetricArc(z.real, h, math.pi) for z, h in pairs]

    def separates(self):
        """Tell whether a disc holds 0; None where the discs might still surround it."""
        held = any(abs(z) <= h for z, h in zip(self.points, self.radii(), strict=True))
        return True if held else None

    def closed_form(self):
        """Return it for one real point, whose set is a disc, and where a disc holds 0; None for others."""
        if self.separates():
            return 0.0
        if len(self.points) == 1 and self.points[0].imag == 0:
            return self.pieces()[0].green()
        return None
