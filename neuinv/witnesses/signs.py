"""Singular matrices between two determinant signs, in floats and exactly."""

from dataclasses import dataclass

import torch

from neuinv._checks import check_pair
from neuinv._linalg import det_sign, solve
from neuinv.certificates import determinant_sign, singular_certificate

__all__ = ["SingularWitness", "rational_witness", "sign_witness"]


@dataclass(frozen=True)
class SingularWitness:
    """A singular matrix on the segment from A to B, where every map has right residual at least 1."""

    t: torch.Tensor  # (...,), in (0, 1)
    matrix: torch.Tensor  # (..., n, n), (1 - t) A + t B
    left_null_vector: torch.Tensor  # (..., n), of length 1

    @property
    def null_defect(self):
        """||u^T S||_2, shape (...,): zero for an exactly singular S, of the order of rounding here.

        Rounding is relative to the larger of A and B.
        """
        scale = _power_of_two(self.matrix)
        u = self.left_null_vector[..., None, :]
        return torch.linalg.vector_norm(u @ (self.matrix / scale), dim=(-2, -1)) * scale[..., 0, 0]


def sign_witness(A, B):
    r"""Return a singular matrix on the segment from ``A`` to ``B``, whose determinants have opposite signs.

    The singular points :math:`(1-t)A + tB` are the real eigenvalues t in (0, 1) of the pencil (A, A - B);
    opposite signs make their number odd. The eigenvalue is then polished by bisection on the sign of the
    determinant, which cannot leave a bracket with a sign change. A matrix so nearly singular that floating
    point may get its sign wrong is decided in exact arithmetic.

    Parameters
    ----------
    A, B : Tensor, shape (..., n, n)
        Pairs with opposite determinant signs, of one dtype.

    Returns
    -------
    SingularWitness
        In float64; singular up to rounding relative to the larger of A and B, and t lies in (0, 1) also
        where the root rounds to 1. See :func:`rational_witness` for an exact one.

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
    sign_a, sign_b = _safe_sign(A), _safe_sign(B)
    if (sign_a * sign_b >= 0).any():
        index = tuple(torch.nonzero(sign_a * sign_b >= 0)[0].tolist())
        raise ValueError(
            f"pair {index} has determinant signs {int(sign_a[index])} and {int(sign_b[index])}; "
            "a sign witness needs one positive and one negative."
        )
    # One common factor, a power of two: exact, and the segment keeps its t.
    scale = torch.maximum(_power_of_two(A), _power_of_two(B))
    A, B = A / scale, B / scale
    low, high = _eigenvalue_bracket(A, B, sign_a)
    for _ in range(60):
        middle = (low + high) / 2
        same = det_sign(_between(A, B, middle)) == sign_a
        low, high = torch.where(same, middle, low), torch.where(same, high, middle)
    t = _most_singular(A, B, low, high)
    t = t.clamp(min=torch.finfo(torch.float64).tiny, max=1 - torch.finfo(torch.float64).eps / 2)
    matrix = _between(A, B, t)
    return SingularWitness(t, matrix * scale, torch.linalg.svd(matrix).U[..., :, -1])


def _power_of_two(M):
    """Return a power of two near each matrix's largest entry, shape (..., 1, 1); 1 for the zero matrix."""
    largest = M.abs().amax(dim=(-2, -1), keepdim=True)
    # The exponent is kept where neither 2^k nor its reciprocal leaves the normal range.
    exponent = torch.frexp(largest).exponent.clamp(-1021, 1021)
    return torch.where(largest > 0, torch.ldexp(torch.ones_like(largest), exponent), torch.ones_like(largest))


def _safe_sign(A):
    """Return the sign of det A (...,), exact where floating point cannot be trusted with it."""
    sign = det_sign(A / _power_of_two(A))
    sigma = torch.linalg.svdvals(A / _power_of_two(A))
    # LU in floats is exact for a matrix within about n^2 eps ||A|| of A; that one may have another sign.
    n = A.shape[-1]
    unsafe = sigma[..., -1] <= 100 * n * n * torch.finfo(torch.float64).eps * sigma[..., 0]
    for index in torch.nonzero(unsafe).tolist():
        sign[tuple(index)] = determinant_sign(A[tuple(index)].tolist())
    return sign


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
    check_pair(A, B, ("A", "B"))
    if A.ndim != 2 or B.ndim != 2:
        raise ValueError(f"A has shape {tuple(A.shape)}; a certificate is made for one pair (n, n).")
    witness = sign_witness(A, B)
    return singular_certificate(
        A.double().tolist(), B.double().tolist(), witness.t.item(), witness.left_null_vector.tolist()
    )
