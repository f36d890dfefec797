r"""Polynomial schemes for an interval known to hold the spectrum, with products and worst residuals.

A scheme is a callable object: ``scheme(A, interval)`` returns the approximate inverses X. Its residual is a
polynomial of degree N = ``scheme.degree`` with value 1 at 0,

.. math:: I - A X = q(A) \quad\text{for kind "spd"}, \qquad I - A X = q(A A^{\mathsf T}), \quad
   X = p(A^{\mathsf T} A) A^{\mathsf T} \quad\text{for kind "general"},

so that left and right residual are both the maximum of :math:`|q|` over the eigenvalues of A, or over its
squared singular values, whatever its eigenvectors.
"""

from abc import ABC, abstractmethod

import torch

from neuinv._checks import check_matrices

__all__ = ["Scheme"]

KINDS = ("spd", "general")


class Scheme(ABC):
    """What all schemes have in common; subclasses are frozen dataclasses with ``kind`` and ``degree``."""

    @property
    @abstractmethod
    def num_matmuls(self):
        """Matrix products a matrix, exactly."""

    @abstractmethod
    def worst_residual(self, kappa):
        """Return the largest right residual over all matrices of the kind with condition number kappa."""

    @abstractmethod
    def _residual(self, position, ratio):
        """Return q at ``position``, in units in which its interval is [ratio, 1]."""

    @abstractmethod
    def _inverse(self, A, ratio):
        """Return X for A with ||A|| <= 1; ``ratio`` (..., 1, 1) is the lower end of the spectrum of q."""

    def __call__(self, A, interval):
        r"""Return the approximate inverses of a batch of matrices.

        Parameters
        ----------
        A : Tensor, shape (..., n, n)
            The matrices; symmetric for kind ``"spd"``.
        interval : pair of floats, or of Tensors of shape (...,)
            (a, b), 0 < a <= b, in the unit of A: the eigenvalues (spd) or singular values (general) lie in
            [a, b]. This is the hypothesis of :meth:`worst_residual` and it is not checked; where it fails
            the residual may be of any size.

        Returns
        -------
        Tensor, shape (..., n, n)
            X, of the dtype and on the device of ``A``, differentiable in ``A`` and in the interval.

        Raises
        ------
        TypeError, ValueError
            Not finite, real, floating, square matrices, not symmetric although the kind is ``"spd"``, or not
            0 < a <= b.
        """
        check_matrices(A)
        if self.kind == "spd":
            _check_symmetric(A)
        low, high = _check_interval(interval, A)
        # Divided first, in float64: neither a half-precision matrix nor the square of b may overflow.
        unit = (A / high).to(A.dtype)
        ratio = low / high if self.kind == "spd" else (low / high).square()
        return (self._inverse(unit, ratio) / high).to(A.dtype)

    def residual_polynomial(self, values, interval):
        r"""Return q at eigenvalues (spd), or :math:`q(\sigma^2)` at singular values (general).

        Parameters
        ----------
        values : Tensor
            Real numbers, in the unit of A; they may lie outside the interval.
        interval : pair of floats, or of Tensors that broadcast with ``values``
            (a, b) as in a call.

        Returns
        -------
        Tensor, float64
            Dimensionless; 1 at 0.

        Raises
        ------
        ValueError
            Not 0 < a <= b.
        """
        values = torch.as_tensor(values, dtype=torch.float64)
        low, high = (
            torch.as_tensor(end, dtype=torch.float64, device=values.device) for end in _check_ends(interval)
        )
        position, ratio = values / high, low / high
        if self.kind == "general":
            position, ratio = position.square(), ratio.square()
        # An interval that is one point would make the polynomial infinite at every other.
        return self._residual(position, ratio.clamp(max=1 - torch.finfo(torch.float64).eps))


def identity(A):
    """Return I in the shape (..., n, n), dtype and device of ``A``."""
    return torch.eye(A.shape[-1], dtype=A.dtype, device=A.device).expand_as(A)


def _check_symmetric(A):
    size, eps = A.detach().abs().amax(dim=(-2, -1)), torch.finfo(A.dtype).eps
    # Products such as Q diag Q^T are symmetric to rounding only.
    skew = (A.detach() - A.detach().mT).abs().amax(dim=(-2, -1))
    wrong = torch.nonzero(skew.double() > 4 * A.shape[-1] * eps * size.double())
    if len(wrong):
        place = ", ".join(map(str, wrong[0].tolist())) or "..."
        raise ValueError(
            f"A[{place}] differs from its transpose by {skew[tuple(wrong[0])].tolist():.2g}; "
            "kind 'spd' needs symmetric positive definite matrices, use kind='general'."
        )


def _check_ends(interval):
    try:
        low, high = interval
    except (TypeError, ValueError):
        raise ValueError(f"interval is {interval!r}; pass a pair (a, b) with 0 < a <= b.") from None
    low, high = (torch.as_tensor(end, dtype=torch.float64) for end in (low, high))
    if not ((low > 0) & (low <= high.to(low.device)) & torch.isfinite(high).to(low.device)).all():
        raise ValueError(
            f"interval runs from {low.min().tolist():g} to {high.max().tolist():g}; "
            "pass finite ends with 0 < a <= b, in the unit of A."
        )
    return low, high


def _check_interval(interval, A):
    """Return the ends in float64, shape (..., 1, 1), on the device of A."""
    low, high = (end.to(A.device)[..., None, None] for end in _check_ends(interval))
    try:
        torch.broadcast_shapes(low.shape, high.shape, A.shape)
    except RuntimeError:
        raise ValueError(
            f"interval has the shapes {tuple(low.shape[:-2])} and {tuple(high.shape[:-2])} and A the batch "
            f"{tuple(A.shape[:-2])}; pass numbers, or one pair a matrix."
        ) from None
    return low, high
