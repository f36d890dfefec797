"""The class Lip(c, L, p) and its calculus: sum, product, composition, stacking, restriction to a ball."""

import enum
import math
from dataclasses import dataclass

from neuinv.lipschitz._logs import exp_up, log_hypot, log_plus, log_power, log_ray, log_times, log_up
from neuinv.lipschitz.local import LocalBound

__all__ = ["LipschitzClass", "OutsideClass", "Rung"]


class Rung(enum.Enum):
    """How regular a map still is that is not polynomially Lipschitz: the lower rungs of the ladder."""

    LOCALLY_LIPSCHITZ = "locally Lipschitz, but its constant outgrows every polynomial"
    CONTINUOUS = "continuous, but not locally Lipschitz"
    LOCALLY_BOUNDED = "locally bounded, but not continuous"
    OFF = "off the ladder: not even bounded near a pole"


class OutsideClass(TypeError):
    """A map that lies in no class Lip(c, L, p), or cannot be shown to.

    Attributes
    ----------
    rung : Rung
        The best rung of the ladder that the operation as such is known to stand on.
    """

    def __init__(self, what, rung):
        super().__init__(f"{what} ({rung.value}).")
        self.rung = rung


@dataclass(frozen=True, init=False)
class LipschitzClass:
    r"""Constants with which a map is *polynomially Lipschitz*: the class Lip(c, L, p).

    .. math::

        \lVert f(0)\rVert \le c, \qquad
        \lVert f(x) - f(y)\rVert \le L\, \max(1, \lVert x\rVert, \lVert y\rVert)^p\, \lVert x - y\rVert

    for all x, y, in the Euclidean norm (Frobenius on matrices). p = 0 is Lipschitz continuity.

    Parameters
    ----------
    c, L : float
        Finite and >= 0, in the units of the output, and of output / input.
    p : int or float
        The exponent, >= 0, dimensionless; an integral one is kept as an int of any size, exactly.
    bound : float
        An upper bound of ||f(x)|| over all x where one is known (softmax, tanh), infinite otherwise.

    Attributes
    ----------
    log_c, log_L, log_bound : float
        Logarithms, in which the calculus computes: finite where ``c`` and ``L`` overflow to infinity,
        and minus infinity only where the constant is 0.

    Raises
    ------
    ValueError
        A constant that is negative or not finite.

    Notes
    -----
    Statements `thm-class-calculus` and `lem-class-growth` of the book. Every operation rounds upwards, so
    constants that hold are mapped to constants that hold.

    Examples
    --------
    >>> square = LipschitzClass(c=0, L=2, p=1)
    >>> square.then(square).p, round(square.then(square).L, 6)
    (3, 8.0)
    """

    log_c: float
    log_L: float
    p: int | float
    log_bound: float

    def __init__(self, c, L, p=0, bound=math.inf):
        for name, value in {"c": c, "L": L}.items():
            if not 0 <= value < math.inf:
                raise ValueError(f"{name} is {value}; pass a finite number >= 0.")
        if not bound >= c:
            raise ValueError(
                f"bound is {bound}, below c = {c}; pass an upper bound of the norm, or leave it out."
            )
        self._fill(log_up(c), log_up(L), p, log_up(bound))

    @classmethod
    def from_logs(cls, log_c, log_L, p=0, log_bound=math.inf):
        """Return the class with these logarithms of its constants.

        Raises
        ------
        ValueError
            A logarithm is NaN, or p is negative or not finite.
        OverflowError
            A logarithm is plus infinity.
        """
        for name, value in {"log_c": log_c, "log_L": log_L}.items():
            if math.isnan(value):
                raise ValueError(f"{name} is nan; pass a finite logarithm, or -inf for the constant 0.")
            if value == math.inf:
                raise OverflowError(
                    f"{name} exceeds float64 even as a logarithm; use fewer products in a row."
                )
        made = cls.__new__(cls)
        made._fill(log_c, log_L, p, log_bound)
        return made

    def _fill(self, log_c, log_L, p, log_bound):
        if not 0 <= p < math.inf:
            raise ValueError(f"p is {p}; pass a finite exponent >= 0.")
        if log_L == -math.inf:  # a constant map: its exponent says nothing
            p, log_bound = 0, min(log_bound, log_c)
        values = {
            "log_c": float(log_c),
            "log_L": float(log_L),
            "p": int(p) if p == int(p) else float(p),
            "log_bound": float(log_bound),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @property
    def c(self):
        """Upper bound of ||f(0)||; infinite where it exceeds float64 (then use ``log_c``)."""
        return exp_up(self.log_c)

    @property
    def L(self):
        """The constant L; infinite where it exceeds float64 (then use ``log_L``)."""
        return exp_up(self.log_L)

    @property
    def bound(self):
        """Upper bound of ||f(x)|| over all x; infinite where none is known."""
        return exp_up(self.log_bound)

    @property
    def log_growth(self):
        """Logarithm of a G with ||f(x)|| <= G max(1, ||x||)^(p + 1): min(c + L, bound)."""
        return min(log_plus(self.log_c, self.log_L), self.log_bound)

    def __add__(self, other):
        """Return the class of x -> f(x) + g(x)."""
        return LipschitzClass.from_logs(
            log_plus(self.log_c, other.log_c),
            log_plus(self.log_L, other.log_L),
            max(self.p, other.p),
            log_plus(self.log_bound, other.log_bound),
        )

    def then(self, outer):
        r"""Return the class of the composition x -> g(f(x)), f this map and g ``outer``.

        With g in Lip(d, M, q): :math:`d + M h_q(c)`, where :math:`h_q(r) = \int_0^r \max(1, s)^q ds`,
        :math:`M L \max(1, c + L)^q`, and the exponent p + q (p + 1). Where a bound b of f is known:
        :math:`M L \max(1, b)^q` and the exponent p.
        """
        at_zero = log_times(outer.log_L, log_ray(self.log_c, outer.p))
        bounded = math.isfinite(self.log_bound)
        size = self.log_bound if bounded else self.log_growth
        slope = log_times(outer.log_L, self.log_L, log_power(max(0.0, size), outer.p))
        log_c = min(log_plus(outer.log_c, at_zero), outer.log_bound)
        exponent = self.p + (0 if bounded else outer.p * (self.p + 1))
        return LipschitzClass.from_logs(log_c, slope, exponent, self._bound_through(outer))

    def _bound_through(self, outer):
        if math.isinf(self.log_bound):
            return outer.log_bound
        reached = log_times(outer.log_L, log_ray(self.log_bound, outer.p))
        return min(outer.log_bound, log_plus(outer.log_c, reached))

    def times(self, other, beta=1.0):
        r"""Return the class of x -> B(f(x), g(x)), where B is bilinear, ||B(u, v)|| <= beta ||u|| ||v||.

        The constants are :math:`\beta c d`, :math:`\beta(G M + H L)` with the growth constants G, H of
        f, g (c + L and d + M unless a smaller bound is known), and the exponent p + q + 1. Where bounds of
        both are known, G and H are these and the exponent is max(p, q).
        """
        log_beta = log_up(beta)
        if -math.inf in (self.log_growth, other.log_growth, log_beta):
            return LipschitzClass(0, 0)
        # A constant factor is a linear map: it raises no exponent.
        constant = -math.inf in (self.log_L, other.log_L)
        bounded = math.isfinite(self.log_bound) and math.isfinite(other.log_bound)
        sizes = (self.log_bound, other.log_bound) if bounded else (self.log_growth, other.log_growth)
        slope = log_plus(log_times(sizes[0], other.log_L), log_times(sizes[1], self.log_L))
        exponent = max(self.p, other.p) if bounded else self.p + other.p + (0 if constant else 1)
        return LipschitzClass.from_logs(
            log_times(log_beta, self.log_c, other.log_c),
            log_times(log_beta, slope),
            exponent,
            log_times(log_beta, self.log_bound, other.log_bound),
        )

    def stacked(self, other):
        """Return the class of x -> (f(x), g(x)), the outputs side by side as one vector."""
        return LipschitzClass.from_logs(
            log_hypot(self.log_c, other.log_c),
            log_hypot(self.log_L, other.log_L),
            max(self.p, other.p),
            log_hypot(self.log_bound, other.log_bound),
        )

    def scaled(self, factor):
        """Return the class of x -> T f(x), T linear of operator norm ``factor`` (or a scalar)."""
        log_factor = log_up(abs(factor))
        return LipschitzClass.from_logs(
            log_times(self.log_c, log_factor),
            log_times(self.log_L, log_factor),
            self.p,
            log_times(self.log_bound, log_factor),
        )

    def shifted(self, distance):
        """Return the class of x -> f(x) + b, where ||b|| <= ``distance``."""
        return self + LipschitzClass(distance, 0)

    def restrict(self, radius):
        r"""Return the norm and Lipschitz bounds on the ball ||x|| <= ``radius``.

        They are :math:`c + L h_p(R)` and :math:`L \max(1, R)^p`.

        Raises
        ------
        ValueError
            ``radius`` is negative or not finite.
        """
        return LocalBound.identity(radius).then(self)


def identity_class():
    """Return the class of the identity: Lip(0, 1, 0)."""
    return LipschitzClass(0, 1, 0)


def polynomial_class(coefficients, *, n=1, log_norm=0.0):
    r"""Return the class of the matrix polynomial :math:`A \mapsto \sum_k a_k (TA)^k`, T linear.

    :math:`\lVert A^k - B^k\rVert_F \le k\,m^{k-1}\lVert A - B\rVert_F` by telescoping, with equality in the
    limit A, B -> m E for a projection E of rank 1. So :math:`c = |a_0|\sqrt n`,
    :math:`L = \sum_k k\,|a_k|\,\lVert T\rVert^k`, p = d - 1.

    Parameters
    ----------
    coefficients : sequence of float
        :math:`a_0, a_1, \dots, a_d`.
    n : int
        Size of the matrices; 1 for scalars.
    log_norm : float
        Logarithm of ||T||.

    Returns
    -------
    LipschitzClass

    Raises
    ------
    ValueError
        No coefficient, or one that is not finite.

    Examples
    --------
    >>> cube = polynomial_class([0, 0, 0, 1])
    >>> cube.p, round(cube.L, 6)
    (2, 3.0)
    """
    if not len(coefficients):
        raise ValueError("coefficients is empty; pass a_0, a_1, ..., at least a_0.")
    if not all(math.isfinite(a) for a in coefficients):
        raise ValueError(f"coefficients is {coefficients}; pass finite numbers.")
    degree = max((k for k, a in enumerate(coefficients) if a != 0), default=0)
    logs = [
        log_times(log_up(k), log_up(abs(a)), log_power(log_norm, k))
        for k, a in enumerate(coefficients)
        if k >= 1
    ]
    log_c = log_times(log_up(abs(coefficients[0])), log_up(n) / 2)
    return LipschitzClass.from_logs(log_c, log_plus(-math.inf, *logs), max(0, degree - 1))
