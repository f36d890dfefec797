"""No sentence of the book has a measured number that nothing prints."""

import json
import shutil

import prose_numbers as prose
import pytest
from notebook_tools import ROOT

PAGES = prose.pages()


def test_there_are_pages_to_read():
    assert len(PAGES) > 15


@pytest.mark.parametrize("page", PAGES)
def test_every_number_of_a_sentence_is_printed(page):
    assert prose.faults(page) == []


@pytest.mark.parametrize("page", PAGES)
def test_no_exception_is_left_over(page):
    assert prose.unused(page) == []


def test_exceptions_are_few_and_have_reasons():
    entries = [(page, reason) for page, given in prose.read_exceptions().items() for reason in given.values()]
    assert {page for page, _ in entries} <= {*PAGES, prose.EVERYWHERE}
    assert len(entries) <= 3 * len(PAGES)
    for page, reason in entries:
        assert set(reason) == {"printed_by"} if isinstance(reason, dict) else len(reason) > 10, page


@pytest.fixture
def copy(tmp_path):
    """A copy of one executed page that a test may damage."""
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "book").mkdir()
    for suffix in (".md", ".ipynb"):
        shutil.copy(ROOT / "notebooks" / f"where-it-predicts{suffix}", tmp_path / "notebooks")
    shutil.copy(ROOT / prose.EXCEPTIONS, tmp_path / "book")
    return tmp_path


def append(root, sentence):
    page = root / "notebooks" / "where-it-predicts.md"
    page.write_text(page.read_text() + "\n" + sentence + "\n")
    return prose.faults("notebooks/where-it-predicts", root)


@pytest.mark.parametrize(
    ("sentence", "number"),
    [
        ("The score has an AUC of 0.7312.", "0.7312"),
        ("It fails on 87.65 % of the matrices.", "87.65 %"),
        ("The residual is 3.7e-11 at most.", "3.7e-11"),
        ("It is 9 times as large.", None),  # 9 is printed: it counts as a ratio and passes
        ("It is off by a factor of 8765.", "8765"),
        ("The exponent is $\\kappa^{0.7312}$.", "0.7312"),
        ("On 8765 matrices none failed.", "8765"),
        ("- a bullet with 0.7312", "0.7312"),
        (":::{note}\nA note with 0.7312.\n:::", "0.7312"),
    ],
)
def test_a_typed_number_that_nothing_prints_is_found(copy, sentence, number):
    found = append(copy, sentence)
    assert [number in text for text in found] == ([] if number is None else [True]), found


@pytest.mark.parametrize(
    "sentence",
    [
        "The second of 3 parts.",
        "The code `x = 0.7312` sets it.",
        "See [a page](https://example.org/0.7312) and {cite}`ji2025`.",
        "```python\nx = 0.7312\n```",
        ":::{prf:theorem} A constant\n:label: thm-x\n\nThe constant is 0.7312.\n:::",
        "$$\nx = 0.7312\n$$",
    ],
)
def test_code_links_statements_and_counts_are_no_measurements(copy, sentence):
    assert append(copy, sentence) == []


def test_a_printed_number_that_changes_makes_its_sentence_stale(copy):
    """The other way round: the sentence stays and the cell prints something else."""
    twin = copy / "notebooks" / "where-it-predicts.ipynb"
    content = json.loads(twin.read_text())
    for cell in content["cells"]:
        for output in cell.get("outputs", []):
            if "text" in output:
                output["text"] = [line.replace("160", "150") for line in output["text"]]
    twin.write_text(json.dumps(content))
    found = prose.faults("notebooks/where-it-predicts", copy)
    assert len(found) == 1 and "nothing prints '160'" in found[0]


def test_an_exception_is_needed_and_one_that_names_a_page_must_be_printed_there(copy):
    page = "notebooks/where-it-predicts"
    append(copy, "It has 8765 cells.")
    assert prose.faults(page, copy, {page: {"512": "x", "8765": "a reason"}}) == []
    (found,) = prose.faults(page, copy, {page: {"512": "x", "8765": {"printed_by": page}}})
    assert "nothing prints '8765' on notebooks/where-it-predicts" in found


def test_a_superfluous_exception_is_named(copy):
    (copy / prose.EXCEPTIONS).write_text('notebooks/where-it-predicts: {"99.5": reason}\n')
    assert prose.unused("notebooks/where-it-predicts", copy) == ["99.5"]


@pytest.mark.parametrize(
    ("written", "value", "same"),
    [
        ("0.31", "0.3149", True),
        ("0.31", "0.3151", False),
        ("0.315", "0.3149", True),
        ("0.3149", "0.315", False),  # the sentence has more digits than the page
        ("31 %", "0.3149", True),
        ("31 %", "31.2", True),
        ("32 %", "0.3149", False),
        ("1e-6", "0.000001", True),
        ("36", "36", True),
        ("37", "36", False),
        ("-0.3", "0.3", True),
    ],
)
def test_a_number_may_be_rounded_and_not_more(written, value, same):
    assert prose.is_printed(written, {prose._decimal(value)}) is same


def test_a_decimal_of_the_code_does_not_count_as_printed_but_a_parameter_does():
    def notebook(source, tags=()):
        cell = {"cell_type": "code", "source": source, "outputs": [], "metadata": {"tags": list(tags)}}
        return {"cells": [cell]}

    assert not prose.is_printed("0.93", prose.printed(notebook("auc = 0.93")))
    assert prose.is_printed("0.93", prose.printed(notebook("level: float = 0.93", ["parameters"])))
    assert prose.is_printed("2048", prose.printed(notebook("count = 2_048")))
    assert prose.is_printed("1e-6", prose.printed(notebook("x.clip(1e-6, 2)")))


def test_settings_of_the_study_that_a_page_loads_are_no_measurements(tmp_path):
    def write(name, source, tags=()):
        metadata = {"tags": list(tags)}
        cell = {"cell_type": "code", "source": source, "outputs": [], "metadata": metadata}
        (tmp_path / "notebooks" / name).write_text(json.dumps({"cells": [cell]}))

    (tmp_path / "notebooks" / "sweeps").mkdir(parents=True)
    sweep = "notebook: ../cell.ipynb\nnum_steps: 8765\nlearning_rate: 0.7312\n"
    (tmp_path / "notebooks" / "sweeps" / "known.yaml").write_text(sweep)
    write("cell.ipynb", "num_test: int = 5432", ["parameters"])
    write("page.ipynb", 'study: str = "known"')
    (tmp_path / "notebooks" / "page.md").write_text("After 8765 steps, on 5432.\n\nIt is 0.7312 of 6543.\n")
    found = prose.faults("notebooks/page", tmp_path, {})
    assert [sentence.split("nothing prints ")[1][:7] for sentence in found] == ["'0.7312", "'6543' "]


def test_lines_of_a_fault_are_those_of_the_page():
    text = "---\na: 1\n---\n\n# Title\n\n```{code-cell} ipython3\nx = 0.5\n```\n\nA 0.7312 here.\n"
    (found,) = prose.numbers(text)
    assert (found.line, found.text) == (11, "0.7312")


def test_what_the_tool_of_the_ledger_writes_is_compared_by_its_own_test():
    text = f"0.5\n{prose.BEGIN} by -->\n0.7312\n{prose.END} -->\n0.25\n"
    assert [one.text for one in prose.numbers(text)] == ["0.5", "0.25"]
