"""The key inequality at given matrices, and the ways from a matrix to the singular ones."""

from dataclasses import dataclass

import torch

from neuinv import metrics
from neuinv._checks import check_matrices

__all__ = ["KeyInequality", "key_inequality", "nearest_singular", "output_witness", "path_to_singular"]


@dataclass(frozen=True)
class KeyInequality:
    r"""Both sides of the key inequality, one entry a matrix, all of shape (...,) and float64.

    For every map and every invertible A, with sigma = sigma_min(A) and X = f(A):
    :math:`|e - 1| \le \sigma \lVert X \rVert`, and either residual is
    :math:`\ge 1 - \sigma \lVert X \rVert` (`thm-key-inequality`).
    """

    smallest_singular_value: torch.Tensor
    output_norm: torch.Tensor
    forward_error: torch.Tensor
    right_residual: torch.Tensor
    left_residual: torch.Tensor

    @property
    def gap(self):
        """The product sigma_min(A) ||f(A)||: how far from 1 the error may be."""
        return self.smallest_singular_value * self.output_norm

    def slack(self):
        """Smallest distance to violation over the three inequalities; negative means violated."""
        forward = self.gap - (self.forward_error - 1).abs()
        right = self.right_residual - (1 - self.gap)
        left = self.left_residual - (1 - self.gap)
        return torch.minimum(forward, torch.minimum(right, left))


def key_inequality(f, A):
    """Evaluate both sides of the key inequality for the map ``f`` at the invertible matrices ``A``.

    Parameters
    ----------
    f : callable
        (..., n, n) -> (..., n, n).
    A : Tensor, shape (..., n, n)
        Invertible matrices.

    Returns
    -------
    KeyInequality

    Raises
    ------
    TypeError, ValueError
        Bad or singular matrices, or an output of ``f`` that is not finite or not of the shape of ``A``.

    Notes
    -----
    Statement `thm-key-inequality` of the book.

    Examples
    --------
    >>> import torch
    >>> sides = key_inequality(torch.zeros_like, torch.eye(2, dtype=torch.float64))
    >>> sides.forward_error.item(), sides.gap.item()
    (1.0, 0.0)
    """
    check_matrices(A)
    X = _evaluate(f, A)
    return KeyInequality(
        smallest_singular_value=metrics.smallest_singular_value(A),
        output_norm=metrics.spectral_norm(X),
        forward_error=metrics.forward_error(A, X),
        right_residual=metrics.right_residual(A, X),
        left_residual=metrics.left_residual(A, X),
    )


def _evaluate(f, A):
    # A copy: a map that works in place must change neither the caller's matrices nor the measurement.
    with torch.no_grad():
        X = f(A.clone())
    if not isinstance(X, torch.Tensor) or X.shape != A.shape:
        shape = tuple(X.shape) if isinstance(X, torch.Tensor) else type(X).__name__
        raise ValueError(f"f maps shape {tuple(A.shape)} to {shape}; it must return one matrix a matrix.")
    return check_matrices(X, "f(A)")


def nearest_singular(A):
    """Return the singular matrix nearest to each ``A`` (Eckart-Young), at distance sigma_min(A).

    Parameters
    ----------
    A : Tensor, shape (..., n, n)
        The matrices.

    Returns
    -------
    Tensor, shape (..., n, n), float64
        Singular up to rounding.

    Raises
    ------
    TypeError, ValueError
        Bad matrices.
    """
    return path_to_singular(A, torch.zeros(1))[0]


def path_to_singular(A, fractions):
    r"""Walk from each ``A`` straight to its nearest singular matrix.

    With :math:`A = \sum \sigma_i u_i v_i^{\mathsf T}`, the point at fraction :math:`\tau` is
    :math:`A - (1 - \tau)\,\sigma_n u_n v_n^{\mathsf T}`: its smallest singular value is
    :math:`\tau\,\sigma_{\min}(A)`, all others are those of A.

    Parameters
    ----------
    A : Tensor, shape (..., n, n)
        Where the path starts (fraction 1).
    fractions : Tensor or sequence of float, shape (m,)
        Values of tau >= 0; 0 is the singular end.

    Returns
    -------
    Tensor, shape (m, ..., n, n), float64

    Raises
    ------
    TypeError, ValueError
        Bad matrices, or fractions that are no vector of finite numbers >= 0.
    OverflowError
        A fraction so large that the path leaves float64.
    """
    check_matrices(A)
    tau = _fractions(fractions, A.device)
    U, sigma, Vh = torch.linalg.svd(A.double())
    scale = torch.ones_like(sigma).expand(len(tau), *sigma.shape).clone()
    scale[..., -1] = tau.reshape(-1, *([1] * (sigma.ndim - 1)))
    path = (U * (scale * sigma)[..., None, :]) @ Vh
    if not torch.isfinite(path).all():
        raise OverflowError(
            f"fractions reach {tau.max().item():g}, where the path exceeds float64; pass less."
        )
    return path


def _fractions(fractions, device):
    shown = f"fractions is {str(fractions)[:60]}; pass a vector of finite numbers >= 0."
    try:
        dtype = fractions.dtype if isinstance(fractions, torch.Tensor) else torch.float64
        tau = torch.as_tensor(fractions, dtype=dtype, device=device)
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(shown) from None
    if tau.is_complex() or tau.dtype == torch.bool or tau.ndim != 1:
        raise ValueError(shown)
    tau = tau.double()
    if not (torch.isfinite(tau) & (tau >= 0)).all():
        raise ValueError(shown)
    return tau


def output_witness(f, A):
    """Certify a lower bound of the right residual of ``f`` at the invertible matrix ``A``, exactly.

    Parameters
    ----------
    f : callable
        (n, n) -> (n, n); it is evaluated once and its output is recorded to the last bit.
    A : Tensor, shape (n, n)
        One invertible matrix; its entries are taken as exact.

    Returns
    -------
    neuinv.certificates.OutputCertificate

    Raises
    ------
    TypeError, ValueError
        Bad or singular matrix, more than one, or an output that is not finite or not of the shape of ``A``.

    Notes
    -----
    Statement `thm-key-inequality` of the book. The direction is the left singular vector of the largest
    singular value of A X - I, so that the certified bound is the right residual up to rounding; any other
    direction would give a valid, smaller bound.
    """
    from neuinv.certificates import output_certificate

    check_matrices(A)
    if A.ndim != 2:
        raise ValueError(f"A has shape {tuple(A.shape)}; a certificate is made for one matrix (n, n).")
    X = _evaluate(f, A).double()
    direction = torch.linalg.svd(_scaled_residual(A.double(), X)).U[:, 0]
    return output_certificate(A.double().tolist(), X.tolist(), direction.tolist())


def _scaled_residual(A, X):
    """Return c (A X - I) for some c > 0 with which nothing overflows."""
    scale_a, scale_x = (M.abs().max().clamp(min=1.0) for M in (A, X))
    return (A / scale_a) @ (X / scale_x) - torch.eye(
        len(A), dtype=A.dtype, device=A.device
    ) / scale_a / scale_x
