"""One run of a sweep: how it ends, what it leaves behind, and that the audit of the kill tests finds it."""

import shutil
import subprocess
import time

import pytest
from sweep_tools import audit, environment, fabricate, sweep, write_sweep

from neuinv.records import partial_runs
from neuinv.sweep import prepare, read_plan, read_status
from neuinv.sweep import worker as working
from neuinv.sweep.runner import NOTEBOOK
from neuinv.sweep.worker import run_task


@pytest.fixture
def spec(tmp_path):
    return write_sweep(tmp_path, grid={"n": [1, 2, 3]})


@pytest.fixture
def plan(spec):
    return read_plan(spec, "smoke")


def test_task_that_would_compute_something_else_is_refused_by_the_worker(plan, monkeypatch):
    prepare(plan)
    task = plan.task(plan.runs[0])
    changed = {**task, "identity": {**task["identity"], "parameters": {"n": 4}}}
    assert run_task(changed)["error"] == "the task was altered on its way here; start the sweep again."
    gone = {**task, "source": str(plan.folder / "none")}
    assert "this worker does not see" in run_task(gone)["error"]
    whole = plan.source.read_text()
    for text in (whole.replace("seed_was", "seed_is"), "{"):
        plan.source.write_text(text)
        edited = "the sweep's copy of the notebook was edited; start the sweep again."
        assert text != whole and run_task(task)["error"] == edited
    plan.source.write_text(whole)
    monkeypatch.setattr(working.sys, "executable", shutil.which("false"))
    assert run_task(task) == {
        "state": "failed",
        "error": "the process of the run ended with 1: it said nothing",
        "seconds": 0.0,
    }


def test_failed_run_keeps_its_notebook_with_the_error_and_stops_no_other(tmp_path):
    rows = [{"n": 1, "kind": "raise"}, {"n": 4, "kind": "raise"}]
    spec = write_sweep(tmp_path, list=rows, retries=0)
    code, text = sweep(spec, "run", "--shard", "1/1")
    assert code == 1 and "1 of 2 runs are complete, 1 failed for good" in text, text
    assert "cell 4: ArithmeticError: 1 is odd" in text, text
    status = read_status(read_plan(spec, "smoke"))
    assert len(status.failures) == 1
    kept = "".join((path / NOTEBOOK).read_text() for path in status.plan.folder.glob("*.failed"))
    assert "1 is odd" in kept


def test_slow_run_is_stopped_even_when_its_time_is_up_before_its_kernel_is_there(tmp_path):
    spec = write_sweep(tmp_path, list=[{"nap": 6000.0}], retries=0, timeout=0.05)
    code, text = sweep(spec, "run", "--shard", "1/1")
    assert code == 1 and "it takes more than 0.05 s; raise 'timeout:'." in text, text


HOSTILE = """\
import os, shutil, sys, tempfile
print("\\ud800", chr(27))
os.write(1, bytes(range(256)))
assert len(os.path.dirname(os.environ["IPYTHONDIR"])) > 100
shutil.rmtree(os.environ["NEUINV_RUN_DIR"])
"""


def test_run_that_writes_garbage_and_deletes_its_folder_fails_in_a_sentence(tmp_path):
    spec = write_sweep(tmp_path, sources=(HOSTILE,), grid={"n": [1]}, retries=0)
    # So long that no socket fits into it.
    folder = tmp_path / ("l" * 100)
    folder.mkdir()
    code, text = sweep(spec, "run", "--shard", "1/1", TMPDIR=str(folder))
    assert code == 1 and "failed" in text and "is there no more" in text and "Traceback" not in text, text
    assert sorted(path.name for path in spec.parent.glob("runs/tiny/*")) == ["sources"]


LEAVER = """\
import subprocess
late = "sleep 2; echo late >&2; echo later > $NEUINV_RUN_DIR/late.txt"
_ = subprocess.Popen(["sh", "-c", late], start_new_session=True)
print("to the log", file=__import__("sys").__stderr__)
"""


def test_what_a_process_left_behind_writes_later_does_not_reach_a_complete_run(tmp_path):
    spec = write_sweep(tmp_path, sources=(LEAVER,), grid={"n": [1]})
    code, text = sweep(spec, "run", "--shard", "1/1")
    assert code == 0, text
    time.sleep(3)
    plan = read_plan(spec, "smoke")
    assert len(read_status(plan).complete) == 1 and not (plan.folder / plan.runs[0].key / "late.txt").exists()
    assert sorted(path.name for path in plan.folder.iterdir()) == sorted(["sources", plan.runs[0].key])


# --- the audit of the kill tests is shown what it must find ----------------------------------------


def doubled(plan):
    folder = plan.folder / plan.runs[0].key
    (record,) = folder.glob("record-*.json")
    shutil.copy(record, folder / "record-again.json")


def other_value(plan):
    shutil.rmtree(plan.folder / plan.runs[0].key)
    fabricate(plan, 0, double=3)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda plan: shutil.rmtree(plan.folder / plan.runs[1].key), "is not complete"),
        (doubled, "has the records"),
        (other_value, "has the records"),
        (lambda plan: (plan.folder / "more.partial").mkdir(), "was never planned"),
    ],
)
def test_audit_finds_what_is_lost_doubled_wrong_or_left_over(spec, plan, damage, words):
    fabricate(plan, 0, 1, 2)
    assert audit(spec) == []
    damage(plan)
    assert any(words in fault for fault in audit(spec))


def test_audit_finds_a_process_that_is_left(spec, plan):
    fabricate(plan, 0, 1, 2)
    left = subprocess.Popen(["sleep", "60"], env=environment(spec.parent))
    try:
        assert any(
            fault.startswith("sleep 60 ") and fault.endswith("is still there") for fault in audit(spec)
        )
    finally:
        left.kill()
        left.wait()
    assert audit(spec) == [] and partial_runs(plan.folder) == []
