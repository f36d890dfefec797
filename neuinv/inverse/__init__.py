"""The safe front door: an approximate inverse that comes with a proof of its accuracy, or is refused."""

from neuinv.inverse.front import approximate_inverse
from neuinv.inverse.results import ApproximateInverse, InverseStatus, InversionRefused
from neuinv.inverse.savings import compare_products
from neuinv.inverse.starts import (
    StartChoice,
    choose_start,
    diverges,
    measured_steps,
    scheme_matmuls,
    start_matmuls,
    steps_to,
)

__all__ = [
    "ApproximateInverse",
    "InverseStatus",
    "InversionRefused",
    "StartChoice",
    "approximate_inverse",
    "choose_start",
    "compare_products",
    "diverges",
    "measured_steps",
    "scheme_matmuls",
    "start_matmuls",
    "steps_to",
]
