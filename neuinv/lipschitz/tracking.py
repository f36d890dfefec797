"""Values on their way through a network: a state that bounds them, and the tensor at the input 0."""

from dataclasses import dataclass

import torch

from neuinv.lipschitz.local import LocalBound
from neuinv.lipschitz.norms import vector_upper


@dataclass(frozen=True)
class Tracked:
    """One value: the class or bounds of the map from the input to it, and a tensor that has its shape.

    The tensor is what the network computes at one input, for a bound on a ball at the centre: there its norm
    is used; else only its shape, dtype and storage.
    """

    state: object
    tensor: torch.Tensor

    def __post_init__(self):
        if isinstance(self.state, LocalBound):
            object.__setattr__(self, "state", self.state.sharpened(self.tensor))

    @property
    def shape(self):
        """Shape of one sample."""
        return tuple(self.tensor.shape[1:])

    def then(self, outer, tensor):
        """Return the value after a map of the class ``outer``."""
        return Tracked(self.state.then(outer), tensor)


def constant_state(tensor, like):
    """Return the state of a constant tensor, in the domain of ``like``."""
    return like.scaled(0).shifted(vector_upper(tensor))


def tracked_in(value):
    """Return the tracked values inside nested tuples, lists, dicts and slices."""
    if isinstance(value, Tracked):
        return [value]
    if isinstance(value, slice):
        value = (value.start, value.stop, value.step)
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, (tuple, list)):
        return []
    return [found for item in value for found in tracked_in(item)]


def concrete(value):
    """Replace every tracked value by its tensor."""
    if isinstance(value, Tracked):
        return value.tensor
    if isinstance(value, slice):
        return slice(concrete(value.start), concrete(value.stop), concrete(value.step))
    if isinstance(value, dict):
        return {key: concrete(item) for key, item in value.items()}
    if type(value) is tuple or type(value).__name__ == "immutable_list":
        made = [concrete(item) for item in value]
        return tuple(made) if isinstance(value, tuple) else made
    return [concrete(item) for item in value] if isinstance(value, list) else value


def stack_all(values, like):
    """Return the state of several values, tracked or constant, side by side as one vector."""
    total = None
    for value in values:
        if isinstance(value, Tracked):
            state = value.state
        elif isinstance(value, torch.Tensor):
            state = constant_state(value, like)
        else:
            continue
        total = state if total is None else total.stacked(state)
    return total


class Method:
    """A method of a tensor, as a function."""

    def __init__(self, name):
        self.name = name

    def __call__(self, *arguments, **keywords):
        return getattr(arguments[0], self.name)(*arguments[1:], **keywords)

    def on(self, tensor, arguments, keywords):
        """Call the method on another tensor."""
        return getattr(tensor, self.name)(*arguments, **keywords)
