"""What the front door returns, and the sentences it says."""

from dataclasses import dataclass
from enum import Enum

import numpy as np
import torch

__all__ = ["ApproximateInverse", "InverseStatus", "InversionRefused"]


class InverseStatus(Enum):
    """How a matrix was inverted, or why not; each value is a sentence for its owner."""

    SCHEME = "Inverted by the polynomial scheme."
    CORRECTED = "Inverted by the polynomial scheme and at least one residual correction X + X(I - AX)."
    DIRECT_COST = (
        "Inverted by a direct solver, because the scheme for the estimated condition number would take more "
        "than max_matmuls products."
    )
    DIRECT_INTERVAL = (
        "Inverted by a direct solver, because the proof failed for the scheme's result: the interval given "
        "does not hold the spectrum, or rounding at this condition number exceeds the tolerance."
    )
    DIRECT_ESTIMATE = (
        "Inverted by a direct solver, because the proof failed for the scheme's result: the estimated "
        "interval missed a part of the spectrum, or rounding at this condition number exceeds the tolerance."
    )
    SINGULAR = (
        "Refused: singular to working precision, since rounding the entries of A may make it singular; give "
        "A in a higher precision or solve a regularised problem."
    )
    DATA_FLOOR = (
        "Refused: the tolerance is below the data floor u kappa of the dtype of A; raise the tolerance or "
        "give A in a higher precision."
    )
    OVERFLOW = "Refused: the inverse overflows its dtype, or is subnormal there; rescale A."
    UNPROVED = "Refused: no result was proved to reach the tolerance; raise the tolerance."

    @property
    def refused(self):
        """Whether X = 0 stands in for an inverse."""
        return self in (self.SINGULAR, self.DATA_FLOOR, self.OVERFLOW, self.UNPROVED)

    @property
    def direct(self):
        """Whether X comes from a direct solver."""
        return self in (self.DIRECT_COST, self.DIRECT_INTERVAL, self.DIRECT_ESTIMATE)


class InversionRefused(ValueError):
    """At least one matrix has no inverse that is proved to reach the tolerance.

    ``refused`` maps the index of each such matrix, a tuple, to its :class:`InverseStatus`.
    """

    def __init__(self, refused, count, tolerance):
        self.refused = refused
        some = list(refused.items())[:5]
        shown = " ".join(f"A{list(index) if index else ''}: {status.value}" for index, status in some)
        more = f" And {len(refused) - 5} more." if len(refused) > 5 else ""
        super().__init__(
            f"{len(refused)} of {count} matrices refused at tolerance {tolerance:g}. {shown}{more} "
            "Use on_refusal='mark' to get the others."
        )


@dataclass(frozen=True)
class ApproximateInverse:
    r"""Approximate inverses with the proof of their accuracy; see :func:`approximate_inverse`."""

    X: torch.Tensor  # (..., n, n); 0 where refused
    accepted: torch.Tensor  # (...,) bool: ||A X - I||_2 <= tolerance is proved
    residual_bound: torch.Tensor  # (...,) float64, an upper bound of ||A X - I||_2, rounding included
    error_bound: torch.Tensor  # (...,) float64, of ||A^-1 - X||_2, in the unit of X; infinite where refused
    sigma_min_bound: torch.Tensor  # (...,) float64, below sigma_min(A), in the unit of A; 0 where refused
    data_floor: torch.Tensor  # (...,) float64, min(1, u ||A||_F ||X||_F), u of the dtype of A
    status: np.ndarray  # (...,) of InverseStatus; the status itself for a single matrix
    num_matmuls: float  # products of scheme, estimates and corrections, of the matrix that needed most
    num_check_matmuls: float  # products of the proofs, of the matrix that needed most
    matmuls: torch.Tensor  # (...,) float64, the same matrix by matrix
    check_matmuls: torch.Tensor  # (...,) float64
