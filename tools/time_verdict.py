"""Time verdicts on given matrices, each in a process of its own, and write a record.

    python tools/time_verdict.py             writes a record into book/results/verdict-cost/

The matrices are the family prescribed-spectrum, general, kappa = 100. Run it on a quiet machine.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CELLS = ((2, 100_000), (64, 200), (256, 200), (512, 200))
CHILD = """\
import json, re, sys, time
import torch, neuinv
from neuinv.criterion import verdict

n, count = int(sys.argv[1]), int(sys.argv[2])
A = neuinv.family("prescribed-spectrum", n=n, kappa=100.0, kind="general").sample(count, seed=0)
verdict(A[:2])  # imports and first calls


def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024


# The peak of the draw is forgotten, so that what follows is that of the verdict.
open("/proc/self/clear_refs", "w").write("5")
before, began = peak(), time.perf_counter()
found = verdict(A)
seconds = time.perf_counter() - began
print(json.dumps({
    "n": n, "count": count, "seconds": round(seconds, 2), "threads": torch.get_num_threads(),
    "megabytes": round(A.numel() * 8 / 2**20), "extra_megabytes": round(peak() - before),
    "spread_bracket": [found.measurements.spread.low, found.measurements.spread.high],
    "spread_members": found.measurements.num_fitted, "spectra": found.measurements.num_spectra,
}))
"""


def main(arguments=None):
    """Run the cells and return an exit code: 0 fine, 1 a verdict failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--largest", type=int, default=512, help="leave out larger n (default 512)")
    options = parser.parse_args(arguments)
    from neuinv.records import write_record

    rows = []
    for n, count in CELLS:
        if n > options.largest:
            continue
        done = subprocess.run(
            [sys.executable, "-c", CHILD, str(n), str(count)], cwd=ROOT, capture_output=True, text=True
        )
        if done.returncode:
            print(done.stderr, file=sys.stderr)
            return 1
        rows.append(json.loads(done.stdout))
        print(rows[-1], flush=True)
    write_record(ROOT / "book" / "results" / "verdict-cost", {"study": "verdict-cost", "cells": rows})
    return 0


if __name__ == "__main__":
    sys.exit(main())
