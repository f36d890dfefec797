"""The study of predictions: its plan keeps its promises, and one cell of it runs and records."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import neuinv
from neuinv.sweep import read_plan

ROOT = Path(__file__).resolve().parent.parent
SPEC = ROOT / "notebooks" / "sweeps" / "criterion-predicts.yaml"


def roles(plan):
    """Return the families of each role."""
    found = {}
    for run in plan.runs:
        found.setdefault(run.parameters["role"], set()).add(run.parameters["family"])
    return found


@pytest.mark.parametrize("profile", ["smoke", "cpu", "gpu"])
def test_every_planned_cell_has_a_family(profile):
    for run in read_plan(SPEC, profile).runs:
        given = run.parameters
        size = {} if given["n"] is None else {"n": given["n"]}
        matrices = neuinv.family(given["family"], **given["dials"], **size)
        assert 1 <= matrices.n <= 128


def test_families_that_were_used_to_choose_anything_are_not_used_to_judge():
    plan = read_plan(SPEC, "cpu")
    found = roles(plan)
    assert len(plan.runs) <= 40
    assert set(found) == {"development", "evaluation"}
    assert found["development"].isdisjoint(found["evaluation"])
    assert len(found["evaluation"]) >= 15, "the bootstrap draws families"
    judged = roles(read_plan(SPEC, "gpu"))
    assert set(judged) == {"evaluation"} and judged["evaluation"].isdisjoint(found["development"])


def test_a_cell_trains_five_networks_and_records_each_beside_its_prediction(tmp_path):
    given = {"family": "scaled-identity", "n": 3, "num_steps": 2, "num_train": 64, "num_sample": 32}
    given |= {"num_test": 64, "role": "evaluation"}
    words = [word for name, value in given.items() for word in ("-p", name, str(value))]
    notebook = ROOT / "notebooks" / "criterion-predicts.ipynb"
    command = [sys.executable, "-m", "papermill", notebook, tmp_path / "out.ipynb", "--no-progress-bar"]
    environment = {**os.environ, "NEUINV_RUN_DIR": str(tmp_path / "records")}
    done = subprocess.run(
        [*command, *words, "-y", "dials: {low: 1.0, high: 3.0}"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    records = [json.loads(path.read_text())["values"] for path in (tmp_path / "records").glob("*.json")]
    found = {record["kind"]: record for record in records}
    assert set(found) == {"plain-gelu", "residual", "learned-start", "unrolled", "polynomial"}
    for record in found.values():
        assert record["low"] <= record["high"] and record["worst"] >= record["median"] >= 0
        assert record["curve"] and record["size"] == 3
        # t in [1, 3]: the spread is at most (3 - 1)/(3 + 1)
        assert 0.4 < record["spread"][0] <= record["spread"][1] <= 0.51
    # every t I is orthogonal once it is divided by its norm
    assert found["unrolled"]["score"] < 1e-12
