"""Residuals, forward error, baselines, worst case: against closed forms."""

import math

import pytest
import torch
from cases import gaussian, maps

import neuinv
from neuinv import metrics
from neuinv.certificates import determinant_sign


@pytest.mark.parametrize("n", [1, 2, 7])
@pytest.mark.parametrize("kappa", [1.0, 1e3])
def test_the_errors_of_a_shortened_inverse_are_one_minus_its_factor(n, kappa):
    """e(c A^-1) = r = l = |1 - c|."""
    family = neuinv.family("prescribed-spectrum", n=max(n, 2), kappa=kappa, kind="general")
    A, inverse = family.sample_with_inverse(5, seed=1)
    for c in (0.0, 0.25, 1.5):
        for measure in (neuinv.forward_error, neuinv.right_residual, neuinv.left_residual):
            assert torch.allclose(measure(A, c * inverse), torch.full((5,), abs(1 - c)).double(), atol=1e-11)


def test_left_and_right_residual_differ_and_are_not_confused():
    A = torch.tensor([[1.0, 0.0], [0.0, 1e-3]])
    X = torch.tensor([[1.0, 1.0], [0.0, 1e3]])
    assert neuinv.right_residual(A, X).item() == pytest.approx(1.0, rel=1e-3)
    assert neuinv.left_residual(A, X).item() == pytest.approx(1e-3, rel=1e-3)


@pytest.mark.parametrize("name", list(maps(3)))
def test_the_lemma_on_error_measures_holds(name):
    """e <= min(l, r) and max(l, r) <= kappa e, with the rounding of float64."""
    A = gaussian(200, 3, seed=2)
    X = maps(3)[name](A).detach()
    e, r, left = neuinv.forward_error(A, X), neuinv.right_residual(A, X), neuinv.left_residual(A, X)
    kappa = metrics.condition_number(A)
    room = 1e-12 * kappa
    assert (e <= torch.minimum(r, left) + room).all()
    assert (torch.maximum(r, left) <= kappa * e + room).all()


def test_the_lemma_is_attained_in_the_weakest_direction():
    """X = A^-1 + eps v_1 u_1^T has r = l = kappa e: a bound with half the factor would be violated."""
    A = torch.diag(torch.tensor([1.0, 1e-3], dtype=torch.float64))
    X = torch.linalg.inv(A)
    X[0, 0] += 0.1
    e, r = neuinv.forward_error(A, X), neuinv.right_residual(A, X)
    assert r.item() == pytest.approx(1e3 * e.item())
    assert not r <= 0.5 * 1e3 * e


@pytest.mark.parametrize("exponent", [-3, -8, -12, -15])
def test_the_reference_inverse_is_accurate_for_ill_conditioned_matrices(exponent):
    """A = [[1, 1], [1, 1 + d]], det A = d exactly, so the inverse is known to the last digit."""
    d = 2.0 ** round(exponent * math.log2(10))
    A = torch.tensor([[1.0, 1.0], [1.0, 1.0 + d]], dtype=torch.float64)
    exact = torch.tensor([[1.0 + d, -1.0], [-1.0, 1.0]], dtype=torch.float64) / d
    assert (metrics.exact_inverse(A) - exact).abs().max() <= 1e-10 * exact.abs().max()


def test_float64_alone_would_not_be_accurate_enough_there():
    """Negative control of the test above: Hilbert's matrix of n = 10 by LAPACK misses the tolerance."""
    family = neuinv.family("hilbert", n=10)
    A, exact = family.sample_with_inverse(1, seed=0)
    scale = exact.abs().max()
    assert (torch.linalg.inv(A) - exact).abs().max() > 1e-10 * scale


@pytest.mark.parametrize("n", [1, 3])
def test_a_singular_matrix_has_no_forward_error_and_is_named(n):
    A = torch.eye(n).repeat(3, 1, 1)
    A[1, 0, 0] = 0
    with pytest.raises(ValueError, match=r"A\[1\] is singular"):
        neuinv.forward_error(A, A)
    assert neuinv.right_residual(A, A)[1] == 1


def test_low_precision_is_measured_without_its_own_rounding():
    A = torch.full((1, 1, 1), 3.0, dtype=torch.float16)
    X = (1 / A.double()).half()
    assert neuinv.right_residual(A, X).item() == abs(3 * X.double().item() - 1) > 0


def test_the_best_constant_minimizes_the_mean_square_residual():
    A = gaussian(50, 3, seed=3) + 2 * torch.eye(3)
    X = neuinv.best_constant(A)

    def objective(C):
        return (A @ C - torch.eye(3)).square().sum()

    for direction in gaussian(20, 3, seed=4):
        assert objective(X + 1e-3 * direction) > objective(X)


def test_the_mean_inverse_minimizes_the_mean_square_error():
    A = gaussian(50, 3, seed=3) + 5 * torch.eye(3)
    X = neuinv.mean_inverse(A)
    inverses = torch.linalg.inv(A)
    for direction in gaussian(20, 3, seed=4):
        assert (X + 1e-3 * direction - inverses).square().sum() > (X - inverses).square().sum()


def test_the_best_constant_of_singular_matrices_is_the_least_one():
    A = torch.diag(torch.tensor([1.0, 0.0])).repeat(4, 1, 1)
    assert torch.allclose(neuinv.best_constant(A), torch.diag(torch.tensor([1.0, 0.0])).double())


def test_the_summary_puts_each_matrix_into_its_bin():
    A = torch.stack([torch.diag(torch.tensor([1.0, 1 / kappa])) for kappa in (1.0, 2.0, 20.0, 30.0, 1e6)])
    values = torch.tensor([1.0, 3.0, 5.0, float("inf"), 0.0])
    bins = neuinv.summary_by_condition(A, values, edges=(1, 10, 100, 1e3, float("inf")))
    assert [b.count for b in bins] == [2, 2, 0, 1]
    assert bins[0].worst == 3.0 and bins[1].worst == float("inf") and math.isnan(bins[2].median)


@pytest.mark.parametrize(
    "values, edges, words",
    [
        ([1.0, float("nan")], (1, 10), "NaN"),
        ([1.0], (1, 10), "one a matrix"),
        ([1.0, 1.0], (10, 1), "increasing"),
        ([1.0, 1.0], (5, 10), "leave out"),
    ],
)
def test_the_summary_refuses_what_it_cannot_count(values, edges, words):
    with pytest.raises(ValueError, match=words):
        neuinv.summary_by_condition(torch.eye(2).repeat(2, 1, 1), torch.tensor(values), edges)


def test_the_worst_case_finds_the_boundary_of_the_domain():
    """f = 0 at the far end: r(t) = |1 - t| for f = I on {tI : t in [0.1, 3]} is largest at t = 3."""
    family = neuinv.family("scaled-identity", n=2, low=0.1, high=3.0)
    found = neuinv.worst_case(
        lambda A: torch.eye(2).double().expand_as(A), family, seed=0, batch=4, num_steps=60
    )
    assert found.value == pytest.approx(2.0, abs=1e-6)
    assert found.value >= found.sampled_value
    assert torch.allclose(found.matrix, 3 * torch.eye(2).double(), atol=1e-6)


def test_the_worst_case_beats_the_sample_and_stays_in_the_domain():
    family = neuinv.family("prescribed-spectrum", n=4, kappa=50.0, kind="spd")
    f = maps(4)["newton-schulz"]
    found = neuinv.worst_case(f, family, seed=0, batch=16, num_steps=60)
    assert found.value > found.sampled_value
    assert metrics.condition_number(found.matrix) <= 50 * (1 + 1e-9)
    assert found.value == pytest.approx(neuinv.right_residual(found.matrix, f(found.matrix)).item())


def test_the_worst_case_of_a_map_with_infinite_outputs_is_infinite():
    family = neuinv.family("scaled-identity", n=2)
    assert neuinv.worst_case(lambda A: A / 0.0, family, seed=0).value == float("inf")


def test_the_worst_case_needs_a_domain():
    with pytest.raises(ValueError, match="declares no domain"):
        neuinv.worst_case(torch.zeros_like, neuinv.family("gaussian", n=2), seed=0)


@pytest.mark.parametrize(
    "rows, sign",
    [
        ([[2.0]], 1),
        ([[0.0, 1.0], [1.0, 0.0]], -1),
        ([[1.0, 2.0], [2.0, 4.0]], 0),
        ([[1e-300, 0.0], [0.0, -1e300]], -1),
    ],
)
def test_the_exact_determinant_sign(rows, sign):
    assert determinant_sign(rows) == sign
