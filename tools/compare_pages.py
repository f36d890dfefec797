"""Compare what two runs of one notebook printed, within the digits that the page shows."""

import re
from decimal import Decimal

import notebook_guards as guards

_NUMBER = re.compile(r"(?<![\w.])[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?(?![\w])")


def differences(committed, executed):
    """Return where the printed text of two runs of one notebook differs, as sentences.

    Parameters
    ----------
    committed, executed : NotebookNode
        The page, and the run; the cell that papermill adds is left out.
    """
    cells = [cell for cell in executed.cells if "injected-parameters" not in cell.metadata.get("tags", [])]
    if len(cells) != len(committed.cells):
        return [f"{len(cells)} cells were run, the page has {len(committed.cells)}"]
    found = []
    for number, (before, after) in enumerate(zip(committed.cells, cells, strict=True), 1):
        if _is_compared(before):
            lines = compare_text(guards.printed(before), guards.printed(after))
            found += [f"cell {number}, {line}" for line in lines]
    return found


def num_lines(notebook):
    """Return how many printed lines of a notebook are compared."""
    return sum(len(guards.printed(cell).splitlines()) for cell in notebook.cells if _is_compared(cell))


def _is_compared(cell):
    return cell.cell_type == "code" and not guards.is_ignored(cell)


def compare_text(page, run):
    """Compare two printed texts line by line; return a sentence for each line that differs."""
    before, after = page.splitlines(), run.splitlines()
    if len(before) != len(after):
        return [f"{len(after)} lines printed, {len(before)} on the page"]
    return [
        f"line {number}: {new.strip()!r}, on the page {old.strip()!r}"
        for number, (old, new) in enumerate(zip(before, after, strict=True), 1)
        if not lines_agree(old, new)
    ]


def lines_agree(page, run):
    """Whether two lines have the same words and integers, and other numbers within one last digit.

    Integers are counts, sizes and indices: off by one is wrong there, not rounding.
    """
    # A sign or an exponent that changes the width of a number moves the blanks around it.
    skeletons = [_NUMBER.sub("#", line).split() for line in (page, run)]
    pairs = zip(_NUMBER.findall(page), _NUMBER.findall(run), strict=False)
    return skeletons[0] == skeletons[1] and all(_numbers_agree(old, new) for old, new in pairs)


def _numbers_agree(old, new):
    if "." not in old + new and "e" not in (old + new).lower():
        return int(old) == int(new)
    first, second = Decimal(old), Decimal(new)
    unit = max(Decimal(1).scaleb(value.as_tuple().exponent) for value in (first, second))
    return abs(first - second) <= unit
