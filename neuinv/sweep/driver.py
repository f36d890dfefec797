"""The loop of a sweep: hand out what is missing, try again what failed, stop when nothing is left to do."""

import tempfile
from collections import Counter, deque
from dataclasses import dataclass

from neuinv.records import is_complete, partial_runs
from neuinv.sweep.status import read_status

_TICK = 1.0  # seconds between two looks at what other processes do in the folder


@dataclass(frozen=True)
class Result:
    """How a sweep ended.

    Attributes
    ----------
    planned, complete : int
        Number of runs, and of those that are now complete.
    failures : dict
        Key to one sentence, for the runs that failed for good.
    stopped : str or None
        Why the sweep stopped before its end.
    """

    planned: int
    complete: int
    failures: dict
    stopped: str | None

    @property
    def ok(self):
        """Whether every run is complete."""
        return self.complete == self.planned


def prepare(plan):
    """Make the folder of ``plan`` and the copy of its notebook.

    Raises
    ------
    OSError
        The folder cannot be written; it says so before any run starts.
    """
    plan.folder.mkdir(parents=True, exist_ok=True)
    try:
        # It has no name where the system can do that, so that a kill just here leaves nothing behind.
        with tempfile.TemporaryFile(dir=plan.folder) as probe:
            probe.write(b"may this folder be written?")
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(plan.folder)) from None
    plan.write_source()


def run_plan(plan, engine, progress):
    """Do every run of ``plan`` that is not complete; to resume is to call this again.

    Parameters
    ----------
    plan : Plan
        Prepared by :func:`prepare`.
    engine : Serial or Dask
        Where the runs are executed.
    progress : Progress
        Is told what happens.

    Returns
    -------
    Result
    """
    loop = _Loop(plan, engine, progress)
    try:
        stopped = loop.run()
    except ConnectionError:
        stopped = "the scheduler is gone; start it again and run the same command."
    complete = sum(is_complete(plan.folder, run.key) for run in plan.runs)
    return Result(len(plan.runs), complete, loop.failures, stopped)


class _Loop:
    def __init__(self, plan, engine, progress):
        self.plan, self.engine, self.progress = plan, engine, progress
        complete = read_status(plan).complete
        self.queue = deque(run for run in plan.runs if run.key not in complete)
        self.active, self.elsewhere = {}, {}
        self.attempts, self.failures = Counter(), {}

    def run(self):
        """Loop until nothing is left; return why it stopped early, or None."""
        while self.queue or self.active or self.elsewhere:
            while self.queue and len(self.active) < self.engine.window:
                run = self.queue.popleft()
                self.active[run.key] = run
                self.engine.submit(self.plan.task(run))
            slots = self.engine.slots
            self.progress.draw(min(len(self.active), slots), slots)
            for task, outcome in self.engine.wait(_TICK):
                if outcome["state"] == "full":
                    return f"{self.plan.folder}: {outcome['error']}"
                self._ended(self.active.pop(task["key"]), outcome)
            self._look_elsewhere()
        return None

    def _ended(self, run, outcome):
        if outcome["state"] == "elsewhere":
            self.elsewhere[run.key] = run
        elif outcome["state"] != "failed":
            self.progress.ended(run, outcome["state"], outcome)
        else:
            self.attempts[run.key] += 1
            again = self.attempts[run.key] <= self.plan.spec.retries
            self.progress.ended(run, "again" if again else "failed", outcome)
            if again:
                self.queue.append(run)
            else:
                self.failures[run.key] = outcome["error"]

    def _look_elsewhere(self):
        """Take back the runs that another sweep on this folder was at and is at no more."""
        if not self.elsewhere:
            return
        alive = {run.key for run in partial_runs(self.plan.folder) if run.alive}
        for key, run in list(self.elsewhere.items()):
            if is_complete(self.plan.folder, key):
                self.progress.ended(run, "skipped", {})
                del self.elsewhere[key]
            elif key not in alive:
                self.queue.append(run)
                del self.elsewhere[key]
