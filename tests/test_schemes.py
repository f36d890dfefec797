"""Every scheme takes the products it announces, and its worst residual is valid and attained."""

import math

import pytest
import torch
from cases import BAD_MATRICES, gaussian

import neuinv
from neuinv.iterations import (
    Chebyshev,
    ComposedChebyshev,
    Hyperpower,
    NewtonSchulz,
    ScaledNewtonSchulz,
    least_residual,
    matmul_residual,
)

A_FEW = [
    *(NewtonSchulz(k, kind) for kind in ("spd", "general") for k in (0, 1, 5)),
    *(ScaledNewtonSchulz(k, kind) for kind in ("spd", "general") for k in (0, 1, 4)),
    *(Hyperpower(2, r, kind) for kind in ("spd", "general") for r in range(2, 12)),
    *(Chebyshev(d, kind) for kind in ("spd", "general") for d in (1, 2, 3, 8, 21)),
    *(ComposedChebyshev(d, kind) for kind in ("spd", "general") for d in ((2,), (3,), (5,), (9,), (5, 3, 2))),
]
INTERVAL = (0.3, 9.0)
SCHEME = pytest.mark.parametrize("scheme", A_FEW, ids=str)


def extremal(scheme, interval=INTERVAL):
    """Return eigenvalues, or singular values, at the extremal points of the Chebyshev polynomial."""
    low, high = interval if scheme.kind == "spd" else (interval[0] ** 2, interval[1] ** 2)
    j = torch.arange(scheme.degree + 1, dtype=torch.float64)
    z = (low + high) / 2 - (high - low) / 2 * torch.cos(j * math.pi / scheme.degree)
    return z if scheme.kind == "spd" else z.sqrt()


def with_spectrum(scheme, values, seed=0):
    """Return Q diag(values) Q^T, or the non-normal U diag(values) V^T for a scheme of kind "general"."""
    U, V = torch.linalg.qr(gaussian(2, len(values), seed=seed))[0]
    A = (U * values) @ (U if scheme.kind == "spd" else V).mT
    return (A + A.mT) / 2 if scheme.kind == "spd" else A


@SCHEME
def test_torch_counts_the_products_that_a_scheme_announces(scheme):
    A = with_spectrum(scheme, torch.linspace(*INTERVAL, 6, dtype=torch.float64)).expand(3, 6, 6)
    assert neuinv.count_matmuls(lambda A: scheme(A, INTERVAL), A) == scheme.num_matmuls


@SCHEME
def test_the_worst_residual_is_attained_on_both_sides_at_the_extremal_points(scheme):
    A = with_spectrum(scheme, extremal(scheme))
    worst = scheme.worst_residual(INTERVAL[1] / INTERVAL[0])
    X = scheme(A, INTERVAL)
    assert neuinv.right_residual(A, X).item() == pytest.approx(worst, rel=1e-9)
    assert neuinv.left_residual(A, X).item() == pytest.approx(worst, rel=1e-9)


@SCHEME
@pytest.mark.parametrize("seed", range(3))
def test_no_spectrum_in_the_interval_exceeds_the_worst_residual(scheme, seed):
    """And the residual polynomial predicts the residual of each matrix, normal or not."""
    generator = torch.Generator().manual_seed(seed)
    low, high = INTERVAL
    values = low * (high / low) ** torch.rand(12, generator=generator, dtype=torch.float64)
    A = with_spectrum(scheme, values, seed=seed)
    residual = neuinv.right_residual(A, scheme(A, INTERVAL)).item()
    assert residual <= scheme.worst_residual(high / low) * (1 + 1e-9)
    assert residual == pytest.approx(
        scheme.residual_polynomial(values, INTERVAL).abs().max().item(), rel=1e-8
    )


@SCHEME
def test_an_eigenvalue_left_of_the_interval_breaks_the_bound(scheme):
    """Negative control: q(0) = 1, so a spectrum that comes nearer to 0 has a larger residual."""
    values = extremal(scheme)
    values[0] = INTERVAL[0] / 2
    A = with_spectrum(scheme, values)
    assert neuinv.right_residual(A, scheme(A, INTERVAL)) > scheme.worst_residual(30.0) * (1 + 1e-4)


@SCHEME
@pytest.mark.parametrize("kappa", [1.001, 30.0, 1e9, 1e300])
def test_no_scheme_beats_the_bounds_of_its_degree_and_of_its_products(scheme, kappa):
    worst = scheme.worst_residual(kappa) * (1 + 1e-10)
    degree = scheme.degree - 1 if scheme.kind == "spd" else 2 * scheme.degree - 1
    assert least_residual(degree, kappa, scheme.kind) <= worst
    kinds = ["spd"] if scheme.kind == "spd" else ["general", "covariant"]
    assert all(matmul_residual(scheme.num_matmuls, kappa, kind) <= worst for kind in kinds)


@pytest.mark.parametrize("kind", ["spd", "general"])
def test_few_products_attain_the_bounds(kind):
    """No product and one: degree 2 and 3 for SPD; no product, two, three: 1, 2, 3 for general matrices."""
    program = "spd" if kind == "spd" else "covariant"
    for scheme in [Chebyshev(d, kind) for d in (1, 2, 3)][kind == "spd" :]:
        bound = matmul_residual(scheme.num_matmuls, 40.0, program)
        assert scheme.worst_residual(40.0) == pytest.approx(bound, rel=1e-12)
    four = Chebyshev(4, kind)
    assert four.worst_residual(40.0) > 1.001 * matmul_residual(four.num_matmuls, 40.0, program)


@pytest.mark.parametrize("kind", ["spd", "general"])
@pytest.mark.parametrize("num_steps", range(7))
def test_scaled_newton_schulz_is_the_chebyshev_polynomial_of_degree_two_to_the_k(kind, num_steps):
    scaled, optimal = ScaledNewtonSchulz(num_steps, kind), Chebyshev(2**num_steps, kind)
    A = with_spectrum(scaled, torch.linspace(*INTERVAL, 20, dtype=torch.float64))
    X, Y = scaled(A, INTERVAL), optimal(A, INTERVAL)
    assert (X - Y).abs().max() < 1e-12 * Y.abs().max()
    # Negative control: the classical iteration is another polynomial of that degree from the first step on.
    if num_steps > 0:
        assert (NewtonSchulz(num_steps, kind)(A, INTERVAL) - Y).abs().max() > 1e-3 * Y.abs().max()


@pytest.mark.parametrize("kind", ["spd", "general"])
def test_hyperpower_of_order_two_is_newton_schulz_and_four_is_two_of_its_steps(kind):
    A = with_spectrum(NewtonSchulz(1, kind), torch.linspace(*INTERVAL, 8, dtype=torch.float64))
    X = NewtonSchulz(6, kind)(A, INTERVAL)
    for order, num_steps in ((2, 6), (4, 3), (8, 2)):
        assert torch.allclose(Hyperpower(num_steps, order, kind)(A, INTERVAL), X, rtol=0, atol=1e-12)
    assert not torch.allclose(Hyperpower(3, 3, kind)(A, INTERVAL), X, rtol=0, atol=1e-3)


def test_order_five_raises_the_degree_most_a_product():
    gain = {r: Hyperpower(1, r, "general").degree ** (1 / (2 + _sum(r))) for r in range(2, 200)}
    assert max(gain, key=gain.get) == 5


def _sum(order):
    return Hyperpower(1, order).num_matmuls


@pytest.mark.parametrize("kappa", [1e3, 1e6])
@pytest.mark.parametrize("scheme", [ScaledNewtonSchulz(14), NewtonSchulz(24), Hyperpower(11, 5)], ids=str)
def test_rounding_does_not_spoil_a_long_interval_in_float64(scheme, kappa):
    values = torch.logspace(-math.log10(kappa), 0, 30, dtype=torch.float64)
    A = with_spectrum(scheme, values)
    residual = neuinv.right_residual(A, scheme(A, (1 / kappa, 1.0))).item()
    assert residual <= scheme.worst_residual(kappa) + 1e-15 * kappa * len(values)


@SCHEME
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_dtype_and_batch_follow_the_input_and_each_matrix_may_have_its_interval(scheme, dtype):
    values = torch.tensor([1.0, 1.25, 1.5], dtype=torch.float64)
    scale = torch.tensor([1.0, 16.0, 256.0], dtype=torch.float64)
    A = (with_spectrum(scheme, values) * scale[:, None, None]).to(dtype)
    X = scheme(A, (scale, 1.5 * scale))
    assert X.dtype == dtype and X.shape == A.shape
    # Scales that are powers of two change no rounding: each matrix has the inverse of the first, rescaled.
    assert torch.allclose(X[1].double() * 16, X[0].double(), rtol=0.02, atol=1e-3)
    bound = scheme.worst_residual(1.5) + 40 * torch.finfo(dtype).eps
    assert (neuinv.right_residual(A, X) <= bound).all()


@pytest.mark.parametrize("scale", [1e-150, 1e150])
@SCHEME
def test_the_size_of_the_entries_does_not_matter(scheme, scale):
    A = with_spectrum(scheme, extremal(scheme))
    X = scheme(scale * A, (scale * INTERVAL[0], scale * INTERVAL[1]))
    assert neuinv.right_residual(scale * A, X).item() == pytest.approx(scheme.worst_residual(30.0), rel=1e-9)


@SCHEME
def test_an_interval_that_is_one_point_gives_the_exact_inverse(scheme):
    A = with_spectrum(scheme, torch.full((4,), 3.0, dtype=torch.float64))
    assert neuinv.right_residual(A, scheme(A, (3.0, 3.0))) < 1e-13
    assert scheme.worst_residual(1.0) == 0


@pytest.mark.parametrize(
    "scheme",
    [NewtonSchulz(3), ScaledNewtonSchulz(3, "general"), Hyperpower(2, 5), Chebyshev(6, "general")],
    ids=str,
)
def test_schemes_are_differentiable_in_the_matrix_and_in_the_interval(scheme):
    A = with_spectrum(scheme, torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)).requires_grad_()
    ends = torch.tensor([0.8, 3.5], dtype=torch.float64, requires_grad=True)

    def symmetric(A, ends):
        return scheme((A + A.mT) / 2 if scheme.kind == "spd" else A, (ends[0], ends[1]))

    assert torch.autograd.gradcheck(symmetric, (A, ends))


@pytest.mark.parametrize("kappa", [1.5, 30.0, 1e6])
@SCHEME
def test_the_residual_polynomial_is_one_at_zero_and_largest_at_the_left_end(scheme, kappa):
    q = scheme.residual_polynomial(torch.tensor([0.0, 2 / kappa]), (2 / kappa, 2.0))
    assert q[0].item() == pytest.approx(1, rel=1e-9)
    assert q[1].item() == pytest.approx(scheme.worst_residual(kappa), rel=1e-5)


@pytest.mark.parametrize("name", BAD_MATRICES)
def test_bad_matrices_are_refused(name):
    A, error, message = BAD_MATRICES[name]
    for call in (lambda A: NewtonSchulz(1)(A, (1, 2)), lambda A: neuinv.count_matmuls(lambda A: A, A)):
        with pytest.raises(error, match=message):
            call(A)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: NewtonSchulz(-1), ValueError, "num_steps is -1"),
        (lambda: ScaledNewtonSchulz(2001), ValueError, "num_steps is 2001; pass at most 2000"),
        (lambda: NewtonSchulz(1.5), TypeError, "num_steps is 1.5"),
        (lambda: Hyperpower(1, 1), ValueError, "order is 1"),
        (lambda: Chebyshev(0), ValueError, "degree is 0"),
        (lambda: Chebyshev(3, "covariant"), ValueError, "kind is 'covariant'; use one of spd, general"),
        (lambda: Chebyshev(3).worst_residual(0.5), ValueError, "kappa is 0.5; pass a finite"),
        (lambda: Chebyshev(3).worst_residual(math.nan), ValueError, "kappa is nan"),
    ],
)
def test_a_scheme_that_does_not_exist_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(
    ("interval", "message"),
    [
        ((0.0, 1.0), "runs from 0 to 1"),
        ((2.0, 1.0), "runs from 2 to 1"),
        ((1.0, math.inf), "finite ends"),
        ((math.nan, 1.0), "finite ends"),
        (3.0, "pass a pair"),
        ((torch.ones(2), 3.0), "one pair a matrix"),
    ],
)
def test_a_bad_interval_is_refused(interval, message):
    with pytest.raises(ValueError, match=message):
        NewtonSchulz(1)(torch.eye(2).expand(3, 2, 2), interval)


def test_a_matrix_that_is_not_symmetric_is_refused_by_name():
    A = torch.stack([torch.eye(2), torch.tensor([[1.0, 0.5], [0.0, 1.0]])])
    with pytest.raises(ValueError, match=r"A\[1\] differs from its transpose by 0.5; .*kind='general'"):
        NewtonSchulz(1)(A, (0.5, 2.0))
    assert NewtonSchulz(1, "general")(A, (0.5, 2.0)).shape == A.shape
