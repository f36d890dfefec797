"""The criterion applied: a verdict on any family of matrices, and what to expect of networks.

Each finding of a verdict is marked *proof*, *certificate* or *estimate (N samples)* and names its statement
in the book.
"""

from neuinv.criterion.evidence import Evidence, Line, Recommendation
from neuinv.criterion.measure import Measurements, measure
from neuinv.criterion.rule import MOST_PRODUCTS, RULE, Branch, Products
from neuinv.criterion.score import PREDICTED_KINDS, PredictedResidual, plain_predictors, predicted_residual
from neuinv.criterion.sources import Source, read_source
from neuinv.criterion.verdict import Verdict, verdict

__all__ = [
    # the verdict
    "MOST_PRODUCTS",
    "RULE",
    "Branch",
    "Evidence",
    "Line",
    "Measurements",
    "Products",
    "Recommendation",
    "Source",
    "Verdict",
    "measure",
    "read_source",
    "verdict",
    # before training: the residual to expect
    "PREDICTED_KINDS",
    "PredictedResidual",
    "plain_predictors",
    "predicted_residual",
]
