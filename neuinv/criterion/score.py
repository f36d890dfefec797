r"""The residual to expect of a network on a family, from a sample of it and before anything is trained.

Each kind of network stands for a class of maps, and on a sample theorems bracket the least worst-case right
residual of that class; the score is one end of the bracket. No number in it was fitted to a trained network.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch

from neuinv._checks import as_integer, check_matrices
from neuinv._linalg import sign_and_log
from neuinv.iterations import least_residual
from neuinv.spectrum import minimax_residual, pair_ratio, spread

__all__ = ["PREDICTED_KINDS", "PredictedResidual", "plain_predictors", "predicted_residual"]

# Kind to the matrix products it takes unless the caller says otherwise; None: it has no such number.
PREDICTED_KINDS = {
    "constant": None,
    "plain-relu": None,
    "plain-gelu": None,
    "residual": None,
    "learned-start": 4,
    "unrolled": 12,
    "polynomial": 12,
}
# Of a spectrum, in a minimax problem: a part of the points bounds the whole from below.
FIRST_POINTS, ADDED_POINTS, EXCHANGES = 200, 30, 8
MOST_PRODUCTS = 40


@dataclass(frozen=True)
class PredictedResidual:
    """What is predicted of one kind of network on one sample; all residuals dimensionless.

    Attributes
    ----------
    kind : str
        A key of ``PREDICTED_KINDS``.
    score : float
        The prediction. Below 1 it is a residual; from 1 on it only orders: no network of the class is known
        that leaves less than the zero network.
    low, high : float
        The least worst-case right residual over the sample, among the networks of the class, lies in [low,
        high]: proved up to rounding. ``low`` holds for the family too, ``high`` says nothing about unseen
        members.
    num_matmuls : int or None
        Matrix products of the class.
    count : int
        Matrices in the sample.
    """

    kind: str
    score: float
    low: float
    high: float
    num_matmuls: int | None
    count: int


def predicted_residual(A, kind, *, num_matmuls=None):
    r"""Predict the worst-case right residual of one kind of trained network from a sample of its family.

    =============  =================================================================  ===================
    kind           class of maps                                                      score
    =============  =================================================================  ===================
    constant       A to M                                                             q
    plain-relu     the closure of the fully connected networks, width at least n^2    q^2
    plain-gelu     the same                                                           q^2
    residual       the same with skip connections                                     q^2
    learned-start  such a network, then k Newton-Schulz steps, 2k products            q^(2^(k + 1))
    unrolled       k steps aX - bXAX from A^T / ||A||_F^2, scalars a, b; 2k products  1 / T_{2^k}(x0(rho))
    polynomial     p(A / ||A||_F) / ||A||_F by powers, m products, degree m + 1       E_{m+2}(spectra)
    =============  =================================================================  ===================

    Here q is the spread of the sample, rho the ratio of the largest to the smallest of all
    :math:`\sigma_i(A)^2 / \lVert A \rVert_F^2`, and E the minimax residual on all eigenvalues of
    :math:`A / \lVert A \rVert_F`. Where q = 1 no constant contracts, and the score of the four kinds that use
    it is :math:`2s/(s + 1) \ge 1`, s the pair ratio, which only orders.

    Parameters
    ----------
    A : Tensor, shape (N, n, n)
        The sample.
    kind : str
        A key of ``PREDICTED_KINDS``.
    num_matmuls : int, optional
        Matrix products, for the last three kinds; even for ``"learned-start"`` and ``"unrolled"``.

    Returns
    -------
    PredictedResidual

    Raises
    ------
    TypeError, ValueError
        Bad matrices or not one sample, an unknown kind, or a number of products that the kind cannot have.

    Notes
    -----
    What is *proved* for the sample. If :math:`\lVert I - AM\rVert \le q` then :math:`2M - MAM`, which is
    affine in A, leaves :math:`(I - AM)^2`, hence at most q^2, and each Newton-Schulz step squares it again.
    A residual network of width n^2 contains every affine map, and the closure of the plain ones on a bounded
    set does. The residual of an unrolled network is a polynomial of degree 2^k in the
    :math:`\sigma_i^2 / \lVert A \rVert_F^2`, with value 1 at 0; scaled Newton-Schulz, which is one of them,
    attains the Chebyshev minimum of their interval (``high``), and the minimax residual on some of these
    points bounds all of them from below (``low``). The eigenvalues of :math:`I - A p(A)` are the values of a
    polynomial, and no norm is below them (``low`` of ``"polynomial"``).

    What is an *estimate*: that training comes near the best of the class, that unseen members are like the
    sample, that a network whose input matters does no better than ``high`` (a network of enough width
    interpolates any finite sample, so ``low`` is 0 for the kinds that read the entries of A), and, for
    ``"polynomial"``, that the eigenvectors do not matter.

    Examples
    --------
    The spread of {1, 3} is 1/2.

    >>> A = torch.tensor([[[1.0]], [[3.0]]], dtype=torch.float64)
    >>> [round(predicted_residual(A, kind).score, 2) for kind in ("constant", "residual", "learned-start")]
    [0.5, 0.25, 0.0]
    >>> predicted_residual(A, "unrolled").score < 1e-12  # each A is orthogonal after division by its norm
    True
    """
    check_matrices(A)
    if A.ndim != 3:
        raise ValueError(f"A has shape {tuple(A.shape)}; pass one sample (N, n, n).")
    if kind not in PREDICTED_KINDS:
        raise ValueError(f"kind is {kind!r}; use one of {', '.join(PREDICTED_KINDS)}.")
    products = _products(kind, num_matmuls)
    A = A.detach().double().cpu()
    if kind == "unrolled":
        score, low, high = _unrolled(A, products // 2)
    elif kind == "polynomial":
        score, low, high = _polynomial(A, products + 2)
    else:
        score, low, high = _reading(A, kind, products)
    return PredictedResidual(kind, score, low, high, products, len(A))


def _products(kind, num_matmuls):
    if PREDICTED_KINDS[kind] is None:
        if num_matmuls is not None:
            raise ValueError(f"num_matmuls is {num_matmuls} for kind {kind!r}, which has none; leave it out.")
        return None
    products = as_integer(PREDICTED_KINDS[kind] if num_matmuls is None else num_matmuls, "num_matmuls", 0)
    if products > MOST_PRODUCTS:
        raise ValueError(f"num_matmuls is {products}; pass at most {MOST_PRODUCTS}.")
    if kind == "unrolled" and products < 2:
        raise ValueError(f"num_matmuls is {products} for kind 'unrolled', whose start alone learns nothing.")
    if kind != "polynomial" and products % 2:
        raise ValueError(f"num_matmuls is {products} for kind {kind!r}, of two a step; pass an even number.")
    return products


def _reading(A, kind, products):
    """Return score, low and high of the kinds that read the entries of A; they contain the constants."""
    found = spread(A, tolerance=0.02, num_steps=400)
    if kind == "constant":
        power = 1
    else:
        # the affine 2M - MAM, then the steps
        power = 2 ** (1 + (products or 0) // 2)
    high = found.high**power
    score = high
    if found.high >= 1:
        ratio = pair_ratio(A)
        score = 2.0 if math.isinf(ratio) else 2 * ratio / (ratio + 1)
    return score, found.low if kind == "constant" else 0.0, high


def _unrolled(A, num_steps):
    """Return score, low and high for polynomials of degree 2^k in the squares of singular values."""
    sigma = torch.linalg.svdvals(A)
    norm = torch.linalg.matrix_norm(A)[:, None]
    # The start of the zero matrix is 0, as if all its singular values were.
    squares = torch.where(norm > 0, sigma / norm, 0.0).square().flatten()
    ratio = (squares.max() / squares.min()).sqrt().item() if squares.min() > 0 else math.inf
    degree = 2**num_steps
    # For this kind the argument is a degree in A, 2 d - 1 for a residual of degree d in A A^T.
    high = least_residual(2 * degree - 1, max(1.0, ratio), "general") if math.isfinite(ratio) else 1.0
    return high, _minimax_low(squares.numpy(), degree, high), high


def _polynomial(A, degree):
    """Return score, low and high for polynomials in A / ||A||_F, the residual of this degree."""
    norm = torch.linalg.matrix_norm(A)[:, None, None]
    unit = torch.where(norm > 0, A / norm, 0.0)
    points = torch.linalg.eigvals(unit).flatten().numpy()
    if (points == 0).any():
        return 1.0, 1.0, 1.0
    found = _minimax(points, degree)
    if found is None:
        return 0.0, 0.0, 1.0
    reached = torch.linalg.matrix_norm(found.residual(unit), 2).max().item()
    return found.lower, found.lower, max(found.lower, min(1.0, reached))


def _minimax_low(points, degree, high):
    """Return a lower bound of the minimax residual on the points, of which ``high`` is an upper one."""
    if high < 1e-12:
        return 0.0
    if (points == 0).any():
        return 1.0
    found = _minimax(points, degree)
    return 0.0 if found is None else min(found.lower, high)


def _minimax(points, degree):
    """Return the minimax polynomial on some of the points, or None where none can be told apart.

    Points where it is too large are added until it is nearly as small on all of them.
    """
    ordered = np.unique(points)
    ordered = ordered[np.argsort(np.abs(ordered), kind="stable")]
    chosen = np.linspace(0, len(ordered) - 1, FIRST_POINTS).round().astype(int)
    for _ in range(EXCHANGES):
        chosen = np.unique(chosen)
        try:
            found = minimax_residual(ordered[chosen], degree, tolerance=1e-3)
        except ValueError:
            # As many points as the degree, or no more in double precision: 0 is then all that is known.
            return None
        size = np.abs(found(ordered))
        if size.max() <= 1.02 * found.upper:
            break
        chosen = np.append(chosen, np.argsort(size)[-ADDED_POINTS:])
    return found


def plain_predictors(A):
    r"""Return what is read off a sample without any theorem, each number larger where inversion looks harder.

    Parameters
    ----------
    A : Tensor, shape (N, n, n)
        The sample.

    Returns
    -------
    dict of str to float
        For each of ``kappa``, ``det``, ``norm``, ``entry`` the worst over the sample, and under
        ``NAME.median`` the median: :math:`\ln\kappa`, :math:`-\ln|\det A|`, :math:`\ln\lVert A\rVert`,
        :math:`-\ln\min_{ij}|a_{ij}|`. Infinite for singular matrices and zero entries.

    Raises
    ------
    TypeError, ValueError
        Bad matrices, or not one sample.

    Examples
    --------
    >>> A = torch.diag_embed(torch.tensor([[1.0, 2.0], [1.0, 4.0]], dtype=torch.float64))
    >>> found = plain_predictors(A)
    >>> round(math.exp(found["kappa"]), 9), round(math.exp(-found["det"]), 9), found["entry"]
    (4.0, 2.0, inf)
    """
    check_matrices(A)
    if A.ndim != 3:
        raise ValueError(f"A has shape {tuple(A.shape)}; pass one sample (N, n, n).")
    A = A.detach().double().cpu()
    log_sigma = torch.linalg.svdvals(A).log()
    values = {
        "kappa": torch.where(log_sigma[:, -1].isinf(), torch.inf, log_sigma[:, 0] - log_sigma[:, -1]),
        "det": -sign_and_log(A)[1],
        "norm": log_sigma[:, 0],
        "entry": -A.abs().amin(dim=(-2, -1)).log(),
    }
    found = {}
    for name, value in values.items():
        found[name] = value.max().item()
        found[f"{name}.median"] = value.median().item()
    return found
