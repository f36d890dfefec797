"""Run every notebook on a GPU and compare each printed number with the committed page.

    python tools/gpu.py                  on the GPU that torch finds
    python tools/gpu.py --device cpu     the same comparison without one

Words and integers must agree exactly; a number with a decimal point or an exponent may
differ by one unit of its last printed digit.  What agrees is recorded, with the device
and the seconds, below book/results/gpu/; a notebook recorded with the same text, package
and device is not run again, unless --again asks for it.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from decimal import Decimal
from pathlib import Path

import notebook_form as form
import notebook_guards as guards

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
_NUMBER = re.compile(r"(?<![\w.])[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?(?![\w])")


class Disagreement(Exception):
    """A run that failed or printed other numbers; its folder is not kept."""


def main(arguments=None):
    """Run the command line and return its exit code: 0 all agree, 1 some differ, 2 no device or no page."""
    options = _parse(arguments)
    try:
        device = describe_device(options.device)
    except ValueError as error:
        print(f"{error} DEVICE=cpu makes the same comparison without a GPU.", file=sys.stderr)
        return 2
    twins = [path.with_suffix(".ipynb") for path in sorted(Path(options.folder).glob("*.md"))]
    missing = [twin.stem for twin in twins if form.read_twin(twin) is None]
    if missing or not twins:
        what = ", ".join(missing) or f"{options.folder!r}"
        print(
            f"{what} has no executed notebook to compare with; run 'make notebooks' first.", file=sys.stderr
        )
        return 2
    print(f"{len(twins)} notebooks on {device['name']}")
    print(f"{'notebook':32} {'seconds':>8} {'differences':>12}")
    differing = 0
    for twin in twins:
        seconds, differences = check(twin, options.device, device, Path(options.results), options.again)
        print(f"{twin.stem:32} {seconds:8.1f} {len(differences):12}", flush=True)
        for line in differences[:20]:
            print(f"    {line}")
        differing += bool(differences)
    print("all agree" if not differing else f"{differing} of {len(twins)} notebooks differ")
    return int(differing > 0)


def _parse(arguments):
    parser = argparse.ArgumentParser(
        description="Run every notebook on a device and compare the printed numbers with the committed ones.",
        epilog="example: python tools/gpu.py --device cuda:1",
    )
    parser.add_argument(
        "--device", default=os.environ.get("DEVICE") or "cuda", help="by default $DEVICE, else cuda"
    )
    parser.add_argument("--folder", default=str(ROOT / "notebooks"), help="where the notebooks are")
    parser.add_argument("--results", default=str(RESULTS), help="where the records go")
    parser.add_argument("--again", action="store_true", help="run what is recorded already, too")
    return parser.parse_args(arguments)


def check(twin, device, description, results, again=False):
    """Run one notebook on ``device``; return the seconds it took and the differences as sentences.

    Parameters
    ----------
    twin : Path
        The executed notebook, as committed.
    device : str
        For the notebook's parameter of that name.
    description : dict
        Of the device, as a part of what names the run.
    results : Path
        Where the record of an agreeing run goes.
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
                return _recorded_seconds(run.path), []
            seconds, differences = _run(twin, device, run.path)
            if differences:
                raise Disagreement(seconds, differences)
            values = {"study": "gpu", "seconds": round(seconds, 2), "num_differences": 0}
            write_record(run.path, values, parameters={"device": device}, notebook=twin)
    except Disagreement as error:
        seconds, differences = error.args
    return seconds, differences


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
        remember({"device": device}, twin)
        began = time.monotonic()
        done = subprocess.run(
            command, env=_environment(twin, folder), stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        seconds = time.monotonic() - began
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if line.strip()]
            return seconds, [f"failed: {lines[-1].strip() if lines else 'papermill said nothing'}"]
        return seconds, differences(form.read_twin(twin), form.read_twin(output))


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


def differences(committed, executed):
    """Return where the printed text of two runs of one notebook differs, as sentences.

    Parameters
    ----------
    committed, executed : NotebookNode
        The page, and the run; the cell that papermill adds is left out.
    """
    cells = [cell for cell in executed.cells if "injected-parameters" not in cell.metadata.get("tags", [])]
    if len(cells) != len(committed.cells):
        return [f"{len(cells)} cells were run, the page has {len(committed.cells)}"]
    found = []
    for number, (before, after) in enumerate(zip(committed.cells, cells, strict=True), 1):
        if before.cell_type == "code" and not guards.is_ignored(before):
            lines = compare_text(guards.printed(before), guards.printed(after))
            found += [f"cell {number}, {line}" for line in lines]
    return found


def compare_text(page, run):
    """Compare two printed texts line by line; return a sentence for each line that differs."""
    before, after = page.splitlines(), run.splitlines()
    if len(before) != len(after):
        return [f"{len(after)} lines printed, {len(before)} on the page"]
    return [
        f"line {number}: {new.strip()!r}, on the page {old.strip()!r}"
        for number, (old, new) in enumerate(zip(before, after, strict=True), 1)
        if not lines_agree(old, new)
    ]


def lines_agree(page, run):
    """Whether two lines have the same words and integers, and other numbers within one last digit.

    Integers are counts, sizes and indices: off by one is wrong there, not rounding.
    """
    # A sign or an exponent that changes the width of a number moves the blanks around it.
    skeletons = [_NUMBER.sub("#", line).split() for line in (page, run)]
    pairs = zip(_NUMBER.findall(page), _NUMBER.findall(run), strict=False)
    return skeletons[0] == skeletons[1] and all(_numbers_agree(old, new) for old, new in pairs)


def _numbers_agree(old, new):
    if "." not in old + new and "e" not in (old + new).lower():
        return int(old) == int(new)
    first, second = Decimal(old), Decimal(new)
    unit = max(Decimal(1).scaleb(value.as_tuple().exponent) for value in (first, second))
    return abs(first - second) <= unit


if __name__ == "__main__":
    sys.exit(main())
