"""Bad matrices, devices and seeds are refused in one sentence."""

import numpy as np
import pytest
import torch
from cases import BAD_MATRICES, gaussian

import neuinv
from neuinv._checks import check_matrices, make_generator, resolve_device
from neuinv.iterations import newton_schulz, transpose_start

ONE_ARGUMENT = {
    "transpose_start": transpose_start,
    "newton_schulz": lambda A: newton_schulz(A, 2),
    "key_inequality": lambda A: neuinv.key_inequality(torch.zeros_like, A),
    "right_residual": lambda A: neuinv.right_residual(A, A),
    "left_residual": lambda A: neuinv.left_residual(A, A),
    "forward_error": lambda A: neuinv.forward_error(A, A),
    "best_constant": neuinv.best_constant,
    "mean_inverse": neuinv.mean_inverse,
    "nearest_singular": neuinv.nearest_singular,
    "sign_witness": lambda A: neuinv.sign_witness(A, A),
    "output_witness": lambda A: neuinv.output_witness(torch.zeros_like, A),
}


@pytest.mark.parametrize("what", BAD_MATRICES)
@pytest.mark.parametrize("function", ONE_ARGUMENT)
def test_every_function_refuses_bad_matrices_in_one_sentence(function, what):
    matrices, error, words = BAD_MATRICES[what]
    with pytest.raises(error, match=words) as caught:
        ONE_ARGUMENT[function](matrices)
    assert "\n" not in str(caught.value)


def test_good_matrices_pass_the_door_unchanged():
    for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
        A = gaussian(2, 3, dtype=dtype)
        assert check_matrices(A) is A


@pytest.mark.parametrize("function", [n for n in ONE_ARGUMENT if n not in ("sign_witness",)])
def test_one_by_one_matrices_work(function):
    ONE_ARGUMENT[function](torch.tensor([[2.0]], dtype=torch.float64))


def test_a_pair_of_different_sizes_or_dtypes_is_refused():
    with pytest.raises(ValueError, match="n = 2 and X has n = 3"):
        neuinv.right_residual(torch.eye(2), torch.eye(3))
    with pytest.raises(TypeError, match="cast one"):
        neuinv.right_residual(torch.eye(2), torch.eye(2).double())


def test_batches_that_do_not_match_are_refused_and_one_matrix_beside_a_batch_is_not():
    two, three = gaussian(2, 2), gaussian(3, 2)
    for measure in (neuinv.right_residual, neuinv.left_residual, neuinv.forward_error, neuinv.sign_witness):
        with pytest.raises(ValueError, match=r"the batch \(2,\) and \w has \(3,\); pass equal batches"):
            measure(two, three)
    assert neuinv.right_residual(two, three[0]).shape == (2,)


@pytest.mark.parametrize("device", ["tpu", "cuda:x", 3.5])
def test_an_unknown_device_is_refused(device):
    with pytest.raises(ValueError, match="use 'auto', 'cpu' or 'cuda'"):
        resolve_device(device)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is there")
@pytest.mark.parametrize("device", ["cuda", "hpu"])
def test_a_device_that_is_not_there_is_refused(device):
    with pytest.raises(ValueError, match="not available here"):
        resolve_device(device)


def test_the_automatic_device_is_one_that_holds_numbers():
    assert torch.zeros(1, device=resolve_device("auto")).item() == 0
    with pytest.raises(ValueError, match="holds no numbers"):
        resolve_device("meta")


def test_a_draw_needs_exactly_one_of_seed_and_generator():
    with pytest.raises(ValueError, match="exactly one"):
        make_generator()
    with pytest.raises(ValueError, match="exactly one"):
        make_generator(1, torch.Generator())
    with pytest.raises(TypeError, match="integer >= 0"):
        make_generator(1.5)
    with pytest.raises(TypeError, match="seed is True"):
        make_generator(True)
    for seed in (-1, 2**63):
        with pytest.raises(ValueError, match=f"seed is {seed}"):
            make_generator(seed)


def test_an_integer_of_numpy_is_a_seed():
    assert make_generator(np.int64(3)).initial_seed() == 3
