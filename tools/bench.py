"""Time methods of inversion on this machine and write a record below book/results/speed/.

    python tools/bench.py                     on the CPU, with one thread
    python tools/bench.py --device cuda       on the GPU that torch finds
    python tools/bench.py --sizes 64 --kappas 100

Each cell is one size, condition number, kind of matrices and dtype; all methods are timed in it, in random
order within each of the repetitions.  The record is written again after each cell, so that a run that is
killed, or out of time, keeps the cells it has finished; --missing measures the others.  Run it on a machine
that does nothing else.
"""

import argparse
import os
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "book" / "results" / "speed"


def main(arguments=None):
    """Run the command line and return its exit code: 0 fine, 2 bad input or no such device."""
    options = _parse(arguments)
    import torch

    from neuinv._checks import resolve_device
    from neuinv.benchmark import ceilings, environment, plan_cells, run_cell
    from neuinv.records.provenance import remember

    try:
        device = resolve_device(options.device)
        if device.type not in ("cpu", "cuda"):
            raise ValueError(f"device is {options.device!r}; use cpu or cuda.")
        if options.repetitions < 1 or options.threads < 1:
            raise ValueError("--repetitions and --threads must be at least 1.")
        cells = plan_cells(
            device.type,
            options.sizes,
            options.kappas or _all("KAPPAS"),
            options.dtypes,
            options.entries,
        )
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    torch.set_num_threads(options.threads)
    if options.missing:
        cells = _missing(cells, device, options)
    if not cells:
        print("every cell is measured already")
        return 0
    remember({"device": str(device), "seed": options.seed, "threads": options.threads})
    settings = {"repetitions": options.repetitions, "torch": torch.__version__}
    began = time.monotonic()
    about = environment(device) | ceilings(device)
    record = Record(Path(options.results), len(cells), about, settings)
    print(f"{len(cells)} cells on {device}, {options.threads} threads, into {options.results}")
    for number, cell in enumerate(cells, 1):
        measured, about = run_cell(cell, device, options.repetitions, options.seed)
        record.add(cell, measured, about)
        spent = time.monotonic() - began
        print(_line(number, cell, measured, about, spent), flush=True)
        if spent > 60 * options.minutes and number < len(cells):
            left = len(cells) - number
            print(f"{options.minutes:g} minutes are over; {left} cells are left for a run with --missing")
            break
    print(f"{record.path}, {spent:.0f} s")
    return 0


class Record:
    """One record on disk, replaced whole after each cell."""

    def __init__(self, folder, planned, environment, settings):
        self.folder, self.planned, self.environment, self.settings = folder, planned, environment, settings
        self.cells, self.path = [], None

    def add(self, cell, measured, about):
        """Write the record with one more cell; the one before goes when this one is there."""
        from neuinv.benchmark import speed_values
        from neuinv.records import write_record

        self.cells.append((cell, measured, about))
        values = speed_values(self.cells, self.planned, self.environment, **self.settings)
        before, self.path = self.path, write_record(self.folder, values)
        if before is not None:
            before.unlink(missing_ok=True)


def _missing(cells, device, options):
    """Return the cells that no record of this device and number of threads has."""
    from neuinv.benchmark import load_speed
    from neuinv.records.provenance import describe_device

    here = (describe_device(str(device))["name"], options.threads)
    for record in load_speed(options.results):
        about = record.runs[-1]
        if (about["provenance"]["device"]["name"], about["values"]["environment"]["threads"]) == here:
            cells = [cell for cell in cells if not record.has(cell)]
    return cells


def _all(name):
    from neuinv.benchmark import cells

    return getattr(cells, name)


def _line(number, cell, measured, about, spent):
    """Return one line for the terminal: the fastest method of each group that reaches 1e-3."""
    best = []
    for group in ("direct", "polynomial", "front"):
        good = [row for row in measured if row.group == group and row.time and row.residual_worst <= 1e-3]
        row = min(good, key=lambda row: row.time.median, default=None)
        best.append("none" if row is None else f"{row.method} {row.time.median / cell.batch * 1e6:.3g} us")
    cells = (
        f"{number:3} n={cell.n:<3} {cell.kind:7} {cell.dtype} kappa={cell.kappa:<6g} batch={cell.batch:<6}"
    )
    return f"{cells} {'; '.join(best)}  [{about['seconds']:.1f} s, {spent:.0f} s]"


def _parse(arguments):
    parser = argparse.ArgumentParser(
        description="Time methods of inversion and write a record.",
        epilog="example: python tools/bench.py --device cuda --sizes 64 128 --kappas 100",
    )
    device = os.environ.get("DEVICE") or "cpu"
    parser.add_argument("--device", default=device, help="cpu or cuda; by default $DEVICE, else cpu")
    parser.add_argument("--sizes", type=int, nargs="+", help="n; by default 2, 4, ..., 512, on CUDA 1024")
    parser.add_argument("--kappas", type=float, nargs="+", help="by default 10, 100, 1e3, 1e4")
    parser.add_argument("--dtypes", nargs="+", default=["float32", "float64"], help="float32 or float64")
    parser.add_argument("--entries", type=int, help="entries of a batch, at most")
    parser.add_argument("--repetitions", type=int, default=20, help="of each method in each cell (20)")
    parser.add_argument("--threads", type=int, default=1, help="of torch, on the CPU (1)")
    parser.add_argument("--minutes", type=float, default=8, help="begin no cell after so many (8)")
    parser.add_argument("--missing", action="store_true", help="only what no record of this device has")
    parser.add_argument("--seed", type=int, default=0, help="of matrices and orders")
    parser.add_argument("--results", default=str(RESULTS), help="where the record goes")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
