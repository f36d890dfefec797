"""What is recorded of a plan and what is missing is told from the parameters of its runs."""

import json
import shutil

import pytest
from notebook_tools import ROOT
from sweep_tools import fabricate, write_sweep

from neuinv.sweep import collect, coverage, read_plan, run_name

pytest.importorskip("pandas")
pytest.importorskip("pyarrow")


@pytest.fixture
def plan(tmp_path):
    """Return a plan of four runs, of which none is recorded."""
    rows = [{"n": n, "kind": kind} for n in (1, 2) for kind in ("plain", "raise")]
    return read_plan(write_sweep(tmp_path, list=rows), "smoke", folder=tmp_path / "runs")


def found(plan, tmp_path):
    return coverage("tiny", "smoke", plan=plan, folder=tmp_path / "results")


def test_without_a_record_every_planned_run_is_missing_and_one_line_says_so(plan, tmp_path):
    result = found(plan, tmp_path)
    assert result.rows is None and result.missing == plan.runs and result.recorded == []
    assert result.lines("n") == ["profile smoke: no record; 4 runs are planned"]


def test_of_a_partial_record_the_missing_runs_are_named(plan, tmp_path):
    fabricate(plan, 0, 3)
    collect(plan, tmp_path / "results")
    result = found(plan, tmp_path)
    assert result.recorded == [plan.runs[0], plan.runs[3]] and result.missing == plan.runs[1:3]
    assert result.unplanned == 0 and len(result.rows) == 2
    lines = result.lines("kind", "n")
    assert lines[0] == "profile smoke: 2 of 4 planned runs are recorded, 0 failed"
    assert lines[-1] == "not recorded: raise n=1; plain n=2"


def test_of_a_whole_record_nothing_is_missing(plan, tmp_path):
    fabricate(plan, 0, 1, 2, 3)
    collect(plan, tmp_path / "results")
    result = found(plan, tmp_path)
    assert result.recorded == plan.runs and result.missing == []
    assert not any("not recorded" in line for line in result.lines("n"))


def test_a_recorded_run_that_the_sweep_file_no_longer_plans_is_counted_and_no_other_one(plan, tmp_path):
    fabricate(plan, 0, 1)
    collect(plan, tmp_path / "results")
    changed = read_plan(write_sweep(tmp_path / "other", list=[{"n": 1, "kind": "plain"}, {"n": 7}]), "smoke")
    result = found(changed, tmp_path)
    assert result.recorded == changed.runs[:1] and result.missing == changed.runs[1:]
    assert result.unplanned == 1
    assert "1 recorded runs are not in the sweep file" in result.lines("n")


def test_the_device_does_not_decide_which_run_is_recorded(plan, tmp_path):
    fabricate(plan, 0)
    collect(plan, tmp_path / "results")
    rows = [{"n": 1, "kind": "plain", "device": "cuda"}]
    moved = read_plan(write_sweep(tmp_path / "other", list=rows), "smoke")
    assert found(moved, tmp_path).recorded == moved.runs


def test_half_a_record_and_an_edited_one_are_refused(plan, tmp_path):
    fabricate(plan, 0)
    table, _ = collect(plan, tmp_path / "results")
    content = table.read_bytes()
    table.write_bytes(content[:-1] + b"x")
    with pytest.raises(ValueError, match="is not the table"):
        found(plan, tmp_path)
    table.unlink()
    with pytest.raises(FileNotFoundError, match="has no profile"):
        found(plan, tmp_path)


def test_long_lists_of_missing_runs_stay_within_the_page(plan, tmp_path):
    fabricate(plan, 0)
    collect(plan, tmp_path / "results")
    many = read_plan(write_sweep(tmp_path / "many", grid={"n": list(range(1, 60))}), "smoke")
    lines = found(many, tmp_path).lines("n", "kind")
    assert max(map(len, lines)) <= 84 and sum(line.count("n=") for line in lines) == 59 - 1


def test_every_committed_profile_is_told_from_its_sweep_file(tmp_path):
    """The record of the profile cpu of a study is all there, and nothing is when its files are elsewhere."""
    here = coverage("why-cannot", "cpu")
    assert here.missing == [] and here.unplanned == 0 and len(here.recorded) == here.study.summary["complete"]
    assert coverage("why-cannot", "cpu", folder=tmp_path).study is None
    for kind in ("json", "parquet"):
        shutil.copy(ROOT / "book" / "results" / "why-cannot" / f"cpu.{kind}", tmp_path)
    assert coverage("why-cannot", "cpu", folder=tmp_path).recorded == here.recorded
    assert json.loads((tmp_path / "cpu.json").read_text())["complete"] == len(here.recorded)


def test_a_run_is_named_by_its_parameters_and_leaves_out_what_is_not_given():
    assert run_name({"family": "markov", "dials": {}, "n": None}, ["family", "dials", "n"]) == "markov"
