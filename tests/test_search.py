"""The search for programs: its derivatives, its moves, and that it improves on where it starts."""

from pathlib import Path

import numpy as np
import pytest

from neuinv.iterations import least_residual, load_programs, matmul_residual
from neuinv.iterations.embedding import balance, chebyshev_program, compose, num_coefficients, power_values
from neuinv.iterations.search import Objective, effective_degree, improve, restart
from neuinv.records import load_records

KAPPA = 100.0
RADIUS = (KAPPA - 1) / (KAPPA + 1)
RECORDS = Path(__file__).resolve().parent.parent / "book" / "results" / "fewest-products"


def random_program(m, seed=0):
    return np.random.default_rng(seed).standard_normal(num_coefficients(m)) / 2


def composition(degree=5, m=2):
    first, _ = chebyshev_program(degree, RADIUS)
    bound = least_residual(degree - 1, KAPPA)
    return compose(first, m, RADIUS, bound, chebyshev_program(2, bound)[0], 0)


@pytest.mark.parametrize("m", [1, 3, 4])
def test_the_jacobian_is_the_derivative_of_the_residual(m):
    problem, theta = Objective(m, RADIUS, 30), random_program(m)
    q, J = problem.jacobian(theta)
    assert np.array_equal(q, problem.residual(theta))
    step = 1e-6 * np.random.default_rng(1).standard_normal(len(theta))
    secant = (problem.residual(theta + step) - problem.residual(theta - step)) / 2
    assert np.allclose(secant, J @ step, rtol=1e-5, atol=1e-6 * np.abs(J @ step).max())


@pytest.mark.parametrize("m", [1, 3, 5])
def test_balancing_keeps_the_polynomial_and_bounds_its_products(m):
    problem, theta = Objective(m, RADIUS, 200), random_program(m)
    again = balance(theta, m)
    assert np.allclose(problem.residual(again), problem.residual(theta), rtol=1e-10, atol=1e-10)
    M, factors = power_values(again, m, np.cos(np.linspace(0, np.pi, 4001)))
    assert np.allclose(np.abs(M[2:]).max(axis=1), 1)
    for left, right in factors:
        assert np.abs(left).max() == pytest.approx(np.abs(right).max())


@pytest.mark.parametrize("degree", [2, 3, 5, 9])
def test_the_chebyshev_program_has_the_least_residual_of_its_degree(degree):
    theta, m = chebyshev_program(degree, RADIUS)
    worst = Objective(m, RADIUS, 4001).supremum(theta)
    assert worst == pytest.approx(least_residual(degree - 1, KAPPA), rel=1e-4)
    assert effective_degree(worst, RADIUS) == pytest.approx(degree, rel=1e-3)


def test_a_composition_in_one_program_is_the_chebyshev_polynomial_of_the_product():
    worst = Objective(4, RADIUS, 4001).supremum(composition())
    assert worst == pytest.approx(least_residual(9, KAPPA), rel=1e-4)  # degree 5 times 2


def test_the_search_improves_on_the_composition_and_stays_above_the_bound():
    problem = Objective(4, RADIUS, 400)
    start = composition()
    theta, worst = improve(problem, start, 2)
    assert worst < 0.8 * problem.supremum(start)
    assert Objective(4, RADIUS, 8001).supremum(theta) > matmul_residual(4, KAPPA)


def test_random_starts_repeat_with_their_seed():
    problem = Objective(3, RADIUS, 200)
    once, again, other = (restart(problem, 1, seed) for seed in (0, 0, 1))
    assert np.array_equal(once, again) and not np.array_equal(once, other)


def test_the_programs_of_the_package_are_those_of_the_committed_record():
    rows = load_records(RECORDS)[-1]["values"]["programs"]
    assert {(r["products"], r["kappa"]): r["supremum"] for r in rows} == {
        (p.num_matmuls, p.kappa): p.supremum for p in load_programs().values()
    }
