"""Carry a state through a network: module trees and torch.fx graphs, without recursion.

Every submodule is a leaf of its parent's graph and is opened on a stack of its own, so neither the depth
of the tree nor the length of a chain meets Python's recursion limit.
"""

import inspect

import torch
from torch import fx, nn

from neuinv.lipschitz.norms import EPS
from neuinv.lipschitz.operations import CASTS, OPERATIONS, SELECTIONS, Call, refuse_outside
from neuinv.lipschitz.registry import find_function_rule, find_handler, find_rule, reference_input
from neuinv.lipschitz.tracking import Tracked, concrete, stack_all, tracked_in

__all__ = ["propagate"]


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m, module_qualified_name):
        """Every submodule is a leaf: it is opened later, with its own graph."""
        return True


def propagate(module, state, input_shape):
    """Return the state after ``module``, started with ``state`` on a sample of ``input_shape``.

    Parameters
    ----------
    module : torch.nn.Module
        The network, of one input.
    state : LipschitzClass or LocalBound
        Of the input itself.
    input_shape : tuple of int
        Without the batch.

    Returns
    -------
    LipschitzClass or LocalBound
        Several outputs count as one vector.

    Raises
    ------
    TypeError
        A layer or function without a rule, :class:`OutsideClass` among them.
    ValueError
        A layer in training mode, or an input that does not fit.
    """
    walk = _Walk()
    start = Tracked(state, reference_input(module, input_shape))
    stack, result = [walk.apply(module, (start,), {})], None
    with torch.no_grad():
        while stack:
            try:
                request = stack[-1].send(result)
            except StopIteration as stop:
                stack.pop()
                result = stop.value
            else:
                stack.append(walk.apply(*request))
                result = None
    values = list(result.values()) if isinstance(result, dict) else result
    values = list(values) if isinstance(values, (list, tuple)) else [values]
    return stack_all(values, state)


class _Walk:
    """The graphs already traced, the classes already found, and the values still needed."""

    def __init__(self):
        self.graphs = {}
        self.classes = {}
        self.environments = []

    def apply(self, layer, arguments, keywords):
        """Generate requests for submodules, and return the value of ``layer`` at these arguments."""
        if layer._forward_hooks or layer._forward_pre_hooks:
            raise TypeError(
                f"layer {type(layer).__name__} has forward hooks, which no rule sees; remove them."
            )
        if not tracked_in((arguments, keywords)):
            return layer(*concrete(arguments), **concrete(keywords))
        if getattr(layer, "inplace", False):
            self.refuse_shared(arguments, type(layer).__name__)
        rule, handler = find_rule(layer), find_handler(layer)
        if rule is not None:
            return self.by_rule(layer, rule, arguments, keywords)
        if handler is not None:
            out = _evaluate(layer, arguments, keywords)
            result = handler(layer, arguments, keywords, out)
            return (yield from result) if inspect.isgenerator(result) else result
        if type(layer).forward is nn.Sequential.forward:
            (value,) = arguments
            for child in layer:
                value = yield (child, (value,), {})
            return value
        if type(layer).__module__.startswith("torch.nn.modules"):
            raise TypeError(_no_rule("layer", type(layer).__name__, f"nn.{type(layer).__name__}"))
        return (yield from self.by_graph(layer, arguments, keywords))

    def by_rule(self, layer, rule, arguments, keywords):
        """Return the value by the layer's rule, of one input."""
        if len(arguments) + len(keywords) != 1:
            raise TypeError(f"the rule of {type(layer).__name__} is for one input; it got several.")
        (x,) = arguments or keywords.values()
        shape = x.shape
        if rule.propagates:
            state = rule.function(layer, x.state, shape)
        else:
            key = (id(layer), shape)
            if key not in self.classes:
                self.classes[key] = rule.function(layer, shape)
            state = x.state.then(self.classes[key])
        return Tracked(state, _evaluate(layer, arguments, keywords))

    def by_graph(self, layer, arguments, keywords):
        """Generate requests for submodules along the graph of the layer's forward."""
        if id(layer) not in self.graphs:
            self.graphs[id(layer)] = _trace(layer)
        graph = self.graphs[id(layer)]
        # Each use of a value is counted down, so that values no longer needed are let go.
        uses = {node: len(node.users) for node in graph.nodes}
        environment = {}
        self.environments.append(environment)
        given, named = list(arguments), dict(keywords)
        for node in graph.nodes:
            if node.op == "placeholder":
                environment[node] = _placeholder(node, given, named, layer)
                continue
            inputs = fx.node.map_arg((node.args, node.kwargs), lambda n: environment[n])
            for used in node.all_input_nodes:
                uses[used] -= 1
                if not uses[used]:
                    del environment[used]
            if node.op == "output":
                self.environments.pop()
                return inputs[0][0]
            if node.op == "get_attr":
                value = _attribute(layer, node.target)
            elif node.op == "call_module":
                value = yield (layer.get_submodule(node.target), inputs[0], inputs[1])
            else:
                value = self.call(node, *inputs)
            if uses[node]:
                environment[node] = value

    def call(self, node, arguments, keywords):
        """Return the value of a function or method."""
        name, function = _name(node)
        tracked = tracked_in((arguments, keywords))
        in_place = name.endswith("_") or (name in _IN_PLACE and node.op == "call_function")
        if in_place or keywords.get("inplace"):
            self.refuse_shared(arguments[:1], name)
            name = name.rstrip("_")
        if node.op == "call_function" and name.startswith("rand") and function not in (round,):
            raise TypeError(f"{name} is random; a class is that of one fixed map.")
        user_rule = find_function_rule(function) if node.op == "call_function" else None
        if user_rule is None:
            refuse_outside(name, tracked)
        out = _evaluate(function, arguments, keywords)
        if not tracked or not _holds_tensors(out):
            return out
        if user_rule is not None:
            (x,) = tracked
            rule = user_rule.function
            state = rule(function, x.state, x.shape) if user_rule.propagates else None
            return Tracked(state or x.state.then(rule(function, x.shape)), out)
        return _operate(Call(name, tuple(arguments), keywords, out, function))

    def refuse_shared(self, arguments, name):
        """Refuse to change a value in place that is used again."""
        for value in arguments:
            tensor = value.tensor if isinstance(value, Tracked) else value
            if not isinstance(value, Tracked):
                raise TypeError(f"{name} changes a constant in place; write it out of place.")
            for other in tracked_in([list(e.values()) for e in self.environments]):
                if other.tensor.untyped_storage().data_ptr() == tensor.untyped_storage().data_ptr():
                    raise TypeError(f"{name} changes in place a value that is used again; set inplace=False.")


_IN_PLACE = {"iadd", "isub", "imul", "itruediv", "imatmul", "setitem"}


def _operate(call):
    if call.name == "getattr":
        call = Call(call.arguments[1], call.arguments[:1], {}, call.out)
    if call.name == "getitem" and not isinstance(call.x, Tracked):
        return call.x[call.arguments[1]]
    if call.name in CASTS:
        if not call.out.is_floating_point():
            refuse_outside("int", True)
        return call.result(call.only().state)
    if call.name in SELECTIONS:
        return _select(call)
    if call.name.endswith("_like") or call.name.startswith("new_"):
        return call.out
    if call.name not in OPERATIONS:
        raise TypeError(_no_rule("function", call.name, call.name))
    return OPERATIONS[call.name](call)


def _select(call):
    """Moved, dropped, repeated entries and zeros: L is the root of the largest number of repetitions.

    The operation is applied to the numbers 1, 2, ..., which says where each entry goes; sharp.
    """
    x = call.x
    if not isinstance(x, Tracked) or (len(tracked_in(call.arguments)) > 1 and not call.name.endswith("_as")):
        raise TypeError(f"{call.name} with indices that depend on the input has no rule; register one.")
    count = x.tensor.numel()
    index = torch.arange(1, count + 1, dtype=torch.float64).reshape(x.tensor.shape)
    if call.function is None:
        moved = getattr(index, call.name)
    elif isinstance(call.function, _Method):
        moved = call.function.on(index, concrete(call.arguments[1:]), concrete(call.keywords))
    else:
        moved = call.function(index, *concrete(call.arguments[1:]), **concrete(call.keywords))
    if call.name == "pad" and call.get(3, "value"):
        raise TypeError("pad with a value other than 0 has no rule; concatenate a constant.")
    parts = moved if isinstance(moved, (tuple, list)) else (moved,)
    outs = call.out if isinstance(call.out, (tuple, list)) else (call.out,)
    made = []
    for part, out in zip(parts, outs, strict=True):
        most = int(torch.bincount(part.flatten().long(), minlength=2)[1:].max())
        state = x.state if most == 1 else x.state.scaled(most**0.5 * (1 + 8 * EPS))
        made.append(Tracked(state, out))
    return tuple(made) if isinstance(moved, (tuple, list)) else made[0]


class _Method:
    """A method of a tensor, as a function."""

    def __init__(self, name):
        self.name = name

    def __call__(self, *arguments, **keywords):
        return getattr(arguments[0], self.name)(*arguments[1:], **keywords)

    def on(self, tensor, arguments, keywords):
        """Call the method on another tensor."""
        return getattr(tensor, self.name)(*arguments, **keywords)


def _name(node):
    if node.op == "call_method":
        return node.target, _Method(node.target)
    home = getattr(node.target, "__module__", None)
    name = getattr(node.target, "__name__", str(node.target))
    known = home is None or home.split(".")[0] in ("torch", "_operator", "builtins", "math")
    # A function of the user's own keeps its full name, so that no rule of torch's is taken for it.
    return (name if known else f"{home}.{name}"), node.target


def _evaluate(function, arguments, keywords):
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


def _holds_tensors(value):
    if isinstance(value, (tuple, list)):
        return any(isinstance(item, torch.Tensor) for item in value)
    return isinstance(value, torch.Tensor)


def _trace(layer):
    try:
        return _Tracer().trace(layer)
    except Exception as error:
        # Tracing runs the user's forward with stand-ins for tensors: anything can come out of it.
        first = (str(error).splitlines() or [""])[0]
        raise TypeError(
            f"the forward of layer {type(layer).__name__} cannot be traced ({first}); {_ADVICE}"
        ) from None


def _placeholder(node, given, named, layer):
    if given:
        return given.pop(0)
    if node.target in named:
        return named.pop(node.target)
    if node.args:
        return node.args[0]
    raise TypeError(f"layer {type(layer).__name__} has the input {node.target!r} too many; wrap it.")


def _attribute(layer, path):
    value = layer
    for part in path.split("."):
        value = getattr(value, part)
    return value


_ADVICE = "register a rule with neuinv.register_rule(key, rule)."


def _no_rule(kind, name, key):
    return f"{kind} {name} has no rule; register one with neuinv.register_rule({key}, rule)."
