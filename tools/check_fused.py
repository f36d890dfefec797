"""Check the fused kernels on the GPU against float64, and time each once, one line each.

    python tools/check_fused.py               under half a minute
    python tools/check_fused.py --sizes 64    one size
    python tools/check_fused.py --tune        the times of other numbers of warps

The last line says whether all residuals are as small as their precision allows; the exit code is 1 if not.
Where the products are as good as those in float32, what rounding adds to the residual is compared with what
it adds when the scheme itself is called in float32 on the same matrices: a long program rounds far worse
than the bound of its exact arithmetic says.
"""

import argparse
import functools
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

SIZES = (5, 32, 64, 128)
# The largest right residual of products in low precision for kappa = 10: a few thousandths, or 16 bits.
ALLOWED = {"tf32": 1e-2, "mixed": 1e-4, "mixed-bf16": 2e-4, "lean mixed": 1e-4, "lean mixed-bf16": 2e-4}
# Of other products rounding may add so many times what it adds in the scheme itself. On an H200, for
# kappa = 10 and 100 and n from 32 to 1024, residuals were at most twice those of the scheme itself.
ROUNDING = 4.0
TUNED = {16: (1, 2), 32: (1, 2, 4), 64: (4, 8), 128: (8, 16)}
KAPPA, DISTINCT, ENTRIES = 10.0, 8, 2**22


def main(arguments=None):
    """Run the command line and return its exit code: 0 fine, 1 a residual is too large, 2 no GPU."""
    parser = argparse.ArgumentParser(description="Check the fused kernels on the GPU.")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="n, from 2 to 128")
    parser.add_argument("--tune", action="store_true", help="time other numbers of warps instead")
    options = parser.parse_args(arguments)
    import torch

    if not torch.cuda.is_available():
        print("error: torch finds no GPU; run this where it does.", file=sys.stderr)
        return 2
    began = time.monotonic()
    if options.tune:
        return _tune(options.sizes)
    wrong = sum(_check_size(n, kind, began) for n in options.sizes for kind in ("spd", "general"))
    print("all residuals as small as they should be" if wrong == 0 else f"{wrong} WRONG")
    return int(wrong > 0)


def _check_size(n, kind, began):
    """Print a line for each scheme and precision and return how many are wrong."""
    import torch

    from neuinv.benchmark.timing import quartiles, time_once
    from neuinv.gallery import family

    device = torch.device("cuda")
    source = family("prescribed-spectrum", n=n, kappa=KAPPA, kind=kind)
    sample = source.sample(DISTINCT, seed=n, dtype=torch.float32, device=device)
    A = sample.repeat(max(1, ENTRIES // (DISTINCT * n * n)), 1, 1)
    wrong = sum(not _check_run(run, A, began) for run in _runs(n, kind))
    usual = quartiles([time_once(lambda: torch.linalg.inv_ex(A), device) for _ in range(5)]).median
    print(f"n = {n:3} {kind:7} inv_ex: {usual * 1e6 / len(A):.3g} us each", flush=True)
    return wrong


def _runs(n, kind):
    """Return name, function, scheme and precision of what is checked."""
    import torch

    from neuinv.iterations import ScaledNewtonSchulz, best_scheme
    from neuinv.iterations.fused import fused_inverse
    from neuinv.iterations.lean import lean_inverse

    steps = ScaledNewtonSchulz(4 if kind == "spd" else 6, kind)
    program = best_scheme(KAPPA, 1e-3, kind, torch.float32)
    runs = [(name, fused_inverse, steps, name) for name in ("tf32", "mixed-bf16")]
    runs += [(name, fused_inverse, steps, name) for name in ("mixed", "tf32x3")] if n <= 64 else []
    runs += [("tf32x3", fused_inverse, program, "tf32x3")] if n <= 32 else []
    if n >= 64:
        runs += [(f"lean {name}", lean_inverse, steps, name) for name in ("exact", "mixed", "mixed-bf16")]
        runs.append(("lean exact", lean_inverse, program, "exact"))
    return runs


def _check_run(run, A, began):
    """Print a line and return whether all is well."""
    import torch

    from neuinv.benchmark.timing import quartiles, time_once

    name, function, scheme, precision = run
    head = f"n = {A.shape[-1]:3} {scheme.kind:7} {type(scheme).__name__[:12]:12} {name:15}"
    start = time.monotonic()
    try:
        X = function(scheme, A, (1 / KAPPA, 1.0), precision=precision)
        torch.cuda.synchronize()
    except Exception as error:
        print(f"{head} FAILED {type(error).__name__}: {str(error)[:200]}", flush=True)
        return False
    first = time.monotonic() - start
    residual, held, limit, same = judge(name, scheme, A, X)
    times = [
        time_once(lambda: function(scheme, A, (1 / KAPPA, 1.0), precision=precision), A.device)
        for _ in range(10)
    ]
    fine = same and held <= limit
    print(
        f"{head} residual {residual:.1e}, {held:.1e} of {limit:.0e}"
        f"{'' if fine else ' WRONG'}{'' if same else ' (not alike)'}, "
        f"{quartiles(times).median * 1e6 / len(A):.3g} us each, first call {first:.2f} s, "
        f"{time.monotonic() - began:.1f} s so far",
        flush=True,
    )
    return fine


def judge(name, scheme, A, X):
    """Return the worst right residual of X, what is held against a limit, the limit, and whether X repeats.

    ``A`` and ``X``, shape (batch, n, n), float32, repeat their first ``DISTINCT`` matrices. Held against a
    limit is the residual, or for accurate products A (X - Y), Y being what the scheme gives in float64.
    """
    import torch

    from neuinv.benchmark.cells import _right_residual

    interval, some, found = (1 / KAPPA, 1.0), A[:DISTINCT], X[:DISTINCT]
    residual = float(_right_residual(some, found).max())
    held, limit = residual, ALLOWED.get(name)
    if limit is None:
        exact = scheme(some.double(), interval)

        def added(Y):
            return float(torch.linalg.matrix_norm(some.double() @ (Y.double() - exact), 2).max())

        held = added(found)
        limit = ROUNDING * (added(scheme(some, interval)) + KAPPA * torch.finfo(torch.float32).eps)
    # The same matrices again and again: their inverses must agree wherever they stand.
    apart = X.reshape(-1, *found.shape) - found
    return residual, held, limit, float(apart.abs().max()) <= limit * KAPPA


def _tune(sizes):
    """Print the time of each precision and number of warps, for general matrices."""
    import torch

    from neuinv.benchmark.timing import quartiles, time_once
    from neuinv.gallery import family
    from neuinv.iterations import ScaledNewtonSchulz, fused

    device, scheme = torch.device("cuda"), ScaledNewtonSchulz(6, "general")
    for n in sizes:
        sample = family("prescribed-spectrum", n=n, kappa=KAPPA, kind="general").sample(DISTINCT, seed=n)
        A = sample.float().to(device).repeat(4 * ENTRIES // (DISTINCT * n * n), 1, 1)
        block = max(16, 1 << (n - 1).bit_length())
        for precision in ("tf32", "mixed-bf16") + (("mixed", "tf32x3") if n <= 64 else ()):
            found = []
            for warps in TUNED[block]:
                fused.WARPS["newton"][block] = warps
                fused._plan.cache_clear()
                try:
                    fused.fused_inverse(scheme, A, (1 / KAPPA, 1.0), precision)
                except Exception as error:
                    found.append(f"{warps} warps {type(error).__name__}")
                    continue
                call = functools.partial(fused.fused_inverse, scheme, A, (1 / KAPPA, 1.0), precision)
                times = [time_once(call, device) for _ in range(20)]
                found.append(f"{warps} warps {quartiles(times).median * 1e6 / len(A):.3g} us")
            print(f"n = {n:3} {precision:10}: {', '.join(found)}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
