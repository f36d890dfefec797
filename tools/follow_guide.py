"""Follow the guide to a family of one's own, in a fresh clone, and measure how long it takes.

    python tools/follow_guide.py             writes a record into book/results/forking/
    python tools/follow_guide.py --dry-run   prints the times and writes nothing

The commands are those of ``notebooks/forking.md``, and the cell is the one it shows.  The clone has no
environment; only committed work is measured.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from neuinv.records import write_record  # noqa: E402

GUIDE = ROOT / "notebooks" / "forking.md"
FENCE = re.compile(r"^```(.*?)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FAMILY_CELL = re.compile(r"(^```\{code-cell\} ipython3\n:tags: \[family\]\n\n)(.*?)(^```$)", re.M | re.S)


def steps(guide):
    """Return what a guide asks for, in its order: ("run", command) and ("edit", contents of a cell).

    Commands are the lines of the blocks fenced without a language.
    """
    found = []
    for block in FENCE.finditer(guide):
        cell = FAMILY_CELL.fullmatch(block.group())
        if cell:
            found.append(("edit", cell[2]))
        elif not block[1].strip():
            lines = re.sub(r" *\\\n *", " ", block[2]).splitlines()  # a line may go on after a backslash
            found += [("run", line) for line in lines if line.strip()]
    return found


def edit(page, contents):
    """Replace the contents of the cell tagged family of a page.

    Raises
    ------
    ValueError
        The page has no such cell, or several.
    """
    text = page.read_text(encoding="utf-8")
    changed, count = FAMILY_CELL.subn(lambda cell: cell[1] + contents + cell[3], text)
    if count != 1:
        raise ValueError(f"{page.name} has {count} cells tagged family; the guide needs one.")
    page.write_text(changed, encoding="utf-8")


def new_page(command):
    """Return the name of the page that a command begins, or None."""
    found = re.search(r"neuinv family new (\S+)", command)
    return found[1] if found and "--dry-run" not in command else None


def follow(clone, todo, run):
    """Do the steps in a clone; ``run`` takes a command. Return the name of the page that was edited."""
    name = edited = None
    for kind, what in todo:
        if kind == "edit":
            edit(clone / "notebooks" / f"{name}.md", what)
            edited = name
        else:
            run(what)
            name = new_page(what) or name
    return edited


def main(arguments=None):
    """Follow the guide and return an exit code: 0 when every command succeeds and the page is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dry-run", action="store_true", help="write no record")
    options = parser.parse_args(arguments)
    environment = {
        name: value
        for name, value in os.environ.items()
        if name in ("PATH", "HOME", "LANG") or name.startswith(("PIP_", "SSL_"))
    }
    seconds = {}

    def run(command):
        print(f"== {command}", flush=True)
        begun = time.monotonic()
        subprocess.run(command, shell=True, cwd=clone, env=environment, stdin=subprocess.DEVNULL, check=True)
        seconds[command] = round(time.monotonic() - begun, 1)

    with tempfile.TemporaryDirectory(prefix="own family ") as folder:
        clone = Path(folder) / "the book"
        run_clone = ["git", "clone", "--quiet", ROOT, clone]
        begun = time.monotonic()
        subprocess.run(run_clone, check=True)
        seconds["git clone"] = round(time.monotonic() - begun, 1)
        try:
            name = follow(clone, steps(GUIDE.read_text(encoding="utf-8")), run)
        except subprocess.CalledProcessError as error:
            print(f"{error.cmd} failed with exit code {error.returncode}.", file=sys.stderr)
            return 1
        page = clone / "_build" / "html" / "notebooks" / f"{name}.html"
        if not page.is_file():
            print(f"there is no page {page.name}.", file=sys.stderr)
            return 1
    for command, value in seconds.items():
        print(f"{value:7.1f} s  {command}")
    if not options.dry_run:
        write_record(ROOT / "book" / "results" / "forking", {"study": "follow-guide", "seconds": seconds})
    return 0


if __name__ == "__main__":
    sys.exit(main())
