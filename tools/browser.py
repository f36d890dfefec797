"""A headless Chromium that reads the built book from the disk and reports each request for anything else."""

import shutil
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HTML = ROOT / "_build" / "html"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}
_GENERATED = {"genindex.html", "search.html", "py-modindex.html", "prf-prf.html", "index.html"}


@dataclass
class Visit:
    """What one opened page did: the page, requests that left the disk, and errors in its console."""

    page: object
    outside: list = field(default_factory=list)
    errors: list = field(default_factory=list)


def find_chromium():
    """Return the path of a Chromium or Chrome on PATH, or None."""
    return next(filter(None, map(shutil.which, NAMES)), None)


def book_pages(folder=HTML):
    """Return the pages of the built book that an author wrote, sorted by name."""
    folder = Path(folder)
    pages = (path for path in folder.rglob("*.html") if "_static" not in path.parts)
    return sorted(path for path in pages if path.name not in _GENERATED and path.parent.name != "_modules")


@contextmanager
def chromium():
    """Yield a running headless browser.

    Raises
    ------
    FileNotFoundError
        There is no Chromium on PATH.
    """
    from playwright.sync_api import sync_playwright

    executable = find_chromium()
    if executable is None:
        raise FileNotFoundError(
            f"no browser found; install Chromium so that one of {', '.join(NAMES)} is on PATH."
        )
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=executable, args=list(ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def visit(browser, path, *, viewport=DESKTOP, dark=False):
    """Open a file and yield the :class:`Visit`, once its formulas are set.

    Requests that are not for files are noted and refused, so that the page behaves as
    it does for a reader without a network.
    """
    scheme = "dark" if dark else "light"
    context = browser.new_context(viewport=viewport, color_scheme=scheme)
    try:
        result = Visit(context.new_page())
        context.route("**/*", lambda route: _serve(route, result))
        result.page.on("console", lambda message: _note(message, result))
        result.page.on("pageerror", lambda error: result.errors.append(str(error)))
        # The theme's own switch; "auto" would follow the system too, but depends on a stored choice.
        choose = "".join(f"localStorage.setItem('{name}', '{scheme}');" for name in ("mode", "theme"))
        result.page.add_init_script(f"try {{ {choose} }} catch {{}}")
        result.page.goto(Path(path).resolve().as_uri(), wait_until="load")
        result.page.evaluate(
            "() => window.MathJax && MathJax.startup && MathJax.startup.promise"
            " ? MathJax.startup.promise.then(() => true) : true"
        )
        yield result
    finally:
        context.close()


def _serve(route, result):
    if route.request.url.startswith(("file:", "data:", "blob:")):
        route.continue_()
    else:
        result.outside.append(route.request.url)
        route.abort()


def _note(message, result):
    if message.type == "error":
        source = message.location.get("url", "").rsplit("/", 1)[-1]
        result.errors.append(f"{message.text} ({source})")
