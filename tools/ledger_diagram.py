"""The decision diagram of the guidelines, drawn from the rule of ``neuinv verdict``: one file of SVG.

No library draws it, so its bytes are the same everywhere; texts stay texts, on white, readable on a phone.
"""

import textwrap
from xml.sax.saxutils import escape

from neuinv.plotting import METHODS

WIDTH = 440  # of the picture: a phone shows 350 of it, with letters of 11 pixels
_LINE, _GAP, _PAD = 18, 30, 12
_LEFT, _RIGHT = (10, 250), (302, 128)  # begin and width of the two columns
_CHARACTERS = 30  # of a question
COLORS = {
    "cannot": METHODS["zero"][0],
    "direct": METHODS["bound"][0],
    "plain-network": METHODS["plain-relu"][0],
    "learned-start": METHODS["newton-schulz"][0],
    "polynomial": METHODS["residual"][0],
}


def alt_text(rule):
    """Return the diagram in words, for readers who do not see it."""
    asked = [f"{branch.question} If yes: {branch.recommendation.value}." for branch in rule[:-1]]
    return " ".join(["A ladder of questions.", *asked, f"Otherwise: {rule[-1].recommendation.value}."])


def diagram(rule, rests_on):
    """Return the diagram of a rule as the text of an SVG file.

    Parameters
    ----------
    rule : sequence of neuinv.criterion.Branch
        Asked in this order; the last one holds whatever the answers were.
    rests_on : dict of str to str
        For the key of each branch, the claims whose rows it rests on.
    """
    body, y = [], _PAD
    for branch in rule[:-1]:
        lines = textwrap.wrap(branch.question, _CHARACTERS)
        height = _LINE * len(lines) + 2 * _PAD
        middle = y + height / 2
        body += [f'<g class="branch" data-key="{branch.key}">', _box(_LEFT, y, height, "#555555", 1.2)]
        body += _texts(lines, _LEFT[0] + _LEFT[1] / 2, y + _PAD)
        body += [
            _arrow(sum(_LEFT), middle, _RIGHT[0], middle),
            _label("yes", (sum(_LEFT) + _RIGHT[0]) / 2 - 2, middle - 6),
        ]
        body += _answer(branch, middle, rests_on[branch.key])
        body += ["</g>"]
        x = _LEFT[0] + _LEFT[1] / 2
        body += [_arrow(x, y + height, x, y + height + _GAP), _label("no", x + 14, y + height + 19)]
        y += height + _GAP
    body += [f'<g class="branch" data-key="{rule[-1].key}">']
    body += _answer(rule[-1], y + 20, rests_on[rule[-1].key], _LEFT[0] + (_LEFT[1] - _RIGHT[1]) / 2)
    body += ["</g>"]
    height = y + 56 + _PAD
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" width="{WIDTH}"'
        f' height="{height:g}" role="img" font-family="Helvetica, Arial, sans-serif" font-size="14">'
    )
    desc = f"<title>What to do with a family of matrices</title><desc>{escape(alt_text(rule))}</desc>"
    ground = f'<rect width="{WIDTH}" height="{height:g}" fill="#ffffff"/>'
    return "\n".join([head, desc, ground, *body, "</svg>"]) + "\n"


def _box(column, y, height, color, width):
    x, across = column
    return (
        f'<rect x="{x:g}" y="{y:g}" width="{across:g}" height="{height:g}" rx="6" fill="#ffffff"'
        f' stroke="{color}" stroke-width="{width:g}"/>'
    )


def _texts(lines, x, y, weight="normal", name="question"):
    return [
        f'<text class="{name}" x="{x:g}" y="{y + _LINE * i + 14:g}" text-anchor="middle" fill="#111111"'
        f' font-weight="{weight}">{escape(line)}</text>'
        for i, line in enumerate(lines)
    ]


def _answer(branch, middle, claims, left=None):
    x = _RIGHT[0] if left is None else left
    word = branch.recommendation.value
    box = _box((x, _RIGHT[1]), middle - 20, 40, COLORS[word], 3)
    center = x + _RIGHT[1] / 2
    texts = _texts([word], center, middle - 9, "bold", "recommendation")
    return [box, *texts, _label(f"ledger: {claims}", center, middle + 35)]


def _arrow(x, y, to_x, to_y):
    across = to_y == y
    end = (to_x - 7, to_y) if across else (to_x, to_y - 7)
    wing = (
        [(end[0], end[1] - 4), (end[0], end[1] + 4)]
        if across
        else [(end[0] - 4, end[1]), (end[0] + 4, end[1])]
    )
    points = " ".join(f"{a:g},{b:g}" for a, b in [(to_x, to_y), *wing])
    line = (
        f'<line x1="{x:g}" y1="{y:g}" x2="{end[0]:g}" y2="{end[1]:g}" stroke="#555555" stroke-width="1.2"/>'
    )
    return f'{line}<polygon points="{points}" fill="#555555"/>'


def _label(word, x, y):
    return f'<text x="{x:g}" y="{y:g}" text-anchor="middle" fill="#111111" font-size="13">{word}</text>'
