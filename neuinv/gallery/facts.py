"""What a family may declare about itself: bounds, a domain projection, a curve, connectedness."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from neuinv._checks import FLOATING, check_matrices


@dataclass(frozen=True)
class Bounds:
    """Bounds that hold for every member by construction; None where nothing is known.

    Attributes
    ----------
    sigma_min : float or None
        Lower bound on the smallest singular value.
    norm : float or None
        Upper bound on the largest singular value.
    condition : float or None
        Upper bound on the 2-norm condition number; dimensionless.
    """

    sigma_min: float | None = None
    norm: float | None = None
    condition: float | None = None


@dataclass(frozen=True)
class DomainProjection:
    """Map of an arbitrary matrix to a member of the family's domain close to it.

    It fixes every member and is idempotent. It is a nearest point in the Frobenius norm where
    the domain is convex, and only a close one elsewhere; ``kind`` says what is done. Meant for
    projected gradient ascent: no gradient flows through it.
    """

    function: Callable
    n: int
    kind: str

    @torch.no_grad()
    def project(self, A):
        """Return the projected matrices.

        Parameters
        ----------
        A : Tensor, shape (..., n, n)
            Any matrices; the work is done in float64, the result has the dtype of ``A``.

        Returns
        -------
        Tensor, shape (..., n, n)

        Raises
        ------
        TypeError, ValueError
            ``A`` is no batch of finite real square matrices, or has another n.
        """
        check_matrices(A)
        if A.shape[-1] != self.n:
            raise ValueError(f"A has n = {A.shape[-1]}; this domain has n = {self.n}.")
        # on the CPU, where the constants of the families live
        return self.function(A.detach().cpu().double()).to(device=A.device, dtype=A.dtype)


@dataclass(frozen=True)
class Curve:
    """A curve of matrices in a family, t -> A(t).

    Attributes
    ----------
    function : callable
        Tensor of parameters (...,) in float64 to matrices (..., n, n).
    range : (float, float) or callable
        Closed range of t, or a function without arguments that finds it.
    parameter : str
        Name and unit of t.
    differentiable : bool
        Whether autograd flows from the matrices to t.
    """

    function: Callable
    range: tuple | Callable
    parameter: str
    differentiable: bool = True

    def ends(self):
        """Return the closed range of t as two floats."""
        low, high = self.range() if callable(self.range) else self.range
        return float(low), float(high)

    def evaluate(self, t):
        """Return the matrices at the parameters ``t`` (a number or a tensor).

        Raises
        ------
        TypeError
            ``t`` is complex or no number.
        ValueError
            A parameter is NaN or outside the range.
        """
        t = _as_real(t)
        low, high = self.ends()
        outside = ~((t >= low) & (t <= high))  # written so that NaN counts as outside
        if outside.any():
            value = t[outside].flatten()[0].tolist()
            raise ValueError(f"{self.parameter} = {value} is off the curve; use {low:.12g} ... {high:.12g}.")
        return self.function(t.double()).to(t.dtype)


def _as_real(t):
    try:
        t = t if isinstance(t, torch.Tensor) else torch.as_tensor(t, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"the curve parameter {t!r} is no number; pass a float or a tensor.") from None
    if t.is_complex():
        raise TypeError(f"the curve parameter is complex ({t.dtype}); pass real numbers.")
    return t if t.dtype in FLOATING else t.double()


@dataclass(frozen=True)
class Facts:
    """Everything a family declares about itself for one setting of its parameters.

    Attributes
    ----------
    tags : iterable of str
        From the closed vocabulary :data:`neuinv.gallery.TAGS`.
    n : int or None
        Size of a family that has no parameter ``n``.
    bounds : Bounds
        Bounds on singular values and condition number.
    connected : bool or None
        Whether the support of the family is connected; None where not known.
    connected_reason : str
        Why, in a sentence.
    project : callable or None
        Float64 matrices (..., n, n) to members close to them, or None.
    project_kind : str
        What the projection does, in words.
    path : callable or None
        ``path(A, B, s)``: the point at 0 <= s <= 1 of a continuous path of members from A to B;
        ``s`` has shape (m, 1, 1), the result (m, n, n).
    curve : Curve or None
        A curve of members.
    towards_singular : callable or None
        ``t -> A(t)``, a tensor of parameters (...,) in (0, 1] to members (..., n, n) of bounded norm and of
        condition number at least 1/t: they converge to a singular matrix, whatever the scale. Declared where
        members of every condition number occur, and None where that is not known.
    tail_index : float or None
        The a for which P(||A^-1|| > x) is of the order of x^-a as x grows, where it is proved. At most 2
        leaves the squared error of every bounded map without a mean; large ones make such members rare.
    """

    tags: tuple | frozenset | list | set = ()
    n: int | None = None
    bounds: Bounds = Bounds()
    connected: bool | None = None
    connected_reason: str = ""
    project: Callable | None = None
    project_kind: str = ""
    path: Callable | None = None
    curve: Curve | None = None
    towards_singular: Callable | None = None
    tail_index: float | None = None

    def __post_init__(self):
        # A generator could be read only once; a text is left for the registry to refuse.
        if not isinstance(self.tags, str):
            object.__setattr__(self, "tags", tuple(self.tags))


def segment(A, B, s):
    """Return (1 - s) A + s B, the path of a convex family."""
    return (1 - s) * A + s * B


def thin_diagonal(n, size=1.0):
    """Return t -> size diag(1, ..., 1, t), of condition number 1/t."""

    def at(t):
        diagonal = torch.ones(*t.shape, n, dtype=torch.float64)
        diagonal[..., -1] = t
        return size * torch.diag_embed(diagonal)

    return at
