"""The notebooks of the book are whole, agree with their text, and are ready for other parameters."""

import json
import warnings

import pytest
from notebook_tools import DOOR, FOLDER, PARAMETERS, PRINTING, run, text_of, write

pytest.importorskip("jupytext")
pytest.importorskip("nbclient")

import notebook_form as form
import notebook_guards as guards

import notebooks as tool
from neuinv.records import package_hash

SOURCES = sorted(FOLDER.glob("*.md"))
each_source = pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)


def executed(source):
    notebook = form.read_twin(source.with_suffix(".ipynb"))
    assert notebook is not None, f"{source.stem} has no executed twin; run 'make notebooks'."
    return notebook


# --- the notebooks of the book ---------------------------------------------------------------------


def test_there_are_notebooks_to_guard():
    assert SOURCES, f"no text notebook in {FOLDER.name}/"


@each_source
def test_text_and_executed_notebook_agree_cell_by_cell(source):
    assert guards.twin_faults(source, source.with_suffix(".ipynb")) == []


@each_source
def test_every_code_cell_is_executed_and_compared(source):
    assert guards.execution_faults(source.stem, executed(source)) == []


@each_source
def test_every_notebook_takes_annotated_parameters_and_refuses_others(source):
    assert guards.parameter_faults(source.stem, form.read_source(source)) == []


@each_source
def test_numbers_behind_every_picture_are_printed(source):
    assert guards.picture_faults(source.stem, executed(source)) == []


def test_few_cells_escape_the_comparison():
    assert sum(guards.num_ignored(form.read_source(source)) for source in SOURCES) <= guards.IGNORED_LIMIT


def test_every_executed_notebook_has_a_text_source():
    assert guards.orphan_faults(FOLDER) == []


@pytest.mark.filterwarnings("always:.*may be older than the code")
def test_notebooks_older_than_the_code_are_named_in_a_warning():
    stale = guards.stale_notebooks([source.with_suffix(".ipynb") for source in SOURCES], package_hash())
    if stale:
        names = ", ".join(stale)
        warnings.warn(f"{names} may be older than the code; run 'make notebooks ALL=1'.", stacklevel=1)


@pytest.mark.parametrize(
    "arguments", ["refresh --all why-cannot", "--all refresh why-cannot", "refresh why-cannot --all"]
)
def test_options_of_the_tool_may_stand_anywhere(arguments):
    options = tool._parse(arguments.split())
    assert (options.verb, options.slugs, options.all) == ("refresh", ["why-cannot"], True)


def test_an_option_that_the_tool_has_not_is_refused(capsys):
    with pytest.raises(SystemExit):
        tool._parse(["refresh", "--al1", "why-cannot"])
    assert "unrecognized arguments: --al1" in capsys.readouterr().err


# --- the guards themselves: each is shown a fault it must name -------------------------------------


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A folder with one small notebook, executed once."""
    folder = tmp_path_factory.mktemp("a folder")
    source = write(folder, DOOR, PRINTING)
    assert tool.main(["refresh", "--folder", str(folder)]) == 0
    return source


@pytest.fixture
def copy(tiny, tmp_path):
    """A copy of the small notebook that a test may damage: its text and its twin."""
    for path in (tiny, tiny.with_suffix(".ipynb")):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path / tiny.name, tmp_path / "tiny.ipynb"


def change(twin, edit):
    """Apply an edit to the JSON of an executed notebook."""
    content = json.loads(twin.read_text())
    edit(content)
    twin.write_text(json.dumps(content))


def strip(content):
    for cell in content["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"] = []


def test_sound_notebook_passes_every_guard(copy):
    source, twin = copy
    notebook = form.read_twin(twin)
    assert guards.twin_faults(source, twin) == []
    assert guards.execution_faults("tiny", notebook) == []
    assert guards.parameter_faults("tiny", notebook) == []
    assert guards.picture_faults("tiny", notebook) == []
    assert guards.stale_notebooks([twin], package_hash()) == []
    assert guards.orphan_faults(twin.parent) == []


def test_stripped_outputs_are_caught_twice(copy):
    source, twin = copy
    change(twin, strip)
    assert "outputs were edited" in guards.twin_faults(source, twin)[0]
    assert "prints but has no output" in guards.execution_faults("tiny", form.read_twin(twin))[0]


def test_unexecuted_cell_is_caught(copy):
    change(copy[1], lambda content: content["cells"][-1].update(execution_count=None))
    assert "was not executed" in guards.execution_faults("tiny", form.read_twin(copy[1]))[0]


def test_tampered_number_is_caught_without_running(copy):
    source, twin = copy
    twin.write_text(twin.read_text().replace("0.3333", "0.3334"))
    assert "outputs were edited" in guards.twin_faults(source, twin)[0]


def test_edited_text_is_caught(copy):
    source, twin = copy
    source.write_text(source.read_text().replace("third", "a third"))
    assert guards.twin_faults(source, twin) == ["tiny: cell 4 changed; run 'make notebooks'."]


def test_edited_tag_is_caught(copy):
    source, twin = copy
    source.write_text(source.read_text().replace("[parameters]", "[parameters, hide-input]"))
    assert "cell 2 changed" in guards.twin_faults(source, twin)[0]


def test_notebook_saved_by_another_program_is_caught(copy):
    source, twin = copy
    change(twin, lambda content: None)
    assert "another program saved it" in guards.twin_faults(source, twin)[0]


def test_older_package_is_named(copy):
    assert guards.stale_notebooks([copy[1]], "0" * 16) == ["tiny"]


def test_orphan_is_named(copy):
    copy[0].unlink()
    assert "tiny.ipynb has no source" in guards.orphan_faults(copy[1].parent)[0]


@pytest.mark.parametrize(
    ("parameters", "fault"),
    [
        (PARAMETERS.replace("n: int", "n"), "'n = 3' is no annotated parameter"),
        (PARAMETERS.replace('device: str = "auto"\n', ""), "lacks the parameter 'device"),
        (PARAMETERS.replace('"auto"', '"cpu"'), "lacks the parameter 'device"),
        (PARAMETERS.replace("seed: int = 0\n", ""), "lacks the parameter 'seed"),
        (PARAMETERS.replace("family", "kind"), "lacks the parameter 'family"),
        (PARAMETERS.replace("= 3", "= max(1, 3)"), "n has no constant as its default"),
        (PARAMETERS + "import torch\n", "'import torch' is no annotated parameter"),
    ],
)
def test_faulty_parameters_cell_is_caught(tmp_path, parameters, fault):
    notebook = form.read_source(write(tmp_path, DOOR, parameters=parameters))
    assert any(fault in sentence for sentence in guards.parameter_faults("tiny", notebook))


def test_missing_door_is_caught(tmp_path):
    notebook = form.read_source(write(tmp_path, PRINTING))
    assert "must call 'parameters = notebook_parameters" in guards.parameter_faults("tiny", notebook)[0]


def test_header_can_exempt_a_notebook_from_naming_a_family(tmp_path):
    parameters = PARAMETERS.replace('family: str = "gaussian"\n', "")
    header = text_of().split("---\n")[1] + "neuinv:\n  studies_matrices: false\n"
    notebook = form.read_source(write(tmp_path, DOOR, parameters=parameters, header=f"---\n{header}---\n"))
    assert guards.parameter_faults("tiny", notebook) == []


def test_cells_left_out_of_the_comparison_are_counted_or_refused(tmp_path):
    ignored = ":tags: [nbval-ignore-output]\n\nprint(1)\n"
    notebook = form.read_source(write(tmp_path, DOOR, ignored, "# NBVAL_IGNORE_OUTPUT\nprint(1)\n"))
    assert guards.num_ignored(notebook) == 2
    for cell in (":tags: [nbval-skip]\n\nx = 1\n", "# NBVAL_SKIP\nx = 1\n"):
        notebook = form.read_source(write(tmp_path, cell))
        assert any("left out" in fault for fault in guards.execution_faults("tiny", notebook))


PICTURE = "import matplotlib.pyplot as plt\n\nplt.plot([1, 2])\nplt.show()\n"


def test_picture_needs_a_printed_number_beside_it(tmp_path):
    pytest.importorskip("matplotlib")
    source = write(tmp_path, PICTURE, "x = 1\n", "y = 1\n", PRINTING, PICTURE)
    source.with_suffix(".ipynb").write_bytes(tool.execute(source))
    (fault,) = guards.picture_faults("tiny", executed(source))
    assert fault.startswith("tiny, cell 3 shows a picture and no cell beside it prints a number")


# --- refreshing ------------------------------------------------------------------------------------


def test_second_refresh_runs_nothing_and_all_repeats_the_bytes(copy, capsys):
    source, twin = copy
    before = twin.read_bytes()
    assert tool.main(["refresh", "--folder", str(source.parent)]) == 0
    assert "up to date" in capsys.readouterr().out
    assert tool.main(["refresh", "--all", "--folder", str(source.parent)]) == 0
    assert twin.read_bytes() == before
    assert before.endswith(b"}\n") and b'"version"' not in before


@pytest.mark.parametrize("damage", ["", "{}", "<<<<<<< ours\n{}\n", "[1]", '{"cells": 3}'])
def test_damaged_twin_is_made_again(copy, damage):
    source, twin = copy
    before = twin.read_bytes()
    twin.write_text(damage)
    assert tool.main(["refresh", "--check", "--folder", str(source.parent)]) == 1
    assert twin.read_text() == damage
    if damage == "[1]":
        assert tool.main(["refresh", "--folder", str(source.parent)]) == 0
        assert twin.read_bytes() == before


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("1 / 0\n", r"tiny, cell 3 ('1 / 0'): ZeroDivisionError: division by zero"),
        ("import sys\n\nprint(1, file=sys.stderr)\n", "prints on stderr ('1')"),
        ("print(object())\n", "prints a memory address"),
        ("import pathlib\n\nprint(pathlib.Path.home())\n", "prints a path of this machine"),
    ],
)
def test_faulty_cell_is_reported_and_the_old_twin_stays(copy, capsys, cell, message):
    source, twin = copy
    before = twin.read_bytes()
    write(source.parent, cell)
    if "home" in cell:
        write(source.parent, "print(2)\n", name="zeta")
    assert tool.main(["refresh", "--folder", str(source.parent)]) == 1
    assert message in capsys.readouterr().out
    assert twin.read_bytes() == before
    if "home" in cell:
        assert (source.parent / "zeta.ipynb").exists(), "one failure must not stop the others"
    assert not list(source.parent.glob(".*"))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("Big_1", text_of(), "lower case"),
        ("tiny", "<<<<<<< ours\n" + text_of(), "merge conflict"),
        ("tiny", "---\na: [1\n---\n", "not a MyST notebook"),
    ],
)
def test_unusable_text_is_refused_in_one_sentence(tmp_path, capsys, name, text, message):
    (tmp_path / f"{name}.md").write_text(text)
    assert tool.main(["refresh", "--folder", str(tmp_path)]) == 1
    assert message in capsys.readouterr().out


def test_empty_and_missing_folders_are_told_apart(tmp_path, capsys):
    assert tool.main(["refresh", "--folder", str(tmp_path)]) == 0
    assert tool.main(["refresh", "--folder", str(tmp_path / "none")]) == 2
    assert "there is no folder" in capsys.readouterr().err


def test_text_and_time_chunks_of_a_picture_are_dropped():
    header, rest = b"\x89PNG\r\n\x1a\n", b"\x00\x00\x00\x00IEND\xaeB`\x82"
    text = b"\x00\x00\x00\x01tEXtx0000"
    assert form.bare_png(header + text + rest) == header + rest


# --- nbval and papermill ---------------------------------------------------------------------------


def test_nbval_passes_the_page_and_fails_a_tampered_number(copy):
    pytest.importorskip("nbval")
    _, twin = copy
    tampered = twin.with_name("tampered.ipynb")
    tampered.write_text(twin.read_text().replace("0.3333", "0.3334"))
    done = run("-m", "pytest", "--nbval", "-q", "-p", "no:cacheprovider", twin, tampered, cwd=twin.parent)
    assert done.returncode == 1
    assert "tiny.ipynb::Cell" not in done.stdout and "tampered.ipynb::Cell 2" in done.stdout, done.stdout
    assert "1 failed, 5 passed" in done.stdout


def test_papermill_is_refused_an_unknown_parameter_in_one_sentence(copy):
    pytest.importorskip("papermill")
    _, twin = copy
    command = [
        "-m",
        "papermill",
        twin,
        "out.ipynb",
        "-k",
        "python3",
        "--no-progress-bar",
        "--log-level",
        "ERROR",
    ]
    done = run(*command, "-p", "sede", "3", cwd=twin.parent)
    assert done.returncode != 0
    assert "sede is not a parameter of this notebook" in done.stderr and "did you mean seed?" in done.stderr
