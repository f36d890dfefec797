"""The Wilson-Dirac operator of two-dimensional lattice gauge theory: ``wilson-dirac``."""

import math

import torch

from neuinv.gallery._draws import uniform
from neuinv.gallery.facts import Bounds, Facts
from neuinv.gallery.forms import real_form
from neuinv.gallery.parameters import Parameter
from neuinv.gallery.registry import register_family

SWEEPS = 60  # of Metropolis from a hot start; a 4 x 4 lattice forgets it in about ten
# One Pauli matrix a direction; 1 - sigma and 1 + sigma are twice two orthogonal projections.
_PAULI = torch.tensor([[[0, 1], [1, 0]], [[0, -1j], [1j, 0]]], dtype=torch.complex128)


def _sites(side):
    """Return the sites (side^2,) and their next neighbours in both directions (2, side^2), periodic."""
    sites = torch.arange(side**2)
    x, y = sites % side, sites // side
    return sites, torch.stack([(x + 1) % side + side * y, x + side * ((y + 1) % side)])


def operator(angles, mass):
    """Return the Wilson-Dirac operator, complex.

    (D psi)(x) = (m + 2) psi(x) - 1/2 sum over mu of
    (1 - sigma_mu) U_mu(x) psi(x + mu) + (1 + sigma_mu) conj(U_mu(x - mu)) psi(x - mu),
    with U = exp(i angle) and periodic boundaries.

    Parameters
    ----------
    angles : Tensor, shape (batch, 2, side, side)
        Angle of the link from site (y, x) in direction x (first) and y (second); radians.
    mass : Tensor, shape (batch,)
        Bare mass in units of the inverse lattice spacing.

    Returns
    -------
    Tensor, shape (batch, 2 side^2, 2 side^2), complex
        Rows are sites, row by row of the lattice, times two spin components.
    """
    side = angles.shape[-1]
    sites, ahead = _sites(side)
    identity = torch.eye(2, dtype=torch.complex128)
    links = torch.polar(torch.ones_like(angles), angles).flatten(2)
    D = torch.zeros(len(angles), len(sites), 2, len(sites), 2, dtype=torch.complex128)
    for mu in (0, 1):
        forward = -0.5 * links[:, mu, :, None, None] * (identity - _PAULI[mu])
        backward = -0.5 * links[:, mu, :, None, None].conj() * (identity + _PAULI[mu])
        # an index array on both sides of the slice: the sites come first in the result
        D[:, sites, :, ahead[mu], :] += forward.transpose(0, 1)
        D[:, ahead[mu], :, sites, :] += backward.transpose(0, 1)
    D[:, sites, :, sites, :] += (mass + 2)[None, :, None, None] * identity
    return D.reshape(len(angles), 2 * len(sites), 2 * len(sites))


def _read(A):
    """Return angles (..., 2, side, side) and masses (...,) of the operator closest to real matrices."""
    half = A.shape[-1] // 2
    top, bottom = A[..., :half, :], A[..., half:, :]
    Z = torch.complex(top[..., :half] + bottom[..., half:], bottom[..., :half] - top[..., half:]) / 2
    side = math.isqrt(half // 2)
    sites, ahead = _sites(side)
    Z = Z.reshape(*A.shape[:-2], len(sites), 2, len(sites), 2)
    mass = Z.diagonal(dim1=-4, dim2=-2).diagonal(dim1=-3, dim2=-2).real.mean(dim=(-2, -1)) - 2
    identity = torch.eye(2, dtype=torch.complex128)
    angles = []
    for mu in (0, 1):
        forward, backward = Z[..., sites, :, ahead[mu], :], Z[..., ahead[mu], :, sites, :]
        # moved behind the batch: with an index array on both sides of a slice the sites come first
        forward, backward = forward.movedim(0, -3), backward.movedim(0, -3)
        link = (forward * (identity - _PAULI[mu]).conj()).sum(dim=(-2, -1))
        link = link + (backward.conj() * (identity + _PAULI[mu])).sum(dim=(-2, -1))
        angles.append((-link).angle())
    return torch.stack(angles, dim=-2).unflatten(-1, (side, side)), mass


def _build(angles, mass):
    """Return the real form for angles (..., 2, side, side) and masses (...,)."""
    D = operator(angles.flatten(0, -4), mass.flatten())
    return real_form(D).reshape(*mass.shape, 2 * D.shape[-1], 2 * D.shape[-1])


def plaquettes(angles):
    """Return the angle around each elementary square, (..., side, side); radians, not reduced."""
    x, y = angles[..., 0, :, :], angles[..., 1, :, :]
    return x + y.roll(-1, -1) - x.roll(-1, -2) - y


def _thermalise(angles, beta, generator):
    """Metropolis sweeps of the Wilson action beta sum (1 - cos plaquette), a checkerboard at a time."""
    side = angles.shape[-1]
    index = torch.arange(side)
    parity = (index[:, None] + index[None, :]) % 2
    width = min(math.pi, 2.5 / math.sqrt(beta))  # about one proposal in two is accepted
    for _ in range(SWEEPS):
        for mu in (0, 1):
            for colour in (0, 1):
                # no two links of one direction and one colour share a square
                proposed = uniform(angles[:, 0].shape, generator, -width, width)
                chance = uniform(angles[:, 0].shape, generator)
                trial = angles.clone()
                trial[:, mu] += torch.where(parity == colour, proposed, 0.0)
                gain = plaquettes(trial).cos() - plaquettes(angles).cos()
                gain = gain + gain.roll(1, -1 - (1 - mu))  # the two squares on both sides of the link
                accepted = (parity == colour) & (chance < torch.exp(beta * gain))
                angles[:, mu] = torch.where(accepted, trial[:, mu], angles[:, mu])
    return torch.remainder(angles + math.pi, 2 * math.pi) - math.pi
