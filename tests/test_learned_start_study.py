"""The study of learned starts: its plan, one cell of it, and the records that the page shows."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import neuinv
from neuinv.sweep import coverage, load_study, read_plan

ROOT = Path(__file__).resolve().parent.parent
SPEC = ROOT / "notebooks" / "sweeps" / "learned-start.yaml"
ROLES = ("development", "evaluation")
LEVELS, RIVALS = ("1e-2", "1e-4", "1e-6"), ("norms", "constant", "program")


def applied_families():
    """Return the families of the gallery that an application inverts."""
    return {name for name in neuinv.families() if "synthetic" not in neuinv.family(name).tags} | {
        # synthetic in that they are drawn from a model, which is that of the application
        "markov",
        "massive-mimo",
        "wilson-dirac",
    }


@pytest.mark.parametrize("profile", ["smoke", "cpu", "gpu"])
def test_every_planned_cell_has_a_family_and_enough_held_out_matrices(profile):
    plan = read_plan(SPEC, profile)
    for run in plan.runs:
        given = run.parameters
        size = {} if given["n"] is None else {"n": given["n"]}
        assert 1 <= neuinv.family(given["family"], **given["dials"], **size).n <= 128
        assert profile == "smoke" or given["num_test"] >= 1000


def test_all_applied_families_are_judged_and_on_none_anything_was_chosen():
    runs = read_plan(SPEC, "cpu").runs
    roles = {role: {r.parameters["family"] for r in runs if r.parameters["role"] == role} for role in ROLES}
    assert roles["evaluation"] == applied_families()
    assert roles["evaluation"].isdisjoint(roles["development"])
    assert {r.parameters["family"] for r in read_plan(SPEC, "gpu").runs} == applied_families()


def complaints(values):
    """Return what is inconsistent in one record."""
    found = []
    for kind in ("measured", "promised"):
        for level in LEVELS:
            table = values[kind][level]
            for rival in RIVALS:
                saved, other = table[f"saved.{rival}"], table[rival]
                if saved["net"] is None:
                    continue
                found += [f"gross {rival}"] * (abs(saved["gross"] - saved["net"] - values["own"]) > 1e-9)
                found += [f"order {rival}"] * (saved["net_worst"] > saved["net"])
                found += [f"median {rival}"] * (other["median"] > other["worst"])
            if table["learned"]["worst"] > values["promised"][level]["learned"]["worst"] + 1e-9:
                found.append("more steps than promised")
            if table["learned"]["median"] < values["own"]:
                found.append("fewer products than the network's own")
    if not 0 <= values["diverging"] <= values["refused"] <= 1:
        found.append("a start that diverges was accepted")
    if not values["beyond"] <= values["refused"] + 1e-12:
        found.append("a start beyond 1 was accepted")
    return found


def smoke_records(folder):
    """Run the smoke cell as the sweep does, and return its records."""
    (run,) = read_plan(SPEC, "smoke").runs
    given, notebook = run.parameters, ROOT / "notebooks" / "learned-start.ipynb"
    command = [sys.executable, "-m", "papermill", notebook, folder / "out.ipynb"]
    for name in ("family", "num_steps", "num_train", "num_test", "num_sample", "role"):
        command += ["-p", name, str(given[name])]
    command += ["-y", json.dumps({"dials": given["dials"], "n": None}), "--no-progress-bar"]
    environment = {**os.environ, "NEUINV_RUN_DIR": str(folder / "records")}
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(path.read_text())["values"] for path in (folder / "records").glob("*.json")]


def test_a_cell_records_three_seeds_of_three_widths_that_add_up(tmp_path):
    records = smoke_records(tmp_path)
    assert sorted((r["size"], r["network_seed"]) for r in records) == [
        (size, seed) for size in ("narrow", "thin", "wide") for seed in range(3)
    ]
    for record in records:
        assert complaints(record) == []
    # Negative controls: a product forgotten, a start accepted that diverges.
    forgotten = json.loads(json.dumps(records[0]))
    forgotten["measured"]["1e-4"]["saved.norms"]["net"] += 1
    assert "gross norms" in complaints(forgotten)
    assert "a start that diverges was accepted" in complaints({**records[0], "diverging": 1.1})


def nested(row):
    """Return a row of the table with its tables as dicts."""
    values = {name: row[name] for name in ("own", "diverging", "refused", "beyond")}
    for kind in ("measured", "promised"):
        values[kind] = {level: {} for level in LEVELS}
        for level in LEVELS:
            for way in ("learned", *RIVALS):
                values[kind][level][way] = {k: row[f"{kind}.{level}.{way}.{k}"] for k in ("median", "worst")}
            for rival in RIVALS:
                keys = ("gross", "gross_worst", "net", "net_worst")
                entry = {k: row[f"{kind}.{level}.saved.{rival}.{k}"] for k in keys}
                values[kind][level][f"saved.{rival}"] = entry
    return values


@pytest.mark.parametrize("profile", ["cpu", "gpu"])
def test_the_committed_records_add_up(profile):
    rows = load_study("learned-start", profile).rows
    assert (rows.groupby("run").size() == 9).all() and (rows["num_test"] >= 1000).all()
    assert [complaints(nested(row)) for _, row in rows.iterrows()] == [[]] * len(rows)


def printed(slug):
    """Return all that an executed page has printed."""
    content = json.loads((ROOT / "notebooks" / f"{slug}.ipynb").read_text(encoding="utf-8"))
    outputs = [output for cell in content["cells"] for output in cell.get("outputs", [])]
    return "\n".join("".join(output.get("text", "")) for output in outputs)


def test_the_page_of_the_cell_shows_what_the_study_recorded_for_it():
    rows = load_study("learned-start", "cpu").rows
    part = rows[rows["dials"] == '{"kappa": 100.0}']
    text = printed("learned-start")
    for size, group in part.groupby("size"):
        (line,) = [x for x in text.splitlines() if x.startswith(size) and len(x.split()) == 7]
        shown = [float(word) for word in line.split()[2:]]
        kept = [group["own"].iloc[0], group["start.worst"].max()]
        kept += [group[name].mean() for name in ("refused", "beyond", "diverging")]
        assert all(abs(a - b) <= 0.011 for a, b in zip(shown, kept, strict=True))


def test_the_summary_of_the_page_is_that_of_the_records():
    rows = load_study("learned-start", "cpu").rows
    text = printed("what-learning-saves")
    judged = rows[rows["role"] == "evaluation"]
    for size in ("thin", "narrow", "wide"):
        paid = 0
        for _, part in judged[judged["size"] == size].groupby("run"):
            net = [part[f"measured.1e-4.saved.{rival}.net"].median() for rival in RIVALS]
            paid += min(value for value in net if value == value) > 0
        (line,) = [x for x in text.splitlines() if x.split()[:2] == ["1e-4", size]]
        assert int(line.split()[4]) == paid


def test_a_wide_network_takes_eight_products_and_more_that_shrink_with_n():
    rows = [load_study("learned-start", profile).rows for profile in ("cpu", "gpu")]
    for size, own in (("wide", lambda n: 8 + 64 / n), ("narrow", lambda n: 2 + 4 / n)):
        for table in rows:
            part = table[table["size"] == size]
            assert abs(part["own"] - own(part["order"])).max() < 1e-9


def test_the_page_counts_the_families_that_save_at_the_sizes_of_the_gallery():
    full = coverage("learned-start", "gpu")
    assert full.unplanned == 0 and not full.study.summary["package"]["dirty"]
    net = full.rows.groupby(["family", "size"])[
        [f"measured.1e-4.saved.{rival}.net" for rival in RIVALS]
    ].median()
    pays = net.min(axis=1).groupby("family").max() > 0
    said = (
        f"of {len(pays)} recorded families some width saves net products, in the median, on\n{pays.sum()}: "
    )
    assert said in printed("what-learning-saves")
