"""Layers to measure the tightness of rules on, and random networks to attack them with."""

import math
from dataclasses import dataclass

import torch
from torch import nn

from neuinv._checks import make_generator
from neuinv.lipschitz.bounds import lipschitz_class
from neuinv.lipschitz.measured import sampled_lower_bound

__all__ = ["Tightness", "example_layers", "random_network", "tightness_table"]


class SelfAttention(nn.Module):
    """softmax(X W X^T) X V, with weights of unit scale."""

    def __init__(self, width):
        super().__init__()
        self.W = nn.Parameter(torch.randn(width, width) / math.sqrt(width))
        self.V = nn.Parameter(torch.randn(width, width) / math.sqrt(width))

    def forward(self, X):
        """Map (..., tokens, width) to the same shape."""
        return torch.softmax(X @ self.W @ X.mT, dim=-1) @ (X @ self.V)


class Residual(nn.Module):
    """x + f(x)."""

    def __init__(self, branch):
        super().__init__()
        self.branch = branch

    def forward(self, x):
        """Map (batch, ...) to the same shape."""
        return x + self.branch(x)


class Gate(nn.Module):
    """x times a sigmoid of a linear map of x."""

    def __init__(self, width):
        super().__init__()
        self.linear = nn.Linear(width, width)

    def forward(self, x):
        """Map (..., width) to the same shape."""
        return x * torch.sigmoid(self.linear(x))


class Branches(nn.Module):
    """Two linear maps side by side, one of them squashed."""

    def __init__(self, width):
        super().__init__()
        self.left, self.right = nn.Linear(width, width // 2), nn.Linear(width, width - width // 2)

    def forward(self, x):
        """Map (..., width) to the same shape."""
        return torch.cat([self.left(x), torch.tanh(self.right(x))], dim=-1)


class Square(nn.Module):
    """The matrix square."""

    def forward(self, A):
        """Map (..., n, n) to the same shape."""
        return A @ A


class SelfBilinear(nn.Module):
    """A bilinear map of a vector with itself."""

    def __init__(self, width):
        super().__init__()
        self.bilinear = nn.Bilinear(width, width, width)

    def forward(self, x):
        """Map (..., width) to the same shape."""
        return self.bilinear(x, x)


class Heads(nn.Module):
    """torch's multi-head self-attention."""

    def __init__(self, width, heads):
        super().__init__()
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)

    def forward(self, x):
        """Map (batch, tokens, width) to the same shape."""
        return self.attention(x, x, x, need_weights=False)[0]


def _settle(norm, generator):
    """Give a batch norm running statistics, as after a training."""
    norm.running_mean.copy_(torch.randn(norm.num_features, generator=generator))
    norm.running_var.copy_(0.5 + torch.rand(norm.num_features, generator=generator))
    return norm


def example_layers(seed=0):
    """Return layers by name, each with the shape of a sample, a radius to search, and whether L is sharp.

    Parameters
    ----------
    seed : int
        Of the weights.

    Returns
    -------
    dict
        name -> (module in float64 and evaluation mode, input_shape, radius, sharp).
    """
    vector = {name: (make(), (3,), 3.0, True) for name, make in _ACTIVATIONS.items()}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = vector | {
            "Softmax": (nn.Softmax(dim=-1), (4,), 30.0, True),
            "LogSoftmax": (nn.LogSoftmax(dim=-1), (4,), 60.0, True),
            "Linear": (nn.Linear(5, 4), (5,), 1.0, True),
            "Conv1d": (nn.Conv1d(2, 3, 3, padding=1), (2, 8), 1.0, True),
            "Conv2d": (nn.Conv2d(2, 3, 3, stride=2, padding=1), (2, 6, 6), 1.0, True),
            "Conv2d (large)": (nn.Conv2d(2, 2, 3, padding=1), (2, 24, 24), 1.0, False),
            "BatchNorm1d": (_settle(nn.BatchNorm1d(4), torch.default_generator), (4,), 1.0, True),
            "LayerNorm": (nn.LayerNorm(5), (5,), 0.01, True),
            "RMSNorm": (nn.RMSNorm(5, eps=1e-5), (5,), 0.01, True),
            "GroupNorm": (nn.GroupNorm(2, 4), (4, 3), 0.01, True),
            "MaxPool2d": (nn.MaxPool2d(2), (1, 4, 4), 1.0, True),
            "MaxPool2d (overlap)": (nn.MaxPool2d(3, stride=1), (1, 7, 7), 1.0, True),
            "AvgPool2d": (nn.AvgPool2d(2), (1, 4, 4), 1.0, True),
            "AvgPool2d (overlap)": (nn.AvgPool2d(3, stride=1, padding=1), (1, 5, 5), 1.0, True),
            "AdaptiveAvgPool2d": (nn.AdaptiveAvgPool2d(2), (1, 5, 5), 1.0, True),
            "Matrix square": (Square(), (3, 3), 3.0, True),
            "Bilinear": (SelfBilinear(3), (3,), 3.0, False),
            "GLU": (nn.GLU(), (4,), 3.0, False),
            "Gating": (Gate(4), (4,), 3.0, False),
            "Self-attention": (SelfAttention(3), (4, 3), 3.0, False),
            "MultiheadAttention": (Heads(4, 2), (3, 4), 3.0, False),
            "TransformerEncoderLayer": (
                nn.TransformerEncoderLayer(4, 2, 8, batch_first=True),
                (3, 4),
                1.0,
                False,
            ),
        }
    return {name: (layer.double().eval(), *rest) for name, (layer, *rest) in layers.items()}


_ACTIVATIONS = {
    "ReLU": nn.ReLU,
    "LeakyReLU": lambda: nn.LeakyReLU(0.2),
    "GELU": nn.GELU,
    "GELU (tanh)": lambda: nn.GELU(approximate="tanh"),
    "SiLU": nn.SiLU,
    "Mish": nn.Mish,
    "Tanh": nn.Tanh,
    "Sigmoid": nn.Sigmoid,
    "Hardsigmoid": nn.Hardsigmoid,
    "Hardswish": lambda: nn.Hardswish(),
    "ELU": lambda: nn.ELU(1.5),
    "SELU": nn.SELU,
    "CELU": lambda: nn.CELU(0.7),
    "Softsign": nn.Softsign,
}


@dataclass(frozen=True)
class Tightness:
    """How much of a proved constant a search attains: one row of a table."""

    name: str
    L: float
    p: float
    measured: float
    sharp: bool

    @property
    def ratio(self):
        """measured / L, dimensionless; at most 1 but for rounding."""
        return self.measured / self.L


def tightness_table(layers=None, *, seed=0, count=64, num_steps=60):
    """Return, for each layer, the proved L beside the largest quotient that a search finds.

    Parameters
    ----------
    layers : dict, optional
        As :func:`example_layers` returns; that by default.
    seed : int
        Of the search.
    count, num_steps : int
        As in :func:`sampled_lower_bound`.

    Returns
    -------
    list of Tightness
        ``measured`` is an estimate from below, ``L`` a proved bound, both in the Euclidean norm.
    """
    rows = []
    for name, (layer, shape, radius, sharp) in (layers or example_layers(seed)).items():
        found = lipschitz_class(layer, input_shape=shape)
        search = {"radius": radius, "p": found.p, "seed": seed, "count": count, "num_steps": num_steps}
        rows.append(
            Tightness(name, found.L, found.p, sampled_lower_bound(layer, shape, **search).value, sharp)
        )
    return rows


def random_network(seed, *, depth=None):
    """Return a random network of random layer types, and the shape of one sample.

    Parameters
    ----------
    seed : int
        Of everything.
    depth : int, optional
        Number of blocks >= 1; drawn from 1 ... 6 by default.

    Returns
    -------
    tuple
        (module in float64 and evaluation mode, input_shape): a network on vectors, tokens or images.

    Raises
    ------
    ValueError
        A depth below 1.

    Examples
    --------
    >>> network, shape = random_network(3)
    >>> network(torch.zeros(2, *shape, dtype=torch.float64)).shape[0]
    2
    """
    generator = make_generator(seed)

    def draw(count):
        return int(torch.randint(count, (), generator=generator))

    depth = 1 + draw(6) if depth is None else depth
    if depth < 1:
        raise ValueError(f"depth is {depth}; pass an integer >= 1.")
    make = (_vector_network, _token_network, _image_network)[draw(3)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module, shape = make(depth, draw)
        for layer in module.modules():
            if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                _settle(layer, torch.default_generator)
    return module.double().eval(), shape


def _activation(draw):
    makers = [*_ACTIVATIONS.values(), nn.Softplus]
    return makers[draw(len(makers))]()


def _vector_network(depth, draw):
    width = 3 + draw(6)
    makers = [
        lambda: nn.Sequential(nn.Linear(width, width), _activation(draw)),
        lambda: Residual(nn.Sequential(nn.Linear(width, 8), _activation(draw), nn.Linear(8, width))),
        lambda: Gate(width),
        lambda: nn.LayerNorm(width, eps=0.1),
        lambda: nn.BatchNorm1d(width),
        lambda: Branches(width),
        lambda: nn.Softmax(dim=-1),
        lambda: nn.Dropout(0.5),
    ]
    blocks = [makers[draw(len(makers))]() for _ in range(depth)]
    return nn.Sequential(nn.Linear(width, width), *blocks), (width,)


def _token_network(depth, draw):
    width, tokens = 2 * (1 + draw(3)), 2 + draw(3)
    makers = [
        lambda: Residual(SelfAttention(width)),
        lambda: Residual(Heads(width, 2)),
        lambda: nn.RMSNorm(width, eps=0.1),
        lambda: Residual(nn.Sequential(nn.Linear(width, 8), _activation(draw), nn.Linear(8, width))),
        lambda: nn.Sequential(nn.Linear(width, 2 * width), nn.GLU()),
    ]
    # Every attention about triples the exponent p + 1: three blocks are enough to try the rules.
    return nn.Sequential(*(makers[draw(len(makers))]() for _ in range(min(depth, 3)))), (tokens, width)


def _image_network(depth, draw):
    channels = 2 + 2 * draw(2)
    makers = [
        lambda: nn.Conv2d(channels, channels, 3, padding=1, padding_mode=("zeros", "circular")[draw(2)]),
        lambda: nn.Sequential(nn.BatchNorm2d(channels), _activation(draw)),
        lambda: nn.GroupNorm(2, channels, eps=0.1),
        lambda: nn.MaxPool2d(3, stride=1, padding=1),
        lambda: nn.AvgPool2d(3, stride=1, padding=1),
        lambda: Residual(nn.Conv2d(channels, channels, 3, padding=1)),
    ]
    head = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * channels, 3))
    return nn.Sequential(*(makers[draw(len(makers))]() for _ in range(depth)), head), (channels, 6, 6)
