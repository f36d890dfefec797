"""One rule per layer of torch with one input: constants that are proved, each in the rule's docstring."""

import math

import torch
from torch import nn

from neuinv.lipschitz.classes import LipschitzClass, OutsideClass, Rung, identity_class
from neuinv.lipschitz.norms import (
    EPS,
    LARGEST_DENSE,
    dense_upper,
    kernel_upper,
    padding_multiplicity,
    spectral_upper,
    vector_upper,
)
from neuinv.lipschitz.pointwise import ACTIVATIONS
from neuinv.lipschitz.registry import register_rule

UP = 1 + 8 * EPS


def output_shape(layer, shape):
    """Return the shape of one output sample, found by evaluating the layer at zero."""
    parameter = next(layer.parameters(), torch.zeros((), dtype=torch.float64))
    with torch.no_grad():
        out = layer(torch.zeros(1, *shape, dtype=parameter.dtype, device=parameter.device))
    return tuple(out.shape[1:])


def linear_class(weight, bias, rows):
    """Return the class of x -> x W^T + b on ``rows`` vectors: L = ||W||, c = sqrt(rows) ||b||; sharp."""
    return LipschitzClass(vector_upper(bias, rows), spectral_upper(weight))


@register_rule(nn.Identity)
@register_rule(nn.Flatten)
@register_rule(nn.Unflatten)
@register_rule(nn.PixelShuffle)
@register_rule(nn.PixelUnshuffle)
@register_rule(nn.ChannelShuffle)
@register_rule(nn.ZeroPad1d)
@register_rule(nn.ZeroPad2d)
def _isometry(layer, shape):
    """Entries are moved, and zeros added: L = 1, sharp."""
    return identity_class()


def _linear(layer, shape):
    """L = ||W||: the supremum of the quotient of a linear map; sharp."""
    return linear_class(layer.weight, layer.bias, math.prod(shape[:-1]))


register_rule(nn.Linear, _linear, input_shape=lambda layer: (layer.in_features,))


@register_rule(nn.Conv1d)
@register_rule(nn.Conv2d)
@register_rule(nn.Conv3d)
def _convolution(layer, shape):
    """L bounds the norm of the linear part: of its own matrix where that is small, else of the symbol.

    The matrix gives a sharp constant. Otherwise see :func:`neuinv.lipschitz.norms.kernel_upper`; padding
    that repeats entries at most k times is a linear map of norm sqrt k before it.
    """
    positions = math.prod(output_shape(layer, shape)[1:])
    norm = dense_upper(layer, shape)
    if norm is None:
        norm = kernel_upper(layer.weight, layer.groups)
        if layer.padding_mode != "zeros":
            padding = layer._reversed_padding_repeated_twice
            norm *= math.sqrt(padding_multiplicity(shape[1:], padding, layer.padding_mode)) * UP
    return LipschitzClass(vector_upper(layer.bias, positions), norm)


@register_rule(nn.ConvTranspose1d)
@register_rule(nn.ConvTranspose2d)
@register_rule(nn.ConvTranspose3d)
def _transposed_convolution(layer, shape):
    """The adjoint of a convolution, restricted: its norm is no larger."""
    positions = math.prod(output_shape(layer, shape)[1:])
    norm = dense_upper(layer, shape)
    norm = kernel_upper(layer.weight, layer.groups) if norm is None else norm
    return LipschitzClass(vector_upper(layer.bias, positions), norm)


def refuse_training(layer, what):
    """Refuse a layer whose map is random or depends on the batch while training.

    Raises
    ------
    ValueError
        The layer is in training mode.
    """
    if layer.training:
        raise ValueError(f"{type(layer).__name__} is in training mode, where {what}; call .eval() first.")


@register_rule(nn.Dropout)
@register_rule(nn.Dropout1d)
@register_rule(nn.Dropout2d)
@register_rule(nn.Dropout3d)
@register_rule(nn.AlphaDropout)
@register_rule(nn.FeatureAlphaDropout)
def _dropout(layer, shape):
    """The identity in evaluation mode."""
    if layer.p > 0:
        refuse_training(layer, "it is random")
    return identity_class()


@register_rule(nn.BatchNorm1d)
@register_rule(nn.BatchNorm2d)
@register_rule(nn.BatchNorm3d)
def _batch_norm(layer, shape):
    """An affine map channel by channel in evaluation mode: L = max |w| / sqrt(var + eps); sharp."""
    refuse_training(layer, "samples of a batch depend on one another")
    if layer.running_var is None:
        raise TypeError(f"{type(layer).__name__} has no running statistics; samples depend on one another.")
    variance, mean = layer.running_var.detach().double(), layer.running_mean.detach().double()
    if not (variance + layer.eps > 0).all():
        raise OutsideClass("batch norm divides by a variance of 0 with eps = 0", Rung.OFF)
    factor = 1 / torch.sqrt(variance + layer.eps)
    shift = -mean * factor
    if layer.affine:
        factor = factor * layer.weight.detach().double()
        shift = shift * layer.weight.detach().double() + layer.bias.detach().double()
    # A cancellation in shift loses at most a few eps of its two terms.
    slack = 8 * EPS * vector_upper((mean * factor).abs() + shift.abs(), math.prod(shape[1:]))
    positions = math.prod(shape[1:])
    return LipschitzClass(vector_upper(shift, positions) + slack, factor.abs().max().item() * UP)


def normalization_class(
    eps, groups, size, weight=None, bias=None, repeats=1, what="normalisation", center=True, entrywise=False
):
    r"""Return the class of x -> w (x - mean) / sqrt(var + eps) + b, or of its form without the mean.

    Let P be the projection that subtracts the mean (or I), :math:`u = Px / \sqrt{d}`,
    :math:`s = \sqrt{|u|^2 + \varepsilon}`. The Jacobian of x -> Px/s is :math:`s^{-1}P(I - uu^{T}/s^2)P`, of
    norm at most :math:`1/s \le 1/\sqrt\varepsilon`, with equality at x = 0 (d >= 2 with the mean). With
    w the constant is :math:`\lVert\mathrm{diag}(w)P\rVert/\sqrt\varepsilon`: the symmetric
    :math:`P(I - uu^T/s^2)P` has the range of P and norm at most 1. The output has norm below sqrt d.

    Parameters
    ----------
    eps : float
        Inside the root; must be positive.
    groups, size : int
        Number of vectors that are normalised, and their length d.
    weight, bias : Tensor or None
        The affine map afterwards.
    repeats : int
        How often ``bias`` is used.
    what : str
        The layer's name in a message.
    center : bool
        Whether the mean is subtracted.
    entrywise : bool
        Whether ``weight`` has one number for each entry of a vector, and not one for each channel.

    Raises
    ------
    OutsideClass
        eps is 0: the map jumps at 0.
    """
    if not eps > 0:
        raise OutsideClass(
            f"{what} with eps = {eps:g} divides by the norm of its input: it is bounded and jumps at 0",
            Rung.LOCALLY_BOUNDED,
        )
    largest = 1.0 if weight is None else weight.detach().abs().max().item()
    shift = vector_upper(bias, repeats)
    bound = largest * math.sqrt(groups * size) * UP + shift
    slope = largest
    if center and entrywise and weight is not None and size <= LARGEST_DENSE:
        gain = weight.detach().double().reshape(size, 1)
        slope = min(largest, spectral_upper(gain * (torch.eye(size, dtype=torch.float64) - 1 / size)) * UP)
    return LipschitzClass(shift, slope / math.sqrt(eps) * UP, 0, bound * UP)


@register_rule(nn.LayerNorm)
def _layer_norm(layer, shape):
    """L = ||diag(w) P|| / sqrt(eps), attained at 0; P subtracts the mean."""
    size = math.prod(layer.normalized_shape)
    rows = math.prod(shape) // size
    return normalization_class(
        layer.eps, rows, size, layer.weight, layer.bias, rows, "LayerNorm", entrywise=True
    )


@register_rule(nn.RMSNorm)
def _rms_norm(layer, shape):
    """L = max |w| / sqrt(eps), attained at 0; torch uses the dtype's own eps where none is given."""
    size = math.prod(layer.normalized_shape)
    # Without weights the dtype is that of the input: the smallest eps gives the largest constant.
    dtype = torch.float64 if layer.weight is None else layer.weight.dtype
    eps = torch.finfo(dtype).eps if layer.eps is None else layer.eps
    return normalization_class(
        eps, math.prod(shape) // size, size, layer.weight, what="RMSNorm", center=False
    )


@register_rule(nn.GroupNorm)
def _group_norm(layer, shape):
    """As LayerNorm, in each group of channels."""
    size = math.prod(shape) // layer.num_groups
    positions = math.prod(shape[1:])
    return normalization_class(
        layer.eps, layer.num_groups, size, layer.weight, layer.bias, positions, "GroupNorm"
    )


@register_rule(nn.InstanceNorm1d)
@register_rule(nn.InstanceNorm2d)
@register_rule(nn.InstanceNorm3d)
def _instance_norm(layer, shape):
    """As LayerNorm, in each channel; with running statistics it is refused."""
    if layer.track_running_stats:
        raise TypeError("InstanceNorm with running statistics has no rule; register one with register_rule.")
    positions = math.prod(shape[1:])
    return normalization_class(
        layer.eps, shape[0], positions, layer.weight, layer.bias, positions, "InstanceNorm"
    )


def softmax_class(rows, size, masked=False):
    r"""Return the class of softmax on ``rows`` vectors of length ``size``: L = 1/2, norm at most sqrt(rows).

    The Jacobian diag(p) - pp^T is symmetric and positive semidefinite. By Gershgorin its largest eigenvalue
    is at most :math:`\max_i 2p_i(1-p_i) \le 1/2`, attained at p = (1/2, 1/2, 0, ...), a limit of
    softmaxes. At 0 the norm is sqrt(rows / size); with a mask it is only known to be at most sqrt(rows).
    """
    bound = math.sqrt(rows) * UP
    return LipschitzClass(
        bound if masked else math.sqrt(rows / size) * UP, 0.5 if size > 1 else 0.0, 0, bound * UP
    )


def log_softmax_class(rows, size):
    r"""Return the class of log-softmax: L = sqrt(size).

    The Jacobian is I - 1p^T. Its norm is convex in p, so at most its value at p = e_1, where
    MM^T = diag(0, I + 11^T) has the largest eigenvalue ``size``; sharp in the limit.
    """
    return LipschitzClass(math.sqrt(rows * size) * math.log(size) * UP, math.sqrt(size) * UP)


@register_rule(nn.Softmax)
@register_rule(nn.Softmin)
def _softmax(layer, shape):
    """L = 1/2; see :func:`softmax_class`."""
    size = reduced_size(layer.dim, shape)
    return softmax_class(math.prod(shape) // size, size)


@register_rule(nn.LogSoftmax)
def _log_softmax(layer, shape):
    """L = sqrt(size); see :func:`log_softmax_class`."""
    size = reduced_size(layer.dim, shape)
    return log_softmax_class(math.prod(shape) // size, size)


def reduced_size(dim, shape):
    """Return the length of dimension ``dim`` of a batch of one sample of this shape.

    Raises
    ------
    ValueError
        ``dim`` is None.
    """
    if dim is None:
        raise ValueError("softmax without dim= depends on the number of dimensions; pass dim=.")
    return (1, *shape)[dim]


@register_rule(nn.PReLU)
def _prelu(layer, shape):
    """L = max(1, max |slope|); sharp."""
    return LipschitzClass(0, max(1.0, layer.weight.detach().abs().max().item()))


@register_rule(nn.Hardshrink)
@register_rule(nn.Threshold)
def _hard_gate(layer, shape):
    raise OutsideClass(
        f"{type(layer).__name__} is a hard gate: it jumps at its threshold", Rung.LOCALLY_BOUNDED
    )


def _register_activation(layer_type, name, *attributes):
    def rule(layer, shape):
        constants = ACTIVATIONS[name](*(getattr(layer, attribute) for attribute in attributes))
        return constants.on(math.prod(shape))

    rule.__doc__ = f"The constants of {name}; see :data:`neuinv.lipschitz.pointwise.ACTIVATIONS`."
    register_rule(layer_type, rule)


for _type, _name, *_attributes in [
    (nn.ReLU, "relu"),
    (nn.LeakyReLU, "leaky_relu", "negative_slope"),
    (nn.GELU, "gelu", "approximate"),
    (nn.SiLU, "silu"),
    (nn.Tanh, "tanh"),
    (nn.Sigmoid, "sigmoid"),
    (nn.Softplus, "softplus", "beta", "threshold"),
    (nn.ELU, "elu", "alpha"),
    (nn.SELU, "selu"),
    (nn.CELU, "celu", "alpha"),
    (nn.ReLU6, "relu6"),
    (nn.Hardtanh, "hardtanh", "min_val", "max_val"),
    (nn.Hardsigmoid, "hardsigmoid"),
    (nn.Hardswish, "hardswish"),
    (nn.Mish, "mish"),
    (nn.Softsign, "softsign"),
    (nn.LogSigmoid, "logsigmoid"),
    (nn.Softshrink, "softshrink", "lambd"),
    (nn.Tanhshrink, "tanhshrink"),
]:
    _register_activation(_type, _name, *_attributes)
