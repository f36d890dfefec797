"""Recorded steps: a training that replays its steps is the training that takes them one by one."""

import pytest
import torch

from neuinv import training
from neuinv.canonical import CanonicalNetwork
from neuinv.ensembles import train_ensemble
from neuinv.graphs import SWITCH, Cosine, CudaCapture, Stepper, make_adam, make_stepper
from neuinv.networks import make_network
from neuinv.training import TrainingStatus, draw_rows, inverse_loss, residual_loss, train

EPS = torch.finfo(torch.float64).eps
on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
KINDS = ["plain-gelu", "residual", "gated", "attention", "unrolled"]


class Playback:
    """Stands in for CUDA: a replay does again what the recorded call of the step did, on the same inputs."""

    def __init__(self, *, waits=False, fails=False):
        self.waits, self.fails = waits, fails
        self.rehearsals = self.recordings = self.replays = 0

    def rehearse(self, step, *, watch):
        self.rehearsals += 1
        if watch and self.waits:
            return False
        step()
        return True

    def record(self, step):
        if self.fails:
            return None
        self.recordings += 1

        def replay():
            self.replays += 1
            step()

        return replay


def near_identity(batch, generator):
    draw = torch.randn(batch, 2, 2, generator=generator, dtype=torch.float64)
    return torch.eye(2) + 0.1 * draw


def copies(kind="residual", count=3, device="cpu"):
    made = [make_network(kind, 2, seed=s, width=8, device=device) for s in range(count)]
    if kind == "unrolled":
        for k, network in enumerate(made):
            network.linear.data *= 1 - 0.01 * k
    return made


def weights(networks):
    return torch.cat([p.detach().cpu().flatten() for network in networks for p in network.parameters()])


def played_back(monkeypatch, playback):
    monkeypatch.setattr(training, "make_stepper", lambda step, device: Stepper(step, playback))
    return playback


def poisoned(copy=1, start=203, count=3):
    """A sampler whose data for one copy grow beyond what a square can hold, at one step."""
    calls = [0]

    def sampler(batch, generator):
        A, turn = near_identity(batch, generator), calls[0]
        calls[0] += 1
        return A * 1e200 if (turn % count, turn // count) == (copy, start) else A

    return sampler


# --- what a stepper does ---------------------------------------------------------------------------


def test_a_stepper_rehearses_then_records_once_and_replays():
    total, playback = torch.zeros(1), Playback()
    stepper = Stepper(lambda A: total.add_(A), playback)
    for k in range(10):
        stepper(torch.tensor([float(k)]))
    assert total.item() == sum(range(10))
    assert (playback.rehearsals, playback.recordings, playback.replays) == (3, 1, 7)
    stepper.forget()
    for k in range(5):
        stepper(torch.tensor([float(k)]))
    assert total.item() == sum(range(10)) + sum(range(5))
    assert (playback.rehearsals, playback.recordings, playback.replays) == (6, 2, 9)


@pytest.mark.parametrize("fault", ["waits", "fails"])
def test_a_step_that_cannot_be_recorded_is_done_once_each_time(fault):
    total, playback = torch.zeros(1), Playback(**{fault: True})
    stepper = Stepper(lambda A: total.add_(A), playback)
    for k in range(10):
        stepper(torch.tensor([float(k)]))
    assert total.item() == sum(range(10)) and not stepper.records
    assert playback.recordings == playback.replays == 0


def test_a_batch_of_another_size_is_stepped_directly():
    total, playback = torch.zeros(1), Playback()
    stepper = Stepper(lambda A: total.add_(A.sum()), playback)
    for size in (1, 1, 1, 1, 2, 1):
        stepper(torch.ones(size))
    assert total.item() == 7 and playback.replays == 2


def test_the_closed_form_of_the_schedule_is_that_of_torch():
    rate = torch.tensor(0.3, dtype=torch.float64)
    advance = Cosine(rate, 0.3, 50)
    optimizer, torchs = make_adam([torch.zeros(1, requires_grad=True)], 0.3, 50)
    for _ in range(49):
        advance()
        optimizer.step()
        torchs()
        assert rate.item() == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e3 * EPS)
    assert 0 < rate.item() < 1e-3


def test_nothing_is_recorded_on_the_cpu_nor_where_it_is_switched_off(monkeypatch):
    assert not make_stepper(print, torch.device("cpu")).records
    monkeypatch.setenv(SWITCH, "0")
    # before anything of CUDA is touched
    assert not make_stepper(print, torch.device("cuda", 0)).records


# --- trainings -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_training_of_replayed_steps_is_the_training_itself(kind, monkeypatch):
    plain, replayed = copies(kind), copies(kind)
    options = {"num_steps": 250, "batch": 8, "seeds": [7, 8, 9]}
    expected = train_ensemble(plain, near_identity, **options)
    playback = played_back(monkeypatch, Playback())
    found = train_ensemble(replayed, near_identity, **options)
    assert playback.recordings == 1 and playback.replays > 100
    assert torch.equal(weights(plain), weights(replayed))
    assert [(r.losses, r.steps, r.num_steps) for r in found] == [
        (r.losses, r.steps, r.num_steps) for r in expected
    ]


def test_a_single_network_is_replayed_too_and_may_be_canonical(monkeypatch):
    plain, replayed = (CanonicalNetwork(copies()[0]) for _ in range(2))
    expected = train(plain, near_identity, num_steps=250, seed=0, batch=8)
    playback = played_back(monkeypatch, Playback())
    found = train(replayed, near_identity, num_steps=250, seed=0, batch=8)
    assert playback.replays > 100 and torch.equal(weights([plain]), weights([replayed]))
    assert found.losses == expected.losses


@pytest.mark.parametrize("trainer", ["train", "train_ensemble"])
def test_a_loss_may_compute_before_the_step_what_it_needs_of_the_matrix(trainer, monkeypatch):
    def run(networks):
        if trainer == "train":
            return [train(networks[0], near_identity, num_steps=220, seed=0, batch=8, loss=inverse_loss)]
        options = {"num_steps": 220, "batch": 8, "seeds": [0, 1, 2], "loss": inverse_loss}
        return train_ensemble(networks, near_identity, **options)

    plain, replayed = copies(), copies()
    expected = run(plain)
    playback = played_back(monkeypatch, Playback())
    inverted = []
    monkeypatch.setattr(inverse_loss, "target", lambda A: inverted.append(len(A)) or torch.linalg.inv(A))
    found = run(replayed)
    # batched inverses round as they like
    assert playback.replays > 90 and len(inverted) == 220
    assert (weights(plain) - weights(replayed)).abs().max() < 1e6 * EPS
    assert found[0].losses == pytest.approx(expected[0].losses, rel=1e-8)


def test_a_copy_that_diverges_is_stopped_and_the_step_recorded_anew(monkeypatch):
    plain, replayed = copies(), copies()
    options = {"num_steps": 400, "batch": 8, "seeds": [0, 1, 2]}
    expected = train_ensemble(plain, poisoned(), **options)
    playback = played_back(monkeypatch, Playback())
    found = train_ensemble(replayed, poisoned(), **options)
    assert [r.status for r in found] == [r.status for r in expected]
    assert found[1].status is TrainingStatus.DIVERGED and found[0].status is TrainingStatus.FINISHED
    assert found[1].num_steps == expected[1].num_steps == 205
    assert torch.equal(weights(plain), weights(replayed)) and torch.isfinite(weights(replayed)).all()
    assert playback.recordings == 2


def test_a_single_network_that_diverges_keeps_its_last_finite_weights(monkeypatch):
    playback = played_back(monkeypatch, Playback())
    network = copies()[0]
    found = train(network, poisoned(copy=0, count=1), num_steps=400, seed=0, batch=8)
    assert found.status is TrainingStatus.DIVERGED and found.num_steps == 205 and playback.replays > 100
    assert torch.isfinite(weights([network])).all()


@pytest.mark.parametrize("fault", ["waits", "fails"])
def test_a_training_that_cannot_be_recorded_is_the_same_training(fault, monkeypatch):
    plain, stepped = copies(), copies()
    train_ensemble(plain, near_identity, num_steps=250, batch=8, seeds=0)
    playback = played_back(monkeypatch, Playback(**{fault: True}))
    train_ensemble(stepped, near_identity, num_steps=250, batch=8, seeds=0)
    assert playback.rehearsals == 3 and torch.equal(weights(plain), weights(stepped))


def test_a_replay_that_does_not_train_would_be_seen(monkeypatch):
    """A replay that does nothing is noticed by the comparison above."""
    frozen = Playback()
    frozen.record = lambda step: lambda: None
    plain, stale = copies(), copies()
    train_ensemble(plain, near_identity, num_steps=250, batch=8, seeds=0)
    played_back(monkeypatch, frozen)
    train_ensemble(stale, near_identity, num_steps=250, batch=8, seeds=0)
    assert not torch.equal(weights(plain), weights(stale))


# --- on a GPU --------------------------------------------------------------------------------------


def switched(monkeypatch, setting, run):
    """Return what ``run`` leaves with recording on or off, and how many recordings succeeded and failed."""
    monkeypatch.setenv(SWITCH, setting)
    counts, record = [0, 0], CudaCapture.record

    def counted(self, step):
        replay = record(self, step)
        counts[replay is None] += 1
        return replay

    with monkeypatch.context() as patch:
        patch.setattr(CudaCapture, "record", counted)
        return run(), counts


@on_gpu
@pytest.mark.parametrize("loss", [residual_loss, inverse_loss])
@pytest.mark.parametrize("kind", KINDS)
def test_on_a_gpu_replayed_copies_are_those_stepped_one_by_one(kind, loss, monkeypatch):
    def run():
        networks = copies(kind, device="cuda")
        pool = near_identity(500, torch.Generator().manual_seed(3)).cuda()
        options = {"num_steps": 300, "batch": 16, "seeds": [0, 1, 2], "loss": loss}
        found = train_ensemble(networks, lambda b, g: draw_rows(pool, b, g), **options)
        return weights(networks), found

    (stepped, expected), off = switched(monkeypatch, "0", run)
    (replayed, found), on = switched(monkeypatch, "1", run)
    assert off == [0, 0] and on == [1, 0]
    assert (stepped - replayed).abs().max() < 1e-6
    assert found[0].steps == expected[0].steps
    assert found[0].losses[-1] == pytest.approx(expected[0].losses[-1], rel=1e-6)
    start = weights(copies(kind))
    assert (start - replayed).abs().max() > 1e-3


@on_gpu
def test_on_a_gpu_a_single_network_is_replayed(monkeypatch):
    def run():
        network = CanonicalNetwork(copies(device="cuda")[0])
        found = train(network, near_identity, num_steps=300, seed=0, batch=16)
        return weights([network]), found

    (stepped, expected), _ = switched(monkeypatch, "0", run)
    (replayed, found), on = switched(monkeypatch, "1", run)
    assert on == [1, 0] and (stepped - replayed).abs().max() < 1e-6
    assert found.losses[-1] == pytest.approx(expected.losses[-1], rel=1e-6)


@on_gpu
def test_on_a_gpu_a_copy_that_diverges_is_stopped_and_no_other_notices(monkeypatch):
    def run():
        networks = copies(device="cuda")
        found = train_ensemble(networks, poisoned(), num_steps=400, batch=8, seeds=[0, 1, 2])
        return weights(networks), found

    (stepped, expected), _ = switched(monkeypatch, "0", run)
    (replayed, found), on = switched(monkeypatch, "1", run)
    assert on == [2, 0]
    assert [r.status for r in found] == [r.status for r in expected]
    assert found[1].status is TrainingStatus.DIVERGED and found[0].status is TrainingStatus.FINISHED
    assert torch.isfinite(replayed).all() and (stepped - replayed).abs().max() < 1e-6


def waiting_loss(A, X):
    value = residual_loss(A, X)
    return value if value.item() > 0 else 2 * value


class Unrecordable(torch.nn.Module):
    """Asks for the state of the stream, which is no waiting but forbidden while one records."""

    def __init__(self):
        super().__init__()
        self.inner = make_network("residual", 2, seed=0, width=8)

    def forward(self, A):
        torch.cuda.current_stream().query()
        return self.inner(A)


@on_gpu
def test_on_a_gpu_a_loss_that_waits_falls_back_to_the_same_training(monkeypatch):
    def run(loss):
        network = copies(device="cuda")[0]
        train(network, near_identity, num_steps=300, seed=0, batch=16, loss=loss)
        return weights([network])

    expected, _ = switched(monkeypatch, "0", lambda: run(residual_loss))
    found, on = switched(monkeypatch, "1", lambda: run(waiting_loss))
    assert on == [0, 0]
    assert (found - expected).abs().max() < 1e-6
    assert torch.cuda.get_sync_debug_mode() == 0


@on_gpu
def test_on_a_gpu_a_recording_that_fails_leaves_everything_usable(monkeypatch):
    def run():
        network = Unrecordable().cuda()
        train(network, near_identity, num_steps=300, seed=0, batch=16)
        return weights([network])

    stream = torch.cuda.current_stream()
    expected, _ = switched(monkeypatch, "0", run)
    found, on = switched(monkeypatch, "1", run)
    assert on == [0, 1]
    assert (found - expected).abs().max() < 1e-6
    assert torch.cuda.current_stream() == stream
    assert torch.isfinite(torch.randn(10, device="cuda")).all()

    def again():
        network = copies(device="cuda")[0]
        train(network, near_identity, num_steps=300, seed=0, batch=16)
        return weights([network])

    assert torch.isfinite(switched(monkeypatch, "1", again)[0]).all()
