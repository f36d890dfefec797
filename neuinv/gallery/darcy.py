"""Finite-element matrices of Darcy flow in a random medium: ``fem-darcy``."""

from functools import lru_cache

import torch

from neuinv.gallery._draws import normal
from neuinv.gallery._mesh import unit_square
from neuinv.gallery.facts import Facts, segment
from neuinv.gallery.parameters import Parameter
from neuinv.gallery.registry import register_family


@lru_cache(maxsize=8)
def _triangles(mesh):
    """Return the local stiffness matrices (triangles, 9) and where each entry goes in the flat matrix.

    Entries of boundary nodes go to one extra place at the end, which is thrown away.
    """
    import numpy as np
    from skfem.models.poisson import laplace

    basis, inside = unit_square(mesh)
    local = laplace.coo_data(basis).tolocal()
    n = len(inside)
    number = np.full(basis.N, -1)
    number[inside] = np.arange(n)
    corners = number[basis.element_dofs.T]
    row, column = corners[:, :, None], corners[:, None, :]
    place = np.where((row >= 0) & (column >= 0), row * n + column, n * n)
    return torch.as_tensor(local).reshape(len(local), 9), torch.as_tensor(place).reshape(-1)


def stiffness(mesh, coefficient):
    """Return the stiffness matrices of -div(a grad u) with one coefficient a triangle.

    Parameters
    ----------
    mesh : int
        Squares along each side.
    coefficient : Tensor, shape (batch, 2 mesh^2)
        Permeabilities, positive, dimensionless; in the order of skfem's triangles.

    Returns
    -------
    Tensor, shape (batch, (mesh - 1)^2, (mesh - 1)^2)
    """
    local, place = _triangles(mesh)
    n = (mesh - 1) ** 2
    entries = (coefficient[:, :, None] * local).flatten(1)
    flat = torch.zeros(len(coefficient), n * n + 1, dtype=torch.float64).index_add_(1, place, entries)
    A = flat[:, :-1].reshape(-1, n, n)
    return (A + A.mT) / 2


def _facts(mesh, spread):
    return Facts(
        n=(mesh - 1) ** 2,
        connected=True,
        connected_reason="linear in the coefficients, which fill a convex cone",
        path=segment,
    )


@register_family(
    "fem-darcy",
    tags=("spd", "symmetric", "normal", "det-positive", "connected"),
    facts=_facts,
    parameters={
        "mesh": Parameter(8, "squares along each side; n = (mesh - 1)^2", low=2, high=64),
        "spread": Parameter(1.0, "standard deviation of log a", above=0.0, high=4.0),
    },
    use="Pressure of groundwater or oil in rock of uncertain permeability, for every well at once.",
    reference="G. J. Lord et al., 2014, An Introduction to Computational Stochastic PDEs",
    requires=("skfem (scikit-fem)",),
)
def fem_darcy(batch, generator, mesh, spread):
    """The stiffness matrix of -div(a grad u), log a normal on each triangle, P1 on the unit square.

    Each of the 2 mesh^2 triangles has a coefficient of its own, exp(spread z) with z standard
    normal and independent; zero boundary values leave the interior nodes.
    """
    return stiffness(mesh, torch.exp(spread * normal((batch, 2 * mesh**2), generator)))
