"""What the page of a family compares: schemes by their products, and families by their verdicts."""

import math
from dataclasses import dataclass
from pathlib import Path

import torch

from neuinv.forking.pages import find_project
from neuinv.forking.study import errors
from neuinv.iterations import Hyperpower, NewtonSchulz, ScaledNewtonSchulz
from neuinv.records import load_records

__all__ = [
    "FamilyRow",
    "SchemeRow",
    "book_families",
    "comparison",
    "family_row",
    "scheme_rows",
    "worst_residual",
]

RESULTS = Path("book") / "results" / "forking"
MOST_STEPS = 60  # a scheme that needs more is not tabulated


@dataclass(frozen=True)
class SchemeRow:
    """A scheme with the steps that a tolerance takes, and its matrix products; None where there is none."""

    name: str
    scheme: object
    num_matmuls: int | None


def scheme_rows(kappa, tolerance, kind, best=None):
    """Return the classical schemes with the number of products that they need for a tolerance.

    Parameters
    ----------
    kappa : float
        Ratio b / a of the interval that holds the eigenvalues (spd) or singular values (general); where it is
        infinite no scheme reaches the tolerance.
    tolerance : float
        Of the right residual, in exact arithmetic.
    kind : {"spd", "general"}
        Which matrices.
    best : Scheme, optional
        The best one known, put last.

    Returns
    -------
    list of SchemeRow
        Schemes of at most 60 steps.

    Raises
    ------
    TypeError, ValueError
        As the schemes.

    Examples
    --------
    >>> [(row.name, row.num_matmuls) for row in scheme_rows(3.0, 0.01, "spd")][0]
    ('NewtonSchulz', 4)
    """
    builders = {
        "NewtonSchulz": lambda steps: NewtonSchulz(steps, kind),
        "Hyperpower, order 3": lambda steps: Hyperpower(steps, 3, kind),
        "ScaledNewtonSchulz": lambda steps: ScaledNewtonSchulz(steps, kind),
    }
    rows = []
    for name, build in builders.items():
        fitting = (build(steps) for steps in range(1, MOST_STEPS + 1) if math.isfinite(kappa))
        scheme = next((s for s in fitting if s.worst_residual(kappa) <= tolerance), None)
        rows.append(SchemeRow(name, scheme, None if scheme is None else scheme.num_matmuls))
    if best is not None:
        rows.append(SchemeRow(f"{type(best).__name__}, best", best, best.num_matmuls))
    return rows


def worst_residual(scheme, A, verdict):
    """Return the largest right residual of a scheme on matrices, with the interval of a verdict.

    Parameters
    ----------
    scheme : Scheme or None
        None, for no scheme, gives NaN.
    A : Tensor, shape (batch, n, n)
        Matrices, which need not lie in the interval.
    verdict : Verdict
        Its sample gives the interval, after a division by the Frobenius norm where it says so.

    Returns
    -------
    float
        Infinite where an answer overflows.

    Raises
    ------
    TypeError, ValueError
        As the scheme.
    """
    if scheme is None:
        return math.nan
    found, divide = verdict.measurements, verdict.products.divide
    interval = (found.scaled_low, found.scaled_high) if divide else (found.low, found.high)
    scale = torch.linalg.matrix_norm(A, keepdim=True) if divide else torch.ones_like(A[..., :1, :1])
    return errors(A, scheme(A / scale, interval) / scale).worst_residual


@dataclass(frozen=True)
class FamilyRow:
    """A family in a comparison: size, quantiles of the condition number (5, 50, 95 %), spread, verdict.

    ``q_low <= q <= q_high`` brackets the spread of the members drawn; ``products`` is None where no way to
    the tolerance is known, ``own`` marks the family of the page.
    """

    name: str
    n: int
    low: float
    median: float
    high: float
    q_low: float
    q_high: float
    products: int | None
    recommendation: str
    own: bool = False

    def __str__(self):
        mark = "*" if self.own else " "
        products = "-" if self.products is None else self.products
        kappa = f"{self.median:10.3g} / {self.high:<9.3g}"
        numbers = f"{self.n:3} {kappa} {self.q_high:6.3f} {products:>8}"
        return f"{mark} {self.name:20} {numbers}  {self.recommendation}"


def family_row(verdict, *, own=False):
    """Return the :class:`FamilyRow` of a verdict."""
    found = verdict.measurements
    cond = found.values.cond
    return FamilyRow(
        verdict.source.name,
        found.n,
        cond.low,
        cond.median,
        cond.high,
        found.spread.low,
        found.spread.high,
        verdict.products.fewest,
        verdict.recommendation,
        own,
    )


def comparison(record, verdict):
    """Return the rows of a record of :func:`book_families` and of a verdict, by median condition number.

    Parameters
    ----------
    record : dict
        As :func:`book_families` returns it.
    verdict : Verdict
        Of the family of the page; a family of the record by the same name gives way to it.

    Returns
    -------
    list of FamilyRow
    """
    own = family_row(verdict, own=True)
    rows = [FamilyRow(**row) for row in record["values"]["families"] if row["name"] != own.name]
    return sorted([*rows, own], key=lambda row: (row.median, row.name))


def book_families(start="."):
    """Return the committed record that compares the families of the gallery, the newest one.

    Parameters
    ----------
    start : path-like
        A folder inside the project.

    Returns
    -------
    dict
        With ``values`` (``tolerance``, ``samples`` and ``families``, a list of dicts) and ``provenance``.

    Raises
    ------
    ValueError, OSError
        ``start`` is outside the project, or there is no such record.
    """
    records = load_records(find_project(start) / RESULTS)
    found = [record for record in records if record["values"].get("study") == "families"]
    if not found:
        raise ValueError(
            f"{RESULTS.as_posix()}/ has no record of the families; run tools/compare_families.py."
        )
    return found[-1]
