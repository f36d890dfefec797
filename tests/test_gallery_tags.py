"""Every family is what it declares: tags, bounds, projections, curves and paths."""

from fractions import Fraction

import pytest
import torch

from neuinv.gallery import (
    TAGS,
    Bounds,
    Curve,
    Facts,
    broken_bounds,
    broken_tags,
    family,
    fingerprint,
    register_family,
    registry,
    segment,
)

BUILT_IN = sorted(fingerprint.SETTINGS)
# beyond the two settings of the fingerprints: every branch that decides about tags
MORE = [
    ("prescribed-spectrum", {"n": 6, "kind": kind, "spacing": spacing})
    for kind, spacing in [
        ("symmetric", "two-sided"),
        ("symmetric", "log-uniform"),
        ("general", "geometric"),
        ("spd", "clustered"),
        ("general", "free"),
        ("symmetric", "free"),
        ("det-positive", "log-uniform"),
    ]
] + [
    ("prescribed-spectrum", {"n": 3, "kappa": 1.0}),
    ("prescribed-spectrum", {"n": 3, "kappa": 1.0, "kind": "general"}),
    ("prescribed-spectrum", {"n": 5, "kappa": 1e8, "kind": "spd"}),
    ("wishart", {"n": 6, "aspect": 0.5, "ridge": 0.2}),
    ("uniform", {"n": 1}),
    ("gaussian", {"n": 1}),
    ("diagonally-dominant", {"n": 1}),
    ("shift", {"n": 2}),
    ("shift", {"n": 3, "c_max": 0.0}),
    ("line", {"n": 1, "gap": 0.25}),
    ("line", {"n": 6, "gap": 0.25}),
    ("line", {"crosses": False, "gap": 0.5, "line_seed": 7}),
    ("scaled-identity", {"n": 2, "low": -1.0, "high": 1.0}),
    ("scaled-identity", {"n": 1, "low": -0.5, "high": -0.25}),
    ("poisson", {"n": 1}),
    ("massive-mimo", {"users": 3, "aspect": 0.7, "ridge": 0.5}),
    ("massive-mimo", {"users": 1}),
    ("kernel", {"n": 8, "table": "digits", "nugget": 1e-2}),
    ("fem-helmholtz", {"mesh": 4, "k_min": 0.0, "k_max": 2.0}),
    ("fem-helmholtz", {"mesh": 2}),
    ("fem-darcy", {"mesh": 2}),
    ("fem-darcy", {"spread": 4.0}),
    ("fem-convection", {"mesh": 3, "nu_min": 0.1, "nu_max": 0.1}),
    ("power-grid-dc", {"case": 14, "spread": 0.0}),
    ("power-grid-ac", {"case": 30}),
    ("markov", {"lake": "4x4", "gamma_min": 0.0, "gamma_max": 0.01}),
    ("markov", {"gamma_min": 0.999, "gamma_max": 0.999}),
    ("wilson-dirac", {"side": 3, "mass_min": -5.0, "mass_max": -4.5, "beta": 0.0}),
    ("wilson-dirac", {"mass_min": -0.5, "mass_max": -0.5}),
    ("kfac", {"width": 4, "steps": 1, "damping": 0.0}),
    ("kfac", {"damping": 0.0}),
    ("kfac", {"factor": "gradient", "damping": 0.0}),
    ("graph-resolvent", {"z_min": -1.0, "z_max": 1.0}),
    ("graph-resolvent", {"z_min": -3.0, "z_max": -1.0}),
    ("graph-resolvent", {"graph": "les-miserables", "z_min": -3.0, "z_max": -0.8}),
    ("graph-resolvent", {"z_min": -0.01, "z_max": 0.01}),
]
SETTINGS = [(name, parameters) for name in BUILT_IN for parameters in fingerprint.SETTINGS[name]] + MORE
every_setting = pytest.mark.parametrize(("name", "parameters"), SETTINGS, ids=lambda value: str(value))


@every_setting
def test_every_declared_tag_and_bound_stands(name, parameters):
    chosen = family(name, **parameters)
    for seed in (0, 1):
        assert broken_tags(chosen, seed=seed, samples=24) == {}
        assert broken_bounds(chosen, seed=seed, samples=24) == {}


def _random(batch, generator, n=4):
    return torch.randn(batch, n, n, generator=generator, dtype=torch.float64)


def _rotated_identity(batch, generator, n=3):
    return torch.eye(n, dtype=torch.float64).expand(batch, n, n).clone()


def _negative_identity(batch, generator, n=3):
    return -2 * _rotated_identity(batch, generator, n)


# for every tag a family that does not have it
WITHOUT = dict.fromkeys(TAGS, _random)
WITHOUT |= {
    "nonsymmetric": _rotated_identity,
    "indefinite": _rotated_identity,
    "both-det-signs": _rotated_identity,
}
WITHOUT |= {"norm-at-most-one": _negative_identity, "det-positive": _negative_identity}


@pytest.mark.parametrize("tag", TAGS)
def test_a_wrong_tag_is_caught(own_registry, tag):
    # an optional package without data: neither synthetic nor real data
    register_family("wrong", tags=(tag,), requires=("torch",))(WITHOUT[tag])
    assert broken_tags(family("wrong"), samples=24) == {tag: TAGS[tag].meaning}


def _caught(facts, function=_random, **keywords):
    registry._SPECS.pop("wrong", None)
    register_family("wrong", facts=lambda **_: facts, **keywords)(function)
    return set(broken_tags(family("wrong"), samples=24))


def test_a_family_that_only_pretends_is_caught_as_well(own_registry):
    """Facts are declared but false: not merely absent, as in the test above."""
    path = Facts(tags=("connected",), connected=True, path=segment, project=lambda A: A.clamp(-1, 1))
    assert _caught(path) == {"connected"}
    jump = Facts(tags=("connected",), connected=True, path=lambda A, B, s: torch.where(s < 0.5, A, B))
    assert _caught(jump) == {"connected"}
    elsewhere = Facts(tags=("connected",), connected=True, path=lambda A, B, s: segment(A, 2 * B, s))
    assert _caught(elsewhere) == {"connected"}
    through = Facts(
        tags=("connected", "bounded-condition"), connected=True, path=segment, bounds=Bounds(condition=1.0)
    )
    assert _caught(through, lambda batch, generator, n=3: _signs(batch)) == {"connected"}
    curve = Curve(lambda t: t[..., None, None] * torch.eye(4, dtype=torch.float64), (0.0, 1.0), "t")
    assert _caught(Facts(tags=("one-parameter",), curve=curve)) == {"one-parameter"}
    assert _caught(Facts(tags=("bounded-condition",), bounds=Bounds(condition=1.5))) == {"bounded-condition"}
    transposed = {"with_inverse": lambda batch, generator, n: (A := _random(batch, generator, n), A.mT)}
    assert _caught(Facts(tags=("exact-inverse",)), **transposed) == {"exact-inverse"}
    other = {"with_inverse": lambda batch, generator, n: (2 * _rotated_identity(batch, None, n),) * 2}
    assert _caught(Facts(tags=("exact-inverse",)), **other) == {"exact-inverse"}


def _signs(batch):
    """Diagonal matrices of both determinant signs; the segment between two of them meets a singular one."""
    sign = torch.where(torch.arange(batch) % 2 == 0, 1.0, -1.0).double()
    diagonal = torch.ones(batch, 3, dtype=torch.float64)
    diagonal[:, 0] = sign
    return torch.diag_embed(diagonal)


def test_a_determinant_of_minus_one_is_no_unit_determinant(own_registry):
    """|det| = 1 does not do: a sign is all that separates the two components of the invertible matrices."""

    def mirrored(batch, generator, n=3):
        A = _rotated_identity(batch, generator, n)
        A[:, 0, 0] = -1
        return A

    register_family("mirrored", tags=("unit-det",))(mirrored)
    assert set(broken_tags(family("mirrored"))) == {"unit-det"}


def test_a_wrong_bound_is_caught(own_registry):
    for bounds, name in [
        (Bounds(2.0), "sigma_min"),
        (Bounds(norm=1.0), "norm"),
        (Bounds(condition=2.0), "condition"),
    ]:
        register_family("wrong", facts=lambda bounds=bounds, **_: Facts(bounds=bounds))(_random)
        assert set(broken_bounds(family("wrong"))) == {name}


@pytest.mark.parametrize(
    ("name", "parameters", "slack"),
    [
        ("graph-resolvent", {}, 1.1),
        ("prescribed-spectrum", {"kappa": 50.0, "kind": "general"}, 1.0001),
        ("shift", {"n": 8}, 1.1),
        ("poisson", {"n": 9, "dimension": 2}, 1.0001),
        ("line", {"gap": 0.25}, 1.1),
        ("power-grid-dc", {"case": 14, "spread": 0.0}, 1.0001),
    ],
)
def test_condition_bounds_are_nearly_attained(name, parameters, slack):
    chosen = family(name, **parameters)
    largest = torch.linalg.cond(chosen.sample(400, seed=0)).max()
    assert largest <= chosen.bounds.condition * (1 + 1e-9) <= slack * largest * (1 + 1e-9)


@every_setting
def test_a_projection_fixes_members_lands_in_the_domain_and_is_idempotent(name, parameters):
    chosen = family(name, **parameters)
    if chosen.domain_projection is None:
        return
    project = chosen.domain_projection.project
    A = chosen.sample(6, seed=2)
    scale = A.abs().max()
    assert (project(A) - A).abs().max() <= 1e-10 * scale
    outside = A + scale * torch.randn(
        A.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64
    )
    inside = project(outside)
    assert (inside - outside).abs().max() > 0
    assert (project(inside) - inside).abs().max() <= 1e-9 * inside.abs().max()
    for tag in chosen.tags:
        assert not TAGS[tag].every_member or TAGS[tag].check(chosen, inside), tag
    assert project(A.float()).dtype == torch.float32


def test_a_projection_refuses_another_size():
    with pytest.raises(ValueError, match=r"n = 3; this domain has n = 5"):
        family("uniform").domain_projection.project(torch.eye(3))


@pytest.mark.parametrize("name", [name for name in BUILT_IN if family(name).curve_range is not None])
def test_a_curve_takes_any_shape_and_refuses_parameters_off_its_range(name):
    chosen = family(name)
    low, high = chosen.curve_range
    t = torch.tensor([[low, (low + high) / 2, high]], dtype=torch.float64)
    A = chosen.curve(t)
    assert A.shape == (1, 3, chosen.n, chosen.n)
    assert torch.allclose(chosen.curve(t[0, 1]), A[0, 1], rtol=1e-9)
    assert chosen.curve(t[0, 1].float()).dtype == torch.float32
    for bad in (low - 1, high + 1, float("nan")):
        with pytest.raises(ValueError, match=r"off the curve; use"):
            chosen.curve(bad)
    with pytest.raises(TypeError, match="no number"):
        chosen.curve("middle")


@pytest.mark.parametrize(
    "name", ["fem-helmholtz", "graph-resolvent", "line", "scaled-identity", "shift", "toeplitz"]
)
def test_a_differentiable_curve_has_the_derivative_of_its_chord(name):
    chosen = family(name)
    low, high = chosen.curve_range
    t = torch.tensor(low + 0.4 * (high - low), dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(chosen.curve(t)[0, 1] + chosen.curve(t)[0, 0], t)
    h = 1e-6
    ahead, behind = (chosen.curve(t.detach() + d) for d in (h, -h))
    chord = ((ahead - behind) / (2 * h))[0, :2].sum()
    assert chosen.curve_differentiable
    assert torch.isclose(slope, chord, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("n", [1, 4, 8])
def test_the_inverse_of_the_hilbert_matrix_is_exact(n):
    """sum_k H_ik X_kj = delta_ij in rational arithmetic, and X is made of integers."""
    _, X = family("hilbert", n=n).sample_with_inverse(1, seed=0)
    X = [[Fraction(entry) for entry in row] for row in X[0].tolist()]
    assert all(entry.denominator == 1 for row in X for entry in row)
    product = [[sum(X[k][j] / (i + k + 1) for k in range(n)) for j in range(n)] for i in range(n)]
    assert product == [[int(i == j) for j in range(n)] for i in range(n)]
