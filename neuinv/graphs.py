r"""The steps of a training on a GPU, recorded once as a graph of kernels and then replayed.

A step of a small network is some hundred tiny kernels, and to launch them takes longer than to run them. A
recorded CUDA graph is launched as one. What cannot be recorded runs step by step, with the same result: a
step that waits for the device, as ``.item()``, a branch on a value and :func:`torch.linalg.inv` do.

A recorded step does the same operations each time, so a loss or a network that counts its calls, or changes
with them in another way that torch cannot see, needs the environment variable ``NEUINV_CUDA_GRAPHS=0``, which
switches recording off. On the CPU nothing is ever recorded.
"""

import math
import os
import warnings
from contextlib import contextmanager

import torch

__all__ = ["SWITCH", "CudaCapture", "Stepper", "make_adam", "make_stepper"]

SWITCH = "NEUINV_CUDA_GRAPHS"
REHEARSALS = 3  # steps before the recording: libraries and the optimiser set themselves up in the first ones


class Stepper:
    """Do one step of a training again and again, replayed where it can be recorded.

    Parameters
    ----------
    step : callable
        (tensors) -> None: changes weights in place. It reads nothing else that is replaced rather than
        overwritten, and where it waits for the device it does so before it changes anything.
    capture : CudaCapture, optional
        Records the step; without it every step is done directly.

    Examples
    --------
    >>> total = torch.zeros(2)
    >>> stepper = Stepper(lambda A: total.add_(A))
    >>> for k in range(3):
    ...     stepper(torch.tensor([1.0, k]))
    >>> total.tolist()
    [3.0, 3.0]
    """

    def __init__(self, step, capture=None):
        self.step, self.capture = step, capture
        self.inputs = None
        self.forget()

    @property
    def records(self):
        """Whether the step is, or will be, recorded."""
        return self.capture is not None

    def forget(self):
        """Drop the recording: the step will do other operations from now on."""
        self.replay, self.rehearsed = None, 0

    def __call__(self, *tensors):
        """Do the step on tensors of the shapes of the first call; on others it is done directly."""
        if self.capture is None:
            self.step(*tensors)
            return
        if self.inputs is None:
            self.inputs = [torch.empty_like(tensor) for tensor in tensors]
        if [t.shape for t in tensors] != [t.shape for t in self.inputs]:
            self.step(*tensors)
            return
        # A recording reads from fixed addresses.
        for fixed, tensor in zip(self.inputs, tensors, strict=True):
            fixed.copy_(tensor, non_blocking=True)
        if self.replay is not None:
            self.replay()
        elif self.rehearsed < REHEARSALS:
            self._rehearse()
        else:
            self._record()

    def _again(self):
        self.step(*self.inputs)

    def _rehearse(self):
        self.rehearsed += 1
        if not self.capture.rehearse(self._again, watch=self.rehearsed == REHEARSALS):
            self._give_up()

    def _record(self):
        self.replay = self.capture.record(self._again)
        if self.replay is None:
            self._give_up()
        else:
            # To record a step is not to do it.
            self.replay()

    def _give_up(self):
        self.capture = None
        self._again()


class CudaCapture:
    """Records steps as CUDA graphs.

    Parameters
    ----------
    device : torch.device
        A CUDA device.

    Notes
    -----
    ``torch.cuda.graph`` leaves its stream current when a recording fails; here it is always given back.
    """

    def __init__(self, device):
        self.device = torch.device(device)
        self.stream = torch.cuda.Stream(self.device)

    def rehearse(self, step, *, watch):
        """Do a step beside the main stream; return False if, watched, it waits for the device."""
        with self._aside():
            if not watch:
                step()
                return True
            try:
                with _waiting_raises():
                    step()
            except RuntimeError:
                return False
        return True

    def record(self, step):
        """Return a function that does the step, or None if it cannot be recorded; nothing is computed."""
        graph = torch.cuda.CUDAGraph()
        torch.cuda.synchronize(self.device)
        with self._aside():
            try:
                graph.capture_begin()
                try:
                    step()
                finally:
                    graph.capture_end()
                return graph.replay
            except RuntimeError:
                pass
        # The device's generator still believes that it is being recorded: give it a fresh, equal state.
        index = torch.cuda.current_device() if self.device.index is None else self.device.index
        generator = torch.cuda.default_generators[index]
        generator.graphsafe_set_state(generator.clone_state())
        return None

    @contextmanager
    def _aside(self):
        main = torch.cuda.current_stream(self.device)
        self.stream.wait_stream(main)
        try:
            with torch.cuda.stream(self.stream):
                yield
        finally:
            main.wait_stream(self.stream)


@contextmanager
def _waiting_raises():
    """Let every operation that waits for the device raise a RuntimeError instead."""
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings():
        # torch warns that it does not know all such operations: the recording finds the others.
        warnings.simplefilter("ignore")
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


def make_stepper(step, device):
    """Return the :class:`Stepper` of a device: one that records on a GPU, if ``NEUINV_CUDA_GRAPHS`` is not 0.

    Parameters
    ----------
    step : callable
        As for :class:`Stepper`.
    device : torch.device
        Of the weights.
    """
    record = torch.device(device).type == "cuda" and os.environ.get(SWITCH, "1") != "0"
    return Stepper(step, CudaCapture(device) if record else None)


def make_adam(parameters, learning_rate, num_steps, *, fused=None):
    """Return Adam on a cosine schedule, and the function that takes the learning rate to the next step.

    Parameters
    ----------
    parameters : list of Tensor
        On one device. On a GPU the learning rate is a tensor there, which a recorded step can read.
    learning_rate : float
        Of the first step; at step t it is the (1 + cos(pi t / num_steps)) / 2 fold.
    num_steps : int
        Of the training.
    fused : bool, optional
        As for torch.optim.Adam, on the CPU; on a GPU it is always fused.

    Returns
    -------
    torch.optim.Adam, callable
    """
    if parameters[0].device.type != "cuda":
        optimizer = torch.optim.Adam(parameters, lr=learning_rate, fused=fused)
        return optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, num_steps).step
    # The fused kernel reads a learning rate of single precision.
    rate = torch.tensor(learning_rate, dtype=torch.float32, device=parameters[0].device)
    optimizer = torch.optim.Adam(parameters, lr=rate, fused=True, capturable=True)
    # torch warns of steps outside a recording, which here are the first ones and those that are looked at.
    optimizer._warned_capturable_if_run_uncaptured = True
    return optimizer, Cosine(rate, learning_rate, num_steps)


class Cosine:
    """Fill a tensor with the learning rate of the next step, in closed form and without waiting.

    Examples
    --------
    >>> rate = torch.tensor(1.0)
    >>> advance = Cosine(rate, 1.0, 2)
    >>> advance()
    >>> round(rate.item(), 6)
    0.5
    """

    def __init__(self, rate, peak, num_steps):
        self.rate, self.peak, self.num_steps, self.step = rate, peak, num_steps, 0

    def __call__(self):
        self.step += 1
        self.rate.fill_(self.peak * (1 + math.cos(math.pi * self.step / self.num_steps)) / 2)
