"""The Lipschitz price: forced by every accurate map, attained by one, refuted when it is lowered."""

import math

import numpy as np
import pytest
import torch
from cases import BAD_MATRICES, gaussian, maps

from neuinv import metrics
from neuinv.lipschitz import required_lipschitz
from neuinv.lipschitz_price import (
    attaining_map,
    check_pair_price,
    lipschitz_price,
    local_lipschitz,
    price_witness,
)

KAPPAS = (1.0, 1.5, 7.0, 300.0)
# eta in units of the largest that is no trivial demand: relative 1, absolute kappa.
FRACTIONS = (0.0, 1e-6, 0.03, 0.3, 0.7, 0.999, 1.0, 1.5)


def demands():
    """Return (kappa, eta, absolute) from no error at all to no demand at all."""
    pairs = [(kappa, fraction) for kappa in KAPPAS for fraction in FRACTIONS]
    return [(kappa, fraction, False) for kappa, fraction in pairs] + [
        (kappa, fraction * kappa, True) for kappa, fraction in pairs
    ]


def matrices(kind, kappa, n, batch=150, seed=0):
    """Draw matrices of a kind with singular values in [1/kappa, 1], ends included."""
    generator = torch.Generator().manual_seed(seed)
    U, V = (torch.linalg.qr(gaussian(batch, n, seed=s)).Q for s in (seed, seed + 1))
    exponents = torch.rand(batch, n, generator=generator, dtype=torch.float64).mul(1.4).sub(0.2).clamp(0, 1)
    sigma = kappa**-exponents
    A = (U * sigma[:, None]) @ (U if kind == "spd" else V).mT
    if kind.startswith("det"):
        wrong = (torch.linalg.slogdet(A).sign > 0) != (kind == "det-positive")
        A[wrong, 0] *= -1
    return A


def brute_force_spd_price(kappa, eta, absolute):
    """Return the steepest secant between all pairs of a grid: max (low(x) - high(y)) / |x - y|."""
    x = np.geomspace(1 / kappa, 1, 1500)
    low, high = (1 / x - eta, 1 / x + eta) if absolute else ((1 - eta) / x, (1 + eta) / x)
    distance = np.abs(x[:, None] - x[None])
    np.fill_diagonal(distance, np.inf)
    return max(0.0, ((low[:, None] - high[None]) / distance).max())


def test_the_spd_price_is_the_steepest_secant_over_all_pairs():
    """For kappa = 1 there is one matrix, and for a tiny error the grid is too coarse for the pair."""
    for kappa, eta, absolute in demands():
        if kappa > 1 and eta >= 1e-3:
            price = lipschitz_price(kappa, eta, "spd", absolute)
            found = brute_force_spd_price(kappa, eta, absolute)
            assert found * (1 - 1e-12) <= price <= found * (1 + 1e-3) + 1e-12


def test_the_spd_price_has_its_closed_forms():
    """(sqrt(1 + eta) - sqrt(2 eta))^2 kappa^2, the branch t delta > 1, and the absolute one."""
    eta, kappa = 0.2, 1e3
    expected = (math.sqrt(1 + eta) - math.sqrt(2 * eta)) ** 2 * kappa**2
    assert lipschitz_price(kappa, eta, "spd") == pytest.approx(expected, rel=1e-12)
    delta = 0.5  # the best ratio is (1.2 + sqrt(0.48)) / 0.8 = 2.4 > 2
    expected = ((1 - eta) - (1 + eta) * delta) / (delta * (1 - delta))
    assert lipschitz_price(1 / delta, eta, "spd") == pytest.approx(expected, rel=1e-12)
    expected = (1 - math.sqrt(2 * 3.0 / kappa)) ** 2 * kappa**2
    assert lipschitz_price(kappa, 3.0, "spd", absolute=True) == pytest.approx(expected, rel=1e-12)


def test_the_spd_price_is_continuous_where_its_branches_meet_and_never_above_the_full_one():
    eta = 0.2
    turn = (1 + eta + math.sqrt(2 * eta * (1 + eta))) / (1 - eta)
    below, above = (lipschitz_price(turn * (1 + s), eta, "spd") for s in (-1e-9, 1e-9))
    assert below == pytest.approx(above, rel=1e-8)
    for kappa, eta, absolute in demands():
        full = lipschitz_price(kappa, eta, absolute=absolute)
        assert lipschitz_price(kappa, eta, "spd", absolute) <= full * (1 + 1e-12)


def test_a_constant_map_is_free_exactly_where_the_spd_price_is_zero():
    """|c - 1/x| <= eta/x on [1/kappa, 1] has a solution c iff (1 - eta) kappa <= 1 + eta."""
    kappa = 4.0
    edge = (kappa - 1) / (kappa + 1)
    assert lipschitz_price(kappa, edge * (1 + 1e-9), "spd") == 0
    assert lipschitz_price(kappa, edge * (1 - 1e-6), "spd") > 0
    edge = (kappa - 1) / 2
    assert lipschitz_price(kappa, edge * (1 + 1e-9), "spd", absolute=True) == 0
    assert lipschitz_price(kappa, edge * (1 - 1e-6), "spd", absolute=True) > 0


@pytest.mark.parametrize(
    ("kind", "n"),
    [("general", 1), ("spd", 1)]
    + [(kind, n) for kind in ("general", "det-positive", "det-negative", "spd") for n in (2, 4)],
)
def test_the_attaining_map_has_the_accuracy_and_the_constant(kind, n):
    """Errors at most eta on the set; secants in the Frobenius norm at most the price, on the whole space."""
    for kappa, eta, absolute in demands():
        f, price = attaining_map(kappa, eta, kind, absolute), lipschitz_price(kappa, eta, kind, absolute)
        A = matrices(kind, kappa, n)
        assert metrics.forward_error(A, f(A), relative=not absolute).max() <= eta + 1e-9 * kappa
        everywhere = torch.cat([A, gaussian(100, n), 3 / kappa * gaussian(100, n, seed=5), 0 * A[:1]])
        pairs = torch.randint(len(everywhere), (2, 800), generator=torch.Generator().manual_seed(1))
        B, C = everywhere[pairs[0]], everywhere[pairs[1]]
        near = B + 1e-4 / kappa * gaussian(800, n, seed=7)
        for other in (C, near):
            rise = torch.linalg.matrix_norm(f(B) - f(other))
            run = torch.linalg.matrix_norm(B - other)
            assert (rise <= price * run * (1 + 1e-9) + 1e-9 * kappa).all()


@pytest.mark.parametrize("kind", ["general", "det-positive", "det-negative", "spd"])
def test_the_witness_pair_attains_the_price_and_lies_in_the_set(kind):
    """The secant of the attaining map on the pair is the price, and so is the slope its errors force."""
    for kappa, eta, absolute in demands():
        price = lipschitz_price(kappa, eta, kind, absolute)
        if kind == "spd" and (price < 1e-9 * kappa**2 or eta < 1e-3):
            continue
        pair = price_witness(3, kappa, eta, kind, absolute)
        both = torch.stack([pair.A, pair.B])
        sigma = torch.linalg.svdvals(both)
        assert (sigma <= 1).all() and (sigma[:, -1] >= 1 / kappa * (1 - 1e-12)).all()
        if kind.startswith("det"):
            assert (torch.linalg.slogdet(both).sign == (1 if kind == "det-positive" else -1)).all()
        if kind == "spd":
            assert torch.linalg.eigvalsh(both).min() > 0
        check = check_pair_price(attaining_map(kappa, eta, kind, absolute), pair.A, pair.B)
        assert pair.price == price
        assert check.secant == pytest.approx(price, rel=1e-9, abs=1e-9 * kappa**2)
        if eta < (kappa if absolute else 1):
            assert check.needed == pytest.approx(price, rel=1e-6, abs=1e-9 * kappa**2)


@pytest.mark.parametrize("kind", ["general", "det-positive", "spd"])
def test_a_lowered_constant_cannot_keep_the_accuracy(kind):
    """Negative control: the attaining map shrunk to 95 % of the constant misses eta on the witness."""
    kappa, eta = 20.0, 0.1
    pair = price_witness(2, kappa, eta, kind)
    both = torch.stack([pair.A, pair.B])
    X = attaining_map(kappa, eta, kind)(both)
    centre = X.mean(dim=0)
    shrunk = centre + 0.95 * (X - centre)
    assert metrics.forward_error(both, X).max() <= eta + 1e-12
    assert metrics.forward_error(both, shrunk).max() > eta + 1e-3


@pytest.mark.parametrize("kappa", KAPPAS)
def test_the_price_of_a_lipschitz_map_is_that_of_its_class(kappa):
    """It is (1 - eta) kappa^2 for p = 0, and less for p > 0 where the pair has norm above 1."""
    for eta in FRACTIONS:
        price = lipschitz_price(kappa, eta)
        assert required_lipschitz(kappa, eta) == pytest.approx(price, rel=1e-12)
        assert required_lipschitz(kappa, eta, n=1, p=2) == pytest.approx(price, rel=1e-12)
        wide = required_lipschitz(kappa, eta, n=10**6, p=1)
        assert wide < price or price == 0


def test_the_price_on_spd_matrices_is_below_that_of_the_class():
    """Negative control: where the pair of opposite signs is missing, the class constant is no lower bound."""
    assert lipschitz_price(7.0, 0.1, "spd") < 0.5 * required_lipschitz(7.0, 0.1)


@pytest.mark.parametrize("kappa", [1.1, 4.0, 100.0, 1e6])
def test_a_fixed_constant_leaves_an_error_that_tends_to_one_on_spd_matrices(kappa):
    """Below eta = 1 - max(sqrt(8 L), 4) / kappa the price exceeds L."""
    for L in (0.0, 1.0, 2.0, 50.0):
        bound = 1 - max(math.sqrt(8 * L), 4) / kappa
        if bound > 0:
            assert lipschitz_price(kappa, bound * (1 - 1e-9), "spd") > L


def test_the_extension_is_steeper_by_root_two_in_the_spectral_norm():
    """A = delta (I + h S), B = delta (I + h T): the secant tends to sqrt 2 times the price."""
    kappa, eta, h = 10.0, 0.1, 1e-4
    S, T = ([[-1.0, -1.0], [1.0, 0.0]], [[0.0, 0.0], [0.0, 1.0]])
    A, B = ((torch.eye(2, dtype=torch.float64) + h * torch.tensor(M)) / kappa for M in (S, T))
    f, price = attaining_map(kappa, eta), lipschitz_price(kappa, eta)
    assert check_pair_price(f, A, B).secant == pytest.approx(math.sqrt(2) * price, rel=1e-3)
    frobenius = torch.linalg.matrix_norm(f(A) - f(B)) / torch.linalg.matrix_norm(A - B)
    assert price * (1 - 1e-3) <= frobenius <= price * (1 + 1e-9)


def test_the_full_price_does_not_hold_on_spd_matrices():
    """Negative control: on SPD matrices the map of the smaller constant has the accuracy."""
    kappa, eta = 50.0, 0.3
    f = attaining_map(kappa, eta, "spd")
    A = matrices("spd", kappa, 3)
    assert metrics.forward_error(A, f(A)).max() <= eta + 1e-12
    assert lipschitz_price(kappa, eta, "spd") < 0.2 * lipschitz_price(kappa, eta)


@pytest.mark.parametrize("n", [2, 3])
def test_needed_never_exceeds_the_secant_of_any_map(n):
    for kind in ("general", "det-positive", "spd"):
        pair = price_witness(n, 12.0, 0.2, kind)
        for f in maps(n).values():
            check = check_pair_price(f, pair.A, pair.B)
            assert 0 <= check.needed <= check.secant * (1 + 1e-9) + 1e-9


def test_a_map_with_errors_of_one_needs_nothing():
    pair = price_witness(2, 12.0, 0.2)
    check = check_pair_price(torch.zeros_like, pair.A, pair.B)
    assert check.needed == 0 and check.errors.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("n", [1, 2, 5])
def test_the_jacobian_of_the_inverse_has_norm_one_over_sigma_min_squared(n):
    A = gaussian(6, n)
    expected = torch.linalg.svdvals(A)[:, -1] ** -2
    assert torch.allclose(local_lipschitz(torch.linalg.inv, A), expected, rtol=1e-9)


def test_the_jacobian_of_a_linear_map_and_of_a_constant_are_exact():
    A = gaussian(3, 3)
    M = gaussian(1, 3, seed=1)[0]
    assert torch.allclose(local_lipschitz(lambda A: M @ A, A), torch.linalg.matrix_norm(M, 2))
    assert local_lipschitz(lambda A: 0 * A + 7, A).tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0.5, 0.1), "kappa is 0.5; pass a finite condition number >= 1"),
        ((float("nan"), 0.1), "kappa is nan"),
        ((3, -0.1), "eta is -0.1; pass a finite error >= 0"),
        ((3, float("inf")), "eta is inf"),
        ((3, 0.1, "hermitian"), "kind is 'hermitian'; use one of general"),
    ],
)
def test_bad_demands_are_refused(arguments, message):
    for function in (lipschitz_price, attaining_map, lambda *demand: price_witness(3, *demand)):
        with pytest.raises(ValueError, match=message):
            function(*arguments)


def test_a_witness_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="n is 1; pass an integer >= 2 for kind 'det-positive'"):
        price_witness(1, 3, 0.1, "det-positive")
    with pytest.raises(ValueError, match=r"n is 2\.0; pass an integer >= 1"):
        price_witness(2.0, 3, 0.1)
    with pytest.raises(ValueError, match="no pair of SPD matrices forces a price 9"):
        price_witness(2, 3, 0, "spd")
    with pytest.raises(ValueError, match="no pair of SPD matrices forces a price 0"):
        price_witness(2, 3, 0.6, "spd")


@pytest.mark.parametrize("case", BAD_MATRICES)
def test_maps_refuse_bad_matrices(case):
    A, error, message = BAD_MATRICES[case]
    for f in (attaining_map(3, 0.1), attaining_map(3, 0.1, "spd"), lambda A: local_lipschitz(torch.sin, A)):
        with pytest.raises(error, match=message):
            f(A)


def test_a_pair_of_equal_matrices_is_refused():
    with pytest.raises(ValueError, match="A and B are equal"):
        check_pair_price(torch.zeros_like, torch.eye(2), torch.eye(2))
