"""The ascent finds the worst matrix of a domain, and takes no failure for a success."""

import math

import pytest
import torch
from cases import maps

import neuinv
from neuinv import metrics

INF = float("inf")


def line(**changes):
    return neuinv.family("scaled-identity", n=2, **changes)


def scale(A):
    """Return t of t I."""
    return A.diagonal(dim1=-2, dim2=-1).mean(dim=-1)


def test_the_worst_case_finds_the_boundary_of_the_domain():
    """f = 0 at the far end: r(t) = |1 - t| for f = I on {tI : t in [0.1, 3]} is largest at t = 3."""
    family = neuinv.family("scaled-identity", n=2, low=0.1, high=3.0)
    found = neuinv.worst_case(
        lambda A: torch.eye(2).double().expand_as(A), family, seed=0, batch=4, num_steps=60
    )
    assert found.value == pytest.approx(2.0, abs=1e-6)
    assert found.value >= found.sampled_value
    assert torch.allclose(found.matrix, 3 * torch.eye(2).double(), atol=1e-6)


def test_the_worst_case_beats_the_sample_and_stays_in_the_domain():
    family = neuinv.family("prescribed-spectrum", n=4, kappa=50.0, kind="spd")
    f = maps(4)["newton-schulz"]
    found = neuinv.worst_case(f, family, seed=0, batch=16, num_steps=60)
    assert found.value > found.sampled_value
    assert metrics.condition_number(found.matrix) <= 50 * (1 + 1e-9)
    assert found.value == pytest.approx(neuinv.right_residual(found.matrix, f(found.matrix)).item())


def test_the_worst_case_of_a_map_with_infinite_outputs_is_infinite():
    family = neuinv.family("scaled-identity", n=2)
    assert neuinv.worst_case(lambda A: A / 0.0, family, seed=0).value == float("inf")


def test_the_worst_case_needs_a_domain():
    with pytest.raises(ValueError, match="declares no domain"):
        neuinv.worst_case(torch.zeros_like, neuinv.family("gaussian", n=2), seed=0)


def test_a_product_that_overflows_is_the_worst_case_not_the_best():
    """X = 1e307 A is finite and A X is not: a residual of NaN would lose every comparison."""
    found = neuinv.worst_case(lambda A: A * 1e307, line(low=0.5, high=40.0), seed=0, batch=8, num_steps=2)
    assert found.value == found.sampled_value == INF


def test_a_measure_without_a_value_counts_as_infinite():
    def measure(A, X):
        return torch.where(scale(A) > 5, torch.nan, scale(A))

    found = neuinv.worst_case(torch.zeros_like, line(low=0.5), seed=0, batch=4, num_steps=50, measure=measure)
    assert found.value == INF and scale(found.matrix) > 5


def test_the_steps_shrink_to_a_hundredth_of_the_first():
    """A measure that falls with t is climbed by the factors 1 - s_k, s_k from 0.1 towards 0.001."""
    seen = []

    def measure(A, X):
        seen.append(scale(A.detach()).item())
        return -scale(A)

    family = line(low=1e-9, high=10.0)
    neuinv.worst_case(torch.zeros_like, family, seed=0, batch=1, num_steps=10, measure=measure)
    steps = torch.tensor(seen, dtype=torch.float64).log().diff().expm1()
    assert torch.allclose(-steps, 0.1 * 0.01 ** (torch.arange(10).double() / 10), rtol=1e-2)


def test_the_best_is_kept_when_a_step_leads_down():
    """Steps as long as the matrix itself leave the narrow peak and do not come back."""
    seen = []

    def measure(A, X):
        value = -(scale(A) - 2.0).abs()
        seen.append(value.detach().max().item())
        return value

    found = neuinv.worst_case(
        torch.zeros_like, line(low=1.0, high=9.0), seed=1, batch=1, num_steps=3, step=5.0, measure=measure
    )
    assert found.value == max(seen) > seen[-1]
    assert found.value == -abs(scale(found.matrix).item() - 2.0)


def test_a_gradient_without_a_value_moves_nothing():
    """sqrt(0 t) has the gradient 0 times infinity; the member stays where it is."""

    def measure(A, X):
        return scale(A) + (0 * scale(A)).sqrt()

    found = neuinv.worst_case(torch.zeros_like, line(), seed=0, batch=4, num_steps=3, measure=measure)
    assert found.value == found.sampled_value


def test_no_steps_give_the_worst_of_the_sample():
    found = neuinv.worst_case(
        torch.zeros_like, line(), seed=0, batch=4, num_steps=0, measure=lambda A, X: scale(A)
    )
    assert found.value == found.sampled_value and found.num_evaluations == 4


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"num_steps": -1}, ValueError, "num_steps is -1; pass an integer >= 0"),
        ({"num_steps": "3"}, TypeError, "num_steps is '3'; pass an integer >= 0"),
        ({"num_steps": True}, TypeError, "num_steps is True"),
        ({"step": "x"}, TypeError, "step is 'x'; pass a number > 0"),
        ({"step": 0}, ValueError, "step is 0; pass a finite number > 0"),
        ({"step": math.nan}, ValueError, "step is nan"),
        ({"family": None}, TypeError, "family is a NoneType; pass one such as"),
        ({"batch": 0}, ValueError, "batch is 0"),
        ({"f": lambda A: A[:1]}, ValueError, r"f maps \(4, 2, 2\) to \(1, 2, 2\)"),
        ({"f": lambda A: 3.0}, TypeError, "f returns a float"),
    ],
)
def test_a_search_that_cannot_be_made_is_refused(changes, error, message):
    arguments = {"f": torch.zeros_like, "family": line(), "batch": 4, **changes}
    with pytest.raises(error, match=message):
        neuinv.worst_case(arguments.pop("f"), arguments.pop("family"), seed=0, **arguments)
