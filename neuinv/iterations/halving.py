"""Many restarts of the search for programs: all of them briefly, the best ones longer and longer.

A restart is a start with a seed of its own, improved by Levenberg-Marquardt steps on p-norms, as many as the
rungs it reaches allow: most restarts are given up after the first rung, twenty steps, as hopeless beside
the others. So a search with many restarts that finds nothing is weak evidence that there is nothing.
"""

import dataclasses
import math
import time
from dataclasses import dataclass, field

import numpy as np

from neuinv._checks import as_integer
from neuinv.iterations.bounds import matmul_residual
from neuinv.iterations.embedding import balance
from neuinv.iterations.objective import DENSITY, search_objective
from neuinv.iterations.search import PENALTY, improve, minimise_norm
from neuinv.iterations.starts import MIXTURE, START_KINDS, start_program

__all__ = ["RUNGS", "Restart", "SearchResult", "search_restarts"]


@dataclass(frozen=True)
class Rung:
    """How long a restart is improved, and with how many others."""

    share: float  # of all restarts, those that come so far
    least: int  # restarts at least
    steps: int
    powers: tuple


RUNGS = (
    Rung(1.0, 1, 20, (6,)),
    Rung(0.08, 4, 30, (8, 32)),
    Rung(0.02, 2, 60, (8, 16, 32, 64)),
    Rung(0.005, 1, 120, (8, 16, 32, 64, 128)),
)
NEAR_ONE = 0.9  # where every residual is above it, the low powers see the bulk and not the peaks
FINER = 4  # the grid, there and in the end: between its points the residual may peak


@dataclass(frozen=True)
class Restart:
    """One restart: where it came from, how far it came.

    Attributes
    ----------
    index : int
        With the seed of the search it seeds NumPy's generator: ``numpy.random.default_rng([seed, index])``.
    kind : str
        Of its start; ``"none"`` where there was no program to begin with.
    first, last : float
        The largest residual on the grid after the first rung, and at the end; 1 where it is larger. The best
        one's last is that on a finer grid.
    rung : int
        The last rung that it reached, from 0.
    """

    index: int
    kind: str
    first: float
    last: float
    rung: int
    theta: np.ndarray = field(repr=False, compare=False, default=None)


@dataclass(frozen=True)
class SearchResult:
    """The best program of a search, its largest residual on the grid, and all restarts in order."""

    theta: np.ndarray
    supremum: float
    restarts: tuple
    cpu_seconds: float = field(compare=False)


def search_restarts(num_products, kappa, kind, count, seed, programs, *, rounds=2, penalty=PENALTY):
    """Search from many starts, and improve the few that come furthest.

    Parameters
    ----------
    num_products : int
        m >= 1.
    kappa : float
        The condition number.
    kind : str
        Of the starts (:data:`~neuinv.iterations.starts.START_KINDS`), or ``"mixed"``: of all kinds.
    count : int
        How many restarts.
    seed : int
        Of them all; the same seed gives the same search on the same machine.
    programs : iterable of Program
        What starts may draw on.
    rounds : int
        Passes of :func:`~neuinv.iterations.search.improve` over the best one in the end; 0 for none.
    penalty : float
        Weight of the squared coefficients of the factors.

    Returns
    -------
    SearchResult

    Raises
    ------
    TypeError, ValueError
        ``num_products`` or ``count`` is no positive integer, an unknown kind, or no restart came below 1.
    """
    as_integer(num_products, "num_products", 1)
    as_integer(count, "count", 1)
    if kind not in (*START_KINDS, "mixed"):
        raise ValueError(f"kind is {kind!r}; use one of {', '.join(START_KINDS)} or mixed.")
    clock = time.process_time()
    near_one = matmul_residual(num_products, kappa) > NEAR_ONE
    objective = search_objective(num_products, kappa, DENSITY * (FINER if near_one else 1))
    programs, lift = list(programs), 16 if near_one else 1
    pool = []
    # A hopeless restart may overflow; it then counts as 1.
    with np.errstate(over="ignore", invalid="ignore"):
        for index in range(count):
            chosen = MIXTURE[index % len(MIXTURE)] if kind == "mixed" else kind
            theta = start_program(chosen, objective, programs, np.random.default_rng([seed, index]))
            one = Restart(index, chosen if theta is not None else "none", 1.0, 1.0, 0, theta)
            pool.append(_climb(objective, one, 0, penalty, lift))
        for rung in range(1, len(RUNGS)):
            keep = max(RUNGS[rung].least, math.ceil(RUNGS[rung].share * count))
            for one in sorted(pool, key=lambda one: one.last)[:keep]:
                pool[one.index] = _climb(objective, one, rung, penalty, lift)
    best = min(pool, key=lambda one: one.last)
    if best.theta is None or not best.last < 1:
        raise ValueError("no restart came below a residual of 1; ask for more restarts or another kind.")
    theta, fine = best.theta, search_objective(num_products, kappa, DENSITY * FINER)
    if rounds and near_one:
        theta = _climb(fine, best, len(RUNGS) - 1, penalty, lift).theta
    elif rounds:
        theta, _ = improve(fine, theta, rounds, penalty=penalty)
    theta = min(theta, fine.scaled(theta), key=fine.supremum)
    least = min(1.0, float(fine.supremum(theta)))
    pool[best.index] = dataclasses.replace(best, last=least)
    return SearchResult(theta, least, tuple(pool), time.process_time() - clock)


def _climb(objective, one, rung, penalty, lift):
    """Return the restart after a rung."""
    if one.theta is None:
        return one
    m, theta = objective.num_products, one.theta
    before = one.last if rung else min(1.0, float(objective.supremum(theta)))
    for power in RUNGS[rung].powers:
        theta = minimise_norm(objective, balance(theta, m), lift * power, RUNGS[rung].steps, penalty)
    value = float(objective.supremum(theta))
    value = min(1.0, value) if math.isfinite(value) else 1.0
    if not value < before:  # low powers may lose what a good start has
        theta, value = one.theta, before
    return dataclasses.replace(one, first=one.first if rung else value, last=value, rung=rung, theta=theta)
