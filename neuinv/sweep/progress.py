"""How a sweep goes: a table that is redrawn in a terminal, a line a run elsewhere."""

import os
import time

_WORDS = {"done": "done", "skipped": "there already", "failed": "failed", "again": "failed, tried again"}


class Progress:
    """Shows the progress of a sweep on a stream.

    Parameters
    ----------
    plan : Plan
        What is being run.
    stream : file
        Where to; a terminal gets the table.
    num_complete : int
        How many runs were complete before.
    """

    def __init__(self, plan, stream, num_complete):
        self._plan, self._stream = plan, stream
        self._live = stream.isatty()
        self._done, self._before = num_complete, num_complete
        self._failed, self._began, self._drawn = 0, time.monotonic(), False
        self._names = varying(plan.runs)
        self._write(f"{plan.spec.study}, profile {plan.spec.profile}: {len(plan.runs)} runs in {plan.folder}")
        if num_complete:
            self._write(f"{num_complete} of them are complete and are skipped")

    def say(self, text):
        """Show a sentence above the table."""
        self._erase()
        self._write(printable(text))

    def ended(self, run, how, outcome):
        """Show that ``run`` ended; ``how`` is done, skipped, failed or again."""
        self._done += how in ("done", "skipped")
        self._failed += how == "failed"
        if self._live and how in ("done", "skipped"):
            return
        self._erase()
        seconds = f"{outcome.get('seconds') or 0:6.1f} s"
        text = f"[{self._done + self._failed}/{len(self._plan.runs)}] {_WORDS[how]} {seconds}  "
        text += label(run, self._names)
        self._write(text.rstrip() + (f": {printable(outcome['error'])}" if "error" in outcome else ""))

    def draw(self, num_running, slots):
        """Draw the table again."""
        if not self._live:
            return
        self._erase()
        waiting = len(self._plan.runs) - self._done - self._failed - num_running
        left = duration(self._seconds_left())
        self._write("    done  running   failed  waiting    time left")
        cells = (self._done, num_running, self._failed, max(waiting, 0))
        self._write("".join(f"{cell:8} " for cell in cells) + f"{left:>12}")
        self._drawn = True

    def _seconds_left(self):
        ended = self._done + self._failed - self._before
        if not ended:
            return None
        left = len(self._plan.runs) - self._done - self._failed
        return (time.monotonic() - self._began) / ended * left

    def _erase(self):
        if self._drawn:
            self._stream.write("\x1b[2F\x1b[J")  # two lines up, clear what follows
            self._drawn = False

    def _write(self, line):
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except BrokenPipeError:
            let_go(self._stream)


def let_go(stream):
    """Lead ``stream``, whose reader has gone, to nowhere: that nobody looks any more stops no run."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def label(run, names):
    """Return the parameters ``names`` of a run on one line."""
    return " ".join(f"{name}={printable(str(run.parameters[name]))}" for name in names)


def printable(text):
    """Return ``text`` on one line, with escapes for what would steer a terminal or has no encoding.

    Examples
    --------
    >>> print(printable("n = 2\\n\\x1b[2J Größe"))
    n = 2 \\x1b[2J Größe
    """
    text = " ".join(text.split())
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def varying(runs):
    """Return the names of the parameters that differ between some of the runs."""
    if len(runs) < 2:
        return []
    first = runs[0].parameters
    return [name for name in first if any(run.parameters[name] != first[name] for run in runs)]


def duration(seconds):
    """Return seconds in words.

    Examples
    --------
    >>> duration(3725), duration(59.6), duration(None)
    ('1 h 02 min', '1 min 00 s', 'unknown')
    """
    if seconds is None:
        return "unknown"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {seconds:02} s" if minutes else f"{seconds} s"
