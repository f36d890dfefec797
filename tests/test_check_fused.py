"""What the check of the kernels allows: their own rounding passes, and one wrong coefficient does not."""

import check_fused
import pytest
import torch

from neuinv.gallery import family
from neuinv.iterations import best_scheme
from neuinv.iterations import lean as lean_module
from neuinv.iterations.lean import lean_inverse

INTERVAL = (1 / check_fused.KAPPA, 1.0)
KINDS = ["spd", "general"]


def matrices(n, kind):
    """Return what the tool checks on: each matrix twice."""
    source = family("prescribed-spectrum", n=n, kappa=check_fused.KAPPA, kind=kind)
    return source.sample(check_fused.DISTINCT, seed=n, dtype=torch.float32).repeat(2, 1, 1)


def exact_runs(n, kind):
    """Return the schemes whose products are as good as those in float32."""
    return [(name, scheme) for name, _, scheme, _ in check_fused._runs(n, kind) if name == "lean exact"]


def passes(name, scheme, A, X):
    _, held, limit, same = check_fused.judge(name, scheme, A, X)
    return same and held <= limit


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [64, 128])
def test_a_scheme_in_other_words_passes(n, kind):
    A = matrices(n, kind)
    assert len(exact_runs(n, kind)) == 2
    for name, scheme in exact_runs(n, kind):
        assert passes(name, scheme, A, lean_inverse(scheme, A, INTERVAL))


@pytest.mark.parametrize("kind", KINDS)
def test_the_rounding_of_a_program_of_large_growth_passes_although_it_is_far_above_its_supremum(kind):
    """Of a program that is chosen without a dtype; this is why the allowance is no number."""
    A, scheme = matrices(128, kind), best_scheme(check_fused.KAPPA, 1e-3, kind)
    X = lean_inverse(scheme, A, INTERVAL)
    residual, held, limit, _ = check_fused.judge("lean exact", scheme, A, X)
    assert 2 * scheme.worst_residual(check_fused.KAPPA) < residual and held <= limit


@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_coefficient_is_found(kind, monkeypatch):
    """One coefficient is off by 2 % of itself, or 0.02 where it is 0."""
    A = matrices(64, kind)
    for name, scheme in exact_runs(64, kind):
        _, values = lean_module.shared_coefficients(scheme, INTERVAL, torch.float32, A.device)
        for place in range(len(values)):
            wrong = [v * 1.02 + 0.02 * (v == 0) if i == place else v for i, v in enumerate(values)]
            given = torch.tensor(wrong, dtype=torch.float32), tuple(wrong)
            monkeypatch.setattr(lean_module, "shared_coefficients", lambda *_, given=given: given)
            assert not passes(name, scheme, A, lean_inverse(scheme, A, INTERVAL)), (scheme, place)
        monkeypatch.undo()


def test_a_matrix_that_is_inverted_otherwise_than_its_copy_is_found():
    A = matrices(64, "spd")
    ((name, scheme), _) = exact_runs(64, "spd")
    X = lean_inverse(scheme, A, INTERVAL)
    assert passes(name, scheme, A, X)
    X[-1, 0, 0] += 0.1
    assert not passes(name, scheme, A, X)
