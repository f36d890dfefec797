"""Networks that see a matrix only up to permutations, signs and scale, and networks that multiply.

The inverse commutes with signed permutations and with scaling: of all matrices that these carry into one
another, a network need learn the inverse of one.
"""

from dataclasses import dataclass

import torch
from torch import nn

from neuinv._checks import check_matrices
from neuinv.lipschitz import register_input_shape
from neuinv.networks import _check_sizes

__all__ = ["CanonicalForm", "CanonicalNetwork", "ProductNetwork", "canonical_form"]


@dataclass(frozen=True)
class CanonicalForm:
    r"""A matrix up to signed permutations and scale: :math:`C_{ij} = r_i c_j A_{\rho(i)\gamma(j)} / s`."""

    matrix: torch.Tensor  # C, (..., n, n)
    rows: torch.Tensor  # rho, (..., n), int64
    columns: torch.Tensor  # gamma, (..., n), int64
    row_signs: torch.Tensor  # r, (..., n), each 1 or -1
    column_signs: torch.Tensor  # c, (..., n), each 1 or -1
    scale: torch.Tensor  # s > 0, (..., 1, 1), in the unit of A

    def restore(self, Y):
        """Carry an approximate inverse Y of the form back to one of the matrix, both of shape (..., n, n)."""
        Y = Y * self.column_signs[..., :, None] * self.row_signs[..., None, :] / self.scale
        # X[gamma(j), rho(i)] = Y[j, i]: the inverse permutations say where each row and column comes from.
        Y = _take_rows(Y, self.columns.argsort(dim=-1))
        return _take_rows(Y.mT, self.rows.argsort(dim=-1)).mT


def canonical_form(A):
    r"""Return the canonical form of each matrix under signed permutations and scaling.

    The entry of largest modulus comes to the upper left corner and is divided by; the other rows and columns
    are sorted by their modulus in its column and its row, largest first; signs make the first row and the
    first column nonnegative.

    Parameters
    ----------
    A : Tensor, shape (..., n, n)
        The matrices. The zero matrix is its own form, with scale 1.

    Returns
    -------
    CanonicalForm
        With ``matrix`` of the dtype of ``A``, entries in [-1, 1], dimensionless.

    Raises
    ------
    TypeError, ValueError
        Not finite, real, floating, square matrices.

    Notes
    -----
    Statement `prop-canonical-form` of the book. The form jumps where two of the compared moduli are equal,
    a set of measure 0.

    Examples
    --------
    >>> import torch
    >>> form = canonical_form(torch.tensor([[0.0, 1.0], [-2.0, 0.0]]))
    >>> form.matrix.tolist(), form.scale.item()
    ([[1.0, 0.0], [0.0, 0.5]], 2.0)
    """
    check_matrices(A)
    return _unchecked_form(A)


def _unchecked_form(A):
    """Return :func:`canonical_form` without a look at the entries, for which a GPU would have to wait."""
    n = A.shape[-1]
    place = A.detach().abs().flatten(-2).argmax(dim=-1)
    row, column = place // n, place % n
    # The pivot is the largest of its row and column, so that sorting them brings it to the corner.
    in_column = _take_rows(A.mT, column[..., None]).squeeze(-2)
    in_row = _take_rows(A, row[..., None]).squeeze(-2)
    rows = in_column.abs().argsort(dim=-1, descending=True, stable=True)
    columns = in_row.abs().argsort(dim=-1, descending=True, stable=True)
    C = _take_rows(_take_rows(A, rows).mT, columns).mT
    row_signs = _signs(C[..., :, 0])
    C = C * row_signs[..., :, None]
    column_signs = _signs(C[..., 0, :])
    C = C * column_signs[..., None, :]
    corner = C[..., :1, :1]
    scale = torch.where(corner > 0, corner, torch.ones_like(corner))
    return CanonicalForm(C / scale, rows, columns, row_signs, column_signs, scale)


def _take_rows(M, index):
    """Return the rows of M, shape (..., n, n), that an index of shape (..., k) names."""
    return M.gather(-2, index[..., :, None].expand(*index.shape, M.shape[-1]))


def _signs(values):
    return torch.where(values < 0, -1.0, 1.0).to(values)


class CanonicalNetwork(nn.Module):
    r"""The network :math:`f(A)` = the canonical form of A, through g, carried back.

    It is equivariant exactly, :math:`f(tPAQ) = Q^{\mathsf T} f(A) P^{\mathsf T} / t` for signed permutations
    P, Q and t > 0, away from ties; its residuals and relative errors are those of g on the form. It divides
    once, by the entry of largest modulus, and jumps at ties: it lies in no class Lip(c, L, p).

    Parameters
    ----------
    inner : torch.nn.Module
        The network g, (..., n, n) -> (..., n, n).

    Notes
    -----
    Statement `prop-canonical-form` of the book.
    """

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, A):
        """Map A, shape (..., n, n), to its approximate inverse of the same shape."""
        form = _unchecked_form(check_matrices(A, entries=False))
        return form.restore(self.inner(form.matrix))


class ProductNetwork(nn.Module):
    r"""Layers that multiply, then a gate: :math:`z \leftarrow [z, (W_k z) \odot (V_k z)]`, read out as
    :math:`R\,((Pz) \odot G(z))` with G a two-layer GELU network.

    With k product layers z holds polynomials of degree up to :math:`2^k` in the entries, such as cofactors
    and the determinant; the gate can learn the reciprocal of one. Nothing is divided.

    Parameters
    ----------
    n : int
        Size of the matrices.
    width : int
        Products in a layer, and neurons of the gate.
    depth : int
        Product layers.

    Raises
    ------
    ValueError
        A size below 1.
    """

    def __init__(self, n, width=64, depth=2):
        super().__init__()
        _check_sizes(n=n, width=width, depth=depth)
        self.left, self.right = nn.ModuleList(), nn.ModuleList()
        features = n * n
        for _ in range(depth):
            self.left.append(nn.Linear(features, width))
            self.right.append(nn.Linear(features, width))
            features += width
        self.value = nn.Linear(features, width)
        self.gate = nn.Sequential(
            nn.Linear(features, width), nn.GELU(), nn.Linear(width, width), nn.GELU(), nn.Linear(width, width)
        )
        self.read = nn.Linear(width, n * n)

    def forward(self, A):
        """Map A, shape (..., n, n), to its approximate inverse of the same shape."""
        z = A.flatten(-2)
        for left, right in zip(self.left, self.right, strict=True):
            z = torch.cat([z, left(z) * right(z)], dim=-1)
        return self.read(self.value(z) * self.gate(z)).unflatten(-1, A.shape[-2:])


def _side(network):
    n = round(network.left[0].in_features ** 0.5)
    return (n, n)


register_input_shape(ProductNetwork, _side)
