"""The door itself: what is checked, what is returned, and how gradients pass."""

import math
import numbers

import numpy as np
import torch
from torch._compile import _disable_dynamo

from neuinv._checks import as_integer, check_matrices
from neuinv.inverse.capped import DTYPES, tf32_active
from neuinv.inverse.results import ApproximateInverse, InversionRefused
from neuinv.inverse.search import Search, statuses
from neuinv.iterations.scheme import _check_symmetric

__all__ = ["approximate_inverse"]

KINDS = ("auto", "spd", "general")
PRECISIONS = (*DTYPES, "tf32")


def approximate_inverse(
    A,
    *,
    tolerance,
    kind="auto",
    interval=None,
    on_refusal="raise",
    precision=None,
    out_dtype=None,
    max_matmuls=20,
):
    r"""Return approximate inverses with :math:`\lVert AX - I\rVert_2 \le` tolerance *proved*, or refuse.

    A polynomial scheme of fewest products for the interval computes X, and a rounding-aware check then proves
    the right residual; A and X are taken as exact. Where the check fails, residual corrections
    :math:`X + X(I - AX)` and then a direct solver are tried, and each result is checked again.

    Parameters
    ----------
    A : Tensor, shape (..., n, n)
        The matrices, of any scale.
    tolerance : float
        In (0, 1), dimensionless.
    kind : {"auto", "spd", "general"}
        Which matrices. With ``"auto"`` those are treated as positive definite that are *proved* to be
        symmetric and positive definite, at the cost of 1 1/6 products of ``num_check_matmuls`` for the
        symmetric ones.
    interval : pair of floats, or of Tensors of shape (...,), optional
        (a, b), 0 < a <= b, in the unit of A, known to hold the eigenvalues (spd) or the singular values
        (general, auto). A wrong one costs time, never correctness: a direct solver takes over, and ``status``
        says so. Without an interval one is estimated, at a counted cost.
    on_refusal : {"raise", "mark"}
        Raise :class:`InversionRefused`, or return X = 0 and ``accepted`` False for the refused matrices.
    precision : {None, "bfloat16", "float16", "tf32"}
        Of the operands of the scheme's products, for ``A`` of at most 32 bits. By default that of ``A``, and
        TF32 where float32 products on the device of ``A`` are allowed to use it. Corrections and proof are
        not affected.
    out_dtype : dtype, optional
        Of X. By default that of ``A``, but float32 for 16-bit ``A``: an inverse rounded to 16 bits has a
        right residual of about u kappa that no correction removes.
    max_matmuls : int
        Without an interval, a direct solver is used where the scheme would take more products than this.

    Returns
    -------
    ApproximateInverse
        ``X`` (..., n, n), finite; ``accepted``; ``residual_bound``; ``error_bound``; ``sigma_min_bound``;
        ``data_floor``; ``status``; ``num_matmuls`` and ``num_check_matmuls``.

    Raises
    ------
    InversionRefused
        Some matrix is singular to working precision, its inverse overflows, or no result was proved to reach
        the tolerance; the message names indices and reasons.
    TypeError, ValueError
        Bad matrices, tolerance, interval or option.

    Notes
    -----
    Statements `prop-rounded-proof` (the check), `thm-a-posteriori` (the bounds derived from it) and
    `thm-newton-schulz` (the corrections) of the book.

    Gradients are those of the inverse, :math:`-X^{\mathsf T} G X^{\mathsf T}` with the X returned, whichever
    way X was found: no step of a scheme or solver is stored. They are 0 for refused matrices, and differ from
    those of :math:`A^{-1}` by about twice the residual, relative to :math:`\lVert X\rVert^2\lVert G\rVert`;
    where TF32 is allowed, those of float32 by its rounding too.

    Under ``torch.compile`` this function is a graph break: a compiler that may fuse and reorder has no part
    in a proof of rounding. Autocast is switched off inside, and in the gradient. Where cuBLAS is told to
    emulate float64 products, no proof is possible, and a ValueError says so.

    Examples
    --------
    >>> import torch
    >>> A = torch.diag(torch.tensor([1.0, 0.5, 0.2], dtype=torch.float64))
    >>> result = approximate_inverse(A, tolerance=1e-3, kind="spd", interval=(0.2, 1.0))
    >>> bool(result.accepted), bool(result.residual_bound <= 1e-3), result.num_check_matmuls
    (True, True, 1)
    >>> approximate_inverse(torch.zeros(2, 2), tolerance=1e-3, on_refusal="mark").status.name
    'SINGULAR'
    """
    return _invert(A, tolerance, kind, interval, on_refusal, precision, out_dtype, max_matmuls)


@_disable_dynamo
def _invert(A, tolerance, kind, interval, on_refusal, precision, out_dtype, max_matmuls):
    check_matrices(A)
    tolerance = _check_tolerance(tolerance)
    _check_choice(kind, "kind", KINDS)
    _check_choice(on_refusal, "on_refusal", ("raise", "mark"))
    precision = _check_precision(precision, A)
    out_dtype = _check_out_dtype(out_dtype, A)
    max_matmuls = as_integer(max_matmuls, "max_matmuls", 0)
    batch, n = A.shape[:-2], A.shape[-1]
    ends = None if interval is None else _check_interval(interval, A)
    if kind == "spd":
        _check_symmetric(A)
    with torch.no_grad(), torch.autocast(A.device.type, enabled=False):
        flat = A.detach().reshape(-1, n, n)
        search = Search(flat, tolerance, out_dtype, precision, max_matmuls)
        search.run(kind, ends)
        found = search.result(batch)
    states = statuses(search, batch)
    if on_refusal == "raise" and not search.accepted.all():
        places = np.argwhere(~search.accepted.cpu().numpy().reshape(batch)).tolist()
        refused = {tuple(place): states[tuple(place)] for place in places}
        raise InversionRefused(refused, math.prod(batch), tolerance)
    X = _WithGradient.apply(A, found.pop("X"))
    return ApproximateInverse(X=X, status=states[()], **found)


class _WithGradient(torch.autograd.Function):
    """Attach the derivative of the inverse to an X that was found without one."""

    @staticmethod
    def forward(ctx, A, X):
        X = X.clone()
        ctx.save_for_backward(X)
        ctx.dtype = A.dtype
        return X

    @staticmethod
    def backward(ctx, gradient):
        (X,) = ctx.saved_tensors
        with torch.autocast(X.device.type, enabled=False):
            return -(X.mT @ gradient @ X.mT).to(ctx.dtype), None


def _check_tolerance(tolerance):
    if isinstance(tolerance, bool) or not isinstance(tolerance, numbers.Real):
        raise TypeError(f"tolerance is {tolerance!r}; pass a number in (0, 1).")
    if not 0 < tolerance < 1:
        raise ValueError(f"tolerance is {tolerance}; pass a number in (0, 1): X = 0 has right residual 1.")
    return float(tolerance)


def _check_choice(value, name, known):
    if value not in known:
        raise ValueError(f"{name} is {value!r}; use one of {', '.join(known)}.")


def _check_precision(precision, A):
    """Return the name of a low precision, or None for that of the dtype."""
    if precision is None:
        names = {dtype: name for name, dtype in DTYPES.items()}
        tf32 = A.dtype == torch.float32 and tf32_active(A.device)
        return "tf32" if tf32 else names.get(A.dtype)
    _check_choice(precision, "precision", PRECISIONS)
    if A.dtype == torch.float64:
        raise ValueError(f"precision is {precision!r} and A is float64; convert it with A.float() first.")
    return precision


def _check_out_dtype(out_dtype, A):
    if out_dtype is None:
        return A.dtype if A.dtype in (torch.float64, torch.float32) else torch.float32
    if out_dtype not in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
        raise ValueError(f"out_dtype is {out_dtype}; use torch.float64, float32, bfloat16 or float16.")
    return out_dtype


def _check_interval(interval, A):
    """Return the ends in float64, each of shape (number of matrices,)."""
    try:
        low, high = interval
        ends = [torch.as_tensor(end, dtype=torch.float64, device=A.device).detach() for end in (low, high)]
        ends = [end.expand(A.shape[:-2]).reshape(-1) for end in ends]
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(
            f"interval is {interval!r}; pass a pair (a, b) of numbers, or of tensors {tuple(A.shape[:-2])}."
        ) from None
    low, high = ends
    if not ((low > 0) & (low <= high) & torch.isfinite(high)).all():
        raise ValueError(
            f"interval runs from {low.min().tolist():g} to {high.max().tolist():g}; "
            "pass finite ends with 0 < a <= b, in the unit of A."
        )
    return low, high
