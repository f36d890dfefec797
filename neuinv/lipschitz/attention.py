r"""Layers with several inputs: attention, bilinear forms, gates; all are products, so p >= 1.

Dot-product attention :math:`O = \mathrm{softmax}(Q K^T/\sqrt d)\,V` is built from the calculus: a bilinear
product (p = 1), a softmax (L = 1/2, norm at most sqrt n), a product with V (p = 2). With
:math:`Q K^T = XWX^T` and :math:`V = XV` this gives :math:`L = \lVert V\rVert(\lVert W\rVert + \sqrt n)`.
"""

import math

from torch import nn

from neuinv.lipschitz.layers import linear_class, refuse_training, softmax_class
from neuinv.lipschitz.norms import EPS, spectral_upper, vector_upper
from neuinv.lipschitz.pointwise import ACTIVATIONS
from neuinv.lipschitz.registry import handles
from neuinv.lipschitz.tracking import Tracked, tracked_in

UP = 1 + 8 * EPS


def softmax_product(logits, values, rows, keys, masked):
    """Return the state of softmax(logits) @ values, and that of the weights."""
    weights = logits.then(softmax_class(rows, keys, masked))
    return weights.times(values), weights


def bilinear_norm(weight):
    """Return an upper bound of sup ||B(u, v)|| over unit u, v, B given by (out, in1, in2).

    Each of the three matrices that the tensor unfolds to bounds it; the least is taken.
    """
    out, first, second = weight.shape
    unfoldings = (
        weight.reshape(out, -1),
        weight.transpose(0, 1).reshape(first, -1),
        weight.transpose(0, 2).reshape(second, -1),
    )
    return min(spectral_upper(M) for M in unfoldings)


@handles(nn.Bilinear)
def _bilinear(layer, arguments, keywords, out):
    """A bilinear product with beta from :func:`bilinear_norm`."""
    first, second = arguments
    if not isinstance(first, Tracked) or not isinstance(second, Tracked):
        raise TypeError("Bilinear with a constant input has no rule; contract the weight with it first.")
    state = first.state.times(second.state, bilinear_norm(layer.weight))
    rows = out.numel() // out.shape[-1]
    return Tracked(state.shifted(vector_upper(layer.bias, rows)), out)


def gate(first, second, activation, count):
    """Return the state of u * activation(v) on ``count`` entries: a bilinear product with beta = 1."""
    return first.times(second.then(ACTIVATIONS[activation]().on(count)))


@handles(nn.GLU)
def _glu(layer, arguments, keywords, out):
    """The first half times the sigmoid of the second."""
    (x,) = arguments
    return Tracked(gate(x.state, x.state, "sigmoid", out.numel()), out)


def _projections(layer):
    """Return the weights of q, k, v and their biases (None without)."""
    if layer._qkv_same_embed_dim:
        weights = layer.in_proj_weight.chunk(3)
    else:
        weights = (layer.q_proj_weight, layer.k_proj_weight, layer.v_proj_weight)
    biases = (None,) * 3 if layer.in_proj_bias is None else layer.in_proj_bias.chunk(3)
    return weights, biases


def _head(layer, index, states, counts, masked):
    r"""Return the states of one head's output and weights.

    Of :math:`(W_q x + b_q)\cdot(W_k y + b_k)` the terms without y are the same for all keys, and softmax does
    not see them: what remains is :math:`x^T W_q^T W_k y + b_q^T W_k y`, with one norm for the product
    :math:`W_q^T W_k`, smaller than the product of the norms.
    """
    rows, keys, vectors = counts
    weights, biases = _projections(layer)
    part = slice(index * layer.head_dim, (index + 1) * layer.head_dim)
    W_q, W_k, W_v = (W.detach().double()[part] for W in weights)
    b_q, _, b_v = (None if b is None else b.detach().double()[part] for b in biases)
    query, key, value = states
    scale = UP / math.sqrt(layer.head_dim)
    # The products below round by less than a few eps of the product of the Frobenius norms.
    slack = 8 * layer.head_dim * EPS * vector_upper(W_k)
    logits = query.times(key, (spectral_upper(W_q.T @ W_k) + slack * vector_upper(W_q)) * scale)
    if b_q is not None and b_q.any():
        pull = vector_upper(W_k.T @ b_q) + slack * vector_upper(b_q)
        # The same row for every query of a sequence.
        logits = logits + key.scaled(pull * math.sqrt(rows) * scale)
    projected = value.then(linear_class(W_v, b_v, vectors))
    return softmax_product(logits, projected, rows, keys, masked)


@handles(nn.MultiheadAttention)
def _multihead(layer, arguments, keywords, out):
    """Heads side by side, each a :func:`softmax_product`, then the linear read-out."""
    names = ("query", "key", "value", "key_padding_mask", "need_weights", "attn_mask")
    given = dict(zip(names, arguments, strict=False)) | keywords
    inputs = [given[name] for name in names[:3]]
    if not all(isinstance(value, Tracked) for value in inputs):
        raise TypeError("MultiheadAttention with a constant input has no rule; register one.")
    if layer.bias_k is not None or layer.add_zero_attn:
        raise TypeError("MultiheadAttention with add_bias_kv or add_zero_attn has no rule; register one.")
    if tracked_in([value for name, value in given.items() if name not in names[:3]]):
        raise TypeError("MultiheadAttention with a mask that depends on the input has no rule.")
    if layer.dropout > 0:
        refuse_training(layer, "it is random")
    masked = given.get("key_padding_mask") is not None or given.get("attn_mask") is not None
    masked = masked or bool(given.get("is_causal", False))
    query, key = inputs[0].tensor, inputs[1].tensor
    # A tensor of three dimensions is (batch, tokens, features), or (tokens, batch, features).
    keys = key.shape[0] if key.ndim == 2 else key.shape[1 if layer.batch_first else 0]
    rows = query.numel() // query.shape[-1]
    # Every sequence of the sample has its own keys: their number in all is the number of value vectors.
    states = [value.state for value in inputs]
    counts = (rows, keys, key.numel() // key.shape[-1])
    heads = [_head(layer, index, states, counts, masked) for index in range(layer.num_heads)]
    joined, weights = heads[0]
    for head, its_weights in heads[1:]:
        joined = joined.stacked(head)
        weights = weights.stacked(its_weights)
    read = linear_class(layer.out_proj.weight, layer.out_proj.bias, rows)
    result = Tracked(joined.then(read), out[0])
    if out[1] is None:
        return (result, None)
    # The mean over heads is the stacked vector under a map of norm 1 / sqrt(heads).
    averaged = out[1].numel() == rows * keys
    factor = UP / math.sqrt(layer.num_heads) if averaged else 1.0
    return (result, Tracked(weights.scaled(factor), out[1]))


@handles(nn.TransformerEncoderLayer)
def _encoder_layer(layer, arguments, keywords, out):
    """Attention and a two-layer map, each with a residual connection and a LayerNorm."""
    x = arguments[0] if arguments else keywords.get("src")
    if len(arguments) > 1 or any(_asked(*item) for item in keywords.items()):
        raise TypeError("TransformerEncoderLayer with a mask has no rule; write the layer out.")

    def attend(value):
        (result, _) = yield (layer.self_attn, (value, value, value), {"need_weights": False})
        return (yield (layer.dropout1, (result,), {}))

    def feed(value):
        value = yield (layer.linear1, (value,), {})
        value = yield (_activation_module(layer.activation), (value,), {})
        value = yield (layer.dropout, (value,), {})
        value = yield (layer.linear2, (value,), {})
        return (yield (layer.dropout2, (value,), {}))

    for branch, norm in ((attend, layer.norm1), (feed, layer.norm2)):
        if layer.norm_first:
            inner = yield (norm, (x,), {})
            change = yield from branch(inner)
            x = Tracked(x.state + change.state, x.tensor + change.tensor)
        else:
            change = yield from branch(x)
            x = yield (norm, (Tracked(x.state + change.state, x.tensor + change.tensor),), {})
    return x


def _asked(name, value):
    return name != "src" and value is not None and value is not False


def _activation_module(function):
    known = {nn.functional.relu: nn.ReLU, nn.functional.gelu: nn.GELU}
    if isinstance(function, nn.Module):
        return function
    if function not in known:
        raise TypeError(f"TransformerEncoderLayer with the activation {function!r} has no rule.")
    return known[function]()


@handles(nn.TransformerEncoder)
def _encoder(layer, arguments, keywords, out):
    """The layers one after the other."""
    x = arguments[0] if arguments else keywords.get("src")
    if len(arguments) > 1 or any(_asked(*item) for item in keywords.items()):
        raise TypeError("TransformerEncoder with a mask has no rule; write the layers out.")
    for child in [*layer.layers, *([] if layer.norm is None else [layer.norm])]:
        x = yield (child, (x,), {})
    return x
