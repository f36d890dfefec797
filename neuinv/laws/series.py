"""Series of errors out of the rows of a study, where they saturate, and which setting moves that."""

from dataclasses import dataclass
from itertools import groupby

import numpy as np

# What a run of the study may vary besides the condition number and the copy.
SETTINGS = (
    "n",
    "kind",
    "structure",
    "width",
    "depth",
    "num_steps",
    "batch",
    "learning_rate",
    "num_train",
    "dtype",
)


@dataclass(frozen=True)
class Series:
    """The errors of one network, trained anew at each of several condition numbers.

    Attributes
    ----------
    settings : dict
        What all its runs share, by the names of ``SETTINGS``.
    kappa : array, shape (K,)
        Condition numbers, increasing.
    errors : array, shape (copies, K)
        Positive and finite.
    """

    settings: dict
    kappa: np.ndarray
    errors: np.ndarray


def growth_series(rows, column, kappas=()):
    """Return the series of one column of a study, one for each combination of its settings.

    Parameters
    ----------
    rows : pandas.DataFrame
        One row a copy and a condition number, with ``kappa``, ``copy`` and the columns of ``SETTINGS``.
    column : str
        Which error.
    kappas : sequence of float
        Leave out the series that lack one of these condition numbers.

    Returns
    -------
    list of Series
        In the order of their settings. A copy with an error that is missing, infinite or not positive is left
        out at all condition numbers, and a series without any copy altogether.

    Raises
    ------
    ValueError
        Two rows have the same settings, condition number and copy.
    KeyError
        A column is missing.

    Examples
    --------
    >>> import pandas
    >>> table = pandas.DataFrame({name: ["x", "x"] for name in SETTINGS})
    >>> table = table.assign(kappa=[2.0, 4.0], copy=0, mean=[0.1, 0.2])
    >>> [(s.kappa.tolist(), s.errors.tolist()) for s in growth_series(table, "mean")]
    [([2.0, 4.0], [[0.1, 0.2]])]
    """
    found = []
    for key, part in rows.groupby(list(SETTINGS)):
        if part.duplicated(["copy", "kappa"]).any():
            raise ValueError(f"the series {key} has a copy twice at one kappa; pass one study at a time.")
        table = part.pivot(index="copy", columns="kappa", values=column)
        errors = table.to_numpy(dtype=float)
        errors = errors[(np.isfinite(errors) & (errors > 0)).all(axis=1)]
        if len(errors) and set(kappas) <= set(table.columns):
            found.append(Series(dict(zip(SETTINGS, key, strict=True)), table.columns.to_numpy(), errors))
    return found


def kappa_at(series, level=0.5):
    """Return the condition number at which the error of each copy first passes a level, shape (copies,).

    Between two condition numbers the logarithm of the error is taken as linear in that of kappa. The value is
    0 where the first error is at the level already, and infinite where none is.

    Examples
    --------
    >>> kappa_at(Series({}, np.array([2.0, 8.0]), np.array([[0.25, 1.0], [0.6, 1.0], [0.1, 0.2]]))).tolist()
    [4.0, 0.0, inf]
    """
    x, y = np.log(series.kappa), np.log(series.errors / level)
    found = np.full(len(y), np.inf)
    for copy, values in enumerate(y):
        reached = np.flatnonzero(values >= 0)
        if len(reached) and reached[0] == 0:
            found[copy] = 0.0
        elif len(reached):
            j = reached[0]
            share = -values[j - 1] / (values[j] - values[j - 1])
            found[copy] = np.exp(x[j - 1] + share * (x[j] - x[j - 1]))
    return found


def alike_but(found, setting):
    """Return the groups of two or more series that differ in one setting alone, sorted by it.

    Parameters
    ----------
    found : sequence of Series
    setting : str
        One of ``SETTINGS``.

    Raises
    ------
    ValueError
        An unknown setting.
    """
    if setting not in SETTINGS:
        raise ValueError(f"setting is {setting!r}; use one of {', '.join(SETTINGS)}.")

    def rest(series):
        return tuple(str(value) for name, value in series.settings.items() if name != setting)

    ordered = sorted(found, key=lambda s: (rest(s), s.settings[setting]))
    groups = [list(group) for _, group in groupby(ordered, key=rest)]
    return [group for group in groups if len(group) > 1]


def shift(first, second, level=0.5):
    """Return by which factor the second series passes a level at a larger kappa, and whether copies overlap.

    Returns
    -------
    float
        Ratio of the medians over the copies of :func:`kappa_at`; NaN where both are outside of the range.
    str
        ``"later"`` where every copy of the second passes at a larger kappa than every copy of the first,
        ``"earlier"`` the other way round, else ``"overlap"``.

    Examples
    --------
    >>> kappa = np.array([2.0, 8.0])
    >>> one, two = (Series({}, kappa, np.array([[a, 1.0]])) for a in (0.25, 0.125))
    >>> [round(v, 3) if isinstance(v, float) else v for v in shift(one, two)]
    [1.26, 'later']
    """
    a, b = kappa_at(first, level), kappa_at(second, level)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = float(np.divide(np.median(b), np.median(a)))
    if b.min() > a.max():
        return ratio, "later"
    return ratio, "earlier" if b.max() < a.min() else "overlap"
