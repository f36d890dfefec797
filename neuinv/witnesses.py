"""Matrices on which a given network, or every network, must fail.

Nothing here looks inside the map ``f``: it is any callable (batch, n, n) -> (batch, n, n).
"""

from dataclasses import dataclass

import torch

from neuinv import metrics
from neuinv._checks import check_matrices, check_pair
from neuinv._linalg import det_sign, solve

__all__ = [
    "KeyInequality",
    "SingularWitness",
    "key_inequality",
    "nearest_singular",
    "output_witness",
    "path_to_singular",
    "rational_witness",
    "sign_witness",
]


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
        smallest_singular_value=torch.linalg.svdvals(A.double())[..., -1],
        output_norm=metrics.spectral_norm(X),
        forward_error=metrics.forward_error(A, X),
        right_residual=metrics.right_residual(A, X),
        left_residual=metrics.left_residual(A, X),
    )


def _evaluate(f, A):
    with torch.no_grad():
        X = f(A)
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
    fractions : Tensor, shape (m,)
        Values of tau >= 0; 0 is the singular end.

    Returns
    -------
    Tensor, shape (m, ..., n, n), float64

    Raises
    ------
    TypeError, ValueError
        Bad matrices, or a negative or non-finite fraction.
    """
    check_matrices(A)
    tau = torch.as_tensor(fractions, dtype=torch.float64, device=A.device)
    if not (torch.isfinite(tau) & (tau >= 0)).all():
        raise ValueError(f"fractions is {tau.tolist()}; pass finite numbers >= 0.")
    U, sigma, Vh = torch.linalg.svd(A.double())
    scale = torch.ones_like(sigma).expand(len(tau), *sigma.shape).clone()
    scale[..., -1] = tau.reshape(-1, *([1] * (sigma.ndim - 1)))
    return (U * (scale * sigma)[..., None, :]) @ Vh


@dataclass(frozen=True)
class SingularWitness:
    """A singular matrix on the segment from A to B, where every map has right residual at least 1."""

    t: torch.Tensor  # (...,), in (0, 1)
    matrix: torch.Tensor  # (..., n, n), (1 - t) A + t B
    left_null_vector: torch.Tensor  # (..., n), of length 1

    @property
    def null_defect(self):
        """||u^T S||_2, shape (...,): zero for an exactly singular S, of the order of rounding here."""
        u = self.left_null_vector[..., None, :]
        return torch.linalg.vector_norm(u @ self.matrix, dim=(-2, -1))


def sign_witness(A, B):
    r"""Return a singular matrix on the segment from ``A`` to ``B``, whose determinants have opposite signs.

    The singular points :math:`(1-t)A + tB` are the real eigenvalues t in (0, 1) of the pencil (A, A - B);
    opposite signs make their number odd. The eigenvalue is then polished by bisection on the sign of the
    determinant, which cannot leave a bracket with a sign change.

    Parameters
    ----------
    A, B : Tensor, shape (..., n, n)
        Pairs with opposite determinant signs, of one dtype.

    Returns
    -------
    SingularWitness
        In float64; singular up to rounding. See :func:`rational_witness` for an exact one.

    Raises
    ------
    TypeError, ValueError
        Bad matrices, or a pair without a change of sign (its index is named).

    Notes
    -----
    Statement `thm-sign-obstruction` of the book.

    Examples
    --------
    >>> import torch
    >>> A = torch.eye(2, dtype=torch.float64)
    >>> round(sign_witness(A, torch.diag(torch.tensor([1.0, -3.0])).double()).t.item(), 12)
    0.25
    """
    check_pair(A, B, ("A", "B"))
    A, B = torch.broadcast_tensors(A.double(), B.double())
    sign_a, sign_b = det_sign(A), det_sign(B)
    if (sign_a * sign_b >= 0).any():
        index = tuple(torch.nonzero(sign_a * sign_b >= 0)[0].tolist())
        raise ValueError(
            f"pair {index} has determinant signs {int(sign_a[index])} and {int(sign_b[index])}; "
            "a sign witness needs one positive and one negative."
        )
    low, high = _eigenvalue_bracket(A, B, sign_a)
    for _ in range(60):
        middle = (low + high) / 2
        same = det_sign(_between(A, B, middle)) == sign_a
        low, high = torch.where(same, middle, low), torch.where(same, high, middle)
    t = _most_singular(A, B, low, high)
    matrix = _between(A, B, t)
    return SingularWitness(t, matrix, torch.linalg.svd(matrix).U[..., :, -1])


def _between(A, B, t):
    t = t[..., None, None]
    return (1 - t) * A + t * B


def _most_singular(A, B, low, high):
    values = [torch.linalg.svdvals(_between(A, B, t))[..., -1] for t in (low, high)]
    return torch.where(values[0] <= values[1], low, high)


def _eigenvalue_bracket(A, B, sign_a):
    """Bracket one root of det((1 - t) A + t B): a narrow one around an eigenvalue if the signs confirm it."""
    # A^-1 B x = mu x with mu < 0 gives t = 1 / (1 - mu).
    # A nearly singular A can overflow here; the bracket [0, 1] below then takes over.
    mu = torch.linalg.eigvals(torch.nan_to_num(solve(A, B)))
    size = mu.abs().clamp(min=torch.finfo(torch.float64).tiny)
    realness = torch.where(mu.real < 0, mu.imag.abs() / size, torch.full_like(size, float("inf")))
    index = realness.argmin(dim=-1, keepdim=True)
    t = 1 / (1 - mu.real.gather(-1, index)[..., 0])
    low, high = (t - 1e-6).clamp(0, 1), (t + 1e-6).clamp(0, 1)
    signs = [det_sign(_between(A, B, s)) for s in (low, high)]
    # A root of even multiplicity nearby, or an ill-conditioned A, can mislead the eigenvalue; [0, 1] cannot.
    confirmed = (signs[0] == sign_a) & (signs[1] == -sign_a)
    return torch.where(confirmed, low, torch.zeros_like(low)), torch.where(
        confirmed, high, torch.ones_like(high)
    )


def rational_witness(A, B):
    r"""Return an exactly singular rational matrix beside the segment from ``A`` to ``B``, as a certificate.

    With v an integer vector near the left null vector of a rational S = (1-t)A + tB,
    :math:`S' = S - v (v^{\mathsf T} S) / (v^{\mathsf T} v)` has :math:`v^{\mathsf T} S' = 0` exactly.

    Parameters
    ----------
    A, B : Tensor, shape (n, n)
        One pair with opposite determinant signs; their entries are taken as exact.

    Returns
    -------
    neuinv.certificates.SingularCertificate

    Raises
    ------
    TypeError, ValueError
        As :func:`sign_witness`, or more than one pair.

    Notes
    -----
    Statement `thm-exact-witness` of the book. The certificate needs no evaluation of any network.
    """
    from neuinv.certificates import singular_certificate

    if A.ndim != 2 or B.ndim != 2:
        raise ValueError(f"A has shape {tuple(A.shape)}; a certificate is made for one pair (n, n).")
    witness = sign_witness(A, B)
    return singular_certificate(
        A.double().tolist(), B.double().tolist(), witness.t.item(), witness.left_null_vector.tolist()
    )


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
    Statement `thm-key-inequality` of the book, at the left singular vector of the smallest singular value.
    """
    from neuinv.certificates import output_certificate

    check_matrices(A)
    if A.ndim != 2:
        raise ValueError(f"A has shape {tuple(A.shape)}; a certificate is made for one matrix (n, n).")
    X = _evaluate(f, A)
    residual = A.double() @ X.double() - torch.eye(A.shape[-1], dtype=torch.float64, device=A.device)
    direction = torch.linalg.svd(residual).U[:, 0]
    return output_certificate(A.double().tolist(), X.double().tolist(), direction.tolist())
