"""Programs of few products: certified, refused when tampered with, and as good as they promise."""

import functools
import json
import math
import os

import numpy as np
import pytest
import torch
from cases import gaussian

import neuinv
from neuinv import verify
from neuinv.certificates import ProgramCertificate, program_certificate
from neuinv.iterations import StagedProgram, best_scheme, load_programs, matmul_residual
from neuinv.iterations.programs import program
from neuinv.records import record

PROGRAMS = list(load_programs().values())
SMALL = [p for p in PROGRAMS if p.num_matmuls <= 6]
each_program = pytest.mark.parametrize("chosen", PROGRAMS, ids=lambda p: p.name)
each_small = pytest.mark.parametrize("chosen", SMALL, ids=lambda p: p.name)


def checked(certificate, folder):
    """Return the answers of the independent program to a certificate, or to its document."""
    path = folder / "program.json"
    document = certificate.to_dict() if isinstance(certificate, ProgramCertificate) else certificate
    path.write_text(json.dumps(document))
    return [ok for _, ok in verify.verify(path)]


def residual(chosen, t):
    """Return q(t) in float64."""
    return 1 - (1 - chosen.radius * t) * chosen.values(t)


def grid(chosen, density=60):
    count = density * (2**chosen.num_matmuls + 1)
    return torch.cos(torch.linspace(0, math.pi, count, dtype=torch.float64))


@functools.lru_cache(maxsize=32)
def rotations(count, n, seed):
    """Return two batches of orthogonal matrices."""
    generator = torch.Generator().manual_seed(seed + 1000)
    return [torch.linalg.qr(torch.randn(count, n, n, generator=generator).double())[0] for _ in range(2)]


def members(kind, kappa, count, n, seed, clustered):
    """Return matrices whose extreme values are 1/kappa and 1, log-uniform between or in three clusters."""
    generator = torch.Generator().manual_seed(seed)
    place = torch.rand(count, n, generator=generator, dtype=torch.float64)
    if clustered:
        place = ((3 * place).floor() / 2 + 0.02 * torch.randn(place.shape, generator=generator)).clamp(0, 1)
    place[:, 0], place[:, -1] = 0, 1
    values = float(kappa) ** -place
    U, V = rotations(count, n, seed)
    A = (U * values[:, None]) @ (U if kind == "spd" else V).mT
    return (A + A.mT) / 2 if kind == "spd" else A


@each_small
def test_a_certificate_holds_and_one_with_a_lower_supremum_does_not(chosen, tmp_path):
    certificate = program_certificate(chosen)
    assert checked(certificate, tmp_path) == [True, True]
    # The supremum stated is at most 1e-5 above the true one.
    document = certificate.to_dict() | {"supremum": (chosen.supremum * (1 - 1e-5)).hex()}
    assert checked(document, tmp_path) == [True, False]


TAMPERED = {
    "a coefficient": lambda d: d["left"][1].__setitem__(0, (float.fromhex(d["left"][1][0]) + 1e-3).hex()),
    "an output": lambda d: d["out"].__setitem__(-1, (float.fromhex(d["out"][-1]) * 1.01).hex()),
    "a wider interval": lambda d: d.update(radius=(1 - (1 - float.fromhex(d["radius"])) / 1.01).hex()),
    "no interval": lambda d: d.update(radius=(1.0).hex()),
    "a negative supremum": lambda d: d.update(supremum="-" + d["supremum"]),
    "a supremum of 1": lambda d: d.update(supremum=(1.0).hex()),
}


@pytest.mark.parametrize("name", TAMPERED)
def test_a_tampered_program_is_refused(name, tmp_path):
    document = json.loads(json.dumps(program_certificate(SMALL[0]).to_dict()))
    assert all(checked(document, tmp_path))
    TAMPERED[name](document)
    assert not all(checked(document, tmp_path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(left=d["left"][1:]), "left has a row that is not 2 long"),
        (lambda d: d.update(left=[]), "left is not a list of 1 ... 16 rows"),
        (lambda d: d.update(right=d["right"][:-1]), "right is not a list of"),
        (lambda d: d.update(out=d["out"][:-1]), "out has a row that is not"),
        (lambda d: d.update(radius=0.5), "radius holds 0.5; write finite numbers"),
        (lambda d: d.update(statement="X = 0"), "states something else"),
    ],
)
def test_a_damaged_program_is_refused_in_a_sentence(change, message, tmp_path):
    document = json.loads(json.dumps(program_certificate(SMALL[0]).to_dict()))
    change(document)
    with pytest.raises(verify.CertificateError, match=message):
        checked(document, tmp_path)


def test_ball_arithmetic_proves_the_chebyshev_optimum_and_refuses_less(tmp_path):
    """One product: q = T_3(t / ...) has the supremum 1 / T_3(1 / r), in closed form."""
    r = 0.5
    bound = 1 / (4 / r**3 - 3 / r)
    # q = (4 t^3 - 3 t) bound and P = (1 - q) / (1 - r t), of degree 2.
    P = np.polynomial.polynomial.polydiv([1, 3 * bound, 0, -4 * bound], [1, -r])[0]
    make = lambda s: ProgramCertificate(  # noqa: E731
        left=(((0.0).hex(), (1.0).hex()),),
        right=(((0.0).hex(), (1.0).hex()),),
        out=tuple(float(x).hex() for x in P),
        radius=r.hex(),
        supremum=float(s).hex(),
    )
    assert checked(make(bound * (1 + 1e-9)), tmp_path) == [True, True]
    assert checked(make(bound * (1 - 1e-9)), tmp_path) == [True, False]


@each_program
def test_a_program_keeps_its_supremum_on_a_grid_and_beats_no_bound(chosen):
    worst = residual(chosen, grid(chosen)).abs().max().item()
    assert 0.999 * chosen.supremum < worst <= chosen.supremum * (1 + 1e-9)
    assert chosen.supremum >= matmul_residual(chosen.num_matmuls, chosen.kappa) * (1 - 1e-9)
    # Its interval covers the condition number that it is named after.
    assert (1 + chosen.radius) / (1 - chosen.radius) >= chosen.kappa
    # Outside the interval it makes no promise: q = 1 at t = 1 / r.
    assert residual(chosen, torch.tensor(1 / chosen.radius, dtype=torch.float64)) == pytest.approx(1)


@each_program
@pytest.mark.parametrize("kind", ["spd", "general"])
def test_torch_counts_the_products_of_a_program(chosen, kind):
    scheme = StagedProgram((chosen.name,), kind)
    kappa = scheme.largest_kappa
    A = members(kind, kappa, 3, 5, 0, False)
    assert neuinv.count_matmuls(lambda A: scheme(A, (1 / kappa, 1.0)), A) == scheme.num_matmuls
    assert scheme.num_matmuls == chosen.num_matmuls + (2 if kind == "general" else 0)
    longer = StagedProgram((chosen.name, 3, 2), kind)
    assert neuinv.count_matmuls(lambda A: longer(A, (1 / kappa, 1.0)), A) == longer.num_matmuls


def rounding(chosen, eps):
    """Return the room for rounding, observed for n = 64: the growth of the program times eps kappa."""
    return (20 * chosen.growth + 20) * eps * chosen.kappa


def worst_of_members(chosen, kind, dtype, clustered, count, seed=1):
    """Return the worst right residual of members with n = 64, and what it may be."""
    scheme = StagedProgram((chosen.name,), kind)
    kappa = scheme.largest_kappa
    A = members(kind, kappa, count, 64, seed, clustered).to(dtype)
    X = scheme(A, (1 / kappa, 1.0))
    worst = neuinv.right_residual(A.double(), X.double()).max().item()
    return worst, chosen.supremum + rounding(chosen, torch.finfo(dtype).eps)


@each_program
@pytest.mark.parametrize("clustered", [False, True], ids=["log-uniform", "clustered"])
@pytest.mark.parametrize("kind", ["spd", "general"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_random_members_keep_the_certified_supremum(chosen, kind, dtype, clustered):
    if chosen.supremum + rounding(chosen, torch.finfo(dtype).eps) > 1:
        pytest.skip("rounding alone may exceed a residual of 1")
    worst, allowed = worst_of_members(chosen, kind, dtype, clustered, 8)
    assert worst <= allowed


def test_members_of_a_wider_interval_do_not_keep_the_certified_supremum():
    """Negative control of the test above: ten per cent more of the condition number."""
    chosen = program("6@100")
    scheme = StagedProgram((chosen.name,))
    A = members("spd", 1.1 * chosen.kappa, 8, 64, 1, False)
    worst = neuinv.right_residual(A, scheme(A, (1 / chosen.kappa, 1.0))).max().item()
    assert worst > chosen.supremum + rounding(chosen, torch.finfo(A.dtype).eps)


@pytest.mark.soak
@each_program
def test_a_thousand_members_in_each_precision_keep_the_certified_supremum(chosen):
    rows = []
    for dtype in (torch.float32, torch.float64):
        if chosen.supremum + rounding(chosen, torch.finfo(dtype).eps) > 1:
            continue
        for kind in ("spd", "general"):
            for clustered in (False, True):
                found = [worst_of_members(chosen, kind, dtype, clustered, 64, seed) for seed in range(4)]
                worst, allowed = max(found)
                assert worst <= allowed
                rows.append([kind, str(dtype), "clustered" if clustered else "log-uniform", worst, allowed])
    values = {"members": 1024, "per_group": 256, "n": 64, "worst": rows}
    record(study="programs", program=chosen.name, supremum=chosen.supremum, **values)
    if os.environ.get("NEUINV_RUN_DIR") is None:
        print(chosen.name, rows)


@each_program
def test_an_interval_that_is_ten_percent_wrong_shows(chosen):
    """A spectrum that begins 10 % lower leaves the residual that the polynomial has there, no less."""
    scheme = StagedProgram((chosen.name,))
    low = 1 / chosen.kappa
    values = torch.tensor([0.9 * low, 0.5, 1.0], dtype=torch.float64)
    q = scheme.residual_polynomial(values, (low, 1.0)).abs()
    assert q[0] > chosen.supremum
    assert q[0] < 1


@each_program
@pytest.mark.parametrize("kind", ["spd", "general"])
def test_the_residual_polynomial_predicts_the_residual(chosen, kind):
    scheme = StagedProgram((chosen.name, 2), kind)
    kappa = scheme.largest_kappa
    A = members(kind, kappa, 1, 6, 3, False)[0]
    values = torch.linalg.svdvals(A)
    expected = scheme.residual_polynomial(values, (1 / kappa, 1.0)).abs().max().item()
    measured = neuinv.right_residual(A, scheme(A, (1 / kappa, 1.0))).item()
    assert measured == pytest.approx(expected, rel=1e-6, abs=1e-12 * kappa)


def test_a_staged_program_meets_what_it_promises_for_smaller_condition_numbers():
    scheme = best_scheme(70.0, 1e-4)
    assert isinstance(scheme, StagedProgram) and scheme.largest_kappa >= 70
    A = members("spd", 70.0, 20, 16, 0, False)
    assert neuinv.right_residual(A, scheme(A, (1 / 70, 1.0))).max() <= scheme.worst_residual(70.0) <= 1e-4


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: StagedProgram(["6@100"]), TypeError, "pass a tuple such as"),
        (lambda: StagedProgram((9, 2)), ValueError, "without a program; use ComposedChebyshev"),
        (lambda: StagedProgram(("6@100", 4)), ValueError, "has the degree 4; use 2, 3, 5, 9 or the name"),
        (lambda: StagedProgram(("no",)), ValueError, "there is no program 'no'; known are"),
        (lambda: StagedProgram(("6@100",), "hpd"), ValueError, "kind is 'hpd'"),
        (lambda: StagedProgram(("6@100",)).worst_residual(101.0), ValueError, "use best_scheme"),
        (lambda: StagedProgram(("6@100",))(torch.eye(2), (1e-3, 1.0)), ValueError, "ratio b / a = 1000"),
        (lambda: program(""), ValueError, "there is no program ''"),
    ],
)
def test_a_scheme_that_does_not_exist_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_a_stage_of_low_degree_may_come_before_a_program():
    scheme = StagedProgram((5, "6@100"))
    kappa = scheme.largest_kappa
    assert kappa > 20 * 100
    assert scheme.worst_residual(kappa) == program("6@100").supremum
    A = members("spd", kappa, 4, 12, 0, False)
    X = scheme(A, (1 / kappa, 1.0))
    assert neuinv.right_residual(A, X).max() <= scheme.worst_residual(kappa) + 1e-12 * kappa
    with pytest.raises(ValueError, match="kappa is"):
        scheme.worst_residual(1.01 * kappa)


def test_programs_are_differentiable_in_the_matrix():
    A = gaussian(1, 3, seed=0)[0]
    A = (A @ A.mT / (A @ A.mT).trace() + 0.1 * torch.eye(3, dtype=torch.float64)).requires_grad_()
    scheme = StagedProgram(("6@100",))
    assert torch.autograd.gradcheck(lambda A: scheme((A + A.mT) / 2, (0.05, 1.2)), (A,))
