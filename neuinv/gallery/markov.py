"""Policy evaluation in a Markov decision process: ``markov``."""

import math
from functools import cache

import torch

from neuinv.gallery._draws import uniform
from neuinv.gallery.facts import Bounds, Facts, segment
from neuinv.gallery.parameters import Parameter
from neuinv.gallery.registry import register_family

# The maps of Gymnasium's FrozenLake-v1 (MIT licence): Start, Frozen, Hole, Goal.
LAKES = {
    "4x4": ("SFFF", "FHFH", "FFFH", "HFFG"),
    "8x8": (
        "SFFFFFFF",
        "FFFFFFFF",
        "FFFHFFFF",
        "FFFFFHFF",
        "FFFHFFFF",
        "FHHFFFHF",
        "FHFFHFHF",
        "FFFHFFFG",
    ),
}
_MOVES = ((0, -1), (1, 0), (0, 1), (-1, 0))  # left, down, right, up, as Gymnasium numbers them


@cache
def transitions(lake):
    """Return the transition probabilities of the slippery frozen lake.

    A step goes in the chosen direction or in one of the two across it, each with probability
    1/3; a step off the map stays in place; holes and the goal keep whoever reaches them.

    Parameters
    ----------
    lake : str
        ``"4x4"`` or ``"8x8"``.

    Returns
    -------
    Tensor, shape (states, 4, states)
        From state, by action (left, down, right, up), to state; states are numbered row by row.
    """
    rows = LAKES[lake]
    side = len(rows)
    P = torch.zeros(side**2, 4, side**2, dtype=torch.float64)
    for state in range(side**2):
        row, column = divmod(state, side)
        for action in range(4):
            if rows[row][column] in "HG":
                P[state, action, state] = 1.0
                continue
            for turn in (-1, 0, 1):
                down, right = _MOVES[(action + turn) % 4]
                y, x = (min(max(place, 0), side - 1) for place in (row + down, column + right))
                P[state, action, y * side + x] += 1 / 3
    return P


def _nearest_mixture(P, rows):
    """Return, for rows (..., n, n), the nearest rows of transition matrices of mixed policies.

    A mixture of actions leaves each of the four steps at most the probability 1/3, so what can be
    reached from a state is the simplex with a cap on each entry; its nearest point is
    clamp(row - shift, 0, cap) with the shift at which the sum is 1, here by bisection.
    """
    cap = P.amax(dim=1)
    low, high = rows.amin(dim=-1, keepdim=True) - 1, rows.amax(dim=-1, keepdim=True)
    for _ in range(64):
        shift = (low + high) / 2
        above = torch.minimum((rows - shift).clamp(min=0), cap).sum(dim=-1, keepdim=True) > 1
        low, high = torch.where(above, shift, low), torch.where(above, high, shift)
    return torch.minimum((rows - low).clamp(min=0), cap)


def _facts(lake, gamma_min, gamma_max):
    if gamma_min > gamma_max:
        raise ValueError(
            f"gamma_min = {gamma_min} exceeds gamma_max = {gamma_max}; use gamma_min <= gamma_max."
        )
    P = transitions(lake)
    n = len(P)
    # The inverse is sum gamma^k P^k: entries >= 0, row sums 1 / (1 - gamma), hence a 2-norm of at
    # most sqrt(n) / (1 - gamma). And |P|_2^2 is at most the greatest column sum, whatever the policy.
    least = (1 - gamma_max) / math.sqrt(n)
    norm = 1 + gamma_max * math.sqrt(float(P.amax(dim=1).sum(dim=0).max()))
    identity = torch.eye(n, dtype=torch.float64)

    def project(A):
        gamma = (1 - A.sum(dim=-1).mean(dim=-1)).clamp(gamma_min, gamma_max)[..., None, None]
        # below 1e-12 the policy no longer shows in A
        return identity - gamma * _nearest_mixture(P, (identity - A) / gamma.clamp(min=1e-12))

    return Facts(
        n=n,
        bounds=Bounds(least, norm, norm / least),
        connected=True,
        connected_reason="gamma P is a convex set: any mixture of two is one, of mixed policies",
        path=segment,
        project=project,
        project_kind="mean discount, clipped; then in every row the nearest mixture of actions",
    )


@register_family(
    "markov",
    tags=(
        "synthetic",
        "nonsymmetric",
        "diagonally-dominant",
        "det-positive",
        "connected",
        "bounded-condition",
    ),
    facts=_facts,
    parameters={
        "lake": Parameter("8x8", "map of the lake; n is 64 or 16", choices=tuple(LAKES)),
        "gamma_min": Parameter(0.5, "least discount factor", low=0.0, below=1.0),
        "gamma_max": Parameter(0.95, "greatest discount factor", low=0.01, below=1.0),
    },
    use="The value of a policy from its rewards, and expected visits to every state.",
    reference="M. L. Puterman, 1994, Markov Decision Processes: Discrete Stochastic Dynamic Programming",
)
def markov(batch, generator, lake, gamma_min, gamma_max):
    """I - gamma P for a random policy on the slippery frozen lake, gamma uniform.

    In every state the policy chooses among the four actions with probabilities uniform on the
    simplex. The inverse is the resolvent sum_k gamma^k P^k; holes and the goal are absorbing, so
    that 1 - gamma is an eigenvalue many times over.
    """
    P = transitions(lake)
    gamma = uniform((batch, 1, 1), generator, gamma_min, gamma_max)
    # exponential weights, normalised, are uniform on the simplex; 1 - u is never 0
    weights = -torch.log(1 - uniform((batch, len(P), 4), generator))
    policy = weights / weights.sum(dim=-1, keepdim=True)
    mixed = torch.einsum("bsa,sat->bst", policy, P)
    return torch.eye(len(P), dtype=torch.float64) - gamma * mixed
