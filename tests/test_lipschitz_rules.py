"""One rule per layer: valid against search, sharp where it is said to be, refused where the class is left."""

import math
from unittest import mock

import pytest
import torch
from torch import nn

import neuinv
from neuinv.lipschitz import OutsideClass, Rung, measured
from neuinv.lipschitz.examples import example_layers, tightness_table
from neuinv.lipschitz.norms import (
    dense_upper,
    kernel_upper,
    padding_multiplicity,
    spectral_upper,
    windows_over_an_entry,
)
from neuinv.lipschitz.pointwise import ACTIVATIONS

LAYERS = example_layers()
ROUNDING = 1 + 1e-6


@pytest.mark.parametrize("name", LAYERS)
def test_a_layers_constant_is_never_exceeded_and_is_attained_where_it_is_sharp(name):
    (row,) = tightness_table({name: LAYERS[name]}, count=32, num_steps=40)
    assert row.ratio <= ROUNDING
    if row.sharp:
        assert row.ratio >= 0.99
        # Negative control: a constant lowered by 5 % is caught.
        assert row.measured > 0.95 * row.L * ROUNDING


@pytest.mark.parametrize("name", LAYERS)
def test_the_bound_on_a_ball_holds_there_and_is_no_worse_than_the_class(name):
    layer, shape, radius, _ = LAYERS[name]
    bound = neuinv.lipschitz_bound(layer, radius, input_shape=shape)
    found = measured.sampled_lower_bound(layer, shape, radius=radius, seed=1, count=16, num_steps=20)
    assert found.value <= bound.lipschitz * ROUNDING
    x = measured._ball(200, shape, radius, torch.Generator().manual_seed(2))
    with torch.no_grad():
        assert (measured._lengths(layer(x)) <= bound.norm * ROUNDING).all()
    whole = neuinv.lipschitz_class(layer, input_shape=shape).restrict(radius)
    assert bound.lipschitz <= whole.lipschitz * ROUNDING


def test_a_rule_with_half_its_constant_is_caught():
    """Negative control of the search itself, on a product where nothing is sharp by design."""
    layer, shape, radius, _ = LAYERS["Bilinear"]
    found = neuinv.lipschitz_class(layer, input_shape=shape)
    value = measured.sampled_lower_bound(layer, shape, radius=radius, p=found.p, seed=0).value
    assert value > found.L / 2


def slope(name, x, *parameters):
    """Return the derivative of an activation by its functional form, elementwise."""
    home = nn.functional if hasattr(nn.functional, name) else torch
    if name in ("gelu",):
        parameters = ()
    x = x.clone().requires_grad_(True)
    (found,) = torch.autograd.grad(getattr(home, name)(x, *parameters).sum(), x)
    return found


@pytest.mark.parametrize("name", [name for name in ACTIVATIONS if name not in ("clamp",)])
def test_an_activations_constants_hold_on_a_fine_grid_and_its_slope_is_attained(name):
    x = torch.linspace(-30, 30, 600_001, dtype=torch.float64)
    constants = ACTIVATIONS[name]()
    home = nn.functional if hasattr(nn.functional, name) else torch
    values = getattr(home, name)(x)
    largest = slope(name, x).abs().max().item()
    # torch writes 1/6 of hardsigmoid's derivative in single precision.
    assert largest <= constants.slope * (1 + 1e-7) and largest >= 0.9999 * constants.slope
    assert values.abs().max() <= constants.bound
    at_zero = getattr(home, name)(torch.zeros(1, dtype=torch.float64)).abs().item()
    assert 0.999999 * constants.at_zero <= at_zero <= constants.at_zero


def ball_supremum(slope_of, ceiling, low, high):
    """Return whether ball arithmetic proves slope <= ceiling on [low, high], by bisection."""
    flint = pytest.importorskip("flint")
    waiting, checked = [(flint.fmpq(low), flint.fmpq(high))], 0
    while waiting and checked < 200_000:
        a, b = waiting.pop()
        checked += 1
        middle = (a + b) / 2
        x = flint.arb(middle) + flint.arb(0, 1) * flint.arb((b - a) / 2)
        if slope_of(x) < ceiling:
            continue
        if b - a < flint.fmpq(1, 10**9):
            return False
        waiting += [(a, middle), (middle, b)]
    return not waiting


def gelu_tanh_slope(x):
    """The derivative of the tanh form of GELU, in ball arithmetic."""
    from flint import arb

    k = (2 / arb.pi()).sqrt()
    t = (k * (x + arb("0.044715") * x * x * x)).tanh()
    return (1 + t) / 2 + x / 2 * (1 - t * t) * k * (1 + 3 * arb("0.044715") * x * x)


def mish_slope(x):
    """The derivative of x tanh(log(1 + e^x)), in ball arithmetic."""
    w = (1 + x.exp()).log().tanh()
    return w + x * (1 - w * w) / (1 + (-x).exp())


@pytest.mark.parametrize(
    ("name", "slope_of"), [("gelu", gelu_tanh_slope), ("mish", mish_slope)], ids=["gelu", "mish"]
)
def test_ball_arithmetic_proves_the_two_constants_that_have_no_closed_form(name, slope_of):
    """The slope is between -1 and the constant on [-8, 8]; beyond, it is within 1e-2 of 0 or 1."""
    flint = pytest.importorskip("flint")
    ceiling = ACTIVATIONS[name](*["tanh"] * (name == "gelu")).slope
    assert ball_supremum(slope_of, flint.arb(ceiling), -8, 8)
    assert ball_supremum(lambda x: -slope_of(x), flint.arb(1), -8, 8)
    # Negative control: one part in a million less is not provable, because it is false.
    assert not ball_supremum(slope_of, flint.arb(ceiling * (1 - 1e-6)), 1, 2)


def test_the_spectral_bound_holds_in_exact_arithmetic_and_is_tight():
    """M = 3 u v^T / (|u| |v|) in integers: the exact norm is known."""
    generator = torch.Generator().manual_seed(0)
    for n in (1, 2, 30):
        M = torch.randn(n, n + 1, generator=generator, dtype=torch.float64)
        exact = torch.linalg.svdvals(M)[0].item()
        assert exact * (1 - 1e-15) <= spectral_upper(M) <= exact * (1 + 1e-10)
    Q, _ = torch.linalg.qr(torch.randn(40, 40, generator=generator, dtype=torch.float64))
    assert 1 <= spectral_upper(torch.eye(7)) <= 1 + 1e-12
    assert spectral_upper(Q) >= torch.linalg.vector_norm(Q @ torch.ones(40).double()) / math.sqrt(40) - 1e-15
    assert spectral_upper(torch.zeros(3, 2)) == 0
    for scale in (1e-300, 1e300):
        assert spectral_upper(scale * torch.eye(3).double()) == pytest.approx(scale)
    with pytest.raises(ValueError, match="NaN or infinite"):
        spectral_upper(torch.tensor([[math.nan]]))


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("groups", [1, 2])
def test_the_symbol_bounds_a_convolution_on_every_grid(stride, dilation, groups):
    torch.manual_seed(stride + 3 * dilation + 9 * groups)
    layer = nn.Conv2d(4, 2, 3, stride=stride, dilation=dilation, padding=2, groups=groups).double()
    upper = kernel_upper(layer.weight, groups)
    for size in (5, 8, 14):
        assert dense_upper(layer, (4, size, size)) <= upper * (1 + 1e-9)
    transposed = nn.ConvTranspose2d(2, 4, 3, stride=stride, groups=groups).double()
    assert dense_upper(transposed, (2, 6, 6)) <= kernel_upper(transposed.weight, groups) * (1 + 1e-9)


def test_the_symbol_is_attained_on_large_grids_and_half_of_it_is_exceeded():
    torch.manual_seed(0)
    layer = nn.Conv1d(1, 1, 5, padding=2).double()
    upper = kernel_upper(layer.weight)
    assert 0.99 * upper <= dense_upper(layer, (1, 400)) <= upper
    assert dense_upper(layer, (1, 40)) > upper / 2


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_padding_that_repeats_entries_is_counted(mode):
    torch.manual_seed(1)
    layer = nn.Conv2d(2, 2, 3, padding=1, padding_mode=mode).double()
    exact = neuinv.lipschitz_class(layer, input_shape=(2, 5, 5)).L
    with mock.patch("neuinv.lipschitz.layers.dense_upper", return_value=None):
        general = neuinv.lipschitz_class(layer, input_shape=(2, 5, 5)).L
    assert exact <= general
    assert padding_multiplicity((4,), (2, 2), "replicate") == 3


@pytest.mark.parametrize(
    ("kernel", "stride", "dilation"), [(3, 1, 1), (3, 2, 1), (5, 2, 2), (4, 3, 2), (3, 4, 2)]
)
def test_windows_over_an_entry_are_counted_as_by_hand(kernel, stride, dilation):
    reads = [i * stride + j * dilation for i in range(60) for j in range(kernel)]
    assert windows_over_an_entry((kernel,), (stride,), (dilation,)) == max(map(reads.count, range(20, 50)))


@pytest.mark.parametrize("pool", [nn.AvgPool2d(3, 2, 1), nn.AvgPool2d(2, ceil_mode=True), nn.AvgPool2d(3, 1)])
def test_the_bound_of_a_large_average_pool_exceeds_that_of_its_matrix(pool):
    exact = neuinv.lipschitz_class(pool, input_shape=(1, 7, 7)).L
    with mock.patch("neuinv.lipschitz.pooling.dense_upper", return_value=None):
        assert exact <= neuinv.lipschitz_class(pool, input_shape=(1, 7, 7)).L * (1 + 1e-9)


def test_attention_has_the_constant_of_its_derivation():
    from neuinv.networks import DotProductAttention

    generator = torch.Generator().manual_seed(0)
    W, V = 3 * torch.randn(2, 4, 4, generator=generator, dtype=torch.float64)
    found = neuinv.lipschitz_class(DotProductAttention(W, V), input_shape=(5, 4))
    w, v = (torch.linalg.matrix_norm(M, 2).item() for M in (W, V))
    assert found.p == 2 and found.c == 0
    assert found.L == pytest.approx(v * (w + math.sqrt(5)), rel=1e-9)
    local = neuinv.lipschitz_bound(DotProductAttention(W, V), 7.0, input_shape=(5, 4))
    assert local.lipschitz == pytest.approx(v * (49 * w + math.sqrt(5)), rel=1e-9)


class Applied(nn.Module):
    """A function of tensors as a network."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


@pytest.mark.parametrize(
    ("module", "rung", "message"),
    [
        (nn.LayerNorm(3, eps=0.0), Rung.LOCALLY_BOUNDED, "LayerNorm with eps = 0"),
        (nn.RMSNorm(3, eps=0.0), Rung.LOCALLY_BOUNDED, "RMSNorm with eps = 0"),
        (nn.Hardshrink(), Rung.LOCALLY_BOUNDED, "hard gate"),
        (nn.Softplus(threshold=1), Rung.LOCALLY_BOUNDED, "jumps"),
        (Applied(lambda x: x / (1 + x.sum())), Rung.OFF, "depends on the input"),
        (Applied(lambda x: 1 / x), Rung.OFF, "depends on the input"),
        (Applied(lambda x: x**-1), Rung.OFF, "pole at 0"),
        (Applied(torch.sqrt), Rung.CONTINUOUS, "slope at 0 is infinite"),
        (Applied(lambda x: x**0.5), Rung.CONTINUOUS, "root"),
        (Applied(torch.exp), Rung.LOCALLY_LIPSCHITZ, "faster than every polynomial"),
        (Applied(torch.sign), Rung.LOCALLY_BOUNDED, "jumps"),
        (Applied(lambda x: torch.where(x > 0, x, 0 * x)), Rung.LOCALLY_BOUNDED, "gt selects"),
        (Applied(lambda x: torch.topk(x, 2).values), Rung.LOCALLY_BOUNDED, "topk selects"),
        (Applied(torch.linalg.inv), Rung.OFF, "singular matrices"),
        (Applied(lambda x: x.to(torch.int64)), Rung.LOCALLY_BOUNDED, "jumps"),
        (Applied(lambda x: nn.functional.normalize(x, eps=0)), Rung.LOCALLY_BOUNDED, "eps = 0"),
    ],
)
def test_what_leaves_the_class_is_refused_with_its_rung(module, rung, message):
    with pytest.raises(OutsideClass, match=message) as caught:
        neuinv.lipschitz_class(module, input_shape=(3, 3))
    assert caught.value.rung is rung and isinstance(caught.value, TypeError)
    assert rung.value in str(caught.value)


@pytest.mark.parametrize(
    "layer", [nn.Dropout(0.5), nn.BatchNorm1d(3), nn.MultiheadAttention(3, 1, dropout=0.1)], ids=str
)
def test_a_layer_in_training_mode_is_refused(layer):
    module = nn.Sequential(nn.Linear(3, 3), layer) if not isinstance(layer, nn.MultiheadAttention) else None
    module = module or Applied(lambda x: layer(x, x, x)[0])
    module.inner = layer
    with pytest.raises((ValueError, TypeError), match=r"training mode|register"):
        neuinv.lipschitz_class(module.train(), input_shape=(3,))
