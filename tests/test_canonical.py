"""Canonical networks are equivariant, and networks that multiply hold products and a gate."""

import pytest
import torch
from cases import gaussian

import neuinv
from neuinv.canonical import CanonicalNetwork, ProductNetwork, canonical_form
from neuinv.networks import PlainNetwork, count_parameters

EPS = torch.finfo(torch.float64).eps


def signed_permutation(n, generator):
    order = torch.randperm(n, generator=generator)
    signs = torch.where(torch.rand(n, generator=generator) < 0.5, -1.0, 1.0).double()
    return torch.eye(n, dtype=torch.float64)[order] * signs


@pytest.mark.parametrize("n", [1, 2, 3, 5])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_all_signed_permutations_and_scalings_of_a_matrix_have_one_form(n, seed):
    """Statement `prop-canonical-form`, 1: C(tUAV) = C(A)."""
    generator, A = torch.Generator().manual_seed(seed), gaussian(20, n)
    U, V = signed_permutation(n, generator), signed_permutation(n, generator)
    # A power of two scales without rounding.
    assert torch.equal(canonical_form(0.25 * U @ A @ V).matrix, canonical_form(A).matrix)


def test_a_map_that_is_no_signed_permutation_changes_the_form():
    """Negative control of the test above."""
    A = gaussian(20, 3)
    rotation = torch.linalg.qr(gaussian(1, 3)[0]).Q
    assert not torch.isclose(canonical_form(rotation @ A).matrix, canonical_form(A).matrix).all()


@pytest.mark.parametrize("shape", [(3, 3), (7, 3, 3), (2, 5, 3, 3)])
def test_the_form_is_what_it_says(shape):
    A = gaussian(10, 3)[: shape[0] if len(shape) == 3 else 10].reshape(-1, 3, 3)
    A = A[0] if len(shape) == 2 else A.reshape(shape)
    C = canonical_form(A).matrix
    assert C.shape == shape and (C[..., 0, 0] == 1).all() and (C.abs() <= 1).all()
    for edge in (C[..., 0, :], C[..., :, 0]):
        assert (edge >= 0).all() and (edge.diff(dim=-1) <= 0).all()


def test_the_zero_matrix_and_ties_are_carried_there_and_back():
    for A in (torch.zeros(3, 3), torch.eye(3), torch.ones(3, 3), -torch.eye(3)):
        form = canonical_form(A)
        assert torch.isfinite(form.matrix).all()
        if torch.linalg.det(A) != 0:
            assert torch.equal(form.restore(torch.linalg.inv(form.matrix)), torch.linalg.inv(A))


@pytest.mark.parametrize("n", [2, 3, 5])
def test_the_inverse_of_the_form_carried_back_is_the_inverse(n):
    A = gaussian(50, n)
    form = canonical_form(A)
    kappa = neuinv.metrics.condition_number(A)
    error = neuinv.forward_error(A, form.restore(torch.linalg.inv(form.matrix)))
    assert (error <= 50 * n * EPS * kappa).all()


@pytest.mark.parametrize("n", [2, 3, 5])
def test_a_canonical_network_is_equivariant_and_a_plain_one_is_not(n):
    """f(tUAV) = V^T f(A) U^T / t, and the residuals are those of the inner network on the form."""
    generator, A = torch.Generator().manual_seed(n), gaussian(20, n)
    U, V = signed_permutation(n, generator), signed_permutation(n, generator)
    inner = PlainNetwork(n, width=16).double()
    with torch.no_grad():
        for network, holds in ((CanonicalNetwork(inner), True), (inner, False)):
            moved = network(4 * U @ A @ V)
            expected = V.T @ network(A) @ U.T / 4
            assert torch.allclose(moved, expected, rtol=1e-12, atol=1e-12) is holds
        C = canonical_form(A).matrix
        at_form = neuinv.right_residual(C, inner(C))
        assert torch.allclose(neuinv.right_residual(A, CanonicalNetwork(inner)(A)), at_form, rtol=1e-9)
        left = neuinv.left_residual(A, CanonicalNetwork(inner)(A))
        assert torch.allclose(left, neuinv.left_residual(C, inner(C)), rtol=1e-9)


def test_gradients_reach_the_inner_network_and_the_matrix():
    network = CanonicalNetwork(PlainNetwork(3, width=8).double())
    A = gaussian(4, 3).requires_grad_(True)
    (A @ network(A)).square().sum().backward()
    assert all(p.grad.abs().max() > 0 for p in network.parameters()) and A.grad.abs().max() > 0


def test_a_product_network_holds_cofactors_and_the_determinant():
    """With weights set by hand, one layer multiplies two entries and the gate passes a constant."""
    network = ProductNetwork(2, width=2, depth=1).double()
    for parameter in network.parameters():
        parameter.data.zero_()
    # products a d and b c of the entries a, b, c, d
    network.left[0].weight.data[0, 0] = network.left[0].weight.data[1, 1] = 1
    network.right[0].weight.data[0, 3] = network.right[0].weight.data[1, 2] = 1
    network.value.weight.data[0, 4], network.value.weight.data[0, 5] = 1, -1
    network.gate[-1].bias.data.fill_(1)
    network.read.weight.data[:, 0] = 1
    A = gaussian(10, 2)
    with torch.no_grad():
        assert torch.allclose(network(A)[:, 0, 0], torch.linalg.det(A), rtol=1e-12, atol=1e-14)


def test_parameters_of_a_product_network_are_those_of_its_formula():
    n, w, features = 3, 5, 9 + 5
    layers = 2 * (9 * w + w) + 2 * (features * w + w)
    features += w
    gate = features * w + w + 2 * (w * w + w)
    expected = layers + features * w + w + gate + w * n * n + n * n
    assert count_parameters(ProductNetwork(n, width=w, depth=2)) == expected


def test_a_product_network_has_a_class_and_a_canonical_one_has_none():
    assert neuinv.lipschitz_class(ProductNetwork(2, width=3, depth=1)).L > 0
    with pytest.raises(TypeError):
        neuinv.lipschitz_class(CanonicalNetwork(PlainNetwork(2, width=3)), input_shape=(2, 2))


@pytest.mark.parametrize("sizes", [{"width": 0}, {"depth": 0}, {"n": 0}])
def test_a_size_below_one_is_refused(sizes):
    with pytest.raises(ValueError, match="integer >= 1"):
        ProductNetwork(**({"n": 2} | sizes))


def test_what_is_no_batch_of_square_matrices_is_refused():
    with pytest.raises(ValueError):
        canonical_form(torch.zeros(2, 3))
    with pytest.raises(ValueError):
        canonical_form(torch.full((2, 2), torch.nan))
