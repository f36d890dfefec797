"""What the spectrum of a family says about inverting it: Green's function, minimax polynomials, field of
values.

Singular values and their tail tell how hard inversion is, Green's function at the origin how fast polynomials
in A can get there, and the spread how far a single constant already goes. Bounds are named so and hold up to
rounding; what is read off finitely many samples or degrees is an estimate.
"""

from neuinv.spectrum.bracket import SetBracket, minimax_bracket
from neuinv.spectrum.contraction import Spread, SpreadStatus, spread
from neuinv.spectrum.field import CROUZEIX_PALENCIA, FieldOfValues, field_of_values, residual_bound
from neuinv.spectrum.green import (
    GreenFunction,
    GreenInterval,
    GreenStatus,
    convergence_factor,
    green_function,
    green_interval,
    rate_estimates,
)
from neuinv.spectrum.minimax import ResidualPolynomial, as_points, minimax_residual
from neuinv.spectrum.pairs import pair_distance, pair_ratio
from neuinv.spectrum.sets import (
    AnnularSector,
    Arc,
    Disc,
    Intervals,
    Polygon,
    SpectrumSet,
    ThickenedCloud,
    interval,
    two_intervals,
)
from neuinv.spectrum.summary import Quantiles, SingularValueSummary, singular_value_summary, tail_index

__all__ = [
    # sets
    "AnnularSector",
    "Arc",
    "Disc",
    "Intervals",
    "Polygon",
    "SpectrumSet",
    "ThickenedCloud",
    "interval",
    "two_intervals",
    # how fast polynomials in A can invert
    "GreenFunction",
    "GreenInterval",
    "GreenStatus",
    "ResidualPolynomial",
    "SetBracket",
    "as_points",
    "convergence_factor",
    "green_function",
    "green_interval",
    "minimax_bracket",
    "minimax_residual",
    "rate_estimates",
    # the field of values
    "CROUZEIX_PALENCIA",
    "FieldOfValues",
    "field_of_values",
    "residual_bound",
    # singular values of a sample
    "Quantiles",
    "SingularValueSummary",
    "singular_value_summary",
    "tail_index",
    # narrow families
    "Spread",
    "SpreadStatus",
    "pair_distance",
    "pair_ratio",
    "spread",
]
