"""The findings of a verdict in words, each with its evidence and its statement in the book."""

import math

from neuinv.criterion.evidence import Evidence, Line, estimate
from neuinv.criterion.obstruction import is_rare
from neuinv.criterion.prices import price_lines

__all__ = ["all_lines"]


def all_lines(source, measured, counted, tolerance):
    """Return the lines of a verdict in the order in which they are printed.

    Parameters
    ----------
    source : Source
    measured : Measurements
    counted : Products
    tolerance : float

    Returns
    -------
    tuple of Line
    """
    lines = [
        _rarely(source, measured),
        _norms(source, measured),
        _condition(source, measured),
        _scale(measured),
        _signs(source, measured),
        _tail(source, measured, counted.divide),
        _spectrum(measured),
        _field(measured),
        *price_lines(source, measured, counted, tolerance),
    ]
    return tuple(line for line in lines if line is not None)


def _rarely(source, m):
    """Members of every condition number, declared rare: no uniform claim holds, and few members matter."""
    family = source.family
    if family is None or not family.has_singular_limit or not is_rare(family, m):
        return None
    law = "" if family.tail_index is None else f"P(||A^-1|| > x) falls like x^-{family.tail_index:g}, "
    return Line(
        "every-member",
        "every member",
        "members come arbitrarily close to singular matrices, so that no bounded network inverts all of "
        f"them; {law}they are rare, and what follows is about members like those seen",
        Evidence.PROOF,
        None,
        "prop-cannot",
        {"tail_index": family.tail_index},
    )


def _norms(source, m):
    v = m.values
    bounds = source.family.bounds if source.family is not None else None
    declared = ""
    if bounds is not None and (bounds.sigma_min is not None or bounds.norm is not None):
        ends = [
            f"at least {bounds.sigma_min:.3g}" if bounds.sigma_min is not None else "",
            f"at most {bounds.norm:.3g}" if bounds.norm is not None else "",
        ]
        declared = f"; declared: {', '.join(filter(None, ends))}"
    return estimate(
        "norms",
        "singular values",
        f"from {v.sigma_min.least:.3g} to {v.sigma_max.greatest:.3g}, "
        f"medians {v.sigma_min.median:.3g} and {v.sigma_max.median:.3g}{declared}",
        m.count,
        "thm-existence",
        delta=m.low,
        R=m.high,
        sigma_min_median=v.sigma_min.median,
        sigma_max_median=v.sigma_max.median,
        declared_sigma_min=getattr(bounds, "sigma_min", None),
        declared_norm=getattr(bounds, "norm", None),
    )


def _condition(source, m):
    k = m.values.cond
    bound = source.family.bounds.condition if source.family is not None else None
    declared = f"; declared: at most {bound:.3g}" if bound is not None else "; no bound is declared"
    unresolved = m.values.num_unresolved
    lost = f"; {unresolved} singular to working precision" if unresolved else ""
    return estimate(
        "cond",
        "condition number",
        f"median {k.median:.3g}, 95 % {k.high:.3g}, worst {k.greatest:.3g}{declared}{lost}",
        m.count,
        "thm-scale",
        median=k.median,
        q95=k.high,
        q99=k.extreme,
        worst=k.greatest,
        declared=bound,
        unresolved=unresolved,
    )


def _scale(m):
    gain = m.absolute_ratio / m.scaled_ratio if math.isfinite(m.absolute_ratio) else math.inf
    advice = ": divide by them first" if m.scaled_ratio < 0.8 * m.absolute_ratio else ""
    return estimate(
        "scale",
        "scale",
        f"R/delta {m.absolute_ratio:.3g}, over Frobenius norms {m.scaled_ratio:.3g}{advice}",
        m.count,
        "thm-scale",
        absolute_ratio=m.absolute_ratio,
        scaled_ratio=m.scaled_ratio,
        gain=gain,
    )


def _signs(source, m):
    undecided = m.count - m.num_positive - m.num_negative
    family = source.family
    values = {
        "positive": m.num_positive,
        "negative": m.num_negative,
        "undecided": undecided,
        "connected": None if family is None else family.connected,
    }
    counts = f"{m.num_positive} positive, {m.num_negative} negative"
    counts += f", {undecided} undecided" if undecided else ""
    if not (m.num_positive and m.num_negative):
        text = f"{counts}: no obstruction seen"
    elif family is not None and family.connected:
        text = f"{counts}, and the family is connected: every continuous map fails on it"
        return Line("det-signs", "determinants", text, Evidence.PROOF, None, "thm-sign-obstruction", values)
    elif family is not None and family.connected is False:
        text = f"{counts}, on parts that are not connected: both signs forbid nothing here"
    else:
        text = f"{counts}: a network fails if the family is connected, which a sample cannot tell"
    return estimate("det-signs", "determinants", text, m.count, "thm-sign-obstruction", **values)


def _tail(source, m, divided):
    bounds = None if source.family is None else source.family.bounds
    bounded = bounds is not None and (bounds.sigma_min is not None or bounds.condition is not None)
    t = m.scaled_tail if divided else m.tail
    if t is None or bounded:
        return None
    if t.low > 10:
        reading = "no tail seen"
    elif t.low > 2:
        reading = "no infinite variance seen"
    elif t.high <= 1:
        reading = "if it goes on like this, the mean loss is infinite"
    else:
        reading = "trust medians and worst cases, not means"
    return estimate(
        "tail",
        "tail of ||A^-1||",
        f"index {t.value:.2g} in [{t.low:.2g}, {t.high:.2g}] (95 %)"
        f"{' after the division' * divided}: {reading}",
        m.count,
        "prop-heavy-tail",
        index=t.value,
        low=t.low,
        high=t.high,
        k=t.k,
        divided=divided,
    )


def _spectrum(m):
    z, scale = m.eigenvalues, max(abs(m.eigenvalues).max(), 1e-300)
    if abs(z.imag).max() <= 1e-12 * scale:
        where = "real, positive" if z.real.min() > 0 else "real, of both signs"
        where = "real, negative" if z.real.max() < 0 else where
    else:
        where = "in the right half-plane" if z.real.min() > 0 else "on both sides of the imaginary axis"
        where = "in the left half-plane" if z.real.max() < 0 else where
    low, high = (0.0, 0.0) if m.green is None else (m.green.low, m.green.high)
    if high < 1e-3:
        reading = "hardly any use for polynomials in A alone; use A^T"
    else:
        reading = f"a degree in A gains a factor {math.exp(low):.3g} to {math.exp(high):.3g}"
    return estimate(
        "spectrum",
        "eigenvalues",
        f"{where}; Green's function {low:.2g} to {high:.2g} by thickness: {reading}",
        m.num_spectra,
        "thm-polynomial-inversion",
        where=where,
        green_low=low,
        green_high=high,
        thicknesses=[] if m.green is None else list(m.green.thicknesses),
    )


def _field(m):
    share = m.zero_in_field
    reading = {0.0: "never holds 0", 1.0: "holds 0 for all: silent"}.get(
        share, f"holds 0 for {100 * share:.0f} % of the members: silent there"
    )
    return estimate(
        "field-of-values",
        "field of values",
        reading,
        m.num_spectra,
        "thm-field-of-values",
        share_with_zero=share,
    )
