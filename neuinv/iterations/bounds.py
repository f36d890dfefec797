r"""The least number of matrix products: what no polynomial program can beat.

With T_d the Chebyshev polynomials and :math:`x_0(\kappa) = (\kappa + 1)/(\kappa - 1)`, the smallest maximum
of a polynomial q of degree d with q(0) = 1 over an interval of ratio kappa is :math:`1/T_d(x_0(\kappa))`.
Everything is computed through :math:`w = \operatorname{arcosh} x_0`, so that nothing overflows.
"""

import math
from decimal import Decimal, localcontext

from neuinv._checks import as_integer

__all__ = ["least_residual", "lower_bound_matmuls", "matmul_residual"]

PROGRAMS = ("spd", "general", "covariant")
# Relative distance within which floats do not decide which of two numbers is larger.
UNDECIDED = 1e-12
# Ties are decided in decimal arithmetic. Of its digits a condition number of 1e308 eats 1300 at most, half of
# them because T_d(x0) starts at 1 + 2 / kappa^2; equality of floats shows within 700 digits.
DIGITS = 2400
EQUAL = Decimal(10) ** -700


def least_residual(degree, kappa, kind="spd"):
    r"""Return the least worst-case right residual of a polynomial map of bounded degree.

    Every map whose entries are polynomials of degree at most d in the entries of A has a worst right
    residual of at least

    .. math:: 1 / T_{d+1}(x_0(\kappa)) \quad\text{on SPD A with spectrum in } [1/\kappa, 1],
       \qquad 1 / T_{\lfloor (d+1)/2 \rfloor}(x_0(\kappa^2)) \quad\text{on singular values in } [1/\kappa, 1],

    for every n; :class:`Chebyshev` attains both.

    Parameters
    ----------
    degree : int
        d >= 0, of the map that sends A to its approximate inverse.
    kappa : float
        The condition number, at least 1; dimensionless.
    kind : {"spd", "general"}
        Which matrices.

    Returns
    -------
    float
        In [0, 1], to a relative accuracy of 1e-12; 0 where it underflows.

    Raises
    ------
    TypeError, ValueError
        ``degree`` is not an integer >= 0, ``kappa`` is below 1 or infinite, or an unknown kind.

    Notes
    -----
    Why: on A = zI a corner entry of the map is a polynomial p of degree at most d, and
    :math:`\lVert A f(A) - I\rVert \ge |1 - z p(z)|`. For kind ``"general"`` z may have both signs; the even
    part of :math:`1 - zp(z)` is no worse, and a polynomial in :math:`z^2`.

    Examples
    --------
    >>> least_residual(1, 3.0)  # x0 = 2 and T_2(2) = 7
    0.14285714
    >>> least_residual(1, 3.0, "general")  # x0(9) = 5 / 4
    0.8
    """
    degree = as_integer(degree, "degree", 0)
    check_kind(kind, ("spd", "general"))
    kappa = check_kappa(kappa)
    return chebyshev_minimum(degree + 1 if kind == "spd" else (degree + 1) // 2, kappa, kind)


def matmul_residual(num_matmuls, kappa, kind="spd"):
    r"""Return a lower bound on the worst right residual of every program with m matrix products.

    With m products the degree is at most :math:`2^m`, hence :func:`least_residual` at that degree. For kind
    ``"covariant"`` the matrices are general, A maps a space V to another space W, and the program multiplies
    only what composes: it starts from A and the two identities, may transpose, and returns a map from W to
    V. Such a program reaches the odd degree :math:`2^{m-1} + 1` at most, hence

    .. math:: 1 / T_{\lfloor 2^{m-2} \rfloor + 1}(x_0(\kappa^2)).

    Parameters
    ----------
    num_matmuls : int
        m >= 0.
    kappa : float
        The condition number, at least 1; dimensionless.
    kind : {"spd", "general", "covariant"}
        Which matrices and, for the last, which programs.

    Returns
    -------
    float
        In [0, 1], to a relative accuracy of 1e-12; 0 where it underflows. Some program attains the bound if
        m <= 3 for kind ``"spd"``, if m <= 5 for kind ``"covariant"``.

    Raises
    ------
    TypeError, ValueError
        As :func:`least_residual`.

    Examples
    --------
    >>> matmul_residual(0, 3.0)  # a multiple of I plus a multiple of A
    0.14285714
    >>> matmul_residual(3, 3.0, "general") < matmul_residual(3, 3.0, "covariant")
    True
    """
    num_matmuls = as_integer(num_matmuls, "num_matmuls", 0)
    check_kind(kind, PROGRAMS)
    kappa = check_kappa(kappa)
    return chebyshev_minimum(_reachable(num_matmuls, kind), kappa, kind)


def lower_bound_matmuls(kappa, tolerance, kind="spd"):
    r"""Return the number of matrix products below which no program reaches a tolerance.

    The smallest m whose :func:`matmul_residual` is at most the tolerance; for kind ``"spd"``
    :math:`m \ge \log_2(\operatorname{arcosh}(1/\varepsilon)/w - 1)`,
    :math:`w = \ln((\sqrt\kappa + 1)/(\sqrt\kappa - 1))`.

    Parameters
    ----------
    kappa : float
        The condition number, at least 1; dimensionless.
    tolerance : float
        Of the worst right residual over all matrices of that condition number; positive.
    kind : {"spd", "general", "covariant"}
        See :func:`matmul_residual`.

    Returns
    -------
    int
        Exact for the two floats given, also where the bound meets the tolerance with equality.

    Raises
    ------
    TypeError, ValueError
        ``kappa`` is below 1 or infinite, ``tolerance`` is not positive and finite, or an unknown kind.

    Examples
    --------
    >>> [lower_bound_matmuls(1e4, 1e-6, kind) for kind in ("spd", "general", "covariant")]
    [10, 18, 19]
    """
    check_kind(kind, PROGRAMS)
    kappa = check_kappa(kappa)
    tolerance = check_tolerance(tolerance)
    if tolerance >= 1 or kappa == 1:
        return 0
    # arcosh(1 / tolerance), without squaring a small tolerance and without losing one near 1.
    needed = math.log1p(math.sqrt((1 - tolerance) * (1 + tolerance))) - math.log(tolerance)
    rate = chebyshev_rate(kappa, kind)
    m = 0
    while not _reaches(_reachable(m, kind), rate, needed, kappa, tolerance, kind):
        m += 1
    return m


def _reachable(num_matmuls, kind):
    """Return the largest degree of the residual, in A (spd) or in A^T A (otherwise), of m products."""
    if kind == "spd":
        return 2**num_matmuls + 1
    if kind == "general":
        return (2**num_matmuls + 1) // 2
    return 2**num_matmuls // 4 + 1


def _reaches(degree, rate, needed, kappa, tolerance, kind):
    """Tell whether T_degree(x0) >= 1 / tolerance."""
    reached = scaled(degree, rate)
    if abs(reached - needed) > UNDECIDED * needed:
        return reached > needed
    with localcontext() as context:
        context.prec = DIGITS
        ratio = Decimal(kappa) if kind == "spd" else Decimal(kappa) ** 2
        value = _exact_chebyshev(degree, (ratio + 1) / (ratio - 1))
        return value * Decimal(tolerance) >= 1 - EQUAL


def _exact_chebyshev(degree, x):
    """Return T_degree(x) in the arithmetic of x, by T_2n = 2 T_n^2 - 1, T_2n+1 = 2 T_n T_n+1 - x."""
    low, high = x**0, x  # T_0, T_1
    for bit in bin(degree)[2:]:
        middle = 2 * low * high - x
        if bit == "1":
            low, high = middle, 2 * high * high - 1
        else:
            low, high = 2 * low * low - 1, middle
    return low


def chebyshev_minimum(degree, kappa, kind):
    """Return 1 / T_degree(x0) for the ratio kappa, squared unless kind is "spd"; 0 where it underflows."""
    if degree == 0:
        return 1.0  # not 0 * inf, the product for kappa = 1
    decay = math.exp(-scaled(degree, chebyshev_rate(kappa, kind)))
    return 2 * decay / (1 + decay * decay)


def chebyshev_rate(kappa, kind):
    """Return arcosh(x0), in (0, inf]; x0 is that of kappa (spd) or of kappa squared."""
    if kappa == 1:
        return math.inf
    root = math.sqrt(kappa) if kind == "spd" else kappa
    if kappa > 2:
        return 2 * math.atanh(1 / root)
    # Near 1 the quotient 1 / root has lost what tells it from 1; kappa - 1 is exact there.
    numerator = (root + 1) ** 2 if kind == "spd" else root + 1
    return math.log(numerator / (kappa - 1))


def power_minimum(exponent, kappa, kind):
    """Return x0^-exponent for the ratio kappa, squared unless kind is "spd"; 0 where it underflows."""
    if exponent == 0 or kappa == 1:
        return float(exponent == 0)
    if kind == "spd" and kappa <= 2:
        decay = scaled(exponent, math.log((kappa + 1) / (kappa - 1)))
    elif kappa <= 2:
        decay = scaled(exponent, math.log((kappa * kappa + 1) / ((kappa - 1) * (kappa + 1))))
    else:
        # ln x0 = 2 artanh(1 / ratio); the ratio kappa^2 overflows, so its power of two is kept apart.
        mantissa, power = math.frexp(1 / kappa)
        mantissa, power = (mantissa, power) if kind == "spd" else (mantissa * mantissa, 2 * power)
        inverse = math.ldexp(mantissa, power)
        excess = math.atanh(inverse) / inverse if inverse > 1e-8 else 1.0
        decay = scaled(exponent, 2 * mantissa * excess, power)
    return math.exp(-decay)


def scaled(count, value, power=0):
    """Return count * value * 2^power for an integer of any size; infinite where it overflows."""
    shift = max(count.bit_length() - 64, 0)
    try:
        return math.ldexp((count >> shift) * value, shift + power)
    except OverflowError:
        return math.inf


def check_kappa(kappa):
    """Return ``kappa`` as a float.

    Raises
    ------
    TypeError, ValueError
        It is not a number in [1, inf).
    """
    value = _check_number(kappa, "kappa", "a number >= 1")
    if not 1 <= value < math.inf:
        raise ValueError(f"kappa is {value:g}; pass a finite condition number, at least 1.")
    return value


def check_tolerance(tolerance):
    """Return ``tolerance`` as a float.

    Raises
    ------
    TypeError, ValueError
        It is not a number in (0, inf).
    """
    value = _check_number(tolerance, "tolerance", "a positive number")
    if not 0 < value < math.inf:
        raise ValueError(f"tolerance is {value:g}; pass a positive, finite number.")
    return value


def check_kind(kind, known):
    """Return ``kind``.

    Raises
    ------
    ValueError
        It is not one of the known ones.
    """
    if kind not in known:
        raise ValueError(f"kind is {kind!r}; use one of {', '.join(known)}.")
    return kind


def _check_number(value, name, wanted):
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        raise TypeError(f"{name} is {value!r}; pass {wanted}.") from None
