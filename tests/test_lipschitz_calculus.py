"""The calculus of Lip(c, L, p): constants hold, are attained by extremal functions, cannot be lowered."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import neuinv
from neuinv.lipschitz import LipschitzClass, LocalBound, identity_class, polynomial_class

CONSTANT = st.floats(0, 5)
EXPONENT = st.integers(0, 3)


def ray(r, p):
    """h_p(r) = int_0^r max(1, s)^p ds, odd in r."""
    size = abs(r)
    value = size if size <= 1 else 1 + (size ** (p + 1) - 1) / (p + 1)
    return math.copysign(value, r)


def extremal(c, L, p):
    """Return f = c + L h_p, the scalar map with f(0) = c and slope L max(1, |x|)^p."""
    return lambda x: c + L * ray(x, p)


def worst_quotient(f, p, points):
    """Return the largest secant of a scalar f, weighted by max(1, |x|, |y|)^-p."""
    best = 0.0
    for x in points:
        for y in (x + 1e-4, -x, x / 2):
            if x != y:
                best = max(best, abs(f(x) - f(y)) / (max(1, abs(x), abs(y)) ** p * abs(x - y)))
    return best


POINTS = [0.0, 0.3, -0.9999, 0.9999, 1.0, -1.0001, 1.7, -3.0, 10.0, 1e3]


def combined(name, f, g, first, second):
    """Return (class by the calculus, the map) for one operation on two scalar maps."""
    return {
        "sum": (first + second, lambda x: f(x) + g(x)),
        "product": (first.times(second, 2.0), lambda x: 2 * f(x) * g(x)),
        "composition": (first.then(second), lambda x: g(f(x))),
        "scaled": (first.scaled(-3.0), lambda x: -3 * f(x)),
        "shifted": (first.shifted(2.0), lambda x: f(x) + 2),
    }[name]


OPERATIONS = ["sum", "product", "composition", "scaled", "shifted"]


@pytest.mark.parametrize("name", OPERATIONS)
@settings(max_examples=60, deadline=None)
@given(c=CONSTANT, L=CONSTANT, p=EXPONENT, d=CONSTANT, M=CONSTANT, q=EXPONENT)
def test_every_operation_maps_valid_constants_to_valid_ones(name, c, L, p, d, M, q):
    f, g = extremal(c, L, p), extremal(d, M, q)
    found, h = combined(name, f, g, LipschitzClass(c, L, p), LipschitzClass(d, M, q))
    assert abs(h(0.0)) <= found.c * (1 + 1e-12)
    assert worst_quotient(h, found.p, POINTS) <= found.L * (1 + 1e-6) + 1e-6


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_has_sharp_constants_on_extremal_functions(name):
    """Both constants of one pair of maps at once; for the product and the composition at |x| = 1."""
    first, second = LipschitzClass(0.5, 0.7, 1), LipschitzClass(0.4, 0.9, 2)
    f, g = extremal(0.5, 0.7, 1), extremal(0.4, 0.9, 2)
    found, h = combined(name, f, g, first, second)
    assert found.c == pytest.approx(abs(h(0.0)), rel=1e-12)
    measured = worst_quotient(h, found.p, [1.0 - 1e-4, 0.9999, 1.0, 30.0, 1e4])
    assert 0.99 * found.L <= measured <= found.L * (1 + 1e-6)
    # Negative control: 95 % of the constant is violated.
    assert measured > 0.95 * found.L


def test_the_exponent_of_a_composition_cannot_be_lowered():
    square = LipschitzClass(0, 1, 1)
    found = square.then(square)
    h = extremal(0, 1, 1)
    assert found.p == 3
    assert worst_quotient(lambda x: h(h(x)), 2.9, [1e30]) > found.L


def test_the_norm_on_a_ball_is_the_integral_along_the_ray():
    for c, L, p, radius in [(0.3, 2.0, 2, 5.0), (1.0, 0.5, 0, 3.0), (0.0, 1.0, 4, 0.5), (2.0, 1.0, 1, 1.0)]:
        bound = LipschitzClass(c, L, p).restrict(radius)
        assert bound.norm == pytest.approx(extremal(c, L, p)(radius), rel=1e-12)
        assert bound.norm >= extremal(c, L, p)(radius) * (1 - 1e-15)
        assert bound.lipschitz == pytest.approx(L * max(1, radius) ** p, rel=1e-12)


def test_stacking_adds_squares_and_is_attained():
    found = LipschitzClass(3, 6, 1).stacked(LipschitzClass(4, 8, 2))
    assert (found.p, found.c, found.L) == (2, pytest.approx(5), pytest.approx(10))


def test_the_growth_bound_holds_and_is_attained_at_the_unit_sphere():
    f = LipschitzClass(0.5, 2, 3)
    assert math.exp(f.log_growth) == pytest.approx(extremal(0.5, 2, 3)(1.0))
    assert all(abs(extremal(0.5, 2, 3)(x)) <= 2.5 * max(1, abs(x)) ** 4 for x in POINTS)


def test_bounded_factors_and_bounded_inner_maps_raise_no_exponent():
    bounded = LipschitzClass(0, 1, 0, bound=1.0)
    assert bounded.times(bounded).p == 0 and bounded.times(bounded).L == pytest.approx(2)
    assert bounded.then(LipschitzClass(0, 1, 5)).p == 0
    assert LipschitzClass(0, 1, 0).times(bounded).p == 1
    assert worst_quotient(lambda x: math.tanh(x) ** 2, 0, POINTS) <= 2


def test_a_constant_factor_is_a_linear_map():
    assert LipschitzClass(2, 0).times(LipschitzClass(1, 3, 1)).p == 1
    assert LipschitzClass(2, 0).times(LipschitzClass(1, 3, 1)).L == pytest.approx(6)
    assert LipschitzClass(0, 0).times(LipschitzClass(1, 3, 1)) == LipschitzClass(0, 0)


def test_two_thousand_compositions_overflow_to_no_infinity():
    layer, state = LipschitzClass(1.0, 1e6), identity_class()
    for _ in range(2000):
        state = state.then(layer)
    assert state.L == math.inf
    assert state.log_L == pytest.approx(2000 * math.log(1e6), rel=1e-12)
    assert state.log_L >= 2000 * math.log(1e6) * (1 - 1e-15) and math.isfinite(state.log_c)


def test_exponents_stay_exact_beyond_float64():
    state = LipschitzClass(0, 1, 1)
    for _ in range(8):
        state = state.then(LipschitzClass(0, 1, 2**10))
    assert isinstance(state.p, int) and state.p == 2 * (2**10 + 1) ** 8 - 1


def test_an_exponent_too_large_for_logarithms_is_refused():
    state = LipschitzClass(1, 2, 1)
    with pytest.raises(OverflowError, match="use fewer products"):
        for _ in range(2000):
            state = state.then(LipschitzClass(1, 2, 1))


def test_rounding_never_lowers_a_constant():
    """Ten thousand sums of 0.1 against the exact value of the float."""
    from fractions import Fraction

    total = LipschitzClass(0, 0.1)
    for _ in range(999):
        total = total + LipschitzClass(0, 0.1)
    assert Fraction(total.L) >= 1000 * Fraction(0.1)
    assert total.L == pytest.approx(100, rel=1e-11)


@pytest.mark.parametrize("degree", [1, 2, 3, 5])
def test_the_class_of_a_matrix_power_is_attained_at_a_projection(degree):
    found = polynomial_class([0.0] * degree + [1.0])
    E = torch.zeros(3, 3, dtype=torch.float64)
    E[0, 0] = 2.0
    near = E.clone()
    near[0, 0] += 1e-6
    gap = torch.linalg.matrix_norm(torch.matrix_power(near, degree) - torch.matrix_power(E, degree)) / 1e-6
    ratio = gap.item() / (found.L * (2 + 1e-6) ** found.p)
    assert 0.999 <= ratio <= 1 + 1e-8


def test_polynomials_of_random_matrices_stay_within_their_class():
    generator = torch.Generator().manual_seed(0)
    coefficients = [0.5, -1.0, 2.0, 0.3]
    found = polynomial_class(coefficients, n=3)

    def f(A):
        return sum(a * torch.matrix_power(A, k) for k, a in enumerate(coefficients))

    assert found.c == pytest.approx(0.5 * math.sqrt(3))
    for scale in (0.1, 1.0, 10.0):
        A, B = scale * torch.randn(2, 500, 3, 3, generator=generator, dtype=torch.float64)
        norm = torch.linalg.matrix_norm
        size = torch.stack([norm(A), norm(B), torch.ones(500)]).amax(dim=0)
        assert (norm(f(A) - f(B)) <= found.L * size**found.p * norm(A - B)).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LipschitzClass(-1, 1), "c is -1; pass a finite number >= 0"),
        (lambda: LipschitzClass(0, math.inf), "L is inf"),
        (lambda: LipschitzClass(0, 1, -1), "p is -1; pass a finite exponent"),
        (lambda: LipschitzClass(2, 1, 0, bound=1), "bound is 1, below c = 2"),
        (lambda: LipschitzClass.from_logs(math.nan, 0), "log_c is nan"),
        (lambda: LocalBound.identity(-1), "radius is -1"),
        (lambda: polynomial_class([]), "coefficients is empty"),
        (lambda: polynomial_class([math.nan]), "pass finite numbers"),
    ],
)
def test_constants_that_make_no_sense_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def price_pair(n, kappa):
    """Return the pair diag(1, ..., 1, +-1) / kappa, of condition number 1 at scale 1 / kappa."""
    signs = torch.ones(2, n, dtype=torch.float64)
    signs[1, -1] = -1
    return torch.diag_embed(signs) / kappa


@pytest.mark.parametrize(("n", "kappa", "p"), [(2, 10, 0), (4, 50, 3), (9, 2.0, 2), (9, 3.0, 2)])
@pytest.mark.parametrize("eta", [0.0, 0.4, 0.999])
def test_the_price_is_what_a_shortened_inverse_pays_on_the_pair(n, kappa, p, eta):
    """(1 - eta) A^-1 has forward error eta, and the pair's secant equals the price: valid and tight."""
    A, B = price_pair(n, kappa)
    X, Y = ((1 - eta) * torch.linalg.inv(M) for M in (A, B))
    size = max(1.0, torch.linalg.matrix_norm(A).item())
    secant = (torch.linalg.matrix_norm(X - Y) / torch.linalg.matrix_norm(A - B)).item()
    needed = neuinv.required_lipschitz(kappa, eta, n=n, p=p)
    assert needed == pytest.approx(secant / size**p, rel=1e-12)


@pytest.mark.parametrize("n", [2, 3, 8])
@pytest.mark.parametrize("kappa", [1.5, 4.0, 100.0])
def test_matrices_of_condition_kappa_on_the_unit_sphere_cost_n_times_as_much(n, kappa):
    """diag(1, ..., 1, +-1/kappa) of Frobenius norm 1 has the secant kappa^2 (n - 1 + kappa^-2)."""
    A, B = torch.eye(n, dtype=torch.float64).repeat(2, 1, 1)
    A[-1, -1], B[-1, -1] = 1 / kappa, -1 / kappa
    A, B = A / torch.linalg.matrix_norm(A), B / torch.linalg.matrix_norm(B)
    assert torch.linalg.cond(A).item() == pytest.approx(kappa)
    rise = torch.linalg.matrix_norm(torch.linalg.inv(A) - torch.linalg.inv(B))
    secant = (rise / torch.linalg.matrix_norm(A - B)).item()
    assert secant == pytest.approx(kappa**2 * (n - 1 + kappa**-2))
    assert secant > neuinv.required_lipschitz(kappa, 0.0)


def test_where_the_error_is_one_nothing_is_needed():
    assert neuinv.required_lipschitz(100, 1.0) == 0 and neuinv.required_lipschitz(100, 7.0) == 0


@pytest.mark.parametrize("p", [0, 1, 4])
@pytest.mark.parametrize("kappa", [1.0, 1.5, 7.0, 1e5])
def test_the_largest_condition_inverts_the_price(p, kappa):
    L = neuinv.required_lipschitz(kappa, 0.3, n=9, p=p)
    assert neuinv.largest_condition(LipschitzClass(0, L, p), 0.3, n=9) == pytest.approx(kappa)


def test_the_largest_condition_of_a_ball_needs_the_pair_inside():
    bound = LocalBound.identity(0.01)
    assert neuinv.largest_condition(bound, 0.0, n=4) == pytest.approx(200)
    assert neuinv.largest_condition(LocalBound.identity(2.0), 0.0, n=4) == pytest.approx(1)
    assert (
        neuinv.largest_condition(LipschitzClass(0, 1e300, 0).then(LipschitzClass(0, 1e300)), 1.0) == math.inf
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: neuinv.required_lipschitz(0.5, 0.1), "kappa is 0.5"),
        (lambda: neuinv.required_lipschitz(2, -0.1), "eta is -0.1"),
        (lambda: neuinv.required_lipschitz(2, 0.1, p=1), "pass n >= 1"),
        (lambda: neuinv.largest_condition(LipschitzClass(0, 1, 2), 0.1), "pass n >= 1"),
    ],
)
def test_a_price_of_impossible_arguments_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
