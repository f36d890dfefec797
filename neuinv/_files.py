"""Writing files so that a reader never meets half of one."""

import os
import tempfile
from pathlib import Path


def write_atomically(path, content):
    """Write bytes to a file beside ``path``, flush them to the disk, then rename.

    Parameters
    ----------
    path : path-like
        Replaced if it exists.
    content : bytes
        The whole file.

    Raises
    ------
    OSError
        The folder is missing, read-only or full; ``path`` is then what it was before.
    """
    path = Path(path)
    handle, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(aside, 0o644)  # mkstemp makes private files
        os.replace(aside, path)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise
