"""Series out of the rows of a study: which there are, where they pass a level, what they differ in."""

import numpy as np
import pytest

from neuinv.laws import SETTINGS, Series, alike_but, growth_series, kappa_at, shift
from neuinv.sweep import load_study

pandas = pytest.importorskip("pandas")

KAPPA = np.array([2.0, 8.0, 32.0])
COMMON = dict.fromkeys(SETTINGS, 1) | {"kind": "residual", "structure": "general", "dtype": "float32"}


def rows(errors, **settings):
    """Return rows like those of the study, from errors of shape (copies, K)."""
    own = COMMON | settings
    found = [
        {**own, "copy": copy, "kappa": kappa, "mean": value}
        for copy, values in enumerate(errors)
        for kappa, value in zip(KAPPA, values, strict=False)
    ]
    return pandas.DataFrame(found)


def series(*errors, **settings):
    return Series(COMMON | settings, KAPPA, np.array(errors, dtype=float))


def test_a_series_is_one_network_and_holds_its_errors_by_copy_and_kappa():
    table = pandas.concat([rows([[1, 2, 3], [4, 5, 6]], width=64), rows([[7, 8, 9]], width=128)])
    narrow, wide = growth_series(table.sample(frac=1, random_state=0), "mean")
    assert narrow.settings == COMMON | {"width": 64} and wide.settings["width"] == 128
    assert narrow.errors.tolist() == [[1, 2, 3], [4, 5, 6]] and wide.errors.tolist() == [[7, 8, 9]]
    assert narrow.kappa.tolist() == KAPPA.tolist()


def test_an_incomplete_series_is_left_out_where_all_condition_numbers_are_asked_for():
    table = pandas.concat([rows([[1, 2, 3]], width=64), rows([[1, 2]], width=128)])
    assert [len(one.kappa) for one in growth_series(table, "mean")] == [3, 2]
    assert [one.settings["width"] for one in growth_series(table, "mean", KAPPA)] == [64]


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0, -1.0])
def test_a_copy_without_a_logarithm_is_left_out_and_the_others_stay(bad):
    (found,) = growth_series(rows([[1, 2, 3], [4, bad, 6]]), "mean")
    assert found.errors.tolist() == [[1, 2, 3]]
    assert growth_series(rows([[1, bad, 3]]), "mean") == []


def test_the_same_network_twice_is_refused():
    with pytest.raises(ValueError, match="a copy twice at one kappa"):
        growth_series(pandas.concat([rows([[1, 2, 3]])] * 2), "mean")


@pytest.mark.parametrize("exponent", [0.5, 1.0, 2.0])
def test_a_power_passes_a_level_where_its_formula_says(exponent):
    """(kappa / 4)^b / 2 passes 1/2 at kappa = 4 exactly, between two condition numbers."""
    values = 0.5 * (KAPPA / 4) ** exponent
    eps = np.finfo(float).eps
    assert kappa_at(series(values))[0] == pytest.approx(4.0, rel=100 * eps)
    assert kappa_at(series(values), level=0.25)[0] < 4.0


def test_outside_of_the_range_the_level_is_passed_at_zero_or_never():
    found = kappa_at(series([0.6, 0.7, 0.8], [0.1, 0.2, 0.3], [0.1, 0.6, 0.4], [0.5, 0.4, 0.6]))
    assert found[0] == 0 and np.isinf(found[1]) and 2 < found[2] < 8 and found[3] == 0


def test_series_that_differ_in_two_settings_are_not_alike():
    a, b, c = series([1, 1, 1], width=64), series([1, 1, 1], width=256), series([1, 1, 1], width=128)
    d = series([1, 1, 1], width=64, num_steps=7)
    assert alike_but([a, b, c, d], "width") == [[a, c, b]]
    assert alike_but([a, b, c, d], "num_steps") == [[a, d]]
    assert alike_but([a, b, c, d], "n") == []
    with pytest.raises(ValueError, match="setting is 'size'; use one of n, kind"):
        alike_but([a], "size")


def test_a_shift_needs_every_copy():
    first = series([0.25, 1, 1], [0.2, 1, 1])
    assert shift(first, series([0.1, 1, 1], [0.12, 1, 1]))[1] == "later"
    assert shift(series([0.1, 1, 1], [0.12, 1, 1]), first)[1] == "earlier"
    assert shift(first, series([0.1, 1, 1], [0.22, 1, 1]))[1] == "overlap", "one copy lies between"
    ratio, word = shift(first, first)
    assert ratio == 1 and word == "overlap"
    ratio, word = shift(first, series([0.1, 0.1, 0.1]))
    assert np.isinf(ratio) and word == "later"
    assert np.isnan(shift(series([0.1] * 3), series([0.2] * 3))[0])


def test_the_series_of_the_committed_study_are_those_of_its_pivot_tables():
    table = load_study("kappa-law").rows
    found = growth_series(table, "mean", sorted(table["kappa"].unique()))
    assert len(found) == 6
    for one in found:
        same = table[(table["n"] == one.settings["n"]) & (table["kind"] == one.settings["kind"])]
        pivot = same.pivot(index="copy", columns="kappa", values="mean")
        assert (pivot.to_numpy() == one.errors).all() and (pivot.columns == one.kappa).all()
