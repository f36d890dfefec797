"""What is recorded of the runs that a sweep file plans, and which of them are missing."""

import textwrap
from dataclasses import dataclass
from pathlib import Path

from neuinv.records.provenance import PACKAGE
from neuinv.sweep.collect import load_study
from neuinv.sweep.compare import parameter_key
from neuinv.sweep.plan import read_plan

# Where a run is made does not decide which run it is.
_MACHINE = {"device", "num_threads"}
WIDTH = 84  # of a printed line of the book


@dataclass(frozen=True)
class Coverage:
    """One profile of a study, recorded in whole, in part or not at all.

    Attributes
    ----------
    profile : str
        Its name.
    study : Study or None
        What is recorded; None where nothing is.
    recorded, missing : list of Run
        The runs of the sweep file, in its order, that have records and that have none.
    unplanned : int
        How many recorded runs the sweep file does not plan.
    """

    profile: str
    study: object
    recorded: list
    missing: list
    unplanned: int = 0

    @property
    def rows(self):
        """The records as a pandas.DataFrame, in the order of the sweep file, or None."""
        return None if self.study is None else self.study.rows

    def lines(self, *names):
        """Return what a page prints: how much is recorded, where and when, and what is missing.

        Parameters
        ----------
        *names : str
            The parameters that tell the runs apart, such as ``"family"``.

        Returns
        -------
        list of str
            Of at most 84 characters each.
        """
        total = len(self.recorded) + len(self.missing)
        if self.study is None:
            return [f"profile {self.profile}: no record; {total} runs are planned"]
        summary = self.study.summary
        found = [
            f"profile {self.profile}: {len(self.recorded)} of {total} planned runs are recorded,"
            f" {summary['failed']} failed",
            f"begun {summary['first_start'][:16]} ... {summary['last_start'][:16]}",
            f"on {', '.join(summary['devices'])}, with torch {summary['libraries']['torch']}",
        ]
        if self.unplanned:
            found.append(f"{self.unplanned} recorded runs are not in the sweep file")
        if self.missing:
            text = "; ".join(run_name(run.parameters, names) for run in self.missing)
            found += textwrap.wrap(
                f"not recorded: {text}", WIDTH, subsequent_indent="  ", break_on_hyphens=False
            )
        return found


def coverage(study, profile="gpu", *, plan=None, folder=None):
    """Return what is recorded of one profile of a study, beside what its sweep file plans.

    Parameters
    ----------
    study : str
        Its name, such as ``"families"``.
    profile : str
        ``"smoke"``, ``"cpu"`` or ``"gpu"``.
    plan : Plan, optional
        The planned runs; by default those of ``notebooks/sweeps/STUDY.yaml`` of this project.
    folder : str or Path, optional
        As for :func:`load_study`.

    Returns
    -------
    Coverage
        A run is recorded if some rows have every parameter that the sweep file gives it, the device aside.

    Raises
    ------
    FileNotFoundError, ValueError, TypeError
        There is no such sweep file, or it or a record is malformed.
    """
    if plan is None:
        plan = read_plan(PACKAGE.parent / "notebooks" / "sweeps" / f"{study}.yaml", profile)
    folder = Path(folder) if folder is not None else PACKAGE.parent / "book" / "results" / study
    if not any((folder / f"{profile}.{kind}").exists() for kind in ("json", "parquet")):
        return Coverage(profile, None, [], plan.runs)
    found = load_study(study, profile, folder=folder)
    known = set(found.rows.columns) - _MACHINE
    first = [part.iloc[0].to_dict() for _, part in found.rows.groupby("run", sort=False)]
    recorded, missing, used = [], [], set()
    for run in plan.runs:
        names = sorted(known & set(run.given))
        key = parameter_key(run.given, names)
        same = [row["run"] for row in first if parameter_key(row, names) == key]
        (recorded if same else missing).append(run)
        used.update(same)
    return Coverage(profile, found, recorded, missing, len(first) - len(used))


def run_name(parameters, names):
    """Return the values of some parameters of a run in a few words.

    Parameters
    ----------
    parameters : dict
        Of the run.
    names : iterable of str
        Which; a dict is written out, and None or an empty one is left out.

    Returns
    -------
    str

    Examples
    --------
    >>> run_name({"family": "kernel", "dials": {"nugget": 0.1}, "n": 48}, ["family", "dials", "n"])
    'kernel nugget=0.1 n=48'
    """
    words = []
    for name in names:
        value = parameters[name]
        if isinstance(value, dict):
            words += [f"{key}={part}" for key, part in value.items()]
        elif value is not None:
            words.append(value if isinstance(value, str) else f"{name}={value}")
    return " ".join(words)
