"""Norm and Lipschitz bounds over one ball, propagated layer by layer."""

import math
from dataclasses import dataclass

from neuinv.lipschitz._logs import exp_up, log_hypot, log_plus, log_power, log_ray, log_times, log_up

__all__ = ["LocalBound"]


@dataclass(frozen=True)
class LocalBound:
    r"""Two certified numbers for a map on the ball ||x|| <= radius, in the Euclidean (Frobenius) norm.

    Attributes
    ----------
    radius : float
        Of the ball, in the unit of the input.
    log_norm, log_lipschitz : float
        Logarithms of upper bounds of ||f(x)|| and of the Lipschitz constant on the ball.
    """

    radius: float
    log_norm: float
    log_lipschitz: float

    @classmethod
    def identity(cls, radius):
        """Return the bounds of the identity on the ball of this radius.

        Raises
        ------
        ValueError
            ``radius`` is negative or not finite.
        """
        if not 0 <= radius < math.inf:
            raise ValueError(f"radius is {radius}; pass a finite number >= 0.")
        return cls(float(radius), log_up(radius), 0.0)

    @property
    def norm(self):
        """Upper bound of ||f(x)|| on the ball; infinite where it exceeds float64."""
        return exp_up(self.log_norm)

    @property
    def lipschitz(self):
        """Upper bound of the Lipschitz constant on the ball; infinite where it exceeds float64."""
        return exp_up(self.log_lipschitz)

    def _with(self, log_norm, log_lipschitz):
        return LocalBound(self.radius, log_norm, log_lipschitz)

    def __add__(self, other):
        """Return the bounds of a sum."""
        return self._with(
            log_plus(self.log_norm, other.log_norm), log_plus(self.log_lipschitz, other.log_lipschitz)
        )

    def then(self, outer):
        r"""Return the bounds of x -> g(f(x)) for g in the class ``outer``, used where f takes the ball.

        With ||f|| <= N there: :math:`M \max(1, N)^q` times the constant of f, and the norm
        :math:`d + M h_q(N)`, the integral of g's local constant along the ray.
        """
        slope = log_times(outer.log_L, log_power(max(0.0, self.log_norm), outer.p))
        log_norm = min(
            outer.log_bound, log_plus(outer.log_c, log_times(outer.log_L, log_ray(self.log_norm, outer.p)))
        )
        return self._with(log_norm, log_times(slope, self.log_lipschitz))

    def times(self, other, beta=1.0):
        """Return the bounds of a bilinear product with ||B(u, v)|| <= beta ||u|| ||v||."""
        log_beta = log_up(beta)
        slope = log_plus(
            log_times(self.log_norm, other.log_lipschitz), log_times(other.log_norm, self.log_lipschitz)
        )
        return self._with(log_times(log_beta, self.log_norm, other.log_norm), log_times(log_beta, slope))

    def stacked(self, other):
        """Return the bounds of the outputs side by side as one vector."""
        return self._with(
            log_hypot(self.log_norm, other.log_norm), log_hypot(self.log_lipschitz, other.log_lipschitz)
        )

    def scaled(self, factor):
        """Return the bounds after a linear map of operator norm ``factor``."""
        log_factor = log_up(abs(factor))
        return self._with(log_times(self.log_norm, log_factor), log_times(self.log_lipschitz, log_factor))

    def shifted(self, distance):
        """Return the bounds after adding a constant of norm at most ``distance``."""
        return self._with(log_plus(self.log_norm, log_up(distance)), self.log_lipschitz)
