"""Summaries of studies follow from their committed rows, and repeated runs are compared value by value."""

import json
import math
import re
import statistics

import pytest
from notebook_tools import ROOT

pandas = pytest.importorskip("pandas")
parquet = pytest.importorskip("pyarrow.parquet")

from neuinv.sweep import agreement, load_study, read_plan, result_columns, summarize  # noqa: E402

SPECS = sorted((ROOT / "notebooks" / "sweeps").glob("*.yaml"))
PLANS = {spec: read_plan(spec) for spec in SPECS}
COLLECTED = [
    spec for spec, plan in PLANS.items() if (ROOT / "book/results" / plan.spec.study / "cpu.json").exists()
]
each_collected = pytest.mark.parametrize("spec", COLLECTED, ids=lambda spec: spec.stem)


def printed_summaries():
    """Return study -> (kind, column) -> (median, largest) as the page on reproducing prints them."""
    content = json.loads((ROOT / "notebooks" / "reproducing.ipynb").read_text(encoding="utf-8"))
    outputs = [output for cell in content["cells"] for output in cell.get("outputs", [])]
    found, study = {}, None
    for line in "".join("".join(output.get("text", "")) for output in outputs).splitlines():
        head = re.fullmatch(r"(\S+): +median +largest", line)
        study = head.group(1) if head else study if line.startswith("  ") else None
        if study and not head:
            *name, median, largest = line[23:].split()
            key = (line[2:22].strip(), " ".join(name))
            found.setdefault(study, {})[key] = (float(median), float(largest))
    return found


def recomputed(spec):
    """Return the same from the Parquet file with the standard library, without the package."""
    plan = PLANS[spec]
    rows = parquet.read_table(ROOT / "book/results" / plan.spec.study / "cpu.parquet").to_pylist()
    found = {}
    for row in rows:
        for name, value in row.items():
            number = isinstance(value, int | float) and not isinstance(value, bool)
            other = name in plan.runs[0].parameters or name.startswith(("run", "parameter."))
            if number and not other and "seconds" not in name and not math.isnan(value):
                found.setdefault((str(row.get("kind", "")), name), []).append(value)
    return {key: (statistics.median(values), max(values)) for key, values in found.items()}


@each_collected
def test_the_printed_summary_of_a_study_follows_from_its_committed_rows_to_three_digits(spec):
    stated, found = printed_summaries()[PLANS[spec].spec.study], recomputed(spec)
    assert stated.keys() == found.keys() and len(found) >= 3
    for key, numbers in found.items():
        for printed, exact in zip(stated[key], numbers, strict=True):
            assert printed == float(f"{exact:.3g}"), (key, exact)


@each_collected
def test_a_row_that_is_left_out_changes_a_summary(spec):
    plan = PLANS[spec]
    rows, names = load_study(plan.spec.study).rows, list(plan.runs[0].parameters)
    column = result_columns(rows, names)[-1]
    assert summarize(rows, names) != summarize(rows[rows[column] < rows[column].max()], names)


def test_every_study_with_records_is_on_the_page():
    assert {PLANS[spec].spec.study for spec in COLLECTED} == set(printed_summaries())
    assert len(COLLECTED) >= 2


ROWS = pandas.DataFrame(
    {
        "run": ["a", "a", "b", "b"],
        "n": [2, 2, 3, 3],
        "dials": ['{"kappa": 3.0}'] * 4,
        "kind": ["x", "y", "x", "y"],
        "worst": [1.0, 2.0, 3.0, 4.0],
        "flag": [True, False, True, False],
        "cpu_seconds": [1.0, 1.0, 1.0, 1.0],
        "run.wall_seconds": [1.0, 2.0, 1.0, 2.0],
    }
)
NAMES = ["n", "dials"]


def test_results_are_numbers_that_are_no_parameters_and_no_times():
    assert result_columns(ROWS, NAMES) == ["worst"]
    assert summarize(ROWS, NAMES) == {("x", "worst"): (2.0, 3.0), ("y", "worst"): (3.0, 4.0)}
    assert summarize(ROWS.drop(columns="kind"), NAMES) == {("", "worst"): (2.5, 4.0)}


def test_a_repetition_agrees_in_all_digits_with_itself_and_in_few_with_another():
    whole = agreement(ROWS, ROWS, NAMES)
    assert (whole.runs, whole.values, whole.least, whole.share(15)) == (2, 4, 15, 1.0)
    assert agreement(ROWS, ROWS.iloc[::-1], NAMES).least == 15, "the kind tells the records of a run apart"
    part = ROWS[ROWS["run"] == "b"].assign(run="c", worst=[3.003, 8.0])
    found = agreement(ROWS, part, NAMES)
    assert (found.runs, found.values) == (1, 2)
    assert found.digits["worst"] == pytest.approx([3.0, 0.30103], abs=1e-3)
    assert (found.share(1), found.share(2)) == (0.5, 0.5)


@pytest.mark.parametrize("value", [math.nan, math.inf, -3.0])
def test_a_value_that_is_lost_infinite_or_of_the_other_sign_agrees_in_no_digit(value):
    part = ROWS[ROWS["run"] == "b"].assign(worst=[value, 4.0])
    assert agreement(ROWS, part, NAMES).least == 0


def test_a_run_that_is_not_in_the_study_or_has_lost_a_record_is_refused():
    with pytest.raises(ValueError, match="is not in the study"):
        agreement(ROWS, ROWS.assign(n=9), NAMES)
    with pytest.raises(ValueError, match="has 1 records and had 2"):
        agreement(ROWS, ROWS.iloc[:1], NAMES)
