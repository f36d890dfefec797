"""Gram matrices of a wireless uplink with many antennas: ``massive-mimo``."""

import math

import torch

from neuinv.gallery._draws import normal
from neuinv.gallery.facts import Bounds, Facts, segment, thin_diagonal
from neuinv.gallery.forms import real_form
from neuinv.gallery.parameters import Parameter
from neuinv.gallery.registry import register_family


def _antennas(users, aspect):
    return max(1, round(aspect * users))


def _correlation_root(size, correlation):
    """Return the Cholesky factor of the exponential correlation rho^|i-j|."""
    index = torch.arange(size, dtype=torch.float64)
    R = correlation ** (index[:, None] - index[None, :]).abs()
    return torch.linalg.cholesky(R)


def _raise_to_ridge(users, ridge):
    """Return the projection onto real forms of Hermitian matrices with spectrum >= ridge."""

    def project(A):
        top, bottom = A[..., :users, :], A[..., users:, :]
        real = (top[..., :users] + bottom[..., users:]) / 2
        imaginary = (bottom[..., :users] - top[..., users:]) / 2
        Z = torch.complex(real, imaginary)
        eigenvalues, V = torch.linalg.eigh((Z + Z.mH) / 2)
        return real_form((V * eigenvalues.clamp(min=ridge)[..., None, :]) @ V.mH)

    return project


def _facts(users, aspect, correlation, ridge):
    if _antennas(users, aspect) < users and ridge == 0:
        raise ValueError(
            f"aspect = {aspect} gives fewer antennas than users and ridge = 0 a singular matrix; "
            "use aspect >= 1 or ridge > 0."
        )
    # with as many antennas as users every Hermitian positive definite matrix is possible: a convex set
    full = _antennas(users, aspect) >= users
    return Facts(
        n=2 * users,
        tags=("connected",) if full else (),
        bounds=Bounds(sigma_min=ridge) if ridge > 0 else Bounds(),
        connected=True,
        connected_reason="the image of the connected set of channels H under the Gram map",
        path=segment if full else None,
        project=_raise_to_ridge(users, ridge) if full and ridge > 0 else None,
        project_kind="Hermitian part, eigenvalues raised to the ridge",
        towards_singular=_fading(users) if full and ridge == 0 and users > 1 else None,
        # sigma_min(H) <= s has a probability of the order of s^(2 (M - K + 1)), H being complex
        tail_index=float(_antennas(users, aspect) - users + 1) if full and ridge == 0 else None,
    )


def _fading(users):
    """All channels orthogonal and of unit gain but the last, which fades."""
    return lambda t: real_form(thin_diagonal(users)(t).to(torch.complex128))


@register_family(
    "massive-mimo",
    tags=("synthetic", "complex-origin", "spd", "symmetric", "normal", "det-positive"),
    facts=_facts,
    parameters={
        "users": Parameter(16, "K, single-antenna users; n = 2 K", low=1, high=512),
        "aspect": Parameter(4.0, "M/K, base-station antennas per user", above=0.0, high=256.0),
        "correlation": Parameter(0.0, "of neighbours, among antennas and among users", low=0.0, below=1.0),
        "ridge": Parameter(0.0, "noise variance added to the diagonal (MMSE detection)", low=0.0),
    },
    use="Linear detection and precoding (zero forcing, MMSE) invert it in every coherence block.",
    reference="F. Rusek et al., 2013, Scaling up MIMO: opportunities and challenges with very large arrays",
)
def massive_mimo(batch, generator, users, aspect, correlation, ridge):
    """H^H H + ridge I in real form, for a Rayleigh channel H with M antennas and K users.

    The entries of H are complex Gaussian of variance 1/M, with exponential Kronecker
    correlation on both sides. By the Marchenko-Pastur law the condition number tends to
    ((1 + c)/(1 - c))^2 with c = sqrt(K/M): one dial from easy to hopeless.
    """
    antennas = _antennas(users, aspect)
    parts = normal((batch, 2, antennas, users), generator) / math.sqrt(2 * antennas)
    if correlation > 0:
        parts = _correlation_root(antennas, correlation) @ parts @ _correlation_root(users, correlation).mT
    H = torch.complex(parts[:, 0], parts[:, 1])
    G = H.mH @ H
    return real_form((G + G.mH) / 2 + ridge * torch.eye(users, dtype=torch.float64))
