"""The matrices of Darcy flow and of convection solve the differential equations they come from."""

import math

import pytest
import torch

from neuinv import _linalg
from neuinv.gallery import convection, darcy, family
from neuinv.gallery._mesh import unit_square
from neuinv.gallery.finite_elements import stiffness_and_mass


def test_a_constant_medium_gives_a_multiple_of_the_laplacian():
    K, _ = stiffness_and_mass(8)
    A = darcy.stiffness(8, torch.full((1, 128), 3.0, dtype=torch.float64))[0]
    assert torch.allclose(A, 3 * K, rtol=0, atol=1e-13)
    other = torch.full((1, 128), 3.0, dtype=torch.float64)
    other[0, 77] = 3.1
    assert not torch.allclose(darcy.stiffness(8, other)[0], 3 * K, rtol=0, atol=1e-3)


def _gradients(mesh, u):
    """Areas, and squared slopes of the linear interpolant of u, triangle by triangle."""
    basis, inside = unit_square(mesh)
    p, triangles = (torch.as_tensor(table.copy()) for table in (basis.mesh.p, basis.mesh.t))
    values = torch.zeros(p.shape[1], dtype=torch.float64)
    values[torch.as_tensor(inside)] = u
    first, second, third = (p[:, corner].mT for corner in triangles)
    edges = torch.stack([second - first, third - first], dim=1)
    rises = torch.stack([values[c] - values[triangles[0]] for c in triangles[1:]], dim=1)
    slopes = torch.linalg.solve(edges, rises[..., None])[..., 0]
    return torch.linalg.det(edges).abs() / 2, slopes.square().sum(dim=1)


def test_the_energy_is_the_coefficient_times_the_squared_gradient():
    """u^T A u = sum over the triangles T of a_T |grad u|^2 |T|, with the gradients from the corners."""
    generator = torch.Generator().manual_seed(0)
    a = torch.exp(torch.randn(1, 128, generator=generator, dtype=torch.float64))
    u = torch.randn(49, generator=generator, dtype=torch.float64)
    areas, squared = _gradients(8, u)
    energy = u @ darcy.stiffness(8, a)[0] @ u
    assert torch.isclose(energy, (a[0] * squared * areas).sum(), rtol=1e-12)
    assert not torch.isclose(energy, (a[0].flip(0) * squared * areas).sum(), rtol=1e-3)


def test_darcy_eigenvalues_lie_between_those_of_the_two_extreme_media():
    """min a lambda_1(K) <= lambda <= max a lambda_n(K); equality for constant a, and not with the median."""
    K, _ = stiffness_and_mass(8)
    low, high = torch.linalg.eigvalsh(K)[[0, -1]]
    generator = torch.Generator().manual_seed(1)
    a = torch.exp(torch.randn(20, 128, generator=generator, dtype=torch.float64))
    eigenvalues = torch.linalg.eigvalsh(darcy.stiffness(8, a))
    assert (eigenvalues[:, 0] >= a.amin(dim=1) * low).all()
    assert (eigenvalues[:, -1] <= a.amax(dim=1) * high).all()
    assert (eigenvalues[:, -1] > a.median(dim=1).values * high).all()
    constant = torch.linalg.eigvalsh(darcy.stiffness(8, torch.full((1, 128), 2.0, dtype=torch.float64)))[0]
    assert torch.allclose(constant[[0, -1]], 2 * torch.stack([low, high]), rtol=1e-12)


def test_a_rougher_medium_means_a_larger_condition_number():
    medians = [
        torch.linalg.cond(family("fem-darcy", spread=spread).sample(60, seed=0)).median()
        for spread in (1e-6, 1.0, 2.0)
    ]
    assert medians[0] == pytest.approx(float(torch.linalg.cond(stiffness_and_mass(8)[0])), rel=1e-4)
    assert 50 < medians[1] < 80 and medians[2] > 3 * medians[1]


def _polynomial(mesh):
    """u = (x (1 - x) y (1 - y))^2 at the interior nodes row by row, with its Laplacian and gradient."""
    ticks = torch.arange(1, mesh, dtype=torch.float64) / mesh
    y, x = torch.meshgrid(ticks, ticks, indexing="ij")

    def pieces(t):
        p, slope = t * (1 - t), 1 - 2 * t
        return p**2, 2 * p * slope, 2 * slope**2 - 4 * p

    (fx, dx, ddx), (fy, dy, ddy) = pieces(x), pieces(y)
    laplacian = ddx * fy + fx * ddy
    return tuple(part.flatten() for part in (fx * fy, laplacian, dx * fy, fx * dy))


def _error(mesh, nu, angle, transpose=False):
    """Greatest error at a node for -nu Laplace u + wind . grad u = f, relative to the greatest u."""
    u, laplacian, ux, uy = _polynomial(mesh)
    f = -nu * laplacian + math.cos(angle) * ux + math.sin(angle) * uy
    A = convection._assemble(mesh, *(torch.tensor([value], dtype=torch.float64) for value in (nu, angle)))
    found = _linalg.solve(A.mT if transpose else A, (f / mesh**2)[None, :, None])[0, :, 0]
    return float((found - u).abs().max() / u.max())


@pytest.mark.parametrize(("nu", "angle"), [(1.0, 0.4), (0.05, 2.0), (0.02, -2.5)])
def test_the_convection_matrix_solves_its_equation_to_second_order(nu, angle):
    """Halving the mesh width quarters the error; with the wind reversed (the transpose) it stays."""
    errors = [_error(mesh, nu, angle) for mesh in (16, 32)]
    assert errors[1] < 0.02
    assert 3.3 < errors[0] / errors[1] < 4.7
    assert _error(32, nu, angle, transpose=True) > 4 * errors[1]


def test_the_parameters_of_a_member_can_be_read_off():
    nu, angle = (torch.tensor(v, dtype=torch.float64) for v in ([0.03, 0.5, 1.0], [3.0, -1.0, 0.2]))
    found = convection._fit(8, convection._assemble(8, nu, angle))
    assert torch.allclose(found[0], nu, rtol=1e-12) and torch.allclose(found[1], angle, rtol=1e-12)


def test_convection_bounds_hold_and_that_on_the_norm_is_nearly_attained():
    """nu lambda_1(K) <= sigma and |A| <= nu lambda_n(K) + drift; half the norm's bound is broken."""
    chosen = family("fem-convection", nu_min=0.99, nu_max=1.0)
    sigma = torch.linalg.svdvals(chosen.sample(200, seed=0))
    assert (sigma[:, -1] >= chosen.bounds.sigma_min).all() and (sigma[:, 0] <= chosen.bounds.norm).all()
    assert sigma[:, -1].min() < 1.1 * chosen.bounds.sigma_min
    assert sigma[:, 0].max() > 0.95 * chosen.bounds.norm


def test_the_spectrum_stays_in_the_right_half_plane_and_stretches_along_its_edge():
    diffusive, convective = (
        torch.linalg.eigvals(family("fem-convection", nu_min=low, nu_max=high).sample(40, seed=0))
        for low, high in ((0.1, 1.0), (1e-4, 1e-2))
    )
    assert (diffusive.real > 0).all() and (convective.real > 0).all()
    assert (diffusive.imag.abs() / diffusive.real).max() < 1
    assert (convective.imag.abs() / convective.real).max() > 10


@pytest.mark.parametrize(("low", "high", "median", "tail"), [(1e-2, 1.0, 18, 25), (1e-4, 1e-2, 38, 276)])
def test_less_viscosity_means_a_larger_condition_number(low, high, median, tail):
    condition = torch.linalg.cond(family("fem-convection", nu_min=low, nu_max=high).sample(200, seed=1))
    assert condition.median() == pytest.approx(median, rel=0.15)
    assert condition.quantile(0.95) == pytest.approx(tail, rel=0.25)
