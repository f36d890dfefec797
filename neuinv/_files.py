"""Writing files so that a reader never meets half of one."""

import os
import secrets
from contextlib import suppress
from pathlib import Path


def write_whole(path, content):
    """Write bytes to ``path`` so that a reader sees all of them or the file that was there before.

    Raises
    ------
    OSError
        As the system says; ``path`` is then as it was.
    """
    path = Path(path)
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        try:
            view = memoryview(content)
            while view:
                view = view[os.write(handle, view) :]
            # Without it a power cut after the rename could leave an empty file of the final name.
            os.fsync(handle)
        finally:
            os.close(handle)
        os.replace(aside, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(aside)
        raise
    sync_folder(path.parent)


def sync_folder(folder):
    """Make the names in ``folder`` durable, where the system can do that for a folder."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
