"""The committed records of the study of families give what its page prints, and not after a change."""

import json
from pathlib import Path

import pytest

from neuinv.family_calls import cell_calls, cells_of, claims_summary
from neuinv.family_cells import CELL_KINDS
from neuinv.sweep import coverage, load_study, read_plan

pytest.importorskip("pandas")
pytest.importorskip("pyarrow")

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "book" / "results" / "families"
SPEC = ROOT / "notebooks" / "sweeps" / "families.yaml"
# The profile gpu is on the page as far as it is recorded.
RECORDED = [profile for profile in ("cpu", "gpu") if (FOLDER / f"{profile}.json").exists()]
each_recorded = pytest.mark.parametrize("profile", RECORDED)


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
    assert coverage("families", "cpu").missing == []
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 300_000


@each_recorded
def test_every_recorded_cell_has_all_its_networks_and_is_planned(profile):
    found = load_study("families", profile)
    assert not found.summary["package"]["dirty"] and coverage("families", profile).unplanned == 0
    per_cell = found.rows.groupby("run")["num_copies"].agg(["size", "first"])
    assert (per_cell["size"] == per_cell["first"] * len(CELL_KINDS)).all()
    assert len(per_cell) == found.summary["complete"]


@each_recorded
def test_every_recorded_call_follows_from_its_residual(profile):
    rows = load_study("families", profile).rows
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


@each_recorded
def test_the_page_prints_the_summary_of_the_records(profile, printed):
    found = claims_summary(load_study("families", profile).rows)
    if found["families"] < 8:  # no interval then
        found = {name: value for name, value in found.items() if not name.startswith("auc_difference")}
    start = next(k for k, line in enumerate(printed) if line == lines(found)[0])
    assert printed[start : start + len(found)] == lines(found)


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


@each_recorded
def test_no_network_worked_near_a_singular_matrix(profile):
    approach = load_study("families", profile).rows["worst_towards_singular"].dropna()
    assert len(approach) >= (3 * len(CELL_KINDS) if profile == "cpu" else 0)
    assert (approach > 1 - 1e-2).all()


def test_a_constant_inverts_the_single_matrices_and_they_are_left_out_of_the_summary(rows):
    alone = rows["single"].astype(bool)
    assert rows[alone]["family"].nunique() == 3 and (rows[alone]["side"] == "inside").all()
    assert (rows[alone]["baseline"] < 1e-12).all() and not rows[alone]["beats"].any()
    assert (rows[~alone]["baseline"] > 1e-3).all()
    assert lines(claims_summary(rows, count=20)) == lines(claims_summary(rows[~alone], count=20))
