"""The tables of the study of families: one line a cell, and the cell that is nearest to another one."""

import json

import pytest

from neuinv.family_calls import cell_calls, cells_of, claims_summary
from neuinv.family_cells import CELL_KINDS
from neuinv.family_tables import (
    LETTERS,
    call_marks,
    cell_lines,
    cell_name,
    nearest_cell,
    pair_lines,
    wrong_score_lines,
)

pandas = pytest.importorskip("pandas")


def cell(run, family, dials, worst, score=0.1, size=8, kinds=tuple(CELL_KINDS)):
    """Return rows of one cell: the worst residuals of its copies, alike for all kinds or by kind."""
    common = {"run": run, "family": family, "dials": json.dumps(dials), "size": size, "side": "inside"}
    common |= {"verdict": "learned-start", "single": False, "curve": False, "baseline": 1.0, "median": 0.0}
    common |= {"plain.kappa": 0.0, "score": score}
    return [
        {**common, "kind": kind, "copy": copy, "worst": value}
        for kind in kinds
        for copy, value in enumerate(worst[kind] if isinstance(worst, dict) else worst)
    ]


def calls_of(*cells):
    return cell_calls(pandas.DataFrame([row for rows in cells for row in rows]))


def test_a_letter_is_capital_small_or_a_dot_as_all_some_or_no_seeds_work():
    worst = dict.fromkeys(CELL_KINDS, (0.9, 0.9)) | {"gated": (0.1, 0.2), "unrolled": (0.1, 0.9)}
    assert call_marks(calls_of(cell("a", "line", {}, worst))) == {"a": "..G.u."}
    assert call_marks(calls_of(cell("a", "line", {}, (0.1,), kinds=("unrolled",)))) == {"a": "    U "}
    assert set(LETTERS) == set(CELL_KINDS)


def test_the_table_has_one_line_a_cell_that_fits_the_page():
    long = {"name": "a-very-long-value-of-a-setting", "z_max": 1.0}
    calls = calls_of(
        cell("a", "graph-resolvent", long, (1e-3,), size=128), cell("b", "line", {"gap": 0.2}, (2.0,))
    )
    lines = cell_lines(calls)
    assert len(lines) == 3 and max(map(len, lines)) <= 84
    assert lines[2].split() == ["line", "0.2", "8", "inside", "start", "1.0e+00", "......", "2.0e+00", "1.00"]
    assert "PRGLUY 1.0e-03" in lines[1] and " 128 " in lines[1]


def test_the_nearest_cell_has_the_family_and_the_fewest_other_settings():
    cells = cells_of(
        calls_of(
            cell("a", "kfac", {"width": 8, "damping": 0.1}, (0.1,)),
            cell("b", "kfac", {"width": 8, "damping": 0.001}, (0.1,)),
            cell("c", "markov", {"lake": "4x4"}, (0.1,)),
        )
    )

    def nearest(family, **dials):
        row = nearest_cell(cells, {"family": family, "dials": json.dumps(dials)})
        return None if row is None else row["run"]

    assert nearest("kfac", width=64, damping=0.001) == "b"
    assert nearest("kfac", width=64, damping=0.1) == nearest("kfac") == "a"
    assert nearest("markov") == "c" and nearest("line") is None


def test_a_cell_stands_beside_its_nearest_one_and_a_dash_where_there_is_none():
    large = calls_of(
        cell("x", "kernel", {"nugget": 0.1}, (0.3,), size=48), cell("y", "line", {}, (0.3,), size=99)
    )
    small = calls_of(cell("a", "kernel", {"nugget": 0.1}, (0.9,)))
    lines = pair_lines(large, small, "smaller")
    assert lines[2].split() == ["kernel", "0.1", "48", "PRGLUY", "3.0e-01", "0.1", "8", "......", "9.0e-01"]
    assert lines[3].endswith("-") and max(map(len, lines)) <= 84


def test_a_wrong_score_is_marked_by_what_it_promised():
    right = cell("a", "line", {}, (0.1,))
    promised = cell("b", "line", {"gap": 0.2}, (0.9,), kinds=("polynomial",))
    modest = cell("c", "shift", {}, (0.1,), score=0.7, kinds=("plain-gelu",))
    lines = wrong_score_lines(calls_of(right, promised, modest))
    assert [line.split() for line in lines] == [["line", "0.2", "Y!"], ["shift", "P+"]]
    assert cell_name(promised[0]) == "line 0.2"


def test_the_summary_of_one_family_has_no_interval_and_that_of_two_has_one():
    one = cell("a", "line", {}, (0.1,)) + cell("b", "line", {"gap": 0.2}, (0.9,), score=0.7)
    found = claims_summary(pandas.DataFrame(one), count=20)
    assert found["auc_score"] == 1 and found["auc_difference_low"] != found["auc_difference_low"]
    two = one + cell("c", "shift", {}, (0.9,), score=0.8)
    found = claims_summary(pandas.DataFrame(two), count=20)
    assert found["auc_difference_low"] <= found["auc_score"] - found["auc_kappa"]
