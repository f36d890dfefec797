"""The safe front door: an approximate inverse that comes with a proof of its accuracy, or is refused."""

from neuinv.inverse.front import approximate_inverse
from neuinv.inverse.results import ApproximateInverse, InverseStatus, InversionRefused

__all__ = ["ApproximateInverse", "InverseStatus", "InversionRefused", "approximate_inverse"]
