"""The two answers that ignore their input, which every network must beat."""

import torch

from neuinv._checks import check_matrices
from neuinv.metrics.references import exact_inverse


def best_constant(A):
    r"""Return the best answer that ignores its input, :math:`\arg\min_X \sum_i \lVert A_i X - I \rVert_F^2`.

    A network whose right residual does not beat that of this constant is of no use as an inverse.

    Parameters
    ----------
    A : Tensor, shape (batch, n, n)
        The sample.

    Returns
    -------
    Tensor, shape (n, n), float64
        The least-squares solution; the one of least norm where it is not unique.

    Raises
    ------
    TypeError, ValueError
        Bad matrices.

    Examples
    --------
    >>> import torch
    >>> best_constant(torch.tensor([[[1.0]], [[3.0]]])).item()
    0.4
    """
    check_matrices(A)
    n = A.shape[-1]
    stacked = A.double().reshape(-1, n)  # (batch n, n)
    target = torch.eye(n, dtype=torch.float64, device=A.device).repeat(stacked.shape[0] // n, 1)
    # By SVD: the default driver judges the rank by pivoted QR, which a matrix such as Kahan's misleads.
    # This driver is there on the CPU only.
    solution = torch.linalg.lstsq(stacked.cpu(), target.cpu(), driver="gelsd").solution
    return solution.to(A.device)


def mean_inverse(A):
    r"""Return the mean of the inverses, :math:`\arg\min_X \sum_i \lVert X - A_i^{-1} \rVert_F^2`.

    Among the answers that ignore their input it is the best one for the absolute forward error.

    Parameters
    ----------
    A : Tensor, shape (batch, n, n)
        The sample of invertible matrices.

    Returns
    -------
    Tensor, shape (n, n), float64

    Raises
    ------
    TypeError, ValueError, ImportError
        As :func:`exact_inverse`.

    Examples
    --------
    >>> import torch
    >>> mean_inverse(torch.tensor([[[1.0]], [[2.0]]])).item()
    0.75
    """
    n = check_matrices(A).shape[-1]
    inverses = exact_inverse(A).reshape(-1, n, n)
    # Divided first, because the sum can overflow where the mean cannot.
    return (inverses / len(inverses)).sum(dim=0)
