"""A Python kernel that dies with the process that started it: ``python -m neuinv.sweep.kernel -f FILE``."""

import os
import signal
import sys


def die_with_parent(parent):
    """Ask Linux to kill this process when ``parent``, the process that started it, is gone.

    Elsewhere nothing is done here: a kernel looks every second whether its parent lives.

    Parameters
    ----------
    parent : int
        Its process id.
    """
    if not sys.platform.startswith("linux"):
        return
    import ctypes

    set_death_signal = 1  # PR_SET_PDEATHSIG
    ctypes.CDLL(None).prctl(set_death_signal, signal.SIGKILL)
    # It may have died before the call above: then nobody would ever send the signal.
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def main():
    """Start the kernel that the command line describes."""
    die_with_parent(int(os.environ.pop("NEUINV_KERNEL_PARENT")))
    from ipykernel import kernelapp

    kernelapp.launch_new_instance()


if __name__ == "__main__":
    main()
