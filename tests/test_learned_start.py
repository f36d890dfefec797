"""Learned starts: the gate refuses what diverges, products add up, floors hold, the study is what it says."""

import math
from pathlib import Path

import pytest
import torch
from cases import gaussian

import neuinv
from neuinv.inverse import (
    choose_start,
    compare_products,
    diverges,
    measured_steps,
    scheme_matmuls,
    start_matmuls,
    steps_to,
)
from neuinv.iterations import newton_schulz, transpose_start
from neuinv.learned_start import LearnedStart, start_floor
from neuinv.lipschitz import measured
from neuinv.networks import PlainNetwork, StandardizedNetwork, make_network

EPS = torch.finfo(torch.float64).eps
ROOT = Path(__file__).resolve().parent.parent
SPEC = ROOT / "notebooks" / "sweeps" / "learned-start.yaml"
LEVELS = [1e-2, 1e-4, 1e-6]


def starts(count=300, n=6, seed=0):
    """Return matrices, and starts from exact to diverging: X = A^-1 (I - R) with ||R|| up to 3."""
    A = gaussian(count, n, seed=seed) + 4 * torch.eye(n)
    R = gaussian(count, n, seed=seed + 1)
    size = torch.linspace(0.01, 3, count, dtype=torch.float64)[:, None, None]
    R = size * R / torch.linalg.matrix_norm(R, 2)[:, None, None]
    return A, torch.linalg.inv(A) @ (torch.eye(n) - R), size[:, 0, 0]


def accepted_without_a_gate(A, X):
    """Accept every start, as a network followed by steps does."""
    return torch.ones(len(A), dtype=torch.bool)


def accepted_by_the_gate(A, X):
    """Accept what is proved to contract."""
    return choose_start(A, [X]).choice == 0


def diverging_accepted(rule, A, X):
    """Return how many of the starts that a rule accepts have a residual above 1 after 12 steps."""
    kept = rule(A, X)
    reached = newton_schulz(A[kept], 12, start=X[kept])
    product = torch.nan_to_num(A[kept] @ reached, nan=1e100).clamp(-1e100, 1e100)
    residual = torch.linalg.matrix_norm(product, 2)
    return int((residual > 3).sum())


def trained_starts():
    """Return held-out matrices with kappa = 100 and what a network, trained for a moment, starts from."""
    family = neuinv.family("prescribed-spectrum", n=8, kappa=100.0)
    pool, test = family.sample(1024, seed=0), family.sample(512, seed=1)
    network = StandardizedNetwork(make_network("residual", 8, seed=0, width=8), pool)
    from neuinv.training import train

    def sampler(batch, generator):
        return pool[torch.randint(len(pool), (batch,), generator=generator)]

    train(network, sampler, num_steps=150, seed=0, batch=64, learning_rate=1e-2, progress=False)
    with torch.no_grad():
        return test, network(test)


@pytest.mark.parametrize("source", [starts, trained_starts])
def test_no_accepted_start_diverges_and_with_the_gate_off_some_do(source):
    A, X = source()[:2]
    assert diverging_accepted(accepted_by_the_gate, A, X) == 0
    # Negative control: the same check fails for a network without a gate.
    assert diverging_accepted(accepted_without_a_gate, A, X) > 0


def test_the_gate_accepts_exactly_the_contracting_starts_away_from_one():
    A, X, size = starts()
    found = choose_start(A, [X])
    assert ((found.choice == 0) == (size < 1))[(size - 1).abs() > 1e-3].all()
    assert (found.bound >= size * (1 - 1e-12))[found.choice == 0].all()


def test_a_gate_whose_bound_is_too_small_is_caught(monkeypatch):
    """Negative control of the test above: a bound below the norm accepts starts that diverge."""
    from neuinv.inverse import starts as module

    sound = module._gate
    monkeypatch.setattr(module, "_gate", lambda A, X: (sound(A, X)[0] / 4, sound(A, X)[1]))
    A, X, size = starts()
    assert diverging_accepted(accepted_by_the_gate, A, X) > 0
    found = choose_start(A, [X])
    assert not (found.bound >= size * (1 - 1e-12))[found.choice == 0].all()


def test_a_start_that_is_not_finite_or_of_another_scale_is_judged_as_such():
    A, X, size = starts()
    broken = X.clone()
    broken[0, 0, 0], broken[1, 0, 0] = torch.nan, torch.inf
    assert (choose_start(A, [broken]).choice[:2] == 1).all() and (choose_start(A, [X]).choice[:2] == 0).all()
    for scale in (1e-150, 1e150):
        found = choose_start(A * scale, [X / scale])
        # the last bit of a start that is divided by no power of two moves the residual by a few eps
        clear = (size - 1).abs() > 1e-3
        assert ((found.choice == 0) == (size < 1))[clear].all()


def test_the_first_candidate_that_contracts_is_taken_and_norms_come_last():
    A = torch.tensor([[[1.0]], [[3.0]], [[0.1]]], dtype=torch.float64)
    found = choose_start(A, [torch.tensor([[1.2]]).double(), torch.tensor([[0.4]]).double()])
    assert found.choice.tolist() == [0, 1, 0]
    assert found.num_matmuls.tolist() == [1, 2, 1]
    last = choose_start(A, [torch.tensor([[-1.0]]).double()])
    assert last.choice.tolist() == [1, 1, 1] and torch.equal(last.X, transpose_start(A))
    assert choose_start(A, []).num_matmuls.tolist() == [0, 0, 0]


@pytest.mark.parametrize("level", LEVELS)
def test_steps_are_the_least_that_reach_the_tolerance(level):
    r = torch.logspace(-9, -1e-4, 500, dtype=torch.float64)
    r = torch.cat([r, torch.tensor([level, level**0.5], dtype=torch.float64)])
    k = steps_to(r, level)
    assert (r ** (2**k) <= level * (1 + 1e-9)).all()
    assert (r ** (2 ** (k - 1)) > level)[k > 0].all()
    assert k[-2:].tolist() == [0, 1] and steps_to(1.0, level) == math.inf


def test_measured_steps_are_those_that_newton_schulz_needs_and_never_more_than_promised():
    A, X, size = starts(100)
    A, X = A[size < 1], X[size < 1]
    steps = measured_steps(A, X, LEVELS)
    for row, level in zip(steps, LEVELS, strict=True):
        for k in range(12):
            R = neuinv.right_residual(A, newton_schulz(A, k, start=X))
            assert (R <= level * (1 + 1e-6))[row == k].all() and (R > level * (1 - 1e-6))[row > k].all()
    promised = steps_to(neuinv.right_residual(A, X), 1e-6)
    assert (steps[2] <= promised).all() and (steps[2] < promised).any()


def test_symmetric_residuals_need_all_the_promised_steps():
    A = neuinv.family("wishart", n=5).sample(50, seed=0)
    X = transpose_start(A)
    assert torch.equal(measured_steps(A, X, [1e-3])[0], steps_to(neuinv.right_residual(A, X), 1e-3))


def test_a_start_diverges_where_its_powers_grow_and_not_where_it_is_merely_beyond_one():
    A, X, size = starts()
    found, radius = diverges(A, X), torch.linalg.eigvals(torch.eye(6) - A @ X).abs().amax(dim=1)
    assert (found == (radius > 1))[(radius - 1).abs() > 1e-3].all()
    assert (~found & (size >= 1)).any() and not found[size < 1].any()


def test_products_of_a_start_are_those_that_are_made():
    A, X, _ = starts(40)
    measured_products, promised, choice = start_matmuls(A, [X], LEVELS, own=2.5)
    assert (promised >= measured_products).all()
    for k in (0, 10, 39):
        steps = int(measured_steps(A, choice.X, LEVELS)[1, k])
        made = neuinv.count_matmuls(
            lambda B, k=k, s=steps: newton_schulz(B, s, choice.X[k : k + 1]), A[k : k + 1]
        )
        extra = choice.num_matmuls[k] - (1 if choice.choice[k] == 0 and steps > 0 else 0)
        assert measured_products[1, k] == 2.5 + made + extra


def test_savings_are_net_of_the_network_and_none_where_there_is_no_rival():
    learned = torch.tensor([6.5, 8.5, 4.5])
    table = compare_products(
        learned, {"program": 7, "norms": torch.tensor([20.0, 8.0, 20.0]), "no": None}, 2.5
    )
    assert table["saved.program"] == {"gross": 3.0, "gross_worst": 1.0, "net": 0.5, "net_worst": -1.5}
    assert table["saved.norms"]["net_worst"] == -0.5 and table["no"]["median"] is None
    with pytest.raises(ValueError, match="norms counts 2 members and learned 3"):
        compare_products(learned, {"norms": torch.ones(2)}, 0.0)


def test_the_program_is_that_of_the_interval_that_the_matrices_fill():
    A = neuinv.family("prescribed-spectrum", n=6, kappa=100.0).sample(20, seed=0)
    found, kappa, kind = scheme_matmuls(A, LEVELS)
    assert kind == "spd" and abs(kappa - 100) < 1e-6
    assert found == [neuinv.best_scheme(100.0 - 1e-9, level).num_matmuls for level in LEVELS]
    scaled = A * torch.logspace(0, 6, 20)[:, None, None]
    assert scheme_matmuls(scaled, LEVELS)[1] < 1e3
    assert scheme_matmuls(torch.zeros(2, 3, 3).double() + torch.eye(3)[0], LEVELS)[0] == [None] * 3


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_no_map_comes_below_the_floor_of_its_slope(seed):
    A = gaussian(20, 3, seed=seed) + 3 * torch.eye(3)
    X = torch.linalg.inv(A) + 0.3 * gaussian(20, 3, seed=seed + 9)
    i, j = torch.triu_indices(20, 20, 1)
    slope = (torch.linalg.matrix_norm(X[i] - X[j], 2) / torch.linalg.matrix_norm(A[i] - A[j])).max()
    worst = neuinv.right_residual(A, X).max()
    floor = start_floor(A, slope)
    assert floor <= worst and start_floor(A, slope / 3) >= floor
    assert start_floor(A, 0.0) <= neuinv.spread(A, num_steps=100).high + 1e-9


@pytest.mark.parametrize("b", [1.1, 3.0, 100.0])
def test_the_floor_is_attained_by_multiples_of_the_identity(b):
    n, eye = 3, torch.eye(3, dtype=torch.float64)
    pair = torch.stack([eye, b * eye])
    for share in (0.0, 0.3, 1.0):
        slope = share * (1 - 1 / b) / (math.sqrt(n) * (b - 1))
        p = start_floor(pair, slope).item()
        X = torch.stack([(1 - p) * eye, (1 + p) / b * eye])
        assert neuinv.right_residual(pair, X).max() <= p + 8 * EPS
        rise = torch.linalg.matrix_norm(X[0] - X[1], 2) / torch.linalg.matrix_norm(pair[0] - pair[1])
        assert rise <= slope + 8 * EPS


def test_a_floor_with_half_the_slope_is_violated():
    """Negative control: the maps that attain the floor lie below the floor of a smaller slope."""
    eye = torch.eye(2, dtype=torch.float64)
    pair, slope = torch.stack([eye, 3 * eye]), 1 / (6 * math.sqrt(2))
    p = start_floor(pair, slope).item()
    assert p < start_floor(pair, slope / 2) - 0.05


def test_a_learned_start_squares_the_residual_of_its_network_and_is_in_the_class():
    A = gaussian(10, 3) + 3 * torch.eye(3)
    inner = StandardizedNetwork(make_network("residual", 3, seed=0, width=8), A)
    R = torch.eye(3) - A @ inner(A)
    network = LearnedStart(inner, num_steps=2)
    assert torch.allclose(torch.eye(3) - A @ network(A), R @ R @ R @ R, atol=1e-10)
    found = neuinv.lipschitz_class(network)
    assert found.p == 6 and found == neuinv.lipschitz_class(network, input_shape=(3, 3))
    assert neuinv.count_matmuls(network, A) == pytest.approx(neuinv.count_matmuls(inner, A) + 4)


def test_the_class_of_a_learned_start_is_above_what_is_measured():
    network = LearnedStart(PlainNetwork(2, width=4).double(), num_steps=1)
    local = neuinv.lipschitz_bound(network, 1.0)
    seen = measured.sampled_lower_bound(network, (2, 2), radius=1.0, seed=0, count=16, num_steps=8).value
    assert 0 < seen <= math.exp(local.log_lipschitz) * (1 + 1e-6)


def test_bad_input_is_refused_in_a_sentence():
    A = gaussian(3, 2)
    with pytest.raises(TypeError, match=r"pass a torch\.nn\.Module"):
        LearnedStart(lambda A: A)
    with pytest.raises(ValueError, match="num_steps"):
        LearnedStart(torch.nn.Identity(), num_steps=-1)
    with pytest.raises(ValueError, match="at least two matrices"):
        start_floor(A[:1], 0.0)
    with pytest.raises(ValueError, match="slope is -1"):
        start_floor(A, -1.0)
    with pytest.raises(ValueError, match="in float64"):
        choose_start(A.float(), [])
    with pytest.raises(ValueError, match="candidate 0 has shape"):
        choose_start(A, [torch.zeros(3, 3)])
    with pytest.raises(ValueError, match=r"tolerance is 2; pass a number in \(0, 1\)"):
        steps_to(0.5, 2)
