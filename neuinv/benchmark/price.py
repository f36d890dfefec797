"""What the front door costs: against the other methods of a record, and in passes over the matrices."""

import numpy as np
import torch

from neuinv.benchmark.floors import measured_rates
from neuinv.benchmark.passes import count_passes
from neuinv.benchmark.results import KEYS, fastest
from neuinv.benchmark.tables import find_method
from neuinv.gallery import family
from neuinv.inverse import approximate_inverse
from neuinv.iterations import ScaledNewtonSchulz, best_scheme
from neuinv.iterations.lean import lean_inverse

__all__ = ["door_lines", "pass_lines"]

KAPPA, TOLERANCE = 10.0, 1e-3
INTERVAL = (1 / KAPPA, 1.0)


def door_lines(record, tolerance):
    """Return, for each size and dtype, the time of the front door over that of others: least and most.

    Parameters
    ----------
    record : SpeedRecord
    tolerance : float
        For the worst measured right residual, of each of the three.

    Returns
    -------
    list of str
        A line a size and dtype with the extremes over kinds and condition numbers: over the fastest scheme,
        over the fastest direct method, and without a given interval over with it.
    """
    front, scheme, direct = (fastest(record.rows, g, tolerance) for g in ("front", "polynomial", "direct"))
    unknown = {
        key: _quotient(part, "front 1e-03 unknown", "front 1e-03") for key, part in record.rows.groupby(KEYS)
    }
    lines = ["   n bits  cells   over the scheme   over a direct method   interval unknown"]
    for (n, dtype), part in front.groupby(["n", "dtype"]):
        columns = [_range(part["median"] / other["median"].reindex(part.index)) for other in (scheme, direct)]
        columns.append(_range(np.array([unknown[key] for key in part.index])))
        lines.append(
            f"{n:4} {dtype[-2:]:>4} {len(part):6} {columns[0]:>17} {columns[1]:>22} {columns[2]:>18}"
        )
    return lines


def _quotient(part, above, below):
    first, second = find_method(part, above), find_method(part, below)
    return np.nan if first is None or second is None else first["median"] / second["median"]


def _range(values):
    values = np.asarray(values, dtype=float)
    values = values[np.isfinite(values)]
    return f"{values.min():6.2f} to {values.max():6.2f}" if len(values) else "."


def pass_lines(record=None, sizes=(64, 1024)):
    """Return how often the front door and two schemes pass over float32 matrices, counted here on the CPU.

    Parameters
    ----------
    record : SpeedRecord, optional
        One that measured its ceilings adds the microseconds a matrix that it measured, and those that the
        products and the passes take at its rates, one after the other.
    sizes : sequence of int

    Returns
    -------
    list of str
        For a condition number of 10 and the tolerance 1e-3: operations on whole batches, products, passes of
        the others, those in float64, and their bytes an entry.
    """
    rates = measured_rates(record) if record is not None else None
    lines = [
        "   n kind method      calls products passes float64 bytes" + ("     us  least" if rates else "")
    ]
    for n in sizes:
        for kind in ("spd", "general"):
            source = family("prescribed-spectrum", n=n, kappa=KAPPA, kind=kind)
            # One matrix: more would be cut into pieces on the CPU.
            A = source.sample(1, seed=0, dtype=torch.float32)
            for name, measured, function in _counted(kind):
                found = count_passes(function, A)
                line = (
                    f"{n:4} {kind[:3]:4} {name:10} {found.operations:6} {found.products:8}"
                    f" {found.passes:6.0f} {found.double:7.0f} {found.traffic:5.0f}"
                )
                lines.append(line + (_times(record, rates, n, kind, measured, found) if rates else ""))
    return lines


def _counted(kind):
    """Return a name, the name in the records, and the function of what is counted."""
    steps = ScaledNewtonSchulz(4 if kind == "spd" else 6, kind)
    program = best_scheme(KAPPA, TOLERANCE, kind, torch.float32)
    yield (
        "front door",
        "front 1e-03",
        lambda A: approximate_inverse(
            A, tolerance=TOLERANCE, kind=kind, interval=INTERVAL, on_refusal="mark"
        ),
    )
    yield "program", "program 1e-03", lambda A: program(A, INTERVAL)
    yield "lean steps", "lean 1e-03 exact", lambda A: lean_inverse(steps, A, INTERVAL)


def _times(record, rates, n, kind, name, found):
    """Return the measured time, and what the counted products and passes take at the measured rates."""
    rows = record.rows
    part = rows[
        (rows["n"] == n) & (rows["kappa"] == KAPPA) & (rows["kind"] == kind) & (rows["dtype"] == "float32")
    ]
    row = find_method(part, name)
    if row is None:
        return "      .      ."
    batch = record.cells.set_index(KEYS)["batch"][n, KAPPA, kind, "float32"]
    products = 2 * n**3 * (row["matmuls"] / rates["float32"] + row["check_matmuls"] / rates["float64"])
    times = row["median"] / batch, products + found.traffic * n * n / rates["copy"]
    return "".join(f" {t * 1e6:6.0f}" if t > 1e-4 else f" {t * 1e6:6.3g}" for t in times)
