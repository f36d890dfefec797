"""From a scheme by way of corrections to a direct solver: the order in which results are tried."""

import numpy as np
import torch

from neuinv._linalg import inverse_or_nan
from neuinv.inverse.bounds import (
    FLOOR,
    SMALLEST,
    frobenius_upper,
    inflate,
    scale,
    spectral_upper,
    subnormal_error,
)
from neuinv.inverse.capped import CappedNewtonSchulz, tf32_active
from neuinv.inverse.planning import (
    DEFINITE_MATMULS,
    choose_plan,
    estimate_interval,
    prove_definite,
)
from neuinv.inverse.proof import prove_residual, spectral_estimate
from neuinv.inverse.results import InverseStatus
from neuinv.iterations.scheme import piece_length

__all__ = ["Search", "statuses"]

MAX_CORRECTIONS = 4
CONTRACTION = 0.97  # of an estimate from below; a residual of norm above 1 would grow
# Beyond it the factors are capped: general float32 matrices of condition number 1000 (0.06) were inverted
# without the cap, those of 3000 (0.5) were not.
LONG = 0.05
# A scheme for a longer interval has no correct digit in any dtype; its steps would be wasted.
MAX_CONDITION = 1e40
UNITS = {torch.float64: 2.0**-53, torch.float32: 2.0**-24, torch.bfloat16: 2.0**-8, torch.float16: 2.0**-11}


class Search:
    """The state of one call: a flat batch, scaled so that the largest entry of each A lies in [1/2, 1)."""

    def __init__(self, A, tolerance, out_dtype, precision, max_matmuls):
        self.dtype, self.out_dtype = A.dtype, out_dtype
        self.tolerance, self.precision, self.max_matmuls = tolerance, precision, max_matmuls
        # float64 holds every smaller dtype, so that powers of two scale without error.
        exact = A.double()
        self.misread = subnormal_error(A)
        self.exponent = torch.frexp(exact.abs().amax(dim=(-2, -1))).exponent
        self.A = scale(exact, -self.exponent)
        self.work_dtype = torch.float64 if A.dtype == torch.float64 else torch.float32
        count, options = len(A), {"dtype": torch.float64, "device": A.device}
        self.X = torch.zeros_like(A, dtype=out_dtype)
        self.bound = torch.ones(count, **options)  # of X = 0
        self.matmuls, self.check_matmuls = torch.zeros(count, **options), torch.zeros(count, **options)
        self.status = torch.full((count,), _code(InverseStatus.UNPROVED), device=A.device)
        self.accepted = torch.zeros(count, dtype=torch.bool, device=A.device)

    def run(self, kind, interval):
        """Try everything, on all matrices."""
        given = interval is not None
        if given:
            # An interval far from the scale of A is wrong, but must stay one of finite numbers.
            interval = tuple(scale(end, -self.exponent).clamp(1e-150, 1e150) for end in interval)
        for group, at in self._groups(kind):
            if len(at):
                ends = tuple(end[at] for end in interval) if given else self._estimate(at, group)
                self._scheme(at, group, ends, given)
        failed = InverseStatus.DIRECT_INTERVAL if given else InverseStatus.DIRECT_ESTIMATE
        at = torch.nonzero(~self.accepted)[:, 0]
        if len(at):
            self._direct(at, failed)

    def _piece_length(self):
        # Longer than a scheme's pieces: a proof is many operations, each of which costs some microseconds.
        return 8 * piece_length(self.A)

    def _groups(self, kind):
        """Return (kind, indices), the definite matrices first."""
        everything = torch.arange(len(self.A), device=self.A.device)
        if kind != "auto":
            return [(kind, everything)]
        definite, symmetric = prove_definite(self.A)
        self.check_matmuls += DEFINITE_MATMULS * symmetric
        return [("spd", everything[definite]), ("general", everything[~definite])]

    def _estimate(self, at, kind):
        pieces = [estimate_interval(self.A[some], kind) for some in at.split(self._piece_length())]
        self.matmuls[at] += pieces[0][2]
        return tuple(torch.cat(ends) for ends in list(zip(*pieces, strict=True))[:2])

    def _scheme(self, at, kind, ends, given):
        """Run schemes on the matrices at ``at``, one for each factor 4 of condition number, and prove."""
        # An estimate may be 0, and so may both of its ends.
        condition = torch.nan_to_num(ends[1] / ends[0], nan=MAX_CONDITION).clamp(max=MAX_CONDITION)
        level = condition.log2().div(2).ceil()
        for value in level.unique().tolist():
            group = torch.nonzero(level == value)[:, 0]
            scheme = self._choose(float(condition[group].max()), kind)
            some = at[group]
            if not given and (scheme.num_matmuls > self.max_matmuls or (ends[0][group] <= 0).any()):
                self.status[some] = _code(InverseStatus.DIRECT_COST)
                continue
            self.matmuls[some] += scheme.num_matmuls
            for piece in group.split(self._piece_length()):
                X = scheme(self.A[at[piece]].to(self.work_dtype), tuple(end[piece] for end in ends))
                self._accept(at[piece], X, InverseStatus.SCHEME, InverseStatus.CORRECTED)

    def _choose(self, kappa, kind):
        # The condition number of the matrix that the polynomial is in, against what rounding leaves of it.
        long = (kappa if kind == "spd" else kappa * kappa) * UNITS[self.work_dtype] > LONG
        if self.precision is not None or long:
            return CappedNewtonSchulz(kappa, self.tolerance / 2, kind, self.precision)
        return choose_plan(kappa, self.tolerance, kind, self.A.shape[-1]).scheme

    def _accept(self, at, X, status, corrected):
        """Prove X at the indices ``at``; where that fails, correct X while it helps and prove again."""
        before = torch.full((len(at),), torch.inf, dtype=torch.float64, device=at.device)
        for attempt in range(1 + MAX_CORRECTIONS):
            candidate = scale(X.double(), -self.exponent[at]).to(self.out_dtype)
            exact = scale(candidate.double(), self.exponent[at])
            proof = prove_residual(self.A[at], exact, self.tolerance, self._data_error(at, candidate, exact))
            self.check_matmuls[at] += proof.matmuls
            proved = proof.bound <= self.tolerance  # False for NaN
            done = at[proved]
            self.X[done], self.bound[done], self.accepted[done] = candidate[proved], proof.bound[proved], True
            self.status[done] = _code(corrected if attempt else status)
            if proved.all():
                return
            # A correction squares the residual; where it did not even lower it by a third, rounding is left.
            size = spectral_estimate(torch.nan_to_num(proof.residual))
            helps = ~proved & torch.isfinite(proof.bound) & (size < CONTRACTION) & (size < 0.7 * before)
            keep = torch.nonzero(helps)[:, 0]
            if len(keep) == 0 or attempt == MAX_CORRECTIONS:
                return
            at, before, base = at[keep], size[keep], exact[keep].to(self.work_dtype)
            # A times it is I - (AX - I)^2 in exact arithmetic. The residual was computed in float64.
            X = base - self._correction(base, proof.residual[keep])
            self.matmuls[at] += 1

    def _correction(self, X, residual):
        """Return X times the residual, not in TF32, whose rounding times kappa would be left of it."""
        dtype = torch.float64 if tf32_active(X.device) else self.work_dtype
        return (X.to(dtype) @ residual.to(dtype)).to(self.work_dtype)

    def _data_error(self, at, X, exact):
        """Return by how much AX may differ in norm from what is checked: digits below the normal numbers.

        Subnormal entries of A and X may be read as zero, and scaling A may lose digits of its smallest.
        ``exact`` is X in the scale of ``self.A``; an error of one entry is n times one in the norm at most.
        """
        n, power = self.A.shape[-1], self.exponent[at]
        a, x = scale(self.misread[at], -power), scale(subnormal_error(X), power)
        if not (a.any() or x.any()):
            return FLOOR  # entries of X that pass the proof are at most 2^64: n^2 2^64 2^-1022 is far less
        return FLOOR + n * inflate(a * frobenius_upper(exact) + x * frobenius_upper(self.A[at]), n)

    def _direct(self, at, failed):
        """Invert by a direct solver, in the dtype of the input or float32, and say why."""
        tried = self.status[at] != _code(InverseStatus.DIRECT_COST)
        X = inverse_or_nan(self.A[at].to(self.work_dtype))
        condition = frobenius_upper(self.A[at]) * frobenius_upper(X.double())
        stored = scale(X.double(), -self.exponent[at]).to(self.out_dtype)
        fits = torch.isfinite(stored).all(-1).all(-1)
        exists = torch.isfinite(X).all(-1).all(-1)
        for chosen, status in ((tried, failed), (~tried, InverseStatus.DIRECT_COST)):
            some = torch.nonzero(chosen & fits & exists)[:, 0]
            if len(some):
                self._accept(at[some], X[some], status, status)
        floor = UNITS[self.dtype] * condition
        reason = torch.full_like(at, _code(InverseStatus.UNPROVED))
        reason[floor > self.tolerance] = _code(InverseStatus.DATA_FLOOR)
        subnormal = self._data_error(at, stored, X.double()) > self.tolerance
        reason[exists & (~fits | subnormal)] = _code(InverseStatus.OVERFLOW)
        reason[~exists | (floor >= 1)] = _code(InverseStatus.SINGULAR)
        refused = ~self.accepted[at]
        self.status[at[refused]] = reason[refused]

    def result(self, batch):
        """Return the fields of an ApproximateInverse, all but its status."""
        exact = scale(self.X.double(), self.exponent)
        # In the scale of A; then taken to their units, where no subnormal number may have been rounded.
        size, r = spectral_upper(exact), self.bound
        error = scale(inflate(size * r / (1 - r), 1), -self.exponent) + SMALLEST
        sigma = scale((1 - r) / size / (1 + 1e-14), self.exponent)
        sigma = torch.where(self.accepted & (sigma > 2 * SMALLEST), sigma, 0.0)
        floor = UNITS[self.dtype] * frobenius_upper(self.A) * frobenius_upper(exact)
        fields = {
            "accepted": self.accepted,
            "residual_bound": self.bound,
            "error_bound": torch.where(self.accepted, error, torch.inf),
            "sigma_min_bound": sigma,
            "data_floor": torch.where(self.accepted, floor.clamp(max=1), 1.0),
            "matmuls": self.matmuls,
            "check_matmuls": self.check_matmuls,
        }
        fields = {name: value.reshape(batch) for name, value in fields.items()}
        return fields | {
            "X": self.X.reshape(*batch, *self.X.shape[-2:]),
            "num_matmuls": _plain(self.matmuls.max()),
            "num_check_matmuls": _plain(self.check_matmuls.max()),
        }


def statuses(search, batch):
    """Return the statuses as an array of InverseStatus, shape ``batch``."""
    known = np.array(list(InverseStatus), dtype=object)
    return known[search.status.cpu().numpy()].reshape(batch)


def _code(status):
    return list(InverseStatus).index(status)


def _plain(value):
    value = round(float(value), 6)
    return int(value) if value == int(value) else value
