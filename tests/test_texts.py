"""No file of the project holds what made sense only on the machine, or on the day, it was written."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# Written in pieces, so that this file does not complain about itself.
FORBIDDEN = {
    "a machine path": [
        r"(?<![\w.~-])/(?:ro" r"ot|wo" r"rk|opt/whe" r"els|Use" r"rs/\w+)/",
        r"/ho" r"me/(?!(?:user|you|ann)/)\w+/",  # names an example may use
        r"ipyk" r"ernel_\d+",
    ],
    "a package index": [r"(?i)py" r"pi\.org|pytho" r"nhosted\.org|download\.pyt" r"orch\.org"],
    "a private note": [
        r"\b(?:des" r"ign|the" r"ory|num" r"bers|fam" r"ilies|sty" r"le)\.md\b",
        r"\bsha" r"red/",
    ],
    "a ticket": [r"(?i)\biss" r"ue #?\d+"],
}


def complaints(name, text):
    """Return what in the text of a file is forbidden."""
    found = [(what, re.search(pattern, text)) for what, patterns in FORBIDDEN.items() for pattern in patterns]
    return [f"{name} holds {what}: {match.group()!r}" for what, match in found if match]


def tracked_files():
    """Return the files git tracks or would track; skips the test where there is no git."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if listing.returncode:
        pytest.skip("this is not a git checkout")
    return [ROOT / name for name in listing.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_no_file_holds_what_belongs_to_one_machine():
    found = []
    for path in tracked_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # an image
        found += complaints(path.relative_to(ROOT), text)
    assert found == []


@pytest.mark.parametrize(
    "text",
    [
        "see /wo" + "rk/main/x.py",
        "File '/ro" + "ot/.venv/lib'",
        "/tmp/ipyk" + "ernel_123/1.py",
        "/ho" + "me/ada/neuinv",
        "https://py" + "pi.org/simple",
        "--index-url https://download.pyt" + "orch.org/whl",
        "as the" + "ory.md says",
        "in sha" + "red/notes",
        "fixes iss" + "ue 12",
    ],
)
def test_a_machine_path_or_a_private_word_is_caught(text):
    assert len(complaints("x", text)) == 1


@pytest.mark.parametrize(
    "text", ["a network/work/life balance", "bin/roots/", "~/neuinv", "/home/user/data", "one issue", "x.mdx"]
)
def test_ordinary_words_pass(text):
    assert complaints("x", text) == []


def open_entries(bibliography):
    """Return the keys of the entries whose braces do not match: a merge of two branches may drop one."""
    entries = re.split(r"(?m)^@\w+", bibliography)[1:]
    return [entry[1 : entry.index(",")] for entry in entries if entry.count("{") != entry.count("}")]


def test_every_entry_of_the_bibliography_is_closed():
    text = (ROOT / "book" / "references.bib").read_text(encoding="utf-8")
    assert text.count("@") > 5 and open_entries(text) == []


def test_an_entry_that_lost_its_last_brace_is_named():
    assert open_entries("@book{a,\n  year = {1},\n@book{b,\n  year = {2},\n}\n") == ["a"]
