"""Power-flow Jacobians of alternating-current grids: ``power-grid-ac``."""

from functools import cache

import torch

from neuinv._linalg import det_sign, solve
from neuinv.gallery._draws import uniform
from neuinv.gallery.facts import Curve, Facts
from neuinv.gallery.parameters import Parameter
from neuinv.gallery.power_grid import CASES, PYPOWER, load_grid
from neuinv.gallery.registry import register_family

NEWTON_STEPS = 12
MISMATCH = 1e-9  # per unit
SETTLED = 1e-12  # per unit; about the rounding of the balance itself
LOADING_STEPS = 4  # homotopy from the nominal loads, which keeps Newton on the upper branch
DRAWS_PER_MEMBER = 20


def jacobian(grid, V):
    """Return the power-flow Jacobian at complex voltages.

    Parameters
    ----------
    grid : Grid
        The case.
    V : Tensor, shape (..., buses), complex
        Voltages, per unit.

    Returns
    -------
    Tensor, shape (..., n, n)
        Derivatives of active power at all but the slack bus and of reactive power at the load
        buses, by the angles and magnitudes of the voltages at the same buses.
    """
    Y, unit = grid.admittance, V / V.abs()
    current = (Y @ V[..., None])[..., 0]
    by_angle = 1j * V[..., :, None] * (torch.diag_embed(current) - Y * V[..., None, :]).conj()
    by_magnitude = V[..., :, None] * (Y * unit[..., None, :]).conj() + torch.diag_embed(current.conj() * unit)
    free, pq = torch.cat([grid.pv, grid.pq]), grid.pq
    top = torch.cat(
        [by_angle.real[..., free, :][..., free], by_magnitude.real[..., free, :][..., pq]], dim=-1
    )
    bottom = torch.cat([by_angle.imag[..., pq, :][..., free], by_magnitude.imag[..., pq, :][..., pq]], dim=-1)
    return torch.cat([top, bottom], dim=-2)


def mismatch(grid, V, load):
    """Return the power balance (..., n) that a solution makes zero; ``load`` is (..., buses), complex."""
    power = V * (grid.admittance @ V[..., None])[..., 0].conj() - grid.generation + load
    return torch.cat([power.real[..., grid.pv], power.real[..., grid.pq], power.imag[..., grid.pq]], dim=-1)


def _moved(grid, V, step):
    """Return the voltages after a step (..., n) in angles and magnitudes."""
    free = torch.cat([grid.pv, grid.pq])
    angle, magnitude = V.angle(), V.abs()
    angle = angle.index_add(-1, free, step[..., : len(free)])
    magnitude = magnitude.index_add(-1, grid.pq, step[..., len(free) :])
    return torch.polar(magnitude.abs(), angle)


def _solve(grid, V, load):
    """Return Newton's voltages from the start V, and which members converged."""
    for _ in range(NEWTON_STEPS):
        gap = mismatch(grid, V, load)
        if (gap.abs() < SETTLED).all():
            break
        step = solve(jacobian(grid, V), gap[..., None])[..., 0]
        # a member whose Jacobian is singular stays where it is and is refused by its mismatch
        V = _moved(grid, V, -torch.nan_to_num(step, 0.0, 0.0, 0.0).clamp(-1, 1))
    return V, mismatch(grid, V, load).abs().amax(dim=-1) < MISMATCH


@cache
def _nominal(case):
    grid = load_grid(case)
    V, converged = _solve(grid, grid.start, grid.load)
    if not converged:
        raise RuntimeError(f"the power flow of case {case} does not converge at its nominal loads.")
    return V


def _operating_points(grid, V, factor):
    """Return voltages at the loads times ``factor`` (batch, buses) for the members that have them.

    A voltage collapse in between makes Newton fail, or land on the lower branch, where the
    determinant of the Jacobian has the other sign.
    """
    sign = det_sign(jacobian(grid, V))
    V = V.expand(len(factor), -1)
    for s in torch.linspace(0, 1, LOADING_STEPS + 1, dtype=torch.float64)[1:]:
        V, converged = _solve(grid, V, grid.load * (1 + s * (factor - 1)))
        good = converged & (det_sign(jacobian(grid, V)) == sign)
        V, factor = V[good], factor[good]
    return V


def _by_factor(grid):
    """Return the derivative (n,) of the mismatch by a factor on all loads."""
    return torch.cat([grid.load.real[grid.pv], grid.load.real[grid.pq], grid.load.imag[grid.pq]])


def _solve_at_voltage(grid, V, load_factor, bus, magnitude):
    """Newton in all unknowns but the magnitude at one load bus, with the load factor in its place.

    That system stays regular at the nose of the curve, where the Jacobian itself is singular.
    Returns voltages, load factors, and the derivative of the load factor by the magnitude.
    """
    column = len(grid.pv) + len(grid.pq) + int((grid.pq == bus).nonzero())
    by_factor = _by_factor(grid)
    V = torch.polar(V.abs().index_copy(-1, bus[None], magnitude[..., None]), V.angle())
    for _ in range(NEWTON_STEPS):
        gap = mismatch(grid, V, load_factor[..., None] * grid.load)
        J = jacobian(grid, V)
        bordered = J.clone()
        bordered[..., :, column] = by_factor
        both = solve(bordered, torch.stack([gap, J[..., :, column]], dim=-1))
        step, slope = both[..., 0], -both[..., column, 1]
        load_factor = load_factor - step[..., column]
        V = _moved(grid, V, -step.index_fill(-1, torch.tensor([column]), 0.0))
        if (gap.abs() < SETTLED).all():  # judged before the step, so that the slope is current
            break
    return V, load_factor, slope


def _climb(grid, V, factor):
    """Follow the branch from ``factor`` upward until Newton fails; return the last point."""
    step = 0.1
    while step > 1e-3:
        ahead, good = _solve(grid, V, (factor + step) * grid.load)
        same_side = det_sign(jacobian(grid, ahead)) == det_sign(jacobian(grid, V))
        if good and same_side:
            V, factor = ahead, factor + step
        else:
            step /= 2
    return V, factor


def _weakest(grid, V):
    """Return the load bus whose magnitude moves most with the load."""
    free = len(grid.pv) + len(grid.pq)
    by_factor = _by_factor(grid)
    return grid.pq[solve(jacobian(grid, V), by_factor[:, None])[free:, 0].abs().argmax()]


@cache
def collapse(case, points=129):
    """Return the loading curve of a case up to voltage collapse.

    Parameters
    ----------
    case : int
        IEEE case.
    points : int
        Points kept on the curve.

    Returns
    -------
    bus : Tensor
        The load bus whose voltage magnitude parametrises the curve.
    magnitudes : Tensor, shape (points,)
        Its magnitude, per unit, from load factor 1 down to the nose.
    voltages : Tensor, shape (points, buses)
        Solutions there.
    factors : Tensor, shape (points,)
        Load factors; the last is the greatest load that can be supplied.
    """
    grid = load_grid(case)
    V0 = _nominal(case)
    V, factor = _climb(grid, V0, 1.0)
    bus = _weakest(grid, V)
    factor = torch.tensor(factor, dtype=torch.float64)
    low = high = V[bus].abs()
    at_low = (V, factor)
    while True:  # step down over the nose: there the load factor starts to fall with the magnitude
        low = low - 0.005
        V, factor, slope = _solve_at_voltage(grid, *at_low, bus, low)
        if slope > 0:
            break
        at_low, high = (V, factor), low
    for _ in range(60):  # bisect on the sign of the slope, which is zero at the nose
        middle = (low + high) / 2
        V, factor, slope = _solve_at_voltage(grid, *at_low, bus, middle)
        if slope > 0:
            low = middle
        else:
            high, at_low = middle, (V, factor)
    magnitudes = torch.linspace(0, 1, points, dtype=torch.float64) * (high - V0[bus].abs()) + V0[bus].abs()
    return bus, magnitudes, *_march(grid, V0, bus, magnitudes)


def _march(grid, V, bus, magnitudes):
    factor = torch.tensor(1.0, dtype=torch.float64)
    voltages, factors = [], []
    for magnitude in magnitudes:
        V, factor, _ = _solve_at_voltage(grid, V, factor, bus, magnitude)
        voltages.append(V)
        factors.append(factor)
    return torch.stack(voltages), torch.stack(factors)


def _loading_curve(case):
    """Return the function load factor -> Jacobian on the upper branch."""

    def function(t):
        grid = load_grid(case)
        bus, magnitudes, voltages, factors = collapse(case)
        target = t.detach().cpu().flatten()
        right = torch.searchsorted(factors, target).clamp(1, len(factors) - 1)
        # the load factor falls with the magnitude: bisect the magnitude between two kept points
        high, low = magnitudes[right - 1], magnitudes[right]
        V, factor = voltages[right], factors[right]
        for _ in range(54):
            middle = (low + high) / 2
            V, factor, _ = _solve_at_voltage(grid, V, factor, bus, middle)
            below = factor < target
            high, low = torch.where(below, middle, high), torch.where(below, low, middle)
        A = jacobian(grid, V)
        return A.reshape(*t.shape, *A.shape[-2:]).to(t.device)

    return function


def _facts(case, low, high, common):
    if low > high:
        raise ValueError(f"low = {low} exceeds high = {high}; use low <= high.")
    grid = load_grid(case)
    return Facts(
        n=len(grid.pv) + 2 * len(grid.pq),
        connected=True,
        connected_reason="a connected set of loads, mapped continuously by the upper branch of solutions",
        curve=Curve(
            _loading_curve(case),
            lambda: (1.0, float(collapse(case)[3][-1])),
            "load factor",
            differentiable=False,
        ),
    )


@register_family(
    "power-grid-ac",
    tags=("real-data", "nonsymmetric", "det-positive"),
    facts=_facts,
    parameters={
        "case": Parameter(14, "IEEE test case, by its number of buses", choices=CASES),
        "low": Parameter(0.5, "least load factor", low=0.0, high=20.0),
        "high": Parameter(1.5, "greatest load factor", low=0.0, high=20.0),
        "common": Parameter(False, "one load factor for all buses, instead of one each"),
    },
    use="Newton's method for the power flow, and sensitivities of voltages to loads.",
    reference="W. F. Tinney and C. E. Hart, 1967, Power flow solution by Newton's method",
    requires=PYPOWER,
    data="PYPOWER: IEEE case14, case30, case57, case118",
)
def power_grid_ac(batch, generator, case, low, high, common):
    """Power-flow Jacobians at solved operating points of an IEEE grid, loads scaled by U[low, high].

    Generation stays at its nominal value and the slack bus balances; reactive limits are not
    enforced. Loads that cannot be supplied are drawn again. The curve of the family scales all
    loads by one factor, from 1 up to voltage collapse, the nose of the loading curve, where the
    Jacobian is singular; it is solved numerically and carries no gradient.

    Raises
    ------
    ValueError
        Hardly any draw of the loads can be supplied.
    """
    grid, V = load_grid(case), _nominal(case)
    kept, missing = [], batch
    for _ in range(DRAWS_PER_MEMBER):
        factor = uniform((batch, 1 if common else case), generator, low, high)
        kept.append(_operating_points(grid, V, factor.expand(batch, case))[:missing])
        missing -= len(kept[-1])
        if missing == 0:
            return jacobian(grid, torch.cat(kept))
    raise ValueError(
        f"loads times U[{low}, {high}] can hardly be supplied by case {case}: {batch - missing} of "
        f"{DRAWS_PER_MEMBER * batch} draws have a solution; use a smaller high."
    )
