"""The smallest singular value of a Gaussian matrix, and the tail that it gives every loss.

All laws are for n x n matrices with independent N(0, 1) entries.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy import special, stats

__all__ = [
    "TailIndex",
    "edelman_bounds",
    "edelman_cdf",
    "edelman_constant",
    "edelman_density",
    "failure_bound",
    "hill_estimator",
    "loss_limit_cdf",
    "loss_limit_quantile",
]

NODES = 120  # of the quadrature; the integrand is smooth


def edelman_constant(n):
    r"""Return :math:`d_n = \sqrt 2\,\Gamma(\frac{n+1}2)/\Gamma(\frac n2)`, the density of sigma_min at 0.

    Parameters
    ----------
    n : int
        Size, at least 1.

    Returns
    -------
    float
        Below :math:`\sqrt n`; it is the mean length of a standard normal vector in n dimensions.

    Raises
    ------
    ValueError
        ``n`` is not an integer >= 1.

    Examples
    --------
    >>> round(edelman_constant(1) ** 2 * math.pi / 2, 12)
    1.0
    """
    if not isinstance(n, int) or isinstance(n, bool) or n < 1:
        raise ValueError(f"n is {n!r}; pass an integer >= 1.")
    return math.sqrt(2) * math.exp(special.gammaln((n + 1) / 2) - special.gammaln(n / 2))


def _nonnegative(s, name="s"):
    if hasattr(s, "detach"):
        s = s.detach().cpu()
    s = np.asarray(s, dtype=np.float64)
    if not (s >= 0).all():
        raise ValueError(f"{name} has the entry {s[~(s >= 0)].flat[0]}; pass numbers >= 0.")
    return s


def _rates(n):
    """Return nodes r and probabilities w with density(s) = d_n sum_j w_j exp(-r_j s^2 / 2)."""
    if n == 1:
        return np.ones(1), np.ones(1)
    # 1 - u^2 has the law Beta((n - 1) / 2, 3 / 2), and in u all integrands are smooth at 0.
    power = (n - 1) / 2 - 1
    x, w = special.roots_jacobi(NODES, power, 0)
    u = (1 + x) / 2
    w = w * np.exp(power * np.log1p(u)) * u**2
    return n - 1 + 1 / u**2, w / w.sum()


def edelman_density(n, s):
    r"""Return the density of the smallest singular value of a Gaussian matrix.

    .. math:: \sqrt{2/\pi}\; n\, \Gamma(\tfrac{n+1}2)\, e^{-ns^2/2}\, U(\tfrac{n-1}2, -\tfrac12, \tfrac{s^2}2)

    It is evaluated as a mixture of centred Gaussian densities, which does not overflow for large n;
    the relative error stays below 1e-8 up to n = 400.

    Parameters
    ----------
    n : int
        Size, at least 1.
    s : array-like, shape (...,)
        Where, >= 0.

    Returns
    -------
    ndarray, shape (...,)

    Raises
    ------
    ValueError
        ``n`` below 1 or a negative ``s``.

    Notes
    -----
    Statement `thm-edelman` of the book; source: Edelman (1988).

    Examples
    --------
    >>> bool(abs(edelman_density(1, 1.0) - math.sqrt(2 / math.pi) * math.exp(-0.5)) < 1e-15)
    True
    """
    d, s = edelman_constant(n), _nonnegative(s)
    rates, weights = _rates(n)
    return d * (np.exp(-rates * s[..., None] ** 2 / 2) @ weights)


def edelman_cdf(n, s):
    """Return P(sigma_min <= s) for a Gaussian matrix.

    Parameters, shapes and errors are those of :func:`edelman_density`.

    Examples
    --------
    >>> bool(abs(edelman_cdf(1, 1.0) - math.erf(math.sqrt(0.5))) < 1e-15)
    True
    """
    d, s = edelman_constant(n), _nonnegative(s)
    rates, weights = _rates(n)
    parts = np.sqrt(math.pi / (2 * rates)) * special.erf(s[..., None] * np.sqrt(rates / 2))
    return np.minimum(1.0, d * (parts @ weights))  # the sum can round above 1


def edelman_bounds(n, s):
    r"""Return a lower and an upper bound of P(sigma_min <= s) in closed form.

    The upper bound is :math:`\min(1, d_n s)`. The lower one is the larger of
    :math:`\operatorname{erf}(s/\sqrt 2)` and
    :math:`d_n \sqrt{\pi/(4n-2)}\, \operatorname{erf}(s \sqrt{n - 1/2})`.

    Parameters
    ----------
    n : int
        Size, at least 1.
    s : array-like, shape (...,)
        Where, >= 0.

    Returns
    -------
    lower, upper : ndarray, shape (...,)

    Raises
    ------
    ValueError
        ``n`` below 1 or a negative ``s``.

    Notes
    -----
    Statement `thm-sigma-min` of the book. Both are exact to first order at s = 0, where the ratio tends to 1.

    Examples
    --------
    >>> lower, upper = edelman_bounds(4, 0.01)
    >>> bool(lower <= edelman_cdf(4, 0.01) <= upper)
    True
    """
    d, s = edelman_constant(n), _nonnegative(s)
    mixture = d * math.sqrt(math.pi / (4 * n - 2)) * special.erf(s * math.sqrt(n - 0.5))
    return np.maximum(special.erf(s / math.sqrt(2)), mixture), np.minimum(1.0, d * s)


@dataclass(frozen=True)
class TailIndex:
    """An *estimate* of a tail index from the k largest of a sample, with a 95 % interval."""

    value: float
    low: float
    high: float
    k: int


def hill_estimator(sample, k):
    r"""Estimate the tail index of a positive sample from its k largest values.

    With :math:`x_{(1)} \ge x_{(2)} \ge \dots` it is
    :math:`1/\hat\alpha = \frac1k \sum_{i \le k} \ln(x_{(i)} / x_{(k+1)})`.

    Parameters
    ----------
    sample : array-like, shape (N,)
        Positive numbers.
    k : int
        How many of the largest to use, 1 <= k < N.

    Returns
    -------
    TailIndex
        The interval has probability 95 % where the tail beyond :math:`x_{(k+1)}` is exactly a power,
        and asymptotically where it nearly is.

    Raises
    ------
    ValueError
        ``k`` out of range, a sample that is not positive and finite, or k + 1 equal largest values.

    Examples
    --------
    >>> hill_estimator([1.0, math.e, math.e], 2).value
    1.0
    """
    x = np.sort(_nonnegative(sample, "sample").ravel())[::-1]
    if not (1 <= k < len(x)):
        raise ValueError(f"k is {k} for a sample of {len(x)}; pass 1 <= k < {len(x)}.")
    if not (x[k] > 0 and np.isfinite(x[0])):
        raise ValueError(f"sample runs from {x[k]} to {x[0]} in its tail; pass positive finite numbers.")
    total = np.log(x[:k] / x[k]).sum()
    if total == 0:
        raise ValueError(f"the {k + 1} largest values of sample are all {x[0]}; they have no tail.")
    low, high = stats.gamma.ppf([0.025, 0.975], k) / total
    return TailIndex(float(k / total), float(low), float(high), int(k))


def loss_limit_cdf(n, x):
    r"""Return the limit law of the summed squared losses, :math:`P((\pi/2)\, d_n^2 / Z^2 \le x)`.

    :math:`N^{-2} \sum_{i \le N} \lVert f(G_i) - G_i^{-1}\rVert^2` converges to it in law, for every f of
    polynomial growth, in the spectral and in the Frobenius norm; Z is standard normal.

    Parameters
    ----------
    n : int
        Size, at least 1.
    x : array-like, shape (...,)
        Where, >= 0.

    Returns
    -------
    ndarray, shape (...,)

    Raises
    ------
    ValueError
        ``n`` below 1 or a negative ``x``.

    Notes
    -----
    Statement `thm-loss-law` of the book.

    Examples
    --------
    >>> round(float(loss_limit_cdf(3, loss_limit_quantile(3, 0.25))), 12)
    0.25
    """
    d, x = edelman_constant(n), _nonnegative(x, "x")
    with np.errstate(divide="ignore"):
        return special.erfc(d * math.sqrt(math.pi) / (2 * np.sqrt(x)))


def loss_limit_quantile(n, p):
    """Return the quantiles of the law of :func:`loss_limit_cdf`.

    Parameters
    ----------
    n : int
        Size, at least 1.
    p : array-like, shape (...,)
        Probabilities in (0, 1).

    Returns
    -------
    ndarray, shape (...,)

    Raises
    ------
    ValueError
        ``n`` below 1 or a probability outside (0, 1).
    """
    d, p = edelman_constant(n), _nonnegative(p, "p")
    if not ((p > 0) & (p < 1)).all():
        raise ValueError(f"p is {p.tolist()}; pass probabilities strictly between 0 and 1.")
    return math.pi * d**2 / (4 * special.erfcinv(p) ** 2)


def failure_bound(n, output_bound, eta):
    r"""Return a lower bound of the probability that the relative forward error is at least ``eta``.

    For a map with :math:`\lVert f \rVert \le M` everywhere,
    :math:`P(e(G) \ge \eta) \ge P(\sigma_{\min} \le (1 - \eta)/M)`. For positive ``eta`` the clipped
    inverse :math:`V \min(\Sigma^{-1}, M)\, U^{\mathsf T}` attains it.

    Parameters
    ----------
    n : int
        Size, at least 1.
    output_bound : array-like, shape (...,)
        M > 0, in the unit of the inverse.
    eta : float
        In [0, 1), dimensionless.

    Returns
    -------
    ndarray, shape (...,)

    Raises
    ------
    ValueError
        ``n`` below 1, ``output_bound`` not positive, or ``eta`` outside [0, 1).

    Notes
    -----
    Statement `thm-failure` of the book.

    Examples
    --------
    >>> bool(abs(failure_bound(1, 1.0, 0.5) - math.erf(0.5 / math.sqrt(2))) < 1e-15)
    True
    """
    bound = _nonnegative(output_bound, "output_bound")
    if not (bound > 0).all():
        raise ValueError(f"output_bound is {bound.tolist()}; pass a bound > 0.")
    if not 0 <= eta < 1:
        raise ValueError(f"eta is {eta}; pass an error in [0, 1).")
    return edelman_cdf(n, (1 - eta) / bound)
