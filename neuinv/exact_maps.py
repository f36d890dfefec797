"""Maps that invert every member of a family exactly: one continuous everywhere, one with a division."""

import torch

from neuinv._checks import check_matrices

__all__ = ["divided", "extended_inverse"]


def extended_inverse(A, distance):
    r"""Return :math:`A^{\mathsf T}(AA^{\mathsf T} + d^2 I)^{-1}`, the inverse where d = 0.

    With d the distance of ``A`` to a family whose closure holds no singular matrix, the map is continuous on
    all matrices and exact on the family. Its right and left residual and its forward error at an invertible
    matrix are all equal to :math:`d^2/(\sigma_{\min}(A)^2 + d^2)`.

    Parameters
    ----------
    A : Tensor, shape (..., n, n)
        Any matrices; singular ones where ``distance`` is positive.
    distance : Tensor, shape (...), or float
        :math:`d \ge 0`, in the unit of ``A``.

    Returns
    -------
    Tensor, shape (..., n, n)
        Of the dtype of ``A``, in the unit 1 / unit of ``A``.

    Raises
    ------
    TypeError
        Bad matrices.
    ValueError
        Bad matrices, a distance that is negative or not finite or does not fit the batch, or a singular
        matrix at distance 0.

    Notes
    -----
    Statement `thm-existence` of the book.

    Examples
    --------
    >>> A = torch.diag(torch.tensor([2.0, 0.0], dtype=torch.float64))
    >>> extended_inverse(A, 1.0).diagonal().tolist()
    [0.4, 0.0]
    """
    check_matrices(A)
    d = torch.as_tensor(distance, dtype=torch.float64, device=A.device)
    if not bool((torch.isfinite(d) & (d >= 0)).all()):
        raise ValueError(f"distance holds {d.min().tolist():.6g}; pass finite numbers >= 0.")
    if d.ndim and d.shape != A.shape[:-2]:
        raise ValueError(f"distance has shape {tuple(d.shape)}; pass {tuple(A.shape[:-2])}, one a matrix.")
    # Not from A A^T, which squares the condition number.
    U, sigma, Vh = torch.linalg.svd(A.double())
    bottom = sigma**2 + (d**2)[..., None]
    if not bool((bottom > 0).all()):
        raise ValueError("A is singular at distance 0: the family holds no such matrix; pass its distance.")
    return ((Vh.mT * (sigma / bottom)[..., None, :]) @ U.mT).to(A.dtype)


def divided(g):
    r"""Return the map :math:`A \mapsto g(A/\lVert A\rVert_F)/\lVert A\rVert_F`, which ignores the scale.

    Its relative errors at ``A`` are those of ``g`` at :math:`A/\lVert A\rVert_F`.

    Parameters
    ----------
    g : callable
        (..., n, n) -> (..., n, n), such as a network.

    Returns
    -------
    callable
        Of ``A``, shape (..., n, n); a zero matrix, or bad ones, raise ValueError or TypeError.

    Notes
    -----
    Statement `thm-scale` of the book.

    Examples
    --------
    >>> f = divided(lambda A: 2**0.5 * torch.eye(2).expand_as(A))
    >>> f(4 * torch.eye(2)).diagonal().tolist()
    [0.25, 0.25]
    """

    def f(A):
        size = torch.linalg.matrix_norm(check_matrices(A), keepdim=True)
        if not bool((size > 0).all()):
            raise ValueError("A holds a zero matrix, which has no scale; leave it out.")
        return g(A / size) / size

    return f
