"""Residuals predicted before training: the brackets hold the truth where it has a closed form."""

import math

import pytest
import torch
from cases import BAD_MATRICES, gaussian

import neuinv
from neuinv.criterion import PREDICTED_KINDS, plain_predictors, predicted_residual
from neuinv.networks import ResidualNetwork, UnrolledNewtonSchulz, make_network
from neuinv.spectrum import spread

ROUNDING = 1e4 * torch.finfo(torch.float64).eps  # of a residual, which is a difference to I


def family(name, n, count=40, seed=0, **parameters):
    return neuinv.family(name, n=n, **parameters).sample(count, seed=seed)


def diagonal(*rows):
    return torch.diag_embed(torch.tensor(rows, dtype=torch.float64))


def worst(A, X):
    return neuinv.right_residual(A, X.detach()).max().item()


def chebyshev_unrolled(low, high, num_steps):
    """Return the unrolled network whose residual is Chebyshev's on squares in [low, high], and its size."""
    network = UnrolledNewtonSchulz(num_steps).double()
    scale, offset = 2 / (low + high), (high + low) / (high - low)
    with torch.no_grad():
        for j in range(num_steps):
            T = math.cosh(2**j * math.acosh(offset))
            c = 2 * T * T / (2 * T * T - 1)
            # c (2 s y - (s y)^2): the factor s of the start is absorbed by the first step
            network.linear[j], network.quadratic[j] = 2 * c * scale, c * scale**2
            scale = 1.0
    return network, 1 / math.cosh(2**num_steps * math.acosh(offset))


@pytest.mark.parametrize("ratio", [1.5, 3.0, 30.0])
def test_the_spread_of_two_numbers_brackets_the_constant(ratio):
    """q({1, s}) = (s - 1)/(s + 1)."""
    A = torch.tensor([[[1.0]], [[ratio]]], dtype=torch.float64)
    truth = (ratio - 1) / (ratio + 1)
    found = predicted_residual(A, "constant")
    assert found.low <= truth <= found.high <= 1.02 * truth
    assert found.score == found.high and found.num_matmuls is None and found.count == 2
    squared = predicted_residual(A, "plain-gelu")
    assert truth**2 <= squared.high <= 1.05 * truth**2 and squared.low == 0
    # two steps after the affine start
    assert predicted_residual(A, "learned-start").high == pytest.approx(found.high**8)


@pytest.mark.parametrize(("name", "n"), [("diagonally-dominant", 4), ("wishart", 3)])
def test_a_residual_network_contains_the_affine_map_that_attains_the_prediction(name, n):
    """I - A (2M - MAM) = (I - AM)^2 <= q^2, with the map written into the weights of the network."""
    A = family(name, n, **({"aspect": 6.0} if name == "wishart" else {}))
    found = spread(A, tolerance=0.02, num_steps=400)
    M = found.M
    network = ResidualNetwork(n, width=n * n).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        network.embed.weight.copy_(torch.eye(n * n))
        # vec(M A M) = (M kron M^T) vec(A) for rows laid out one after the other
        network.read.weight.copy_(-torch.kron(M, M.mT.contiguous()))
        network.read.bias.copy_((2 * M).flatten())
    reached = worst(A, network(A))
    predicted = predicted_residual(A, "residual")
    assert 0 < predicted.score < 1
    assert reached <= predicted.high * (1 + 1e-9)
    assert reached >= 0.9 * found.high**2, "the network must be the one of the proof"
    square = torch.linalg.matrix_power(torch.eye(n) - A @ M, 2)
    assert reached == pytest.approx(torch.linalg.matrix_norm(square, 2).max().item(), abs=ROUNDING)
    X = network(A).detach()
    for _ in range(2):
        X = 2 * X - X @ (A @ X)
    assert worst(A, X) <= predicted_residual(A, "learned-start").high * (1 + 1e-9) + ROUNDING


@pytest.mark.parametrize("num_steps", [1, 2, 4])
@pytest.mark.parametrize("kappa", [2.0, 8.0])
def test_scaled_newton_schulz_is_an_unrolled_network_that_attains_the_upper_end(num_steps, kappa):
    """The bracket is closed on a sample that holds Chebyshev's points."""
    N = 2**num_steps
    low, high = 1 / (2 * kappa**2), 0.5
    angles = math.pi * torch.arange(N + 1, dtype=torch.float64) / N
    squares = (low + high) / 2 - (high - low) / 2 * torch.cos(angles)
    rest = (1 - squares) / 2  # of Frobenius norm 1, and inside the interval
    A = torch.diag_embed(torch.stack([squares, rest, rest], dim=-1).sqrt())
    squares = torch.linalg.svdvals(A).square()
    network, size = chebyshev_unrolled(squares.min().item(), squares.max().item(), num_steps)
    found = predicted_residual(A, "unrolled", num_matmuls=2 * num_steps)
    assert found.high == pytest.approx(size, rel=1e-9) and found.score == found.high
    assert found.low <= worst(A, network(A)) <= found.high * (1 + 1e-9) + ROUNDING
    assert found.low >= 0.9 * found.high
    # with a bound raised by half the network would be a counterexample
    assert not worst(A, network(A)) >= 1.5 * found.low


@pytest.mark.parametrize("seed", range(5))
def test_no_unrolled_network_is_below_the_lower_end(seed):
    A = family("prescribed-spectrum", 4, kappa=10.0, kind="general")
    found = predicted_residual(A, "unrolled", num_matmuls=4)
    network = make_network("unrolled", 4, seed=0, num_steps=2)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn(2, generator=generator))
    assert 0 < found.low <= found.high < 1
    assert worst(A, network(A)) >= found.low * (1 - 1e-9)


def test_the_score_of_polynomials_is_chebyshevs_minimum_on_three_eigenvalues():
    """E_2({1, 5, 9}) = 1/T_2(5/4) = 8/17, whatever the norm; a normal matrix attains it."""
    for scale in (1.0, 1e-3):
        found = predicted_residual(scale * diagonal([1.0, 5.0, 9.0]), "polynomial", num_matmuls=0)
        assert found.score == found.low
        assert found.low <= 8 / 17 <= found.high <= 8 / 17 * 1.002
        assert found.low >= 8 / 17 * 0.998


def test_eigenvalues_predict_nothing_good_of_a_matrix_that_is_far_from_normal():
    """Grcar's eigenvalues stay away from 0, its field of values does not: the bracket stays open."""
    found = predicted_residual(family("grcar", 16, count=1), "polynomial")
    assert 0 < 50 * found.low < found.high


def test_a_spectrum_around_zero_defeats_polynomials_and_not_the_transpose():
    """{C + c I, |c| <= 1/2}: eigenvalues on circles around 0, condition number at most 3."""
    A = family("shift", 8)
    assert predicted_residual(A, "polynomial").score > 0.9
    assert predicted_residual(A, "unrolled").score < 1e-9


def test_scale_alone_defeats_constants_and_not_a_start_that_divides_by_the_norm():
    """{t I, .1 <= t <= 10}: condition number 1, spread (s - 1)/(s + 1) with s near 100."""
    A = family("scaled-identity", 4, count=200)
    assert predicted_residual(A, "plain-relu").score > 0.9
    assert predicted_residual(A, "unrolled").score < 1e-12


def test_where_no_constant_contracts_the_score_only_orders():
    """{diag(1, t), -diag(t, 1)} has q = 1, since each diagonal entry changes sign, and s = 1/t."""
    scores = []
    for t in (0.5, 0.1, 0.01):
        A = diagonal([1.0, t], [-t, -1.0])
        found = {kind: predicted_residual(A, kind) for kind in ("constant", "plain-gelu", "learned-start")}
        for prediction in found.values():
            assert prediction.high == 1 and prediction.score == pytest.approx(2 / (1 + t))
        scores.append(found["constant"].score)
    assert scores == sorted(scores) and len(set(scores)) == 3


def test_singular_and_zero_matrices_are_predicted_to_fail():
    A = torch.cat([diagonal([1.0, 2.0], [1.0, 0.0]), torch.zeros(1, 2, 2, dtype=torch.float64)])
    for kind in PREDICTED_KINDS:
        found = predicted_residual(A, kind)
        assert found.score >= 1 - 1e-3 and found.high >= 1 - 1e-3


@pytest.mark.parametrize("kind", PREDICTED_KINDS)
@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_a_prediction_does_not_depend_on_the_unit(kind, scale):
    A = family("wishart", 4, aspect=6.0)
    one, other = predicted_residual(A, kind), predicted_residual(scale * A, kind)
    assert one.score == pytest.approx(other.score, rel=0.05) and one.low <= one.high


@pytest.mark.parametrize("bad", BAD_MATRICES)
def test_bad_matrices_are_refused(bad):
    value, error, words = BAD_MATRICES[bad]
    for function in (plain_predictors, lambda A: predicted_residual(A, "unrolled")):
        with pytest.raises(error, match=words):
            function(value)


@pytest.mark.parametrize(
    ("kind", "products", "words"),
    [
        ("unroled", None, "use one of constant"),
        ("residual", 4, "has none; leave it out"),
        ("unrolled", 3, "pass an even number"),
        ("unrolled", 0, "start alone"),
        ("polynomial", 1000, "at most 40"),
        ("polynomial", -1, "num_matmuls"),
    ],
)
def test_what_cannot_be_predicted_is_refused_in_words(kind, products, words):
    with pytest.raises(ValueError, match=words):
        predicted_residual(torch.eye(2, dtype=torch.float64)[None], kind, num_matmuls=products)
    with pytest.raises(ValueError, match="one sample"):
        predicted_residual(torch.eye(2), "unrolled")


def test_the_plain_predictors_are_the_logarithms_of_what_they_say():
    A = diagonal([1.0, 2.0], [1.0, 4.0], [3.0, 3.0])
    A[:, 0, 1] = A[:, 1, 0] = 0.5
    found = plain_predictors(A)
    sigma, det = torch.linalg.svdvals(A), torch.linalg.det(A).abs()
    kappa = sigma[:, 0] / sigma[:, 1]
    for name, values in {"kappa": kappa, "det": 1 / det, "norm": sigma[:, 0]}.items():
        assert found[name] == pytest.approx(values.max().log().item(), rel=1e-12)
        assert found[f"{name}.median"] == pytest.approx(values.median().log().item(), rel=1e-12)
    assert found["entry"] == pytest.approx(math.log(2)) == found["entry.median"]
    singular = plain_predictors(torch.zeros(2, 2, 2, dtype=torch.float64))
    assert singular["kappa"] == singular["det"] == singular["entry"] == math.inf


def test_the_plain_predictors_of_a_random_sample_are_finite():
    assert all(math.isfinite(value) for value in plain_predictors(gaussian(50, 5)).values())
