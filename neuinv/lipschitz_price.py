"""The Lipschitz constant an accurate inverse needs, pairs that force it, maps that attain it."""

import math
from dataclasses import dataclass

import torch

from neuinv import metrics
from neuinv._checks import check_matrices

__all__ = [
    "PairCheck",
    "PriceWitness",
    "attaining_map",
    "check_pair_price",
    "lipschitz_price",
    "local_lipschitz",
    "price_witness",
]

KINDS = ("general", "det-positive", "det-negative", "spd")


def lipschitz_price(kappa, eta, kind="general", absolute=False):
    r"""Return the least Lipschitz constant of a map that inverts to accuracy ``eta``.

    The matrices are those with norm at most 1 and smallest singular value at least
    :math:`\delta = 1/\kappa`, of the given kind. Without a sign or definiteness the price is
    :math:`\max(0, 1 - \eta)\,\kappa^2`, or :math:`\max(0, 1 - \eta/\kappa)\,\kappa^2` for an absolute error.
    On symmetric positive definite matrices it is the smaller constant of `thm-price-spd`.

    Parameters
    ----------
    kappa : float
        Dimensionless, at least 1.
    eta : float
        Worst forward error allowed, >= 0: relative and dimensionless, or with ``absolute`` in the
        unit of the inverse.
    kind : {"general", "det-positive", "det-negative", "spd"}
        Which matrices; those of one determinant sign need n >= 2 for the same price as all.
    absolute : bool
        Whether ``eta`` bounds :math:`\lVert f(A) - A^{-1} \rVert` instead of the relative error.

    Returns
    -------
    float
        A lower bound in the spectral and in the Frobenius norm, attained in the latter
        (:func:`attaining_map`); 0 where a constant map has the accuracy.

    Raises
    ------
    ValueError
        ``kappa`` below 1, ``eta`` negative, one of them not finite, or an unknown kind.

    Notes
    -----
    Statements `thm-price`, `thm-price-component` and `thm-price-spd` of the book. For the matrices without
    a sign and the relative error, :func:`neuinv.lipschitz.required_lipschitz` gives the same constant, and
    those of maps whose slope grows with the input.

    Examples
    --------
    >>> lipschitz_price(10, 0.5)
    50.0
    >>> round(lipschitz_price(10, 0.5, "spd"), 4)
    5.051
    """
    kappa, eta = _check_demand(kappa, eta, kind)
    if kind != "spd":
        return max(0.0, 1 - (eta / kappa if absolute else eta)) * kappa**2
    ratio = _best_ratio(kappa, eta, absolute)
    return 0.0 if ratio is None else max(0.0, _spd_secant(ratio, kappa, eta, absolute))


def _check_demand(kappa, eta, kind):
    if not (math.isfinite(kappa) and kappa >= 1):
        raise ValueError(f"kappa is {kappa}; pass a finite condition number >= 1.")
    if not (math.isfinite(eta) and eta >= 0):
        raise ValueError(f"eta is {eta}; pass a finite error >= 0.")
    if kind not in KINDS:
        raise ValueError(f"kind is {kind!r}; use one of {', '.join(KINDS)}.")
    return float(kappa), float(eta)


def _spd_secant(t, kappa, eta, absolute):
    """Return the slope that the eigenvalues delta and t delta force; its limit at t = 1 for eta = 0."""
    if eta == 0:
        return kappa**2 / t
    if absolute:
        return kappa**2 * (1 / t - 2 * (eta / kappa) / (t - 1))
    return kappa**2 * ((1 - eta) * t - (1 + eta)) / (t * (t - 1))


def _best_ratio(kappa, eta, absolute):
    """Return the t in (1, kappa] whose secant is steepest (1 for eta = 0), None where no demand is left."""
    if kappa == 1:
        return None
    root = math.sqrt(2 * eta / kappa) if absolute else math.sqrt(2 * eta * (1 + eta))
    if (root if absolute else eta) >= 1:
        return None
    best = 1 / (1 - root) if absolute else (1 + eta + root) / (1 - eta)
    return min(best, kappa)


@dataclass(frozen=True)
class PriceWitness:
    """Two matrices on which accuracy ``eta`` forces the Lipschitz constant ``price``."""

    A: torch.Tensor  # (n, n)
    B: torch.Tensor  # (n, n)
    price: float


def price_witness(n, kappa, eta, kind="general", absolute=False):
    r"""Return the pair of matrices that forces the price.

    Parameters
    ----------
    n : int
        Size; at least 2 for the kinds of one determinant sign.
    kappa, eta, kind, absolute
        As in :func:`lipschitz_price`. The pair depends on ``eta`` for kind 'spd' alone.

    Returns
    -------
    PriceWitness
        Diagonal matrices in float64 with norm at most 1 and smallest singular value :math:`1/\kappa`.

    Raises
    ------
    ValueError
        As :func:`lipschitz_price`; ``n`` too small; or kind 'spd' where no single pair forces a price.

    Notes
    -----
    Statements `thm-price`, `thm-price-component` and `thm-price-spd` of the book.

    Examples
    --------
    >>> price_witness(3, 4, 0.1).B.diagonal().tolist()
    [1.0, 1.0, -0.25]
    """
    kappa, eta = _check_demand(kappa, eta, kind)
    least = 2 if kind.startswith("det") else 1
    if not isinstance(n, int) or isinstance(n, bool) or n < least:
        raise ValueError(f"n is {n!r}; pass an integer >= {least} for kind {kind!r}.")
    price = lipschitz_price(kappa, eta, kind, absolute)
    delta = 1 / kappa
    if kind == "spd":
        if eta == 0 or price == 0:
            raise ValueError(
                f"eta is {eta}, for which no pair of SPD matrices forces a price {price:g}; "
                "pass an error > 0 below the one of the best constant."
            )
        # min guards against 1 / kappa * kappa rounding above 1.
        ends = ([delta], [min(1.0, _best_ratio(kappa, eta, absolute) * delta)])
    else:
        ends = {
            "general": ([delta], [-delta]),
            "det-positive": ([delta, delta], [-delta, -delta]),
            "det-negative": ([delta, -delta], [-delta, delta]),
        }[kind]
    A, B = (torch.diag(torch.tensor([1.0] * (n - len(end)) + end, dtype=torch.float64)) for end in ends)
    return PriceWitness(A, B, price)


@dataclass(frozen=True)
class PairCheck:
    """One map on one pair: its errors there, the slope they force, the slope it has (spectral norm)."""

    errors: torch.Tensor  # (2,), relative forward errors at A and B
    needed: float
    secant: float


def check_pair_price(f, A, B):
    r"""Measure the slope of ``f`` between two matrices and the slope that its errors there force.

    By the triangle inequality :math:`\lVert f(A) - f(B)\rVert` is at least
    :math:`\lVert A^{-1} - B^{-1}\rVert - \lVert f(A) - A^{-1}\rVert - \lVert f(B) - B^{-1}\rVert`.

    Parameters
    ----------
    f : callable
        (batch, n, n) -> (batch, n, n).
    A, B : Tensor, shape (n, n)
        Two different invertible matrices.

    Returns
    -------
    PairCheck
        With ``needed <= secant`` up to rounding, for every map.

    Raises
    ------
    TypeError, ValueError
        Bad or singular matrices, or equal ones.
    """
    both = check_matrices(torch.stack([A, B]))
    distance = metrics.spectral_norm(A - B).item()
    if distance == 0:
        raise ValueError("A and B are equal; pass two different matrices.")
    with torch.no_grad():
        X = f(both)
    inverses = metrics.exact_inverse(both)
    gaps = metrics.forward_error(both, X, relative=False)
    needed = metrics.spectral_norm(inverses[0] - inverses[1]) - gaps.sum()
    secant = metrics.spectral_norm(X[0] - X[1]).item() / distance
    return PairCheck(metrics.forward_error(both, X), max(0.0, needed.item()) / distance, secant)


def attaining_map(kappa, eta, kind="general", absolute=False):
    r"""Return a map on all matrices that has accuracy ``eta`` and the price as its Lipschitz constant.

    For kind 'general' and both determinant signs it is :math:`A = U\Sigma V^{\mathsf T} \mapsto
    V g(\Sigma) U^{\mathsf T}` with :math:`g(x) = c \min(\kappa^2 x, 1/x)`; for 'spd' it applies a scalar
    function to the eigenvalues of the symmetric part.

    Parameters
    ----------
    kappa, eta, kind, absolute
        As in :func:`lipschitz_price`.

    Returns
    -------
    callable
        (..., n, n) -> (..., n, n), Lipschitz in the Frobenius norm with constant
        :func:`lipschitz_price` on the whole space.

    Raises
    ------
    ValueError
        As :func:`lipschitz_price`.

    Notes
    -----
    Statements `thm-price` and `thm-price-spd` of the book.

    Examples
    --------
    >>> A = torch.diag(torch.tensor([1.0, 0.5], dtype=torch.float64))
    >>> attaining_map(2, 0.25)(A).diagonal().tolist()
    [0.75, 1.5]
    """
    kappa, eta = _check_demand(kappa, eta, kind)
    price = lipschitz_price(kappa, eta, kind, absolute)

    def general(A):
        U, sigma, Vh = torch.linalg.svd(check_matrices(A))
        # Not a minimum: LAPACK returns -0.0 for some zero matrices, and 1 / -0.0 would be chosen.
        g = price * torch.where(kappa * sigma < 1, sigma, 1 / (kappa**2 * sigma))
        return (Vh.mT * g[..., None, :]) @ U.mT

    def spd(A):
        check_matrices(A)
        eigenvalues, V = torch.linalg.eigh((A + A.mT) / 2)
        x = eigenvalues.clamp(min=1 / kappa)
        if absolute:
            low, start = 1 / x - eta, kappa - eta
        else:
            low, start = max(0.0, 1 - eta) / x, max(0.0, 1 - eta) * kappa
        g = torch.maximum(low, start - price * (x - 1 / kappa))
        return (V * g[..., None, :]) @ V.mT

    return spd if kind == "spd" else general


def local_lipschitz(f, A):
    r"""Return the norm of the Jacobian of ``f`` at each matrix: a lower bound of its Lipschitz constant.

    At an interior point of the domain, or a limit of such points, no Lipschitz constant in the Frobenius
    norm is smaller.

    Parameters
    ----------
    f : callable
        (batch, n, n) -> (batch, n, n), differentiable by torch, each output a function of its own input.
    A : Tensor, shape (batch, n, n)
        Where to differentiate.

    Returns
    -------
    Tensor, shape (batch,), float64
        The largest singular value of the n^2 x n^2 Jacobian, in the unit 1 / unit of ``A`` squared.

    Raises
    ------
    TypeError, ValueError
        Bad matrices.

    Examples
    --------
    >>> local_lipschitz(lambda A: 3 * A, torch.eye(2).repeat(1, 1, 1)).tolist()
    [3.0]
    """
    A = check_matrices(A).detach().requires_grad_(True)
    outputs = f(A).flatten(-2)
    rows = [
        torch.autograd.grad(outputs[:, i].sum(), A, retain_graph=True, allow_unused=True)[0]
        for i in range(outputs.shape[-1])
    ]
    rows = [torch.zeros_like(A) if row is None else row for row in rows]
    jacobian = torch.stack([row.flatten(-2) for row in rows], dim=-2)
    return torch.linalg.matrix_norm(jacobian.double(), 2)
