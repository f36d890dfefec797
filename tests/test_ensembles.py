"""Copies trained together: each as if alone, and none harmed by another."""

import pytest
import torch

from neuinv.ensembles import evaluate_ensemble, train_ensemble
from neuinv.networks import StandardizedNetwork, ZeroNetwork, make_network
from neuinv.training import TrainingStatus, inverse_loss, residual_loss, train

KINDS = ["plain-relu", "plain-gelu", "residual", "gated", "attention", "unrolled"]


def near_identity(batch, generator):
    draw = torch.randn(batch, 2, 2, generator=generator, dtype=torch.float64)
    return torch.eye(2) + 0.1 * draw


def copies(kind="residual", count=3, dtype=torch.float64, **sizes):
    made = [make_network(kind, 2, seed=s, width=8, dtype=dtype, **sizes) for s in range(count)]
    if kind == "unrolled":
        # fresh ones are all alike
        for k, network in enumerate(made):
            network.linear.data *= 1 - 0.01 * k
    return made


def weights(network):
    return torch.cat([p.detach().flatten() for p in network.parameters()])


def distance(first, second):
    return max((weights(a) - weights(b)).abs().max().item() for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("loss", [residual_loss, inverse_loss])
def test_a_copy_trained_with_others_equals_the_same_network_trained_alone(kind, loss):
    options = {"num_steps": 40, "batch": 16, "loss": loss}
    together, alone = copies(kind), copies(kind)
    found = train_ensemble(together, near_identity, seeds=[7, 8, 9], **options)
    single = [train(net, near_identity, seed=s, **options) for net, s in zip(alone, (7, 8, 9), strict=True)]
    # forty steps carry rounding on; other seeds are a million times farther apart
    assert distance(together, alone) < 1e5 * torch.finfo(torch.float64).eps
    for a, b in zip(found, single, strict=True):
        assert a.status is b.status and a.steps == b.steps and a.num_steps == b.num_steps
        assert a.losses == pytest.approx(b.losses, rel=1e-9)
    other = copies(kind)
    train_ensemble(other, near_identity, seeds=[10, 11, 12], **options)
    assert distance(other, alone) > 1e-6


def test_a_copy_in_single_precision_stays_near_the_one_trained_alone():
    together, alone = copies(dtype=torch.float32), copies(dtype=torch.float32)
    train_ensemble(together, near_identity, seeds=[0, 1, 2], num_steps=20, batch=16)
    for seed, network in enumerate(alone):
        train(network, near_identity, seed=seed, num_steps=20, batch=16)
    assert weights(together[0]).dtype == torch.float32
    assert distance(together, alone) < 1e4 * torch.finfo(torch.float32).eps


def test_one_seed_gives_all_copies_the_same_batches():
    shared, own = copies(), copies()
    train_ensemble(shared, near_identity, seeds=4, num_steps=10)
    train_ensemble(own, near_identity, seeds=[4, 4, 4], num_steps=10)
    assert distance(shared, own) < 1e5 * torch.finfo(torch.float64).eps


def test_buffers_and_weights_that_need_no_gradient_keep_their_values():
    sample = near_identity(50, torch.Generator().manual_seed(0))
    together, alone = (
        [StandardizedNetwork(net, sample * (1 + k)) for k, net in enumerate(copies())] for _ in range(2)
    )
    for network in (*together, *alone):
        network.inner.embed.weight.requires_grad_(False)
    before = [network.inner.embed.weight.clone() for network in together]
    train_ensemble(together, near_identity, seeds=[0, 1, 2], num_steps=10)
    for seed, network in enumerate(alone):
        train(network, near_identity, seed=seed, num_steps=10)
    assert distance(together, alone) < 1e5 * torch.finfo(torch.float64).eps
    assert all(torch.equal(b, n.inner.embed.weight) for b, n in zip(before, together, strict=True))


@pytest.mark.parametrize("start", [0, 17])
def test_a_diverged_copy_stops_at_its_last_finite_weights_and_the_others_do_not_notice(start):
    """At step ``start`` the data of the second copy grow beyond what a square can hold."""
    calls = [0]

    def poisoned(batch, generator):
        A = near_identity(batch, generator)
        calls[0] += 1
        copy, step = (calls[0] - 1) % 3, (calls[0] - 1) // 3
        return A * 1e200 if copy == 1 and step == start else A

    options = {"seeds": [0, 1, 2], "num_steps": 40, "batch": 16}
    sick, well = copies(), copies()
    found = train_ensemble(sick, poisoned, **options)
    train_ensemble(well, near_identity, **options)
    assert [result.status for result in found] == [
        TrainingStatus.FINISHED,
        TrainingStatus.DIVERGED,
        TrainingStatus.FINISHED,
    ]
    for k in (0, 2):
        assert torch.equal(weights(sick[k]), weights(well[k]))
    # The loss at step ``start`` is infinite: the weights are those of ``start`` steps, and stay so.
    short = copies()[1]
    generator = torch.Generator().manual_seed(1)
    assert torch.isfinite(weights(sick[1])).all()
    assert found[1].num_steps == start + 1 and len(found[1].losses) == start
    if start == 0:
        assert torch.equal(weights(sick[1]), weights(short))
    else:
        assert not torch.equal(weights(sick[1]), weights(short))
        assert residual_loss(*(A := near_identity(99, generator), sick[1](A))) < 2 * found[1].losses[-1]


def test_a_copy_that_ends_with_a_nan_is_found_after_the_last_step():
    def loss(A, X):
        value = residual_loss(A, X)
        # finite, with a gradient that is not
        return value + 0 * torch.sqrt(value - value) if len(A) == 5 else value

    networks = copies()
    before = [weights(network) for network in networks]
    found = train_ensemble(networks, near_identity, seeds=0, num_steps=1, batch=5, loss=loss)
    assert all(result.status is TrainingStatus.DIVERGED for result in found)
    assert all(torch.equal(b, weights(network)) for b, network in zip(before, networks, strict=True))


@pytest.mark.parametrize("kind", [*KINDS, "zero"])
def test_the_outputs_of_an_ensemble_are_those_of_its_copies(kind):
    networks = [ZeroNetwork()] * 3 if kind == "zero" else copies(kind)
    A = near_identity(6, torch.Generator().manual_seed(0))
    own = torch.stack([A, 2 * A, 3 * A])
    together, apart = evaluate_ensemble(networks, A), evaluate_ensemble(networks, own, shared=False)
    assert together.shape == (3, 6, 2, 2) and not together.requires_grad
    for k, network in enumerate(networks):
        torch.testing.assert_close(together[k], network(A), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(apart[k], network(own[k]), rtol=1e-12, atol=1e-12)
    assert kind == "zero" or not torch.allclose(together[0], together[1])


def test_networks_without_weights_need_no_training():
    found = train_ensemble([ZeroNetwork(), ZeroNetwork()], near_identity, num_steps=3, seeds=0)
    assert [result.num_steps for result in found] == [0, 0]


def test_networks_that_differ_and_wrong_seeds_are_refused():
    first, second = make_network("residual", 2, seed=0, width=8), make_network("residual", 2, seed=0, width=9)
    relu, gelu = (make_network(f"plain-{name}", 2, seed=0, width=8) for name in ("relu", "gelu"))
    for pair in ((first, second), (relu, gelu), (first, make_network("residual", 2, seed=0).float())):
        with pytest.raises(ValueError, match="network 1 is built unlike network 0"):
            train_ensemble(pair, near_identity, num_steps=1, seeds=0)
    with pytest.raises(ValueError, match="networks is empty"):
        evaluate_ensemble([], torch.eye(2).expand(1, 2, 2))
    with pytest.raises(TypeError, match="network 0 is a function"):
        train_ensemble([lambda A: A], near_identity, num_steps=1, seeds=0)
    with pytest.raises(ValueError, match="2 seeds for 3 networks"):
        train_ensemble(copies(), near_identity, num_steps=1, seeds=[0, 1])
    with pytest.raises(ValueError, match="num_steps is 0"):
        train_ensemble(copies(), near_identity, num_steps=0, seeds=0)
    with pytest.raises(ValueError, match="the sampler's batch has the entry nan"):
        train_ensemble(copies(), lambda b, g: torch.full((b, 2, 2), torch.nan), num_steps=1, seeds=0)
    A = torch.eye(2).double().expand(5, 2, 2)
    with pytest.raises(ValueError, match=r"pass \(3, batch, n, n\)"):
        evaluate_ensemble(copies(), A, shared=False)
