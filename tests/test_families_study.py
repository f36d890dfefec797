"""The committed records of the study of families give what its page prints, and not after a change."""

import json
from pathlib import Path

import pytest

from neuinv.family_calls import cell_calls, cells_of, claims_summary
from neuinv.family_cells import CELL_KINDS
from neuinv.sweep import load_study, read_plan

pytest.importorskip("pandas")
pytest.importorskip("pyarrow")

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "book" / "results" / "families"
SPEC = ROOT / "notebooks" / "sweeps" / "families.yaml"


@pytest.fixture(scope="module")
def rows():
    return load_study("families").rows


@pytest.fixture(scope="module")
def printed():
    """Return the lines that the page prints."""
    content = json.loads((ROOT / "notebooks" / "every-family.ipynb").read_text(encoding="utf-8"))
    cells = [cell for cell in content["cells"] if cell["cell_type"] == "code"]
    texts = ["".join(out.get("text", "")) for cell in cells for out in cell["outputs"]]
    return "\n".join(texts).split("\n")


def lines(summary):
    return [f"{k:22} {v:.2f}" if isinstance(v, float) else f"{k:22} {v}" for k, v in summary.items()]


def test_the_records_are_complete_and_small(rows):
    summary = load_study("families").summary
    assert summary["failed"] == 0 and summary["planned"] == len(read_plan(SPEC, "cpu").runs)
    assert not summary["package"]["dirty"]
    per_cell = rows.groupby("run").size()
    assert (per_cell == 3 * len(CELL_KINDS)).all() and len(per_cell) == summary["complete"]
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 300_000


def test_every_recorded_call_follows_from_its_residual(rows):
    assert (rows["works"] == (rows["worst"] < 0.5)).all()
    assert (rows["beats"] == (rows["worst"] < rows["baseline"])).all()
    assert (rows["median"] <= rows["extreme"]).all() and (rows["extreme"] <= rows["worst"]).all()
    assert (rows["baseline"] <= 1).all()
    # forward error <= residual, for every matrix and so for every quantile
    assert (rows["forward_worst"] <= rows["worst"] * (1 + 1e-6) + 1e-9).all()


def test_multiples_of_the_identity_through_zero_are_inside_and_only_kinds_that_divide_work(rows):
    found = rows[(rows["family"] == "scaled-identity") & (rows["dials"] == '{"high": 1.0, "low": -1.0}')]
    assert len(found) == 3 * len(CELL_KINDS) and set(found["side"]) == {"inside"}
    divides = found["kind"].isin(["unrolled", "polynomial"])
    assert (found.loc[divides, "worst"] < 1e-6).all() and (found.loc[~divides, "worst"] >= 1).all()


def test_the_page_prints_the_summary_of_the_records(rows, printed):
    assert set(lines(claims_summary(rows))) <= set(printed)


def test_a_changed_record_changes_the_summary(rows, printed):
    run = cells_of(cell_calls(rows[~rows["single"].astype(bool)])).query("works").iloc[0]["run"]
    changed = rows.assign(worst=rows["worst"].where(rows["run"] != run, 2.0))
    assert not set(lines(claims_summary(changed, count=20))) <= set(printed)


def test_an_edited_table_is_refused(tmp_path):
    for path in FOLDER.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    assert len(load_study("families", folder=tmp_path).rows)
    table = tmp_path / "cpu.parquet"
    content = bytearray(table.read_bytes())
    content[len(content) // 2] ^= 1
    table.write_bytes(content)
    with pytest.raises(ValueError, match="is not the table"):
        load_study("families", folder=tmp_path)


def test_no_network_worked_near_a_singular_matrix(rows):
    approach = rows["worst_towards_singular"].dropna()
    assert len(approach) >= 3 * len(CELL_KINDS) and approach.min() > 1 - 1e-2
