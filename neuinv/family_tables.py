"""The tables that the page on the study of families prints: one line a cell."""

import json

import numpy as np

from neuinv.family_calls import cells_of

__all__ = ["call_marks", "cell_lines", "cell_name", "nearest_cell", "pair_lines", "wrong_score_lines"]

# Plain, residual, gated, learned start, unrolled, polynomial Y.
LETTERS = {"plain-gelu": "P", "residual": "R", "gated": "G"}
LETTERS |= {"learned-start": "L", "unrolled": "U", "polynomial": "Y"}


def cell_name(row):
    """Return the family of a cell and the values of its settings.

    Parameters
    ----------
    row : mapping
        With ``family`` and ``dials``, the settings as JSON text.

    Returns
    -------
    str

    Examples
    --------
    >>> cell_name({"family": "line", "dials": '{"crosses": false, "gap": 0.2}'})
    'line False,0.2'
    """
    values = json.loads(row["dials"]).values()
    return f"{row['family']} {','.join(f'{v:g}' if isinstance(v, float) else str(v) for v in values)}"


def call_marks(calls):
    """Return a letter a kind for each cell: capital where it works, small where split, a dot where it fails.

    Parameters
    ----------
    calls : pandas.DataFrame
        As :func:`neuinv.family_calls.cell_calls` returns them.

    Returns
    -------
    dict of str to str
        Run -> marks, the kinds in the order of ``LETTERS``; a blank for a kind that was not run.
    """
    shown = {"works": str.upper, "split": str.lower, "fails": lambda letter: "."}
    found = {}
    for run, part in calls.groupby("run", sort=False):
        call = dict(zip(part["kind"], part["call"], strict=True))
        found[run] = "".join(shown[call[k]](letter) if k in call else " " for k, letter in LETTERS.items())
    return found


def cell_lines(calls):
    """Return the table of cells, ordered by their side and family, under a line of headings.

    Parameters
    ----------
    calls : pandas.DataFrame
        As :func:`neuinv.family_calls.cell_calls` returns them.

    Returns
    -------
    list of str
        Of at most 84 characters each.
    """
    marks, kappa = call_marks(calls), np.exp(calls.groupby("run")["plain.kappa"].first())
    lines = [f"{'family, dials':28}   n side       verdict      kappa kinds     best  ign."]
    for _, row in cells_of(calls).sort_values(["side", "family"], kind="stable").iterrows():
        run, said = row["run"], row["verdict"].removeprefix("learned-").removesuffix("-network")
        lines.append(
            f"{cell_name(row)[:28]:28} {row['size']:3} {row['side']:10} {said:10}"
            f" {kappa[run]:7.1e} {marks[run]} {row['best_worst']:7.1e} {row['baseline']:5.2f}"
        )
    return lines


def nearest_cell(cells, row):
    """Return the cell of the same family with the fewest other settings, the first of several, or None.

    Parameters
    ----------
    cells : pandas.DataFrame
        As :func:`neuinv.family_calls.cells_of` returns them.
    row : mapping
        A cell, with ``family`` and ``dials``.

    Returns
    -------
    pandas.Series or None
    """
    wanted, best, least = json.loads(row["dials"]), None, None
    for _, other in cells[cells["family"] == row["family"]].iterrows():
        given = json.loads(other["dials"])
        distance = sum(given.get(name, ...) != wanted.get(name, ...) for name in {*given, *wanted})
        if least is None or distance < least:
            best, least = other, distance
    return best


def pair_lines(calls, others, title):
    """Return a table of cells, each beside the one of another profile that is nearest to it.

    Parameters
    ----------
    calls, others : pandas.DataFrame
        As :func:`neuinv.family_calls.cell_calls` returns them.
    title : str
        What the others are called.

    Returns
    -------
    list of str
        Of at most 84 characters each; a dash for a cell without another one of its family.
    """
    marks, theirs, known = call_marks(calls), call_marks(others), cells_of(others)
    lines = [f"{'':33}{'kinds':7}{'best':>7}   {title}", f"{'family, dials':28}   n"]
    lines[1] = f"{lines[1]:50}{'dials':14}  n kinds    best"
    for _, row in cells_of(calls).sort_values("family", kind="stable").iterrows():
        other = nearest_cell(known, row)
        text = f"{cell_name(row)[:28]:28} {row['size']:3} {marks[row['run']]} {row['best_worst']:7.1e}   "
        if other is None:
            lines.append(text + "-")
            continue
        name = cell_name(other).partition(" ")[2]
        end = f"{theirs[other['run']]} {other['best_worst']:7.1e}"
        lines.append(f"{text}{name[:14]:14} {other['size']:2} {end}")
    return lines


def wrong_score_lines(calls):
    """Return a line for each cell where the score is wrong: ! promised too much, + too little.

    Parameters
    ----------
    calls : pandas.DataFrame
        As :func:`neuinv.family_calls.cell_calls` returns them.

    Returns
    -------
    list of str
    """
    wrong = calls[calls["predicted"] != (calls["call"] == "works")]
    lines = []
    for _, part in wrong.groupby("run", sort=False):
        promised = dict(zip(part["kind"], part["predicted"], strict=True))
        marked = (f"{LETTERS[k]}{'!' if promised[k] else '+'}" for k in LETTERS if k in promised)
        lines.append(f"{cell_name(part.iloc[0])[:40]:40} {' '.join(marked)}")
    return lines
