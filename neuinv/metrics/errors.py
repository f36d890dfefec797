"""Residuals, forward error and condition number."""

import torch

from neuinv._checks import check_matrices, check_pair
from neuinv._linalg import singular_values, spectral_norms
from neuinv.metrics.references import exact_inverse


def spectral_norm(M):
    """Return the largest singular value of each matrix, shape (..., n, n) -> (...,), in float64."""
    return spectral_norms(M.double())


def right_residual(A, X):
    r"""Return the right residual :math:`\lVert A X - I \rVert_2`.

    Parameters
    ----------
    A, X : Tensor, shape (..., n, n)
        Matrices and approximate inverses, of one dtype.

    Returns
    -------
    Tensor, shape (...,), float64
        Dimensionless; 0 for the exact inverse, at least 1 where ``A`` is singular, and infinite where the
        product overflows.

    Raises
    ------
    TypeError, ValueError
        Not finite, real, floating, square matrices of one size, one dtype and matching batches.

    Examples
    --------
    >>> import torch
    >>> A = torch.tensor([[2.0]])
    >>> right_residual(A, torch.tensor([[0.25]])).item()
    0.5
    """
    check_pair(A, X)
    return _residual(A, X)


def left_residual(A, X):
    r"""Return the left residual :math:`\lVert X A - I \rVert_2`.

    Parameters, result and errors are those of :func:`right_residual`.

    Examples
    --------
    >>> import torch
    >>> A, X = torch.tensor([[0.0, 1.0], [1.0, 0.0]]), torch.tensor([[0.0, 1.0], [0.0, 0.0]])
    >>> left_residual(A, X).item()
    1.0
    """
    check_pair(A, X)
    return _residual(X, A)


def _residual(left, right):
    # In place: the batch may be large, and the diagonal is all that changes.
    product = left.double() @ right.double()
    product.diagonal(dim1=-2, dim2=-1).sub_(1)
    return _norm_or_inf(product)


def _norm_or_inf(M):
    """Return the spectral norm, infinite where an entry is infinite or NaN, which LAPACK does not promise."""
    finite = torch.isfinite(M).all(dim=-1).all(dim=-1)
    norm = torch.linalg.matrix_norm(torch.where(finite[..., None, None], M, torch.zeros_like(M)), 2)
    return torch.where(finite, norm, torch.full_like(norm, float("inf")))


def forward_error(A, X, relative=True):
    r"""Return the forward error :math:`\lVert X - A^{-1} \rVert_2 / \lVert A^{-1} \rVert_2`.

    Parameters
    ----------
    A, X : Tensor, shape (..., n, n)
        Invertible matrices and approximate inverses, of one dtype.
    relative : bool
        Without it the numerator alone is returned, in the unit of ``X``.

    Returns
    -------
    Tensor, shape (...,), float64
        Accurate to about ``REFERENCE_ACCURACY`` relative to :math:`\lVert A^{-1} \rVert_2`; infinite where it
        overflows.

    Raises
    ------
    TypeError, ValueError
        Bad matrices as in :func:`right_residual`, a singular one, or one whose inverse overflows float64
        (its index is named).
    ImportError
        A matrix is so ill-conditioned that its inverse needs ball arithmetic and python-flint is missing.

    Examples
    --------
    >>> import torch
    >>> A = torch.diag(torch.tensor([1.0, 0.5]))
    >>> forward_error(A, torch.eye(2)).item()
    0.5
    """
    check_pair(A, X)
    inverse = exact_inverse(A)
    X = X.double()
    if not relative:
        return _norm_or_inf(X - inverse)
    # Entries near the largest float would overflow in the norms, whose quotient is harmless.
    unit = _power_of_two(inverse)
    return _norm_or_inf(X * unit - inverse * unit) / spectral_norm(inverse * unit)


def both_errors(A, X, inverse):
    """Return right residuals and relative forward errors of answers, some of which may not be finite.

    Parameters
    ----------
    A : Tensor, shape (N, n, n)
        The matrices.
    X : Tensor, shape (N, n, n) or (n, n)
        The answers, or one for all. One that is not finite counts as infinitely wrong.
    inverse : Tensor, shape (N, n, n)
        The exact inverses, float64.

    Returns
    -------
    right, forward : Tensor, shape (N,), float64
        Without a gradient in ``X``.

    Raises
    ------
    TypeError, ValueError
        Bad matrices.

    Examples
    --------
    >>> import torch
    >>> A = 2 * torch.eye(2, dtype=torch.float64).repeat(2, 1, 1)
    >>> X = torch.stack([A[0] / 8, A[0] / 0])
    >>> [values.tolist() for values in both_errors(A, X, A / 4)]
    [[0.5, inf], [0.5, inf]]
    """
    check_matrices(A)
    A, X = A.double(), X.detach().to(A.device).double().expand_as(A)
    finite = torch.isfinite(X).all(dim=-1).all(dim=-1)
    X = torch.where(finite[:, None, None], X, torch.zeros_like(X))
    errors = (right_residual(A, X), _norm_or_inf(X - inverse) / spectral_norm(inverse))
    return tuple(torch.where(finite, e, torch.full_like(e, float("inf"))) for e in errors)


def _power_of_two(M):
    """Return powers of two (..., 1, 1) that bring the largest entry of each matrix near 1."""
    exponent = torch.frexp(M.abs().amax(dim=(-2, -1), keepdim=True)).exponent
    # Beyond 2**1000 the power itself, or its inverse, would not be a normal number.
    return torch.exp2(-exponent.clamp(-1000, 1000).double())


def condition_number(A):
    r"""Return the condition number :math:`\kappa = \sigma_{\max} / \sigma_{\min}`, shape (...,), in float64.

    Parameters
    ----------
    A : Tensor, shape (..., n, n)
        The matrices.

    Returns
    -------
    Tensor, shape (...,), float64
        Dimensionless, at least 1. Infinite where the computed smallest singular value is 0, as for the zero
        matrix. Rounding leaves most singular matrices a value of about 1e16 or more instead: above 1e15 or so
        only the order of magnitude is meant. :func:`neuinv.metrics.smallest_singular_value` tells them apart.

    Raises
    ------
    TypeError, ValueError
        Bad matrices.

    Examples
    --------
    >>> import torch
    >>> condition_number(torch.diag(torch.tensor([4.0, 2.0]))).item()
    2.0
    >>> condition_number(torch.zeros(2, 2)).item()
    inf
    """
    check_matrices(A)
    A = A.double()
    sigma = singular_values(A * _power_of_two(A))
    largest, smallest = sigma[..., 0], sigma[..., -1]
    return torch.where(smallest > 0, largest / smallest, torch.full_like(largest, float("inf")))
