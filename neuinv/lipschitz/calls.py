"""One function or method of a graph: its name, its value, and what the calculus says of it."""

import torch

from neuinv.lipschitz.operations import CASTS, OPERATIONS, Call, refuse_outside
from neuinv.lipschitz.selecting import SELECTIONS, select
from neuinv.lipschitz.tracking import Method, concrete, tracked_in

__all__ = ["ADVICE", "Call", "evaluate", "fact", "guarded", "holds_tensors", "named", "no_rule"]

ADVICE = "register a rule with neuinv.register_rule(key, rule)."


def no_rule(kind, name, key):
    """Return the sentence that names what has no rule."""
    return f"{kind} {name} has no rule; register one with neuinv.register_rule({key}, rule)."


# What may be asked of a tensor whose values depend on the input: nothing about the values.
_FACTS = set(
    "shape size ndim dim ndimension numel nelement dtype device layout stride is_contiguous len "
    "type is_floating_point is_complex requires_grad is_cuda element_size itemsize storage_offset "
    "get_device".split()
)


def fact(name, arguments, out):
    """Return a plain result, if it tells the shape or type of a tensor and not its values.

    Raises
    ------
    TypeError
        It may depend on the values.
    """
    asked = arguments[1] if name == "getattr" else name
    if asked not in _FACTS:
        raise TypeError(
            f"{asked} turns values that depend on the input into what no rule follows; keep them in tensors."
        )
    return out


def guarded(call):
    """Return the value of an operation on values that depend on the input.

    Raises
    ------
    TypeError
        It has no rule, or none for these arguments; :class:`OutsideClass` where it leaves the class.
    """
    try:
        made = _operate(call)
    except (AttributeError, IndexError, KeyError, RuntimeError, ArithmeticError, AssertionError) as error:
        if isinstance(error, OverflowError):
            raise
        raise TypeError(f"{call.name} with these arguments has no rule; register one.") from error
    if any(not value.tensor.is_floating_point() for value in tracked_in(made)):
        refuse_outside("int", True)
    return made


def _operate(call):
    if call.name == "getattr":
        call = Call(call.arguments[1], call.arguments[:1], {}, call.out)
    if call.name in CASTS:
        if not call.out.is_floating_point():
            refuse_outside("int", True)
        return call.result(call.only().state)
    if call.name in SELECTIONS:
        return select(call)
    if call.name.endswith("_like") or call.name.startswith("new_"):
        call.only()
        return call.out
    if call.name not in OPERATIONS:
        raise TypeError(no_rule("function", call.name, call.name))
    return OPERATIONS[call.name](call)


def named(node):
    """Return the name of a node's function or method, and a callable."""
    if node.op == "call_method":
        return node.target, Method(node.target)
    home = getattr(node.target, "__module__", None)
    name = getattr(node.target, "__name__", str(node.target))
    known = home is None or home.split(".")[0] in ("torch", "_operator", "builtins", "math")
    # A function of the user's own keeps its full name, so that no rule of torch's is taken for it.
    return (name if known else f"{home}.{name}"), node.target


def evaluate(function, arguments, keywords):
    """Return what torch computes.

    Raises
    ------
    ValueError
        Torch refuses the shapes.
    TypeError
        Torch refuses the arguments.
    """
    try:
        return function(*concrete(arguments), **concrete(keywords))
    except (RuntimeError, IndexError) as error:
        name = getattr(function, "name", None) or getattr(function, "__name__", type(function).__name__)
        shapes = [tuple(value.tensor.shape) for value in tracked_in((arguments, keywords))]
        first = str(error).splitlines()[0]
        raise ValueError(
            f"{name} refuses a batch of one of shape {shapes[0] if shapes else ()}: {first}; "
            "check input_shape."
        ) from None
    except TypeError as error:
        name = getattr(function, "name", None) or getattr(function, "__name__", type(function).__name__)
        raise TypeError(f"{name} refuses its arguments: {str(error).splitlines()[0]}.") from None


def holds_tensors(value):
    """Tell whether a result is a tensor, or a tuple or list with one."""
    if isinstance(value, (tuple, list)):
        return any(isinstance(item, torch.Tensor) for item in value)
    return isinstance(value, torch.Tensor)
