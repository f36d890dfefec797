"""Schemes whose stages are certified programs, or optimal polynomials of low degree."""

import math
from dataclasses import dataclass

from neuinv._checks import as_integer
from neuinv.iterations.bounds import chebyshev_minimum, check_kappa, check_kind
from neuinv.iterations.composed import (
    STAGE_DEGREES,
    evaluate_polynomial,
    next_gap,
    stage_coefficients,
    times_polynomial,
)
from neuinv.iterations.programs import load_programs, program
from neuinv.iterations.scheme import KINDS, Scheme, cast, identity

__all__ = ["StagedProgram", "apply_stage", "initial_state", "stage_matmuls"]

# A condition number this little above that of a program still counts as it: its radius is rounded up so far.
SLACK = 1e-9


@dataclass(frozen=True)
class StagedProgram(Scheme):
    r"""Stages :math:`X_j = X_{j-1} p_j(R_{j-1})`, :math:`R_{j-1} = I - AX_{j-1}`, some of them programs.

    A stage that is a program with m products takes m + 2, as do the optimal stages of degree 2, 3, 5 and 9
    with their 0, 1, 2 and 3; on the multiple of I from which kind ``"spd"`` starts, the first stage takes two
    less.

    Parameters
    ----------
    stages : tuple of str and int
        Names of programs (:func:`load_programs`) and degrees 2, 3, 5, 9; at least one of them a program.
    kind : {"spd", "general"}
        Which matrices.

    Raises
    ------
    TypeError, ValueError
        ``stages`` is not such a tuple, a program is unknown, the residual that reaches a program is larger
        than the radius it is made for, or an unknown kind.

    Notes
    -----
    Statement `prop-composition` of the book.

    Examples
    --------
    >>> scheme = StagedProgram(("5@100", 2))
    >>> scheme.num_matmuls
    7
    """

    stages: tuple
    kind: str = "spd"

    def __post_init__(self):
        if not isinstance(self.stages, tuple):
            raise TypeError(f"stages is {self.stages!r}; pass a tuple such as ('5@100', 2).")
        check_kind(self.kind, KINDS)
        for stage in self.stages:
            if isinstance(stage, str):
                program(stage)
            elif as_integer(stage, "a degree in stages", 2) not in STAGE_DEGREES:
                raise ValueError(f"stages has the degree {stage}; use 2, 3, 5, 9 or the name of a program.")
        if not any(isinstance(stage, str) for stage in self.stages):
            raise ValueError(f"stages is {self.stages!r}, without a program; use ComposedChebyshev.")
        self.worst_residual(self.largest_kappa)

    @property
    def degree(self):
        """Degree N of the residual polynomial; that of a program with m products is at most 2^m + 1."""
        return math.prod(s if isinstance(s, int) else 2 ** program(s).num_matmuls + 1 for s in self.stages)

    @property
    def num_matmuls(self):
        """Matrix products: those of the polynomials and two a stage; a multiple of I saves two."""
        return sum(map(stage_matmuls, self.stages)) - (2 if self.kind == "spd" else 0)

    @property
    def largest_kappa(self):
        """The largest condition number for which the scheme is made; infinite when a degree comes first."""
        first = self.stages[0]
        if isinstance(first, int):
            return self._after_degrees()
        return program(first).kappa if self.kind == "spd" else math.sqrt(program(first).kappa)

    def _after_degrees(self):
        """Return the largest kappa that the stages before the first program bring into its radius."""
        names = [isinstance(stage, str) for stage in self.stages]
        degree = math.prod(self.stages[: names.index(True)])
        limit = program(self.stages[names.index(True)]).kappa
        # sqrt(kappa) falls as tanh: artanh(1 / sqrt(kappa_1)) = degree artanh(1 / sqrt(kappa)).
        ratio = math.tanh(math.atanh(1 / math.sqrt(limit)) / degree) ** -2
        return ratio if self.kind == "spd" else math.sqrt(ratio)

    def worst_residual(self, kappa):
        """Return a bound of the right residual over all matrices with condition number kappa.

        It is the certified supremum of the last program, through the optimal stages behind it: a bound for
        every kappa up to ``largest_kappa``, and nearly attained there.

        Parameters
        ----------
        kappa : float
            b / a >= 1, dimensionless.

        Returns
        -------
        float
            In (0, 1).

        Raises
        ------
        TypeError, ValueError
            ``kappa`` is not a number in [1, largest_kappa].
        """
        kappa = check_kappa(kappa)
        state = initial_state(kappa, self.kind)
        for stage in self.stages:
            state = apply_stage(state, stage)
            if state is None:
                raise ValueError(
                    f"kappa is {kappa:g} and {stage} is made for a smaller residual than reaches it; "
                    "use best_scheme, which joins stages that fit."
                )
        return state[1]

    def _residual(self, position, ratio):
        q, gap = 1 - 2 * position / (1 + ratio), 2 * ratio / (1 + ratio)
        for stage in self.stages:
            if isinstance(stage, str):
                chosen = program(stage)
                q, gap = 1 - (1 - q) * chosen.values(q / chosen.radius), 1 - chosen.supremum
                continue
            powers = stage_coefficients(stage, gap)
            q = 1 - (1 - q) * sum(c * q**i for i, c in enumerate(powers))
            gap = next_gap(stage, gap)
        return q

    def _check_ratio(self, ratio):
        limit = self.largest_kappa ** (-1 if self.kind == "spd" else -2) * (1 - 10 * SLACK)
        least = ratio if isinstance(ratio, float) else ratio.detach().min().tolist()
        if least < limit:
            kappa = least ** (-1 if self.kind == "spd" else -0.5)
            raise ValueError(
                f"interval has the ratio b / a = {kappa:g} and the scheme is made for at most "
                f"{self.largest_kappa:g}; ask best_scheme for another."
            )

    def _inverse(self, A, ratio):
        self._check_ratio(ratio)
        gamma, gap = cast(2 / (1 + ratio), A), 2 * ratio / (1 + ratio)
        multiple = self.kind == "spd"
        X = gamma * (identity(A) if multiple else A.mT)
        for stage in self.stages:
            R = identity(A) - (gamma * A if multiple else A @ X)
            if isinstance(stage, str):
                chosen = program(stage)
                P, gap = chosen.polynomial(R / chosen.radius), ratio * 0 + (1 - chosen.supremum)
                X = gamma * P if multiple else X @ P
            else:
                c = [cast(c, A) for c in stage_coefficients(stage, gap)]
                X = gamma * evaluate_polynomial(R, c) if multiple else times_polynomial(X, R, c)
                gap = next_gap(stage, gap)
            multiple = False
        return X


def initial_state(kappa, kind):
    """Return (1 - r, r) for the residual interval [-r, r] from which a scheme starts."""
    ratio = 1 / kappa if kind == "spd" else (1 / kappa) ** 2
    return 2 * ratio / (1 + ratio), chebyshev_minimum(1, kappa, kind)


def apply_stage(state, stage):
    """Return (1 - r, r) after a stage, or None where a program is made for less than r.

    Parameters
    ----------
    state : pair of floats
        1 - r and r before the stage.
    stage : str or int
        The name of a program, or the degree of an optimal polynomial.
    """
    gap, r = state
    if isinstance(stage, str):
        chosen = load_programs()[stage]
        if gap < (1 - chosen.radius) * (1 - SLACK):
            return None
        return 1 - chosen.supremum, chosen.supremum
    if r == 0:
        return 1.0, 0.0
    # Of the two forms of arcosh(1 / r) the one that loses no digits.
    rate = 2 * math.atanh(math.sqrt(gap / (2 - gap))) if r > 0.5 else math.acosh(1 / r)
    decay = math.exp(-stage * rate)
    return float(next_gap(stage, gap)), 2 * decay / (1 + decay * decay)


def stage_matmuls(stage):
    """Return the products of a stage that starts from a matrix, its two included."""
    return 2 + (program(stage).num_matmuls if isinstance(stage, str) else STAGE_DEGREES.index(stage))
