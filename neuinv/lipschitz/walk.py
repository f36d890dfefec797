"""Carry a state through a network: module trees and torch.fx graphs, without recursion.

Every submodule is a leaf of its parent's graph and is opened on a stack of its own, so neither the depth
of the tree nor the length of a chain meets Python's recursion limit.
"""

import contextlib
import inspect

import torch
from torch import fx, nn

from neuinv.lipschitz.calls import (
    ADVICE,
    evaluate,
    fact,
    guarded,
    holds_tensors,
    named,
    no_rule,
)
from neuinv.lipschitz.classes import identity_class
from neuinv.lipschitz.faithful import (
    float64_twin,
    refuse_another_map,
    refuse_batch_mixing,
    refuse_own_call,
    tensors_in,
)
from neuinv.lipschitz.local import LocalBound
from neuinv.lipschitz.norms import vector_upper
from neuinv.lipschitz.operations import Call, refuse_outside
from neuinv.lipschitz.placing import class_on
from neuinv.lipschitz.registry import find_function_rule, find_handler, find_rule, reference_input
from neuinv.lipschitz.tracking import Tracked, concrete, stack_all, tracked_in

__all__ = ["propagate"]


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m, module_qualified_name):
        """Every submodule is a leaf: it is opened later, with its own graph."""
        return True


def propagate(module, state, input_shape, center=None):
    """Return the state after ``module``, started with ``state`` on a sample of ``input_shape``.

    Parameters
    ----------
    module : torch.nn.Module
        The network, of one input.
    state : LipschitzClass or LocalBound
        Of the input itself.
    input_shape : tuple of int
        Without the batch.
    center : Tensor, optional
        Of the ball of a LocalBound; 0 by default.

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
    # Tensors may carry inference mode's mark only outside of it, and version counters are needed.
    with torch.inference_mode(False), torch.no_grad():
        try:
            return _propagate(module, state, input_shape, center, True)
        except (TypeError, ValueError, RuntimeError):
            if reference_input(module, input_shape).dtype == torch.float64:
                raise
            # A forward may insist on its own dtype: then that is used, with its coarser rounding.
            return _propagate(module, state, input_shape, center, False)


def _propagate(original, state, input_shape, center, convert):
    module = float64_twin(original, convert)
    walk, probe = _Walk(), reference_input(module, input_shape)
    _check(walk, module, float64_twin(original, convert), probe)
    start = torch.zeros_like(probe)
    if isinstance(state, LocalBound):
        start = start if center is None else center.to(start)[None].clone()
        missed = 0.0 if center is None else vector_upper(center.double() - start[0].cpu().double())
        state = state.misplaced(missed)
        values = _values(walk.run(module, Tracked(state, start)))
        return stack_all(values, state)
    return stack_all(_values(walk.run(module, Tracked(state, probe.clone()))), state)


def _check(walk, module, direct, probe):
    """Walk at a random point, and compare with an evaluation there."""
    walked = _values(walk.run(module, Tracked(identity_class(), probe.clone())))
    if not walked:
        raise TypeError(f"{type(module).__name__} returns no tensor; a class is that of a map to tensors.")
    walked = [value.tensor if isinstance(value, Tracked) else value for value in walked]
    refuse_another_map(direct, probe, walked)
    refuse_batch_mixing(direct, probe)


def _values(value):
    """Return the tracked values and constant tensors of an output, however nested."""
    if isinstance(value, (Tracked, torch.Tensor)):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (tuple, list)):
        return [found for item in value for found in _values(item)]
    if value is None or isinstance(value, (int, float, str, torch.dtype, torch.device)):
        return []
    raise TypeError(f"an output of type {type(value).__name__} has no norm; return tensors.")


class _Walk:
    """The graphs already traced, the classes already found, and the values still needed."""

    def __init__(self):
        self.graphs = {}
        self.classes = {}
        self.environments = []

    def run(self, module, start):
        """Return the value of the module at a tracked value; the layers wait on a stack of our own."""
        stack, result = [self.apply(module, (start,), {})], None
        while stack:
            try:
                request = stack[-1].send(result)
            except StopIteration as stop:
                stack.pop()
                result = stop.value
            else:
                stack.append(self.apply(*request))
                result = None
        return result

    def apply(self, layer, arguments, keywords):
        """Generate requests for submodules, and return the value of ``layer`` at these arguments."""
        refuse_own_call(layer)
        if not tracked_in((arguments, keywords)):
            return layer(*concrete(arguments), **concrete(keywords))
        if getattr(layer, "inplace", False):
            self.refuse_shared(arguments, type(layer).__name__)
        rule, handler = find_rule(layer), find_handler(layer)
        if rule is not None:
            return self.by_rule(layer, rule, arguments, keywords)
        if handler is not None:
            out = evaluate(layer, arguments, keywords)
            result = handler(layer, arguments, keywords, out)
            return (yield from result) if inspect.isgenerator(result) else result
        if type(layer).forward is nn.Sequential.forward:
            (value,) = arguments or keywords.values()
            for child in layer:
                value = yield (child, (value,), {})
            return value
        if type(layer).__module__.startswith("torch.nn.modules"):
            raise TypeError(no_rule("layer", type(layer).__name__, f"nn.{type(layer).__name__}"))
        return (yield from self.by_graph(layer, arguments, keywords))

    def by_rule(self, layer, rule, arguments, keywords):
        """Return the value by the layer's rule, of one input."""
        if len(arguments) + len(keywords) != 1:
            raise TypeError(f"the rule of {type(layer).__name__} is for one input; it got several.")
        (x,) = arguments or keywords.values()
        if not isinstance(x, Tracked):
            raise TypeError(f"the rule of {type(layer).__name__} is for one tensor, not for several in one.")
        try:
            out = evaluate(layer, arguments, keywords)
        except ValueError:
            # Where the rule refuses the layer as such, its reason is the one to tell.
            with contextlib.suppress(RuntimeError, IndexError):
                rule.propagates or class_on(layer, rule, x.tensor)
            raise
        if not isinstance(out, torch.Tensor):
            raise TypeError(f"{type(layer).__name__} with several outputs (indices jump) has no rule.")
        if rule.propagates:
            state = rule.function(layer, x.state, x.shape)
        else:
            key = (id(layer), tuple(x.tensor.shape))
            if key not in self.classes:
                # The layer is kept, so that its id is not given to another one.
                self.classes[key] = (class_on(layer, rule, x.tensor), layer)
            state = x.state.then(self.classes[key][0])
        return Tracked(state, out)

    def by_graph(self, layer, arguments, keywords):
        """Generate requests for submodules along the graph of the layer's forward."""
        if id(layer) not in self.graphs:
            self.graphs[id(layer)] = (_trace(layer), layer)
        graph = self.graphs[id(layer)][0]
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
        name, function = named(node)
        tracked = tracked_in((arguments, keywords))
        if name in ("getitem", "getattr") and isinstance(arguments[0], (tuple, list, dict)):
            return function(*arguments)
        in_place = name.endswith("_") or (name in _IN_PLACE and node.op == "call_function")
        if in_place or keywords.get("inplace"):
            self.refuse_shared(arguments[:1], name)
            name = name.rstrip("_")
        if node.op == "call_function" and name.startswith("rand") and function not in (round,):
            raise TypeError(f"{name} is random; a class is that of one fixed map.")
        user_rule = find_function_rule(function) if node.op == "call_function" else None
        if user_rule is None:
            refuse_outside(name, tracked)
        if keywords.get("out") is not None:
            raise TypeError(f"{name} writes into out=; use its result instead.")
        given = [*arguments, *keywords.values()]
        before = [value._version for value in tensors_in(concrete(given))]
        out = evaluate(function, arguments, keywords)
        after = [value._version for value in tensors_in(concrete(given))]
        if before != after and not in_place and not keywords.get("inplace"):
            raise TypeError(f"{name} changes its argument in place, unannounced; write it out of place.")
        if not tracked:
            return out
        if not holds_tensors(out):
            return fact(name, arguments, out)
        if any(value.is_complex() for value in tensors_in(out)):
            raise TypeError(f"{name} gives complex values, which have no rule; keep real ones.")
        if user_rule is not None:
            (x,) = tracked
            rule = user_rule.function
            state = rule(function, x.state, x.shape) if user_rule.propagates else None
            return Tracked(state or x.state.then(rule(function, x.shape)), out)
        return guarded(Call(name, tuple(arguments), keywords, out, function))

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


def _trace(layer):
    try:
        return _Tracer().trace(layer)
    except Exception as error:
        # Tracing runs the user's forward with stand-ins for tensors: anything can come out of it.
        first = (str(error).splitlines() or [""])[0]
        raise TypeError(
            f"the forward of layer {type(layer).__name__} cannot be traced ({first}); {ADVICE}"
        ) from None


def _placeholder(node, given, named, layer):
    if node.target.startswith("*"):
        raise TypeError(f"layer {type(layer).__name__} takes {node.target}; name its inputs one by one.")
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
