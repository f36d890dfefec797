"""The committed study of sizes: whole, made again at one point, and read correctly by its page."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import neuinv
from neuinv import scaling
from neuinv.networks import StandardizedNetwork, make_network
from neuinv.sweep import coverage, load_study, read_plan

pytest.importorskip("pandas")
pytest.importorskip("pyarrow")

ROOT = Path(__file__).resolve().parent.parent
SPEC = ROOT / "notebooks" / "sweeps" / "scaling.yaml"
PAGE = ROOT / "notebooks" / "scaling.ipynb"
# Relative: other processors round float32 otherwise, which 25 steps carry to about 1e-9 in the median.
AGAIN = 1e-5


@pytest.fixture(scope="module")
def study():
    return load_study("scaling", "cpu")


def test_every_planned_run_is_there_with_all_its_points_and_seeds(study):
    plan = read_plan(SPEC, "cpu")
    planned = {(run.parameters["family"], run.parameters["kind"]) for run in plan.runs}
    cells = study.rows.groupby(["family", "kind"]).size()
    assert study.summary["complete"] == study.summary["planned"] == len(planned)
    assert set(cells.index) == planned and (cells == 13 * 5).all()
    assert not study.summary["package"]["dirty"] and study.summary["failed"] == 0


def test_what_was_run_is_what_the_sweep_file_plans(study):
    for run in read_plan(SPEC, "cpu").runs:
        p = run.parameters
        rows = study.rows[(study.rows["family"] == p["family"]) & (study.rows["kind"] == p["kind"])]
        bases = {"base_size": p["base_size"], "base_steps": p["base_steps"]}
        points = scaling.scaling_points(p["sizes"], p["data"], p["steps"], **bases)
        found = rows[["size", "num_train", "num_steps"]].drop_duplicates()
        assert {tuple(row) for row in found.to_numpy().tolist()} == {tuple(vars(q).values()) for q in points}
        assert (rows["count"] == p["num_test"]).all()


@pytest.mark.parametrize("profile", ["cpu", "gpu"])
def test_recorded_errors_are_ordered_and_obey_the_theorem(profile):
    rows = load_study("scaling", profile).rows
    assert (rows["median"] <= rows["extreme"]).all() and (rows["extreme"] <= rows["worst"]).all()
    assert (rows["forward_worst"] <= rows["worst"] * (1 + 1e-9)).all()
    outside = rows["outside"]
    assert (rows.loc[outside, "certified"] >= 1 - 1e-6).all() and rows.loc[~outside, "certified"].isna().all()
    assert rows.loc[rows["inside"], "kappa_worst"].max() < 11 and not (rows["inside"] & outside).any()


def test_what_is_recorded_of_wider_networks_is_planned_and_has_all_its_points_and_seeds():
    wider = coverage("scaling", "gpu")
    assert wider.unplanned == 0 and not wider.study.summary["package"]["dirty"]
    assert (wider.rows.groupby("run").size() == 10 * 4).all()
    assert wider.rows["run"].nunique() == len(wider.recorded) == wider.study.summary["complete"]


def test_inside_is_what_the_families_declare_for_networks_that_do_not_divide(study):
    for (family, dials, n), rows in study.rows.groupby(["family", "dials", "order"]):
        matrices = neuinv.family(family, **json.loads(dials))
        inside = scaling.declared_inside(matrices.with_parameters(n=n) if matrices.n != n else matrices)
        assert (rows["inside"] == inside).all()
    # a control: a bound on the condition number alone is not enough for them
    through = neuinv.family("scaled-identity", low=-1.0, high=1.0)
    assert through.bounds.condition == 1 and not scaling.declared_inside(through)


def base_point_again(seed):
    """Train the copies of one recorded point, helmholtz at 25 steps, and return their median residuals."""
    matrices = neuinv.family("fem-helmholtz", mesh=3)
    pools = [matrices.sample(16384, seed=1000 * seed + k).float() for k in range(5)]
    networks = [
        StandardizedNetwork(
            make_network("plain-gelu", 4, seed=1000 * seed + k, width=80, dtype=torch.float32), pool
        )
        for k, pool in enumerate(pools)
    ]
    scaling.grown(networks, pools, num_steps=25, seed=1000 * seed + 500)
    test = matrices.sample(10000, seed=998)
    with torch.no_grad():
        answers = [scaling.in_double(network)(test) for network in networks]
    return [scaling.error_summary(test, X, torch.linalg.inv(test)).median for X in answers]


def test_a_recorded_point_is_made_again_and_another_seed_makes_another_one(study):
    rows = study.rows
    chosen = (rows["family"] == "fem-helmholtz") & (rows["kind"] == "plain-gelu") & (rows["num_steps"] == 25)
    recorded = rows[chosen].sort_values("copy")["median"].to_numpy()
    assert len(recorded) == 5
    assert np.abs(np.array(base_point_again(0)) / recorded - 1).max() < AGAIN
    assert np.abs(np.array(base_point_again(1)) / recorded - 1).max() > AGAIN


def test_an_altered_table_is_refused(study, tmp_path):
    for name in ("cpu.json", "cpu.parquet"):
        shutil.copy(ROOT / "book" / "results" / "scaling" / name, tmp_path)
    assert len(load_study("scaling", folder=tmp_path).rows) == len(study.rows)
    content = bytearray((tmp_path / "cpu.parquet").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "cpu.parquet").write_bytes(bytes(content))
    with pytest.raises(ValueError, match="is not the table"):
        load_study("scaling", folder=tmp_path)


# --- the page --------------------------------------------------------------------------------------


def unprinted(prose, printed):
    """Return the decimal numbers of a text, formulas aside, that do not occur in what cells printed."""
    plain = re.sub(r"\$\$.*?\$\$|\$[^$]*\$|\{[a-z:]+\}`[^`]*`", "", prose, flags=re.DOTALL)
    numbers = re.findall(r"(?<![\w.])\d+\.\d+(?!\w|\.\d)", plain)
    return [number for number in numbers if not re.search(rf"(?<![\d.]){re.escape(number)}(?!\d)", printed)]


def test_every_decimal_number_in_the_prose_of_the_page_is_printed_on_it():
    cells = json.loads(PAGE.read_text(encoding="utf-8"))["cells"]
    prose = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    printed = "\n".join("".join(output.get("text", "")) for output in outputs)
    assert len(re.findall(r"\d\.\d", prose)) > 10
    assert unprinted(prose, printed) == []


@pytest.mark.parametrize("text", ["it falls to 0.47.", "from 1.5 to 0.12", "(0.9)"])
def test_a_number_that_no_cell_printed_is_found(text):
    assert unprinted(text, "0.12 0.471 1.50 10.9") != []
    assert unprinted("it falls to 0.47, see $x = 0.3$", "0.47") == []
