"""Polynomial schemes for the inverse, counted in n x n by n x n matrix products.

One product counts 1; sums, transposes and multiples by numbers are free. A scheme with the product counts it
announces (``num_matmuls``, which :func:`count_matmuls` confirms) stands beside the least number of products
that any polynomial program needs for the same accuracy (:func:`lower_bound_matmuls`).

Throughout, kappa is the ratio b / a of an interval [a, b], a > 0, known to hold the eigenvalues of a
symmetric positive definite matrix (kind ``"spd"``) or the singular values of any square matrix (kind
``"general"``). The residual of a scheme is then a polynomial q with q(0) = 1 at these eigenvalues, or at the
squares of these singular values, which is why a general matrix costs what a definite one of condition
number kappa squared costs.
"""

from neuinv.iterations.best import best_scheme
from neuinv.iterations.bounds import least_residual, lower_bound_matmuls, matmul_residual
from neuinv.iterations.classical import newton_schulz, newton_schulz_matmuls, transpose_start
from neuinv.iterations.composed import ComposedChebyshev
from neuinv.iterations.counting import count_matmuls
from neuinv.iterations.optimal import Chebyshev, ScaledNewtonSchulz
from neuinv.iterations.programs import Program, load_programs
from neuinv.iterations.scheme import Scheme
from neuinv.iterations.staged import StagedProgram
from neuinv.iterations.stepwise import Hyperpower, NewtonSchulz

__all__ = [
    "Chebyshev",
    "ComposedChebyshev",
    "Hyperpower",
    "NewtonSchulz",
    "Program",
    "ScaledNewtonSchulz",
    "Scheme",
    "StagedProgram",
    "best_scheme",
    "count_matmuls",
    "least_residual",
    "load_programs",
    "lower_bound_matmuls",
    "matmul_residual",
    "newton_schulz",
    "newton_schulz_matmuls",
    "transpose_start",
]
