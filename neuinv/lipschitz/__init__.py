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
from neuinv.lipschitz.examples import Tightness, example_layers, random_network, tightness_table
from neuinv.lipschitz.local import LocalBound
from neuinv.lipschitz.measured import (
    LowerBound,
    adversarial_pairs,
    jacobian_ascent,
    sampled_lower_bound,
    secant,
    secants,
)
from neuinv.lipschitz.registry import register_input_shape, register_rule
from neuinv.lipschitz.semidefinite import SemidefiniteBound, semidefinite_bound

__all__ = [
    # the class, and the networks in it
    "LipschitzClass",
    "LocalBound",
    "OutsideClass",
    "Rung",
    "identity_class",
    "lipschitz_bound",
    "lipschitz_class",
    "polynomial_class",
    "register_input_shape",
    "register_rule",
    "SemidefiniteBound",
    "semidefinite_bound",
    # what it costs on inversion
    "largest_condition",
    "required_lipschitz",
    # what a search finds
    "LowerBound",
    "Tightness",
    "adversarial_pairs",
    "example_layers",
    "jacobian_ascent",
    "random_network",
    "sampled_lower_bound",
    "secant",
    "secants",
    "tightness_table",
]

del attention, layers, pooling
