"""Run notebooks on a GPU and compare each printed number with the committed page.

    python tools/gpu.py                  every page, on the GPU that torch finds
    python tools/gpu.py --device cpu     the same comparison without one
    python tools/gpu.py why-cannot data-floor --jobs 2      these pages, both at a time

Words and integers must agree exactly; a number with a decimal point or an exponent may
differ by one unit of its last printed digit.  What agrees is recorded, with the device
and the seconds, below book/results/gpu/ as soon as it is known; a notebook recorded with
the same text, package and device is not run again, unless --again asks for it.  What
differs or fails is recorded apart, in its folder differing/, with the number of lines and
the first of them, and is run again the next time.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import notebook_form as form
from compare_pages import differences, num_lines

from neuinv.records import (
    load_records,
    notebook_hash,
    package_hash,
    run_folder,
    run_key,
    write_record,
)
from neuinv.records.provenance import describe_device, remember

ROOT = form.ROOT
RESULTS = ROOT / "book" / "results" / "gpu"
DIFFERING = "differing"
SHOWN, KEPT = 20, 5  # differences of a page in the table, and in its record
# One record at a time, since provenance speaks of one notebook.
_recording = threading.Lock()
# What is running, to be ended when this program is told to stop.
_running, _stopping = set(), threading.Event()


class Disagreement(Exception):
    """A run that failed or printed other numbers; its folder is not kept."""


class Stopped(Exception):
    """A run that was ended from outside; nothing is said of it."""


@dataclass(frozen=True)
class Outcome:
    """What a run took and printed: seconds, differences as sentences, lines compared, whether it failed."""

    seconds: float
    differences: tuple = ()
    num_lines: int = 0
    failed: bool = False


def main(arguments=None):
    """Run the command line and return its exit code: 0 all agree, 1 some differ, 2 no device or no page."""
    options = _parse(arguments)
    try:
        device = describe_device(options.device)
        twins = _twins(options.folder, options.pages)
    except LookupError as error:
        print(error.args[0], file=sys.stderr)
        return 2
    except ValueError as error:
        print(f"{error} DEVICE=cpu makes the same comparison without a GPU.", file=sys.stderr)
        return 2
    print(f"{len(twins)} notebooks on {device['name']}")
    print(f"{'notebook':32} {'seconds':>8} {'differences':>12}", flush=True)
    differing = 0
    for twin, outcome in _outcomes(twins, options, device):
        lines = [f"{twin.stem:32} {outcome.seconds:8.1f} {len(outcome.differences):12}"]
        # In one piece, so that the lines of two pages never mix.
        print("\n    ".join([*lines, *outcome.differences[:SHOWN]]), flush=True)
        differing += bool(outcome.differences)
    print("all agree" if not differing else f"{differing} of {len(twins)} notebooks differ")
    return int(differing > 0)


def _parse(arguments):
    parser = argparse.ArgumentParser(
        description="Run notebooks on a device and compare the printed numbers with the committed ones.",
        epilog="example: python tools/gpu.py why-cannot data-floor --device cuda:1",
    )
    parser.add_argument("pages", nargs="*", metavar="PAGE", help="such as why-cannot; by default all")
    parser.add_argument(
        "--device", default=os.environ.get("DEVICE") or "cuda", help="by default $DEVICE, else cuda"
    )
    parser.add_argument("--jobs", type=_at_least_one, default=1, metavar="K", help="pages at a time")
    parser.add_argument("--folder", default=str(ROOT / "notebooks"), help="where the notebooks are")
    parser.add_argument("--results", default=str(RESULTS), help="where the records go")
    parser.add_argument("--again", action="store_true", help="run what is recorded already, too")
    return parser.parse_intermixed_args(arguments)


def _at_least_one(text):
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} pages at a time; pass an integer >= 1")
    return int(text)


def _twins(folder, pages):
    """Return the executed notebooks of the pages, of all where none is named; LookupError says what lacks."""
    known = {path.stem: path.with_suffix(".ipynb") for path in sorted(Path(folder).glob("*.md"))}
    unknown = [page for page in pages if page not in known]
    if unknown and known:
        raise LookupError(f"there is no page {unknown[0]!r}; use one of {', '.join(known)}.")
    chosen = [known[page] for page in dict.fromkeys(pages or known)] if known else []
    missing = [twin.stem for twin in chosen if form.read_twin(twin) is None]
    if missing or not chosen:
        what = ", ".join(missing) or f"{str(folder)!r}"
        raise LookupError(f"{what} has no executed notebook to compare with; run 'make notebooks' first.")
    return chosen


def _outcomes(twins, options, device):
    """Yield each notebook and its :class:`Outcome`, in the order in which they end."""
    _stopping.clear()
    pool = ThreadPoolExecutor(options.jobs)
    try:
        results = Path(options.results)
        futures = {
            pool.submit(check, twin, options.device, device, results, options.again): twin for twin in twins
        }
        for future in as_completed(futures):
            yield futures[future], future.result()
    finally:
        # Reached early when the command is told to stop: no page may go on, or begin, without it.
        _stopping.set()
        pool.shutdown(wait=False, cancel_futures=True)
        for process in list(_running):
            process.terminate()
        pool.shutdown(wait=True)


def check(twin, device, description, results, again=False):
    """Run one notebook on ``device``, record what came out, and return it as an :class:`Outcome`.

    Parameters
    ----------
    twin : Path
        The executed notebook, as committed.
    device : str
        For the notebook's parameter of that name.
    description : dict
        Of the device, as a part of what names the run.
    results : Path
        Where the record goes: of an agreeing run into a folder of its key, of another one into the same
        below ``differing``.
    again : bool
        Whether to run what is recorded already.
    """
    key = run_key(
        study="gpu", notebook=notebook_hash(twin), package=package_hash(), device=description, slug=twin.stem
    )
    if again:
        shutil.rmtree(results / key, ignore_errors=True)
    try:
        with run_folder(results, key) as run:
            if run.complete:
                return Outcome(_recorded_seconds(run.path))
            outcome = _run(twin, device, run.path)
            if outcome.differences:
                raise Disagreement(outcome)
            _record(run.path, outcome, device, twin)
    except Disagreement as error:
        (outcome,) = error.args
    # A page is said to differ by its last run alone.
    _forget_differing(results / DIFFERING, twin.stem, description)
    if outcome.differences:
        with run_folder(results / DIFFERING, key) as run:
            _record(run.path, outcome, device, twin)
    return outcome


def _record(folder, outcome, device, twin):
    values = {"study": "gpu", "seconds": round(outcome.seconds, 2), "num_lines": outcome.num_lines}
    values |= {"num_differences": len(outcome.differences), "failed": outcome.failed}
    if outcome.differences:
        values["first_differences"] = list(outcome.differences[:KEPT])
    with _recording:
        remember({"device": device}, twin, seconds_ago=outcome.seconds)
        write_record(folder, values, parameters={"device": device}, notebook=twin)


def _forget_differing(folder, slug, description):
    """Remove what earlier runs of a page on this device left in the folder of differing ones."""
    with _recording:
        for run in [path for path in folder.glob("*/") if path.suffix != ".partial"]:
            sources = [record["provenance"] for record in load_records(run)]
            if any(s["notebook"]["slug"] == slug and s["device"] == description for s in sources):
                shutil.rmtree(run)


def _recorded_seconds(folder):
    values = [record["values"] for record in load_records(folder)]
    return next(value["seconds"] for value in values if value.get("study") == "gpu")


def _run(twin, device, folder):
    """Execute a notebook with papermill in a process of its own and compare what it printed."""
    with tempfile.TemporaryDirectory(prefix="neuinv-gpu-") as scratch:
        output = Path(scratch) / twin.name
        command = [sys.executable, "-m", "papermill", str(twin.resolve()), str(output)]
        command += ["-k", "python3", "-p", "device", device, "--cwd", str(twin.resolve().parent)]
        command += ["--no-progress-bar", "--log-level", "ERROR"]
        began = time.monotonic()
        code, said = _execute(command, _environment(twin, folder))
        seconds = time.monotonic() - began
        if code:
            lines = [line for line in said.splitlines() if line.strip()]
            sentence = f"failed: {lines[-1].strip() if lines else 'papermill said nothing'}"
            return Outcome(seconds, (sentence,), failed=True)
        page = form.read_twin(twin)
        return Outcome(seconds, tuple(differences(page, form.read_twin(output))), num_lines(page))


def _execute(command, environment):
    """Run a command that ends when this program is told to stop; return its exit code and its stderr."""
    if _stopping.is_set():
        raise Stopped
    process = subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    _running.add(process)
    try:
        _, said = process.communicate()
    finally:
        _running.discard(process)
    if _stopping.is_set():
        raise Stopped
    return process.returncode, said


def _environment(twin, folder):
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    # The kernel of this environment goes before one called python3 in the user's own folder.
    return {
        **os.environ,
        "JUPYTER_PREFER_ENV_PATH": "1",
        "NEUINV_NOTEBOOK": str(twin),
        "NEUINV_RUN_DIR": str(folder),
        "PYTHONPATH": path,
    }


def _stop(_number, _frame):
    raise SystemExit(1)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _stop)
    sys.exit(main())
