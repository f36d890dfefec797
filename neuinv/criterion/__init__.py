"""The criterion applied: a verdict on any family of matrices.

Each finding is marked *proof*, *certificate* or *estimate (N samples)* and names its statement in the book.
"""

from neuinv.criterion.evidence import Evidence, Line, Recommendation
from neuinv.criterion.measure import Measurements, measure
from neuinv.criterion.rule import MOST_PRODUCTS, Products
from neuinv.criterion.sources import Source, read_source
from neuinv.criterion.verdict import Verdict, verdict

__all__ = [
    "MOST_PRODUCTS",
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
]
