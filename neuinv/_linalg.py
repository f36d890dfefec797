"""Batched LU on the CPU, safe from a defect of torch, and singular values where they are fast.

With two or more threads, torch's batched LU of matrices beyond about n = 150 calls MKL
concurrently in a way MKL does not survive: it raises, hangs, or returns wrong determinants
without a word (pytorch issues 142815 and 141358). One matrix at a time is right, and at such
sizes as fast.
"""

import torch

LARGEST_BATCHED = 128
# Beyond this size a GPU takes the singular values of a batch one matrix at a time, slower than a CPU.
LARGEST_JACOBI = 32


def _one_by_one(function, A, *others):
    """Apply ``function`` to the batch, or to each member of a batch of large matrices on the CPU."""
    batch_shape = A.shape[:-2]
    if A.shape[-1] <= LARGEST_BATCHED or not batch_shape or A.device.type != "cpu":
        return function(A, *others)
    flat = [operand.reshape(-1, *operand.shape[-2:]) for operand in (A, *others)]
    results = torch.stack([function(*members) for members in zip(*flat, strict=True)])
    return results.reshape(*batch_shape, *results.shape[1:])


def solve(A, B):
    """Return A^{-1} B for A (..., n, n), B (..., n, m) of equal batch; NaN where A is singular."""

    def one(A, B):
        X, info = torch.linalg.solve_ex(A, B)
        return torch.where((info == 0)[..., None, None], X, torch.nan)

    return _one_by_one(one, A, B)


def inverse(A):
    """Return the inverses of A (..., n, n); a singular one raises torch.linalg.LinAlgError."""
    return _one_by_one(torch.linalg.inv, A)


def inverse_or_nan(A):
    """Return the inverses of A (..., n, n); NaN where A is singular."""

    def one(A):
        X, info = torch.linalg.inv_ex(A)
        return torch.where((info == 0)[..., None, None], X, torch.nan)

    return _one_by_one(one, A)


def cholesky(A):
    """Return the Cholesky factors of A (..., n, n), lower triangular; meaningless where A is indefinite."""
    return _one_by_one(lambda M: torch.linalg.cholesky_ex(M)[0], A)


def sign_and_log(A):
    """Return sign and logarithm of |det| of A (..., n, n), each (...,)."""
    both = _one_by_one(lambda M: torch.stack(torch.linalg.slogdet(M), dim=-1), A)
    return both[..., 0], both[..., 1]


def det_sign(A):
    """Return the sign of the determinant of A (..., n, n)."""
    return sign_and_log(A)[0]


def singular_values(A):
    """Return the singular values of A (..., n, n), largest first, (..., n)."""
    return _where_fast(torch.linalg.svdvals, A)


def spectral_norms(A):
    """Return the largest singular value of each A (..., n, n), (...,)."""
    return _where_fast(lambda M: torch.linalg.matrix_norm(M, 2), A)


def _where_fast(function, A):
    if A.device.type == "cpu" or A.shape[-1] <= LARGEST_JACOBI:
        return function(A)
    return function(A.cpu()).to(A.device)
