"""The reference inverse and the smallest singular value, where float64 has no digit left."""

from fractions import Fraction

import pytest
import torch

import neuinv
from neuinv import metrics
from neuinv.metrics import references

flint = pytest.importorskip("flint")


def graded(exponent):
    """Return a matrix whose entries span 2**(2 exponent), and its inverse in rational arithmetic."""
    x = 2.0**exponent
    rows = [[3 * x, 9 * x, 0, 0], [x, 3 * x, 1 / x, 0], [0, 1 / x, 3, 1], [0, 0, 1, 5]]
    A = torch.tensor(rows, dtype=torch.float64) * torch.tensor([1, 1 / 3, 1, 1], dtype=torch.float64)
    rational = flint.fmpq_mat(
        [[flint.fmpq(*entry.as_integer_ratio()) for entry in row] for row in A.tolist()]
    )
    inverse = [[int(q.p) / int(q.q) for q in row] for row in rational.inv().tolist()]
    return A, torch.tensor(inverse, dtype=torch.float64)


@pytest.mark.parametrize("exponent", [20, 83, 120, 250, 500])
def test_the_forward_error_of_the_true_inverse_is_rounding_however_graded_the_matrix(exponent):
    """At 83 an enclosure of 256 bits exists and has no correct digit; at 500 it needs more than 1024."""
    A, inverse = graded(exponent)
    assert neuinv.forward_error(A, inverse) <= 1e-12


def test_the_enclosure_of_lowest_precision_is_too_wide_there():
    """Negative control of the test above: midpoints alone are not a reference."""
    A, inverse = graded(83)
    before, flint.ctx.prec = flint.ctx.prec, references.PRECISIONS[0]
    try:
        X = flint.arb_mat(A.tolist()).inv()
        midpoints = torch.tensor([[float(X[i, j].mid()) for j in range(4)] for i in range(4)])
    finally:
        flint.ctx.prec = before
    assert (midpoints.double() - inverse).norm() > 1e-3 * inverse.norm()


@pytest.mark.parametrize("precisions", [(256,), (256, 1024)])
def test_rational_arithmetic_decides_where_no_precision_does(monkeypatch, precisions):
    monkeypatch.setattr(references, "PRECISIONS", precisions)
    A, inverse = graded(250)
    assert neuinv.forward_error(A, inverse) <= 1e-12


def test_a_singular_matrix_is_told_from_its_invertible_neighbour():
    """The two differ in the last bit of one entry; the determinant of one is exactly zero."""
    third = 1 / 3
    A = torch.tensor([[third, 1.0], [1 / 9, third]], dtype=torch.float64)
    assert Fraction(third) ** 2 != Fraction(1 / 9)
    assert torch.isfinite(metrics.exact_inverse(A)).all()
    A[1] = A[0] * 2.0**-400
    with pytest.raises(ValueError, match="is singular"):
        metrics.exact_inverse(A)
    A[1, 1] = torch.nextafter(A[1, 1], torch.tensor(1.0).double())
    assert torch.isfinite(metrics.exact_inverse(A)).all()


def test_growing_pivots_do_not_pass_for_a_good_inverse():
    """Near Wilkinson's matrix kappa is about n, and float64 elimination loses almost a bit a row."""
    n = 50
    noise = torch.rand(n, n, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    A = torch.eye(n, dtype=torch.float64) - (1 - 0.1 * noise).tril(-1)
    A[:, -1] = 1
    found, by_lapack = (
        torch.linalg.matrix_norm(A @ X - torch.eye(n))
        for X in (metrics.exact_inverse(A), torch.linalg.inv(A))
    )
    assert metrics.condition_number(A) < 100
    assert found <= 1e-12 and by_lapack > 1e-6


@pytest.mark.parametrize("raised", [False, True])
def test_the_precision_of_flint_is_left_as_it_was(raised):
    before = flint.ctx.prec
    flint.ctx.prec = 77
    try:
        if raised:
            with pytest.raises(ValueError, match="singular"):
                metrics.exact_inverse(torch.ones(2, 2))
        else:
            metrics.exact_inverse(graded(83)[0])
        assert flint.ctx.prec == 77
    finally:
        flint.ctx.prec = before


def test_an_inverse_beyond_float64_is_refused_with_advice():
    A = torch.tensor([[[1.0]], [[1e-310]]], dtype=torch.float64)
    for measure in (lambda A: neuinv.forward_error(A, A), neuinv.mean_inverse, metrics.exact_inverse):
        with pytest.raises(ValueError, match=r"A\[1\] .* the inverse overflows float64; rescale A"):
            measure(A)


def test_the_largest_inverse_that_float64_holds_is_accepted():
    A = torch.tensor([[2.0**-1023]], dtype=torch.float64)
    assert metrics.exact_inverse(A).item() == 2.0**1023
    assert neuinv.forward_error(A, torch.full_like(A, 2.0**1022)).item() == 0.5
    assert neuinv.mean_inverse(A.repeat(4, 1, 1)).item() == 2.0**1023


@pytest.mark.parametrize("exponent", [-10, -50, -300, -1000])
def test_the_smallest_singular_value_is_accurate_relative_to_itself(exponent):
    """sigma_1 sigma_2 = |det| exactly, here 2**exponent for [[1, 1], [0, d]] with d = 2**exponent."""
    d = 2.0**exponent
    A = torch.tensor([[1.0, 1.0], [0.0, d]], dtype=torch.float64) @ torch.tensor([[1.0, 0], [1, 1]]).double()
    found = metrics.smallest_singular_value(A.repeat(2, 1, 1))
    assert found.shape == (2,)
    assert (found * torch.linalg.svdvals(A)[0] / d - 1).abs().max() <= 1e-9


def test_lapack_alone_would_miss_the_smallest_singular_value():
    """Negative control of the test above: the value at n = 10 of Hilbert's matrix, from the inverse."""
    A, X = neuinv.family("hilbert", n=10).sample_with_inverse(1, seed=0)
    # A is H rounded, so compare with its own inverse, not with that of H.
    exact = 1 / torch.linalg.matrix_norm(metrics.exact_inverse(A), 2)
    assert torch.allclose(metrics.smallest_singular_value(A), exact, rtol=1e-9, atol=0)
    assert not torch.allclose(torch.linalg.svdvals(A)[:, -1], exact, rtol=1e-9, atol=0)
    assert X.isfinite().all()


def test_the_smallest_singular_value_knows_zero_and_the_ends_of_float64():
    A = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]], dtype=torch.float64)
    assert metrics.smallest_singular_value(A).item() == 0
    assert metrics.smallest_singular_value(torch.zeros(2, 2)).item() == 0
    for value in (5e-324, 1e-310, 1.0, 1.7e308):
        A = torch.tensor([[value]], dtype=torch.float64)
        assert metrics.smallest_singular_value(A).item() == value


def test_without_flint_the_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "flint", None)
    with pytest.raises(ImportError, match=r"neuinv\[rigor\]"):
        metrics.smallest_singular_value(torch.ones(2, 2))
    assert metrics.smallest_singular_value(torch.eye(2)).item() == 1


def test_the_exact_residual_is_that_of_rational_arithmetic():
    A = torch.tensor([[1 / 3, 2.0**-500], [3.0, 1e200]], dtype=torch.float64)
    X = torch.tensor([[2.9999, 0.1], [1e-190, 7.0]], dtype=torch.float64)
    (a, b), (c, d) = ([Fraction(x) for x in row] for row in A.tolist())
    (p, q), (r, s) = ([Fraction(x) for x in row] for row in X.tolist())
    R = [[a * p + b * r - 1, a * q + b * s], [c * p + d * r, c * q + d * s - 1]]
    R = torch.tensor([[float(x) for x in row] for row in R], dtype=torch.float64)
    expected = torch.linalg.matrix_norm(R, 2)
    assert abs(metrics.exact_right_residual(A, X) / expected - 1) < 1e-12


def test_the_exact_residual_sees_what_float64_does_not():
    """3 fl(1/3) is 1 in float64."""
    third, three = (torch.tensor([[x]], dtype=torch.float64) for x in (1 / 3, 3.0))
    assert neuinv.right_residual(third, three) == 0
    assert metrics.exact_right_residual(third, three).item() == 2.0**-54
