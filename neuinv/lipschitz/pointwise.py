r"""Activations: functions of one real number, applied to every entry.

If :math:`|\varphi'| \le L` where the derivative exists and :math:`\varphi` is continuous, then
:math:`\lVert\varphi(x) - \varphi(y)\rVert \le L\lVert x - y\rVert` in the Euclidean norm, p = 0, and the
constant is sharp when L is the supremum.
"""

import math
from dataclasses import dataclass

from neuinv.lipschitz.classes import LipschitzClass, OutsideClass, Rung

EPS = 2.0**-52
# Above every rounding error of the few operations behind a constant of the order of 1.
_MARGIN = 1e-13


@dataclass(frozen=True)
class Pointwise:
    """Constants of a function of one real number: sup |phi'|, |phi(0)|, sup |phi|."""

    slope: float
    at_zero: float = 0.0
    bound: float = math.inf

    def on(self, count):
        """Return the class of the map on vectors of ``count`` entries."""
        root = math.sqrt(count) * (1 + 4 * EPS)
        return LipschitzClass(root * self.at_zero, self.slope, 0, max(root * self.bound, root * self.at_zero))


def _gelu(approximate="none"):
    r"""Return the constants of GELU.

    Exact form: :math:`(x\Phi)'' = \varphi(x)(2 - x^2)`, so the derivative :math:`\Phi + x\varphi` is largest
    at sqrt 2 and smallest at -sqrt 2, where it is 1 minus the largest value. Tanh form: the supremum is
    1.12899306865..., enclosed by ball arithmetic in the tests.
    """
    if approximate == "none":
        root = math.sqrt(2)
        density = math.exp(-1) / math.sqrt(2 * math.pi)
        return Pointwise((1 + math.erf(1)) / 2 + root * density + _MARGIN)
    return Pointwise(1.1289931)


def _silu():
    r"""Return the constants of SiLU, xs with s the sigmoid: its slope is largest where x tanh(x/2) = 2.

    :math:`(xs)'' = s(1-s)(2 - x\tanh(x/2))`, and x tanh(x/2) grows with |x|. The supremum is 1.09983932012...
    An error d of the root changes the supremum by O(d^2).
    """
    low, high = 2.0, 3.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if middle * math.tanh(middle / 2) < 2 else (low, middle)
    s = 1 / (1 + math.exp(-low))
    return Pointwise(s + low * s * (1 - s) + _MARGIN)


def _softplus(beta=1.0, threshold=20.0):
    """Return the constants of log(1 + exp(beta x)) / beta, whose derivative is a sigmoid.

    torch returns x where beta x > threshold; the jump log1p(exp(-threshold)) / beta is below 2.1e-9 at the
    default threshold, is not part of the exact map, and is refused where it is larger.
    """
    if beta <= 0:
        raise OutsideClass(
            f"softplus with beta = {beta} has a pole or is no softplus; use beta > 0", Rung.OFF
        )
    if threshold < 20:
        raise OutsideClass(
            f"softplus with threshold = {threshold} jumps there; use threshold >= 20", Rung.LOCALLY_BOUNDED
        )
    return Pointwise(1.0, math.log(2) * (1 + 2 * EPS) / beta)


def _clamp(low=-math.inf, high=math.inf):
    low, high = -math.inf if low is None else low, math.inf if high is None else high
    return Pointwise(1.0, abs(min(max(0.0, low), high)), max(abs(low), abs(high)))


def _elu(alpha=1.0, scale=1.0):
    return Pointwise(abs(scale) * max(1.0, abs(alpha)) * (1 + 4 * EPS if alpha != 1 or scale != 1 else 1))


def _celu(alpha=1.0):
    if not alpha > 0:
        raise OutsideClass(
            f"celu with alpha = {alpha} grows faster than every polynomial; use alpha > 0",
            Rung.LOCALLY_LIPSCHITZ,
        )
    return Pointwise(1.0)


def _power(exponent=2.0):
    """Return the class of x -> x ** k on the entries: k m^(k-1), attained at x, y -> m e_1.

    Raises
    ------
    OutsideClass
        A negative exponent (a pole), or one that is no integer (a root).
    """
    if exponent < 0:
        raise OutsideClass(f"the power {exponent:g} has a pole at 0", Rung.OFF)
    if exponent == int(exponent) or exponent >= 1:
        if exponent != int(exponent):
            raise OutsideClass(
                f"the power {exponent:g} is not defined at negative numbers; use abs(x) first", Rung.OFF
            )
        return int(exponent)
    raise OutsideClass(f"the power {exponent:g} is a root: its slope at 0 is infinite", Rung.CONTINUOUS)


def power_class(exponent, count):
    """Return the class of x -> x ** exponent on ``count`` entries.

    Raises
    ------
    OutsideClass
        A negative exponent (a pole), or one that is no integer (a root).
    """
    k = _power(exponent)
    root = math.sqrt(count) * (1 + 4 * EPS)
    return LipschitzClass(root, 0) if k == 0 else LipschitzClass(0, k, k - 1)


# torch's name of the function -> constants for its parameters, in torch's order.
ACTIVATIONS = {
    "relu": lambda: Pointwise(1.0),
    "leaky_relu": lambda negative_slope=0.01: Pointwise(max(1.0, abs(negative_slope))),
    "gelu": _gelu,
    "silu": _silu,
    "tanh": lambda: Pointwise(1.0, 0.0, 1.0),
    "sigmoid": lambda: Pointwise(0.25, 0.5, 1.0),
    "softplus": _softplus,
    "elu": _elu,
    "selu": lambda: _elu(1.6732632423543772, 1.0507009873554805),
    "celu": _celu,
    "relu6": lambda: Pointwise(1.0, 0.0, 6.0),
    "hardtanh": lambda min_val=-1.0, max_val=1.0: _clamp(min_val, max_val),
    "clamp": lambda min=None, max=None: _clamp(min, max),
    "hardsigmoid": lambda: Pointwise((1 + 4 * EPS) / 6, 0.5, 1.0),
    "hardswish": lambda: Pointwise(1.5),
    # sup of the derivative: 1.0884981612..., enclosed by ball arithmetic in the tests.
    "mish": lambda: Pointwise(1.0884982),
    "softsign": lambda: Pointwise(1.0, 0.0, 1.0),
    "logsigmoid": lambda: Pointwise(1.0, math.log(2) * (1 + 2 * EPS)),
    "softshrink": lambda lambd=0.5: Pointwise(1.0),
    "tanhshrink": lambda: Pointwise(1.0),
    "abs": lambda: Pointwise(1.0),
    "neg": lambda: Pointwise(1.0),
    "sin": lambda: Pointwise(1.0, 0.0, 1.0),
    "cos": lambda: Pointwise(1.0, 1.0, 1.0),
    "atan": lambda: Pointwise(1.0, 0.0, (1 + 4 * EPS) * math.pi / 2),
    "erf": lambda: Pointwise(2 / math.sqrt(math.pi) * (1 + 4 * EPS), 0.0, 1.0),
    "asinh": lambda: Pointwise(1.0),
}
ALIASES = {
    "absolute": "abs",
    "arctan": "atan",
    "arcsinh": "asinh",
    "clip": "clamp",
    "log_sigmoid": "logsigmoid",
    "negative": "neg",
    "special_erf": "erf",
    "special_expit": "sigmoid",
}
