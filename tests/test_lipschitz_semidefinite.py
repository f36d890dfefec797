"""The semidefinite bound: certified, between what is measured and the norm product, refused when tampered."""

import sys
from itertools import pairwise

import pytest
import torch
from torch import nn

from neuinv.lipschitz import sampled_lower_bound, semidefinite, semidefinite_bound


def network(seed, *sizes, activation=nn.ReLU):
    """Return a feedforward network of these sizes in float64."""
    torch.manual_seed(seed)
    layers = []
    for fan_in, fan_out in pairwise(sizes):
        layers += [nn.Linear(fan_in, fan_out), activation()]
    return nn.Sequential(*layers[:-1]).double()


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh, nn.Sigmoid, lambda: nn.LeakyReLU(0.3)])
def test_the_bound_lies_between_what_is_measured_and_the_norm_product(activation):
    tried = network(0, 4, 16, 16, 3, activation=activation)
    bound = semidefinite_bound(tried, num_steps=60)
    measured = sampled_lower_bound(tried, (4,), radius=3.0, seed=0, count=16, num_steps=20)
    assert measured.value <= bound.lipschitz <= bound.norm_product
    assert bound.lipschitz < 0.8 * bound.norm_product


def test_the_bound_is_the_exact_norm_where_the_network_is_linear():
    tried = network(1, 4, 8, 3, activation=lambda: nn.LeakyReLU(1.0))
    exact = torch.linalg.matrix_norm(tried[2].weight @ tried[0].weight, 2).item()
    assert exact <= semidefinite_bound(tried, num_steps=300).lipschitz <= 1.02 * exact


def test_a_smaller_constant_or_tampered_multipliers_are_not_proved():
    """Negative control: below the measured constant no multipliers can certify anything."""
    tried = network(2, 4, 16, 3)
    weights, slopes = semidefinite._feedforward(tried)
    multipliers = semidefinite._descend(weights, slopes, 60)
    value = semidefinite_bound(tried, num_steps=60).lipschitz
    assert semidefinite._proved(weights, slopes, multipliers, value**2 * (1 + 1e-6))
    assert not semidefinite._proved(weights, slopes, multipliers, (value / 2) ** 2)
    with pytest.raises(ValueError, match="certify nothing"):
        semidefinite._certify(weights, slopes, [-m for m in multipliers])


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: semidefinite_bound(nn.Linear(2, 2)), TypeError, "pass its torch.nn.Sequential"),
        (lambda: semidefinite_bound(network(0, 2, 3, 2, activation=nn.GELU)), TypeError, "GELU has no place"),
        (lambda: semidefinite_bound(network(0, 2, 3, 2)[:2]), TypeError, "ends with an activation"),
        (
            lambda: semidefinite_bound(network(0, 2, 3, 2), method="x"),
            ValueError,
            "use 'descent' or 'eclipse'",
        ),
    ],
)
def test_what_the_bound_is_not_for_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_a_missing_optional_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "eclipse_nn", None)
    monkeypatch.setitem(sys.modules, "eclipse_nn.eclipsE", None)
    with pytest.raises(ImportError, match="eclipse-nn is not installed"):
        semidefinite_bound(network(0, 2, 3, 2), method="eclipse")


def test_multipliers_of_the_optional_package_are_certified_too():
    pytest.importorskip("eclipse_nn")
    tried = network(0, 4, 8, 8, 3)
    bound = semidefinite_bound(tried, method="eclipse")
    measured = sampled_lower_bound(tried, (4,), radius=3.0, seed=0, count=16, num_steps=20)
    assert measured.value <= bound.lipschitz <= bound.norm_product


class Doubled(nn.Sequential):
    """A chain with a forward of its own."""

    def forward(self, x):
        return 2 * super().forward(x)


def test_a_chain_that_is_called_otherwise_is_refused():
    with pytest.raises(TypeError, match=r"pass its torch\.nn\.Sequential"):
        semidefinite_bound(Doubled(nn.Linear(2, 2)))
    hooked = nn.Sequential(nn.Linear(2, 2))
    hooked[0].register_forward_hook(lambda layer, inputs, out: 10 * out)
    with pytest.raises(TypeError, match="forward hooks"):
        semidefinite_bound(hooked)
