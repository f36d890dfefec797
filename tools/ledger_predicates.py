"""The predicates of the ledger: small functions of the statements and records, each of which gives a verdict.

The first line of a docstring is the rule that the page shows.  A predicate is called only when every record
that its row names is there; else the verdict is *open*.
"""

import math

import ledger_model as model
from ledger_model import LedgerError, Outcome

PREDICATES = {}
# Of float64: what a search may exceed a proved bound by through rounding alone.
ROUNDING = 64 * 2.0**-52
MOST_CHECKED = 7  # products of the programs whose certificates are checked each time: seconds, not a minute
LONGEST_VERDICT = 120.0  # seconds, the declared limit of verdicts-take-minutes


def predicate(name):
    """Register a function (part, book) -> Outcome under a name of the ledger."""

    def register(function):
        PREDICATES[name] = function
        return function

    return register


def rule(name):
    """Return the sentence that describes a predicate."""
    return PREDICATES[name].__doc__.strip().split("\n\n")[0].replace("\n    ", " ")


def evaluate_all(claims, book):
    """Return the outcome of every part by name; the rows are asked in their order.

    Raises
    ------
    LedgerError, ValueError
        As :func:`evaluate`.
    """
    for claim in claims:
        for part in claim.parts:
            book.outcomes[part.name] = evaluate(part, book)
    return book.outcomes


def evaluate(part, book):
    """Return the outcome of one part after checking that its evidence exists.

    Raises
    ------
    LedgerError
        It names a statement, page, test or predicate that does not exist.
    ValueError
        A record was edited.
    """
    if part.predicate not in PREDICATES:
        raise LedgerError(f"{part.name}: there is no predicate {part.predicate!r}; write it or rename it.")
    for label in part.proofs:
        if label not in book.statements():
            raise LedgerError(f"{part.name}: no chapter states {label!r} with a proof; restore or rename it.")
    for page in part.pages:
        if book.page(page) is None and not part.missing:
            raise LedgerError(
                f"{part.name}: there is no page {page!r} in the contents; restore or rename it."
            )
    for test in part.tests:
        if not book.has_test(test):
            raise LedgerError(f"{part.name}: there is no test {test!r}; restore or rename it.")
    missing = [record for record in part.records if book.load(record) is None]
    if missing:
        if not part.missing:
            raise LedgerError(f"{part.name}: there is no record {missing[0]!r}; restore it.")
        return Outcome("open")
    outcome = PREDICATES[part.predicate](part, book)
    if outcome.values.get("runs", 0) < part.options.get("least_share", 0) * outcome.values.get("planned", 0):
        return Outcome("open", outcome.values)  # too few of the planned runs to judge by
    if outcome.verdict not in model.VERDICTS:
        raise LedgerError(f"{part.name}: {outcome.verdict!r} is no verdict; use {', '.join(model.VERDICTS)}.")
    return outcome


def last(book, record):
    """Return the values of the newest of single records."""
    return book.load(record)[-1]["values"]


# --- statements ------------------------------------------------------------------------------------


@predicate("proved")
def proved(part, book):
    """Every statement named stands in a chapter, and a proof follows it."""
    return Outcome("proved" if part.proofs else "open")


@predicate("refined")
def refined(part, book):
    """As for *proved*, where the statement says something else than the announced claim.
    That it does is the authors' reading.
    """
    return Outcome("refined" if part.proofs else "open")


# --- searches for counterexamples ------------------------------------------------------------------


def found_none(found, **values):
    """Return *reproduced* where a search found nothing, else *not supported*."""
    return Outcome("not supported" if found else "reproduced", values)


@predicate("no-violation")
def no_violation(part, book):
    """The search for violations and every run of the sweep found none, and on the way to a singular matrix
    every forward error ends within 1e-3 of 1.
    """
    searched, sweep = last(book, "soak/key-inequality"), book.load("why-cannot").rows
    ends = [name for name in sweep.columns if name.startswith("one_minus_e_at_the_end.")]
    largest = max(sweep[ends].abs().max())
    return found_none(
        searched["violations"] or sweep["violations"].sum() or not largest <= 1e-3,
        pairs=searched["pairs"],
        families=searched["families"],
        runs=sweep["run"].nunique(),
        swept=sweep["family"].nunique(),
        largest=largest,
    )


@predicate("witnesses-hold")
def witnesses_hold(part, book):
    """No network has 1 - r above rounding at the singular witness."""
    values = last(book, "soak/sign-witnesses")
    return found_none(values["largest_one_minus_r"] > ROUNDING, pairs=values["pairs"])


@predicate("rules-hold")
def rules_hold(part, book):
    """No secant that a search finds exceeds the proved constant by more than rounding."""
    values = last(book, "soak/lipschitz-rules")
    return found_none(
        values["largest_ratio"] > 1 + ROUNDING, pairs=values["pairs"], networks=values["networks"]
    )


@predicate("semidefinite-bounds")
def semidefinite_bounds(part, book):
    """On every network, found secant <= certified constant <= product of norms."""
    rows = last(book, "semidefinite")["networks"]
    held = all(row["found"] <= row["descent"] <= row["norm_product"] for row in rows)
    ratios = [row["descent"] / row["found"] for row in rows]
    return found_none(not held, networks=len(rows), low=min(ratios), high=max(ratios))


@predicate("no-false-accept")
def no_false_accept(part, book):
    """No accepted inverse has a residual above its proved bound."""
    values = last(book, "soak/false-accepts")
    return found_none(values["false_accepts"], matrices=values["matrices"], accepted=values["accepted"])


@predicate("printed")
def printed(part, book):
    """The page prints each of the lines that the row names; the tests run the page again and compare."""
    texts = [book.printed(page) for page in part.pages]
    lines = part.options["lines"]
    return found_none(not lines or not all(any(line in text for text in texts) for line in lines))


# --- programs --------------------------------------------------------------------------------------


@predicate("certified-programs")
def certified_programs(part, book):
    """Every program that the record of the search names is in the package with no larger supremum.
    Certificates of up to 7 products are checked here in exact arithmetic, all in the long tests.
    """
    from neuinv import load_programs

    programs = load_programs().values()
    shipped = {(p.num_matmuls, p.kappa): p.supremum for p in programs}
    found = last(book, "fewest-products")
    reached = all(
        shipped.get((row["products"], row["kappa"]), math.inf) <= row["supremum"] * (1 + found["margin"])
        for row in found["programs"]
    )
    valid = all(_accepted(p) for p in programs if p.num_matmuls <= MOST_CHECKED)
    return Outcome("proved" if reached and valid else "not supported", {"programs": len(shipped)})


def _accepted(program):
    """Ask the independent checker about the certificate of a program."""
    import json
    import tempfile
    from pathlib import Path

    from neuinv import verify
    from neuinv.certificates import program_certificate

    document = program_certificate(program).to_dict()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "program.json"
        path.write_text(json.dumps(document), encoding="utf-8")
        return all(ok for _, ok in verify.verify(path))


@predicate("programs-hold")
def programs_hold(part, book):
    """In float64 no matrix of the long check has a residual above the supremum by more than one part in a
    million.
    """
    found = [entry["values"] for entry in book.load("soak/programs")]
    double = [(w[3], v["supremum"]) for v in found for w in v["worst"] if w[1] == "torch.float64"]
    single = [(w[3] / v["supremum"]) for v in found for w in v["worst"] if w[1] == "torch.float32"]
    return found_none(
        any(residual > supremum * (1 + 1e-6) for residual, supremum in double),
        programs=len({v["program"] for v in found}),
        members=found[-1]["members"],
        single=max(single),
    )


# --- predictions before training -------------------------------------------------------------------


def separation(rows):
    """Return the paired bootstrap of the AUC of the score and of the condition number, as on the page."""
    from neuinv.metrics import auc, paired_bootstrap

    table = {"score": rows["score"].to_numpy(), "kappa": rows["plain.kappa"].to_numpy()}
    fails = (rows["worst"] >= 0.5).to_numpy()
    return paired_bootstrap(auc, table, fails, rows["family"], seed=0)


@predicate("score-separates")
def score_separates(part, book):
    """*Reproduced* where the 95 % interval of AUC(score) - AUC(kappa) lies above 0, *not supported* where it
    lies below, else *open*.
    """
    rows = book.load("criterion-predicts").rows
    rows = rows[rows["role"] == "evaluation"]
    found = separation(rows)
    kappa = found["kappa"]
    word = (
        "reproduced" if kappa.difference_low > 0 else "not supported" if kappa.difference_high < 0 else "open"
    )
    return Outcome(
        word,
        {
            "cells": rows["run"].nunique(),
            "families": rows["family"].nunique(),
            "score": found["score"].value,
            "kappa": kappa.value,
            "low": kappa.difference_low,
            "high": kappa.difference_high,
        },
    )


@predicate("score-by-kind")
def score_by_kind(part, book):
    """*Reproduced* where that interval lies above 0 for every kind of network, *refined* where it does for
    some, *not supported* where for none.
    """
    rows = book.load("criterion-predicts").rows
    rows = rows[rows["role"] == "evaluation"]
    won = [kind for kind, part in rows.groupby("kind") if separation(part)["kappa"].difference_low > 0]
    kinds = sorted(rows["kind"].unique())
    word = "reproduced" if len(won) == len(kinds) else "refined" if won else "not supported"
    return Outcome(word, {"won": ", ".join(won), "others": ", ".join(k for k in kinds if k not in won)})


# --- guidelines ------------------------------------------------------------------------------------


@predicate("guidelines-follow")
def guidelines_follow(part, book):
    """*Reproduced* where each branch of the rule rests on rows of this page that are neither *open* nor
    *not supported*, *open* where one does not.
    """
    from neuinv.criterion import RULE

    rests = {branch.key: book.guidelines.get(branch.key, {}).get("rests_on", ()) for branch in RULE}
    unknown = [name for names in rests.values() for name in names if name not in book.outcomes]
    if unknown:
        raise LedgerError(f"{part.name}: there is no row {unknown[0]!r} before it; rename or move it.")
    weak = ("open", "not supported")
    bad = [
        k for k, names in rests.items() if not names or any(book.outcomes[n].verdict in weak for n in names)
    ]
    return Outcome("open" if bad else "reproduced", {"branches": len(RULE), "weak": ", ".join(bad) or "none"})


@predicate("verdicts-take-minutes")
def verdicts_take_minutes(part, book):
    """Every verdict of the record took at most two minutes."""
    cells = last(book, "verdict-cost")["cells"]
    slowest = max(cells, key=lambda cell: cell["seconds"])
    return found_none(
        slowest["seconds"] > LONGEST_VERDICT,
        seconds=slowest["seconds"],
        count=slowest["count"],
        n=slowest["n"],
    )


@predicate("guide-followed")
def guide_followed(part, book):
    """A program followed the guide to the letter, from a clone to the built page."""
    seconds = last(book, "forking/follow-guide")["seconds"]
    done = {"git clone", "make environment", "make notebooks book"} <= set(seconds)
    return found_none(
        not done or not all(map(math.isfinite, seconds.values())), minutes=sum(seconds.values()) / 60
    )
