"""A sweep that is interrupted, or finds no room on the disk, stops in a sentence and can be resumed."""

import os
import random
import signal
import subprocess

import pytest
from sweep_tools import audit, journal, processes_of, start, sweep, wait_for, write_sweep
from test_sweep_kills import SEED, complete, keep, linux

pytest.importorskip("papermill")
pytestmark = [linux]


@pytest.mark.parametrize("how", [("--shard", "1/1"), ("--workers", "1")], ids=" ".join)
def test_control_c_ends_every_process_and_leaves_a_folder_to_go_on_with(tmp_path, how):
    spec = write_sweep(tmp_path, grid={"n": [1]}, parameters={"nap": 0.5})
    driver = start(spec, "run", *how)
    wait_for(lambda: journal(spec))
    os.killpg(driver.pid, signal.SIGINT)  # the terminal sends it to the whole group
    text, _ = driver.communicate()
    assert driver.returncode == 130 and "run the same command to go on" in text, text
    assert "Traceback" not in text and "Error" not in text
    wait_for(lambda: not processes_of(spec))
    assert sweep(spec, "run", "--shard", "1/1")[0] == 0
    assert audit(spec) == []


STUB = """\
import errno, os, sys
write_, left = os.write, [int(os.environ["SWEEP_WRITES"])]


def write(handle, content):
    # Python tries out its temporary folder with this function too: only files of the sweep count.
    if "/runs/" in os.readlink(f"/proc/self/fd/{handle}"):
        left[0] -= 1
        if left[0] < 0:
            write_(handle, bytes(content)[: len(content) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return write_(handle, content)


if os.environ["SWEEP_FULL"] in " ".join(sys.orig_argv):
    os.write = write
"""
# Which process finds the disk full, and after how many writes: the copy of the notebook by the driver, the
# record by the kernel, the description and the marker by the runner.
FULL = [
    ("neuinv sweep run", 0),
    ("neuinv.sweep.kernel", 0),
    ("neuinv.sweep.runner", 0),
    ("neuinv.sweep.runner", 1),
]


@pytest.mark.parametrize("num_fills", [len(FULL), pytest.param(50, marks=pytest.mark.soak)])
def test_write_that_finds_no_room_stops_the_sweep_in_a_sentence(tmp_path, num_fills):
    spec = write_sweep(tmp_path / "sweep", grid={"n": [1]})
    (tmp_path / "stub").mkdir()
    (tmp_path / "stub" / "sitecustomize.py").write_text(STUB)
    path = f"{tmp_path / 'stub'}:{os.environ.get('PYTHONPATH', '')}"
    for number in range(num_fills):
        # Only the first driver has something to write.
        process, writes = FULL[number] if number < len(FULL) else FULL[1 + number % 3]
        stub = {"PYTHONPATH": path, "SWEEP_FULL": process, "SWEEP_WRITES": str(writes)}
        code, text = sweep(spec, "run", "--shard", "1/1", **stub)
        assert code in (1, 2) and "No space left on device" in text and "Traceback" not in text, text
        assert complete(spec) == set() and list(spec.parent.glob("runs/tiny/*.*")) == []
    code, text = sweep(spec, "run", "--shard", "1/1")
    assert code == 0 and audit(spec) == [], text
    keep("a write that finds no room", num_fills, runs=1)


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a file system of one megabyte."""
    folder = tmp_path / "small disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True)
    except OSError:
        pytest.skip("there is no mount here")
    if done.returncode:
        pytest.skip("mounting a tmpfs needs rights that this user does not have")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("num_fills", [3, pytest.param(50, marks=pytest.mark.soak)])
def test_full_disk_stops_the_sweep_and_room_lets_it_go_on(tmp_path, small_disk, num_fills):
    moments = random.Random(SEED)
    spec = write_sweep(tmp_path / "sweep", grid={"n": [1]})
    ballast, size = small_disk / "ballast", os.statvfs(small_disk)
    folder = small_disk / "runs"
    for _ in range(num_fills):
        folder.mkdir(exist_ok=True)
        free = os.statvfs(small_disk).f_bavail * size.f_bsize
        # A run needs five pages of 4096 bytes: it always fails, now at one of them, now at another.
        ballast.write_bytes(bytes(max(0, free - moments.randrange(0, 16_000))))
        code, text = sweep(spec, "run", "--shard", "1/1", "--folder", folder)
        assert code in (1, 2) and "No space left on device" in text and "Traceback" not in text, text
        assert not list(folder.glob("*.partial")) and not list(folder.glob("*.failed"))
        ballast.unlink()
    code, text = sweep(spec, "run", "--shard", "1/1", "--folder", folder)
    assert code == 0, text
    (spec.parent / "runs").mkdir()
    (spec.parent / "runs" / "tiny").symlink_to(folder)
    assert audit(spec) == [], f"seed {SEED}"
    keep("full disk", num_fills, runs=1)
