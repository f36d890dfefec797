"""Rules for pooling, padding and resizing, where entries are shared by windows."""

import math

import torch
from torch import nn

from neuinv.lipschitz.classes import LipschitzClass
from neuinv.lipschitz.norms import (
    EPS,
    dense_upper,
    padding_multiplicity,
    spectral_upper,
    windows_over_an_entry,
)
from neuinv.lipschitz.registry import register_rule

UP = 1 + 8 * EPS


def _each(value, dims):
    return (value,) * dims if isinstance(value, int) else tuple(value)


def _max_pool(layer, shape):
    r"""A maximum over a window moves by at most the largest move in it: L = sqrt(windows sharing an entry).

    Sharp when windows do not overlap; with overlap, equality needs one entry to win all its windows, which
    happens wherever the input has a window's interior around it.
    """
    dims = int(type(layer).__name__[-2])
    kernel, dilation = _each(layer.kernel_size, dims), _each(layer.dilation, dims)
    stride = _each(layer.stride if layer.stride is not None else layer.kernel_size, dims)
    # No entry lies in more windows than there are.
    out = 1
    for size, k, s, p, d in zip(shape[1:], kernel, stride, _each(layer.padding, dims), dilation, strict=True):
        out *= (size + 2 * p - d * (k - 1) - 1) // s + 2
    shared = min(windows_over_an_entry(kernel, stride, dilation), out)
    return LipschitzClass(0, 1.0 if shared == 1 else math.sqrt(shared) * UP)


for _type in (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d):
    register_rule(_type, _max_pool)


def _average_pool(layer, shape):
    r"""A linear map: the norm of its own matrix where that is small, and sharp there.

    Else, by Cauchy-Schwarz in each window of K entries that is divided by D: at most
    sqrt(K windows sharing an entry) / D, with the smallest divisor that padding or ``ceil_mode`` can leave.
    """
    norm = dense_upper(layer, shape)
    if norm is not None:
        return LipschitzClass(0, norm)
    dims = int(type(layer).__name__[-2])
    kernel = _each(layer.kernel_size, dims)
    stride = _each(layer.stride if layer.stride is not None else layer.kernel_size, dims)
    shared = windows_over_an_entry(kernel, stride, (1,) * dims)
    entries = math.prod(kernel)
    divisor = getattr(layer, "divisor_override", None)
    if divisor is not None:
        return LipschitzClass(0, math.sqrt(entries * shared) / abs(divisor) * UP)
    regular = not layer.ceil_mode and (layer.count_include_pad or not any(_each(layer.padding, dims)))
    # A window that is cut to K' entries and divided by K' has row norm 1 / sqrt K' <= 1.
    return LipschitzClass(0, math.sqrt(shared / entries if regular else shared) * UP)


for _type in (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d):
    register_rule(_type, _average_pool)


def _axis_sizes(layer, shape, dims):
    wanted = _each(layer.output_size, dims)
    return [(size, size if out is None else out) for size, out in zip(shape[1:], wanted, strict=True)]


def _adaptive_matrix(size, out):
    """Return the (out, size) matrix of adaptive average pooling along one axis."""
    eye = torch.eye(size, dtype=torch.float64)[None]
    return nn.functional.adaptive_avg_pool1d(eye, out)[0].T


def _adaptive_average_pool(layer, shape):
    """A Kronecker product of one matrix per axis: the norm is the product of their norms; sharp."""
    dims = int(type(layer).__name__[-2])
    norms = [spectral_upper(_adaptive_matrix(*pair)) for pair in _axis_sizes(layer, shape, dims)]
    return LipschitzClass(0, math.prod(norms) * UP)


for _type in (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d):
    register_rule(_type, _adaptive_average_pool)


def _adaptive_max_pool(layer, shape):
    """As max pooling: L = sqrt(windows sharing an entry), counted along each axis."""
    if layer.return_indices:
        raise TypeError("AdaptiveMaxPool with return_indices has no rule; indices jump.")
    shared = 1
    for size, out in _axis_sizes(layer, shape, int(type(layer).__name__[-2])):
        shared *= int((_adaptive_matrix(size, out) > 0).sum(dim=0).max())
    return LipschitzClass(0, math.sqrt(shared) * (1 if shared == 1 else UP))


for _type in (nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d):
    register_rule(_type, _adaptive_max_pool)


def _repeating_pad(layer, shape):
    """Entries that are repeated at most k times: L = sqrt k; sharp."""
    mode = {"Rep": "replicate", "Ref": "reflect", "Cir": "circular"}[type(layer).__name__[:3]]
    return LipschitzClass(0, math.sqrt(padding_multiplicity(shape[1:], layer.padding, mode)) * UP)


for _kind in ("Replication", "Reflection", "Circular"):
    for _dims in (1, 2):
        register_rule(getattr(nn, f"{_kind}Pad{_dims}d"), _repeating_pad)
