"""Which rule belongs to which layer: the registry that users extend."""

from dataclasses import dataclass

import torch
from torch import nn

__all__ = ["Rule", "register_input_shape", "register_rule"]


@dataclass(frozen=True)
class Rule:
    """How a layer's class is found: its constants, or how it moves a state forward.

    Attributes
    ----------
    function : callable
        (layer, input_shape) -> LipschitzClass; with ``propagates`` (layer, state, input_shape) -> state.
    propagates : bool
        Whether ``function`` combines states itself.
    input_shape : callable or None
        layer -> shape of one sample, where the layer alone tells it.
    """

    function: object
    propagates: bool = False
    input_shape: object = None


# A layer type or a function of torch -> its Rule.
_RULES = {}
# A layer type -> handler (layer, arguments, keywords, evaluate) for layers with several inputs.
_HANDLERS = {}


def register_rule(key, function=None, *, propagates=False, input_shape=None):
    r"""Tell the calculus the constants of a layer of your own.

    Parameters
    ----------
    key : type or callable
        A subclass of torch.nn.Module, whose instances the rule is for, or a function that a ``forward``
        calls (mark a Python function of your own with ``torch.fx.wrap``).
    function : callable, optional
        (layer, input_shape) -> :class:`LipschitzClass` that holds for one sample of shape ``input_shape``
        (a tuple without the batch), in exact arithmetic, with these weights. Leave it out to use
        ``register_rule`` as a decorator. A rule may raise :class:`OutsideClass`.
    propagates : bool
        The rule is (layer, state, input_shape) -> state instead. A state is the class of the network up to
        the layer, or its bounds on a ball; it knows ``+``, ``then``, ``times``, ``stacked``, ``scaled``,
        ``shifted``. Worth the trouble where a product is involved: the bounds on a ball are then tighter.
    input_shape : callable, optional
        layer -> shape of one sample, so that a caller need not pass it.

    Returns
    -------
    callable
        The rule, or a decorator.

    Raises
    ------
    TypeError
        The key is neither a layer type nor a function.

    Notes
    -----
    A rule is used for exactly the layers whose ``forward`` is that of the registered type: a subclass that
    overrides it needs its own. Nothing checks a rule but :func:`neuinv.lipschitz.sampled_lower_bound`.

    Examples
    --------
    >>> from neuinv.lipschitz import LipschitzClass
    >>> class Halve(nn.Module):
    ...     def forward(self, x):
    ...         return x / 2
    >>> _ = register_rule(Halve, lambda layer, input_shape: LipschitzClass(0, 0.5))
    """
    if function is None:
        return lambda given: register_rule(key, given, propagates=propagates, input_shape=input_shape)
    module = isinstance(key, type) and issubclass(key, nn.Module)
    if not module and (isinstance(key, type) or not callable(key)):
        raise TypeError(f"key is {key!r}; pass a subclass of torch.nn.Module, or a function.")
    _RULES[key] = Rule(function, propagates, input_shape)
    return function


# A type of network without a rule of its own -> (network) -> shape of one sample.
_SHAPES = {}


def register_input_shape(key, input_shape):
    """Tell the calculus the shape of one sample of a network whose graph it walks.

    Parameters
    ----------
    key : type
        A subclass of torch.nn.Module.
    input_shape : callable
        (network) -> tuple of int, without the batch.
    """
    _SHAPES[key] = input_shape


def forget_rule(key):
    """Remove the rule of a layer type or function, if there is one."""
    _RULES.pop(key, None)


def handles(*types):
    """Register a handler of layers with several inputs (internal)."""

    def register(handler):
        for key in types:
            _HANDLERS[key] = handler
        return handler

    return register


def _nearest(table, layer):
    """Return the entry of the nearest ancestor whose forward this layer has, or None."""
    for ancestor in type(layer).__mro__:
        if ancestor in table:
            # What else torch's layers call on themselves, and subclasses are known to override.
            called = ("forward", "_conv_forward", "_sa_block", "_ff_block")
            same = all(getattr(ancestor, name, None) is getattr(type(layer), name, None) for name in called)
            # torch calls a parametrized layer by another class, with the same forward.
            return table[ancestor] if same else None
    return None


def find_rule(layer):
    """Return the Rule of a layer, or None."""
    return _nearest(_RULES, layer)


def find_handler(layer):
    """Return the handler of a layer with several inputs, or None."""
    return _nearest(_HANDLERS, layer)


def find_function_rule(function):
    """Return the Rule that a user registered for a function, or None."""
    try:
        return _RULES.get(function)
    except TypeError:  # not hashable
        return None


def infer_input_shape(module):
    """Return the shape of one sample if the module alone tells it.

    Raises
    ------
    ValueError
        It does not.
    """
    current = module
    while True:
        rule = find_rule(current)
        if rule is not None and rule.input_shape is not None:
            return tuple(rule.input_shape(current))
        known = _nearest(_SHAPES, current)
        if known is not None:
            return tuple(known(current))
        if type(current).forward is not nn.Sequential.forward or not len(current):
            break
        current = current[0]
    raise ValueError(
        f"the shape of one sample of {type(module).__name__} is not known; "
        "pass input_shape=, without the batch."
    )


def reference_input(module, input_shape):
    """Return a random tensor of shape (1, *input_shape), of the dtype and on the device of the module."""
    parameter = next(iter(_tensors(module)), torch.zeros((), dtype=torch.float64))
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(1, *input_shape, generator=generator, dtype=torch.float64)
    # A sample of norm about 1, where products neither overflow nor vanish.
    return (drawn / max(1, drawn.numel()) ** 0.5).to(parameter)


def _tensors(module):
    """Yield floating parameters and buffers, outermost first, without recursion."""
    waiting = [module]
    while waiting:
        current = waiting.pop()
        for tensor in [*current._parameters.values(), *current._buffers.values()]:
            if tensor is not None and tensor.is_floating_point():
                yield tensor
        waiting.extend(child for child in reversed(current._modules.values()) if child is not None)
