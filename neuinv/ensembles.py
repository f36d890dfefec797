r"""Train several copies of one network at once: one batched pass and one optimiser for all of them.

Small networks leave most of a processor idle; copies that differ in their initial weights and in their data
are stacked along a new leading axis, so that a step costs a few batched products however many copies there
are. Each copy takes the steps that :func:`neuinv.training.train` would have taken with it alone, up to
rounding, and none of them sees the others.
"""

import math
import time

import torch
from torch.func import functional_call, stack_module_state, vmap

from neuinv._checks import as_integer, check_matrices, make_generator
from neuinv.graphs import make_adam
from neuinv.training import TrainingResult, TrainingStatus, descend, draw_batch, residual_loss

__all__ = ["evaluate_ensemble", "train_ensemble"]

# The clipping of torch.nn.utils.clip_grad_norm_, which divides by the norm plus this.
CLIP_SLACK = 1e-6


def train_ensemble(
    networks,
    sampler,
    *,
    num_steps,
    seeds,
    batch=256,
    learning_rate=3e-3,
    loss=residual_loss,
    progress=None,
):
    """Train copies of one network in place by Adam, each as :func:`neuinv.training.train` trains it alone.

    Parameters
    ----------
    networks : sequence of torch.nn.Module
        One architecture, dtype and device, any weights; (batch, n, n) -> (batch, n, n).
    sampler : callable
        (batch, generator) -> Tensor (batch, n, n); the generator lives on the CPU.
    num_steps, batch : int
        Number of steps >= 1 and matrices a step and a copy.
    seeds : int or sequence of int
        Of the generators handed to the sampler: one a copy, or a single one whose batches all copies share.
    learning_rate : float
        Peak of the cosine schedule.
    loss : callable
        (A, X) -> scalar Tensor, of operations that torch.func.vmap knows.
    progress : bool, optional
        Show a bar on stderr; by default only where stderr is a terminal.

    Returns
    -------
    tuple of TrainingResult
        One a copy. A copy that diverged is stopped and holds its last finite weights; the others go on as
        if it had never been there. ``seconds`` is the time of all copies together.

    Raises
    ------
    TypeError, ValueError
        No network, networks that differ in architecture, ``num_steps`` below 1, another number of seeds than
        of copies, a bad seed, or a sampler that returns anything but a batch of matrices.

    Notes
    -----
    On a GPU the step is recorded and replayed, as by :func:`neuinv.training.train`.

    Examples
    --------
    >>> from neuinv.networks import make_network
    >>> copies = [make_network("plain-relu", 2, seed=s, width=8) for s in range(3)]
    >>> near = lambda batch, g: torch.eye(2) + 0.1 * torch.randn(batch, 2, 2, generator=g).double()
    >>> [result.status.name for result in train_ensemble(copies, near, num_steps=5, seeds=[0, 1, 2])]
    ['FINISHED', 'FINISHED', 'FINISHED']
    """
    networks = _check_copies(networks)
    num_steps = as_integer(num_steps, "num_steps", 1)
    draw = _data(sampler, batch, _generators(seeds, len(networks)))
    stacked, buffers = stack_module_state(networks)
    stacked = {name: p for name, p in stacked.items() if p.requires_grad}
    start = time.perf_counter()
    if not stacked:
        return (TrainingResult(TrainingStatus.FINISHED, (), (), 0, 0.0),) * len(networks)
    copies = _Copies(networks, stacked, _frozen(networks) | buffers, draw, loss, learning_rate, num_steps)
    taken, _ = descend(copies, num_steps, progress)
    copies.check(taken - 1, None)
    copies.restore()
    _write_back(networks, stacked)
    return copies.results(time.perf_counter() - start, taken)


def evaluate_ensemble(networks, A, *, shared=True):
    """Return the outputs of all copies in one batched pass, without gradients.

    Parameters
    ----------
    networks : sequence of torch.nn.Module
        Copies of one architecture.
    A : Tensor, shape (batch, n, n), or (copies, batch, n, n) where not ``shared``
        The matrices, of the dtype and on the device of the networks.
    shared : bool
        Whether all copies get the same matrices.

    Returns
    -------
    Tensor, shape (copies, batch, n, n)

    Raises
    ------
    TypeError, ValueError
        Networks that differ, bad matrices, or not one batch a copy.

    Examples
    --------
    >>> from neuinv.networks import make_network
    >>> copies = [make_network("residual", 2, seed=s, width=8) for s in range(3)]
    >>> tuple(evaluate_ensemble(copies, torch.eye(2).double().expand(4, 2, 2)).shape)
    (3, 4, 2, 2)
    """
    networks = _check_copies(networks)
    check_matrices(A)
    if A.ndim != 3 + (not shared) or (not shared and len(A) != len(networks)):
        wanted = "(batch, n, n)" if shared else f"({len(networks)}, batch, n, n)"
        raise ValueError(f"A has shape {tuple(A.shape)}; pass {wanted}.")
    if not any(True for _ in [*networks[0].parameters(), *networks[0].buffers()]):
        outputs = [network(A if shared else A[k]) for k, network in enumerate(networks)]
        return torch.stack(outputs).detach()
    with torch.no_grad():
        state = stack_module_state(networks)
        output = vmap(_call(networks[0]), in_dims=(0, 0, None if shared else 0))
        return output(*state, A)


def _check_copies(networks):
    networks = list(networks)
    if not networks:
        raise ValueError("networks is empty; pass at least one network.")

    def form(network):
        state = {**dict(network.named_parameters()), **dict(network.named_buffers())}
        kinds = {
            name: (tuple(t.shape), t.dtype, t.device, t.requires_grad, isinstance(t, torch.nn.Parameter))
            for name, t in state.items()
        }
        # repr names the layers and their settings, which shapes alone do not tell
        return type(network), network.training, repr(network), kinds

    for k, network in enumerate(networks):
        if not isinstance(network, torch.nn.Module):
            raise TypeError(f"network {k} is a {type(network).__name__}; pass torch.nn.Module objects.")
        if form(network) != form(networks[0]):
            raise ValueError(f"network {k} is built unlike network 0; let only the weights of copies differ.")
    return networks


def _generators(seeds, count):
    if isinstance(seeds, int) or not hasattr(seeds, "__len__"):
        return [make_generator(seeds)]
    if len(seeds) != count:
        raise ValueError(f"{len(seeds)} seeds for {count} networks; pass one a network, or one for all.")
    return [make_generator(seed) for seed in seeds]


def _data(sampler, batch, generators):
    """Return a function that draws the next batch, (batch, n, n) if shared, else (copies, batch, n, n)."""

    def draw(look):
        drawn = [draw_batch(sampler, batch, generator, look) for generator in generators]
        return drawn[0] if len(drawn) == 1 else torch.stack(drawn)

    return draw


def _call(base):
    def output(parameters, buffers, A):
        return functional_call(base, (parameters, buffers), (A,))

    return output


def _losses(base, loss):
    """Return (stacked parameters, other stacked tensors, matrices, ...) -> losses, shape (copies,)."""
    call = _call(base)

    def one(parameters, others, A, *target):
        return loss(A, call(parameters, others, A), *target)

    def losses(parameters, others, *tensors):
        given = [0 if tensor.ndim == 4 else None for tensor in tensors]
        return vmap(one, in_dims=(0, 0, *given), randomness="different")(parameters, others, *tensors)

    return losses


def _frozen(networks):
    """Return the stacked parameters that need no gradient."""
    names = [name for name, p in networks[0].named_parameters() if not p.requires_grad]
    tables = [dict(network.named_parameters()) for network in networks]
    return {name: torch.stack([table[name].detach() for table in tables]) for name in names}


def _write_back(networks, stacked):
    with torch.no_grad():
        for k, network in enumerate(networks):
            for name, p in network.named_parameters():
                if name in stacked:
                    p.copy_(stacked[name][k])


class _Copies:
    """The training of all copies: which still run, what their losses were, and their last finite weights."""

    def __init__(self, networks, stacked, frozen, draw, loss, learning_rate, num_steps):
        count, self.parameters = len(networks), list(stacked.values())
        self.optimizer, self.advance = make_adam(self.parameters, learning_rate, num_steps, fused=True)
        self.drawn, self.target = draw, getattr(loss, "target", None)
        losses = _losses(networks[0], loss)
        self.evaluate = lambda *tensors: losses(stacked, frozen, *tensors)
        self.device = self.parameters[0].device
        self.alive = torch.ones(count, dtype=torch.bool, device=self.device)
        self.steps, self.losses = [[] for _ in range(count)], [[] for _ in range(count)]
        self.stopped = [None] * count  # the step at which a copy was found to have diverged
        self.kept = [p.detach().clone() for p in self.parameters]

    def draw(self, look):
        return self.drawn(look).to(self.parameters[0])

    def look(self, step, values):
        self.check(step, values)
        return self.running

    def update(self, values):
        self.optimizer.zero_grad()
        # The copies share no weight, so the gradient of the sum holds the gradient of each.
        values.sum().backward()
        self.clip()
        self.restore()
        self.optimizer.step()

    @property
    def running(self):
        return any(step is None for step in self.stopped)

    @property
    def form(self):
        """Whether a step restores copies."""
        return any(step is not None for step in self.stopped)

    def check(self, step, values):
        """Stop the copies whose loss or weights are not finite; remember the weights of the others."""
        fine = self.alive.clone() if values is None else self.alive & torch.isfinite(values.detach())
        for p in self.parameters:
            fine &= torch.isfinite(p.detach()).flatten(1).all(dim=1)
        numbers = [math.nan] * len(fine) if values is None else values.detach().tolist()
        for k, (before, good) in enumerate(zip(self.alive.tolist(), fine.tolist(), strict=True)):
            if before and not good:
                self.stopped[k] = step
            elif good and values is not None:
                self.steps[k].append(step)
                self.losses[k].append(numbers[k])
        # In place: a recorded step reads it.
        self.alive.copy_(fine)
        for p, kept in zip(self.parameters, self.kept, strict=True):
            kept.copy_(torch.where(self._shaped(p), p.detach(), kept))

    @torch.no_grad()
    def restore(self):
        """Give the stopped copies their last finite weights back, where Adam then leaves them.

        Not before the backward pass, which needs the weights of the forward pass untouched.
        """
        if not self.form:
            return
        for p, kept in zip(self.parameters, self.kept, strict=True):
            alive = self._shaped(p)
            p.copy_(torch.where(alive, p, kept))
            # Moments of zero and a gradient of zero make a step of zero.
            for name in ("exp_avg", "exp_avg_sq"):
                if name in self.optimizer.state[p]:
                    moment = self.optimizer.state[p][name]
                    moment.copy_(torch.where(alive, moment, torch.zeros_like(moment)))

    def clip(self):
        """Clip the gradient of each copy to norm 1, and set that of a stopped copy to zero."""
        squares = sum(p.grad.square().flatten(1).sum(dim=1) for p in self.parameters)
        factor = (1 / (squares.sqrt() + CLIP_SLACK)).clamp(max=1.0)
        for p in self.parameters:
            scaled = p.grad * factor.reshape(-1, *[1] * (p.ndim - 1))
            # where, not a product: the gradient of a stopped copy may be NaN
            p.grad = torch.where(self._shaped(p), scaled, torch.zeros_like(scaled))

    def _shaped(self, p):
        return self.alive.reshape(-1, *[1] * (p.ndim - 1))

    def results(self, seconds, num_steps):
        """Return one TrainingResult a copy."""
        return tuple(
            TrainingResult(
                TrainingStatus.FINISHED if stopped is None else TrainingStatus.DIVERGED,
                tuple(steps),
                tuple(losses),
                num_steps if stopped is None else stopped + 1,
                seconds,
            )
            for steps, losses, stopped in zip(self.steps, self.losses, self.stopped, strict=True)
        )
