"""Networks: shapes, dtypes, reproducible weights, continuity where it is claimed."""

import pytest
import torch
from cases import gaussian

import neuinv
from neuinv.iterations import newton_schulz
from neuinv.networks import (
    PlainNetwork,
    StandardizedNetwork,
    UnrolledNewtonSchulz,
    count_parameters,
    make_network,
    network_kinds,
)


@pytest.mark.parametrize("kind", network_kinds())
@pytest.mark.parametrize("shape", [(2, 2), (5, 2, 2), (3, 4, 2, 2)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_network_maps_a_batch_of_matrices_to_one_of_its_shape(kind, shape, dtype):
    network = make_network(kind, 2, seed=0, width=8, dtype=dtype)
    X = network(torch.ones(shape, dtype=dtype) + torch.eye(2, dtype=dtype))
    assert X.shape == shape and X.dtype == dtype and torch.isfinite(X).all()


@pytest.mark.parametrize("kind", ["plain-relu", "plain-gelu", "residual"])
def test_one_seed_gives_the_same_weights_and_another_seed_others(kind):
    A = gaussian(4, 3)
    first, again, other = (make_network(kind, 3, seed=s)(A) for s in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_making_a_network_leaves_the_global_generator_alone():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    make_network("residual", 3, seed=0)
    assert torch.equal(torch.rand(1), expected)


def test_the_untrained_unrolled_network_is_newton_schulz():
    A = gaussian(10, 4)
    X = make_network("unrolled", 4, seed=0, num_steps=5)(A)
    assert torch.allclose(X, newton_schulz(A, 5), atol=1e-12)


@pytest.mark.parametrize("kind", network_kinds())
def test_networks_are_continuous_at_a_singular_matrix(kind):
    S = neuinv.nearest_singular(gaussian(1, 3))[0]
    network = make_network(kind, 3, seed=0)
    steps = torch.logspace(-2, -8, 4, dtype=torch.float64)
    jumps = [torch.linalg.matrix_norm(network(S + h * torch.eye(3)) - network(S)).item() for h in steps]
    assert all(jump <= 1e4 * h for jump, h in zip(jumps, steps, strict=True))


def test_a_map_with_a_jump_is_caught_by_that_check():
    """Negative control: the sign of the determinant is not continuous."""
    S = neuinv.nearest_singular(gaussian(1, 3))[0]
    values = [torch.sign(torch.linalg.det(S + h * torch.eye(3))) for h in (-1e-8, 1e-8)]
    assert (values[0] - values[1]).abs() == 2 > 1e4 * 1e-8


def test_parameters_are_counted():
    assert count_parameters(PlainNetwork(2, width=3, depth=1)) == 4 * 3 + 3 + 3 * 4 + 4
    assert count_parameters(UnrolledNewtonSchulz(7)) == 14


def test_a_standardized_network_starts_from_the_best_constant():
    A = gaussian(50, 3) + 4 * torch.eye(3)
    inner = make_network("zero", 3, seed=0)
    assert torch.allclose(StandardizedNetwork(inner, A)(A[0]), neuinv.best_constant(A))


def test_standardizing_equal_or_zero_matrices_divides_by_no_zero():
    for A in (torch.eye(2).repeat(3, 1, 1).double(), torch.zeros(3, 2, 2).double()):
        network = StandardizedNetwork(make_network("plain-relu", 2, seed=0), A)
        assert torch.isfinite(network(A)).all()


@pytest.mark.parametrize("sizes", [{"width": 0}, {"depth": -1}, {"n": 0}, {"width": 2.5}, {"depth": True}])
def test_a_size_below_one_is_refused(sizes):
    with pytest.raises(ValueError, match="integer >= 1"):
        PlainNetwork(**({"n": 2} | sizes))


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="'transformer' is unknown"):
        make_network("transformer", 2, seed=0)
    with pytest.raises(ValueError, match="relu, gelu"):
        PlainNetwork(2, activation="sine")
