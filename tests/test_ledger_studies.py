"""The predicates that read studies of trained networks: each gives every verdict that it can give."""

import json
from types import SimpleNamespace

import ledger_model as model
import ledger_predicates as predicates
import ledger_render as render
import ledger_studies as studies
import numpy as np
import pytest
from notebook_tools import ROOT

from neuinv.records.values import digest

pandas = pytest.importorskip("pandas")


def said(name, rows, **options):
    """Return what a predicate says of the rows of a study."""
    book = SimpleNamespace(load=lambda record: SimpleNamespace(rows=pandas.DataFrame(rows)))
    part = SimpleNamespace(name=name, options=options)
    return predicates.PREDICATES[name](part, book)


KAPPAS = np.array([1.5, 2.5, 4.5, 9.0, 20.0, 65.0, 400.0, 10000.0])


def growth(*laws):
    """Return rows like those of the study of growth; one series for each law."""
    generator = np.random.default_rng(0)
    rows = []
    for number, law in enumerate(laws):
        for copy in range(5):
            for kappa in KAPPAS:
                error = float(law(kappa) * np.exp(0.05 * generator.standard_normal()))
                values = dict.fromkeys(
                    (f"{p}{s}" for p in studies.KINDS_OF_ERROR for s in studies.STATISTICS), error
                )
                rows.append(
                    {"n": number, "kind": "x", "structure": "y", "copy": copy, "kappa": kappa, **values}
                )
    return rows


def test_growth_of_a_known_law_is_called_by_its_name():
    def exponential(kappa):
        return 1e-3 * np.exp(kappa / 500)

    def power(kappa):
        return 1e-3 * kappa**0.76

    assert said("exponential-growth", growth(exponential)).verdict == "reproduced"
    assert said("exponential-growth", growth(power)).verdict == "not supported"
    mixed = said("exponential-growth", growth(exponential, power))
    assert mixed.verdict == "refined"
    assert (mixed.values["series"], mixed.values["wins"], mixed.values["far"]) == (24, 12, 12)


def test_below_saturation_a_power_and_an_exponential_are_told_apart():
    def saturating(kappa):
        return 0.1 * kappa**0.5 if kappa < 10 else 1.0

    found = said("power-below-saturation", growth(saturating))
    assert found.verdict == "refined" and found.values["low"] == pytest.approx(0.5, abs=0.1)

    def exploding(kappa):
        return 1e-3 * np.exp(min(kappa, 100) / 2)

    assert said("power-below-saturation", growth(exploding)).verdict == "not supported"


def test_a_series_of_few_condition_numbers_is_left_out():
    rows = pandas.DataFrame(growth(lambda kappa: kappa))
    assert len(list(studies.growth_series(rows))) == 12
    assert list(studies.growth_series(rows[rows["kappa"] < 50])) == []


def test_a_series_that_lacks_a_condition_number_of_the_study_is_left_out_and_widths_are_apart():
    rows = pandas.DataFrame(growth(lambda kappa: kappa, lambda kappa: kappa**2)).assign(width=64)
    both = pandas.concat([rows, rows.assign(width=128)])
    assert len(list(studies.growth_series(both))) == 48
    assert len(list(studies.growth_series(both[(both["width"] == 64) | (both["kappa"] > 2)]))) == 24
    assert len(list(studies.growth_series(rows, ["mean", "absolute_worst"]))) == 4
    few = rows[rows["kappa"] < 50]
    for name in ("exponential-growth", "power-below-saturation"):
        assert said(name, few, columns=["mean"]).verdict == "open"


def test_a_network_that_is_in_no_series_is_not_named_among_those_that_are_judged():
    rows = pandas.DataFrame(growth(lambda kappa: kappa, lambda kappa: kappa**2))
    rows.loc[rows["n"] == 1, "kind"] = "z"
    both = said("exponential-growth", rows, columns=["mean", "worst"]).values
    assert (both["networks"], both["kinds"], both["size"], both["series"]) == (2, "x, z", 1, 4)
    short = rows[(rows["n"] == 0) | (rows["kappa"] < 4)]
    one = said("exponential-growth", short, columns=["mean", "worst"]).values
    assert (one["networks"], one["kinds"], one["size"], one["series"]) == (1, "x", 0, 2)


def network(run, side, worst, approach=None, kind="a", copy=0, **given):
    """Return a row like those of the study of families."""
    row = {"run": run, "family": run, "dials": "{}", "size": 2, "side": side, "single": False, "curve": False}
    row |= {
        "verdict": "cannot" if side == "outside" else "polynomial",
        "kind": kind,
        "copy": copy,
        "score": 0.5,
    }
    row |= {"worst": worst, "median": worst / 2, "baseline": 1.0, "plain.kappa": 1.0}
    return row | {"worst_towards_singular": np.nan if approach is None else approach} | given


@pytest.mark.parametrize(
    ("one", "other", "word"),
    [(1.0, 0.6, "reproduced"), (1.0, 0.1, "refined"), (0.1, 0.2, "not supported")],
)
def test_networks_outside_of_the_criterion_fail_on_the_way_to_a_singular_matrix(one, other, word):
    rows = [
        network("p", "outside", 0.1, one),
        network("q", "outside", 2.0, other),
        network("r", "inside", 0.1),
    ]
    found = said("outside-fails", rows)
    assert found.verdict == word and (found.values["networks"], found.values["works"]) == (2, 1)


@pytest.mark.parametrize(
    ("one", "other", "word"),
    [(0.1, 0.1, "reproduced"), (0.1, 0.9, "refined"), (0.8, 0.9, "not supported")],
)
def test_networks_inside_of_the_criterion_work_from_every_seed(one, other, word):
    rows = []
    for run, worst in (("p", one), ("q", other)):
        rows += [network(run, "inside", worst, copy=copy) for copy in (0, 1)]
        rows += [network(run, "inside", value, kind="b", copy=copy) for copy, value in enumerate((0.1, 3.0))]
    rows += [network("s", "outside", 3.0, 1.0)]
    assert said("inside-works", rows).verdict == word


@pytest.mark.parametrize(
    ("baseline", "word"),
    [((1.0, 1.0), "reproduced"), ((1.0, 0.05), "refined"), ((0.05, 0.05), "not supported")],
)
def test_a_network_that_works_may_still_lose_to_what_ignores_its_input(baseline, word):
    rows = [network(run, "inside", 0.1, baseline=b) for run, b in zip("pq", baseline, strict=True)]
    rows += [network("r", "inside", 0.9, baseline=0.1)]  # does not work, and so does not count
    assert said("beats-what-ignores-its-input", rows).verdict == word


def test_a_score_that_separates_cells_better_or_worse_than_the_condition_number():
    rows = []
    for number in range(20):
        worst = 2.0 if number % 2 == 0 else 0.1
        given = {"score": worst, "plain.kappa": float(number)}
        rows += [network(f"r{number}", "undeclared", worst, copy=copy, **given) for copy in (0, 1)]
    table = pandas.DataFrame(rows)
    swapped = table.rename(columns={"score": "plain.kappa", "plain.kappa": "score"})
    same = table.assign(score=table["plain.kappa"])
    for given, word in ((table, "reproduced"), (swapped, "not supported"), (same, "open")):
        assert said("score-separates-again", given).verdict == word
    assert "interval of the difference is [" in said("score-separates-again", table).values["interval"]


def test_few_families_say_nothing_of_the_score_however_well_it_separates_them():
    rows = [
        network(f"r{number}", "undeclared", worst, **{"score": worst, "plain.kappa": -worst})
        for number in range(studies.LEAST_FAMILIES)
        for worst in (2.0 if number % 2 == 0 else 0.1,)
    ]
    assert said("score-separates-again", rows).verdict == "reproduced"
    found = said("score-separates-again", rows[1:])
    assert found.verdict == "open" and "too few families" in found.values["interval"]


@pytest.mark.parametrize(
    ("asked", "word"), [({"least_share": 0.5}, "open"), ({"least_share": 0.2}, "refined"), ({}, "refined")]
)
def test_a_row_that_asks_for_half_of_the_planned_runs_is_open_with_fewer(monkeypatch, asked, word):
    outcome = predicates.Outcome("refined", {"runs": 4, "planned": 18})
    monkeypatch.setitem(predicates.PREDICATES, "tried", lambda part, book: outcome)
    part = model.Part("C3.tried", "<<runs>> of <<planned>>", "tried", "estimate", options=asked)
    found = predicates.evaluate(part, SimpleNamespace())
    assert found.verdict == word and found.values == outcome.values
    rule = render._shares([model.Claim("C3", "t", "a", (part,))])
    assert any("C3.tried" in sentence for sentence in rule) == bool(asked)


def test_the_rows_of_estimates_on_a_gpu_ask_for_half_of_the_planned_runs_and_say_so():
    claims, _ = model.read_claims(ROOT / "book" / "claims.yaml")
    studied = ("families/gpu", "scaling/gpu", "learned-start/gpu", "kappa-law/gpu")
    rows = [part for claim in claims for part in claim.parts if part.options.get("study") in studied]
    asked = {part.name for part in rows if part.options.get("least_share") == 0.5}
    assert asked == {part.name for part in rows if part.evidence == "estimate"} and len(asked) == 8
    assert all(name in "\n".join(render._shares(claims)) for name in asked)


@pytest.mark.parametrize(
    ("certified", "word"),
    [((1.0, 1.0 - 1e-7), "reproduced"), ((1.0, 0.9), "refined"), ((0.9, 0.5), "not supported")],
)
def test_certificates_outside_of_the_criterion_count_one_by_one(certified, word):
    rows = [{"certified": value, "worst": 0.5} for value in (*certified, np.nan)]
    found = said("certified-outside", rows)
    assert found.verdict == word and (found.values["networks"], found.values["below"]) == (2, 2)


@pytest.mark.parametrize(
    ("ends", "word"), [((0.1, 0.1), "reproduced"), ((0.1, 0.9), "refined"), ((0.9, 0.8), "not supported")]
)
def test_errors_inside_of_the_criterion_fall_along_all_some_or_no_axes(monkeypatch, ends, word):
    import neuinv.scaling as scaling

    rows = []
    for kind, end in zip("ab", ends, strict=True):
        for size, worst in ((1, 0.5), (2, end)):
            row = {"size": size, "num_train": size, "num_steps": size, "worst": worst}
            rows.append({"run": kind, "family": "f", "kind": kind, "inside": True, **row})
    monkeypatch.setattr(scaling, "axis_rows", lambda rows, axis: rows)
    assert said("falls-inside", rows).verdict == word


def peer(seed, mean, median, refined=0, parameters=1000, num_steps=10):
    row = {"kind": "k", "task": "t", "seed": seed, "refined": refined, "parameters": parameters}
    row |= {"products": 2.0 * refined, "num_steps": num_steps}
    row |= {"frobenius.mean": mean, "frobenius.median": median, "frobenius.worst": 10 * mean}
    row["forward.worst"] = mean
    return row


@pytest.mark.parametrize(
    ("means", "parameters", "word"),
    [
        ((0.01, 0.02, 0.02), 1000, "reproduced"),
        ((0.01, 0.02), 1000, "refined"),  # two seeds are too few
        ((0.01, 0.03, 0.02), 1000, "refined"),
        ((0.03, 0.03), 1000, "not supported"),
        ((0.01, 0.02, 0.02), 2_000_000, "not supported"),  # more than a tenth of the parameters
    ],
)
def test_a_published_mean_is_beaten_by_all_some_or_none_of_the_seeds(means, parameters, word):
    rows = [peer(seed, mean, 1e-3, parameters=parameters) for seed, mean in enumerate(means)]
    rows += [peer(0, 1e-9, 1e-12, refined=4)]  # a refined answer is none in one shot
    rows += [peer(0, 9.0, 1.0, num_steps=5)]  # a shorter training is not the one that is judged
    assert said("beats-published", rows, kind="k", task="t").verdict == word
    assert said("beats-published", rows, kind="never", task="t").verdict == "open"
    assert said("refined-to-rounding", rows, kind="never", task="t").verdict == "open"


@pytest.mark.parametrize(
    ("medians", "word"),
    [
        ((1e-12, 1e-11, 1e-11), "reproduced"),
        ((1e-12,), "refined"),
        ((1e-12, 1e-9, 1e-11), "refined"),
        ((1e-9, 1e-9), "not supported"),
    ],
)
def test_refined_answers_are_judged_after_four_steps_at_most(medians, word):
    rows = []
    for seed, median in enumerate(medians):
        rows += [peer(seed, 1.0, 1e-3, refined=0), peer(seed, 1.0, 1e-5, refined=1)]
        rows += [peer(seed, 1.0, median, refined=4), peer(seed, 1.0, 1e-15, refined=5)]
    assert said("refined-to-rounding", rows, kind="k", task="t").verdict == word


@pytest.mark.parametrize(
    ("saved", "word"), [((2.0, 4.0), "reproduced"), ((2.0, 0.0), "refined"), ((0.0, -2.0), "not supported")]
)
def test_a_learned_start_saves_over_its_strongest_rival_on_all_some_or_no_families(saved, word):
    rows = []
    for family, value in zip("pq", saved, strict=True):
        for size, change in (("thin", 0.0), ("wide", -5.0)):
            columns = {f"measured.1e-4.saved.{rival}.net": value + change + 9 for rival in studies.RIVALS}
            columns["measured.1e-4.saved.constant.net"] = value + change  # the strongest
            columns["measured.1e-4.saved.program.net"] = np.nan  # this rival does not reach the tolerance
            rows.append({"family": family, "size": size, "role": "evaluation", **columns})
    rows.append({**rows[0], "family": "r", "role": "development"})
    assert said("learning-saves-products", rows, tolerance="1e-4").verdict == word


@pytest.mark.parametrize(
    ("ratios", "word"),
    [
        ((2.0, 3.0), "reproduced"),
        ((2.0, 3.0, 0.5), "refined"),
        ((2.0, 0.5), "not supported"),
        ((2.0, 0.5, 0.5), "not supported"),
        ((0.4, 0.5), "not supported"),
        ((1.0, 1.0), "not supported"),
    ],
)
def test_polynomials_are_faster_in_all_most_or_few_of_the_cells(monkeypatch, ratios, word):
    """A ratio of 1 lies within the quartiles: it counts for nobody."""
    import neuinv.benchmark as benchmark

    ratio = np.array(ratios)
    tables = {"polynomial": ratio, "front": ratio / 100}
    tables = {
        group: pandas.DataFrame({"ratio": found, "low": 0.9 * found, "high": 1.1 * found})
        for group, found in tables.items()
    }
    record = SimpleNamespace(rows=None, hardware="x", device="cpu", has=lambda cell: cell.n > 2)
    monkeypatch.setattr(benchmark, "load_speed", lambda folder: [record])
    monkeypatch.setattr(benchmark, "break_even", lambda rows, tolerance, group: tables[group])
    book = SimpleNamespace(root=ROOT)
    part = SimpleNamespace(name="speed", options={"tolerance": 1e-3, "device": "cpu"})
    found = studies.faster_than_direct(part, book)
    assert found.verdict == word
    assert (found.values["least"], found.values["most"]) == (min(ratios), max(ratios))
    assert found.values["missing"] == sum(cell.n == 2 for cell in benchmark.plan_cells("cpu")) > 0
    part.options["group"] = "front"
    assert studies.faster_than_direct(part, book).verdict == "not supported"
    part.options["device"] = "cuda"
    assert studies.faster_than_direct(part, book).verdict == "open"


def test_the_verdict_on_speed_on_a_gpu_follows_from_the_records(tmp_path):
    """Negative control: where every scheme takes a hundred times as long, the verdict is another."""
    part = SimpleNamespace(name="speed", options={"tolerance": 1e-3, "device": "cuda"})
    found = studies.faster_than_direct(part, SimpleNamespace(root=ROOT))
    assert found.verdict == "refined" and found.values["losses"] == 0
    folder = tmp_path / "book" / "results" / "speed"
    folder.mkdir(parents=True)
    for path in (ROOT / "book" / "results" / "speed").glob("record-*.json"):
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["provenance"]["device"]["type"] == "cuda":
            content["values"]["rows"] = [slower(line) for line in content["values"]["rows"]]
            del content["sha256"]
            content["sha256"] = digest(content)
            (folder / path.name).write_text(json.dumps(content), encoding="utf-8")
    altered = studies.faster_than_direct(part, SimpleNamespace(root=tmp_path))
    assert altered.verdict == "not supported" and altered.values["total"] == found.values["total"]
    assert altered.values["most"] < 1


def slower(line):
    """Return a row of a record with the times of a scheme a hundred times as long."""
    cells = line.split(",")
    if cells[5] == "polynomial":
        cells[6:9] = [str(100 * float(value)) for value in cells[6:9]]
    return ",".join(cells)
