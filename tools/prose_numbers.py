"""Find measured numbers that somebody typed into a sentence of the book.

    python tools/prose_numbers.py [PAGE...]     exit 1 where a sentence has a number that nothing prints

A number of a sentence must be printed by a cell of the same page, rounded at most, or be a setting of it: a
parameter, or a whole number or power of ten that its code or the sweep file of its study holds.  What else
may stand is in the list of exceptions, ``book/prose_numbers.yaml``: another page that prints it, or the
reason why it was not measured.

Left out: code, mathematics, numbered statements with their proofs, what this project's tools write, and whole
numbers up to 12 that are no ratios, which count things of the text.  Numbers in words are not seen.
"""

import argparse
import json
import re
import sys
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXCEPTIONS = "book/prose_numbers.yaml"
EVERYWHERE = "everywhere"  # the entry for numbers that may stand on every page
BEGIN, END = "<!-- written by", "<!-- end of what"

_FENCE = re.compile(r"^(\s*)(:{3,}|`{3,})(.*)$")
# What a sentence refers to or quotes: code, mathematics, roles, links, comments.
_QUOTED = re.compile(
    r"(?:\{[a-z:_-]+\})?`+[^`]*`+|\$\$.*?\$\$|\$[^$\n]*\$|!?\[[^\]]*\]\([^)]*\)|<[^>\n]+>|\([a-z0-9-]+\)=$",
    re.DOTALL | re.MULTILINE,
)
# Signs and powers of ten included: -0.3, 1e-6, 12 %, 1 000 is two numbers.
NUMBER = re.compile(r"(?<![\w.,^_{/-])-?\d+(?:\.\d+)?(?:e[+-]?\d+)?(?:\s?%)?(?![\w}]|\.\d)")
_PRINTED = re.compile(r"[-+]?(?:\d+\.\d*|\.\d+|\d+)(?:[eE][-+]?\d+)?")
_SETTING = re.compile(r"^\w+: [^=\n]+= (.+?)(?:\s+#.*)?$", re.MULTILINE)
# Whole numbers and powers of ten of the code; a decimal fraction there may be the copy of a result.
_LITERAL = re.compile(r"(?<![\w.])(?:\d[\d_]*|1(?:\.0)?e[+-]?\d+)(?![\w.])")
_RATIO = re.compile(r"factors? of(?: about| between \S+ and| at most)? *\Z")
_INLINE = re.compile(r"\$([^$\n]+)\$")
_DECIMAL = re.compile(r"(?<![\d.])\d+\.\d+")
_TIMES = re.compile(r"\s*(?:times|-fold)\b")
SMALL = 12  # up to here a whole number counts things of the text: 'the second of 3 steps'


@dataclass(frozen=True)
class Found:
    """A number of a sentence: the line of the page, the number as it is written, and the line around it."""

    line: int
    text: str
    before: str
    after: str


def prose(text, formulas=False):
    """Return the lines of a page with everything but its sentences blanked; lines keep their numbers.

    With ``formulas`` those inside of a line stay.
    """
    lines, kept, fences = text.splitlines(), [], []
    header = lines[:1] == ["---"]
    generated = False
    for number, line in enumerate(lines):
        if header:
            header = number == 0 or line != "---"
            kept.append("")
            continue
        generated = generated or line.startswith(BEGIN)
        match = _FENCE.match(line)
        if match and not generated:
            _step(fences, match.group(2), match.group(3).strip())
            kept.append("")
        else:
            kept.append("" if generated or any(skipped for _, skipped in fences) else line)
        generated = generated and not line.startswith(END)

    def blank(match):
        inline = formulas and _INLINE.fullmatch(match.group())
        return match.group() if inline else re.sub(r"[^\n]", " ", match.group())

    return _QUOTED.sub(blank, "\n".join(kept)).split("\n")


def _step(fences, mark, info):
    """Enter or leave a fenced block; only admonitions hold sentences."""
    if not info and fences and fences[-1][0] == mark:
        fences.pop()
    elif info or not fences:
        sentences = re.match(r"\{(note|tip|warning|admonition|important)\}", info)
        fences.append((mark, not sentences))


def captions(text):
    """Return the captions of the figures of a notebook, which are sentences inside of code cells."""
    found = []
    for match in re.finditer(r"^(:?\s*)caption: (.*(?:\n\1\s{2,}.*)*)", text, re.MULTILINE):
        line = text.count("\n", 0, match.start()) + 1
        found.append((line, _QUOTED.sub(" ", " ".join(match.group(2).split()))))
    return found


def numbers(text):
    """Return the numbers in the sentences of a page that may be measured."""
    pairs = list(enumerate(prose(text), start=1)) + captions(text)
    found = [
        Found(line, match.group(), sentence[: match.start()], sentence[match.end() :])
        for line, sentence in pairs
        for match in NUMBER.finditer(sentence)
    ]
    return [one for one in found if not _counts(one)] + _in_mathematics(text)


def _in_mathematics(text):
    """Return the decimal fractions inside of formulas of sentences."""
    found = []
    for line, sentence in enumerate(prose(text, formulas=True), start=1):
        for formula in _INLINE.finditer(sentence):
            for match in _DECIMAL.finditer(formula.group(1)):
                around = sentence[: formula.start()], sentence[formula.end() :]
                found.append(Found(line, match.group(), *around))
    return found


def _counts(found):
    """Whether it is a small whole number that is no ratio: it counts things of the text."""
    ratio = _RATIO.search(found.before) or _TIMES.match(found.after)
    return not ratio and found.text.isdigit() and int(found.text) <= SMALL


def printed(notebook):
    """Return every number that the cells of an executed notebook print, and its settings."""
    found = set()
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            text = output.get("text", output.get("data", {}).get("text/plain", ""))
            found |= set(_PRINTED.findall("".join(text)))
        if "parameters" in cell.get("metadata", {}).get("tags", []):
            for value in _SETTING.findall("".join(cell["source"])):
                found |= set(_PRINTED.findall(value.replace("_", "")))
        if cell["cell_type"] == "code":
            found |= {literal.replace("_", "") for literal in _LITERAL.findall("".join(cell["source"]))}
    return {value for value in map(_decimal, found) if value is not None}


def _decimal(text):
    try:
        return Decimal(text)
    except InvalidOperation:
        return None


def is_printed(written, values):
    """Tell whether a written number is one of the values, rounded to the digits that are written.

    12 % is also 0.12 printed; a sign may be left to the words around it.
    """
    percent = written.endswith("%")
    number = Decimal(written.rstrip("% \u00a0")).copy_abs()
    step = Decimal(1).scaleb(number.as_tuple().exponent)
    candidates = [value.copy_abs() for value in values]
    if percent:
        candidates += [100 * value for value in candidates]
    return any(abs(value - number) <= step / 2 for value in candidates)


def faults(page, root=ROOT, exceptions=None):
    """Return one sentence for each number of a page that nothing on it prints.

    Parameters
    ----------
    page : str
        Such as ``notebooks/why-cannot``.
    root : Path
        The project, or a copy of it.
    exceptions : dict, optional
        Page to the numbers that may stand there, each with its reason; read from the project by default.
    """
    text = (Path(root) / f"{page}.md").read_text(encoding="utf-8")
    values = printed_on(page, root)
    listed = read_exceptions(root) if exceptions is None else exceptions
    allowed = {**listed.get(EVERYWHERE, {}), **listed.get(page, {})}
    found = []
    for one in numbers(text):
        given = allowed.get(one.text)
        other = given.get("printed_by") if isinstance(given, dict) else None
        if is_printed(one.text, values) or (given and not other):
            continue
        if other is None or not is_printed(one.text, printed_on(other, root)):
            place = "" if other is None else f" on {other}"
            found.append(
                f"{page}.md, line {one.line}: nothing prints {one.text!r}{place} in"
                f" {(one.before[-60:] + one.text + one.after[:60]).strip()!r}; print it, or say it in words."
            )
    return found


def printed_on(page, root=ROOT):
    """Return what the executed twin of a page prints, and its settings; nothing for a page without code."""
    twin = Path(root) / f"{page}.ipynb"
    if not twin.exists():
        return set()
    notebook = json.loads(twin.read_text(encoding="utf-8"))
    return printed(notebook) | _settings_of_study(notebook, Path(root))


def _settings_of_study(notebook, root):
    """Return the settings of the study that a page loads: its sweep file and the notebook it runs."""
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    study = re.search(r'^study: str = "([a-z-]+)"', "\n".join(cells), re.MULTILINE)
    path = root / "notebooks" / "sweeps" / f"{study.group(1)}.yaml" if study else None
    if path is None or not path.exists():
        return set()
    text = path.read_text(encoding="utf-8")
    found = {Decimal(value.replace("_", "")) for value in _LITERAL.findall(text)}
    swept = re.search(r"^notebook: (\S+)", text, re.MULTILINE)
    twin = path.parent / swept.group(1) if swept else None
    if twin is not None and twin.exists():
        content = json.loads(twin.read_text(encoding="utf-8"))
        tagged = [c for c in content["cells"] if "parameters" in c.get("metadata", {}).get("tags", [])]
        found |= printed({"cells": [{**cell, "outputs": []} for cell in tagged]})
    return found


def unused(page, root=ROOT):
    """Return the exceptions of a page that it no longer needs."""
    text = (Path(root) / f"{page}.md").read_text(encoding="utf-8")
    written = {one.text for one in numbers(text)}
    return [number for number in read_exceptions(root).get(page, {}) if number not in written]


def read_exceptions(root=ROOT):
    """Return page -> number -> reason."""
    import yaml

    path = Path(root) / EXCEPTIONS
    return yaml.safe_load(path.read_text(encoding="utf-8")) or {} if path.exists() else {}


def pages(root=ROOT):
    """Return every page of sentences, those outside of the table of contents included."""
    root = Path(root)
    return [
        f"{path.parent.name}/{path.stem}"
        for folder in ("book", "notebooks")
        for path in sorted((root / folder).glob("*.md"))
    ]


def main(arguments=None):
    """Run the command line and return its exit code: 0 fine, 1 a number that nothing prints."""
    parser = argparse.ArgumentParser(
        description="Find numbers in sentences that nothing prints.",
        epilog="example: python tools/prose_numbers.py notebooks/why-cannot",
    )
    parser.add_argument("pages", nargs="*", help="such as notebooks/why-cannot; none means every page")
    chosen = parser.parse_args(arguments).pages or pages()
    found = [sentence for page in chosen for sentence in faults(page)]
    print("\n".join(found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
