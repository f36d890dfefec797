"""What the tests of sweeps share: a cheap notebook, sweeps of it, and an audit of what they leave."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import yaml

from neuinv.records import is_complete, load_records, run_folder, write_record
from neuinv.sweep.plan import read_plan
from neuinv.sweep.runner import NOTEBOOK, RUN_FILE

ROOT = Path(__file__).resolve().parent.parent
PARAMETERS = """\
n: int = 1
rate: float = 0.5
kind: str = "plain"
nap: float = 0.0  # seconds
seed: int = 0
device: str = "auto"
"""
DOOR = """\
from neuinv.records import notebook_parameters
parameters = notebook_parameters(globals(), "tiny", n=(1, 99), rate=(0, None), kind=["plain", "raise"])
"""
BODY = """\
import os
import time
from pathlib import Path

journal = Path(os.environ["SWEEP_JOURNAL"])


def note(what):
    # One write to a file opened for appending: lines of several processes do not mix.
    with open(journal, "a") as stream:
        stream.write(f"{what} {n} {seed} {os.getpid()}\\n")


note("began")
time.sleep(nap)
if kind == "raise" and n % 2:
    raise ArithmeticError(f"{n} is odd")
"""
RECORD = """\
import neuinv

_ = neuinv.record(double=2 * n, seed_was=seed)
note("ended")
"""
EXECUTED = json.dumps({"metadata": {"papermill": {"end_time": "2026-01-01T00:00:00"}}})


def notebook(*sources, parameters=PARAMETERS):
    """Return the JSON of a notebook with a parameters cell and code cells."""
    tags = [["parameters"], *([] for _ in sources)]
    cells = [
        {"cell_type": "code", "id": f"c{i}", "metadata": {"tags": tag}, "source": source}
        | {"outputs": [], "execution_count": None}
        for i, (tag, source) in enumerate(zip(tags, [parameters, *sources], strict=True))
    ]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    content = {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(content)


def write_sweep(folder, *, sources=(DOOR, BODY, RECORD), cell=PARAMETERS, **options):
    """Write tiny.ipynb and tiny.yaml into ``folder``; ``options`` are those of the profile smoke."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tiny.ipynb").write_text(notebook(*sources, parameters=cell))
    content = {"notebook": "tiny.ipynb", "profiles": {"smoke": options}}
    (folder / "tiny.yaml").write_text(yaml.safe_dump(content))
    return folder / "tiny.yaml"


def fabricate(plan, *numbers, **values):
    """Complete the runs of these numbers of a plan without a kernel."""
    for run in (plan.runs[number] for number in numbers):
        with run_folder(plan.folder, run.key) as folder:
            found = {"double": 2 * run.parameters["n"], "seed_was": run.parameters["seed"], **values}
            write_record(folder.path, found, parameters=run.parameters)
            (folder.path / NOTEBOOK).write_text(EXECUTED)
            (folder.path / RUN_FILE).write_text(json.dumps({"identity": plan.identity(run)}))


def environment(folder, **more):
    """Return the environment of a sweep whose notebooks write their journal into ``folder``."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    settings = {**os.environ, "PYTHONPATH": path, "SWEEP_JOURNAL": str(Path(folder) / "journal.txt")}
    settings.pop("NEUINV_RUN_DIR", None)
    return {**settings, "OMP_NUM_THREADS": "1", **more}


def start(spec, verb, *arguments, **options):
    """Start ``neuinv sweep VERB`` on the profile smoke in a process of its own."""
    command = [sys.executable, "-P", "-m", "neuinv", "sweep", verb, str(spec), "--profile", "smoke"]
    return subprocess.Popen(
        [*command, *map(str, arguments)],
        env=environment(spec.parent, **options),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        # A shell that starts the tests in the background has them, and all they start, ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def sweep(spec, verb, *arguments, **options):
    """Run ``neuinv sweep VERB`` and return its exit code and what it printed."""
    process = start(spec, verb, *arguments, **options)
    try:
        text, _ = process.communicate(timeout=1200)
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    return process.returncode, text


def journal(spec):
    """Return the lines that the notebooks of a sweep have written, as (what, n, seed)."""
    path = spec.parent / "journal.txt"
    lines = path.read_text().splitlines() if path.exists() else []
    return [(what, int(n), int(seed)) for what, n, seed, _ in map(str.split, lines)]


def audit(spec):
    """Return what is wrong with the folder of a sweep that has come to its end, as sentences."""
    plan = read_plan(spec, "smoke")
    faults = []
    for run in plan.runs:
        if not is_complete(plan.folder, run.key):
            faults.append(f"{run.given} is not complete")
            continue
        found = load_records(plan.folder / run.key)
        values = [record["values"] for record in found]
        if values != [{"double": 2 * run.parameters["n"], "seed_was": run.parameters["seed"]}]:
            faults.append(f"{run.given} has the records {values}")
        notebook = json.loads((plan.folder / run.key / "notebook.ipynb").read_text())
        if not notebook["metadata"]["papermill"]["end_time"]:
            faults.append(f"{run.given} has a partial notebook")
    folders = {path.name for path in plan.folder.iterdir()}
    faults += [f"{name} was never planned" for name in folders - {run.key for run in plan.runs} - {"sources"}]
    if len(load_records(plan.folder)) != len(plan.runs):
        faults.append(f"{len(load_records(plan.folder))} records for {len(plan.runs)} runs")
    return faults + [f"{name} {pid} is still there" for pid, name in processes_of(spec)]


def processes_of(spec, name=""):
    """Return (process id, command) of the living processes of a sweep, found by their environment."""
    mark, found = f"SWEEP_JOURNAL={spec.parent / 'journal.txt'}".encode(), []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            mine = mark in (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if mine and command and name in command and int(folder.name) != os.getpid():
            found.append((int(folder.name), command.strip()))
    return found


def wait_for(condition, seconds=300):
    """Wait until ``condition()`` is true and return its value.

    Raises
    ------
    TimeoutError
        It never was.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.02)
    raise TimeoutError("waited too long")


def kill(process):
    """Send SIGKILL to one process, started by this test, and to no other."""
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()


class Cluster:
    """A Dask scheduler and workers on loopback, each a process of its own; leaving it kills them."""

    def __init__(self, spec, num_workers=2):
        self.spec, self.address, self.workers = spec, None, []
        self._file = spec.parent / f"scheduler-{time.monotonic_ns()}.json"
        self.scheduler = self._start("scheduler", "--host", "127.0.0.1", "--port", "0")
        self.address = json.loads(wait_for(self._text))["address"]
        for _ in range(num_workers):
            self.add_worker()

    def _start(self, kind, *arguments, **more):
        command = [sys.executable, "-P", "-m", "dask", kind, "--scheduler-file", str(self._file)]
        command += ["--no-dashboard", *arguments]
        settings = environment(self.spec.parent, **more)
        null = subprocess.DEVNULL
        return subprocess.Popen(command, env=settings, stdin=null, stdout=null, stderr=null)

    def _text(self):
        text = self._file.read_text() if self._file.exists() else ""
        return text if text.rstrip().endswith("}") else None

    def add_worker(self, *arguments, **more):
        """Start one more worker, which does one run at a time; ``more`` goes into its environment."""
        folder = str(self.spec.parent / "dask")
        options = ["--nthreads", "1", "--no-nanny", "--host", "127.0.0.1", "--local-directory", folder]
        self.workers.append(self._start("worker", *options, *arguments, **more))

    def wait_for_workers(self, count):
        """Wait until so many workers have joined."""
        code = "from distributed import Client\nimport sys\n"
        code += "Client(sys.argv[1]).wait_for_workers(int(sys.argv[2]), 300)\n"
        command = [sys.executable, "-c", code, self.address, str(count)]
        subprocess.run(command, check=True, capture_output=True, timeout=600)

    def close(self):
        """Kill what is left."""
        for process in [self.scheduler, *self.workers]:
            if process.poll() is None:
                kill(process)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()
