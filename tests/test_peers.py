"""The tasks of others: their metrics, what networks cost, and the study of them."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from cases import gaussian

import neuinv
from neuinv import peers
from neuinv.networks import count_parameters
from neuinv.sweep import load_study, read_plan

ROOT = Path(__file__).resolve().parent.parent
SPEC = ROOT / "notebooks" / "sweeps" / "peers.yaml"


@pytest.mark.parametrize("digits", [1, 3, 8])
def test_numbers_are_written_as_text_writes_them(digits):
    generator = torch.Generator().manual_seed(digits)
    X = torch.randn(3000, generator=generator).double() * 10 ** (
        24 * torch.rand(3000, generator=generator).double() - 14
    )
    text = torch.tensor([float(f"{x:.{digits - 1}e}") for x in X.tolist()], dtype=torch.float64)
    eps = torch.finfo(torch.float64).eps
    assert torch.allclose(peers.write_digits(X, digits), text, rtol=4 * eps, atol=0)
    more = peers.write_digits(X, digits + 1)
    assert not torch.allclose(more, text, rtol=4 * eps, atol=0), "one digit more is another number"


def test_zeros_infinities_and_powers_of_ten_are_written_as_they_are():
    X = torch.tensor([0.0, math.inf, -math.inf, 1000.0, -0.01, 999.6], dtype=torch.float64)
    assert peers.write_digits(X).tolist() == [0.0, math.inf, -math.inf, 1000.0, -0.01, 1000.0]
    with pytest.raises(ValueError, match="digits is 0; pass an integer from 1 to 15"):
        peers.write_digits(X, 0)


def test_an_answer_is_right_when_the_mean_row_sum_of_its_defect_is_below_the_tolerance():
    A = torch.eye(5, dtype=torch.float64).repeat(3, 1, 1)
    X = A.clone()
    X[1, 0, :] += 0.04  # 5 entries of 0.04 and one of 0: a mean of 0.04 over five rows
    X[2, 0, 0] = math.nan
    assert torch.allclose(peers.mean_row_residual(A, X)[:2], torch.tensor([0.0, 0.04]).double())
    assert peers.success_shares(A, X, (0.05, 0.039)) == (2 / 3, 1 / 3)
    with pytest.raises(ValueError):
        peers.success_shares(torch.full((1, 2, 2), torch.nan), torch.eye(2)[None])


def test_the_exact_inverse_with_three_digits_answers_what_the_digits_allow():
    """The published metric at 20 000 draws: a quarter of the answers survive the tightest tolerance."""
    A = peers.write_digits(neuinv.family("uniform").sample(20_000, seed=5))
    exact = torch.linalg.inv(A)
    found = peers.success_shares(A, peers.write_digits(exact))
    assert np.allclose(found, (0.925, 0.864, 0.656, 0.267), atol=0.012)  # four standard deviations
    assert peers.success_shares(A, exact)[0] > 0.999, "without the digits there is nothing to lose"


def test_norms_agree_with_their_definition_and_lost_answers_count_as_infinite():
    A = gaussian(6, 3)
    X = torch.linalg.inv(A) + 0.1
    eye = torch.eye(3, dtype=torch.float64)
    expected = ((A @ X - eye) ** 2).sum(dim=(1, 2)).sqrt()
    assert torch.allclose(peers.frobenius_residual(A, X), expected)
    assert torch.allclose(peers.frobenius_loss(A, X), expected.mean())
    error = torch.linalg.matrix_norm(X - torch.linalg.inv(A)) / torch.linalg.matrix_norm(torch.linalg.inv(A))
    assert torch.allclose(peers.frobenius_error(A, X), error, rtol=1e-9)
    X[0, 0, 0] = math.inf
    assert peers.frobenius_residual(A, X)[0] == math.inf


def test_the_loss_has_a_gradient_at_the_exact_inverse():
    A = torch.eye(2, dtype=torch.float64)[None]
    X = A.clone().requires_grad_(True)
    peers.frobenius_loss(A, X).backward()
    assert torch.isfinite(X.grad).all()


def test_order_statistics_are_values_of_the_sample_in_their_bin():
    values = torch.arange(1, 2001).double()
    (row,) = peers.order_statistics(values)
    assert (row["count"], row["median"], row["q999"], row["worst"]) == (2000, 1001, 1999, 2000)
    kappa = torch.where(values <= 10, 5.0, 50.0)
    low, high, empty = peers.order_statistics(values, kappa, (1, 10, 100, 1000))
    assert (low["count"], low["worst"], high["count"], high["worst"]) == (10, 10, 1990, 2000)
    assert empty["count"] == 0 and math.isnan(empty["median"]) and math.isnan(empty["mean"])
    with pytest.raises(ValueError, match="has a NaN"):
        peers.order_statistics(torch.tensor([math.nan]))
    with pytest.raises(ValueError, match="kappa has shape"):
        peers.order_statistics(values, kappa[:3])


@pytest.mark.parametrize("kind", peers.peer_kinds())
def test_every_kind_maps_a_batch_and_repeats_with_its_seed(kind):
    A = gaussian(4, 3).float()
    build = {"seed": 1, "width": 8, "depth": 1, "dtype": torch.float32}
    first, again = (peers.make_peer(kind, 3, **build) for _ in range(2))
    assert first(A).shape == A.shape and torch.equal(first(A), again(A))


def test_an_unknown_kind_is_refused_by_name():
    with pytest.raises(ValueError, match="'transformer' is unknown; use one of plain, residual"):
        peers.make_peer("transformer", 3, seed=0)


def test_a_training_is_counted_in_samples_and_operations():
    """Forward 2, backward 2 times each weight, once less for the first layer: it needs no input gradient."""
    network = peers.make_peer("plain", 2, seed=0, width=8, depth=1, dtype=torch.float64)
    given = {"num_steps": 3, "batch": 16, "seed": 0, "learning_rate": 1e-3}
    cost = peers.train_counted(network, lambda b, g: torch.rand(b, 2, 2, generator=g).double(), **given)
    weights, answer = 8 * 4, 2 * 2 * 2
    per_sample = 2 * (2 * weights + 3 * weights) + 2 * 2 * answer
    assert (cost.status, cost.samples, cost.flops) == ("FINISHED", 48, 48 * per_sample)
    assert cost.seconds > 0


def test_tuned_newton_schulz_answers_more_than_a_bad_guess():
    A = neuinv.family("uniform").sample(400, seed=0)
    chosen, kappa = peers.tuned_newton_schulz(A, 6)
    bad = neuinv.ScaledNewtonSchulz(6, "general")
    norm = torch.linalg.matrix_norm(A)
    shares = [peers.success_shares(A, X, (0.05,))[0] for X in (chosen(A), bad(A, (norm / 1.5, norm)))]
    assert 3 < kappa < 1e3 and shares[0] > shares[1] + 0.2


def test_published_parameters_are_those_of_the_published_layers():
    """Seven blocks of four layers of 256 neurons that read all before them, and a projection to 128."""
    block = sum((128 + 256 * k) * 256 + 256 for k in range(4)) + (128 + 4 * 256) * 128 + 128
    total = 9 * 128 + 128 + 7 * block + 128 * 9 + 9
    (entry,) = [p for p in peers.PUBLISHED if "parameters" in p.quantity]
    assert entry.value == total


# --- the study -------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", ["smoke", "cpu", "gpu"])
def test_every_planned_run_has_a_family_and_a_known_kind(profile):
    plan = read_plan(SPEC, profile)
    for run in plan.runs:
        given = run.parameters
        assert given["kind"] in (*peers.peer_kinds(), *peers.FIXED)
        assert neuinv.family(given["family"], **given["dials"]).n in (3, 5)
    assert len({run.parameters["test_seed"] for run in plan.runs}) == 1, "all are judged on the same matrices"


def test_networks_of_the_study_have_a_tenth_of_the_parameters_and_claims_have_three_seeds():
    seeds = {}
    for run in read_plan(SPEC, "cpu").runs:
        given = run.parameters
        if given["kind"] in peers.FIXED:
            continue
        n = neuinv.family(given["family"], **given["dials"]).n
        names = ("width", "depth", "num_layers")
        network = peers.make_peer(given["kind"], n, seed=0, **{name: given[name] for name in names})
        assert count_parameters(network) <= 1_400_000
        seeds.setdefault((given["kind"], n, given["num_layers"]), set()).add(given["seed"])
        assert given["seed"] + 1 != given["test_seed"], "test matrices are not those of the training"
        assert given["num_test"] >= 100_000
    for kind in [("canonical-product", 3, 4), ("unrolled", 5, 9), ("unrolled", 5, 14)]:
        assert len(seeds[kind]) >= 3, "what a claim rests on has three seeds"


def test_a_run_records_the_network_alone_and_after_each_step(tmp_path):
    given = {"num_steps": 2, "batch": 16, "width": 8, "num_test": 1000, "kind": "canonical-product"}
    words = [word for name, value in given.items() for word in ("-p", name, str(value))]
    notebook = ROOT / "notebooks" / "one-shot-inverse.ipynb"
    command = [sys.executable, "-m", "papermill", notebook, tmp_path / "out.ipynb", "--no-progress-bar"]
    environment = {**os.environ, "NEUINV_RUN_DIR": str(tmp_path / "records")}
    done = subprocess.run([*command, *words], capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    records = [json.loads(path.read_text())["values"] for path in (tmp_path / "records").glob("*.json")]
    found = {record["refined"]: record for record in records}
    assert set(found) == {0, 1, 2, 3, 4}
    for k, record in found.items():
        assert record["products"] == found[0]["products"] + 2 * k
        row = record["frobenius"]
        assert row["median"] <= row["q999"] <= row["worst"] and row["count"] == 1000
        assert sum(part["count"] for part in record["bins"].values()) == 1000
        assert record["samples"] == 32 and record["training"] == "FINISHED"


# --- what the page says of the committed records ---------------------------------------------------


def findings(rows):
    """Return the statements of the page's summary that the records of a study bear out."""
    box, five = (rows[rows["task"] == f"uniform-{n}"] for n in (3, 5))
    published = {p.quantity: p.value for p in peers.PUBLISHED}
    long = box[(box["kind"] == "canonical-product") & (box["num_steps"] == box["num_steps"].max())]
    alone, twice, four = (long[long["refined"] == k] for k in (0, 2, 4))
    exact = five[(five["kind"] == "exact") & (five["refined"] == 0)]["share_written.5"].max()
    schemes = five[(five["refined"] == 0) & five["kind"].isin(["scaled", "unrolled"])]
    shots = five[
        (five["refined"] == 0) & five["kind"].isin(peers.peer_kinds()) & (five["kind"] != "unrolled")
    ]
    equal = box[
        (box["refined"] == 0) & (box["num_steps"] == box[box["kind"] == "residual"]["num_steps"].max())
    ]
    both = equal["kind"] == "canonical-product"
    usual = equal[~both]["frobenius.mean"]
    return {
        "form and products": equal[both]["frobenius.mean"].max() < equal[~both]["frobenius.mean"].min(),
        "usual layers": usual.min() > published["mean ||AX - I||_F"],
        "three seeds": alone["seed"].nunique() >= 3,
        "mean residual": (alone["frobenius.mean"] < published["mean ||AX - I||_F"]).all(),
        "a hundredth": alone["parameters"].max() * 100 < 3 * published["parameters of one of 3 networks"],
        "largest error lost": (alone["forward.worst"] > published["largest relative forward error"]).all(),
        "two steps": (twice["frobenius.median"] <= 1e-10).all(),
        "four steps": (four["frobenius.worst"] <= 1e-8).all(),
        "28 products": (schemes[schemes["products"] == 28]["share.5"] > exact).all(),
        "12 products": (schemes[schemes["products"] == 12]["share.5"] < exact).all(),
        "one shot lost": (shots["share.5"] < 0.9).all(),
        "same matrices": rows["test_seed"].nunique() == 1 and rows["frobenius.count"].min() >= 100_000,
    }


def test_the_committed_records_bear_out_the_summary_of_the_page():
    assert all(findings(load_study("peers").rows).values()), findings(load_study("peers").rows)


@pytest.mark.parametrize(
    ("column", "factor", "lost"),
    [
        ("frobenius.mean", 10, "mean residual"),
        ("frobenius.median", 1e6, "two steps"),
        ("frobenius.worst", 1e6, "four steps"),
        ("parameters", 10, "a hundredth"),
        ("share.5", 0.9, "28 products"),
        ("forward.worst", 0.1, "largest error lost"),
    ],
)
def test_a_summary_that_the_records_no_longer_bear_out_is_noticed(column, factor, lost):
    """Negative control: other numbers flip the statement."""
    rows = load_study("peers").rows
    rows[column] = rows[column] * factor
    assert not findings(rows)[lost]


def findings_longer(rows, long):
    """Return what the page says of the wider networks, and of how they differ from the narrow ones."""
    box, five = (long[(long["task"] == f"uniform-{n}") & (long["refined"] == 0)] for n in (3, 5))
    narrow = rows[(rows["task"] == "uniform-3") & (rows["refined"] == 0)]
    published = {p.quantity: p.value for p in peers.PUBLISHED}
    mean = box.groupby("kind")["frobenius.mean"].max()
    below = set(mean.index[mean < published["mean ||AX - I||_F"]])
    worst = box.groupby("kind")["frobenius.worst"].max()
    both = narrow[narrow["kind"] == "canonical-product"]
    longest = both[both["num_steps"] == both["num_steps"].max()]
    last = long[(long["task"] == "uniform-3") & (long["refined"] == 4)]
    lost = last.groupby("kind")["not_below_one"].max()
    return {
        "one seed": long["seed"].nunique() == 1,
        "one part is enough": below == {"product", "canonical-residual", "canonical-product"},
        "both are best": mean.idxmin() == "canonical-product",
        "means fall": all(
            mean[k] < narrow[narrow["kind"] == k]["frobenius.mean"].min()
            for k in mean.index
            if k in set(narrow["kind"])
        ),
        "no better worst case": worst["canonical-product"] >= longest["frobenius.worst"].max(),
        "largest error lost": (box["forward.worst"] > published["largest relative forward error"]).all(),
        "steps converge": (lost[["product", "canonical-product"]] == 0).all(),
        "steps diverge": (lost[["residual", "canonical-residual"]] > 0).all(),
        "one shot lost": (five["share.5"] < 0.1).all(),
        "same matrices": set(long["test_seed"]) == set(rows["test_seed"]),
    }


def test_the_committed_records_bear_out_what_the_page_says_of_wider_networks():
    found = findings_longer(load_study("peers").rows, load_study("peers", "gpu").rows)
    assert all(found.values()), found


@pytest.mark.parametrize(
    ("column", "factor", "lost"),
    [
        ("frobenius.mean", 10, "one part is enough"),
        ("frobenius.mean", 100, "means fall"),
        ("frobenius.worst", 0.5, "no better worst case"),
        ("forward.worst", 0.1, "largest error lost"),
        ("not_below_one", 0, "steps diverge"),
        ("share.5", 10, "one shot lost"),
    ],
)
def test_wider_networks_that_are_elsewhere_than_the_page_says_are_noticed(column, factor, lost):
    """Negative control: other numbers flip the statement."""
    rows, long = (load_study("peers", profile).rows for profile in ("cpu", "gpu"))
    long[column] = long[column] * factor
    assert not findings_longer(rows, long)[lost]


@pytest.mark.parametrize("kind", ["canonical-product", "product"])
def test_a_kind_that_no_longer_is_where_the_summary_places_it_is_noticed(kind):
    """Negative control: one kind alone gets other numbers."""
    rows = load_study("peers").rows
    assert findings(rows)["form and products"] and findings(rows)["usual layers"]
    other = {"canonical-product": 100, "product": 0.01}[kind]
    rows.loc[rows["kind"] == kind, "frobenius.mean"] *= other
    assert not findings(rows)["form and products"]
    assert findings(rows)["usual layers"] == (kind != "product")


def test_every_statistic_of_the_records_is_ordered():
    rows = load_study("peers").rows
    assert (rows["frobenius.median"] <= rows["frobenius.q999"]).all()
    assert (rows["frobenius.q999"] <= rows["frobenius.worst"]).all()
    counts = [name for name in rows.columns if name.startswith("bins.") and name.endswith(".count")]
    assert (rows[counts].fillna(0).sum(axis=1) == rows["frobenius.count"]).all()
