"""Schemes that repeat a step: classical Newton-Schulz and its relatives of higher order."""

from dataclasses import dataclass

from neuinv._checks import as_integer
from neuinv.iterations.bounds import check_kappa, check_kind, power_minimum
from neuinv.iterations.classical import newton_schulz_step
from neuinv.iterations.scheme import KINDS, Scheme, cast, identity

__all__ = ["Hyperpower", "NewtonSchulz", "Stepwise"]

MOST_STEPS = 2000  # even at kappa = 1e308 nothing is left to gain after so many


class Stepwise(Scheme):
    """Schemes that start from gamma I, or gamma A^T, and repeat a step."""

    _order = 2

    def __post_init__(self):
        steps = as_integer(self.num_steps, "num_steps", 0)
        if steps > MOST_STEPS:
            raise ValueError(f"num_steps is {steps}; pass at most {MOST_STEPS}.")
        check_kind(self.kind, KINDS)

    @property
    def degree(self):
        """Degree N of the residual polynomial: the order to the power of the number of steps."""
        return self._order**self.num_steps

    @property
    def num_matmuls(self):
        """Matrix products: two a step and those of the sum; a multiple of I saves two."""
        free = 2 if self.kind == "spd" and self.num_steps > 0 else 0
        return (2 + _geometric_matmuls(self._order)) * self.num_steps - free

    def _inverse(self, A, ratio):
        gamma = cast(2 / (1 + ratio), A)
        # 1 - 1 / x0, kept as a difference: 1 / x0 itself rounds to 1 where the interval is long.
        gap = 2 * ratio / (1 + ratio)
        X, done = gamma * A.mT, 0
        if self.kind == "spd":
            X = gamma * identity(A)
            if self.num_steps > 0:
                # A X is a multiple of A and X a multiple of I: no product but those of the sum.
                gap, factor = self._advance(gap)
                X, done = cast(factor, A) * gamma * _geometric(identity(A) - gamma * A, self._order), 1
        for _ in range(done, self.num_steps):
            gap, factor = self._advance(gap)
            X = cast(factor, A) * self._step(A, X)
        return X

    def _advance(self, gap):
        """Return the gap after a step, and the number that multiplies its result."""
        return gap, gap * 0 + 1

    def _step(self, A, X):
        if self._order == 2:
            return newton_schulz_step(A, X)
        return X @ _geometric(identity(A) - A @ X, self._order)


class _Power(Stepwise):
    """Schemes whose step raises the residual to a power: q = (1 - gamma z)^N."""

    def worst_residual(self, kappa):
        r"""Return the largest right residual over all matrices with condition number kappa.

        It is :math:`x_0^{-N} = ((\kappa - 1)/(\kappa + 1))^N` for kind ``"spd"``, the same with
        :math:`\kappa^2` for kind ``"general"``, because :math:`q(z) = (1 - \gamma z)^N`,
        :math:`\gamma = 2/(a + b)`, is largest at both ends; any matrix with an end in its spectrum
        attains it.

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
        return power_minimum(self.degree, check_kappa(kappa), self.kind)

    def _residual(self, position, ratio):
        return (1 - 2 * position / (1 + ratio)) ** self.degree


@dataclass(frozen=True)
class NewtonSchulz(_Power):
    r"""The classical iteration :math:`X_j = X_{j-1}(2I - A X_{j-1})`: the residual squares.

    It starts from :math:`X_0 = 2I/(a + b)` (spd) or :math:`X_0 = 2A^{\mathsf T}/(a^2 + b^2)` (general), the
    best multiples for the interval, and takes 2(k - 1) or 2k products for k steps: on a multiple of I the
    first step needs none.

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
    Rounding in low precision: eigenvalues of :math:`A X_0` come as near to 2 as 2a/(a + b), for kind
    ``"general"`` as near as :math:`2a^2/(a^2 + b^2)`. Where that is less than the unit roundoff of the dtype,
    rounding may carry one beyond 2, and the iteration then diverges: this was seen on general matrices from
    kappa = 30 in bfloat16 and from kappa = 100 in float16, never on SPD ones up to kappa = 1000.

    Source: Schulz (1933).

    Examples
    --------
    >>> scheme = NewtonSchulz(3)
    >>> scheme.num_matmuls, scheme.degree, scheme.worst_residual(3.0)  # (1 / 2)^8
    (4, 8, 0.00390625)
    """

    num_steps: int
    kind: str = "spd"


@dataclass(frozen=True)
class Hyperpower(_Power):
    r"""Steps of higher order, :math:`X_j = X_{j-1}(I + R + \dots + R^{r-1})`, :math:`R = I - A X_{j-1}`.

    Each step raises the residual to the power r. The sum is evaluated by halving, r = 2, 3, 4, 5, 6, 7 terms
    in 0, 1, 2, 2, 3, 3 products, so that a step takes 2, 3, 4, 4, 5, 5: order 5 gains most a product. Starts
    are those of :class:`NewtonSchulz`, which is the case r = 2; on a multiple of I the first step takes two
    products less.

    Parameters
    ----------
    num_steps : int
        k, from 0 to 2000; the degree is :math:`r^k`.
    order : int
        r >= 2.
    kind : {"spd", "general"}
        Which matrices.

    Raises
    ------
    TypeError, ValueError
        ``num_steps`` or ``order`` is not such an integer, or an unknown kind.

    Examples
    --------
    >>> scheme = Hyperpower(2, order=5)
    >>> scheme.num_matmuls, scheme.degree
    (6, 25)
    """

    num_steps: int
    order: int = 3
    kind: str = "spd"

    def __post_init__(self):
        super().__post_init__()
        as_integer(self.order, "order", 2)

    @property
    def _order(self):
        return self.order


def _geometric(R, terms):
    """Return I + R + ... + R^(terms - 1), terms >= 2, by halving."""
    total = identity(R) + R
    if terms == 2:
        return total
    square = R @ R
    if terms == 3:
        return total + square
    if terms % 2 == 0:
        return total @ _geometric(square, terms // 2)
    return identity(R) + (R + square) @ _geometric(square, terms // 2)


def _geometric_matmuls(terms):
    """Return the number of products of :func:`_geometric`."""
    return terms - 2 if terms <= 3 else 2 + _geometric_matmuls(terms // 2)
