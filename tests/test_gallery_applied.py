"""The families from applications agree with the packages and laws they come from."""

import itertools

import pytest
import torch

from neuinv import _linalg
from neuinv.gallery import family, power_flow, power_grid
from neuinv.gallery.finite_elements import resonances


@pytest.mark.parametrize(
    ("aspect", "low", "high"), [(4.0, 5, 9), (1.25, 60, 160), (1.0, 500, 2500)], ids=["4", "1.25", "1"]
)
def test_the_antenna_ratio_turns_the_condition_number(aspect, low, high):
    condition = torch.linalg.cond(family("massive-mimo", aspect=aspect).sample(200, seed=1))
    assert low < condition.median() < high


def test_the_mean_mimo_gram_matrix_is_the_correlation_of_the_users():
    """E H^H H = R; with correlation rho among the users R_ij = rho^|i-j|."""
    mean = family("massive-mimo", users=4, correlation=0.5).sample(4000, seed=0).mean(dim=0)
    index = torch.arange(4)
    R = 0.5 ** (index[:, None] - index[None, :]).abs().double()
    assert (mean[:4, :4] - R).abs().max() < 0.05
    assert mean[4:, :4].abs().max() < 0.05
    assert (mean[:4, :4] - torch.eye(4)).abs().max() > 0.4


@pytest.mark.parametrize("case", power_grid.CASES)
def test_the_nominal_susceptance_matrix_is_that_of_pypower(case):
    api = pytest.importorskip("pypower.api")
    data = api.ext2int(getattr(api, f"case{case}")())
    B = torch.as_tensor(api.makeBdc(data["baseMVA"], data["bus"], data["branch"])[0].toarray())
    keep = torch.as_tensor(data["bus"][:, 1]) != 3
    ours = family("power-grid-dc", case=case, spread=0.0).sample(1, seed=0)[0]
    assert torch.allclose(ours, B[keep][:, keep], rtol=1e-12, atol=1e-12 * float(B.abs().max()))
    scattered = family("power-grid-dc", case=case).sample(1, seed=0)[0]
    assert not torch.allclose(scattered, ours, rtol=0.01)


def test_the_nominal_operating_point_is_that_of_pypower():
    """Angles and magnitudes of PYPOWER's own power flow, in degrees and per unit."""
    api = pytest.importorskip("pypower.api")
    solved, success = api.runpf(api.case14(), api.ppoption(VERBOSE=0, OUT_ALL=0))
    V = power_flow._nominal(14)
    assert success
    assert torch.allclose(V.abs(), torch.as_tensor(solved["bus"][:, 7]), atol=1e-8)
    assert torch.allclose(torch.rad2deg(V.angle()), torch.as_tensor(solved["bus"][:, 8]), atol=1e-6)


def test_the_power_flow_jacobian_is_the_derivative_of_the_mismatch():
    grid, V = power_grid.load_grid(14), power_flow._nominal(14)
    direction = torch.randn(22, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    h = 1e-6
    ahead, behind = (
        power_flow.mismatch(grid, power_flow._moved(grid, V, d * direction), grid.load) for d in (h, -h)
    )
    chord, tangent = (ahead - behind) / (2 * h), power_flow.jacobian(grid, V) @ direction
    assert torch.allclose(chord, tangent, rtol=1e-6, atol=1e-6)
    assert not torch.allclose(chord, power_flow.jacobian(grid, V).mT @ direction, rtol=1e-2)


def test_the_load_can_rise_to_collapse_and_no_further():
    """sigma_min falls like the root of the distance to the nose, to 0 at the nose itself."""
    chosen = family("power-grid-ac")
    low, nose = chosen.curve_range
    assert low == 1.0
    assert nose == pytest.approx(4.0045020, abs=1e-6)
    t = torch.tensor([1.0, 2.0, nose - 1e-4, nose - 1e-6, nose - 1e-8, nose], dtype=torch.float64)
    least = torch.linalg.svdvals(chosen.curve(t))[:, -1]
    assert (least.diff() < 0).all()
    assert least[4] < least[0] / 1e4
    assert least[-1] < 1e-7
    assert torch.allclose(least[2:4] / least[3:5], torch.tensor(10.0, dtype=torch.float64), rtol=0.01)
    grid, V = power_grid.load_grid(14), power_flow._nominal(14)
    beyond = torch.full((1, 14), nose * 1.001, dtype=torch.float64)
    assert len(power_flow._operating_points(grid, V, beyond)) == 0
    assert len(power_flow._operating_points(grid, V, beyond * 0.99)) == 1


def test_the_curve_of_the_grid_starts_at_the_nominal_jacobian_and_is_said_not_to_differentiate():
    chosen = family("power-grid-ac")
    nominal = power_flow.jacobian(power_grid.load_grid(14), power_flow._nominal(14))
    assert torch.allclose(chosen.curve(1.0), nominal, rtol=1e-9)
    assert chosen.curve_differentiable is False


def test_loads_that_cannot_be_supplied_are_refused():
    with pytest.raises(ValueError, match=r"can hardly be supplied by case 14.*use a smaller high"):
        family("power-grid-ac", low=10.0, high=12.0).sample(2, seed=0)


def test_the_ac_family_is_narrow_and_widens_toward_collapse():
    nominal = torch.linalg.cond(family("power-grid-ac").sample(100, seed=0))
    stressed = torch.linalg.cond(family("power-grid-ac", low=1.0, high=5.0).sample(100, seed=0))
    assert nominal.quantile(0.95) < 1.05 * nominal.median()
    assert stressed.median() > 1.2 * nominal.median()


def test_a_smaller_nugget_means_a_larger_condition_number():
    medians = [
        torch.linalg.cond(family("kernel", nugget=nugget).sample(30, seed=0)).median()
        for nugget in (1e-1, 1e-2, 1e-4)
    ]
    assert all(2 * a < b for a, b in itertools.pairwise(medians))


def test_the_lowest_resonance_is_near_that_of_the_square():
    """k^2 -> 2 pi^2 from above, with an error of order h^2."""
    exact = 2**0.5 * torch.pi
    errors = [float(resonances(mesh)[0]) - exact for mesh in (4, 8, 16)]
    assert all(error > 0 for error in errors)
    assert all(3.5 < coarse / fine < 4.5 for coarse, fine in itertools.pairwise(errors))


def test_each_resonance_changes_the_sign_of_the_determinant():
    chosen = family("fem-helmholtz")
    k = resonances(8)
    k = k[(k > 2) & (k < 17)]
    between = torch.cat([(k[:-1] + k[1:]) / 2])
    signs = _linalg.det_sign(chosen.curve(between))
    assert (signs[1:] * signs[:-1] == -1).all()
    assert torch.linalg.cond(chosen.curve(k)).min() > 1e9
    negative = (_linalg.det_sign(chosen.sample(2000, seed=0)) < 0).double().mean()
    assert 0.4 < negative < 0.52


def test_large_batches_of_large_matrices_are_factored_correctly():
    """Determinant and solution are those of one matrix at a time: torch's batched LU can be wrong."""
    A = torch.randn(3, 160, 160, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    B = A[:, :, :2] + 1
    assert torch.equal(_linalg.det_sign(A), torch.stack([torch.linalg.slogdet(M).sign for M in A]))
    assert (A @ _linalg.solve(A, B) - B).abs().max() < 1e-9
    assert (A @ _linalg.inverse(A) - torch.eye(160)).abs().max() < 1e-9
    assert _linalg.sign_and_log(A.reshape(3, 1, 160, 160))[1].shape == (3, 1)
    assert _linalg.solve(torch.zeros(2, 3, 3).double(), torch.ones(2, 3, 1).double()).isnan().all()
