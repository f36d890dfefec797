"""Finite-element matrices: ``fem-helmholtz``."""

from functools import lru_cache

import torch

from neuinv.gallery._draws import uniform
from neuinv.gallery._mesh import unit_square
from neuinv.gallery.facts import Curve, Facts, segment
from neuinv.gallery.parameters import Parameter
from neuinv.gallery.registry import register_family


@lru_cache(maxsize=8)
def stiffness_and_mass(mesh):
    """Return the P1 stiffness and mass matrices of the unit square at its interior nodes."""
    import numpy as np
    from skfem.models.poisson import laplace, mass

    basis, inside = unit_square(mesh)
    K, M = (form.assemble(basis).toarray()[np.ix_(inside, inside)] for form in (laplace, mass))
    return tuple(torch.as_tensor((F + F.T) / 2) for F in (K, M))


def _helmholtz_at(mesh):
    def function(k):
        K, M = (matrix.to(k.device) for matrix in stiffness_and_mass(mesh))
        return K - (k**2)[..., None, None] * M

    return function


def resonances(mesh):
    """Return the wavenumbers k at which K - k^2 M is singular, ascending.

    Parameters
    ----------
    mesh : int
        Squares along each side.

    Returns
    -------
    Tensor, shape ((mesh - 1)^2,)
        Per side length of the square.
    """
    K, M = stiffness_and_mass(mesh)
    L = torch.linalg.cholesky(M)
    half = torch.linalg.solve_triangular(L, K, upper=False)
    whole = torch.linalg.solve_triangular(L, half.mT, upper=False)
    return torch.linalg.eigvalsh((whole + whole.mT) / 2).sqrt()


def _facts(mesh, k_min, k_max):
    if k_min >= k_max:
        raise ValueError(f"k_min = {k_min} and k_max = {k_max} leave no interval; use k_min < k_max.")
    crossed = int(((k := resonances(mesh)) > k_min).logical_and(k < k_max).sum())
    K, M = stiffness_and_mass(mesh)

    def project(A):
        squared = ((K - A) * M).sum(dim=(-2, -1)) / (M * M).sum()
        return K - squared.clamp(k_min**2, k_max**2)[..., None, None] * M

    return Facts(
        n=(mesh - 1) ** 2,
        tags=("both-det-signs", "indefinite") if crossed and mesh > 2 else (),
        connected=True,
        connected_reason="one parameter k in an interval",
        path=segment,
        project=project,
        project_kind="nearest k^2, clipped to the range",
        curve=Curve(_helmholtz_at(mesh), (k_min, k_max), "k"),
    )


@register_family(
    "fem-helmholtz",
    tags=("symmetric", "normal", "one-parameter", "connected"),
    facts=_facts,
    parameters={
        "mesh": Parameter(8, "squares along each side; n = (mesh - 1)^2", low=2, high=64),
        "k_min": Parameter(2.0, "least wavenumber, per side length", low=0.0, high=1e3),
        "k_max": Parameter(17.0, "greatest wavenumber, per side length", low=0.0, high=1e3),
    },
    use="Frequency sweeps: the response of a cavity to every load at wavenumber k.",
    reference="F. Ihlenburg, 1998, Finite Element Analysis of Acoustic Scattering",
    requires=("skfem (scikit-fem)",),
)
def fem_helmholtz(batch, generator, mesh, k_min, k_max):
    """K - k^2 M, stiffness minus k^2 mass, P1 triangles on the unit square, k uniform.

    Zero boundary values leave the interior nodes. The range of k sweeps across many resonances,
    at each of which an eigenvalue, hence the determinant, changes sign. The whole family is one
    curve, parametrised by k, and it meets singular matrices.
    """
    return _helmholtz_at(mesh)(uniform((batch,), generator, k_min, k_max))
