"""Logarithms of non-negative constants, rounded so that no operation ever lowers one.

A product of two thousand layer constants overflows float64, its logarithm does not. Every helper adds a
margin above the rounding error of its own few operations, so that an upper bound stays one.
"""

import math

EPS = 2.0**-52


def log_up(x):
    """Return an upper bound of log(x), x >= 0; exact at 0, 1 and infinity."""
    if x == 0:
        return -math.inf
    value = math.log(x)
    return value + 2 * EPS * abs(value)


def exp_up(log_x):
    """Return an upper bound of exp(log_x): infinity where float64 overflows, exact at log 0 and log 1."""
    if log_x in (0.0, -math.inf, math.inf):
        return math.exp(log_x)
    try:
        return math.nextafter(math.exp(log_x), math.inf)
    except OverflowError:
        return math.inf


def log_times(*logs):
    """Return an upper bound of the logarithm of a product; 0 times anything, infinity too, is 0."""
    if -math.inf in logs:
        return -math.inf
    # fsum rounds once, whatever the number of terms.
    value = math.fsum(logs)
    return value + EPS * abs(value) if math.isfinite(value) else value


def log_plus(*logs):
    """Return an upper bound of the logarithm of a sum."""
    largest = max(logs)
    finite = [x for x in logs if x > -math.inf]
    if math.isinf(largest) or len(finite) == 1:
        return largest
    value = largest + math.log(math.fsum(math.exp(x - largest) for x in finite))
    return value + 4 * EPS * (1 + abs(value) + abs(largest))


def log_hypot(*logs):
    """Return an upper bound of the logarithm of the square root of a sum of squares."""
    return log_plus(*(2 * x for x in logs)) / 2


def log_power(log_x, p):
    """Return an upper bound of p log_x, p >= 0 an int of any size or a float; 0 ** 0 is 1.

    Raises
    ------
    OverflowError
        Even the logarithm leaves float64: the exponent has more than about 300 digits.
    """
    if p == 0 or log_x == 0:
        return 0.0
    if math.isinf(log_x):
        return log_x
    try:
        value = float(p) * log_x
    except OverflowError:
        value = math.inf
    if math.isinf(value):
        raise OverflowError(
            f"the logarithm of a constant to the power p = {p:.3g} exceeds float64; use fewer products."
            if isinstance(p, float)
            else f"the logarithm of a constant to a power p of {p.bit_length()} bits exceeds float64; "
            "use fewer products in a row."
        )
    return value + 3 * EPS * abs(value)


def log_ray(log_r, p):
    r"""Return an upper bound of the logarithm of :math:`h_p(r) = \int_0^r \max(1, s)^p\,ds`.

    It is r up to r = 1, and :math:`1 + (r^{p+1} - 1)/(p + 1)` beyond.
    """
    if log_r <= 0 or p == 0 or math.isinf(log_r):
        return log_r
    rest = -math.log1p(1 / p) * (1 - 4 * EPS)
    return log_plus(rest, log_times(log_power(log_r, p + 1), -math.log(p + 1) * (1 - 4 * EPS)))
