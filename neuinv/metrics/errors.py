"""Residuals, forward error, condition number, and the reference inverse they are measured against."""

import torch

from neuinv._checks import check_matrices, check_pair
from neuinv._linalg import inverse_or_nan

# A float64 inverse has a relative error of about n kappa u; above this it is recomputed in ball arithmetic.
REFERENCE_ACCURACY = 1e-10


def spectral_norm(M):
    """Return the largest singular value of each matrix, shape (..., n, n) -> (...,), in float64."""
    return torch.linalg.matrix_norm(M.double(), 2)


def right_residual(A, X):
    r"""Return the right residual :math:`\lVert A X - I \rVert_2`.

    Parameters
    ----------
    A, X : Tensor, shape (..., n, n)
        Matrices and approximate inverses, of one dtype.

    Returns
    -------
    Tensor, shape (...,), float64
        Dimensionless; 0 for the exact inverse and at least 1 where ``A`` is singular.

    Raises
    ------
    TypeError, ValueError
        Not finite, real, floating, square matrices of one size and dtype.

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
    return torch.linalg.matrix_norm(product, 2)


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
        Accurate to about ``REFERENCE_ACCURACY`` relative to :math:`\lVert A^{-1} \rVert_2`.

    Raises
    ------
    TypeError, ValueError
        Bad matrices as in :func:`right_residual`, or a singular one (its index is named).
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
    error = spectral_norm(X.double() - inverse)
    return error / spectral_norm(inverse) if relative else error


def exact_inverse(A):
    """Return the inverses in float64, correct to about ``REFERENCE_ACCURACY`` relative to their norms.

    Well-conditioned matrices are inverted in float64, the others in ball arithmetic (python-flint)
    at a precision that is raised until the enclosure is narrow.

    Parameters
    ----------
    A : Tensor, shape (..., n, n)
        The matrices; their entries are taken as exact.

    Returns
    -------
    Tensor, shape (..., n, n), float64

    Raises
    ------
    TypeError, ValueError
        Bad matrices, or a singular one (its index is named).
    ImportError
        Ball arithmetic is needed and python-flint is missing.

    Examples
    --------
    >>> import torch
    >>> exact_inverse(torch.tensor([[4.0]])).item()
    0.25
    """
    check_matrices(A)
    A = A.double()
    inverse = inverse_or_nan(A)
    n = A.shape[-1]
    kappa = torch.linalg.matrix_norm(A) * torch.linalg.matrix_norm(inverse)  # Frobenius: an upper bound
    # Written so that NaN, from a singular matrix, counts as unsafe.
    unsafe = ~(n * kappa * torch.finfo(torch.float64).eps < REFERENCE_ACCURACY)
    if unsafe.any():
        inverse = inverse.clone()
        for index in torch.nonzero(unsafe).tolist():
            inverse[tuple(index)] = _ball_inverse(A[tuple(index)], tuple(index)).to(A.device)
    return inverse


def _ball_inverse(matrix, index):
    try:
        import flint
    except ImportError:
        raise ImportError(
            f"A[{_name(index)}] is too ill-conditioned for a float64 reference inverse; "
            "install the extra neuinv[rigor] (python-flint)."
        ) from None
    n = matrix.shape[-1]
    rows = matrix.tolist()
    before = flint.ctx.prec
    try:
        for precision in (256, 1024, 4096):
            flint.ctx.prec = precision
            try:
                X = flint.arb_mat(rows).inv()
            except ZeroDivisionError:
                continue
            values = [[float(X[i, j].mid()) for j in range(n)] for i in range(n)]
            # Each float is within half an ulp of a midpoint whose ball is far narrower at these precisions.
            return torch.tensor(values, dtype=torch.float64)
    finally:
        flint.ctx.prec = before
    raise ValueError(f"A[{_name(index)}] is singular; it has no inverse to compare with.")


def _name(index):
    return ", ".join(map(str, index)) if index else "..."


def condition_number(A):
    r"""Return :math:`\kappa = \sigma_{\max} / \sigma_{\min}`, shape (...,), infinite where ``A`` is singular.

    Parameters
    ----------
    A : Tensor, shape (..., n, n)
        The matrices.

    Raises
    ------
    TypeError, ValueError
        Bad matrices.

    Examples
    --------
    >>> import torch
    >>> condition_number(torch.diag(torch.tensor([4.0, 2.0]))).item()
    2.0
    """
    check_matrices(A)
    sigma = torch.linalg.svdvals(A.double())
    return sigma[..., 0] / sigma[..., -1]
