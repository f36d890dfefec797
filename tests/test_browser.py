"""The built book as a reader without a network sees it: in a browser, from the disk."""

import re

import pytest
from notebook_tools import ROOT

headless = pytest.importorskip("browser", reason="the tools of this checkout are missing")

pytestmark = pytest.mark.browser

PAGES = headless.book_pages()
VIEWPORTS = {"desktop": headless.DESKTOP, "phone": headless.PHONE}
# A formula that was not set leaves its dollars or backslashes in the text of the page.
_RAW_TEX = re.compile(r"\$\$|\\\(|\\\[|\\(frac|mathbb|sigma|lVert)\b")

PROSE = """() => {
  const copy = document.querySelector('article, main, body').cloneNode(true);
  copy.querySelectorAll('pre, code, script, mjx-container').forEach(node => node.remove());
  return copy.textContent;
}"""
# Every visible text with its colour and what is painted behind it, translucent layers included.
COLOURS = """() => {
  const numbers = colour => colour.match(/[\\d.]+/g).map(Number);
  const over = (top, below) => {
    const alpha = top.length > 3 ? top[3] : 1;
    return below.map((value, i) => alpha * top[i] + (1 - alpha) * value);
  };
  const behind = node => {
    const layers = [];
    for (; node; node = node.parentElement) layers.unshift(numbers(getComputedStyle(node).backgroundColor));
    return layers.reduce((below, top) => over(top, below), [255, 255, 255]);
  };
  const luminance = rgb => rgb.slice(0, 3).map(value => value / 255)
    .map(value => value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4)
    .reduce((sum, value, i) => sum + [0.2126, 0.7152, 0.0722][i] * value, 0);
  const selector = 'article p, article h1, article h2, article pre, article summary, nav a, body > p';
  return [...document.querySelectorAll(selector)]
    .filter(node => node.offsetParent && node.textContent.trim())
    .map(node => {
      const ground = behind(node);
      const ink = over(numbers(getComputedStyle(node).color), ground);
      return [luminance(ink), luminance(ground), node.textContent.trim().slice(0, 40)];
    });
}"""
OVERFLOW = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
BROKEN_IMAGES = """async () => {
  const images = [...document.images];
  images.forEach(image => image.loading = 'eager');
  await Promise.all(images.map(image => image.decode().catch(() => null)));
  const broken = images.filter(image => image.naturalWidth === 0);
  return broken.map(image => image.getAttribute('src').slice(0, 80));
}"""


@pytest.fixture(scope="module")
def browser():
    """One headless browser for all pages, or the reason why there is none."""
    pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if headless.find_chromium() is None:
        pytest.skip(
            f"no browser on PATH: install Chromium under one of the names {', '.join(headless.NAMES)}"
        )
    with headless.chromium() as running:
        yield running


@pytest.fixture(scope="module", params=PAGES or [None], ids=lambda path: path.stem if path else "no-book")
def visit(request, browser):
    """One page of the built book, opened once for all its checks."""
    if request.param is None:
        pytest.skip("there is no built book in _build/html; run 'make book' first")
    with headless.visit(browser, request.param) as opened:
        yield opened


@pytest.fixture
def dark(visit):
    """The page after a click on the theme's switch for dark."""
    visit.page.evaluate("() => document.documentElement.dataset.theme = 'dark'")
    yield visit
    visit.page.evaluate("() => document.documentElement.dataset.theme = 'light'")


def faults_of(visit):
    """Return everything wrong with an opened page that does not depend on its width, as sentences."""
    found = [f"asks the network for {url}" for url in visit.outside]
    found += [f"has an error in its console: {text}" for text in visit.errors]
    found += [f"lacks the picture {source}" for source in visit.page.evaluate(BROKEN_IMAGES)]
    found += [f"shows raw TeX: {match}" for match in _RAW_TEX.findall(visit.page.evaluate(PROSE))]
    if visit.page.locator("mjx-merror, [data-mjx-error]").count():
        found.append("has a formula that MathJax refuses")
    # A bare span of class math is a formula MathJax never touched.
    unset = visit.page.locator(".math:not(:has(mjx-container))").count()
    if unset:
        found.append(f"has {unset} formulas that are not set")
    return found


def contrasts(visit):
    """Return (contrast ratio, background luminance, text) of every visible paragraph, heading and listing."""
    rows = visit.page.evaluate(COLOURS)
    assert rows, "no visible text was found, so nothing was checked"
    return [((max(a, b) + 0.05) / (min(a, b) + 0.05), b, text) for a, b, text in rows]


# --- the book --------------------------------------------------------------------------------------


def test_page_is_whole_without_a_network(visit):
    assert faults_of(visit) == []


@pytest.mark.parametrize("width", VIEWPORTS)
def test_page_fits_the_screen(visit, width):
    visit.page.set_viewport_size(VIEWPORTS[width])
    overflow = visit.page.evaluate(OVERFLOW)
    visit.page.set_viewport_size(headless.DESKTOP)
    assert overflow <= 0


def test_text_is_readable_on_a_light_page(visit):
    assert [row for row in contrasts(visit) if row[0] < 4.5] == []


def test_text_is_readable_on_a_dark_page_and_the_page_is_dark(dark):
    rows = contrasts(dark)
    assert [row for row in rows if row[0] < 4.5] == []
    assert [row for row in rows if row[1] > 0.2] == []


def test_every_statement_has_a_number(visit):
    titles = visit.page.locator("div.proof > .admonition-title").all_inner_texts()
    matches = [re.match(r"[A-Z][a-z]+ (\d+)\b", title.strip()) for title in titles]
    assert [title for title, match in zip(titles, matches, strict=True) if not match] == []
    numbers = [int(match.group(1)) for match in matches]
    assert numbers == sorted(set(numbers)), "one running count: each number once, in order"


def test_proofs_fold_and_unfold(visit):
    proofs = visit.page.locator("details.proof-fold")
    for index in range(min(proofs.count(), 2)):
        body = proofs.nth(index).locator("div.proof")
        assert not body.is_visible()
        proofs.nth(index).locator("summary").click()
        assert body.is_visible()
    assert visit.page.locator(".dropdown.proof").count() == 0, "a proof the book did not prepare for folding"


def test_built_book_names_no_script_or_style_of_another_host():
    if not PAGES:
        pytest.skip("there is no built book in _build/html; run 'make book' first")
    foreign = re.compile(
        r"<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)=[\"'](?:https?:)?//[^\"']*", re.IGNORECASE
    )
    found = {page.name: foreign.findall(page.read_text(encoding="utf-8")) for page in PAGES}
    assert {name: tags for name, tags in found.items() if tags} == {}
    assert (ROOT / "_build" / "html" / "_static" / "mathjax").is_dir()


# --- the checks themselves: a bad page that each must catch ----------------------------------------

BAD = {
    "script": (
        "<script src='https://cdn.example.org/a.js'></script>",
        "asks the network for https://cdn.example.org",
    ),
    "font": (
        "<style>@font-face { font-family: F; src: url(https://fonts.example.org/f.woff2) }</style>"
        "<p style='font-family: F'>text</p>",
        "asks the network for https://fonts.example.org",
    ),
    "image": ("<img src='missing.png'>", "lacks the picture missing.png"),
    "console": ("<script>console.error('broken')</script>", "error in its console: broken"),
    "exception": ("<script>null.x</script>", "error in its console"),
    "tex": ("<p>$$x$$</p>", "shows raw TeX"),
    "unset": ("<p><span class='math'>x</span></p>", "has 1 formulas that are not set"),
    "merror": ("<mjx-container><mjx-merror>x</mjx-merror></mjx-container>", "MathJax refuses"),
}


def open_html(tmp_path, body):
    path = tmp_path / "page.html"
    path.write_text(
        f"<!doctype html><meta charset='utf-8'><body><p>Some text.</p>{body}</body>", encoding="utf-8"
    )
    return path


@pytest.mark.parametrize("name", BAD)
def test_bad_page_is_caught(browser, tmp_path, name):
    body, message = BAD[name]
    with headless.visit(browser, open_html(tmp_path, body)) as visit:
        assert any(message in fault for fault in faults_of(visit)), faults_of(visit)


def test_sound_page_is_passed(browser, tmp_path):
    with headless.visit(browser, open_html(tmp_path, "<p>3 dollars: $3</p>")) as visit:
        assert faults_of(visit) == []
        assert visit.page.evaluate(OVERFLOW) <= 0
        assert all(ratio > 4.5 for ratio, *_ in contrasts(visit))


def test_wide_page_and_pale_text_are_caught(browser, tmp_path):
    body = "<div style='width: 2000px'>x</div><p style='color: #bbb'>pale</p>"
    with headless.visit(browser, open_html(tmp_path, body), viewport=headless.PHONE) as visit:
        assert visit.page.evaluate(OVERFLOW) > 0
        assert [text for ratio, _, text in contrasts(visit) if ratio < 4.5] == ["pale"]
