"""One cell of the study of families: six kinds of networks, several seeds, and what ignores its input.

A *cell* is a family at one setting of its parameters. What is known before training (the verdict, the score,
plain predictors, the answers that ignore their input) and what trained networks reach on matrices they have
not seen are measured here; :mod:`neuinv.family_calls` turns the rows of many cells into calls.
"""

from neuinv.family_cells.before import Before, before_training, criterion_side
from neuinv.family_cells.errors import input_ignoring, measured, towards_singular
from neuinv.family_cells.networks import (
    CELL_KINDS,
    PolynomialNetwork,
    TrainedKind,
    outputs,
    train_kind,
)

__all__ = [
    "CELL_KINDS",
    "Before",
    "PolynomialNetwork",
    "TrainedKind",
    "before_training",
    "criterion_side",
    "input_ignoring",
    "measured",
    "outputs",
    "towards_singular",
    "train_kind",
]
