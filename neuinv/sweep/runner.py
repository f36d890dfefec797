"""One run in a process of its own: ``python -m neuinv.sweep.runner``.

The task comes as one line of JSON on standard input, the outcome goes as one line to
standard output.  Standard input stays open until the process that asked for the run
ends it: its end means that nobody waits for this run any more, and kernel and runner
die at once.  So no kill, of whatever process, leaves a kernel behind.
"""

import errno
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

from neuinv._files import write_whole
from neuinv.records import (
    code_hash,
    is_complete,
    load_records,
    package_hash,
    partial_runs,
    run_folder,
    run_key,
)
from neuinv.records.runs import locks_hold

NOTEBOOK, RUN_FILE, FAILURE_FILE, LOG = "notebook.ipynb", "run.json", "failure.json", "log.txt"
# No room, on the disk or in the quota: to go on would only fail every other run.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


class RunFailed(Exception):
    """A run that ended badly; the message is one sentence."""


class _NothingToDo(Exception):
    """Another process is at this very run, or has just completed it; the argument is the state."""


def main():
    """Read a task, do it, and write the outcome."""
    lifeline, answers = os.dup(0), os.fdopen(os.dup(1), "w", encoding="utf-8")
    task = json.loads(_read_line(lifeline))
    # The kernel inherits 0, 1 and 2; neither the lifeline nor the answers must be among them.
    _redirect(os.devnull, 0, 1)
    threading.Thread(target=_watch, args=(lifeline,), daemon=True).start()
    began = time.monotonic()
    outcome = execute(task)
    answers.write(json.dumps({**outcome, "seconds": round(time.monotonic() - began, 3)}) + "\n")
    answers.flush()


def _read_line(handle):
    line = b""
    while not line.endswith(b"\n"):
        piece = os.read(handle, 65536)
        if not piece:
            sys.exit("no task came; this program is started by 'neuinv sweep run'.")
        line += piece
    return line


def _redirect(path, *targets):
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    for target in targets:
        os.dup2(handle, target)
    os.close(handle)


def _watch(lifeline):
    with suppress(OSError):
        os.read(lifeline, 1)
    _kill_kernel()
    for folder in _settings:
        shutil.rmtree(folder, ignore_errors=True)
    os.kill(os.getpid(), signal.SIGKILL)


def execute(task):
    """Do the run that ``task`` describes unless it is complete, and return its outcome.

    Parameters
    ----------
    task : dict
        From ``Plan.task``.

    Returns
    -------
    dict
        ``state`` is "done", "skipped", "elsewhere", "failed", or "full" when there is no room on
        the disk; ``error`` says in one sentence what went wrong.
    """
    root, key = Path(task["folder"]), task["key"]
    run = None
    try:
        _check(task)
        with run_folder(root, key, keep_failed=True) as run:
            if run.complete:
                return {"state": "skipped"}
            _attempt(task, run.path)
    except _NothingToDo as error:
        return {"state": error.args[0]}
    except RunFailed as error:
        return {"state": "failed", "error": str(error)}
    except OSError as error:
        if error.errno in NO_ROOM:
            if run is not None:
                shutil.rmtree(run.path.with_suffix(".failed"), ignore_errors=True)
            return {"state": "full", "error": f"{error.strerror}; make room and run the same command again."}
        return {"state": "failed", "error": f"{type(error).__name__}: {error}"}
    # Judged by what is on the disk, not by what has been done.
    if not is_complete(root, key):
        return {"state": "failed", "error": "the folder of the run is not complete."}
    return {"state": "done"}


def _check(task):
    """Refuse a run that would not compute what its key says."""
    if run_key(**task["identity"]) != task["key"]:
        raise RunFailed("the task was altered on its way here; start the sweep again.")
    if package_hash() != task["identity"]["package"]:
        raise RunFailed(
            "this worker has another state of the package neuinv; install the same one everywhere."
        )
    for name in ("source", "directory"):
        if not Path(task[name]).exists():
            raise RunFailed(f"this worker does not see {task[name]}; use a folder that all workers share.")
    with suppress(ValueError):
        if code_hash(task["source"]) == task["identity"]["code"]:
            return
    raise RunFailed("the sweep's copy of the notebook was edited; start the sweep again.")


def _attempt(task, folder):
    """Execute the notebook in ``folder`` and accept it; what failed keeps its notebook and its reason."""
    _refuse_double(task["key"], folder)
    began = time.time()
    try:
        notebook = _execute(task, folder)
        _accept(notebook, task, folder)
        identity = {"format": 2, "identity": task["identity"], "seconds": round(time.time() - began, 3)}
        write_whole(folder / RUN_FILE, (json.dumps(identity, sort_keys=True) + "\n").encode())
    except Exception as error:
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        if not folder.is_dir():
            raise RunFailed("the folder of the run is there no more; does the notebook remove it?") from None
        _keep_failure(task, folder, error, began)
        if isinstance(error, RunFailed):
            raise
        raise RunFailed(_sentence(error)) from error


def _refuse_double(key, folder):
    """Leave a run to the process that is at it; our own folder is there, so one of the two always sees it.

    The order matters: a run that ends between the two questions is answered by the second.
    """
    others = [run for run in partial_runs(folder.parent) if run.key == key and run.path != folder]
    if locks_hold(folder) and any(run.alive for run in others):
        state = "elsewhere"
    elif is_complete(folder.parent, key):
        state = "skipped"
    else:
        return
    shutil.rmtree(folder)
    raise _NothingToDo(state)


def _sentence(error):
    return " ".join(f"{type(error).__name__}: {error}".split())[:500]


def _keep_failure(task, folder, error, began):
    """Write why a run failed, and drop the folders of its earlier failures."""
    content = {"key": task["key"], "parameters": task["identity"]["parameters"], "error": _sentence(error)}
    content["seconds"] = round(time.time() - began, 3)
    with suppress(OSError):
        write_whole(folder / FAILURE_FILE, (json.dumps(content, sort_keys=True) + "\n").encode())
        for earlier in folder.parent.glob(f"{task['key']}.*.failed"):
            # One without that file holds a run that somebody damaged: its bytes are kept.
            if (earlier / FAILURE_FILE).exists():
                shutil.rmtree(earlier, ignore_errors=True)


def _accept(notebook, task, folder):
    """Refuse a notebook that did not come to its end, and records that are not of this run."""
    about = notebook.metadata.papermill
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    ended = all(cell.metadata.papermill.get("status") == "completed" for cell in cells)
    if not about.get("end_time") or about.get("exception") or not ended:
        raise RunFailed("the notebook did not come to its end; run the sweep again.")
    for record in load_records(folder):
        if record["provenance"]["package"]["hash"] != task["identity"]["package"]:
            raise RunFailed("the package neuinv changed while the notebook ran; start the sweep again.")


# --- papermill -------------------------------------------------------------------------------------

_kernels, _settings = [], []
# Of the folder of a socket: the system allows some hundred bytes for the whole name.
_LONGEST_SOCKET = 80


def _execute(task, folder):
    """Run the notebook through papermill in a kernel of this interpreter; return the executed notebook."""
    from nbclient.exceptions import DeadKernelError
    from papermill import execute_notebook
    from papermill.exceptions import PapermillExecutionError

    expired, ended = threading.Event(), threading.Event()

    def expire():
        if ended.wait(task["timeout"]):
            return
        expired.set()
        # Again and again: the kernel may be only just starting.
        while not ended.wait(0.2):
            _kill_kernel()

    with tempfile.TemporaryDirectory(prefix="neuinv-", ignore_cleanup_errors=True) as settings:
        _settings.append(settings)
        # Not in the run folder: a process that the notebook left behind may write to it later on.
        log = os.path.join(settings, LOG)
        _redirect(log, 1, 2)
        os.environ.update(_environment(task, folder, settings))
        if task["timeout"]:
            threading.Thread(target=expire, daemon=True).start()
        try:
            notebook = execute_notebook(
                task["source"],
                str(folder / NOTEBOOK),
                parameters=task["given"],
                kernel_name="python3",
                language="python",
                progress_bar=False,
                cwd=task["directory"],
                kernel_manager_class=_kernel_manager(settings),
            )
            if expired.is_set():
                raise RunFailed(_late(task))
            return notebook
        except PapermillExecutionError as error:
            raise _failure(error) from None
        except (DeadKernelError, RuntimeError) as error:
            if expired.is_set():
                raise RunFailed(_late(task)) from None
            if isinstance(error, DeadKernelError) or "Kernel died" in str(error):
                raise RunFailed("the kernel died; is there enough memory?") from None
            raise
        finally:
            ended.set()
            _kill_kernel()
            # A notebook may have deleted the folder: that is then said by what failed before this.
            if os.path.getsize(log) and folder.is_dir():
                shutil.copyfile(log, folder / LOG)


def _late(task):
    return f"it takes more than {task['timeout']} s; raise 'timeout:'."


def _failure(error):
    """Return the exception for a cell that raised: a full disk is told from everything else."""
    text = " ".join(str(error.evalue).split())[:400]
    if error.ename == "OSError" and any(text.startswith(f"[Errno {number}]") for number in NO_ROOM):
        return OSError(errno.ENOSPC, "No space left on device")
    return RunFailed(f"cell {error.cell_index + 1}: {error.ename}: {text}")


def _environment(task, folder, settings):
    """Return what the kernel sees: this very package, no personal settings, the folder for its records."""
    package = Path(__file__).resolve().parent.parent.parent
    return {
        "IPYTHONDIR": os.path.join(settings, "ipython"),
        "NEUINV_KERNEL_PARENT": str(os.getpid()),
        "NEUINV_NOTEBOOK": task["source"],
        "NEUINV_RUN_DIR": str(folder),
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(package), os.environ.get("PYTHONPATH")])),
    }


def _kernel_manager(settings):
    """Return a class of kernel managers that start this interpreter, in private."""
    from ipykernel.kernelspec import get_kernel_dict
    from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager

    class ThisInterpreter(KernelSpecManager):
        """A user's own kernel called python3 may be another Python: never look at it."""

        def get_kernel_spec(self, kernel_name):
            command = [sys.executable, "-P", "-m", "neuinv.sweep.kernel", "-f", "{connection_file}"]
            return KernelSpec(**{**get_kernel_dict(), "argv": command})

    class Manager(AsyncKernelManager):
        def __init__(self, **settled):
            super().__init__(kernel_spec_manager=ThisInterpreter(), **settled)
            # Sockets in a private folder: no port that another user of the machine could reach.
            if os.name == "posix" and len(os.fsencode(settings)) <= _LONGEST_SOCKET:
                self.transport, self.ip = "ipc", os.path.join(settings, "kernel")
            self.connection_file = os.path.join(settings, "connection.json")
            _kernels.append(self)

    return Manager


def _kill_kernel():
    """Kill the kernel, and what it has started, by the process group that it leads."""
    for manager in _kernels:
        group = getattr(manager.provisioner, "pgid", None)
        if group and group != os.getpgid(0):
            with suppress(OSError):
                os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    main()
