"""The page of guidelines and its diagram follow from the rule of the verdict and from the ledger."""

import dataclasses
import xml.etree.ElementTree as ElementTree
from types import SimpleNamespace

import ledger_diagram
import ledger_model as model
import ledger_render as render
import pytest
import torch
from notebook_tools import ROOT

from neuinv.criterion import RULE, Recommendation, rule

SVG = "{http://www.w3.org/2000/svg}"
PAGE = (ROOT / "book" / "guidelines.md").read_text(encoding="utf-8")
PICTURE = (ROOT / "book" / "_static" / "guidelines.svg").read_text(encoding="utf-8")
CLAIMS, GUIDELINES = model.read_claims(ROOT / "book" / "claims.yaml")


def book_of(guidelines):
    """A book with these guidelines, in which every row has been asked already."""
    book = model.Book(ROOT)
    book.guidelines = guidelines
    book.outcomes = {part.name: model.Outcome("proved") for claim in CLAIMS for part in claim.parts}
    return book


def branches(picture):
    """Return (key, question, recommendation) of each branch of a diagram, from top to bottom."""
    found = []
    for group in ElementTree.fromstring(picture).iter(f"{SVG}g"):
        texts = {name: [] for name in ("question", "recommendation")}
        for text in group.iter(f"{SVG}text"):
            if text.get("class") in texts:
                texts[text.get("class")].append(text.text)
        found.append((group.get("data-key"), *(" ".join(lines) for lines in texts.values())))
    return found


def test_the_branches_of_the_diagram_are_those_of_the_rule():
    expected = [(branch.key, branch.question, branch.recommendation.value) for branch in RULE]
    assert branches(PICTURE) == expected


def test_the_diagram_recommends_all_that_a_verdict_can_and_nothing_else():
    assert {word for _, _, word in branches(PICTURE)} == {found.value for found in Recommendation}
    assert set(ledger_diagram.COLORS) == {found.value for found in Recommendation}


def test_a_branch_that_is_lost_or_altered_shows():
    claims = render.claims_of(book_of(GUIDELINES))
    assert ledger_diagram.diagram(RULE, claims) == PICTURE
    assert branches(ledger_diagram.diagram(RULE[1:], claims)) != branches(PICTURE)
    other = dataclasses.replace(RULE[0], recommendation=Recommendation.DIRECT)
    assert branches(ledger_diagram.diagram((other, *RULE[1:]), claims)) != branches(PICTURE)


def test_the_diagram_is_read_by_those_who_do_not_see_it():
    root = ElementTree.fromstring(PICTURE)
    description = root.find(f"{SVG}desc").text
    for branch in RULE:
        assert branch.question in description and f": {branch.recommendation.value}." in description
    assert f":alt: {description}" in PAGE


def test_the_diagram_fits_a_phone_and_a_dark_page():
    """White behind every text, letters of 10 pixels or more at a width of 350, and no text over its box."""
    root = ElementTree.fromstring(PICTURE)
    width = float(root.get("viewBox").split()[2])
    ground = root.find(f"{SVG}rect")
    assert ground.get("fill") == "#ffffff" and float(ground.get("width")) == width
    sizes = [float(text.get("font-size", root.get("font-size"))) for text in root.iter(f"{SVG}text")]
    assert min(sizes) * 350 / width >= 10
    for group in root.iter(f"{SVG}g"):
        boxes = [float(box.get("width")) for box in group.iter(f"{SVG}rect")]
        lines = [text.text for text in group.iter(f"{SVG}text") if text.get("class") == "question"]
        # about 7.5 pixels a letter of 14
        assert all(7.5 * len(line) <= max(boxes) for line in lines)


def test_every_branch_rests_on_rows_and_statements_that_exist():
    assert set(GUIDELINES) == {branch.key for branch in RULE}
    names = {part.name for claim in CLAIMS for part in claim.parts}
    for key, entry in GUIDELINES.items():
        assert entry["rests_on"] and entry["statements"], key
        assert set(entry["rests_on"]) <= names
        assert set(entry["statements"]) <= set(model.Book(ROOT).statements())


def test_a_branch_without_an_entry_or_with_a_lost_statement_is_refused():
    without = {key: entry for key, entry in GUIDELINES.items() if key != "start"}
    with pytest.raises(model.LedgerError, match="the branch 'start' of the rule has no entry"):
        render.guidelines_section(RULE, book_of(without))
    lost = {**GUIDELINES, "start": {**GUIDELINES["start"], "statements": ["thm-none"]}}
    with pytest.raises(model.LedgerError, match="no chapter states 'thm-none'"):
        render.guidelines_section(RULE, book_of(lost))


def test_the_list_of_the_page_asks_what_the_rule_asks_in_its_order():
    positions = []
    for number, branch in enumerate(RULE, start=1):
        line = f"{number}. *{branch.question or 'Else.'}* **{branch.recommendation.value}**."
        assert line in PAGE
        positions.append(PAGE.index(line))
    assert positions == sorted(positions)


def test_the_first_branch_that_applies_decides():
    """Each branch is reached where those before it do not apply, and only there."""
    measured = SimpleNamespace(worst_cond=10.0, equal=False, held_out=0.5, spread=SimpleNamespace(high=0.5))
    scheme = SimpleNamespace(num_matmuls=8)
    counted = rule.Products("spd", 10.0, False, scheme, 6, 20, 4, 2.0)
    source = SimpleNamespace(dtype=torch.float64)
    impossible = SimpleNamespace(sentence="proved")

    def decided(measured=measured, counted=counted, impossible=None):
        return rule.decide(source, measured, counted, 1e-3, impossible).recommendation.value

    def with_(thing, **values):
        return SimpleNamespace(**{**vars(thing), **values})

    assert decided(impossible=impossible) == "cannot"
    assert decided(with_(measured, worst_cond=1e15)) == "direct"
    assert decided(with_(measured, equal=True)) == "direct"
    dear = dataclasses.replace(counted, scheme=SimpleNamespace(num_matmuls=21), start=None)
    assert decided(counted=dear) == "direct"
    assert decided() == "plain-network"
    assert decided(counted=dataclasses.replace(counted, network=None)) == "learned-start"
    assert decided(counted=dataclasses.replace(counted, network=None, start=None)) == "polynomial"
    assert decided(counted=dataclasses.replace(counted, network=None, start=7)) == "polynomial"
