"""From the records of many cells to calls: who works, who beats what ignores its input, who was right.

The rows are those of the study ``families``, one a cell, kind of network and copy, as
:func:`neuinv.sweep.load_study` returns them.
"""

import math

from neuinv._checks import as_integer

__all__ = ["agreement", "cell_calls", "cells_of", "claims_summary", "seed_changes"]

# What a reader of a verdict would train where it names a way; "direct" and "cannot" name none.
RECOMMENDED = {
    "polynomial": ("unrolled", "polynomial"),
    "learned-start": ("learned-start",),
    "plain-network": ("plain-gelu",),
}
CELL_COLUMNS = ("family", "dials", "size", "side", "verdict", "single", "curve")
NEEDED = {"run", "kind", "copy", "score", "worst", "median", "baseline", *CELL_COLUMNS}


def cell_calls(rows, threshold=0.5):
    """Return one row a cell and kind: does the kind work, from how many seeds, and by which margin.

    Parameters
    ----------
    rows : pandas.DataFrame
        Of the study, one row a cell, kind and copy.
    threshold : float
        A network works if its worst right residual on unseen matrices is below it; in (0, 1).

    Returns
    -------
    pandas.DataFrame
        Beside the columns of the cell: ``kind``, ``score``, ``predicted`` (score below the threshold),
        ``copies``, ``working`` and ``beating`` (how many of them work, and beat every answer that ignores its
        input in the worst case), ``call`` (``works``, ``fails`` or, where seeds differ, ``split``),
        ``worst_low`` and ``worst_high`` over the seeds, ``median`` (over the seeds, of the median residuals),
        ``baseline``, ``margin`` (baseline / worst_high), and the plain predictors.

    Raises
    ------
    ValueError
        A column is missing, no row, a worst residual that is NaN, or a threshold outside (0, 1).

    Examples
    --------
    >>> import pandas
    >>> cell = {"run": "a", "family": "f", "dials": "{}", "size": 2, "side": "inside"}
    >>> cell |= {"verdict": "polynomial", "single": False, "curve": False, "kind": "gated"}
    >>> cell |= {"score": 0.1, "median": 0.0, "baseline": 1.0}
    >>> rows = pandas.DataFrame([{**cell, "copy": k, "worst": r} for k, r in enumerate((0.2, 0.9))])
    >>> print(*cell_calls(rows)[["working", "call", "beating"]].iloc[0])
    1 split 2
    """
    _check(rows, threshold)
    plain = [name for name in rows.columns if name.startswith("plain.")]
    found = []
    for (run, kind), part in rows.groupby(["run", "kind"], sort=False):
        first, worst = part.iloc[0], part["worst"]
        working, copies = int((worst < threshold).sum()), len(part)
        found.append(
            {
                "run": run,
                **{name: first[name] for name in CELL_COLUMNS},
                "kind": kind,
                "score": first["score"],
                "predicted": bool(first["score"] < threshold),
                "copies": copies,
                "working": working,
                "beating": int((worst < part["baseline"]).sum()),
                "call": "works" if working == copies else "fails" if working == 0 else "split",
                "worst_low": worst.min(),
                "worst_high": worst.max(),
                "median": part["median"].median(),
                "baseline": first["baseline"],
                "margin": first["baseline"] / worst.max() if worst.max() > 0 else math.inf,
                **{name: first[name] for name in plain},
            }
        )
    return type(rows)(found)


def _check(rows, threshold):
    missing = sorted(NEEDED - set(rows.columns))
    if missing:
        raise ValueError(f"the rows lack {', '.join(missing)}; pass those of the study 'families'.")
    if len(rows) == 0:
        raise ValueError("there is no row; collect the study first.")
    if rows["worst"].isna().any():
        raise ValueError("a worst residual is NaN; it must be a number or, for a failure, infinite.")
    if not 0 < threshold < 1:
        raise ValueError(f"threshold is {threshold}; pass a number in (0, 1).")


def cells_of(calls):
    """Return one row a cell: which kinds work from every seed, and whether that is more than a constant does.

    Parameters
    ----------
    calls : pandas.DataFrame
        As :func:`cell_calls` returns them.

    Returns
    -------
    pandas.DataFrame
        Beside the columns of the cell: ``works`` (some kind works from every seed), ``kinds`` (how many do),
        ``beats`` (some kind that works from every seed also beats, from every seed, what ignores its input),
        ``best`` (the kind with the least worst residual over the seeds) with ``best_worst``,
        ``recommended`` (``right``, ``wrong`` or, where the verdict names no network, ``none``), ``baseline``.

    Raises
    ------
    ValueError
        No row.
    """
    if len(calls) == 0:
        raise ValueError("there is no call; pass those of cell_calls.")
    found = []
    for run, part in calls.groupby("run", sort=False):
        first = part.iloc[0]
        works = part["call"] == "works"
        best = part.loc[part["worst_high"].idxmin()]
        named = RECOMMENDED.get(first["verdict"])
        right = None if named is None else bool(works[part["kind"].isin(named)].any())
        found.append(
            {
                "run": run,
                **{name: first[name] for name in CELL_COLUMNS},
                "works": bool(works.any()),
                "kinds": int(works.sum()),
                "beats": bool((works & (part["beating"] == part["copies"])).any()),
                "best": best["kind"],
                "best_worst": best["worst_high"],
                "recommended": "none" if right is None else "right" if right else "wrong",
                "baseline": first["baseline"],
            }
        )
    return type(calls)(found)


def agreement(cells, by="verdict"):
    """Count cells by what was said before training and by what was measured.

    Parameters
    ----------
    cells : pandas.DataFrame
        As :func:`cells_of` returns them.
    by : {"verdict", "side"}
        What was said.

    Returns
    -------
    dict of str to (int, int)
        For each thing said: how many cells in which some kind works from every seed, and in which none does.

    Raises
    ------
    ValueError
        Another ``by``.
    """
    if by not in ("verdict", "side"):
        raise ValueError(f"by is {by!r}; use 'verdict' or 'side'.")
    groups = cells.groupby(by, sort=True)["works"]
    return {said: (int(works.sum()), int((~works).sum())) for said, works in groups}


def seed_changes(calls):
    """Return how often a seed changes the call, and by which factor the worst residual varies.

    Parameters
    ----------
    calls : pandas.DataFrame
        As :func:`cell_calls` returns them.

    Returns
    -------
    dict of str to tuple
        For each kind: pairs of cell and kind, how many are split, and the median and the largest of the ratio
        worst_high / worst_low, infinite ones left out of neither.
    """
    found = {}
    for kind, part in calls.groupby("kind", sort=False):
        ratio = (part["worst_high"] / part["worst_low"].clip(lower=1e-300)).fillna(1.0)
        split = int((part["call"] == "split").sum())
        found[kind] = (len(part), split, float(ratio.median()), float(ratio.max()))
    return found


def claims_summary(rows, threshold=0.5, *, seed=0, count=1000):
    """Return the numbers on which a judgement of the criterion and of its experiments rests.

    Families of a single matrix are left out: a constant inverts each, so that nothing is learned.

    Parameters
    ----------
    rows : pandas.DataFrame
        Of the study.
    threshold : float
        As for :func:`cell_calls`.
    seed, count : int
        Of the bootstrap over families.

    Returns
    -------
    dict of str to number
        ``cells``, ``families``, ``networks``; for each side and for the verdict *cannot* how many cells
        and in how many some kind works, such as ``inside``, ``inside_works``; ``works_beats`` and ``works``;
        ``split`` and ``pairs``; ``wrong_by_score``, the pairs of cell and kind that the score calls wrongly,
        beside ``wrong_by_one_call``, the least number if all are called alike; and for the score against the
        condition number ``auc_score``, ``auc_kappa``,
        ``auc_difference_low``, ``auc_difference_high`` over all kinds, NaN where one family is left.

    Raises
    ------
    ValueError
        As :func:`cell_calls`.
    """
    as_integer(count, "count", 20)
    kept = rows[~rows["single"].astype(bool)]
    calls = cell_calls(kept, threshold)
    cells = cells_of(calls)
    found = {"cells": len(cells), "families": int(cells["family"].nunique()), "networks": len(kept)}
    sides, verdicts = agreement(cells, "side"), agreement(cells, "verdict")
    for name in ("inside", "outside", "rare", "undeclared"):
        works, fails = sides.get(name, (0, 0))
        found |= {name: works + fails, f"{name}_works": works}
    works, fails = verdicts.get("cannot", (0, 0))
    found |= {"cannot": works + fails, "cannot_works": works}
    found |= {"works": int(cells["works"].sum()), "works_beats": int(cells["beats"].sum())}
    found |= {"pairs": len(calls), "split": int((calls["call"] == "split").sum())}
    fails = (calls["call"] != "works").to_numpy()
    found["wrong_by_score"] = int((calls["predicted"].to_numpy() == fails).sum())
    found["wrong_by_one_call"] = int(min(fails.sum(), (~fails).sum()))
    return found | _separation(calls, fails, seed, count)


def _separation(calls, fails, seed, count):
    """Hold the score against the condition number; of a single family there is no interval."""
    from neuinv.metrics import auc, paired_bootstrap

    table = {"score": calls["score"].to_numpy(), "kappa": calls["plain.kappa"].to_numpy()}
    low = high = math.nan
    if calls["family"].nunique() > 1:
        compared = paired_bootstrap(auc, table, fails, calls["family"], seed=seed, count=count)["kappa"]
        low, high = compared.difference_low, compared.difference_high
    values = {f"auc_{name}": auc(predictor, fails) for name, predictor in table.items()}
    return values | {"auc_difference_low": low, "auc_difference_high": high}
