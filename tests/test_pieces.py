"""A batch that is worked on piece by piece, and sums in one pass, give what the plain way gives."""

import pytest
import torch

import neuinv
from neuinv.iterations import Hyperpower, ScaledNewtonSchulz, best_scheme, load_programs, scheme
from neuinv.iterations.scheme import identity

KAPPA = 30.0
SCHEMES = {
    "program, spd": best_scheme(KAPPA, 1e-3, "spd"),
    "program, general": best_scheme(KAPPA, 1e-3, "general"),
    "scaled": ScaledNewtonSchulz(4, "spd"),
    "hyperpower": Hyperpower(2, 3, "general"),
}


def matrices(kind, count, n=5):
    """Return matrices with spectrum in [1/KAPPA, 1]."""
    return neuinv.family("prescribed-spectrum", n=n, kappa=KAPPA, kind=kind).sample(count, seed=0)


def close(X, Y):
    """Return whether two results differ by rounding only."""
    return (X - Y).abs().max() <= 1e4 * torch.finfo(X.dtype).eps * Y.abs().max()


@pytest.mark.parametrize("name", SCHEMES)
def test_pieces_give_what_the_whole_batch_gives(name, monkeypatch):
    chosen = SCHEMES[name]
    A = matrices(chosen.kind, 12).reshape(3, 4, 5, 5)
    # Each matrix gets an interval of its own; each piece must get those of its matrices.
    low = torch.linspace(1.0, 1.2, 12, dtype=torch.float64).reshape(3, 4) / KAPPA
    high = low * KAPPA
    whole = chosen(A, (low, high))
    monkeypatch.setattr(scheme, "PIECE_BYTES", 5 * 200)
    assert scheme.piece_length(A) == 5
    assert close(chosen(A, (low, high)), whole)
    assert not close(chosen(A, (low.flip(0), high.flip(0))), whole), "the intervals do matter"


@pytest.mark.parametrize("name", SCHEMES)
def test_one_interval_as_numbers_is_the_same_interval_as_tensors(name):
    chosen = SCHEMES[name]
    A = matrices(chosen.kind, 4)
    ends = [torch.full((4,), end, dtype=torch.float64) for end in (1 / KAPPA, 1.0)]
    by_number = chosen(A, (1 / KAPPA, 1.0))
    assert close(chosen(A, ends), by_number)
    ends[0].requires_grad_()
    X = chosen(A, ends)
    assert close(X.detach(), by_number)
    X.sum().backward()
    assert torch.isfinite(ends[0].grad).all()


@pytest.mark.parametrize("name", load_programs())
def test_sums_in_one_pass_are_the_sums_of_the_terms(name):
    program = load_programs()[name]
    T = matrices("spd", 3) * 2 - identity(matrices("spd", 3))
    plain = program._run([identity(T), T], lambda a, b: a @ b)
    rounding = program.growth * program.kappa * torch.finfo(T.dtype).eps
    assert (program.polynomial(T) - plain).abs().max() <= rounding * plain.abs().max()
    # Negative control: another coefficient would be seen.
    other = type(program)(**{**vars(program), "out": (program.out[0] + 1e-3, *program.out[1:])})
    assert (other.polynomial(T) - plain).abs().max() > rounding * plain.abs().max()


def test_gradients_and_vmap_take_the_plain_way():
    chosen, A = SCHEMES["program, spd"], matrices("spd", 3)
    interval = (1 / KAPPA, 1.0)
    plain = chosen(A, interval)
    B = A.clone().requires_grad_()
    X = chosen(B, interval)
    assert close(X.detach(), plain)
    X.sum().backward()
    # X is close to the inverse, so its derivative is close to -X^T G X^T.
    ones = torch.ones_like(A)
    expected = -plain.mT @ ones @ plain.mT
    assert (B.grad - expected).abs().max() < 0.1 * expected.abs().max()
    mapped = torch.func.vmap(lambda M: chosen._inverse(M, 1 / KAPPA))(A)
    assert close(mapped, plain)


def test_the_finite_check_still_finds_one_entry_in_a_batch():
    for bad in (float("nan"), float("inf"), float("-inf")):
        A = torch.ones(3, 2, 2)
        A[1, 0, 1] = bad
        with pytest.raises(ValueError, match=r"at index \(1, 0, 1\)"):
            neuinv.approximate_inverse(A, tolerance=1e-3)


def test_every_refused_matrix_of_a_batch_is_named():
    A = torch.eye(2).expand(2, 3, 2, 2).clone()
    A[0, 1], A[1, 2] = 0, 0
    with pytest.raises(neuinv.InversionRefused) as caught:
        neuinv.approximate_inverse(A, tolerance=1e-3)
    assert set(caught.value.refused) == {(0, 1), (1, 2)}


@pytest.mark.parametrize("interval", [None, (1 / KAPPA, 1.0)])
def test_the_front_door_in_pieces_proves_the_same(interval, monkeypatch):
    A = matrices("spd", 30)
    whole = neuinv.approximate_inverse(A, tolerance=1e-3, interval=interval)
    monkeypatch.setattr(scheme, "PIECE_BYTES", 200)
    pieces = neuinv.approximate_inverse(A, tolerance=1e-3, interval=interval)
    assert pieces.accepted.all() and whole.accepted.all()
    assert close(pieces.X, whole.X)
    assert (pieces.num_matmuls, pieces.num_check_matmuls) == (whole.num_matmuls, whole.num_check_matmuls)
