"""The guide to a family of one's own, followed to the letter in a fresh copy of the project."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
from notebook_tools import ROOT

pytest.importorskip("jupytext")

import follow_guide
import notebook_form as form
import notebook_guards as guards
import setup_environment

GUIDE = follow_guide.GUIDE.read_text(encoding="utf-8")


def copy_of_the_project(folder):
    """Copy every file that git tracks or would track; without git the test is skipped."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listing = (
        subprocess.run(command, cwd=ROOT, capture_output=True, text=True) if shutil.which("git") else None
    )
    if listing is None or listing.returncode:
        pytest.skip("this is not a git checkout")
    for name in filter(None, listing.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)


def lend_environment(root):
    """Give a copy of the project a .venv of its own that reads the packages of this environment."""
    venv.create(root / ".venv", with_pip=False, symlinks=True)
    python = root / ".venv" / "bin" / "python"
    own = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    # The package of the copy first: the one installed here is another tree.
    (Path(own) / "lent.pth").write_text(f"{root}\n{sysconfig.get_path('purelib')}\n", encoding="utf-8")
    programs = {
        "neuinv": "-m neuinv",
        "papermill": "-m papermill",
        "pytest": "-m pytest",
        "jupyter-book": "-m jupyter_book.cli.main",
    }
    for name, what in programs.items():
        path = root / ".venv" / "bin" / name
        path.write_text(f'#!/bin/sh\nexec "{python}" {what} "$@"\n', encoding="utf-8")
        path.chmod(0o755)
    setup_environment.write_stamp(root / ".venv", setup_environment.fingerprint(root))


def printed(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    return "".join("".join(output.get("text", "")) for output in outputs)


@pytest.fixture
def clone(tmp_path):
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    root = tmp_path / "a fresh clone"
    root.mkdir()
    copy_of_the_project(root)
    lend_environment(root)
    return root


def followed(clone, todo):
    """Follow the steps in a copy of the project; return the page's name and what each command printed."""
    settings = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    settings["OMP_NUM_THREADS"] = "1"
    said = {}

    def run(command):
        done = subprocess.run(
            command,
            shell=True,
            cwd=clone,
            env=settings,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=1200,
        )
        said[command] = done.stdout + done.stderr
        assert done.returncode == 0, f"{command}\n{said[command][-3000:]}"

    return follow_guide.follow(clone, todo, run), said


def test_the_guide_is_made_of_commands_and_one_edit():
    kinds = [kind for kind, _ in follow_guide.steps(GUIDE)]
    assert kinds.count("edit") == 1 and kinds.index("edit") > 0
    assert ("run", "make notebooks book") in follow_guide.steps(GUIDE)


def test_a_guide_whose_page_has_no_cell_to_edit_is_caught(tmp_path):
    (tmp_path / "page.md").write_text("# no cell\n")
    with pytest.raises(ValueError, match=r"page\.md has 0 cells tagged family"):
        follow_guide.edit(tmp_path / "page.md", "x = 1\n")


def test_following_the_guide_gives_the_page_with_its_verdict(clone):
    """All of it but the build of the book, which the long test below adds."""
    before = {path.name for path in (clone / "notebooks").glob("*.ipynb")}
    todo = [
        (kind, what.replace("make notebooks book", "make notebooks"))
        for kind, what in follow_guide.steps(GUIDE)
    ]
    name, said = followed(clone, todo)
    assert {path.name for path in (clone / "notebooks").glob("*.ipynb")} == before | {f"{name}.ipynb"}
    source, twin = (clone / "notebooks" / f"{name}{suffix}" for suffix in (".md", ".ipynb"))
    assert guards.twin_faults(source, twin) == []
    notebook = form.read_twin(twin)
    assert guards.execution_faults(name, notebook) == []
    assert guards.picture_faults(name, notebook) == []
    page = printed(twin)
    assert "it conforms: no fault was found" in page
    assert f"{name}(cells=6, step=0.05): 200 members" in page and "\nPOLYNOMIAL: " in page
    assert "unrolled" in page and f"* {name}" in page and "one determinant sign" in page
    turned = printed(clone / "out.ipynb")
    assert "step=0.5" in turned and "\nCANNOT: " in turned and "singular at t = " in turned
    assert "declares itself connected: True" in turned
    assert any("would write notebooks/my-measurements.md" in text for text in said.values())


@pytest.mark.soak
def test_following_the_guide_to_the_letter_builds_the_book_with_the_page(clone):
    name, said = followed(clone, follow_guide.steps(GUIDE))
    html = (clone / "_build" / "html" / "notebooks" / f"{name}.html").read_text(encoding="utf-8")
    assert "POLYNOMIAL: " in html and "Your families" in html
    assert "The book is at" in said["make notebooks book"]


def test_the_interpreter_of_the_copy_reads_the_package_of_the_copy(clone):
    python = clone / ".venv" / "bin" / "python"
    done = subprocess.run(
        [python, "-c", "import neuinv, sys; print(neuinv.__file__); import torch"],
        cwd=clone.parent,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(clone)) and sys.prefix not in done.stdout
