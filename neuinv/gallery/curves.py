"""Families that are curves: ``line`` and ``scaled-identity``."""

import torch

from neuinv.gallery._draws import haar, uniform
from neuinv.gallery.facts import Bounds, Curve, Facts, segment
from neuinv.gallery.parameters import Parameter
from neuinv.gallery.registry import register_family


def _line_diagonals(n, line_seed, crosses):
    """Return d, e with A(t) = U diag(d + t e) V^T, and the generator that drew them."""
    generator = torch.Generator().manual_seed(line_seed)
    d = uniform((n,), generator, 0.5, 1.0)
    e = uniform((n,), generator, -0.25, 0.25)
    # only the first entry can vanish: at t = 0 if the line crosses, never on [-1, 1] otherwise
    d[0], e[0] = (0.0, 1.0) if crosses else (1.25, 1.0)
    return d, e, generator


def _line_factors(n, line_seed, crosses):
    d, e, generator = _line_diagonals(n, line_seed, crosses)
    U, V = haar(2, n, generator, special=True)
    return d, e, U, V


def _line_ends(n, line_seed, crosses):
    d, e, U, V = _line_factors(n, line_seed, crosses)
    return (U * d) @ V.mT, (U * e) @ V.mT


def _line_at(A0, A1):
    def function(t):
        return A0.to(t.device) + t[..., None, None] * A1.to(t.device)

    return function


def _draw_t(batch, generator, gap):
    """Uniform on [-1, 1] without (-gap, gap)."""
    t = uniform((batch,), generator, -1.0, 1.0)
    return torch.where(t < 0, -gap + (1 - gap) * t, gap + (1 - gap) * t)


def _line_bounds(d, e, gap):
    """Exact bounds: on each side of the gap every |d + t e|, and every ratio of two, is monotone."""
    ends = torch.tensor([-1.0, -gap, gap, 1.0], dtype=torch.float64)
    values = (d + ends[:, None] * e).abs()
    low, high = float(values.min()), float(values.max())
    if low == 0:
        return Bounds(norm=high)
    return Bounds(low, high, float((values.amax(dim=1) / values.amin(dim=1)).max()))


def _line_facts(n, crosses, gap, line_seed):
    d, e, U, V = _line_factors(n, line_seed, crosses)
    A0, A1 = (U * d) @ V.mT, (U * e) @ V.mT
    bounds = _line_bounds(d, e, gap)
    tags = ["both-det-signs"] if crosses else ["det-positive"]
    tags += ["nonsymmetric"] if n > 1 else []
    tags += ["bounded-condition"] if bounds.condition is not None else []
    tags += ["connected"] if gap == 0 else []

    def project(A):
        t = ((A - A0) * A1).sum(dim=(-2, -1)) / (A1 * A1).sum()
        t = torch.where(t < 0, -1.0, 1.0) * t.abs().clamp(gap, 1.0)
        return A0 + t[..., None, None] * A1

    return Facts(
        tags=tags,
        bounds=bounds,
        connected=gap == 0,
        connected_reason="a segment" if gap == 0 else "two segments, on both sides of the gap",
        path=segment if gap == 0 else None,
        project=project,
        project_kind="nearest t, clipped to the support",
        curve=Curve(_line_at(A0, A1), (-1.0, 1.0), "t"),
    )


def _line_with_inverse(batch, generator, n, crosses, gap, line_seed):
    d, e, U, V = _line_factors(n, line_seed, crosses)
    t = _draw_t(batch, generator, gap)
    X = (V / (d + t[:, None] * e)[:, None, :]) @ U.mT
    return _line_at(*_line_ends(n, line_seed, crosses))(t), X


@register_family(
    "line",
    tags=("synthetic", "one-parameter", "exact-inverse"),
    facts=_line_facts,
    with_inverse=_line_with_inverse,
    parameters={
        "n": Parameter(8, "size", low=1, high=1024),
        "crosses": Parameter(True, "whether the line meets a singular matrix, at t = 0"),
        "gap": Parameter(0.0, "members have |t| >= gap", low=0.0, below=1.0),
        "line_seed": Parameter(0, "which line", low=0, high=2**31),
    },
    use="The smallest example of a sign change of det: one scalar decides between can and cannot.",
    reference="P. Lancaster, 1966, Lambda-matrices and Vibrating Systems",
)
def line(batch, generator, n, crosses, gap, line_seed):
    """A fixed line A0 + t A1, t uniform on [-1, 1] outside (-gap, gap).

    Along it the singular vectors are fixed. One singular value is |t| if the line crosses and
    1.25 + t otherwise; the others stay in [0.25, 1.25].
    """
    return _line_at(*_line_ends(n, line_seed, crosses))(_draw_t(batch, generator, gap))


def _identity_at(n):
    def function(t):
        return t[..., None, None] * torch.eye(n, dtype=torch.float64, device=t.device)

    return function


def _identity_facts(n, low, high):
    if low >= high:
        raise ValueError(f"low = {low} and high = {high} leave no interval; use low < high.")
    crosses = low < 0 < high
    tags = []
    if n % 2 == 0 or low >= 0:
        tags.append("det-positive")
    if n % 2 and crosses:
        tags.append("both-det-signs")
    if low > 0:
        tags.append("spd")
    if max(-low, high) <= 1:
        tags.append("norm-at-most-one")
    least = low if low > 0 else -high if high < 0 else None

    def project(A):
        t = A.diagonal(dim1=-2, dim2=-1).mean(dim=-1).clamp(low, high)
        return _identity_at(n)(t)

    return Facts(
        tags=tags,
        bounds=Bounds(least, max(-low, high), 1.0),
        connected=True,
        connected_reason="one parameter t in an interval",
        path=segment,
        project=project,
        project_kind="mean of the diagonal, clipped to the range",
        curve=Curve(_identity_at(n), (low, high), "t"),
    )


def _identity_with_inverse(batch, generator, n, low, high):
    t = uniform((batch,), generator, low, high)
    return _identity_at(n)(t), _identity_at(n)(1 / t)


@register_family(
    "scaled-identity",
    tags=(
        "synthetic",
        "one-parameter",
        "symmetric",
        "normal",
        "connected",
        "exact-inverse",
        "bounded-condition",
        "toeplitz",
        "circulant",
        "tridiagonal",
        "diagonally-dominant",
    ),
    facts=_identity_facts,
    with_inverse=_identity_with_inverse,
    parameters={
        "n": Parameter(4, "size", low=1, high=4096),
        "low": Parameter(0.1, "least t"),
        "high": Parameter(10.0, "greatest t"),
    },
    use="Division itself: a network that inverts every t I has learnt 1/t, which no bounded slope can.",
    reference="R. A. Horn and C. R. Johnson, 2013, Matrix Analysis, chapter 0",
)
def scaled_identity(batch, generator, n, low, high):
    """t I with t uniform on [low, high]: condition number 1, inverse 1/t."""
    return _identity_at(n)(uniform((batch,), generator, low, high))
