"""Schemes that evaluate the optimal polynomial of their degree: scaled Newton-Schulz, Chebyshev."""

from dataclasses import dataclass

import torch

from neuinv._checks import as_integer
from neuinv.iterations.bounds import chebyshev_minimum, check_kappa, check_kind
from neuinv.iterations.scheme import KINDS, Scheme, cast, identity
from neuinv.iterations.stepwise import Stepwise

__all__ = ["Chebyshev", "Optimal", "ScaledNewtonSchulz"]


class Optimal(Scheme):
    """Schemes whose residual is the Chebyshev polynomial of its degree: q = T_N(offset) / T_N(x0)."""

    def worst_residual(self, kappa):
        r"""Return the largest right residual over all matrices with condition number kappa.

        It is :math:`1 / T_N(x_0(\kappa))` for kind ``"spd"``, the same with :math:`\kappa^2` for kind
        ``"general"``, the least that a polynomial of this degree can have (:func:`least_residual`). It is
        attained by any matrix with one of the points :math:`\tfrac{a+b}{2} - \tfrac{b-a}{2}\cos(j\pi/N)`,
        j = 0, ..., N, in its spectrum (with squares for kind ``"general"``).

        Parameters
        ----------
        kappa : float
            b / a >= 1, dimensionless.

        Returns
        -------
        float
            In [0, 1); to a relative accuracy of 1e-12, and 0 where it underflows.

        Raises
        ------
        TypeError, ValueError
            ``kappa`` is not a finite number >= 1.
        """
        return chebyshev_minimum(self.degree, check_kappa(kappa), self.kind)

    def _residual(self, position, ratio):
        return _chebyshev_quotient(self.degree, position, ratio)


@dataclass(frozen=True)
class ScaledNewtonSchulz(Optimal, Stepwise):
    r"""Newton-Schulz with the best factor at each step: the optimal polynomial of its degree.

    .. math:: X_j = c_j\, X_{j-1}(2I - A X_{j-1}), \qquad c_j = 1 + 1 / T_{2^j}(x_0),

    from the starts of :class:`NewtonSchulz` and with as many products. Since :math:`T_{2d} = 2T_d^2 - 1`, the
    residual after k steps is the Chebyshev polynomial of degree :math:`2^k`.

    Parameters
    ----------
    num_steps : int
        k, from 0 to 2000; the degree is :math:`2^k`.
    kind : {"spd", "general"}
        Which matrices.

    Raises
    ------
    TypeError, ValueError
        ``num_steps`` is not such an integer, or an unknown kind.

    Notes
    -----
    Rounding in low precision: as for :class:`NewtonSchulz`.

    Examples
    --------
    >>> scheme = ScaledNewtonSchulz(1)
    >>> scheme.num_matmuls, scheme.worst_residual(3.0)  # 1 / T_2(2) = 1 / 7
    (0, 0.14285714)
    """

    num_steps: int
    kind: str = "spd"

    def _advance(self, gap):
        # gap_j = 1 - 1 / T_{2^j}, from T_2d = 2 T_d^2 - 1, without a difference of close numbers.
        gap = 2 * gap * (2 - gap) / (1 + gap * (2 - gap))
        return gap, 2 - gap


@dataclass(frozen=True)
class Chebyshev(Optimal):
    r"""The optimal polynomial of any degree N, by the two-term recurrence of the Chebyshev polynomials.

    .. math:: X_{j+1} = \omega_{j+1}\bigl(X_j + \gamma(I - A X_j)\bigr) + (1 - \omega_{j+1}) X_{j-1}, \qquad
       \omega_{j+1} = 2x_0 T_j(x_0) / T_{j+1}(x_0),

    from :math:`X_0 = 0, X_1 = \gamma I`, :math:`\gamma = 2/(a + b)`. For kind ``"general"`` it runs on
    :math:`A^{\mathsf T} A`, computed once. One product a step: max(N - 2, 0) for kind ``"spd"``; N for kind
    ``"general"``, none if N = 1. :class:`ScaledNewtonSchulz` reaches the degrees :math:`2^k` in far fewer.

    Parameters
    ----------
    degree : int
        N >= 1, of the residual polynomial.
    kind : {"spd", "general"}
        Which matrices.

    Raises
    ------
    TypeError, ValueError
        ``degree`` is not an integer >= 1, or an unknown kind.

    Examples
    --------
    >>> import torch
    >>> A = torch.diag(torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64))
    >>> Chebyshev(3)(A, interval=(1.0, 3.0)).diagonal() * A.diagonal()
    tensor([0.9615, 1.0000, 1.0385], dtype=torch.float64)
    """

    degree: int
    kind: str = "spd"

    def __post_init__(self):
        as_integer(self.degree, "degree", 1)
        check_kind(self.kind, KINDS)

    @property
    def num_matmuls(self):
        """Matrix products, one a step of the recurrence beyond those on multiples of I or A."""
        if self.kind == "spd":
            return max(self.degree - 2, 0)
        return self.degree if self.degree > 1 else 0

    def _inverse(self, A, ratio):
        gamma = cast(2 / (1 + ratio), A)
        gap = 2 * ratio / (1 + ratio)
        square = 1 - gap * (2 - gap)  # x0^-2
        start = identity(A) if self.kind == "spd" else A.mT
        before, X = torch.zeros_like(start), gamma * start
        if self.degree == 1:
            return X
        operator = A if self.kind == "spd" else A.mT @ A
        omega = square * 0 + 2
        for step in range(1, self.degree):
            omega = 1 / (1 - square * omega / 4)
            weight = cast(omega, A)
            # For kind "spd" X_1 is gamma I, and its product with A is free.
            product = gamma * A if self.kind == "spd" and step == 1 else operator @ X
            before, X = X, weight * (X + gamma * (start - product)) + cast(1 - omega, A) * before
        return X


def _chebyshev_quotient(degree, position, ratio):
    """Return T_degree(x) / T_degree(x0), where x maps [ratio, 1] to [1, -1] and 0 to x0.

    Through angles, so that nothing overflows, and with half-angle formulas in the distances to both ends:
    x itself, near 1 on the part of a long interval that matters, would not tell them apart.
    """
    below, above = ratio - position, position - 1
    angle = 2 * torch.atan2((-below).clamp(min=0).sqrt(), (-above).clamp(min=0).sqrt())
    # One of the two is the hyperbolic angle of x > 1 (left of the interval) or x < -1, the other is 0.
    left = (below.clamp(min=0) / (1 - position).clamp(min=torch.finfo(torch.float64).tiny)).sqrt()
    right = (above.clamp(min=0) / (-below).clamp(min=torch.finfo(torch.float64).tiny)).sqrt()
    outside = 2 * torch.atanh(torch.where(below > 0, left, right))
    rate = 2 * torch.atanh(ratio.sqrt())
    # T_d is cosh(d outside) there, with the sign of x^d, and cos(d angle) on the interval.
    grown = torch.exp(degree * (outside - rate)) * (1 + torch.exp(-2 * degree * outside))
    grown = torch.where(above > 0, (-1.0) ** degree, 1.0) * grown
    inside = 2 * torch.cos(degree * angle) * torch.exp(-degree * rate)
    return torch.where((below > 0) | (above > 0), grown, inside) / (1 + torch.exp(-2 * degree * rate))
