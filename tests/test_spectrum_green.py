"""Green's function at the origin: the numeric path against closed forms, and what a cloud allows to say."""

import math

import numpy as np
import pytest
import torch

import neuinv
from neuinv.spectrum import (
    AnnularSector,
    Arc,
    Disc,
    GreenStatus,
    Intervals,
    Polygon,
    ThickenedCloud,
    green_function,
    green_interval,
    interval,
    minimax_bracket,
    rate_estimates,
    two_intervals,
)

# Set, closed form written out, stated relative error of the numeric path.
CLOSED = {
    f"interval {k}": (
        interval(3 / k, 3),
        math.log((math.sqrt(k) + 1) / (math.sqrt(k) - 1)),
        3e-4 if k <= 100 else 1e-2,
    )
    for k in (2, 10, 100, 1000)
}
CLOSED |= {
    f"two intervals {k}": (two_intervals(2 / k, 2), math.log((k + 1) / (k - 1)) / 2, 3e-4)
    for k in (3, 10, 100)
}
CLOSED |= {f"disc {c}": (Disc(c, 1.0), math.log(abs(c)), 1e-5) for c in (1.1, -2.0, 50.0)}
CLOSED |= {
    f"arc {a} pi": (Arc(2.0, a * math.pi), -math.log(math.sin(a * math.pi / 2)), 2e-2)
    for a in (0.1, 0.5, 0.9, 0.95)
}


@pytest.mark.parametrize("name", CLOSED)
def test_the_numeric_path_agrees_with_the_closed_form(name):
    E, truth, accuracy = CLOSED[name]
    exact = green_function(E)
    assert exact.status is GreenStatus.CLOSED_FORM
    assert exact.value == pytest.approx(truth, rel=1e-12) and exact.low == exact.value == exact.high
    found = green_function(E, numeric=True)
    assert found.status is GreenStatus.ESTIMATE and found.degree > 0
    assert found.value == pytest.approx(truth, rel=accuracy)
    assert 0 < found.low <= truth
    # E_m <= 2 e^{-mg} in all these cases, so that the lower bound is no further than ln 2 / m.
    assert truth <= found.low + 1.01 * math.log(2) / found.degree


def test_the_stated_accuracy_would_catch_the_plain_estimate():
    """Negative control: without the model the rate at kappa = 1000 is off by more than a thousandth."""
    E, truth, _ = CLOSED["interval 1000"]
    first, second = (minimax_bracket(E, m).sampled for m in (32, 64))
    plain, model = rate_estimates(first, second, 32)
    assert abs(plain / truth - 1) > 5e-3 and abs(model / truth - 1) < 1e-6


def test_the_full_circle_and_every_set_around_the_origin_have_none():
    for E in (
        Arc(1.0, math.pi),
        interval(-1, 2),
        Disc(1, 1),
        AnnularSector(1, 2, math.pi),
        Polygon((-1, 1j, 1)),
    ):
        assert green_function(E).value == 0 and green_function(E).high == 0
    found = green_function(Arc(1.0, math.pi), numeric=True, max_degree=32)
    assert found.value == 0 and found.status is GreenStatus.NO_DECAY


def test_a_gap_that_the_degrees_cannot_see_is_reported_as_such():
    found = green_function(Arc(1.0, 0.99 * math.pi), numeric=True, max_degree=16)
    assert found.status is GreenStatus.NO_DECAY and found.value == 0 < found.high


@pytest.mark.parametrize(
    "E",
    [
        Arc(1.0, 2.0, center=0.4),
        Arc(1.0, 2.0, center=-0.4),
        Arc(1.0, 1.0, center=5.0),
        Intervals(((-3, -1), (2, 4))),
    ],
)
def test_closed_forms_off_the_center_agree_with_the_numeric_path(E):
    assert green_function(E, numeric=True).value == pytest.approx(green_function(E).value, rel=1e-4)


def test_the_preimage_of_a_polynomial_divides_the_value_by_its_degree():
    """Two equal intervals are the preimage of one under (z - c)^2."""
    found = green_function(Intervals(((1, 2), (4, 5)))).value
    shifted = interval(1 - 9, 4 - 9)  # the range of (z - 3)^2 - 9, which is 0 at z = 0
    assert found == pytest.approx(green_function(shifted).value / 2, rel=1e-12)


def test_a_polygon_around_a_disc_tends_to_the_disc_from_below():
    values = []
    for sides in (8, 32):
        t = (2 * np.arange(sides // 2) + 1) * math.pi / sides
        values.append(
            green_function(Polygon(tuple(3 + np.exp(1j * t) / math.cos(math.pi / sides))), max_degree=16)
        )
    truth = math.log(3)
    assert values[0].value < values[1].value < truth * (1 + 1e-6) and values[1].value > 0.99 * truth
    assert all(v.low <= v.value <= v.high for v in values)


def test_brackets_hold_where_no_closed_form_is_known():
    """A polygon contains its edges and lies in a disc; an annular sector contains its arcs."""
    triangle = green_function(Polygon((1, 2 + 1j, 3)), max_degree=32)
    assert green_function(Disc(2, 1)).value <= triangle.value <= green_function(interval(1, 3)).value
    sector = green_function(AnnularSector(0.5, 1, 2.0), max_degree=32)
    assert sector.low <= sector.value <= sector.high <= green_function(Arc(1.0, 2.0)).value * (1 + 1e-12)


def test_a_cloud_gets_an_interval_that_falls_with_its_thickness():
    eigenvalues = torch.linalg.eigvalsh(neuinv.family("prescribed-spectrum", n=24).sample(1, seed=0))
    found = green_interval(eigenvalues, (0.4, 0.1, 0.2))
    values = [g.value for g in found.lowest]
    assert found.thicknesses == (0.1, 0.2, 0.4) and values == sorted(values, reverse=True)
    assert found.low == values[-1] < values[0] == found.high


def test_a_thinned_cloud_is_enclosed():
    """1000 points of an interval: the thickened set is nearly the interval of its ends, moved by h."""
    found = green_interval(np.linspace(1, 9, 1000), (0.05,), relative=False, max_degree=16)
    truth = green_function(interval(1 - 0.05, 9 + 0.05)).value
    assert found.low < truth < found.high * 1.05 and found.high > found.low


def test_the_range_of_a_cloud_does_not_depend_on_its_scale():
    z = [1, 2 + 0.5j, 3]
    a, b = (green_interval(np.array(z) * s, (0.1,), max_degree=16) for s in (1, 1e-6))
    assert a.low == pytest.approx(b.low, rel=1e-6)


def test_discs_that_hold_the_origin_leave_nothing():
    assert green_function(ThickenedCloud([1.0, 3.0], 1.5)).value == 0
    assert green_function(ThickenedCloud([2.0], 1.0)).value == pytest.approx(math.log(2))


def test_discs_around_the_origin_leave_nothing_either():
    ring = np.exp(1j * np.linspace(0, math.pi, 13))
    found = green_function(ThickenedCloud(ring, 0.2), max_degree=16)
    assert found.status is GreenStatus.NO_DECAY and found.value == 0


def test_the_convergence_factor_is_that_of_the_minimax_residuals():
    """E_m e^{mg} stays in [1, 2] on an interval."""
    E = interval(1, 30)
    factor = neuinv.convergence_factor(E)
    for m in (4, 16, 48):
        bracket = minimax_bracket(E, m)
        assert factor**m <= bracket.upper and bracket.lower <= 2 * factor**m
    assert neuinv.convergence_factor(interval(-1, 1)) == 1


def test_normal_matrices_follow_the_rate_within_five_percent():
    for kappa, m in ((10, 8), (30, 8), (100, 16)):
        E = interval(1 / kappa, 1)
        g = green_function(E).value
        first, second = minimax_bracket(E, m), minimax_bracket(E, 2 * m)
        assert m * g >= 2
        assert math.log(first.sampled / second.sampled) / m == pytest.approx(g, rel=0.05)
        A = neuinv.family("prescribed-spectrum", n=40, kappa=float(kappa), kind="spd").sample(3, seed=0)
        assert neuinv.right_residual(A, second.polynomial.inverse(A)).max() <= second.upper * (1 + 1e-6)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: green_function(np.array([1.0])),
            TypeError,
            "finite cloud gives no upper bound.*green_interval",
        ),
        (
            lambda: green_function(interval(1, 2), max_degree=4),
            ValueError,
            "max_degree is 4; pass an integer >= 8",
        ),
        (lambda: interval(2, 1), ValueError, "pass increasing pairs"),
        (lambda: interval(1, math.nan), ValueError, "pass pairs such as"),
        (lambda: Intervals(()), ValueError, "pass increasing pairs"),
        (lambda: Disc(1j, 1), ValueError, "center is 1j; pass a real one"),
        (lambda: Disc(1, -1), ValueError, "radius is -1; pass a number"),
        (lambda: Disc("x", 1), TypeError, "center is 'x'; pass a real number"),
        (lambda: Arc(1, 4), ValueError, "half_angle is 4; pass a number, in"),
        (lambda: AnnularSector(2, 1, 1), ValueError, "inner is 2.0 and outer 1.0; pass inner < outer"),
        (lambda: Polygon((1, 2)), ValueError, "symmetric in the real axis"),
        (lambda: Polygon((1, 2 + 1j, 3 - 2j)), ValueError, "symmetric in the real axis"),
        (lambda: ThickenedCloud([], 1), ValueError, "points is empty"),
        (lambda: ThickenedCloud([1], 0), ValueError, "thickness is 0; pass a number"),
        (lambda: green_interval([1, 2], ()), ValueError, "thicknesses is .*pass positive numbers"),
        (lambda: green_interval([1, 2], (-1,)), ValueError, "pass positive numbers"),
        (lambda: rate_estimates(0.1, 0.5, 2), ValueError, "pass 0 < E_2m <= E_m <= 1"),
    ],
)
def test_bad_sets_are_refused_in_one_sentence(make, error, message):
    with pytest.raises(error, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)
