"""The predicates of the ledger that read the studies of trained networks and of speed."""

import statistics
from collections import Counter

import numpy as np
from ledger_model import Outcome
from ledger_predicates import predicate

FAR = 10.0  # in AICc: beyond this a law has essentially no support beside the best one
STATISTICS = ("mean", "q999", "edge_mean", "worst")
KINDS_OF_ERROR = ("", "absolute_", "residual_")  # relative forward error, absolute one, right residual
COLUMNS = tuple(f"{prefix}{name}" for prefix in KINDS_OF_ERROR for name in STATISTICS)
LEAST_KAPPAS = 6  # what three parameters and a variance need
UNSATURATED = 10.0  # condition numbers up to here are below saturation
SEEDS = 3  # of a trained network, on which *reproduced* may rest


def some(part, whole, **values):
    """Return *reproduced* for all, *refined* for some, *not supported* for none, *open* if none was tried."""
    if not whole:
        return Outcome("open")
    word = "not supported" if part == 0 else "reproduced" if part == whole else "refined"
    return Outcome(word, values)


# --- C6: growth with the condition number ----------------------------------------------------------


def growth_series(rows, columns=COLUMNS):
    """Yield the name of a column and the series of every network that has all condition numbers."""
    from neuinv.laws import SETTINGS
    from neuinv.laws import growth_series as series_of

    kappas = sorted(rows["kappa"].unique())
    if len(kappas) < LEAST_KAPPAS:
        return
    rows = rows.assign(**{name: 0 for name in SETTINGS if name not in rows})
    for column in columns:
        for one in series_of(rows, column, kappas):
            yield column, one


def growth_of(part, book):
    """Return the series that a row judges, and what a text may say of where they come from."""
    study = book.load(part.options.get("study", "kappa-law"))
    about = getattr(study, "summary", {})
    found = list(growth_series(study.rows, part.options.get("columns", COLUMNS)))
    # only what is judged: a network without all condition numbers is in no series
    networks = {tuple(one.settings.items()): one.settings for _, one in found}.values()
    shown = {"runs": about.get("complete"), "planned": about.get("planned"), "networks": len(networks)}
    shown["size"] = max((own["n"] for own in networks), default=0)
    shown["kinds"] = ", ".join(sorted({own["kind"] for own in networks}))
    return found, shown


@predicate("exponential-growth")
def exponential_growth(part, book):
    """*Reproduced* where of all laws an exponential in kappa has the least AICc in every series.
    *Not supported* where its AICc is at least 10 above the least in every one, else *refined*.
    """
    from neuinv.laws import fit_laws

    gaps, best = [], Counter()
    found, shown = growth_of(part, book)
    if not found:
        return Outcome("open")
    for name, one in found:
        fits = fit_laws(one.kappa, one.errors, seed=0, absolute=name.startswith("absolute"), count=20)
        first = next(iter(fits.values()))
        best[first.law] += 1
        gaps.append(fits["exponential"].aicc - first.aicc)
    far = sum(gap >= FAR for gap in gaps)
    word = "reproduced" if max(gaps) == 0 else "not supported" if far == len(gaps) else "refined"
    laws = ", ".join(f"{name} {count}" for name, count in best.most_common())
    shown |= {"series": len(gaps), "wins": best["exponential"], "far": far, "laws": laws}
    return Outcome(word, shown)


@predicate("power-below-saturation")
def power_below_saturation(part, book):
    """*Refined* where for kappa up to 10 a power of kappa, an exponential in its digits, explains more of the
    variance of the log error than an exponential in kappa in most series, else *not supported*.
    """
    from neuinv.laws import power_exponent

    exponents, wins, total = [], 0, 0
    found, shown = growth_of(part, book)
    if not found:
        return Outcome("open")
    for _, one in found:
        low = one.kappa <= UNSATURATED
        kappa, errors = one.kappa[low], one.errors[:, low]
        exponent, _, _, share = power_exponent(kappa, errors, seed=0, count=20)
        rival = power_exponent(np.exp(kappa), errors, seed=0, count=20)[3]
        exponents.append(exponent)
        wins, total = wins + (share > rival), total + 1
    word = "refined" if 2 * wins > total else "not supported"
    shown |= {"wins": wins, "series": total, "low": min(exponents), "high": max(exponents)}
    return Outcome(word, shown)


# --- C3 and C4: every family -----------------------------------------------------------------------


def rows_of(part, book, study):
    """Return the rows of the study that a row of the ledger judges, and how many runs are in it."""
    found = book.load(part.options.get("study", study))
    about = getattr(found, "summary", {})
    return found.rows, {"runs": about.get("complete"), "planned": about.get("planned")}


def family_summary(part, book):
    """Return the counts and scores of the study of families, as its page prints them."""
    from neuinv.family_calls import claims_summary

    rows, shown = rows_of(part, book, "families")
    return claims_summary(rows) | shown


@predicate("outside-fails")
def outside_fails(part, book):
    """*Reproduced* where every network of every cell that declares members on the way to a singular matrix
    has a right residual of at least 1/2 there, *refined* where some have, *not supported* where none has.
    """
    rows, shown = rows_of(part, book, "families")
    found = rows[rows["worst_towards_singular"].notna()]
    fails = found["worst_towards_singular"] >= 0.5
    seen = found["worst"] < 0.5
    counts = {"networks": len(found), "cells": found["run"].nunique(), "works": int(seen.sum())} | shown
    least = found["worst_towards_singular"].min()
    return some(fails.sum(), len(found), fails=int(fails.sum()), least=least, **counts)


@predicate("inside-works")
def inside_works(part, book):
    """*Reproduced* where in every cell inside of the criterion with one division, a declared bound on kappa,
    some kind of network works from every seed, *refined* where in some, *not supported* where in none.
    """
    found = family_summary(part, book)
    shown = {name: found[name] for name in ("runs", "planned")}
    shown |= {"cells": found["inside"], "works": found["inside_works"]}
    return some(found["inside_works"], found["inside"], **shown)


@predicate("beats-what-ignores-its-input")
def beats_what_ignores(part, book):
    """*Reproduced* where in every cell in which a kind works it also beats what ignores its input.
    *Refined* where in some, *not supported* where in none.
    """
    found = family_summary(part, book)
    shown = {name: found[name] for name in ("runs", "planned")}
    return some(
        found["works_beats"], found["works"], works=found["works"], beats=found["works_beats"], **shown
    )


LEAST_FAMILIES = 8  # three of them have ten different resamples, eight have 6435


@predicate("score-separates-again")
def score_separates_again(part, book):
    """As *score-separates*, over cells and kinds of the larger study; one failing seed makes a kind fail.
    *Open* for fewer than 8 families, which are too few to draw from with replacement.
    """
    found = family_summary(part, book)
    low, high = found["auc_difference_low"], found["auc_difference_high"]
    few = found["families"] < LEAST_FAMILIES
    word = "open" if few else "reproduced" if low > 0 else "not supported" if high < 0 else "open"
    values = {"score": found["auc_score"], "kappa": found["auc_kappa"], "low": low, "high": high}
    given = f"the 95 % interval of the difference is [{low:.2f}, {high:.2f}]"
    values["interval"] = "for an interval of the difference these are too few families" if few else given
    names = ("cells", "families", "networks", "runs", "planned")
    return Outcome(word, {name: found[name] for name in names} | values)


# --- C3 and C4: size, data and training ------------------------------------------------------------

BESIDE = 1e-6  # how far below 1 a certified residual beside a singular matrix may be


@predicate("certified-outside")
def certified_outside(part, book):
    """*Reproduced* where every network that was trained outside of the criterion has a certified residual of
    at least 1 - 1e-6 beside a singular matrix, *refined* where some have, *not supported* where none has.
    """
    rows, shown = rows_of(part, book, "scaling")
    found = rows[rows["certified"].notna()]
    holds = found["certified"] >= 1 - BESIDE
    below = int((found["worst"] < 1).sum())
    return some(holds.sum(), len(found), networks=len(found), holds=int(holds.sum()), below=below, **shown)


@predicate("falls-inside")
def falls_inside(part, book):
    """*Reproduced* where inside of the criterion the worst residual, median over the seeds, is smaller at the
    upper end than at the lower end of every axis of every network, *refined* where of some.
    """
    from neuinv.scaling import axis_rows

    rows, shown = rows_of(part, book, "scaling")
    falls = []
    for _, cell in rows[rows["inside"].astype(bool)].groupby("run"):
        for axis in ("size", "num_train", "num_steps"):
            worst = axis_rows(cell, axis).groupby(axis)["worst"].median()
            falls.append(worst.iloc[-1] < worst.iloc[0])
    return some(sum(falls), len(falls), axes=len(falls), falls=sum(falls), **shown)


# --- C5: accurate, fast ----------------------------------------------------------------------------


def longest(book, options):
    """Return the rows of one kind of network on one task, trained for longest."""
    rows = book.load(options.get("study", "peers")).rows
    rows = rows[(rows["kind"] == options["kind"]) & (rows["task"] == options["task"])]
    return rows[rows["num_steps"] == rows["num_steps"].max()]


def of_seeds(good, **values):
    """Return what :func:`some` says of the seeds, but *refined* where all of fewer than three are good."""
    found = some(good.sum(), len(good), seeds=len(good), **values)
    few = found.verdict == "reproduced" and len(good) < SEEDS
    return Outcome("refined", found.values) if few else found


@predicate("beats-published")
def beats_published(part, book):
    """*Reproduced* where the one-shot network of every seed, of three or more, has, with at most a tenth of
    its parameters, a smaller mean residual than the published ensemble, *refined* where some have or the
    seeds are fewer, *not supported* where none has.
    """
    from neuinv.peers import PUBLISHED

    published = {entry.quantity: entry.value for entry in PUBLISHED}
    ensemble = 3 * published["parameters of one of 3 networks"]
    goal = published["mean ||AX - I||_F"]
    shot = longest(book, part.options)
    shot = shot[shot["refined"] == 0]
    if shot.empty:
        return Outcome("open")
    wins = (shot["frobenius.mean"] < goal) & (10 * shot["parameters"] <= ensemble)
    means, worst = shot["frobenius.mean"], shot["frobenius.worst"].max()
    shown = {"published": goal, "parameters": int(shot["parameters"].max())}
    shown["steps"] = int(shot["num_steps"].max())
    shown["forward"] = shot["forward.worst"].max()
    shown["published_forward"] = published["largest relative forward error"]
    return of_seeds(wins, low=means.min(), high=means.max(), worst=worst, **shown)


@predicate("refined-to-rounding")
def refined_to_rounding(part, book):
    """*Reproduced* where after at most 4 Newton-Schulz steps the median residual of every seed, of three or
    more, is at most 1e-10, *refined* where of some or of fewer seeds, *not supported* where of none.
    """
    chosen = longest(book, part.options)
    steps = chosen[chosen["refined"].between(1, 4)].sort_values("refined").groupby("seed").last()
    good = steps["frobenius.median"] <= 1e-10
    worst, products = steps["frobenius.worst"].max(), steps["products"].max()
    return of_seeds(good, worst=worst, products=products)


RIVALS = ("norms", "constant", "program")


@predicate("learning-saves-products")
def learning_saves_products(part, book):
    """*Reproduced* where on every applied family a learned start of some width saves products in the median,
    its own counted, over its strongest rival, *refined* where on some, *not supported* where on none.
    """
    rows, shown = rows_of(part, book, "learned-start")
    rows = rows[rows["role"] == "evaluation"]
    columns = [f"measured.{part.options['tolerance']}.saved.{rival}.net" for rival in RIVALS]
    saved = rows.groupby(["family", "size"])[columns].median().min(axis=1).groupby("family").max()
    who = ", ".join(saved.index[saved > 0]) or "none"
    wins = int((saved > 0).sum())
    return some(wins, len(saved), families=len(saved), wins=wins, who=who, **shown)


@predicate("faster-than-direct")
def faster_than_direct(part, book):
    """*Reproduced* where polynomials of matrix products, or the front door, are faster than the best direct
    solver, beyond the quartiles of both, in every cell that both reach, *refined* where in more than half of
    them, else *not supported*.
    """
    from neuinv.benchmark import break_even, load_speed, plan_cells

    device, group = part.options["device"], part.options.get("group", "polynomial")
    ratios, wins, losses, alone, missing, devices = [], 0, 0, 0, 0, []
    for record in load_speed(book.root / "book" / "results" / "speed"):
        if record.device == device:
            table = break_even(record.rows, part.options["tolerance"], group)
            both = table[(table["ratio"] > 0) & (table["ratio"] < float("inf"))]
            wins += int((both["low"] > 1).sum())
            losses += int((both["high"] < 1).sum())
            ratios += both["ratio"].tolist()
            alone += int(table["ratio"].notna().sum()) - len(both)
            missing += sum(not record.has(cell) for cell in plan_cells(device))
            devices.append(record.hardware)
    if not ratios:
        return Outcome("open")
    shown = {"wins": wins, "losses": losses, "total": len(ratios), "alone": alone, "missing": missing}
    shown |= {"least": min(ratios), "median": statistics.median(ratios), "most": max(ratios)}
    # A win in a few cells, among losses in most, is no support.
    return some(wins if 2 * wins > len(ratios) else 0, len(ratios), devices="; ".join(devices), **shown)
