"""Resolve pyproject.toml with every extra and write ``requirements.lock``; ``make lock`` runs this.

The versions of the present lock are kept, and only what is new or gone changes; ``--upgrade`` takes the
newest of everything.
"""

import argparse
import json
import re
import sys
import tempfile
import tomllib
from pathlib import Path

from run_pip import SetupError, run_pip

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"
# Torch's own Linux libraries: pinned here they would make the lock useless on every other platform, and
# torch pins them itself.
PLATFORM_ONLY = re.compile(r"(nvidia|cuda)-|triton$|appnope$|colorama$|pywin")
HEADER = """\
# The full set of versions that `make` installs, on Python 3.11, 3.12 and 3.13.
# Regenerate with `make lock` (keeps the versions below) or `make lock UPGRADE=1` (newest of everything).
# Packages that only one platform needs (CUDA libraries, appnope, colorama) are left to pip, so that one
# file serves all.
"""


def requirements(pyproject):
    """Return every requirement in the text of a pyproject.toml: base, extras and build."""
    table = tomllib.loads(pyproject)
    groups = [
        table["build-system"]["requires"],
        table["project"]["dependencies"],
        *table["project"]["optional-dependencies"].values(),
    ]
    return sorted({requirement for group in groups for requirement in group})


def pins(report):
    """Return the sorted ``name==version`` lines of pip's installation report, a dict.

    The local part of a version (``+cpu``) is dropped: it names a build, which other platforms do not have.
    """
    found = [(item["metadata"]["name"], item["metadata"]["version"]) for item in report["install"]]
    kept = [(name, version.split("+")[0]) for name, version in found if not PLATFORM_ONLY.match(name.lower())]
    return [f"{name}=={version}" for name, version in sorted(kept, key=lambda pin: pin[0].lower())]


def resolve(upgrade):
    """Let pip resolve without installing anything, and return its report.

    Raises
    ------
    SetupError
        pip found no set of versions.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        keep = [] if upgrade or not LOCK.exists() else ["-c", str(LOCK)]
        wanted = requirements((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
        arguments = ["install", "--dry-run", "--ignore-installed", "--report", str(report), *keep, *wanted]
        expected = LOCK.read_text(encoding="utf-8").count("==") if LOCK.exists() else 1
        options = {"log": Path(folder) / "log", "cwd": ROOT, "planned": expected, "label": "lock"}
        run_pip(sys.executable, arguments, **options)
        return json.loads(report.read_text(encoding="utf-8"))


def main(arguments=None):
    """Run the command line and return its exit code."""
    parser = argparse.ArgumentParser(description="Write requirements.lock from pyproject.toml.")
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions")
    try:
        lines = pins(resolve(parser.parse_args(arguments).upgrade))
    except SetupError as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 2
    LOCK.write_text(HEADER + "\n".join(lines) + "\n", encoding="utf-8")
    print(f"{LOCK.name}: {len(lines)} packages")
    return 0


if __name__ == "__main__":
    sys.exit(main())
