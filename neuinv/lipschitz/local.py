"""Norm and Lipschitz bounds over one ball, propagated layer by layer."""

import math
from dataclasses import dataclass, replace

import torch

from neuinv.lipschitz._logs import exp_up, log_hypot, log_plus, log_power, log_ray, log_times, log_up
from neuinv.lipschitz.norms import vector_upper

__all__ = ["LocalBound"]


# What torch is assumed to keep: 16 bits less than the dtype holds.
_LOST = 2.0**16


@dataclass(frozen=True)
class LocalBound:
    r"""Two numbers certified for a map on the ball ||x - center|| <= radius, in the Euclidean norm.

    Attributes
    ----------
    radius : float
        Of the ball, in the unit of the input.
    log_norm, log_lipschitz : float
        Logarithms of upper bounds of ||f(x)|| and of the Lipschitz constant on the ball.
    log_error : float
        Logarithm of an upper bound of the distance from torch's value at the centre to the exact one.
    offset : float
        Upper bound of ||center||.

    Notes
    -----
    Let f be the map from the input to some node of the network, :math:`\hat f(x_0)` torch's value there at
    the centre :math:`x_0`, and :math:`E \ge \lVert\hat f(x_0) - f(x_0)\rVert`. With :math:`\Lambda` the
    Lipschitz constant of f on the ball, :math:`\lVert f(x)\rVert \le \lVert f(x_0)\rVert +
    \Lambda\lVert x - x_0\rVert` gives

    .. math:: \lVert f(x)\rVert \le \min\bigl(N,\ \lVert\hat f(x_0)\rVert + E + \Lambda R\bigr),

    where N is the bound propagated from the operation's inputs. A ball is convex, so :math:`\Lambda` follows
    from bounds that hold at every point of it: :math:`M\max(1, N)^q\Lambda` after a map of
    Lip(d, M, q), :math:`\beta(N\Lambda' + N'\Lambda)` for a product. E is propagated by the same rules, and
    :math:`2\cdot 2^{16}\,u\,N` is added at each node, u the machine epsilon: this assumes that torch computes
    one operation exactly, up to relative changes :math:`2^{16}u` (1.5e-11 in float64) of its
    inputs and of its output.
    As R -> 0 a product keeps :math:`N = \lVert f(x_0)\rVert`. What is lost is the shape: x o x has the bound
    :math:`2\lVert x_0\rVert`, its Jacobian the norm :math:`2\max|x_0|`; a matrix product has Frobenius norms
    where the Jacobian has spectral norms, a factor of at most sqrt n.
    """

    radius: float
    log_norm: float
    log_lipschitz: float
    log_error: float = -math.inf
    offset: float = 0.0

    @classmethod
    def identity(cls, radius, offset=0.0):
        """Return the bounds of the identity on the ball of this radius, whose centre has norm <= ``offset``.

        Raises
        ------
        ValueError
            ``radius`` is negative or not finite.
        """
        if not 0 <= radius < math.inf:
            raise ValueError(f"radius is {radius}; pass a finite number >= 0.")
        return cls(float(radius), log_plus(log_up(radius), log_up(offset)), 0.0, offset=float(offset))

    def misplaced(self, distance):
        """Return the bounds where torch starts at this distance from the centre."""
        return replace(self, log_error=log_plus(self.log_error, log_up(distance)))

    def sharpened(self, value):
        """Return the bounds with the smaller norm: the propagated one, or that from ``value`` at the centre.

        Parameters
        ----------
        value : Tensor
            Of this node at the centre, as torch computes it.
        """
        unit = 2 * _LOST * torch.finfo(value.dtype).eps if value.dtype.is_floating_point else math.inf
        log_error = log_plus(self.log_error, log_times(log_up(unit), self.log_norm))
        if not torch.isfinite(value).all():
            return replace(self, log_error=math.inf)
        reach = log_times(self.log_lipschitz, log_up(self.radius))
        measured = log_plus(log_up(vector_upper(value)), log_error, reach)
        return replace(self, log_norm=min(self.log_norm, measured), log_error=log_error)

    @property
    def norm(self):
        """Upper bound of ||f(x)|| on the ball; infinite where it exceeds float64."""
        return exp_up(self.log_norm)

    @property
    def lipschitz(self):
        """Upper bound of the Lipschitz constant on the ball; infinite where it exceeds float64."""
        return exp_up(self.log_lipschitz)

    def _with(self, log_norm, log_lipschitz, log_error):
        return LocalBound(self.radius, log_norm, log_lipschitz, log_error, self.offset)

    @property
    def _log_reached(self):
        # Torch's own value may lie outside the image of the ball, by the error.
        return log_plus(self.log_norm, self.log_error)

    def __add__(self, other):
        """Return the bounds of a sum."""
        return self._with(
            log_plus(self.log_norm, other.log_norm),
            log_plus(self.log_lipschitz, other.log_lipschitz),
            log_plus(self.log_error, other.log_error),
        )

    def then(self, outer):
        r"""Return the bounds of x -> g(f(x)) for g in the class ``outer``, used where f takes the ball.

        With ||f|| <= N there: :math:`M \max(1, N)^q` times the constant of f, and the norm
        :math:`d + M h_q(N)`, the integral of g's local constant along the ray.
        """
        slope = log_times(outer.log_L, log_power(max(0.0, self.log_norm), outer.p))
        steeper = log_times(outer.log_L, log_power(max(0.0, self._log_reached), outer.p))
        log_norm = min(
            outer.log_bound, log_plus(outer.log_c, log_times(outer.log_L, log_ray(self.log_norm, outer.p)))
        )
        return self._with(log_norm, log_times(slope, self.log_lipschitz), log_times(steeper, self.log_error))

    def times(self, other, beta=1.0):
        """Return the bounds of a bilinear product with ||B(u, v)|| <= beta ||u|| ||v||."""
        log_beta = log_up(beta)
        slope = log_plus(
            log_times(self.log_norm, other.log_lipschitz), log_times(other.log_norm, self.log_lipschitz)
        )
        error = log_plus(
            log_times(self.log_norm, other.log_error), log_times(other._log_reached, self.log_error)
        )
        return self._with(
            log_times(log_beta, self.log_norm, other.log_norm),
            log_times(log_beta, slope),
            log_times(log_beta, error),
        )

    def stacked(self, other):
        """Return the bounds of the outputs side by side as one vector."""
        return self._with(
            log_hypot(self.log_norm, other.log_norm),
            log_hypot(self.log_lipschitz, other.log_lipschitz),
            log_hypot(self.log_error, other.log_error),
        )

    def scaled(self, factor):
        """Return the bounds after a linear map of operator norm ``factor``."""
        log_factor = log_up(abs(factor))
        logs = (self.log_norm, self.log_lipschitz, self.log_error)
        return self._with(*(log_times(value, log_factor) for value in logs))

    def shifted(self, distance):
        """Return the bounds after adding a constant of norm at most ``distance``."""
        return self._with(log_plus(self.log_norm, log_up(distance)), self.log_lipschitz, self.log_error)
