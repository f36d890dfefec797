"""Run folders named by what they compute: written aside, renamed when complete, skipped when there."""

import errno
import json
import os
import re
import secrets
import shutil
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from neuinv._files import sync_folder, write_whole
from neuinv.records.values import canonical, digest, to_json

MARKER = "complete.json"
_LOCK = ".lock"
_PARTIAL = re.compile(r"([0-9a-f]{32})\.[0-9a-f]{12}\.partial")


@dataclass(frozen=True)
class RunFolder:
    """Where to write a run.

    Attributes
    ----------
    path : Path
        A private folder to write into; the final one when ``complete``.
    complete : bool
        The run is there already: skip it.
    """

    path: Path
    complete: bool


@dataclass(frozen=True)
class PartialRun:
    """A run that has begun and not ended: its ``key``, its ``path``, and whether its process is ``alive``."""

    key: str
    path: Path
    alive: bool


def run_key(**identity):
    """Return the name of the run that computes ``identity``: 32 hexadecimal digits.

    The order of the arguments does not matter.  1, 1.0 and True are three different
    values, a list and a tuple of the same items are one.

    Raises
    ------
    TypeError, ValueError
        No arguments, or a value strict JSON cannot hold.

    Examples
    --------
    >>> run_key(family="wishart", n=8) == run_key(n=8, family="wishart")
    True
    >>> run_key(n=8) == run_key(n=8.0)
    False
    """
    if not identity:
        raise ValueError(
            "run_key() got nothing to tell runs apart by; pass run_key(notebook=..., n=..., seed=...)."
        )
    return digest(to_json(identity, "identity"))[:32]


def is_complete(root, key):
    """Return whether the run ``key`` below ``root`` ended well and has all its files at full size."""
    folder = Path(root) / _checked(key)
    try:
        marker = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        return marker["key"] == key and all(
            (folder / name).stat().st_size == size for name, size in marker["sizes"].items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


@contextmanager
def run_folder(root, key, *, keep_failed=False):
    """Run a body in a private folder that becomes ``root/key`` at once when the body ends well.

    When two processes compute one run, the first to end wins and the other's copy is
    dropped; both are right, since the key names everything the result depends on.

    Parameters
    ----------
    root : str or Path
        The folder of the study; made when missing.
    key : str
        From :func:`run_key`.
    keep_failed : bool
        Whether a body that raises leaves its folder as ``KEY.*.failed``; otherwise it is removed.

    Yields
    ------
    RunFolder
        With ``complete`` True when there is nothing to do.

    Raises
    ------
    ValueError
        ``key`` is not one of :func:`run_key`.
    """
    root, final = Path(root), Path(root) / _checked(key)
    if is_complete(root, key):
        yield RunFolder(final, True)
        return
    _remove_dead(root, key)
    partial, lock = _begin(root, key)
    try:
        yield RunFolder(partial, False)
        _mark(partial, key)
        _publish(partial, final, key)
    except BaseException:
        if keep_failed and partial.is_dir():
            for name in (MARKER, _LOCK):
                (partial / name).unlink(missing_ok=True)
            partial.rename(partial.with_suffix(".failed"))
        raise
    finally:
        os.close(lock)
        shutil.rmtree(partial, ignore_errors=True)


def partial_runs(root):
    """Return the :class:`PartialRun` below ``root``, sorted by name.

    A process holds a lock on its partial folder, which the system drops when the process
    dies, even by SIGKILL.  Where the file system has no locks every run counts as alive.
    """
    root = Path(root)
    found = [(_PARTIAL.fullmatch(path.name), path) for path in sorted(root.glob("*.partial"))]
    return [PartialRun(match[1], path, _alive(path)) for match, path in found if match]


def locks_hold(partial):
    """Return whether a second lock on a partial folder of this process is refused, as it should be.

    It is not on a file system without locks, where nobody can tell a living process from a dead one.
    """
    handle = os.open(Path(partial) / _LOCK, os.O_RDWR)
    try:
        return _try_lock(handle) is False
    finally:
        os.close(handle)


def _checked(key):
    if not isinstance(key, str) or not re.fullmatch(r"[0-9a-f]{32}", key):
        raise ValueError(f"key is {key!r}; pass the 32 hexadecimal digits that run_key(...) returns.")
    return key


def _begin(root, key):
    """Make a private folder and take its lock; return both."""
    root.mkdir(parents=True, exist_ok=True)
    while True:
        partial = root / f"{key}.{secrets.token_hex(6)}.partial"
        partial.mkdir()
        try:
            lock = os.open(partial / _LOCK, os.O_RDWR | os.O_CREAT)
        except FileNotFoundError:
            continue
        # Between the two calls above and this one somebody may have taken us for dead.
        if _try_lock(lock) is not False and (partial / _LOCK).exists():
            return partial, lock
        os.close(lock)


def _try_lock(handle):
    """Return True when the lock was free, False when a process holds it, None when there are no locks."""
    try:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError):
        return None
    return True


def _alive(partial):
    try:
        handle = os.open(partial / _LOCK, os.O_RDWR)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    try:
        return _try_lock(handle) is not True
    finally:
        os.close(handle)


def _remove_dead(root, key):
    """Remove what killed processes left of this run, holding its lock so that no one else takes it up."""
    for run in partial_runs(root):
        if run.key != key or run.alive:
            continue
        with suppress(OSError):
            # Created when missing: a process that has just made the folder must lose the race, not its files.
            handle = os.open(run.path / _LOCK, os.O_RDWR | os.O_CREAT)
            try:
                if _try_lock(handle):
                    shutil.rmtree(run.path, ignore_errors=True)
            finally:
                os.close(handle)


def _mark(partial, key):
    """Write the completion marker last, when every other byte is on the disk."""
    sizes = {}
    for path in sorted(partial.rglob("*")):
        if path.is_file() and path.name != _LOCK:
            with path.open("rb") as stream:
                os.fsync(stream.fileno())
            sizes[path.relative_to(partial).as_posix()] = path.stat().st_size
    write_whole(partial / MARKER, (canonical({"key": key, "sizes": sizes}) + "\n").encode())


def _publish(partial, final, key):
    """Rename ``partial`` to ``final``, unless another process was first."""
    for _ in range(10):
        try:
            os.rename(partial, final)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.EACCES):
                raise
            if is_complete(final.parent, key):
                return
            # A folder of that name that lacks files was tampered with or cut: set it aside, keep the bytes.
            with suppress(FileNotFoundError):
                os.rename(final, final.with_name(f"{key}.{secrets.token_hex(6)}.failed"))
        else:
            (final / _LOCK).unlink(missing_ok=True)
            sync_folder(final.parent)
            return
    raise OSError(errno.EBUSY, "the run could not be put in place; is a program writing there?", str(final))
