"""Companion package of the book *Where can a network invert a matrix?*

Importing this package is instant: every public name is loaded on first use
(PEP 562), so that neither torch nor any optional dependency is read before a
matrix is needed.
"""

from importlib import import_module

__version__ = "0.1.0"

# Public name -> module that defines it, grouped by the part of the book that uses it.
_EXPORTS = {
    # matrices
    "families": "neuinv.gallery",
    "family": "neuinv.gallery",
    "register_family": "neuinv.gallery",
    "check_family": "neuinv.gallery",
    "MatrixFamily": "neuinv.gallery",
    "real_form": "neuinv.gallery",
    # how wrong is an approximate inverse
    "left_residual": "neuinv.metrics",
    "right_residual": "neuinv.metrics",
    "forward_error": "neuinv.metrics",
    "best_constant": "neuinv.metrics",
    "mean_inverse": "neuinv.metrics",
    "worst_case": "neuinv.metrics",
    "summary_by_condition": "neuinv.metrics",
    # why networks cannot
    "key_inequality": "neuinv.witnesses",
    "sign_witness": "neuinv.witnesses",
    "rational_witness": "neuinv.witnesses",
    "output_witness": "neuinv.witnesses",
    "nearest_singular": "neuinv.witnesses",
    "path_to_singular": "neuinv.witnesses",
    # the generalized Lipschitz class
    "LipschitzClass": "neuinv.lipschitz",
    "OutsideClass": "neuinv.lipschitz",
    "lipschitz_class": "neuinv.lipschitz",
    "lipschitz_bound": "neuinv.lipschitz",
    "register_rule": "neuinv.lipschitz",
    "required_lipschitz": "neuinv.lipschitz",
    "largest_condition": "neuinv.lipschitz",
    # where networks can: schemes in matrix products, and how few products there can be
    "NewtonSchulz": "neuinv.iterations",
    "ScaledNewtonSchulz": "neuinv.iterations",
    "Hyperpower": "neuinv.iterations",
    "Chebyshev": "neuinv.iterations",
    "ComposedChebyshev": "neuinv.iterations",
    "StagedProgram": "neuinv.iterations",
    "load_programs": "neuinv.iterations",
    "best_scheme": "neuinv.iterations",
    "count_matmuls": "neuinv.iterations",
    "lower_bound_matmuls": "neuinv.iterations",
    # where networks can: what the spectrum says
    "green_function": "neuinv.spectrum",
    "green_interval": "neuinv.spectrum",
    "convergence_factor": "neuinv.spectrum",
    "minimax_residual": "neuinv.spectrum",
    "field_of_values": "neuinv.spectrum",
    "singular_value_summary": "neuinv.spectrum",
    "tail_index": "neuinv.spectrum",
    "spread": "neuinv.spectrum",
    # where networks can: the answer for a family
    "verdict": "neuinv.criterion",
    "Verdict": "neuinv.criterion",
    # where networks can: a proved inverse, or a refusal
    "approximate_inverse": "neuinv.inverse",
    "ApproximateInverse": "neuinv.inverse",
    "InverseStatus": "neuinv.inverse",
    "InversionRefused": "neuinv.inverse",
    # where and how it ran
    "resolve_device": "neuinv._checks",
    "record": "neuinv.records",
}

__all__ = ["__version__", *_EXPORTS]


def __getattr__(name):
    if name not in _EXPORTS:
        raise AttributeError(f"module 'neuinv' has no attribute {name!r}")
    value = getattr(import_module(_EXPORTS[name]), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted(set(globals()) | set(_EXPORTS))
