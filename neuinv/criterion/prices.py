"""What inverting a family costs, in words: spread, slope, matrix products, precision."""

import math

import torch

from neuinv.criterion.evidence import Evidence, Line, estimate
from neuinv.criterion.rule import constant_start, contraction
from neuinv.criterion.score import PREDICTED_KINDS
from neuinv.iterations import ScaledNewtonSchulz, best_scheme

__all__ = ["price_lines"]

UNITS = {
    "float64": 2.0**-53,
    "float32": 2.0**-24,
    "tf32": 2.0**-11,
    "float16": 2.0**-11,
    "bfloat16": 2.0**-8,
}


def price_lines(source, measured, counted, tolerance):
    """Return the lines on spread, scores, Lipschitz price, products and data floor; None where there is none.

    Parameters are those of :func:`neuinv.criterion.lines.all_lines`.
    """
    return (
        _spread(measured, tolerance),
        _scores(measured),
        _slope(measured, tolerance),
        _products(measured, counted, tolerance),
        _declared_products(source, tolerance),
        _floor(measured, tolerance),
    )


def _spread(m, tolerance):
    q, s = contraction(m), m.spread
    if m.held_out is None:
        tested = ", untested: there is one matrix only"
    elif m.equal:
        tested = ", untested: all members are one matrix"
    else:
        tested = f", {m.held_out:.3g} on {m.num_held_out} others"
    start = constant_start(q, tolerance)
    reading = "no contraction" if start is None else f"{start} products from a constant start"
    return estimate(
        "spread",
        "spread q",
        f"max ||I - A M|| is in [{s.low:.3g}, {s.high:.3g}] on {m.num_fitted} for the best constant M"
        f"{tested}: {reading}",
        m.num_fitted,
        "thm-spread",
        low=s.low,
        high=s.high,
        fitted=m.num_fitted,
        bracket=s.status.name.lower().replace("_", "-"),
        held_out=m.held_out,
        num_held_out=m.num_held_out,
        matmuls=start,
    )


def _scores(m):
    """What to expect of trained networks: the scores of predicted_residual, from the measured spread."""
    q, ratio = m.spread.high, m.scaled_ratio
    network = q * q
    refined = q**8
    steps = PREDICTED_KINDS["unrolled"] // 2
    unrolled = ScaledNewtonSchulz(steps, "general").worst_residual(ratio) if math.isfinite(ratio) else 1.0
    text = f"plain or residual {network:.2g}, with 4 products after it {refined:.2g}"
    if q >= 1:
        text = "no residual below 1 is known for plain or residual ones"
    return estimate(
        "scores",
        "trained networks",
        f"{text}; unrolled, {2 * steps} products, {unrolled:.2g}: "
        "what the best of each class is known to leave",
        m.num_fitted,
        "thm-predicted-residual",
        plain=network,
        learned_start=refined,
        unrolled=unrolled,
    )


def _slope(m, tolerance):
    if m.forced_slope is None:
        return None
    # twice: the square may vanish
    everywhere = (1 - tolerance) / m.low if m.low > 0 else math.inf
    everywhere = everywhere / m.low if m.low * math.sqrt(torch.finfo(torch.float64).max) > 1 else math.inf
    return estimate(
        "lipschitz",
        "Lipschitz price",
        f"at least {m.forced_slope:.3g} by a pair of members; {everywhere:.3g} on all matrices of such "
        "singular values",
        m.count,
        "prop-pair-price",
        pairs=m.num_pairs,
        forced_slope=m.forced_slope,
        all_matrices=everywhere,
    )


def _products(m, counted, tolerance):
    if counted.least is None:
        text = "no finite number: a member is singular, or its singular values underflow"
        return estimate("products", "matrix products", text, m.count, "thm-degree", kind=counted.kind)
    scheme = counted.scheme
    best = "no known program" if scheme is None else f"{scheme.num_matmuls} ({type(scheme).__name__})"
    kind = "SPD" if counted.kind == "spd" else "general"
    network = "" if counted.network is None else f"; the network takes {counted.network:.3g}"
    return estimate(
        "products",
        "matrix products",
        f"for all {kind} matrices of ratio {counted.ratio:.3g} at least {counted.least}; {best} known, "
        f"{counted.classical or 'no'} by classical Newton-Schulz{network}",
        m.count,
        "thm-degree" if counted.kind == "spd" else "thm-covariant",
        kind=counted.kind,
        ratio=counted.ratio,
        divide=counted.divide,
        least=counted.least,
        best=None if scheme is None else scheme.num_matmuls,
        scheme=None if scheme is None else type(scheme).__name__,
        classical=counted.classical,
        network=counted.network,
        tolerance=tolerance,
    )


def _declared_products(source, tolerance):
    """Products that are proved to do for every member: from declared bounds on the singular values."""
    family = source.family
    bounds = None if family is None else family.bounds
    if bounds is None or not bounds.sigma_min or bounds.norm is None:
        return None
    ratio = max(1.0, bounds.norm / bounds.sigma_min)
    kind = "spd" if "spd" in family.tags else "general"
    try:
        scheme = best_scheme(ratio, tolerance, kind)
    except ValueError:
        return None
    return Line(
        "declared-products",
        "for every member",
        f"{scheme.num_matmuls} products ({type(scheme).__name__}), by the declared bounds, of ratio "
        f"{ratio:.3g}; rounding aside",
        Evidence.PROOF,
        None,
        "prop-composition",
        {"ratio": ratio, "kind": kind, "matmuls": scheme.num_matmuls, "scheme": type(scheme).__name__},
    )


def _floor(m, tolerance):
    worst = m.worst_cond
    floors = {name: min(1.0, worst * unit) for name, unit in UNITS.items()}
    enough = [name for name, floor in floors.items() if floor <= tolerance]
    reading = f"not excluded: {', '.join(enough)}" if enough else "every dtype is excluded"
    shown = ", ".join(f"{name} {floors[name]:.2g}" for name in ("float64", "float32", "bfloat16"))
    return estimate(
        "data-floor",
        "data floor",
        f"u kappa of the worst is {shown}; {reading}",
        m.count,
        "thm-data-floor",
        **floors,
        enough=enough,
    )
