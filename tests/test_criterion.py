"""The verdict: its rule on families whose answer is known, its evidence, and the sources it refuses."""

import json
import math
import re
from pathlib import Path

import pytest
import torch
from cases import gaussian

import neuinv
from neuinv.criterion import MOST_PRODUCTS, Evidence, Recommendation, predicted_residual, verdict


def recommended(source, **options):
    return verdict(source, **options).recommendation


def line(found, key):
    (only,) = [x for x in found.lines if x.key == key]
    return only


@pytest.mark.parametrize(
    ("name", "parameters", "options", "expected"),
    [
        ("prescribed-spectrum", {"kappa": 10.0}, {}, "polynomial"),
        ("gaussian", {"n": 4}, {}, "cannot"),
        ("line", {}, {}, "cannot"),
        ("power-grid-ac", {}, {}, "learned-start"),
        ("hilbert", {}, {}, "direct"),  # one matrix: invert it once
        # its support is all matrices, but members near singular ones are never met
        ("gaussian", {"n": 6, "shift": 8.0}, {"samples": 100}, "polynomial"),
        # the floor u kappa is about .06 in float32 and 1e-10 in float64
        ("prescribed-spectrum", {"kappa": 1e6}, {"dtype": torch.float32}, "direct"),
        ("prescribed-spectrum", {"kappa": 1e6}, {"dtype": torch.float64}, "polynomial"),
        ("unit-det", {"kappa": 1e7}, {}, "direct"),
    ],
)
def test_the_rule_gives_the_known_answer(name, parameters, options, expected):
    assert recommended(name, parameters=parameters, **{"samples": 40, **options}) == expected


def test_a_heavy_tail_makes_the_nearly_singular_members_count_and_a_light_one_does_not():
    can = verdict("massive-mimo", parameters={"users": 4, "aspect": 4.0}, samples=40)
    cannot = verdict("massive-mimo", parameters={"users": 4, "aspect": 1.0}, samples=40)
    assert (can.recommendation, cannot.recommendation) == ("polynomial", "cannot")
    # that some member defeats every network is said all the same
    assert line(can, "every-member").evidence is Evidence.PROOF
    assert line(can, "every-member").values == {"tail_index": 13.0}


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("gaussian", {"n": 3}),
        ("uniform", {"n": 3}),
        ("wishart", {"n": 3, "aspect": 1.0}),
        ("wishart", {"n": 2, "aspect": 2.5}),
        ("massive-mimo", {"users": 3, "aspect": 1.0}),
        ("massive-mimo", {"users": 2, "aspect": 1.5}),
    ],
)
def test_a_declared_tail_index_is_that_of_a_large_sample(name, parameters):
    family = neuinv.family(name, **parameters)
    found = neuinv.tail_index(family.sample(200_000, seed=0), 300)
    assert found.low / 1.15 <= family.tail_index <= found.high * 1.15
    assert not found.low <= 2 * family.tail_index <= found.high  # another index is told apart


@pytest.mark.parametrize("name", [n for n in neuinv.families() if neuinv.family(n).has_singular_limit])
def test_declared_members_go_to_a_singular_matrix(name):
    """||A(t)|| <= C and kappa(A(t)) >= 1/t, inside the family."""
    family = neuinv.family(name)
    t = torch.tensor([1.0, 1e-2, 1e-4, 1e-6], dtype=torch.float64)
    A = family.towards_singular(t)
    assert A.shape == (4, family.n, family.n)
    assert (torch.linalg.cond(A) * t >= 1 - 1e-6).all()
    norms = torch.linalg.matrix_norm(A, 2)
    assert norms.max() <= 2 * norms.min()
    if family.domain_projection is not None:
        assert torch.allclose(family.domain_projection.project(A), A)
    for bad in (0.0, 2.0, math.nan):
        with pytest.raises(ValueError, match=r"pass numbers in \(0, 1\]"):
            family.towards_singular(bad)


def test_a_family_without_a_singular_limit_says_so():
    with pytest.raises(ValueError, match="declares no members on the way"):
        neuinv.family("hilbert").towards_singular(0.5)


def test_both_determinant_signs_in_a_sample_alone_are_not_cannot():
    A = neuinv.family("fem-helmholtz", mesh=4).sample(60, seed=0)
    assert recommended("fem-helmholtz", parameters={"mesh": 4}, samples=60) == "cannot"
    found = verdict(A)
    assert found.measurements.num_positive > 0 < found.measurements.num_negative
    assert found.recommendation != "cannot"
    assert line(found, "det-signs").evidence is Evidence.ESTIMATE
    # orthogonal matrices of both signs are exact with their transposes
    Q = torch.linalg.qr(gaussian(40, 3))[0]
    Q[::2] *= -1
    assert line(verdict(Q), "det-signs").values["negative"] > 0
    assert recommended(Q) == "polynomial"


def test_only_the_scale_of_tI_fails_and_one_division_mends_it():
    parameters = {"n": 3, "low": 1e-6, "high": 1.0}
    found = verdict("scaled-identity", parameters=parameters)
    assert found.recommendation == "polynomial" and "Divide each matrix" in found.reason
    assert found.products.divide and found.products.scheme.num_matmuls == 0
    assert line(found, "scale").values["absolute_ratio"] > 1e2
    # through 0 the family holds a singular matrix and odd n has both signs; the divided family is {I, -I}
    through = verdict("scaled-identity", parameters={"n": 3, "low": -1.0, "high": 1.0})
    assert through.recommendation == "polynomial" and through.products.divide


@pytest.mark.parametrize("exponent", [-600, -150, 0, 150, 600])
def test_a_verdict_does_not_depend_on_the_unit(exponent):
    A = neuinv.family("markov", lake="4x4").sample(40, seed=0)
    plain, scaled = verdict(A), verdict(A * 2.0**exponent)
    assert scaled.reason == plain.reason
    assert scaled.measurements.low == pytest.approx(plain.measurements.low * 2.0**exponent, rel=1e-9)
    shown = {"spread", "products", "field-of-values", "data-floor", "det-signs"}
    for one, other in zip(plain.lines, scaled.lines, strict=True):
        assert one.key not in shown or one.text == other.text


def test_a_singular_member_is_cannot_with_a_certificate_and_a_nearly_singular_one_is_direct():
    A = torch.eye(3, dtype=torch.float64).repeat(30, 1, 1) + 0.1 * gaussian(30, 3)
    A[7] = torch.tensor([[1.0, 2, 3], [4, 5, 6], [7, 8, 9]])
    found = verdict(A)
    assert found.recommendation == "cannot" and "Matrix 7 (counted from 0)" in found.reason
    assert line(found, "impossible").evidence is Evidence.CERTIFICATE
    A[7, 0, 0] += 2.0**-50
    assert recommended(A) == "direct"
    # more undecided members than rational arithmetic looks at, and a size it does not look at
    many = torch.tensor([[1.0, 1.0], [1.0, 1.0 + 2.0**-52]], dtype=torch.float64).repeat(9, 1, 1)
    many[8] = 1
    assert "Matrix 8" in verdict(many).reason
    assert recommended(torch.zeros(2, 65, 65, dtype=torch.float64)) == "cannot"


def test_a_network_is_recommended_only_if_it_meets_the_tolerance_with_fewer_products():
    A = torch.diag_embed(1 + 30 * torch.rand(60, 3, generator=torch.Generator().manual_seed(0)).double())

    def exact(A):  # on diagonal matrices, without a product
        return torch.diag_embed(1 / A.diagonal(dim1=-2, dim2=-1))

    assert recommended(A, network=exact) == "plain-network"
    assert recommended(A, network=lambda A: 1.01 * exact(A)) == "polynomial"
    wasteful = verdict(
        A, network=lambda A: exact(A) @ A @ exact(A) @ A @ exact(A) @ A @ exact(A) @ A @ exact(A)
    )
    assert wasteful.recommendation == "polynomial" and wasteful.products.network == 8


@pytest.mark.parametrize(
    ("network", "sentence"),
    [
        (3, "network is 3; pass a callable"),
        (lambda A: A[..., :2, :2], r"returns torch.float64 of shape \(20, 2, 2\)"),
        (lambda A: A.float(), "returns torch.float32 .*network.double"),
        (lambda A: (A, A), "returns tuple"),
        (torch.linalg.inv, "whose work torch's counter does not see"),
    ],
)
def test_a_network_that_is_no_map_of_matrices_is_refused(network, sentence):
    A = torch.eye(3, dtype=torch.float64) + 0.1 * gaussian(20, 3)
    with pytest.raises((TypeError, ValueError), match=sentence):
        verdict(A, network=network)


def test_a_network_that_works_in_place_does_not_touch_the_matrices():
    A = torch.eye(3, dtype=torch.float64) + 0.1 * gaussian(20, 3)
    kept = A.clone()
    found = verdict(A, network=lambda A: A.copy_(torch.eye(3, dtype=A.dtype)))
    assert torch.equal(A, kept) and found.recommendation == "polynomial"


@pytest.mark.parametrize("name", neuinv.families())
def test_every_family_has_a_verdict_of_at_most_forty_lines_with_evidence_and_statements(name):
    found = verdict(name, samples=24)
    assert found.recommendation in {r.value for r in Recommendation}
    text = str(found).splitlines()
    joined = " ".join(str(found).split())
    assert len(text) <= 40 and max(map(len, text)) <= 86
    family = neuinv.family(name)
    for x in found.lines:
        assert f"[{x.basis}; {x.statement}]" in joined
        assert (x.samples is None) == (x.evidence is not Evidence.ESTIMATE)
        # a proof rests on a declaration, and there is always one to point to
        if x.evidence is Evidence.PROOF:
            assert family.connected or family.has_singular_limit or family.bounds.sigma_min
    if found.products.scheme is not None and found.recommendation == "polynomial":
        assert found.products.least <= found.products.scheme.num_matmuls <= MOST_PRODUCTS


def test_the_dictionary_has_stable_keys_and_is_json():
    found = verdict("gaussian", parameters={"n": 3}, samples=60).to_dict()
    assert list(found) == ["format", "source", "tolerance", "recommendation", "reason", "lines"]
    assert list(found["source"]) == ["name", "parameters", "n", "samples", "given", "dtype", "seed"]
    for x in found["lines"]:
        assert list(x) == ["key", "text", "evidence", "samples", "statement", "values"]
    keys = [x["key"] for x in found["lines"]]
    assert keys == [
        "impossible",
        "norms",
        "cond",
        "scale",
        "det-signs",
        "tail",
        "spectrum",
        "field-of-values",
        "spread",
        "scores",
        "lipschitz",
        "products",
        "data-floor",
    ]
    json.dumps(found, allow_nan=False)


def test_the_scores_of_a_verdict_are_those_of_predicted_residual():
    A = neuinv.family("power-grid-ac").sample(40, seed=0)
    found = verdict(A)
    values = line(found, "scores").values
    fitted = found.measurements.spread
    assert values["plain"] == fitted.high**2 and values["learned_start"] == fitted.high**8
    assert values["unrolled"] == pytest.approx(predicted_residual(A, "unrolled").high, rel=1e-6)
    assert 0 < values["learned_start"] < values["plain"] < 0.1


def test_a_verdict_can_be_repeated():
    first, again = (str(verdict("kernel", parameters={"n": 8}, samples=30)) for _ in range(2))
    assert first == again
    assert str(verdict("kernel", parameters={"n": 8}, samples=30, seed=1)) != first


@pytest.mark.parametrize("count", [1, 2, 3])
def test_one_or_a_few_matrices_are_enough(count):
    A = neuinv.family("markov", lake="4x4").sample(count, seed=0)
    found = verdict(A)
    assert len(found.lines) >= 9
    if count == 1:
        assert found.recommendation == "direct" and "untested" in line(found, "spread").text


def test_equal_matrices_are_one_matrix_to_invert_once():
    A = neuinv.family("markov", lake="4x4").sample(1, seed=0).repeat(12, 1, 1)
    found = verdict(A)
    assert found.recommendation == "direct" and "one matrix: invert it once" in found.reason
    A[3, 0, 0] += 1e-9  # nearly equal matrices are served by a constant
    assert recommended(A) == "learned-start"


def test_huge_ratios_are_answered_without_a_search():
    A = torch.tensor([[0.0, 1.0], [1e-300, 0.0]], dtype=torch.float64).repeat(3, 1, 1)
    A[1, 0, 1] = 2
    found = verdict(A)
    assert found.recommendation == "direct" and found.products.scheme is None


def test_a_bound_on_sigma_min_leaves_the_inverse_without_a_tail():
    bounded, free = (
        verdict("wishart", parameters={"n": 4, "aspect": 1.0, "ridge": ridge}, samples=60)
        for ridge in (1e-6, 0.0)
    )
    assert "tail" not in [x.key for x in bounded.lines] and "tail" in [x.key for x in free.lines]


def test_a_hundred_thousand_tiny_matrices_are_all_looked_at():
    A = 3 * torch.eye(2, dtype=torch.float64) + gaussian(100_000, 2) / 4
    found = verdict(A)
    assert found.measurements.count == 100_000 and found.source.total == 100_000
    assert found.measurements.values.cond.greatest == pytest.approx(torch.linalg.cond(A).max().item())


def test_a_verdict_says_how_many_of_the_given_matrices_it_looked_at():
    found = verdict(neuinv.family("markov", lake="4x4").sample(50, seed=0), samples=20)
    assert found.source.total == 50 and len(found.source.A) == 20
    assert "20 of 50 given matrices, drawn with seed 0" in str(found)


def test_every_statement_that_a_verdict_names_is_in_the_book():
    import importlib.util

    root = Path(__file__).resolve().parent.parent
    package = Path(importlib.util.find_spec("neuinv.criterion").origin).parent
    named = {
        label
        for file in package.glob("*.py")
        for label in re.findall(r"\"((?:thm|prop|cor|lem)-[a-z-]+)\"", file.read_text())
    }
    labels = {
        label
        for page in (root / "notebooks").glob("*.md")
        for label in re.findall(r":label: ([a-z-]+)", page.read_text())
    }
    assert len(named) >= 10 and named <= labels
    assert "thm-nowhere" not in labels
