r"""The proof that :math:`\lVert AX - I\rVert_2 \le` tolerance, rounding included, as cheap as it can be had.

The ladder, each rung only for the matrices that the rungs before left open:

1. R = AX - I in float64 (1 product) and its Frobenius or :math:`\sqrt{\lVert R\rVert_1\lVert R\rVert_\infty}`
   norm. Float64 for every dtype: no setting of TF32 or of autocast changes such a product (emulated float64
   does, and is refused), and for data of at most 32 bits its rounding error is far below any
   tolerance they can reach.
   Matrices with :math:`\lVert R\rVert_F / \sqrt n` above the tolerance are disproved, and leave the ladder.
2. Where the bound of the rounding error takes an eighth of the tolerance, which happens for float64 data
   only: R again, with A and X cut in two so that the product of the leading parts is exact (3 products).
3. :math:`\lVert R^{\mathsf T}R\rVert_F^{1/2}` (1 product), at most a factor :math:`n^{1/4}` above the norm.
4. A Cholesky factor L of :math:`\tau^2 I - R^{\mathsf T}R`, and the product :math:`LL^{\mathsf T}`, which
   tells how far L is off: no assumption on how the library factorises enters (1 product and n^3 / 3
   operations, a sixth of one). No factor is lost.

One more correction step instead of rungs 3 and 4 would cost 2 products and help only above the floor of
rounding. Statement `prop-rounded-proof` of the book proves each rung.
"""

import math
import os
from dataclasses import dataclass

import torch

from neuinv._linalg import cholesky
from neuinv.inverse.bounds import (
    FLOOR,
    UNIT,
    frobenius_upper,
    gamma,
    inflate,
    power_of_two,
    product_upper,
    spectral_upper,
)

__all__ = ["Proof", "prove_residual", "spectral_estimate"]

CHOLESKY_MATMULS = 1 / 6  # n^3 / 3 operations against 2 n^3
LARGEST = 2.0**64  # entry of X
SPLIT_ABOVE = 1 / 8  # of the tolerance; a heuristic: below it, the rounding bound rarely decides
EMULATION = "CUBLAS_EMULATE_DOUBLE_PRECISION"  # read by cuBLAS since CUDA 13; 0 or unset is native float64


@dataclass
class Proof:
    """Bounds of the right residuals of a flat batch, and what they cost."""

    bound: torch.Tensor  # (batch,) upper bounds of ||A X - I||_2
    residual: torch.Tensor  # (batch, n, n), AX - I as computed
    matmuls: torch.Tensor  # (batch,) products


def prove_residual(A, X, tolerance, data_error=0.0):
    """Return a :class:`Proof` for float64 ``A`` and ``X`` (batch, n, n), taken as exact.

    Parameters
    ----------
    A, X : Tensor, shape (batch, n, n), float64
        With entries of A of at most 1 in modulus. Where X is not finite, or has entries above 2^64, the bound
        is not finite either.
    tolerance : float
        The ladder is climbed only until the bound is below it.
    data_error : float or Tensor, shape (batch,)
        An upper bound of what :math:`AX` may differ by, in norm, from the product that is meant.

    Returns
    -------
    Proof
        ``bound`` is an upper bound whether or not it reaches the tolerance; NaN counts as none.

    Raises
    ------
    ValueError
        The products of the device of ``A`` may be emulated ones.
    """
    check_native(A.device)
    residual, margin = _residual(A, X)
    # Digits below the normal numbers are multiplied by X: nothing is claimed where FLOOR does not cover it.
    # (An inverse of such size exists for special matrices only, singular to working precision.)
    margin = torch.where(X.abs().amax(dim=(-2, -1)) <= LARGEST, margin + data_error, torch.inf)
    bound, lower = spectral_upper(residual), frobenius_upper(residual) / (1.1 * math.sqrt(A.shape[-1]))
    proof = Proof(inflate(bound + margin, 1), residual, torch.ones_like(bound))
    # What cannot be below the tolerance is not worth a product; 1.1 covers the rounding of the lower bound.
    at = _open(proof.bound, lower - margin, tolerance)
    at = at[margin[at] > SPLIT_ABOVE * tolerance]
    if len(at):
        better, smaller = _split_residual(A[at], X[at])
        smaller = smaller + (data_error if isinstance(data_error, float) else data_error[at])
        residual[at], margin[at] = better, smaller
        proof.bound[at] = torch.fmin(proof.bound[at], inflate(spectral_upper(better) + smaller, 1))
        lower[at] = frobenius_upper(better) / (1.1 * math.sqrt(A.shape[-1]))
        proof.matmuls[at] += 3
    at = _open(proof.bound, lower - margin, tolerance)
    if len(at):
        # Nor is what the power method has seen above it.
        at = at[spectral_estimate(residual[at]) <= tolerance]
    if len(at):
        _sharpen(proof, at, margin, tolerance)
    return proof


def check_native(device):
    """Refuse a GPU whose float64 products may be emulated: those are outside the model of arithmetic.

    Parameters
    ----------
    device : torch.device
        Where the products are to be made.

    Raises
    ------
    ValueError
        It is a GPU, and the environment asks cuBLAS for emulation.
    """
    value = os.environ.get(EMULATION, "")
    if device.type == "cuda" and value not in ("", "0"):
        raise ValueError(
            f"{EMULATION} is {value!r}, so that float64 products on {device} may be emulated, which no bound "
            "of rounding here covers; unset it, or move the matrices with A.cpu()."
        )


def _open(bound, lower, tolerance):
    """Return the indices of the matrices that are neither proved nor disproved."""
    return torch.nonzero(~(bound <= tolerance) & torch.isfinite(bound) & (lower <= tolerance))[:, 0]


def _residual(A, X):
    r"""Return AX - I as computed, and a bound of its error in the spectral norm.

    :math:`|\mathrm{fl}(AX) - AX| \le \gamma_n |A||X|` in any order of summation, and subtracting 1 from the
    diagonal costs at most u / (1 - u) of the result.
    """
    n = A.shape[-1]
    residual = A @ X
    diagonal = residual.diagonal(dim1=-2, dim2=-1)
    diagonal.sub_(1)
    return residual, inflate(gamma(n) * product_upper(A, X) + 2 * UNIT * diagonal.abs().amax(-1) + FLOOR, n)


def _split_residual(A, X):
    r"""Return the same with the leading halves of the digits multiplied without error.

    :math:`A = A_1 + A_2` by rows and :math:`X = X_1 + X_2` by columns, where :math:`A_1` holds multiples of
    :math:`2^{e - t}` of modulus at most :math:`2^e`; the n products of such numbers add up below
    :math:`n 2^{2t} \le 2^{53}` units, hence exactly, in any order.
    """
    n = A.shape[-1]
    digits = (53 - math.ceil(math.log2(n))) // 2
    A1, X1 = _leading(A, digits, -1), _leading(X, digits, -2)
    A2, X2 = A - A1, X - X1  # exact
    first = A1 @ X1
    first.diagonal(dim1=-2, dim2=-1).sub_(1)
    cross, rest = A1 @ X2, A2 @ X
    residual = first + (cross + rest)
    error = gamma(n) * (product_upper(A1, X2) + product_upper(A2, X))
    sums = sum(map(frobenius_upper, (first, cross, rest, residual)))
    return residual, inflate(error + 4 * UNIT * sums + FLOOR, n)


def _leading(M, digits, dim):
    """Return M rounded to multiples of 2^(e - digits), 2^e >= its entries along ``dim``."""
    exponent = torch.frexp(M.abs().amax(dim=dim, keepdim=True)).exponent
    # The unit stays a normal number; a larger one than needed keeps the products exact.
    unit = power_of_two((exponent - digits).clamp(-900, 900))
    return (M / unit).round() * unit


def _sharpen(proof, at, margin, tolerance):
    """Lower the bounds at the indices ``at`` by the rungs 3 and 4."""
    residual, margin = proof.residual[at], margin[at]
    n = residual.shape[-1]
    size = frobenius_upper(residual)
    square = residual.mT @ residual
    error = inflate(gamma(n) * size * size + FLOOR, n)
    root = inflate((spectral_upper(square) + error).sqrt(), n)
    proof.bound[at] = torch.fmin(proof.bound[at], inflate(root + margin, 1))
    proof.matmuls[at] += 1
    # The norm is at least ||R^T R||_F / ||R||_F: the weighted mean of the squared singular values.
    lower = (frobenius_upper(square) / 1.01 - error) / size
    left = _open(proof.bound[at], lower - margin, tolerance)
    if len(left) == 0:
        return
    at, margin, square, error = at[left], margin[left], square[left], error[left]
    room = (tolerance - margin).clamp(min=0)
    level = room * room * (1 - 2.0**-12)
    shifted = -square
    shifted.diagonal(dim1=-2, dim2=-1).add_(level[:, None])
    factor = torch.nan_to_num(cholesky(shifted)).tril()
    defect = factor @ factor.mT + square
    defect.diagonal(dim1=-2, dim2=-1).sub_(level[:, None])
    size = frobenius_upper(factor)
    rounding = gamma(n + 4) * (size * size + frobenius_upper(square) + level) + FLOOR
    # level I - S = L L^T - defect, so no eigenvalue of S exceeds level + ||defect||.
    root = inflate((level + inflate(spectral_upper(defect) + rounding, n) + error).sqrt(), n)
    proof.bound[at] = torch.fmin(proof.bound[at], inflate(root + margin, 1))
    proof.matmuls[at] += 1 + CHOLESKY_MATMULS


def spectral_estimate(M, num_steps=6):
    """Return estimates from below of the spectral norms of M (batch, n, n), by the power method on M^T M."""
    n = M.shape[-1]
    # Any fixed vector without structure; n numbers that are not periodic.
    v = torch.cos(torch.arange(1, n + 1, dtype=M.dtype, device=M.device) ** 2).expand(len(M), n)
    size = torch.zeros(len(M), dtype=M.dtype, device=M.device)
    for _ in range(num_steps):
        v = v / torch.linalg.vector_norm(v, dim=-1, keepdim=True).clamp(min=1e-300)
        w = (M * v[:, None, :]).sum(dim=-1)
        size = torch.linalg.vector_norm(w, dim=-1)
        v = (M * w[:, :, None]).sum(dim=-2)
    return size
