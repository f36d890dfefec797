"""Writing files so that a reader never meets half of one."""

import os
import secrets
from contextlib import suppress
from pathlib import Path


def write_whole(path, content):
    """Write bytes to ``path`` so that a reader sees all of them or the file that was there before.

    A symbolic link stays one: the file it points to is written.

    Raises
    ------
    ValueError
        ``path`` is empty, or names something that is no regular file.
    OSError
        The folder is missing, or as the system says; ``path`` is then as it was.
    """
    path = _target(path)
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
    except BaseException as error:
        with suppress(OSError):
            os.unlink(aside)
        if isinstance(error, OSError) and error.errno:
            # The user asked for this name, and not for the hidden one beside it.
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise
    sync_folder(path.parent)


def _target(path):
    """Return the file to write, links followed, or refuse in one sentence."""
    if not os.fspath(path) or not Path(path).name:
        raise ValueError(f"path {os.fspath(path)!r} names no file; pass a name such as 'result.json'.")
    target = Path(os.path.realpath(path))
    # A rename would put a file in the place of a pipe or a device, and /dev/null would be gone.
    if target.exists() and not target.is_file():
        kind = "a folder" if target.is_dir() else "no regular file"
        raise ValueError(f"{str(path)!r} is {kind}; pass the name of a file.")
    if not target.parent.exists():
        raise FileNotFoundError(f"there is no folder {str(target.parent)!r}; make it first.")
    return target


def sync_folder(folder):
    """Make the names in ``folder`` durable, where the system can do that for a folder."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
