"""The study of families: its plan, what a cell measures, and the calls that are made of many cells."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import neuinv
from neuinv.criterion import predicted_residual, verdict
from neuinv.family_calls import agreement, cell_calls, cells_of, claims_summary, seed_changes
from neuinv.family_cells import (
    CELL_KINDS,
    PolynomialNetwork,
    TrainedKind,
    before_training,
    criterion_side,
    input_ignoring,
    measured,
    outputs,
    towards_singular,
    train_kind,
)
from neuinv.learned_start import LearnedStart
from neuinv.networks import make_network
from neuinv.scaling import declared_inside
from neuinv.sweep import read_plan

ROOT = Path(__file__).resolve().parent.parent
SPEC = ROOT / "notebooks" / "sweeps" / "families.yaml"
EPS = torch.finfo(torch.float64).eps


def settings(profile):
    """Return the family of every planned run, as the runner page opens it."""
    found = []
    for run in read_plan(SPEC, profile).runs:
        given = run.parameters
        size = {} if given["n"] is None else {"n": given["n"]}
        found.append(neuinv.family(given["family"], **given["dials"], **size))
    return found


# --- the plan ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", ["smoke", "gpu"])
def test_every_planned_cell_has_a_family(profile):
    assert all(1 <= matrices.n <= 64 for matrices in settings(profile))


def test_the_study_covers_every_family_of_the_gallery():
    planned = settings("cpu")
    assert {matrices.name for matrices in planned} == set(neuinv.families())
    # of a single matrix there is little to say
    alone = [matrices.name for matrices in planned if "single-matrix" in matrices.tags]
    assert 3 <= len(alone) < len(planned) / 10


def test_inside_and_outside_of_the_criterion_are_both_planned():
    sides = [m.bounds.condition is not None for m in settings("cpu")]
    assert sum(sides) >= 15 and sum(not side for side in sides) >= 10


# --- a cell -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name, dials", [("massive-mimo", {"users": 2}), ("line", {"n": 3})])
def test_the_scores_are_those_of_the_theorem_on_samples(name, dials):
    matrices = neuinv.family(name, **dials)
    sample = matrices.sample(64, seed=0)
    found = before_training(matrices, sample)
    for kind in CELL_KINDS:
        single = predicted_residual(sample, "residual" if kind == "gated" else kind)
        assert found.scores[kind] == pytest.approx(single.score, rel=1e-9)
    other = predicted_residual(matrices.sample(64, seed=1), "unrolled").score
    assert found.scores["unrolled"] != other


@pytest.mark.parametrize(
    "name, dials, side",
    [
        ("shift", {"n": 3}, "inside"),
        ("poisson", {"n": 4}, "inside"),
        ("wishart", {"n": 3, "aspect": 1.0}, "outside"),
        ("line", {"n": 3}, "outside"),
        ("scaled-identity", {"n": 3, "low": -1.0, "high": 1.0}, "inside"),
        ("scaled-identity", {"n": 4, "low": -1.0, "high": 1.0}, "inside"),
        ("wishart", {"n": 3, "aspect": 8.0}, "rare"),
        ("fem-darcy", {"mesh": 3}, "undeclared"),
    ],
)
def test_the_side_of_a_family_follows_from_what_it_declares(name, dials, side):
    matrices = neuinv.family(name, **dials)
    assert criterion_side(matrices, verdict(matrices, tolerance=0.5, samples=60)) == side


@pytest.mark.parametrize("n", [3, 4])
def test_inside_means_with_one_division_and_says_nothing_of_maps_that_do_not_divide(n):
    """tI, -1 <= t <= 1: n B / s is exact, B = A / s, s = ||A||_F; r >= 1 - |t| ||f|| for any f."""
    matrices = neuinv.family("scaled-identity", n=n, low=-1.0, high=1.0)
    t = torch.logspace(-9, 0, 10, dtype=torch.float64)
    A = matrices.curve(torch.cat([t, -t]))
    s = torch.linalg.matrix_norm(A, keepdim=True)
    assert neuinv.right_residual(A, n * (A / s) / s).max() < 10 * n * EPS
    plain = make_network("plain-gelu", n, seed=0)(A).detach()
    r, size = neuinv.right_residual(A, plain), torch.linalg.matrix_norm(plain, 2)
    assert (r >= 1 - A[:, 0, 0].abs() * size - n * EPS).all() and r.max() > 1 - 1e-6
    # the facts of the family tell the two criteria apart, and agree where t stays away from 0
    away = matrices.with_parameters(low=0.1)
    assert [m.bounds.condition for m in (matrices, away)] == [1.0, 1.0]
    assert [declared_inside(m) for m in (matrices, away)] == [False, True]


def test_a_sample_alone_puts_no_family_on_a_side():
    # the same matrices without their declaration
    line = neuinv.family("line", n=3)
    assert verdict(line.sample(60, seed=0)).recommendation != "cannot"


def test_measured_quantiles_are_those_of_the_residual_and_the_forward_error():
    A = neuinv.family("wishart", n=3, aspect=8.0).sample(2000, seed=0)
    X = neuinv.best_constant(A)
    found = measured(A, X)
    r = neuinv.right_residual(A, X.expand_as(A)).sort().values
    e = neuinv.forward_error(A, X.expand_as(A)).sort().values
    assert found["worst"] == r[-1] and found["extreme"] == r[-3] and found["median"] == r[999]
    assert found["forward_worst"] == pytest.approx(e[-1].item(), rel=100 * EPS)
    assert found["extreme"] < found["worst"]


def test_an_answer_that_is_not_finite_is_an_infinite_residual():
    A = torch.eye(2).double().expand(3, 2, 2)
    X = A.clone()
    X[1, 0, 0] = math.nan
    found = measured(A, X)
    assert found["worst"] == math.inf == found["forward_worst"] and found["median"] == 0


def test_zero_leaves_one_and_the_best_constant_leaves_least_in_the_mean():
    matrices = neuinv.family("fem-darcy", mesh=3)
    pool = matrices.sample(100, seed=0)
    M = neuinv.spread(pool).M
    found = input_ignoring(pool, M, pool)
    assert found["zero"]["worst"] == 1 == found["zero"]["forward_median"]
    assert found["minimax"]["worst"] < min(1, found["constant"]["worst"], found["mean-inverse"]["worst"])

    def mean(X):
        return (pool @ X - torch.eye(pool.shape[-1])).square().sum().item()

    assert mean(neuinv.best_constant(pool)) < min(mean(M), mean(neuinv.mean_inverse(pool)))


def test_a_step_after_a_learned_start_squares_the_residual():
    A = neuinv.family("diagonally-dominant", n=3).sample(20, seed=0)
    constant = torch.diag(torch.full((3,), 0.7, dtype=torch.float64))
    start = neuinv.right_residual(A, constant.expand_as(A))
    answer = torch.nn.Module()
    answer.forward = lambda A: constant.expand_as(A)
    residuals = [A @ LearnedStart(answer, k)(A) - torch.eye(3) for k in (0, 2)]
    assert torch.allclose(residuals[1], -torch.linalg.matrix_power(-residuals[0], 4), atol=1e3 * EPS)
    assert start.max() < 1 and not torch.allclose(*residuals, atol=1e-3)


def test_no_polynomial_of_the_degree_has_a_smaller_mean_residual_on_the_sample():
    A = neuinv.family("prescribed-spectrum", n=3, kappa=5.0).sample(50, seed=0)
    network = PolynomialNetwork(A, 3)

    def mean():
        return (A @ network(A) - torch.eye(3)).square().sum().item()

    best = mean()
    for k in range(3):
        for change in (1e-3, -1e-3):
            network.weights[k] += change
            assert mean() > best
            network.weights[k] -= change


def test_copies_train_on_matrices_and_weights_of_their_own():
    matrices = neuinv.family("wishart", n=2, aspect=8.0)
    pools = [matrices.sample(64, seed=s) for s in (0, 1)]
    together = train_kind("residual", pools, seeds=[5, 6], num_steps=5)
    again = train_kind("residual", pools[::-1], seeds=[6, 5], num_steps=5)
    X = outputs(together, pools[0])
    assert torch.allclose(X, outputs(again, pools[0]).flip(0), atol=1e6 * EPS)
    swapped = outputs(train_kind("residual", pools, seeds=[6, 5], num_steps=5), pools[0])
    assert (X - swapped.flip(0)).abs().max() > 1e-6
    assert together.status == ["FINISHED"] * 2 and together.seconds > 0


def test_no_trained_network_does_better_than_zero_on_the_way_to_a_singular_matrix():
    matrices = neuinv.family("wishart", n=2, aspect=8.0)
    pool = matrices.sample(256, seed=0)
    for kind in CELL_KINDS:
        found = train_kind(kind, [pool], seeds=[0], num_steps=20)
        # a polynomial in A / ||A|| leaves 1 up to about 1e-6 times its values there
        assert towards_singular(matrices, found.networks)[0] > 1 - 1e-2
    # the exact inverse does, so the test can fail
    assert towards_singular(matrices, [torch.linalg.inv])[0] < 1e-6
    assert math.isnan(towards_singular(neuinv.family("shift", n=2), [torch.linalg.inv])[0])


@pytest.mark.parametrize(
    "change, message",
    [
        ({"kind": "zero"}, "kind is 'zero'; use one of plain-gelu"),
        ({"seeds": [1, 1]}, r"seeds is \[1, 1\] for 2 pools"),
        ({"seeds": [1]}, r"seeds is \[1\] for 2 pools"),
        ({"num_steps": 0}, "num_steps"),
    ],
)
def test_bad_trainings_are_refused(change, message):
    pool = neuinv.family("wishart", n=2).sample(64, seed=0)
    given = {"kind": "residual", "pools": [pool, pool], "seeds": [0, 1], "num_steps": 2} | change
    with pytest.raises(ValueError, match=message):
        train_kind(**given)


def test_a_cell_trains_six_kinds_and_records_each_copy_beside_what_ignores_its_input(tmp_path):
    given = {"num_steps": 2, "num_train": 64, "num_sample": 32, "num_test": 64, "num_copies": 2, "n": 2}
    words = [word for name, value in given.items() for word in ("-p", name, str(value))]
    notebook = ROOT / "notebooks" / "family-cell.ipynb"
    command = [sys.executable, "-m", "papermill", notebook, tmp_path / "out.ipynb", "--no-progress-bar"]
    done = subprocess.run(
        [*command, *words, "-p", "family", "line", "-y", "dials: {crosses: true}"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "NEUINV_RUN_DIR": str(tmp_path / "records")},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    records = [json.loads(path.read_text())["values"] for path in (tmp_path / "records").glob("*.json")]
    assert {(r["kind"], r["copy"]) for r in records} == {(k, c) for k in CELL_KINDS for c in (0, 1)}
    for r in records:
        assert r["verdict"] == "cannot" and r["side"] == "outside" and r["curve"]
        assert r["works"] == (r["worst"] < 0.5) and r["beats"] == (r["worst"] < r["baseline"])
        assert r["baseline"] <= r["ignoring"]["zero"]["worst"] == 1


# --- calls ------------------------------------------------------------------------------------------


@pytest.fixture
def rows():
    """Two families, two kinds, three copies: one kind works in the first, a seed decides in the second."""
    import pandas

    worst = {
        ("a", "gated"): (0.1, 0.2, 0.3),
        ("a", "unrolled"): (0.9, 2.0, math.inf),
        ("b", "gated"): (0.4, 0.6, 0.4),
        ("b", "unrolled"): (1.0, 1.0, 1.0),
    }
    table = []
    for (family, kind), values in worst.items():
        inside = family == "a"
        table += [
            {
                "run": family,
                "family": family,
                "dials": "{}",
                "size": 2,
                "side": "inside" if inside else "outside",
                "verdict": "polynomial" if inside else "cannot",
                "single": False,
                "curve": False,
                "kind": kind,
                "copy": copy,
                "score": 0.2 if inside else 1.5,
                "worst": value,
                "median": value / 10,
                "baseline": 0.25,
                "plain.kappa": 1.0 if inside else 0.5,
            }
            for copy, value in enumerate(values)
        ]
    return pandas.DataFrame(table)


def test_a_kind_works_if_it_does_from_every_seed(rows):
    calls = cell_calls(rows).set_index(["run", "kind"])
    assert calls["call"].to_dict() == {
        ("a", "gated"): "works",
        ("a", "unrolled"): "fails",
        ("b", "gated"): "split",
        ("b", "unrolled"): "fails",
    }
    assert calls.loc[("a", "gated"), "beating"] == 2
    assert calls.loc[("a", "gated"), "margin"] == pytest.approx(0.25 / 0.3)
    assert cell_calls(rows, 0.7).set_index(["run", "kind"]).loc[("b", "gated"), "call"] == "works"


def test_cells_hold_what_was_said_against_what_was_measured(rows):
    cells = cells_of(cell_calls(rows)).set_index("run")
    assert cells["works"].to_dict() == {"a": True, "b": False}
    # the one kind that works is not the one that was named, and not every seed beats the constants
    assert cells["recommended"].to_dict() == {"a": "wrong", "b": "none"}
    assert not cells["beats"].any()
    assert agreement(cells) == {"cannot": (0, 1), "polynomial": (1, 0)}
    assert agreement(cells, "side") == {"inside": (1, 0), "outside": (0, 1)}
    rows.loc[rows["kind"] == "unrolled", "worst"] = 0.01
    changed = cells_of(cell_calls(rows)).set_index("run")
    assert changed["recommended"].to_dict() == {"a": "right", "b": "none"}
    assert changed["beats"].all() and agreement(changed)["cannot"] == (1, 0)


def test_seeds_that_change_a_call_are_counted(rows):
    found = seed_changes(cell_calls(rows))
    assert found["gated"][:2] == (2, 1) and found["unrolled"][:2] == (2, 0)
    assert found["unrolled"][3] == math.inf and found["gated"][3] == pytest.approx(3.0)


def test_the_summary_counts_cells_and_leaves_single_matrices_out(rows):
    found = claims_summary(rows, count=50)
    assert (found["cells"], found["networks"], found["pairs"], found["split"]) == (2, 12, 4, 1)
    assert (found["inside_works"], found["outside"], found["cannot_works"]) == (1, 1, 0)
    assert found["auc_score"] > 0.5 > found["auc_kappa"]
    other = claims_summary(rows.assign(single=rows["family"] == "a"))
    assert (other["cells"], other["inside"]) == (1, 0) and math.isnan(other["auc_difference_low"])


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda rows: rows.drop(columns="baseline"), "the rows lack baseline"),
        (lambda rows: rows.head(0), "there is no row"),
        (lambda rows: rows.assign(worst=math.nan), "a worst residual is NaN"),
    ],
)
def test_bad_rows_are_refused(rows, change, message):
    with pytest.raises(ValueError, match=message):
        cell_calls(change(rows))


def test_bad_questions_are_refused(rows):
    with pytest.raises(ValueError, match=r"threshold is 1\.5"):
        cell_calls(rows, 1.5)
    with pytest.raises(ValueError, match="by is 'kind'"):
        agreement(cells_of(cell_calls(rows)), "kind")
    with pytest.raises(ValueError, match="there is no call"):
        cells_of(cell_calls(rows).head(0))


def test_a_stack_of_polynomials_is_answered_without_gradients():
    A = neuinv.family("wishart", n=2, aspect=8.0).sample(8, seed=0)
    found = outputs(TrainedKind("polynomial", [PolynomialNetwork(A)] * 2, ["FITTED"] * 2, 0.0), A)
    assert found.shape == (2, 8, 2, 2) and not found.requires_grad
