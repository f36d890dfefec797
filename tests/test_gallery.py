"""A seed means one batch of matrices on every machine, and wrong input is refused in words."""

import re
import time
from fractions import Fraction

import numpy as np
import pytest
import torch
from test_architecture import run_python

import neuinv
from neuinv.gallery import (
    Facts,
    GivenMatrices,
    Parameter,
    describe,
    families,
    family,
    fingerprint,
    parameter_specs,
    real_form,
    register_family,
    registry,
)

BUILT_IN = sorted(fingerprint.SETTINGS)


def _random(batch, generator, n=4):
    return torch.randn(batch, n, n, generator=generator, dtype=torch.float64)


def test_every_built_in_family_is_registered_and_has_two_fingerprinted_settings():
    built_in = {
        name for name in families() if registry._SPECS[name].function.__module__.startswith("neuinv.")
    }
    assert built_in == set(BUILT_IN)
    assert all(len(settings) == 2 for settings in fingerprint.SETTINGS.values())


def test_a_family_without_curve_path_or_inverse_says_so():
    chosen = family("gaussian")
    assert chosen.curve_range is chosen.curve_parameter is chosen.curve_differentiable is None
    with pytest.raises(ValueError, match="has no curve"):
        chosen.curve(0.0)
    with pytest.raises(ValueError, match="no inverse in closed form"):
        chosen.sample_with_inverse(1, seed=0)
    with pytest.raises(ValueError, match="declares no path"):
        family("kernel").path(torch.eye(2), torch.eye(2), torch.zeros(1))


def test_seeds_repeat_and_differ():
    chosen = family("gaussian")
    assert torch.equal(chosen.sample(2, seed=3), chosen.sample(2, seed=3))
    assert not torch.equal(chosen.sample(2, seed=3), chosen.sample(2, seed=4))
    generator = torch.Generator().manual_seed(3)
    first, second = (chosen.sample(2, generator=generator) for _ in range(2))
    assert torch.equal(first, chosen.sample(2, seed=3))
    assert not torch.equal(first, second)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_draw_in_another_dtype_is_the_float64_draw_rounded(dtype):
    chosen = family("wishart")
    assert torch.equal(chosen.sample(2, seed=0, dtype=dtype), chosen.sample(2, seed=0).to(dtype))


def test_integers_of_numpy_are_integers():
    chosen = family("gaussian", n=np.int32(3))
    assert torch.equal(chosen.sample(np.int64(2), seed=np.int64(5)), chosen.sample(2, seed=5))


def test_doctests_leave_no_family_behind():
    """Run in this order in one process, an example that registers a family would change the list."""
    test = "test_every_built_in_family_is_registered_and_has_two_fingerprinted_settings"
    done = run_python("-m", "pytest", "-q", "neuinv/gallery/registry.py", f"tests/test_gallery.py::{test}")
    assert done.returncode == 0 and "4 passed" in done.stdout, done.stdout + done.stderr


BAD_DRAWS = {
    "batch 0": ({"batch": 0, "seed": 0}, ValueError, "batch is 0"),
    "batch 2**62": ({"batch": 2**62, "seed": 0}, ValueError, "beyond the limit of 64 GiB; draw fewer"),
    "batch 10**40": ({"batch": 10**40, "seed": 0}, ValueError, "beyond the limit of 64 GiB; draw fewer"),
    "batch 2.0": ({"batch": 2.0, "seed": 0}, TypeError, "batch is 2.0"),
    "batch True": ({"batch": True, "seed": 0}, TypeError, "batch is True"),
    "no seed": ({"batch": 1}, ValueError, "exactly one of seed= and generator="),
    "generator a number": ({"batch": 1, "generator": 3}, TypeError, "generator is a int"),
    "integer dtype": ({"batch": 1, "seed": 0, "dtype": torch.int64}, TypeError, "dtype is torch.int64"),
    "complex dtype": (
        {"batch": 1, "seed": 0, "dtype": torch.complex64},
        TypeError,
        "dtype is torch.complex64",
    ),
    "device": ({"batch": 1, "seed": 0, "device": "abacus"}, ValueError, "device 'abacus' is unknown"),
}


@pytest.mark.parametrize("case", BAD_DRAWS)
def test_a_bad_draw_is_refused(case):
    arguments, error, message = BAD_DRAWS[case]
    with pytest.raises(error, match=re.escape(message)):
        family("gaussian").sample(**arguments)


def test_entries_too_large_for_the_dtype_are_refused():
    with pytest.raises(ValueError, match=r"too large for torch\.float16; use a wider dtype"):
        family("scaled-identity", low=1e5, high=1e6).sample(1, seed=0, dtype=torch.float16)


BAD_FAMILIES = {
    "unknown": ("gausian", {}, ValueError, "did you mean gaussian"),
    "unknown, nothing close": ("xyzzy", {}, ValueError, "use one of diagonally-dominant"),
    "not a text": (3, {}, TypeError, "family name 3 is a int"),
    "unknown parameter": ("wishart", {"aspct": 2.0}, ValueError, "did you mean aspect"),
    "wrong type": (
        "wishart",
        {"aspect": "2"},
        TypeError,
        "aspect = '2' of family 'wishart' is a str; pass a float",
    ),
    "bool for int": ("wishart", {"n": True}, TypeError, "pass a int"),
    "float for int": ("wishart", {"n": 4.0}, TypeError, "n = 4.0"),
    "int for bool": ("line", {"crosses": 1}, TypeError, "pass a bool"),
    "too small": ("wishart", {"n": 0}, ValueError, "use an integer >= 1 and <= 4096"),
    "at an open end": ("toeplitz", {"rho_max": 1.0}, ValueError, "use a number > 0 and < 1"),
    "beyond float64": ("gaussian", {"shift": 10**400}, ValueError, "shift of family 'gaussian' is beyond"),
    "a fraction beyond it": ("gaussian", {"shift": Fraction(10**400)}, ValueError, "is beyond the range"),
    "nan": ("wishart", {"ridge": float("nan")}, ValueError, "not finite"),
    "no choice": ("kernel", {"table": "iris"}, ValueError, "use one of 'breast_cancer', 'digits'"),
    "other n": (
        "fem-helmholtz",
        {"n": 8},
        ValueError,
        "n = 8 does not fit family 'fem-helmholtz', whose n is 49",
    ),
    "n not a number": ("power-grid-dc", {"n": "29"}, ValueError, "whose n is 29"),
    "singular wishart": ("wishart", {"aspect": 0.5}, ValueError, "rank < n"),
    "singular mimo": ("massive-mimo", {"aspect": 0.5}, ValueError, "fewer antennas than users"),
    "two-sided spd": ("prescribed-spectrum", {"spacing": "two-sided"}, ValueError, "use kind='symmetric'"),
    "no square": ("poisson", {"n": 10, "dimension": 2}, ValueError, "use n = 9 or 16"),
    "det out of reach": ("uniform", {"min_abs_det": 1e9}, ValueError, "out of reach"),
    "empty interval": ("scaled-identity", {"low": 2.0, "high": 2.0}, ValueError, "low < high"),
    "empty wavenumbers": ("fem-helmholtz", {"k_min": 20.0}, ValueError, "k_min < k_max"),
    "empty viscosities": ("fem-convection", {"nu_min": 2.0}, ValueError, "use nu_min <= nu_max"),
    "empty discounts": ("markov", {"gamma_min": 0.99}, ValueError, "use gamma_min <= gamma_max"),
    "no discount": ("markov", {"gamma_max": 1.0}, ValueError, "use a number >= 0.01 and < 1"),
    "empty range of z": ("graph-resolvent", {"z_min": 3.0}, ValueError, "use z_min < z_max"),
    "empty masses": ("wilson-dirac", {"mass_min": 2.0}, ValueError, "use mass_min <= mass_max"),
    "loads": ("power-grid-ac", {"low": 2.0}, ValueError, "low <= high"),
    "length scales": ("kernel", {"shortest": 5.0}, ValueError, "shortest <= longest"),
    "too many rows": ("kernel", {"n": 200}, ValueError, "exceeds the 178 rows"),
}


@pytest.mark.parametrize("case", BAD_FAMILIES)
def test_a_bad_family_is_refused(case):
    name, parameters, error, message = BAD_FAMILIES[case]
    with pytest.raises(error, match=re.escape(message)):
        family(name, **parameters)


def test_a_determinant_that_draws_hardly_reach_is_refused():
    with pytest.raises(ValueError, match=r"left 0 of \d+ draws"):
        family("uniform", n=3, half_width=1.0, min_abs_det=5.0).sample(1, seed=0)


def test_every_family_accepts_its_own_n():
    for name in BUILT_IN:
        chosen = family(name)
        assert family(name, n=chosen.n).n == chosen.n == chosen.sample(1, seed=0).shape[-1]


def _seconds(draw, tries=3):
    """Least processor time of a few calls after one to warm up: a busy machine only ever adds to it."""
    draw()
    taken = []
    for _ in range(tries):
        start = time.process_time()
        draw()
        taken.append(time.process_time() - start)
    return min(taken)


@pytest.mark.parametrize("name", BUILT_IN)
def test_thirty_two_matrices_of_the_default_size_take_at_most_a_second(name):
    chosen = family(name)
    assert _seconds(lambda: chosen.sample(32, seed=0)) <= 1.0


def test_a_slow_draw_would_be_seen():
    chosen = family("kfac", steps=1000)
    assert _seconds(lambda: chosen.sample(32, seed=0), tries=1) > 1.0


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(registry.importlib.util, "find_spec", lambda module: None)
    with pytest.raises(ModuleNotFoundError, match="needs the package scikit-learn; install it with"):
        family("kernel")
    assert family("gaussian").n == 16


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_family_says_how_it_is_made_what_for_and_where_it_comes_from(name):
    chosen = family(name)
    assert len(chosen.description) > 20 and len(chosen.use) > 20
    assert re.search(r"[\w.]+, \d{4}, \w", chosen.reference)
    assert {"synthetic", "real-data"} & chosen.tags or chosen.requires
    assert (chosen.connected is None) == (chosen.connected_reason == "")
    text = describe(name)
    assert chosen.use in text and all(key in text for key in parameter_specs(name))
    assert all(spec.meaning for spec in parameter_specs(name).values())


def test_with_parameters_changes_only_what_is_named():
    changed = family("wishart", n=3, ridge=0.5).with_parameters(ridge=0.25)
    assert dict(changed.parameters) == {"n": 3, "aspect": 2.0, "ridge": 0.25}
    assert repr(changed) == "family('wishart', n=3, aspect=2.0, ridge=0.25)"
    with pytest.raises(TypeError):
        changed.parameters["n"] = 4


def test_a_users_function_becomes_a_family(own_registry):
    @neuinv.register_family("doubled", tags=["spd"])
    def doubled(batch, generator, n=2, factor=2.0):
        """Twice the identity."""
        return factor * torch.eye(n, dtype=torch.float64).expand(batch, n, n)

    assert doubled.__name__ == "doubled" and "doubled" in families()
    chosen = family("doubled", n=3, factor=4)
    assert torch.equal(chosen.sample(1, seed=0)[0], 4 * torch.eye(3, dtype=torch.float64))
    register_family("doubled")(doubled)  # a notebook cell that is run again
    with pytest.raises(ValueError, match="choose another name"):
        register_family("doubled")(_random)
    register_family("sized-by-its-draw")(lambda batch, generator: torch.eye(7).double().expand(batch, 7, 7))
    assert family("sized-by-its-draw").n == 7


BAD_REGISTRATIONS = {
    "name": (ValueError, "malformed", "Bad Name", {}, _random),
    "tag": (ValueError, "did you mean symmetric", "bad", {"tags": ("symetric",)}, _random),
    "tags a text": (TypeError, "pass a tuple", "bad", {"tags": "spd"}, _random),
    "requires a text": (TypeError, "pass a tuple such as ('torch',)", "bad", {"requires": "torch"}, _random),
    "signature": (TypeError, "must begin with (batch, generator)", "bad", {}, lambda n=2: None),
    "keywords": (TypeError, "name its parameters", "bad", {}, lambda batch, generator, **kw: None),
    "no default": (TypeError, "needs a default", "bad", {}, lambda batch, generator, n: None),
    "undeclared": (TypeError, "make them agree", "bad", {"parameters": {"m": Parameter(1)}}, _random),
    "no Parameter": (TypeError, "pass a Parameter(8", "bad", {"parameters": {"n": 8}}, _random),
}


@pytest.mark.parametrize("case", BAD_REGISTRATIONS)
def test_a_bad_registration_is_refused(own_registry, case):
    error, message, name, keywords, function = BAD_REGISTRATIONS[case]
    with pytest.raises(error, match=re.escape(message)):
        register_family(name, **keywords)(function)
    assert "bad" not in families()


@pytest.mark.parametrize(
    ("drawn", "error", "message"),
    [
        (lambda b: torch.eye(4), ValueError, "has shape (4, 4); return (2, 4, 4)"),
        (lambda b: torch.eye(4).expand(b, 4, 4), ValueError, "return float64 on the CPU"),
        (lambda b: torch.full((b, 4, 4), torch.nan), ValueError, "NaN or inf"),
        (lambda b: [[1.0]], TypeError, "torch.Tensor"),
    ],
)
def test_a_users_function_that_returns_something_else_is_refused(own_registry, drawn, error, message):
    register_family("odd")(lambda batch, generator, n=4: drawn(batch))
    with pytest.raises(error, match=re.escape(message)):
        family("odd").sample(2, seed=0)


def test_tags_may_come_from_a_generator(own_registry):
    register_family("random", tags=(tag for tag in ("nonsymmetric",)), requires=iter(("torch",)))(_random)
    assert family("random").tags == {"nonsymmetric"} and family("random").requires == ("torch",)
    facts = Facts(tags=(tag for tag in ("nonsymmetric",)))
    register_family("other", facts=lambda **_: facts)(_random)
    assert family("other").tags == family("other").tags == {"nonsymmetric"}
    register_family("wrong", facts=lambda **_: Facts(tags="spd"))(_random)
    with pytest.raises(TypeError, match="pass a tuple"):
        family("wrong")


def test_a_family_without_a_size_that_returns_no_tensor_is_refused(own_registry):
    register_family("odd")(lambda batch, generator: [[1.0]])
    with pytest.raises(TypeError, match=r"the draw of family 'odd' is a list, not a torch\.Tensor"):
        family("odd")


def test_parameters_are_parsed_from_text():
    specs = parameter_specs("line")
    assert specs["n"].parse("12", "line", "n") == 12
    assert specs["crosses"].parse("False", "line", "crosses") is False
    assert specs["gap"].parse("0.5", "line", "gap") == 0.5
    for name, text in [("n", "1.5"), ("crosses", "perhaps"), ("gap", "wide"), ("gap", "1.5")]:
        with pytest.raises(ValueError, match=rf"{name} = .*use"):
            specs[name].parse(text, "line", name)


def test_fingerprints_agree_with_the_committed_ones():
    assert fingerprint.differing(fingerprint.compute(), fingerprint.committed()) == []


def _moved(key, by):
    """The committed fingerprints with one norm moved, relative."""
    moved = {name: dict(value) for name, value in fingerprint.committed().items()}
    first, *others = moved[key]["norm"]
    moved[key]["norm"] = [first * (1 + by), *others]
    return moved


def test_only_a_family_that_trains_may_differ_by_more_than_rounding():
    """1e-9 of the norm for all but the trained family, which has 1e-6; a missing setting differs too."""
    wanted = fingerprint.committed()
    assert fingerprint.differing(_moved("gaussian {}", 5e-10), wanted) == []
    assert fingerprint.differing(_moved("gaussian {}", 2e-9), wanted) == ["gaussian {}"]
    assert fingerprint.differing(_moved("kfac {}", 5e-7), wanted) == []
    assert fingerprint.differing(_moved("kfac {}", 2e-6), wanted) == ["kfac {}"]
    without = {key: value for key, value in wanted.items() if key != "grcar {}"}
    assert fingerprint.differing(without, wanted) == fingerprint.differing(wanted, without) == ["grcar {}"]


def test_a_changed_matrix_changes_the_fingerprint():
    A = family("gaussian").sample(3, seed=20)
    wanted = fingerprint.fingerprint(A)
    for index in [(0, 0, 0), (2, 7, 3)]:
        changed = A.clone()
        changed[index] += 1e-7
        assert not fingerprint.same(fingerprint.fingerprint(changed), wanted)
    assert not fingerprint.same(fingerprint.fingerprint(A.mT), wanted)
    assert not fingerprint.same(fingerprint.fingerprint(A[:2]), wanted)
    assert fingerprint.same(fingerprint.fingerprint(A + 1e-13), wanted)


def test_the_real_form_keeps_products_inverses_and_singular_values():
    generator = torch.Generator().manual_seed(0)
    Z, W = torch.randn(2, 3, 3, generator=generator, dtype=torch.complex128)
    assert torch.allclose(real_form(Z) @ real_form(W), real_form(Z @ W))
    assert torch.allclose(torch.linalg.inv(real_form(Z)), real_form(torch.linalg.inv(Z)))
    assert torch.allclose(torch.linalg.svdvals(real_form(Z))[::2], torch.linalg.svdvals(Z))
    assert real_form(Z.to(torch.complex64)).dtype == torch.float32
    assert not torch.allclose(real_form(Z), real_form(Z.conj()))


@pytest.mark.parametrize(
    ("Z", "error", "message"),
    [
        ([[1j]], TypeError, "torch.Tensor"),
        (torch.eye(2).to_sparse(), TypeError, r"Z\.to_dense\(\)"),
        (torch.eye(2), TypeError, "is real"),
        (torch.zeros(2, 3, dtype=torch.complex64), ValueError, "square"),
    ],
)
def test_the_real_form_of_anything_else_is_refused(Z, error, message):
    with pytest.raises(error, match=message):
        real_form(Z)


def test_given_matrices_are_drawn_without_replacement():
    members = torch.arange(1.0, 6.0)[:, None, None] * torch.eye(2)
    chosen = GivenMatrices(members)
    drawn = chosen.sample(5, seed=0)[:, 0, 0]
    assert sorted(drawn.tolist()) == [1, 2, 3, 4, 5]
    assert not torch.equal(drawn, chosen.sample(5, seed=1)[:, 0, 0])
    with pytest.raises(ValueError, match="holds 5 matrices and batch is 6"):
        chosen.sample(6, seed=0)
    with pytest.raises(ValueError, match="no parameter 'n'"):
        chosen.with_parameters(n=3)
    assert chosen.with_parameters() is chosen
    assert GivenMatrices(torch.eye(3)).count == 1


def test_given_matrices_are_a_copy():
    members = torch.eye(2, dtype=torch.float64)
    chosen = GivenMatrices(members)
    members[0, 0] = 7
    assert torch.equal(chosen.sample(1, seed=0)[0], torch.eye(2, dtype=torch.float64))
