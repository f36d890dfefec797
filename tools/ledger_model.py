"""The ledger of claims as data: what is announced, what this book states, and where the evidence is.

``book/claims.yaml`` declares it; a :class:`Book` finds the statements, pages, tests and records it names.
"""

import hashlib
import json
import re
import sys
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # the package of this checkout, whatever else is installed

from neuinv.records import load_records  # noqa: E402
from neuinv.sweep import load_study  # noqa: E402
from neuinv.sweep.spec import PROFILES  # noqa: E402

VERDICTS = ("proved", "reproduced", "refined", "not supported", "open")
EVIDENCE = ("proof", "certificate", "estimate", "rule")
_STATEMENTS = {"theorem", "proposition", "lemma", "corollary"}
_DIRECTIVE = re.compile(r"^(?::::+|```+)\{prf:(\w+)\}.*\n(?::label: (\S+)\n)?", re.MULTILINE)
_NAME = re.compile(r"[a-z][a-z0-9-]*")


class LedgerError(ValueError):
    """One sentence: which row, what is wrong, what to do."""


@dataclass(frozen=True)
class Outcome:
    """What a predicate says: one of ``VERDICTS``, and the numbers that the text shows."""

    verdict: str
    values: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Part:
    """One statement held against a claim.

    Attributes
    ----------
    name : str
        Its place, such as ``C1.impossibility``.
    text : str
        What this book states, with ``<<value:format>>`` where a number of a record goes.
    predicate : str
        The function of ``ledger_predicates`` that computes the verdict.
    evidence : str
        One of ``EVIDENCE``.
    proofs, pages, tests, records : tuple of str
        Labels of statements; notebooks and pages; test files or ``file::test``; studies (``kappa-law``, or
        ``kappa-law/gpu`` for another profile) and single records (``soak/key-inequality``).
    missing : str
        The text as long as a record is missing.
    options : dict
        What else the predicate reads.
    optional : bool
        Whether the row is left out as long as one of its records is missing.
    """

    name: str
    text: str
    predicate: str
    evidence: str
    proofs: tuple = ()
    pages: tuple = ()
    tests: tuple = ()
    records: tuple = ()
    missing: str = ""
    options: dict = field(default_factory=dict)
    optional: bool = False


@dataclass(frozen=True)
class Claim:
    """An announced claim, in our words, and what is held against it."""

    key: str
    title: str
    announced: str
    parts: tuple


def read_claims(path):
    """Return the claims and the guidelines that a file declares.

    Raises
    ------
    LedgerError
        It is not a ledger: a missing or unknown entry.
    """
    import yaml

    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        claims = tuple(_claim(key, entry) for key, entry in content["claims"].items())
        return claims, dict(content["guidelines"])
    except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise LedgerError(f"{Path(path).name} is not a ledger ({error!r}); restore it.") from None


def _claim(key, entry):
    _only(key, entry, {"title", "announced", "parts"})
    parts = tuple(_part(f"{key}.{name}", given) for name, given in entry["parts"].items())
    return Claim(key, entry["title"], entry["announced"], parts)


def _part(name, entry):
    lists = {key: tuple(entry.get(key, ())) for key in ("proofs", "pages", "tests", "records")}
    _only(name, entry, {"text", "predicate", "evidence", "missing", "options", "optional", *lists})
    if not _NAME.fullmatch(name.partition(".")[2]):
        raise LedgerError(f"{name} is no name; use lower case and hyphens.")
    if entry["evidence"] not in EVIDENCE:
        raise LedgerError(f"{name} has evidence {entry['evidence']!r}; use one of {', '.join(EVIDENCE)}.")
    if not any(lists.values()):
        raise LedgerError(f"{name} names no evidence; name a statement, a page, a test or a record.")
    return Part(
        name,
        " ".join(entry["text"].split()),
        entry["predicate"],
        entry["evidence"],
        **lists,
        missing=" ".join(entry.get("missing", "").split()),
        options=dict(entry.get("options", {})),
        optional=bool(entry.get("optional", False)),
    )


def recorded(claims, book):
    """Return the claims without the optional rows of which a record is missing."""
    return tuple(
        replace(claim, parts=tuple(part for part in claim.parts if not part.optional or _has(book, part)))
        for claim in claims
    )


def _has(book, part):
    return all(book.load(record) is not None for record in part.records)


def _only(name, entry, allowed):
    unknown = set(entry) - allowed
    if unknown:
        raise LedgerError(f"{name} has the entry {sorted(unknown)[0]!r}; use {', '.join(sorted(allowed))}.")


class Book:
    """The statements, pages, tests and records below a folder; a copy of the project serves as well."""

    def __init__(self, root=ROOT):
        self.root = Path(root)
        self.outcomes = {}  # of the parts that were evaluated, by name
        self.guidelines = {}  # of the branches of the rule
        self._loaded = {}

    def statements(self):
        """Return label -> page of every statement that a proof follows, on the pages of the contents."""
        if "statements" not in self._loaded:
            found = {}
            for page in self.pages():
                path = self.root / f"{page}.md"
                found |= dict.fromkeys(_proved(path.read_text(encoding="utf-8")), page)
            self._loaded["statements"] = found
        return self._loaded["statements"]

    def pages(self):
        """Return the pages in the table of contents, such as ``notebooks/why-cannot``."""
        contents = (self.root / "_toc.yml").read_text(encoding="utf-8")
        return re.findall(r"^\s*(?:- file|root): (\S+)$", contents, re.MULTILINE)

    def page(self, name):
        """Return the full name of a page given without its folder, or None."""
        return next((page for page in self.pages() if page.split("/")[-1] == name), None)

    def printed(self, name):
        """Return all that the executed notebook ``name`` prints."""
        content = json.loads((self.root / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8"))
        outputs = [output for cell in content["cells"] for output in cell.get("outputs", [])]
        texts = [o.get("text", o.get("data", {}).get("text/plain", "")) for o in outputs]
        return "\n".join("".join(text) for text in texts)

    def has_test(self, name):
        """Tell whether a test file, or ``file::test`` in it, exists."""
        file, _, function = name.partition("::")
        path = self.root / file
        if not path.is_file():
            return False
        return not function or f"def {function}(" in path.read_text(encoding="utf-8")

    def load(self, record):
        """Return a study, or the values of a single record, or None where there is none.

        Raises
        ------
        ValueError
            It was edited: its digest does not agree with its content.
        """
        if record not in self._loaded:
            self._loaded[record] = self._load(record)
        return self._loaded[record]

    def _load(self, record):
        folder, _, name = record.partition("/")
        place = self.root / "book" / "results" / folder
        if self._is_study(record):
            return load_study(folder, name or "cpu", folder=place)
        found = load_records(place) if place.is_dir() else []
        found = [entry for entry in found if entry["values"].get("study", folder) == (name or folder)]
        return found if found else None

    def _is_study(self, record):
        """Whether the name is that of a collected profile of a study."""
        folder, _, name = record.partition("/")
        place = self.root / "book" / "results" / folder
        return name in ("", *PROFILES) and (place / f"{name or 'cpu'}.json").is_file()

    def files(self, record):
        """Return the files of a record, below ``book``."""
        folder, _, name = record.partition("/")
        place = self.root / "book" / "results" / folder
        if self._is_study(record):
            return [place / f"{name or 'cpu'}.json", place / f"{name or 'cpu'}.parquet"]
        found = {path: json.loads(path.read_text("utf-8"))["values"] for path in place.glob("record-*.json")}
        return sorted(p for p, values in found.items() if values.get("study", folder) == (name or folder))

    def origin(self, record):
        """Return where and when a record was made: rows, commit, day, processors, digest of its content."""
        loaded = self.load(record)
        content = b"".join(path.read_bytes() for path in self.files(record))
        found = {"digest": hashlib.sha256(content).hexdigest()[:12]}
        if isinstance(loaded, list):
            origins = [entry["provenance"] for entry in loaded]
            package = [origin["package"] for origin in origins]
            return found | {
                "rows": len(loaded),
                "commit": package[-1]["commit"],
                "dirty": any(p["dirty"] for p in package),
                "day": origins[-1]["start"][:10],
                "devices": sorted({_device(origin) for origin in origins}),
            }
        summary = loaded.summary
        return found | {
            "rows": summary["rows"],
            "commit": summary["package"]["commit"],
            "dirty": summary["package"]["dirty"],
            "day": summary["first_start"][:10],
            "devices": list(summary["devices"]),
        }


def _device(origin):
    """Return the processor, or the GPU, with which a record was made."""
    return origin["cpu"] if origin["device"]["type"] == "cpu" else origin["device"]["name"]


def _proved(text):
    """Return the labels of the statements that the next directive proves."""
    found = [(match.group(1), match.group(2)) for match in _DIRECTIVE.finditer(text)]
    return [
        label
        for (kind, label), (after, _) in pairwise(found)
        if kind in _STATEMENTS and label and after == "proof"
    ]
