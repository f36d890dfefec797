"""Why no network inverts a family: by declaration, by proof or by a certificate, never by a sample."""

from dataclasses import dataclass

import torch

from neuinv.criterion.evidence import Evidence
from neuinv.metrics import smallest_singular_value

__all__ = ["Impossible", "impossibility", "is_rare"]

# Up to this tail index of ||A^-1|| the squared error of every bounded map has no mean.
HEAVIEST_TAIL = 2.0
# Rational arithmetic is slow: it decides about so many members of such a size, the worst first.
EXACT_SIZE, EXACT_COUNT = 64, 3


@dataclass(frozen=True)
class Impossible:
    """Why no network of a named class inverts the family."""

    sentence: str
    evidence: Evidence
    statement: str


def is_rare(family, measurements):
    """Tell whether nearly singular members are rare: by a declared tail index, or because none was seen.

    The exponent alone does not decide: P(||A^-1|| > x) ~ c/x with a tiny c is never met. So a sample in which
    the tail looks lighter than 2, with 95 % confidence, can withhold *cannot*; it can never cause it.
    """
    declared = family.tail_index is not None and family.tail_index > HEAVIEST_TAIL
    return declared or (measurements.tail is not None and measurements.tail.low > HEAVIEST_TAIL)


def impossibility(source, measurements):
    """Return why no network inverts the family, or None: by declaration or by proof, never by a sample.

    Members on the way to a singular matrix count unless they are rare, see :func:`is_rare`; the verdict then
    says that no network inverts *every* member, and goes on.

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
    if family is not None and family.has_singular_limit and not is_rare(family, measurements):
        return Impossible(
            "the family declares members that converge to a singular matrix while their condition number "
            "grows without bound: no network that is bounded near that matrix does better there than "
            "answering 0, and no division by a norm helps",
            Evidence.PROOF,
            "prop-cannot",
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
            "prop-cannot",
        )
    return None


def _exactly_singular(A, measurements):
    """Return the index of an exactly singular member, among the first that rounding leaves undecided."""
    eps = torch.finfo(torch.float64).eps
    undecided = torch.nonzero(~(measurements.cond * A.shape[-1] * eps < 1)).flatten().tolist()
    for index in undecided:
        if _plainly_singular(A[index]):
            return index
    if A.shape[-1] > EXACT_SIZE:
        return None
    worst_first = sorted(undecided, key=lambda index: -measurements.cond[index].item())
    for index in worst_first[:EXACT_COUNT]:
        if smallest_singular_value(A[index]) == 0:
            return index
    return None


def _plainly_singular(A):
    """Whether a row or a column is zero, or equal to another one: no arithmetic is needed to see it."""
    sides = (A, A.mT)
    return any((side == 0).all(dim=1).any() or len(torch.unique(side, dim=0)) < len(A) for side in sides)
