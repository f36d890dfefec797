"""Bounds on a ball around any centre: valid against the Jacobian, and tight on small balls."""

import math

import pytest
import torch
from torch import nn

import neuinv
from neuinv.lipschitz import LocalBound
from neuinv.lipschitz.examples import random_network

ROUNDING = 1 + 1e-9


class Square(nn.Module):
    """The square of each entry."""

    def forward(self, x):
        return x * x


class MatrixSquare(nn.Module):
    """The square of a matrix."""

    def forward(self, A):
        return A @ A


class Step(nn.Module):
    """One Newton-Schulz step X (2 I - A X) from X = A^T / 10."""

    def forward(self, A):
        X = A.mT / 10
        return 2 * X - X @ (A @ X)


class Steps(nn.Module):
    """Four Newton-Schulz steps from A^T / 2, product by product."""

    def forward(self, A):
        X = A.mT / 2
        for _ in range(4):
            X = 2 * X - X @ (A @ X)
        return X


def jacobian_norm(network, x):
    """Return the spectral norm of the Jacobian at one sample."""
    found = torch.autograd.functional.jacobian(lambda x: network(x[None]).flatten(), x)
    return torch.linalg.matrix_norm(found.flatten(1), 2).item()


def measured(network, center, radius, seed, count=6):
    """Return the largest Jacobian norm and output norm at random points of the ball, some on its sphere."""
    generator = torch.Generator().manual_seed(seed)
    slopes, norms = [jacobian_norm(network, center)], [network(center[None]).norm().item()]
    for k in range(count):
        step = torch.randn(center.shape, generator=generator, dtype=torch.float64)
        x = center + step * (radius * (1 if k % 2 else 0.3) / step.norm())
        slopes.append(jacobian_norm(network, x))
        norms.append(network(x[None]).norm().item())
    return max(slopes), max(norms)


@pytest.mark.parametrize("seed", range(12))
def test_the_bounds_hold_on_balls_around_random_centres(seed):
    network, shape = random_network(seed)
    generator = torch.Generator().manual_seed(seed)
    center = torch.randn(shape, generator=generator, dtype=torch.float64)
    for radius in (1e-3, 1.0):
        bound = neuinv.lipschitz_bound(network, radius, center=center)
        slope, norm = measured(network, center, radius, seed)
        assert slope <= bound.lipschitz * ROUNDING and norm <= bound.norm * ROUNDING


@pytest.mark.parametrize("make", [Square, MatrixSquare, Step])
@pytest.mark.parametrize("size", [0.01, 1.0, 30.0])
def test_products_hold_around_small_and_large_centres(make, size):
    generator = torch.Generator().manual_seed(1)
    center = size * torch.randn(3, 3, generator=generator, dtype=torch.float64)
    for radius in (1e-6 * size, size):
        bound = neuinv.lipschitz_bound(make(), radius, center=center)
        slope, norm = measured(make(), center, radius, 2)
        assert slope <= bound.lipschitz * ROUNDING and norm <= bound.norm * ROUNDING


def test_a_square_is_tight_on_a_small_ball_up_to_the_ratio_of_two_norms():
    """Bound 2 ||x||, Jacobian 2 max |x|: equal for one entry, sqrt n apart for n equal ones."""
    for entries, lost in [([5.0, 0, 0, 0], 1.0), ([5.0] * 4, 2.0)]:
        center = torch.tensor(entries, dtype=torch.float64)
        bound = neuinv.lipschitz_bound(Square(), 1e-6, center=center).lipschitz
        assert bound / jacobian_norm(Square(), center) == pytest.approx(lost, rel=1e-6)


def test_a_matrix_square_is_tight_at_a_matrix_of_rank_one():
    center = torch.zeros(3, 3, dtype=torch.float64)
    center[0, 0] = 7
    bound = neuinv.lipschitz_bound(MatrixSquare(), 1e-6, center=center).lipschitz
    assert bound == pytest.approx(jacobian_norm(MatrixSquare(), center), rel=1e-6)


def test_a_newton_schulz_step_loses_at_most_the_norms_of_its_factors():
    """At A = a E, E of rank 1, it adds 3 a^2 / 100 to 2 / 10, where the Jacobian subtracts on E."""
    for a in (0.1, 1.0, 2.0):
        center = torch.zeros(3, 3, dtype=torch.float64)
        center[0, 0] = a
        bound = neuinv.lipschitz_bound(Step(), 1e-7, center=center).lipschitz
        assert bound == pytest.approx(0.2 + 3 * a**2 / 100, rel=1e-5)
        assert jacobian_norm(Step(), center) <= bound


def test_products_in_a_row_are_far_sharper_than_propagated_norms():
    """Four unrolled steps at a matrix that they invert: the values stay near its inverse."""
    network = Steps()
    center = torch.eye(3, dtype=torch.float64)
    small = neuinv.lipschitz_bound(network, 1e-12, center=center)
    around_zero = neuinv.lipschitz_bound(network, math.sqrt(3), input_shape=(3, 3))
    assert network(center[None]).norm().item() <= small.norm <= 1.01 * math.sqrt(3)
    assert jacobian_norm(network, center) <= small.lipschitz
    assert small.log_lipschitz < around_zero.log_lipschitz / 2
    # What is lost: each step may multiply the constant by 2 + 2 ||X|| ||A|| = 8, the Jacobian is about 1.
    assert small.lipschitz < 8**4


def test_the_ball_around_zero_is_sharper_too():
    """Two biases cancel at 0: the norm is that of what is left, not the sum of their norms."""
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), Square()).double()
    with torch.no_grad():
        network[0].weight.copy_(torch.eye(2))
        network[1].weight.copy_(torch.eye(2))
        network[0].bias.fill_(100.0)
        network[1].bias.fill_(-100.0)
    assert neuinv.lipschitz_bound(network, 1.0).lipschitz == pytest.approx(2, rel=1e-6)


def test_the_value_at_the_centre_alone_is_caught_as_too_small(monkeypatch):
    """Negative control: without the term Lipschitz * radius the bound of the norm is violated."""
    center = torch.tensor([3.0, 4.0], dtype=torch.float64)
    original = LocalBound.sharpened

    def shrunk(self, value):
        found = original(self, value)
        return LocalBound(0.0, self.log_norm, self.log_lipschitz).sharpened(value) if self.radius else found

    honest = neuinv.lipschitz_bound(Square(), 1.0, center=center)
    slope, norm = measured(Square(), center, 1.0, 0, count=20)
    assert norm <= honest.norm and slope <= honest.lipschitz
    monkeypatch.setattr(LocalBound, "sharpened", shrunk)
    wrong = neuinv.lipschitz_bound(Square(), 1.0, center=center)
    assert norm > wrong.norm


def test_the_error_at_the_centre_grows_with_the_constants_it_passes():
    """A misplaced start costs its distance times every constant on the way."""
    bound = LocalBound.identity(0.0, 1.0).misplaced(1e-3)
    assert math.exp(bound.scaled(50).log_error) == pytest.approx(0.05)
    assert math.exp(bound.times(bound).log_error) == pytest.approx(2e-3, rel=1e-3)
    value = torch.ones(1, dtype=torch.float64)
    assert bound.scaled(50).sharpened(value).norm == pytest.approx(1.05)


def test_the_square_of_a_single_precision_network_is_bounded_around_a_double_centre():
    network = nn.Sequential(nn.Linear(3, 3), Square())
    center = torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64)
    bound = neuinv.lipschitz_bound(network, 0.1, center=center)
    slope, norm = measured(network.double(), center, 0.1, 0)
    assert slope <= bound.lipschitz * ROUNDING and norm <= bound.norm * ROUNDING


@pytest.mark.parametrize(
    ("center", "error", "message"),
    [
        (torch.zeros(4), ValueError, r"center has shape \(4,\), one sample \(3,\)"),
        (torch.zeros(1, 3), ValueError, "without the batch"),
        (torch.tensor([0.0, math.nan, 1.0]), ValueError, "center is NaN or infinite"),
        ([0.0, 1.0, 2.0], TypeError, "center is not a real torch.Tensor"),
        (torch.zeros(3, dtype=torch.complex64), TypeError, "center is not a real"),
    ],
)
def test_a_centre_that_makes_no_sense_is_refused(center, error, message):
    with pytest.raises(error, match=message):
        neuinv.lipschitz_bound(Square(), 1.0, center=center, input_shape=(3,))


def test_the_price_needs_a_ball_around_zero():
    bound = neuinv.lipschitz_bound(MatrixSquare(), 1.0, center=torch.eye(2))
    with pytest.raises(ValueError, match="not around 0"):
        neuinv.largest_condition(bound, 0.1, n=2)


class Own(nn.Module):
    """A forward that insists on single precision, and changes its input."""

    def forward(self, x):
        x = x.mul_(1)
        return x @ torch.eye(3) + self.b

    def __init__(self):
        super().__init__()
        self.b = nn.Parameter(torch.zeros(3))


def test_neither_the_centre_nor_a_forward_that_insists_on_its_dtype_is_changed():
    center = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    bound = neuinv.lipschitz_bound(Own(), 1.0, center=center)
    assert center.tolist() == [1, 2, 3] and bound.norm >= math.sqrt(14) + 1
    assert bound.lipschitz == pytest.approx(1)
