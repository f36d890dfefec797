"""Settings that make products faster leave the proof, the gradient and the answers as they are."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import neuinv
from neuinv import approximate_inverse
from neuinv.inverse import capped, proof, search
from neuinv.inverse.capped import DTYPES, round_to, tf32_active
from neuinv.inverse.proof import EMULATION, check_native
from neuinv.iterations import best_scheme

CUDA = torch.device("cuda")


def prescribed(batch, n, kappa, kind="general", **options):
    family = neuinv.family("prescribed-spectrum", n=n, kappa=kappa, kind=kind, **options)
    return family.sample(batch, seed=0).float()


@pytest.fixture
def matmul():
    settings = torch.backends.cuda.matmul
    before = torch.get_float32_matmul_precision()
    yield settings
    torch.set_float32_matmul_precision(before)


class Products(TorchDispatchMode):
    """Count matrix products by dtype."""

    def __init__(self):
        super().__init__()
        self.counts = {torch.float32: 0, torch.float64: 0}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function in (torch.ops.aten.bmm.default, torch.ops.aten.mm.default):
            self.counts[args[0].dtype] += 1
        return function(*args, **(kwargs or {}))


def test_tf32_is_noticed_by_either_name_of_its_setting(matmul):
    for precision, active in (("high", True), ("highest", False), ("medium", True)):
        torch.set_float32_matmul_precision(precision)
        assert tf32_active(CUDA) is active
        assert tf32_active(torch.device("cpu")) is False
    matmul.allow_tf32 = False
    assert tf32_active(CUDA) is False
    matmul.allow_tf32 = True
    assert tf32_active(CUDA) is True


@pytest.mark.parametrize("tf32", [False, True])
def test_corrections_are_never_made_in_tf32(tf32, monkeypatch):
    """Where float32 products may be made in TF32, only those of the scheme are left in float32."""
    A, kappa = prescribed(8, 16, 100.0, "general"), 100.0
    monkeypatch.setattr(search, "tf32_active", lambda device: tf32)
    with Products() as products:
        options = {"kind": "general", "interval": (1 / kappa, 1.0), "precision": "tf32"}
        found = approximate_inverse(A, tolerance=1e-4, **options)
    assert (found.status == neuinv.InverseStatus.CORRECTED).all()
    scheme = search.CappedNewtonSchulz(kappa, 0.5e-4, "general", "tf32").num_matmuls
    assert found.num_matmuls > scheme
    assert (products.counts[torch.float32] == scheme) is tf32
    assert products.counts[torch.float64] >= found.num_check_matmuls


@pytest.mark.parametrize("precision,kappa", [("bfloat16", 300.0), ("float16", 1000.0)])
@pytest.mark.parametrize("kind", ["spd", "general"])
def test_products_rounded_to_16_bits_still_reach_a_thousandth(precision, kappa, kind, monkeypatch):
    """A GPU rounds the products of 16-bit operands, not only the operands."""
    exact = capped._product
    rounded = []

    def product(P, Q, precision):
        rounded.append(round_to(exact(P, Q, precision), precision))
        return rounded[-1]

    monkeypatch.setattr(capped, "_product", product)
    for spacing in ("log-uniform", "clustered", "geometric"):
        A = prescribed(32, 48, kappa, kind, spacing=spacing)
        options = {"kind": kind, "interval": (1 / kappa, 1.0), "precision": precision}
        found = approximate_inverse(A, tolerance=1e-3, **options)
        assert not any(status.direct for status in found.status.flat)
    # It was used, and its results are numbers of 16 bits.
    assert rounded and all(torch.equal(M, M.to(DTYPES[precision]).float()) for M in rounded)


def test_emulated_products_are_refused(monkeypatch):
    for value in ("", "0"):
        monkeypatch.setenv(EMULATION, value)
        check_native(CUDA)
    monkeypatch.setenv(EMULATION, "1")
    with pytest.raises(ValueError, match=r"may be emulated, which no bound of rounding here covers; unset"):
        check_native(CUDA)
    # On the CPU the variable says nothing.
    assert approximate_inverse(torch.eye(2), tolerance=1e-3).accepted
    devices = []
    monkeypatch.setattr(proof, "check_native", devices.append)
    approximate_inverse(torch.eye(2), tolerance=1e-3)
    assert devices == [torch.device("cpu")]


def test_autocast_does_not_change_the_gradient():
    A = prescribed(5, 8, 30.0).requires_grad_(True)
    found = approximate_inverse(A, tolerance=1e-4)
    (plain,) = torch.autograd.grad(found.X.sum(), A, retain_graph=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (cast,) = torch.autograd.grad(found.X.sum(), A)
        low = -(found.X.detach().mT @ torch.ones_like(A) @ found.X.detach().mT).float()
    assert torch.equal(cast, plain)
    # Negative control: the same products in the open differ.
    assert (low - plain).abs().max() > 1e-4 * plain.abs().max()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_program_runs_under_autocast(dtype):
    A = prescribed(4, 16, 100.0).to(dtype)
    scheme = best_scheme(100.0, 1e-3, "general")
    assert any(isinstance(stage, str) for stage in scheme.stages)  # a program is among them
    with torch.autocast("cpu", dtype=torch.bfloat16):
        X = scheme(A, (0.01, 1.0))
    assert X.dtype == dtype
    if dtype == torch.float64:  # which autocast leaves alone
        assert neuinv.right_residual(A, X).max() <= 1e-3
