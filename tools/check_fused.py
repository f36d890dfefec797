"""Check the fused kernels on the GPU against float64, and time each once, one line each.

    python tools/check_fused.py               under half a minute
    python tools/check_fused.py --sizes 64    one size

The last line says whether all residuals are as small as their precision allows; the exit code is 1 if not.
"""

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

SIZES = (5, 16, 31, 32, 64, 100, 128)
# The largest right residual for kappa = 10: the scheme's own 6e-5, TF32's few thousandths, 16 bits.
ALLOWED = {"tf32x3": 1e-4, "tf32": 1e-2, "mixed": 2e-4, "lean exact": 1e-4, "lean tf32": 1e-2}
ALLOWED["lean mixed"] = 1e-4
ENTRIES = 2**22


def main(arguments=None):
    """Run the command line and return its exit code: 0 fine, 1 a residual is too large, 2 no GPU."""
    parser = argparse.ArgumentParser(description="Check the fused kernels on the GPU.")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="n, from 2 to 128")
    options = parser.parse_args(arguments)
    import torch

    if not torch.cuda.is_available():
        print("error: torch finds no GPU; run this where it does.", file=sys.stderr)
        return 2
    wrong, began = 0, time.monotonic()
    for n in options.sizes:
        for kind in ("spd", "general"):
            wrong += _check(n, kind, began)
    print(f"{'all residuals as small as they should be' if not wrong else f'{wrong} WRONG'}")
    return int(wrong > 0)


def _check(n, kind, began):
    """Print a line for each precision and return how many are wrong."""
    import torch

    from neuinv.benchmark.timing import quartiles, time_once
    from neuinv.gallery import family
    from neuinv.iterations import ScaledNewtonSchulz, best_scheme
    from neuinv.iterations.fused import fused_inverse
    from neuinv.iterations.lean import lean_inverse

    device, wrong = torch.device("cuda"), 0
    source = family("prescribed-spectrum", n=n, kappa=10.0, kind=kind)
    sample = source.sample(8, seed=n, dtype=torch.float32, device=device)
    A = sample.repeat(max(1, ENTRIES // (8 * n * n)), 1, 1)
    # Every second matrix is another one, so that a mix-up of matrices shows.
    steps, staged = ScaledNewtonSchulz(4 if kind == "spd" else 6, kind), best_scheme(10.0, 1e-3, kind)
    runs = [(name, fused_inverse, steps, name) for name in ("tf32", "mixed", "tf32x3")]
    runs += [("tf32x3", fused_inverse, staged, "tf32x3")] if n <= 32 or len(staged.stages) == 0 else []
    runs += [(f"lean {name}", lean_inverse, steps, name) for name in ("exact", "mixed")] if n >= 64 else []
    runs += [("lean exact", lean_inverse, staged, "exact")] if n >= 64 else []
    for name, function, scheme, precision in runs:
        if name == "tf32x3" and n > 64:
            continue

        def call(function=function, scheme=scheme, precision=precision):
            return function(scheme, A, (0.1, 1.0), precision=precision)

        start = time.monotonic()
        try:
            X = call()
        except Exception as error:
            print(f"n = {n:3} {kind:7} {name:10} FAILED {type(error).__name__}: {str(error)[:200]}")
            wrong += 1
            continue
        torch.cuda.synchronize()
        first = time.monotonic() - start
        R = A.double() @ X.double() - torch.eye(n, dtype=torch.float64, device=device)
        residual = float(R.square().sum(dim=(-2, -1)).sqrt().max()) / n**0.5
        usual = quartiles([time_once(call, device) for _ in range(10)]).median
        fine = residual <= ALLOWED[name]
        wrong += not fine
        print(
            f"n = {n:3} {kind:7} {type(scheme).__name__[:12]:12} {name:10} residual {residual:.1e}"
            f"{'' if fine else ' WRONG'}, {usual * 1e6 / len(A):8.3g} us each, first call {first:.2f} s"
            f"  [{time.monotonic() - began:.1f} s]",
            flush=True,
        )
    usual = quartiles([time_once(lambda: torch.linalg.inv_ex(A), device) for _ in range(5)]).median
    print(f"n = {n:3} {kind:7} inv_ex {usual * 1e6 / len(A):8.3g} us each", flush=True)
    return wrong


if __name__ == "__main__":
    sys.exit(main())
