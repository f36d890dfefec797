"""The Wilson-Dirac operator of two-dimensional lattice gauge theory: ``wilson-dirac``."""

import math

import torch

from neuinv.gallery._draws import uniform
from neuinv.gallery.facts import Bounds, Facts
from neuinv.gallery.forms import real_form
from neuinv.gallery.parameters import Parameter
from neuinv.gallery.registry import register_family

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


def _von_mises(count, beta, generator):
    """Return ``count`` angles of density proportional to exp(beta cos), by rejection from uniform ones."""
    angles = torch.empty(count, dtype=torch.float64)
    waiting = torch.arange(count)
    while len(waiting):
        proposed = uniform((len(waiting),), generator, -math.pi, math.pi)
        taken = uniform((len(waiting),), generator) < torch.exp(beta * (proposed.cos() - 1))
        angles[waiting[taken]] = proposed[taken]
        waiting = waiting[~taken]
    return angles


def _squares(batch, side, beta, generator):
    """Return plaquette angles (batch, side, side) of the Wilson action on the torus.

    They are independent but for one condition, that their sum is a multiple of 2 pi: all but the
    last are drawn freely, and the last is accepted with the probability it deserves.
    """
    squares = torch.empty(batch, side**2, dtype=torch.float64)
    waiting = torch.arange(batch)
    while len(waiting):
        free = _von_mises(len(waiting) * (side**2 - 1), beta, generator).reshape(len(waiting), -1)
        last = -free.sum(dim=1, keepdim=True)
        taken = uniform((len(waiting),), generator) < torch.exp(beta * (last[:, 0].cos() - 1))
        squares[waiting[taken]] = torch.cat([free, last], dim=1)[taken]
        waiting = waiting[~taken]
    return squares.reshape(batch, side, side)


def gauge_field(batch, side, beta, generator):
    """Return link angles with the weight exp(beta sum cos plaquette), drawn exactly.

    Parameters
    ----------
    batch, side : int
        Fields, and sites along each side.
    beta : float
        Inverse coupling, dimensionless; 0 makes all links independent.
    generator : torch.Generator

    Returns
    -------
    Tensor, shape (batch, 2, side, side)
        As :func:`operator` takes them.
    """
    squares = _squares(batch, side, beta, generator)
    loops = uniform((batch, 2), generator, -math.pi, math.pi)
    turn = uniform((batch, side, side), generator, -math.pi, math.pi)
    # In this gauge the links in y are 0 but for the last row, those in x but for the last column
    # in the first row; the squares and the two loops around the torus determine the others.
    x = torch.zeros(batch, side, side, dtype=torch.float64)
    x[:, 0, -1] = loops[:, 0]
    x[:, 1:] = x[:, :1] - squares[:, :-1].cumsum(dim=1)
    y = torch.zeros_like(x)
    y[:, -1] = loops[:, 1:]
    y[:, -1, 1:] += squares.sum(dim=1).cumsum(dim=1)[:, :-1]
    angles = torch.stack([x + turn - turn.roll(-1, -1), y + turn - turn.roll(-1, -2)], dim=1)
    return torch.remainder(angles + math.pi, 2 * math.pi) - math.pi


def _path(A, B, s):
    """The path of members: linear in the mass, and each link turns the shorter way."""
    (start, first), (end, last) = (_read(M) for M in (A, B))
    turn = torch.remainder(end - start + math.pi, 2 * math.pi) - math.pi
    s = s[:, 0, 0]
    return _build(start + s[:, None, None, None] * turn, first + s * (last - first))


def _bounds(m_min, m_max):
    # D - (m + 2) is a sum of two unitary matrices, one a direction: every singular value of D is
    # between |m + 2| - 2 and |m + 2| + 2
    near, far = sorted((abs(m_min + 2), abs(m_max + 2)))
    # near <= 2 also where a mass too small for float64 is lost beside the 2
    if near <= 2 or (m_min <= 0 and m_max >= -4):
        return Bounds(norm=far + 2)
    return Bounds(near - 2, far + 2, (near + 2) / (near - 2))


def _lightest(side, mass_min, mass_max):
    """Return t -> the members without a field whose mass, of modulus at most t, vanishes with t."""
    heaviest = min(1.0, mass_max) if mass_max > 0 else max(-1.0, mass_min)
    # Without a field the mass itself is the eigenvalue of the constant mode, and others are beyond 2.
    return lambda t: _build(torch.zeros(*t.shape, 2, side, side, dtype=torch.float64), heaviest * t)


def _facts(side, mass_min, mass_max, beta):
    if mass_min > mass_max:
        raise ValueError(f"mass_min = {mass_min} exceeds mass_max = {mass_max}; use mass_min <= mass_max.")
    bounds = _bounds(mass_min, mass_max)

    def project(A):
        angles, mass = _read(A)
        return _build(angles, mass.clamp(mass_min, mass_max))

    return Facts(
        n=4 * side**2,
        tags=() if bounds.condition is None else ("det-positive", "bounded-condition"),
        bounds=bounds,
        connected=True,
        connected_reason="a mass in an interval and an angle for each link",
        path=_path,
        project=project,
        project_kind="angles of the fitted links, mass clipped to its range",
        towards_singular=_lightest(side, mass_min, mass_max)
        if mass_min <= 0 <= mass_max != mass_min
        else None,
    )


@register_family(
    "wilson-dirac",
    tags=("synthetic", "complex-origin", "nonsymmetric", "connected"),
    facts=_facts,
    parameters={
        "side": Parameter(4, "sites along each side of the lattice; n = 4 side^2", low=3, high=16),
        "mass_min": Parameter(0.05, "least bare mass, times the lattice spacing", low=-10.0, high=10.0),
        "mass_max": Parameter(1.0, "greatest bare mass, likewise", low=-10.0, high=10.0),
        "beta": Parameter(2.0, "inverse coupling; 0 makes the links independent", low=0.0, high=10.0),
    },
    use="Quark propagators: every measurement of lattice gauge theory solves with it.",
    reference="C. Gattringer and C. B. Lang, 2010, Quantum Chromodynamics on the Lattice",
)
def wilson_dirac(batch, generator, side, mass_min, mass_max, beta):
    """The Wilson-Dirac operator of U(1) gauge fields on a periodic square lattice, in real form.

    The gauge field has the weight exp(beta sum cos plaquette), drawn exactly; the mass is
    uniform. For a positive mass the spectrum stays right of the mass; between -4 and 0 it may
    surround the origin. As sigma_3 D sigma_3 is the adjoint of D, det D is real, and the
    determinant of the real form is its square.
    """
    angles = gauge_field(batch, side, beta, generator)
    return _build(angles, uniform((batch,), generator, mass_min, mass_max))
