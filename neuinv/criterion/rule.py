"""The rule that turns measurements and declared facts into one recommendation."""

import math
from dataclasses import dataclass

import torch

from neuinv.criterion.evidence import Evidence, Recommendation
from neuinv.criterion.sources import dtype_name
from neuinv.iterations import NewtonSchulz, best_scheme, count_matmuls, lower_bound_matmuls
from neuinv.metrics import right_residual, smallest_singular_value

__all__ = ["MOST_PRODUCTS", "Decision", "Impossible", "Products", "decide", "impossibility", "products"]

# Up to this tail index of ||A^-1|| the squared error of every bounded map has no mean.
HEAVIEST_TAIL = 2.0
# A declared cut: beyond so many products a direct solver is recommended. No recommendation looks at a clock.
MOST_PRODUCTS = 20
SAVED_PRODUCTS = 2
EXACT_SIZE, EXACT_COUNT = 64, 3


@dataclass(frozen=True)
class Products:
    """Matrix products to the tolerance on singular values (spd: eigenvalues) in [1/ratio, 1].

    Attributes
    ----------
    kind : {"spd", "general"}
    ratio : float
        b / a of the interval that holds the values of the sample, after the division if there is one.
    divide : bool
        Whether each matrix is divided by its Frobenius norm first.
    scheme : Scheme or None
        With the fewest products known; None where none reaches the tolerance.
    least : int or None
        Below it no program exists (polynomial for kind "spd", covariant for kind "general").
    classical : int or None
        Products of Newton-Schulz from the best multiple of I or of the transpose.
    start : int or None
        Products of Newton-Schulz from one constant; None where the constant does not contract.
    network : float or None
        Products of the network that was passed, where it meets the tolerance on the sample.
    """

    kind: str
    ratio: float
    divide: bool
    scheme: object | None
    least: int | None
    classical: int | None
    start: int | None
    network: float | None

    @property
    def fewest(self):
        """The fewest products of a scheme or of a constant start, or None."""
        known = [m for m in (self._scheme_products(), self.start) if m is not None]
        return min(known, default=None)

    def _scheme_products(self):
        return None if self.scheme is None else self.scheme.num_matmuls


@dataclass(frozen=True)
class Impossible:
    """Why no network of a named class inverts the family."""

    sentence: str
    evidence: Evidence
    statement: str


@dataclass(frozen=True)
class Decision:
    """A recommendation, with its reason."""

    recommendation: Recommendation
    reason: str


def contraction(measurements):
    """Return the factor by which the fitted constant contracts members that it was not fitted to."""
    one = measurements.held_out is None
    return measurements.spread.high if one else max(measurements.spread.high, measurements.held_out)


def products(measurements, tolerance, *, spd=False, network=None, held_out=None):
    """Count the products of every known way to the tolerance.

    Parameters
    ----------
    measurements : Measurements
        Of the sample.
    tolerance : float
        Of the right residual.
    spd : bool
        Whether the family is declared symmetric positive definite.
    network : callable, optional
        A trained network.
    held_out : Tensor, shape (N, n, n), optional
        Matrices to judge it on.

    Returns
    -------
    Products
    """
    kind = "spd" if spd or measurements.positive else "general"
    # A division is one more operation at run time: only where it saves a fifth of the interval.
    divide = measurements.scaled_ratio < 0.8 * measurements.absolute_ratio
    ratio = measurements.scaled_ratio if divide else measurements.absolute_ratio
    scheme = least = classical = None
    if math.isfinite(ratio):
        ratio = max(1.0, ratio)
        least = lower_bound_matmuls(ratio, tolerance, "spd" if kind == "spd" else "covariant")
        scheme = _reach(lambda: best_scheme(ratio, tolerance, kind))
        classical = _classical(ratio, tolerance, kind)
    return Products(
        kind=kind,
        ratio=ratio,
        divide=divide,
        scheme=scheme,
        least=least,
        classical=classical,
        start=constant_start(contraction(measurements), tolerance),
        network=None if network is None else _network_products(network, held_out, tolerance),
    )


def _reach(search):
    try:
        return search()
    except ValueError:  # no known scheme reaches the tolerance
        return None


def constant_start(q, tolerance):
    """Return 2 k for the least k with q^(2^k) <= tolerance, or None for q >= 1."""
    if not q < 1:
        return None
    k = 0
    while q > tolerance:
        q, k = q * q, k + 1
    return 2 * k


def _classical(ratio, tolerance, kind):
    steps = 0
    while NewtonSchulz(steps, kind).worst_residual(ratio) > tolerance:
        steps += 1
    return NewtonSchulz(steps, kind).num_matmuls


def _network_products(network, A, tolerance):
    """Return what the network costs a matrix, or None where it misses the tolerance."""
    with torch.no_grad():
        X = network(A)
        if X.shape != A.shape or not torch.isfinite(X).all():
            return None
        if right_residual(A, X).max() > tolerance:
            return None
        return count_matmuls(network, A[:1])


def is_rare(family):
    """Tell whether a family declares a tail so light that its nearly singular members are rare."""
    return family.tail_index is not None and family.tail_index > HEAVIEST_TAIL


def impossibility(source, measurements):
    """Return why no network inverts the family, or None: by declaration or by proof, never by a sample.

    Members on the way to a singular matrix count unless the family declares them rare, by a tail index of
    the inverse's norm above 2; the verdict then says that no network inverts *every* member, and goes on.

    A singular member is found in exact arithmetic. Determinants of both signs count only where the family is
    declared connected.

    Parameters
    ----------
    source : Source
    measurements : Measurements

    Returns
    -------
    Impossible or None
    """
    family = source.family
    if family is not None and family.has_singular_limit and not is_rare(family):
        return Impossible(
            "the family declares members that converge to a singular matrix while their condition number "
            "grows without bound: no network that is bounded near that matrix does better there than "
            "answering 0, and no division by a norm helps",
            Evidence.PROOF,
            "thm-zero-network",
        )
    if family is not None and family.connected and family.bounds.condition is None:
        if measurements.num_positive and measurements.num_negative:
            return Impossible(
                f"the family is connected ({family.connected_reason}) and has determinants of both signs: "
                "a continuous network has a right residual of at least 1 on members of either sign",
                Evidence.PROOF,
                "thm-sign-obstruction",
            )
    singular = _exactly_singular(source.A, measurements)
    if singular is not None:
        return Impossible(
            f"matrix {singular} (counted from 0) is exactly singular: every answer leaves a residual of at "
            "least 1 there; remove singular matrices and ask again about the others",
            Evidence.CERTIFICATE,
            "thm-sign-obstruction",
        )
    return None


def _exactly_singular(A, measurements):
    """Return the index of an exactly singular member, among the first that rounding leaves undecided."""
    eps = torch.finfo(torch.float64).eps
    undecided = torch.nonzero(~(measurements.cond * A.shape[-1] * eps < 1)).flatten()
    if A.shape[-1] > EXACT_SIZE:
        return None
    for index in undecided[:EXACT_COUNT].tolist():
        if smallest_singular_value(A[index]) == 0:
            return index
    return None


def decide(source, measurements, counted, tolerance, impossible):
    """Return the recommendation and its reason.

    In this order: *cannot* where it is proved; *direct* where the data floor is above the tolerance or every
    known way needs more than 20 products; *plain-network* where the one that was passed is cheapest;
    *learned-start* where a constant contracts and saves two products; else *polynomial*.

    Parameters
    ----------
    source : Source
    measurements : Measurements
    counted : Products
    tolerance : float
    impossible : Impossible or None

    Returns
    -------
    Decision
    """
    if impossible is not None:
        return Decision(Recommendation.CANNOT, _capital(impossible.sentence))
    unit = torch.finfo(source.dtype).eps / 2
    floor = measurements.worst_cond * unit
    if floor > tolerance:
        return Decision(
            Recommendation.DIRECT,
            f"Inputs in {dtype_name(source.dtype)} with condition numbers up to "
            f"{measurements.worst_cond:.3g} leave the right residual uncertain by {floor:.2g}, more than the "
            "tolerance.",
        )
    if counted.fewest is None or counted.fewest > MOST_PRODUCTS:
        needed = "no known program" if counted.fewest is None else f"{counted.fewest} products are needed"
        return Decision(
            Recommendation.DIRECT,
            f"To the tolerance {needed}; beyond {MOST_PRODUCTS} this rule recommends a direct solver.",
        )
    if counted.network is not None and counted.network < counted.fewest:
        return Decision(
            Recommendation.PLAIN_NETWORK,
            f"The network meets the tolerance on every matrix that judged it, at {counted.network:.3g} "
            f"products against {counted.fewest}.",
        )
    scheme = counted.scheme.num_matmuls if counted.scheme is not None else math.inf
    # A scheme beyond the cut is no alternative, however little the constant saves.
    if counted.start is not None and (scheme > MOST_PRODUCTS or scheme - counted.start >= SAVED_PRODUCTS):
        return Decision(Recommendation.LEARNED_START, _start_reason(measurements, counted))
    name = type(counted.scheme).__name__
    divide = "Divide each matrix by its Frobenius norm first. " if counted.divide else ""
    return Decision(
        Recommendation.POLYNOMIAL,
        f"{divide}{counted.scheme.num_matmuls} products ({name}) reach the tolerance; no program can with "
        f"fewer than {counted.least}.",
    )


def _start_reason(measurements, counted):
    q = contraction(measurements)
    if counted.start == 0:
        return f"One constant matrix leaves a residual of {q:.2g} on all members seen: no product is needed."
    against = "more than any known program" if counted.scheme is None else counted.scheme.num_matmuls
    return (
        f"One constant leaves ||I - A M|| <= {q:.3g} on members it was not fitted to; from there "
        f"{counted.start} products reach the tolerance, against {against} without it."
    )


def _capital(sentence):
    return sentence[0].upper() + sentence[1:] + "."
