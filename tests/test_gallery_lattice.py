"""The Wilson-Dirac operator has the symmetries of gauge theory, and its gauge fields the exact weight."""

import math

import pytest
import torch
from scipy import special

from neuinv.gallery import family, lattice


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


def _fields(batch, side=4, beta=1.0, seed=0):
    return lattice.gauge_field(batch, side, beta, _generator(seed))


def _masses(*values):
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize("side", [3, 4, 6])
def test_without_a_gauge_field_the_singular_values_are_those_of_plane_waves(side):
    """sigma(p)^2 = (m + sum (1 - cos p))^2 + sum sin(p)^2 over the momenta 2 pi k / side, each twice."""
    p = 2 * math.pi * torch.arange(side, dtype=torch.float64) / side
    mass = 0.3
    height = mass + (1 - p.cos())[:, None] + (1 - p.cos())[None, :]
    squared = height**2 + (p.sin() ** 2)[:, None] + (p.sin() ** 2)[None, :]
    wanted = squared.sqrt().flatten().repeat(2).sort(descending=True).values
    free = torch.zeros(1, 2, side, side, dtype=torch.float64)
    found = torch.linalg.svdvals(lattice.operator(free, _masses(mass)))[0]
    assert torch.allclose(found, wanted, rtol=1e-12)
    assert not torch.allclose(torch.linalg.svdvals(lattice.operator(free + 0.1, _masses(mass)))[0], wanted)


def test_sigma_three_turns_the_operator_into_its_adjoint():
    D = lattice.operator(_fields(3), _masses(-1.0, 0.0, 1.0))
    signs = torch.tensor([1.0, -1.0], dtype=torch.float64).repeat(16)
    assert torch.allclose(signs[:, None] * D * signs, D.mH, atol=1e-15)
    assert not torch.allclose(D, D.mH, atol=0.1)


def test_a_gauge_transformation_leaves_the_singular_values():
    """U_mu(x) -> g(x) U_mu(x) conj(g(x + mu)); turning one link alone changes them."""
    angles, turn = _fields(1), _fields(1, seed=1)[:, 0]
    turned = angles + torch.stack([turn - turn.roll(-1, -1), turn - turn.roll(-1, -2)], dim=1)
    one = angles.clone()
    one[0, 1, 2, 3] += 1.0
    sigma, same, other = (
        torch.linalg.svdvals(lattice.operator(field, _masses(-1.0))) for field in (angles, turned, one)
    )
    assert torch.allclose(same, sigma, rtol=1e-11)
    assert not torch.allclose(other, sigma, rtol=1e-3)
    loops = (lattice.plaquettes(turned) - lattice.plaquettes(angles)) / (2 * math.pi)
    assert torch.allclose(loops, loops.round(), atol=1e-13)


def _mean_plaquette(beta, squares):
    """Exact mean of the cosine on a torus: sum_k I_k^(V-1) I_k' over sum_k I_k^V."""
    above = below = 0.0
    for k in range(-40, 41):
        before, here, after = (special.iv(j, beta) / special.iv(0, beta) for j in (k - 1, k, k + 1))
        above += here ** (squares - 1) * (before + after) / 2
        below += here**squares
    return above / below


@pytest.mark.parametrize(("side", "beta"), [(3, 1.0), (4, 2.0), (4, 5.0)])
def test_the_gauge_fields_have_the_exact_mean_plaquette(side, beta):
    """Within four standard errors of the torus; the infinite lattice is refused where it differs."""
    cosines = lattice.plaquettes(_fields(4000, side, beta)).cos().mean(dim=(-2, -1))
    error = float(cosines.std()) / math.sqrt(len(cosines))
    assert abs(float(cosines.mean()) - _mean_plaquette(beta, side**2)) < 4 * error
    assert abs(float(cosines.mean()) - _mean_plaquette(1.1 * beta, side**2)) > 4 * error
    if beta == 5.0:
        assert abs(float(cosines.mean()) - _mean_plaquette(beta, 10**4)) > 4 * error


def test_the_loops_around_the_torus_are_uniform():
    angles = _fields(4000, beta=5.0)
    for direction, axis in ((0, -1), (1, -2)):
        loop = angles[:, direction].sum(dim=axis)[:, 0]
        assert abs(torch.polar(torch.ones_like(loop), loop).mean()) < 4 / math.sqrt(4000)
    assert lattice.plaquettes(angles).cos().mean() > 0.5  # which is no statement about noise


def test_angles_and_mass_can_be_read_off():
    angles, mass = _fields(2, side=3), _masses(-1.2, 0.4)
    found = lattice._read(lattice._build(angles, mass))
    assert torch.allclose(found[0], angles, atol=1e-13) and torch.allclose(found[1], mass, atol=1e-14)


def test_the_bounds_hold_and_the_free_field_attains_them():
    """m <= sigma <= m + 4 for m > 0: equality at the momenta 0 and (pi, pi)."""
    for low, high, end in ((0.2, 0.7, 0.2), (-5.0, -4.5, -4.5)):
        chosen = family("wilson-dirac", mass_min=low, mass_max=high, beta=4.0)
        sigma = torch.linalg.svdvals(chosen.sample(100, seed=0))
        assert (sigma[:, -1] >= chosen.bounds.sigma_min).all() and (sigma[:, 0] <= chosen.bounds.norm).all()
        free = torch.zeros(2, 2, 4, 4, dtype=torch.float64)
        sigma = torch.linalg.svdvals(lattice._build(free, _masses(low, high)))
        assert float(sigma.min()) == pytest.approx(chosen.bounds.sigma_min, rel=1e-12)
        assert float(sigma.max()) == pytest.approx(chosen.bounds.norm, rel=1e-12)
        at_end = torch.linalg.cond(lattice._build(free[:1], _masses(end)))
        assert float(at_end) == pytest.approx(chosen.bounds.condition, rel=1e-11)
    for low, high in ((-0.1, 1.0), (0.0, 1.0), (1e-300, 1.0), (-5.0, 1.0), (-4.5, -3.9)):
        assert family("wilson-dirac", mass_min=low, mass_max=high).bounds.condition is None


def test_the_sign_of_the_mass_moves_the_origin_into_the_spectrum():
    """For m > 0 the spectrum is right of m; at m in (-1.5, -0.5) eigenvalues lie on both sides, and
    the determinant of D, which is real, takes both signs."""
    angles = _fields(200)
    heavy = torch.linalg.eigvals(lattice.operator(angles, _masses(0.1).expand(200)))
    light = torch.linalg.eigvals(lattice.operator(angles, _masses(-1.0).expand(200)))
    assert heavy.real.min() > 0.1
    assert ((light.real.amin(dim=1) < 0) & (light.real.amax(dim=1) > 0)).all()
    determinant = light.prod(dim=1)
    assert (determinant.imag.abs() < 1e-9 * light.abs().prod(dim=1)).all()
    assert (determinant.real < 0).any() and (determinant.real > 0).any()
    assert (heavy.prod(dim=1).real > 0).all()


@pytest.mark.parametrize(
    ("low", "high", "median", "tail"), [(0.05, 1.0, (4, 5.5), (6, 11)), (-1.5, -0.5, (6, 9), (30, 150))]
)
def test_the_mass_turns_the_condition_number(low, high, median, tail):
    condition = torch.linalg.cond(family("wilson-dirac", mass_min=low, mass_max=high).sample(400, seed=1))
    assert median[0] < condition.median() < median[1]
    assert tail[0] < condition.quantile(0.95) < tail[1]
