"""What a search for programs minimises: the largest residual on a grid, with its derivatives."""

import math

import numpy as np

from neuinv.iterations.embedding import power_values, unpack

__all__ = ["Objective", "condition_radius", "effective_degree", "growth", "peak", "search_objective"]

WIDER = 2e-9  # of the condition number, so that one that is rounded up still has its program
DENSITY = 4  # points of the grid for each oscillation of the residual, at the extremes of a search


class Objective:
    """The residual of programs with m products on a grid of the interval of radius r.

    Parameters
    ----------
    num_products : int
        m.
    radius : float
        r, in (0, 1).
    points : int
        Of the grid, which is uniform in the angle arccos t.
    """

    def __init__(self, num_products, radius, points):
        self.angle = np.linspace(0, np.pi, points)
        self.num_products, self.radius = num_products, radius
        self.t = np.cos(self.angle)
        self.z = 2 * np.sin(self.angle / 2) ** 2 + (1 - radius) * self.t  # 1 - r t, exact near t = 1

    def residual(self, theta):
        """Return q on the grid."""
        M, _ = power_values(theta, self.num_products, self.t)
        return 1 - self.z * (unpack(theta, self.num_products)[2] @ M)

    def supremum(self, theta):
        """Return the largest |q| on the grid."""
        return np.abs(self.residual(theta)).max()

    def jacobian(self, theta):
        """Return q on the grid and its derivatives, shape (points, coefficients), in one backward sweep."""
        m = self.num_products
        left, right, out = unpack(theta, m)
        M, factors = power_values(theta, m, self.t)
        adjoint = -self.z * out[:, None]
        rows = [None] * (2 * m)
        for j in reversed(range(m)):
            to_left, to_right = adjoint[j + 2] * factors[j][1], adjoint[j + 2] * factors[j][0]
            rows[j], rows[m + j] = to_left * M[: j + 2], to_right * M[: j + 2]
            adjoint[: j + 2] += left[j][:, None] * to_left + right[j][:, None] * to_right
        return 1 - self.z * (out @ M), np.concatenate([*rows, -self.z * M]).T

    def scaled(self, theta):
        """Return the program divided by the mean of the largest and the smallest (1 - rt)P."""
        theta = theta.copy()
        q = self.residual(theta)
        unpack(theta, self.num_products)[2][:] /= 1 - (q.max() + q.min()) / 2
        return theta

    def fitted(self, theta):
        """Return the program with the output coefficients of the least mean squared residual on the grid."""
        theta = theta.copy()
        M, _ = power_values(theta, self.num_products, self.t)
        weights = np.linalg.lstsq((self.z * M).T, np.ones(len(self.t)), rcond=None)[0]
        unpack(theta, self.num_products)[2][:] = weights
        return theta


def condition_radius(kappa):
    """Return the radius (kappa - 1)/(kappa + 1) of the residuals of the condition number, a little wider."""
    kappa = kappa * (1 + WIDER)
    return 1 - 2 / (kappa + 1)


def search_objective(num_products, kappa, density=DENSITY):
    """Return the problem for a condition number on a grid of ``density`` points an oscillation."""
    points = max(density * (2**num_products + 1), 400) + 1
    return Objective(num_products, condition_radius(kappa), points)


def effective_degree(supremum, radius):
    """Return the N, not an integer, for which 1 / T_N(1 / radius) is the supremum."""
    rate = 2 * math.atanh(math.sqrt((1 - radius) / (1 + radius)))
    return math.acosh(1 / supremum) / rate if supremum < 1 else 0.0


def growth(problem, theta):
    """Return how rounding grows: the largest sum of |coefficient times derivative of q|, over kappa."""
    _, J = problem.jacobian(theta)
    kappa = (1 + problem.radius) / (1 - problem.radius)
    return round(float((np.abs(J) @ np.abs(theta)).max() / kappa), 3)


def peak(problem, theta):
    """Return the largest |q| on the grid, refined by a parabola through each of its local maxima."""
    size = np.abs(problem.residual(theta))
    inner = np.nonzero((size[1:-1] >= size[:-2]) & (size[1:-1] >= size[2:]))[0] + 1
    low, middle, high = size[inner - 1], size[inner], size[inner + 1]
    bend = 2 * middle - low - high
    top = middle + np.where(bend > 0, (high - low) ** 2 / np.where(bend > 0, 8 * bend, 1), 0)
    return float(max(size[0], size[-1], top.max()))
