"""The best known scheme meets its tolerance, with the fewest products, or says that none can."""

import itertools
import math

import pytest
import torch

import neuinv
from neuinv.iterations import (
    Chebyshev,
    ComposedChebyshev,
    Hyperpower,
    NewtonSchulz,
    ScaledNewtonSchulz,
    best_scheme,
    lower_bound_matmuls,
)

KINDS = ("spd", "general")
KAPPAS = (1.0, 1.5, 10.0, 1e2, 1e3, 1e4)
TOLERANCES = (0.5, 1e-2, 1e-4, 1e-6, 1e-12)


def others(num_matmuls, kind):
    """Return many schemes that take at most so many products."""
    schemes = [
        *(Chebyshev(d, kind) for d in range(1, num_matmuls + 3)),
        *(NewtonSchulz(k, kind) for k in range(num_matmuls)),
        *(ScaledNewtonSchulz(k, kind) for k in range(num_matmuls)),
        *(Hyperpower(k, r, kind) for k in range(num_matmuls) for r in (3, 4, 5, 7)),
        *(
            ComposedChebyshev(stages, kind)
            for length in (1, 2, 3)
            for stages in itertools.product((2, 3, 5, 9), repeat=length)
        ),
    ]
    return [scheme for scheme in schemes if scheme.num_matmuls <= num_matmuls]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("kappa", KAPPAS)
@pytest.mark.parametrize("tolerance", TOLERANCES)
def test_the_best_scheme_meets_the_tolerance_and_no_other_scheme_does_with_fewer_products(
    kind, kappa, tolerance
):
    scheme = best_scheme(kappa, tolerance, kind)
    assert scheme.kind == kind and scheme.worst_residual(kappa) <= tolerance
    assert scheme.num_matmuls >= lower_bound_matmuls(kappa, tolerance, kind)
    fewer = others(scheme.num_matmuls - 1, kind)
    assert all(other.worst_residual(kappa) > tolerance for other in fewer)
    # Ties go to the smaller residual.
    equal = [s for s in others(scheme.num_matmuls, kind) if s.num_matmuls == scheme.num_matmuls]
    least = min([s.worst_residual(kappa) for s in equal], default=math.inf)
    assert scheme.worst_residual(kappa) <= least * (1 + 1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tolerance", [1e-2, 1e-6])
@pytest.mark.parametrize("seed", range(2))
def test_random_matrices_keep_the_tolerance(kind, tolerance, seed):
    kappa = 30.0
    scheme = neuinv.best_scheme(kappa, tolerance, kind)
    A = neuinv.family("prescribed-spectrum", n=16, kappa=kappa, kind=kind).sample(20, seed=seed)
    X = scheme(A, (1 / kappa, 1.0))
    residual = neuinv.right_residual(A, X)
    assert (residual <= tolerance + 1e3 * kappa * torch.finfo(A.dtype).eps).all()
    assert neuinv.count_matmuls(lambda A: scheme(A, (1 / kappa, 1.0)), A) == scheme.num_matmuls
    # Negative control: on a wider spectrum the same call misses the tolerance.
    wide = neuinv.family("prescribed-spectrum", n=16, kappa=100 * kappa, kind=kind).sample(20, seed=seed)
    assert neuinv.right_residual(wide, scheme(wide, (1 / kappa, 1.0))).max() > tolerance


@pytest.mark.parametrize("stages", [(3,), (5, 9), (9, 9, 2), (2, 3, 5)])
@pytest.mark.parametrize("kind", KINDS)
def test_composed_stages_are_the_chebyshev_polynomial_of_the_product_of_their_degrees(stages, kind):
    """T_a(T_b) = T_ab, in whichever order."""
    low, high = 1e-3, 1.0
    values = torch.logspace(math.log10(low), 0, 20, dtype=torch.float64)
    A = torch.diag(values)
    X = ComposedChebyshev(stages, kind)(A, (low, high))
    Y = Chebyshev(math.prod(stages), kind)(A, (low, high))
    assert (X - Y).abs().max() < 1e-10 * Y.abs().max()
    # Negative control: one degree off.
    Z = Chebyshev(math.prod(stages) + 1, kind)(A, (low, high))
    assert (X - Z).abs().max() > 1e-6 * Y.abs().max()


@pytest.mark.parametrize("kappa", [1e3, 1e6])
@pytest.mark.parametrize("stages", [(9, 9, 9), (9, 5, 5, 3), (2, 9, 9, 9)])
def test_rounding_does_not_spoil_a_composition_on_a_long_interval(kappa, stages):
    scheme = ComposedChebyshev((*stages, 9, 9))
    A = neuinv.family("prescribed-spectrum", n=30, kappa=kappa, kind="spd").sample(4, seed=0)
    residual = neuinv.right_residual(A, scheme(A, (1 / kappa, 1.0)))
    assert (residual <= scheme.worst_residual(kappa) + 1e-14 * kappa * 30).all()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((0.5, 1e-2), ValueError, "kappa is 0.5; pass a finite"),
        ((10.0, 0.0), ValueError, "tolerance is 0; pass a positive"),
        ((10.0, "x"), TypeError, "tolerance is 'x'; pass a positive number"),
        ((10.0, 1e-2, "covariant"), ValueError, "kind is 'covariant'; use one of spd, general"),
        ((10.0, 1e-2, "spd", torch.int32), TypeError, "dtype is torch.int32; pass one of"),
        ((1e4, 1e-4, "spd", torch.float32), ValueError, "tolerance is 0.0001, below u kappa = 0.0006"),
        ((100.0, 1e-2, "general", torch.bfloat16), ValueError, "use a dtype of more digits"),
    ],
)
def test_a_tolerance_that_cannot_be_met_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        best_scheme(*arguments)
    assert best_scheme(10.0, 1e-2, "spd", torch.float32) == best_scheme(10.0, 1e-2)


@pytest.mark.parametrize(
    ("kind", "kappa", "tolerance"),
    [("spd", 10.0, 1e-4), ("spd", 100.0, 1e-3), ("spd", 100.0, 1e-4), ("general", 10.0, 1e-4)],
)
def test_a_scheme_chosen_for_float32_meets_its_tolerance_in_float32(kind, kappa, tolerance):
    A = neuinv.family("prescribed-spectrum", n=64, kappa=kappa, kind=kind).sample(30, seed=0).float()
    scheme = best_scheme(kappa, tolerance, kind, torch.float32)
    X = scheme(A, (1 / kappa, 1.0))
    assert neuinv.right_residual(A.double(), X.double()).max() <= tolerance
    exact = best_scheme(kappa, tolerance, kind)
    assert exact.num_matmuls <= scheme.num_matmuls <= exact.num_matmuls + 6


def test_the_scheme_of_exact_arithmetic_may_miss_the_tolerance_in_float32():
    """Negative control of the choice above: its only stage rounds like kappa squared."""
    A = neuinv.family("prescribed-spectrum", n=64, kappa=10.0, kind="general").sample(30, seed=0).float()
    X = best_scheme(10.0, 1e-4, "general")(A, (0.1, 1.0))
    assert neuinv.right_residual(A.double(), X.double()).max() > 1e-4


@pytest.mark.parametrize(
    ("stages", "error", "message"),
    [
        ([9], TypeError, r"stages is \[9\]; pass a tuple"),
        ((), ValueError, "stages has 0 entries"),
        ((4,), ValueError, "stages has the degree 4; use 2, 3, 5 or 9"),
        ((2.0,), TypeError, "a degree in stages is 2.0"),
    ],
)
def test_stages_that_do_not_exist_are_refused(stages, error, message):
    with pytest.raises(error, match=message):
        ComposedChebyshev(stages)
