"""What a sweep costs: time over a bare kernel, the gain of a second worker, and many planned runs."""

import json
import subprocess
import sys
import time
from statistics import median

import pytest
from sweep_tools import environment, write_sweep
from test_sweep_kills import linux

from neuinv.records import record
from neuinv.sweep import Progress, prepare, read_plan, run_plan, start_local
from neuinv.sweep.worker import run_task

pytest.importorskip("papermill")
pytest.importorskip("distributed")

MANY = """\
import io, json, re, sys, time
from neuinv import cli
from neuinv.sweep import Progress, Serial, prepare, read_plan, run_plan

spec = sys.argv[1]
began, processor = time.perf_counter(), time.process_time()
sys.stdout, kept = io.StringIO(), sys.stdout
assert cli.main(["sweep", "status", spec, "--profile", "smoke", "--runs"]) == 0
lines, sys.stdout = sys.stdout.getvalue().splitlines(), kept
seconds, processor = time.perf_counter() - began, time.process_time() - processor


class Idle(Serial):
    window = 64

    def wait(self, seconds):
        ended, self._tasks = [(task, {"state": "done", "seconds": 0.0}) for task in self._tasks], []
        return ended


plan = read_plan(spec, "smoke")
prepare(plan)
run_plan(plan, Idle(), Progress(plan, io.StringIO(), 0))
# Not getrusage, whose peak is that of the parent where it was larger when it started this process.
peak = int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024
print(json.dumps({"lines": len(lines), "seconds": seconds, "processor": processor, "peak_megabytes": peak}))
"""


def many(folder, count):
    """List ``count`` planned runs and loop over them in a process of its own; return what it measured."""
    spec = write_sweep(folder, grid={"seed": {"low": 1, "high": count}})
    command = [sys.executable, "-c", MANY, str(spec)]
    done = subprocess.run(command, env=environment(folder), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@linux
def test_ten_thousand_planned_runs_take_seconds_and_megabytes(tmp_path):
    few, lots = many(tmp_path / "few", 10), many(tmp_path / "many", 10_000)
    assert lots["lines"] - few["lines"] == 9990
    # The processor's time, because the tests of a busy machine share its cores.
    assert lots["processor"] <= 2
    assert lots["peak_megabytes"] - few["peak_megabytes"] <= 200
    record(test="ten thousand planned runs", ten=few, ten_thousand=lots)


@pytest.mark.soak
def test_run_costs_at_most_three_seconds_more_than_its_kernel(tmp_path, monkeypatch):
    import nbformat
    from nbclient import NotebookClient

    spec = write_sweep(tmp_path, grid={"n": list(range(1, 8))})
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    plan = read_plan(spec, "smoke")
    prepare(plan)
    bare, swept = [], []
    for run in plan.runs:
        # Alternately, so that other work on the machine meets both.
        began = time.perf_counter()
        notebook = nbformat.read(spec.parent / "tiny.ipynb", 4)
        # What the profile injects; with its default the record would load torch to look for a GPU.
        notebook.cells[0].source += 'device = "cpu"\n'
        NotebookClient(notebook, kernel_name="python3").execute(env=environment(tmp_path))
        bare.append(time.perf_counter() - began)
        began = time.perf_counter()
        assert run_task(plan.task(run))["state"] == "done"
        swept.append(time.perf_counter() - began)
    overhead = median(b - a for a, b in zip(bare, swept, strict=True))
    record(test="overhead of a run", bare=median(bare), swept=median(swept), overhead=overhead)
    assert overhead <= 3


@pytest.mark.soak
def test_second_worker_nearly_halves_the_time_of_sleeping_notebooks(tmp_path, monkeypatch):
    seconds = {}
    for num_workers in (1, 2):
        folder = tmp_path / str(num_workers)
        spec = write_sweep(folder, grid={"n": list(range(1, 7))}, parameters={"nap": 20.0})
        for name, value in environment(folder).items():
            monkeypatch.setenv(name, value)
        plan = read_plan(spec, "smoke")
        prepare(plan)
        engine = start_local("smoke", num_workers)
        try:
            began = time.perf_counter()
            assert run_plan(plan, engine, Progress(plan, sys.stderr, 0)).ok
            seconds[num_workers] = time.perf_counter() - began
        finally:
            engine.close()
    gain = seconds[1] / seconds[2]
    record(test="two workers", one=seconds[1], two=seconds[2], gain=gain)
    assert gain >= 1.8
