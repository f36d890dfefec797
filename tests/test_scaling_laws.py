"""The laws of errors in sizes: known laws are recovered, and none is given a floor that it does not have."""

import numpy as np
import pytest

from neuinv.scaling import LAWS, fit_law, fit_scaling, synthetic_errors

SIZES = [300, 1000, 3000, 10000, 30000]
X = np.repeat(SIZES, 5)


def errors(exponent, floor, seed, noise=0.1, x=X):
    """Return errors of size about 0.3 at the smallest size, above the floor."""
    return synthetic_errors(
        x, scale=0.3 * 300**exponent, exponent=exponent, floor=floor, noise=noise, seed=seed
    )


@pytest.mark.parametrize("exponent", [0.25, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("floor", [0.003, 0.03, 1.0])
def test_a_law_without_noise_is_recovered(exponent, floor):
    found = fit_law(X, errors(exponent, floor, 0, noise=0.0), "floor")
    assert found.exponent == pytest.approx(exponent, rel=1e-5)
    assert found.floor == pytest.approx(floor, rel=1e-5)
    assert found.misfit < 1e-7 and found(SIZES[0]) == pytest.approx(0.3 + floor, rel=1e-6)


@pytest.mark.parametrize("exponent", [-0.5, 0.1, 0.5, 2.0])
def test_a_power_law_without_noise_is_recovered_exactly(exponent):
    found = fit_law(X, errors(exponent, 0.0, 0, noise=0.0), "power")
    assert found.exponent == pytest.approx(exponent, rel=1e-9) and found.floor == 0
    assert found(SIZES) == pytest.approx(errors(exponent, 0.0, 0, noise=0.0, x=np.array(SIZES)), rel=1e-9)


def test_the_constant_is_the_geometric_mean():
    found = fit_law([1, 2, 3, 4, 5, 6], [1, 2, 4, 8, 16, 32], "constant")
    assert found.floor == pytest.approx(2**2.5) and found.scale == found.exponent == 0


@pytest.mark.parametrize("floor", [0.0, 0.05])
def test_the_law_with_a_floor_never_fits_worse_than_the_power_law(floor):
    for seed in range(10):
        y = errors(0.3, floor, seed, noise=0.4)
        assert fit_law(X, y, "floor").misfit <= fit_law(X, y, "power").misfit
        assert fit_law(X, y, "power").misfit <= fit_law(X, y, "constant").misfit


def test_a_floor_is_found_where_it_is_and_not_where_it_is_not():
    with_floor = [fit_scaling(X, errors(0.7, 0.05, s), seed=0, count=60) for s in range(20)]
    without = [fit_scaling(X, errors(0.7, 0.0, s), seed=0, count=60) for s in range(20)]
    assert sum(fit.favoured == "floor" for fit in with_floor) >= 18
    assert sum(fit.favoured == "floor" for fit in without) <= 2
    assert sum(fit.floor[0] <= 0.05 <= fit.floor[1] for fit in with_floor) >= 14
    assert sum(fit.exponent[0] <= 0.7 <= fit.exponent[1] for fit in without) >= 14
    # The plain power law is no good estimate of the exponent where there is a floor.
    assert sum(fit.exponent[0] <= 0.7 <= fit.exponent[1] for fit in with_floor) == 0


def test_errors_that_do_not_change_favour_the_constant():
    flat = [fit_scaling(X, errors(0.0, 0.0, s), seed=0, count=20).favoured for s in range(20)]
    assert flat.count("constant") >= 16


def test_errors_that_grow_are_given_a_negative_exponent_and_no_floor():
    found = fit_scaling(X, errors(-0.4, 0.0, 0), seed=0, count=40)
    assert found.favoured == "power" and found.exponent[1] < 0


def test_the_same_seed_gives_the_same_intervals_and_another_one_does_not():
    y = errors(0.5, 0.02, 3)
    one, same, other = (fit_scaling(X, y, seed=s, count=40) for s in (0, 0, 1))
    assert one == same and one.exponent != other.exponent


def test_sizes_may_come_in_any_order_and_unit():
    y = errors(0.5, 0.02, 1)
    order = np.random.default_rng(0).permutation(len(X))
    one, other = fit_law(X, y, "floor"), fit_law(7 * X[order], 3 * y[order], "floor")
    assert other.exponent == pytest.approx(one.exponent) and other.floor == pytest.approx(3 * one.floor)


@pytest.mark.parametrize(
    ("x", "y", "law", "message"),
    [
        (X, np.ones(25), "exponential", "law is 'exponential'; use one of constant, power, floor"),
        (X, np.ones(24), "power", r"shapes are \(25,\) and \(24,\)"),
        (X, np.zeros(25), "power", "y has a number that is not positive"),
        (X, np.full(25, np.inf), "power", "y has a number that is not positive and finite"),
        (np.zeros(25), np.ones(25), "power", "x has a number"),
        (X[:10], np.ones(10), "power", "2 sizes and 10 errors; pass at least 4 and 6"),
    ],
)
def test_errors_that_cannot_be_fitted_are_refused(x, y, law, message):
    with pytest.raises(ValueError, match=message):
        fit_law(x, y, law)


def test_too_few_resamples_are_refused():
    with pytest.raises(ValueError, match="count"):
        fit_scaling(X, np.ones(25), seed=0, count=5)


def test_each_law_counts_its_free_numbers():
    y = errors(0.5, 0.0, 0)
    sizes = {law: fit_law(X, y, law) for law in LAWS}
    for law, fit in sizes.items():
        k, total = LAWS[law], fit.num_points * fit.misfit**2
        expected = 25 * np.log(total / 25) + 2 * k + 2 * k * (k + 1) / (25 - k - 1)
        assert fit.aicc == pytest.approx(expected) and fit.num_points == 25
