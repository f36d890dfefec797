"""The ledger of claims says what the statements and the records say, and a change of either is seen."""

import json
import re
import shutil
from types import SimpleNamespace

import ledger
import ledger_model as model
import ledger_predicates as predicates
import ledger_render as render
import pytest
from notebook_tools import ROOT

from neuinv.records.values import digest, to_json


@pytest.fixture(scope="module")
def found():
    """The claims, the outcome of every part, and the book, computed once."""
    return ledger.load(ROOT)


@pytest.fixture(scope="module")
def page():
    return (ROOT / "book" / "claims.md").read_text(encoding="utf-8")


@pytest.fixture
def copy(tmp_path):
    """A copy of all that the ledger reads, which a test may damage."""
    for name in ("book", "notebooks", "tests"):
        ignored = shutil.ignore_patterns("*.png", "__pycache__", ".ipynb_checkpoints")
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
    shutil.copy(ROOT / "_toc.yml", tmp_path)
    return tmp_path


def part(name, root=ROOT):
    """Return one part of the ledger by its name."""
    claims, _ = model.read_claims(root / "book" / "claims.yaml")
    return next(one for claim in claims for one in claim.parts if one.name == name)


# --- the page --------------------------------------------------------------------------------------


def test_the_page_says_what_the_statements_and_the_records_say(found, page):
    claims, outcomes, book = found
    assert render.faults(page, claims, outcomes, book) == [], "run 'python tools/ledger.py'"


def test_all_seven_claims_have_rows_with_a_verdict(found):
    claims, outcomes, _ = found
    assert [claim.key for claim in claims] == [f"C{k}" for k in range(1, 8)]
    assert all(claim.parts for claim in claims)
    assert {outcome.verdict for outcome in outcomes.values()} <= set(model.VERDICTS)


def test_every_row_names_where_its_evidence_is(found):
    claims, _, _ = found
    for claim in claims:
        for one in claim.parts:
            assert one.proofs or one.records or one.pages, one.name
            assert one.tests, one.name


def test_no_row_types_a_measured_number(found):
    """Numbers of records stand as <<name>>; what is left may hold no decimal and no percentage but 95 %."""
    claims, _, _ = found
    for claim in claims:
        for one in claim.parts:
            text = re.sub(r"<<[^>]*>>|\$[^$]*\$|95 %|99.9 %", "", f"{one.text} {one.missing}")
            assert not re.search(r"\d\.\d|\d+ ?%|\de-?\d", text), one.name


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("**impossibility: proved.**", "**impossibility: open.**", "C1.impossibility: the page says 'open'"),
        (
            "**prediction: reproduced.**",
            "**prediction: not supported.**",
            "C4.prediction: the page says 'not",
        ),
        ("its AUC is 0.92", "its AUC is 0.95", "its AUC is 0.95"),
        ("from 18 families", "from 19 families", "from 19 families"),
        ("- **price: refined.**", "- price: refined.", "C1.price: the page says 'nothing'"),
        ("{prf:ref}`prop-poles`", "{prf:ref}`thm-price`", "the page says"),
    ],
)
def test_a_flipped_verdict_or_a_stale_number_is_caught(found, page, old, new, complaint):
    claims, outcomes, book = found
    assert old in page
    sentences = render.faults(page.replace(old, new, 1), claims, outcomes, book)
    assert any(complaint in sentence for sentence in sentences), sentences


def test_a_flipped_word_of_the_table_is_caught(found, page):
    claims, outcomes, book = found
    for claim in claims:
        said = ", ".join(render.words(claim, outcomes))
        row = next(line for line in page.splitlines() if line.startswith(f"| {{ref}}`{claim.key} "))
        assert row.endswith(f"| {said} |")
        flipped = page.replace(row, row.removesuffix(f"{said} |") + "open, proved |")
        sentences = render.faults(flipped, claims, outcomes, book)
        assert sentences == [f"{claim.key}: the table says 'open, proved', the rows say {said!r}."]


def test_a_line_added_or_lost_is_caught(found, page):
    claims, outcomes, book = found
    lines = page.splitlines(keepends=True)
    position = next(i for i, line in enumerate(lines) if "**price" in line)
    assert render.faults("".join(lines[:position] + ["More.\n"] + lines[position:]), claims, outcomes, book)
    with pytest.raises(model.LedgerError, match="lost the marks"):
        render.faults(page.replace(render.END, ""), claims, outcomes, book)


# --- the evidence ----------------------------------------------------------------------------------


def edit(path, change, *, again=False):
    """Change the values of a record; ``again`` computes its digest anew, as a forger would."""
    content = json.loads(path.read_text())
    change(content["values"])
    if again:
        del content["sha256"]
        content["sha256"] = digest(content)
    path.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")


def test_an_edited_record_is_refused(copy):
    (path,) = model.Book(copy).files("soak/key-inequality")
    edit(path, lambda values: values.update(violations=1))
    with pytest.raises(ValueError, match="was edited: its digest differs"):
        predicates.evaluate(part("C1.search"), model.Book(copy))


def test_an_edited_table_of_a_study_is_refused(copy):
    table = copy / "book" / "results" / "why-cannot" / "cpu.parquet"
    content = bytearray(table.read_bytes())
    content[len(content) // 2] ^= 1
    table.write_bytes(bytes(content))
    with pytest.raises(ValueError, match="is not the table"):
        predicates.evaluate(part("C4.impossibility"), model.Book(copy))


def test_a_record_forged_with_its_digest_changes_the_verdict_and_the_page(found, page, copy):
    claims, outcomes, _ = found
    book = model.Book(copy)
    assert predicates.evaluate(part("C1.search"), book).verdict == "reproduced"
    (path,) = book.files("soak/key-inequality")
    edit(path, lambda values: values.update(pairs=values["pairs"]), again=True)
    assert render.faults(page, claims, outcomes, model.Book(copy)) == [], "the same content, the same page"
    edit(path, lambda values: values.update(seconds=1.0), again=True)
    (sentence,) = render.faults(page, claims, outcomes, model.Book(copy))
    assert "soak/key-inequality" in sentence, "a value that no row shows still changes the digest on the page"
    edit(path, lambda values: values.update(violations=1), again=True)
    assert predicates.evaluate(part("C1.search"), model.Book(copy)).verdict == "not supported"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (":label: thm-zero-network", ":label: thm-null-network"),  # renamed
        ("{prf:theorem} The zero network", "{prf:remark} The zero network"),  # no statement any more
    ],
)
def test_a_statement_that_is_gone_is_an_error(copy, old, new):
    chapter = copy / "notebooks" / "why-cannot.md"
    text = chapter.read_text()
    assert old in text
    chapter.write_text(text.replace(old, new))
    with pytest.raises(model.LedgerError, match="no chapter states 'thm-zero-network' with a proof"):
        predicates.evaluate(part("C1.impossibility"), model.Book(copy))


def test_a_statement_without_its_proof_is_an_error(copy):
    chapter = copy / "notebooks" / "lipschitz-price.md"
    before, label, after = chapter.read_text().partition(":label: thm-price\n")
    chapter.write_text(before + label + after.replace("{prf:proof}", "{prf:remark}", 1))
    with pytest.raises(model.LedgerError, match="no chapter states 'thm-price' with a proof"):
        predicates.evaluate(part("C1.price"), model.Book(copy))


def test_a_chapter_that_is_not_in_the_contents_states_nothing(copy):
    contents = copy / "_toc.yml"
    contents.write_text(contents.read_text().replace("- file: notebooks/lipschitz-price\n", ""))
    with pytest.raises(model.LedgerError, match="no chapter states 'thm-price'"):
        predicates.evaluate(part("C1.price"), model.Book(copy))


def test_a_missing_test_page_or_record_is_an_error(copy):
    (copy / "tests" / "test_witnesses.py").unlink()
    with pytest.raises(model.LedgerError, match=r"there is no test 'tests/test_witnesses\.py'"):
        predicates.evaluate(part("C1.impossibility"), model.Book(copy))
    shutil.rmtree(copy / "book" / "results" / "semidefinite")
    with pytest.raises(model.LedgerError, match="there is no record 'semidefinite'"):
        predicates.evaluate(part("C2.semidefinite"), model.Book(copy))
    contents = copy / "_toc.yml"
    contents.write_text(contents.read_text().replace("- file: notebooks/data-floor\n", ""))
    with pytest.raises(model.LedgerError, match=r"no chapter states|there is no page"):
        predicates.evaluate(part("C5.data-floor"), model.Book(copy))


def test_a_row_that_waits_for_its_record_is_open(copy):
    waiting = model.Part(
        "C1.later", "text", "no-violation", "estimate", records=("never-run",), missing="Not run."
    )
    assert predicates.evaluate(waiting, model.Book(copy)).verdict == "open"


def test_a_row_of_another_profile_is_there_once_it_is_recorded(copy):
    """The records of the profile cpu, under another name, stand in for those of the profile gpu."""
    claims, _ = model.read_claims(copy / "book" / "claims.yaml")
    names = {one.name for claim in claims for one in claim.parts if one.optional}
    assert {"C5.one-shot-longer", "C6.retrained-larger"} <= names
    results = copy / "book" / "results"
    for profile in ("gpu.json", "gpu.parquet"):
        (results / "peers" / profile).unlink(missing_ok=True)

    def rows_of(book):
        return {one.name for claim in model.recorded(claims, book) for one in claim.parts}

    assert "C5.one-shot-longer" not in rows_of(model.Book(copy))
    for kind in ("json", "parquet"):
        shutil.copy(results / "peers" / f"cpu.{kind}", results / "peers" / f"gpu.{kind}")
    book = model.Book(copy)
    assert {"C5.one-shot-longer", "C5.one-shot-usual-layers-longer"} <= rows_of(book)
    same = [predicates.evaluate(part(f"C5.one-shot{name}"), book) for name in ("", "-longer")]
    assert same[0] == same[1] and same[0].verdict == "reproduced"
    assert [path.name for path in book.files("peers/gpu")] == ["gpu.json", "gpu.parquet"]
    assert book.origin("peers/gpu")["rows"] == book.origin("peers")["rows"]
    (results / "peers" / "gpu.parquet").write_bytes(b"other")
    with pytest.raises(ValueError, match="is not the table"):
        model.Book(copy).load("peers/gpu")


def test_a_page_that_stops_printing_a_line_loses_its_verdict(copy):
    trained = part("C2.trained")
    assert predicates.evaluate(trained, model.Book(copy)).verdict == "reproduced"
    twin = copy / "notebooks" / "lipschitz-in-practice.ipynb"
    text = twin.read_text()
    line = "needed <= measured <= certified: "
    assert line + "True" in text
    twin.write_text(text.replace(line + "True", line + "False"))
    assert predicates.evaluate(trained, model.Book(copy)).verdict == "not supported"


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("predicate: proved", "predicate: believed", "there is no predicate 'believed'"),
        ("evidence: proof", "evidence: rumour", "evidence 'rumour'"),
        ("    title: Guidelines", "    titel: Guidelines", "the entry 'titel'"),
        ("claims:\n", "claim:\n", "is not a ledger"),
        ("<<pairs>>", "<<couples>>", "shows 'couples'"),
    ],
)
def test_a_faulty_declaration_is_refused_in_a_sentence(found, copy, old, new, complaint):
    declared = copy / "book" / "claims.yaml"
    declared.write_text(declared.read_text().replace(old, new, 1))
    with pytest.raises(model.LedgerError, match=complaint):
        book = model.Book(copy)
        claims = model.recorded(model.read_claims(declared)[0], book)
        predicates.evaluate(claims[0].parts[0], book)
        render.claims_section(claims, found[1], book)


def test_the_ledger_runs_no_code_of_its_file(tmp_path):
    """yaml.safe_load: a tag that would call a function is refused."""
    path = tmp_path / "claims.yaml"
    path.write_text("claims: !!python/object/apply:os.getcwd []\nguidelines: {}\n")
    with pytest.raises(model.LedgerError, match="is not a ledger"):
        model.read_claims(path)


def test_the_tool_reports_misuse_and_staleness(tmp_path, capsys):
    assert ledger.main(["--check", "--root", str(tmp_path)]) == 2
    assert "is not a ledger" in capsys.readouterr().err


# --- the predicates: each can say something else ---------------------------------------------------


class Records:
    """A book that holds the given records alone."""

    def __init__(self, **loaded):
        self.loaded = {name.replace("__", "/").replace("_", "-"): value for name, value in loaded.items()}

    def load(self, name):
        return self.loaded[name]


def single(**values):
    return [{"values": to_json(values)}]


def said(name, book, **options):
    return predicates.PREDICATES[name](SimpleNamespace(name=name, options=options, pages=()), book).verdict


@pytest.mark.parametrize(("gap", "verdict"), [(1e-16, "reproduced"), (1e-3, "not supported")])
def test_witnesses_that_a_network_beats_are_not_supported(gap, verdict):
    book = Records(soak__sign_witnesses=single(largest_one_minus_r=gap, pairs=3))
    assert said("witnesses-hold", book) == verdict


@pytest.mark.parametrize(("ratio", "verdict"), [(1.0, "reproduced"), (1.01, "not supported")])
def test_a_secant_above_the_constant_is_not_supported(ratio, verdict):
    book = Records(soak__lipschitz_rules=single(largest_ratio=ratio, pairs=1, networks=1))
    assert said("rules-hold", book) == verdict


@pytest.mark.parametrize(("found", "verdict"), [(0.5, "reproduced"), (0.9, "not supported")])
def test_a_secant_above_the_certificate_is_not_supported(found, verdict):
    row = {"found": found, "descent": 0.8, "norm_product": 1.0}
    assert said("semidefinite-bounds", Records(semidefinite=single(networks=[row]))) == verdict


@pytest.mark.parametrize(("false", "verdict"), [(0, "reproduced"), (1, "not supported")])
def test_a_false_accept_is_not_supported(false, verdict):
    book = Records(soak__false_accepts=single(false_accepts=false, matrices=9, accepted=5))
    assert said("no-false-accept", book) == verdict


@pytest.mark.parametrize(("residual", "verdict"), [(0.0099, "reproduced"), (0.0101, "not supported")])
def test_a_program_above_its_supremum_is_not_supported(residual, verdict):
    worst = [["spd", "torch.float64", "x", residual], ["spd", "torch.float32", "x", 1.0]]
    book = Records(soak__programs=single(program="4@10", supremum=0.01, worst=worst, members=8))
    assert said("programs-hold", book) == verdict


@pytest.mark.parametrize(("seconds", "verdict"), [(60.0, "reproduced"), (121.0, "not supported")])
def test_a_verdict_of_more_than_two_minutes_is_not_supported(seconds, verdict):
    book = Records(verdict_cost=single(cells=[{"seconds": seconds, "count": 1, "n": 2}]))
    assert said("verdicts-take-minutes", book) == verdict


def test_a_guide_that_was_not_followed_to_the_end_is_not_supported():
    seconds = {"git clone": 1.0, "make environment": 2.0, "make notebooks book": 3.0}
    assert said("guide-followed", Records(forking__follow_guide=single(seconds=seconds))) == "reproduced"
    del seconds["make notebooks book"]
    assert said("guide-followed", Records(forking__follow_guide=single(seconds=seconds))) == "not supported"


def test_a_score_that_separates_worse_than_the_condition_number_is_not_supported():
    rows = model.Book().load("criterion-predicts").rows
    swapped = rows.rename(columns={"score": "plain.kappa", "plain.kappa": "score"})
    random = rows.assign(score=rows["plain.kappa"])
    for table, word in ((rows, "reproduced"), (swapped, "not supported"), (random, "open")):
        assert said("score-separates", Records(criterion_predicts=SimpleNamespace(rows=table))) == word
    worse = Records(criterion_predicts=SimpleNamespace(rows=swapped))
    assert said("score-by-kind", worse) == "not supported"


def test_guidelines_that_rest_on_an_open_row_are_open():
    book = SimpleNamespace(guidelines=model.read_claims(ROOT / "book" / "claims.yaml")[1])
    names = {name for entry in book.guidelines.values() for name in entry["rests_on"]}
    book.outcomes = {name: model.Outcome("proved") for name in names}
    assert said("guidelines-follow", book) == "reproduced"
    for word in ("open", "not supported"):
        book.outcomes["C1.impossibility"] = model.Outcome(word)
        assert said("guidelines-follow", book) == "open"
    del book.outcomes["C1.impossibility"]
    with pytest.raises(model.LedgerError, match=r"there is no row 'C1\.impossibility'"):
        said("guidelines-follow", book)


def test_a_program_that_falls_short_of_its_record_or_certificate_is_not_supported(monkeypatch):
    monkeypatch.setattr(predicates, "_accepted", lambda program: True)
    values = model.Book().load("fewest-products")[-1]["values"]
    first = values["programs"][0]
    assert said("certified-programs", Records(fewest_products=single(**values))) == "proved"
    for change in ({"supremum": first["supremum"] / 2}, {"kappa": 7.0}):
        altered = values | {"programs": [first | change]}
        assert said("certified-programs", Records(fewest_products=single(**altered))) == "not supported"
    monkeypatch.setattr(predicates, "_accepted", lambda program: False)
    assert said("certified-programs", Records(fewest_products=single(**values))) == "not supported"


@pytest.mark.soak
def test_every_certificate_of_a_program_is_accepted_by_the_independent_checker():
    from neuinv import load_programs

    assert all(predicates._accepted(program) for program in load_programs().values())
