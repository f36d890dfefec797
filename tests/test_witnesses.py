"""The key inequality, paths to singular matrices, sign witnesses: true, attained, refuted when weakened."""

import os
import time

import pytest
import torch
from cases import gaussian, maps
from hypothesis import given, settings
from hypothesis import strategies as st

import neuinv
from neuinv import verify
from neuinv.certificates import determinant_sign
from neuinv.gallery import families
from neuinv.metrics import REFERENCE_ACCURACY

ROUNDING = 1e-9


def largest_condition(n):
    """Return how near to singular a check may go: as far as the reference inverse is quick to compute."""
    return 1e12 if n <= 16 else REFERENCE_ACCURACY / (n * n * torch.finfo(torch.float64).eps)


def count_violations(pairs_wanted, max_n, seed=0):
    """Evaluate the key inequality on (map, matrix) pairs over all families; return pairs and violations."""
    pairs = violations = 0
    least, seen = float("inf"), set()
    while pairs < pairs_wanted:
        for name in families():
            family = neuinv.family(name)
            if family.n > max_n:
                continue
            A = family.sample(32, seed=seed)
            # Towards the singular matrices too: there the inequality is tight.
            tau = torch.tensor([1.0, 1e-3], dtype=torch.float64)
            A = neuinv.path_to_singular(A, tau).flatten(0, 1)
            A = A[torch.linalg.cond(A) < largest_condition(family.n)]
            for f in maps(family.n, seed=seed).values():
                if not len(A):
                    continue
                sides = neuinv.key_inequality(f, A)
                scale = 1 + sides.output_norm * torch.linalg.matrix_norm(A, 2)
                slack = sides.slack() / scale
                least = min(least, slack.min().item())
                violations += int((slack < -ROUNDING).sum())
                pairs += len(A)
                seen.add(name)
        seed += 1
    return pairs, violations, least, len(seen)


def test_the_key_inequality_holds_for_every_map_over_all_families():
    pairs, violations, _, _ = count_violations(10_000, max_n=16)
    assert pairs >= 10_000 and violations == 0


@pytest.mark.soak
def test_the_key_inequality_holds_on_a_million_pairs():
    begun = time.perf_counter()
    pairs, violations, least, seen = count_violations(1_000_000, max_n=64)
    _write_soak_record(
        study="key-inequality",
        pairs=pairs,
        violations=violations,
        families=seen,
        least_scaled_slack=least,
        seconds=time.perf_counter() - begun,
    )
    assert pairs >= 1_000_000 and violations == 0


def test_half_the_room_is_violated():
    """Negative control: with sigma ||f|| / 2 in place of sigma ||f||, c A^-1 refutes the inequality."""
    sides = neuinv.key_inequality(lambda A: 0.5 * torch.linalg.inv(A), gaussian(50, 3))
    assert ((sides.forward_error - 1).abs() > 0.5 * sides.gap + 0.1).all()
    assert (sides.right_residual < 1 - 0.5 * sides.gap - 0.1).all()


@pytest.mark.parametrize("c", [0.0, 0.3, 1.0])
def test_the_inequality_is_attained_by_a_shortened_inverse(c):
    sides = neuinv.key_inequality(lambda A: c * torch.linalg.inv(A), gaussian(50, 4))
    assert torch.allclose(sides.gap, torch.full((50,), c).double(), atol=1e-10)
    assert (sides.slack().abs() < 1e-9).all()


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 5),
    seed=st.integers(0, 10**6),
    scale=st.floats(-100, 100).map(lambda x: 10.0**x),
    alignment=st.floats(-3, 3),
)
def test_no_output_aligned_with_the_worst_direction_violates_it(n, seed, scale, alignment):
    """f(A) = a v u^T / sigma: the rank-one outputs that enter the proof with equality."""
    A = scale * gaussian(1, n, seed=seed)
    U, sigma, Vh = torch.linalg.svd(A)
    Y = alignment * Vh[..., -1, :, None] * U[..., :, -1][..., None, :] / sigma[..., -1, None, None]
    sides = neuinv.key_inequality(lambda _: Y, A)
    kappa = sigma[..., 0] / sigma[..., -1]
    assert (sides.slack() >= -1e-14 * n * kappa - 1e-10).all()


@pytest.mark.parametrize("which", ["forward_error", "right_residual", "left_residual"])
def test_the_slack_is_negative_whichever_inequality_is_violated(which):
    holding = {"forward_error": 1.0, "right_residual": 1.0, "left_residual": 1.0}
    sides = {name: torch.tensor(value) for name, value in (holding | {which: 0.25}).items()}
    sides = neuinv.witnesses.KeyInequality(torch.tensor(0.5), torch.tensor(1.0), **sides)
    assert sides.slack() == -0.25


def test_a_map_that_works_in_place_changes_neither_matrix_nor_measurement():
    A = 2 * torch.eye(2, dtype=torch.float64)
    assert neuinv.key_inequality(lambda M: M.mul_(0.5), A).right_residual == 1
    assert torch.equal(A, 2 * torch.eye(2, dtype=torch.float64))


@pytest.mark.parametrize("n", [8, 12, 13, 14])
def test_the_inequality_survives_where_singular_values_have_no_digit(n):
    """Hilbert matrices: the smallest singular value of LAPACK is wrong from n = 12 on."""
    i = torch.arange(1, n + 1, dtype=torch.float64)
    A = 1 / (i[:, None] + i - 1)[None]
    sides = neuinv.key_inequality(lambda A: 0.5 * neuinv.metrics.exact_inverse(A), A)
    assert sides.gap.item() == pytest.approx(0.5, rel=1e-9)
    assert sides.slack().item() >= -1e-9 * sides.output_norm.item()


def test_an_output_beyond_float64_is_certified_all_the_same():
    A = 1e200 * torch.eye(2, dtype=torch.float64)
    assert float.fromhex(neuinv.output_witness(lambda A: A, A).bound) > 1e300


def test_a_map_that_returns_something_else_is_refused():
    A = torch.eye(2).repeat(3, 1, 1)
    with pytest.raises(ValueError, match="one matrix a matrix"):
        neuinv.key_inequality(lambda A: A[0], A)
    with pytest.raises(ValueError, match=r"f\(A\) has the entry nan"):
        neuinv.key_inequality(lambda A: A * float("nan"), A)


@pytest.mark.parametrize("n", [1, 2, 9])
def test_the_path_moves_the_smallest_singular_value_alone(n):
    A = gaussian(5, n, seed=n)
    tau = torch.tensor([0.0, 1e-6, 0.5, 1.0], dtype=torch.float64)
    path = neuinv.path_to_singular(A, tau)
    assert torch.allclose(path[-1], A, atol=1e-13)
    sigma = torch.linalg.svdvals(A)
    for fraction, matrices in zip(tau, path, strict=True):
        expected = sigma.clone()
        expected[:, -1] *= fraction
        assert torch.allclose(torch.linalg.svdvals(matrices), expected, atol=1e-12)


def test_the_nearest_singular_matrix_is_at_distance_sigma_min():
    A = gaussian(20, 4)
    distance = torch.linalg.matrix_norm(A - neuinv.nearest_singular(A), 2)
    assert torch.allclose(distance, torch.linalg.svdvals(A)[:, -1], atol=1e-13)


@pytest.mark.parametrize(
    "fractions",
    [torch.tensor([-1.0]), [float("nan")], [float("inf")], 0.5, "half", [[0.5]], [1j], None],
)
def test_a_path_refuses_fractions_that_are_no_vector_of_finite_numbers(fractions):
    with pytest.raises(ValueError, match=r"fractions is .* vector of finite numbers >= 0"):
        neuinv.path_to_singular(torch.eye(2), fractions)


def test_a_path_that_leaves_float64_is_refused():
    with pytest.raises(OverflowError, match="pass less"):
        neuinv.path_to_singular(1e200 * torch.eye(2).double(), [1e200])


def bounded_near_singular(name, n):
    """Whether r >= 1 survives the rounding of the witness: the room sigma_min ||f|| must be small there."""
    # Newton-Schulz divides by ||A||_F^2: for n = 1 its pole at A = 0 is the whole singular set.
    poles_at_zero = n == 1 and name in ("newton-schulz", "unrolled")
    return "inverse" not in name and not poles_at_zero


def sign_pairs(count, n, seed):
    """Return pairs of Gaussian matrices with opposite determinant signs."""
    A, B = gaussian(2 * count, n, seed=seed).split(count)
    B = B.clone()
    B[torch.linalg.slogdet(A).sign == torch.linalg.slogdet(B).sign, 0] *= -1
    return A, B


@pytest.mark.parametrize("n", [1, 2, 3, 8, 16])
def test_every_sign_pair_has_a_witness_where_every_map_fails(n):
    A, B = sign_pairs(40, n, seed=n)
    witness = neuinv.sign_witness(A, B)
    assert ((witness.t > 0) & (witness.t < 1)).all()
    assert (witness.null_defect <= 1e-12 * torch.linalg.matrix_norm(A)).all()
    assert torch.allclose(torch.linalg.vector_norm(witness.left_null_vector, dim=-1), torch.ones(40).double())
    for name, f in maps(n).items():
        if bounded_near_singular(name, n):
            r = neuinv.right_residual(witness.matrix, f(witness.matrix).detach())
            assert (r >= 1 - ROUNDING).all()


def test_an_invertible_point_of_the_segment_is_no_witness():
    """Negative control: beside t* the exact inverse has residual far below 1."""
    A, B = sign_pairs(40, 4, seed=1)
    t = neuinv.sign_witness(A, B).t[:, None, None] + 1e-3
    beside = (1 - t) * A + t * B
    assert (neuinv.right_residual(beside, torch.linalg.inv(beside)) < 1e-6).all()


@pytest.mark.parametrize("roots", [(0.5,), (0.2, 0.5, 0.9), (0.3, 0.3, 0.3), (0.25, 0.75, 0.75)])
def test_the_witness_is_found_among_several_and_multiple_roots(roots):
    """S(t) = diag(t_i - t) up to signs: the singular points are known."""
    A = torch.diag(torch.tensor(roots, dtype=torch.float64))
    B = A - torch.eye(len(roots), dtype=torch.float64)
    t = neuinv.sign_witness(A, B).t.item()
    assert min(abs(t - root) for root in roots) < 1e-5
    assert neuinv.sign_witness(A, B).null_defect < 1e-9


def test_a_double_root_does_not_hide_the_simple_one():
    """The double root of diag(1 - t/0.3, 1 - t/0.3, 1 - 2 t) comes first and changes no sign."""
    A = torch.eye(3, dtype=torch.float64)
    witness = neuinv.sign_witness(A, torch.diag(torch.tensor([-7 / 3, -7 / 3, -1])).double())
    assert witness.t == 0.5 and witness.null_defect == 0


def test_an_exactly_singular_point_of_the_segment_is_hit():
    one = torch.ones(1, 1, dtype=torch.float64)
    assert neuinv.sign_witness(one, -one).t == 0.5 and neuinv.sign_witness(-one, one).t == 0.5


@pytest.mark.parametrize("power", [-900, -500, 500, 1020])
def test_a_power_of_two_changes_nothing_of_a_witness(power):
    A, B = sign_pairs(10, 4, seed=2)
    plain, scaled = neuinv.sign_witness(A, B), neuinv.sign_witness(2.0**power * A, 2.0**power * B)
    assert torch.equal(plain.t, scaled.t)
    assert torch.allclose(scaled.null_defect, 2.0**power * plain.null_defect, rtol=0.1)


@pytest.mark.parametrize(
    "a, b",
    [([[1.0, 0.0], [0.0, 1.0]], [[-1e-17, 0.0], [0.0, 1.0]]), ([[1e20]], [[-1.0]]), ([[-1.0]], [[1e20]])],
)
def test_a_root_that_rounds_to_an_end_still_has_a_valid_certificate(a, b, tmp_path):
    A, B = torch.tensor(a).double(), torch.tensor(b).double()
    assert 0 < neuinv.sign_witness(A, B).t < 1
    neuinv.rational_witness(A, B).save(tmp_path / "c.json")
    assert all(ok for _, ok in verify.verify(tmp_path / "c.json"))


def test_the_signs_of_nearly_singular_ends_are_exact():
    """Third row = first / 7 + 7/3 second up to rounding: the LU of torch has the other sign of some of them.

    Of which ones depends on the processor.
    """
    rows = torch.randint(-9, 10, (400, 2, 3), generator=torch.Generator().manual_seed(0)).double()
    many = torch.cat([rows, rows[:, :1] / 7 + rows[:, 1:] * (7 / 3)], dim=1)
    computed = torch.linalg.slogdet(many).sign
    exact = torch.tensor([float(determinant_sign(A.tolist())) for A in many])
    wrong = torch.nonzero(computed * exact < 0).flatten().tolist()
    assert len(wrong) >= 3
    flip = torch.diag(torch.tensor([1.0, 1.0, -1.0], dtype=torch.float64))
    for index in wrong[:10]:
        A, sign = many[index], exact[index]
        positive, negative = torch.eye(3, dtype=torch.float64), flip
        other, same = (negative, positive) if sign > 0 else (positive, negative)
        assert 0 < neuinv.sign_witness(A, other).t < 1
        with pytest.raises(ValueError, match=f"signs {int(sign)} and {int(sign)}"):
            neuinv.sign_witness(A, same)


def test_badly_scaled_and_nearly_singular_pairs_have_witnesses():
    for scale in (1e-120, 1e120):
        A, B = sign_pairs(10, 3, seed=2)
        witness = neuinv.sign_witness(scale * A, scale * B)
        assert (witness.null_defect <= 1e-12 * scale * torch.linalg.matrix_norm(A)).all()
    A = neuinv.path_to_singular(gaussian(10, 3), torch.tensor([1e-14]))[0]
    B = A.clone()
    B[:, 0] *= -1
    witness = neuinv.sign_witness(A, B)
    assert (witness.null_defect <= 1e-12).all()


def test_a_pair_without_a_change_of_sign_is_refused_and_named():
    A = torch.eye(2).repeat(3, 1, 1)
    B = A.clone()
    B[0, 0] *= -1
    with pytest.raises(ValueError, match=r"pair \(1,\) has determinant signs 1 and 1"):
        neuinv.sign_witness(A, B)
    with pytest.raises(ValueError, match="signs 1 and 0"):
        neuinv.sign_witness(torch.eye(2), torch.zeros(2, 2))


@pytest.mark.soak
def test_a_thousand_sign_pairs_have_float_and_exact_witnesses():
    begun = time.perf_counter()
    count = worst = 0
    for n in range(2, 17):
        A, B = sign_pairs(67, n, seed=100 + n)
        witness = neuinv.sign_witness(A, B)
        for name, f in maps(n).items():
            if bounded_near_singular(name, n):
                r = neuinv.right_residual(witness.matrix, f(witness.matrix).detach())
                worst = max(worst, (1 - r).max().item())
        for a, b in zip(A, B, strict=True):
            certificate = neuinv.rational_witness(a, b)
            v = [int(x) for x in certificate.left_null_vector]
            S = certificate.matrix()
            assert any(v) and all(sum(v[i] * S[i][j] for i in range(n)) == 0 for j in range(n))
            count += 1
    seconds = time.perf_counter() - begun
    _write_soak_record(study="sign-witnesses", pairs=count, largest_one_minus_r=worst, seconds=seconds)
    assert count >= 1000 and worst <= ROUNDING


def _write_soak_record(**values):
    if os.environ.get("NEUINV_RUN_DIR"):
        neuinv.record(**values)
    print(values)
