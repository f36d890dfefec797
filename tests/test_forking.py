"""A page for one's own family: what is written, what is refused, and what becomes of the contents."""

import re
import shutil
import tomllib
from pathlib import Path

import numpy as np
import pytest
import yaml
from notebook_tools import ROOT

from neuinv import cli
from neuinv.forking import new_page, pages
from neuinv.forking.toc import CAPTION, listed, with_page

pytest.importorskip("jupytext")

import notebook_form as form
import notebook_guards as guards

TOC = (ROOT / "_toc.yml").read_text(encoding="utf-8")


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with what the command looks at, and nothing else; the present folder is inside it."""
    root = tmp_path / "a clone"
    (root / "notebooks" / "deep").mkdir(parents=True)
    for name in ("_config.yml", "_toc.yml"):
        shutil.copy(ROOT / name, root / name)
    monkeypatch.chdir(root / "notebooks" / "deep")
    return root


def contents(root):
    return {path: path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def run(*arguments):
    return cli.main(["family", "new", *map(str, arguments)])


# --- what is written -------------------------------------------------------------------------------


def test_a_page_is_written_and_listed_and_nothing_else_changes(project, capsys):
    before = contents(project)
    assert run("my-family") == 0
    said = capsys.readouterr().out
    assert "wrote notebooks/my-family.md" in said and said.endswith("    make notebooks book\n")
    after = contents(project)
    assert set(after) - set(before) == {project / "notebooks" / "my-family.md"}
    toc = yaml.safe_load(after[project / "_toc.yml"])
    assert toc["parts"][-1] == {"caption": CAPTION, "chapters": [{"file": "notebooks/my-family"}]}
    assert toc["parts"][:-1] == yaml.safe_load(TOC)["parts"]
    assert after[project / "_toc.yml"].startswith(before[project / "_toc.yml"].rstrip(b"\n"))


def test_a_dry_run_says_what_and_does_nothing(project, capsys):
    before = contents(project)
    assert run("my-family", "--dry-run") == 0
    assert "would write notebooks/my-family.md" in capsys.readouterr().out
    assert contents(project) == before


def test_a_second_family_joins_the_first(project):
    assert run("first") == run("second") == 0
    last = yaml.safe_load((project / "_toc.yml").read_text())["parts"][-1]
    assert last["chapters"] == [{"file": "notebooks/first"}, {"file": "notebooks/second"}]


def test_a_file_is_named_relative_to_the_project_and_leaves_no_cell_to_edit(project, capsys):
    np.save(project / "mine.npy", np.random.default_rng(0).standard_normal((4, 3, 3)))
    assert run("from-file", "--source", "../../mine.npy") == 0
    assert "next: run" in capsys.readouterr().out
    text = (project / "notebooks" / "from-file.md").read_text()
    assert 'source: str = "mine.npy"' in text and "[family]" not in text


def test_a_file_outside_the_project_is_taken_with_a_warning(project, tmp_path, capsys):
    np.save(tmp_path / "mine.npy", np.eye(3)[None].repeat(2, 0))
    assert run("from-file", "--source", tmp_path / "mine.npy") == 0
    assert "the page runs on this machine only" in capsys.readouterr().out


@pytest.mark.parametrize("source", [None, "mine.npy"])
def test_a_new_page_passes_the_guards_of_notebooks(source, project):
    np.save(project / "mine.npy", np.eye(3)[None].repeat(4, 0))
    page = new_page("my-family", source=source and project / source)
    page.write()
    notebook = form.read_source(page.path)
    assert guards.parameter_faults("my-family", notebook) == []
    assert guards.num_ignored(notebook) == 0
    assert "@" not in re.sub(r"@neuinv\.register_family", "", page.text)
    lines = [line for line in page.text.splitlines() if len(line) > 90]
    assert [line for line in lines if line.startswith(("    ", "print", "parameters"))] == []


def test_the_templates_are_installed_with_the_package():
    table = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = table["tool"]["setuptools"]["package-data"]["neuinv"]
    files = [path.relative_to(pages.TEMPLATES.parent) for path in pages.TEMPLATES.iterdir()]
    assert len(files) == 3
    assert [file for file in files if not any(file.match(pattern) for pattern in patterns)] == []
    assert not any(file.match("**/*.json") for file in files), "the pattern of the templates is what does it"


# --- what is refused, in one sentence and without a trace ------------------------------------------

REFUSED = {
    "Big": "'Big' is malformed",
    "my_family": "'my_family' is malformed",
    "case-14": "without digits",
    "../escape": "malformed",
    "-x-": "malformed",
    "gaussian": "'gaussian' is a family of the gallery",
    "intro": "'intro' is the page book/intro of the book",
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_name_that_is_malformed_or_taken_is_refused(name, project, capsys):
    before = contents(project)
    # After --, so that a name may begin with a hyphen.
    assert run("--", name) == 2
    said = capsys.readouterr()
    assert REFUSED[name] in said.err and said.err.count("\n") == 1 and said.out == ""
    assert contents(project) == before


def test_the_name_of_a_page_of_the_book_is_refused(project, capsys):
    for page in listed(TOC):
        (project / page).parent.mkdir(exist_ok=True)
        (project / f"{page}.md").touch()
    for page in listed(TOC):
        assert run(page.split("/")[-1]) == 2
        assert re.search(r"exists; choose|is the page", capsys.readouterr().err)


@pytest.mark.parametrize("suffix", [".md", ".ipynb"])
def test_a_file_that_exists_is_never_overwritten(suffix, project, capsys):
    path = project / "notebooks" / f"mine{suffix}"
    path.write_text("kept")
    assert run("mine") == 2
    assert f"notebooks/mine{suffix} exists; choose another name" in capsys.readouterr().err
    assert path.read_text() == "kept" and (project / "_toc.yml").read_text() == TOC


def test_the_same_command_again_is_refused_and_an_interrupted_one_is_completed(project):
    assert run("mine") == 0
    done = contents(project)
    assert run("mine") == 2
    assert contents(project) == done
    (project / "_toc.yml").write_text(TOC)  # as if killed between the two files
    assert run("mine") == 0
    assert contents(project) == done


def test_outside_the_project_nothing_is_written(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run("mine") == 2
    assert "is not inside the project" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("source", "words"),
    [("none.npy", "none.npy"), ("one.npy", "one.npy holds 1 matrix"), ("page.md", "no known format")],
)
def test_a_file_without_a_family_is_refused(source, words, project, capsys):
    np.save("one.npy", np.eye(3))
    Path("page.md").write_text("text")
    before = contents(project)
    assert run("mine", "--source", source) == 2
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1
    assert contents(project) == before


@pytest.mark.parametrize("fails_at", [1, 2])
def test_a_project_that_cannot_be_written_to_stays_as_it_was(fails_at, project, monkeypatch, capsys):
    calls, write = [], pages.write_whole

    def failing(path, content):
        calls.append(path)
        if len(calls) == fails_at:
            raise OSError(30, "Read-only file system", str(path))
        write(path, content)

    monkeypatch.setattr(pages, "write_whole", failing)
    before = contents(project)
    assert run("mine") == 2
    said = capsys.readouterr().err
    assert "cannot be written to (Read-only file system); make it writable" in said and said.count("\n") == 1
    assert contents(project) == before


def test_a_command_without_a_verb_or_name_says_so_in_one_line(capsys):
    for arguments in (["family"], ["family", "new"], ["family", "old", "x"]):
        with pytest.raises(SystemExit) as stopped:
            cli.main(arguments)
        assert stopped.value.code == 2 and capsys.readouterr().err.count("\n") == 1


# --- the table of contents -------------------------------------------------------------------------

COMMENTED = """\
# a comment at the top
format: jb-book
root: intro   # the front page
parts:
  - caption: "One"  # a caption in quotes
    chapters:
      - file: a
      # a comment inside
      - file: b
        sections:
          - file: deep/c
  - caption: Your families
    chapters:
      - file: notebooks/old
# a comment at the end
"""


@pytest.mark.parametrize(
    "text",
    [
        TOC,
        COMMENTED,
        COMMENTED.replace("Your families", "Two"),
        COMMENTED.replace("\n", "\r\n"),
        COMMENTED.removesuffix("# a comment at the end\n").rstrip("\n"),
        COMMENTED.replace("  - caption: Your", "\n  - caption: Your"),
        "format: jb-book\nroot: i\nparts:\n- caption: A\n  chapters:\n  - file: a\n",
        "format: jb-book\nroot: i\nparts:\n- chapters:\n    - {}\n".replace("{}", "file: a"),
    ],
    ids=range(8),
)
def test_a_page_is_added_by_adding_lines_only_and_only_once(text):
    after = with_page(text, "notebooks/new")
    assert listed(after) == [*listed(text), "notebooks/new"]
    kept = [line for line in after.splitlines() if line in text.splitlines()]
    assert [line for line in text.splitlines() if line not in kept] == []
    assert len(after.splitlines()) - len(text.splitlines()) in (1, 3)
    assert with_page(after, "notebooks/new") == after
    assert ("\r\n" in text) == ("\r\n" in after) and after.count("\r\n") in (0, after.count("\n"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "format: jb-article\nroot: i\n",
        "format: jb-book\nroot: i\nchapters:\n- file: a\n",
        "format: jb-book\nroot: i\nparts: []\n",
        "format: jb-book\nroot: i\nparts: [{caption: A, chapters: [{file: a}]}]\n",
        "format: jb-book\nroot: i\nparts:\n- caption: Your families\n  chapters: [{file: a}]\n",
        "format: jb-book\nroot: i\nparts:\n- caption: A\n  chapters:\n  - file: a\n- caption: B\n",
        "format: jb-book\nroot: i\nparts:\n- caption: A\n  chapters:\n  - a\n",
        COMMENTED.replace('"One"', "Your families"),
        COMMENTED + "parts: 3\n",
        "parts: [\n",
    ],
    ids=range(11),
)
def test_a_table_of_contents_that_cannot_be_understood_is_refused(text):
    try:
        after = with_page(text, "notebooks/new")
    except ValueError as refused:
        assert re.search(r"^_toc.yml cannot be understood \(.*add the page to it by hand\.$", str(refused))
    else:
        pytest.fail(f"it was taken for a table of contents: {after}")
