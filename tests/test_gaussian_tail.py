"""The law of the smallest singular value against closed forms, bounds and samples; the tail of the loss."""

import math

import numpy as np
import pytest
import torch
from cases import gaussian
from scipy import integrate, special, stats

from neuinv import metrics
from neuinv.gaussian_tail import (
    edelman_bounds,
    edelman_cdf,
    edelman_constant,
    edelman_density,
    failure_bound,
    hill_estimator,
    loss_limit_cdf,
    loss_limit_quantile,
)

S = np.concatenate([[0.0], np.geomspace(1e-9, 4, 60)])


def density_for_two(s):
    """Integrate (a^2 - s^2) exp(-(a^2 + s^2) / 2) over a > s: the density for n = 2."""
    tail = math.sqrt(math.pi / 2) * special.erfc(s / math.sqrt(2))
    return np.exp(-(s**2) / 2) * (s * np.exp(-(s**2) / 2) + (1 - s**2) * tail)


def edelman_formula(n, s):
    """Return the formula of Edelman (1988) with Tricomi's U."""
    z = s**2 / 2
    return (
        math.sqrt(2 / math.pi)
        * n
        * np.exp(special.gammaln((n + 1) / 2) - n * z)
        * special.hyperu((n - 1) / 2, -0.5, z)
    )


def smallest(n, batch, seed=0):
    return torch.linalg.svdvals(gaussian(batch, n, seed=seed))[:, -1].numpy()


def test_the_density_has_its_closed_forms_for_n_1_and_2():
    assert np.allclose(edelman_density(1, S), math.sqrt(2 / math.pi) * np.exp(-(S**2) / 2), rtol=1e-14)
    assert np.allclose(edelman_density(2, S), density_for_two(S), rtol=0, atol=1e-11)


def test_the_distribution_has_its_closed_form_for_n_1():
    assert np.allclose(edelman_cdf(1, S), special.erf(S / math.sqrt(2)), rtol=1e-14)


@pytest.mark.parametrize("n", [2, 3, 10, 60])
def test_the_mixture_is_edelmans_formula(n):
    s = S[S < 10 / math.sqrt(n)]
    assert np.allclose(edelman_density(n, s), edelman_formula(n, s), rtol=1e-8)


@pytest.mark.parametrize("n", [1, 2, 7, 400])
def test_the_density_starts_at_the_constant_and_integrates_to_the_distribution(n):
    assert edelman_density(n, 0.0) == pytest.approx(edelman_constant(n), rel=1e-12)
    for s in (0.3 / math.sqrt(n), 2 / math.sqrt(n)):
        area = integrate.quad(lambda x: float(edelman_density(n, x)), 0, s, epsabs=1e-12)[0]
        assert edelman_cdf(n, s) == pytest.approx(area, abs=1e-9)
    assert edelman_cdf(n, 60.0) == pytest.approx(1, abs=1e-10)


@pytest.mark.parametrize("n", [1, 2, 5, 12])
def test_samples_follow_the_law_and_not_its_neighbour(n):
    """A Kolmogorov-Smirnov test accepts the law of n and, as a control, refuses that of n + 1."""
    s = smallest(n, 20_000)
    assert stats.kstest(s, lambda x: edelman_cdf(n, x)).pvalue > 1e-3
    assert stats.kstest(s, lambda x: edelman_cdf(n + 1, x)).pvalue < 1e-6


@pytest.mark.parametrize("n", [1, 2, 3, 20, 300])
def test_the_bounds_enclose_the_law_and_are_tight_at_zero(n):
    lower, upper = edelman_bounds(n, S)
    truth = edelman_cdf(n, S)
    assert (lower <= truth * (1 + 1e-9)).all() and (truth <= upper * (1 + 1e-9)).all()
    lower, upper = edelman_bounds(n, 1e-6)
    assert lower / upper > 1 - 1e-6


def test_erf_is_attained_for_n_1_and_weaker_bounds_fail():
    """Negative controls: half of d_n is no upper bound, erf(1.05 s / sqrt 2) no lower one."""
    assert np.allclose(edelman_bounds(1, S)[0], edelman_cdf(1, S), rtol=1e-14)
    assert edelman_cdf(3, 0.1) > 0.5 * edelman_bounds(3, 0.1)[1]
    assert special.erf(1.05 * 0.5 / math.sqrt(2)) > edelman_cdf(1, 0.5)


def test_the_constant_is_the_mean_length_of_a_gaussian_vector():
    for n in (1, 2, 9):
        assert edelman_constant(n) == pytest.approx(stats.chi(n).mean(), rel=1e-12)
    assert edelman_constant(10**6) == pytest.approx(1000, rel=1e-6)


def test_the_normalised_gallery_needs_a_factor_sqrt_n():
    """Negative control: entries of variance 1/n do not follow the law of standard entries."""
    s = smallest(6, 20_000)
    assert stats.kstest(s / math.sqrt(6), lambda x: edelman_cdf(6, x)).pvalue < 1e-6


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0])
def test_the_hill_interval_covers_the_index_of_a_power_tail(alpha):
    """Over 400 samples with an exact power tail the 95 % interval misses alpha 20 +- 15 times."""
    generator = np.random.default_rng(0)
    estimates = [hill_estimator(generator.uniform(size=500) ** (-1 / alpha), 50) for _ in range(400)]
    misses = sum(not estimate.low <= alpha <= estimate.high for estimate in estimates)
    assert 5 <= misses <= 35
    assert np.mean([1 / estimate.value for estimate in estimates]) == pytest.approx(1 / alpha, rel=0.03)


def test_hill_is_exact_on_two_known_values_and_free_of_scale():
    assert hill_estimator([1, math.e, math.e**2], 2).value == pytest.approx(2 / 3)
    sample = 1 / smallest(3, 3000)
    assert hill_estimator(sample, 100).value == pytest.approx(hill_estimator(7 * sample, 100).value)


def test_the_norm_of_the_inverse_has_index_one_and_the_squared_loss_one_half():
    """Negative control: a tail lighter than any power has an estimate far above 1."""
    s = smallest(3, 100_000)
    one = hill_estimator(1 / s, 1000)
    half = hill_estimator((1 / s) ** 2, 1000)
    # 4 standard errors: one in 15 000 seeds is further off
    assert abs(one.value - 1) < 4 / math.sqrt(1000) and abs(half.value / 0.5 - 1) < 4 / math.sqrt(1000)
    light = hill_estimator(np.random.default_rng(0).exponential(size=100_000), 1000)
    assert light.low > 3


@pytest.mark.parametrize("n", [1, 4])
def test_the_limit_law_is_that_of_a_constant_over_a_squared_normal(n):
    x = np.geomspace(0.05, 1e4, 40)
    reference = 2 * stats.norm.sf(np.sqrt(math.pi / 2 * edelman_constant(n) ** 2 / x))
    assert np.allclose(loss_limit_cdf(n, x), reference, rtol=1e-10)
    p = np.linspace(0.01, 0.99, 25)
    assert np.allclose(loss_limit_cdf(n, loss_limit_quantile(n, p)), p, rtol=1e-10)
    assert loss_limit_cdf(n, 0.0) == 0


def test_summed_losses_follow_the_limit_law_and_not_one_of_half_its_scale():
    n, count, runs = 2, 1000, 1000
    loss = (1 / smallest(n, count * runs).reshape(runs, count)) ** 2
    scaled = loss.sum(axis=1) / count**2
    assert stats.kstest(scaled, lambda x: loss_limit_cdf(n, x)).pvalue > 1e-3
    assert stats.kstest(scaled, lambda x: loss_limit_cdf(n, 2 * x)).pvalue < 1e-6


@pytest.mark.parametrize("eta", [0.0, 0.5, 0.9])
def test_the_clipped_inverse_attains_the_failure_bound_for_positive_eta(eta):
    M, A = 2.0, gaussian(20_000, 3)
    U, sigma, Vh = torch.linalg.svd(A)
    X = (Vh.mT * (1 / sigma).clamp(max=M)[:, None]) @ U.mT
    failures = (metrics.forward_error(A, X) >= eta).double().mean().item()
    bound = failure_bound(3, M, eta)
    noise = 5 * math.sqrt(bound * (1 - bound) / 20_000)
    assert failures >= bound - noise
    assert failures == (1.0 if eta == 0 else pytest.approx(bound, abs=noise))


def test_a_failure_bound_for_half_the_outputs_is_refuted():
    """Negative control: the exact inverse, whose outputs are not bounded by M, fails less often."""
    A = gaussian(20_000, 3)
    failures = (metrics.forward_error(A, torch.linalg.inv(A)) >= 0.5).double().mean().item()
    assert failures < failure_bound(3, 2.0, 0.5) / 100


@pytest.mark.parametrize("n", [0, -1, 1.0, True])
def test_a_size_that_is_no_positive_integer_is_refused(n):
    for function in (edelman_density, edelman_cdf, edelman_bounds, loss_limit_cdf, loss_limit_quantile):
        with pytest.raises(ValueError, match="pass an integer >= 1"):
            function(n, 0.5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: edelman_cdf(2, [1.0, -2.0]), r"s has the entry -2.0; pass numbers >= 0"),
        (lambda: edelman_density(2, float("nan")), "s has the entry nan"),
        (lambda: loss_limit_cdf(2, -1.0), "x has the entry -1.0"),
        (lambda: loss_limit_quantile(2, 1.0), "probabilities strictly between 0 and 1"),
        (lambda: loss_limit_quantile(2, 0.0), "probabilities strictly between 0 and 1"),
        (lambda: failure_bound(2, 0.0, 0.5), "pass a bound > 0"),
        (lambda: failure_bound(2, 1.0, 1.0), r"eta is 1.0; pass an error in \[0, 1\)"),
        (lambda: hill_estimator([1.0, 2.0], 2), "k is 2 for a sample of 2"),
        (lambda: hill_estimator([1.0, 2.0], 0), "k is 0 for a sample of 2"),
        (lambda: hill_estimator([0.0, 1.0, 2.0], 2), "pass positive finite numbers"),
        (lambda: hill_estimator([1.0, float("inf")], 1), "pass positive finite numbers"),
        (lambda: hill_estimator([3.0, 3.0, 1.0], 1), "the 2 largest values of sample are all 3.0"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
