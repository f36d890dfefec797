"""Laws of growth: each is recovered from its own data, and told from the others."""

import numpy as np
import pytest

from neuinv.laws import LAWS, draw_errors, fit_laws, law_values, local_exponents, power_exponent

KAPPA = np.array([1.5, 2.5, 4.5, 9.0, 20.0, 65.0, 400.0, 1e4])
TRUTHS = {
    "constant": {"a": 0.5},
    "logarithmic": {"a": 0.1, "b": 0.2},
    "power": {"a": 0.01, "b": 0.76},
    "linear": {"a": 0.1, "b": 0.02},
    "exponential": {"a": 0.01, "b": 5e-4},
    "saturating power": {"c": 1.0, "k": 10.0, "b": 1.0},
    "saturating exponential": {"c": 1.2, "k": 10.0, "b": 1.0},
    "delayed": {"c": 0.9, "k": 20.0, "b": 1.0},
}


def drawn(law, *, noise=0.03, seed=0, kappa=KAPPA):
    return draw_errors(law, TRUTHS[law], kappa, copies=5, noise=noise, seed=seed)


def test_every_law_has_a_truth_to_be_tested_on():
    assert set(TRUTHS) == set(LAWS)


@pytest.mark.parametrize("law", LAWS)
def test_without_noise_the_law_and_its_parameters_come_back(law):
    found = fit_laws(KAPPA, drawn(law, noise=0.0), seed=0, count=20)
    assert found[law].rmse < 1e-6
    assert found[law].parameters == pytest.approx(TRUTHS[law], rel=1e-4)
    np.testing.assert_allclose(law_values(found[law], KAPPA), drawn(law, noise=0.0)[0], rtol=1e-5)


@pytest.mark.parametrize("law", LAWS)
def test_with_noise_the_true_law_wins_and_covers_its_parameters(law):
    wins, covered = 0, 0
    for seed in range(5):
        found = fit_laws(KAPPA, drawn(law, seed=seed), seed=seed, count=50)
        wins += next(iter(found)) == law
        low, high = found[law].intervals[LAWS[law].names[-1]]
        covered += low <= TRUTHS[law][LAWS[law].names[-1]] <= high
    # a constant is now and then taken for a law with a parameter more
    assert wins >= 4
    # five copies are few for a bootstrap: its 95 % intervals hold the truth less often
    assert covered >= 2


@pytest.mark.parametrize("truth", [law for law in LAWS if law != "constant"])
def test_a_false_label_is_caught(truth):
    """A series of one law under the name of another: the criterion refuses the name.

    A constant, a special case of each of the others, is left out.
    """
    found = fit_laws(KAPPA, drawn(truth), seed=0, count=20)
    for label in LAWS:
        assert label == truth or found[label].aicc - found[truth].aicc > 4


@pytest.mark.parametrize("law", ["power", "saturating power", "saturating exponential", "delayed"])
def test_the_true_law_predicts_what_it_has_not_seen_and_an_exponential_does_not(law):
    found = fit_laws(KAPPA, drawn(law), seed=0, count=20)
    assert found[law].prediction < 0.1 < 10 < found["exponential"].prediction


@pytest.mark.parametrize("law", ["saturating power", "saturating exponential", "delayed"])
def test_an_absolute_error_is_kappa_times_a_saturating_relative_one(law):
    relative = drawn(law)
    found = fit_laws(KAPPA, relative * KAPPA, seed=0, absolute=True, count=20)
    best = next(iter(found.values()))
    assert best.law == law and best.times_kappa and best.formula.startswith("kappa ")
    same = fit_laws(KAPPA, relative, seed=0, count=20)[law].parameters
    assert best.parameters == pytest.approx(same, rel=1e-6)
    assert not found["power"].times_kappa
    np.testing.assert_allclose(law_values(best, KAPPA), relative.mean(axis=0) * KAPPA, rtol=0.2)


def test_the_unit_of_the_error_changes_no_difference_of_scores():
    first, second = (fit_laws(KAPPA, scale * drawn("power"), seed=0, count=20) for scale in (1, 1000))
    for law in LAWS:
        assert first[law].aicc - first["power"].aicc == pytest.approx(
            second[law].aicc - second["power"].aicc, abs=1e-3
        )


def test_local_exponents_tell_a_power_an_exponential_and_a_saturation_apart():
    power, growing, flat = (
        local_exponents(KAPPA, drawn(law, noise=0.0))[0] for law in ("power", "exponential", "delayed")
    )
    np.testing.assert_allclose(power, 0.76, rtol=1e-9)
    assert (np.diff(growing) > 0).all() and growing[-1] > 100 * growing[0]
    assert flat[-1] < 0.02 < flat[0]


def test_the_exponent_of_a_power_comes_with_an_interval_and_the_share_it_explains():
    b, low, high, share = power_exponent(KAPPA, drawn("power"), seed=0)
    assert low < 0.76 < high and low <= b <= high and share > 0.999
    assert power_exponent(KAPPA, drawn("exponential"), seed=0)[3] < 0.8


def test_bad_series_are_refused():
    good = drawn("power")
    with pytest.raises(ValueError, match="pass increasing finite numbers above 1"):
        fit_laws(KAPPA[::-1], good, seed=0)
    with pytest.raises(ValueError, match="has no logarithm"):
        fit_laws(KAPPA, good * 0, seed=0)
    with pytest.raises(ValueError, match=r"pass \(K,\) and \(copies, K\)"):
        fit_laws(KAPPA, good[0], seed=0)
    with pytest.raises(ValueError, match="at least 6"):
        fit_laws(KAPPA[:5], good[:, :5], seed=0)
    with pytest.raises(ValueError, match="leave at least 4"):
        fit_laws(KAPPA, good, seed=0, held_out=5)
    with pytest.raises(ValueError, match="count is 3"):
        fit_laws(KAPPA, good, seed=0, count=3)
    with pytest.raises(ValueError, match="law is 'quadratic'"):
        draw_errors("quadratic", {}, KAPPA, copies=1, noise=0.0, seed=0)
    with pytest.raises(ValueError, match="has the parameters a, b"):
        draw_errors("power", {"a": 1.0}, KAPPA, copies=1, noise=0.0, seed=0)
    with pytest.raises(ValueError, match="K >= 2"):
        power_exponent(KAPPA[:1], good[:, :1], seed=0)
