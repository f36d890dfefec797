"""Power grids in the direct-current approximation: ``power-grid-dc``, and the case data for both grids."""

import warnings
from dataclasses import dataclass
from functools import cache

import torch

from neuinv.gallery._draws import uniform
from neuinv.gallery.facts import Bounds, Facts, segment
from neuinv.gallery.parameters import Parameter
from neuinv.gallery.registry import register_family

CASES = (14, 30, 57, 118)
PYPOWER = ("pypower (PYPOWER)",)


@dataclass(frozen=True)
class Grid:
    """An IEEE test case in per unit, buses numbered from 0.

    Attributes
    ----------
    incidence : Tensor, shape (branches, n)
        +1 and -1 at the ends of a branch, without the slack bus.
    susceptance : Tensor, shape (branches,)
        1 / (reactance times tap ratio) of the branches in service.
    admittance : Tensor, shape (buses, buses), complex
        Bus admittance matrix.
    generation, load : Tensor, shape (buses,), complex
        Nominal power fed in and taken out.
    start : Tensor, shape (buses,), complex
        Voltages stored with the case, with the generators' set points.
    slack, pv, pq : Tensor of indices
        Buses by type.
    """

    incidence: torch.Tensor
    susceptance: torch.Tensor
    admittance: torch.Tensor
    generation: torch.Tensor
    load: torch.Tensor
    start: torch.Tensor
    slack: torch.Tensor
    pv: torch.Tensor
    pq: torch.Tensor


@cache
def load_grid(case):
    """Return the IEEE case with that many buses, as a :class:`Grid`.

    Parameters
    ----------
    case : int
        14, 30, 57 or 118.
    """
    with warnings.catch_warnings():
        # PYPOWER warns of its own invalid escapes and deprecated calls, which a user cannot mend
        warnings.simplefilter("ignore")
        from pypower import api

        data = api.ext2int(getattr(api, f"case{case}")())
        base, bus, branch, gen = (data[key] for key in ("baseMVA", "bus", "branch", "gen"))
        admittance = torch.as_tensor(api.makeYbus(base, bus, branch)[0].toarray())
    kind = torch.as_tensor(bus[:, 1])
    slack, pv, pq = (torch.nonzero(kind == code).flatten() for code in (3, 2, 1))
    incidence, susceptance = _branches(branch, len(bus))
    keep = torch.ones(len(bus), dtype=torch.bool)
    keep[slack] = False
    generation, start = _injections(base, bus, gen)
    load = torch.complex(torch.as_tensor(bus[:, 2]), torch.as_tensor(bus[:, 3])) / base
    return Grid(incidence[:, keep], susceptance, admittance, generation, load, start, slack, pv, pq)


def _branches(branch, buses):
    """Return the signed incidence matrix and the susceptances of the branches in service."""
    branch = torch.as_tensor(branch[branch[:, 10] == 1])
    rows = torch.arange(len(branch))
    incidence = torch.zeros(len(branch), buses, dtype=torch.float64)
    incidence[rows, branch[:, 0].long()] = 1.0
    incidence[rows, branch[:, 1].long()] = -1.0
    tap = torch.where(branch[:, 8] == 0, 1.0, branch[:, 8])  # 0 is the format's word for a plain line
    return incidence, 1 / (branch[:, 3] * tap)


def _injections(base, bus, gen):
    """Return the generators' power at each bus and the stored voltages with their set points."""
    gen = torch.as_tensor(gen[gen[:, 7] > 0])
    at = gen[:, 0].long()
    generation = torch.zeros(len(bus), dtype=torch.complex128)
    generation.index_add_(0, at, torch.complex(gen[:, 1], gen[:, 2]) / base)
    magnitude = torch.as_tensor(bus[:, 7]).clone()
    magnitude[at] = gen[:, 5]
    return generation, torch.polar(magnitude, torch.deg2rad(torch.as_tensor(bus[:, 8])))


def _laplacian(incidence, weights):
    """Return C^T diag(w) C for weights (..., branches)."""
    return incidence.mT @ (weights[..., :, None] * incidence)


def _merged(incidence, *weights):
    """Merge parallel branches: unique rows of the incidence up to sign, and summed weights."""
    ends = incidence.abs()
    unique, group = torch.unique(ends, dim=0, return_inverse=True)
    representative = torch.zeros(len(unique), dtype=torch.long)
    representative[group] = torch.arange(len(group))
    sums = [torch.zeros(len(unique), dtype=w.dtype).index_add(0, group, w) for w in weights]
    return incidence[representative], *sums


def _fit_and_clip(incidence, low, high):
    """Return the projection: least-squares susceptances of the edges, clipped to their ranges."""
    incidence, low, high = _merged(incidence, low, high)
    gram = (incidence @ incidence.mT) ** 2  # inner products of the edges' matrices c c^T

    def project(A):
        against = torch.einsum("ei,...ij,ej->...e", incidence, A, incidence)
        # one factorisation for all: the members are the right-hand sides
        weights = torch.linalg.solve(gram, against.reshape(-1, len(gram)).mT).mT.reshape(against.shape)
        return _laplacian(incidence, weights.clamp(low, high))

    return project


def _facts(case, spread):
    grid = load_grid(case)
    low, high = grid.susceptance / (1 + spread), grid.susceptance / (1 - spread)
    # the Laplacian grows with every susceptance, so the extremes are those of the two ends
    eigenvalues = torch.linalg.eigvalsh(_laplacian(grid.incidence, grid.susceptance))
    least, norm = float(eigenvalues[0]) / (1 + spread), float(eigenvalues[-1]) / (1 - spread)
    return Facts(
        n=case - 1,
        bounds=Bounds(least, norm, norm / least),
        connected=True,
        connected_reason="linear in the susceptances, which fill a box",
        path=segment,
        project=_fit_and_clip(grid.incidence, low, high),
        project_kind="least-squares susceptances, clipped to their ranges",
    )


@register_family(
    "power-grid-dc",
    tags=("real-data", "spd", "symmetric", "normal", "det-positive", "connected", "bounded-condition"),
    facts=_facts,
    parameters={
        "case": Parameter(30, "IEEE test case, by its number of buses; n is one less", choices=CASES),
        "spread": Parameter(0.5, "reactances times U[1 - spread, 1 + spread]", low=0.0, high=0.95),
    },
    use="Power transfer distribution factors: how every line reacts to power fed in anywhere.",
    reference="R. D. Zimmerman et al., 2011, MATPOWER: steady-state operations, planning, and analysis tools",
    requires=PYPOWER,
    data="PYPOWER: IEEE case14, case30, case57, case118",
)
def power_grid_dc(batch, generator, case, spread):
    """The susceptance matrix of an IEEE test grid, slack bus removed, line reactances scaled at random."""
    grid = load_grid(case)
    factor = uniform((batch, len(grid.susceptance)), generator, 1 - spread, 1 + spread)
    B = _laplacian(grid.incidence, grid.susceptance / factor)
    return (B + B.mT) / 2
