r"""Where a search for programs begins.

Four kinds of start. A *random* one has products that are nearly squares. An *extension* takes a program with
one product less for the other products and fits the last one: by statement `thm-strict` a program of exact
degree :math:`2^m` is :math:`c(S^2 + \rho)` with a small :math:`\rho`, and where the Chebyshev residual is
:math:`\cos N\varphi` up to a factor, S is like :math:`\sin(N\varphi/2)` over the root of :math:`1 - rt`. A
*composition* runs a second program on the residual of a first, with two products more than both. A *walk*
takes a program for another condition number. The last three draw on programs that are given, and all of them
move what they take by noise from a generator.
"""

import math

import numpy as np

from neuinv.iterations.embedding import balance, chebyshev_program, compose, pack, power_values, unpack
from neuinv.iterations.objective import Objective
from neuinv.iterations.search import PENALTY, minimise_norm

__all__ = ["MIXTURE", "START_KINDS", "flat_program", "start_program"]

START_KINDS = ("random", "extension", "composition", "walk")
# Of ten restarts of kind "mixed"; extensions came furthest in trials with eight and nine products.
MIXTURE = (
    "extension", "walk", "extension", "composition", "extension",
    "random", "extension", "walk", "extension", "extension",
)  # fmt: skip
UNMOVED = 0.2  # of all starts take them over as they are
DEGREES = (2, 3, 5, 9)  # of the optimal polynomials in 0, 1, 2 and 3 products
NOISE = (-4.0, -1.3)  # decimal exponents of the relative noise of coefficients that are taken over


def flat_program(program):
    """Return a program of the package as one array."""
    return pack(*([np.array(row) for row in side] for side in (program.left, program.right)), program.out)


def start_program(kind, objective, programs, generator):
    """Return where a restart begins, or None where there is no program to begin with.

    Parameters
    ----------
    kind : {"random", "extension", "composition", "walk"}
        See above.
    objective : Objective
        The problem.
    programs : iterable of Program
        What the kinds other than ``"random"`` may draw on.
    generator : numpy.random.Generator
        The only source of chance.

    Returns
    -------
    array or None

    Raises
    ------
    ValueError
        An unknown kind.
    """
    makers = {"random": _random, "extension": _extension, "composition": _composition, "walk": _walk}
    if kind not in makers:
        raise ValueError(f"kind is {kind!r}; use one of {', '.join(START_KINDS)}.")
    theta = makers[kind](objective, list(programs), generator)
    if theta is None:
        return None
    theta = balance(theta, objective.num_products)
    if not np.isfinite(theta).all():
        return None
    # Least squares are best for new products; a program that is followed is near its own outputs.
    fitted = objective.fitted(theta)
    found = [fitted, objective.scaled(fitted)]
    if unpack(theta, objective.num_products)[2].any():
        found.append(objective.scaled(theta))
    return min(found, key=objective.supremum)


def _random(objective, programs, generator):
    m = objective.num_products
    left = [0.5 * generator.standard_normal(j + 2) for j in range(m)]
    for row in left:
        row[-1] = 1 + abs(row[-1])
    right = [row + 0.2 * generator.standard_normal(len(row)) for row in left]
    return pack(left, right, np.zeros(m + 2))


def _extension(objective, programs, generator):
    m = objective.num_products
    theta = _drawn(objective.radius, m - 1, programs, generator)
    if theta is None:
        return None
    left, right, _ = unpack(_moved(theta, generator), m - 1)
    M, _ = power_values(pack(left, right, np.zeros(m + 1)), m - 1, objective.t)
    degree = generator.uniform(0.5, 0.95) * 2**m
    root = np.sin(degree * objective.angle / 2) * np.sqrt(2 / objective.z)
    weight = objective.z * np.abs(root) + 1e-3  # an error of S moves the residual by 2 z S as much
    square = np.linalg.lstsq((M * weight).T, root * weight, rcond=None)[0]
    other = square * (1 + 0.05 * generator.standard_normal(len(square)))
    return pack([*left, square], [*right, other], np.zeros(m + 2))


def _walk(objective, programs, generator):
    """Follow a program to the radius; to a smaller one in steps that change 1 - r by at most 2.5."""
    m = objective.num_products
    theta, gap = _drawn(objective.radius, m, programs, generator, with_gap=True)
    if theta is None:
        return None
    theta, goal = _moved(theta, generator), 1 - objective.radius
    # To a larger one a multiple is a good start: its polynomial changes little but at the left end.
    steps = math.ceil(math.log(goal / gap) / math.log(2.5) - 0.1)
    for step in range(1, steps):
        between = Objective(m, 1 - gap * (goal / gap) ** (step / steps), len(objective.t))
        theta = between.scaled(theta)
        for power in (32, 128):  # low powers lose a residual near 1
            theta = minimise_norm(between, balance(theta, m), power, 15, PENALTY)
    return theta


def _composition(objective, programs, generator):
    m = objective.num_products
    if m < 2:
        return None
    k = int(generator.integers(m - 1))
    first = _stage(k, objective.radius, programs, generator)
    if first is None:
        return None
    supremum = Objective(k, objective.radius, 12 * (2**k + 1) + 400).supremum(first) * (1 + 1e-6)
    second = _stage(m - 2 - k, supremum, programs, generator) if supremum < 1 else None
    if second is None:
        return None
    theta = compose(first, k, objective.radius, supremum, second, m - 2 - k)
    # Most coefficients of a composition are zero: they need noise that is not relative.
    return _moved(theta, generator) + 0.003 * generator.standard_normal(len(theta))


def _stage(m, radius, programs, generator):
    """Return the optimal program of up to three products, or a drawn one fitted to the radius."""
    if m < len(DEGREES):
        return chebyshev_program(DEGREES[m], radius)[0]
    theta = _drawn(radius, m, programs, generator)
    if theta is None:
        return None
    objective = Objective(m, radius, 4 * (2**m + 1) + 400)
    theta = balance(objective.scaled(theta), m)
    for power in (8, 32):
        theta = minimise_norm(objective, balance(theta, m), power, 20, PENALTY)
    return theta


def _drawn(radius, m, programs, generator, with_gap=False):
    """Return a program with m products made for a radius as near as possible, or for the next one."""
    theta, gap = None, 1 - radius
    if 0 <= m < len(DEGREES):
        theta = chebyshev_program(DEGREES[m], radius)[0]
    elif found := [p for p in programs if p.num_matmuls == m]:
        found.sort(key=lambda p: abs(math.log((1 - p.radius) / (1 - radius))))
        chosen = found[min(int(generator.integers(3)) // 2, len(found) - 1)]
        theta, gap = flat_program(chosen), 1 - chosen.radius
    return (theta, gap) if with_gap else theta


def _moved(theta, generator):
    scale = 0.0 if generator.random() < UNMOVED else 10 ** generator.uniform(*NOISE)
    return theta * (1 + scale * generator.standard_normal(len(theta)))
