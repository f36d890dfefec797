"""Compare two searches for the multipliers of a semidefinite bound: eclipse-nn and the package's descent.

    pip install eclipse-nn cvxpy scs         optional packages, outside the lock
    python tools/compare_semidefinite.py     writes a record into book/results/semidefinite/

The networks are random 9-64-64-9 ReLU networks. Both bounds are certified by the same Cholesky factorisation,
whoever found the multipliers.
"""

import argparse
import importlib.metadata
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
METHODS = ("descent", "eclipse")


def main(arguments=None):
    """Run the comparison and return an exit code: 0 fine, 2 a package is missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", type=int, default=3, help="how many networks (default 3)")
    options = parser.parse_args(arguments)
    from neuinv.records import write_record

    try:
        versions = {name: importlib.metadata.version(name) for name in ("eclipse-nn", "cvxpy", "scs")}
    except importlib.metadata.PackageNotFoundError as error:
        print(f"{error.name} is not installed; run 'pip install {error.name}' first.", file=sys.stderr)
        return 2
    rows = [compare(seed) for seed in range(options.networks)]
    folder = ROOT / "book" / "results" / "semidefinite"
    write_record(folder, {"study": "semidefinite", "versions": versions, "networks": rows})
    return 0


def compare(seed):
    """Return bounds and seconds on the random network of this seed."""
    from neuinv.lipschitz import sampled_lower_bound, semidefinite_bound
    from neuinv.networks import make_network

    network = make_network("plain-relu", 3, seed=seed).cpu()
    row = {"seed": seed}
    for method in METHODS:
        begun = time.perf_counter()
        bound = semidefinite_bound(network.layers, method=method)
        row[method] = bound.lipschitz
        row[f"{method}_seconds"] = round(time.perf_counter() - begun, 2)
    row["norm_product"] = bound.norm_product
    row["found"] = sampled_lower_bound(network, (3, 3), radius=1.0, seed=seed).value
    print({name: round(value, 4) for name, value in row.items()}, flush=True)
    return row


if __name__ == "__main__":
    sys.exit(main())
