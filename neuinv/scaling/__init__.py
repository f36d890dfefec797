"""How errors change with weights, training matrices and steps, and which law they follow."""

from neuinv.scaling.laws import LAWS, LawFit, ScalingFit, fit_law, fit_scaling, synthetic_errors
from neuinv.scaling.runs import (
    ErrorSummary,
    Point,
    axis_rows,
    certified_residual,
    declared_inside,
    error_summary,
    grown,
    in_double,
    nearly_singular,
    scaling_points,
    training_flops,
)

__all__ = [
    "LAWS",
    "ErrorSummary",
    "LawFit",
    "Point",
    "ScalingFit",
    "axis_rows",
    "certified_residual",
    "declared_inside",
    "error_summary",
    "fit_law",
    "fit_scaling",
    "grown",
    "in_double",
    "nearly_singular",
    "scaling_points",
    "synthetic_errors",
    "training_flops",
]
