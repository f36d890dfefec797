"""Run the build of the book, unless no source has changed since it last succeeded.

    python tools/build_book.py COMMAND...

The sources are all files that git tracks or would track, by their contents; without git the book is built.
"""

import hashlib
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILT = ROOT / "_build"


def main(command):
    """Build the book if it is due and return the exit code of the command, 0 where nothing is due."""
    present, stamp = fingerprint(ROOT, command), BUILT / "sources.sha256"
    built = (BUILT / "html" / "index.html").is_file()
    if present and built and stamp.is_file() and stamp.read_text() == present:
        print("The book is up to date: no source has changed since it was built.")
        return 0
    stamp.unlink(missing_ok=True)
    code = subprocess.run(command, cwd=ROOT).returncode
    # Sources that changed while the book was built make it due again.
    if code == 0 and present and fingerprint(ROOT, command) == present:
        stamp.write_text(present)
    return code


def fingerprint(root, command=()):
    """Return a hash of the command and of all source files below ``root``, or None without git."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        names = subprocess.run(listing, cwd=root, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    whole = hashlib.sha256(repr(list(command)).encode())
    for name in sorted(set(names.decode().split("\0")) - {""}):
        path = Path(root) / name
        content = path.read_bytes() if path.is_file() else b"missing"
        whole.update(f"{name}\0{hashlib.sha256(content).hexdigest()}\n".encode())
    return whole.hexdigest()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
