"""Residuals, forward error, baselines, worst case: against closed forms."""

import math
from fractions import Fraction

import pytest
import torch
from cases import gaussian, maps

import neuinv
from neuinv import metrics
from neuinv.certificates import determinant_sign
from neuinv.metrics import both_errors, quantiles

EPS = torch.finfo(torch.float64).eps


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


def test_a_product_that_overflows_has_an_infinite_residual():
    """10 I times 1e308 I: the true residual is beyond float64, and inf - inf is no number."""
    A, X = (scale * torch.eye(2, dtype=torch.float64) for scale in (10.0, 1e308))
    assert neuinv.right_residual(A, X).item() == neuinv.left_residual(A, X).item() == float("inf")
    X = torch.tensor([[1e308, 1e308], [-1e308, -1e308]], dtype=torch.float64)
    both = torch.full((2, 2), 10.0, dtype=torch.float64)
    # NaN or infinite, as the processor adds the two products up
    assert not torch.isfinite(both @ X).any() and neuinv.right_residual(both, X).item() == float("inf")
    batch = torch.stack([A, torch.eye(2).double()])
    assert neuinv.right_residual(batch, 1e308 * torch.eye(2).double()).tolist() == [float("inf"), 1e308]


def test_the_forward_error_survives_norms_beyond_float64():
    """Every entry is a float and the norm of the matrix is not; the quotient is 0, 1/2 or about 1e300."""
    hadamard = torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64)
    A = torch.kron(hadamard, hadamard) * 2.0**-1025
    exact = metrics.exact_inverse(A)
    assert torch.isinf(metrics.spectral_norm(exact))
    assert neuinv.forward_error(A, exact).item() == 0
    assert neuinv.forward_error(A, exact / 2).item() == 0.5
    small = torch.full((1, 1), 1e-300, dtype=torch.float64)
    assert neuinv.forward_error(1 / small, small * 1e300).item() == pytest.approx(1e300)
    assert neuinv.forward_error(1 / small, torch.full_like(small, 1e308)).item() == float("inf")
    assert neuinv.forward_error(small, -1 / small, relative=False).item() == pytest.approx(2e300)


def test_the_condition_number_is_never_nan():
    assert metrics.condition_number(torch.zeros(2, 3, 3)).tolist() == [float("inf")] * 2
    assert metrics.condition_number(torch.diag(torch.tensor([1.0, 0.0]))).item() == float("inf")
    A = torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64)
    for scale in (1.7e308, 1e-300, 2.0**-1074):
        assert metrics.condition_number(scale * A).item() == pytest.approx(1.0)


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


@pytest.mark.parametrize("slope", [0.0, 1e-6, -1e-10])
def test_the_best_constant_takes_its_rank_from_singular_values(slope):
    """Kahan's matrix is singular to rounding, and the pivots of its QR factorization need not say so."""
    n, sine, cosine = 90, math.sin(0.9), math.cos(0.9)
    A = torch.eye(n, dtype=torch.float64) - cosine * torch.ones(n, n, dtype=torch.float64).triu(1)
    A = sine ** torch.arange(n).double()[:, None] * A * (1 + slope * torch.arange(n, 0, -1).double())
    best = torch.linalg.pinv(A, rtol=n * torch.finfo(torch.float64).eps)
    assert (neuinv.best_constant(A[None]) - best).norm() <= 1e-6 * best.norm()


def test_the_summary_puts_each_matrix_into_its_bin():
    A = torch.stack([torch.diag(torch.tensor([1.0, 1 / kappa])) for kappa in (1.0, 2.0, 20.0, 30.0, 1e6)])
    values = torch.tensor([1.0, 3.0, 5.0, float("inf"), 0.0])
    bins = neuinv.summary_by_condition(A, values, edges=(1, 10, 100, 1e3, float("inf")))
    assert [b.count for b in bins] == [2, 2, 0, 1]
    assert bins[0].worst == 3.0 and bins[1].worst == float("inf") and math.isnan(bins[2].median)


@pytest.mark.parametrize("A", [torch.zeros(3, 2, 2), torch.eye(2).repeat(3, 1, 1), gaussian(3, 4)])
def test_the_summary_loses_no_matrix(A):
    bins = neuinv.summary_by_condition(A, [1, 2, 3])
    assert sum(b.count for b in bins) == 3
    assert max(b.worst for b in bins if b.count) == 3.0


@pytest.mark.parametrize("count", [1, 2, 3, 100, 999, 1000, 1001, 4000])
def test_a_quantile_is_a_value_with_its_share_of_the_sample_on_either_side(count):
    values = torch.randperm(count, generator=torch.Generator().manual_seed(0)) + 1
    levels = (0.5, 0.07, 0.999, 1.0)
    high, low = quantiles(values, levels), quantiles(values, levels, lower=True)
    for p, upper, lower in zip(map(Fraction, map(str, levels)), high, low, strict=True):
        # a value is its rank: so many values are at most it, and one less are below it
        for found in (lower, upper):
            assert found - 1 <= p * count <= found
        assert upper - lower == (p < 1 and (p * count).denominator == 1)
    # a control: the next value to either side is no median
    assert not 0.5 * count <= low[0] - 1 and not (high[0] + 1) - 1 <= 0.5 * count


def test_quantiles_take_infinities_and_no_nan():
    values = torch.tensor([1.0, math.inf, 2.0])
    assert quantiles(values) == [2.0, math.inf, math.inf]
    assert all(map(math.isnan, quantiles(values[:0]))) and len(quantiles(values[:0])) == 3
    with pytest.raises(ValueError, match="has a NaN"):
        quantiles(torch.tensor([1.0, math.nan]))


def test_an_answer_that_is_not_finite_is_infinitely_wrong_and_moves_no_other():
    A = gaussian(5, 3)
    inverse = torch.linalg.inv(A)
    whole = both_errors(A, inverse / 2, inverse)
    X = inverse / 2
    X[1, 0, 0], X[3, 2, 2] = math.nan, math.inf
    for before, after in zip(whole, both_errors(A, X, inverse), strict=True):
        assert after[[1, 3]].isinf().all() and torch.equal(after[[0, 2, 4]], before[[0, 2, 4]])
        assert before == pytest.approx(0.5, rel=1e4 * EPS)


def test_an_orthogonal_matrix_lies_in_the_bin_that_starts_at_one():
    """Singular values come in order, so that rounding cannot put their quotient below 1."""
    Q = torch.linalg.qr(gaussian(500, 5)).Q
    (only,) = neuinv.summary_by_condition(Q, torch.zeros(500), edges=(1, 2))
    assert only.count == 500


def test_the_summary_keeps_the_digits_of_a_list():
    (only,) = neuinv.summary_by_condition(torch.eye(2)[None], [0.1], edges=(1, 2))
    assert only.worst == 0.1


@pytest.mark.parametrize(
    "values, edges, error, words",
    [
        ([1.0, float("nan")], (1, 10), ValueError, "NaN"),
        ([1.0], (1, 10), ValueError, "one a matrix"),
        ([1.0, 1.0], (10, 1), ValueError, "increasing"),
        ([1.0, 1.0], (5, 10), ValueError, "leave out a matrix with kappa = 1;"),
        ([1.0, 1.0], (), ValueError, "at least two"),
        ([1.0, 1.0], (1,), ValueError, "at least two"),
        ([1.0, 1.0], (1, float("nan"), 10), ValueError, "finite numbers"),
        ([1.0, 1.0], (1, float("nan")), ValueError, "finite numbers"),
        ([1.0, 1.0], (-float("inf"), 10), ValueError, "finite numbers"),
        ([1.0, 1.0], ("1", "10"), TypeError, "pass numbers"),
        ([1.0, 1.0], 10, TypeError, "pass numbers"),
        ([1.0, 1j], (1, 10), TypeError, "values is complex"),
        (["a", "b"], (1, 10), TypeError, "no sequence of numbers"),
    ],
)
def test_the_summary_refuses_what_it_cannot_count(values, edges, error, words):
    with pytest.raises(error, match=words):
        neuinv.summary_by_condition(torch.eye(2).repeat(2, 1, 1), values, edges)


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
