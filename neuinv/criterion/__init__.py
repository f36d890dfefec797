"""Where can a network invert: what is predicted of a sample of matrices before anything is trained."""

from neuinv.criterion.score import PREDICTED_KINDS, PredictedResidual, plain_predictors, predicted_residual

__all__ = [
    # before training: the residual to expect
    "PREDICTED_KINDS",
    "PredictedResidual",
    "plain_predictors",
    "predicted_residual",
]
