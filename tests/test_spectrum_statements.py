"""The statements of the chapter on eigenvalues: what polynomials in A cannot do, and where they are right."""

import math

import numpy as np
import pytest
import torch

import neuinv
from neuinv.metrics import spectral_norm
from neuinv.spectrum import field_of_values, interval, minimax_bracket, minimax_residual

EPS = torch.finfo(torch.float64).eps


def random_residual(degree, seed):
    """Return the coefficients 1, q_1, ..., q_m of a random q with q(0) = 1, smaller for higher powers."""
    rng = np.random.default_rng(seed)
    return np.r_[1.0, rng.normal(size=degree) / 2.0 ** np.arange(1, degree + 1)]


def at_matrix(coefficients, A):
    """Return q(A) by Horner's rule."""
    value = torch.zeros_like(A)
    for c in coefficients[::-1]:
        value = value @ A + c * torch.eye(len(A), dtype=A.dtype)
    return value


def toeplitz(coefficients, n):
    """Return T_n(a) for a dict from power to coefficient."""
    return sum(
        c * torch.diag(torch.ones(n - abs(j), dtype=torch.float64), -j) for j, c in coefficients.items()
    )


def symbol(coefficients, t):
    return sum(c * t ** float(j) for j, c in coefficients.items())


def symbol_factor(k, n):
    """sqrt(1 - x^2) with x = pi^2 k / (4 (n + 1 - k))."""
    return math.sqrt(1 - (math.pi**2 * k / (4 * (n + 1 - k))) ** 2)


GRCAR = {1: -1.0, 0: 1.0, -1: 1.0, -2: 1.0, -3: 1.0}
SYMBOLS = {"grcar": GRCAR, "bidiagonal": {0: 0.5, 1: 1.0}, "laplacian": {-1: -1.0, 0: 2.0, 1: -1.0}}
CIRCLE = np.exp(1j * np.linspace(0, math.pi, 2001))


@pytest.mark.parametrize("n", [3, 8])
@pytest.mark.parametrize("seed", range(4))
def test_no_polynomial_of_degree_below_n_is_below_one_on_the_cyclic_shift(n, seed):
    P = torch.eye(n, dtype=torch.float64).roll(1, dims=0)
    assert torch.equal(neuinv.family("shift", n=n, c_max=0.0).sample(1, seed=0)[0], P)
    residual = at_matrix(random_residual(n - 1, seed), P)
    assert spectral_norm(residual) >= 1 - 100 * EPS


def test_degree_n_is_enough_for_the_cyclic_shift():
    """Negative control of the test above: q = 1 - z^n vanishes on it."""
    P = torch.eye(5, dtype=torch.float64).roll(1, dims=0)
    assert spectral_norm(at_matrix(np.r_[1.0, np.zeros(4), -1.0], P)) == 0


def test_one_transpose_contracts_on_the_whole_shift_family():
    """||I - A A^T / (1 + c^2)|| <= 2 c / (1 + c^2), attained at c for even n."""
    A = neuinv.family("shift", n=12).sample(50, seed=0)
    assert neuinv.right_residual(A, A.mT / 1.25).max() <= 0.8 * (1 + 100 * EPS)
    edge = torch.eye(12, dtype=torch.float64).roll(1, dims=0) + 0.5 * torch.eye(12, dtype=torch.float64)
    assert neuinv.right_residual(edge, edge.mT / 1.25) == pytest.approx(0.8, rel=1e-12)
    # Negative control: outside the range of c it does not.
    outside = edge + 0.5 * torch.eye(12, dtype=torch.float64)
    assert neuinv.right_residual(outside, outside.mT / 1.25) > 1


@pytest.mark.parametrize("name", SYMBOLS)
@pytest.mark.parametrize("n", [48, 200])
@pytest.mark.parametrize("seed", range(3))
def test_no_polynomial_of_a_toeplitz_matrix_is_much_below_its_size_on_the_symbol_curve(name, n, seed):
    a, m = SYMBOLS[name], 3
    q = random_residual(m, seed)
    largest = np.abs(np.polynomial.Polynomial(q)(symbol(a, CIRCLE))).max()
    k = m * (max(a) - min(a))
    assert spectral_norm(at_matrix(q, toeplitz(a, n))) >= symbol_factor(k, n) * largest


def test_without_its_factor_the_symbol_bound_is_refuted():
    """Negative control: at n = 16 the best polynomial of the curve is smaller on the matrix."""
    A = neuinv.family("grcar", n=16).sample(1, seed=0)[0]
    assert torch.equal(A, toeplitz(GRCAR, 16))
    q = minimax_residual(symbol(GRCAR, CIRCLE), 4)
    assert spectral_norm(q.residual(A)) < 0.99 * q.lower


@pytest.mark.parametrize("degree", [4, 8])
def test_the_symbol_predicts_the_residual_on_large_grcar_matrices_and_the_spectrum_does_not(degree):
    A = neuinv.family("grcar", n=128).sample(1, seed=0)[0]
    curve = minimax_residual(symbol(GRCAR, CIRCLE), degree)
    assert spectral_norm(curve.residual(A)) == pytest.approx(curve.upper, rel=0.02)
    wrong = minimax_residual(torch.linalg.eigvals(A), degree)
    assert spectral_norm(wrong.residual(A)) > 5 * wrong.upper
    assert field_of_values(A).holds_zero


@pytest.mark.parametrize("seed", range(4))
def test_a_definite_symmetric_part_is_enough(seed):
    """||I - (d/R^2) A||^2 <= 1 - d^2/R^2."""
    generator = torch.Generator().manual_seed(seed)
    G = torch.randn(7, 7, generator=generator, dtype=torch.float64)
    A = G - G.mT + 0.3 * G @ G.mT + 0.2 * torch.eye(7, dtype=torch.float64)
    d, R = torch.linalg.eigvalsh((A + A.mT) / 2)[0], spectral_norm(A)
    residual = spectral_norm(torch.eye(7, dtype=torch.float64) - d / R**2 * A)
    assert residual <= torch.sqrt(1 - (d / R) ** 2) * (1 + 100 * EPS)
    # Negative control: of a matrix whose symmetric part is indefinite the formula says nothing.
    B = A - 2 * d * torch.eye(7, dtype=torch.float64)
    d, R = torch.linalg.eigvalsh((B + B.mT) / 2)[0], spectral_norm(B)
    assert d < 0 and spectral_norm(torch.eye(7, dtype=torch.float64) - d / R**2 * B) > 1


def test_a_cloud_bounds_residuals_from_below_and_sets_around_it_range_up_to_one():
    z = torch.linalg.eigvalsh(
        neuinv.family("prescribed-spectrum", n=12, kappa=10.0, kind="spd").sample(1, seed=0)
    )
    ring = float(z.max()) * CIRCLE[::20]
    for m in (2, 6, 11):
        cloud = minimax_residual(z, m)
        assert cloud.lower <= minimax_bracket(interval(0.1, 1.0), m).upper
        assert minimax_residual(np.r_[z.numpy().ravel(), ring], m).lower >= 1 - 1e-6
    # The set with the circle added has the same least and largest modulus as the cloud.
    assert np.abs(ring).max() <= float(z.max()) * (1 + 10 * EPS) and np.abs(ring).min() > float(z.min())


def test_the_constant_between_the_field_of_values_and_the_residual_is_at_least_two():
    """A = [[1, 2t], [0, 1]]: the best residual of degree 1 over t tends to 2, below 1 + sqrt 2."""
    ratios = []
    for t in (0.5, 0.1, 0.01):
        A = torch.tensor([[1.0, 2 * t], [0.0, 1.0]], dtype=torch.float64)
        s = torch.linspace(0.5, 1.2, 7001, dtype=torch.float64)[:, None, None]
        ratios.append(spectral_norm(torch.eye(2) - s * A).min().item() / t)
    assert ratios == sorted(ratios) and 1.999 < ratios[-1] < 1 + math.sqrt(2)
