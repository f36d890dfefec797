r"""How far apart the members of a sample are, relative to one another: what bounds its spread from below."""

from functools import partial

import torch

from neuinv._checks import check_matrices
from neuinv._linalg import inverse_or_nan

__all__ = ["pair_distance", "pair_ratio"]

PAIRS = 400
EPS = torch.finfo(torch.float64).eps


def pair_ratio(A):
    r"""Return a lower bound of :math:`s = \max_{i,j}\lVert A_i A_j^{-1}\rVert_2`: its value on the likeliest
    pairs.

    Parameters
    ----------
    A : Tensor, shape (N, n, n)
        The sample.

    Returns
    -------
    float
        At least 1; infinite where a matrix is singular to working precision and another one is not zero
        there. Pairs are ranked by the Frobenius norm, and of large samples only 400 are evaluated.

    Raises
    ------
    TypeError, ValueError
        Bad matrices.

    Examples
    --------
    >>> round(pair_ratio(torch.tensor([[[1.0]], [[3.0]]])), 12)
    3.0
    """
    A, inverses, squares = _pairs(A)
    if inverses is None:
        return float("inf")
    i, j = _likeliest(squares)
    return max(1.0, torch.linalg.matrix_norm(A[i] @ inverses[j], 2).max().item())


def pair_distance(A):
    r"""Return a lower bound of :math:`d = \max_{i,j}\lVert I - A_i A_j^{-1}\rVert_2`: its value on the
    likeliest pairs.

    Parameters
    ----------
    A : Tensor, shape (N, n, n)
        The sample.

    Returns
    -------
    float
        At least 0, dimensionless; the spread q satisfies d/(d + 2) <= q <= min(1, d). Infinite, and ranked
        on pairs, as :func:`pair_ratio`; the value is exact for up to 20 matrices.

    Raises
    ------
    TypeError, ValueError
        Bad matrices.

    Notes
    -----
    Statement `thm-spread` of the book. Other than the ratio it sees rotations: 2 for I and -I.

    Examples
    --------
    >>> round(pair_distance(torch.tensor([[[1.0]], [[3.0]]])), 12)
    2.0
    """
    A, inverses, squares = _pairs(A)
    if inverses is None:
        return float("inf")
    # ||I - A_i A_j^-1||_F^2 = n - 2 tr(A_i A_j^-1) + ||A_i A_j^-1||_F^2
    traces = A.mT.flatten(1) @ inverses.flatten(1).T
    i, j = _likeliest(squares - 2 * traces)
    eye = torch.eye(A.shape[-1], dtype=A.dtype, device=A.device)
    norm = partial(torch.linalg.matrix_norm, ord=2)
    # A X_j = A A_j^-1 (I + E) with ||E|| the residual of the computed inverse X_j: without this allowance an
    # ill-conditioned matrix would be at a distance from itself.
    rounding = A.shape[-1] * EPS * norm(inverses)
    residual = norm(A @ inverses - eye) + rounding * norm(A)
    residual = torch.where(residual < 0.5, residual, torch.inf)
    product = A[i] @ inverses[j]
    allowance = 2 * residual[j] * norm(product) + rounding[j] * norm(A)[i]
    return (norm(eye - product) - allowance).max().clamp(min=0).item()


def _pairs(A):
    """Return the sample, its inverses (None if one is missing) and ||A_i A_j^-1||_F^2, shape (N, N)."""
    check_matrices(A)
    A = A.double().reshape(-1, *A.shape[-2:])
    inverses = inverse_or_nan(A)
    if torch.isnan(inverses).any():
        return A, None, None
    # ||A_i A_j^-1||_F^2 = <A_i^T A_i, A_j^-1 A_j^-T>: all pairs in one product.
    return A, inverses, (A.mT @ A).flatten(1) @ (inverses @ inverses.mT).flatten(1).T


def _likeliest(scores):
    """Return the indices (i, j) of the pairs with the largest scores."""
    best = torch.topk(scores.flatten(), min(PAIRS, scores.numel())).indices
    return best // len(scores), best % len(scores)
