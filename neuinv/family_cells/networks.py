"""The kinds of networks of a cell, and the training of several copies of one."""

import time
from dataclasses import dataclass

import torch
from torch import nn

from neuinv._checks import as_integer, check_matrices
from neuinv.ensembles import evaluate_ensemble, train_ensemble
from neuinv.learned_start import LearnedStart
from neuinv.networks import StandardizedNetwork, make_network
from neuinv.training import draw_rows

__all__ = ["CELL_KINDS", "PolynomialNetwork", "TrainedKind", "outputs", "train_kind"]

# Kind to the power of the spread that the theorem on samples gives; None: a score of another form.
CELL_KINDS = {
    "plain-gelu": 2,
    "residual": 2,
    "gated": 2,
    "learned-start": 8,
    "unrolled": None,
    "polynomial": None,
}
START_STEPS = 2
DEGREE = 14
FITTED = 512  # matrices of the least squares fit
RATES = {"unrolled": 0.1}
RATE = 3e-3
WIDTHS = (64, 256)


class PolynomialNetwork(nn.Module):
    r"""The polynomial in A, divided by its norm, with the least mean squared residual on a sample.

    The map is :math:`p(A/\lVert A\rVert_F)/\lVert A\rVert_F`.

    Its coefficients solve a linear least squares problem, so no optimiser can be blamed.

    Parameters
    ----------
    sample : Tensor, shape (batch, n, n)
        Non-zero matrices.
    degree : int
        Of the residual 1 - z p(z), at least 1: p has so many coefficients.

    Raises
    ------
    TypeError, ValueError
        Bad matrices or a bad degree.

    Examples
    --------
    >>> A = torch.tensor([[[1.0]], [[2.0]]], dtype=torch.float64)
    >>> PolynomialNetwork(A, 1)(A).flatten().tolist()
    [1.0, 0.5]
    """

    def __init__(self, sample, degree=DEGREE):
        super().__init__()
        check_matrices(sample)
        self.degree = as_integer(degree, "degree", 1)
        unit = sample.double() / torch.linalg.matrix_norm(sample.double(), keepdim=True)
        terms = self._powers(unit)
        columns = torch.stack([(unit @ term).flatten() for term in terms], dim=1)
        scale = torch.linalg.vector_norm(columns, dim=0)
        target = terms[0].expand_as(unit).flatten()[:, None]
        solved = torch.linalg.lstsq((columns / scale).cpu(), target.cpu(), driver="gelsd").solution
        self.register_buffer("weights", (solved.to(sample.device)[:, 0] / scale).to(sample.dtype))

    def _powers(self, unit):
        """Return the powers 0, ..., degree - 1."""
        terms = [torch.eye(unit.shape[-1], dtype=unit.dtype, device=unit.device)]
        for _ in range(self.degree - 1):
            terms.append(terms[-1] @ unit)
        return terms

    def forward(self, A):
        """Map A, shape (..., n, n), to its approximate inverse of the same shape."""
        norm = torch.linalg.matrix_norm(A, keepdim=True)
        terms = self._powers(A / norm)
        return sum(w * term for w, term in zip(self.weights, terms, strict=True)) / norm


@dataclass(frozen=True)
class TrainedKind:
    """Copies of one kind of network, a seed each, their status, and the CPU seconds of all together."""

    kind: str
    networks: list
    status: list
    seconds: float


def train_kind(kind, pools, *, seeds, num_steps, batch=128):
    """Train copies of one kind, each on matrices of its own.

    Parameters
    ----------
    kind : str
        A key of ``CELL_KINDS``.
    pools : sequence of Tensor, each of shape (N, n, n)
        The training matrices of each copy.
    seeds : sequence of int
        One a copy, all different: of the initial weights and of the order of the batches.
    num_steps, batch : int
        Steps, and matrices a step.

    Returns
    -------
    TrainedKind

    Raises
    ------
    TypeError, ValueError
        An unknown kind, bad matrices, or seeds that are not one a pool and all different.
    """
    if kind not in CELL_KINDS:
        raise ValueError(f"kind is {kind!r}; use one of {', '.join(CELL_KINDS)}.")
    if len(seeds) != len(pools) or len(set(seeds)) != len(pools):
        raise ValueError(f"seeds is {list(seeds)} for {len(pools)} pools; pass one a pool, all different.")
    start = time.process_time()
    if kind == "polynomial":
        networks = [PolynomialNetwork(pool[:FITTED]) for pool in pools]
        return TrainedKind(kind, networks, ["FITTED"] * len(pools), time.process_time() - start)
    networks = [_network(kind, pool, seed) for pool, seed in zip(pools, seeds, strict=True)]
    # the generator of a copy is known by its seed, and draws from the matrices of that copy
    own = dict(zip(seeds, pools, strict=True))

    def sampler(size, generator):
        return draw_rows(own[generator.initial_seed()], size, generator)

    results = train_ensemble(
        networks,
        sampler,
        num_steps=num_steps,
        seeds=list(seeds),
        batch=batch,
        learning_rate=RATES.get(kind, RATE),
        progress=False,
    )
    status = [result.status.name for result in results]
    return TrainedKind(kind, networks, status, time.process_time() - start)


def _network(kind, pool, seed):
    n = pool.shape[-1]
    inner = "residual" if kind == "learned-start" else kind
    width = min(WIDTHS[1], max(WIDTHS[0], n * n))
    network = make_network(inner, n, seed=seed, width=width, dtype=pool.dtype, device=pool.device)
    if kind != "unrolled":
        network = StandardizedNetwork(network, pool)
    return LearnedStart(network, START_STEPS) if kind == "learned-start" else network


def outputs(trained, A, *, size=1024):
    """Return the answers of all copies, shape (copies, N, n, n), without gradients."""
    if trained.kind == "polynomial":
        with torch.no_grad():
            return torch.stack([network(A) for network in trained.networks])
    parts = [evaluate_ensemble(trained.networks, part) for part in A.split(size)]
    return torch.cat(parts, dim=1)
