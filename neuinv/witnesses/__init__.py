"""Matrices on which a given network, or every network, must fail.

Nothing here looks inside the map ``f``: it is any callable (batch, n, n) -> (batch, n, n).
"""

from neuinv.witnesses.inequality import (
    KeyInequality,
    key_inequality,
    nearest_singular,
    output_witness,
    path_to_singular,
)
from neuinv.witnesses.signs import SingularWitness, rational_witness, sign_witness

__all__ = [
    "KeyInequality",
    "SingularWitness",
    "key_inequality",
    "nearest_singular",
    "output_witness",
    "path_to_singular",
    "rational_witness",
    "sign_witness",
]
