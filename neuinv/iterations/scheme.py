r"""Polynomial schemes for an interval known to hold the spectrum, with products and worst residuals.

A scheme is a callable object: ``scheme(A, interval)`` returns the approximate inverses X. Its residual is a
polynomial of degree N = ``scheme.degree`` with value 1 at 0,

.. math:: I - A X = q(A) \quad\text{for kind "spd"}, \qquad I - A X = q(A A^{\mathsf T}), \quad
   X = p(A^{\mathsf T} A) A^{\mathsf T} \quad\text{for kind "general"},

so that left and right residual are both the maximum of :math:`|q|` over the eigenvalues of A, or over its
squared singular values, whatever its eigenvectors.
"""

import math
from abc import ABC, abstractmethod

import torch

from neuinv._checks import check_matrices

__all__ = ["Scheme"]

KINDS = ("spd", "general")
PIECE_BYTES = 2**18  # of one matrix argument; a heuristic, for caches of a few MB


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
        """Return X for A with ||A|| <= 1; ``ratio`` is the lower end of the spectrum of q.

        It is a float where it is the same for all matrices, else a Tensor (..., 1, 1).
        """

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
        ratio = low / high if self.kind == "spd" else (low / high).square()
        ratio, single = _as_number(ratio), _as_number(high)
        if isinstance(single, float) and 1e-30 < single < 1e30:
            high = single
        return _in_pieces(self._inverse_scaled, A, ratio, high)

    def _inverse_scaled(self, A, ratio, high):
        return (self._inverse((A / high).to(A.dtype), ratio) / high).to(A.dtype)

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


def cast(coefficient, A):
    """Return a coefficient, a float or a Tensor (..., 1, 1), ready to multiply matrices of the dtype of A."""
    return coefficient if isinstance(coefficient, float) else coefficient.to(A.dtype)


def is_traced(tensor):
    """Return whether torch follows what is done to a tensor, so that its values must not leave it."""
    wrapped = torch._C._functorch.is_functorch_wrapped_tensor(tensor)
    dual = torch.autograd.forward_ad._current_level >= 0
    return tensor.requires_grad or wrapped or dual or torch.compiler.is_compiling()


def _as_number(values):
    """Return a Tensor as a float where all of its entries are equal.

    The coefficients of a scheme take a hundred operations, which cost as much on tiny tensors as the products
    of a small batch, and nothing on floats.
    """
    if is_traced(values):
        return values
    first = values.flatten()[0]
    same = values.numel() == 1 or bool((values == first).all())
    return float(first) if same else values


def piece_length(A):
    """Return how many matrices of the size of those of ``A`` to work on at a time.

    On the CPU the intermediate results then stay in the cache and in memory that is used again; on other
    devices one piece is the whole batch.
    """
    n, batch = A.shape[-1], max(1, math.prod(A.shape[:-2]))
    if A.device.type != "cpu" or torch.compiler.is_compiling():
        return batch
    return min(batch, max(1, PIECE_BYTES // (n * n * A.element_size())))


def _in_pieces(function, A, *ends):
    """Apply ``function`` to A (..., n, n) and ends, a piece of the batch at a time.

    Of the ends, floats go with every piece and Tensors (..., 1, 1) are cut as A is.
    """
    batch, length = A.shape[:-2], piece_length(A)
    if A.ndim == 2 or length >= math.prod(batch):
        return function(A, *ends)
    cut = [A.reshape(-1, *A.shape[-2:]).split(length)]
    for end in ends:
        single = isinstance(end, float)
        cut.append(
            [end] * len(cut[0]) if single else end.expand(*batch, 1, 1).reshape(-1, 1, 1).split(length)
        )
    results = [function(*piece) for piece in zip(*cut, strict=True)]
    return torch.cat(results).reshape(*batch, *results[0].shape[1:])


def _check_symmetric(A):
    A, eps = A.detach(), torch.finfo(A.dtype).eps
    # Products such as Q diag Q^T are symmetric to rounding only.
    skew = _in_pieces(_skewness, A)
    wrong = torch.nonzero(skew[..., 0].double() > 4 * A.shape[-1] * eps * skew[..., 1].double())
    if len(wrong):
        place = ", ".join(map(str, wrong[0].tolist())) or "..."
        raise ValueError(
            f"A[{place}] differs from its transpose by {skew[tuple(wrong[0])][0].tolist():.2g}; "
            "kind 'spd' needs symmetric positive definite matrices, use kind='general'."
        )


def _skewness(A):
    """Return the largest entries of A - A^T and of A (..., n, n), shape (..., 2)."""
    return torch.stack([M.abs().amax(dim=(-2, -1)) for M in (A - A.mT, A)], dim=-1)


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
