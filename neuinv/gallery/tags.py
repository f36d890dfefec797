"""The closed vocabulary of tags: each a property of a family, with the check that can refute it."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from neuinv._linalg import det_sign, sign_and_log

TINY = 1e-10  # relative; every structural identity below holds to rounding, about 1e-15


@dataclass(frozen=True)
class Tag:
    """A property of a family.

    Attributes
    ----------
    meaning : str
        The property, in words.
    check : callable
        ``check(family, A) -> bool`` on a float64 sample (batch, n, n); True unless refuted.
    every_member : bool
        Whether it is a property of single matrices, so that it can be asked of any matrix.
    """

    meaning: str
    check: Callable
    every_member: bool = True


def broken_tags(family, *, seed=0, samples=64):
    """Return the declared tags that a sample refutes, a dict of tag to its meaning.

    Parameters
    ----------
    family : MatrixFamily
        The family whose tags are checked.
    seed : int
        Seed of the sample.
    samples : int
        Number of matrices drawn.

    Returns
    -------
    dict of str to str
        Empty when every tag stands.
    """
    A = family.sample(samples, seed=seed)
    return {tag: TAGS[tag].meaning for tag in sorted(family.tags) if not TAGS[tag].check(family, A)}


def broken_bounds(family, *, seed=0, samples=64):
    """Return the declared bounds that a sample refutes, a dict of bound to the value found."""
    return _bounds_broken_by(family.bounds, family.sample(samples, seed=seed))


def _bounds_broken_by(bounds, A):
    sigma = torch.linalg.svdvals(A)
    norm, least = sigma[..., 0].max().item(), sigma[..., -1].min().item()
    condition = (sigma[..., 0] / sigma[..., -1]).max().item()
    # rounding moves a singular value by about eps times the norm, hence a condition number by
    # about eps times its square
    slack = 1e-13 * norm
    broken = {}
    if bounds.sigma_min is not None and least < bounds.sigma_min - slack:
        broken["sigma_min"] = least
    if bounds.norm is not None and norm > bounds.norm + slack:
        broken["norm"] = norm
    if bounds.condition is not None and condition > bounds.condition * (1 + 1e-13 * bounds.condition):
        broken["condition"] = condition
    return broken


def _zero(part, A):
    """Whether every entry of ``part`` is zero relative to the largest entry of its matrix."""
    if part.numel() == 0:
        return True
    scale = A.abs().amax(dim=(-2, -1), keepdim=True)
    return bool((part.abs() <= TINY * scale).all())


def _symmetric(family, A):
    return _zero(A - A.mT, A)


def _nonsymmetric(family, A):
    return not _zero(A - A.mT, A)


def _spd(family, A):
    return _symmetric(family, A) and bool((torch.linalg.cholesky_ex(A).info == 0).all())


def _indefinite(family, A):
    if not _symmetric(family, A):
        return False
    eigenvalues = torch.linalg.eigvalsh(A)
    return bool(((eigenvalues[..., 0] < 0) & (eigenvalues[..., -1] > 0)).any())


def _normal(family, A):
    scale = torch.linalg.matrix_norm(A, 2)[..., None, None] ** 2
    return bool(((A @ A.mT - A.mT @ A).abs() <= TINY * scale).all())


def _orthogonal(family, A):
    identity = torch.eye(A.shape[-1], dtype=A.dtype)
    return _zero(A.mT @ A - identity, identity)


def _complex_origin(family, A):
    if A.shape[-1] % 2:
        return False
    half = A.shape[-1] // 2
    top, bottom = A[..., :half, :], A[..., half:, :]
    return _zero(top[..., :half] - bottom[..., half:], A) and _zero(top[..., half:] + bottom[..., :half], A)


def _toeplitz(family, A):
    return _zero(A[..., 1:, 1:] - A[..., :-1, :-1], A)


def _circulant(family, A):
    return _zero(A - A.roll((1, 1), dims=(-2, -1)), A)


def _hankel(family, A):
    return _zero(A[..., 1:, :-1] - A[..., :-1, 1:], A)


def _tridiagonal(family, A):
    return _zero(A.triu(2), A) and _zero(A.tril(-2), A)


def _hessenberg(family, A):
    return _zero(A.tril(-2), A)


def _diagonally_dominant(family, A):
    diagonal = A.diagonal(dim1=-2, dim2=-1).abs()
    return bool((2 * diagonal > A.abs().sum(dim=-1)).all())


def _norm_at_most_one(family, A):
    return bool((torch.linalg.matrix_norm(A, 2) <= 1 + TINY).all())


def _det_positive(family, A):
    return bool((det_sign(A) > 0).all())


def _unit_det(family, A):
    sign, logabsdet = sign_and_log(A)
    sigma = torch.linalg.svdvals(A)
    # rounding the entries alone changes log det = tr log A by up to about n eps kappa
    rounding = 4 * A.shape[-1] * torch.finfo(A.dtype).eps * sigma[..., 0] / sigma[..., -1]
    return bool(((sign > 0) & (logabsdet.abs() <= rounding.clamp(min=1e-8))).all())


def _both_det_signs(family, A):
    sign = det_sign(A)
    return bool((sign > 0).any() and (sign < 0).any())


def _single_matrix(family, A):
    other = family.sample(1, seed=982451653)
    return _zero(A - A[:1], A) and _zero(A[:1] - other, A)


def _bounded_condition(family, A):
    condition = family.bounds.condition
    return condition is not None and "condition" not in _bounds_broken_by(family.bounds, A)


def _exact_inverse(family, A):
    if not family.has_exact_inverse:
        return False
    A, X = family.sample_with_inverse(4, seed=5)
    if not torch.equal(A, family.sample(4, seed=5)):
        return False
    # rounding of A and X alone leaves a residual of about eps |A| |X|
    residual = (A @ X - torch.eye(A.shape[-1], dtype=A.dtype)).abs().amax(dim=(-2, -1))
    return bool((residual <= 1e-13 * (A.abs() @ X.abs()).amax(dim=(-2, -1))).all())


def _one_parameter(family, A):
    return family.curve_range is not None and bool((_distance_to_curve(family, A) <= 1e-6).all())


def _distance_to_curve(family, A, points=513, rounds=10):
    """Distance of each matrix to the family's curve, relative; by a grid refined around its best point."""
    low, high = family.curve_range
    coarse = torch.linspace(low, high, points, dtype=torch.float64)
    centre = coarse[_gaps(family.curve(coarse)[None], A).argmin(dim=1)]
    half = (high - low) / (points - 1)
    for _ in range(rounds):
        t = (centre[:, None] + half * torch.linspace(-1, 1, 17, dtype=torch.float64)).clamp(low, high)
        best, index = _gaps(family.curve(t), A).min(dim=1)
        centre = t.gather(1, index[:, None])[:, 0]
        half = half / 4
    return best / torch.linalg.matrix_norm(A)


def _gaps(points, A):
    """Frobenius distances (batch, m) of A (batch, n, n) to points (batch or 1, m, n, n)."""
    return torch.stack([torch.linalg.matrix_norm(points[i % len(points)] - A[i]) for i in range(len(A))])


def _connected(family, A):
    if not (family.connected and family.has_path):
        return False
    sign = det_sign(A)
    first, last = int(sign.argmin()), int(sign.argmax())  # a pair on both sides, if there is one
    pairs = [(0, 1), (first, last)]
    return all(_path_stays(family, A[i], A[j]) for i, j in pairs if i < len(A) and j < len(A))


def _path_stays(family, A, B):
    """Whether the declared path joins A to B without a jump and inside the family."""
    coarse, fine = (family.path(A, B, torch.linspace(0, 1, m, dtype=torch.float64)) for m in (17, 129))
    ends = torch.stack([fine[0] - A, fine[-1] - B])
    if not _zero(ends, torch.stack([A, B])):
        return False
    coarse_jump, fine_jump = (torch.linalg.matrix_norm(P.diff(dim=0)).max() for P in (coarse, fine))
    # eight times finer steps shrink the largest move eightfold on a smooth path, not at all at a jump
    if fine_jump > coarse_jump / 4 and fine_jump > TINY * torch.linalg.matrix_norm(A):
        return False
    tags = [tag for tag in family.tags if TAGS[tag].every_member]
    inside = all(TAGS[tag].check(family, fine) for tag in tags) and not _bounds_broken_by(family.bounds, fine)
    if family.domain_projection is not None:
        inside = inside and _zero(family.domain_projection.project(fine) - fine, fine)
    return inside


def _synthetic(family, A):
    return not family.requires and not family.data


def _real_data(family, A):
    return bool(family.requires and family.data)


TAGS = {
    # structure of every member
    "symmetric": Tag("A equals its transpose", _symmetric),
    "nonsymmetric": Tag("some member is not symmetric", _nonsymmetric, False),
    "spd": Tag("symmetric positive definite", _spd),
    "indefinite": Tag("symmetric, and some member has eigenvalues of both signs", _indefinite, False),
    "normal": Tag("A commutes with its transpose", _normal),
    "orthogonal": Tag("the transpose is the inverse", _orthogonal),
    "complex-origin": Tag("the real form [[Re, -Im], [Im, Re]] of a complex matrix", _complex_origin),
    "toeplitz": Tag("constant along diagonals", _toeplitz),
    "circulant": Tag("every row is the one above, shifted cyclically", _circulant),
    "hankel": Tag("constant along antidiagonals", _hankel),
    "tridiagonal": Tag("zero outside the three middle diagonals", _tridiagonal),
    "hessenberg": Tag("zero below the first subdiagonal", _hessenberg),
    "diagonally-dominant": Tag("strictly diagonally dominant by rows", _diagonally_dominant),
    "norm-at-most-one": Tag("no singular value exceeds 1", _norm_at_most_one),
    # determinant
    "det-positive": Tag("the determinant of every member is positive", _det_positive),
    "unit-det": Tag("the determinant of every member is 1", _unit_det),
    "both-det-signs": Tag("determinants of both signs occur", _both_det_signs, False),
    # the family as a set
    "single-matrix": Tag("all members are one matrix", _single_matrix, False),
    "one-parameter": Tag("all members lie on the family's curve", _one_parameter, False),
    "connected": Tag("any two members are joined by family.path inside the family", _connected, False),
    "bounded-condition": Tag("a bound on the condition number is declared and holds", _bounded_condition),
    "exact-inverse": Tag("the inverse is known in closed form", _exact_inverse, False),
    # origin
    "synthetic": Tag("made from formulas and random draws, with torch alone", _synthetic, False),
    "real-data": Tag("made from a named table of real measurements or a real network", _real_data, False),
}
