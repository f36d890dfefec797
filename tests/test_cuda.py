"""What the package promises holds on a GPU; NEUINV_TEST_DEVICE=cpu runs the same tests without one."""

import os
import warnings

import pytest
import torch
from cases import gaussian
from inverse_tools import DTYPES, believe, false_accepts, one_call, real_matrices, tempting

import neuinv
from neuinv import _linalg
from neuinv.ensembles import evaluate_ensemble, train_ensemble
from neuinv.inverse import choose_start, proof, search
from neuinv.inverse.bounds import gamma
from neuinv.inverse.proof import prove_residual
from neuinv.iterations import best_scheme
from neuinv.networks import make_network, network_kinds
from neuinv.training import TrainingStatus, train

DEVICE = os.environ.get("NEUINV_TEST_DEVICE") or "cuda"
ABSENT = DEVICE.startswith("cuda") and not torch.cuda.is_available()
REASON = "torch finds no CUDA device; NEUINV_TEST_DEVICE=cpu runs these tests without one"
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(ABSENT, reason=REASON),
    # Versions of torch and CUDA differ in what they warn about; here the numbers count.
    pytest.mark.filterwarnings("default"),
]
EPS = torch.finfo(torch.float64).eps
SETTINGS = ("exact", "fast")


@pytest.fixture
def device():
    return torch.device(DEVICE)


@pytest.fixture(params=SETTINGS)
def setting(request):
    """Forbid or allow everything that torch may do to make products of 32 and 16 bits faster."""
    fast, matmul = request.param == "fast", torch.backends.cuda.matmul
    names = ("allow_fp16_reduced_precision_reduction", "allow_bf16_reduced_precision_reduction")
    before = {name: getattr(matmul, name) for name in names}
    precision = torch.get_float32_matmul_precision()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.set_float32_matmul_precision("high" if fast else "highest")
        for name in names:
            setattr(matmul, name, fast)
        yield request.param
        torch.set_float32_matmul_precision(precision)
        for name, value in before.items():
            setattr(matmul, name, value)


def prescribed(batch, n, kappa, kind="general", seed=0, **options):
    family = neuinv.family("prescribed-spectrum", n=n, kappa=kappa, kind=kind, **options)
    return family.sample(batch, seed=seed)


def wide(batch, n, seed):
    """Return matrices whose entries differ by up to 2^60: fixed-point products would lose the small ones."""
    generator = torch.Generator().manual_seed(seed)
    exponent = torch.randint(-30, 31, (batch, n, n), generator=generator)
    return torch.ldexp(gaussian(batch, n, seed), exponent)


# --- arithmetic ------------------------------------------------------------------------------------


@pytest.mark.parametrize("n,batch", [(3, 500), (17, 100), (64, 20), (256, 2), (300, 1)])
def test_float64_products_round_as_the_proof_supposes(n, batch, device, setting):
    """|fl(AX) - AX| <= gamma_n |A||X| entry by entry, against 64 bits of the CPU."""
    A, X = wide(batch, n, 0), wide(batch, n, 1)
    long = [M.numpy().astype("longdouble") for M in (A, X)]
    exact, size = long[0] @ long[1], abs(long[0]) @ abs(long[1])
    found = (A.to(device) @ X.to(device)).cpu().numpy()
    # What 64 bits themselves can be wrong by.
    allowed = (gamma(n) + n * 2.0**-63) * size
    assert (abs(found - exact) <= allowed).all()
    # Negative control: in single precision the bound fails.
    single = (A.float().to(device) @ X.float().to(device)).double().cpu().numpy()
    assert (abs(single - exact) > allowed).any()


@pytest.mark.parametrize("n,batch", [(8, 100), (128, 8), (1024, 1)])
def test_products_of_leading_digits_are_exact(n, batch, device, setting):
    digits = (53 - (n - 1).bit_length()) // 2
    A, X = proof._leading(gaussian(batch, n), digits, -1), proof._leading(gaussian(batch, n, 1), digits, -2)
    found = (A.to(device) @ X.to(device)).cpu()
    assert torch.equal(found, A @ X)
    assert torch.equal(proof._leading(gaussian(batch, n).to(device), digits, -1).cpu(), A)
    # Negative control: all digits are too many.
    full = gaussian(batch, n).to(device) @ gaussian(batch, n, 1).to(device)
    assert not torch.equal(full.cpu(), A @ X)


# --- the front door --------------------------------------------------------------------------------


def count_false(device, dtype, batch, real=True, seed=0):
    """Return (matrices, accepted, false accepts) over every kind of matrix that tempts a check."""
    generator, counts = torch.Generator().manual_seed(seed), [0, 0, 0]

    def draw(*choices):
        return choices[int(torch.randint(len(choices), (), generator=generator))]

    cases = list(tempting(batch, 9, seed))
    norm = torch.linalg.matrix_norm(T := gaussian(batch, 9, seed).triu(1), 2)
    cases.append(("triangular of norm 37", torch.eye(9).double() + 37 * T / norm[:, None, None]))
    cases += list(real_matrices(20, seed)) if real else []
    for _, A in cases:
        A = A.to(dtype)
        A = A[torch.isfinite(A).all(-1).all(-1)]
        if len(A):
            accepted, false = one_call(A, draw, generator, device)
            counts = [counts[0] + len(A), counts[1] + accepted, counts[2] + false]
    return counts


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_no_inverse_is_accepted_falsely(dtype, device, setting):
    pytest.importorskip("flint")
    matrices, accepted, false = count_false(device, dtype, 250, seed=DTYPES.index(dtype))
    assert matrices > 3750 and accepted > 0.2 * matrices
    assert false == 0


def test_with_the_proof_switched_off_false_accepts_are_found(device, monkeypatch):
    """Negative control of the test above."""
    pytest.importorskip("flint")
    monkeypatch.setattr(search, "prove_residual", believe)
    assert count_false(device, torch.float64, 60, real=False)[2] > 20


def test_without_the_margin_for_rounding_bounds_are_violated(device, monkeypatch):
    """Negative control: what is computed as AX - I is not AX - I."""
    pytest.importorskip("flint")
    A = torch.linspace(1, 2, 200).double()[:, None, None] * gaussian(200, 4)
    X = torch.linalg.inv(gaussian(200, 4)) / torch.linspace(1, 2, 200).double()[:, None, None]
    honest = prove_residual(A.to(device), X.to(device), 1e-300).bound.cpu()
    assert false_accepts(A, X, honest) == []
    monkeypatch.setattr(proof, "gamma", lambda count: 0.0)
    monkeypatch.setattr(proof, "UNIT", 0.0)
    bold = prove_residual(A.to(device), X.to(device), 1e-300).bound.cpu()
    assert len(false_accepts(A, X, bold)) > 20


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("n", [1, 5, 130])
def test_shapes_dtypes_and_devices_follow_the_input(n, dtype, device, setting):
    A = prescribed(6, n, 20.0).reshape(2, 3, n, n) if n > 1 else gaussian(6, 1).reshape(2, 3, 1, 1)
    found = neuinv.approximate_inverse(A.to(device, dtype), tolerance=1e-2)
    assert found.X.shape == A.shape and found.X.device.type == device.type
    assert found.X.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert found.accepted.all() and found.accepted.device.type == device.type
    residual = A.to(dtype).double() @ found.X.cpu().double() - torch.eye(n).double()
    size = torch.linalg.matrix_norm(residual, 2)
    assert (size <= found.residual_bound.cpu()).all() and (size <= 1e-2).all()


def test_refused_matrices_are_named_and_leave_no_number_that_is_not_finite(device, setting):
    A = torch.stack([torch.eye(3), torch.ones(3, 3), 1e-40 * torch.eye(3), 2 * torch.eye(3)]).to(device)
    found = neuinv.approximate_inverse(A, tolerance=1e-3, on_refusal="mark")
    assert found.accepted.tolist() == [True, False, False, True]
    assert torch.isfinite(found.X).all() and (found.X[1] == 0).all()
    with pytest.raises(neuinv.InversionRefused, match=r"A\[1\]: Refused"):
        neuinv.approximate_inverse(A, tolerance=1e-3)
    A[0, 0, 0] = torch.nan
    with pytest.raises(ValueError, match="NaN or inf"):
        neuinv.approximate_inverse(A, tolerance=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_autocast_changes_neither_result_nor_proof_nor_gradient(dtype, device, setting):
    A = prescribed(5, 16, 30.0).to(device, dtype).requires_grad_(True)
    plain = neuinv.approximate_inverse(A, tolerance=1e-3)
    (gradient,) = torch.autograd.grad(plain.X.sum(), A)
    with torch.autocast(device.type, dtype=torch.bfloat16):
        cast = neuinv.approximate_inverse(A, tolerance=1e-3)
        (under,) = torch.autograd.grad(cast.X.sum(), A)
        assert (A.detach().float() @ A.detach().float()).dtype == torch.bfloat16  # it is on
    assert torch.equal(cast.X, plain.X) and torch.equal(cast.residual_bound, plain.residual_bound)
    assert torch.equal(under, gradient)


def test_gradients_are_those_of_the_inverse(device, setting):
    # Two calls an entry: a GPU takes as long for few small matrices as for many.
    A = prescribed(2, 3, 5.0).to(device).requires_grad_(True)
    found, G = neuinv.approximate_inverse(A, tolerance=1e-12), gaussian(2, 3).to(device)
    (gradient,) = torch.autograd.grad(found.X, A, G)
    (exact,) = torch.autograd.grad(torch.linalg.inv(A), A, G)
    assert (gradient - exact).abs().max() < 1e-9 * exact.abs().max()
    assert torch.autograd.gradcheck(lambda A: neuinv.approximate_inverse(A, tolerance=1e-12).X, (A,))


@pytest.mark.filterwarnings("ignore")
def test_a_compiled_function_may_call_it(device, setting):
    A = prescribed(3, 4, 5.0).to(device)
    # Without a compiler of C++ or Triton, and in any folder.
    compiled = torch.compile(
        lambda A: 2 * neuinv.approximate_inverse(A / 2, tolerance=1e-10).X @ A, backend="aot_eager"
    )
    assert (compiled(A) - 4 * torch.eye(4, device=device)).abs().max() < 1e-8


LOW = [("bfloat16", 300.0), ("float16", 1000.0), ("tf32", 1000.0), (None, 1000.0)]


@pytest.mark.parametrize("precision,kappa", LOW)
@pytest.mark.parametrize("kind", ["spd", "general"])
def test_low_precision_reaches_a_thousandth_without_a_direct_solver(precision, kappa, kind, device, setting):
    spacings = ("log-uniform", "clustered", "geometric")
    for n in (8, 48):
        A = torch.cat([prescribed(32, n, kappa, kind, spacing=spacing) for spacing in spacings]).float()
        options = {"kind": kind, "interval": (1 / kappa, 1.0), "precision": precision}
        found = neuinv.approximate_inverse(A.to(device), tolerance=1e-3, **options)
        assert not any(status.direct for status in found.status.flat)
        assert (neuinv.right_residual(A, found.X.cpu()) <= 1e-3).all()


def test_a_start_is_chosen_by_what_is_proved(device, setting):
    A = prescribed(20, 8, 30.0)
    near = torch.linalg.inv(A) * torch.where(torch.arange(20) % 2 == 0, 1.5, 2.5)[:, None, None]
    choice = choose_start(A.to(device), [near.to(device)])
    assert choice.choice.tolist() == [0, 1] * 10
    assert torch.equal(choice.choice.cpu(), choose_start(A, [near]).choice)


# --- the rest of the package -----------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["spd", "general"])
@pytest.mark.parametrize("kappa,tolerance", [(10.0, 1e-2), (10.0, 1e-6), (100.0, 1e-3), (1000.0, 1e-4)])
def test_the_best_scheme_keeps_its_certified_residual(kind, kappa, tolerance, device):
    A = prescribed(100, 64, kappa, kind).to(device)
    scheme = best_scheme(kappa, tolerance, kind)
    residual = neuinv.right_residual(A, scheme(A, (1 / kappa, 1.0)))
    assert (residual <= scheme.worst_residual(kappa) + 1e3 * kappa * EPS).all()
    # Negative control: the interval of another condition number.
    assert neuinv.right_residual(A, scheme(A, (0.9, 1.0))).max() > tolerance


@pytest.mark.parametrize("kind", ["spd", "general"])
@pytest.mark.parametrize("kappa,tolerance", [(10.0, 1e-2), (10.0, 1e-4), (100.0, 1e-2)])
def test_a_scheme_for_single_precision_meets_its_tolerance_there(kind, kappa, tolerance, device):
    A = prescribed(100, 64, kappa, kind).float().to(device)
    X = best_scheme(kappa, tolerance, kind, torch.float32)(A, (1 / kappa, 1.0))
    assert X.dtype == torch.float32
    assert neuinv.right_residual(A.double(), X.double()).max() <= tolerance


def test_a_program_runs_under_autocast(device):
    A = prescribed(4, 16, 100.0).float().to(device)
    scheme = best_scheme(100.0, 1e-3, "general")
    with torch.autocast(device.type, dtype=torch.bfloat16):
        assert scheme(A, (0.01, 1.0)).dtype == torch.float32
        exact = scheme(A.double(), (0.01, 1.0))
    assert neuinv.right_residual(A.double(), exact).max() <= 1e-3


@pytest.mark.parametrize("n", [1, 3, 181])
def test_solvers_of_batches_are_right_and_a_singular_member_spoils_no_other(n, device):
    Q = torch.stack([torch.linalg.qr(A).Q for A in gaussian(4, n, seed=n)])
    sign = torch.stack([torch.linalg.slogdet(member).sign for member in Q])
    Q, identity = Q.to(device), torch.eye(n).double().repeat(4, 1, 1).to(device)
    assert torch.equal(_linalg.det_sign(Q).cpu(), sign)
    assert _linalg.sign_and_log(Q)[1].abs().max() < 1e-11
    for X in (_linalg.inverse(Q), _linalg.inverse_or_nan(Q), _linalg.solve(Q, identity)):
        assert (X - Q.mT).abs().max() < 1e-11
    assert (_linalg.cholesky(4 * identity) - 2 * identity).abs().max() < 1e-11
    Q[1] = 0
    for X in (_linalg.inverse_or_nan(Q), _linalg.solve(Q, identity)):
        assert torch.isnan(X[1]).all() and (X[2] - Q[2].mT).abs().max() < 1e-11
    with pytest.raises(torch.linalg.LinAlgError):
        _linalg.inverse(Q)


def test_errors_are_measured_in_float64_whatever_torch_allows(device, setting):
    A, X = prescribed(20, 24, 1e3).float(), torch.linalg.inv(prescribed(20, 24, 1e3)).float()
    for measure in (neuinv.right_residual, neuinv.left_residual, neuinv.forward_error):
        there, here = measure(A.to(device), X.to(device)).cpu(), measure(A, X)
        assert (there - here).abs().max() <= 1e6 * EPS * here.max()


@pytest.mark.parametrize("kind", network_kinds())
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_networks_compute_the_same_there(kind, dtype, device):
    A = gaussian(20, 5).to(dtype)
    here, there = (make_network(kind, 5, seed=0, dtype=dtype, device=place) for place in ("cpu", device))
    with torch.no_grad():
        expected, found = here(A), there(A.to(device))
    assert found.device.type == device.type and found.dtype == dtype
    assert (found.cpu() - expected).abs().max() <= 1e4 * torch.finfo(dtype).eps * (1 + expected.abs().max())


@pytest.mark.parametrize("kind", [kind for kind in network_kinds() if kind != "zero"])
def test_networks_train_alone_and_together(kind, device):
    def near(batch, generator):
        return torch.eye(4).double() + 0.1 * torch.randn(
            batch, 4, 4, generator=generator, dtype=torch.float64
        )

    copies = [make_network(kind, 4, seed=s, width=16, device=device) for s in range(3)]
    alone = make_network(kind, 4, seed=1, width=16, device=device)
    found = train_ensemble(copies, near, num_steps=2, seeds=[0, 1, 2], batch=32)
    single = train(alone, near, num_steps=2, seed=1, batch=32)
    assert {result.status for result in (*found, single)} == {TrainingStatus.FINISHED}
    assert found[1].losses == pytest.approx(single.losses, rel=1e-9)
    A = near(10, torch.Generator().manual_seed(9)).to(device)
    with torch.no_grad():
        together, one = evaluate_ensemble(copies, A), alone(A)
    assert together.device.type == device.type and together.shape == (3, 10, 4, 4)
    assert (together[1] - one).abs().max() <= 1e6 * EPS * one.abs().max()


@pytest.mark.parametrize("name", neuinv.families())
def test_a_seed_draws_the_same_matrices_there(name, device):
    family = neuinv.family(name)
    there, here = family.sample(2, seed=3, device=device), family.sample(2, seed=3)
    assert there.device.type == device.type and torch.equal(there.cpu(), here)


def test_another_seed_draws_other_matrices_there(device):
    """Negative control of the test above."""
    family = neuinv.family("wishart")
    assert not torch.equal(family.sample(2, seed=4, device=device).cpu(), family.sample(2, seed=3))


def test_a_verdict_on_matrices_there_is_that_on_the_same_matrices_here(device, setting):
    A = prescribed(30, 4, 20.0, "spd")
    there, here = neuinv.verdict(A.to(device)), neuinv.verdict(A)
    assert there.recommendation == here.recommendation
