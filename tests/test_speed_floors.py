"""The floors of a record, its target, and what a run on CUDA does to end in time; all records are made up."""

import math

import pytest
import torch

from neuinv import benchmark
from neuinv.benchmark import Cell, Measured, Quartiles, floors, price, tables
from neuinv.benchmark import cells as cells_module
from neuinv.benchmark.ceilings import _measured
from neuinv.records import provenance, write_record

CPU = torch.device("cpu")
RATES = {"copy": 2e12, "float64": 5e13, "float32": 5e13, "tf32": 4e14, "bfloat16": 8e14}
ON_CUDA = {"cuda": "0.0", "magma": True, "preferred_linalg_library": "made up", "ceilings": RATES}


def row(method, group, median, worst=1e-4, matmuls=6.0, note=""):
    time = None if median is None else Quartiles(0.9 * median, median, 1.1 * median)
    return Measured(method, group, time, worst / 2, worst, matmuls, note=note)


def cuda_record(folder, monkeypatch, cells, **environment):
    """Return a record that says it is of a GPU, by way of the disk."""
    made = {"type": "cuda", "name": "a GPU that does not exist", "driver": None, "cuda": "0.0"}
    monkeypatch.setattr(provenance, "describe_device", lambda *_: made)
    about = {"cpu_share": float("nan"), "seconds": 1.0}
    found = {**benchmark.environment(CPU), **ON_CUDA, **environment}
    values = benchmark.speed_values([(*cell, about) for cell in cells], 160, found, repetitions=20)
    write_record(folder, values, parameters={"device": "cuda"})
    return benchmark.load_speed(folder)[0]


CELL = Cell(64, 10.0, "spd", "float32", 4096)
ROWS = [
    row("inv", "direct", 4e-3),
    row("fused 1e-03 mixed", "polynomial", 1e-4),
    row("program 1e-03", "polynomial", 2e-3, note="7 repetitions"),
    row("product", "product", 2e-4, matmuls=1.0),
]


def test_the_floor_is_the_larger_of_moving_and_computing():
    moved = 2 * 4 * 64**2 * 4096 / 2e12
    assert benchmark.floor_time(64, 4096, "float32", "fused 1e-03 mixed", 6.0, RATES) == (moved, "bytes")
    computed = 6 * 2 * 64**3 * 4096 / 5e13
    found = benchmark.floor_time(64, 4096, "float32", "program 1e-03", 6.0, RATES)
    assert found == (pytest.approx(computed), "flops")
    thrice = benchmark.floor_time(1024, 16, "float32", "fused 1e-03 tf32x3", 6.0, RATES)[0]
    once = benchmark.floor_time(1024, 16, "float32", "fused 1e-03 tf32", 6.0, RATES)[0]
    assert thrice == pytest.approx(3 * once)


def test_a_line_of_floors_shows_share_bound_and_ratio(tmp_path, monkeypatch):
    record = cuda_record(tmp_path / "a", monkeypatch, [(CELL, ROWS)])
    _, line = floors.floor_lines(record, 1e-3)
    share = 2 * 4 * 64**2 * 4096 / 2e12 / 1e-4
    direct = 2 * 4 * 64**2 * 4096 / 2e12 / 4e-3  # moving takes longer than 2 n^3 operations
    assert line.split()[-3:] == [f"{share:.2f}", "bytes", f"{direct:.3f}"] and "fused 1e-03 mixed" in line
    # Where rounding leaves no direct method, its share is missing and not 0.
    rough = [row("inv", "direct", 4e-3, worst=1e-2), ROWS[1]]
    record = cuda_record(tmp_path / "b", monkeypatch, [(CELL, rough)])
    assert floors.floor_lines(record, 1e-3)[1].split()[-1] == "."


def test_the_ceilings_of_a_size_are_those_of_moving_and_of_one_product(tmp_path, monkeypatch):
    record = cuda_record(tmp_path / "a", monkeypatch, [(CELL, ROWS)])
    head, line = floors.ceiling_lines(record)
    moved, product = 8 * 64**2 / 2e12 * 1e6, 2 * 64**3 / 5e13 * 1e6
    assert line.split()[:3] == ["64", f"{moved:.3g}", f"{product:.3g}"]
    assert head.split()[-4:] == ["float32", "float64", "tf32", "bfloat16"]
    record = cuda_record(tmp_path / "b", monkeypatch, [(CELL, ROWS)], ceilings=None)
    assert floors.ceiling_lines(record) == ["its runs did not measure the ceilings of the device"]


def test_a_record_without_ceilings_says_so(tmp_path, monkeypatch):
    record = cuda_record(tmp_path, monkeypatch, [(CELL, ROWS)], ceilings=None)
    assert floors.floor_lines(record, 1e-3) == ["its runs did not measure the ceilings of the device"]
    assert not [line for line in tables.backend_lines(record) if "TB/s" in line]


def test_the_target_counts_cells_and_names_those_that_lose(tmp_path, monkeypatch):
    other = Cell(128, 100.0, "spd", "float32", 1024)
    slow = [row("inv", "direct", 1e-3), row("scaled 1e-03", "polynomial", 2e-3)]
    small = Cell(8, 10.0, "spd", "float32", 2**18)
    record = cuda_record(tmp_path, monkeypatch, [(CELL, ROWS), (other, slow), (small, slow)])
    lines = floors.target_lines(record, 1e-3)
    assert lines[0] == "1 of 2 cells at 5 or more, 1 of them by the quartiles of both too"
    assert lines[1].startswith("spd     float32: 1 of 2 cells,") and "least 0.50, most 40.00" in lines[1]
    assert "the most at n = 64, kappa = 10, by fused 1e-03 mixed" in lines[2]
    assert lines[3] == "    below 5: kappa = 100: n = 128"
    assert lines[4] == "slower than a direct method in 2 of 3 cells of all"
    assert [line.split("n = ")[1] for line in lines[5:]] == ["8", "128"]
    # Negative control: where the tolerance is out of reach nothing is ahead.
    assert floors.target_lines(record, 1e-9) == [
        "0 of 2 cells at 5 or more, 0 of them by the quartiles of both too",
        "slower than a direct method in 0 of 3 cells of all",
    ]


def test_a_ratio_that_the_quartiles_do_not_confirm_is_told_apart(tmp_path, monkeypatch):
    rows = [row("inv", "direct", 5.5e-3), row("lean 1e-03 exact", "polynomial", 1e-3)]
    record = cuda_record(tmp_path, monkeypatch, [(CELL, rows)])
    # 5.5, and by the quartiles 5.5 * 0.9 / 1.1
    assert floors.target_lines(record, 1e-3)[0].startswith("1 of 1 cells at 5 or more, 0 of them")
    lines = floors.target_lines(record, 1e-3)
    assert not [line for line in lines if "below" in line or "every" in line]


def test_every_table_shows_a_record_of_a_gpu(tmp_path, monkeypatch):
    cells = [(Cell(1024, 100.0, "general", "float32", 16), ROWS), (CELL, ROWS)]
    record = cuda_record(tmp_path, monkeypatch, cells)
    said = tables.backend_lines(record)
    assert "    copies at 2 TB/s, read and written" in said
    assert "    2 of 8 measurements, of slow methods, had fewer" in said
    lines = said + tables.missing_lines([record]) + tables.break_even_lines(record)
    lines += tables.tally_lines(record) + tables.winner_lines(record, 1e-3) + tables.other_lines(record)
    lines += tables.proof_lines(record) + tables.roofline_lines(record)
    lines += floors.floor_lines(record, 1e-3) + floors.target_lines(record, 1e-3)
    lines += floors.ceiling_lines(record) + price.door_lines(record, 1e-3)
    for kind in ("spd", "general"):
        lines += tables.time_lines(record, kind, "float32", (*tables.SCHEMES, *tables.FRONT))
    assert max(map(len, lines)) <= 82, "two more for the indent"
    assert any("158 of 160 planned cells are missing" in line for line in lines)


def test_a_run_on_cuda_begins_with_what_the_target_is_about():
    plan = benchmark.plan_cells("cuda")
    first = [cell for cell in plan if cell.kappa <= 100 and cell.dtype == "float32" and cell.n >= 32]
    assert plan[: len(first)] == first and len(first) == 24
    assert {cell.n for cell in first} == {32, 64, 128, 256, 512, 1024}
    kappas = [cell.kappa for cell in plan]
    assert max(kappas[:80]) == 100 and min(kappas[80:]) > 100


def test_slow_functions_have_fewer_repetitions_and_say_so(monkeypatch):
    calls = []
    functions = {name: lambda name=name: calls.append(name) for name in "ab"}
    times, _ = benchmark.interleaved(functions, {"a": 5, "b": 2}, CPU)
    assert [len(times[name]) for name in "ab"] == [5, 2] and sorted(calls) == list("aaaaabb")
    monkeypatch.setattr(cells_module, "SECONDS", {"cpu": 1.0})
    for took, expected in ((0.01, 20), (0.2, 5), (10.0, 3)):
        monkeypatch.setattr(cells_module, "time_once", lambda *_, took=took: took)
        assert cells_module._repetitions(None, 20, CPU) == expected
    timed = cells_module._timed(ROWS[0], [1.0, 2.0, 3.0], 20)
    assert (timed.note, timed.time.median) == ("3 repetitions", 2.0)
    assert cells_module._timed(ROWS[0], [1.0] * 20, 20).note == ""


def test_whatever_a_method_raises_the_others_go_on(monkeypatch):
    class Odd(Exception):
        pass

    def failing(A):
        raise Odd

    found = [benchmark.Method("product", "product", lambda A: A @ A, 1.0)]
    found.append(benchmark.Method("bad", "direct", failing))
    monkeypatch.setattr(cells_module, "methods_for", lambda *_: found)
    rows, _ = benchmark.run_cell(Cell(4, 10.0, "spd", "float64", 8), CPU, repetitions=1)
    assert [row.note for row in rows] == ["", "Odd"] and rows[0].time is not None


@pytest.mark.parametrize("n", [2, 40, 200])
def test_squaring_bounds_the_largest_eigenvalue_closely(n):
    G = torch.randn(3, n, n, dtype=torch.float64, generator=torch.Generator().manual_seed(n))
    gram = torch.cat(
        [G @ G.mT * 1e-12, torch.zeros(1, n, n, dtype=torch.float64), torch.eye(n).double()[None]]
    )
    found, exact = cells_module._largest_eigenvalue(gram), torch.linalg.eigvalsh(gram)[:, -1]
    assert (found >= exact * (1 - 1e-12)).all() and (found[exact > 0] <= 1.001 * exact[exact > 0]).all()
    assert found[3] < 1e-290
    # Negative control: the Frobenius norm alone is no such bound.
    assert torch.linalg.matrix_norm(gram[4]) > 1.001 * exact[4]


def test_ceilings_are_measured_on_cuda_only():
    assert benchmark.ceilings(CPU) == {}
    rates = _measured(CPU, 2**12, 8, 2)
    assert set(rates) == set(RATES) and all(rate > 0 and math.isfinite(rate) for rate in rates.values())
