"""The predicates of the ledger that read the studies of trained networks and of speed."""

from collections import Counter

import numpy as np
from ledger_model import Outcome
from ledger_predicates import predicate, separation

FAR = 10.0  # in AICc: beyond this a law has essentially no support beside the best one
STATISTICS = ("mean", "q999", "edge_mean", "worst")
KINDS_OF_ERROR = ("", "absolute_", "residual_")  # relative forward error, absolute one, right residual
LEAST_KAPPAS = 6  # what three parameters and a variance need
UNSATURATED = 10.0  # condition numbers up to here are below saturation


def some(part, whole, **values):
    """Return *reproduced* for all, *refined* for some and *not supported* for none."""
    word = "not supported" if part == 0 else "reproduced" if part == whole else "refined"
    return Outcome(word, values)


# --- C6: growth with the condition number ----------------------------------------------------------


def growth_series(rows):
    """Yield the name, the condition numbers (K,) and the errors (copies, K) of every series of the study."""
    for _, part in rows.groupby(["n", "kind", "structure"]):
        for column in (f"{prefix}{name}" for prefix in KINDS_OF_ERROR for name in STATISTICS):
            table = part.pivot(index="copy", columns="kappa", values=column)
            if len(table.columns) >= LEAST_KAPPAS:
                yield column, table.columns.to_numpy(), table.to_numpy()


@predicate("exponential-growth")
def exponential_growth(part, book):
    """*Reproduced* where of all laws an exponential in kappa has the least AICc in every series.
    *Not supported* where its AICc is at least 10 above the least in every one, else *refined*.
    """
    from neuinv.laws import fit_laws

    gaps, best = [], Counter()
    for name, kappa, errors in growth_series(book.load("kappa-law").rows):
        fits = fit_laws(kappa, errors, seed=0, absolute=name.startswith("absolute"), count=20)
        first = next(iter(fits.values()))
        best[first.law] += 1
        gaps.append(fits["exponential"].aicc - first.aicc)
    far = sum(gap >= FAR for gap in gaps)
    word = "reproduced" if max(gaps) == 0 else "not supported" if far == len(gaps) else "refined"
    laws = ", ".join(f"{name} {count}" for name, count in best.most_common())
    return Outcome(word, {"series": len(gaps), "wins": best["exponential"], "far": far, "laws": laws})


@predicate("power-below-saturation")
def power_below_saturation(part, book):
    """*Refined* where for kappa up to 10 a power of kappa, an exponential in its digits, explains more of the
    variance of the log error than an exponential in kappa in most series, else *not supported*.
    """
    from neuinv.laws import power_exponent

    exponents, wins, total = [], 0, 0
    for _, kappa, errors in growth_series(book.load("kappa-law").rows):
        low = kappa <= UNSATURATED
        exponent, _, _, share = power_exponent(kappa[low], errors[:, low], seed=0, count=20)
        rival = power_exponent(np.exp(kappa[low]), errors[:, low], seed=0, count=20)[3]
        exponents.append(exponent)
        wins, total = wins + (share > rival), total + 1
    word = "refined" if 2 * wins > total else "not supported"
    return Outcome(word, {"wins": wins, "series": total, "low": min(exponents), "high": max(exponents)})


# --- C3 and C4: every family -----------------------------------------------------------------------


def cells(rows):
    """Return one row for each cell and kind of network: the medians over its copies."""
    numbers = ["score", "worst", "worst_towards_singular", "plain.kappa"]
    groups = rows.groupby(["run", "kind", "family", "side"], as_index=False)
    return groups[numbers].median().assign(works=groups["works"].mean()["works"] > 0.5)


@predicate("outside-fails")
def outside_fails(part, book):
    """*Reproduced* where every network of every cell outside of the criterion has a right residual of at
    least 1/2 on the way to a singular matrix, *refined* where some have, *not supported* where none has.
    """
    found = book.load("families").rows
    found = found[(found["side"] == "outside") & found["worst_towards_singular"].notna()]
    fails = found["worst_towards_singular"] >= 0.5
    return some(
        fails.sum(),
        len(fails),
        networks=len(fails),
        cells=found["run"].nunique(),
        fails=int(fails.sum()),
        works=int((found["worst"] < 0.5).sum()),
    )


@predicate("inside-works")
def inside_works(part, book):
    """*Reproduced* where in every cell inside of the criterion some kind of network works, in the majority
    of its seeds, *refined* where in some, *not supported* where in none.
    """
    found = cells(book.load("families").rows)
    inside = found[found["side"] == "inside"].groupby("run")["works"].any()
    return some(inside.sum(), len(inside), cells=len(inside), works=int(inside.sum()))


@predicate("score-separates-again")
def score_separates_again(part, book):
    """As *score-separates*, on medians over the seeds of every cell and kind of the larger study."""
    rows = book.load("families").rows
    found = separation(cells(rows))
    low, high = found["kappa"].difference_low, found["kappa"].difference_high
    word = "reproduced" if low > 0 else "not supported" if high < 0 else "open"
    values = {"score": found["score"].value, "kappa": found["kappa"].value, "low": low, "high": high}
    counts = {"cells": rows["run"].nunique(), "families": rows["family"].nunique()}
    return Outcome(word, counts | {"networks": len(rows)} | values)


# --- C5: accurate, fast ----------------------------------------------------------------------------


@predicate("beats-published")
def beats_published(part, book):
    """*Reproduced* where the one-shot network of every seed has a smaller mean residual than the published
    one with a tenth of its parameters, *refined* where some have, *not supported* where none has.
    """
    rows, given = book.load("peers").rows, part.options
    chosen = rows[(rows["kind"] == given["kind"]) & (rows["task"] == given["task"])]
    shot = chosen[chosen["refined"] == 0]
    wins = (shot["frobenius.mean"] < given["published"]) & (10 * shot["parameters"] <= given["parameters"])
    return some(
        wins.sum(),
        len(shot),
        seeds=len(shot),
        published=given["published"],
        low=shot["frobenius.mean"].min(),
        high=shot["frobenius.mean"].max(),
        worst=shot["frobenius.worst"].max(),
        parameters=int(shot["parameters"].max()),
    )


@predicate("refined-to-rounding")
def refined_to_rounding(part, book):
    """*Reproduced* where after at most 4 Newton-Schulz steps the median right residual of every seed is at
    most 1e-10, *refined* where of some, *not supported* where of none.
    """
    rows, given = book.load("peers").rows, part.options
    chosen = rows[(rows["kind"] == given["kind"]) & (rows["task"] == given["task"])]
    steps = chosen[chosen["refined"].between(1, 4)].sort_values("refined").groupby("seed").last()
    good = steps["right.median"] <= 1e-10
    return some(
        good.sum(),
        len(good),
        seeds=len(good),
        median=steps["right.median"].max(),
        worst=steps["right.worst"].max(),
        products=steps["products"].max(),
    )


@predicate("faster-than-direct")
def faster_than_direct(part, book):
    """*Reproduced* where polynomials of matrix products are faster than the best direct solver, beyond the
    quartiles of both, in every cell, *refined* where in some, *not supported* where in none.
    """
    from neuinv.benchmark import break_even, load_speed

    wins, losses, total, devices = 0, 0, 0, []
    for record in load_speed(book.root / "book" / "results" / "speed"):
        table = break_even(record.rows, part.options["tolerance"])
        wins += int((table["low"] > 1).sum())
        losses += int((table["high"] < 1).sum())
        total += int(table["ratio"].notna().sum())
        devices.append(record.hardware)
    return some(wins, total, wins=wins, losses=losses, total=total, devices="; ".join(devices))
