r"""A semidefinite bound for plain feedforward networks: found by any means, certified afterwards.

For activations with slopes in [alpha, beta], alpha >= 0, put p = alpha beta and m = (alpha + beta)/2.
Differences z of pre-activations and x of activations obey
:math:`\sum_j\lambda_j(x_j - \alpha z_j)(\beta z_j - x_j) \ge 0` for all :math:`\lambda \ge 0`. If the form

.. math::

    \rho\lVert x_0\rVert^2 - \lVert W_l x_{l-1}\rVert^2
    - \sum_i\bigl(2m\,z_i^T\Lambda_i x_i - x_i^T\Lambda_i x_i - p\,z_i^T\Lambda_i z_i\bigr),
    \quad z_i = W_i x_{i-1},

is nonnegative, then sqrt(rho) is a Lipschitz constant in the Euclidean norm (Fazlyab et al. 2019). Good
multipliers come layer by layer (Xu and Sivaranjani 2024), from the package eclipse-nn or from a descent here;
whatever they are, one Cholesky factorisation proves the bound.
"""

import math
from dataclasses import dataclass

import torch
from torch import nn

from neuinv.lipschitz.faithful import refuse_own_call
from neuinv.lipschitz.norms import EPS, spectral_upper

__all__ = ["SemidefiniteBound", "semidefinite_bound"]

# Range of the slopes.
_SLOPES = {
    nn.ReLU: (0.0, 1.0),
    nn.Tanh: (0.0, 1.0),
    nn.Softplus: (0.0, 1.0),
    nn.Sigmoid: (0.0, 0.25),
    nn.Softsign: (0.0, 1.0),
}


@dataclass(frozen=True)
class SemidefiniteBound:
    """A certified Lipschitz constant of a feedforward network, in the Euclidean norm.

    Attributes
    ----------
    lipschitz : float
        Upper bound, on the whole space: proved by a Cholesky factorisation with a margin for its rounding.
    norm_product : float
        The product of the layers' norms, for comparison.
    method : str
        How the multipliers were found.
    """

    lipschitz: float
    norm_product: float
    method: str


def semidefinite_bound(network, *, method="descent", num_steps=150):
    """Return a certified Lipschitz constant of a plain feedforward network, often far below the norm product.

    Parameters
    ----------
    network : torch.nn.Sequential
        Linear layers with ReLU, LeakyReLU, Tanh, Sigmoid, Softplus or Softsign between them (the ``layers``
        of a :class:`neuinv.networks.PlainNetwork`).
    method : {"descent", "eclipse"}
        Who looks for the multipliers: a gradient descent here, or the optional package eclipse-nn.
    num_steps : int
        Of the descent.

    Returns
    -------
    SemidefiniteBound

    Raises
    ------
    TypeError
        Another layer, or an activation with slopes of both signs.
    ValueError
        An unknown method, or multipliers that certify nothing.
    ImportError
        The optional package is missing.
    """
    weights, slopes = _feedforward(network)
    product = math.prod(spectral_upper(W) for W in weights)
    product *= math.prod(high for _, high in slopes)
    if method not in ("descent", "eclipse"):
        raise ValueError(f"method is {method!r}; use 'descent' or 'eclipse'.")
    if not slopes or not all(W.any() for W in weights):
        return SemidefiniteBound(product, product, "norm product")
    find = _eclipse if method == "eclipse" else _descend
    multipliers = find(weights, slopes, num_steps)
    return SemidefiniteBound(min(product, _certify(weights, slopes, multipliers)), product, method)


def _feedforward(network):
    if not isinstance(network, nn.Sequential) or type(network).forward is not nn.Sequential.forward:
        raise TypeError(f"network is a {type(network).__name__}; pass its torch.nn.Sequential of layers.")
    refuse_own_call(network)
    weights, slopes = [], []
    for layer in network:
        refuse_own_call(layer)
        if type(layer) is nn.Linear and len(weights) == len(slopes):
            weights.append(layer.weight.detach().double().cpu())
        elif len(slopes) + 1 == len(weights) and (slope := _slope(layer)) is not None:
            slopes.append(slope)
        else:
            raise TypeError(
                f"{type(layer).__name__} has no place in a semidefinite bound: it takes Linear layers with "
                "a monotone activation between them; use lipschitz_class."
            )
    if len(weights) != len(slopes) + 1:
        raise TypeError(
            "network ends with an activation; end it with a Linear layer, or use lipschitz_class."
        )
    return weights, slopes


def _slope(layer):
    if type(layer) is nn.LeakyReLU and 0 <= layer.negative_slope <= 1:
        return (layer.negative_slope, 1.0)
    return _SLOPES.get(type(layer))


def _next_form(M, W, slope, multiplier):
    """Return the form after a layer: Lambda - m^2 Lambda W (M + p W^T Lambda W)^-1 W^T Lambda."""
    p, m = slope[0] * slope[1], sum(slope) / 2
    inner = M + p * (W.T * multiplier) @ W
    scaled = m * multiplier[:, None] * W
    return torch.diag(multiplier) - scaled @ torch.linalg.solve(inner, scaled.T)


def _fractions(M, W, slope, direction, fraction):
    """Return multipliers along ``direction``, a fraction of the largest that keep the form positive."""
    # With G = root M^-1 root^T the next form is positive iff (m^2 - p) G < I, and m^2 - p = (spread / 2)^2.
    spread = max(slope[1] - slope[0], 0.05 * slope[1])
    root = torch.sqrt(direction)[:, None] * W
    top = torch.linalg.eigvalsh(root @ torch.linalg.solve(M, root.T))[-1]
    return direction * fraction / (spread**2 / 4 * top)


def _forward(weights, slopes, parameters):
    """Return the multipliers for free parameters, and the rho that they allow."""
    M = torch.eye(weights[0].shape[1], dtype=torch.float64)
    multipliers = []
    for W, slope, (shape, position) in zip(weights[:-1], slopes, parameters, strict=True):
        multiplier = _fractions(M, W, slope, torch.exp(shape), torch.sigmoid(position))
        multipliers.append(multiplier)
        M = _next_form(M, W, slope, multiplier)
    last = weights[-1]
    return multipliers, torch.linalg.eigvalsh(last @ torch.linalg.solve(M, last.T))[-1]


def _descend(weights, slopes, num_steps):
    """Start from equal multipliers, half of what is possible, and descend on log rho."""
    parameters = [
        (torch.zeros(len(W), dtype=torch.float64), torch.zeros((), dtype=torch.float64)) for W in weights[:-1]
    ]
    flat = [p.requires_grad_(True) for pair in parameters for p in pair]
    optimizer = torch.optim.Adam(flat, lr=0.1)
    best, found = math.inf, None
    for _ in range(num_steps + 1):
        multipliers, rho = _forward(weights, slopes, parameters)
        if 0 < rho.item() < best:
            best, found = rho.item(), [value.detach() for value in multipliers]
        if not math.isfinite(rho.item()) or rho.item() <= 0:
            break
        optimizer.zero_grad()
        rho.log().backward()
        optimizer.step()
    if found is None:
        raise ValueError("the descent found no multipliers; the weights are too badly scaled.")
    return found


def _eclipse(weights, slopes, num_steps):
    try:
        from eclipse_nn.eclipsE import sdp
    except ImportError:
        raise ImportError(
            "eclipse-nn is not installed; run pip install eclipse-nn, or use 'descent'."
        ) from None
    M = torch.eye(weights[0].shape[1], dtype=torch.float64)
    multipliers = []
    for W, slope, following in zip(weights[:-1], slopes, weights[1:], strict=True):
        m = sum(slope) / 2
        K = m * m * W @ torch.linalg.solve(M, W.T)
        _, multiplier, _, _ = sdp(len(W), following, (K + K.T) / 2 + 1e-10 * torch.eye(len(W)).double())
        multiplier = multiplier.diagonal() if multiplier.ndim == 2 else multiplier
        # The solver is accurate to about 1e-6 and may end outside: step inside.
        multiplier = multiplier.clamp(min=1e-9 * multiplier.max()) * (1 - 1e-5)
        multipliers.append(multiplier)
        M = _next_form(M, W, slope, multiplier)
    return multipliers


def _form(weights, slopes, multipliers, rho):
    """Return the matrix of ||x_0||^2 - ||W_l x||^2 / rho - ..., and that of the absolute terms."""
    sizes = [W.shape[1] for W in weights]
    ends = [sum(sizes[: k + 1]) for k in range(len(sizes))]
    S = torch.zeros(ends[-1], ends[-1], dtype=torch.float64)
    absolute = torch.zeros_like(S)
    blocks = [slice(end - size, end) for end, size in zip(ends, sizes, strict=True)]
    S[blocks[0], blocks[0]] += torch.eye(sizes[0])
    for k, (W, (low, high), multiplier) in enumerate(zip(weights[:-1], slopes, multipliers, strict=True)):
        here, after = blocks[k], blocks[k + 1]
        S[here, here] += low * high * (W.T * multiplier) @ W
        absolute[here, here] += low * high * (W.abs().T * multiplier) @ W.abs()
        S[here, after] -= (low + high) / 2 * W.T * multiplier
        S[after, here] -= (low + high) / 2 * multiplier[:, None] * W
        S[after, after] += torch.diag(multiplier)
    last = blocks[-1]
    S[last, last] -= weights[-1].T @ weights[-1] / rho
    absolute[last, last] += weights[-1].abs().T @ weights[-1].abs() / rho
    return S, absolute + S.abs()


def _proved(weights, slopes, multipliers, rho):
    """Tell whether the form is positive semidefinite, proved by Cholesky (Rump 2006).

    If Cholesky of T runs to its end, the smallest eigenvalue of T is above -gamma trace(T). The margin also
    covers the rounding in the entries; the scaling is by powers of two, exact.
    """
    S, absolute = _form(weights, slopes, multipliers, rho)
    diagonal = S.diagonal()
    if not (diagonal > 0).all():
        return False
    scale = torch.exp2(-torch.round(torch.log2(diagonal) / 2))
    S, absolute = S * scale[:, None] * scale, absolute * scale[:, None] * scale
    size = len(S)
    margin = 4 * (size + 8) * EPS * (S.diagonal().sum() + torch.linalg.matrix_norm(absolute)).item()
    _, info = torch.linalg.cholesky_ex(S - margin * torch.eye(size, dtype=torch.float64))
    return int(info) == 0


def _certify(weights, slopes, multipliers):
    """Return the root of the smallest rho that is proved for these multipliers, by bisection."""
    low, high = 0.0, math.prod(spectral_upper(W) for W in weights) ** 2 * 4
    if not _proved(weights, slopes, multipliers, high):
        raise ValueError("the multipliers certify nothing; use the other method.")
    while high - low > 1e-9 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if _proved(weights, slopes, multipliers, middle) else (middle, high)
    return math.sqrt(high) * (1 + 4 * EPS)
