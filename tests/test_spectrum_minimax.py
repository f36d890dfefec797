"""Minimax residual polynomials: brackets contain the truth, are tight, and are refuted when weakened."""

import math
import time
from itertools import pairwise

import numpy as np
import pytest
import torch

import neuinv
from neuinv.spectrum import (
    Arc,
    Disc,
    Intervals,
    ThickenedCloud,
    interval,
    minimax_bracket,
    minimax_residual,
    two_intervals,
)


def chebyshev_value(degree, x):
    return math.cosh(degree * math.acosh(x))


def start(kappa):
    """Return x0 = (kappa + 1) / (kappa - 1)."""
    return (kappa + 1) / (kappa - 1)


# Set and degree -> E_m in closed form.
TRUTHS = {
    f"interval {kappa} degree {m}": (interval(1 / kappa, 1), m, 1 / chebyshev_value(m, start(kappa)))
    for kappa in (2, 100, 1000)
    for m in (1, 7, 32)
}
TRUTHS |= {
    f"two intervals {kappa} degree {m}": (
        two_intervals(1 / kappa, 1),
        m,
        1 / chebyshev_value(m // 2, start(kappa**2)),  # an odd degree gains nothing
    )
    for kappa in (3, 10)
    for m in (2, 7, 16)
}
TRUTHS |= {f"disc degree {m}": (Disc(-3, 2), m, (2 / 3) ** m) for m in (1, 12, 40)}
TRUTHS |= {"circle": (Arc(2.0, math.pi), 9, 1.0), "zero inside": (interval(-1, 3), 6, 1.0)}


@pytest.mark.parametrize("name", TRUTHS)
def test_the_bracket_of_a_set_contains_the_truth_and_is_tight(name):
    E, degree, truth = TRUTHS[name]
    bracket = minimax_bracket(E, degree)
    assert bracket.lower <= truth * (1 + 1e-12) and truth <= bracket.upper * (1 + 1e-12)
    # What the bound between samples costs: (pi / 200)^2 / 2 on a real piece, and nothing else.
    assert bracket.upper <= 1.0005 * bracket.lower
    assert bracket.sampled == pytest.approx(truth, rel=2e-6)


def test_half_the_degree_or_another_constant_is_caught():
    """Negative control: the truth of another degree, or 1 % off, is outside the bracket."""
    bracket = minimax_bracket(interval(1, 9), 6)
    for wrong in (1 / chebyshev_value(5, start(9)), 1.01 / chebyshev_value(6, start(9))):
        assert not bracket.lower <= wrong <= bracket.upper
    assert not bracket.lower <= 0.99 / chebyshev_value(6, start(9)) <= bracket.upper


@pytest.mark.parametrize("kind", ["real", "complex", "two clusters", "around the origin"])
@pytest.mark.parametrize("seed", range(3))
def test_the_bracket_of_a_cloud_is_closed_and_no_polynomial_beats_it(kind, seed):
    rng = np.random.default_rng(seed)
    z = rng.uniform(0.2, 3, 80) + {"complex": 0.5, "around the origin": 3}.get(kind, 0) * 1j * rng.normal(
        size=80
    )
    if kind == "two clusters":
        z[::2] *= -1
    if kind == "around the origin":
        z = np.exp(1j * rng.uniform(0, 2 * math.pi, 80))
    q = minimax_residual(z, 10)
    assert q.lower <= np.abs(q(z)).max() * (1 + 1e-9) and q.upper <= (1 + 2e-6) * q.lower
    assert q.weights.sum() == pytest.approx(1) and (q.weights >= 0).all()
    # Any other polynomial with q(0) = 1 is larger somewhere.
    for _ in range(20):
        nudge = np.polynomial.Polynomial(1e-3 * rng.normal(size=10))
        assert np.abs(q(z) + z * nudge(z)).max() >= q.lower


def test_the_lower_bound_is_the_weighted_minimum():
    """min_q sum_j w_j |q(z_j)|^2 by a textbook least squares problem, at a low degree."""
    z = np.linspace(1, 3, 40)
    q = minimax_residual(z, 4)
    root = np.sqrt(q.weights)
    powers = q.points.real[:, None] ** np.arange(1, 5)
    _, square, *_ = np.linalg.lstsq(root[:, None] * powers, root, rcond=None)
    assert math.sqrt(square[0]) == pytest.approx(q.lower, rel=1e-7)


def test_values_far_below_the_rounding_unit_keep_their_digits():
    t = np.linspace(0, math.pi, 400)
    q = minimax_residual(2 + np.exp(1j * t), 128)
    assert q.lower <= 2.0**-128 * (1 + 1e-9) and q.upper == pytest.approx(2.0**-128, rel=1e-6)


def test_an_arc_defeats_every_degree_up_to_its_gap():
    """E_m = 1 if and only if the gap of the arc is at most 2 pi / (m + 1): average q over m + 1 points."""
    m = 8
    edge = math.pi * m / (m + 1)
    assert minimax_bracket(Arc(1.0, edge + 0.02), m).lower >= 1 - 1e-6
    assert minimax_bracket(Arc(1.0, edge), m).upper == 1
    assert minimax_bracket(Arc(1.0, edge - 0.02), m).upper < 1 - 1e-4
    assert minimax_bracket(Arc(1.0, edge), m + 1).upper < 1 - 1e-4


@pytest.mark.parametrize("seed", range(3))
def test_the_residual_of_a_normal_matrix_is_the_size_of_the_polynomial_on_its_spectrum(seed):
    A = neuinv.family("prescribed-spectrum", n=12, kappa=20.0, kind="spd").sample(2, seed=seed)
    q = minimax_residual(torch.linalg.eigvalsh(A), 8)
    X = q.inverse(A)
    residual = neuinv.right_residual(A, X)
    assert torch.allclose(torch.eye(12) - A @ X, q.residual(A), atol=1e-10)
    assert q.lower * (1 - 1e-9) <= residual.max() <= q.upper * (1 + 1e-6)


def test_the_polynomial_of_a_nonnormal_matrix_leaves_more_than_on_its_spectrum():
    """Negative control of the test above."""
    A = torch.eye(6, dtype=torch.float64) + 2 * torch.diag(torch.ones(5), 1).double()
    A += torch.diag(torch.linspace(0, 1, 6)).double()
    q = minimax_residual(torch.linalg.eigvals(A), 3)
    assert torch.linalg.matrix_norm(q.residual(A), 2) > 3 * q.upper


def test_six_hundred_points_at_degree_64_take_less_than_a_second():
    t = np.linspace(0, math.pi, 600)
    clouds = [1.001 + np.cos(t), np.exp(0.9j * t), 2 + np.exp(1j * t) * (1 + 0.2 * np.cos(5 * t))]
    seconds = []
    for z in clouds:
        begun = time.process_time()
        q = minimax_residual(z, 64)
        seconds.append(time.process_time() - begun)
        assert q.upper <= (1 + 1e-6) * q.lower
    assert min(seconds) < 1 and sum(seconds) < 3


def test_points_close_together_lose_no_digits():
    """E_m of the interval 1 + [-1e-9, 1e-9] is 1 / T_m(1e9), about 2 (5e-10)^m."""
    z = 1 + 1e-9 * np.cos(np.linspace(0, math.pi, 2001))
    q = minimax_residual(z, 3)
    assert q.upper == pytest.approx(1 / chebyshev_value(3, 1e9), rel=2e-6)


@pytest.mark.parametrize("scale", [1e-150, 1e-8, 1e8, 1e150])
def test_the_minimum_does_not_depend_on_the_scale_of_the_points(scale):
    z = np.linspace(1, 5, 60) + 0.3j
    assert minimax_residual(scale * z, 6).upper == pytest.approx(minimax_residual(z, 6).upper, rel=2e-6)


def test_a_larger_set_has_a_larger_minimum_and_a_larger_degree_a_smaller_one():
    sets = [interval(2, 3), Intervals(((2, 3), (4, 5))), interval(2, 5), interval(1, 5)]
    values = [minimax_bracket(E, 6) for E in sets]
    assert all(a.lower <= b.upper for a, b in pairwise(values))
    assert all(
        minimax_bracket(sets[1], m + 1).lower <= minimax_bracket(sets[1], m).upper for m in range(1, 8)
    )


def test_the_discs_of_a_cloud_are_covered_between_the_samples():
    """For one disc the truth is known; for several |q| at random points of the set stays below the bound."""
    cloud = ThickenedCloud([2 + 1j, 3, 2.5 - 0.4j], 0.6)
    bracket = minimax_bracket(cloud, 5)
    rng = np.random.default_rng(0)
    inside = np.concatenate([z + 0.6 * np.exp(2j * np.pi * rng.uniform(size=4000)) for z in cloud.points])
    assert np.abs(bracket.polynomial(inside)).max() <= bracket.upper
    assert np.abs(bracket.polynomial(inside)).max() >= 0.99 * bracket.lower


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([], 2), ValueError, "points is empty; pass at least one"),
        (([1.0, math.nan, 3], 1), ValueError, r"points has the entry \(nan.*remove NaN"),
        (("abc", 1), TypeError, "points is a str; pass real or complex numbers"),
        (([1, 2, 3], 0), ValueError, "degree is 0; pass an integer >= 1"),
        (([1, 2, 3], 1.5), TypeError, "degree is 1.5; pass an integer"),
        (([1, 2, 2, 3], 3), ValueError, "degree is 3 for 3 distinct points, where the minimum is 0"),
        (([1 + 1j, 2], 3), ValueError, "degree is 3 for 3 distinct points"),
        ((1 + 2.0**-50 * np.arange(30), 25), ValueError, "below 1e-300; pass a smaller degree"),
    ],
)
def test_bad_points_and_degrees_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        minimax_residual(*arguments)


def test_bad_tolerances_and_matrices_are_refused():
    with pytest.raises(ValueError, match=r"tolerance is 0; pass a number in \[1e-9, 1\)"):
        minimax_residual([1, 2, 3], 1, tolerance=0)
    with pytest.raises(ValueError, match="square"):
        minimax_residual([1, 2, 3], 1).residual(torch.zeros(2, 3))
