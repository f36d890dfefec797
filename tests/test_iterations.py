"""Newton-Schulz against its closed form, and its count of products against torch's."""

import pytest
import torch
from cases import gaussian
from torch.utils.flop_counter import FlopCounterMode

import neuinv
from neuinv.iterations import newton_schulz, newton_schulz_matmuls, transpose_start


@pytest.mark.parametrize("n", [1, 2, 8])
@pytest.mark.parametrize("num_steps", [0, 1, 3, 10])
def test_all_three_errors_follow_the_closed_form(n, num_steps):
    """e = r = l = (1 - sigma_min^2 / ||A||_F^2)^(2^k)."""
    A = gaussian(100, n, seed=n)
    X = newton_schulz(A, num_steps)
    ratio = torch.linalg.svdvals(A)[:, -1] / torch.linalg.matrix_norm(A)
    predicted = (1 - ratio**2) ** (2**num_steps)
    for measure in (neuinv.right_residual, neuinv.left_residual, neuinv.forward_error):
        assert torch.allclose(measure(A, X), predicted, rtol=0, atol=1e-11)


def test_the_closed_form_with_one_step_less_is_refuted():
    """Negative control of the test above."""
    A = gaussian(100, 3, seed=3)
    ratio = torch.linalg.svdvals(A)[:, -1] / torch.linalg.matrix_norm(A)
    wrong = (1 - ratio**2) ** (2**2)
    assert not torch.allclose(neuinv.right_residual(A, newton_schulz(A, 3)), wrong, rtol=0, atol=1e-3)


@pytest.mark.parametrize("n", [1, 2, 16])
@pytest.mark.parametrize("scale", [1e-150, 1.0, 1e150])
def test_the_residual_at_a_singular_matrix_is_one_at_every_scale(n, scale):
    S = scale * neuinv.nearest_singular(gaussian(20, n, seed=5))
    X = newton_schulz(S, 10)
    assert torch.isfinite(X).all()
    assert ((neuinv.right_residual(S, X) - 1).abs() < 1e-12).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_dtype_follows_the_input_and_zero_maps_to_zero(dtype):
    A = torch.zeros(2, 3, 3, dtype=dtype)
    X = newton_schulz(A, 3)
    assert X.dtype == dtype and not X.any()
    assert torch.isfinite(transpose_start(torch.full((1, 1), torch.finfo(dtype).max, dtype=dtype))).all()


@pytest.mark.parametrize("num_steps", [0, 1, 5])
def test_the_products_are_those_that_torch_counts(num_steps):
    A = gaussian(1, 16)[0]
    with FlopCounterMode(display=False) as counter:
        newton_schulz(A, num_steps)
    assert counter.get_total_flops() == 2 * 16**3 * newton_schulz_matmuls(num_steps)


def test_a_negative_number_of_steps_is_refused():
    with pytest.raises(ValueError, match="num_steps is -1"):
        newton_schulz(torch.eye(2), -1)
