"""Write the ledger of claims into the book, or check that the book says what the records say.

python tools/ledger.py           write book/claims.md, book/guidelines.md and its diagram
python tools/ledger.py --check   write nothing; exit 1 where they say something else
"""

import argparse
import sys

import ledger_render as render
import ledger_studies  # noqa: F401  registers its predicates
from ledger_diagram import diagram
from ledger_model import ROOT, Book, read_claims, recorded
from ledger_predicates import evaluate_all

from neuinv._files import write_whole
from neuinv.criterion import RULE


def main(arguments=None):
    """Run the command line and return its exit code: 0 fine, 1 a page says something else, 2 misuse."""
    parser = argparse.ArgumentParser(
        description="Write the ledger of claims into the book.",
        epilog="example: python tools/ledger.py --check",
    )
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where a page is stale")
    parser.add_argument("--root", default=str(ROOT), help="the project, or a copy of it")
    options = parser.parse_args(arguments)
    try:
        found = check(options.root) if options.check else write(options.root)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    for sentence in found:
        print(sentence)
    return 1 if options.check and found else 0


def load(root):
    """Return the claims, the outcome of every part, and the book, of a project or a copy of it."""
    book = Book(root)
    claims, book.guidelines = read_claims(book.root / "book" / "claims.yaml")
    claims = recorded(claims, book)
    return claims, evaluate_all(claims, book), book


def written(claims, outcomes, book):
    """Return the content of every file that this tool writes, by path."""
    folder = book.root / "book"
    page, guide = folder / "claims.md", folder / "guidelines.md"
    section = render.claims_section(claims, outcomes, book)
    advice = render.guidelines_section(RULE, book)
    return {
        page: render.replaced(page.read_text(encoding="utf-8"), section),
        guide: render.replaced(guide.read_text(encoding="utf-8"), advice),
        folder / "_static" / "guidelines.svg": diagram(RULE, render.claims_of(book)),
    }


def write(root):
    """Write the pages and return one sentence a page."""
    found = []
    for path, text in written(*load(root)).items():
        write_whole(path, text.encode())
        found.append(f"{path.name} written")
    return found


def check(root):
    """Return where a page or the diagram says something else than the records."""
    claims, outcomes, book = load(root)
    page = (book.root / "book" / "claims.md").read_text(encoding="utf-8")
    found = render.faults(page, claims, outcomes, book)
    for path, text in written(claims, outcomes, book).items():
        if path.name != "claims.md" and path.read_text(encoding="utf-8") != text:
            found += [f"{path.name}: {line}" for line in render.stale(path.read_text(encoding="utf-8"), text)]
    return found


if __name__ == "__main__":
    sys.exit(main())
