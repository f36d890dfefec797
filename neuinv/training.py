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
from neuinv._linalg import inverse

__all__ = [
    "TrainingResult",
    "TrainingStatus",
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


def inverse_loss(A, X):
    """Return the mean of ||X - A^-1||_F^2 / ||A^-1||_F^2 over the batch, shapes (batch, n, n).

    Raises
    ------
    torch.linalg.LinAlgError
        A matrix of the batch is exactly singular.
    """
    exact = inverse(A)
    scale = exact.square().sum(dim=(-2, -1))
    return ((X - exact).square().sum(dim=(-2, -1)) / scale).mean()


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
    """
    if num_steps < 1:
        raise ValueError(f"num_steps is {num_steps}; pass an integer >= 1.")
    parameters = [p for p in network.parameters() if p.requires_grad]
    generator = make_generator(seed)
    start = time.perf_counter()
    if not parameters:
        return TrainingResult(TrainingStatus.FINISHED, (), (), 0, 0.0)
    optimizer = torch.optim.Adam(parameters, lr=learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, num_steps)
    every = max(1, num_steps // 100)
    steps, losses, snapshot, status = [], [], None, TrainingStatus.FINISHED
    for step in _bar(num_steps, progress):
        A = check_matrices(sampler(batch, generator), "the sampler's batch").to(parameters[0])
        value = loss(A, network(A))
        if step % every == 0 or step == num_steps - 1:
            # One synchronisation with the device in a hundred steps, not one a step.
            number = value.item()
            if not math.isfinite(number) or not _finite(parameters):
                status = TrainingStatus.DIVERGED
                break
            steps.append(step)
            losses.append(number)
            snapshot = [p.detach().clone() for p in parameters]
        optimizer.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
    if status is TrainingStatus.FINISHED and not _finite(parameters):
        status = TrainingStatus.DIVERGED
    if status is TrainingStatus.DIVERGED and snapshot is not None:
        with torch.no_grad():
            for p, kept in zip(parameters, snapshot, strict=True):
                p.copy_(kept)
    return TrainingResult(status, tuple(steps), tuple(losses), step + 1, time.perf_counter() - start)


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
