"""The search for programs: its derivatives, its moves, and that it improves on where it starts."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from neuinv.iterations import least_residual, load_programs, matmul_residual
from neuinv.iterations.best import best_scheme, residual_before
from neuinv.iterations.embedding import (
    balance,
    chebyshev_program,
    compose,
    num_coefficients,
    power_values,
    unpack,
)
from neuinv.iterations.halving import RUNGS, search_restarts
from neuinv.iterations.objective import search_objective
from neuinv.iterations.search import Objective, effective_degree, improve, restart
from neuinv.iterations.starts import MIXTURE, START_KINDS, flat_program, start_program
from neuinv.records import load_records
from neuinv.sweep import load_study, read_plan

KAPPA = 100.0
RADIUS = (KAPPA - 1) / (KAPPA + 1)
ROOT = Path(__file__).resolve().parent.parent
RECORDS = ROOT / "book" / "results" / "fewest-products"
SPEC = ROOT / "notebooks" / "sweeps" / "search-programs.yaml"
PROGRAMS = list(load_programs().values())


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


@pytest.mark.parametrize("kind", START_KINDS)
@pytest.mark.parametrize("m", [2, 4, 6])
def test_every_kind_of_start_gives_a_program_that_repeats_with_its_seed(kind, m):
    problem = Objective(m, RADIUS, 300)
    once, again, other = (
        start_program(kind, problem, PROGRAMS, np.random.default_rng([0, i])) for i in (3, 3, 4)
    )
    assert len(once) == num_coefficients(m) and np.isfinite(once).all()
    assert np.array_equal(once, again)
    assert kind == "walk" or not np.array_equal(once, other)
    assert 1 / np.cosh(2**m * np.arccosh(1 / RADIUS) * 1.5) < problem.supremum(once)


def test_a_start_that_needs_programs_is_none_without_them():
    problem = Objective(6, RADIUS, 300)
    generator = np.random.default_rng(0)
    assert start_program("walk", problem, [], generator) is None
    assert start_program("extension", problem, [], generator) is None
    assert start_program("random", problem, [], generator) is not None
    with pytest.raises(ValueError, match="kind is 'lucky'; use one of random, extension"):
        start_program("lucky", problem, [], generator)


def test_an_extension_is_nearly_a_square_and_ahead_of_a_random_start():
    problem = Objective(5, RADIUS, 600)
    suprema = {}
    for kind in ("extension", "random"):
        found = [start_program(kind, problem, PROGRAMS, np.random.default_rng([1, i])) for i in range(12)]
        suprema[kind] = np.median([problem.supremum(theta) for theta in found])
        left, right, _ = unpack(found[0], 5)
        aligned = left[-1] @ right[-1] / np.linalg.norm(left[-1]) / np.linalg.norm(right[-1])
        assert kind == "random" or aligned > 0.9
    assert suprema["extension"] < suprema["random"]


def test_a_search_gives_up_most_restarts_and_returns_the_best():
    found = search_restarts(3, KAPPA, "mixed", 10, 0, PROGRAMS, rounds=0)
    assert [one.kind for one in found.restarts] == list(MIXTURE)
    assert [one.index for one in found.restarts] == list(range(10))
    reached = [one.rung for one in found.restarts]
    assert reached.count(0) == 10 - RUNGS[1].least and max(reached) == len(RUNGS) - 1
    assert all(one.last <= one.first <= 1 for one in found.restarts if one.rung < len(RUNGS) - 1)
    assert found.supremum == min(one.last for one in found.restarts)
    again = search_restarts(3, KAPPA, "mixed", 10, 0, PROGRAMS, rounds=0)
    assert np.array_equal(found.theta, again.theta)
    # Three products: the optimum is the Chebyshev polynomial, of degree 9, and no search beats it.
    least = least_residual(8, KAPPA)
    assert least * (1 - 1e-3) < found.supremum < 1.05 * least


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((0, KAPPA, "mixed", 1, 0), ValueError, "num_products"),
        ((3, KAPPA, "mixed", 0, 0), ValueError, "count"),
        ((3, KAPPA, "lucky", 1, 0), ValueError, "kind is 'lucky'; use one of"),
        ((6, KAPPA, "walk", 2, 0), ValueError, "no restart came below a residual of 1"),
    ],
)
def test_a_search_that_cannot_be_made_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        search_restarts(*arguments, [])


@pytest.mark.parametrize("num_matmuls", [0, 2, 5, 8])
def test_the_residual_before_known_stages_is_the_largest_that_reaches_the_tolerance(num_matmuls):
    tolerance = 1e-4
    r = residual_before(num_matmuls, tolerance)
    assert tolerance <= r < 1 and (num_matmuls > 1 or r == tolerance)
    # best_scheme from a multiple of I is two products short of stages that start from a matrix.
    for factor, fits in ((1 + 1e-6, True), (1 - 1e-6, False)):
        kappa = (1 + (1 - (1 - r) * factor)) / ((1 - r) * factor)
        if num_matmuls > 1:
            assert (best_scheme(kappa, tolerance).num_matmuls + 2 <= num_matmuls) == fits


def test_flat_programs_are_those_of_the_package():
    p = load_programs()["6@100"]
    problem = Objective(6, p.radius, 4001)
    assert problem.supremum(flat_program(p)) == pytest.approx(p.supremum, rel=1e-3)


@pytest.mark.parametrize("profile", ["smoke", "cpu", "gpu"])
def test_the_planned_searches_can_be_made(profile):
    for run in read_plan(SPEC, profile).runs:
        given = run.parameters
        assert 1 <= given["products"] <= 14 and given["kappa"] > 1
        assert profile == "smoke" or given["restarts"] >= 200


def test_a_search_runs_as_a_notebook_and_records_each_restart(tmp_path):
    given = {"products": 2, "kappa": 10.0, "restarts": 3, "rounds": 0, "seed": 5}
    words = [word for name, value in given.items() for word in ("-p", name, str(value))]
    notebook = ROOT / "notebooks" / "search-programs.ipynb"
    command = [sys.executable, "-m", "papermill", notebook, tmp_path / "out.ipynb", "--no-progress-bar"]
    environment = {**os.environ, "NEUINV_RUN_DIR": str(tmp_path / "records")}
    done = subprocess.run([*command, *words], capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    (path,) = (tmp_path / "records").glob("*.json")
    values = json.loads(path.read_text())["values"]
    assert len(values["kinds"]) == len(values["first"]) == len(values["last"]) == len(values["rungs"]) == 3
    # Two products: no program beats the Chebyshev polynomial of degree 5.
    assert least_residual(4, 10.0) * (1 - 1e-9) < values["supremum"] < 1
    theta = np.array([float.fromhex(x) for x in values["theta"].split()])
    assert search_objective(2, 10.0, 40).supremum(theta) == pytest.approx(values["supremum"], rel=1e-4)


def test_the_committed_searches_hold_a_line_for_each_restart_and_stay_above_the_bound():
    rows = load_study("search-programs", "cpu").rows
    for _, row in rows.iterrows():
        count = row["restarts"]
        lists = {name: json.loads(row[name]) for name in ("kinds", "first", "last", "rungs")}
        assert all(len(values) == count for values in lists.values())
        m, kappa = int(row["products"]), row["kappa"]
        theta = np.array([float.fromhex(x) for x in row["theta"].split()])
        problem = search_objective(m, kappa, 40)
        assert problem.supremum(theta) == pytest.approx(row["supremum"], rel=1e-2)
        assert row["supremum"] > matmul_residual(m, kappa)
        assert row["effective_degree"] == pytest.approx(max(lists["last"]), rel=1e-2)
        # What a search found and was better is in the package.
        assert load_programs()[f"{m}@{kappa:g}"].supremum <= row["supremum"] * (1 + 2e-3)
        # Negative control: the record of another program does not fit.
        assert problem.supremum(1.001 * theta) != pytest.approx(row["supremum"], rel=1e-2)
