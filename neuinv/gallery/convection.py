"""Finite-element matrices of convection and diffusion: ``fem-convection``."""

import math
from functools import lru_cache

import torch

from neuinv.gallery._draws import uniform
from neuinv.gallery._mesh import unit_square
from neuinv.gallery.facts import Bounds, Facts
from neuinv.gallery.finite_elements import stiffness_and_mass
from neuinv.gallery.parameters import Parameter
from neuinv.gallery.registry import register_family


@lru_cache(maxsize=8)
def transport(mesh):
    """Return the Galerkin matrices of d/dx and d/dy at the interior nodes, skew-symmetric.

    Parameters
    ----------
    mesh : int
        Squares along each side.

    Returns
    -------
    Cx, Cy : Tensor, shape ((mesh - 1)^2, (mesh - 1)^2)
    """
    import numpy as np
    import skfem

    basis, inside = unit_square(mesh)
    forms = [skfem.BilinearForm(lambda u, v, w, axis=axis: u.grad[axis] * v) for axis in (0, 1)]
    C = [torch.as_tensor(form.assemble(basis).toarray()[np.ix_(inside, inside)]) for form in forms]
    # integration by parts moves the derivative with a minus sign: the boundary values vanish
    return tuple((F - F.mT) / 2 for F in C)


def _assemble(mesh, viscosity, angle):
    """Return nu K + cos(angle) Cx + sin(angle) Cy for parameters of one shape (...,)."""
    K, _ = stiffness_and_mass(mesh)
    Cx, Cy = transport(mesh)
    nu, angle = viscosity[..., None, None], angle[..., None, None]
    return nu * K + torch.cos(angle) * Cx + torch.sin(angle) * Cy


def _fit(mesh, A):
    """Return viscosity and angle of the matrices closest to A in the span of K, Cx and Cy."""
    K, _ = stiffness_and_mass(mesh)
    Cx, Cy = transport(mesh)

    def inner(M, N):
        return (M * N).sum(dim=(-2, -1))

    # K is symmetric, hence orthogonal to Cx and Cy; these two are not orthogonal to one another
    gram = torch.stack([inner(Cx, Cx), inner(Cx, Cy), inner(Cx, Cy), inner(Cy, Cy)]).reshape(2, 2)
    b = torch.stack([inner(A, Cx), inner(A, Cy)], dim=-1) @ torch.linalg.inv(gram)
    return inner(A, K) / inner(K, K), torch.atan2(b[..., 1], b[..., 0])


def _path(mesh):
    """Return the path of members: log-linear viscosity, and the angle turns the shorter way."""

    def path(A, B, s):
        (first, start), (last, end) = (_fit(mesh, M) for M in (A, B))
        turn = torch.remainder(end - start + math.pi, 2 * math.pi) - math.pi
        s = s[:, 0, 0]
        return _assemble(mesh, first ** (1 - s) * last**s, start + s * turn)

    return path


def _facts(mesh, nu_min, nu_max):
    if nu_min > nu_max:
        raise ValueError(f"nu_min = {nu_min} exceeds nu_max = {nu_max}; use nu_min <= nu_max.")
    eigenvalues = torch.linalg.eigvalsh(stiffness_and_mass(mesh)[0])
    # the symmetric part is nu K, so |A x| >= nu lambda_min(K) |x|; and by Cauchy and Schwarz
    # |cos Cx + sin Cy| <= sqrt(|Cx|^2 + |Cy|^2)
    least = nu_min * float(eigenvalues[0])
    drift = math.hypot(*(float(torch.linalg.matrix_norm(C, 2)) for C in transport(mesh)))
    norm = nu_max * float(eigenvalues[-1]) + drift

    def project(A):
        viscosity, angle = _fit(mesh, A)
        return _assemble(mesh, viscosity.clamp(nu_min, nu_max), angle)

    return Facts(
        n=(mesh - 1) ** 2,
        bounds=Bounds(least, norm, norm / least),
        connected=True,
        connected_reason="two parameters, the viscosity in an interval and the angle on a circle",
        path=_path(mesh),
        project=project,
        project_kind="least-squares viscosity, clipped to its range, and direction",
    )


@register_family(
    "fem-convection",
    tags=("nonsymmetric", "det-positive", "connected", "bounded-condition"),
    facts=_facts,
    parameters={
        "mesh": Parameter(8, "squares along each side; n = (mesh - 1)^2", low=3, high=64),
        "nu_min": Parameter(1e-2, "least viscosity, for a wind and a side of length 1", low=1e-8, high=1e3),
        "nu_max": Parameter(1.0, "greatest viscosity, likewise", low=1e-8, high=1e3),
    },
    use="Transport of heat or a pollutant in a wind: the response to a source anywhere.",
    reference="H. C. Elman et al., 2014, Finite Elements and Fast Iterative Solvers",
    requires=("skfem (scikit-fem)",),
)
def fem_convection(batch, generator, mesh, nu_min, nu_max):
    """-nu Laplace + wind . grad, P1 Galerkin on the unit square, nu log-uniform, any wind direction.

    The wind has speed 1, so that 1/nu is the Peclet number of the square. No upwinding: below
    nu of about half a mesh width the skew-symmetric part rules, and the spectrum stretches along
    the imaginary axis within the right half-plane.
    """
    logs = uniform((batch,), generator, math.log(nu_min), math.log(nu_max))
    return _assemble(mesh, torch.exp(logs), uniform((batch,), generator, -math.pi, math.pi))
