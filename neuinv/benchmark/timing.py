"""Times of several functions under the same conditions: interleaved, in random order, with their spread."""

import functools
import gc
import random
import time
from dataclasses import dataclass

import numpy as np
import torch

__all__ = ["Quartiles", "interleaved", "quartiles", "time_once"]


@dataclass(frozen=True)
class Quartiles:
    """The quartiles of some times, in seconds."""

    low: float
    median: float
    high: float


def quartiles(times):
    """Return the :class:`Quartiles` of a sequence of numbers, between two of them by linear interpolation.

    Raises
    ------
    ValueError
        There are none.

    Examples
    --------
    >>> quartiles([4.0, 1.0, 3.0, 2.0, 5.0])
    Quartiles(low=2.0, median=3.0, high=4.0)
    """
    if len(times) == 0:
        raise ValueError("there are no times to summarise; pass at least one.")
    return Quartiles(*(float(q) for q in np.quantile(np.asarray(times, dtype=float), (0.25, 0.5, 0.75))))


def interleaved(functions, repetitions, device, seed=0):
    """Call each function once in each repetition, in an order drawn anew, and return the times.

    Whatever drifts, such as a clock or a neighbour's load, then hits all functions alike. Garbage is not
    collected meanwhile.

    Parameters
    ----------
    functions : dict of str to callable
        Without arguments. They should have been called before: a first call does more.
    repetitions : int, or dict of str to int
        How often, or how often each function; those with fewer repetitions are in the first ones.
    device : torch.device
        On CUDA the time is that between two events on the device. On the CPU with one thread it is the time
        of the processor, which a neighbour's load does not add to; with more threads that of the clock.
    seed : int
        For the orders.

    Returns
    -------
    dict of str to list of float
        Seconds, in the order of the repetitions.
    float
        The share of the time during which this process had a processor, for each of torch's threads; 1 on a
        quiet machine, and NaN on CUDA.
    """
    order, names = random.Random(seed), list(functions)
    times = {name: [] for name in names}
    counts = repetitions if isinstance(repetitions, dict) else dict.fromkeys(names, repetitions)
    once = functools.partial(_once_on_cuda, device=device) if device.type == "cuda" else _once
    if device.type == "cpu" and torch.get_num_threads() == 1:
        once = functools.partial(_once, clock=time.process_time)
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        wall, busy = time.perf_counter(), time.process_time()
        for number in range(max(counts.values(), default=0)):
            for name in order.sample(names, len(names)):
                if number < counts[name]:
                    times[name].append(once(functions[name]))
        wall, busy = time.perf_counter() - wall, time.process_time() - busy
    finally:
        if collecting:
            gc.enable()
    share = busy / wall / torch.get_num_threads() if device.type == "cpu" else float("nan")
    return times, share


def time_once(function, device):
    """Return the seconds of one call, as :func:`interleaved` measures it."""
    return _once_on_cuda(function, device) if device.type == "cuda" else _once(function)


def _once(function, clock=time.perf_counter):
    began = clock()
    function()
    return clock() - began


def _once_on_cuda(function, device):
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize(device)
    begin.record()
    function()
    end.record()
    torch.cuda.synchronize(device)
    return begin.elapsed_time(end) / 1000
