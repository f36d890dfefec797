"""Where runs are executed: one after the other in this process, or on the workers of a Dask cluster.

Both give each run a fresh process, and both can lose it at any moment: what counts is
the run folder, so an engine never has to remember anything.
"""

import asyncio
import logging
import os
import signal
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from neuinv.records import package_hash
from neuinv.sweep.worker import run_task

_ENDED = ("finished", "error", "cancelled", "lost")
_CONNECT_SECONDS = 10
_START_SECONDS = 120


class Serial:
    """One run after the other, without Dask: for job arrays, and where no port may be opened."""

    name = "one run at a time, without Dask"
    slots = window = 1

    def __init__(self):
        self._tasks = []

    def submit(self, task):
        """Keep ``task`` for :meth:`wait`."""
        self._tasks.append(task)

    def wait(self, seconds):
        """Do the next task and return the list of it and its outcome."""
        if not self._tasks:
            time.sleep(seconds)
            return []
        task = self._tasks.pop(0)
        return [(task, run_task(task))]

    def close(self):
        """Forget the tasks that have not begun."""
        self._tasks.clear()


class Dask:
    """Runs on the workers of a Dask cluster.

    Parameters
    ----------
    client : distributed.Client
        Connected; it is closed by :meth:`close`.
    cluster : distributed.LocalCluster, optional
        Closed by :meth:`close` too.
    """

    def __init__(self, client, cluster=None):
        self._client, self._cluster, self._tasks = client, cluster, {}
        workers = client.scheduler_info(n_workers=-1)["workers"].values()
        # Only a cluster that counts its GPUs can be asked for one: elsewhere no worker would ever be chosen.
        gpus = any("GPU" in worker.get("resources", {}) for worker in workers)
        self._resources = {"GPU": 1} if gpus else None
        self.name = f"Dask, {self.slots} at a time" + (", one a GPU" if gpus else "")

    @property
    def slots(self):
        """How many runs the workers do at a time."""
        return sum(self._client.nthreads().values())

    @property
    def window(self):
        """How many tasks to hand over: enough to make an adaptive cluster grow, few enough to list."""
        return 2 * self.slots + 32

    def submit(self, task):
        """Send ``task`` to the cluster."""
        # pure=False: a run that is tried again is a new task, whatever Dask remembers of the old one.
        future = self._client.submit(run_task, task, pure=False, resources=self._resources)
        self._tasks[future.key] = (future, task)

    def wait(self, seconds):
        """Return the tasks that ended within some seconds, each with its outcome.

        Raises
        ------
        ConnectionError
            The scheduler is gone.
        """
        end = time.monotonic() + seconds
        while True:
            ended = [key for key, (future, _) in self._tasks.items() if future.status in _ENDED]
            if self._client.status != "running":
                raise ConnectionError("the scheduler is gone")
            if ended or time.monotonic() > end:
                return [self._outcome(key) for key in ended]
            time.sleep(0.05)

    def _outcome(self, key):
        future, task = self._tasks.pop(key)
        if future.status == "finished":
            return task, future.result()
        reason = future.exception() if future.status == "error" else future.status
        name = type(reason).__name__
        text = "its workers died" if name == "KilledWorker" else f"Dask: {name}: {reason}"
        return task, {"state": "failed", "error": " ".join(text.split())[:500], "seconds": 0.0}

    def close(self):
        """Drop the tasks, and end the cluster if it is a local one."""
        for closing in (self._client, self._cluster):
            # A cluster that is gone, or half gone, has nothing left to close.
            with suppress(Exception):
                if closing is not None:
                    closing.close(timeout=2)


def connect(address, plan):
    """Return the engine of the Dask cluster whose scheduler listens at ``address``.

    Parameters
    ----------
    address : str
        Such as ``tcp://10.0.0.1:8786``.
    plan : Plan
        Its source has been written: every worker must see it.

    Raises
    ------
    ImportError
        Dask is not installed.
    ConnectionError
        Nobody answers.
    ValueError
        The address is malformed, or a worker lacks the package, has another state of it, or does
        not see the folder.
    """
    distributed = _distributed()
    try:
        _greet(address)
        client = distributed.Client(address, timeout=_CONNECT_SECONDS, set_as_default=False)
    except (ValueError, TypeError):
        raise ValueError(f"scheduler {address!r} is no address; write tcp://HOST:PORT.") from None
    except (OSError, TimeoutError):
        raise ConnectionError(
            f"no scheduler answers at {address} within {_CONNECT_SECONDS} s; start one with 'dask scheduler'."
        ) from None
    except Exception:  # such as a MemoryError, where the first bytes of a web server are read as a length
        raise ConnectionError(
            f"what answers at {address} is no Dask scheduler; start one with 'dask scheduler'."
        ) from None
    try:
        surveys = client.run(survey, str(plan.source))
    except Exception as error:
        client.close()
        raise ValueError(f"a worker cannot load neuinv ({error}); install it there.") from None
    for worker, (package, sees) in surveys.items():
        if package != plan.package or not sees:
            client.close()
            wrong = "does not see the folder of the runs; use --folder with one that all workers share"
            if package != plan.package:
                wrong = "has another state of the package neuinv; install the same one"
            raise ValueError(f"the worker {worker} {wrong}.")
    return Dask(client)


def _greet(address):
    """Shake hands with the scheduler and hang up: a client waits for ever where a stranger keeps silent."""
    from distributed.comm import connect as call
    from distributed.security import Security

    async def greet():
        options = Security().get_connection_args("client")
        comm = await asyncio.wait_for(call(address, timeout=_CONNECT_SECONDS, **options), _CONNECT_SECONDS)
        comm.abort()

    # In a thread, because in a notebook this one has a loop already.
    with ThreadPoolExecutor(1) as threads:
        threads.submit(asyncio.run, greet()).result()


def survey(source):
    """Return the hash of the package in this process, and whether it sees the file ``source``."""
    return package_hash(), Path(source).is_file()


def start_local(profile, num_workers=None):
    """Return the engine of a cluster of this machine: a worker a core, or a GPU in the profile ``gpu``.

    Parameters
    ----------
    profile : str
        ``"gpu"`` gives each worker one GPU, which alone its runs see.
    num_workers : int, optional
        Fewer workers than cores or GPUs, or more workers than cores.

    Raises
    ------
    ImportError
        Dask is not installed.
    ValueError
        The profile is ``gpu`` and there is none, or fewer than ``num_workers``.
    """
    distributed = _distributed()
    gpus = visible_gpus() if profile == "gpu" else []
    if profile == "gpu" and not gpus:
        raise ValueError("the profile gpu needs a GPU and nvidia-smi names none; use --profile cpu.")
    if gpus and num_workers is not None and num_workers > len(gpus):
        raise ValueError(f"{num_workers} workers need as many GPUs and there are {len(gpus)}; use fewer.")
    count = num_workers or len(gpus) or available_cores()
    cluster = _local_cluster(distributed, gpus)
    client = distributed.Client(cluster, set_as_default=False)
    with _deaf_to_interrupts():
        # Only a worker that is added later is asked what is special about it.
        cluster.scale(count)
        client.wait_for_workers(count, timeout=_START_SECONDS)
    return Dask(client, cluster)


@contextmanager
def _deaf_to_interrupts():
    """Let the processes that start meanwhile ignore Control-C: the driver alone answers it, and ends them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _local_cluster(distributed, gpus):
    class Cluster(distributed.LocalCluster):
        """A local cluster whose workers differ in the GPU that they, and their runs, can see."""

        def new_worker_spec(self):
            ((name, spec),) = super().new_worker_spec().items()
            if gpus:
                options = {**spec["options"], "resources": {"GPU": 1}}
                options["env"] = {**options.get("env", {}), "CUDA_VISIBLE_DEVICES": gpus[name % len(gpus)]}
                spec = {**spec, "options": options}
            return {name: spec}

    return Cluster(
        n_workers=0,
        threads_per_worker=1,
        # A worker that only waits for its run needs no watching; a limit would not see the kernel anyway.
        memory_limit=0,
        # Any free port of this machine alone: the usual one may be taken by another sweep.
        dashboard_address="127.0.0.1:0",
        worker_dashboard_address=None,
        silence_logs=logging.CRITICAL,
    )


def _distributed():
    """Import Dask without its dashboards, warnings and chatter.

    Raises
    ------
    ImportError
        It is not installed.
    """
    try:
        import dask
        import distributed
    except ImportError:
        raise ImportError(
            "Dask is not installed; run pip install 'neuinv[sweep]', or pass --shard 1/1 to do without it."
        ) from None
    # A run whose worker dies is started again elsewhere, but not for ever: it may be what kills them.
    dask.config.set({"distributed.scheduler.allowed-failures": 3, "distributed.diagnostics.nvml": False})
    # Dask gives some of its loggers a level of their own, so the level of their parent is not enough.
    for name in ["distributed", "tornado", "asyncio", *logging.root.manager.loggerDict]:
        if name.split(".")[0] in ("distributed", "tornado", "asyncio"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
    return distributed


def available_cores():
    """Return how many cores this process may use, which in a container can be fewer than there are."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


def visible_gpus():
    """Return the names by which CUDA_VISIBLE_DEVICES would call the GPUs that this process may use."""
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed is not None:
        return [name.strip() for name in allowed.split(",") if name.strip() not in ("", "-1")]
    try:
        done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return []
    lines = [line for line in done.stdout.splitlines() if line.startswith("GPU ")]
    return [str(number) for number in range(len(lines))] if done.returncode == 0 else []
