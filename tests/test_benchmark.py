"""The benchmark: known numbers come out, inaccurate methods do not count, and what is missing is said."""

import gc
import json
import math
from pathlib import Path

import pandas
import pytest
import torch

from neuinv import benchmark
from neuinv.benchmark import Cell, Measured, Quartiles, tables
from neuinv.benchmark import cells as cells_module
from neuinv.records import write_record

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "book" / "results" / "speed"
PAGE = (ROOT / "notebooks" / "speed.md").read_text(encoding="utf-8")
CPU = torch.device("cpu")
CELL = Cell(4, 10.0, "spd", "float64", 8)


def measured(method, group, median, worst, **more):
    """Return a row with quartiles 10 % below and above the median."""
    time = None if median is None else Quartiles(0.9 * median, median, 1.1 * median)
    return Measured(method, group, time, worst / 2, worst, 3.0, **more)


def made_up(rows, cell=CELL, folder=None):
    """Return a record of one cell, by way of the disk."""
    values = benchmark.speed_values(
        [(cell, rows, {"cpu_share": 1.0, "seconds": 1.0})], 1, benchmark.environment(CPU), repetitions=20
    )
    write_record(folder, values, parameters={"device": "cpu"})
    return benchmark.load_speed(folder)[0]


# Statistics


def test_quartiles_of_known_numbers():
    assert benchmark.quartiles([9.0, 1.0, 2.0, 4.0, 3.0]) == Quartiles(2.0, 3.0, 4.0)
    assert benchmark.quartiles([4.0, 1.0, 2.0, 3.0]) == Quartiles(1.75, 2.5, 3.25)
    assert benchmark.quartiles([1.0, 1.0, 1.0, 1.0, 1e9]).median == 1.0, "one outlier moves no median"
    with pytest.raises(ValueError, match="no times"):
        benchmark.quartiles([])


@pytest.mark.parametrize("seed", [0, 1])
def test_each_repetition_calls_each_function_once_in_an_order_of_its_own(seed):
    calls = []
    functions = {name: lambda name=name: calls.append(name) for name in "abcdef"}
    times, share = benchmark.interleaved(functions, 30, CPU, seed)
    rounds = [tuple(calls[i : i + 6]) for i in range(0, 180, 6)]
    assert all(sorted(order) == list("abcdef") for order in rounds)
    assert len(set(rounds)) > 20, "the orders differ"
    assert {len(found) for found in times.values()} == {30}
    assert all(time >= 0 for found in times.values() for time in found) and share > 0
    assert gc.isenabled()


def test_the_collector_comes_back_after_an_error():
    with pytest.raises(ZeroDivisionError):
        benchmark.interleaved({"bad": lambda: 1 / 0}, 1, CPU)
    assert gc.isenabled()


def test_a_slower_function_takes_longer():
    A, small = torch.eye(200).expand(20, 200, 200).contiguous(), torch.eye(2)
    times, _ = benchmark.interleaved({"slow": lambda: A @ A, "fast": lambda: small @ small}, 5, CPU)
    assert benchmark.quartiles(times["slow"]).median > 3 * benchmark.quartiles(times["fast"]).median


# Methods


@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_elimination_without_pivots_inverts_definite_matrices(n):
    G = torch.randn(10, n, n, dtype=torch.float64, generator=torch.Generator().manual_seed(n))
    A = G @ G.mT + torch.eye(n, dtype=torch.float64)
    before = A.clone()
    assert (A @ benchmark.gauss_jordan(A) - torch.eye(n)).abs().max() < 1e-12
    benchmark.gauss_jordan(A[:1])
    assert torch.equal(A, before), "a view of a single matrix is not written into"


def test_elimination_without_pivots_fails_on_a_permutation_and_its_residual_says_so():
    A = torch.tensor([[[0.0, 1.0], [1.0, 0.0]]])
    X = benchmark.gauss_jordan(A)
    assert not torch.isfinite(X).all()
    assert cells_module._right_residual(A, X).item() == math.inf


def test_residuals_are_spectral_norms():
    G = torch.randn(5, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    X = torch.eye(6, dtype=torch.float64).expand_as(G)
    expected = torch.linalg.matrix_norm(G - torch.eye(6), 2)
    assert torch.allclose(cells_module._right_residual(G, X), expected, rtol=1e-12)


@pytest.mark.parametrize(("kind", "n"), [("spd", 4), ("general", 4), ("general", 9)])
def test_a_tiny_cell_measures_every_method(kind, n):
    rows, about = benchmark.run_cell(Cell(n, 10.0, kind, "float64", 3), CPU, repetitions=2)
    found = {row.method: row for row in rows}
    assert {"product", "inv", "inv_ex", "solve", "newton-schulz 1e-03", "program 1e-03"} <= set(found)
    assert ("cholesky" in found) == (kind == "spd")
    assert ("gauss-jordan" in found) == (n <= 8)
    assert all(row.time.low <= row.time.median <= row.time.high for row in rows)
    assert all(row.residual_median <= row.residual_worst for row in rows if row.group != "product")
    for row in rows:
        if row.group in ("polynomial", "front"):
            made_for = float(row.method.split()[1])
            assert row.residual_worst <= made_for, row.method
            assert row.matmuls > 0
    assert found["inv"].residual_worst < 1e-12
    assert found["front 1e-03"].accepted == 1 and found["front 1e-03"].check_matmuls >= 1
    assert 0 < about["cpu_share"] <= 1.5


def test_classical_newton_schulz_has_no_step_to_spare():
    rows, _ = benchmark.run_cell(Cell(6, 100.0, "general", "float64", 2), CPU, repetitions=1)
    (row,) = [row for row in rows if row.method.startswith("newton")]
    # one step less would leave the square root of the residual
    assert row.residual_worst <= 1e-3 < math.sqrt(row.residual_worst)


def test_a_method_that_fails_stays_in_the_record_with_its_reason(monkeypatch, tmp_path):
    def failing(A):
        raise RuntimeError("no")

    methods = [benchmark.Method("product", "product", lambda A: A @ A, 1.0)]
    methods.append(benchmark.Method("bad", "direct", failing))
    monkeypatch.setattr(cells_module, "methods_for", lambda *_: methods)
    rows, _ = benchmark.run_cell(CELL, CPU, repetitions=1)
    bad = rows[1]
    assert (bad.time, bad.residual_worst, bad.note) == (None, math.inf, "RuntimeError")
    record = made_up(rows, folder=tmp_path)
    assert record.rows.set_index("method").loc["bad", "note"] == "RuntimeError"
    assert "failed" in tables.time_lines(record, "spd", "float64", ["bad"])[1]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"sizes": [0]}, "a size is 0"),
        ({"kappas": [1.0]}, "a condition number is 1"),
        ({"dtypes": ["float16"]}, "a dtype is 'float16'"),
        ({"sizes": []}, "no cell"),
    ],
)
def test_cells_that_cannot_be_measured_are_refused(given, sentence):
    with pytest.raises(ValueError, match=sentence):
        benchmark.plan_cells("cpu", **given)


def test_the_plan_goes_from_2_to_512_and_over_both_kinds_and_dtypes():
    for device, count, largest in (("cpu", 144, 512), ("cuda", 160, 1024)):
        plan = benchmark.plan_cells(device)
        assert {cell.n for cell in plan} >= {2, 8, 64, 512} and len(set(plan)) == len(plan) == count
        assert max(cell.n for cell in plan) == largest
        assert {(cell.kind, cell.dtype) for cell in plan} == {
            (kind, dtype) for kind in ("spd", "general") for dtype in ("float32", "float64")
        }
        assert {cell.kappa for cell in plan} == {10.0, 100.0, 1e3, 1e4}


# Comparison at equal residual


def test_the_ratio_of_known_times(tmp_path):
    rows = [measured("inv", "direct", 6.0, 1e-7), measured("solve", "direct", 8.0, 1e-7)]
    rows += [measured("program 1e-03", "polynomial", 3.0, 5e-4), measured("s", "polynomial", 4.0, 1e-7)]
    table = benchmark.break_even(made_up(rows, folder=tmp_path).rows, 1e-3)
    row = table.loc[(4, 10.0, "spd", "float64")]
    assert (row["direct"], row["other"], row["ratio"]) == ("inv", "program 1e-03", 2.0)
    assert row["low"] == pytest.approx(2 * 0.9 / 1.1) and row["high"] == pytest.approx(2 * 1.1 / 0.9)


def test_a_fast_method_that_misses_the_residual_does_not_count(tmp_path):
    rows = [measured("inv", "direct", 6.0, 1e-7), measured("fast", "polynomial", 1.0, 2e-3)]
    rows.append(measured("slow", "polynomial", 12.0, 1e-6))
    rows = made_up(rows, folder=tmp_path).rows
    found = benchmark.break_even(rows, 1e-3).iloc[0]
    assert (found["other"], found["ratio"]) == ("slow", 0.5)
    # Negative control: where the tolerance allows it, it does count.
    found = benchmark.break_even(rows, 1e-2).iloc[0]
    assert (found["other"], found["ratio"]) == ("fast", 6.0)


def test_a_scheme_that_fails_on_single_matrices_is_named(tmp_path):
    good, bad = measured("a", "polynomial", 1.0, 1e-4), measured("b 1e-03", "polynomial", 1.0, 1.5e-3)
    rows = [measured("inv", "direct", 6.0, 1.5e-3), good]
    assert tables.unsteady_lines(made_up(rows, folder=tmp_path / "a"), 1e-3) == ["none"]
    _, line = tables.unsteady_lines(made_up([*rows, bad], folder=tmp_path / "b"), 1e-3)
    assert line.split() == "4 10 spd 64 b 1e-03 8e-04 2e-03 256".split()


def test_what_only_one_side_reaches_is_told_from_what_none_reaches(tmp_path):
    rows = [measured("inv", "direct", 6.0, 1e-4), measured("p", "polynomial", 1.0, 1e-2)]
    record = made_up(rows, folder=tmp_path / "a")
    ratios = [benchmark.break_even(record.rows, t)["ratio"].iloc[0] for t in (1e-2, 1e-3, 1e-6)]
    assert ratios[:2] == [6.0, 0.0] and math.isnan(ratios[2])
    assert " 6.00 fails    --" in tables.break_even_lines(record)[2]
    swapped = [measured("inv", "direct", 6.0, 1e-2), measured("p", "polynomial", 1.0, 1e-4)]
    swapped = made_up(swapped, folder=tmp_path / "b")
    assert benchmark.break_even(swapped.rows, 1e-3)["ratio"].iloc[0] == math.inf


def test_a_front_door_that_called_a_direct_solver_or_refused_does_not_count(tmp_path):
    rows = [measured("inv", "direct", 6.0, 1e-7), measured("f", "front", 1.0, 1e-7, direct=0.5)]
    rows += [measured("g", "front", 1.0, 1e-7, accepted=0.5), measured("h", "front", 12.0, 1e-7)]
    found = benchmark.break_even(made_up(rows, folder=tmp_path).rows, 1e-3, "front").iloc[0]
    assert (found["other"], found["ratio"]) == ("h", 0.5)
    with pytest.raises(ValueError, match="group is 'back'"):
        benchmark.fastest(pandas.DataFrame(), "back", 1e-3)


def test_a_scheme_that_serves_two_tolerances_is_found_under_both(tmp_path):
    rows = [measured("inv", "direct", 6.0, 1e-7), measured("scaled 1e-02", "polynomial", 8e-6, 1e-4)]
    part = made_up(rows, folder=tmp_path).rows
    assert tables.find_method(part, "scaled 1e-03")["method"] == "scaled 1e-02"
    assert tables.find_method(part, "program 1e-03") is None
    assert tables.find_method(part, "front 1e-03") is None


# Records


def test_a_cell_measured_again_counts_as_it_was_then(tmp_path, monkeypatch):
    other = Cell(4, 100.0, "spd", "float64", 8)
    made_up([measured("inv", "direct", 6.0, 1e-7)], folder=tmp_path)
    made_up([measured("inv", "direct", 5.0, 1e-7)], cell=other, folder=tmp_path)
    for path in tmp_path.glob("*.json"):  # the clock of names has seconds
        path.rename(path.with_name(path.name.replace("record-20", "record-19")))
    record = made_up([measured("inv", "direct", 7.0, 1e-7)], folder=tmp_path)
    assert len(record.runs) == 3 and len(record.cells) == len(record.rows) == 2
    assert record.rows.set_index("kappa")["median"].to_dict() == {10.0: 7.0, 100.0: 5.0}
    assert record.has(CELL) and not record.has(Cell(8, 10.0, "spd", "float64", 8))


def test_a_record_that_was_edited_or_has_other_columns_is_refused(tmp_path):
    made_up([measured("inv", "direct", 6.0, 1e-7)], folder=tmp_path)
    (path,) = tmp_path.glob("*.json")
    path.write_text(path.read_text().replace(",6,", ",5,"))
    with pytest.raises(ValueError, match="was edited"):
        benchmark.load_speed(tmp_path)
    path.unlink()
    values = benchmark.speed_values([], 0, benchmark.environment(CPU))
    write_record(tmp_path, {**values, "rows": ["n,kappa"]}, parameters={"device": "cpu"})
    with pytest.raises(ValueError, match="has the columns n,kappa"):
        benchmark.load_speed(tmp_path)


def test_what_is_missing_is_announced(tmp_path):
    assert benchmark.load_speed(tmp_path / "none") == []
    assert [line.split(":")[0] for line in tables.missing_lines([])] == [
        "no record of cpu",
        "no record of cuda",
    ]
    record = made_up([measured("inv", "direct", 6.0, 1e-7)], folder=tmp_path)
    said = tables.missing_lines([record])
    assert said[0].startswith("no record of cuda") and "143 of 144 planned cells are missing" in said[1]


def test_what_is_missing_is_named_by_dtype_and_size(tmp_path):
    plan = [cell for cell in benchmark.plan_cells("cpu") if cell.dtype == "float32" and cell.kappa != 100]
    kept = [cell for cell in plan if (cell.n, cell.kappa, cell.kind) != (2, 10.0, "general")]
    about = {"cpu_share": 1.0, "seconds": 1.0}
    cells = [(cell, [measured("inv", "direct", 6.0, 1e-7)], about) for cell in kept]
    values = benchmark.speed_values(cells, 144, benchmark.environment(CPU), repetitions=20)
    write_record(tmp_path, values, parameters={"device": "cpu"})
    said = [line.strip() for line in tables.missing_lines(benchmark.load_speed(tmp_path))[2:]]
    assert said == [
        "float32, kappa = 10: n = 2 (general)",
        "float32, kappa = 100: n = every size",
        "float64: all of them",
    ]


def test_nothing_is_announced_as_missing_that_is_there(tmp_path):
    plan = benchmark.plan_cells("cpu")
    about = {"cpu_share": 1.0, "seconds": 1.0}
    cells = [(cell, [measured("inv", "direct", 6.0, 1e-7)], about) for cell in plan]
    values = benchmark.speed_values(cells, 144, benchmark.environment(CPU), repetitions=20)
    write_record(tmp_path, values, parameters={"device": "cpu"})
    (said,) = tables.missing_lines(benchmark.load_speed(tmp_path))
    assert said.startswith("no record of cuda")


# What is committed


def committed():
    """Return the paths of the committed records."""
    return sorted(RESULTS.glob("record-*.json"))


def test_the_records_are_small_and_the_page_offers_each():
    assert committed()
    for path in committed():
        assert path.stat().st_size < 300_000
        assert f"results/speed/{path.name}" in PAGE


def test_break_even_follows_from_the_lines_of_the_records():
    """The same ratios, from the JSON alone."""
    for record in benchmark.load_speed(RESULTS):
        times = {}
        for run in record.runs:
            lines = json.loads(json.dumps(run["values"]["rows"]))
            names = lines[0].split(",")
            fresh = {}
            for line in lines[1:]:
                row = dict(zip(names, line.split(","), strict=True))
                key = (int(row["n"]), float(row["kappa"]), row["kind"], row["dtype"])
                fresh.setdefault(key, [])
                if float(row["residual_worst"]) <= 1e-3:
                    fresh[key].append((float(row["median"]), row["group"]))
            times.update(fresh)
        table = benchmark.break_even(record.rows, 1e-3)["ratio"]
        assert set(times) == set(table.index)
        for key, found in times.items():
            direct = [time for time, group in found if group == "direct"]
            other = [time for time, group in found if group == "polynomial"]
            if direct and other:
                assert table[key] == pytest.approx(min(direct) / min(other))
            elif direct:
                assert table[key] == 0


def test_no_line_of_a_table_is_longer_than_a_page_is_wide():
    for record in benchmark.load_speed(RESULTS):
        lines = tables.backend_lines(record) + tables.missing_lines([record]) + tables.spread_lines(record)
        lines += (
            tables.break_even_lines(record) + tables.tally_lines(record) + tables.winner_lines(record, 1e-2)
        )
        lines += tables.proof_lines(record) + tables.roofline_lines(record) + tables.other_lines(record)
        lines += tables.unsteady_lines(record, 1e-3)
        for kind in ("spd", "general"):
            names = ("product", *tables.DIRECT)
            lines += tables.time_lines(record, kind, "float32", names)
            lines += tables.residual_lines(record, kind, "float64", (*tables.SCHEMES, *tables.FRONT))
        assert max(map(len, lines)) <= 84
