"""How much of a study repeats: the same runs once more, compared value by value."""

import json
import math
from dataclasses import dataclass

__all__ = ["Agreement", "agreement", "parameter_key", "result_columns", "summarize"]

# More digits than float64 keeps through a few operations are called all of them.
MOST_DIGITS = 15


@dataclass(frozen=True)
class Agreement:
    """How far repeated runs agree with the committed ones.

    Attributes
    ----------
    runs, values : int
        How many runs were repeated, and how many results were compared.
    digits : dict of str to list of float
        For each result column the decimal digits in which a value and its repetition agree, at most 15.
    """

    runs: int
    values: int
    digits: dict

    def share(self, digits):
        """Return the share of all values that agree in at least so many digits."""
        flat = [value for column in self.digits.values() for value in column]
        return sum(value >= digits for value in flat) / len(flat) if flat else math.nan

    @property
    def least(self):
        """The least number of digits over all values."""
        return min((value for column in self.digits.values() for value in column), default=math.nan)


def result_columns(rows, parameters):
    """Return the names of the columns that hold results: numbers that are no parameter and no time.

    Parameters
    ----------
    rows : pandas.DataFrame
        Of a :class:`neuinv.sweep.Study`.
    parameters : iterable of str
        Names of the parameters of the notebook.

    Returns
    -------
    list of str
    """
    known = {*parameters, "run"}
    return [
        name
        for name in rows.columns
        if name not in known
        and not name.startswith(("run.", "parameter."))
        and "seconds" not in name
        and rows[name].dtype.kind in "if"
    ]


def summarize(rows, parameters, by="kind"):
    """Return median and largest value of every result, for each kind where the rows have one.

    Parameters
    ----------
    rows : pandas.DataFrame
        Of a :class:`neuinv.sweep.Study`.
    parameters : iterable of str
        Names of the parameters of the notebook.
    by : str
        The column that groups the rows, where there is one.

    Returns
    -------
    dict
        (group, column) -> (median, largest); NaN is left out of both, and the group is "" without groups.
    """
    groups = rows.groupby(by) if by in rows.columns else [("", rows)]
    return {
        (str(group), name): (float(part[name].median()), float(part[name].max()))
        for group, part in groups
        for name in result_columns(rows, parameters)
        if part[name].notna().any()
    }


def agreement(committed, repeated, parameters):
    """Compare repeated runs with those of a study that have the same parameters.

    Parameters
    ----------
    committed, repeated : pandas.DataFrame
        Rows of two :class:`neuinv.sweep.Study`; all of the second must be in the first.
    parameters : iterable of str
        Names of the parameters of the notebook.

    Returns
    -------
    Agreement

    Raises
    ------
    ValueError
        A repeated run is not in the study, or has another number of records.
    """
    names = [name for name in parameters if name in committed.columns and name in repeated.columns]
    first, second = (_by_run(rows, names) for rows in (committed, repeated))
    columns = [c for c in result_columns(repeated, parameters) if c in committed.columns]
    digits = {name: [] for name in columns}
    for key, part in second.items():
        if key not in first:
            raise ValueError(f"the run {', '.join(key)} is not in the study; repeat one of its runs.")
        if len(first[key]) != len(part):
            raise ValueError(
                f"the run {', '.join(key)} has {len(part)} records and had {len(first[key])}; collect again."
            )
        for name in columns:
            pairs = zip(first[key][name], part[name], strict=True)
            digits[name] += [_digits(a, b) for a, b in pairs if not (_missing(a) and _missing(b))]
    digits = {name: found for name, found in digits.items() if found}
    return Agreement(len(second), sum(map(len, digits.values())), digits)


def parameter_key(values, names):
    """Return the parameters of a run as texts that are the same before and after a table.

    A table holds lists and dicts as JSON text, and whole numbers beside missing ones as floats.

    Parameters
    ----------
    values : dict or pandas.Series
        Of a run of a plan, or a row of a table.
    names : iterable of str
        Which parameters.

    Returns
    -------
    tuple of str

    Examples
    --------
    >>> parameter_key({"n": 4, "dials": {"kappa": 3.0}}, ["n", "dials"])
    ('4.0', '{"kappa": 3.0}')
    """
    texts = []
    for name in names:
        value = values[name]
        if isinstance(value, dict | list):
            value = json.dumps(value, sort_keys=True)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        texts.append("" if _missing(value) else str(float(value)) if number else str(value))
    return tuple(texts)


def _by_run(rows, names):
    """Return parameters as texts -> rows of the run, in an order that its labels decide.

    Records of one second have no order of their own: a kind of network, a copy or a size tells them apart.
    """
    labels = [c for c in rows.columns if c not in names and not c.startswith("run") and _is_label(rows[c])]
    parts = (part for _, part in rows.groupby("run", sort=False))
    ordered = (part.sort_values(labels, kind="stable") if labels else part for part in parts)
    return {parameter_key(part.iloc[0].to_dict(), names): part for part in ordered}


def _is_label(column):
    """Whether a column holds texts or whole numbers; a list is a result, kept as the text of JSON."""
    if column.dtype.kind in "fb" or column.isna().any():
        return False
    return column.dtype.kind in "iu" or not column.astype(str).str.startswith(("[", "{")).any()


def _missing(value):
    return value is None or value != value


def _digits(a, b):
    """Return -log10 of the relative difference, between 0 and 15; 0 where only one value is missing.

    >>> _digits(1.0, 1.0), round(_digits(1.0, 1.001), 1), _digits(1.0, -1.0)
    (15, 3.0, 0)
    """
    if a == b:
        return MOST_DIGITS
    if _missing(a) or _missing(b) or math.isinf(a) or math.isinf(b):
        return 0
    return min(MOST_DIGITS, max(0, -math.log10(abs(a - b) / max(abs(a), abs(b)))))
