"""Compositions of optimal stages: the Chebyshev polynomial of a product of degrees, in few products."""

import math
from dataclasses import dataclass

from neuinv._checks import as_integer
from neuinv.iterations.bounds import check_kind
from neuinv.iterations.optimal import Optimal
from neuinv.iterations.scheme import KINDS, cast, identity

__all__ = [
    "ComposedChebyshev",
    "STAGE_DEGREES",
    "evaluate_polynomial",
    "factors_of_nine",
    "next_gap",
    "stage_coefficients",
    "times_polynomial",
]

# k products evaluate every polynomial of exact degree 2^k, k = 0, 1, 2, 3: a residual of degree 2^k + 1.
STAGE_DEGREES = (2, 3, 5, 9)
MOST_STAGES = 2000
# T_d for these degrees: {power: coefficient}.
CHEBYSHEV = {
    2: {0: -1, 2: 2},
    3: {1: -3, 3: 4},
    5: {1: 5, 3: -20, 5: 16},
    9: {1: 9, 3: -120, 5: 432, 7: -576, 9: 256},
}


@dataclass(frozen=True)
class ComposedChebyshev(Optimal):
    r"""Stages :math:`X_j = X_{j-1}\,p_j(R_{j-1})`, :math:`R_{j-1} = I - A X_{j-1}`, each optimal.

    With the residual in [-r, r] the stage makes it :math:`T_d(R/r) / T_d(1/r)`, and since
    :math:`T_a(T_b) = T_{ab}` the whole is the optimal polynomial of degree :math:`N = \prod d_j`. A stage of
    degree d = 2, 3, 5, 9 takes k = 0, 1, 2, 3 products for p and two more for :math:`A X` and
    :math:`X p`; on the multiple of I from which kind ``"spd"`` starts, the first stage needs k alone.
    :class:`ScaledNewtonSchulz` is the case of degrees 2; degree 9 gains most a product.

    Parameters
    ----------
    stages : tuple of int
        The degrees :math:`d_j`, each of them 2, 3, 5 or 9; at least one.
    kind : {"spd", "general"}
        Which matrices.

    Raises
    ------
    TypeError, ValueError
        ``stages`` is not such a tuple, or an unknown kind.

    Notes
    -----
    Statement `prop-composition` of the book.

    Examples
    --------
    >>> scheme = ComposedChebyshev((9, 2))
    >>> scheme.num_matmuls, scheme.degree
    (5, 18)
    """

    stages: tuple
    kind: str = "spd"

    def __post_init__(self):
        if not isinstance(self.stages, tuple):
            raise TypeError(f"stages is {self.stages!r}; pass a tuple of degrees such as (9, 2).")
        if not 1 <= len(self.stages) <= MOST_STAGES:
            raise ValueError(f"stages has {len(self.stages)} entries; pass from 1 to {MOST_STAGES}.")
        for degree in self.stages:
            if as_integer(degree, "a degree in stages", 2) not in STAGE_DEGREES:
                raise ValueError(f"stages has the degree {degree}; use 2, 3, 5 or 9.")
        check_kind(self.kind, KINDS)

    @property
    def degree(self):
        """Degree N of the residual polynomial: the product of the stages' degrees."""
        return math.prod(self.stages)

    @property
    def num_matmuls(self):
        """Matrix products: those of the polynomials and two a stage; a multiple of I saves two."""
        free = 2 if self.kind == "spd" else 0
        return sum(2 + STAGE_DEGREES.index(degree) for degree in self.stages) - free

    def _inverse(self, A, ratio):
        gamma = cast(2 / (1 + ratio), A)
        gap = 2 * ratio / (1 + ratio)  # 1 - r, which does not round to 0 where the interval is long
        multiple = self.kind == "spd"
        X = gamma * (identity(A) if multiple else A.mT)
        for degree in self.stages:
            R = identity(A) - (gamma * A if multiple else A @ X)
            c = [cast(c, A) for c in stage_coefficients(degree, gap)]
            X, multiple = gamma * evaluate_polynomial(R, c) if multiple else times_polynomial(X, R, c), False
            gap = next_gap(degree, gap)
        return X


def stage_coefficients(degree, gap):
    """Return those of p(R) = (1 - q(R)) / (1 - R), q(R) = T(R/r) / T(1/r), in ascending order."""
    r = 1 - gap
    # r^degree T(R/r): no power of r is divided by, so that r = 0 is no exception.
    terms = [CHEBYSHEV[degree].get(i, 0) * r ** (degree - i) for i in range(degree + 1)]
    total = sum(terms)
    # q(1) = 1, so that the quotient's coefficients are the sums of those of q from the top.
    coefficients = [terms[degree] / total]
    for i in range(degree - 1, 0, -1):
        coefficients.insert(0, coefficients[0] + terms[i] / total)
    return coefficients


def next_gap(degree, gap):
    """Return 1 - 1/T(1/r), r = 1 - gap, without a difference of close numbers."""
    r = 1 - gap
    terms = CHEBYSHEV[degree]
    total = sum(c * r ** (degree - i) for i, c in terms.items())
    # r^degree (T(1/r) - 1) is a polynomial in r with a zero at r = 1: divide it by 1 - r = gap.
    excess = {degree - i: c for i, c in terms.items()}
    excess[degree] = excess.get(degree, 0) - 1
    quotient, carry = 0, 0
    for power in range(degree):
        carry += excess.get(power, 0)
        quotient = quotient + carry * r**power
    return gap * quotient / total


def times_polynomial(X, R, c):
    """Return X (c_0 I + c_1 R + ...) as c_0 X + X (c_1 R + ...), in as many products.

    Where R is small, so is what the product adds, and rounds: at the end of a scheme this order leaves a half
    to a third of the residual of the other in float32.
    """
    return c[0] * X + X @ evaluate_polynomial(R, [0 * c[0], *c[1:]])


def evaluate_polynomial(R, c):
    """Return c_0 I + c_1 R + ... for 2, 3, 5 or 9 coefficients in 0, 1, 2 or 3 products."""
    eye = identity(R)
    if len(c) == 2:
        return c[0] * eye + c[1] * R
    square = R @ R
    if len(c) == 3:
        return c[0] * eye + c[1] * R + c[2] * square
    if len(c) == 5:
        return c[0] * eye + c[1] * R + square @ (c[2] * eye + c[3] * R + c[4] * square)
    half, a, b, d, e, f = factors_of_nine(c)
    quartic = square @ (square + half * R)
    product = (quartic + a * square + b * R) @ (quartic + d * square + e * R) + f * quartic
    return c[8] * product + (c[2] - c[8] * b * e) * square + c[1] * R + c[0] * eye


def factors_of_nine(c):
    """Return half, a, b, d, e, f for a polynomial of 9 coefficients.

    It is c_8 ((Q + a S + b R)(Q + d S + e R) + f Q) + (c_2 - c_8 b e) S + c_1 R + c_0 I with S = R^2 and
    Q = S (S + half R).
    """
    half, middle = c[7] / (2 * c[8]), c[4] / c[8]
    # a + d and b + e come from the powers 6 and 5, and a - d = 1 leaves one linear equation for b - e.
    outer = c[6] / c[8] - half * half
    inner = c[5] / c[8] - half * outer
    a, d = outer / 2 + 0.5, outer / 2 - 0.5
    f = middle - half * inner - a * d
    tilt = half * f + outer * inner / 2 - c[3] / c[8]
    return half, a, inner / 2 + tilt, d, inner / 2 - tilt, f
