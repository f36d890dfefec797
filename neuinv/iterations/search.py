r"""The search for programs of few products: smallest :math:`\sup |1 - (1 - rt)P(t)|` over [-1, 1].

The supremum over the coefficients of a program is a minimax problem that is not convex. What works, of many
things tried: start from a composition of two stages (:func:`neuinv.iterations.embedding.compose`), replace
the supremum by p-norms with p doubling from 8 to 256, and minimise each by Levenberg-Marquardt; repeat; then
linear programs on the extremal points with a trust region. A small penalty on the coefficients of the
factors costs a per cent of the supremum and saves a digit of rounding: without it, factors become differences
of nearly equal matrices. Nothing here is certified: the supremum is that over a grid.
"""

import math

import numpy as np

from neuinv.iterations.embedding import balance, pack
from neuinv.iterations.objective import Objective, effective_degree

__all__ = [
    "PENALTY",
    "Objective",
    "descend",
    "effective_degree",
    "improve",
    "minimise_norm",
    "polish",
    "restart",
]

POWERS = (8, 16, 32, 64, 128, 256)
SMALL = 0.05  # coefficients below it are varied as if they had this size
PENALTY = 1e-3  # of the squared coefficients of the factors, against the logarithm of the norm


def improve(objective, theta, rounds=6, steps=60, penalty=PENALTY):
    """Return a better program and its supremum on the grid: p-norms with growing p, again and again.

    Parameters
    ----------
    objective : Objective
        The problem.
    theta : array
        Where to start.
    rounds : int
        At most so many passes through the powers; the search stops after two that do not help.
    steps : int
        Levenberg-Marquardt steps a power, at most.
    penalty : float
        Weight of the squared coefficients of the factors.

    Returns
    -------
    array, float
    """
    m = objective.num_products
    best = current = balance(objective.scaled(theta), m)
    least, failures = objective.supremum(best), 0
    for _ in range(rounds):
        for power in POWERS:
            current = minimise_norm(objective, balance(current, m), power, steps, penalty)
        current, value = polish(objective, balance(current, m), 20)
        gain = 1 - value / least
        failures = failures + 1 if gain < 1e-4 * (1 - least) else 0
        if value < least:
            best, least = current, value
        # One pass without gain is common before a long descent: the low powers have to undo the last polish.
        if failures > 1:
            break
    return best, least


def descend(objective, theta, cycles, penalty=PENALTY):
    """Return a better program: cycles of many steps with p = 8, ..., 128, the later half with less penalty.

    Where two rounds of :func:`improve` bring little, this still gained a tenth of the effective degree of
    programs with eight products and more: they are far from any optimum, and steps are cheaper than starts.

    Parameters
    ----------
    objective : Objective
        The problem.
    theta : array
        Where to start.
    cycles : int
        Passes through the powers, of at most 100 steps each.
    penalty : float
        Weight of the squared coefficients of the factors; a tenth of it in the later half.

    Returns
    -------
    array
        The program with the smallest supremum on the grid after any cycle, or ``theta``.
    """
    best = theta
    for cycle in range(cycles):
        weight = penalty if 2 * cycle < cycles else penalty / 10
        for power in POWERS[:-1]:
            theta = minimise_norm(objective, balance(theta, objective.num_products), power, 100, weight)
        best = min(best, theta, key=objective.supremum)
    return best


def restart(objective, tries, seed):
    """Return the best of many searches from random programs whose products are nearly squares.

    Parameters
    ----------
    objective : Objective
        The problem.
    tries : int
        How many starts.
    seed : int
        Of NumPy's generator.

    Returns
    -------
    array
        The program with the smallest supremum on the grid.
    """
    generator = np.random.default_rng(seed)
    m = objective.num_products
    best, least = None, math.inf
    for _ in range(tries):
        left = [0.5 * generator.standard_normal(j + 2) for j in range(m)]
        for row in left:
            row[-1] = 1 + abs(row[-1])
        right = [row + 0.2 * generator.standard_normal(len(row)) for row in left]
        current = objective.fitted(balance(pack(left, right, np.zeros(m + 2)), m))
        for power in (2, 4, 8, 16):
            current = minimise_norm(objective, balance(current, m), power, 40, PENALTY)
        # A start that is far behind is not worth the rounds.
        if not objective.supremum(current) < min(1, 3 * least):
            continue
        current, value = improve(objective, current, 2)
        if value < least:
            best, least = current, value
    return improve(objective, best, 10)[0]


def minimise_norm(objective, theta, power, steps, penalty, damping=1e-3):
    """Return a program with a smaller penalised p-norm: Levenberg-Marquardt on |q|^(p/2).

    Parameters
    ----------
    objective : Objective
        The problem.
    theta : array
        Where to start; balanced.
    power : int
        p.
    steps : int
        At most so many.
    penalty : float
        Weight of the squared coefficients of the factors, against the logarithm of the norm.
    damping : float
        Of the first step.

    Returns
    -------
    array
    """
    factors = np.ones(len(theta))
    factors[-objective.num_products - 2 :] = 0
    q, J = objective.jacobian(theta)
    cost = _log_norm(q, power) + penalty / 2 * (factors @ theta**2)
    for _ in range(steps):
        size = np.maximum(np.abs(theta), SMALL)
        peak = np.abs(q).max()
        weight = (np.abs(q) / peak) ** (power / 2 - 1)
        A = J * (weight * power / 2)[:, None] * size
        H, g = A.T @ A, A.T @ (weight * q)
        # The p-norm's own derivative is divided by sum |q|^p / peak^p, of the order of 1.
        pull = penalty * power * peak**2 * factors
        H, g = H + np.diag(pull * size**2), g + pull * theta * size
        ridge = 1e-2 * np.trace(H) / len(theta) * np.eye(len(theta)) + np.diag(np.diag(H))
        for _ in range(10):
            trial = theta - np.linalg.solve(H + damping * ridge, g) * size
            new = _log_norm(objective.residual(trial), power) + penalty / 2 * (factors @ trial**2)
            if new < cost:
                break
            damping *= 4
        else:
            return theta
        damping = max(damping / 5, 1e-14)
        theta, gain, cost = trial, cost - new, new
        if gain < 1e-7 * max(1, abs(cost)):
            return theta
        q, J = objective.jacobian(theta)
    return theta


def _log_norm(q, power):
    peak = np.abs(q).max()
    if not np.isfinite(peak):
        return math.inf
    return np.log(np.sum((np.abs(q) / peak) ** power)) / power + math.log(peak)


def polish(objective, theta, steps, reach=1e-3):
    """Return a better program and its supremum on the grid, by linear programs with a trust region.

    Each minimises the linearised residual over the extremal points and their neighbours, with coefficients
    moved by at most the fraction ``reach``; a step that does not help is repeated with a third of it.
    """
    q, J = objective.jacobian(theta)
    least = np.abs(q).max()
    small = 0
    for _ in range(steps):
        near = _extremal(q, least)
        size = np.maximum(np.abs(theta), SMALL)
        trial, promise, value = None, 0.0, math.inf
        while reach > 1e-8:
            step, promise = _linear_step(q[near], J[near] * size, least, reach)
            trial = theta + step * size
            value = objective.supremum(trial)
            if value < least or promise < 1e-9 * least:
                break
            reach /= 3
        if not value < least:
            break
        gain = least - value
        reach *= 2 if gain > 0.7 * promise else 0.5 if gain < 0.3 * promise else 1
        theta, least = trial, value
        small = small + 1 if gain < 3e-5 * least * (1 - least) else 0
        if small > 8:
            break
        q, J = objective.jacobian(theta)
    return theta, least


def _extremal(q, least):
    """Return the indices of the local maxima of |q| that matter, and of points beside them."""
    size = np.abs(q)
    peak = np.ones(len(q), dtype=bool)
    peak[1:-1] = (size[1:-1] >= size[:-2]) & (size[1:-1] >= size[2:])
    threshold = 0.3 * least if least < 0.5 else 1 - 30 * (1 - least)
    found = np.nonzero(peak & (size > threshold))[0]
    beside = np.concatenate([found + k for k in (-5, -2, 0, 2, 5)])
    return np.unique(np.clip(beside, 0, len(q) - 1))


def _linear_step(q, J, least, reach):
    """Return the step in [-reach, reach]^n with the smallest linearised maximum, and by how much it falls."""
    from scipy.optimize import linprog

    sign = np.sign(q)[:, None]
    # In units of what is left to gain, s (1 - s), so that a supremum near 1 is no exception.
    unit = least * max(1 - least, 1e-12)
    rows = np.concatenate([sign * J / unit, np.ones((len(q), 1))], axis=1)
    limits = (least - np.abs(q)) / unit
    norm = np.maximum(1, np.abs(rows).max(axis=1))
    cost = np.zeros(rows.shape[1])
    cost[-1] = -1
    bounds = [(-reach, reach)] * J.shape[1] + [(0, 2)]
    options = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}
    found = linprog(
        cost, A_ub=rows / norm[:, None], b_ub=limits / norm, bounds=bounds, method="highs-ds", options=options
    )
    if found.status != 0:
        return np.zeros(J.shape[1]), 0.0
    return found.x[:-1], found.x[-1] * unit
