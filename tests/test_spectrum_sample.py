"""Field of values, singular values, tail and spread of samples: brackets around known truths."""

import math

import numpy as np
import pytest
import torch
from cases import BAD_MATRICES, gaussian

import neuinv
from neuinv.spectrum import (
    CROUZEIX_PALENCIA,
    Disc,
    SpreadStatus,
    field_of_values,
    green_function,
    minimax_residual,
    pair_ratio,
    residual_bound,
    singular_value_summary,
    spread,
    tail_index,
)


def jordan(eigenvalue, coupling):
    """Return a 2 x 2 block, whose field of values is the disc of radius coupling / 2 about the eigenvalue."""
    return torch.tensor([[eigenvalue, coupling], [0.0, eigenvalue]], dtype=torch.float64)


@pytest.mark.parametrize(("eigenvalue", "coupling"), [(3.0, 2.0), (-2.0, 1.0), (0.5, 2.0), (0.0, 1.0)])
def test_the_field_of_values_of_a_jordan_block_is_a_disc(eigenvalue, coupling):
    W = field_of_values(jordan(eigenvalue, coupling), num_angles=65)
    radius = coupling / 2
    assert torch.allclose(W.support, eigenvalue * torch.cos(W.angles) + radius)
    assert torch.allclose((W.points - eigenvalue).abs(), torch.full((65,), radius, dtype=torch.float64))
    assert W.distance.item() == pytest.approx(max(0.0, abs(eigenvalue) - radius), abs=1e-12)
    depth = max(0.0, radius - abs(eigenvalue))
    assert W.depth_low <= depth + 1e-12 and depth <= W.depth_high + 1e-12
    assert W.depth_high - W.depth_low <= 2e-3 * radius
    polygon = W.outer_polygon()
    corners = np.abs(np.array(polygon.vertices) - eigenvalue)
    assert corners.min() >= radius * (1 - 1e-12) and corners.max() <= 1.002 * radius


@pytest.mark.parametrize("seed", range(3))
def test_the_field_of_values_holds_every_rayleigh_quotient_and_eigenvalue(seed):
    A = gaussian(4, 5, seed=seed)
    W = field_of_values(A)
    v = torch.complex(gaussian(4, 5, seed=seed + 10), gaussian(4, 5, seed=seed + 20))
    v = v / torch.linalg.vector_norm(v, dim=1, keepdim=True)
    quotients = torch.einsum("bij,bik,bkj->bj", v.conj(), A.to(v.dtype), v)
    for w in (quotients, torch.linalg.eigvals(A)):
        turned = (w[:, None, :] * torch.exp(-1j * W.angles)[:, None]).real
        assert (turned <= W.support[..., None] + 1e-10).all()
    assert torch.equal(W.holds_zero, W.distance == 0)


def test_a_half_plane_moved_inwards_cuts_off_a_point():
    """Negative control: the support function is attained."""
    W = field_of_values(gaussian(1, 6))
    turned = (W.points * torch.exp(-1j * W.angles)).real
    assert (turned > W.support - 1e-10).all() and not (turned <= W.support - 1e-6).any()


def test_the_distance_of_zero_is_that_of_the_symmetric_part():
    A = 4 * torch.eye(6, dtype=torch.float64) + gaussian(3, 6)
    W = field_of_values(torch.stack([A[0], -A[0], gaussian(1, 6)[0]]), num_angles=129)
    symmetric = torch.linalg.eigvalsh((A[0] + A[0].T) / 2)[0]
    assert symmetric > 0 and torch.allclose(W.distance, torch.tensor([symmetric, symmetric, 0.0]).double())
    # No half-plane of any direction shows more.
    assert (-W.support.amin(dim=-1) <= W.distance + 1e-12).all()


@pytest.mark.parametrize("coupling", [0.0, 0.5, 1.5])
def test_the_best_residual_lies_between_spectrum_and_field_of_values(coupling):
    A = torch.diag(torch.linspace(2, 4, 6)).double() + coupling * torch.diag(torch.ones(5), 1).double()
    lower, upper = residual_bound(A, 4)
    q = minimax_residual(torch.linalg.eigvals(A), 4)
    best = torch.linalg.matrix_norm(q.residual(A), 2).item()
    assert lower <= best * (1 + 1e-9) and lower < upper <= 1
    if coupling == 0:
        # A normal matrix attains the lower bound; W is the hull of the spectrum.
        assert best == pytest.approx(lower, rel=1e-5) and upper <= 3 * CROUZEIX_PALENCIA * lower


def test_grcar_is_beyond_its_field_of_values():
    """0 lies in W, so the upper bound is that of the zero polynomial, and the spectrum promises too much."""
    A = neuinv.family("grcar").sample(1, seed=0)[0]
    lower, upper = residual_bound(A, 8)
    assert upper == 1 and lower < 0.5
    assert bool(field_of_values(A).holds_zero)


def test_the_outer_polygon_bounds_the_rate_of_the_disc():
    found = green_function(field_of_values(jordan(3.0, 2.0), num_angles=33).outer_polygon(), max_degree=16)
    truth = green_function(Disc(3, 1)).value
    assert found.value <= truth * (1 + 1e-6) and found.value > 0.99 * truth


def test_the_summary_knows_prescribed_singular_values():
    sigma = torch.tensor([[4.0, 2.0], [9.0, 1.0], [5.0, 0.0]]).double()
    A = neuinv.family("prescribed-spectrum", n=2).sample(3, seed=0)
    U, _, Vh = torch.linalg.svd(A)
    found = singular_value_summary(U[:2] * sigma[:2, None, :] @ Vh[:2])
    assert found.count == 2 and found.num_unresolved == 0
    assert found.cond.greatest == pytest.approx(9) and found.cond.least == pytest.approx(2)
    assert found.sigma_min.least == pytest.approx(1) and found.sigma_max.greatest == pytest.approx(9)
    found = singular_value_summary(torch.diag_embed(sigma))
    assert found.num_unresolved == 1 and found.cond.greatest == math.inf and found.cond.median == 9


def test_quantiles_are_members_of_the_sample():
    A = torch.arange(1, 101, dtype=torch.float64)[:, None, None]
    found = singular_value_summary(A).sigma_min
    assert (found.least, found.low, found.median, found.high, found.extreme, found.greatest) == (
        1,
        5,
        50,
        95,
        99,
        100,
    )


def test_the_tail_of_gaussian_inverses_has_index_one():
    found = tail_index(gaussian(20_000, 3, seed=1), 300)
    assert found.low <= 1 <= found.high
    # Negative control: the index 2 of a square-integrable tail is excluded.
    assert found.high < 1.5


def test_bounded_inverses_show_an_index_far_above_one():
    A = neuinv.family("prescribed-spectrum", n=4, kappa=10.0, spacing="log-uniform").sample(400, seed=0)
    A = A + 1e-3 * gaussian(400, 4)
    assert tail_index(A).low > 10


@pytest.mark.parametrize("top", [1.5, 3.0, 10.0])
def test_the_spread_of_scaled_identities_is_attained_by_the_ratio(top):
    A = torch.linspace(1, top, 7).double()[:, None, None] * torch.eye(3, dtype=torch.float64)
    found = spread(A)
    truth = (top - 1) / (top + 1)
    assert found.low <= truth * (1 + 1e-12) and truth <= found.high * (1 + 1e-12)
    assert found.high <= 1.01 * found.low and found.status is SpreadStatus.CLOSED
    assert found.ratio == pytest.approx(top)
    assert pair_ratio(A) == pytest.approx(top)


def small_family(seed, spread_size=0.4):
    return torch.eye(4, dtype=torch.float64) + spread_size * gaussian(12, 4, seed=seed) / 2


@pytest.mark.parametrize("seed", range(3))
def test_the_bracket_of_the_spread_closes_and_its_constant_attains_it(seed):
    A = small_family(seed)
    found = spread(A, num_steps=1500)
    worst = neuinv.right_residual(A, found.M).max().item()
    assert worst == pytest.approx(found.high, rel=1e-12)
    assert (found.ratio - 1) / (found.ratio + 1) <= found.low * (1 + 1e-9) and found.low <= found.high
    assert found.high - found.low <= 0.01 * found.high and found.status is SpreadStatus.CLOSED


def test_no_other_constant_beats_the_lower_end():
    A = small_family(5)
    found = spread(A, num_steps=1500)
    for seed in range(30):
        nudged = found.M + 10.0 ** (-seed % 5) * 0.1 * gaussian(1, 4, seed=seed)[0]
        assert neuinv.right_residual(A, nudged).max() >= found.low
    # Negative control: with the matrix behind the maximum left out the bound fails, so it does depend on all.
    worst = int(neuinv.right_residual(A, found.M).argmax())
    rest = torch.cat([A[:worst], A[worst + 1 :]])
    assert spread(rest, num_steps=1500).high < found.low


def test_newton_schulz_from_the_constant_squares_the_spread():
    A = small_family(1, 0.2)
    found = spread(A)
    X = neuinv.iterations.newton_schulz(A, 3, start=found.M.expand_as(A))
    assert found.high < 1 and neuinv.right_residual(A, X).max() <= found.high**8 * (1 + 1e-9)


def test_a_few_steps_leave_an_open_bracket_that_holds():
    A = small_family(2)
    rough, fine = spread(A, num_steps=3), spread(A, num_steps=1500)
    assert rough.low <= fine.high and fine.low <= rough.high
    assert rough.num_steps <= 3 and rough.status is SpreadStatus.OPEN


def test_the_power_grid_closes_to_one_percent():
    found = spread(neuinv.family("power-grid-ac").sample(60, seed=0))
    assert found.status is SpreadStatus.CLOSED and found.high <= 1.01 * found.low / 0.9999


@pytest.mark.parametrize("A", [torch.stack([torch.eye(3), -torch.eye(3)]), torch.zeros(2, 3, 3)])
def test_no_constant_contracts_both_signs_or_singular_matrices(A):
    found = spread(A)
    assert found.high == 1 and found.low >= 1 - 1e-9 and found.status is SpreadStatus.NO_CONTRACTION


def test_one_matrix_has_no_spread_and_scale_does_not_matter():
    assert spread(2 * torch.eye(3)).high < 1e-12
    a, b = spread(small_family(0), num_steps=200), spread(1e-200 * small_family(0), num_steps=200)
    assert a.high == pytest.approx(b.high, rel=1e-6) and a.low == pytest.approx(b.low, rel=1e-2)


@pytest.mark.parametrize("name", BAD_MATRICES)
@pytest.mark.parametrize(
    "function", [field_of_values, singular_value_summary, tail_index, spread, pair_ratio]
)
def test_bad_matrices_are_refused(function, name):
    matrices, error, message = BAD_MATRICES[name]
    with pytest.raises(error, match=message):
        function(matrices)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: field_of_values(torch.eye(2), num_angles=6), "num_angles is 6; pass an odd number"),
        (lambda: field_of_values(torch.eye(2), num_angles=3), "num_angles is 3; pass an integer >= 5"),
        (lambda: residual_bound(torch.eye(2)[None], 2), r"shape \(1, 2, 2\); pass one matrix"),
        (lambda: tail_index(gaussian(5, 2)), "A holds 5 matrices; pass at least 20"),
        (lambda: tail_index(torch.zeros(30, 2, 2)), r"A\[0\] is singular"),
        (lambda: tail_index(gaussian(30, 2), 30), "k is 30 for a sample of 30"),
        (lambda: spread(torch.eye(2)[None, None]), r"shape \(1, 1, 2, 2\); pass one sample"),
        (lambda: spread(torch.eye(2), tolerance=2), r"tolerance is 2; pass a number in \(0, 1\)"),
        (lambda: spread(torch.eye(2), num_steps=0), "num_steps is 0; pass an integer >= 1"),
    ],
)
def test_bad_arguments_are_refused_in_one_sentence(make, message):
    with pytest.raises(ValueError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)
