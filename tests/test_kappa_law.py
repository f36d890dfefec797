"""The study of growing errors: its theorem at its edge, its plan, one cell of it, and its records."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import neuinv
from neuinv.laws import LAWS, draw_errors, fit_laws
from neuinv.sweep import load_study, read_plan

ROOT = Path(__file__).resolve().parent.parent
SPEC = ROOT / "notebooks" / "sweeps" / "kappa-law.yaml"
EPS = torch.finfo(torch.float64).eps


def edge(n, kappa, structure="general"):
    made = neuinv.family("prescribed-spectrum", n=n, kappa=kappa, kind=structure, spacing="log-uniform")
    return made.sample(200, seed=5)


def clipped(A, bound, level, sign):
    """The continuous maps with outputs of norm at most ``bound`` that attain the theorem's two ends."""
    U, sigma, Vh = torch.linalg.svd(A)
    ramp = (bound * level * sigma).clamp(max=bound)
    g = -ramp if sign > 0 else torch.minimum(ramp, 1 / sigma)
    return (Vh.mT * g[..., None, :]) @ U.mT


@pytest.mark.parametrize("kappa", [2.0, 100.0, 1e5])
def test_members_at_the_edge_attain_the_smallest_singular_value_and_free_ones_stay_inside(kappa):
    sigma = torch.linalg.svdvals(edge(3, kappa))
    torch.testing.assert_close(sigma[:, -1] * kappa, torch.ones(200).double(), rtol=0, atol=20 * kappa * EPS)
    free = neuinv.family("prescribed-spectrum", n=3, kappa=kappa, kind="general", spacing="free")
    inside = torch.linalg.svdvals(free.sample(4000, seed=0))
    assert (inside <= 1 + 20 * EPS).all() and (inside * kappa >= 1 - 20 * kappa * EPS).all()
    assert (inside[:, 0] < 1 - 1e-9).any() and (inside[:, -1] * kappa > 1 + 1e-6).any()
    # log-uniform: the logarithms of all singular values have the mean of a uniform variable
    share = -inside.log() / np.log(kappa)
    assert share.mean().item() == pytest.approx(0.5, abs=0.02)
    assert share.quantile(0.25).item() == pytest.approx(0.25, abs=0.03)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("kappa", [10.0, 1e3])
def test_the_theorem_holds_with_equality_for_the_extremal_maps(kappa, sign):
    """|W(kappa) - kappa| = M; with half of M it is refuted."""
    bound, A = 5.0, edge(3, kappa)
    X = clipped(A, bound, kappa, sign)
    assert torch.linalg.matrix_norm(X, 2).max() <= bound * (1 + 1e-9)
    gap = abs((torch.linalg.matrix_norm(X - torch.linalg.inv(A), 2).max() - kappa).item())
    assert gap == pytest.approx(bound, rel=1e-6)
    assert not gap <= bound / 2


def test_the_extremal_maps_are_continuous_at_singular_matrices():
    generator = torch.Generator().manual_seed(0)
    S = torch.diag(torch.tensor([1.0, 0.5, 0.0])).double()
    # Not too near: the slope of the maps is M kappa.
    for size in (1e-4, 1e-6):
        near = S + size * torch.randn(50, 3, 3, generator=generator, dtype=torch.float64)
        for sign in (1, -1):
            jump = torch.linalg.matrix_norm(
                clipped(near, 5.0, 10.0, sign) - clipped(S[None], 5.0, 10.0, sign)
            )
            assert jump.max() < 1e3 * size


@pytest.mark.parametrize("profile", ["smoke", "cpu", "gpu"])
def test_every_planned_run_has_a_family_and_at_least_six_condition_numbers(profile):
    cells = {}
    for run in read_plan(SPEC, profile).runs:
        given = run.parameters
        neuinv.family(given["family"], n=given["n"], kappa=given["kappa"], kind=given["structure"])
        key = tuple(given[name] for name in ("n", "kind", "structure", "width"))
        cells.setdefault(key, set()).add(given["kappa"])
    assert profile == "smoke" or all(len(kappas) >= 6 for kappas in cells.values())
    if profile == "gpu":
        assert {key[0] for key in cells} >= {3, 5, 8, 16} and {key[1] for key in cells} >= {"attention"}


def test_a_cell_trains_its_copies_and_records_errors_that_fit_together(tmp_path):
    given = {"kappa": 20.0, "copies": 2, "num_steps": 3, "num_train": 64, "num_test": 100}
    given |= {"num_starts": 2, "num_ascent": 2, "width": 8}
    words = [word for name, value in given.items() for word in ("-p", name, str(value))]
    notebook = ROOT / "notebooks" / "fixed-network.ipynb"
    command = [sys.executable, "-m", "papermill", notebook, tmp_path / "out.ipynb", "--no-progress-bar"]
    environment = {**os.environ, "NEUINV_RUN_DIR": str(tmp_path / "records")}
    done = subprocess.run([*command, *words], capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    records = [json.loads(path.read_text())["values"] for path in (tmp_path / "records").glob("*.json")]
    assert sorted(record["copy"] for record in records) == [0, 1]
    for record in records:
        for prefix in ("", "absolute_", "residual_"):
            values = [record[prefix + name] for name in ("median", "q999", "sampled_worst", "worst")]
            assert 0 < values[0] <= values[1] <= values[2] <= values[3]
        # every inverse at the edge has the norm kappa
        for name in ("edge_mean", "edge_worst"):
            assert record[f"absolute_{name}"] == pytest.approx(20.0 * record[name], rel=1e-9)
        assert record["linear_law"][-1] == pytest.approx(1, abs=1e-3)


def recorded(column, profile="cpu"):
    rows = load_study("kappa-law", profile).rows
    groups = rows.groupby(["n", "kind"])
    tables = {key: part.pivot(index="copy", columns="kappa", values=column) for key, part in groups}
    return {key: (t.columns.to_numpy(), t.to_numpy()) for key, t in tables.items() if len(t.columns) >= 6}


def judged(data, absolute=False):
    return fit_laws(*data, seed=0, absolute=absolute, count=20)


@pytest.mark.parametrize("column", ["mean", "q999", "edge_mean", "absolute_worst"])
def test_in_the_records_a_saturating_law_wins_and_the_exponential_never_does(column):
    for key, data in recorded(column).items():
        found = judged(data, column.startswith("absolute"))
        best = next(iter(found.values()))
        assert LAWS[best.law].saturating, key
        assert found["exponential"].aicc - best.aicc > 10
        assert found["exponential"].prediction > 5 > best.prediction


def test_records_that_grew_exponentially_would_be_called_so():
    """The negative control: the recorded errors replaced by those of another law, with the measured noise."""
    kappa, errors = next(iter(recorded("mean").values()))
    noise = np.log(errors).std(axis=0, ddof=1).mean()
    for law, truth in (("exponential", {"a": 0.01, "b": 4e-4}), ("power", {"a": 0.05, "b": 0.6})):
        forged = draw_errors(law, truth, kappa, copies=len(errors), noise=noise, seed=1)
        assert next(iter(judged((kappa, forged)))) == law


@pytest.mark.parametrize("profile", ["cpu", "gpu"])
def test_the_worst_absolute_error_ends_as_the_theorem_says(profile):
    found = recorded("absolute_worst", profile)
    assert found
    for kappa, worst in found.values():
        assert np.median(worst[:, -1]) / kappa[-1] == pytest.approx(1, abs=0.05)


SIX = ("mean", "q999", "edge_mean", "worst", "absolute_mean", "absolute_worst")


def larger():
    """Return column -> does a saturating law win, and AICc and prediction of the exponential."""
    found = {}
    for column in SIX:
        ((_, data),) = recorded(column, "gpu").items()  # one series is complete
        laws = judged(data, column.startswith("absolute"))
        best = next(iter(laws.values()))
        gap = laws["exponential"].aicc - best.aicc
        found[column] = LAWS[best.law].saturating, gap, laws["exponential"].prediction
    return found


def test_on_larger_matrices_the_exponential_loses_and_all_but_the_worst_relative_error_saturate():
    found = larger()
    assert {column for column, (saturating, _, _) in found.items() if not saturating} == {"worst"}
    assert all(gap > 10 and missed > 10 for _, gap, missed in found.values())


def test_a_series_of_larger_matrices_that_grew_exponentially_would_be_noticed(monkeypatch):
    """The negative control: the recorded errors replaced by an exponential with little noise."""
    (kappa, errors) = next(iter(recorded("mean", "gpu").values()))
    truth = {"a": 0.01, "b": 4e-4}
    forged = draw_errors("exponential", truth, kappa, copies=len(errors), noise=0.01, seed=1)
    monkeypatch.setitem(globals(), "recorded", lambda column, profile: {"x": (kappa, forged)})
    assert not any(gap > 10 for _, gap, _ in larger().values())
