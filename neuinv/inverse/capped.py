r"""Newton-Schulz for long intervals and low precision: scaled, and capped.

The best factor sends an interval of eigenvalues of AX to one that is symmetric about 1, so that its upper end
comes near 2 for long intervals; and eigenvalues near 2 are sent to those near 0, where rounding may carry
them below 0, whence they never return. Here the factor keeps the upper end at ``CAP`` or below. That is a
heuristic, and so is its value: it cured every case tried, for at most 2 more products. In float32 general
matrices with a condition number of 3000 blew up without the cap and lost nothing with it up to 1e7.
"""

import torch

__all__ = ["CAP", "CappedNewtonSchulz", "round_to", "tf32_active"]

CAP = 1.85
UNITS = {"bfloat16": 2.0**-8, "float16": 2.0**-11, "tf32": 2.0**-11, None: 0.0}
DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def tf32_active(device):
    """Return whether float32 products on the device may be computed in TF32."""
    if device.type != "cuda":
        return False
    settings = torch.backends.cuda.matmul
    try:
        # Since torch 2.9; its older name warns, and raises where both were set.
        return settings.fp32_precision == "tf32"
    except AttributeError:
        return settings.allow_tf32


def round_to(M, precision):
    """Return float32 ``M`` rounded to a precision, in float32."""
    if precision in DTYPES:
        return M.to(DTYPES[precision]).float()
    # Eleven leading bits, to nearest, ties away from zero.
    return ((M.contiguous().view(torch.int32) + 0x1000) & -0x2000).view(torch.float32)


def _product(P, Q, precision):
    """Multiply with operands in low precision and sums in float32.

    A GPU rounds the result to 16 bits as well, and may so round partial sums, as torch's settings allow.
    """
    if precision in DTYPES and P.is_cuda:
        return (P.to(DTYPES[precision]) @ Q.to(DTYPES[precision])).float()
    if precision is None:
        return P @ Q
    return round_to(P, precision) @ round_to(Q, precision)


class CappedNewtonSchulz:
    r"""The scheme :math:`X_j = c_j X_{j-1}(2I - A X_{j-1})` with capped factors.

    Its last residual is at most ``target`` in exact arithmetic; what rounding leaves is for residual
    corrections in a higher precision. ``precision`` None is that of A, float32 or float64; else A is float32.
    """

    def __init__(self, kappa, target, kind, precision):
        self.kind, self.precision = kind, precision
        target = max(target, 2 * UNITS[precision])
        low = torch.tensor(1 / kappa if kind == "spd" else kappa**-2, dtype=torch.float64)
        low, _ = _start(low)
        self.num_steps = 0
        while 1 - low > target:
            low, _ = _advance(low)
            self.num_steps += 1
        free = 2 if kind == "spd" and self.num_steps else 0
        self.num_matmuls = 2 * self.num_steps - free

    def __call__(self, A, interval):
        """Return X for A (batch, n, n) with the spectrum in ``interval`` = (low, high), each (batch,)."""
        low, high = (end[:, None, None] for end in interval)
        unit = A / high.to(A.dtype)
        ratio = low / high if self.kind == "spd" else (low / high).square()
        reached, start = _start(ratio)
        identity = torch.eye(A.shape[-1], dtype=A.dtype, device=A.device)
        X, done = start.to(A.dtype) * unit.mT, 0
        if self.kind == "spd":
            X = start.to(A.dtype) * identity.expand_as(A)
            if self.num_steps:
                # The first product is a multiple of A, the second one of a multiple of I.
                reached, factor = _advance(reached)
                X, done = (factor * start).to(A.dtype) * (2 * identity - start.to(A.dtype) * unit), 1
        for _ in range(done, self.num_steps):
            reached, factor = _advance(reached)
            # 2I - AX and not 2X - X(AX): small eigenvalues of it keep their digits.
            P = 2 * identity - _product(unit, X, self.precision)
            X = factor.to(A.dtype) * _product(X, P, self.precision)
        return X / high.to(A.dtype)


def _start(ratio):
    """Return the lower end and the factor for a spectrum in [ratio, 1] scaled as far as the cap allows."""
    factor = (2 / (1 + ratio)).clamp(max=CAP)
    return factor * ratio, factor


def _advance(low):
    """Return the lower end after a step and its factor; the spectrum lies in [low, min(2 - low, CAP)]."""
    high = (2 - low).clamp(max=CAP)
    low = torch.minimum(low * (2 - low), high * (2 - high))
    factor = (2 / (1 + low)).clamp(max=CAP)
    return factor * low, factor
