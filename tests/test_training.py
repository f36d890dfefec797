"""The training loop and its checkpoints."""

import math
import pickle

import pytest
import torch
from cases import gaussian

from neuinv.networks import PlainNetwork, ZeroNetwork, make_network
from neuinv.training import (
    TrainingStatus,
    inverse_loss,
    load_checkpoint,
    residual_loss,
    save_checkpoint,
    train,
)


def near_identity(batch, generator):
    draw = torch.randn(batch, 2, 2, generator=generator, dtype=torch.float64)
    return torch.eye(2) + 0.1 * draw


@pytest.mark.parametrize("loss", [residual_loss, inverse_loss])
def test_training_beats_the_best_constant(loss):
    network = make_network("residual", 2, seed=0, width=32)
    result = train(network, near_identity, num_steps=300, seed=0, batch=64, loss=loss)
    A = near_identity(200, torch.Generator().manual_seed(9))
    constant = torch.eye(2).double().expand_as(A)
    assert result.status is TrainingStatus.FINISHED and result.num_steps == 300
    assert loss(A, network(A)) < 0.2 * loss(A, constant)
    assert result.losses[-1] < result.losses[0]


def test_the_same_seed_trains_the_same_network():
    def trained(seed):
        network = make_network("plain-gelu", 2, seed=0, width=8)
        train(network, near_identity, num_steps=20, seed=seed, batch=16)
        return network(torch.eye(2).double()).detach()

    assert torch.equal(trained(1), trained(1)) and not torch.equal(trained(1), trained(2))


def test_a_diverging_training_keeps_the_last_finite_weights_and_says_so():
    network = make_network("plain-relu", 2, seed=0, width=8)
    calls = iter(range(1000))

    def loss(A, X):
        return residual_loss(A, X) * (float("nan") if next(calls) >= 5 else 1.0)

    result = train(network, near_identity, num_steps=50, seed=0, loss=loss)
    assert result.status is TrainingStatus.DIVERGED and "lower the learning rate" in result.status.value
    assert all(torch.isfinite(p).all() for p in network.parameters())
    assert all(map(math.isfinite, result.losses))


def test_the_losses_vanish_at_the_inverse_and_are_one_at_zero():
    A = gaussian(20, 3)
    for loss in (residual_loss, inverse_loss):
        assert loss(A, torch.linalg.inv(A)) < 1e-20
        assert loss(A, torch.zeros_like(A)).item() == pytest.approx(1)


def test_a_network_without_parameters_needs_no_training():
    assert train(ZeroNetwork(), near_identity, num_steps=5, seed=0).num_steps == 0


def test_bad_samplers_and_step_numbers_are_refused():
    network = PlainNetwork(2)
    with pytest.raises(ValueError, match="num_steps is 0"):
        train(network, near_identity, num_steps=0, seed=0)
    with pytest.raises(ValueError, match="the sampler's batch has the entry nan"):
        train(network, lambda b, g: torch.full((b, 2, 2), float("nan")), num_steps=1, seed=0)


def test_training_shows_a_bar_on_a_terminal_only(capsys):
    network = make_network("plain-relu", 2, seed=0, width=4)
    train(network, near_identity, num_steps=2, seed=0)
    assert capsys.readouterr().err == ""
    train(network, near_identity, num_steps=2, seed=0, progress=True)
    assert "2/2" in capsys.readouterr().err


def test_a_checkpoint_brings_the_weights_back(tmp_path):
    saved, loaded = (make_network("residual", 2, seed=s, width=8) for s in (0, 1))
    path = tmp_path / "net.safetensors"
    save_checkpoint(path, saved, family="gaussian")
    load_checkpoint(path, loaded)
    A = gaussian(3, 2)
    assert torch.equal(saved(A), loaded(A))
    assert [p.name for p in tmp_path.iterdir()] == ["net.safetensors"]


def test_a_checkpoint_that_does_not_fit_is_refused_and_changes_nothing(tmp_path):
    path = tmp_path / "net.safetensors"
    save_checkpoint(path, make_network("residual", 2, seed=0, width=8))
    other = make_network("residual", 2, seed=1, width=9)
    before = [p.clone() for p in other.parameters()]
    with pytest.raises(ValueError, match="does not fit the network"):
        load_checkpoint(path, other)
    assert all(torch.equal(a, b) for a, b in zip(before, other.parameters(), strict=True))


def test_pickles_and_corrupt_checkpoints_are_refused(tmp_path):
    network = PlainNetwork(2)
    pickled = tmp_path / "net.pt"
    pickled.write_bytes(pickle.dumps({}))
    with pytest.raises(ValueError, match="never read"):
        load_checkpoint(pickled, network)
    corrupt = tmp_path / "net.safetensors"
    corrupt.write_bytes(pickle.dumps({}))
    with pytest.raises(ValueError, match="is not a safetensors file"):
        load_checkpoint(corrupt, network)
    with pytest.raises(OSError):
        load_checkpoint(tmp_path / "none.safetensors", network)
    with pytest.raises(ValueError, match="no other format"):
        save_checkpoint(pickled, network)
    with pytest.raises(TypeError, match="pass text"):
        save_checkpoint(corrupt, network, seed=3)
