r"""Straight-line programs as flat arrays: packing, balancing, Chebyshev stages and their composition.

A program with m products on :math:`t \in [-1, 1]` computes :math:`M_0 = 1, M_1 = t`,

.. math:: M_{j+2} = \Bigl(\sum_{i \le j+1} a_{ji} M_i\Bigr)\Bigl(\sum_{i \le j+1} b_{ji} M_i\Bigr),
   \quad j < m, \qquad P = \sum_{i \le m+1} c_i M_i .

Its residual on the interval of radius r is :math:`q(t) = 1 - (1 - rt)P(t)`: with :math:`R = I - AX_0` and the
spectrum of R in [-r, r], the matrix :math:`X_0 P(R/r)` has the residual :math:`q(R/r)`. A program is stored
as one array :math:`(a_0, \dots, a_{m-1}, b_0, \dots, b_{m-1}, c)`.
"""

import itertools
import math

import numpy as np

__all__ = ["balance", "chebyshev_program", "compose", "num_coefficients", "pack", "power_values", "unpack"]


def num_coefficients(num_products):
    """Return the number of coefficients of a program with m products."""
    return num_products * (num_products + 3) + num_products + 2


def unpack(theta, num_products):
    """Return the lists of left and right factors and the output coefficients, as views of ``theta``."""
    ends = np.cumsum([0, *2 * [j + 2 for j in range(num_products)], num_products + 2])
    parts = [theta[start:stop] for start, stop in itertools.pairwise(ends)]
    return parts[:num_products], parts[num_products:-1], parts[-1]


def pack(left, right, out):
    """Return the array of a program."""
    return np.concatenate([*left, *right, out]).astype(float)


def power_values(theta, num_products, t):
    """Return the M_i at the points ``t``, shape (m + 2, len(t)), and both factors of each product."""
    left, right, _ = unpack(theta, num_products)
    M = np.empty((num_products + 2, t.size))
    M[0], M[1] = 1, t
    factors = []
    for j in range(num_products):
        factors.append((left[j] @ M[: j + 2], right[j] @ M[: j + 2]))
        M[j + 2] = factors[j][0] * factors[j][1]
    return M, factors


def balance(theta, num_products):
    """Return the same polynomial with every M_i at most 1 in absolute value, its two factors equally large.

    At most 1 on [-1, 1] as seen on a grid: this keeps low precision from overflowing and makes the
    coefficients comparable in size, which the search needs.
    """
    theta = theta.copy()
    left, right, out = unpack(theta, num_products)
    t = np.cos(np.linspace(0, np.pi, 4001))
    for j in range(num_products):
        M, _ = power_values(theta, j, t) if j == 0 else power_values(_head(left, right, j), j, t)
        size = [np.abs(side[j] @ M).max() for side in (left, right)]
        if min(size) == 0:
            return theta
        left[j] /= size[0]
        right[j] /= size[1]
        peak = np.abs((left[j] @ M) * (right[j] @ M)).max()
        left[j] /= math.sqrt(peak)
        right[j] /= math.sqrt(peak)
        for later in (*left[j + 1 :], *right[j + 1 :], out):
            later[j + 2] *= size[0] * size[1] * peak
    return theta


def _head(left, right, count):
    """Return the array of the first ``count`` products alone."""
    return pack(left[:count], right[:count], np.zeros(count + 2))


def chebyshev_program(degree, radius):
    """Return the program of the optimal residual of degree 2, 3, 5 or 9, and its number of products."""
    c = _quotient(degree, radius)
    t = [0.0, 1.0]
    if degree == 2:
        return pack([], [], c), 0
    if degree == 3:
        return pack([t], [t], c), 1
    if degree == 5:
        return pack([t, [0, 0, 1]], [t, [0, c[3], c[4]]], [*c[:3], 1]), 2
    # The decomposition of statement `thm-products`, as in ComposedChebyshev.
    half, middle = c[7] / (2 * c[8]), c[4] / c[8]
    outer = c[6] / c[8] - half * half
    inner = c[5] / c[8] - half * outer
    a, d = outer / 2 + 0.5, outer / 2 - 0.5
    f = middle - half * inner - a * d
    tilt = half * f + outer * inner / 2 - c[3] / c[8]
    b, e = inner / 2 + tilt, inner / 2 - tilt
    left = [t, [0, 0, 1], [0, b, a, 1]]
    right = [t, [0, half, 1], [0, c[8] * e, c[8] * d, c[8]]]
    return pack(left, right, [c[0], c[1], c[2] - c[8] * b * e, f * c[8], 1]), 3


def _quotient(degree, r):
    """Return the coefficients of (1 - T(t) / T(1/r)) / (1 - rt), T of that degree, in ascending order."""
    chebyshev = np.polynomial.chebyshev.cheb2poly([0] * degree + [1])
    terms = chebyshev * float(r) ** np.arange(degree, -1, -1)
    return np.cumsum((terms / terms.sum())[::-1])[-2::-1] * float(r) ** np.arange(degree)


def compose(first, num_first, radius, supremum, second, num_second):
    """Return the program that runs ``second`` on the residual of ``first``, in two products more than both.

    Parameters
    ----------
    first, second : array
        Programs; the residual of the first, on the interval of radius ``radius``, is at most ``supremum``,
        which is the radius of the second.
    num_first, num_second : int
        Their numbers of products.
    radius, supremum : float
        See above.

    Returns
    -------
    array
        A program with ``num_first + num_second + 2`` products.
    """
    left, right, out = (list(part) for part in unpack(first, num_first))
    left2, right2, out2 = unpack(second, num_second)
    place = num_first + 2  # of z P_1, the first new product
    left.append(np.array([1.0, -radius, *[0.0] * num_first]))
    right.append(np.array(out))

    def lifted(row):
        # t becomes (1 - z P_1) / supremum.
        new = np.zeros(place + len(row) - 1)
        new[0], new[place] = row[0] + row[1] / supremum, -row[1] / supremum
        new[place + 1 :] = row[2:]
        return new

    left += [lifted(row) for row in left2]
    right += [lifted(row) for row in right2]
    last = lifted(out2)
    left.append(np.concatenate([out, np.zeros(len(last) - len(out))]))
    right.append(last)
    return pack(left, right, [0.0] * (len(last)) + [1.0])
