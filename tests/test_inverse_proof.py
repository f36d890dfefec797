"""No accepted inverse has a right residual above the tolerance: short and long series, and their controls."""

import os
import time

import pytest
import torch
from cases import gaussian
from inverse_tools import DTYPES, believe, false_accepts, one_call, real_matrices, tempting

import neuinv
from neuinv.inverse import proof, search
from neuinv.inverse.bounds import frobenius_upper, product_upper, spectral_upper
from neuinv.inverse.planning import prove_definite
from neuinv.inverse.proof import prove_residual
from neuinv.metrics import exact_right_residual

flint = pytest.importorskip("flint")


def count_false(num_matrices, seed=0, real=True):
    """Return (matrices, accepted, false accepts) of front-door calls with all kinds of options."""
    generator = torch.Generator().manual_seed(seed)
    counts, round_number = [0, 0, 0], 0

    def draw(*choices):
        return choices[int(torch.randint(len(choices), (), generator=generator))]

    while counts[0] < num_matrices:
        n, batch = draw(1, 2, 3, 4, 5, 8, 8, 12, 16), min(1000, 100 + num_matrices // 100)
        if round_number % 50 == 0:
            n, batch = 58, 4
        cases = list(tempting(batch, n, seed + round_number))
        cases += list(real_matrices(4, seed + round_number)) if real and round_number % 20 == 0 else []
        for _, A in cases:
            A = A.to(draw(*DTYPES))
            A = A[torch.isfinite(A).all(-1).all(-1)]
            if len(A):
                accepted, false = one_call(A, draw, generator)
                counts = [counts[0] + len(A), counts[1] + accepted, counts[2] + false]
        round_number += 1
    return counts


def test_no_inverse_is_accepted_falsely():
    matrices, accepted, false = count_false(20_000)
    assert matrices >= 20_000 and accepted > 0.3 * matrices
    assert false == 0


@pytest.mark.soak
def test_no_inverse_of_a_million_is_accepted_falsely():
    begun = time.perf_counter()
    matrices, accepted, false = count_false(1_000_000, seed=1)
    values = {"matrices": matrices, "accepted": accepted, "false_accepts": false}
    values |= {"study": "false-accepts", "seconds": time.perf_counter() - begun}
    if os.environ.get("NEUINV_RUN_DIR"):
        neuinv.record(**values)
    print(values)
    assert matrices >= 1_000_000 and false == 0


def test_with_the_proof_switched_off_false_accepts_are_found(monkeypatch):
    """Negative control of the two tests above."""
    monkeypatch.setattr(search, "prove_residual", believe)
    assert count_false(3_000, real=False)[2] > 100


def test_without_the_margin_for_rounding_bounds_are_violated(monkeypatch):
    """Negative control: what is computed as AX - I is not AX - I."""
    A = torch.ones(200, 1, 1).double() * torch.linspace(1, 2, 200)[:, None, None].double()
    A, X = A.expand(200, 4, 4) * gaussian(200, 4), torch.linalg.inv(gaussian(200, 4)) / A
    honest = prove_residual(A, X, 1e-300).bound
    assert false_accepts(A, X, honest) == []
    monkeypatch.setattr(proof, "gamma", lambda count: 0.0)
    monkeypatch.setattr(proof, "UNIT", 0.0)
    assert len(false_accepts(A, X, prove_residual(A, X, 1e-300).bound)) > 20


def offset(n, seed=0, size=1e-3, batch=6):
    """Return X = I + E, half the singular values of E near ``size``: the Frobenius norm loses sqrt(n / 2)."""
    U, V = torch.linalg.qr(gaussian(batch, n, seed)).Q, torch.linalg.qr(gaussian(batch, n, seed + 1)).Q
    sigma = torch.where(torch.arange(n) % 2 == 0, size, 0.3 * size).double()
    return torch.eye(n, dtype=torch.float64) + (U * sigma) @ V.mT


@pytest.mark.parametrize("n", [4, 9, 40])
def test_each_rung_proves_what_the_one_before_cannot(n):
    """||E||_2 = s and ||E||_F about s sqrt(n / 2); the rungs lose n^(1/2), n^(1/4) and nothing."""
    eye, X = torch.eye(n, dtype=torch.float64).expand(6, n, n), offset(n)
    for factor, matmuls in ((n**0.5, 1), (n**0.25, 2), (1, 3 + 1 / 6)):
        found = prove_residual(eye, X, 1.01e-3 * factor)
        assert (found.bound <= 1.01e-3 * factor).all() and (found.bound >= 1e-3 * (1 - 1e-12)).all()
        assert found.matmuls.max() <= matmuls + 1e-9
    assert found.matmuls.min() > 3


def test_a_tolerance_just_below_the_norm_is_not_proved():
    n = 16
    found = prove_residual(torch.eye(n, dtype=torch.float64).expand(6, n, n), offset(n), 1e-3 * (1 - 1e-6))
    assert (found.bound > 1e-3 * (1 - 1e-6)).all()


def test_a_wrong_cholesky_factor_proves_nothing(monkeypatch):
    """The factor is checked by a product, whatever the library returned."""
    n = 16
    eye, X = torch.eye(n, dtype=torch.float64).expand(6, n, n), offset(n)
    right = proof.cholesky
    assert (prove_residual(eye, X, 1.01e-3).bound <= 1.01e-3).all()
    for wrong in (lambda M: 1.01 * right(M), lambda M: M * torch.nan, torch.zeros_like, torch.ones_like):
        monkeypatch.setattr(proof, "cholesky", wrong)
        assert (prove_residual(eye, X, 1.01e-3).bound > 1.01e-3).all()


def test_splitting_the_digits_gives_the_residual_itself():
    """A backward stable inverse at kappa = 1e6: the margin of a plain product is most of its bound."""
    A = neuinv.family("prescribed-spectrum", n=16, kappa=1e6, spacing="clustered").sample(20, seed=3)
    A = A * torch.exp2(-torch.frexp(A.abs().amax(dim=(-2, -1), keepdim=True)).exponent.double())
    X = torch.linalg.inv(A)
    residual, margin = proof._split_residual(A, X)
    _, plain = proof._residual(A, X)
    truth = exact_right_residual(A, X)
    assert (torch.linalg.matrix_norm(residual, 2) - truth).abs().le(margin).all()
    assert (margin < 1e-4 * plain).all()
    tolerance = 1.05 * truth.max().item()
    found = prove_residual(A, X, tolerance)
    assert (plain > 0.125 * tolerance).all() and (found.bound <= tolerance).all()
    assert false_accepts(A, X, found.bound) == []


@pytest.mark.parametrize("scale", [1e-160, 1e-30, 1.0, 1e30, 1e150])
@pytest.mark.parametrize("n", [1, 2, 7, 30])
def test_bounds_of_norms_are_upper_bounds_and_tight(n, scale):
    M, P = scale * gaussian(50, n, 1), gaussian(50, n, 2)
    exact = scale * torch.linalg.matrix_norm(M / scale, 2)
    assert (spectral_upper(M) >= exact * (1 - 1e-13)).all()
    assert (spectral_upper(M) <= exact * n**0.5 * (1 + 1e-9) + 1e-134).all()
    assert (frobenius_upper(M) >= scale * torch.linalg.matrix_norm(M / scale) * (1 - 1e-13)).all()
    both = torch.linalg.matrix_norm((M / scale).abs() @ P.abs(), 2)
    assert (product_upper(M, P) >= scale * both * (1 - 1e-13)).all()
    assert (product_upper(M, P) <= scale * both * n**0.5 * (1 + 1e-9) + 1e-130).all()


def test_only_definite_matrices_are_proved_definite():
    """Smallest eigenvalues from -1e-13 to 1e-13, decided exactly by the signs of the leading minors."""
    decided, seen = 0, set()
    for seed, distance in enumerate((-1e-13, -1e-15, -1e-16, 0.0, 1e-16, 1e-15, 1e-13)):
        Q = torch.linalg.qr(gaussian(30, 5, seed)).Q
        d = torch.tensor([1.0, 0.7, 0.5, 0.2, 0.0], dtype=torch.float64)
        A = (Q * d) @ Q.mT + distance * torch.eye(5, dtype=torch.float64)
        A = (A + A.mT) / 2
        definite, symmetric = prove_definite(A)
        assert symmetric.all()
        truth = torch.tensor([minors_are_positive(a) for a in A])
        assert not (definite & ~truth).any()
        decided += int(definite.sum())
        seen |= set(truth.tolist())
    assert seen == {True, False} and decided > 0


def minors_are_positive(A):
    exact = [[flint.fmpq(*x.as_integer_ratio()) for x in row] for row in A.tolist()]
    sizes = range(1, len(exact) + 1)
    return all(flint.fmpq_mat([row[:k] for row in exact[:k]]).det() > 0 for k in sizes)


def test_a_matrix_that_is_not_quite_symmetric_is_not_definite():
    A = torch.eye(3, dtype=torch.float64)
    assert prove_definite(A[None])[0].all()
    A[0, 1] = 5e-324
    assert not prove_definite(A[None])[0].any()


def test_an_inverse_of_huge_entries_is_not_judged():
    """Beyond 2^64 the losses below the normal numbers are no longer negligible."""
    A = torch.diag(torch.tensor([1.0, 2.0**-63, 2.0**-65], dtype=torch.float64))
    assert prove_residual(A[None, :2, :2], torch.linalg.inv(A[:2, :2])[None], 1e-3).bound < 1e-3
    assert prove_residual(A[None], torch.linalg.inv(A)[None], 1e-3).bound == torch.inf
