"""Operations that move entries, drop them, repeat them or put zeros beside them."""

import torch

from neuinv.lipschitz.norms import EPS
from neuinv.lipschitz.tracking import Method, Tracked, concrete, tracked_in

__all__ = ["SELECTIONS", "select"]

SELECTIONS = set(
    "reshape reshape_as view view_as flatten unflatten ravel transpose permute t mT T mH H swapaxes "
    "swapdims movedim moveaxis contiguous squeeze unsqueeze expand expand_as broadcast_to repeat tile "
    "repeat_interleave getitem narrow select roll flip fliplr flipud rot90 tril triu diagonal diag chunk "
    "split tensor_split unbind clone detach index_select pad pixel_shuffle pixel_unshuffle unfold "
    "linalg_diagonal diag_embed".split()
)


def select(call):
    """Return the selected entries: L is the root of the largest number of repetitions.

    The operation is applied to the numbers 1, 2, ..., which says where each entry goes; sharp.

    Raises
    ------
    TypeError
        Indices that depend on the input, padding with another number than 0, or a view as another dtype.
    """
    x = call.x
    if not isinstance(x, Tracked) or (len(tracked_in(call.arguments)) > 1 and not call.name.endswith("_as")):
        raise TypeError(f"{call.name} with indices that depend on the input has no rule; register one.")
    if any(isinstance(value, torch.dtype) for value in (*call.arguments, *call.keywords.values())):
        raise TypeError(f"{call.name} as another dtype reads bits, which has no rule; use to(dtype).")
    count = x.tensor.numel()
    index = torch.arange(1, count + 1, dtype=torch.float64).reshape(x.tensor.shape)
    if call.function is None:
        moved = getattr(index, call.name)
    elif isinstance(call.function, Method):
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
