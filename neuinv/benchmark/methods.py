"""The methods that are timed: direct solvers, polynomial schemes, and the front door with its proof."""

import math
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from neuinv._linalg import _one_by_one
from neuinv.inverse import approximate_inverse
from neuinv.inverse.capped import CappedNewtonSchulz
from neuinv.iterations import ScaledNewtonSchulz, best_scheme, newton_schulz, newton_schulz_matmuls
from neuinv.iterations.fused import LARGEST, LARGEST_ACCURATE, fused_available, fused_inverse
from neuinv.iterations.lean import lean_inverse
from neuinv.iterations.lowering import lower

__all__ = ["Method", "TOLERANCES", "gauss_jordan", "methods_for"]

TOLERANCES = (1e-2, 1e-3, 1e-6)
LARGEST_GAUSS_JORDAN = 8
LOW_PRECISIONS = ("tf32", "bfloat16", "float16")
# Products of the programs that a fused kernel for 32 < n <= 64 holds without much memory; longer ones, which
# would be as slow as they take long to compile, are not timed.
FEW_PRODUCTS = 5
SMALLEST_LEAN = 64
# The tolerances that each precision of the products may reach.
REACHED = {"tf32": (1e-2,), "mixed-bf16": (1e-2, 1e-3), "mixed": (1e-3, 1e-6), "tf32x3": (1e-3, 1e-6)}


@dataclass(frozen=True)
class Method:
    """One way to invert.

    ``group`` is ``"direct"``, ``"polynomial"``, ``"front"`` or ``"product"`` (the yardstick, no inverse).
    ``run`` maps matrices (batch, n, n) to an inverse, or for ``"front"`` to an ``ApproximateInverse``.
    """

    name: str
    group: str
    run: object
    num_matmuls: float = (
        0.0  # 0 for a direct method, whose work is not products; the front door counts its own
    )
    scheme: object = None  # of a kernel


def gauss_jordan(A):
    """Return inverses of A (batch, n, n) by Gauss-Jordan elimination without pivots, the batch innermost.

    For small n each step is a few operations on long vectors. Without pivots it may lose every digit, or
    divide by zero, although the matrix is well conditioned; not for positive definite matrices.

    Examples
    --------
    >>> gauss_jordan(torch.tensor([[[2.0, 0.0], [1.0, 1.0]]])).tolist()
    [[[0.5, 0.0], [-0.5, 1.0]]]
    """
    M = A.permute(1, 2, 0).clone(memory_format=torch.contiguous_format)
    for k in range(len(M)):
        pivot = M[k, k].reciprocal()
        row, column = M[k] * pivot, M[:, k].clone()
        row[k] = pivot
        M[:, k] = 0
        M.addcmul_(column[:, None], row[None], value=-1)
        M[k] = row
    return M.permute(2, 0, 1).contiguous()


def methods_for(kind, kappa, dtype, n, smallest, device):
    """Return the methods of a cell, the yardstick first.

    Parameters
    ----------
    kind : {"spd", "general"}
    kappa : float
        The spectrum lies in [1/kappa, 1].
    dtype : torch.dtype
    n : int
    smallest : float
        The smallest eigenvalue of :math:`A^{\\mathsf T}A / \\lVert A\\rVert_F^2` over the batch, which tells
        how many steps classical Newton-Schulz needs.
    device : torch.device

    Returns
    -------
    list of Method
        Schemes that would be the same one are there once, under the largest tolerance. For float32 on CUDA
        there are also ``fused`` ones, each one kernel, for n up to 128, and ``lean`` ones from n = 64 on.
    """
    found = [Method("product", "product", lambda A: A @ A, 1.0)]
    found += _direct(kind, n, device) + _polynomial(kind, kappa, dtype, smallest, device)
    if dtype == torch.float32 and device.type == "cuda":
        found += _fused(kind, kappa, n) if fused_available(device) else []
        found += _lean(kind, kappa) if n >= SMALLEST_LEAN else []
    interval = (1 / kappa, 1.0)
    for tolerance in (1e-3, 1e-6):
        found.append(_front(f"front {tolerance:.0e}", tolerance, kind, interval))
    found.append(_front("front 1e-03 unknown", 1e-3, kind, None))
    if device.type == "cuda" and dtype == torch.float32:
        found += [
            _front(f"front {tolerance:.0e} {precision}", tolerance, kind, interval, precision)
            for precision in LOW_PRECISIONS
            for tolerance in (1e-3,)
        ]
    return found


def _direct(kind, n, device):
    """Return the direct methods; on CUDA those of torch's choice and of both of its libraries."""
    functions = {
        "inv": torch.linalg.inv,
        "inv_ex": lambda A: torch.linalg.inv_ex(A)[0],
        "solve": lambda A: torch.linalg.solve(A, torch.eye(n, dtype=A.dtype, device=A.device).expand_as(A)),
    }
    if kind == "spd":
        functions["cholesky"] = lambda A: torch.cholesky_inverse(torch.linalg.cholesky_ex(A)[0])
    if device.type == "cpu" and torch.get_num_threads() > 1:
        functions = {name: _safe_on_cpu(function) for name, function in functions.items()}
    if device.type == "cuda":
        for name in ("inv", "cholesky"):
            if name in functions:
                for library in ("cusolver", "magma") if torch.cuda.has_magma else ("cusolver",):
                    functions[f"{name} {library}"] = _with_library(functions[name], library)
    if n <= LARGEST_GAUSS_JORDAN:
        functions["gauss-jordan"] = gauss_jordan
    return [Method(name, "direct", function) for name, function in functions.items()]


def _safe_on_cpu(function):
    return lambda A: _one_by_one(function, A)


def _with_library(function, library):
    def run(A):
        before = torch.backends.cuda.preferred_linalg_library()
        torch.backends.cuda.preferred_linalg_library(library)
        try:
            return function(A)
        finally:
            torch.backends.cuda.preferred_linalg_library(before)

    return run


def _polynomial(kind, kappa, dtype, smallest, device):
    """Return classical and scaled Newton-Schulz and the programs, each for its tolerance."""
    interval = (1 / kappa, 1.0)
    steps = _classical_steps(smallest, 1e-3)
    matmuls = newton_schulz_matmuls(steps)
    found = [Method("newton-schulz 1e-03", "polynomial", lambda A: newton_schulz(A, steps), matmuls)]
    seen = []
    for tolerance in TOLERANCES:
        for label, scheme in (
            ("scaled", _scaled(kappa, tolerance, kind)),
            ("program", _program(kappa, tolerance, kind, dtype)),
        ):
            if scheme in seen:
                continue
            seen.append(scheme)
            found.append(_of_scheme(f"{label} {tolerance:.0e}", scheme, interval))
            if label == "program" and tolerance > 1e-4 and device.type == "cuda" and dtype == torch.float32:
                found.append(_of_scheme(f"{label} {tolerance:.0e} tf32", scheme, interval, tf32=True))
    if device.type == "cuda" and dtype == torch.float32:
        for precision in LOW_PRECISIONS:
            capped = CappedNewtonSchulz(kappa, 1e-3, kind, precision)
            found.append(_of_scheme(f"capped {precision}", capped, interval, tf32=precision == "tf32"))
    return found


def _fused(kind, kappa, n):
    """Return the schemes that one kernel holds: steps in each precision, and programs."""
    found, interval = [], (1 / kappa, 1.0)
    if n <= LARGEST["newton"]:
        for name, scheme, options in _steps(kind, kappa):
            if n <= LARGEST_ACCURATE or options["precision"] in ("tf32", "mixed-bf16"):
                found.append(_of_kernel(f"fused {name}", fused_inverse, scheme, interval, **options))
    for tolerance in (1e-3, 1e-6) if n <= LARGEST["staged"] else ():
        scheme = _program(kappa, tolerance, kind, torch.float32)
        known = any(scheme == method.scheme for method in found)
        if not known and (n <= 32 or sum(lower(scheme).sizes) <= FEW_PRODUCTS):
            name = f"fused-program {tolerance:.0e} tf32x3"
            found.append(_of_kernel(name, fused_inverse, scheme, interval, precision="tf32x3"))
    return found


def _lean(kind, kappa):
    """Return the schemes by a library's products and few passes."""
    found, interval = [], (1 / kappa, 1.0)
    for name, scheme, options in _steps(kind, kappa):
        options = {**options, "precision": options["precision"].replace("tf32x3", "exact")}
        name = name.replace("tf32x3", "exact")
        found.append(_of_kernel(f"lean {name}", lean_inverse, scheme, interval, **options))
    scheme = _program(kappa, 1e-3, kind, torch.float32)
    for precision in ("exact", "tf32"):
        name = f"lean-program 1e-03 {precision}"
        found.append(_of_kernel(name, lean_inverse, scheme, interval, precision=precision))
    return found


def _steps(kind, kappa):
    """Return name, scheme and options of scaled Newton-Schulz for tolerances that may be reached."""
    seen = []
    for precision, tolerances in REACHED.items():
        for tolerance in tolerances:
            options = {"precision": precision}
            if precision.startswith("mixed"):
                # One accurate step takes what TF32 leaves, a few per cent, below 1e-3; two below 1e-6.
                options["accurate_steps"] = 1 if tolerance > 1e-4 else 2
            scheme = _scaled(kappa, tolerance, kind)
            if (scheme, options) not in seen:
                seen.append((scheme, options))
                yield f"{tolerance:.0e} {precision}", scheme, options


def _of_kernel(name, function, scheme, interval, **options):
    def run(A):
        return function(scheme, A, interval, **options)

    return Method(name, "polynomial", run, scheme.num_matmuls, scheme)


def _of_scheme(name, scheme, interval, tf32=False):
    def run(A):
        ends = interval
        if isinstance(scheme, CappedNewtonSchulz):
            ends = [torch.full((len(A),), end, dtype=torch.float64, device=A.device) for end in interval]
        with _tf32() if tf32 else _as_it_is():
            return scheme(A, ends)

    return Method(name, "polynomial", run, scheme.num_matmuls)


def _front(name, tolerance, kind, interval, precision=None):
    def run(A):
        with _tf32() if precision == "tf32" else _as_it_is():
            return approximate_inverse(
                A, tolerance=tolerance, kind=kind, interval=interval, precision=precision, on_refusal="mark"
            )

    return Method(name, "front", run)


@contextmanager
def _tf32():
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@contextmanager
def _as_it_is():
    yield


def _classical_steps(smallest, tolerance):
    """Return the k with (1 - smallest)^(2^k) <= tolerance: the worst residual, squared k times."""
    return max(0, math.ceil(math.log2(math.log(tolerance) / math.log1p(-min(smallest, 0.99)))))


def _scaled(kappa, tolerance, kind):
    for num_steps in range(200):
        scheme = ScaledNewtonSchulz(num_steps, kind)
        if scheme.worst_residual(kappa) <= tolerance:
            return scheme
    raise ValueError(f"kappa is {kappa:g}, too large for 200 steps; pass a smaller one.")


def _program(kappa, tolerance, kind, dtype):
    """Return the scheme of fewest products; below the floor of the dtype the one that ignores rounding."""
    reachable = torch.finfo(dtype).eps / 2 * kappa <= tolerance
    return best_scheme(kappa, tolerance, kind, dtype if reachable else None)
