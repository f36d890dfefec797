"""What a layer's rule means for the tensor that it meets, whatever its first dimension is."""

import math
import re

from torch import nn

from neuinv.lipschitz.classes import LipschitzClass
from neuinv.lipschitz.norms import EPS

# Layers whose rule sees only the number of entries and the last dimensions.
_ANYWHERE = (nn.Linear, nn.LayerNorm, nn.RMSNorm, nn.Identity, nn.Dropout, nn.AlphaDropout)
_SOFTMAX = (nn.Softmax, nn.Softmin, nn.LogSoftmax)
_SPATIAL = re.compile(r"^(Conv|ConvTranspose|\w+Pool|InstanceNorm|BatchNorm|\w+Pad)([123])d$")


def class_on(layer, rule, tensor):
    r"""Return the class of a layer on a tensor, by its rule for one sample.

    Where the first dimension has b != 1 entries (a batch that was merged or moved), the layer maps b samples
    side by side: with one sample in Lip(c, L, p, bound) they are in
    :math:`\mathrm{Lip}(\sqrt b\,c, L, p, \sqrt b\,\text{bound})`, because each norm is at most that of all.

    Raises
    ------
    TypeError
        The tensor has no batch where the layer needs one.
    """
    name = type(layer).__name__
    _check_dimensions(layer, tensor)
    pointwise = type(layer).__module__ == "torch.nn.modules.activation" and not isinstance(layer, nn.PReLU)
    if tensor.ndim and len(tensor) == 1:
        return rule.function(layer, tuple(tensor.shape[1:]))
    if isinstance(layer, _SOFTMAX):
        if layer.dim is not None and layer.dim >= 0:
            raise TypeError(f"{name} meets a tensor without a batch of one in front; pass a negative dim.")
        return rule.function(layer, tuple(tensor.shape))
    if isinstance(layer, _ANYWHERE) or pointwise:
        return rule.function(layer, tuple(tensor.shape))
    if tensor.ndim < 2:
        raise TypeError(f"{name} meets a tensor without a batch; keep the batch first.")
    one = rule.function(layer, tuple(tensor.shape[1:]))
    root = math.log(len(tensor)) / 2 * (1 + 4 * EPS)
    return LipschitzClass.from_logs(one.log_c + root, one.log_L, one.p, one.log_bound + root)


def _check_dimensions(layer, tensor):
    for ancestor in type(layer).__mro__:
        found = _SPATIAL.match(ancestor.__name__)
        if found and ancestor.__module__.startswith("torch.nn.modules"):
            wanted = int(found[2]) + 2
            allowed = (wanted, 2) if ancestor.__name__ == "BatchNorm1d" else (wanted,)
            if tensor.ndim not in allowed:
                raise TypeError(
                    f"{type(layer).__name__} meets a tensor of {tensor.ndim} dimensions, which torch reads "
                    f"as one sample without a batch, or refuses; pass {wanted} dimensions, the batch first."
                )
            return
