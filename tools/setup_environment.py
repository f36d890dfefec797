"""Build or check the environment in ``.venv``; ``make`` runs this before every verb that needs it.

Standard library only, because it runs before anything is installed. Files in ``.venv`` tell its state:
``.setup-started`` is written before anything else and says that make made this environment,
``.setup-stamp`` is written last and says from what. An environment of make's that has no stamp was
interrupted; it is emptied and built again, because pip takes a half-copied package for an installed one.
"""

import argparse
import contextlib
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from run_pip import SetupError, run_pip

try:
    import fcntl
except ImportError:  # not on Windows, where two set-ups at once are then not kept apart
    fcntl = None

ROOT = Path(__file__).resolve().parent.parent
SUPPORTED = ((3, 11), (3, 12), (3, 13))
MINIMUM_FREE_GB = 3
STARTED, STAMP, LOCK, LOG = ".setup-started", ".setup-stamp", ".setup-lock", ".setup-log"
INPUTS = ("requirements.lock", "pyproject.toml")
CUDA_NOTE = (
    "note: on Linux the default build of torch brings several GB of CUDA libraries. For the much smaller\n"
    "      CPU build stop here (Ctrl-C) and set PIP_EXTRA_INDEX_URL to PyTorch's CPU wheel index, whose\n"
    "      address PyTorch's installation page shows for 'Pip' and 'CPU'; then run make again."
)


def check_python(version):
    """Refuse a Python (major, minor) outside the supported range.

    Raises
    ------
    SetupError
        Too old or too new.
    """
    if version in SUPPORTED:
        return
    word = "old" if version < SUPPORTED[0] else "new"
    raise SetupError(
        f"Python {version[0]}.{version[1]} is too {word}; set PYTHON to a Python 3.11, 3.12 or 3.13."
    )


def check_disk(free_bytes, place):
    """Refuse to start a download that cannot fit.

    Raises
    ------
    SetupError
        Less than ``MINIMUM_FREE_GB`` GB free.
    """
    if free_bytes < MINIMUM_FREE_GB * 1e9:
        raise SetupError(
            f"the disk of {place} has {free_bytes / 1e9:.1f} GB free and the environment needs"
            f" {MINIMUM_FREE_GB} GB; free some space, then run make again."
        )


def python_of(venv):
    """Return the path of an environment's interpreter."""
    return venv / "bin" / "python"


def environment_version(venv):
    """Return an environment's Python as (major, minor), or None where there is no working one."""
    try:
        text = (venv / "pyvenv.cfg").read_text(encoding="utf-8")
    except OSError:
        return None
    found = re.search(r"^version(?:_info)?\s*=\s*(\d+)\.(\d+)", text, re.MULTILINE)
    # The interpreter is a link to the one it was made with, which may have been removed since.
    return (int(found[1]), int(found[2])) if found and python_of(venv).exists() else None


def fingerprint(root):
    """Return what the environment is made from, to compare with what it was made from.

    Contents and not times of modification, which a checkout renews. The folder counts as well, because
    scripts and the editable install hold absolute paths.
    """
    digest = hashlib.sha256()
    for name in INPUTS:
        digest.update(name.encode() + b"\0" + (root / name).read_bytes() + b"\0")
    return {"inputs": digest.hexdigest(), "folder": str(root.resolve())}


def read_stamp(venv):
    """Return the fingerprint an environment was completed with, or None."""
    try:
        stamp = json.loads((venv / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return stamp if isinstance(stamp, dict) else None


def write_stamp(venv, content):
    """Declare an environment complete; by a rename, so that a stamp is there whole or not at all."""
    aside = venv / (STAMP + ".partial")
    aside.write_text(json.dumps(content), encoding="utf-8")
    os.replace(aside, venv / STAMP)


def is_current(root):
    """Tell whether the environment is complete and made from the present inputs."""
    venv = root / ".venv"
    return environment_version(venv) is not None and read_stamp(venv) == fingerprint(root)


def decide(root, wanted=None):
    """Return what the environment needs: ``"nothing"``, ``"update"``, ``"repair"`` or ``"rebuild"``.

    Parameters
    ----------
    root : Path
        Folder that holds ``.venv``.
    wanted : tuple of int, optional
        The Python (major, minor) the user asked for; without it any supported one serves.

    Raises
    ------
    SetupError
        ``.venv`` cannot serve and was made by somebody else: it is not ours to delete.
    """
    venv = root / ".venv"
    have, stamp = environment_version(venv), read_stamp(venv)
    here = stamp is None or stamp.get("folder") == str(root.resolve())
    serves = have in SUPPORTED and wanted in (None, have) and here
    if serves and stamp is not None:
        return "nothing" if is_current(root) else "update"
    if not venv.exists() or (venv / STARTED).exists() or not any(venv.iterdir()):
        return "rebuild"
    if serves:
        return "repair" if (venv / LOG).exists() else "update"
    raise SetupError(
        ".venv was not made by make and cannot serve here (it came from another folder, or its Python is not"
        f" {'.'.join(map(str, wanted)) if wanted else '3.11 to 3.13'}); move it away, then run make again."
    )


def clear(venv):
    """Empty an environment of make's, keeping the mark that it is."""
    for entry in venv.iterdir():
        if entry.name in (STARTED, LOCK):
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


@contextlib.contextmanager
def only_one(venv):
    """Hold the environment alone; yields the descriptor that pip inherits.

    pip holds the lock too, so that a set-up killed without its pip is not overtaken by the next one.
    """
    with open(venv / LOCK, "w", encoding="utf-8") as handle:
        try:
            if fcntl is not None:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("environment: another set-up is at work in .venv; waiting for it", flush=True)
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError:
            pass  # a file system without locks: two set-ups at once are then not kept apart
        yield handle.fileno()


def make_empty(venv):
    """Make an empty environment with the running Python.

    Raises
    ------
    SetupError
        This Python comes without the means.
    """
    (venv / STARTED).touch()
    clear(venv)
    made = subprocess.run([sys.executable, "-m", "venv", str(venv)], capture_output=True, text=True)
    if made.returncode:
        said = (made.stderr or made.stdout).strip().splitlines() or ["nothing"]
        raise SetupError(
            f"{sys.executable} cannot make an environment (Debian and Ubuntu want the package python3-venv);"
            f" it said: {said[-1]}"
        )


def install(root, action, lock):
    """Install the locked versions and the package, as ``action`` (see :func:`decide`) demands."""
    venv = root / ".venv"
    (venv / STAMP).unlink(missing_ok=True)
    if action == "rebuild":
        make_empty(venv)
    if sys.platform == "linux" and not any(venv.glob("lib/python*/site-packages/torch/version.py")):
        print(CUDA_NOTE, flush=True)
    pins = (root / "requirements.lock").read_text(encoding="utf-8").count("==")
    (venv / LOG).write_text("", encoding="utf-8")
    anew = ["--force-reinstall"] if action == "repair" else []
    options = {"log": venv / LOG, "cwd": root, "lock": lock}
    run_pip(python_of(venv), ["install", *anew, "-r", "requirements.lock"], planned=pins, **options)
    # No isolation: the lock brings setuptools, so that this step needs no index.
    run_pip(python_of(venv), ["install", "--no-deps", "--no-build-isolation", "-e", "."], **options)


def set_up(root=ROOT, wanted=None):
    """Bring ``.venv`` up to date and return what was done, as :func:`decide` names it.

    Raises
    ------
    SetupError
        With the one sentence that says what is wrong.
    """
    check_python(sys.version_info[:2])
    venv = root / ".venv"
    if decide(root, wanted) == "nothing":
        return "nothing"
    if not venv.exists():
        venv.mkdir()
        (venv / STARTED).touch()
    check_disk(shutil.disk_usage(venv).free, venv)
    with only_one(venv) as lock:
        action = decide(root, wanted)  # again: the set-up we waited for may have done it all
        if action != "nothing":
            doing = {"rebuild": "building", "update": "updating", "repair": "repairing"}[action]
            print(f"environment: {doing} .venv from requirements.lock", flush=True)
            install(root, action, lock)
            write_stamp(venv, fingerprint(root))
    return action


def main(arguments=None):
    """Run the command line; exit code 0 ok, 1 not up to date (with ``--check``), 2 cannot."""
    parser = argparse.ArgumentParser(description="Build or check the environment in .venv.")
    parser.add_argument("--check", action="store_true", help="only tell whether .venv is up to date")
    parser.add_argument("--this-python", action="store_true", help=".venv must have the running Python")
    options = parser.parse_args(arguments)
    if options.check:
        return 0 if is_current(ROOT) else 1
    begun = time.monotonic()
    try:
        action = set_up(ROOT, sys.version_info[:2] if options.this_python else None)
    except SetupError as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("error: interrupted; the next make takes up the set-up again.", file=sys.stderr)
        return 130
    if action != "nothing":
        version = ".".join(map(str, environment_version(ROOT / ".venv")))
        print(f"environment: ready after {time.monotonic() - begun:.0f} s (Python {version})", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
