"""The resolvents of Markov chains and of graphs are those of the tables and networks they come from."""

import pytest
import torch

from neuinv import _linalg
from neuinv.gallery import family, graphs, markov


@pytest.mark.parametrize("lake", markov.LAKES)
def test_every_action_in_every_state_leads_somewhere(lake):
    P = markov.transitions(lake)
    assert (P >= 0).all()
    assert torch.allclose(P.sum(dim=-1), torch.ones(len(P), 4, dtype=torch.float64), atol=1e-15)


@pytest.mark.parametrize("lake", markov.LAKES)
def test_the_transitions_are_those_of_gymnasium(lake):
    gymnasium = pytest.importorskip("gymnasium", reason="an independent source of the same table")
    table = gymnasium.make("FrozenLake-v1", map_name=lake, is_slippery=True).unwrapped.P
    P = torch.zeros_like(markov.transitions(lake))
    for state, actions in table.items():
        for action, outcomes in actions.items():
            for probability, target, _, _ in outcomes:
                P[state, action, target] += probability
    assert torch.allclose(P, markov.transitions(lake), atol=1e-15)
    assert not torch.allclose(P[:, [0, 3, 2, 1]], markov.transitions(lake), atol=0.1)


def _best_chance(lake, sweeps):
    """Probability of ever reaching the goal under the best policy, by value iteration without discount."""
    P = markov.transitions(lake)
    reached = torch.zeros(len(P), dtype=torch.float64)
    reached[-1] = 1.0
    for _ in range(sweeps):
        reached = (P @ reached).amax(dim=1)
    return float(reached[0])


def test_the_best_policy_reaches_the_goal_as_often_as_known():
    """14/17 on the small lake; always on the large one, where every hole can be passed at a distance."""
    assert _best_chance("4x4", 3000) == pytest.approx(14 / 17, abs=1e-9)
    assert _best_chance("8x8", 6000) == pytest.approx(1.0, abs=1e-6)


def test_the_inverse_is_the_discounted_number_of_visits():
    """X = sum gamma^k P^k: entries >= 0 and the infinity norm exactly 1 / (1 - gamma)."""
    A = family("markov", gamma_max=0.9).sample(20, seed=0)
    identity = torch.eye(64, dtype=torch.float64)
    X = _linalg.inverse(A)
    gamma = 1 - A.sum(dim=-1)
    assert torch.allclose(gamma, gamma[:, :1].expand(-1, 64), atol=1e-14)
    assert ((gamma >= 0.5) & (gamma <= 0.9)).all()
    assert X.min() > -1e-14
    assert torch.allclose(X.sum(dim=-1), 1 / (1 - gamma), rtol=1e-12)
    series = term = identity.expand_as(A)
    for k in range(400):
        term = term @ (identity - A)
        series = series + term
        assert k > 0 or not torch.allclose(series, X, atol=1e-3)
    assert torch.allclose(series, X, atol=1e-12)


def test_the_projection_finds_the_nearest_mixture_of_actions():
    """(r - x) . (y - x) <= 0 for each action's row y, the vertices; it fails for another mixture."""
    P = markov.transitions("8x8")
    rows = torch.randn(10, 64, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = markov._nearest_mixture(P, rows)
    assert torch.allclose(x.sum(dim=-1), torch.ones(10, 64, dtype=torch.float64), atol=1e-13)
    angles = torch.einsum("bst,bsat->bsa", rows - x, P - x[:, :, None])
    assert angles.max() < 1e-12
    middle = P.mean(dim=1)
    assert torch.einsum("bst,sat->bsa", rows - middle, P - middle[:, None]).max() > 0.1


def test_each_absorbing_state_contributes_an_eigenvalue_one_minus_gamma():
    holes_and_goal = sum(row.count("H") + row.count("G") for row in markov.LAKES["8x8"])
    A = family("markov").sample(5, seed=0)
    gap = A[:, :1].sum(dim=-1, keepdim=True) * torch.eye(64, dtype=torch.float64)
    assert (torch.linalg.matrix_rank(A - gap) == 64 - holes_and_goal).all()
    assert (torch.linalg.matrix_rank(A - 1.01 * gap) == 64).all()


@pytest.mark.parametrize(("low", "high", "median"), [(0.5, 0.95, 7.2), (0.95, 0.999, 150)])
def test_a_longer_horizon_means_a_larger_condition_number(low, high, median):
    condition = torch.linalg.cond(family("markov", gamma_min=low, gamma_max=high).sample(200, seed=1))
    assert condition.median() == pytest.approx(median, rel=0.2)


@pytest.mark.parametrize(
    ("graph", "nodes", "edges"), [("karate", 34, 78), ("les-miserables", 77, 254), ("florentine", 15, 20)]
)
def test_the_graphs_are_simple_with_the_known_numbers_of_nodes_and_edges(graph, nodes, edges):
    A = graphs.adjacency(graph)
    assert A.shape == (nodes, nodes) and torch.equal(A, A.mT) and A.diagonal().abs().max() == 0
    assert set(A.flatten().tolist()) == {0.0, 1.0} and A.sum() == 2 * edges


def test_katz_centrality_is_that_of_networkx():
    networkx = pytest.importorskip("networkx")
    z = 1.5
    A = family("graph-resolvent").curve(z)
    rho = graphs._spectrum("karate")[1]
    ours = torch.linalg.solve(A, torch.ones(34, dtype=torch.float64))
    theirs = networkx.katz_centrality_numpy(
        networkx.karate_club_graph(), alpha=float(1 / (z * rho)), weight=None
    )
    theirs = torch.tensor([theirs[node] for node in range(34)], dtype=torch.float64)
    assert torch.allclose(ours / ours.norm(), theirs, rtol=1e-10)
    elsewhere = torch.linalg.solve(family("graph-resolvent").curve(2.5), torch.ones(34, dtype=torch.float64))
    assert not torch.allclose(elsewhere / elsewhere.norm(), theirs, rtol=1e-2)


@pytest.mark.parametrize(
    ("graph", "z_min", "z_max", "end"),
    [("karate", 1.1, 3.0, 0), ("karate", -3.0, -0.7, 1), ("les-miserables", 1.01, 2.0, 0)],
)
def test_the_bounds_of_the_resolvent_are_attained_at_an_end(graph, z_min, z_max, end):
    chosen = family("graph-resolvent", graph=graph, z_min=z_min, z_max=z_max)
    sigma = torch.linalg.svdvals(chosen.curve(chosen.curve_range[end]))
    far = torch.linalg.svdvals(chosen.curve(chosen.curve_range[1 - end]))
    assert float(sigma[0] / sigma[-1]) == pytest.approx(chosen.bounds.condition, rel=1e-10)
    assert float(sigma[-1]) == pytest.approx(chosen.bounds.sigma_min, rel=1e-10)
    assert float(far[0]) == pytest.approx(chosen.bounds.norm, rel=1e-10)
    assert far[0] / far[-1] < chosen.bounds.condition / 2


def test_the_determinant_changes_sign_at_eigenvalues_of_odd_multiplicity_alone():
    """0 is an eigenvalue of the karate club ten times: there the sign stays, at the largest it changes."""
    eigenvalues = graphs._spectrum("karate")[0]
    assert (eigenvalues.abs() < 1e-10).sum() == 10
    chosen = family("graph-resolvent", z_min=-1.0, z_max=1.2)
    around = torch.tensor([-0.01, 0.01, float(eigenvalues[-2]) + 0.01, 0.99, 1.01], dtype=torch.float64)
    signs = _linalg.det_sign(chosen.curve(around)).tolist()
    assert signs[0] == signs[1] and signs[3] == -signs[4] and signs[2] == signs[3]
    assert "both-det-signs" in chosen.tags and "indefinite" in chosen.tags
    assert "both-det-signs" not in family("graph-resolvent", z_min=-0.01, z_max=0.01).tags


def test_the_tags_of_the_resolvent_follow_the_sign_of_its_determinant():
    """Left of the spectrum the sign is (-1)^n: positive for 34 nodes, negative for 77."""
    even = family("graph-resolvent", z_min=-3.0, z_max=-1.0)
    odd = family("graph-resolvent", graph="les-miserables", z_min=-3.0, z_max=-1.0)
    assert "det-positive" in even.tags and "det-positive" not in odd.tags
    assert (_linalg.det_sign(odd.sample(10, seed=0)) < 0).all()
    assert {"spd", "det-positive"} <= family("graph-resolvent").tags


@pytest.mark.parametrize(("low", "high", "median"), [(1.1, 3.0, 2.6), (-1.0, 1.0, 50)])
def test_inside_the_spectrum_the_condition_number_has_no_bound(low, high, median):
    condition = torch.linalg.cond(family("graph-resolvent", z_min=low, z_max=high).sample(2000, seed=1))
    assert condition.median() == pytest.approx(median, rel=0.3)
    assert (family("graph-resolvent", z_min=low, z_max=high).bounds.condition is None) == (low < 1)
