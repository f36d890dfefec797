"""Search for the worst matrix of a family by projected gradient ascent."""

import math
import numbers
from dataclasses import dataclass

import torch

from neuinv._checks import as_integer, make_generator, resolve_device
from neuinv.metrics.errors import right_residual


@dataclass(frozen=True)
class WorstCase:
    """The worst matrix that an ascent found: a lower bound of the supremum, an *estimate* of it."""

    matrix: torch.Tensor  # (n, n)
    value: float
    sampled_value: float  # worst over the starting sample, before any ascent
    num_evaluations: int


def worst_case(f, family, *, seed, batch=64, num_steps=100, step=0.1, measure=right_residual, device="cpu"):
    r"""Search the family for the matrix with the largest error of ``f`` by projected gradient ascent.

    From ``batch`` members, :math:`A \leftarrow P(A + s_k \lVert A \rVert_F\, G / \lVert G \rVert_F)`, where
    G is the gradient of the measure, P the family's projection onto its domain, and :math:`s_k` falls
    from ``step`` to a hundredth of it.

    Parameters
    ----------
    f : callable
        (batch, n, n) -> (batch, n, n), differentiable by torch.
    family : MatrixFamily
        With a declared domain (``family.domain_projection``).
    seed : int
        Of the starting sample.
    batch, num_steps : int
        Number of starts, at least 1, and of steps, at least 0.
    step : float
        First step, positive, relative to the norm of the matrix.
    measure : callable
        (A, X) -> (batch,), differentiable; the right residual by default.
    device : str or torch.device
        Where ``f`` computes. Members, measure and projection stay on the CPU: a projection may have data
        of the family's own there.

    Returns
    -------
    WorstCase
        Never below the worst starting member. Infinite where ``f`` or the measure returns NaN or inf.

    Raises
    ------
    TypeError
        ``family`` is no family, ``f`` returns no tensor, or a number is of the wrong type.
    ValueError
        The family declares no domain, ``f`` returns another shape, a number is out of range, or torch has
        no such device.
    """
    num_steps, device = _check_search(family, num_steps, step), resolve_device(device)
    A = family.sample(batch, generator=make_generator(seed))
    best_value, best_matrix, sampled = -float("inf"), A[0], None
    for k in range(num_steps + 1):
        A = A.detach().requires_grad_(True)
        values = _measure_or_inf(measure, A, f(A.to(device)))
        value, index = values.detach().max(dim=0)
        sampled = value.item() if sampled is None else sampled
        if value.item() > best_value:
            best_value, best_matrix = value.item(), A[index].detach().clone()
        if k == num_steps or best_value == float("inf"):
            break
        (gradient,) = torch.autograd.grad(values.sum(), A)
        gradient = torch.nan_to_num(gradient)
        length = torch.linalg.matrix_norm(gradient, keepdim=True)
        direction = gradient / torch.where(length > 0, length, torch.ones_like(length))
        size = step * 0.01 ** (k / num_steps) * torch.linalg.matrix_norm(A.detach(), keepdim=True)
        A = family.domain_projection.project((A + size * direction).detach())
    return WorstCase(best_matrix, best_value, sampled, batch * (k + 1))


def _check_search(family, num_steps, step):
    if not hasattr(family, "domain_projection"):
        raise TypeError(f"family is a {type(family).__name__}; pass one such as neuinv.family('uniform').")
    if family.domain_projection is None:
        raise ValueError(
            f"family {family.name!r} declares no domain to search in; take the worst of a sample instead."
        )
    if not isinstance(step, numbers.Real) or isinstance(step, bool):
        raise TypeError(f"step is {step!r}; pass a number > 0.")
    if not 0 < step < math.inf:
        raise ValueError(f"step is {step}; pass a finite number > 0.")
    return as_integer(num_steps, "num_steps", 0)


def _measure_or_inf(measure, A, X):
    """Return the errors, infinite wherever the output or the measure itself is not a number."""
    if not isinstance(X, torch.Tensor):
        raise TypeError(f"f returns a {type(X).__name__}; it must return a tensor (batch, n, n).")
    if X.shape != A.shape:
        raise ValueError(f"f maps {tuple(A.shape)} to {tuple(X.shape)}; it must return one matrix a matrix.")
    X = X.to(A.device)
    finite = torch.isfinite(X).all(dim=-1).all(dim=-1)
    values = measure(A, torch.where(finite[:, None, None], X, torch.zeros_like(X)))
    # A NaN would lose every comparison, and the worst failure would pass for the best member.
    return torch.where(finite & ~torch.isnan(values), values, torch.full_like(values, float("inf")))
