"""What a ``forward`` does between its layers: sums, products, reshapes, functions of torch."""

import math
from dataclasses import dataclass

import torch
from torch import nn

from neuinv.lipschitz import layers
from neuinv.lipschitz.attention import softmax_product
from neuinv.lipschitz.classes import LipschitzClass, OutsideClass, Rung
from neuinv.lipschitz.norms import EPS, spectral_upper
from neuinv.lipschitz.placing import class_on
from neuinv.lipschitz.pointwise import ACTIVATIONS, ALIASES, power_class
from neuinv.lipschitz.registry import find_rule
from neuinv.lipschitz.tracking import Tracked, constant_state, stack_all, tracked_in

__all__ = ["Call", "OPERATIONS", "refuse_outside"]

UP = 1 + 8 * EPS


@dataclass(frozen=True)
class Call:
    """One operation: its name, its arguments (tracked or plain), and its result at the input 0."""

    name: str
    arguments: tuple
    keywords: dict
    out: object
    function: object = None

    def get(self, index, name, default=None):
        """Return an argument given by position or by name."""
        if index is not None and index < len(self.arguments):
            return self.arguments[index]
        return self.keywords.get(name, default)

    @property
    def x(self):
        """The first argument."""
        return self.get(0, "input")

    def result(self, state):
        """Return the result with this state."""
        return Tracked(state, self.out)

    def then(self, outer):
        """Return the result of a map of class ``outer`` of the first argument."""
        return self.result(self.only().state.then(outer))

    def only(self):
        """Return the first argument, the only one that may depend on the input.

        Raises
        ------
        TypeError
            Another one does.
        """
        if not isinstance(self.x, Tracked) or len(tracked_in((self.arguments, self.keywords))) != 1:
            raise TypeError(f"{self.name} with these arguments has no rule; register one with register_rule.")
        return self.x


def _outside(reason, rung, names):
    return dict.fromkeys(names.split(), (reason, rung))


_OUTSIDE = {
    **_outside("has a pole", Rung.OFF, "reciprocal rsqrt log log2 log10 log1p logit tan"),
    **_outside(
        "has its poles on the singular matrices",
        Rung.OFF,
        "inverse inv linalg_inv linalg_inv_ex linalg_solve linalg_solve_ex linalg_pinv pinverse "
        "linalg_lu_solve cholesky_inverse linalg_tensorinv linalg_lstsq",
    ),
    **_outside("is a root: its slope at 0 is infinite", Rung.CONTINUOUS, "sqrt std std_mean"),
    **_outside(
        "grows faster than every polynomial",
        Rung.LOCALLY_LIPSCHITZ,
        "exp exp2 expm1 sinh cosh matrix_exp linalg_matrix_exp",
    ),
    **_outside(
        "selects, and jumps where the choice changes",
        Rung.LOCALLY_BOUNDED,
        "topk kthvalue argmax argmin argsort sort median mode where masked_fill gt lt ge le eq ne one_hot "
        "hardshrink threshold gumbel_softmax bool",
    ),
    **_outside(
        "jumps",
        Rung.LOCALLY_BOUNDED,
        "sign sgn heaviside floor ceil round trunc frac int long fmod remainder floor_divide floordiv",
    ),
}


def refuse_outside(name, tracked):
    """Refuse an operation that leaves the class.

    Raises
    ------
    OutsideClass
        ``name`` is such an operation, and its input depends on the network's.
    """
    if name in _OUTSIDE and tracked:
        reason, rung = _OUTSIDE[name]
        raise OutsideClass(f"{name} {reason}", rung)


CASTS = {"to", "float", "double", "half", "bfloat16", "type_as", "type", "cpu", "cuda", "data"}


def _add(call):
    """The sum, with repeated entries where one operand is broadcast; ``alpha`` scales the second."""
    first, second = call.get(0, "input"), call.get(1, "other")
    sign = abs(call.get(2, "alpha", 1))
    if not all(isinstance(value, (Tracked, torch.Tensor, int, float)) for value in (first, second)):
        raise TypeError(f"{call.name} has a rule for tensors and numbers, not for collections of them.")
    if call.name == "rsub":
        first, second = second, first
    like = tracked_in((first, second))[0].state
    return call.result(_spread(first, call.out, like) + _spread(second, call.out, like).scaled(sign))


def _spread(value, out, like):
    """Return the state of an operand broadcast to the shape of the result."""
    if not isinstance(value, Tracked):
        full = torch.as_tensor(value, dtype=torch.float64).expand(out.shape)
        return constant_state(full, like)
    copies = out.numel() // value.tensor.numel()
    return value.state if copies == 1 else value.state.scaled(math.sqrt(copies) * UP)


def _times(call):
    """Entrywise: bilinear with beta = 1 (broadcast too: each pair of entries meets at most once)."""
    first, second = call.get(0, "input"), call.get(1, "other")
    if isinstance(first, Tracked) and isinstance(second, Tracked):
        return call.result(first.state.times(second.state))
    tracked, factor = (first, second) if isinstance(first, Tracked) else (second, first)
    return call.result(_scaled(tracked, factor, call.out))


def _scaled(tracked, factor, out):
    largest = torch.as_tensor(factor, dtype=torch.float64).detach().abs().max().item()
    if not math.isfinite(largest):
        raise ValueError(f"a constant factor is {largest}; a bound needs finite constants.")
    return _spread(tracked, out, tracked.state).scaled(largest)


def _divide(call):
    """Division by a constant is a product with its reciprocal; by anything else it has a pole."""
    first, second = call.get(0, "input"), call.get(1, "other")
    if call.get(None, "rounding_mode") is not None:
        raise OutsideClass("division with rounding jumps", Rung.LOCALLY_BOUNDED)
    if isinstance(second, Tracked):
        raise OutsideClass("division by a value that depends on the input has a pole where it is 0", Rung.OFF)
    divisor = torch.as_tensor(second, dtype=torch.float64).detach()
    if (divisor == 0).any():
        raise OutsideClass("division by the constant 0", Rung.OFF)
    return call.result(_spread(first, call.out, first.state).scaled((1 / divisor).abs().max().item() * UP))


def _matmul(call):
    """A product of activations is bilinear with beta = 1 (Frobenius); with a constant matrix, its norm."""
    first, second = call.get(0, "input"), call.get(1, "other", call.get(1, "mat2"))
    if isinstance(first, Tracked) and isinstance(second, Tracked):
        return call.result(first.state.times(second.state))
    tracked, constant = (first, second) if isinstance(first, Tracked) else (second, first)
    matrix = constant.reshape(1, -1) if constant.ndim == 1 else constant
    # Where the constant carries a batch, the other operand is repeated along it.
    batch = math.prod(torch.broadcast_shapes(tracked.tensor.shape[:-2], constant.shape[:-2]))
    copies = batch / max(1, math.prod(tracked.tensor.shape[:-2]))
    return call.result(tracked.state.scaled(spectral_upper(matrix) * math.sqrt(copies) * UP))


def _einsum(call):
    """One or two operands: an index that is summed in one operand alone costs the root of its length."""
    if not isinstance(call.get(0, "equation"), str):
        raise TypeError("einsum has a rule for an equation given as a string.")
    terms, _, target = call.arguments[0].replace(" ", "").partition("->")
    operands = call.arguments[1:]
    inputs = terms.split(",")
    if "..." in terms or "->" not in call.arguments[0] or len(inputs) > 2 or len(operands) != len(inputs):
        raise TypeError("einsum has a rule for one or two operands, with '->' and without '...'.")
    factor, like, sizes = 1.0, tracked_in(operands)[0].state, []
    for place, labels in enumerate(inputs):
        tensor = operands[place].tensor if isinstance(operands[place], Tracked) else operands[place]
        sizes.append(dict(zip(labels, tensor.shape, strict=True)))
    # A summed label counts where only one operand has its entries: the other lacks it, or is repeated.
    for label in {label for one in sizes for label in one} - set(target):
        lengths = [one.get(label, 1) for one in sizes]
        if len(lengths) == 1 or min(lengths) < max(lengths):
            factor *= math.sqrt(max(lengths)) * UP
    states = [v.state if isinstance(v, Tracked) else constant_state(v, like) for v in operands]
    if len(states) == 1:
        return call.result(states[0].scaled(factor))
    return call.result(states[0].times(states[1], factor))


def _concatenate(call):
    """Side by side: constants add as the root of their squares."""
    parts = call.get(0, "tensors")
    return call.result(stack_all(parts, tracked_in(parts)[0].state))


def _reduce(call):
    """The sum over k entries has norm sqrt k, the mean 1 / sqrt k; sharp."""
    x = call.only()
    entries = x.tensor.numel() / call.out.numel()
    power = 0.5 if call.name == "sum" else -0.5
    return call.result(x.state.scaled(entries**power * UP))


def _norm(call):
    """The Euclidean norm moves by at most the norm of the move."""
    call.only()
    order = call.get(1, "p" if call.name == "norm" else "ord")
    if order not in (None, 2, 2.0, "fro"):
        raise TypeError(f"{call.name} has a rule for the Euclidean and Frobenius norm, not {order!r}.")
    return call.then(LipschitzClass(0, 1))


def _largest(call):
    """A maximum moves by at most the largest move of its arguments."""
    second = call.get(1, "other")
    if isinstance(second, (Tracked, torch.Tensor)):
        like = tracked_in((call.x, second))[0].state
        return call.result(_spread(call.x, call.out, like).stacked(_spread(second, call.out, like)))
    if not isinstance(call.out, torch.Tensor):
        raise OutsideClass(
            f"{call.name} with dim= returns indices, which jump; use amax", Rung.LOCALLY_BOUNDED
        )
    return call.result(call.only().state)


def _softmax(call):
    """L = 1/2 in each distribution."""
    x = call.only()
    dim = call.get(1, "dim")
    size = layers.reduced_size(dim, ()) if dim is None else x.tensor.shape[dim]
    make = layers.log_softmax_class if call.name == "log_softmax" else layers.softmax_class
    return call.then(make(x.tensor.numel() // size, size))


def _power(call):
    """A power with a constant exponent."""
    exponent = call.get(1, "exponent", 2) if call.name == "pow" else 2
    constant = isinstance(exponent, (int, float)) and math.isfinite(exponent)
    if not constant or not isinstance(call.x, Tracked):
        raise TypeError("a power whose exponent is no finite number has no rule; use a number.")
    return call.then(power_class(exponent, call.out.numel()))


def _linear(call):
    weight, bias = call.get(1, "weight"), call.get(2, "bias")
    call.only()
    rows = call.out.numel() // call.out.shape[-1]
    return call.then(layers.linear_class(weight, bias, rows))


def _normalization(call):
    x = call.only()
    rms = call.name == "rms_norm"
    size = math.prod(call.get(1, "normalized_shape"))
    rows = x.tensor.numel() // size
    weight, bias = call.get(2, "weight"), None if rms else call.get(3, "bias")
    eps = call.get(3 if rms else 4, "eps", None if rms else 1e-5)
    eps = torch.finfo(torch.float64).eps if eps is None else eps
    return call.then(
        layers.normalization_class(eps, rows, size, weight, bias, rows, call.name, not rms, entrywise=not rms)
    )


def _normalize(call):
    """x / max(||x||, eps) has slope 1/||x|| beyond eps and 1/eps within; sharp."""
    x = call.only()
    order, dim, eps = call.get(1, "p", 2), call.get(2, "dim", 1), call.get(3, "eps", 1e-12)
    if order != 2 or not isinstance(dim, int):
        raise TypeError("normalize has a rule for p = 2 along one dimension; register another.")
    if not eps > 0:
        raise OutsideClass("normalize with eps = 0 is bounded and jumps at 0", Rung.LOCALLY_BOUNDED)
    bound = math.sqrt(x.tensor.numel() / x.tensor.shape[dim]) * UP
    return call.then(LipschitzClass(0, 1 / eps * UP, 0, bound))


def _attention(call):
    """scaled_dot_product_attention: softmax(q k^T / sqrt d) v, heads and batches at once."""
    q, k, v = (call.get(i, name) for i, name in enumerate(("query", "key", "value")))
    if call.get(4, "dropout_p", 0.0):
        raise ValueError("attention with dropout is random; pass dropout_p=0.")
    if not all(isinstance(value, Tracked) for value in (q, k, v)) or call.get(None, "enable_gqa"):
        raise TypeError("scaled_dot_product_attention with a constant input or enable_gqa has no rule.")
    if isinstance(call.get(3, "attn_mask"), Tracked):
        raise TypeError("scaled_dot_product_attention with a mask that depends on the input has no rule.")
    masked = call.get(3, "attn_mask") is not None or bool(call.get(5, "is_causal", False))
    scale = call.get(6, "scale") or 1 / math.sqrt(q.tensor.shape[-1])
    logits = q.state.times(k.state, abs(scale) * UP)
    rows = call.out.numel() // call.out.shape[-1]
    state, _ = softmax_product(logits, v.state, rows, k.tensor.shape[-2], masked)
    return call.result(state)


def _dropout(call):
    if call.get(2, "training", True) and call.get(1, "p", 0.5):
        raise ValueError(
            "dropout with training=True is random; pass training=self.training and call .eval()."
        )
    return call.result(call.only().state)


def _activation(call):
    make = ACTIVATIONS[ALIASES.get(call.name, call.name)]
    call.only()
    keywords = {k: v for k, v in call.keywords.items() if k not in ("inplace", "input")}
    settings = _plain(call.arguments[1:], make)
    if any(isinstance(value, torch.Tensor) for value in (*settings, *keywords.values())):
        raise TypeError(f"{call.name} with a tensor as a setting has no rule; use numbers.")
    return call.then(make(*settings, **keywords).on(call.out.numel()))


def _plain(values, make):
    # A trailing positional argument that the constants do not know is torch's inplace flag.
    return values[: make.__code__.co_argcount]


def _module_like(layer_type, *names):
    """Return the handler of a functional form, by building the layer with the same settings."""

    def handler(call):
        if not isinstance(call.out, torch.Tensor):
            raise TypeError(f"{call.name} with several outputs (indices jump) has no rule.")
        values = {name: call.get(1 + place, name) for place, name in enumerate(names)}
        layer = layer_type(**{name: value for name, value in values.items() if value is not None}).eval()
        return call.then(class_on(layer, find_rule(layer), call.only().tensor))

    return handler


_MAX = ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")
_AVERAGE = ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad")

OPERATIONS = {
    **dict.fromkeys(("add", "sub", "rsub", "radd", "iadd", "isub", "subtract"), _add),
    **dict.fromkeys(("mul", "multiply", "rmul", "imul"), _times),
    **dict.fromkeys(("div", "truediv", "divide", "true_divide", "itruediv"), _divide),
    **dict.fromkeys(("matmul", "mm", "bmm", "mv", "linalg_matmul", "imatmul"), _matmul),
    **dict.fromkeys(("cat", "concat", "concatenate", "stack", "hstack", "vstack"), _concatenate),
    **dict.fromkeys(("sum", "mean"), _reduce),
    **dict.fromkeys(("norm", "linalg_norm", "linalg_vector_norm", "linalg_matrix_norm"), _norm),
    **dict.fromkeys(("max", "min", "amax", "amin", "maximum", "minimum"), _largest),
    **dict.fromkeys(("softmax", "log_softmax"), _softmax),
    **dict.fromkeys(("pow", "square"), _power),
    **dict.fromkeys(("layer_norm", "rms_norm"), _normalization),
    **dict.fromkeys(("dropout", "dropout1d", "dropout2d", "dropout3d", "feature_dropout"), _dropout),
    **dict.fromkeys((*ACTIVATIONS, *ALIASES), _activation),
    "einsum": _einsum,
    "linear": _linear,
    "normalize": _normalize,
    "scaled_dot_product_attention": _attention,
    "adaptive_avg_pool1d": _module_like(nn.AdaptiveAvgPool1d, "output_size"),
    "adaptive_avg_pool2d": _module_like(nn.AdaptiveAvgPool2d, "output_size"),
    "avg_pool1d": _module_like(nn.AvgPool1d, *_AVERAGE),
    "avg_pool2d": _module_like(nn.AvgPool2d, *_AVERAGE, "divisor_override"),
    "max_pool1d": _module_like(nn.MaxPool1d, *_MAX),
    "max_pool2d": _module_like(nn.MaxPool2d, *_MAX),
}
