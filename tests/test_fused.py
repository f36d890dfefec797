"""Fused kernels and lean schemes give what the schemes give.

The kernels run on CUDA, or in Triton's interpreter: TRITON_INTERPRET=1 with Triton and a NumPy below 2.4.
"""

import importlib.util
import os

import numpy as np
import pytest
import torch

from neuinv.benchmark import methods
from neuinv.gallery import family
from neuinv.iterations import (
    Chebyshev,
    ComposedChebyshev,
    Hyperpower,
    NewtonSchulz,
    ScaledNewtonSchulz,
    best_scheme,
)
from neuinv.iterations import fused as fused_module
from neuinv.iterations.composed import evaluate_polynomial
from neuinv.iterations.fused import LARGEST, LARGEST_ACCURATE, PRECISIONS, fused_available, fused_inverse
from neuinv.iterations.lean import lean_inverse
from neuinv.iterations.lowering import _degree_rows, coefficients, lower

CUDA = torch.cuda.is_available()
DEVICE = torch.device("cuda" if CUDA else "cpu")
KAPPA = 10.0
INTERVAL = (1 / KAPPA, 1.0)
EPS = torch.finfo(torch.float32).eps


# Triton's interpreter computes with NumPy, which warns of its own use of arrays and of NaN.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Conversion of an array with ndim:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning"),
]


def why_not():
    """Return why no kernel can run here, or None."""
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed"
    if CUDA:
        return None
    if os.environ.get("TRITON_INTERPRET") != "1":
        return "no CUDA device; TRITON_INTERPRET=1 runs the kernels in Triton's interpreter"
    old = tuple(map(int, np.__version__.split(".")[:2])) < (2, 4)
    return None if old else "Triton's interpreter fails with NumPy 2.4 or newer"


kernels = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))


def matrices(n, kind, batch=7, dtype=torch.float32, seed=0):
    if n == 1:
        return torch.linspace(1 / KAPPA, 1, batch, dtype=dtype, device=DEVICE).reshape(batch, 1, 1)
    source = family("prescribed-spectrum", n=n, kappa=KAPPA, kind=kind)
    return source.sample(batch, seed=seed, dtype=dtype, device=DEVICE)


def schemes(kind):
    """Return every form: steps with and without a factor, none, each degree, programs."""
    found = [ScaledNewtonSchulz(4, kind), NewtonSchulz(3, kind), NewtonSchulz(0, kind), Chebyshev(1, kind)]
    found += [ComposedChebyshev((9, 5, 3, 2), kind)]
    found += [best_scheme(KAPPA, tolerance, kind, torch.float32) for tolerance in (1e-2, 1e-3)]
    return found


def far(X, Y):
    """Return how far X is from Y, over the size of Y."""
    return float((X.double() - Y.double()).abs().max() / Y.abs().max())


# Rounding of programs grows some 10 times per unit of kappa; a coefficient that is off by 1e-3 shows.
CLOSE = 200 * KAPPA * EPS


def residual(A, X):
    eye = torch.eye(A.shape[-1], dtype=torch.float64, device=A.device)
    return float(torch.linalg.matrix_norm(A.double() @ X.double() - eye, 2).max())


# Numbers


@pytest.mark.parametrize("length", [2, 3, 5, 9])
def test_the_rows_of_a_degree_evaluate_its_polynomial(length):
    c = torch.randn(length, dtype=torch.float64, generator=torch.Generator().manual_seed(length)).tolist()
    R = matrices(4, "general", 3, torch.float64) / 2
    left, right, out = _degree_rows(c)
    M = [torch.eye(4, dtype=torch.float64, device=DEVICE).expand_as(R), R]
    for a, b in zip(left, right, strict=True):
        sums = [sum(x * Y for x, Y in zip(row, M, strict=False)) for row in (a, b)]
        assert len(a) <= len(M) and len(b) <= len(M)
        M.append(sums[0] @ sums[1])
    value = sum(x * Y for x, Y in zip(out, M, strict=True))
    assert torch.allclose(value, evaluate_polynomial(R, c), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", ["spd", "general"])
def test_intervals_that_are_equal_give_the_numbers_of_one_interval(kind):
    A = matrices(3, kind, 4)
    for scheme in schemes(kind):
        same = coefficients(scheme, A, tuple(torch.full((4,), end) for end in (0.11, 1.0)))
        one = coefficients(scheme, A, tuple(float(torch.tensor(end)) for end in (0.11, 1.0)))
        assert same == pytest.approx(one, rel=1e-12)
        each = coefficients(scheme, A, (torch.full((4,), 0.11), torch.tensor([1.0, 1.0, 1.0, 1.05])))
        assert each.shape == (4, len(one))
        assert each[0].tolist() == pytest.approx(one, rel=1e-6) and each[3].tolist() != each[0].tolist()


def test_a_scheme_without_such_a_form_is_refused():
    for scheme in (Hyperpower(2, order=3), Chebyshev(4)):
        with pytest.raises(NotImplementedError, match="has no form for kernels"):
            lower(scheme)


def test_a_program_beyond_its_condition_number_and_a_wrong_interval_are_refused():
    A = matrices(3, "spd", 2)
    with pytest.raises(ValueError, match="made for at most"):
        coefficients(best_scheme(KAPPA, 1e-3), A, (0.01, 1.0))
    for interval in ((0.0, 1.0), (2.0, 1.0), (0.1, float("inf"))):
        with pytest.raises(ValueError, match="0 < a <= b"):
            coefficients(NewtonSchulz(2), A, interval)


# By a library's products


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", ["spd", "general"])
@pytest.mark.parametrize("n", [1, 2, 5, 16, 31])
def test_a_lean_scheme_gives_what_the_scheme_gives(n, kind, dtype):
    A = matrices(n, kind, dtype=dtype)
    close = CLOSE * torch.finfo(dtype).eps / EPS
    for scheme in schemes(kind):
        for precision in ("exact", "mixed", "mixed-bf16") if lower(scheme).form == "newton" else ("exact",):
            if CUDA and precision != "exact":
                continue
            X = lean_inverse(scheme, A, INTERVAL, precision)
            assert X.dtype == dtype and far(X, scheme(A, INTERVAL)) < close, (scheme, precision)


def test_lean_schemes_refuse_what_they_cannot_do():
    A = matrices(4, "spd", 2)
    with pytest.raises(NotImplementedError, match="Newton-Schulz alone"):
        lean_inverse(best_scheme(KAPPA, 1e-3), A, INTERVAL, "mixed")
    with pytest.raises(ValueError, match="use one of exact, tf32, mixed, mixed-bf16"):
        lean_inverse(NewtonSchulz(2), A, INTERVAL, "half")
    with pytest.raises(ValueError, match="pass square matrices"):
        lean_inverse(NewtonSchulz(2), A[0], INTERVAL)


# In one kernel


@kernels
@pytest.mark.parametrize("kind", ["spd", "general"])
@pytest.mark.parametrize("n", [1, 2, 5, 16, 31, 64])
def test_a_fused_scheme_gives_what_the_scheme_gives(n, kind):
    A = matrices(n, kind)
    for scheme in schemes(kind):
        X = fused_inverse(scheme, A, INTERVAL, "tf32x3")
        assert far(X, scheme(A, INTERVAL)) < CLOSE, scheme


@kernels
@pytest.mark.parametrize("kind", ["spd", "general"])
@pytest.mark.parametrize("n", [5, 32, 100, 128, 200])
def test_low_precision_reaches_its_residual(n, kind):
    A = matrices(n, kind, 3)
    scheme = ScaledNewtonSchulz(5 if kind == "spd" else 7, kind)
    for steps in (1, 2):
        assert residual(A, lean_inverse(scheme, A, INTERVAL, "mixed-bf16", accurate_steps=steps)) < 2e-4
    if n > LARGEST["newton"]:
        return
    assert residual(A, fused_inverse(scheme, A, INTERVAL, "tf32")) < 1e-2
    for precision in ("mixed", "mixed-bf16") if n <= LARGEST_ACCURATE else ("mixed-bf16",):
        for steps in (1, 2):
            X = fused_inverse(scheme, A, INTERVAL, precision, accurate_steps=steps)
            assert residual(A, X) < 2e-4, (precision, steps)


@kernels
@pytest.mark.parametrize("n", [5, 16, 31])
def test_each_matrix_may_have_its_interval(n):
    A = matrices(n, "general")
    low, high = torch.linspace(0.1, 0.09, 7, device=DEVICE), torch.linspace(1.0, 1.2, 7, device=DEVICE)
    for scheme in (ScaledNewtonSchulz(6, "general"), ComposedChebyshev((9, 5), "general")):
        X = fused_inverse(scheme, A, (low, high))
        assert far(X, scheme(A, (low, high))) < CLOSE
        assert far(X, fused_inverse(scheme, A, INTERVAL)) > 0, "the intervals matter"


@kernels
@pytest.mark.parametrize("name", ["steps", "program"])
def test_a_wrong_coefficient_is_found(name, monkeypatch):
    scheme = ScaledNewtonSchulz(4) if name == "steps" else best_scheme(KAPPA, 1e-3)
    A = matrices(16, "spd")
    expected, right = scheme(A, INTERVAL), coefficients(scheme, A, INTERVAL)
    for place in range(1, len(right)):
        wrong = torch.tensor(right, dtype=torch.float32, device=DEVICE)
        wrong[place] = wrong[place] * 1.1 + 1e-2
        monkeypatch.setattr(fused_module, "_numbers", lambda *_, wrong=wrong: (wrong, 0))
        assert far(fused_inverse(scheme, A, INTERVAL), expected) > CLOSE, place


@kernels
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("n", [2, 5, 8, 16, 31])
def test_a_matrix_that_is_not_finite_spoils_no_other(n, bad):
    A = matrices(n, "general", 9)
    A[4, 0, n - 1] = bad
    others = [i for i in range(9) if i != 4]
    for scheme in (ScaledNewtonSchulz(4, "general"), best_scheme(KAPPA, 1e-2, "general")):
        X = fused_inverse(scheme, A, INTERVAL)
        assert not torch.isfinite(X[4]).all()
        assert far(X[others], scheme(A[others], INTERVAL)) < CLOSE


@kernels
def test_shapes_strides_and_empty_batches():
    scheme = ScaledNewtonSchulz(4, "general")
    A = matrices(6, "general", 6)
    expected = scheme(A, INTERVAL)
    assert fused_inverse(scheme, A[:0], INTERVAL).shape == (0, 6, 6)
    assert far(fused_inverse(scheme, A[2], INTERVAL), expected[2]) < CLOSE
    assert far(fused_inverse(scheme, A.reshape(2, 3, 6, 6), INTERVAL).reshape(6, 6, 6), expected) < CLOSE
    flipped = A.mT.contiguous().mT
    assert not flipped.is_contiguous()
    assert far(fused_inverse(scheme, flipped, INTERVAL), expected) < CLOSE
    wide = torch.full((6, 6, 13), float("nan"), device=DEVICE)
    wide[:, :, ::2][:, :, :6] = A
    assert far(fused_inverse(scheme, wide[:, :, ::2][:, :, :6], INTERVAL), expected) < CLOSE


@kernels
def test_what_does_not_fit_is_refused():
    A = matrices(4, "spd", 2)
    scheme = NewtonSchulz(2)
    with pytest.raises(NotImplementedError, match="float32"):
        fused_inverse(scheme, A.double(), INTERVAL)
    for precision, n in (("tf32x3", 65), ("tf32", LARGEST["newton"] + 1)):
        with pytest.raises(NotImplementedError, match=f"n is {n}"):
            fused_inverse(scheme, torch.eye(n, device=DEVICE)[None], INTERVAL, precision)
    with pytest.raises(NotImplementedError, match="Newton-Schulz alone"):
        fused_inverse(best_scheme(KAPPA, 1e-3), A, INTERVAL, "mixed")
    with pytest.raises(ValueError, match=f"use one of {', '.join(PRECISIONS)}"):
        fused_inverse(scheme, A, INTERVAL, "ieee")
    with pytest.raises(ValueError, match="pass square matrices"):
        fused_inverse(scheme, A[:, :3], INTERVAL)


@kernels
@pytest.mark.parametrize("n", [16, 64])
def test_the_methods_of_the_benchmark_reach_their_tolerance(n):
    for kind in ("spd", "general"):
        A = matrices(n, kind, 3)
        for method in methods._fused(kind, KAPPA, n) + methods._lean(kind, KAPPA):
            tolerance = float(method.name.split()[1])
            rough = {"tf32": 1e-2, "mixed-bf16": 2e-4}.get(method.name.split()[-1], 5e-6)
            assert residual(A, method.run(A)) <= max(tolerance, rough), method.name


@pytest.mark.skipif(fused_available(DEVICE), reason="kernels run here")
def test_without_a_kernel_the_refusal_says_what_to_do():
    with pytest.raises(NotImplementedError, match="call the scheme itself"):
        fused_inverse(NewtonSchulz(2), torch.eye(3)[None], INTERVAL)


def test_the_benchmark_of_a_cpu_has_no_kernels():
    found = methods.methods_for("spd", KAPPA, torch.float32, 64, 1e-2, torch.device("cpu"))
    assert not [method.name for method in found if method.name.startswith(("fused", "lean"))]
