"""Write the record that the page of a family is compared with: a verdict on each family of the gallery.

python tools/compare_families.py             writes a record into book/results/forking/
python tools/compare_families.py --dry-run   prints the rows and writes nothing
"""

import argparse
import dataclasses
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import neuinv  # noqa: E402
from neuinv.forking import family_row  # noqa: E402
from neuinv.records import write_record  # noqa: E402

TOLERANCE, SAMPLES, SEED = 1e-3, 200, 0


def main(arguments=None):
    """Compute the rows, print them, write the record and return an exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dry-run", action="store_true", help="write no record")
    options = parser.parse_args(arguments)
    rows = []
    for name in neuinv.families():
        verdict = neuinv.verdict(neuinv.family(name), tolerance=TOLERANCE, samples=SAMPLES, seed=SEED)
        rows.append(family_row(verdict))
        print(rows[-1], flush=True)
    values = {"study": "families", "tolerance": TOLERANCE, "samples": SAMPLES, "seed": SEED}
    values["families"] = [
        {key: value for key, value in dataclasses.asdict(row).items() if key != "own"} for row in rows
    ]
    if not options.dry_run:
        write_record(ROOT / "book" / "results" / "forking", values)
    return 0


if __name__ == "__main__":
    sys.exit(main())
