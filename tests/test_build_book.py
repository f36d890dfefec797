"""The book is built again exactly when a source has changed since it was last built."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))

import build_book  # noqa: E402


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A repository with one page, one ignored folder, and a command that counts its builds."""
    for folder in ("book", "_build"):
        (tmp_path / folder).mkdir()
    (tmp_path / "book" / "page.md").write_text("one", encoding="utf-8")
    (tmp_path / ".gitignore").write_text("_build/\n", encoding="utf-8")
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    monkeypatch.setattr(build_book, "ROOT", tmp_path)
    monkeypatch.setattr(build_book, "BUILT", tmp_path / "_build")
    return tmp_path


def builder(project, code=0):
    """Return a command that writes the book and notes that it ran."""
    source = (
        "import pathlib, sys; b = pathlib.Path('_build'); (b / 'html').mkdir(exist_ok=True);"
        "(b / 'html' / 'index.html').write_text('x'); (b / 'runs').open('a').write('x');"
        f"sys.exit({code})"
    )
    return [sys.executable, "-c", source]


def runs(project):
    note = project / "_build" / "runs"
    return len(note.read_text(encoding="utf-8")) if note.exists() else 0


def test_an_unchanged_book_is_built_once(project, capsys):
    assert build_book.main(builder(project)) == 0 and build_book.main(builder(project)) == 0
    assert runs(project) == 1
    assert "up to date" in capsys.readouterr().out


@pytest.mark.parametrize("change", ["edit", "add", "delete", "lose the pages"])
def test_any_change_of_a_source_builds_it_again(change, project):
    assert build_book.main(builder(project)) == 0
    page = project / "book" / "page.md"
    if change == "edit":
        page.write_text("two", encoding="utf-8")
    elif change == "add":
        (project / "book" / "new.md").write_text("new", encoding="utf-8")
    elif change == "delete":
        page.unlink()
    else:
        (project / "_build" / "html" / "index.html").unlink()
    assert build_book.main(builder(project)) == 0
    assert runs(project) == 2


def test_a_failed_build_is_never_taken_for_a_book(project):
    assert build_book.main(builder(project, code=3)) == 3
    assert build_book.main(builder(project)) == 0
    assert runs(project) == 2


def test_a_build_that_changes_its_sources_is_due_again(project):
    command = builder(project)
    command[-1] = "open('book/page.md', 'a').write('more');" + command[-1]
    assert build_book.main(command) == 0 and build_book.main(command) == 0
    assert runs(project) == 2


def test_without_git_the_book_is_built_each_time(project, monkeypatch):
    monkeypatch.setattr(build_book, "fingerprint", lambda root, command=(): None)
    assert build_book.main(builder(project)) == 0 and build_book.main(builder(project)) == 0
    assert runs(project) == 2
