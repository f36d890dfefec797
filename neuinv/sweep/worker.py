"""The part of a sweep that a worker does: start a fresh process for one run, and wait for it."""

import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import neuinv


def run_task(task):
    """Do one run in a process of its own and return its outcome.

    When the calling process dies, by whatever signal, the run dies with it: the end of
    the pipe tells it.

    Parameters
    ----------
    task : dict
        From ``Plan.task``.

    Returns
    -------
    dict
        ``state``, ``error`` and ``seconds``, as from ``neuinv.sweep.runner``.
    """
    process = subprocess.Popen(
        # -P: a file json.py in the current folder must not become the module of that name.
        [sys.executable, "-P", "-m", "neuinv.sweep.runner"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=_environment(),
        # Control-C goes to every process of the terminal's group: a run is ended by its worker alone.
        start_new_session=True,
    )
    try:
        with suppress(BrokenPipeError):
            process.stdin.write(json.dumps(task).encode() + b"\n")
            process.stdin.flush()
        line = process.stdout.readline()
        process.wait()
    finally:
        with suppress(BrokenPipeError):
            process.stdin.close()
        # The runner ends itself when its input ends; wait, so that its lock is free when this returns.
        process.wait()
        said = process.stderr.read()
        process.stdout.close()
        process.stderr.close()
    try:
        return json.loads(line)
    except ValueError:
        return {"state": "failed", "error": _reason(process.returncode, said), "seconds": 0.0}


def _environment():
    package = str(Path(neuinv.__file__).resolve().parent.parent)
    path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path}


def _reason(code, said):
    """Say why a process gave no answer."""
    if code < 0:
        return f"the process of the run was killed (signal {-code}); is there enough memory?"
    lines = said.decode(errors="replace").strip().splitlines()
    return f"the process of the run ended with {code}: {lines[-1] if lines else 'it said nothing'}"
