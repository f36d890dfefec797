"""The least number of products: exact at its steps, attained where it says so, and refuted when weakened."""

import math
import time
from fractions import Fraction

import numpy as np
import pytest
import torch
from numpy.polynomial import chebyshev, polynomial
from scipy.optimize import linprog
from torch import nn

import neuinv
from neuinv.iterations import Chebyshev, least_residual, matmul_residual
from neuinv.iterations.bounds import _exact_chebyshev, _reaches, chebyshev_minimum, power_minimum

flint = pytest.importorskip("flint")

KINDS = ("spd", "general", "covariant")
KAPPAS = (math.nextafter(1, 2), 1 + 1e-9, 1.5, 2.0, 3.0, 5.0, 7.25, 1e3, 1e8, 1e150, 1e300, 1.7e308)
TOLERANCES = (1 - 2**-53, 0.9, 1 / 7, 1e-3, 1e-12, 1e-100, 1e-300, 5e-324)


def degree_after(num_matmuls, kind):
    """Return the largest degree of the residual of m products, in A (spd) or A^T A."""
    if kind == "spd":
        return 2**num_matmuls + 1
    return (2**num_matmuls + 1) // 2 if kind == "general" else 2**num_matmuls // 4 + 1


def exact_cosh(degree, kappa, kind):
    """Return T_degree(x0) = cosh(degree arcosh x0) as a ball, in more bits than 1e308 squared cancels."""
    flint.ctx.prec = 3000
    ratio = flint.arb(kappa) if kind == "spd" else flint.arb(kappa) ** 2
    return (flint.arb(degree) * ((ratio + 1) / (ratio - 1)).acosh()).cosh()


@pytest.fixture(autouse=True)
def _precision():
    before = flint.ctx.prec
    yield
    flint.ctx.prec = before


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("kappa", KAPPAS)
def test_the_bound_is_enough_and_one_product_less_is_not(kappa, kind):
    """T_D(m) >= 1 / tolerance > T_D(m - 1), in ball arithmetic."""
    for tolerance in TOLERANCES:
        m = neuinv.lower_bound_matmuls(kappa, tolerance, kind)
        assert exact_cosh(degree_after(m, kind), kappa, kind) * flint.arb(tolerance) >= 1
        if m > 0:
            assert exact_cosh(degree_after(m - 1, kind), kappa, kind) * flint.arb(tolerance) < 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("kappa", KAPPAS[1:])
def test_it_is_exact_for_the_two_floats_around_each_step(kappa, kind):
    for m in (0, 1, 2, 4, 9, 30, 400):
        value = 1 / exact_cosh(degree_after(m, kind), kappa, kind)
        nearest = float(value.mid())
        if not 1e-307 < nearest < 1 - 1e-15:
            continue
        for tolerance in (math.nextafter(nearest, 0), nearest, math.nextafter(nearest, 1)):
            enough = flint.arb(tolerance) >= value
            assert enough or flint.arb(tolerance) < value  # decided
            assert (neuinv.lower_bound_matmuls(kappa, tolerance, kind) <= m) == bool(enough)


def test_a_tie_counts_as_reached():
    """x0(3) = 2 and T_1(2) = 2 is exactly 1 / (1 / 2); the next float below 1 / 2 is not reached."""
    for tolerance, reached in ((math.nextafter(0.5, 1), True), (0.5, True), (math.nextafter(0.5, 0), False)):
        assert _reaches(1, math.acosh(2), math.acosh(1 / tolerance), 3.0, tolerance, "spd") == reached


@pytest.mark.parametrize("degree", [*range(1, 20), 64, 100])
def test_the_ladder_is_the_three_term_recurrence_in_rational_arithmetic(degree):
    x, before, value = Fraction(7, 5), Fraction(1), Fraction(7, 5)
    for _ in range(degree - 1):
        before, value = value, 2 * x * value - before
    assert _exact_chebyshev(degree, x) == value


@pytest.mark.parametrize("exponent", [1, 5, 20])
def test_the_first_step_is_decided_by_rational_arithmetic(exponent):
    """Without a product the covariant bound is 1 / x0(kappa^2), here within an ulp of a power of two."""
    nearest = math.sqrt((2**exponent + 1) / (2**exponent - 1))
    for kappa in (math.nextafter(nearest, 0), nearest, math.nextafter(nearest, 9)):
        square = Fraction(kappa) ** 2
        reached = (square + 1) / (square - 1) >= 2**exponent
        assert (neuinv.lower_bound_matmuls(kappa, 2.0**-exponent, "covariant") == 0) == reached


def test_what_needs_no_product_is_zero():
    assert neuinv.lower_bound_matmuls(1.0, 1e-300, "general") == 0
    assert neuinv.lower_bound_matmuls(1e300, 1.0) == 0
    assert neuinv.lower_bound_matmuls(1e300, 17.0) == 0


def test_the_whole_range_of_floats_takes_milliseconds():
    begun = time.perf_counter()
    assert neuinv.lower_bound_matmuls(1.7e308, 5e-324, "covariant") > 1000
    assert time.perf_counter() - begun < 1


@pytest.mark.parametrize("kind", ["spd", "general"])
@pytest.mark.parametrize("kappa", KAPPAS)
def test_residuals_have_twelve_digits_in_ball_arithmetic(kappa, kind):
    for degree in (1, 2, 3, 17, 2**20 + 1, 2**400, 2**1000 + 1, 2**2001):
        flint.ctx.prec = 6000
        ratio = flint.arb(kappa) if kind == "spd" else flint.arb(kappa) ** 2
        x0 = (ratio + 1) / (ratio - 1)
        pairs = [
            (chebyshev_minimum, x0.acosh() * degree, lambda t: 1 / t.cosh()),
            (power_minimum, x0.log() * degree, lambda t: (-t).exp()),
        ]
        for computed, exponent, exact in pairs:
            value = computed(degree, kappa, kind)
            if exponent > 690:
                assert 0 <= value < 1e-299
            else:
                assert value == pytest.approx(float(exact(exponent).mid()), rel=1e-12)


def extremal_points(N, ratio):
    """Return the N + 1 extremal points of the Chebyshev polynomial on [1 / ratio, 1]."""
    low = 1 / ratio
    return [(1 + low) / 2 - (1 - low) / 2 * math.cos(j * math.pi / N) for j in range(N + 1)]


def least_on(points):
    """Return min max |q| over the points, q(0) = 1, of a degree one less than their number.

    Lagrange: 1 = q(0) = sum_j l_j(0) q(z_j), so max |q| >= 1 / sum_j |l_j(0)|, which signs of q attain.
    """
    weights = [
        math.prod(other / (other - z) for k, other in enumerate(points) if k != j)
        for j, z in enumerate(points)
    ]
    return 1 / sum(map(abs, weights))


@pytest.mark.parametrize("degree", range(12))
@pytest.mark.parametrize("kappa", [1.5, 4.0, 20.0, 300.0])
def test_no_polynomial_of_the_degree_is_better_on_the_extremal_points(degree, kappa):
    """On d + 2 points alone, no polynomial 1 - z p(z) of degree d + 1 is below 1 / T_{d+1}(x0)."""
    points = extremal_points(degree + 1, kappa)
    assert least_on(points) == pytest.approx(least_residual(degree, kappa), rel=1e-9)
    # Negative control: other points, equally many, let some polynomial below.
    if degree > 0:
        moved = [points[0], *((x + 1 / kappa) / 2 for x in points[1:])]
        assert least_on(moved) < 0.99 * least_residual(degree, kappa)


def best_on(points, powers):
    """Return min over c of max |1 - sum_k c_k z^k| over the points z, by a linear program."""
    rows, ends = [], []
    for z in points:
        row = [z**k for k in powers]
        rows += [[-v for v in row] + [-1], row + [-1]]  # 1 - s <= t and s - 1 <= t
        ends += [-1, 1]
    cost = [0] * len(powers) + [1]
    return linprog(cost, A_ub=rows, b_ub=ends, bounds=[(None, None)] * len(powers) + [(0, None)]).fun


@pytest.mark.parametrize("degree", range(1, 7))
@pytest.mark.parametrize("kappa", [1.5, 4.0])
def test_both_signs_of_z_cost_half_of_the_degree(degree, kappa):
    """z = +-sqrt of the extremal points for kappa^2: 1 / T_{floor((d+1)/2)}(x0(kappa^2))."""
    N = (degree + 1) // 2
    points = [sign * math.sqrt(z) for z in extremal_points(N, kappa**2) for sign in (1, -1)]
    best = best_on(points, range(1, degree + 2))
    assert best == pytest.approx(least_residual(degree, kappa, "general"), abs=1e-6)
    assert best_on(points, range(1, 2 * N + 3)) < 0.9 * best


def optimum_in_three_products(kappa):
    """Return A -> X, the optimal polynomial of degree 8 for [1 / kappa, 1] in three products."""
    low, x0 = 1 / kappa, (kappa + 1) / (kappa - 1)
    nine = chebyshev.cheb2poly([0] * 9 + [1])
    top = polynomial.polyval(x0, nine)
    # p = (1 - T_9(t) / T_9(x0)) / z as a polynomial in t, z = (x0 - t) (1 - low) / 2.
    p = polynomial.polydiv(polynomial.polysub([top], nine), [x0, -1])[0] * 2 / ((1 - low) * top)
    h = p / p[8]
    root = np.array([0.0, 0, 0, 0, 1])  # S of degree 4 with h - S^2 of degree 3
    for j in (3, 2, 1, 0):
        root[j] = (h[4 + j] - polynomial.polymul(root, root)[4 + j]) / 2
    cubic = (h - polynomial.polymul(root, root))[3]
    # (S + L)(S - L) + S, L = t^2 + slope t, has the same t^3 and no other new term above t^2.
    slope = (root[3] - cubic) / 2
    line = np.array([0, slope, 1])
    reached = polynomial.polymul(root, root)[:5] + root - np.append(polynomial.polymul(line, line)[:4], 1)
    left = (h[:5] - reached)[:3]

    def program(A):
        identity = torch.eye(A.shape[-1], dtype=A.dtype)
        t = ((1 + low) * identity - 2 * A) / (1 - low)
        M2 = t @ t
        S = M2 @ (M2 + root[3] * t) + root[2] * M2 + root[1] * t + root[0] * identity
        L = M2 + slope * t
        return p[8] * ((S + L) @ (S - L) + S + left[2] * M2 + left[1] * t + left[0] * identity)

    return program


@pytest.mark.parametrize("kappa", [1.5, 10.0, 40.0])
def test_three_products_attain_the_spd_bound(kappa):
    A = torch.diag(torch.linspace(1 / kappa, 1, 201, dtype=torch.float64))
    program = optimum_in_three_products(kappa)
    worst = neuinv.right_residual(A, program(A)).item()
    assert neuinv.count_matmuls(program, A) == 3
    assert worst == pytest.approx(matmul_residual(3, kappa), rel=1e-6, abs=1e-12)
    # Negative control: the program for another interval is worse.
    assert neuinv.right_residual(A, optimum_in_three_products(1.1 * kappa)(A)) > 1.05 * worst


def covariant_degrees(num_matmuls):
    """Return every triple of degrees (V to V, W to W, V to W) that m typed products reach, by trying all."""
    # Transposes are free and a sum has the degree of its largest term: these three are the whole state.
    states = {(0, 0, 1)}
    for _ in range(num_matmuls):
        found = set()
        for vv, ww, odd in states:
            for place, degree in [
                (0, 2 * vv),
                (0, 2 * odd),
                (1, 2 * ww),
                (1, 2 * odd),
                (2, odd + max(vv, ww)),
            ]:
                state = [vv, ww, odd]
                state[place] = max(state[place], degree)
                found.add(tuple(state))
        states = found
    return states


@pytest.mark.parametrize("num_matmuls", range(8))
def test_typed_products_reach_the_odd_degree_of_the_covariant_bound(num_matmuls):
    """O <= 2^(m-1) + 1 and E + O <= 2^m + 1, attained; the residual has degree (O + 1) / 2 in A^T A."""
    states = covariant_degrees(num_matmuls)
    odd = max(odd for _, _, odd in states)
    assert (odd + 1) // 2 == degree_after(num_matmuls, "covariant")
    if num_matmuls > 0:
        assert odd == (2 ** (num_matmuls - 1) + 1 if num_matmuls > 1 else 1)
        assert max(max(vv, ww) + odd for vv, ww, odd in states) == 2**num_matmuls + 1


@pytest.mark.parametrize("kind", KINDS)
def test_more_products_are_never_worse_and_the_kinds_are_ordered(kind):
    bounds = [matmul_residual(m, 50.0, kind) for m in range(10)]
    assert bounds == sorted(bounds, reverse=True)
    for m in range(10):
        spd, general, covariant = (matmul_residual(m, 50.0, k) for k in KINDS)
        assert spd <= general <= covariant


def test_general_covariant_matrices_cost_the_square_and_two_products_more():
    for m in range(8):
        squared = matmul_residual(m, 50.0**2, "spd")
        assert matmul_residual(m + 2, 50.0, "covariant") == pytest.approx(squared, rel=1e-10)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: neuinv.lower_bound_matmuls(0.5, 1e-3), ValueError, "kappa is 0.5; pass a finite"),
        (lambda: neuinv.lower_bound_matmuls(math.inf, 1e-3), ValueError, "kappa is inf"),
        (lambda: neuinv.lower_bound_matmuls("x", 1e-3), TypeError, "kappa is 'x'; pass a number >= 1"),
        (lambda: neuinv.lower_bound_matmuls(2, 0.0), ValueError, "tolerance is 0; pass a positive"),
        (lambda: neuinv.lower_bound_matmuls(2, math.nan), ValueError, "tolerance is nan"),
        (lambda: neuinv.lower_bound_matmuls(2, 0.1, "SPD"), ValueError, "kind is 'SPD'; use one of spd, gen"),
        (lambda: least_residual(-1, 2), ValueError, "degree is -1"),
        (lambda: least_residual(1, 2, "covariant"), ValueError, "use one of spd, general"),
        (lambda: matmul_residual(1.5, 2), TypeError, "num_matmuls is 1.5"),
    ],
)
def test_bad_arguments_are_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_the_counter_sees_layers_and_shares_them_out_over_the_batch():
    layer = nn.Linear(9, 18, dtype=torch.float64)
    A = torch.eye(3, dtype=torch.float64).expand(5, 3, 3)
    assert neuinv.count_matmuls(lambda A: layer(A.flatten(-2)), A) == pytest.approx(2 * 9 * 18 / (2 * 27))
    assert neuinv.count_matmuls(lambda A: 3 * A.mT + A, A) == 0
    assert neuinv.count_matmuls(lambda A: torch.linalg.matrix_norm(A)[..., None, None] * (A @ A[0]), A) == 1


@pytest.mark.parametrize(
    "callable", [torch.linalg.inv, torch.linalg.svdvals, torch.linalg.cholesky, torch.linalg.qr, torch.logdet]
)
def test_work_that_the_counter_cannot_see_is_refused(callable):
    with pytest.raises(ValueError, match="whose work torch's counter does not see"):
        neuinv.count_matmuls(callable, torch.eye(3).expand(2, 3, 3))


def test_a_scheme_with_one_product_more_is_counted_as_such():
    """Negative control of the counts."""
    scheme = Chebyshev(5)
    A = torch.eye(4, dtype=torch.float64)
    assert neuinv.count_matmuls(lambda A: A @ scheme(A, (1, 2)), A) == scheme.num_matmuls + 1
