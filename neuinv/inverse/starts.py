r"""Starts of Newton-Schulz: the gate that makes any of them safe, and the products that they leave to do.

A start X of A is *accepted* if :math:`\lVert I - AX\rVert_2 < 1` is proved, rounding included. Then A is
invertible, every further step X(2I - AX) squares the residual in exact arithmetic, and no accepted matrix
diverges (`prop-gate`). The product AX of the gate is the first product of the first step.
"""

import math
from dataclasses import dataclass

import torch

from neuinv._checks import check_matrices
from neuinv._linalg import singular_values, spectral_norms
from neuinv.inverse.bounds import power_of_two
from neuinv.inverse.proof import prove_residual
from neuinv.iterations import best_scheme, transpose_start

__all__ = [
    "StartChoice",
    "choose_start",
    "diverges",
    "measured_steps",
    "scheme_matmuls",
    "start_matmuls",
    "steps_to",
]

# What the gate asks for: a little below 1, so that the logarithm of the bound is a number.
CONTRACTION = 1 - 2.0**-20
MOST_STEPS = 80  # 2^80 ln(1 / residual) is beyond any tolerance once a residual in float64 is below 1
LOST = 1e100  # a power of the residual this large is not followed any further


@dataclass(frozen=True)
class StartChoice:
    """A start for each matrix of a batch, and what it cost to choose it.

    Attributes
    ----------
    X : Tensor, shape (batch, n, n)
        The starts.
    choice : Tensor of int, shape (batch,)
        Which candidate was taken; their number where the start from norms was.
    bound : Tensor, shape (batch,)
        A proved upper bound of the right residual of the start. For the start from norms it is 1.
    num_matmuls : Tensor, shape (batch,)
        Products of all gates that were tried, the one that accepted included.
    """

    X: torch.Tensor
    choice: torch.Tensor
    bound: torch.Tensor
    num_matmuls: torch.Tensor


def choose_start(A, candidates):
    r"""Take for each matrix the first candidate that provably contracts, else the start from norms.

    Parameters
    ----------
    A : Tensor, shape (batch, n, n), float64
        The matrices.
    candidates : sequence of Tensor, shape (batch, n, n) or (n, n)
        Starts in the order in which they are tried, such as that of a network, then a constant. Entries that
        are not finite are a start that is not accepted.

    Returns
    -------
    StartChoice
        The last resort is :func:`neuinv.iterations.transpose_start`, which contracts on every invertible
        matrix and needs no gate.

    Raises
    ------
    TypeError, ValueError
        Bad matrices or another dtype, or a candidate of another shape.

    Notes
    -----
    Statement `prop-gate` of the book; the bound is proved by the ladder of `prop-rounded-proof`, from one
    product on.

    Examples
    --------
    The constant 1 contracts 1.5 and not 2.5.

    >>> A = torch.tensor([[[1.5]], [[2.5]]], dtype=torch.float64)
    >>> found = choose_start(A, [torch.ones(1, 1, dtype=torch.float64)])
    >>> found.choice.tolist(), found.X.flatten().tolist()
    ([0, 1], [1.0, 0.4])
    """
    check_matrices(A)
    if A.ndim != 3 or A.dtype != torch.float64:
        raise ValueError(f"A is {A.dtype} of shape {tuple(A.shape)}; pass a batch (batch, n, n) in float64.")
    X = transpose_start(A)
    choice = torch.full((len(A),), len(candidates), device=A.device)
    bound = torch.ones(len(A), dtype=A.dtype, device=A.device)
    matmuls = torch.zeros_like(bound)
    for k, start in enumerate(candidates):
        if start.shape not in (A.shape, A.shape[1:]):
            raise ValueError(
                f"candidate {k} has shape {tuple(start.shape)}; pass {tuple(A.shape)}, or one matrix for all."
            )
        waiting = torch.nonzero(choice == len(candidates))[:, 0]
        if not len(waiting):
            break
        tried = start.to(A).expand_as(A)[waiting]
        proved, cost = _gate(A[waiting], tried)
        matmuls[waiting] += cost
        # NaN is no proof, and compares as such.
        accepted = proved <= CONTRACTION
        at = waiting[accepted]
        X[at], choice[at], bound[at] = tried[accepted], k, proved[accepted]
    return StartChoice(X, choice, bound, matmuls)


def _gate(A, X):
    """Return proved upper bounds of the residuals, and the products that the proofs took."""
    # The proof wants entries of at most 1, and a power of two moves no digit.
    exponent = torch.frexp(A.abs().amax(dim=(-2, -1))).exponent.clamp(-500, 500)[:, None, None]
    proof = prove_residual(A * power_of_two(-exponent), X * power_of_two(exponent), CONTRACTION)
    return proof.bound, proof.matmuls


def steps_to(residual, tolerance):
    r"""Return the least k with :math:`r^{2^k} \le` tolerance, the steps that a residual bound promises.

    Parameters
    ----------
    residual : Tensor, shape (...,)
        r >= 0, dimensionless.
    tolerance : float
        In (0, 1).

    Returns
    -------
    Tensor, float64, shape (...,)
        Whole numbers; infinite where r >= 1.

    Raises
    ------
    ValueError
        The tolerance is not in (0, 1).

    Examples
    --------
    >>> steps_to(torch.tensor([0.001, 0.5, 0.9, 1.0]), 1e-2).tolist()
    [0.0, 3.0, 6.0, inf]
    """
    _check_tolerance(tolerance)
    residual = torch.as_tensor(residual).double()
    needed = math.log(tolerance) / residual.clamp(min=1e-300, max=1).log()
    # The quotient is rounded: without slack r^(2^k) = tolerance might ask for a step too many.
    steps = torch.ceil(torch.log2(needed) - 1e-12).clamp(min=0)
    return torch.where(residual < 1, steps, torch.inf)


def measured_steps(A, X, tolerances):
    r"""Return the number of steps after which the right residual is below each tolerance.

    It is the least k with :math:`\lVert (I - AX)^{2^k}\rVert_2 \le` tolerance, by squaring in float64: what
    :func:`steps_to` promises, or fewer where the residual is not normal.

    Parameters
    ----------
    A, X : Tensor, shape (batch, n, n), float64
        The matrices and their starts, which need not contract.
    tolerances : sequence of float
        In (0, 1), well above n times the unit roundoff.

    Returns
    -------
    Tensor, float64, shape (tolerances, batch)
        Whole numbers; infinite where the powers of the residual were not seen to fall.

    Raises
    ------
    TypeError, ValueError
        Bad matrices, or a tolerance that is not in (0, 1).

    Examples
    --------
    >>> A, X = torch.eye(2).double()[None], 0.5 * torch.eye(2).double()[None]
    >>> measured_steps(A, X, [1e-2, 1e-6]).flatten().tolist()
    [3.0, 5.0]
    """
    check_matrices(A)
    for tolerance in tolerances:
        _check_tolerance(tolerance)
    R = torch.eye(A.shape[-1], dtype=A.dtype, device=A.device) - A @ X
    steps = torch.full((len(tolerances), len(A)), torch.inf, dtype=torch.float64, device=A.device)
    at = torch.nonzero(torch.isfinite(R).all(dim=-1).all(dim=-1))[:, 0]
    R = R[at]
    for k in range(MOST_STEPS):
        size = spectral_norms(R)
        for row, tolerance in zip(steps, tolerances, strict=True):
            row[at] = torch.where(size <= tolerance, row[at].clamp(max=k), row[at])
        going = (size > min(tolerances)) & (size < LOST)
        at, R = at[going], R[going]
        if not len(at):
            break
        R = R @ R
    return steps


def diverges(A, X):
    """Tell from which starts Newton-Schulz does not come to a residual of 1e-6, or was not seen to.

    Parameters
    ----------
    A, X : Tensor, shape (batch, n, n), float64
        The matrices and their starts.

    Returns
    -------
    Tensor of bool, shape (batch,)
        False wherever the residual of the start is below 1, which decides it.

    Raises
    ------
    TypeError, ValueError
        Bad matrices.

    Examples
    --------
    >>> A = torch.eye(1).double().expand(3, 1, 1)
    >>> diverges(A, torch.tensor([0.5, 1.5, 2.5])[:, None, None].double()).tolist()
    [False, False, True]
    """
    check_matrices(A)
    size = torch.nan_to_num(A @ X, nan=torch.inf).abs().amax(dim=(-2, -1))
    found = ~torch.isfinite(size)
    R = torch.eye(A.shape[-1], dtype=A.dtype, device=A.device) - A @ X
    at = torch.nonzero(~found & (spectral_norms(R.masked_fill(found[:, None, None], 0)) >= 1))
    if len(at):
        found[at[:, 0]] = measured_steps(A[at[:, 0]], X[at[:, 0]], [1e-6])[0].isinf()
    return found


def start_matmuls(A, candidates, tolerances, *, own=0.0):
    r"""Count the products from each matrix to each tolerance: network, gates and Newton-Schulz steps.

    Parameters
    ----------
    A : Tensor, shape (batch, n, n), float64
        The matrices.
    candidates : sequence of Tensor
        As in :func:`choose_start`, whose choice is followed; none for the start from norms.
    tolerances : sequence of float
        Of the right residual, in (0, 1).
    own : float
        Products that the candidates cost themselves; every matrix pays them.

    Returns
    -------
    measured, promised : Tensor, float64, shape (tolerances, batch)
        With the number of steps after which the residual *is* below the tolerance, which nobody knows
        beforehand; and with the number that the bound of the gate promises. For the start from norms, which
        has no such bound, both are the former. Infinite where the matrix is singular.
    choice : StartChoice

    Raises
    ------
    TypeError, ValueError
        As :func:`choose_start` and :func:`measured_steps`.

    Notes
    -----
    A gate takes one product AX, or up to two and a sixth more where norms alone do not decide. An accepting
    gate has made the first of the 2k products of the steps; where k = 0 it is paid for all the same.
    """
    choice = choose_start(A, candidates)
    measured = measured_steps(A, choice.X, tolerances)
    by_gate = choice.choice < len(candidates)
    promised = torch.stack([steps_to(choice.bound, tolerance) for tolerance in tolerances])
    promised = torch.where(by_gate, promised, measured)

    def products(steps):
        return own + choice.num_matmuls + torch.where(by_gate, (2 * steps - 1).clamp(min=0), 2 * steps)

    return products(measured), products(promised), choice


def scheme_matmuls(A, tolerances):
    r"""Return the products of the best known scheme for the interval that these matrices fill.

    Parameters
    ----------
    A : Tensor, shape (batch, n, n), float64
        All the matrices that the scheme is to serve; their extreme singular values are taken as known.
    tolerances : sequence of float
        Of the right residual.

    Returns
    -------
    num_matmuls : list of int, or of None
        One a tolerance; None where a matrix is singular to working precision.
    kappa : float
        The ratio of the interval, after a division of each matrix by its Frobenius norm where that makes it
        shorter by a fifth; the division counts nothing.
    kind : str
        ``"spd"`` if all matrices are symmetric positive definite, else ``"general"``.

    Raises
    ------
    TypeError, ValueError
        Bad matrices, or a tolerance that is not positive.

    Examples
    --------
    >>> scheme_matmuls(torch.diag_embed(torch.tensor([[1.0, 10.0], [10.0, 1.0]]).double()), [1e-2, 1e-4])
    ([3, 4], 10.0, 'spd')
    """
    check_matrices(A)
    sigma = singular_values(A)
    symmetric = bool((A == A.mT).all())
    kind = "spd" if symmetric and bool((torch.linalg.eigvalsh(A.cpu())[:, 0] > 0).all()) else "general"
    plain = (sigma[:, 0].max() / sigma[:, -1].min()).item()
    norms = torch.linalg.vector_norm(sigma, dim=1)
    divided = ((sigma[:, 0] / norms).max() / (sigma[:, -1] / norms).min()).item()
    kappa = divided if divided < 0.8 * plain else plain
    if not kappa < 1 / torch.finfo(A.dtype).eps:
        return [None] * len(tolerances), kappa, kind
    schemes = [best_scheme(max(1.0, kappa), tolerance, kind) for tolerance in tolerances]
    return [scheme.num_matmuls for scheme in schemes], kappa, kind


def _check_tolerance(tolerance):
    if not 0 < tolerance < 1:
        raise ValueError(f"tolerance is {tolerance}; pass a number in (0, 1).")
