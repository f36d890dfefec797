"""The study of sizes: what a cell trains and measures, its plan, its records, and a point made again."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import neuinv
from neuinv import scaling
from neuinv.networks import PlainNetwork, ZeroNetwork, make_network
from neuinv.scaling import Point
from neuinv.sweep import read_plan

ROOT = Path(__file__).resolve().parent.parent
SPEC = ROOT / "notebooks" / "sweeps" / "scaling.yaml"
SPD = neuinv.family("prescribed-spectrum", kappa=10.0, n=3)
OUTSIDE = [
    ("uniform", {"n": 3, "half_width": 1.0}),
    ("fem-helmholtz", {"mesh": 3}),
    ("massive-mimo", {"users": 3}),
]


def test_three_axes_meet_in_one_point_that_is_trained_once():
    points = scaling.scaling_points([1, 2, 3], [10, 20], [5, 6], base_size=2, base_steps=6)
    assert points[0] == Point(2, 20, 6) and len(points) == len(set(points)) == 5
    assert {p.size for p in points} == {1, 2, 3} and {p.num_train for p in points} == {10, 20}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sizes": []}, "sizes is empty"),
        ({"steps": []}, "steps is empty"),
        ({"base_size": 4}, r"base_size is 4, which is not among \[1, 2\]"),
        ({"base_steps": 7}, "base_steps is 7"),
    ],
)
def test_a_base_off_its_axis_is_refused(change, message):
    given = {"sizes": [1, 2], "data": [10], "steps": [5], "base_size": 1, "base_steps": 5} | change
    with pytest.raises(ValueError, match=message):
        scaling.scaling_points(**given)


def test_an_axis_keeps_the_rows_of_which_the_other_two_are_at_their_base():
    pandas = pytest.importorskip("pandas")
    points = scaling.scaling_points([1, 2, 3], [10, 20], [5, 6], base_size=2, base_steps=6)
    table = pandas.DataFrame([vars(p) for p in points]).assign(base_size=2, base_steps=6)
    assert sorted(scaling.axis_rows(table, "size")["size"]) == [1, 2, 3]
    assert sorted(scaling.axis_rows(table, "num_train")["num_train"]) == [10, 20]
    assert sorted(scaling.axis_rows(table, "num_steps")["num_steps"]) == [5, 6]
    with pytest.raises(ValueError, match="axis is 'width'; use one of size"):
        scaling.axis_rows(table, "width")


def test_copies_see_their_own_matrices_and_end_where_they_end_alone():
    pools = [SPD.sample(8, seed=s) for s in range(2)]
    together = [make_network("residual", 3, seed=0, width=8) for _ in pools]
    alone = make_network("residual", 3, seed=0, width=8)
    assert scaling.grown(together, pools, num_steps=5, seed=3) == ["FINISHED", "FINISHED"]
    assert scaling.grown([alone], pools[:1], num_steps=5, seed=3) == ["FINISHED"]
    first, second = ([*network.parameters()] for network in together)
    for p, q, r in zip(first, second, alone.parameters(), strict=True):
        assert torch.allclose(p, r, rtol=1e-8, atol=1e-12) and not torch.allclose(p, q)


@pytest.mark.parametrize("width", [4, 10])
def test_the_work_of_a_training_is_that_of_its_products(width):
    """Forward twice every weight, backward for weights and inputs, but not for the inputs of the first."""
    n, batch = 3, 7
    network = PlainNetwork(n, width, 2).double()
    weights = [n * n * width, width * width, width * n * n]
    products = 2 * batch * (3 * sum(weights) - weights[0]) + 2 * (2 * batch * n**3)
    found = scaling.training_flops(network, SPD.sample(batch, seed=0), 10)
    assert found == 10 * products
    assert all(p.grad is None or not p.grad.any() for p in network.parameters())


def test_errors_of_the_inverse_of_zero_and_of_a_lost_answer():
    A, inverse = SPD.sample_with_inverse(1000, seed=1)
    eps = torch.finfo(torch.float64).eps
    exact = scaling.error_summary(A, inverse, inverse)
    assert exact.worst < 1000 * eps and exact.forward_worst == 0 and exact.failing == 0
    zero = scaling.error_summary(A, torch.zeros_like(A), inverse)
    assert (zero.median, zero.worst, zero.failing) == (1, 1, 1)
    assert zero.forward_median == pytest.approx(1, rel=100 * eps)
    X = inverse.clone()
    X[3, 0, 0] = torch.nan
    lost = scaling.error_summary(A, X, inverse)
    assert lost.worst == lost.forward_worst == float("inf") and lost.median < 1000 * eps
    assert lost.failing == 1 / 1000 and lost.count == 1000


def test_half_the_inverse_is_half_wrong_everywhere():
    A, inverse = SPD.sample_with_inverse(100, seed=1)
    found = scaling.error_summary(A, inverse / 2, inverse)
    for name in ("median", "extreme", "worst", "forward_median", "forward_extreme", "forward_worst"):
        assert found.to_dict()[name] == pytest.approx(0.5, rel=1e-12)


@pytest.mark.parametrize(("name", "dials"), OUTSIDE)
def test_outside_a_member_beside_a_singular_matrix_is_found(name, dials):
    family = neuinv.family(name, **dials)
    A = scaling.nearly_singular(family)
    assert A.shape == (family.n, family.n)
    assert 0 < neuinv.metrics.smallest_singular_value(A) < 1e-7
    assert torch.linalg.matrix_norm(A, 2) > 0.1


@pytest.mark.parametrize(("name", "dials"), [("kernel", {"n": 6, "nugget": 1.0}), ("scaled-identity", {})])
def test_where_none_is_declared_none_is_made_up(name, dials):
    assert scaling.nearly_singular(neuinv.family(name, **dials)) is None
    assert scaling.nearly_singular(SPD) is None


@pytest.mark.parametrize(("name", "dials"), OUTSIDE)
@pytest.mark.parametrize("kind", ["plain-gelu", "residual", "unrolled"])
def test_no_untrained_network_of_any_width_is_below_the_key_inequality(name, dials, kind):
    A = scaling.nearly_singular(neuinv.family(name, **dials))
    for width in (2, 64):
        network = make_network(kind, len(A), seed=0, width=width)
        room = neuinv.metrics.smallest_singular_value(A) * torch.linalg.matrix_norm(network(A[None])[0], 2)
        assert scaling.certified_residual(network, A) >= 1 - 1.001 * room.item() - 1e-12


def test_a_certificate_is_no_more_than_the_residual():
    A = SPD.sample(1, seed=0)[0]
    assert scaling.certified_residual(lambda B: torch.linalg.inv(B) / 2, A) == pytest.approx(0.5, rel=1e-9)
    assert scaling.certified_residual(ZeroNetwork(), A) == 1.0


def test_a_network_in_double_has_the_same_weights_and_leaves_the_first_alone():
    network = make_network("plain-gelu", 3, seed=0, width=4, dtype=torch.float32)
    double = scaling.in_double(network)
    for p, q in zip(network.parameters(), double.parameters(), strict=True):
        assert p.dtype == torch.float32 and q.dtype == torch.float64 and torch.equal(p.double(), q)


# --- the study -------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", ["smoke", "cpu", "gpu"])
def test_every_planned_cell_has_a_family_and_a_base_point(profile):
    for run in read_plan(SPEC, profile).runs:
        p = run.parameters
        size = {} if p["n"] is None else {"n": p["n"]}
        assert 3 <= neuinv.family(p["family"], **p["dials"], **size).n <= 8
        bases = {"base_size": p["base_size"], "base_steps": p["base_steps"]}
        assert scaling.scaling_points(p["sizes"], p["data"], p["steps"], **bases)


def test_the_axes_are_as_long_as_the_page_says():
    runs = read_plan(SPEC, "cpu").runs
    assert len({run.parameters["family"] for run in runs}) == 5 and len(runs) == 15
    for run in runs:
        p = run.parameters
        assert [len(p[name]) for name in ("sizes", "data", "steps")] == [5, 5, 5]
        assert max(p["data"]) / min(p["data"]) > 1000 and max(p["steps"]) / min(p["steps"]) == 100
        assert p["copies"] == 5 and p["num_test"] >= 10_000


@pytest.mark.parametrize("index", [0, 1])
def test_the_smoke_profile_runs_and_records_every_point_and_seed(index, tmp_path):
    given = read_plan(SPEC, "smoke").runs[index].given
    notebook = ROOT / "notebooks" / "scaling-axes.ipynb"
    command = [sys.executable, "-m", "papermill", notebook, tmp_path / "out.ipynb", "--no-progress-bar"]
    done = subprocess.run(
        [*command, "-y", json.dumps(given)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "NEUINV_RUN_DIR": str(tmp_path / "records")},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    records = [json.loads(path.read_text())["values"] for path in (tmp_path / "records").glob("*.json")]
    bases = {name: given[name] for name in ("base_size", "base_steps")}
    points = scaling.scaling_points(given["sizes"], given["data"], given["steps"], **bases)
    expected = {(*vars(point).values(), copy) for point in points for copy in range(given["copies"])}
    assert {(r["size"], r["num_train"], r["num_steps"], r["copy"]) for r in records} == expected
    curve = given["family"] == "fem-helmholtz"
    for r in records:
        assert r["outside"] == curve and r["inside"] != curve and r["count"] == given["num_test"]
        assert 0 <= r["median"] <= r["extreme"] <= r["worst"] and r["ascent"] > 0 and r["flops"] > 0
        assert r.get("certified", 1.0) > 0.999 and ("certified" in r) == curve
        assert given["kind"] != "unrolled" or (
            r["weights"] == 2 * r["size"] and r["best_low"] <= r["best_high"]
        )
