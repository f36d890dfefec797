"""Networks (..., n, n) -> (..., n, n): plain, residual, unrolled, zero.

All are continuous everywhere, but the unrolled ones, which are continuous away from A = 0.
"""

from itertools import pairwise

import torch
from torch import nn

from neuinv.iterations import transpose_start
from neuinv.metrics import best_constant

__all__ = [
    "PlainNetwork",
    "ResidualNetwork",
    "StandardizedNetwork",
    "UnrolledNewtonSchulz",
    "ZeroNetwork",
    "count_parameters",
    "make_network",
    "network_kinds",
]

ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU}


class PlainNetwork(nn.Module):
    """Fully connected layers on the n^2 entries, without any skip connection.

    Parameters
    ----------
    n : int
        Size of the matrices.
    width, depth : int
        Neurons in a hidden layer, number of hidden layers.
    activation : {"relu", "gelu"}
        Between the layers.

    Raises
    ------
    ValueError
        An unknown activation, or a size below 1.
    """

    def __init__(self, n, width=64, depth=2, activation="relu"):
        super().__init__()
        _check_sizes(n=n, width=width, depth=depth)
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation is {activation!r}; use one of {', '.join(ACTIVATIONS)}.")
        sizes = [n * n, *[width] * depth, n * n]
        layers = []
        for fan_in, fan_out in pairwise(sizes):
            layers += [nn.Linear(fan_in, fan_out), ACTIVATIONS[activation]()]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, A):
        """Map A, shape (..., n, n), to its approximate inverse of the same shape."""
        return self.layers(A.flatten(-2)).unflatten(-1, A.shape[-2:])


class ResidualNetwork(nn.Module):
    """A linear embedding, ``depth`` blocks h + W2 gelu(W1 h), a linear read-out.

    Parameters and errors are those of :class:`PlainNetwork`, without the activation.
    """

    def __init__(self, n, width=64, depth=2):
        super().__init__()
        _check_sizes(n=n, width=width, depth=depth)
        self.embed = nn.Linear(n * n, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width)) for _ in range(depth)
        )
        self.read = nn.Linear(width, n * n)

    def forward(self, A):
        """Map A, shape (..., n, n), to its approximate inverse of the same shape."""
        hidden = self.embed(A.flatten(-2))
        for block in self.blocks:
            hidden = hidden + block(hidden)
        return self.read(hidden).unflatten(-1, A.shape[-2:])


class UnrolledNewtonSchulz(nn.Module):
    r"""Newton-Schulz steps as layers, :math:`X \leftarrow a_k X - b_k X A X`, with learnable scalars.

    With the initial :math:`a_k = 2, b_k = 1` it is the classical iteration from
    :math:`A^{\mathsf T} / \lVert A \rVert_F^2`, which is continuous away from A = 0.

    Parameters
    ----------
    num_steps : int
        Number of layers; each costs two matrix products.

    Raises
    ------
    ValueError
        ``num_steps`` is below 1.
    """

    def __init__(self, num_steps=6):
        super().__init__()
        _check_sizes(num_steps=num_steps)
        self.linear = nn.Parameter(torch.full((num_steps,), 2.0))
        self.quadratic = nn.Parameter(torch.ones(num_steps))

    def forward(self, A):
        """Map A, shape (..., n, n), to its approximate inverse of the same shape."""
        X = transpose_start(A)
        for a, b in zip(self.linear, self.quadratic, strict=True):
            X = a * X - b * (X @ (A @ X))
        return X


class StandardizedNetwork(nn.Module):
    r"""A network fed with standardized matrices, :math:`f(A) = C + s_{out}\, g((A - \bar A) / s_{in})`.

    The affine maps are constants taken once from a sample: C is the best constant for the right residual,
    :math:`\bar A` the mean, the scales are root mean squares. The result is as continuous as g is.

    Parameters
    ----------
    inner : torch.nn.Module
        The network g, (..., n, n) -> (..., n, n).
    sample : Tensor, shape (batch, n, n)
        Matrices of the family, of the dtype and on the device of ``inner``.

    Raises
    ------
    TypeError, ValueError
        Bad matrices.
    """

    def __init__(self, inner, sample):
        super().__init__()
        self.inner = inner
        constant, mean = best_constant(sample), sample.double().mean(dim=0)
        spread = (sample.double() - mean).square().mean().sqrt()
        # One matrix, or a batch of equal ones, has no spread; its own size is then the scale.
        fallback = mean.square().mean().sqrt()
        spread = torch.where(spread > 1e-12 * fallback, spread, torch.where(fallback > 0, fallback, 1.0))
        # An inverse is of the order of 1 / norm; entries of an n x n matrix of that norm are sqrt(n) smaller.
        typical = torch.linalg.matrix_norm(sample.double()).mean().clamp(min=torch.finfo(torch.float64).tiny)
        for name, value in {
            "constant": constant,
            "mean": mean,
            "input_scale": spread,
            "output_scale": 1 / typical,
        }.items():
            self.register_buffer(name, value.to(sample))

    def forward(self, A):
        """Map A, shape (..., n, n), to its approximate inverse of the same shape."""
        return self.constant + self.output_scale * self.inner((A - self.mean) / self.input_scale)


class ZeroNetwork(nn.Module):
    """The network that answers 0: minimax optimal near every singular matrix (`thm-zero-network`)."""

    def forward(self, A):
        """Map A, shape (..., n, n), to zeros of the same shape."""
        return torch.zeros_like(A)


def _check_sizes(**sizes):
    for name, value in sizes.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name} is {value!r}; pass an integer >= 1.")


_BUILDERS = {
    "plain-relu": lambda n, width, depth, num_steps: PlainNetwork(n, width, depth, "relu"),
    "plain-gelu": lambda n, width, depth, num_steps: PlainNetwork(n, width, depth, "gelu"),
    "residual": lambda n, width, depth, num_steps: ResidualNetwork(n, width, depth),
    "unrolled": lambda n, width, depth, num_steps: UnrolledNewtonSchulz(num_steps),
    "zero": lambda n, width, depth, num_steps: ZeroNetwork(),
}


def network_kinds():
    """Return the names that :func:`make_network` knows."""
    return list(_BUILDERS)


def make_network(kind, n, *, seed, width=64, depth=2, num_steps=6, dtype=torch.float64, device="cpu"):
    """Build a network with reproducible initial weights.

    Parameters
    ----------
    kind : str
        One of :func:`network_kinds`.
    n : int
        Size of the matrices.
    seed : int
        Of the initial weights; they are drawn on the CPU, the same for every device and dtype.
    width, depth, num_steps : int
        Sizes; each kind uses its own and ignores the others.
    dtype, device
        Of the weights.

    Returns
    -------
    torch.nn.Module

    Raises
    ------
    ValueError
        Unknown kind, or a size below 1.

    Examples
    --------
    >>> count_parameters(make_network("plain-relu", 2, seed=0, width=8, depth=1))
    76
    """
    if kind not in _BUILDERS:
        raise ValueError(f"network kind {kind!r} is unknown; use one of {', '.join(_BUILDERS)}.")
    # torch's layers draw from the global generator: borrow it, and give it back as it was.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = _BUILDERS[kind](n, width, depth, num_steps)
    return network.to(device=device, dtype=dtype)


def count_parameters(network):
    """Return the number of trainable scalars of a network."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)
