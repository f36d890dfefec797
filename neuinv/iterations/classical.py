"""Newton-Schulz from the start that needs no interval."""

import torch

from neuinv._checks import check_matrices

__all__ = ["newton_schulz", "newton_schulz_matmuls", "transpose_start"]


def transpose_start(A):
    r"""Return the start :math:`X_0 = A^{\mathsf T} / \lVert A \rVert_F^2` of Newton-Schulz.

    The eigenvalues of :math:`A X_0` lie in [0, 1], so :math:`\lVert I - A X_0 \rVert_2 \le 1` for every
    matrix, singular or not. The zero matrix starts at zero.

    Parameters
    ----------
    A : Tensor, shape (..., n, n)
        The matrices, of any size of entries: they are divided by their norm before they are squared.

    Returns
    -------
    Tensor, shape (..., n, n)
        The start, in the unit 1 / unit of ``A``.

    Raises
    ------
    TypeError, ValueError
        ``A`` is not a batch of finite, real, floating, square matrices.

    Examples
    --------
    >>> import torch
    >>> transpose_start(2 * torch.eye(2, dtype=torch.float64))[0, 0].item()
    0.25
    """
    check_matrices(A)
    return unchecked_transpose_start(A)


def unchecked_transpose_start(A):
    """Return :func:`transpose_start` without a look at the entries, which torch.func.vmap forbids."""
    largest = A.abs().amax(dim=(-2, -1), keepdim=True)
    # A subnormal scale would make 1 / scale overflow; such a matrix is treated as zero.
    tiny = torch.finfo(A.dtype).tiny
    scale = torch.where(largest > tiny, largest, torch.ones_like(largest))
    unit = torch.where(largest > tiny, A / scale, torch.zeros_like(A))
    square = (unit * unit).sum(dim=(-2, -1), keepdim=True)
    return unit.mT / torch.where(square > 0, square, torch.ones_like(square)) / scale


def newton_schulz(A, num_steps, start=None):
    r"""Return :math:`X_k`, where :math:`X_{j} = X_{j-1}(2I - A X_{j-1})`, j = 1, ..., k.

    The right residual squares at each step: :math:`I - A X_j = (I - A X_{j-1})^2`.

    Parameters
    ----------
    A : Tensor, shape (..., n, n)
        The matrices.
    num_steps : int
        k >= 0; each step costs two matrix products.
    start : Tensor, shape (..., n, n), optional
        :math:`X_0`; :func:`transpose_start` unless given.

    Returns
    -------
    Tensor, shape (..., n, n)
        The approximate inverse. At a singular ``A`` the right residual is 1 for every k
        when the iteration starts from :func:`transpose_start`.

    Raises
    ------
    TypeError, ValueError
        Bad ``A`` (see :func:`transpose_start`), or ``num_steps`` is negative.

    Notes
    -----
    Statement `thm-zero-network` of the book uses it as the network that attains the bound.
    Source: Schulz (1933).

    Examples
    --------
    >>> import torch
    >>> A = torch.diag(torch.tensor([1.0, 0.5], dtype=torch.float64))
    >>> round(newton_schulz(A, 6)[1, 1].item(), 6)
    2.0
    """
    check_matrices(A)
    if num_steps < 0:
        raise ValueError(f"num_steps is {num_steps}; pass an integer >= 0.")
    X = transpose_start(A) if start is None else start
    for _ in range(num_steps):
        X = newton_schulz_step(A, X)
    return X


def newton_schulz_step(A, X):
    r"""Return :math:`2X - X(AX)` for matrices (..., n, n), in two products; nothing is checked.

    One function, so that schemes, networks and starts that take this step round alike.
    """
    return 2 * X - X @ (A @ X)


def newton_schulz_matmuls(num_steps):
    """Return the number of matrix products of :func:`newton_schulz`, two a step."""
    return 2 * num_steps
