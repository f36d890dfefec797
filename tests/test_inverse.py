"""What the front door accepts, refuses, says, and costs."""

import numpy as np
import pytest
import torch
from cases import BAD_MATRICES, gaussian

import neuinv
from neuinv import InverseStatus, approximate_inverse
from neuinv.inverse.capped import CappedNewtonSchulz, round_to
from neuinv.metrics import exact_right_residual

UNIT = {torch.float64: 2.0**-53, torch.float32: 2.0**-24}


def prescribed(batch, n, kappa, kind="general", dtype=torch.float64, seed=0, **options):
    family = neuinv.family("prescribed-spectrum", n=n, kappa=kappa, kind=kind, **options)
    return family.sample(batch, seed=seed).to(dtype)


def spectrum(A):
    """Return the singular values' ends, one pair a matrix."""
    sigma = torch.linalg.svdvals(A.double())
    return sigma[..., -1] * (1 - 1e-6), sigma[..., 0] * (1 + 1e-6)


@pytest.mark.parametrize("dtype", UNIT, ids=str)
@pytest.mark.parametrize("kind", ["spd", "general"])
@pytest.mark.parametrize("kappa", [2.0, 30.0, 1000.0])
def test_a_scheme_inverts_within_its_interval_and_one_product_proves_it(kind, kappa, dtype):
    A = prescribed(20, 12, kappa, kind, dtype)
    found = approximate_inverse(A, tolerance=1e-2, kind=kind, interval=(0.9999 / kappa, 1.0001))
    assert found.accepted.all() and (found.status == InverseStatus.SCHEME).all()
    assert found.X.dtype == dtype and found.X.shape == A.shape
    assert (neuinv.right_residual(A, found.X) <= found.residual_bound).all()
    assert (found.residual_bound <= 1e-2).all() and found.num_check_matmuls <= 3.2


@pytest.mark.parametrize("n", [2, 16, 128])
@pytest.mark.parametrize("dtype,kappa", [(torch.float32, 1e3), (torch.float64, 1e6)], ids=str)
@pytest.mark.parametrize("spacing", ["log-uniform", "clustered", "geometric"])
@pytest.mark.parametrize("given", [True, False])
def test_well_conditioned_members_are_accepted_at_ten_units_of_rounding(n, dtype, kappa, spacing, given):
    """Tolerance 10 n u kappa, at least 98 % of the members."""
    for kind in ("spd", "general"):
        A = prescribed(20 if n == 128 else 50, n, kappa, kind, dtype, seed=n, spacing=spacing)
        A = (A + A.mT) / 2 if kind == "spd" else A
        interval = (0.999 / kappa, 1.001) if given else None
        tolerance = 10 * n * UNIT[dtype] * kappa
        found = approximate_inverse(A, tolerance=tolerance, interval=interval, on_refusal="mark")
        assert found.accepted.double().mean() >= 0.98


@pytest.mark.parametrize("kind", ["spd", "general"])
@pytest.mark.parametrize("kappa", [10.0, 1e3, 1e5, 1e6])
@pytest.mark.parametrize("n", [8, 64])
def test_single_precision_reaches_twice_the_residual_of_the_direct_solver(n, kappa, kind):
    A = prescribed(32, n, kappa, kind, torch.float32)
    direct = neuinv.right_residual(A, torch.linalg.inv(A)).max().item()
    found = approximate_inverse(
        A, tolerance=2 * direct, kind=kind, interval=(1 / kappa, 1.0), on_refusal="mark"
    )
    assert found.accepted.all()
    assert not any(status.direct for status in found.status.flat)


@pytest.mark.parametrize("precision,kappa", [("bfloat16", 300.0), ("float16", 1000.0), ("tf32", 1000.0)])
@pytest.mark.parametrize("kind", ["spd", "general"])
@pytest.mark.parametrize("spacing", ["log-uniform", "clustered", "geometric"])
def test_low_precision_reaches_a_thousandth_without_a_direct_solver(precision, kappa, kind, spacing):
    for n in (8, 48):
        A = prescribed(32, n, kappa, kind, torch.float32, spacing=spacing)
        options = {"kind": kind, "interval": (1 / kappa, 1.0), "precision": precision}
        found = approximate_inverse(A, tolerance=1e-3, **options)
        assert not any(status.direct for status in found.status.flat)
        assert (neuinv.right_residual(A, found.X) <= 1e-3).all()


@pytest.mark.parametrize("dtype,kappa", [(torch.bfloat16, 200.0), (torch.float16, 900.0)], ids=str)
def test_matrices_of_16_bits_have_inverses_of_32(dtype, kappa):
    A = prescribed(32, 16, kappa, dtype=dtype)
    found = approximate_inverse(A, tolerance=1e-3, kind="general", interval=spectrum(A))
    assert found.X.dtype == torch.float32 and not any(status.direct for status in found.status.flat)
    # u kappa is above the tolerance: the matrices, taken as exact, are inverted better than they are known.
    assert (found.data_floor > 1e-3).all()
    rounded = approximate_inverse(
        A, tolerance=1e-3, kind="general", interval=spectrum(A), out_dtype=dtype, on_refusal="mark"
    )
    assert not rounded.accepted.any() and rounded.X.dtype == dtype


def test_without_the_cap_low_precision_fails(monkeypatch):
    """Negative control of the cap: with the optimal factors rounding sends eigenvalues below 0."""
    A = prescribed(32, 16, 300.0, dtype=torch.float32)
    options = {"tolerance": 1e-3, "kind": "general", "interval": (1 / 300, 1.0), "precision": "bfloat16"}
    monkeypatch.setattr("neuinv.inverse.capped.CAP", 2.0)
    assert any(status.direct for status in approximate_inverse(A, **options).status.flat)


def test_numbers_of_tf32_have_eleven_bits():
    x = torch.tensor([1.0, 1 + 2.0**-10, 1 + 2.0**-11, 1 + 2.0**-12, -1 - 2.0**-11, 3e38])
    expected = torch.tensor([1.0, 1 + 2.0**-10, 1 + 2.0**-10, 1.0, -1 - 2.0**-10, 3e38])
    assert torch.equal(round_to(x[:5], "tf32"), expected[:5])
    assert ((round_to(x, "tf32") - x).abs() <= 2.0**-11 * x.abs()).all()


@pytest.mark.parametrize("kind", ["spd", "general"])
def test_a_capped_scheme_has_its_residual_in_exact_arithmetic(kind):
    for kappa in (1.0, 5.0, 300.0):
        A = prescribed(10, 8, kappa, kind)
        scheme = CappedNewtonSchulz(kappa, 1e-3, kind, None)
        ends = torch.full((10,), 1 / kappa).double(), torch.ones(10).double()
        assert neuinv.right_residual(A, scheme(A, ends)).max() <= 1.001e-3
        if kappa > 1:
            assert neuinv.count_matmuls(lambda A, s=scheme, e=ends: s(A, e), A) == scheme.num_matmuls


@pytest.mark.parametrize("kind", ["spd", "general"])
def test_announced_products_are_those_counted(kind):
    A = prescribed(6, 10, 50.0, kind)
    found = []

    def call(A):
        found.append(approximate_inverse(A, tolerance=1e-4, kind=kind, interval=(1 / 50, 1.0)))

    counted = neuinv.count_matmuls(call, A)
    assert counted == found[0].num_matmuls + found[0].num_check_matmuls
    assert isinstance(found[0].num_matmuls, int) and found[0].num_check_matmuls == 1


def test_a_wrong_interval_is_caught_and_said():
    A = prescribed(5, 8, 100.0)
    for interval in ((0.5, 1.0), (1e-2, 0.1), (1e3, 1e4), (1e-9, 1e-8), (1e-300, 1e300)):
        found = approximate_inverse(A, tolerance=1e-6, kind="general", interval=interval)
        assert found.accepted.all()
        assert (found.status != InverseStatus.SCHEME).all()
    assert found.status[0] is InverseStatus.DIRECT_INTERVAL and "interval" in found.status[0].value


def test_a_direct_solver_waits_for_the_check_where_an_interval_is_given(monkeypatch):
    def never(A):
        raise AssertionError("a direct solver was used")

    monkeypatch.setattr("neuinv.inverse.search.inverse_or_nan", never)
    A = prescribed(5, 8, 1e4)
    assert approximate_inverse(A, tolerance=1e-6, kind="general", interval=(1e-4, 1.0)).accepted.all()
    with pytest.raises(AssertionError):
        approximate_inverse(A, tolerance=1e-6, kind="general")


def test_a_scheme_beyond_the_cut_gives_way_to_a_direct_solver():
    A = prescribed(5, 8, 1e5)
    found = approximate_inverse(A, tolerance=1e-6)
    assert (found.status == InverseStatus.DIRECT_COST).all() and found.accepted.all()
    assert (approximate_inverse(A, tolerance=1e-6, max_matmuls=60).status != InverseStatus.DIRECT_COST).all()


def test_definite_matrices_are_found_and_cost_less():
    A = torch.stack([prescribed(1, 16, 50.0, "spd")[0], prescribed(1, 16, 50.0, "symmetric")[0]])
    found = approximate_inverse(A, tolerance=1e-4, interval=(1 / 50, 1.0))
    assert found.accepted.all() and found.matmuls[0] < found.matmuls[1]
    assert (found.check_matmuls >= 2).all()


REFUSED = {
    "zero": (torch.zeros(3, 3), 1e-3, InverseStatus.SINGULAR),
    "rank one": (torch.ones(3, 3, dtype=torch.float64), 1e-3, InverseStatus.SINGULAR),
    "nearly singular": (torch.arange(9.0).reshape(3, 3) / 7, 1e-3, InverseStatus.SINGULAR),
    "below the data floor": (prescribed(1, 8, 1e4, dtype=torch.float32)[0], 1e-6, InverseStatus.DATA_FLOOR),
    "overflow": (1e-40 * torch.eye(3), 1e-3, InverseStatus.OVERFLOW),
    "overflow in float64": (5e-324 * torch.eye(2, dtype=torch.float64), 1e-3, InverseStatus.OVERFLOW),
    "subnormal inverse": (1e38 * torch.eye(3), 1e-3, InverseStatus.OVERFLOW),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("interval", [None, (0.01, 1.0)])
def test_what_cannot_be_proved_is_refused_with_a_reason(name, interval):
    A, tolerance, status = REFUSED[name]
    batch = torch.stack([torch.eye(len(A), dtype=A.dtype), A])
    with pytest.raises(neuinv.InversionRefused, match=r"1 of 2 matrices refused .*A\[1\]: Refused") as caught:
        approximate_inverse(batch, tolerance=tolerance, interval=interval)
    assert caught.value.refused == {(1,): status} and isinstance(caught.value, ValueError)
    found = approximate_inverse(batch, tolerance=tolerance, interval=interval, on_refusal="mark")
    assert found.accepted.tolist() == [True, False] and found.status[1] is status and status.refused
    assert (found.X[1] == 0).all() and torch.isfinite(found.X).all()
    assert (
        found.residual_bound[1] == 1 and found.error_bound[1] == torch.inf and found.sigma_min_bound[1] == 0
    )


@pytest.mark.parametrize("scale", [1e-300, 1e-6, 1e6, 1e300])
def test_results_do_not_depend_on_the_unit_of_the_matrix(scale):
    A = prescribed(5, 8, 30.0)
    unit = 2.0 ** round(np.log2(scale))
    plain = approximate_inverse(A, tolerance=1e-8, interval=(1 / 30, 1.0))
    scaled = approximate_inverse(A * unit, tolerance=1e-8, interval=(unit / 30, unit))
    assert torch.equal(scaled.X * unit, plain.X) and torch.equal(scaled.residual_bound, plain.residual_bound)
    # At the largest scale the error is a subnormal number, and its bound is rounded up.
    assert (scaled.error_bound * unit - plain.error_bound).abs().max() <= 1e-7
    assert (scaled.error_bound * unit >= plain.error_bound).all()
    assert torch.equal(scaled.sigma_min_bound / unit, plain.sigma_min_bound)


@pytest.mark.parametrize("tolerance", [1e-1, 1e-4, 1e-9])
def test_the_bounds_that_follow_hold(tolerance):
    """||A^-1 - X|| <= ||X|| r / (1 - r) and sigma_min >= (1 - r) / ||X||."""
    A = prescribed(20, 10, 100.0)
    found = approximate_inverse(A, tolerance=tolerance, interval=(1e-2, 1.0))
    error = neuinv.forward_error(A, found.X, relative=False)
    sigma = neuinv.metrics.smallest_singular_value(A)
    assert (error <= found.error_bound).all() and (sigma >= found.sigma_min_bound * (1 - 1e-9)).all()
    assert (found.sigma_min_bound > 0.1 * sigma).all()


def test_gradients_are_those_of_the_inverse():
    A = prescribed(3, 4, 5.0).requires_grad_(True)
    for interval in ((0.2, 1.0), None):

        def f(A, interval=interval):
            return approximate_inverse(A, tolerance=1e-12, kind="general", interval=interval).X

        assert torch.autograd.gradcheck(f, (A,)) and torch.autograd.gradgradcheck(f, (A,))


def test_the_gradient_of_a_loose_inverse_differs_by_twice_the_residual():
    A = prescribed(3, 6, 20.0).requires_grad_(True)
    found = approximate_inverse(A, tolerance=1e-3, kind="general", interval=(1 / 20, 1.0))
    G = gaussian(3, 6)
    (gradient,) = torch.autograd.grad(found.X, A, G)
    (exact,) = torch.autograd.grad(torch.linalg.inv(A), A, G)
    size = torch.linalg.matrix_norm(torch.linalg.inv(A.detach()), 2) ** 2 * torch.linalg.matrix_norm(G, 2)
    gap = torch.linalg.matrix_norm(gradient - exact, 2) / size
    assert (gap <= 2.1 * found.residual_bound).all() and (gap > 0).all()


def test_refused_matrices_have_gradient_zero():
    A = torch.stack([torch.eye(2), torch.zeros(2, 2)]).double().requires_grad_(True)
    approximate_inverse(A, tolerance=1e-3, on_refusal="mark").X.sum().backward()
    assert (A.grad[1] == 0).all() and (A.grad[0] != 0).any() and torch.isfinite(A.grad).all()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_compiled_function_may_call_it():
    A = prescribed(3, 4, 5.0)
    # The compiler of torch's default backend does not survive a space in its own path.
    backend = "aot_eager" if " " in torch.__file__ else "inductor"
    compiled = torch.compile(lambda A: 2 * approximate_inverse(A / 2, tolerance=1e-10).X @ A, backend=backend)
    assert (compiled(A) - 4 * torch.eye(4)).abs().max() < 1e-8


def test_autocast_changes_neither_result_nor_proof():
    A = prescribed(5, 8, 30.0, dtype=torch.float32)
    plain = approximate_inverse(A, tolerance=1e-4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (A @ A).dtype == torch.bfloat16  # it is on
        cast = approximate_inverse(A, tolerance=1e-4)
    assert torch.equal(cast.X, plain.X) and torch.equal(cast.residual_bound, plain.residual_bound)


def test_shapes_follow_the_batch():
    single = approximate_inverse(torch.eye(3), tolerance=1e-3)
    assert (
        single.X.shape == (3, 3) and single.accepted.shape == () and isinstance(single.status, InverseStatus)
    )
    many = approximate_inverse(
        torch.eye(3).expand(2, 5, 3, 3), tolerance=1e-3, interval=(torch.ones(2, 5), 1.0)
    )
    assert many.X.shape == (2, 5, 3, 3) and many.residual_bound.shape == many.status.shape == (2, 5)


@pytest.mark.parametrize("name", BAD_MATRICES)
def test_bad_matrices_are_refused_at_the_door(name):
    A, error, match = BAD_MATRICES[name]
    with pytest.raises(error, match=match):
        approximate_inverse(A, tolerance=1e-3)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"tolerance": 0.0}, ValueError, "tolerance is 0.0"),
        ({"tolerance": 1.0}, ValueError, "X = 0 has"),
        ({"tolerance": float("nan")}, ValueError, "tolerance is nan"),
        ({"tolerance": "small"}, TypeError, "tolerance is 'small'"),
        ({"kind": "symmetric"}, ValueError, "use one of auto, spd, general"),
        ({"on_refusal": "ignore"}, ValueError, "use one of raise, mark"),
        ({"precision": "int8"}, ValueError, "use one of bfloat16, float16, tf32"),
        ({"out_dtype": torch.int32}, ValueError, "out_dtype is torch.int32"),
        ({"interval": 3.0}, ValueError, "pass a pair"),
        ({"interval": (0.0, 1.0)}, ValueError, "0 < a <= b"),
        ({"interval": (2.0, 1.0)}, ValueError, "0 < a <= b"),
        ({"interval": (torch.ones(3), 1.0)}, ValueError, "pass a pair"),
        ({"max_matmuls": -1}, ValueError, "max_matmuls is -1"),
    ],
    ids=str,
)
def test_bad_options_are_refused_in_a_sentence(options, error, match):
    with pytest.raises(error, match=match):
        approximate_inverse(torch.eye(2).expand(2, 2, 2), **({"tolerance": 1e-3} | options))


def test_low_precision_of_float64_matrices_is_refused():
    with pytest.raises(ValueError, match=r"convert it with A.float\(\)"):
        approximate_inverse(torch.eye(2).double(), tolerance=1e-3, precision="bfloat16")


def test_kind_spd_needs_symmetric_matrices():
    A = torch.tensor([[1.0, 1.0], [0.0, 1.0]])
    for precision in (None, "bfloat16"):
        with pytest.raises(ValueError, match="differs from its transpose"):
            approximate_inverse(A, tolerance=1e-3, kind="spd", interval=(0.1, 2.0), precision=precision)


def test_digits_that_scaling_loses_are_not_forgotten():
    """diag(2^1000, B) with B of size 2^-40: scaled to 1, B is subnormal, and only a part of it is left."""
    pytest.importorskip("flint")
    B = 2.0**-40 * torch.tensor([[1.0, 1 / 3], [1 / 7, 1.0]], dtype=torch.float64)
    A = torch.block_diag(torch.tensor([[2.0**1000]], dtype=torch.float64), B)
    for tolerance in (1e-14, 1e-6, 1e-2, 0.5):
        found = approximate_inverse(A, tolerance=tolerance, on_refusal="mark")
        if found.accepted:
            assert exact_right_residual(A, found.X) <= found.residual_bound
    assert approximate_inverse(B, tolerance=1e-14).accepted
