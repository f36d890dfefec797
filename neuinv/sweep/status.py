"""What a sweep has done, read from its folder alone."""

import json
import os
from dataclasses import dataclass

from neuinv.records import is_complete, partial_runs
from neuinv.sweep.progress import printable
from neuinv.sweep.runner import FAILURE_FILE


@dataclass(frozen=True)
class Status:
    """The runs of a plan by what is in their folder.

    Attributes
    ----------
    plan : Plan
        The runs that are asked about.
    complete, running : set of str
        Keys of the runs that ended well, and of those a living process is at.
    failures : dict
        Key to one sentence, for the runs that failed and are neither of the two.
    """

    plan: object
    complete: set
    running: set
    failures: dict

    @property
    def waiting(self):
        """Keys of the runs that nobody has tried, or whose process was killed."""
        tried = self.complete | self.running | set(self.failures)
        return {run.key for run in self.plan.runs} - tried

    def to_dict(self):
        """Return the counts, for programs."""
        return {
            "study": self.plan.spec.study,
            "profile": self.plan.spec.profile,
            "planned": len(self.plan.runs),
            "complete": len(self.complete),
            "running": len(self.running),
            "failed": len(self.failures),
            "waiting": len(self.waiting),
            "folder": str(self.plan.folder),
        }

    def state(self, key):
        """Return one word for the run ``key``."""
        if key in self.complete:
            return "complete"
        if key in self.running:
            return "running"
        return "failed" if key in self.failures else "waiting"


def read_status(plan):
    """Return the :class:`Status` of ``plan``; a folder that is not there yet holds no run.

    Parameters
    ----------
    plan : Plan
        From ``read_plan``.
    """
    planned = {run.key for run in plan.runs}
    try:
        names = os.listdir(plan.folder)
    except (FileNotFoundError, NotADirectoryError):
        names = []
    complete = {name for name in planned.intersection(names) if is_complete(plan.folder, name)}
    running = {run.key for run in partial_runs(plan.folder) if run.alive} & planned - complete
    failures = {}
    for name in names:
        key, _, rest = name.partition(".")
        if rest.endswith("failed") and key in planned - complete - running:
            reason = _reason(plan.folder / name / FAILURE_FILE)
            if reason is not None:
                failures[key] = reason
    return Status(plan, complete, running, failures)


def _reason(path):
    try:
        return printable(str(json.loads(path.read_text(encoding="utf-8"))["error"]))
    except FileNotFoundError:
        return None  # set aside because it was damaged: no failure of the run
    except (OSError, ValueError, KeyError, TypeError):
        return "its reason cannot be read"
