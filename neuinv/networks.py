"""Networks (..., n, n) -> (..., n, n): plain, residual, gated, attention, unrolled, zero.

All are continuous everywhere, but the unrolled ones that start from A^T / ||A||_F^2, which are continuous
away from A = 0. All others lie in a class Lip(c, L, p): see :func:`neuinv.lipschitz_class`.
"""

import math
from itertools import pairwise

import torch
from torch import nn

from neuinv.iterations.classical import unchecked_transpose_start
from neuinv.lipschitz import (
    LipschitzClass,
    LocalBound,
    OutsideClass,
    Rung,
    register_input_shape,
    register_rule,
)
from neuinv.metrics import best_constant

__all__ = [
    "AttentionNetwork",
    "DotProductAttention",
    "GatedNetwork",
    "PlainNetwork",
    "ResidualNetwork",
    "StandardizedNetwork",
    "UnrolledNewtonSchulz",
    "ZeroNetwork",
    "count_parameters",
    "make_network",
    "network_kinds",
    "seeded",
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


class GatedNetwork(nn.Module):
    r"""A linear embedding, ``depth`` blocks :math:`h + W_2(\tanh(W_1 h) \odot \sigma(W_3 h))`, a read-out.

    Parameters and errors are those of :class:`ResidualNetwork`. A product of two bounded Lipschitz maps is
    Lipschitz: p = 0.
    """

    def __init__(self, n, width=64, depth=2):
        super().__init__()
        _check_sizes(n=n, width=width, depth=depth)
        self.embed = nn.Linear(n * n, width)
        self.value = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.gate = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.mix = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.read = nn.Linear(width, n * n)

    def forward(self, A):
        """Map A, shape (..., n, n), to its approximate inverse of the same shape."""
        hidden = self.embed(A.flatten(-2))
        for value, gate, mix in zip(self.value, self.gate, self.mix, strict=True):
            hidden = hidden + mix(torch.tanh(value(hidden)) * torch.sigmoid(gate(hidden)))
        return self.read(hidden).unflatten(-1, A.shape[-2:])


class DotProductAttention(nn.Module):
    r"""Self-attention :math:`X \mapsto \mathrm{softmax}(XWX^{\mathsf T})\,XV`, the softmax over each row.

    Not globally Lipschitz, but in Lip(0, L, 2) with :math:`L = \lVert V\rVert(\lVert W\rVert + \sqrt n)`
    for n tokens: softmax is 1/2-Lipschitz with outputs of norm at most sqrt n.

    Parameters
    ----------
    W, V : Tensor, shapes (d, d) and (d, m)
        Of the scores and of the values; kept as trainable parameters.
    """

    def __init__(self, W, V):
        super().__init__()
        self.W = nn.Parameter(torch.as_tensor(W).detach().clone())
        self.V = nn.Parameter(torch.as_tensor(V).detach().clone())

    def forward(self, X):
        """Map X, shape (..., n, d), to shape (..., n, m)."""
        return torch.softmax(X @ self.W @ X.mT, dim=-1) @ (X @ self.V)


class AttentionNetwork(nn.Module):
    """The rows of A as tokens: ``depth`` blocks of self-attention and a two-layer map, both residual.

    Parameters and errors are those of :class:`ResidualNetwork`; ``width`` is the length of a token.
    """

    def __init__(self, n, width=64, depth=2):
        super().__init__()
        _check_sizes(n=n, width=width, depth=depth)
        self.embed = nn.Linear(n, width)
        self.position = nn.Parameter(torch.randn(n, width) / math.sqrt(width))
        self.attention = nn.ModuleList(
            DotProductAttention(
                torch.randn(width, width) / width**1.5, torch.randn(width, width) / width**0.5
            )
            for _ in range(depth)
        )
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width)) for _ in range(depth)
        )
        self.read = nn.Linear(width, n)

    def forward(self, A):
        """Map A, shape (..., n, n), to its approximate inverse of the same shape."""
        hidden = self.embed(A) + self.position
        for attention, block in zip(self.attention, self.blocks, strict=True):
            hidden = hidden + attention(hidden)
            hidden = hidden + block(hidden)
        return self.read(hidden)


class UnrolledNewtonSchulz(nn.Module):
    r"""Newton-Schulz steps as layers, :math:`X \leftarrow a_k X - b_k X A X`, with learnable scalars.

    With the initial :math:`a_k = 2, b_k = 1` it is the classical iteration from
    :math:`A^{\mathsf T} / \lVert A \rVert_F^2`, which is continuous away from A = 0. Started from
    :math:`cA^{\mathsf T}` instead it is a polynomial of degree :math:`2^{k+1} - 1`, which converges where
    :math:`0 < c < 2/\lVert A\rVert^2`.

    Parameters
    ----------
    num_steps : int
        Number of layers; each costs two matrix products.
    start_scale : float, optional
        c > 0, in the unit 1 / unit of A squared; without it the start divides by the norm.

    Raises
    ------
    ValueError
        ``num_steps`` is below 1, or ``start_scale`` is not positive.

    Notes
    -----
    For a polynomial whose terms the calculus adds up, the bound on the ball of radius 1 holds for the class:
    with a = 2, b = 1 it is :math:`L = \sum_i \binom{N}{i}(2i - 1)c^i`, :math:`N = 2^k`, :math:`p = 2N - 2`.
    """

    def __init__(self, num_steps=6, start_scale=None):
        super().__init__()
        _check_sizes(num_steps=num_steps)
        if start_scale is not None and not 0 < start_scale < math.inf:
            raise ValueError(f"start_scale is {start_scale}; pass a positive number, or None.")
        self.start_scale = start_scale
        self.linear = nn.Parameter(torch.full((num_steps,), 2.0))
        self.quadratic = nn.Parameter(torch.ones(num_steps))

    def forward(self, A):
        """Map A, shape (..., n, n), to its approximate inverse of the same shape."""
        X = unchecked_transpose_start(A) if self.start_scale is None else self.start_scale * A.mT
        for a, b in zip(self.linear, self.quadratic, strict=True):
            X = a * X - b * (X @ (A @ X))
        return X


@register_rule(UnrolledNewtonSchulz, propagates=True)
def _unrolled_rule(layer, state, input_shape):
    if layer.start_scale is None:
        raise OutsideClass(
            "UnrolledNewtonSchulz divides by ||A||_F^2, a pole at A = 0; use start_scale=c for c A^T",
            Rung.OFF,
        )
    if isinstance(state, LipschitzClass):
        # A term of degree k has the constant k max(1, ||A||, ||B||)^(k-1): take radius 1, and the top degree.
        ball = _unrolled_rule(layer, LocalBound.identity(1.0), input_shape)
        return state.then(
            LipschitzClass.from_logs(-math.inf, ball.log_lipschitz, 2 ** (len(layer.linear) + 1) - 2)
        )
    X = state.scaled(layer.start_scale)
    for a, b in zip(layer.linear.tolist(), layer.quadratic.tolist(), strict=True):
        X = X.scaled(a) + X.times(state).times(X).scaled(b)
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


def _shape_from(layer_of):
    """Return the input shape (n, n) from the first linear layer, which reads n^2 entries."""

    def shape(network):
        n = math.isqrt(layer_of(network).in_features)
        return (n, n)

    return shape


register_input_shape(PlainNetwork, _shape_from(lambda network: network.layers[0]))
register_input_shape(ResidualNetwork, _shape_from(lambda network: network.embed))
register_input_shape(GatedNetwork, _shape_from(lambda network: network.embed))
register_input_shape(AttentionNetwork, lambda network: (network.embed.in_features,) * 2)
register_input_shape(StandardizedNetwork, lambda network: tuple(network.mean.shape))


def _check_sizes(**sizes):
    for name, value in sizes.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name} is {value!r}; pass an integer >= 1.")


_BUILDERS = {
    "plain-relu": lambda n, width, depth, num_steps: PlainNetwork(n, width, depth, "relu"),
    "plain-gelu": lambda n, width, depth, num_steps: PlainNetwork(n, width, depth, "gelu"),
    "residual": lambda n, width, depth, num_steps: ResidualNetwork(n, width, depth),
    "gated": lambda n, width, depth, num_steps: GatedNetwork(n, width, depth),
    "attention": lambda n, width, depth, num_steps: AttentionNetwork(n, width, depth),
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
    network = seeded(lambda: _BUILDERS[kind](n, width, depth, num_steps), seed)
    return network.to(device=device, dtype=dtype)


def seeded(build, seed):
    """Return ``build()``, a network whose initial weights torch draws from the seed, on the CPU."""
    # torch's layers draw from the global generator: borrow it, and give it back as it was.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def count_parameters(network):
    """Return the number of trainable scalars of a network."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)
