"""The convex problem behind minimax polynomials: a few Lawson steps, then a barrier method.

Lawson's iteration multiplies the weights by the moduli; it starts well and ends slowly. From its result
Newton's method follows the central path, at a cost of two or three steps a digit of the bracket.
"""

import numpy as np

LAWSON_STEPS = 4
MAX_NEWTON_STEPS = 300
STEP_LENGTHS = [0.6**k for k in range(25)]


def stack_parts(values):
    """Return complex rows as real ones, imaginary parts below; left out where all are zero."""
    return np.concatenate([values.real, values.imag]) if values.imag.any() else values.real


class Problem:
    """Minimise max_j |q_j| over q = basis c with u . c = 1, |u| = 1: everything is of order 1."""

    def __init__(self, basis, u):
        self.count = len(basis)
        self.rows = stack_parts(basis)
        self.copies = len(self.rows) // self.count
        self.u = u

    def moduli(self, c):
        """Return |q_j|^2, shape (N,)."""
        return ((self.rows @ c) ** 2).reshape(self.copies, -1).sum(axis=0)

    def weighted(self, w):
        """Return the minimiser of sum_j w_j |q_j|^2 and the minimum, by QR."""
        R = np.linalg.qr(np.tile(np.sqrt(w), self.copies)[:, None] * self.rows, mode="r")
        # Weights can be zero on so many points that a direction is lost: the ridge keeps R invertible and
        # lowers the minimum found below only where it is 0 anyway.
        y, *_ = np.linalg.lstsq(R.T, self.u, rcond=None)
        c, *_ = np.linalg.lstsq(R, y, rcond=None)
        value = y @ y
        if not np.allclose(R.T @ y, self.u, atol=1e-9) or not value > 0:
            return self.u, 0.0  # the weights see too few points: this dual value is 0
        return c / value, 1 / value

    def solve(self, tolerance):
        """Return coefficients, weights and the best lower bound found."""
        w = np.full(self.count, 1 / self.count)
        best = (-1.0, w)
        for _ in range(LAWSON_STEPS):
            c, value = self.weighted(w)
            best = max(best, (value, w), key=lambda pair: pair[0])
            s = self.moduli(c)
            if s.max() - value <= tolerance * value:
                return c, w, np.sqrt(value)
            w = w * np.sqrt(s)
            w /= w.sum()
        c, w = self.barrier(c, s, best[0], tolerance)
        value = self.weighted(w)[1]
        best = max(best, (value, w), key=lambda pair: pair[0])
        return c, best[1], np.sqrt(best[0])

    def barrier(self, c, s, lower, tolerance):
        """Follow the central path of tau / mu - sum log(tau - |q_j|^2) from c; return c and weights.

        On the path the weights mu / (tau - |q_j|^2) sum to 1 and the gap of the squares is N mu.
        """
        V = np.linalg.svd(self.u[None])[2][1:].T  # directions that keep q(0) = 1
        B = self.rows @ V
        tau = s.max() * 1.1
        mu = max(tau - lower, 1e-3 * tau) / self.count
        target = tolerance * lower / (2 * self.count) if lower > 0 else tolerance * tau / (2 * self.count)
        for _ in range(MAX_NEWTON_STEPS):
            c, tau, decrement = self.newton_step(c, tau, mu, B, V)
            if decrement < 0.3:
                if mu <= target:
                    break
                mu = max(mu / 12, target)
        d = 1 / (tau - self.moduli(c))
        return c, d / d.sum()

    def newton_step(self, c, tau, mu, B, V):
        """Return the next (c, tau) and the Newton decrement."""
        q = self.rows @ c
        d = tau - self.moduli(c)
        inverse = np.tile(1 / d, self.copies)
        # Gradients of |q_j|^2, one row a point.
        G = 2 * (q[:, None] * B).reshape(self.copies, self.count, -1).sum(axis=0) / d[:, None]
        gradient = np.r_[G.sum(axis=0), 1 / mu - (1 / d).sum()]
        full = np.concatenate([G, -1 / d[:, None]], axis=1)
        hessian = full.T @ full
        scaled = B * np.sqrt(2 * inverse)[:, None]
        hessian[:-1, :-1] += scaled.T @ scaled
        diagonal = np.sqrt(np.diag(hessian))
        system = hessian / diagonal / diagonal[:, None]
        step = -np.linalg.solve(system + 1e-14 * np.eye(len(system)), gradient / diagonal) / diagonal
        decrement = np.sqrt(max(0.0, -(gradient @ step)))
        direction = V @ step[:-1]
        best = (self._merit(d, tau, mu), c, tau)
        # The damped step of the theory is safe and short: the best of a geometric sequence goes further.
        for factor in STEP_LENGTHS:
            trial, bound = c + factor * direction, tau + factor * step[-1]
            slack = bound - self.moduli(trial)
            if slack.min() > 0:
                merit = self._merit(slack, bound, mu)
                if merit >= best[0] and best[1] is not c:
                    break  # the merit is convex along the step
                best = min(best, (merit, trial, bound), key=lambda triple: triple[0])
        if best[1] is c:
            return c, tau, 0.0  # rounding: no step improves
        return best[1], best[2], decrement

    @staticmethod
    def _merit(slack, tau, mu):
        return tau / mu - np.log(slack).sum()
