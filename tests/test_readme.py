"""README and front page show what the notebooks drew, and name files that exist."""

import re
from pathlib import Path

import pytest
import readme_picture

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_picture_is_the_one_the_notebook_drew():
    assert readme_picture.PICTURE.read_bytes() == readme_picture.drawn()


def test_a_picture_that_no_notebook_drew_is_not_found():
    with pytest.raises(LookupError, match="has no picture"):
        readme_picture.drawn(name="fig-none")


def test_every_file_that_the_readme_names_exists():
    named = set(re.findall(r"\]\(([^)#:]+)\)", README))
    named |= set(re.findall(r"`((?:tests|notebooks|book|neuinv)/[\w./-]+)`", README))
    assert len(named) > 5
    assert not [name for name in named if not (ROOT / name).exists()]


def test_every_make_verb_of_the_readme_exists():
    verbs = set(re.findall(r"`?make ([a-z-]+)", README))
    known = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert verbs and verbs <= known


def unpaired_fences(text):
    """Return the lines that open a block of code while another is open: its end was lost."""
    opened, lost = False, []
    for line in text.splitlines():
        if line.startswith("```"):
            if opened and line != "```":
                lost.append(line)
            opened = not opened
    return lost + (["the end of the file"] if opened else [])


def test_every_block_of_code_of_the_readme_ends():
    assert unpaired_fences(README) == []


def test_a_block_without_its_end_is_seen():
    assert unpaired_fences("```\nmake book\n```python\nimport neuinv\n```\n") == [
        "```python",
        "the end of the file",
    ]
