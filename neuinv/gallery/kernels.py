"""Gram matrices of Gaussian-process regression on bundled tables: ``kernel``."""

from functools import cache

import torch

from neuinv.gallery._draws import subset, uniform
from neuinv.gallery.facts import Bounds, Facts
from neuinv.gallery.parameters import Parameter
from neuinv.gallery.registry import register_family

TABLES = ("breast_cancer", "digits", "wine")
ROWS = {"breast_cancer": 569, "digits": 1797, "wine": 178, "mixed": 178}


@cache
def _table(name):
    """Return a table with columns of mean 0 and variance 1, (rows, columns)."""
    from sklearn import datasets

    features = torch.as_tensor(getattr(datasets, f"load_{name}")(return_X_y=True)[0], dtype=torch.float64)
    deviation = features.std(dim=0, correction=0)
    varies = deviation > 0  # some pixels of the digits do not
    return (features[:, varies] - features[:, varies].mean(dim=0)) / deviation[varies]


def _squared_distances(features):
    # differences first: the shorter |x|^2 - 2 x.y + |y|^2 loses digits by cancellation
    return ((features[:, None, :] - features[None, :, :]) ** 2).mean(dim=-1)


def _facts(n, table, nugget, shortest, longest):
    if n > ROWS[table]:
        raise ValueError(f"n = {n} exceeds the {ROWS[table]} rows of table {table!r}; use a smaller n.")
    if shortest > longest:
        raise ValueError(f"shortest = {shortest} exceeds longest = {longest}; use shortest <= longest.")
    return Facts(
        bounds=Bounds(nugget, n + nugget, (n + nugget) / nugget),
        connected=False,
        connected_reason="one curve of length scales for each of finitely many subsets of rows",
    )


@register_family(
    "kernel",
    tags=("real-data", "spd", "symmetric", "normal", "det-positive", "bounded-condition"),
    facts=_facts,
    parameters={
        "n": Parameter(48, "rows in a subset", low=2, high=1797),
        "table": Parameter("mixed", "'mixed' takes the three in turn", choices=(*TABLES, "mixed")),
        "nugget": Parameter(0.1, "noise variance on the diagonal", low=1e-12, high=1e3),
        "shortest": Parameter(0.4, "least length scale, in units of root(columns)", low=0.01, high=100.0),
        "longest": Parameter(4.0, "greatest length scale, likewise", low=0.01, high=100.0),
    },
    use="Prediction and likelihood of a Gaussian process invert it at every step over the length scale.",
    reference="C. E. Rasmussen and C. K. I. Williams, 2006, Gaussian Processes for Machine Learning",
    requires=("sklearn (scikit-learn)",),
    data="scikit-learn: breast_cancer, digits, wine",
)
def kernel(batch, generator, n, table, nugget, shortest, longest):
    """exp(-d^2 / (2 l^2)) + nugget I over random rows of standardised real tables.

    The length scale l is log-uniform between its two ends, in units of the root of the number of
    columns, so that l = 1 is about the typical distance. With ``table='mixed'`` the members go
    through the three tables in turn.
    """
    tables = TABLES if table == "mixed" else (table,)
    logs = torch.log(torch.tensor([shortest, longest], dtype=torch.float64))
    length = torch.exp(uniform((batch,), generator, logs[0], logs[1]))
    members = []
    for index in range(batch):
        features = _table(tables[index % len(tables)])
        rows = features[subset(len(features), n, generator)]
        members.append(torch.exp(-_squared_distances(rows) / (2 * length[index] ** 2)))
    return torch.stack(members) + nugget * torch.eye(n, dtype=torch.float64)
