"""Modules of a stranger: each has constants that a search does not exceed, or is refused in a sentence."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import neuinv
from neuinv.lipschitz.faithful import float64_twin
from neuinv.lipschitz.norms import vector_upper

ROUNDING = 1 + 1e-9


class Applied(nn.Module):
    """A function of itself and of a tensor; its constants are buffers, its layers submodules."""

    def __init__(self, function, **parts):
        super().__init__()
        self.function = function
        for name, part in parts.items():
            if isinstance(part, nn.Module):
                setattr(self, name, part.double().eval())
            else:
                self.register_buffer(name, torch.as_tensor(part, dtype=torch.float64))

    def forward(self, x):
        return self.function(self, x)


def outputs(value):
    """Return the tensors of an output as one vector."""
    if isinstance(value, torch.Tensor):
        return value.double().flatten()
    value = value.values() if isinstance(value, dict) else value
    return torch.cat([outputs(item) for item in value])


def worst_ratio(module, shape, radius=2.0):
    """Return measured / proved over c, L and both bounds on a ball, by pairs and by the Jacobian."""
    found = neuinv.lipschitz_class(module, input_shape=shape)
    local = neuinv.lipschitz_bound(module, radius, input_shape=shape)
    generator = torch.Generator().manual_seed(0)
    ratios = [outputs(module(torch.zeros(1, *shape, dtype=torch.float64))).norm() / max(found.c, 1e-300)]
    for size in (1e-3, 0.3, 1.0, radius):
        x = torch.randn(1, *shape, generator=generator, dtype=torch.float64)
        x *= size / x.norm()
        jacobian = torch.autograd.functional.jacobian(lambda x: outputs(module(x)), x).flatten(1)
        slope = torch.linalg.matrix_norm(jacobian, 2)
        ratios += [slope / (found.L * max(1, size) ** found.p), slope / local.lipschitz]
        ratios += [outputs(module(x)).norm() / local.norm]
    return max(float(torch.as_tensor(ratio).detach()) for ratio in ratios)


def group_norm(layer):
    """Give the first channel a weight of 5 and the others 0."""
    layer.weight.data = torch.tensor([5.0] + [0.0] * (len(layer.weight) - 1), dtype=torch.float64)
    return layer.double()


def biased(layer):
    """Shift a linear layer's bias by 5."""
    layer.bias.data += 5
    return layer


HELD = {
    "nested outputs": (lambda: Applied(lambda s, x: (x, (10 * x,))), (3,)),
    "nested dict": (
        lambda: nn.Sequential(
            Applied(lambda s, x: {"a": {"b": 3 * x}}), Applied(lambda s, value: value["a"]["b"])
        ),
        (3,),
    ),
    "maximum, broadcast": (lambda: Applied(lambda s, x: torch.maximum(x[..., :1], x - 9)), (9,)),
    "maximum, repeated": (lambda: Applied(lambda s, x: torch.maximum(x, s.b), b=-9 * torch.ones(9)), (1,)),
    "maximum, constant first": (lambda: Applied(lambda s, x: torch.maximum(s.b, x), b=[5.0] * 3), (3,)),
    "minimum, by name": (lambda: Applied(lambda s, x: torch.minimum(x, other=s.b), b=[-5.0] * 3), (3,)),
    "einsum, repeated": (lambda: Applied(lambda s, x: torch.einsum("bj,j->b", x, s.b), b=[1.0]), (5,)),
    "softmax without a batch": (lambda: Applied(lambda s, x: x[0].softmax(0)[None]), (3,)),
    "Linear on merged samples": (
        lambda: Applied(lambda s, x: s.f(x.flatten(0, 1)).unflatten(0, (-1, 5)), f=biased(nn.Linear(3, 3))),
        (5, 3),
    ),
    "Conv on merged samples": (
        lambda: Applied(
            lambda s, x: s.f(x.flatten(0, 1)).unflatten(0, (-1, 5)), f=biased(nn.Conv1d(2, 2, 2))
        ),
        (5, 2, 4),
    ),
    "Sigmoid on merged samples": (
        lambda: Applied(lambda s, x: s.f(x.flatten(0, 1)).unflatten(0, (-1, 5)), f=nn.Sigmoid()),
        (5, 3),
    ),
    "GroupNorm, as many channels as entries": (lambda: group_norm(nn.GroupNorm(2, 4, eps=0.1)), (4, 2)),
    "InstanceNorm, as many channels as positions": (
        lambda: group_norm(nn.InstanceNorm1d(3, affine=True, eps=0.1)),
        (3, 3),
    ),
    "average pool, ceil_mode": (lambda: Applied(lambda s, x: F.avg_pool2d(x, 2, ceil_mode=True)), (1, 3, 3)),
    "average pool, divisor": (
        lambda: Applied(lambda s, x: F.avg_pool2d(x, 2, divisor_override=1)),
        (1, 4, 4),
    ),
    "weight norm": (lambda: nn.utils.parametrizations.weight_norm(nn.Linear(3, 3)).double(), (3,)),
    "one map twice": (lambda: nn.Sequential(*[nn.Linear(3, 3)] * 2).double(), (3,)),
    "by name": (lambda: Applied(lambda s, x: s.f(input=x), f=nn.Sequential(nn.Linear(3, 3))), (3,)),
}


@pytest.mark.parametrize("name", HELD)
def test_what_is_returned_is_not_exceeded(name):
    make, shape = HELD[name]
    torch.manual_seed(0)
    assert worst_ratio(make(), shape) <= ROUNDING


def test_the_search_of_this_file_catches_a_constant_that_is_one_percent_low(monkeypatch):
    """Negative control: each constant of a linear map, lowered."""
    from neuinv.lipschitz import placing

    linear = nn.Linear(3, 3).double()
    assert worst_ratio(linear, (3,)) <= ROUNDING
    exact = placing.class_on

    def lowered(layer, rule, tensor):
        found = exact(layer, rule, tensor)
        return neuinv.LipschitzClass.from_logs(found.log_c - 0.01, found.log_L - 0.01, found.p)

    monkeypatch.setattr("neuinv.lipschitz.walk.class_on", lowered)
    assert worst_ratio(linear, (3,)) > 1.005


class CalledTwice(nn.Linear):
    """A layer whose call is not its forward."""

    def __call__(self, x):
        return super().__call__(super().__call__(x))


class Scaled(nn.Conv1d):
    """A convolution with its own kernel."""

    def _conv_forward(self, x, weight, bias):
        return 10 * super()._conv_forward(x, weight, bias)


class Counting(nn.Module):
    """A map that grows from call to call."""

    def __init__(self):
        super().__init__()
        self.register_buffer("count", torch.zeros(1, dtype=torch.float64))

    def forward(self, x):
        self.count.add_(1)
        return self.count * x


class Starred(nn.Module):
    """A forward of any number of inputs."""

    def forward(self, *inputs):
        return inputs[0]


def on_the_instance():
    """Return a linear layer whose instance has a forward of its own."""
    layer = nn.Linear(3, 3)
    layer.forward = lambda x: 100 * x
    return layer


def masked_heads():
    """Return attention whose mask depends on the input."""
    heads = nn.MultiheadAttention(4, 1, batch_first=True)
    return Applied(lambda s, x: s.f(x, x, x, attn_mask=x[0])[0], f=heads)


REFUSED = {
    "item": (lambda: Applied(lambda s, x: x * x.sum().item()), (3,), "item turns values"),
    "tolist": (lambda: Applied(lambda s, x: x * x.tolist()[0][0]), (3,), "tolist turns values"),
    "allclose": (lambda: Applied(lambda s, x: x + 9 * torch.allclose(x, 0 * x)), (3,), "allclose turns"),
    "copied dict": (
        lambda: nn.Sequential(Applied(lambda s, x: {"a": x}), Applied(lambda s, v: v.copy()["a"])),
        (3,),
        "copy turns values",
    ),
    "out=": (
        lambda: Applied(lambda s, x: (torch.mul(x, 7.0, out=s.b), s.b)[1], b=[[0.0] * 3]),
        (3,),
        "out=",
    ),
    "full_like": (lambda: Applied(lambda s, x: torch.full_like(x, x.sum())), (3,), "full_like"),
    "complex": (lambda: Applied(lambda s, x: (x * 1j).abs()), (3,), "complex values"),
    "integer sum": (lambda: Applied(lambda s, x: x.sum(-1, dtype=torch.int64)), (3,), "jumps"),
    "bits": (lambda: Applied(lambda s, x: x.view(torch.int64)), (3,), "reads bits"),
    "branch on the type": (
        lambda: Applied(lambda s, x: 100 * x if isinstance(x, torch.Tensor) else x),
        (3,),
        "differs from its own trace",
    ),
    "random": (lambda: Applied(lambda s, x: x * torch.rand(3)), (3,), "is random, keeps a state"),
    "a state": (Counting, (3,), "keeps a state"),
    "spectral norm in training": (
        lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(3, 3)).train(),
        (3,),
        "keeps a state",
    ),
    "any number of inputs": (Starred, (3,), "one by one"),
    "forward of the instance": (on_the_instance, (3,), "on the instance"),
    "__call__": (lambda: CalledTwice(3, 3), (3,), "overrides __call__"),
    "_conv_forward": (lambda: Scaled(2, 2, 3), (2, 600), "conv1d has no rule"),
    "CELU": (lambda: nn.CELU(-1.0), (3,), "alpha > 0"),
    "mask of the input": (
        lambda: Applied(lambda s, x: F.scaled_dot_product_attention(x, x, x, attn_mask=9 * x)),
        (3, 3),
        "mask that depends on the input",
    ),
    "mask of heads": (masked_heads, (4, 4), "mask that depends on the input"),
    "indices": (lambda: nn.MaxPool1d(2, return_indices=True), (1, 4), "several outputs"),
    "random channels": (lambda: Applied(lambda s, x: F.dropout2d(x, 0.5)), (4, 4, 4), "random"),
    "unbatched": (
        lambda: Applied(lambda s, x: s.f(x[:, 0]), f=nn.Conv1d(1, 2, 3)),
        (1, 2000),
        "without a batch",
    ),
    "moved batch": (
        lambda: Applied(lambda s, x: s.f(x.transpose(0, 1)), f=nn.Softmax(0)),
        (3,),
        "negative dim",
    ),
    "batch mean": (lambda: Applied(lambda s, x: x - x.mean(0)), (3,), "depend on one another"),
    "tokens as batch": (
        lambda: nn.TransformerEncoderLayer(4, 2, 8).eval(),
        (3, 4),
        "batch_first=False",
    ),
    "tensor limits": (lambda: Applied(lambda s, x: x.clamp(min=s.b), b=[1.0, 2.0]), (2,), "use numbers"),
    "NaN": (lambda: Applied(lambda s, x: x + s.b, b=math.nan), (3,), "NaN or infinite"),
    "NaN factor": (lambda: Applied(lambda s, x: x * s.b, b=math.nan), (3,), "finite constants"),
    "tuples": (lambda: Applied(lambda s, x: (x.chunk(3, -1) + x.chunk(3, -1))[0]), (3,), "collections"),
    "nothing": (lambda: Applied(lambda s, x: x.shape), (3,), "returns no tensor"),
    "power": (lambda: Applied(lambda s, x: x ** float("nan")), (3,), "no finite number"),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("on_a_ball", [False, True])
def test_what_cannot_be_proved_is_refused_in_a_sentence(name, on_a_ball):
    make, shape, message = REFUSED[name]
    with pytest.raises((TypeError, ValueError), match=message) as caught:
        if on_a_ball:
            neuinv.lipschitz_bound(make().double(), 1.0, input_shape=shape)
        else:
            neuinv.lipschitz_class(make().double(), input_shape=shape)
    assert str(caught.value).endswith((".", ")"))


def test_a_layer_made_on_the_way_is_not_taken_for_one_that_is_gone():
    """Two encoder layers whose activations are functions: the second one's GELU has its own constant."""
    torch.manual_seed(0)
    layers = [
        nn.TransformerEncoderLayer(2, 1, 2, batch_first=True, activation=name, norm_first=True)
        for name in ("relu", "gelu", "gelu")
    ]
    mixed = neuinv.lipschitz_class(nn.Sequential(*layers).double().eval(), input_shape=(2, 2))
    alone = [neuinv.lipschitz_class(layer.double().eval(), input_shape=(2, 2)) for layer in layers]
    assert mixed.log_L == pytest.approx(alone[0].then(alone[1]).then(alone[2]).log_L)


def test_a_twin_keeps_ties_and_shares_no_storage():
    first, second = nn.Linear(3, 3), nn.Linear(3, 3)
    second.weight = first.weight
    network = nn.Sequential(first, first, second).double()
    twin = float64_twin(network)
    assert twin[0] is twin[1] and twin[0].weight is twin[2].weight
    assert twin[0].weight.data_ptr() != first.weight.data_ptr()


@pytest.mark.parametrize("value", [1e-200, 1e200, 3.0])
def test_the_norm_of_a_vector_neither_underflows_nor_overflows(value):
    assert value * math.sqrt(2) <= vector_upper(torch.full((2,), value, dtype=torch.float64)) <= 1.42 * value


@pytest.mark.parametrize("factor", [0.7, 1 / 3, 1e-300, -5.3])
def test_a_number_is_not_rounded_to_single_precision(factor):
    for function in (lambda s, x: factor * x, lambda s, x: x / (1 / factor)):
        found = neuinv.lipschitz_class(Applied(function), input_shape=(3,)).L
        assert abs(factor) * (1 - 1e-15) <= found <= abs(factor) * (1 + 1e-12)
