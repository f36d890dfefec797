"""Nothing is lost, counted twice or left running when processes of a sweep are killed or the disk is full."""

import os
import random
import signal
import subprocess
import time

import pytest
from sweep_tools import (
    audit,
    journal,
    kill,
    processes_of,
    start,
    sweep,
    wait_for,
    write_sweep,
)

from neuinv.records import is_complete, record
from neuinv.sweep.plan import read_plan

pytest.importorskip("papermill")
linux = pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="processes are found in /proc")
pytestmark = [linux]
# The moments are random, and a failure names the seed that brings it back.
SEED = int(os.environ.get("SWEEP_KILL_SEED", random.SystemRandom().randrange(10**6)))
often = pytest.mark.parametrize(
    "num_kills", [3, pytest.param(50, marks=pytest.mark.soak)], ids=lambda number: f"{number}-kills"
)


def complete(spec):
    plan = read_plan(spec, "smoke")
    return {run.parameters["n"] for run in plan.runs if is_complete(plan.folder, run.key)}


def keep(kind, num_kills, **values):
    """Record a long series where `make soak` asks for it."""
    if num_kills >= 50:
        record(test=f"sweep survives kills: {kind}", num_kills=num_kills, seed=SEED, **values)


def some_moment(moments, spec, driver):
    """Wait for a random moment, about every other one while a notebook runs, however slow the machine is."""
    lines = len(journal(spec))
    if moments.random() < 0.5:
        wait_for(lambda: len(journal(spec)) > lines or driver.poll() is not None)
        time.sleep(moments.uniform(0, 1))
    else:
        time.sleep(moments.uniform(0.2, 3))


@often
def test_killing_the_driver_loses_nothing_and_a_resume_runs_only_what_is_missing(tmp_path, num_kills):
    moments = random.Random(SEED)
    planned = range(1, 3 + num_kills * 3 // 5)
    spec = write_sweep(tmp_path, grid={"n": list(planned)}, parameters={"nap": 0.2})
    for number in range(num_kills):
        before, lines = complete(spec), len(journal(spec))
        # In a long series every other driver is one with a local Dask cluster.
        how = ["--workers", "2"] if num_kills >= 50 and number % 2 else ["--shard", "1/1"]
        driver = start(spec, "run", *how)
        some_moment(moments, spec, driver)
        kill(driver)
        wait_for(lambda: not processes_of(spec))
        assert complete(spec) >= before, f"seed {SEED}"
        assert not {n for what, n, _ in journal(spec)[lines:]} & before, f"seed {SEED}"
    before, lines = complete(spec), len(journal(spec))
    code, text = sweep(spec, "run", "--shard", "1/1")
    assert code == 0, text
    assert audit(spec) == [], f"seed {SEED}"
    ended = [n for what, n, _ in journal(spec)[lines:] if what == "ended"]
    assert sorted(ended) == sorted(set(planned) - before), f"seed {SEED}"
    keep("driver", num_kills, runs=len(planned))


@often
def test_killing_kernels_costs_attempts_and_nothing_else(tmp_path, num_kills):
    moments = random.Random(SEED)
    spec = write_sweep(tmp_path, grid={"n": list(range(1, 3 + num_kills // 5))}, parameters={"nap": 0.4})
    spec.write_text(f"retries: {num_kills}\n" + spec.read_text())
    driver = start(spec, "run", "--shard", "1/1")
    killed = 0
    while killed < num_kills and driver.poll() is None:
        time.sleep(moments.uniform(0, 1.5))
        for process, _ in processes_of(spec, "neuinv.sweep.kernel"):
            os.kill(process, signal.SIGKILL)
            killed += 1
    text, _ = driver.communicate()
    assert driver.returncode == 0 and killed, text
    assert "the kernel died; is there enough memory?" in text, f"{killed} kills, seed {SEED}\n{text}"
    wait_for(lambda: not processes_of(spec))
    for folder in spec.parent.glob("runs/tiny/*.failed"):
        assert (folder / "failure.json").exists() and (folder / "notebook.ipynb").exists()
        subprocess.run(["rm", "-r", folder], check=True)
    assert audit(spec) == [], f"seed {SEED}"
    keep("kernel", killed, runs=2 + num_kills // 5)


def test_a_kernel_that_is_always_killed_makes_its_run_fail_for_good(tmp_path):
    body = "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n"
    spec = write_sweep(tmp_path, sources=(body,), grid={"n": [1]}, retries=0)
    code, text = sweep(spec, "run", "--shard", "1/1")
    assert code == 1 and "failed" in text and "the kernel died; is there enough memory?" in text
    assert complete(spec) == set() and "0 of 1 runs are complete, 1 failed for good" in text


@pytest.mark.parametrize("pairs", [3, pytest.param(50, marks=pytest.mark.soak)])
def test_two_drivers_on_one_folder_share_the_runs(tmp_path, pairs):
    moments = random.Random(SEED)
    # In the short test one pair of drivers meets at three runs, in the long one at a hundred.
    spec = write_sweep(tmp_path, grid={"n": list(range(1, 1 + min(2 * pairs, 99 if pairs > 3 else 3)))})
    drivers = []
    for _ in range(2):
        drivers.append(start(spec, "run", "--shard", "1/1"))
        time.sleep(moments.uniform(0, 0.3))
    texts = [driver.communicate()[0] for driver in drivers]
    assert [driver.returncode for driver in drivers] == [0, 0], texts
    assert audit(spec) == []
    ended = [n for what, n, _ in journal(spec) if what == "ended"]
    assert sorted(ended) == sorted(complete(spec)), "each run was computed once"
    keep("two drivers", pairs, runs=len(ended))
