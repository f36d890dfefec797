"""Lines that compare a record with what its hardware could do at most, and with its target."""

import numpy as np

from neuinv.benchmark.ceilings import floor_time
from neuinv.benchmark.results import KEYS, break_even, fastest

__all__ = ["ceiling_lines", "floor_lines", "measured_rates", "target_lines"]

TARGET, LARGEST_KAPPA, SMALLEST = 5.0, 100.0, 32


def measured_rates(record):
    """Return the ceilings that the newest run of a record with some measured, or None."""
    found = [run["values"]["environment"].get("ceilings") for run in record.runs]
    return next((rates for rates in reversed(found) if rates), None)


UNMEASURED = ["its runs did not measure the ceilings of the device"]


def ceiling_lines(record):
    """Return, for each size, the least microseconds a matrix that moving and multiplying take.

    Parameters
    ----------
    record : SpeedRecord

    Returns
    -------
    list of str
        A line a size: reading A and writing X once in float32, and one product at each measured rate.
    """
    rates = measured_rates(record)
    if not rates:
        return UNMEASURED
    names = [name for name in ("float32", "float64", "tf32", "bfloat16") if name in rates]
    lines = ["   n  read, write   one product: " + " ".join(f"{name:>9}" for name in names)]
    for n in sorted(record.rows["n"].unique()):
        moved = 8 * n * n / rates["copy"] * 1e6
        products = " ".join(f"{2 * n**3 / rates[name] * 1e6:9.3g}" for name in names)
        lines.append(f"{n:4} {moved:12.3g}                {products}")
    return lines


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
        of reading A and writing X once, and of the products), its share of the time, what bounds it, and
        the like share of the fastest direct method, 2 n^3 operations in the precision of the cell.
    """
    best, direct = (fastest(record.rows, group, tolerance) for group in ("polynomial", "direct"))
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
        other = "    ."
        if key in direct.index:
            least_direct = floor_time(n, batch, dtype, "direct", 1.0, rates)[0]
            other = f"{least_direct / direct.loc[key, 'median']:7.3f}"
        lines.append(
            f"{n:4} {kappa:5g} {kind[:3]:4} {dtype[-2:]:>4} {row['method']:22} {each:8.3g} {least:8.3g}"
            f" {floor / time:5.2f} {bound:5} {other}"
        )
    if not lines:
        return UNMEASURED
    head = f"   n kappa kind bits {'fastest scheme':22}       us    floor share bound  direct"
    return [head, *lines]


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
    ahead, surely = (int((region[name] >= TARGET).sum()) for name in ("ratio", "low"))
    lines = [
        f"{ahead} of {len(region)} cells at {TARGET:g} or more, {surely} of them by the quartiles of both too"
    ]
    for (kind, dtype), part in region.groupby(["kind", "dtype"], sort=False):
        ratio = part["ratio"]
        known = ratio[np.isfinite(ratio) & (ratio > 0)]
        if known.empty:
            continue
        top, reached = part.loc[known.idxmax()], int((ratio >= TARGET).sum())
        count = f"{reached} of {len(part)} cells"
        lines.append(
            f"{kind:7} {dtype}: {count}, median {known.median():.2f}, least {known.min():.2f},"
            f" most {top['ratio']:.2f}"
        )
        lines.append(f"    the most at n = {top['n']}, kappa = {top['kappa']:g}, by {top['other']}")
        if reached:
            lines += _by_kappa(part[ratio < TARGET], part, f"below {TARGET:g}: ")
    lost = table[table["ratio"] < 1]
    lines.append(f"slower than a direct method in {len(lost)} of {len(table)} cells of all")
    for (kind, dtype), part in lost.groupby(["kind", "dtype"], sort=True):
        lines += _by_kappa(part, table, f"{kind:7} {dtype} ")
    return lines


def _by_kappa(some, table, head):
    """Return a line a condition number with the sizes of some cells of a table, or one for all of them."""
    whole = table["n"].nunique()
    groups = [(kappa, sorted(part["n"])) for kappa, part in some.groupby("kappa", sort=True)]
    if len(groups) == table["kappa"].nunique() and all(len(sizes) == whole for _, sizes in groups):
        return [f"    {head}every n and kappa"]
    return [f"    {head}kappa = {kappa:g}: n = {', '.join(map(str, sizes))}" for kappa, sizes in groups]
