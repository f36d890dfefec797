"""From run folders to one small table with its provenance, and back into a notebook."""

import hashlib
import io
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from neuinv._files import write_whole
from neuinv.records import load_records
from neuinv.records.provenance import PACKAGE
from neuinv.records.values import digest, from_json, to_json
from neuinv.sweep.runner import RUN_FILE
from neuinv.sweep.status import read_status

FORMAT = 1


@dataclass(frozen=True)
class Study:
    """A collected study.

    Attributes
    ----------
    rows : pandas.DataFrame
        One row a record: ``run``, its parameters by name, its values, those inside a dict as
        ``outer.inner``, and ``run.start``, ``run.wall_seconds``, ``run.device``.  A name that is taken
        gets the prefix ``value.`` or, for a parameter, ``parameter.``
    summary : dict
        How many runs were planned and are in it, and with which notebook, package and libraries. Of the
        notebook, ``hash`` is that of all cells when the study was collected, and ``code``, which older
        studies lack, that of what the runs executed.
    """

    rows: object
    summary: dict


def collect(plan, output=None):
    """Write the records of the complete runs of ``plan`` as a table and a summary.

    The same runs and text of the notebook give the same bytes, in the order of the plan.

    Parameters
    ----------
    plan : Plan
        From ``read_plan``.
    output : str or Path, optional
        The folder; ``book/results/STUDY`` of the project by default.

    Returns
    -------
    table, summary : Path
        ``PROFILE.parquet`` and ``PROFILE.json``.

    Raises
    ------
    ImportError
        pyarrow is not installed.
    ValueError
        No run is complete, a run is not what its folder is named after, or a record was edited.
    OSError
        The files cannot be written; those of an earlier collection are then as they were.
    """
    status = read_status(plan)
    rows, records = [], []
    for run in plan.runs:
        if run.key in status.complete:
            _check_identity(plan, run)
            for record in load_records(plan.folder / run.key):
                rows.append(_row(run, record))
                records.append(record)
    if not rows:
        what = "no run is complete" if not status.complete else "no run has written a record"
        raise ValueError(f"{plan.spec.study}, profile {plan.spec.profile}: {what}; {_advice(status)}")
    content = _parquet(rows)
    summary = _summary(plan, status, rows, records) | {"table_sha256": hashlib.sha256(content).hexdigest()}
    summary["sha256"] = digest(summary)
    folder = Path(output) if output is not None else plan.spec.root / "book" / "results" / plan.spec.study
    table, text = folder / f"{plan.spec.profile}.parquet", folder / f"{plan.spec.profile}.json"
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(table, content)
    write_whole(text, (json.dumps(summary, indent=1, sort_keys=True) + "\n").encode())
    return table, text


def _advice(status):
    if status.complete:
        return "call neuinv.record(...) in the notebook."
    return "run 'neuinv sweep run' first; runs of other code of the notebook or the package do not count."


def _check_identity(plan, run):
    """Refuse a run whose folder was given the name of another one."""
    try:
        path = plan.folder / run.key / RUN_FILE
        found = json.loads(path.read_text(encoding="utf-8"))["identity"]
    except (OSError, ValueError, KeyError, TypeError):
        found = None
    if found is None or to_json(found) != to_json(plan.identity(run)):
        raise ValueError(
            f"the folder {run.key} is not that run; delete the folder and run 'neuinv sweep run' again."
        )


def _row(run, record):
    origin = record["provenance"]
    own = {f"run.{key}": origin[key] for key in ("start", "wall_seconds")}
    own["run.device"] = origin["device"]["name"]
    row = {"run": run.key}
    for prefix, items in (("parameter", run.parameters.items()), ("value", _flat(record["values"]))):
        for name, value in items:
            # A value may have the name of a parameter, such as n where the parameter says "its own size".
            while name in row or name in own:
                name = f"{prefix}.{name}"
            row[name] = value
    return row | own


def _flat(values, prefix=""):
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _parquet(rows):
    """Return the rows as the bytes of a Parquet file."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise ImportError("collecting needs pyarrow; run pip install 'neuinv[sweep]'.") from None

    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = {name: _column([row.get(name) for row in rows]) for name in names}
    table = pyarrow.table({name: pyarrow.array(values) for name, values in columns.items()})
    stream = io.BytesIO()
    pyarrow.parquet.write_table(table, stream, compression="zstd")
    return stream.getvalue()


def _column(values):
    """Return values that have one type: numbers stay numbers, and what is mixed becomes JSON text."""
    kinds = {type(value) for value in values if value is not None}
    # Parquet's integers have 64 bits, Python's do not.
    huge = int in kinds and any(abs(value) >= 2**63 for value in values if type(value) is int)
    if kinds == {int, float} and not huge:
        return [None if value is None else float(value) for value in values]
    if len(kinds) <= 1 and not kinds & {list, dict} and not huge:
        return values
    return [None if value is None else json.dumps(to_json(value), sort_keys=True) for value in values]


def _summary(plan, status, rows, records):
    origins = [record["provenance"] for record in records]
    package = origins[0]["package"]
    return {
        "format": FORMAT,
        "study": plan.spec.study,
        "profile": plan.spec.profile,
        "planned": len(plan.runs),
        "complete": len(status.complete),
        "failed": len(status.failures),
        "rows": len(rows),
        "columns": list(dict.fromkeys(name for row in rows for name in row)),
        "notebook": {"name": plan.spec.notebook.name, "hash": plan.notebook, "code": plan.code},
        "package": {key: package[key] for key in ("version", "hash", "commit")}
        | {"dirty": any(origin["package"]["dirty"] for origin in origins)},
        "devices": dict(sorted(Counter(origin["device"]["name"] for origin in origins).items())),
        "systems": sorted({origin["system"] for origin in origins}),
        "libraries": origins[0]["libraries"],
        "first_start": min(origin["start"] for origin in origins),
        "last_start": max(origin["start"] for origin in origins),
        "wall_seconds": round(sum(origin["wall_seconds"] for origin in origins), 1),
    }


def load_study(study, profile="cpu", *, folder=None):
    """Return a collected :class:`Study` after checking that its files were not changed since.

    Parameters
    ----------
    study : str
        Its name, such as ``"why-cannot"``.
    profile : str
        Which profile was collected.
    folder : str or Path, optional
        Where its files are; ``book/results/STUDY`` of this project by default.

    Raises
    ------
    FileNotFoundError
        It has not been collected.
    ValueError
        The table or the summary was edited, or cut.
    ImportError
        pandas or pyarrow is not installed.
    """
    folder = Path(folder) if folder is not None else PACKAGE.parent / "book" / "results" / study
    table, text = folder / f"{profile}.parquet", folder / f"{profile}.json"
    if not (table.is_file() and text.is_file()):
        raise FileNotFoundError(
            f"the study {study!r} has no profile {profile!r} there; "
            f"run 'neuinv sweep collect SPEC --profile {profile}'."
        )
    try:
        summary = json.loads(text.read_text(encoding="utf-8"))
        stated = summary.pop("sha256")
        expected = summary["table_sha256"]
        found = digest(summary)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(f"{text.name} is not the summary of a study; collect it again.") from None
    if found != stated:
        raise ValueError(f"{text.name} was edited: its digest differs; collect the study again.")
    content = table.read_bytes()
    if hashlib.sha256(content).hexdigest() != expected:
        raise ValueError(
            f"{table.name} is not the table that {text.name} describes; collect the study again."
        )
    try:
        import pandas
        import pyarrow  # noqa: F401
    except ImportError:
        raise ImportError("loading a study needs pandas and pyarrow; install 'neuinv[book,sweep]'.") from None
    return Study(pandas.read_parquet(io.BytesIO(content)), from_json(summary))
