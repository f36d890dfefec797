r"""The field of values :math:`W(A) = \{v^* A v : \lVert v\rVert = 1\}` of real matrices.

W is compact and convex (Toeplitz and Hausdorff), and symmetric in the real axis where A is real. By
Crouzeix and Palencia (2017), :math:`\lVert q(A)\rVert \le (1+\sqrt 2)\max_{W(A)}|q|` for every polynomial q.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import torch

from neuinv._checks import as_integer, check_matrices
from neuinv.spectrum.bracket import minimax_bracket
from neuinv.spectrum.minimax import as_points, minimax_residual
from neuinv.spectrum.sets import Disc, Polygon, interval

__all__ = ["CROUZEIX_PALENCIA", "FieldOfValues", "field_of_values", "residual_bound"]

CROUZEIX_PALENCIA = 1 + math.sqrt(2)


@dataclass(frozen=True)
class FieldOfValues:
    r"""The field of values of each matrix of a batch, between two polygons.

    Attributes
    ----------
    angles : Tensor, shape (k,)
        t in [0, pi]; the other half follows by symmetry.
    support : Tensor, shape (..., k), float64
        :math:`h(t) = \max_{w \in W} \mathrm{Re}(e^{-it} w)`: W lies in every half-plane Re(e^{-it} w) <=
        h(t).
    points : Tensor, shape (..., k), complex128
        Points of W that attain it; W holds their convex hull.
    distance : Tensor, shape (...,), float64
        From 0 to W: exact, and 0 where W holds 0. As W is symmetric and convex its nearest point is real, so
        it is the larger of 0, the smallest eigenvalue of (A + A^T)/2, and minus the largest one.
    depth_low, depth_high : Tensor, shape (...,), float64
        Bracket of the distance from 0 to the boundary of W where W holds 0, and 0 elsewhere.
    """

    angles: torch.Tensor
    support: torch.Tensor
    points: torch.Tensor
    distance: torch.Tensor
    depth_low: torch.Tensor
    depth_high: torch.Tensor

    @property
    def holds_zero(self):
        """Whether 0 lies in W, shape (...,), bool."""
        return self.distance == 0

    def outer_polygon(self, index=()):
        """Return the polygon of the half-planes of one matrix: a set that holds W.

        Parameters
        ----------
        index : tuple of int
            Of the matrix in the batch.

        Returns
        -------
        Polygon, Intervals or Disc
            An interval where W is real, a tiny disc about a single point.
        """
        h, t = self.support[index].tolist(), self.angles.tolist()
        low, high = -h[-1], h[0]
        size = max(abs(low), abs(high), max(map(abs, h)), 1e-300)
        if max(h[1:-1]) <= size and abs(h[len(h) // 2]) <= 1e-13 * size:
            # Real spectrum of a symmetric matrix: the polygon has no inside.
            return interval(low, high) if high - low > 1e-12 * size else Disc((low + high) / 2, 1e-12 * size)
        corners = []
        for (a, ha), (b, hb) in pairwise(zip(t, h, strict=True)):
            # Where the two supporting lines Re(e^{-ia} w) = ha and Re(e^{-ib} w) = hb meet.
            along = ha * complex(math.cos(b), math.sin(b)) - hb * complex(math.cos(a), math.sin(a))
            corners.append(1j * along / math.sin(a - b))
        upper = [complex(w.real, max(w.imag, 0.0)) for w in corners]
        return Polygon((complex(high), *upper, complex(low)))


def field_of_values(A, *, num_angles=33):
    r"""Return the field of values of real matrices, from the Hermitian parts of rotated matrices.

    Parameters
    ----------
    A : Tensor, shape (..., n, n)
        The matrices.
    num_angles : int
        Directions in [0, pi], both ends included; odd and at least 5. Each costs one Hermitian eigenproblem.

    Returns
    -------
    FieldOfValues
        In the unit of ``A``.

    Raises
    ------
    TypeError, ValueError
        Bad matrices, or ``num_angles`` even or below 5.

    Notes
    -----
    Source: Johnson (1978).

    Examples
    --------
    >>> A = torch.tensor([[3.0, 2.0], [0.0, 3.0]], dtype=torch.float64)
    >>> round(field_of_values(A).distance.item(), 12)  # the disc of radius 1 about 3
    2.0
    """
    check_matrices(A)
    num_angles = as_integer(num_angles, "num_angles", 5)
    if num_angles % 2 == 0:
        raise ValueError(f"num_angles is {num_angles}; pass an odd number.")
    A = A.double()
    H, K = (A + A.mT) / 2, (A - A.mT) / 2
    angles = torch.linspace(0, math.pi, num_angles, dtype=torch.float64, device=A.device)
    support, points = [], []
    for t in angles:
        # Re(e^{-it} w) belongs to the Hermitian part of e^{-it} A, cos(t) H - i sin(t) K.
        rotated = torch.complex(torch.cos(t) * H, -torch.sin(t) * K)
        values, vectors = torch.linalg.eigh(rotated)
        v = vectors[..., -1]
        support.append(values[..., -1])
        points.append(torch.einsum("...i,...ij,...j->...", v.conj(), A.to(v.dtype), v))
    support, points = torch.stack(support, dim=-1), torch.stack(points, dim=-1)
    eigenvalues = torch.linalg.eigvalsh(H)
    distance = torch.maximum(eigenvalues[..., 0], -eigenvalues[..., -1]).clamp(min=0)
    inside = distance == 0
    zero = torch.zeros_like(distance)
    return FieldOfValues(
        angles,
        support,
        points,
        distance,
        torch.where(inside, _depth_of_hull(points), zero),
        torch.where(inside, support.amin(dim=-1).clamp(min=0), zero),
    )


def _depth_of_hull(points):
    """Return the distance from 0 to the boundary of the hull of the points, mirrored; 0 if outside."""
    around = torch.cat([points, points.conj().flip(-1)], dim=-1)
    edge = around.roll(-1, dims=-1) - around
    length = edge.abs()
    # Signed distances from 0 to the lines along the edges, counterclockwise; edges of no length say nothing.
    signed = (around.conj() * edge).imag / length.clamp(min=1e-300)
    signed = torch.where(length > 1e-13 * around.abs().amax(dim=-1, keepdim=True), signed, torch.inf)
    depth = signed.amin(dim=-1)
    return torch.where(torch.isfinite(depth), depth.clamp(min=0), torch.zeros_like(depth))


def residual_bound(A, degree, *, num_angles=65):
    r"""Bound the best residual of a polynomial of the degree, :math:`\min_{q(0)=1} \lVert q(A)\rVert_2`, on
    both sides.

    .. math:: E_m(\sigma(A)) \;\le\; \min_q \lVert q(A)\rVert_2 \;\le\; (1 + \sqrt 2)\, E_m(W(A))

    This is theorem ``thm-field-of-values`` of the book; the upper bound is by Crouzeix and Palencia (2017).

    Parameters
    ----------
    A : Tensor, shape (n, n)
        One matrix.
    degree : int
        m of q = 1 - z p, at least 1.
    num_angles : int
        Sides of the polygon around W in the upper half-plane.

    Returns
    -------
    lower, upper : float
        ``upper`` is 1, that of p = 0, where the field of values holds 0 or its bound is larger. ``lower``
        holds for the computed eigenvalues, which of a nonnormal matrix can be far from the true ones.

    Raises
    ------
    TypeError, ValueError
        A bad matrix or a batch, or a bad degree.

    Examples
    --------
    >>> lower, upper = residual_bound(torch.diag(torch.tensor([1.0, 2.0, 4.0]).double()), 2)
    >>> bool(0 < lower < upper < 1)
    True
    """
    check_matrices(A)
    if A.ndim != 2:
        raise ValueError(f"A has shape {tuple(A.shape)}; pass one matrix (n, n) a call.")
    degree = as_integer(degree, "degree", 1)
    lower = _spectral_lower(torch.linalg.eigvals(A.double()), degree)
    W = field_of_values(A, num_angles=num_angles)
    if bool(W.holds_zero):
        return lower, 1.0
    E = W.outer_polygon()
    return lower, 1.0 if E.separates() else min(1.0, CROUZEIX_PALENCIA * minimax_bracket(E, degree).upper)


def _spectral_lower(eigenvalues, degree):
    z = as_points(eigenvalues)
    distinct = len(z) + int((z.imag > 0).sum())
    return minimax_residual(z, degree).lower if degree < distinct else 0.0
