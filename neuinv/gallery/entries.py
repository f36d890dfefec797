"""Families of random entries: ``gaussian``, ``wishart``, ``uniform`` and ``diagonally-dominant``."""

import math

import torch

from neuinv._linalg import sign_and_log
from neuinv.gallery._draws import normal, uniform
from neuinv.gallery.facts import Bounds, Facts, segment, thin_diagonal
from neuinv.gallery.parameters import Parameter
from neuinv.gallery.registry import register_family

SIZE = Parameter(16, "size", low=1, high=4096)
DRAWS_PER_MEMBER = 2000  # of rejection sampling, before it is called hopeless


def _gaussian_facts(n, shift):
    tags = ["connected"]
    if n > 1:
        tags.append("nonsymmetric")
    if shift == 0:
        tags.append("both-det-signs")
    return Facts(
        tags=tags,
        connected=True,
        connected_reason="the support is all matrices",
        path=segment,
        towards_singular=thin_diagonal(n) if n > 1 else None,
        tail_index=1.0,  # a positive, continuous density at the singular matrices
    )


@register_family(
    "gaussian",
    tags=("synthetic",),
    facts=_gaussian_facts,
    parameters={
        "n": SIZE,
        "shift": Parameter(0.0, "multiple of the identity added; beyond 1 it moves the spectrum off 0"),
    },
    use="The model of a matrix without structure, such as the weight of an untrained layer.",
    reference="A. Edelman, 1988, Eigenvalues and condition numbers of random matrices",
)
def gaussian(batch, generator, n, shift):
    """Independent N(0, 1/n) entries, plus a multiple of the identity: a spectrum in a disc of radius 1."""
    return normal((batch, n, n), generator) / math.sqrt(n) + shift * torch.eye(n, dtype=torch.float64)


def _raise_eigenvalues(low):
    def project(A):
        eigenvalues, V = torch.linalg.eigh((A + A.mT) / 2)
        return (V * eigenvalues.clamp(min=low)[..., None, :]) @ V.mT

    return project


def _wishart_facts(n, aspect, ridge):
    if round(aspect * n) < n and ridge == 0:
        raise ValueError(f"aspect = {aspect} and ridge = 0 give rank < n; use aspect >= 1 or ridge > 0.")
    # below aspect 1 the rank is bounded, and a segment leaves the family
    full = round(aspect * n) >= n
    return Facts(
        tags=("connected",) if full else (),
        bounds=Bounds(sigma_min=ridge) if ridge > 0 else Bounds(),
        connected=True,
        connected_reason="the image of the connected set of factors G under G G^T",
        path=segment if full else None,
        project=_raise_eigenvalues(ridge) if ridge > 0 and full else None,
        project_kind="symmetric part, eigenvalues raised to the ridge",
        # with full factors the support is every positive semidefinite matrix
        towards_singular=thin_diagonal(n) if full and ridge == 0 and n > 1 else None,
        # sigma_min(G) <= s has a probability of the order of s^(m - n + 1), and the eigenvalue is its square
        tail_index=(round(aspect * n) - n + 1) / 2 if full and ridge == 0 else None,
    )


@register_family(
    "wishart",
    tags=("synthetic", "spd", "symmetric", "normal", "det-positive"),
    facts=_wishart_facts,
    parameters={
        "n": SIZE,
        "aspect": Parameter(2.0, "observations per variable", above=0.0, high=1e4),
        "ridge": Parameter(0.0, "multiple of the identity added", low=0.0),
    },
    use="Sample covariance matrices: their inverses are precision matrices and portfolio weights.",
    reference="J. Wishart, 1928, The generalised product moment distribution in samples",
)
def wishart(batch, generator, n, aspect, ridge):
    """G G^T / m + ridge I with G Gaussian n x m, m = aspect n rounded; aspect 1 is the hard edge."""
    m = max(1, round(aspect * n))
    G = normal((batch, n, m), generator)
    W = G @ G.mT / m
    return (W + W.mT) / 2 + ridge * torch.eye(n, dtype=torch.float64)


def _uniform_facts(n, half_width, min_abs_det):
    # Hadamard: no determinant of such entries is larger; in logarithms, which do not overflow
    largest = n * (math.log(half_width) + math.log(n) / 2)
    if min_abs_det > 0 and math.log(min_abs_det) >= largest:
        raise ValueError(
            f"min_abs_det = {min_abs_det} is out of reach: entries up to {half_width} and n = {n} "
            f"give ln |det| < {largest:.4g}; use a smaller one."
        )
    tags = ["both-det-signs"] + (["nonsymmetric"] if n > 1 else [])
    if min_abs_det > 0:
        return Facts(tags=tags, connected=False, connected_reason="the removed matrices separate the signs")
    return Facts(
        tags=[*tags, "connected"],
        connected=True,
        connected_reason="a box is convex",
        path=segment,
        project=lambda A: A.clamp(-half_width, half_width),
        project_kind="clip the entries into the box",
        towards_singular=thin_diagonal(n, half_width) if n > 1 else None,
        tail_index=1.0,  # a density that is bounded, and bounded away from 0 inside the box
    )


@register_family(
    "uniform",
    tags=("synthetic",),
    facts=_uniform_facts,
    parameters={
        "n": Parameter(5, "size", low=1, high=64),
        "half_width": Parameter(10.0, "entries lie in [-half_width, half_width]", above=0.0, high=1e6),
        "min_abs_det": Parameter(0.0, "members with smaller |det| are redrawn", low=0.0),
    },
    use="The benchmark on which transformers and small networks were trained to invert matrices.",
    reference="F. Charton, 2022, Linear algebra with transformers",
)
def uniform_entries(batch, generator, n, half_width, min_abs_det):
    """Independent entries uniform on [-half_width, half_width], members with a small determinant redrawn.

    The defaults are the 5 x 5 matrices with entries in [-10, 10] of Charton's transformers.

    Raises
    ------
    ValueError
        Nearly every draw has a smaller determinant than demanded.
    """
    kept, drawn = [], 0
    missing = batch
    while missing > 0:
        A = uniform((batch, n, n), generator, -half_width, half_width)
        good = A[sign_and_log(A)[1] >= math.log(min_abs_det)] if min_abs_det > 0 else A
        kept.append(good[:missing])
        missing -= len(kept[-1])
        drawn += batch
        if missing > 0 and drawn >= DRAWS_PER_MEMBER * batch:
            raise ValueError(
                f"min_abs_det = {min_abs_det} left {batch - missing} of {drawn} draws; use a smaller one."
            )
    return torch.cat(kept)


def _complete(off, margin, sign=1.0):
    """Set the diagonal to the row sum of magnitudes plus the margin, with the given signs."""
    off = off - torch.diag_embed(off.diagonal(dim1=-2, dim2=-1))
    return off + torch.diag_embed(sign * (off.abs().sum(dim=-1) + margin))


def _dominant_facts(n, margin, signs):
    positive = signs == "positive"
    tags = (["det-positive", "connected"] if positive else ["both-det-signs"]) + (
        ["nonsymmetric"] if n > 1 else []
    )

    def project(A):
        diagonal = A.diagonal(dim1=-2, dim2=-1)
        sign = 1.0 if positive else torch.where(diagonal < 0, -1.0, 1.0)
        return _complete(A.clamp(-1 / n, 1 / n), margin, sign)

    # Varah: the inverse is at most 1/margin in the infinity norm; the 2-norm is within sqrt(n) of it
    root = math.sqrt(n)
    bounds = Bounds(margin / root, root * (2 + margin), n * (2 + margin) / margin)
    reason = (
        "off-diagonal entries fill a box and fix the diagonal" if positive else "no diagonal sign can change"
    )
    return Facts(
        tags=tags,
        bounds=bounds,
        connected=positive,
        connected_reason=reason,
        project=project,
        project_kind="clip off-diagonal entries, complete the diagonal",
        path=(lambda A, B, s: _complete(segment(A, B, s), margin)) if positive else None,
    )


@register_family(
    "diagonally-dominant",
    tags=("synthetic", "diagonally-dominant", "bounded-condition"),
    facts=_dominant_facts,
    parameters={
        "n": SIZE,
        "margin": Parameter(0.1, "by how much each diagonal entry beats its row", above=0.0, high=1e6),
        "signs": Parameter("positive", "signs of the diagonal", choices=("positive", "random")),
    },
    use="Implicit time steps and Jacobi or Gauss-Seidel preconditioning.",
    reference="J. M. Varah, 1975, A lower bound for the smallest singular value of a matrix",
)
def diagonally_dominant(batch, generator, n, margin, signs):
    """Off-diagonal entries uniform on [-1/n, 1/n]; the diagonal beats their sum by a margin."""
    off = uniform((batch, n, n), generator, -1 / n, 1 / n)
    if signs == "positive":
        return _complete(off, margin)
    return _complete(off, margin, torch.where(uniform((batch, n), generator) < 0.5, -1.0, 1.0).double())
