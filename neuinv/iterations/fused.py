"""Schemes in one kernel: A is read once, X is written once, and everything between stays on the chip.

Needs Triton, which comes with torch for CUDA, and float32. Nothing here is used unless it is called: the
schemes themselves work everywhere, and can be differentiated, which these calls cannot.
"""

import functools
import importlib.util
import os
from contextlib import nullcontext

import torch

from neuinv.iterations.fused_kernels import kernel
from neuinv.iterations.lowering import coefficients, lower, shared_coefficients

__all__ = ["LARGEST", "PRECISIONS", "fused_available", "fused_inverse"]

# The largest n whose matrices fit on the chip; beyond 64, stages would keep most of theirs in memory.
LARGEST = {"newton": 128, "staged": 64}
PRECISIONS = ("tf32", "mixed-bf16", "mixed", "tf32x3")
# The halves of float32 numbers, for n > 64, would not fit.
LARGEST_ACCURATE = 64
WARPS = {"newton": {16: 1, 32: 2, 64: 4, 128: 8}, "staged": {16: 1, 32: 4, 64: 8}}


@functools.cache
def fused_available(device):
    """Return whether :func:`fused_inverse` can run on a torch.device: CUDA, or Triton's interpreter."""
    if importlib.util.find_spec("triton") is None:
        return False
    if device.type == "cpu":
        return os.environ.get("TRITON_INTERPRET") == "1"
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)


def fused_inverse(scheme, A, interval, precision="tf32x3", accurate_steps=2):
    r"""Return what a scheme returns, from one kernel.

    Entries are not looked at: the result of a matrix with NaN or infinite entries, or that is not symmetric
    although the kind is ``"spd"``, is worthless, and those of the others are not affected.

    Parameters
    ----------
    scheme : Scheme
        Newton-Schulz, classical or scaled, or what ``best_scheme`` returns.
    A : Tensor, shape (..., n, n)
        float32, on a CUDA device; n <= 128 for Newton-Schulz, n <= 64 for other schemes.
    interval : pair of floats, or of Tensors of shape (...,)
        As in a call of the scheme.
    precision : {"tf32x3", "tf32", "mixed", "mixed-bf16"}
        Of the products: three TF32 products that stand for one in float32 (n <= 64); one TF32 product, whose
        operands keep 11 bits; or, for Newton-Schulz, TF32 but for the products :math:`A X` of the last steps,
        which are as with ``"tf32x3"`` (n <= 64), or of three bfloat16 products, with about 16 bits.
    accurate_steps : int
        How many those last steps are; each squares the few per cent that TF32 leaves.

    Returns
    -------
    Tensor, shape (..., n, n)
        X, without a derivative.

    Raises
    ------
    NotImplementedError
        The scheme, n or the dtype is not one of these, or the device has no Triton.
    ValueError
        An unknown precision, matrices that are not square, or a bad interval.

    Notes
    -----
    Scaled steps stretch the eigenvalues of :math:`AX` to :math:`[\gamma, 2 - \gamma]`, at first with
    :math:`\gamma = 2/(1 + \kappa)`, or :math:`2/(1 + \kappa^2)` for general matrices. Where that is below
    the rounding of TF32, :math:`2^{-11}`, one may be pushed beyond 2, and the steps diverge: check residuals.
    """
    if A.ndim < 2 or A.shape[-1] != A.shape[-2] or A.shape[-1] == 0:
        raise ValueError(f"A has shape {tuple(A.shape)}; pass square matrices (..., n, n), n >= 1.")
    if A.dtype != torch.float32:
        raise NotImplementedError(f"A has dtype {A.dtype}; the kernels take float32, the schemes any.")
    n = A.shape[-1]
    function, steps, pack, options = _plan(scheme, n, precision, accurate_steps, A.device)
    flat = A.detach().reshape(-1, n, n).contiguous()
    X = torch.empty_like(flat)
    if X.numel() > 0:
        numbers, row = _numbers(scheme, flat, interval)
        # Triton launches on the current device, which may be another than that of A.
        with torch.cuda.device(A.device) if A.is_cuda else nullcontext():
            grid = (-(-len(flat) // pack),)
            function[grid](flat, X, numbers, len(flat), n, row, *steps, **options)
    return X.reshape(A.shape)


# Worked out once: between two kernels of a tenth of a millisecond even this would show.
@functools.lru_cache(maxsize=256)
def _plan(scheme, n, precision, accurate_steps, device):
    """Return the kernel, its numbers of steps, matrices a tile, and what it is compiled for."""
    form = lower(scheme)
    _check(form, n, precision, device)
    block = max(16, 1 << (n - 1).bit_length())
    options = {"PACK": block // n, "BLOCK": block, "WHOLE": n == block, "GENERAL": form.kind == "general"}
    options["num_warps"] = WARPS[form.form][block]
    if form.form == "staged":
        return kernel("staged"), (), block // n, options | {"SIZES": form.sizes, "PRECISION": precision}
    mixed = precision.startswith("mixed")
    accurate = min(form.steps, accurate_steps) if mixed else form.steps
    # The interpreter knows no products of bfloat16 parts, and computes in float32 anyway.
    product = "bf16x3" if precision == "mixed-bf16" and device.type == "cuda" else "tf32x3"
    options |= {"MIXED": mixed, "LOW": "tf32"}
    options |= {"FIRST": product, "SECOND": "tf32"} if mixed else {"FIRST": precision, "SECOND": precision}
    return kernel("newton"), (form.steps - accurate, accurate), block // n, options


def _check(form, n, precision, device):
    if precision not in PRECISIONS:
        raise ValueError(f"precision is {precision!r}; use one of {', '.join(PRECISIONS)}.")
    largest = LARGEST_ACCURATE if precision in ("mixed", "tf32x3") else LARGEST[form.form]
    if n > largest:
        raise NotImplementedError(
            f"n is {n}; the kernel holds matrices up to {largest}, the schemes take any."
        )
    if precision.startswith("mixed") and form.form == "staged":
        raise NotImplementedError(f"precision is {precision!r}, which Newton-Schulz alone has; use 'tf32x3'.")
    if not fused_available(device):
        raise NotImplementedError(f"there is no Triton for {device}; call the scheme itself.")


def _numbers(scheme, A, interval):
    """Return the coefficients on the device, and by how many of them matrices lie apart."""
    if all(isinstance(end, (int, float)) for end in interval):
        return shared_coefficients(scheme, tuple(map(float, interval)), torch.float32, A.device)[0], 0
    found = coefficients(scheme, A, tuple(_flat(end, A) for end in interval))
    if isinstance(found, list):
        return torch.tensor(found, dtype=torch.float32, device=A.device), 0
    return found.to(torch.float32).contiguous(), found.shape[1]


def _flat(end, A):
    end = torch.as_tensor(end, dtype=torch.float64, device=A.device)
    return end.reshape(-1) if end.numel() > 1 else end.reshape(())
