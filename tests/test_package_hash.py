"""The hash that names runs sees whatever of the package can run, and no sentence that only a reader sees."""

import ast
import io
import tokenize

import pytest

from neuinv.records import provenance

DOCUMENTED = """\
'''What the module does, in größeren words.'''

class A:
    "One line."; x = 1

    def f(self):
        r'''Several

        lines.
        '''
        return "a value"
"""


@pytest.fixture
def hash_of(monkeypatch, tmp_path):
    """Return a function that gives the hash of a package of one file."""
    monkeypatch.setattr(provenance, "PACKAGE", tmp_path)

    def hashed(text, name="a.py"):
        (tmp_path / name).write_text(text, encoding="utf-8")
        found = provenance.package_hash.__wrapped__()
        (tmp_path / name).unlink()
        return found

    return hashed


@pytest.mark.parametrize("old", ["größeren", "One line", "Several", "lines.\n"])
def test_the_package_hash_sees_no_docstring(old, hash_of):
    assert old in DOCUMENTED
    assert hash_of(DOCUMENTED.replace(old, "ä and other")) == hash_of(DOCUMENTED)


@pytest.mark.parametrize(
    ("old", "new"),
    [("x = 1", "x = 2"), ("a value", "another"), ("(self):", "(self):  # why"), ("x = 1", "x = 1; 'z'")],
)
def test_the_package_hash_sees_code_strings_and_comments(old, new, hash_of):
    """Negative control of the test above."""
    assert old in DOCUMENTED
    assert hash_of(DOCUMENTED.replace(old, new)) != hash_of(DOCUMENTED)


@pytest.mark.parametrize("line", ["print(A.__doc__)", "@register_family", "getdoc(A)", "x = (", "#\f"])
def test_docstrings_count_where_a_program_may_read_them_or_nothing_can_be_cut(line, hash_of):
    """Further negative controls."""
    assert hash_of(DOCUMENTED.replace("Several", "Many") + line) != hash_of(DOCUMENTED + line)
    assert hash_of(DOCUMENTED, "a.md") != hash_of(DOCUMENTED.replace("Several", "Many"), "a.md")


def tokens(source):
    """Return what Python reads in a source, with where it begins; layout aside."""
    layout = {tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
    found = tokenize.tokenize(io.BytesIO(source).readline)
    return [(token.start, token.string) for token in found if token.type not in layout]


def test_what_the_hash_sees_of_the_package_is_all_but_its_docstrings():
    """Token by token, in every file of which something is cut."""
    cut = 0
    for path in provenance.PACKAGE.rglob("*.py"):
        whole, rest = path.read_bytes(), provenance._without_docstrings(path)
        if rest == whole:
            continue
        cut += 1
        nodes = [node for node in ast.walk(ast.parse(whole)) if provenance._has_docstring(node)]
        starts = {(node.body[0].lineno, node.body[0].col_offset) for node in nodes}
        kept = [string for start, string in tokens(whole) if start not in starts]
        assert [string for _, string in tokens(rest)] == kept, path.name
    assert cut > 100
