"""Save pictures of every page of the built book: light and dark, on a desktop and on a phone.

python tools/screenshots.py OUTDIR
"""

import argparse
import sys
from pathlib import Path

import browser as headless


def main(arguments=None):
    """Run the command line and return its exit code: 0 fine, 2 no book or no browser."""
    parser = argparse.ArgumentParser(
        description="Save pictures of every page of the built book.",
        epilog="example: python tools/screenshots.py pictures",
    )
    parser.add_argument("outdir", type=Path, help="where the pictures go")
    options = parser.parse_args(arguments)
    pages = headless.book_pages()
    if not pages:
        print("there is no built book; run 'make book' first.", file=sys.stderr)
        return 2
    try:
        with headless.chromium() as browser:
            for page in pages:
                for name, settings in LOOKS.items():
                    print(save(browser, page, options.outdir, name, settings), flush=True)
    except FileNotFoundError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


LOOKS = {
    "desktop-light": {"viewport": headless.DESKTOP, "dark": False},
    "desktop-dark": {"viewport": headless.DESKTOP, "dark": True},
    "phone-light": {"viewport": headless.PHONE, "dark": False},
    "phone-dark": {"viewport": headless.PHONE, "dark": True},
}


def save(browser, page, outdir, name, settings):
    """Save one picture of a whole page and return its path."""
    outdir.mkdir(parents=True, exist_ok=True)
    target = outdir / f"{page.parent.name}-{page.stem}-{name}.png"
    with headless.visit(browser, page, **settings) as visit:
        visit.page.screenshot(path=str(target), full_page=True)
    return target


if __name__ == "__main__":
    sys.exit(main())
