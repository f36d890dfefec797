"""Resolvents of social networks: ``graph-resolvent``."""

from functools import cache

import torch

from neuinv.gallery._draws import uniform
from neuinv.gallery.facts import Bounds, Curve, Facts, segment
from neuinv.gallery.parameters import Parameter
from neuinv.gallery.registry import register_family

GRAPHS = {
    "florentine": "florentine_families_graph",
    "karate": "karate_club_graph",
    "les-miserables": "les_miserables_graph",
}


@cache
def adjacency(graph):
    """Return the adjacency matrix of a graph, 0 or 1, its nodes in the order of their names.

    Parameters
    ----------
    graph : str
        ``"florentine"``, ``"karate"`` or ``"les-miserables"``.

    Returns
    -------
    Tensor, shape (nodes, nodes)
    """
    import networkx

    chosen = getattr(networkx, GRAPHS[graph])()
    # two of the graphs carry weights (counts of meetings), which networkx would use unasked
    return torch.as_tensor(networkx.to_numpy_array(chosen, nodelist=sorted(chosen), weight=None))


@cache
def _spectrum(graph):
    """Return the eigenvalues of A / rho, ascending, and rho, the spectral radius of A."""
    eigenvalues = torch.linalg.eigvalsh(adjacency(graph))
    rho = eigenvalues.abs().max()  # the last one, by Perron and Frobenius
    return eigenvalues / rho, rho


def _resolvent_at(graph):
    def function(z):
        A = adjacency(graph).to(z.device)
        identity = torch.eye(len(A), dtype=torch.float64, device=z.device)
        return z[..., None, None] * _spectrum(graph)[1].to(z.device) * identity - A

    return function


def _signs(eigenvalues, z_min, z_max):
    """Return the signs of det(z I - A / rho) on the pieces of the interval between eigenvalues."""
    inside = eigenvalues[(eigenvalues > z_min) & (eigenvalues < z_max)]
    cuts = torch.cat([eigenvalues.new_tensor([z_min]), inside, eigenvalues.new_tensor([z_max])])
    widths, middles = cuts.diff(), (cuts[:-1] + cuts[1:]) / 2
    # a multiple eigenvalue is several numbers apart by rounding, with nothing between them
    middles = middles[widths > 1e-10]
    return {1 if int((eigenvalues > z).sum()) % 2 == 0 else -1 for z in middles}


def _bounds(eigenvalues, rho, z_min, z_max):
    norm = float(rho * max(z_max - eigenvalues[0], eigenvalues[-1] - z_min))
    if z_min > 1:
        low, high = (float(z_min - eigenvalues[i]) for i in (-1, 0))
    elif z_max < eigenvalues[0]:
        low, high = (float(eigenvalues[i] - z_max) for i in (0, -1))
    else:
        return Bounds(norm=norm)
    return Bounds(float(rho) * low, norm, high / low)


def _facts(graph, z_min, z_max):
    if z_min >= z_max:
        raise ValueError(f"z_min = {z_min} and z_max = {z_max} leave no interval; use z_min < z_max.")
    eigenvalues, rho = _spectrum(graph)
    signs, bounds = _signs(eigenvalues, z_min, z_max), _bounds(eigenvalues, rho, z_min, z_max)
    outside = bounds.condition is not None
    tags = ["bounded-condition"] if outside else []
    tags += ["spd"] if z_min > 1 else []
    tags += ["indefinite"] if z_max > eigenvalues[0] and z_min < 1 else []
    tags += ["both-det-signs"] if len(signs) == 2 else []
    tags += ["det-positive"] if outside and signs == {1} else []

    def project(M):
        z = M.diagonal(dim1=-2, dim2=-1).mean(dim=-1) / rho
        return _resolvent_at(graph)(z.clamp(z_min, z_max))

    return Facts(
        n=len(eigenvalues),
        tags=tags,
        bounds=bounds,
        connected=True,
        connected_reason="one parameter z in an interval",
        path=segment,
        project=project,
        project_kind="mean of the diagonal, clipped to the range",
        curve=Curve(_resolvent_at(graph), (z_min, z_max), "z"),
    )


@register_family(
    "graph-resolvent",
    tags=("real-data", "symmetric", "normal", "one-parameter", "connected"),
    facts=_facts,
    parameters={
        "graph": Parameter("karate", "34 members; 15 families; 77 characters", choices=tuple(GRAPHS)),
        "z_min": Parameter(1.1, "least z, in units of the spectral radius", low=-1e3, high=1e3),
        "z_max": Parameter(3.0, "greatest z, likewise", low=-1e3, high=1e3),
    },
    use="Katz centrality and link prediction: all walks between two nodes, long ones discounted.",
    reference="L. Katz, 1953, A new status index derived from sociometric analysis",
    requires=("networkx",),
    data="networkx: karate_club_graph, florentine_families_graph, les_miserables_graph",
)
def graph_resolvent(batch, generator, graph, z_min, z_max):
    """z rho I - A, with A the adjacency matrix of a social network, rho its spectral radius, z uniform.

    For z > 1 it is positive definite and its inverse sums the walks, each of length k discounted
    by (z rho)^-(k+1); inside (-1, 1) it meets eigenvalues. The whole family is one curve: a
    table over z answers it.
    """
    return _resolvent_at(graph)(uniform((batch,), generator, z_min, z_max))
