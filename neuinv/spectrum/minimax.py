r"""Minimax residual polynomials: the smallest size on a set of a polynomial that is 1 at the origin.

.. math:: E_m(E) = \min_{q(0) = 1,\ \deg q \le m}\ \max_{z \in E} |q(z)|, \qquad q(z) = 1 - z\,p(z).

On N points it is a convex problem in m real numbers. It is solved by a barrier method in a basis of
polynomials that an Arnoldi process makes orthonormal on the points, and bracketed: any weights w on the
points give the lower bound :math:`\min_q (\sum_j w_j |q(z_j)|^2)^{1/2}`, any q the upper bound
:math:`\max_j |q(z_j)|`. The polynomial is :math:`q = \sum_k c_k p_k` with :math:`\sum_k c_k p_k(0) = 1`,
never 1 minus something, so that values far below the rounding unit keep their relative accuracy.
"""

from dataclasses import dataclass, field

import numpy as np
import torch

from neuinv._checks import as_integer, check_matrices
from neuinv.spectrum._barrier import Problem, stack_parts

__all__ = ["ResidualPolynomial", "as_points", "minimax_residual"]

# Outward, relative: about a thousand times the rounding that was seen in the sums behind a bracket.
ROUNDING = 1e-11


@dataclass(frozen=True)
class ResidualPolynomial:
    r"""A polynomial q with q(0) = 1 and real coefficients, and the bracket of :math:`E_m` that it closes.

    Attributes
    ----------
    degree : int
        m.
    lower, upper : float
        ``lower <= E_m <= upper``, dimensionless, both proved up to the rounding that widens them.
    points : ndarray, shape (N,), complex
        The points, folded to the closed upper half-plane, without repetitions.
    weights : ndarray, shape (N,)
        The weights behind ``lower``; they sum to 1.
    """

    degree: int
    lower: float
    upper: float
    points: np.ndarray = field(repr=False)
    weights: np.ndarray = field(repr=False)
    _center: float = field(repr=False)
    _recurrence: np.ndarray = field(repr=False)
    _coefficients: np.ndarray = field(repr=False)

    def __call__(self, z):
        """Return q(z), complex, of the shape of ``z``."""
        z = np.asarray(z, dtype=complex)
        basis = _evaluate(self._recurrence, z.ravel() - self._center)
        return (basis @ self._coefficients).reshape(z.shape)

    def residual(self, A):
        """Return q(A) = I - A p(A), the residual that the polynomial leaves, shape (..., n, n).

        Parameters
        ----------
        A : Tensor, shape (..., n, n)
            The matrices.

        Returns
        -------
        Tensor, shape (..., n, n)

        Raises
        ------
        TypeError, ValueError
            Bad matrices.
        """
        return self._matrix_sums(A)[0]

    def inverse(self, A):
        """Return X = p(A), the approximate inverse: I - A X = q(A); m - 1 matrix products.

        Parameters, result and errors are those of :meth:`residual`.
        """
        return self._matrix_sums(A)[1]

    def _matrix_sums(self, A):
        check_matrices(A)
        # Python numbers: a NumPy scalar on the left of a tensor on a GPU would try to copy it to the CPU.
        H = self._recurrence.tolist()
        one = torch.eye(A.shape[-1], dtype=A.dtype, device=A.device).expand(A.shape)
        # p_k(A) = p_k(0) I + A s_k(A), and the s_k obey the same recurrence.
        at_zero = _evaluate(self._recurrence, np.array([-self._center + 0j]))[0].real.tolist()
        slopes = [torch.zeros_like(A)]
        for k in range(self.degree):
            value = at_zero[k] * one + (A @ slopes[k] if k else 0) - self._center * slopes[k]
            for j in range(k + 1):
                value = value - H[j][k] * slopes[j]
            slopes.append(value / H[k + 1][k])
        X = -sum(c * s for c, s in zip(self._coefficients.tolist(), slopes, strict=True))
        return one - A @ X, X


def as_points(points, name="points"):
    """Return ``points`` folded to the closed upper half-plane, sorted, without repetitions.

    Parameters
    ----------
    points : array-like, shape (...,)
        Real or complex numbers, at least one; a NumPy array, a sequence or a tensor.
    name : str
        What to call them in a message.

    Returns
    -------
    ndarray, shape (N,), complex
        A polynomial with real coefficients has the same modulus at z and at its conjugate.

    Raises
    ------
    TypeError
        No sequence of numbers.
    ValueError
        None, or one that is NaN or infinite.
    """
    if isinstance(points, torch.Tensor):
        points = points.detach().cpu().numpy()
    try:
        z = np.asarray(points).astype(complex).ravel()
    except (TypeError, ValueError):
        raise TypeError(f"{name} is a {type(points).__name__}; pass real or complex numbers.") from None
    if z.size == 0:
        raise ValueError(f"{name} is empty; pass at least one number.")
    if not np.isfinite(z).all():
        raise ValueError(f"{name} has the entry {z[~np.isfinite(z)][0]}; remove NaN and infinities.")
    return np.unique(z.real + 1j * np.abs(z.imag))


def minimax_residual(points, degree, *, tolerance=1e-6):
    r"""Return the polynomial that is smallest on the points among those with q(0) = 1, with a bracket.

    Parameters
    ----------
    points : array-like, shape (...,)
        Real or complex numbers, such as the eigenvalues of real matrices; each stands for its conjugate too.
    degree : int
        m >= 1, below the number of points (conjugates counted): from there on the minimum is 0.
    tolerance : float
        Wanted relative width of the bracket, between 1e-9 and 1.

    Returns
    -------
    ResidualPolynomial
        ``lower <= E_m(points) <= upper``. The upper bound is for the points alone, not for a set they sample;
        the lower bound holds for every set that contains them.

    Raises
    ------
    TypeError
        Not numbers.
    ValueError
        No point, NaN, a degree out of range or so large that the points cannot tell polynomials of this
        degree apart in double precision, or a tolerance out of range.

    Notes
    -----
    The dual value is the Christoffel function of the weights at the origin. Started by Lawson's iteration
    (Lawson 1961; Rice and Usow 1968), which alone converges slowly; the basis is that of Brubeck, Nakatsukasa
    and Trefethen (2021).

    Examples
    --------
    On [1, 9] the best polynomial of degree 2 is Chebyshev's, T_2(x0) = 2 (5/4)^2 - 1 = 17/8.

    >>> q = minimax_residual([1, 5, 9], 2)
    >>> round(q.upper * 17 / 8, 6)
    1.0
    """
    z = as_points(points)
    degree = as_integer(degree, "degree", 1)
    if not 1e-9 <= tolerance < 1:
        raise ValueError(f"tolerance is {tolerance}; pass a number in [1e-9, 1).")
    distinct = len(z) + int((z.imag > 0).sum())
    if degree >= distinct:
        raise ValueError(
            f"degree is {degree} for {distinct} distinct points, where the minimum is 0; "
            "pass a smaller degree, or a set such as ThickenedCloud(points, h)."
        )
    # Around their middle, so that points close together lose no digits in the recurrence.
    center = float(z.real.min() / 2 + z.real.max() / 2)
    recurrence, basis = _arnoldi(z - center, degree)
    with np.errstate(over="ignore", invalid="ignore"):
        at_zero = _evaluate(recurrence, np.array([-center + 0j]))[0].real
        unit = np.linalg.norm(at_zero)
    if not unit < 1e300:
        raise ValueError(f"degree is {degree}, where the minimum is below 1e-300; pass a smaller degree.")
    problem = Problem(basis, at_zero / unit)
    coefficients, weights, lower = problem.solve(tolerance)
    upper = np.abs(basis @ coefficients).max()
    return ResidualPolynomial(
        degree=degree,
        lower=float(lower / unit * (1 - ROUNDING)),
        # q = 1 is always there.
        upper=float(min(1.0, upper / unit * (1 + ROUNDING))),
        points=z,
        weights=weights,
        _center=center,
        _recurrence=recurrence,
        _coefficients=coefficients / unit,
    )


def _arnoldi(z, degree):
    """Return the recurrence H (m + 1, m) and the polynomials on the points (N, m + 1), complex."""
    n = len(z)
    H = np.zeros((degree + 1, degree))
    basis = np.empty((n, degree + 1), dtype=complex)
    basis[:, 0] = 1
    # A real inner product, because the coefficients are real: conjugate points count by symmetry.
    real = np.empty((degree + 1, len(stack_parts(z[:, None]))))
    real[0] = stack_parts(basis[:, :1])[:, 0] if not z.imag.any() else np.r_[np.ones(n), np.zeros(n)]
    scale = np.abs(z).max()
    for k in range(degree):
        value = z * basis[:, k]
        v = np.r_[value.real, value.imag] if real.shape[1] > n else value.real
        for _ in range(2):  # twice is enough for orthogonality to rounding
            h = real[: k + 1] @ v / n
            v = v - h @ real[: k + 1]
            H[: k + 1, k] += h
        H[k + 1, k] = np.linalg.norm(v) / np.sqrt(n)
        if not H[k + 1, k] > 1e-13 * scale:
            raise ValueError(
                f"degree is {degree}, but in double precision the points tell no degrees above {k} apart; "
                f"pass a degree <= {k}."
            )
        real[k + 1] = v / H[k + 1, k]
        basis[:, k + 1] = real[k + 1, :n] + (1j * real[k + 1, n:] if real.shape[1] > n else 0)
    return H, basis


def _evaluate(H, z):
    """Return the polynomials of the recurrence at z (N,), shape (N, m + 1)."""
    values = np.empty((H.shape[1] + 1, len(z)), dtype=complex)
    values[0] = 1
    for k in range(H.shape[1]):
        values[k + 1] = (z * values[k] - H[: k + 1, k] @ values[: k + 1]) / H[k + 1, k]
    return values.T
