"""Look through a Matrix Market file before SciPy reads it: SciPy drops what follows a number on its line."""

import re

SHORTEST_LINE = 5  # bytes of an entry, as in "1 1 1"
KINDS = {"real": "f", "double": "f", "complex": "c", "integer": "i", "unsigned-integer": "u"}
# NaN and infinity pass here: the check of the matrix refuses them by their own name.
_NUMBER = rb"[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|nan|inf(?:inity)?)"
_ENTRY = {
    "coordinate": re.compile(rb"(\d+)\s+(\d+)\s+" + _NUMBER, re.IGNORECASE),
    "array": re.compile(_NUMBER, re.IGNORECASE),
}


def inspect(file):
    """Return the shape, the kind letter of the entries, and a function that looks for a damaged entry.

    Parameters
    ----------
    file : Path
        A .mtx file; whatever SciPy raises on its header passes through.

    Returns
    -------
    shape : (int, int)
        Rows and columns.
    code : str
        As in NumPy: ``f`` for real entries; ``?`` where there are none.
    complaint : callable
        Without arguments; reads the file and returns the complaint about it, or None.
    """
    from scipy import io

    rows, columns, entries, layout, field, symmetry = io.mminfo(file)

    def complaint():
        if layout == "coordinate" and entries * SHORTEST_LINE > file.stat().st_size:
            # the reader would make room for all of them before it finds out
            return f"it has no room for {entries} entries; write it again"
        return _damaged_entry(file, layout, symmetry)

    return (rows, columns), KINDS.get(field, "?"), complaint


def _damaged_entry(file, layout, symmetry):
    entry = _ENTRY[layout]
    for number, line in _entries(file):
        found = entry.fullmatch(line)
        if found is None:
            wanted = "a row, a column and a number" if layout == "coordinate" else "one number"
            text = line[:40].decode(errors="replace")
            return f"line {number} is {text!r}; write {wanted}, such as 1.5 or 2e-3"
        if layout == "coordinate" and symmetry != "general":
            row, column = int(found[1]), int(found[2])
            # The reader mirrors an entry above the diagonal too, and adds it to the one below.
            if row < column or (row == column and symmetry == "skew-symmetric"):
                return (
                    f"line {number} is outside the lower triangle that a {symmetry} file stores; leave it out"
                )
    return None


def _entries(file):
    """Yield line number and text of the lines after the one of the sizes, blank ones left out."""
    sizes_seen = False
    with file.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            line = line.strip()
            if not line or (line.startswith(b"%") and not sizes_seen):
                continue
            if sizes_seen:
                yield number, line
            sizes_seen = True


def read(file):
    """Return the matrix in the file as a dense NumPy array."""
    from scipy import io, sparse

    A = io.mmread(file)
    return A.toarray() if sparse.issparse(A) else A
