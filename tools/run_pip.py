"""Run pip so that a person sees how far it is and, when it fails, one sentence that says why.

Standard library only, because it runs before anything is installed.
"""

import os
import platform
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

# Settings that send an installation elsewhere than into the environment, or make it a rehearsal.
REDIRECTIONS = {"PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_DRY_RUN", "PIP_NO_DEPS", "PIP_QUIET"}
OTHER_PYTHONS = {"PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "VIRTUAL_ENV"}
NO_ANSWER = re.compile(
    r"Retrying \(Retry\(|Failed to establish a new connection|Name or service not known|ProxyError"
    r"|Temporary failure in name resolution|ConnectTimeoutError|ReadTimeoutError|SSLError"
)
NO_MATCH = re.compile(r"No matching distribution found for ([\w.-]+)([^\s(]*)")
LARGE_MB = 20
HEARTBEAT_SECONDS = 10


class SetupError(Exception):
    """The environment cannot be built; the message is the one sentence a user should read."""


def clean_variables(environ):
    """Return a copy of the variables in which pip installs into the environment and asks nothing."""
    kept = {name: value for name, value in environ.items() if name not in REDIRECTIONS | OTHER_PYTHONS}
    # A site-wide `user = true` would refuse to install into an environment.
    kept.update(PIP_USER="0", PIP_NO_INPUT="1", PIP_DISABLE_PIP_VERSION_CHECK="1", PYTHONUNBUFFERED="1")
    # pip's own five attempts, each with a growing pause, look like a hang when there is no network.
    # Without any, it does not say that it got no answer, only that there is no such package.
    if kept.get("PIP_RETRIES", "0") == "0":
        kept["PIP_RETRIES"] = "1" if "PIP_RETRIES" in kept else "3"
    return kept


def explain(output):
    """Return the one sentence that says why pip failed, from what it printed, or None."""
    if "No space left on device" in output:
        return "the disk is full (that of .venv or of temporary files); free some space, then run make again."
    missing = NO_MATCH.search(output)
    # pip reports a package it could not ask for as one that does not exist: the attempts tell which it was.
    asked_in_vain = missing and f"/{re.sub(r'[-_.]+', '-', missing[1]).lower()}/" in output
    if missing and not asked_in_vain:
        return (
            f"the package index has no {missing[1]}{missing[2]} for Python {platform.python_version()} on"
            f" {platform.system()} {platform.machine()}; set PYTHON to another Python 3.11 to 3.13, or"
            " PIP_EXTRA_INDEX_URL to an index that has it."
        )
    if NO_ANSWER.search(output):
        return (
            "no package index answered; check the network, or set PIP_INDEX_URL to a mirror or PIP_FIND_LINKS"
            " to a folder of wheels, then run make again."
        )
    return None


class Progress:
    """Turns pip's hundreds of lines into a few that say how far it is.

    Parameters
    ----------
    planned : int
        Number of packages expected.
    label : str
        What is being made.
    write : callable
        Takes a line of text.
    clock : callable
        Returns seconds.
    """

    def __init__(self, planned, label="environment", write=None, clock=time.monotonic):
        self.write = write or (lambda text: print(text, flush=True))
        self.planned, self.label, self.seen, self.clock = planned, label, 0, clock
        self.begun = self.last = clock()

    def line(self, text):
        """Take one line of pip's output."""
        if begins := re.match(r"(?:Collecting|Requirement already satisfied:) (\S+)", text):
            self.seen += 1
            count = min(self.seen, self.planned)
            self.tell(f"{count} of {self.planned} packages, now {begins[1]}", patience=3)
        elif size := re.match(r"\s*Downloading (\S+) \(([\d.]+) (GB|MB)\)", text):
            if size[3] == "GB" or float(size[2]) >= LARGE_MB:
                self.tell(f"downloading {size[1].rsplit('/')[-1]}, {size[2]} {size[3]}")
        elif text.startswith("Installing collected packages"):
            self.tell("every package is here; installing them takes a minute or two")
        elif "Retrying (Retry(" in text:
            self.tell("the package index does not answer; pip tries again", patience=3)

    def beat(self, installed):
        """Say how many packages are in place: while it copies them pip says nothing for minutes."""
        self.tell(f"{installed} packages in place", patience=HEARTBEAT_SECONDS)

    def tell(self, text, patience=0):
        """Write ``text`` unless something was written less than ``patience`` seconds ago."""
        now = self.clock()
        if now - self.last >= patience:
            self.last = now
            self.write(f"{self.label}: {now - self.begun:4.0f} s  {text}")


def run_pip(python, arguments, *, log, cwd, planned=1, label="environment", lock=None, environ=None):
    """Run pip, showing progress and appending its full output to ``log``.

    Parameters
    ----------
    python : path
        Interpreter whose pip runs.
    arguments : list of str
        What follows ``pip``.
    log, cwd : path
        File for the output; folder to run in.
    planned : int
        Number of packages expected.
    label : str
        What is being made, the beginning of every line of progress.
    lock : int, optional
        A file descriptor pip holds open while it runs.
    environ : dict, optional
        Variables; the process's own when omitted.

    Raises
    ------
    SetupError
        pip failed.
    """
    progress, output, ended = Progress(planned, label), [], threading.Event()
    process = subprocess.Popen(
        [str(python), "-m", "pip", "--no-color", *arguments],
        cwd=cwd,
        env=clean_variables(os.environ if environ is None else environ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        pass_fds=() if lock is None else (lock,),
    )
    if "--dry-run" not in arguments:
        threading.Thread(target=_beat_until, args=(ended, progress, Path(python)), daemon=True).start()
    try:
        with open(log, "a", encoding="utf-8") as handle, process:
            for text in process.stdout:
                handle.write(text)
                output.append(text)
                progress.line(text.rstrip())
    finally:
        ended.set()
    if process.returncode:
        raise SetupError(failure("".join(output), log))


def _beat_until(ended, progress, python):
    """Count the packages in place every few seconds until ``ended`` is set."""
    while not ended.wait(HEARTBEAT_SECONDS / 2):
        progress.beat(sum(1 for _ in python.parent.parent.glob("lib/python*/site-packages/*.dist-info")))


def failure(output, log):
    """Return the sentence for a failed pip, after showing its last lines where the cause is not known."""
    sentence = explain(output)
    if sentence is None:
        print(output[-3000:], file=sys.stderr)
        sentence = f"pip failed; the lines above and {log} say why."
    return sentence
