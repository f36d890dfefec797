"""Families with a prescribed spectrum: ``prescribed-spectrum`` and ``unit-det``."""

import math

import torch

from neuinv._linalg import det_sign, inverse
from neuinv.gallery._draws import haar, uniform
from neuinv.gallery.facts import Bounds, Facts, segment
from neuinv.gallery.parameters import Parameter
from neuinv.gallery.registry import register_family

KINDS = ("spd", "symmetric", "general", "det-positive")
SPACINGS = ("log-uniform", "geometric", "clustered", "two-sided", "free")


def _magnitudes(batch, n, kappa, spacing, generator):
    """Return (batch, n) descending magnitudes in [1/kappa, 1], with both ends except where they are free."""
    if spacing == "geometric":
        exponents = torch.linspace(0, 1, n, dtype=torch.float64).expand(batch, n)
    else:
        exponents = uniform((batch, n), generator)
        if spacing == "clustered":
            # half near 1 and half near 1/kappa, each cluster a tenth of the range in the logarithm
            low_half = torch.arange(n) >= (n + 1) // 2
            exponents = torch.where(low_half, 0.9 + 0.1 * exponents, 0.1 * exponents)
        exponents = exponents.sort(dim=1).values
        if spacing != "free":
            exponents[:, 0], exponents[:, -1] = 0.0, 1.0
    return torch.exp(-math.log(kappa) * exponents)


def _signs(batch, n, kind, spacing, generator):
    if spacing == "two-sided":
        return torch.where(torch.arange(n) % 2 == 0, 1.0, -1.0).double().expand(batch, n)
    if kind == "symmetric":
        return torch.where(uniform((batch, n), generator) < 0.5, -1.0, 1.0).double()
    return torch.ones(batch, n, dtype=torch.float64)


def _factors(batch, generator, n, kappa, kind, spacing):
    """Return U, d, V with A = U diag(d) V^T."""
    d = _magnitudes(batch, n, kappa, spacing, generator) * _signs(batch, n, kind, spacing, generator)
    U = haar(batch, n, generator, special=kind == "det-positive")
    if kind in ("spd", "symmetric"):
        return U, d, U
    return U, d, haar(batch, n, generator, special=kind == "det-positive")


def _assemble(U, d, V, symmetric):
    A = (U * d[:, None, :]) @ V.mT
    return (A + A.mT) / 2 if symmetric else A


def _with_inverse(batch, generator, n, kappa, kind, spacing):
    U, d, V = _factors(batch, generator, n, kappa, kind, spacing)
    symmetric = kind in ("spd", "symmetric")
    return _assemble(U, d, V, symmetric), _assemble(V, 1 / d, U, symmetric)


def _clip_eigenvalues(low, high, definite):
    """Return the projection onto symmetric matrices with eigenvalues (or magnitudes) in [low, high]."""

    def project(A):
        eigenvalues, V = torch.linalg.eigh((A + A.mT) / 2)
        if definite:
            clipped = eigenvalues.clamp(low, high)
        else:
            sign = torch.where(eigenvalues < 0, -1.0, 1.0)
            clipped = sign * eigenvalues.abs().clamp(low, high)
        return (V * clipped[..., None, :]) @ V.mT

    return project


def _clip_singular_values(low, high, det_positive):
    """Return the projection onto matrices with singular values in [low, high] (and det > 0)."""

    def project(A):
        U, sigma, Vh = torch.linalg.svd(A)
        sigma = sigma.clamp(low, high)
        if det_positive:
            # the nearest matrix of the other determinant sign turns the smallest singular vector
            U = U.clone()
            U[..., -1] *= (det_sign(U) * det_sign(Vh))[..., None]
        return (U * sigma[..., None, :]) @ Vh

    return project


def _polar_path(A, B, s):
    """Path of matrices with det > 0: rotate one polar factor, interpolate the logarithm of the other.

    The logarithm keeps the determinant between those of the ends, and the singular values too.
    """
    (Q, P), (R, S) = _log_polar(A), _log_polar(B)
    eigenvalues, W = torch.linalg.eig(Q.mT @ R)
    turned = W @ torch.diag_embed(torch.exp(1j * s[..., 0] * eigenvalues.angle())) @ inverse(W)
    logs, V = torch.linalg.eigh(segment(P, S, s))
    return Q @ turned.real @ (V * torch.exp(logs)[..., None, :]) @ V.mT


def _log_polar(A):
    """Return the orthogonal polar factor and the logarithm of the positive one."""
    U, sigma, Vh = torch.linalg.svd(A)
    return U @ Vh, (Vh.mT * torch.log(sigma)) @ Vh


_KIND_TAGS = {
    "spd": ("spd", "symmetric", "normal", "det-positive", "connected"),
    "symmetric": ("symmetric", "normal", "indefinite"),
    "general": ("nonsymmetric", "both-det-signs"),
    "det-positive": ("nonsymmetric", "det-positive", "connected"),
}
_REASONS = {
    "spd": (True, "a segment between symmetric matrices with spectrum in an interval stays so"),
    "symmetric": (False, "the number of negative eigenvalues cannot change without a zero eigenvalue"),
    "general": (False, "both determinant signs occur and singular values stay above 1/kappa"),
    "det-positive": (True, "rotations are connected, and so are SPD matrices with spectrum in an interval"),
}


def _facts(n, kappa, kind, spacing):
    if spacing == "two-sided" and kind != "symmetric":
        raise ValueError(f"spacing 'two-sided' mirrors eigenvalues, kind is {kind!r}; use kind='symmetric'.")
    tags = {"norm-at-most-one", "bounded-condition", *_KIND_TAGS[kind]}
    if kind == "symmetric" and spacing != "two-sided":
        tags.add("both-det-signs")
    if kappa == 1 and n > 1:
        tags.add("orthogonal")
        if kind == "spd":
            tags.add("single-matrix")
    connected, reason = _REASONS[kind]
    low = 1 / kappa
    clip = (
        _clip_eigenvalues(low, 1.0, kind == "spd")
        if kind in ("spd", "symmetric")
        else _clip_singular_values(low, 1.0, kind == "det-positive")
    )
    return Facts(
        tags=tags,
        bounds=Bounds(low, 1.0, kappa),
        connected=connected,
        connected_reason=reason,
        project=clip,
        project_kind="clip the spectrum into [1/kappa, 1]",
        path={"spd": segment, "det-positive": _polar_path}.get(kind),
    )


@register_family(
    "prescribed-spectrum",
    tags=("synthetic", "exact-inverse"),
    facts=_facts,
    with_inverse=_with_inverse,
    parameters={
        "n": Parameter(16, "size", low=2, high=4096),
        "kappa": Parameter(
            100.0, "2-norm condition number of every member; with spacing 'free' a bound", low=1.0, high=1e14
        ),
        "kind": Parameter("spd", "class of matrices", choices=KINDS),
        "spacing": Parameter("log-uniform", "how the magnitudes fill [1/kappa, 1]", choices=SPACINGS),
    },
    use="No application: the one family in which the condition number alone is turned.",
    reference="N. J. Higham, 2002, Accuracy and Stability of Numerical Algorithms, section 28.3",
)
def prescribed_spectrum(batch, generator, n, kappa, kind, spacing):
    """Haar-random eigen- or singular vectors around magnitudes in [1/kappa, 1], both ends attained.

    The domain of the family is every matrix of the kind with magnitudes in [1/kappa, 1]. With
    spacing 'free' the magnitudes are independent, log-uniform there, and attain no end. Kind
    'spd' and 'symmetric' prescribe eigenvalues (random signs in the latter, alternating ones
    with spacing 'two-sided'), 'general' singular values, 'det-positive' singular values of
    matrices with positive determinant.
    """
    U, d, V = _factors(batch, generator, n, kappa, kind, spacing)
    return _assemble(U, d, V, kind in ("spd", "symmetric"))


def _unit_det_factors(batch, generator, n, kappa):
    """Return U, sigma, V with det U = det V = 1 and log sigma symmetric about 0."""
    half = uniform((batch, n // 2), generator)
    half[:, 0] = 1.0
    middle = torch.zeros(batch, n % 2, dtype=torch.float64)
    sigma = torch.exp(math.log(kappa) / 2 * torch.cat([half, middle, -half.flip(1)], dim=1))
    return haar(batch, n, generator, special=True), sigma, haar(batch, n, generator, special=True)


def _unit_det_with_inverse(batch, generator, n, kappa):
    U, sigma, V = _unit_det_factors(batch, generator, n, kappa)
    return _assemble(U, sigma, V, False), _assemble(V, 1 / sigma, U, False)


def _unit_det_facts(n, kappa):
    root = math.sqrt(kappa)
    return Facts(
        bounds=Bounds(1 / root, root, kappa),
        connected=True,
        connected_reason="rotations are connected, and so are SPD matrices of determinant 1",
        path=_polar_path,
    )


@register_family(
    "unit-det",
    tags=("synthetic", "exact-inverse", "unit-det", "det-positive", "nonsymmetric", "bounded-condition"),
    facts=_unit_det_facts,
    with_inverse=_unit_det_with_inverse,
    parameters={
        "n": Parameter(16, "size", low=2, high=4096),
        "kappa": Parameter(1e4, "2-norm condition number of every member", low=1.0, high=1e12),
    },
    use="A trap: the determinant is 1 throughout, and says nothing of how hard the inverse is.",
    reference="N. J. Higham, 2002, Accuracy and Stability of Numerical Algorithms, section 14.6",
)
def unit_det(batch, generator, n, kappa):
    """Determinant 1 and condition number kappa: singular values in pairs s, 1/s between rotations."""
    U, sigma, V = _unit_det_factors(batch, generator, n, kappa)
    return _assemble(U, sigma, V, False)
