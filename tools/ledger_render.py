"""The ledger as a page: the sections of ``claims.md`` and ``guidelines.md`` that are not typed."""

import re
from itertools import zip_longest

from ledger_diagram import alt_text
from ledger_model import LedgerError
from ledger_predicates import rule

BEGIN = "<!-- written by tools/ledger.py from claims.yaml and the records: do not edit -->"
END = "<!-- end of what tools/ledger.py writes -->"
_PLACE = re.compile(r"<<([a-z_]+)(?::([^>]*))?>>")
_PART = re.compile(r"^- \*\*([a-z][a-z0-9-]*): ([a-z ]+)\.\*\*", re.MULTILINE)
_HEADING = re.compile(r"^## (C\d)\. ", re.MULTILINE)


def filled(text, values, name):
    """Return a text with the numbers of the records in their places.

    Raises
    ------
    LedgerError
        It asks for a number that the predicate does not give.
    """

    def one(match):
        key, form = match.groups()
        if key not in values:
            raise LedgerError(f"{name} shows {key!r}, which its predicate does not give; rename it.")
        return format(values[key], form or "")

    return _PLACE.sub(one, text)


def words(claim, outcomes):
    """Return the verdicts of the parts of a claim, each once, in their order."""
    return list(dict.fromkeys(outcomes[part.name].verdict for part in claim.parts))


def claims_section(claims, outcomes, book):
    """Return the rendered ledger, between its marks."""
    lines = [BEGIN, "", "| | announced, in our words | verdicts |", "|---|---|---|"]
    for claim in claims:
        link = f"{{ref}}`{claim.key} <claim-{claim.key.lower()}>`"
        lines.append(f"| {link} | {claim.announced} | {', '.join(words(claim, outcomes))} |")
    for claim in claims:
        lines += ["", f"(claim-{claim.key.lower()})=", f"## {claim.key}. {claim.title}", ""]
        lines += [f"*Announced:* {claim.announced}", ""]
        for part in claim.parts:
            lines += _part(part, outcomes[part.name], book)
    lines += ["", *_rules(claims), "", *_records(claims, book), "", END]
    return "\n".join(lines)


def _part(part, outcome, book):
    name, verdict = part.name.partition(".")[2], outcome.verdict
    waits = verdict == "open" and part.missing and not outcome.values
    text = part.missing if waits else filled(part.text, outcome.values, part.name)
    grounds = f"  *{part.evidence.capitalize()}:* {_evidence(part, book)}."
    return [f"- **{name}: {verdict}.** {text}", "", grounds]


def _evidence(part, book):
    proofs = ", ".join(f"{{prf:ref}}`{label}`" for label in part.proofs)
    pages = [f"{{doc}}`{_place(book.page(page))}`" for page in part.pages if book.page(page)]
    there = [record for record in part.records if book.load(record) is not None]
    records = [f"{{ref}}`{record} <ledger-records>`" for record in there]
    tests = [f"`{test.partition('::')[0]}`" for test in part.tests]
    groups = [proofs, ", ".join(pages), ", ".join(tests), ", ".join(records), f"word by `{part.predicate}`"]
    return "; ".join(group for group in groups if group)


def _place(page):
    folder, name = page.split("/")
    return name if folder == "book" else f"../{page}"


def _rules(claims):
    used = dict.fromkeys(part.predicate for claim in claims for part in claim.parts)
    lines = ["## How each word is computed", ""]
    lines += [
        "A row of which a record is missing, or holds no case to count, is *open*.",
        *_shares(claims),
        "",
        "| predicate | its rule |",
        "|---|---|",
    ]
    return lines + [f"| `{name}` | {rule(name)} |" for name in used]


def _shares(claims):
    asked = {
        part.name: part.options["least_share"]
        for claim in claims
        for part in claim.parts
        if "least_share" in part.options
    }
    return [
        f"So are, with fewer than {100 * share:.0f} % of the planned runs recorded, the rows"
        f" {', '.join(name for name in asked if asked[name] == share)}."
        for share in sorted(set(asked.values()))
    ]


def _records(claims, book):
    named = dict.fromkeys(record for claim in claims for part in claim.parts for record in part.records)
    lines = ["(ledger-records)=", "## Records", ""]
    lines += [
        "The digest is the beginning of the SHA-256 of the files; a file whose content does not agree with"
        " the digest inside of it is refused.",
        "",
        "| record | rows | commit | begun | processor | digest | files |",
        "|---|---|---|---|---|---|---|",
    ]
    for record in named:
        if book.load(record) is None:
            continue
        found = book.origin(record)
        files = " ".join(
            f"{{download}}`{path.suffix[1:]} <{path.relative_to(book.root / 'book').as_posix()}>`"
            for path in book.files(record)[-2:]
        )
        commit = found["commit"][:8] + (", changed" if found["dirty"] else "")
        row = (record, found["rows"], f"`{commit}`", found["day"], ", ".join(found["devices"]))
        lines.append("| " + " | ".join(map(str, row)) + f" | `{found['digest']}` | {files} |")
    return lines


def guidelines_section(rule, book):
    """Return the diagram and the list of the branches of the rule, between the marks.

    Raises
    ------
    LedgerError
        A branch has no entry in the guidelines, or names a statement that does not exist.
    """
    lines = [BEGIN, "", "```{figure} _static/guidelines.svg", f":alt: {alt_text(rule)}", ":width: 440px", ""]
    lines += ["The rule of `neuinv verdict`, from top to bottom; below each answer, the claims whose rows it"]
    lines[-1] += " rests on."
    lines += ["```", ""]
    for number, branch in enumerate(rule, start=1):
        entry = book.guidelines.get(branch.key)
        if entry is None:
            raise LedgerError(f"the branch {branch.key!r} of the rule has no entry in claims.yaml; add it.")
        question = branch.question or "Else."
        lines.append(f"{number}. *{question}* **{branch.recommendation.value}**.")
        lines.append(f"   {' '.join(entry['advice'].split())}")
        lines.append(f"   Rests on {_grounds(branch.key, entry, book)}.")
    return "\n".join([*lines, "", END])


def _grounds(key, entry, book):
    for label in entry["statements"]:
        if label not in book.statements():
            raise LedgerError(f"guideline {key}: no chapter states {label!r} with a proof; restore it.")
    rows = [
        f"{{ref}}`{name} <claim-{name.partition('.')[0].lower()}>` ({book.outcomes[name].verdict})"
        for name in entry["rests_on"]
    ]
    return ", ".join([*rows, *(f"{{prf:ref}}`{label}`" for label in entry["statements"])])


def claims_of(book):
    """Return for each branch the claims whose rows it rests on, as in ``C1, C3``."""
    return {
        key: ", ".join(dict.fromkeys(name.partition(".")[0] for name in entry["rests_on"]))
        for key, entry in book.guidelines.items()
    }


def replaced(page, section):
    """Return a page with the part between the marks replaced.

    Raises
    ------
    LedgerError
        The page has no marks.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise LedgerError("the page has lost the marks between which the ledger stands; restore them.")
    return before + section + after


def faults(page, claims, outcomes, book):
    """Say where a page and the ledger disagree: first verdict by verdict, then to the letter."""
    stated, claim = {}, None
    for line in page.splitlines():
        heading, part = _HEADING.match(line), _PART.match(line)
        claim = heading.group(1) if heading else claim
        if part and claim:
            stated[f"{claim}.{part.group(1)}"] = part.group(2)
    found = [
        f"{name}: the page says {stated.get(name, 'nothing')!r}, the records say {outcome.verdict!r}."
        for name, outcome in outcomes.items()
        if stated.get(name) != outcome.verdict
    ]
    for claim in claims:
        expected = ", ".join(words(claim, outcomes))
        row = re.search(rf"^\| \{{ref\}}`{claim.key} .*\| ([a-z ,]+) \|$", page, re.MULTILINE)
        if row is None or row.group(1) != expected:
            said = row.group(1) if row else "nothing"
            found.append(f"{claim.key}: the table says {said!r}, the rows say {expected!r}.")
    return found or stale(page, replaced(page, claims_section(claims, outcomes, book)))


def stale(page, fresh):
    """Name the first line in which a page differs from what would be written now."""
    for line, other in zip_longest(page.splitlines(), fresh.splitlines(), fillvalue="nothing"):
        if line != other:
            return [f"the page says {line[:200]!r}, the ledger says {other[:200]!r}."]
    return []
