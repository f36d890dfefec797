"""What was measured: records of it, the fastest method that is accurate enough, and break-even."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from neuinv.records import load_records

__all__ = ["KEYS", "SpeedRecord", "break_even", "fastest", "load_speed", "speed_values"]

STUDY = "speed"
KEYS = ["n", "kappa", "kind", "dtype"]
CELL = ("n", "kappa", "kind", "dtype", "batch", "distinct", "cpu_share", "seconds")
ROW = ("n", "kappa", "kind", "dtype", "method", "group", "low", "median", "high", "residual_median")
ROW += ("residual_worst", "matmuls", "check_matmuls", "accepted", "direct", "note")
WORDS = ("kind", "dtype", "method", "group", "note")


@dataclass(frozen=True)
class SpeedRecord:
    """All runs of ``make bench`` on one device; a cell that was measured again counts as it was then.

    Attributes
    ----------
    rows : pandas.DataFrame
        A line a method and cell. ``low``, ``median`` and ``high`` are the quartiles of the time in seconds
        for the batch; ``residual_median`` and ``residual_worst`` of the right residuals; ``matmuls`` of the
        scheme and ``check_matmuls`` of the proof; ``accepted`` and ``direct`` are shares.
    cells : pandas.DataFrame
        A line a cell: its batch, its different matrices, the share of the time with a processor, and in
        ``run`` which of the runs it is from.
    runs : list of dict
        The records, oldest first, with ``values`` and ``provenance``.
    """

    rows: object
    cells: object
    runs: list

    @property
    def device(self):
        """``"cpu"`` or ``"cuda"``."""
        return self.runs[-1]["provenance"]["device"]["type"]

    @property
    def hardware(self):
        """The name of the device, with the threads on a CPU."""
        threads = self.runs[-1]["values"]["environment"]["threads"]
        name = self.runs[-1]["provenance"]["device"]["name"]
        return f"{name}, {threads} thread{'s' * (threads > 1)}" if self.device == "cpu" else name

    def has(self, cell):
        """Return whether a :class:`Cell` was measured, whatever its batch."""
        known = self.cells[KEYS].itertuples(index=False, name=None)
        return (cell.n, cell.kappa, cell.kind, cell.dtype) in known


def speed_values(cells, planned, environment, **settings):
    """Return the values of a record.

    Parameters
    ----------
    cells : list of (Cell, list of Measured, dict)
        The finished ones.
    planned : int
        How many there will be.
    environment : dict
        From ``environment``.
    **settings
        Further values, such as the number of repetitions.

    Returns
    -------
    dict
        For ``write_record``. Rows are text, one line each: as numbers they would fill ten times the lines.
    """
    lines, rows = [",".join(CELL)], [",".join(ROW)]
    for cell, measured, about in cells:
        key = [cell.n, cell.kappa, cell.kind, cell.dtype]
        lines.append(_line([*key, cell.batch, cell.distinct, about["cpu_share"], about["seconds"]]))
        for row in measured:
            time = [np.nan] * 3 if row.time is None else [row.time.low, row.time.median, row.time.high]
            residuals = [row.residual_median, row.residual_worst]
            counts = [row.matmuls, row.check_matmuls, row.accepted, row.direct]
            rows.append(_line([*key, row.method, row.group, *time, *residuals, *counts, row.note]))
    return {
        "study": STUDY,
        "complete": len(cells),
        "planned": planned,
        "environment": environment,
        **settings,
        "cells": lines,
        "rows": rows,
    }


def _line(values):
    return ",".join(f"{value:.4g}" if isinstance(value, float) else str(value) for value in values)


def load_speed(folder):
    """Return the :class:`SpeedRecord` of each device and number of threads in a folder.

    Parameters
    ----------
    folder : str or Path
        Such as ``book/results/speed``; one that is missing or empty gives an empty list.

    Returns
    -------
    list of SpeedRecord
        The CPU first.

    Raises
    ------
    ValueError
        A record was edited, or holds rows of another form.
    """
    runs = {}
    for record in load_records(folder) if Path(folder).is_dir() else []:
        if record["values"].get("study") == STUDY:
            device, threads = record["provenance"]["device"], record["values"]["environment"]["threads"]
            runs.setdefault((device["type"], device["name"], threads), []).append(record)
    return [_merged(runs[key]) for key in sorted(runs)]


def _merged(runs):
    """Return the runs as one record."""
    import pandas

    tables = [
        [_table(run["values"][name], columns).assign(run=number) for number, run in enumerate(runs)]
        for name, columns in (("rows", ROW), ("cells", CELL))
    ]
    rows, cells = (pandas.concat(table, ignore_index=True) for table in tables)
    cells = cells.drop_duplicates(KEYS, keep="last")
    rows = rows.merge(cells[[*KEYS, "run"]], on=[*KEYS, "run"])
    return SpeedRecord(*(table.sort_values(KEYS, kind="stable") for table in (rows, cells)), runs)


def _table(lines, columns):
    import pandas

    if tuple(lines[0].split(",")) != columns:
        raise ValueError(f"a record has the columns {lines[0]}; this version reads {','.join(columns)}.")
    table = pandas.DataFrame([line.split(",") for line in lines[1:]], columns=list(columns))
    for name in columns:
        if name not in WORDS:
            table[name] = table[name].astype(float)
    return table.astype({"n": int})


def fastest(rows, group, tolerance):
    """Return, for each cell, the fastest method of a group whose worst measured residual is small enough.

    Parameters
    ----------
    rows : pandas.DataFrame
        Of a :class:`SpeedRecord`.
    group : {"direct", "polynomial", "front"}
        Of ``"front"``, only calls that proved every matrix and left none to a direct solver count.
    tolerance : float
        For the largest right residual among the different matrices of the cell.

    Returns
    -------
    pandas.DataFrame
        Indexed by n, kappa, kind and dtype; cells where no method qualifies are missing.

    Raises
    ------
    ValueError
        An unknown group.
    """
    if group not in ("direct", "polynomial", "front"):
        raise ValueError(f"group is {group!r}; use direct, polynomial or front.")
    good = rows[(rows["group"] == group) & (rows["residual_worst"] <= tolerance) & rows["median"].notna()]
    if group == "front":
        good = good[(good["accepted"] == 1) & (good["direct"] == 0)]
    return good.sort_values("median", kind="stable").groupby(KEYS, sort=True).first()


def break_even(rows, tolerance, group="polynomial"):
    """Compare the fastest direct method with the fastest of a group at equal measured residual.

    Parameters
    ----------
    rows : pandas.DataFrame
        Of a :class:`SpeedRecord`.
    tolerance : float
        Both must have a worst measured right residual of at most this.
    group : {"polynomial", "front"}
        Who challenges.

    Returns
    -------
    pandas.DataFrame
        A line a cell, indexed by n, kappa, kind and dtype: the names ``direct`` and ``other``, their median
        times, ``ratio`` = direct / other, above 1 where the challenger is faster, and its extremes ``low``
        and ``high`` from the quartiles of both. The ratio is 0 where only a direct method reaches the
        tolerance, infinite where only the challenger does, NaN where none does.
    """
    import pandas

    every = pandas.MultiIndex.from_frame(rows[KEYS].drop_duplicates())
    direct = fastest(rows, "direct", tolerance).reindex(every)
    other = fastest(rows, group, tolerance).reindex(every)
    table = pandas.DataFrame(
        {
            "direct": direct["method"],
            "other": other["method"],
            "direct_median": direct["median"],
            "other_median": other["median"],
            "ratio": direct["median"] / other["median"],
            "low": direct["low"] / other["high"],
            "high": direct["high"] / other["low"],
        }
    )
    ends = ["ratio", "low", "high"]
    table.loc[direct["median"].notna() & other["median"].isna(), ends] = 0.0
    table.loc[direct["median"].isna() & other["median"].notna(), ends] = np.inf
    return table
