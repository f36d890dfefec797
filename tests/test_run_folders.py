"""A run is computed once, appears whole or not at all, and survives races and kills."""

import errno
import os
import signal
import subprocess
import sys

import pytest

from neuinv import records
from neuinv.records import files, provenance, runs

KEY = records.run_key(family="wishart", n=8)


def test_key_depends_on_values_and_types_and_not_on_order():
    assert records.run_key(n=8, family="wishart") == KEY
    others = [{"n": 8.0}, {"n": 9}, {"n": "8"}, {"n": True}, {"n": [8]}, {"m": 8}]
    keys = {records.run_key(family="wishart", **other) for other in others}
    assert len(keys) == len(others) and KEY not in keys
    with pytest.raises(ValueError, match="nothing to tell runs apart by"):
        records.run_key()


@pytest.mark.parametrize("key", ["", "../x", "a" * 31, KEY.upper() + "g", None])
def test_key_that_is_no_key_is_refused(tmp_path, key):
    with pytest.raises(ValueError, match="key is"), records.run_folder(tmp_path, key):
        pass


def finish_run(root, content="result"):
    with records.run_folder(root, KEY) as run_:
        (run_.path / "result.txt").write_text(content)
    return run_


def test_run_appears_whole_when_its_body_ends_and_is_then_skipped(tmp_path):
    with records.run_folder(tmp_path, KEY) as run_:
        (run_.path / "sub").mkdir()
        (run_.path / "sub" / "result.txt").write_text("result")
        assert not run_.complete and not records.is_complete(tmp_path, KEY)
        assert not (tmp_path / KEY).exists()
    assert records.is_complete(tmp_path, KEY)
    assert sorted(path.name for path in tmp_path.iterdir()) == [KEY]
    assert sorted(path.name for path in (tmp_path / KEY).iterdir()) == ["complete.json", "sub"]
    with records.run_folder(tmp_path, KEY) as again:
        assert again.complete and again.path == tmp_path / KEY


@pytest.mark.parametrize("keep_failed", [False, True])
def test_run_that_raises_is_not_complete(tmp_path, keep_failed):
    with pytest.raises(ZeroDivisionError), records.run_folder(tmp_path, KEY, keep_failed=keep_failed) as run_:
        (run_.path / "half.txt").write_text("half")
        1 / 0  # noqa: B018
    assert not records.is_complete(tmp_path, KEY)
    left = [path.name for path in tmp_path.iterdir()]
    assert len(left) == keep_failed and all(name.endswith(".failed") for name in left)
    assert not finish_run(tmp_path).complete and records.is_complete(tmp_path, KEY)


def test_cut_or_missing_file_makes_a_run_incomplete_and_it_is_made_again(tmp_path):
    finish_run(tmp_path)
    (tmp_path / KEY / "result.txt").write_text("resul")
    assert not records.is_complete(tmp_path, KEY)
    finish_run(tmp_path, "again")
    assert (tmp_path / KEY / "result.txt").read_text() == "again"
    (aside,) = tmp_path.glob("*.failed")
    assert (aside / "result.txt").read_text() == "resul", "bytes are set aside, never lost"


def test_full_disk_at_the_end_of_a_run_leaves_it_incomplete(tmp_path, monkeypatch):
    def full(handle, content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.os, "write", full)
    with pytest.raises(OSError, match="No space left"):
        finish_run(tmp_path)
    assert not records.is_complete(tmp_path, KEY) and list(tmp_path.iterdir()) == []


WORKER = """
import sys, time
from pathlib import Path
from neuinv import records
root, key, name = sys.argv[1:]
with records.run_folder(root, key) as run:
    if not run.complete:
        (run.path / "winner.txt").write_text(name)
    print("ready", flush=True)
    sys.stdin.readline()
print("done", flush=True)
"""


def start_worker(root, name):
    settings = {**os.environ, "PYTHONPATH": str(provenance.PACKAGE.parent)}
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(root), KEY, name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=settings,
    )
    assert worker.stdout.readline() == "ready\n"
    return worker


def test_first_of_two_racing_processes_wins_and_the_other_ends_well(tmp_path):
    workers = {name: start_worker(tmp_path, name) for name in ("slow", "fast")}
    assert [run_.alive for run_ in records.partial_runs(tmp_path)] == [True, True]
    for name in ("fast", "slow"):
        assert workers[name].communicate("\n")[0] == "done\n" and workers[name].returncode == 0
    assert records.is_complete(tmp_path, KEY)
    assert (tmp_path / KEY / "winner.txt").read_text() == "fast"
    assert sorted(path.name for path in tmp_path.iterdir()) == [KEY]


def test_killed_process_leaves_nothing_accepted_and_its_folder_is_known_as_dead(tmp_path):
    alive, killed = start_worker(tmp_path, "alive"), start_worker(tmp_path, "killed")
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert not records.is_complete(tmp_path, KEY) and records.load_records(tmp_path) == []
    assert sorted(run_.alive for run_ in records.partial_runs(tmp_path)) == [False, True]
    # A third process clears what the dead one left and leaves the living one alone.
    third = start_worker(tmp_path, "third")
    assert [run_.alive for run_ in records.partial_runs(tmp_path)] == [True, True]
    for worker in (third, alive):
        worker.communicate("\n")
    assert (tmp_path / KEY / "winner.txt").read_text() == "third"


def test_without_locks_no_run_is_taken_for_dead(tmp_path, monkeypatch):
    killed = start_worker(tmp_path, "killed")
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    monkeypatch.setattr(runs, "_try_lock", lambda handle: None)
    assert [run_.alive for run_ in records.partial_runs(tmp_path)] == [True]
    finish_run(tmp_path)
    assert records.is_complete(tmp_path, KEY)
