"""The Kronecker factors come from networks that learn, by the gradients and expectations they claim."""

import itertools

import pytest
import torch

from neuinv.gallery import family, kfac


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


def _trained(runs=2, width=8, steps=20, seed=0):
    generator = _generator(seed)
    start = kfac._start(runs, width, generator)
    return kfac.train(start, torch.full((runs,), steps), generator)


def _images(runs, count, seed=0):
    images, classes = kfac._digits()
    chosen = kfac._rows((runs, count), _generator(seed))
    return images[chosen], classes[chosen]


def _logits(weights, images):
    a = images
    for W in weights[:-1]:
        a = torch.tanh(a @ W[:, :-1] + W[:, -1:])
    return a @ weights[-1][:, :-1] + weights[-1][:, -1:]


def test_the_gradients_are_those_of_autograd():
    weights = [W.requires_grad_() for W in _trained()]
    images, classes = _images(2, 32)
    loss = torch.nn.functional.cross_entropy(
        _logits(weights, images).flatten(0, 1), classes.flatten(), reduction="sum"
    )
    wanted = torch.autograd.grad(loss / 32, weights)
    found = kfac._gradients([W.detach() for W in weights], images, classes)
    for ours, theirs in zip(found, wanted, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-10, atol=1e-14)
    other = kfac._gradients([W.detach() for W in weights], images, classes.flip(1))
    assert not torch.allclose(other[0], wanted[0], rtol=0.1)


def test_the_gradient_factor_is_the_expectation_over_the_models_own_classes():
    """G = mean over x of sum_y p_y g_y g_y^T with g_y from autograd; the labels' classes give another."""
    weights = [W[:1] for W in _trained()]
    images, classes = _images(1, 40)
    inside = (kfac._with_one(torch.tanh(images @ weights[0][:, :-1] + weights[0][:, -1:])) @ weights[1])[0]
    inside.requires_grad_()
    logits = torch.tanh(inside) @ weights[2][0, :-1] + weights[2][0, -1]
    logs = torch.log_softmax(logits, dim=-1)
    model = labels = 0
    for y in range(kfac.CLASSES):
        (g,) = torch.autograd.grad(-logs[:, y].sum(), inside, retain_graph=True)
        model = model + (logs[:, y].exp()[:, None] * g).mT @ g / 40
        labels = labels + ((classes[0] == y)[:, None] * g).mT @ g / 40
    found = kfac.gradient_factor(weights, images)[0]
    assert torch.allclose(found, model, rtol=1e-10, atol=1e-14)
    assert not torch.allclose(found, labels, rtol=0.1)


def test_the_input_factor_holds_the_means_beside_the_constant_one():
    """A_nn = 1, and its last column is the mean activation: E[(a, 1)(a, 1)^T]."""
    weights, (images, _) = _trained(), _images(2, 50)
    A = kfac.input_factor(weights, images)
    a = torch.tanh(images @ weights[0][:, :-1] + weights[0][:, -1:])
    assert torch.allclose(A[:, -1, -1], torch.ones(2, dtype=torch.float64), rtol=1e-14)
    assert torch.allclose(A[:, :-1, -1], a.mean(dim=1), rtol=1e-12)
    assert not torch.allclose(A[0, :-1, -1], a[1].mean(dim=0), rtol=0.1)


def test_training_learns_the_digits():
    images, classes = kfac._digits()
    accuracy = [
        float((_logits(_trained(4, 32, steps), images).argmax(-1) == classes).double().mean())
        for steps in (1, 30, 200)
    ]
    assert accuracy[0] < 0.3 and accuracy[1] > 0.75 and accuracy[2] > 0.93


def test_a_run_that_is_done_keeps_its_weights():
    """Runs side by side stop at their own step: the shorter one is what it is without the longer."""
    start = kfac._start(2, 8, _generator())
    together = kfac.train(start, torch.tensor([5, 12]), _generator(1))
    stopped = kfac.train(start, torch.tensor([5, 5]), _generator(1))
    for ours, theirs in zip(together, stopped, strict=True):
        assert torch.equal(ours[0], theirs[0]) and not torch.allclose(ours[1], theirs[1])


def test_training_does_not_amplify_rounding():
    """A change of 1e-12 at the start moves the factor of the last step by less than 1e-9 of its norm."""
    start = kfac._start(8, 32, _generator())
    nudged = [W + 1e-12 * torch.randn(W.shape, generator=_generator(5), dtype=torch.float64) for W in start]
    images, _ = _images(8, 200)
    for factor in (kfac.input_factor, kfac.gradient_factor):
        F, moved = (
            factor(kfac.train(W, torch.full((8,), 60), _generator(1)), images) for W in (start, nudged)
        )
        gap = torch.linalg.matrix_norm(F - moved) / torch.linalg.matrix_norm(F)
        assert 0 < gap.max() < 1e-9


def test_members_of_one_draw_are_no_copies_but_neighbours_of_one_run_are():
    """One step of a run moves a factor far less than another run does: a test set may not share runs."""
    start, images = kfac._start(2, 32, _generator()), _images(2, 512)[0]
    early, late = (
        kfac.input_factor(kfac.train(start, torch.full((2,), steps), _generator(1)), images)
        for steps in (60, 61)
    )
    norm = torch.linalg.matrix_norm
    assert norm(early - late).max() < norm(early[0] - early[1]) / 4
    A = family("kfac").sample(6, seed=0)
    assert all(norm(A[i] - A[j]) > 0.2 * norm(A[i]) for i, j in itertools.combinations(range(6), 2))


@pytest.mark.parametrize("factor", ["input", "gradient"])
def test_less_damping_means_a_larger_condition_number_below_its_bound(factor):
    """kappa <= 1 + n/d, and more than a tenth of it at d = 0.1."""
    medians = []
    for damping in (1.0, 0.1, 1e-3):
        chosen = family("kfac", factor=factor, damping=damping)
        condition = torch.linalg.cond(chosen.sample(32, seed=1))
        assert condition.max() <= chosen.bounds.condition
        medians.append(float(condition.median()))
    assert medians[0] < medians[1] / 3 < medians[2] / 9
    assert medians[1] > 0.1 * family("kfac", factor=factor).bounds.condition
    assert family("kfac", factor=factor, damping=0.0).bounds.condition is None
