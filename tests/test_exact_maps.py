"""Maps that are exact on a family, and what their existence takes: closed forms at any distance and scale."""

import math

import pytest
import torch
from cases import BAD_MATRICES, gaussian, maps

import neuinv
from neuinv.exact_maps import divided, extended_inverse
from neuinv.metrics import condition_number, left_residual, right_residual
from neuinv.spectrum import pair_distance, pair_ratio, spread

EPS = torch.finfo(torch.float64).eps


def prescribed(n, kappa, seed=0, batch=50):
    family = neuinv.family("prescribed-spectrum", n=n, kappa=kappa, kind="general")
    return family.sample(batch, seed=seed)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("n", "kappa"), [(2, 10.0), (5, 1e3), (8, 1e6)])
def test_the_extension_is_exact_on_the_family(n, kappa, seed):
    A = prescribed(n, kappa, seed)
    assert neuinv.forward_error(A, extended_inverse(A, 0.0)).max() <= 50 * n * EPS * kappa
    assert neuinv.forward_error(A, extended_inverse(A, torch.full((50,), 1 / kappa))).max() > 0.4


@pytest.mark.parametrize("d", [1e-3, 0.1, 2.0])
def test_off_the_family_all_three_errors_are_the_closed_form(d):
    """e = r = l = d^2 / (sigma_min^2 + d^2)."""
    A = gaussian(100, 4)
    X = extended_inverse(A, d)
    truth = d**2 / (torch.linalg.svdvals(A)[:, -1] ** 2 + d**2)
    for error in (neuinv.forward_error(A, X), right_residual(A, X), left_residual(A, X)):
        assert torch.allclose(error, truth, rtol=1e-9, atol=1e3 * EPS)
    # Negative control: without the square of d it is another number.
    assert d == 1.0 or not torch.allclose(truth, d / (torch.linalg.svdvals(A)[:, -1] ** 2 + d), rtol=1e-3)


def test_the_extension_is_continuous_across_the_singular_set():
    """The family is {diag(k, 1/k)}: closed, with matrices as close to singular ones as one likes."""
    k = torch.arange(1.0, 2001.0, dtype=torch.float64)
    F = torch.diag_embed(torch.stack([k, 1 / k], dim=-1))

    def f(A):
        distance = torch.linalg.matrix_norm(A[:, None] - F[None], 2).amin(dim=1)
        return extended_inverse(A, distance)

    assert right_residual(F, f(F)).max() <= 10 * EPS
    S = torch.diag_embed(torch.stack([k[:50], 0 * k[:50]], dim=-1))
    for step in (1e-6, 1e-8):
        moved = f(S + step * gaussian(50, 2))
        assert torch.linalg.matrix_norm(moved - f(S), 2).max() <= 1e5 * step
    # Negative control: the inverse itself is not continuous there.
    assert torch.linalg.matrix_norm(torch.linalg.inv(S + 1e-8 * gaussian(50, 2)), 2).max() > 1e6


@pytest.mark.parametrize("name", [name for name in maps(3) if name != "unrolled"])
def test_a_division_by_the_norm_keeps_every_error_of_the_normalised_matrix(name):
    g, A = maps(3)[name], gaussian(20, 3)
    unit = A / torch.linalg.matrix_norm(A, keepdim=True)
    for scale in (1e-6, 1.0, 1e6):
        for error in (neuinv.forward_error, right_residual, left_residual):
            there, here = error(scale * A, divided(g)(scale * A)), error(unit, g(unit))
            assert torch.allclose(there, here, rtol=1e-9, atol=1e-9)
    # Negative control: without the division the scale matters, but for maps of degree -1.
    undivided = neuinv.forward_error(1e-6 * A, g(1e-6 * A))
    homogeneous = "inverse" in name or name in ("zero", "newton-schulz")
    assert torch.allclose(undivided, neuinv.forward_error(unit, g(unit)), atol=1e-3) == homogeneous


@pytest.mark.parametrize("kappa", [2.0, 1e2, 1e5])
def test_normalised_matrices_stay_away_from_singular_ones_by_the_condition_number(kappa):
    A = 10.0 ** gaussian(50, 1) * prescribed(4, kappa)
    least = torch.linalg.svdvals(A / torch.linalg.matrix_norm(A, keepdim=True))[:, -1]
    assert (least <= (1 + 1e-9) / kappa).all() and (least >= (1 - 1e-9) / (2 * kappa)).all()


@pytest.mark.parametrize("n", [2, 3, 7])
def test_eigenvalues_lie_between_the_condition_number_and_its_nth_root(n):
    """1/kappa <= min|lambda|/||A|| <= (|det A|/||A||^n)^(1/n) <= kappa^(-1/n), attained by a shift."""
    A = gaussian(300, n)
    norm, kappa = torch.linalg.matrix_norm(A, 2), condition_number(A)
    least = torch.linalg.eigvals(A).abs().amin(dim=-1) / norm
    root = (torch.linalg.det(A).abs() / norm**n) ** (1 / n)
    chain = torch.stack([1 / kappa, least, root, kappa ** (-1 / n)])
    assert (chain[:-1] <= chain[1:] * (1 + 1e-9)).all()
    shift = torch.roll(torch.eye(n, dtype=torch.float64), 1, dims=0)
    shift[0] /= 1e6
    smallest = torch.linalg.eigvals(shift).abs().amin().item()
    assert smallest == pytest.approx(1e6 ** (-1 / n), rel=1e-6)
    # Negative control: with a root of smaller order the last inequality would fail.
    assert smallest > 1.1 * 1e6 ** (-1 / (n - 0.9))
    assert condition_number(shift).item() == pytest.approx(1e6)


@pytest.mark.parametrize("seed", range(20))
def test_the_spread_lies_between_the_bounds_of_the_pair_distance(seed):
    """(s - 1)/(s + 1) <= d/(d + 2) <= q <= min(1, d)."""
    n, count = 1 + seed % 3, 2 + seed % 4
    A = torch.eye(n, dtype=torch.float64) + 10 ** (-seed % 3) * gaussian(count, n, seed=seed) / 3
    s, d, found = pair_ratio(A), pair_distance(A), spread(A, num_steps=300)
    assert (s - 1) / (s + 1) <= d / (d + 2) * (1 + 1e-9)
    assert d / (d + 2) <= found.high * (1 + 1e-9) and found.low <= min(1.0, d) * (1 + 1e-9)


def test_the_pair_distance_sees_what_the_ratio_does_not():
    A = torch.stack([torch.eye(2), -torch.eye(2)]).double()
    assert pair_ratio(A) == 1 and pair_distance(A) == pytest.approx(2)


def test_equal_ill_conditioned_matrices_are_at_no_distance():
    """Rounding in the inverse does not pass for a distance."""
    A = prescribed(6, 1e10, batch=1)
    assert pair_distance(A.expand(3, -1, -1)) == 0
    # Negative control: a change well above the rounding is seen.
    assert pair_distance(torch.cat([A, 1.1 * A])) == pytest.approx(0.1, rel=1e-3)


def test_a_spread_below_one_bounds_the_condition_numbers():
    """kappa(A) <= kappa(M)(1 + q)/(1 - q), attained by diag(1 + q, 1 - q) and M = I."""
    A = neuinv.family("power-grid-ac").sample(20, seed=0)
    found = spread(A)
    bound = condition_number(found.M) * (1 + found.high) / (1 - found.high)
    assert (condition_number(A) <= bound).all()
    edge = torch.diag(torch.tensor([1.5, 0.5], dtype=torch.float64))
    assert condition_number(edge).item() == pytest.approx((1 + 0.5) / (1 - 0.5))


@pytest.mark.parametrize("stretch", [1.0, 10.0, 225.0])
def test_a_left_contraction_can_leave_a_right_residual_kappa_times_larger(stretch):
    A = torch.diag(torch.tensor([stretch, 1.0], dtype=torch.float64))
    defect = torch.tensor([[0.0, 0.37], [0.0, 0.0]], dtype=torch.float64)
    M = (torch.eye(2) - defect) @ torch.linalg.inv(A)
    assert left_residual(A, M).item() == pytest.approx(0.37)
    assert right_residual(A, M).item() == pytest.approx(0.37 * stretch)
    assert condition_number(A).item() == pytest.approx(stretch)


@pytest.mark.parametrize("name", BAD_MATRICES)
def test_bad_matrices_are_refused(name):
    matrices, error, message = BAD_MATRICES[name]
    for function in (lambda A: extended_inverse(A, 1.0), divided(lambda A: A), pair_distance):
        with pytest.raises(error, match=message):
            function(matrices)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: extended_inverse(torch.eye(2), -1.0), "distance holds -1; pass finite numbers >= 0"),
        (lambda: extended_inverse(torch.eye(2), math.inf), "distance holds inf; pass finite"),
        (lambda: extended_inverse(torch.eye(2), math.nan), "distance holds nan; pass finite"),
        (lambda: extended_inverse(gaussian(3, 2), torch.ones(2)), r"shape \(2,\); pass \(3,\)"),
        (lambda: extended_inverse(torch.zeros(2, 2), 0.0), "A is singular at distance 0"),
        (lambda: divided(lambda A: A)(torch.zeros(2, 2)), "A holds a zero matrix"),
    ],
)
def test_bad_arguments_are_refused_in_one_sentence(make, message):
    with pytest.raises(ValueError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)
