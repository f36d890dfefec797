"""A sweep over a Dask cluster of separate processes ends right, whichever of them is killed."""

import os
import random
import shutil
import time

import pytest
from sweep_tools import (
    ROOT,
    Cluster,
    audit,
    journal,
    kill,
    processes_of,
    start,
    sweep,
    wait_for,
    write_sweep,
)
from test_sweep_kills import SEED, complete, keep, linux, often, some_moment

from neuinv.sweep import engines

pytest.importorskip("papermill")
pytest.importorskip("distributed")
pytestmark = [linux]


@often
def test_killing_workers_only_sends_their_runs_elsewhere(tmp_path, num_kills):
    moments = random.Random(SEED)
    spec = write_sweep(tmp_path, grid={"n": list(range(1, 4 + num_kills // 5))}, parameters={"nap": 0.3})
    # What a worker was at when it died counts as an attempt only after Dask has given up on it.
    spec.write_text(f"retries: {num_kills}\n" + spec.read_text())
    with Cluster(spec) as cluster:
        driver = start(spec, "run", "--scheduler", cluster.address)
        killed = 0
        wait_for(lambda: journal(spec) or driver.poll() is not None)
        while killed < num_kills and driver.poll() is None:
            time.sleep(moments.uniform(0, 1))
            kill(cluster.workers.pop(0))
            cluster.add_worker()
            killed += 1
        text, _ = driver.communicate()
        assert driver.returncode == 0, f"seed {SEED}\n{text}"
    wait_for(lambda: not processes_of(spec))
    again = [folder for folder in spec.parent.glob("runs/tiny/*.partial")]
    assert audit(spec) == [f"{folder.name} was never planned" for folder in again], f"seed {SEED}"
    keep("worker", killed, runs=3 + num_kills // 5)


@often
def test_killing_the_scheduler_ends_the_sweep_in_a_sentence_and_keeps_what_is_complete(tmp_path, num_kills):
    moments = random.Random(SEED)
    spec = write_sweep(tmp_path, grid={"n": list(range(1, 1 + num_kills))}, parameters={"nap": 0.5})
    for _ in range(num_kills):
        before, lines = complete(spec), len(journal(spec))
        with Cluster(spec, num_workers=1) as cluster:
            driver = start(spec, "run", "--scheduler", cluster.address)
            some_moment(moments, spec, driver)
            kill(cluster.scheduler)
            text, _ = driver.communicate(timeout=600)
        # Killed before the driver came, nobody answers; else it says that the scheduler is gone.
        words = "scheduler" if len(complete(spec)) < num_kills else "runs are complete"
        assert driver.returncode in (0, 1, 2) and words in text and "Traceback" not in text, text
        wait_for(lambda: not processes_of(spec))
        assert complete(spec) >= before, f"seed {SEED}"
        assert not {n for what, n, _ in journal(spec)[lines:]} & before, f"seed {SEED}"
    code, text = sweep(spec, "run", "--shard", "1/1")
    assert code == 0 and audit(spec) == [], f"seed {SEED}\n{text}"
    keep("scheduler", num_kills, runs=num_kills)


def test_two_workers_of_a_cluster_do_a_sweep_and_one_gpu_is_asked_for_where_gpus_are_counted(tmp_path):
    spec = write_sweep(tmp_path, grid={"n": [1, 2]}, parameters={"nap": 0.5})
    with Cluster(spec, num_workers=0) as cluster:
        for _ in range(2):
            cluster.add_worker("--resources", "GPU=1")
        cluster.wait_for_workers(2)
        code, text = sweep(spec, "run", "--scheduler", cluster.address)
    assert code == 0 and "2 of 2 runs are complete" in text, text
    assert audit(spec) == []
    assert sorted(n for what, n, _ in journal(spec) if what == "ended") == [1, 2]


def test_worker_that_would_compute_something_else_is_refused_before_any_run(tmp_path):
    spec = write_sweep(tmp_path, grid={"n": [1]})
    copy = tmp_path / "other" / "neuinv"
    shutil.copytree(ROOT / "neuinv", copy)
    (copy / "__init__.py").write_text((copy / "__init__.py").read_text() + "# edited\n")
    with Cluster(spec, num_workers=0) as cluster:
        cluster.add_worker(PYTHONPATH=str(copy.parent))
        cluster.wait_for_workers(1)
        code, text = sweep(spec, "run", "--scheduler", cluster.address)
    assert code == 2 and "has another state of the package neuinv; install the same one." in text, text
    assert journal(spec) == []


def test_local_workers_see_one_gpu_each(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(os.sys.path))
    engine = engines.start_local("gpu")
    try:
        seen = engine._client.run(lambda: os.environ["CUDA_VISIBLE_DEVICES"])
        assert sorted(seen.values()) == ["3", "5"]
        assert engine._resources == {"GPU": 1} and engine.slots == 2
        with pytest.raises(ValueError, match="3 workers need as many GPUs and there are 2"):
            engines.start_local("gpu", 3)
    finally:
        engine.close()
