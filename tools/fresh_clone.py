"""Measure a stranger's first visit: clone into a path with a space, ``make book``, ``make test``.

    python tools/fresh_clone.py             writes a record into book/results/fresh-clone/
    python tools/fresh_clone.py --dry-run   prints the times and writes nothing

The clone has no environment; the shell's variables are dropped but for those that a package client or a
browser needs (PATH, HOME, and names that begin with PIP_ or SSL_).  Only committed work is measured.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STEPS = {
    "make book, from nothing": ["make", "book"],
    "make test": ["make", "test"],
    "make book, again": ["make", "book"],
}


def main():
    """Run the steps and return an exit code: 0 when all of them succeed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dry-run", action="store_true", help="write no record")
    options = parser.parse_args()
    environment = {
        name: value
        for name, value in os.environ.items()
        if name in ("PATH", "HOME", "LANG") or name.startswith(("PIP_", "SSL_"))
    }
    seconds = {}
    with tempfile.TemporaryDirectory(prefix="first visit ") as folder:
        clone = Path(folder) / "the book"
        subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
        for name, command in STEPS.items():
            print(f"== {name}", flush=True)
            begun = time.monotonic()
            done = subprocess.run(command, cwd=clone, env=environment, stdin=subprocess.DEVNULL)
            seconds[name] = round(time.monotonic() - begun, 1)
            if done.returncode:
                print(f"{name} failed with exit code {done.returncode}.", file=sys.stderr)
                return 1
        changed = subprocess.run(
            ["git", "status", "--porcelain"], cwd=clone, capture_output=True, text=True, check=True
        ).stdout
        if changed:
            print(f"the steps changed the clone:\n{changed}", file=sys.stderr)
            return 1
    for name, value in seconds.items():
        print(f"{name:28} {value:7.1f} s")
    if not options.dry_run:
        from neuinv.records import write_record

        write_record(ROOT / "book" / "results" / "fresh-clone", {"study": "fresh-clone", "seconds": seconds})
    return 0


if __name__ == "__main__":
    sys.exit(main())
