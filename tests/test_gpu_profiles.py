"""The runs that studies plan for a GPU: the most telling first, and comparable with those of the CPU."""

import itertools

import pytest
from notebook_tools import ROOT

from neuinv import peers
from neuinv.networks import count_parameters
from neuinv.sweep import read_plan

STUDIES = ["kappa-law", "families", "scaling", "peers", "learned-start"]


def given(study, profile="gpu"):
    plan = read_plan(ROOT / "notebooks" / "sweeps" / f"{study}.yaml", profile)
    return [run.parameters for run in plan.runs]


@pytest.mark.parametrize("study", STUDIES)
def test_every_run_is_for_a_cuda_device_and_planned_once(study):
    runs = given(study)
    assert {run["device"] for run in runs} == {"cuda"} and {run["num_threads"] for run in runs} == {1}
    assert {run["device"] for run in given(study, "smoke")} == {"cpu"}
    assert len({str(run) for run in runs}) == len(runs)


def test_the_growth_with_kappa_is_first_measured_in_the_middle_size_of_every_kind_and_order():
    runs = given("kappa-law")
    first, rest = runs[:128], runs[128:]
    kinds = ["plain-gelu", "residual", "attention", "unrolled"]
    assert {(run["n"], run["kind"]) for run in first} == set(itertools.product((3, 5, 8, 16), kinds))
    assert {run["width"] for run in first if run["kind"] != "unrolled"} == {128}
    assert {run["width"] for run in rest} == {64, 256}
    steps = {run["kind"]: run["num_steps"] for run in given("kappa-law", "cpu")}
    assert all(run["num_steps"] == 4 * steps.get(run["kind"], 1200) for run in runs)


def test_families_have_five_seeds_and_larger_matrices():
    runs = given("families")
    assert {run["num_copies"] for run in runs} == {5}
    assert min(run["num_steps"] for run in runs) > max(run["num_steps"] for run in given("families", "cpu"))


def test_peers_meet_the_matrices_of_the_cpu_profile_with_three_seeds_and_a_tenth_of_the_weights():
    cpu, gpu = given("peers", "cpu"), given("peers")
    for name in ("num_test", "test_seed"):
        assert {run[name] for run in gpu} == {run[name] for run in cpu}
    seeds, largest = {}, 0
    for run in gpu:
        seeds.setdefault((run["kind"], str(run["dials"])), set()).add(run["seed"])
        n = 3 if run["dials"].get("min_abs_det") else 5
        sizes = {name: run[name] for name in ("width", "depth", "num_layers")}
        largest = max(largest, count_parameters(peers.make_peer(run["kind"], n, seed=0, **sizes)))
    assert {kind for kind, _ in seeds} >= set(peers.peer_kinds()) - {"unrolled"}
    assert all(found == {0, 1, 2} for found in seeds.values())
    assert 100_000 < largest < peers.PUBLISHED[0].value / 10


def test_the_axes_of_scaling_reach_beyond_those_of_the_cpu_profile():
    cpu, gpu = given("scaling", "cpu")[0], given("scaling")[0]
    assert all(max(gpu[name]) > max(cpu[name]) for name in ("sizes", "data", "steps"))
