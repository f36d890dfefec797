"""Record files: written whole or not at all, and checked when they are read."""

import json
import os
import secrets
from datetime import UTC, datetime
from pathlib import Path

from neuinv._files import write_whole
from neuinv.records.provenance import provenance
from neuinv.records.values import check_key, digest, from_json, to_json, without_paths

FORMAT = 1
# Folders that hold no accepted run; their records are not read.
UNFINISHED = (".partial", ".failed")


def record(**values):
    """Write one result record with its provenance into ``$NEUINV_RUN_DIR``.

    Does nothing when that variable is unset or empty.

    Parameters
    ----------
    **values
        Numbers, strings, lists and dicts of them; scalars of NumPy and torch are unpacked.

    Returns
    -------
    Path or None
        The file, or None when nothing was written.

    Raises
    ------
    TypeError, ValueError
        A value that strict JSON cannot hold, such as an array: record a summary of it. Also a key that is
        reserved, or that another one equals once machine paths are shortened.
    OSError
        The folder cannot be written; no half-written record is left.

    Examples
    --------
    >>> import os, neuinv
    >>> _ = os.environ.pop("NEUINV_RUN_DIR", None)
    >>> neuinv.record(right_residual=0.5) is None
    True
    """
    folder = os.environ.get("NEUINV_RUN_DIR")
    return write_record(folder, values) if folder else None


def write_record(folder, values, *, parameters=None, notebook=None):
    """Write one record into ``folder``, which is made when it is missing, and return its path.

    Parameters
    ----------
    folder : str or Path
        Where the record goes.
    values : dict
        As for :func:`record`.
    parameters, notebook
        As for ``provenance``.

    Raises
    ------
    TypeError, ValueError, OSError
        As :func:`record`.
    """
    content = without_paths(
        {
            "format": FORMAT,
            "values": {check_key(key, "values"): to_json(value, key) for key, value in values.items()},
            "provenance": to_json(provenance(parameters, notebook), "provenance"),
        }
    )
    content["sha256"] = digest(content)
    text = json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n"
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
    path = Path(folder) / f"record-{now}-{secrets.token_hex(6)}.json"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, text.encode())
    except OSError as error:
        reason = error.strerror or str(error)
        advice = f"no record was written: {reason}; set NEUINV_RUN_DIR to a folder with space"
        raise OSError(error.errno, advice, str(folder)) from None
    return path


def load_records(folder):
    """Return the records in ``folder`` and its complete sub-folders, oldest first.

    Parameters
    ----------
    folder : str or Path
        Where to look; an empty folder gives an empty list.

    Returns
    -------
    list of dict
        Each with ``values`` and ``provenance``; non-finite floats are floats again.

    Raises
    ------
    FileNotFoundError
        There is no such folder.
    ValueError
        A record was cut or edited: its digest does not agree with its content.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {str(folder)!r}; pass one that holds records.")
    paths = [path for path in folder.rglob("record-*.json") if not _unfinished(path.relative_to(folder))]
    return [_load(path) for path in sorted(paths, key=lambda path: (path.name, path.as_posix()))]


def _unfinished(path):
    return any(part.endswith(UNFINISHED) for part in path.parts[:-1])


def _load(path):
    try:
        content = json.loads(path.read_bytes(), parse_constant=_refuse_constant)
        stated = content.pop("sha256")
        found = digest(content)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(f"{path.name} is not a record; restore it, or delete it and run again.") from None
    if stated != found:
        raise ValueError(
            f"{path.name} was edited: its digest differs; restore it, or delete it and run again."
        )
    if content.get("format") != FORMAT:
        raise ValueError(f"{path.name} has format {content.get('format')!r}; this version reads {FORMAT}.")
    return from_json(content)


def _refuse_constant(name):
    raise ValueError(name)
