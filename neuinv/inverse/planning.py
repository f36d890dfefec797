"""Which scheme, for which interval, and whether a matrix is positive definite."""

import functools
from dataclasses import dataclass

import torch

from neuinv._linalg import cholesky
from neuinv.inverse.bounds import FLOOR, UNIT, frobenius_upper, gamma, inflate, spectral_upper
from neuinv.inverse.proof import CHOLESKY_MATMULS
from neuinv.iterations import best_scheme

__all__ = ["DEFINITE_MATMULS", "Plan", "choose_plan", "estimate_interval", "prove_definite"]

DEFINITE_MATMULS = 1 + CHOLESKY_MATMULS
KRYLOV_STEPS = 32


@dataclass(frozen=True)
class Plan:
    """A scheme, and the products it and the proof of its result are expected to take."""

    scheme: object
    num_matmuls: int
    num_expected: float


@functools.lru_cache(maxsize=256)
def choose_plan(kappa, tolerance, kind, n):
    r"""Return the :class:`Plan` of fewest products, those of the proof included.

    The first rung of the proof loses at most a factor :math:`\sqrt n`, the second :math:`n^{1/4}`; a scheme
    that aims so much lower is often cheaper than the next rung. Half of the tolerance is left to rounding, a
    heuristic that the proof makes harmless.
    """
    plans = []
    for factor, proof_matmuls in ((n**-0.5, 1.0), (n**-0.25, 2.0), (1.0, 3.0 + CHOLESKY_MATMULS)):
        scheme = _choose_scheme(kappa, tolerance * factor / 2, kind)
        plans.append(Plan(scheme, scheme.num_matmuls, scheme.num_matmuls + proof_matmuls))
    # The first of equals is the most accurate.
    return min(plans, key=lambda plan: plan.num_expected)


def _choose_scheme(kappa, target, kind):
    """Return the scheme of fewest products whose worst residual at kappa is at most the target."""
    return best_scheme(kappa, target, kind)


def prove_definite(A):
    r"""Return which A (batch, n, n), float64, are *proved* positive definite, and which are symmetric.

    With :math:`A - sI = LL^{\mathsf T} + E` the smallest eigenvalue is at least :math:`s - \lVert E\rVert`.
    L comes from Cholesky's method, E is computed, and s > 0 is chosen near the size that E has: hence False
    also for definite matrices with a condition number of 1e12 or so. Costs ``DEFINITE_MATMULS`` products for
    each symmetric matrix.
    """
    symmetric = (A == A.mT).all(dim=-1).all(dim=-1)
    proved = torch.zeros_like(symmetric)
    at = torch.nonzero(symmetric & (A.diagonal(dim1=-2, dim2=-1) > 0).all(dim=-1))[:, 0]
    if len(at):
        proved[at] = _definite(A[at])
    return proved, symmetric


def _definite(A):
    n = A.shape[-1]
    trace = A.diagonal(dim1=-2, dim2=-1).sum(dim=-1)
    shift = 8 * (n + 2) * UNIT * trace
    shifted = A.clone()
    shifted.diagonal(dim1=-2, dim2=-1).sub_(shift[:, None])
    factor = torch.nan_to_num(cholesky(shifted)).tril()
    defect = factor @ factor.mT - A
    defect.diagonal(dim1=-2, dim2=-1).add_(shift[:, None])
    size = frobenius_upper(factor)
    rounding = gamma(n + 4) * (size * size + frobenius_upper(A) + shift) + FLOOR
    return inflate(spectral_upper(defect) + rounding, n) < shift


def estimate_interval(A, kind):
    r"""Return an estimate (low, high) of the spectrum of each A (batch, n, n), float64, and its cost.

    Lanczos' method on A (kind ``"spd"``) or on :math:`A^{\mathsf T}A`, up to 32 steps; the extreme Ritz
    values, which lie inside the spectrum, are moved outwards by a margin. An *estimate*: the proof decides.

    Returns
    -------
    low, high : Tensor, shape (batch,)
        ``low`` is 0 where the matrix is numerically singular, or not definite although the kind says so.
    num_matmuls : float
        Products with vectors, in units of n of them.
    """
    n = A.shape[-1]
    steps = min(n, KRYLOV_STEPS)
    ritz = _lanczos(A, kind, steps)
    smallest, largest = ritz[:, 0], ritz[:, -1]
    reliable = steps == n
    low, high = smallest * (0.98 if reliable else 0.5), largest * 1.02
    low = torch.where(low > 4 * n * UNIT * high, low, torch.zeros_like(low))
    if kind == "general":
        low, high, steps = low.sqrt(), high.sqrt(), 2 * steps
    return low, torch.minimum(high, spectral_upper(A)), steps / n


def _lanczos(A, kind, steps):
    """Return the Ritz values in ascending order, (batch, steps)."""
    batch, n = A.shape[:2]

    def apply(v):
        w = (A * v[:, None, :]).sum(dim=-1)
        return w if kind == "spd" else (A * w[:, :, None]).sum(dim=-2)

    v = torch.cos(torch.arange(1, n + 1, dtype=A.dtype, device=A.device) ** 2).expand(batch, n)
    basis = [v / torch.linalg.vector_norm(v, dim=-1, keepdim=True)]
    diagonal, off = [], []
    for _ in range(steps):
        w = apply(basis[-1])
        diagonal.append((w * basis[-1]).sum(dim=-1))
        before = torch.stack(basis, dim=1)  # (batch, j, n)
        for _ in range(2):  # orthogonal to rounding
            w = w - ((before * w[:, None, :]).sum(dim=-1)[..., None] * before).sum(dim=1)
        size = torch.linalg.vector_norm(w, dim=-1)
        alive = size > 1e-13 * diagonal[0].abs()
        off.append(torch.where(alive, size, 0.0))
        basis.append(torch.where(alive[:, None], w / size.clamp(min=1e-300)[:, None], 0.0))
    # A basis that ended early leaves zeros, which are no Ritz values.
    ended = [(q == 0).all(dim=-1) for q in basis[:steps]]
    diagonal = [torch.where(e, diagonal[0], a) for e, a in zip(ended, diagonal, strict=True)]
    T = torch.diag_embed(torch.stack(diagonal, dim=-1))
    if steps > 1:
        beside = torch.stack(off[:-1], dim=-1)
        T = T + torch.diag_embed(beside, 1) + torch.diag_embed(beside, -1)
    return torch.linalg.eigvalsh(T)
