"""Schemes by a library's products with as little as possible between them, for matrices too large to fuse.

Steps of Newton-Schulz take no pass over the matrices beyond their two products: numbers go into the products,
and the identity is added on the diagonal. Each pair of sums of a program is formed in one pass that reads
each matrix once. Entries are not looked at, and there is no derivative.
"""

from contextlib import contextmanager, nullcontext

import torch

from neuinv.iterations.fused import fused_available
from neuinv.iterations.fused_kernels import kernel
from neuinv.iterations.lowering import lower, shared_coefficients

__all__ = ["PRECISIONS", "lean_inverse"]

PRECISIONS = ("exact", "tf32", "mixed", "mixed-bf16")
SUM_BLOCK = 2048
TILE, DEPTH, WARPS = 128, 32, 8  # of a product of parts
MOST = 65535  # matrices in its grid
PARTS = {"mixed": "tf32x3", "mixed-bf16": "bf16x3"}


def lean_inverse(scheme, A, interval, precision="exact", accurate_steps=2):
    r"""Return what a scheme returns, with few passes over the matrices.

    Parameters
    ----------
    scheme : Scheme
        Newton-Schulz, classical or scaled, or what ``best_scheme`` returns.
    A : Tensor, shape (batch, n, n)
        float32 or float64; entries are not looked at.
    interval : pair of floats
        As in a call of the scheme, the same for all matrices.
    precision : {"exact", "tf32", "mixed", "mixed-bf16"}
        Of products of float32 on CUDA: that of the dtype; TF32; or, for Newton-Schulz, TF32 but for the
        products :math:`A X` of the last steps, which a kernel of Triton forms of three TF32 products, as good
        as one in float32, or three bfloat16 ones, with about 16 bits; without Triton they are exact. On the
        CPU all are ``"exact"``.
    accurate_steps : int
        How many those last steps are.

    Returns
    -------
    Tensor, shape (batch, n, n)
        X, without a derivative.

    Raises
    ------
    NotImplementedError
        A scheme without such a form, or ``"mixed"`` for one that is not Newton-Schulz.
    ValueError
        An unknown precision, another shape, or a bad interval.

    Notes
    -----
    Scaled steps stretch the eigenvalues of :math:`AX` to :math:`[\gamma, 2 - \gamma]`, at first with
    :math:`\gamma = 2/(1 + \kappa)`, or :math:`2/(1 + \kappa^2)` for general matrices. Where that is below
    the rounding of TF32, :math:`2^{-11}`, one may be pushed beyond 2, and the steps diverge: check residuals.

    Examples
    --------
    >>> from neuinv.iterations import ScaledNewtonSchulz
    >>> A = torch.diag(torch.tensor([1.0, 0.5], dtype=torch.float64))[None]
    >>> lean_inverse(ScaledNewtonSchulz(5), A, (0.5, 1.0)).diagonal(dim1=1, dim2=2)
    tensor([[1.0000, 2.0000]], dtype=torch.float64)
    """
    form = lower(scheme)
    if precision not in PRECISIONS:
        raise ValueError(f"precision is {precision!r}; use one of {', '.join(PRECISIONS)}.")
    if A.ndim != 3 or A.shape[-1] != A.shape[-2]:
        raise ValueError(f"A has shape {tuple(A.shape)}; pass square matrices (batch, n, n).")
    if precision.startswith("mixed") and form.form == "staged":
        raise NotImplementedError(f"precision is {precision!r}, which Newton-Schulz alone has; use 'exact'.")
    numbers = shared_coefficients(scheme, tuple(map(float, interval)), A.dtype, A.device)
    with torch.no_grad():
        unit = A.detach() * numbers[1][0]
        X = (
            _newton(unit, form, numbers[1], precision, accurate_steps)
            if form.form == "newton"
            else _staged(unit, form, *numbers, precision)
        )
        return X.mul_(numbers[1][0])


def _newton(unit, form, numbers, precision, accurate_steps):
    X = numbers[2] * (unit.mT.contiguous() if form.kind == "general" else unit)
    _add_identity(X, numbers[1])
    P, other = torch.empty_like(unit), torch.empty_like(unit)
    low = precision != "exact"
    for step, factor in enumerate(numbers[3:]):
        late = precision.startswith("mixed") and step >= form.steps - accurate_steps
        if late and unit.dtype == torch.float32 and len(unit) <= MOST and fused_available(unit.device):
            _product(unit, X, P, P, (-1.0, 0.0, 1.0), PARTS[precision])
            _product(X, P, X, other, (factor, factor, 0.0), "tf32")
            X, other = other, X
            continue
        with _tf32(low and not late, unit):
            torch.baddbmm(P, unit, X, beta=0, alpha=-1, out=P)
        # Late, X + X R instead of X (I + R): what TF32 rounds is then as small as R.
        _add_identity(P, 1.0 if late else 2.0)
        with _tf32(low, unit):
            torch.baddbmm(X, X, P, beta=factor if late else 0, alpha=factor, out=other)
        X, other = other, X
    return X


def _staged(unit, form, numbers, values, precision):
    gamma, X, at = values[1], None, 2
    stack = unit.new_empty(max(form.sizes) + 1, *unit.shape)
    left, right = torch.empty_like(unit), torch.empty_like(unit)
    if form.kind == "general":
        X = gamma * unit.mT
    with _tf32(precision == "tf32", unit):
        for size in form.sizes:
            T = stack[0]
            if X is None:
                torch.mul(unit, -gamma, out=T)
            else:
                torch.baddbmm(T, unit, X, beta=0, alpha=-1, out=T)
            _add_identity(T, 1.0)
            T *= values[at]
            at += 1
            for j in range(size):
                _sums(stack[: j + 1], numbers[at : at + 2 * (j + 2)], left, right)
                torch.bmm(left, right, out=stack[j + 1])
                at += 2 * (j + 2)
            _sums(stack[: size + 1], numbers[at : at + size + 2], left, None)
            at += size + 2
            X = gamma * left if X is None else torch.bmm(X, left)
    return X


def _product(A, B, D, out, weights, precision):
    """Set out to alpha A B + beta D + delta I in one kernel, weights being (alpha, beta, delta)."""
    n = A.shape[-1]
    tile = min(TILE, max(16, 1 << (n - 1).bit_length()))
    depth = min(DEPTH, tile)
    options = {"TILE": tile, "DEPTH": depth, "EVEN": n % tile == 0, "ADD": weights[1] != 0}
    options["PRECISION"] = precision if A.is_cuda else "tf32x3"  # the interpreter knows no bfloat16 parts
    with torch.cuda.device(A.device) if A.is_cuda else nullcontext():
        kernel("product")[((-(-n // tile)) ** 2, len(A))](
            A, B, D, out, n, *weights, **options, num_warps=WARPS, num_stages=3
        )


def _add_identity(M, multiple):
    M.diagonal(dim1=-2, dim2=-1).add_(multiple)


def _sums(stack, numbers, left, right):
    """Set left to c_0 I + c_1 M_1 + ..., and right, unless None, likewise with the next numbers."""
    known = len(stack)
    if fused_available(stack.device) and stack.dtype == torch.float32:
        total, n, two = left.numel(), left.shape[-1], right is not None
        with torch.cuda.device(stack.device) if stack.is_cuda else nullcontext():
            kernel("sums")[(-(-total // SUM_BLOCK),)](
                stack, numbers, left, right if two else left, total, n, known, TWO=two, BLOCK=SUM_BLOCK
            )
        return
    entries = stack.reshape(known, -1).T
    for row, total in zip(numbers.split(known + 1), (left, right), strict=False):
        total.copy_((entries @ row[1:]).reshape(total.shape))
        _add_identity(total, row[0])


@contextmanager
def _tf32(wanted, A):
    """Let float32 products on CUDA be computed in TF32, or not."""
    if not A.is_cuda or A.dtype != torch.float32:
        yield
        return
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if wanted else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
