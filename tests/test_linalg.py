"""LU of batches is right whatever the number of threads and the size of the matrices."""

import math

import pytest
import torch
from cases import gaussian

from neuinv import _linalg


@pytest.fixture(params=[1, 2])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def orthogonal(n):
    """Return rotations whose determinants are known: -1 where the first row was negated."""
    Q = torch.stack([torch.linalg.qr(A).Q for A in gaussian(4, n, seed=n)])
    Q[torch.stack([torch.linalg.slogdet(member).sign for member in Q]) < 0, 0] *= -1
    Q[::2, 0] *= -1
    return Q, torch.tensor([-1.0, 1.0, -1.0, 1.0], dtype=torch.float64)


@pytest.mark.parametrize("n", [1, 3, 181])
def test_determinants_inverses_and_solutions_of_a_batch_are_right(n, threads):
    Q, signs = orthogonal(n)
    found, logarithm = _linalg.sign_and_log(3 * Q)
    assert torch.equal(found, signs) and torch.equal(_linalg.det_sign(Q), signs)
    assert torch.allclose(logarithm, torch.full((4,), n * math.log(3), dtype=torch.float64))
    identity = torch.eye(n).double().repeat(4, 1, 1)
    for inverse in (_linalg.inverse(Q), _linalg.inverse_or_nan(Q), _linalg.solve(Q, identity)):
        assert torch.allclose(inverse, Q.mT, atol=1e-11)


@pytest.mark.parametrize("n", [2, 130])
def test_a_singular_member_is_nan_and_spoils_no_other(n):
    A = torch.eye(n).double().repeat(3, 1, 1)
    A[1, 0, 0] = 0
    for X in (_linalg.inverse_or_nan(A), _linalg.solve(A, A)):
        assert torch.isnan(X[1]).all() and torch.equal(X[0], torch.eye(n).double())
    with pytest.raises(torch.linalg.LinAlgError):
        _linalg.inverse(A)


def test_large_batches_keep_their_shape_and_their_gradient():
    A = gaussian(6, 130).reshape(2, 3, 130, 130).requires_grad_(True)
    X = _linalg.inverse(A)
    assert X.shape == A.shape
    X.sum().backward()
    assert torch.isfinite(A.grad).all() and A.grad.abs().sum() > 0


@pytest.mark.parametrize("n", [3, _linalg.LARGEST_JACOBI + 1])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_singular_values_are_those_of_torch_on_any_device(n, device):
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")
    A = torch.randn(7, n, n, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = torch.linalg.svdvals(A)
    found = _linalg.singular_values(A.to(device))
    norms = _linalg.spectral_norms(A.to(device))
    assert found.device == norms.device == A.to(device).device
    room = 1e3 * torch.finfo(A.dtype).eps * expected.max()
    assert (found.cpu() - expected).abs().max() < room and (norms.cpu() - expected[:, 0]).abs().max() < room
