"""Lines that compare a record with what its hardware could do at most, and with its target."""

import numpy as np

from neuinv.benchmark.ceilings import floor_time
from neuinv.benchmark.results import KEYS, break_even, fastest

__all__ = ["floor_lines", "target_lines"]

TARGET, LARGEST_KAPPA, SMALLEST = 5.0, 100.0, 32


def floor_lines(record, tolerance):
    """Return, for each cell, the fastest scheme beside the least time that its hardware allows it.

    Parameters
    ----------
    record : SpeedRecord
    tolerance : float
        For the worst measured right residual.

    Returns
    -------
    list of str
        A line a cell of a run that measured the two ceilings: microseconds a matrix, the floor (the larger
        of reading A and writing X once, and of the products), its share of the time, what bounds it, and the
        time of the fastest direct method over that of the scheme.
    """
    best = fastest(record.rows, "polynomial", tolerance)
    ratios = break_even(record.rows, tolerance)["ratio"]
    batches = record.cells.set_index(KEYS)["batch"]
    lines = []
    for key, row in best.iterrows():
        rates = record.runs[int(row["run"])]["values"]["environment"].get("ceilings")
        if not rates:
            continue
        n, kappa, kind, dtype = key
        batch, time = batches[key], row["median"]
        floor, bound = floor_time(n, batch, dtype, row["method"], row["matmuls"], rates)
        each, least = time / batch * 1e6, floor / batch * 1e6
        lines.append(
            f"{n:4} {kappa:5g} {kind[:3]:4} {dtype[-2:]:>4} {row['method']:26} {each:6.3g} {least:6.3g}"
            f" {floor / time:5.2f} {bound:5} {_ratio(ratios[key])}"
        )
    if not lines:
        return ["its runs did not measure the ceilings of the device"]
    head = f"   n kappa kind bits {'fastest scheme':26}     us  floor share bound ratio"
    return [head, *lines]


def _ratio(value):
    return " only" if np.isinf(value) else f"{value:5.2f}"


def target_lines(record, tolerance):
    """Return how far schemes are ahead for n >= 32 and kappa <= 100, by dtype and kind, and where they lose.

    Parameters
    ----------
    record : SpeedRecord
    tolerance : float
        For the worst measured right residual.

    Returns
    -------
    list of str
    """
    table = break_even(record.rows, tolerance).reset_index()
    region = table[(table["n"] >= SMALLEST) & (table["kappa"] <= LARGEST_KAPPA)]
    lines = []
    for (kind, dtype), part in region.groupby(["kind", "dtype"], sort=False):
        ratio = part["ratio"]
        known = ratio[np.isfinite(ratio) & (ratio > 0)]
        if known.empty:
            continue
        top = part.loc[known.idxmax()]
        ahead = f"{(ratio >= TARGET).sum()} of {len(part)} cells at {TARGET:g} or more"
        lines.append(f"{kind:7} {dtype}: {ahead}, median {known.median():.2f}, least {known.min():.2f},")
        lines.append(
            f"    most {top['ratio']:.2f} at n = {top['n']}, kappa = {top['kappa']:g}, by {top['other']}"
        )
    lost = table[(table["ratio"] < 1)]
    lines.append(f"slower than a direct method in {len(lost)} of {len(table)} cells of all")
    for (kind, dtype, kappa), part in lost.groupby(["kind", "dtype", "kappa"], sort=True):
        sizes = ", ".join(str(n) for n in sorted(part["n"]))
        lines.append(f"    {kind:7} {dtype} kappa = {kappa:g}: n = {sizes}")
    return lines
