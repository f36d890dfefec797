r"""Networks that learn where Newton-Schulz starts, and what keeps such a start from being good.

A start is any map M from matrices to matrices; k Newton-Schulz steps from M(A) leave the right residual
:math:`(I - AM(A))^{2^k}`, in 2k products. :func:`neuinv.inverse.choose_start` says whether a start is safe.
"""

import math

import torch
from torch import nn

from neuinv._checks import as_integer, check_matrices
from neuinv._linalg import inverse
from neuinv.iterations.classical import newton_schulz_step
from neuinv.lipschitz import register_input_shape
from neuinv.lipschitz.registry import infer_input_shape

__all__ = ["LearnedStart", "start_floor"]

MOST_PAIRS = 20_000


class LearnedStart(nn.Module):
    r"""A network that gives the start, then Newton-Schulz steps :math:`X \leftarrow X(2I - AX)`.

    Each step squares :math:`I - AX`: it brings a start with :math:`\lVert I - AX\rVert < 1` nearer to the
    inverse, and drives one whose residual has an eigenvalue beyond 1 away from it. Nothing is gated here: as
    a composition of continuous maps it is as continuous as its start, and in the class Lip(c, L, p) with it.

    Parameters
    ----------
    start : torch.nn.Module
        (..., n, n) -> (..., n, n).
    num_steps : int
        k >= 0; each step costs two matrix products.

    Raises
    ------
    TypeError, ValueError
        ``start`` is no module, or ``num_steps`` no integer >= 0.

    Notes
    -----
    Its class is that of the start, carried through the steps by the calculus (`thm-class-calculus`): from
    (c, L, p) a step makes an exponent of 2p + 2.

    Examples
    --------
    >>> from neuinv.networks import make_network
    >>> network = LearnedStart(make_network("residual", 3, seed=0, width=4), num_steps=2)
    >>> from neuinv import lipschitz_class
    >>> lipschitz_class(network).p
    6
    """

    def __init__(self, start, num_steps=2):
        super().__init__()
        if not isinstance(start, nn.Module):
            raise TypeError(f"start is {start!r}; pass a torch.nn.Module, such as make_network(...).")
        self.start = start
        self.num_steps = as_integer(num_steps, "num_steps", 0)

    def forward(self, A):
        """Map A, shape (..., n, n), to its approximate inverse of the same shape."""
        X = self.start(A)
        for _ in range(self.num_steps):
            X = newton_schulz_step(A, X)
        return X


register_input_shape(LearnedStart, lambda network: infer_input_shape(network.start))


def start_floor(A, slope):
    r"""Return a residual below which no start of bounded slope can come on all members of a sample.

    For every map M with :math:`\lVert M(A) - M(B)\rVert \le L\lVert A - B\rVert_F` on the sample, whatever
    network it is and however it was trained,

    .. math:: \max_A \lVert I - AM(A)\rVert \ge \max_{A, B}
       \frac{\lVert A^{-1} - B^{-1}\rVert - L\lVert A - B\rVert_F}{\lVert A^{-1}\rVert + \lVert B^{-1}\rVert}.

    Parameters
    ----------
    A : Tensor, shape (N, n, n)
        Invertible members, N >= 2. Of more than 200 the first 200 are used, which only lowers the bound.
    slope : float or Tensor, shape (m,)
        L >= 0, in the unit 1 / unit of A squared; 0 is a constant.

    Returns
    -------
    Tensor, float64
        In [0, 1], of the shape of ``slope``; dimensionless, up to rounding.

    Raises
    ------
    TypeError, ValueError
        Bad matrices, not one sample of at least two, or a negative slope.

    Notes
    -----
    Statement `prop-start-floor` of the book. On multiples of I, two of them, it is attained.

    Examples
    --------
    A constant leaves at least 1/2 on {1, 3}, as its spread says; a slope of 1/3 can leave nothing.

    >>> pair = torch.tensor([[[1.0]], [[3.0]]], dtype=torch.float64)
    >>> start_floor(pair, torch.tensor([0.0, 1 / 6, 1 / 3])).tolist()
    [0.5, 0.25, 0.0]
    """
    check_matrices(A)
    if A.ndim != 3 or len(A) < 2:
        raise ValueError(f"A has shape {tuple(A.shape)}; pass a sample (N, n, n) of at least two matrices.")
    slope = torch.as_tensor(slope, dtype=torch.float64).cpu()
    if not (slope >= 0).all():
        raise ValueError(f"slope is {slope.min().tolist()}; pass a number >= 0.")
    A = A[: math.isqrt(2 * MOST_PAIRS)].detach().double().cpu()
    X = inverse(A)
    norms = torch.linalg.matrix_norm(X, 2)
    i, j = torch.triu_indices(len(A), len(A), 1)
    apart = torch.linalg.matrix_norm(X[i] - X[j], 2)
    away = torch.linalg.matrix_norm(A[i] - A[j])
    floor = (apart - slope[..., None] * away) / (norms[i] + norms[j])
    return floor.amax(dim=-1).clamp(min=0)
