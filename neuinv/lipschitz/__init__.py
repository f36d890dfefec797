"""The class Lip(c, L, p) as a calculus that computes: any torch network in, proved constants out.

Everything certified here holds in exact arithmetic, for the weights as stored, in the Euclidean norm (the
Frobenius norm on matrices); what is only searched for is called a lower bound, an estimate from below.
"""

# Rules are registered when their module is read.
from neuinv.lipschitz import attention, layers, pooling
from neuinv.lipschitz.bounds import (
    largest_condition,
    lipschitz_bound,
    lipschitz_class,
    required_lipschitz,
)
from neuinv.lipschitz.classes import LipschitzClass, OutsideClass, Rung, identity_class, polynomial_class
from neuinv.lipschitz.local import LocalBound
from neuinv.lipschitz.registry import register_input_shape, register_rule

__all__ = [
    "LipschitzClass",
    "LocalBound",
    "OutsideClass",
    "Rung",
    "identity_class",
    "largest_condition",
    "lipschitz_bound",
    "lipschitz_class",
    "polynomial_class",
    "register_input_shape",
    "register_rule",
    "required_lipschitz",
]

del attention, layers, pooling
