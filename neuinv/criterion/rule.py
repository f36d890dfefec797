"""The rule that turns measurements and declared facts into one recommendation."""

import math
from dataclasses import dataclass, field

import torch

from neuinv.criterion.evidence import Recommendation
from neuinv.criterion.sources import dtype_name
from neuinv.iterations import NewtonSchulz, best_scheme, count_matmuls, lower_bound_matmuls
from neuinv.metrics import right_residual

__all__ = ["MOST_PRODUCTS", "RULE", "Branch", "Decision", "Products", "decide", "products"]

# A declared cut: beyond so many products a direct solver is recommended. No recommendation looks at a clock.
MOST_PRODUCTS = 20
SAVED_PRODUCTS = 2
# Where even the least number of products is beyond this, no scheme is looked for.
HOPELESS = 3 * MOST_PRODUCTS


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
        Fewest products of a program for *all* matrices of this kind and ratio (polynomial for kind "spd",
        covariant for kind "general"); a program for this family alone may need fewer.
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
class Decision:
    """A recommendation, with its reason."""

    recommendation: Recommendation
    reason: str


def contraction(measurements):
    """Return the factor by which the fitted constant contracts all members, unfitted ones included.

    It is 1 where there are no others, or none that differ: nothing then tests the constant.
    """
    if measurements.held_out is None or measurements.equal:
        return 1.0
    return max(measurements.spread.high, measurements.held_out)


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
        if least <= HOPELESS:
            scheme = best_scheme(ratio, tolerance, kind)
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
    """Return what the network costs a matrix, or None where it misses the tolerance.

    Raises
    ------
    TypeError, ValueError
        It is no map of matrices in float64, or it solves or inverts, whose cost cannot be counted.
    """
    if not callable(network):
        raise TypeError(f"network is {network!r}; pass a callable (..., n, n) -> (..., n, n).")
    with torch.no_grad():
        # A copy: a network may work in place.
        X = network(A.clone())
        if not isinstance(X, torch.Tensor) or X.dtype != A.dtype or X.shape != A.shape:
            what = f"{X.dtype} of shape {tuple(X.shape)}" if isinstance(X, torch.Tensor) else type(X).__name__
            raise TypeError(
                f"the network returns {what} for float64 of shape {tuple(A.shape)}; pass one that maps "
                "matrices to matrices, such as network.double()."
            )
        if not torch.isfinite(X).all() or right_residual(A, X).max() > tolerance:
            return None
        return count_matmuls(network, A[:1].clone())


def decide(source, measurements, counted, tolerance, impossible):
    """Return the recommendation and its reason: that of the first branch of :data:`RULE` that applies.

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
    case = _Case(source, measurements, counted, tolerance, impossible)
    for branch in RULE[:-1]:
        reason = branch.reason(case)
        if reason is not None:
            return Decision(branch.recommendation, reason)
    return Decision(RULE[-1].recommendation, RULE[-1].reason(case))


@dataclass(frozen=True)
class _Case:
    """All that a branch may look at."""

    source: object
    measurements: object
    counted: Products
    tolerance: float
    impossible: object


def _impossible(case):
    return None if case.impossible is None else _capital(case.impossible.sentence)


def _imprecise(case):
    worst = case.measurements.worst_cond
    floor = worst * torch.finfo(case.source.dtype).eps / 2
    if math.isinf(floor):
        return "A matrix is singular to working precision; look at it before anything is computed from it."
    if floor <= case.tolerance:
        return None
    return (
        f"Inputs in {dtype_name(case.source.dtype)} with condition numbers up to {worst:.3g} leave the right "
        f"residual uncertain by {floor:.2g}, more than the tolerance: no method can promise it, unless the "
        "inputs come in a longer dtype."
    )


def _equal(case):
    return (
        "All members are one matrix: invert it once, and keep the inverse."
        if case.measurements.equal
        else None
    )


def _expensive(case):
    fewest = case.counted.fewest
    if fewest is not None and fewest <= MOST_PRODUCTS:
        return None
    needed = "no known program" if fewest is None else f"{fewest} products are needed"
    return f"To the tolerance {needed}; beyond {MOST_PRODUCTS} this rule recommends a direct solver."


def _network(case):
    network, fewest = case.counted.network, case.counted.fewest
    if network is None or network >= fewest:
        return None
    return (
        f"The network meets the tolerance on every matrix that judged it, at {network:.3g} "
        f"products against {fewest}."
    )


def _start(case):
    counted = case.counted
    scheme = counted.scheme.num_matmuls if counted.scheme is not None else math.inf
    if counted.start is None:
        return None
    # A scheme beyond the cut is no alternative, however little the constant saves.
    if scheme <= MOST_PRODUCTS and scheme - counted.start < SAVED_PRODUCTS:
        return None
    q = contraction(case.measurements)
    if counted.start == 0:
        return f"One constant matrix leaves a residual of {q:.2g} on all members seen: no product is needed."
    against = "more than any known program" if counted.scheme is None else counted.scheme.num_matmuls
    return (
        f"One constant leaves ||I - A M|| <= {q:.3g} on members it was not fitted to; from there "
        f"{counted.start} products reach the tolerance, against {against} without it."
    )


def _polynomial(case):
    counted = case.counted
    divide = "Divide each matrix by its Frobenius norm first. " if counted.divide else ""
    kind = "SPD" if counted.kind == "spd" else "general"
    return (
        f"{divide}{counted.scheme.num_matmuls} products ({type(counted.scheme).__name__}) reach the "
        f"tolerance; a program for all {kind} matrices of that ratio needs at least {counted.least}."
    )


@dataclass(frozen=True)
class Branch:
    """One question of the rule, and what it recommends where the answer is yes.

    Attributes
    ----------
    key : str
        Its name.
    question : str
        For a reader; empty for the last branch, which holds whatever the answers were.
    recommendation : Recommendation
    reason : callable
        Returns the reason for the recommendation, or None where the answer is no.
    """

    key: str
    question: str
    recommendation: Recommendation
    reason: object = field(repr=False, compare=False)


RULE = (
    Branch("impossible", "Is it proved that no network can?", Recommendation.CANNOT, _impossible),
    Branch(
        "precision",
        "Is unit roundoff of the input × worst κ above the tolerance?",
        Recommendation.DIRECT,
        _imprecise,
    ),
    Branch("one-matrix", "Are all members one matrix?", Recommendation.DIRECT, _equal),
    Branch(
        "expensive",
        f"Do all known ways need more than {MOST_PRODUCTS} products?",
        Recommendation.DIRECT,
        _expensive,
    ),
    Branch(
        "network",
        "Does your trained network meet the tolerance in fewer products?",
        Recommendation.PLAIN_NETWORK,
        _network,
    ),
    Branch(
        "start",
        f"Does one constant contract, and save {SAVED_PRODUCTS} products or more?",
        Recommendation.LEARNED_START,
        _start,
    ),
    Branch("otherwise", "", Recommendation.POLYNOMIAL, _polynomial),
)


def _capital(sentence):
    return sentence[0].upper() + sentence[1:] + "."
