"""One training loop for any network and any sampler of matrices, and checkpoints without pickles."""

import enum
import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from neuinv._checks import check_matrices, make_generator
from neuinv._files import write_whole
from neuinv._linalg import inverse, inverse_or_nan
from neuinv.graphs import make_adam, make_stepper

__all__ = [
    "TrainingResult",
    "TrainingStatus",
    "descend",
    "draw_batch",
    "draw_rows",
    "inverse_loss",
    "load_checkpoint",
    "residual_loss",
    "save_checkpoint",
    "train",
]


class TrainingStatus(enum.Enum):
    """How a training ended; the value is a sentence for a reader."""

    FINISHED = "All steps were taken and the loss stayed finite."
    DIVERGED = (
        "The loss became NaN or infinite; the network holds its last finite weights: "
        "lower the learning rate, or keep the matrices away from singular ones."
    )


@dataclass(frozen=True)
class TrainingResult:
    """What a training did: status, loss at about a hundred steps, steps taken, seconds."""

    status: TrainingStatus
    steps: tuple
    losses: tuple
    num_steps: int
    seconds: float


def residual_loss(A, X):
    """Return the mean of ||A X - I||_F^2 / n over the batch, shapes (batch, n, n): no inverse is needed."""
    product = A @ X
    eye = torch.eye(A.shape[-1], dtype=A.dtype, device=A.device)
    return (product - eye).square().sum(dim=(-2, -1)).mean() / A.shape[-1]


def inverse_loss(A, X, exact=None):
    """Return the mean of ||X - A^-1||_F^2 / ||A^-1||_F^2 over the batch, shapes (batch, n, n).

    Parameters
    ----------
    A, X : Tensor, shape (batch, n, n)
        Matrices and approximate inverses.
    exact : Tensor, shape (batch, n, n), optional
        The inverses of A, where they are known.

    Raises
    ------
    torch.linalg.LinAlgError
        A matrix of the batch is exactly singular.
    """
    exact = inverse(A) if exact is None else exact
    scale = exact.square().sum(dim=(-2, -1))
    return ((X - exact).square().sum(dim=(-2, -1)) / scale).mean()


# What the loss needs of A alone: where steps are recorded it is computed before, and no status is waited for.
inverse_loss.target = inverse_or_nan


def train(
    network,
    sampler,
    *,
    num_steps,
    seed,
    batch=256,
    learning_rate=3e-3,
    loss=residual_loss,
    progress=None,
):
    """Train a network in place by Adam with a cosine schedule and gradients clipped to norm 1.

    Parameters
    ----------
    network : torch.nn.Module
        (batch, n, n) -> (batch, n, n); its dtype and device are used.
    sampler : callable
        (batch, generator) -> Tensor (batch, n, n); the generator lives on the CPU.
    num_steps, batch : int
        Number of steps >= 1 and matrices a step.
    seed : int
        Of the generator handed to the sampler.
    learning_rate : float
        Peak of the schedule.
    loss : callable
        (A, X) -> scalar Tensor.
    progress : bool, optional
        Show a bar on stderr; by default only where stderr is a terminal.

    Returns
    -------
    TrainingResult

    Raises
    ------
    TypeError, ValueError
        ``num_steps`` below 1, a bad seed, or a sampler that returns anything but a batch of matrices.

    Notes
    -----
    On a GPU the step is recorded and replayed, see :mod:`neuinv.graphs`. There the entries of a batch are
    looked at in one step of a hundred, and a singular matrix lets :func:`inverse_loss` diverge, not raise.
    """
    if num_steps < 1:
        raise ValueError(f"num_steps is {num_steps}; pass an integer >= 1.")
    parameters = [p for p in network.parameters() if p.requires_grad]
    generator = make_generator(seed)
    start = time.perf_counter()
    if not parameters:
        return TrainingResult(TrainingStatus.FINISHED, (), (), 0, 0.0)
    training = _Single(network, parameters, sampler, batch, generator, loss, learning_rate, num_steps)
    taken, finished = descend(training, num_steps, progress)
    status = TrainingStatus.FINISHED if finished and _finite(parameters) else TrainingStatus.DIVERGED
    if status is TrainingStatus.DIVERGED:
        training.restore()
    seconds = time.perf_counter() - start
    return TrainingResult(status, tuple(training.steps), tuple(training.losses), taken, seconds)


def descend(training, num_steps, progress=None):
    """Take the steps of a training; at about a hundred of them look at the loss.

    Parameters
    ----------
    training : object
        ``draw(look)`` returns the batch, ``evaluate`` takes it to the loss, ``look(step, loss)`` says whether
        to go on, ``update(loss)`` changes the weights, ``advance()`` moves the schedule. ``form`` tells the
        operations of a step from those of another, ``device`` is that of the weights, and ``target`` is what
        ``evaluate`` takes as a second argument where it is known, as a function of the batch, or None.
    num_steps : int
        At least 1.
    progress : bool, optional
        Show a bar on stderr; by default only where stderr is a terminal.

    Returns
    -------
    int, bool
        Steps begun, and whether the last one was done.
    """
    every = max(1, num_steps // 100)
    stepper = make_stepper(lambda *given: training.update(training.evaluate(*given)), training.device)
    form = training.form
    for step in _bar(num_steps, progress):
        # One synchronisation with the device in a hundred steps, not one a step.
        looked = step % every == 0 or step == num_steps - 1
        A = training.draw(looked)
        given = (A,) if training.target is None or not stepper.records else (A, training.target(A))
        if looked:
            value = training.evaluate(*given)
            if not training.look(step, value):
                return step + 1, False
            training.update(value)
            # A recording must find nothing of a backward pass on another stream.
            del value
            if training.form != form:
                form = training.form
                stepper.forget()
        else:
            stepper(*given)
        training.advance()
    return num_steps, True


def draw_batch(sampler, batch, generator, look=True):
    """Return a checked batch; the entries of one on a GPU are looked at only with ``look``."""
    A = sampler(batch, generator)
    on_gpu = isinstance(A, torch.Tensor) and A.device.type == "cuda"
    return check_matrices(A, "the sampler's batch", entries=look or not on_gpu)


def draw_rows(pool, count, generator):
    """Return members of a pool drawn with replacement: a sampler for matrices that are kept on a device.

    Parameters
    ----------
    pool : Tensor, shape (N, n, n)
        The matrices.
    count : int
        How many to draw.
    generator : torch.Generator
        On the CPU, where the numbers of the members are drawn; nobody waits until they are on the device.

    Returns
    -------
    Tensor, shape (count, n, n)

    Examples
    --------
    >>> pool = torch.arange(3.0).reshape(3, 1, 1)
    >>> draw_rows(pool, 4, torch.Generator().manual_seed(0)).flatten().tolist()
    [2.0, 0.0, 2.0, 0.0]
    """
    index = torch.randint(len(pool), (count,), generator=generator)
    if pool.device.type == "cuda":
        index = index.pin_memory().to(pool.device, non_blocking=True)
    return pool[index]


class _Single:
    """The training of one network."""

    form = None

    def __init__(self, network, parameters, sampler, batch, generator, loss, learning_rate, num_steps):
        self.network, self.parameters, self.loss = network, parameters, loss
        self.data = sampler, batch, generator
        self.target, self.device = getattr(loss, "target", None), parameters[0].device
        self.optimizer, self.advance = make_adam(parameters, learning_rate, num_steps)
        self.steps, self.losses, self.kept = [], [], None

    def draw(self, look):
        return draw_batch(*self.data, look).to(self.parameters[0])

    def evaluate(self, A, *target):
        return self.loss(A, self.network(A), *target)

    def look(self, step, value):
        number = value.item()
        if not math.isfinite(number) or not _finite(self.parameters):
            return False
        self.steps.append(step)
        self.losses.append(number)
        self.kept = [p.detach().clone() for p in self.parameters]
        return True

    def update(self, value):
        self.optimizer.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()

    @torch.no_grad()
    def restore(self):
        """Give the network its last finite weights back, if it ever had any."""
        for p, kept in zip(self.parameters, self.kept or self.parameters, strict=True):
            p.copy_(kept)


def _finite(parameters):
    return all(bool(torch.isfinite(p).all()) for p in parameters)


def _bar(num_steps, progress):
    from tqdm import tqdm

    shown = sys.stderr.isatty() if progress is None else progress
    return tqdm(range(num_steps), disable=not shown, unit="step")


def save_checkpoint(path, network, **metadata):
    """Write the weights as safetensors, aside first and then renamed.

    Parameters
    ----------
    path : path-like
        Ends in .safetensors.
    network : torch.nn.Module
        Its state is written.
    **metadata : str
        Stored in the header.

    Raises
    ------
    ValueError
        Another ending, an empty name, or the name of something else than a file.
    TypeError
        Metadata that is not text.
    OSError
        The folder is missing, read-only or full.
    """
    from safetensors.torch import save

    path = Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"{path.name} does not end in .safetensors; checkpoints have no other format.")
    for name, value in metadata.items():
        if not isinstance(value, str):
            raise TypeError(f"metadata {name} is {value!r}; pass text.")
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    content = save(state, metadata=metadata or None)
    write_whole(path, content)


def load_checkpoint(path, network):
    """Load weights written by :func:`save_checkpoint` into a network of the same architecture, in place.

    Raises
    ------
    ValueError
        Another ending (pickles are never read), a corrupt file, or weights that do not fit the network.
    OSError
        The file cannot be read.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"{path.name} does not end in .safetensors; pickled checkpoints are never read.")
    try:
        state = load_file(path)
    except SafetensorError as error:
        raise ValueError(
            f"{path.name} is not a safetensors file ({error}); save the checkpoint again."
        ) from None
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in state.items()}
    if expected != found:
        wrong = sorted(
            name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)
        )
        raise ValueError(
            f"{path.name} does not fit the network: {wrong[0]} has shape {found.get(wrong[0])}, "
            f"the network needs {expected.get(wrong[0])}."
        )
    network.load_state_dict(state)
