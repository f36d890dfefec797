"""Keep the time of each part of a make verb.

    step.py NAME COMMAND ...        run a command and keep its time
    step.py --keep NAME SECONDS     keep a time taken elsewhere
    step.py --report NAME ...       print the times, and where the book is

Standard library only, because it must start at once.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

TIMES = Path("_build") / "times.json"
BOOK = Path("_build") / "html" / "index.html"


def read_times(path=TIMES):
    """Return the parts timed so far, name to seconds, in the order they ran."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def keep_time(name, seconds, path=TIMES):
    """Add a part; a part that is there already is timed anew and moves to the end."""
    times = read_times(path)
    times.pop(name, None)
    times[name] = round(seconds, 1)
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(times), encoding="utf-8")


def run(name, command):
    """Run ``command``, keep its time, and return its exit code."""
    begun = time.monotonic()
    code = subprocess.run(command, stdin=subprocess.DEVNULL).returncode
    seconds = time.monotonic() - begun
    if code:
        print(f"error: {name} failed after {seconds:.0f} s (exit code {code}).", file=sys.stderr, flush=True)
    else:
        keep_time(name, seconds)
    return code


def report(names, path=TIMES, page=BOOK):
    """Return the closing lines of ``make book``: seconds per part, and where to open the book."""
    times = read_times(path)
    parts = ", ".join(f"{name} {times[name]:.1f} s" for name in names if name in times)
    return f"{parts}\nThe book is at {page.resolve()}"


def main(arguments):
    """Run the command line and return its exit code."""
    if arguments[:1] == ["--report"]:
        print(report(arguments[1:]))
        return 0
    if arguments[:1] == ["--keep"] and len(arguments) == 3:
        keep_time(arguments[1], float(arguments[2]))
        return 0
    if len(arguments) < 2 or arguments[0].startswith("-"):
        print("error: pass NAME COMMAND ..., --keep NAME SECONDS or --report NAME ...", file=sys.stderr)
        return 2
    return run(arguments[0], arguments[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
