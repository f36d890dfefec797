"""Is the walk about the map that torch computes? Twins in float64, and checks by evaluation.

A symbolic trace sees stand-ins instead of tensors, so a branch on ``isinstance`` or a number drawn while
tracing escapes it; a class is that of one fixed map of one sample. Both are checked at a random point: a
check that finds nothing proves nothing, one that finds a difference names it.
"""

import torch
from torch import fx, nn

__all__ = ["float64_twin", "refuse_another_map", "refuse_batch_mixing", "refuse_own_call"]


def _copied(tensor, memo, convert):
    if tensor is None or id(tensor) in memo:
        return memo.get(id(tensor), (None, None))[1]
    made = tensor.detach().clone()
    made = made.double() if convert and made.is_floating_point() else made
    if isinstance(tensor, nn.Parameter):
        made = nn.Parameter(made, requires_grad=False)
    # The original is kept beside its twin, so that its id is not given away.
    memo[id(tensor)] = (tensor, made)
    return made


def float64_twin(module, convert=True):
    """Return a copy of a module with its tensors in float64, made without recursion; ties stay tied.

    With ``convert`` false they keep their dtype. Either way no evaluation reaches the caller's tensors.
    """
    copies, waiting, memo = {}, [module], {}
    while waiting:
        current = waiting.pop()
        if id(current) not in copies:
            twin = object.__new__(type(current))
            twin.__dict__ = dict(current.__dict__)
            copies[id(current)] = twin
            waiting.extend(child for child in current._modules.values() if child is not None)
    for twin in copies.values():
        if convert and isinstance(twin, nn.RMSNorm) and twin.eps is None:
            # The eps that torch takes is that of the dtype that the layer has, not of its twin.
            twin.eps = torch.finfo(torch.float64 if twin.weight is None else twin.weight.dtype).eps
        state = twin.__dict__
        for name in ("_parameters", "_buffers"):
            state[name] = {key: _copied(value, memo, convert) for key, value in state[name].items()}
        modules = state["_modules"].items()
        state["_modules"] = {key: None if value is None else copies[id(value)] for key, value in modules}
        for key, value in state.items():
            if isinstance(value, torch.Tensor):
                state[key] = _copied(value, memo, convert)
    return copies[id(module)]


def refuse_own_call(layer):
    """Refuse a layer that is called otherwise than by the forward of its type.

    Raises
    ------
    TypeError
        It has hooks, a ``forward`` of the instance, or a ``__call__`` of its type.
    """
    # A parametrized weight is computed by modules of its own.
    for part in getattr(layer, "parametrizations", {}).values():
        for step in part:
            refuse_own_call(step)
    name = type(layer).__name__
    if layer._forward_hooks or layer._forward_pre_hooks:
        raise TypeError(f"layer {name} has forward hooks, which no rule sees; remove them.")
    if "forward" in layer.__dict__:
        raise TypeError(f"layer {name} has a forward of its own on the instance; write a subclass.")
    if type(layer).__call__ is not nn.Module.__call__ and not isinstance(layer, fx.GraphModule):
        raise TypeError(f"layer {name} overrides __call__, which no rule sees; override forward instead.")
    if layer.training and type(layer).__name__ == "_SpectralNorm":
        raise TypeError("spectral_norm in training mode keeps a state, which each use changes; call .eval().")


def tensors_in(value):
    """Return the tensors inside nested tuples, lists and dicts."""
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, (tuple, list)):
        return []
    return [found for item in value for found in tensors_in(item)]


def refuse_another_map(module, x, walked):
    """Refuse a module whose values at ``x`` are not those of the walk, or change from call to call.

    Parameters
    ----------
    module : torch.nn.Module
        A twin of the one that was walked.
    x : Tensor
        A batch of one.
    walked : list of Tensor
        What the walk computed at ``x``.

    Raises
    ------
    TypeError
        They differ by more than rounding.
    """
    for _ in range(2):
        try:
            direct = tensors_in(module(x.clone()))
        except RecursionError:
            # Nested deeper than torch's own calls can go: there is no evaluation to compare with.
            return
        if len(direct) != len(walked) or not all(map(_close, direct, walked)):
            raise TypeError(
                f"the forward of {type(module).__name__} is random, keeps a state, or branches where a trace "
                "cannot follow: evaluated, it differs from its own trace; register a rule with "
                "neuinv.register_rule(key, rule)."
            )


def _close(first, second):
    if first.shape != second.shape:
        return False
    if not first.is_floating_point():
        return torch.equal(first, second)
    first, second = (torch.nan_to_num(value.detach()).double() for value in (first, second))
    scale = max(1e-300, first.abs().max().item()) if first.numel() else 1.0
    return bool(((first - second).abs() <= 1e-3 * scale).all())


def refuse_batch_mixing(module, x):
    """Refuse a module in which one sample of a batch of two depends on the other.

    A module that takes only a batch of one is not refused. The comparison is exact: torch computes both
    batches, which have the same shape, by the same operations.

    Raises
    ------
    TypeError
        It does.
    """
    twice, other = torch.cat([x, x.flip(-1) + 0.5]), torch.cat([x, -2 * x - 0.25])
    try:
        first, second = tensors_in(module(twice)), tensors_in(module(other))
    except (RuntimeError, ValueError, TypeError, IndexError, AssertionError):
        return
    for one, two in zip(first, second, strict=False):
        # A constant has no batch; a result that lost its batch is compared whole.
        batch = one.ndim > 0 and len(one) == 2
        one, two = (one[:1], two[:1]) if batch else (one, two)
        if not torch.equal(torch.nan_to_num(one), torch.nan_to_num(two)):
            raise TypeError(
                f"in {type(module).__name__} the samples of a batch depend on one another (a batch dimension "
                "that is reduced, moved or merged; attention with batch_first=False): no statement about "
                "one sample holds; keep the batch first and apart."
            )
