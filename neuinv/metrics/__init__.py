"""How wrong is an approximate inverse: residuals, forward error, baselines, worst case.

Everything here is a measurement: it is computed in float64 whatever the dtype of the matrices, so that
the arithmetic of the measurement does not mix with the arithmetic of the inverse it judges.
Near a singular matrix float64 is not enough: ``exact_inverse`` and ``smallest_singular_value`` then compute
in ball arithmetic.
"""

from neuinv.metrics.ascent import WorstCase, worst_case
from neuinv.metrics.baselines import best_constant, mean_inverse
from neuinv.metrics.errors import (
    both_errors,
    condition_number,
    forward_error,
    left_residual,
    right_residual,
    spectral_norm,
)
from neuinv.metrics.ranking import RankStatistic, auc, paired_bootstrap, rank_correlation
from neuinv.metrics.references import (
    REFERENCE_ACCURACY,
    exact_inverse,
    exact_right_residual,
    smallest_singular_value,
)
from neuinv.metrics.summaries import ConditionBin, quantiles, summary_by_condition

__all__ = [
    "REFERENCE_ACCURACY",
    "ConditionBin",
    "RankStatistic",
    "WorstCase",
    "auc",
    "best_constant",
    "both_errors",
    "condition_number",
    "exact_inverse",
    "exact_right_residual",
    "forward_error",
    "left_residual",
    "mean_inverse",
    "paired_bootstrap",
    "quantiles",
    "rank_correlation",
    "right_residual",
    "smallest_singular_value",
    "spectral_norm",
    "summary_by_condition",
    "worst_case",
]
