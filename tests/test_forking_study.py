"""What the page of a family calls: splits, signs, errors, schemes and the comparison."""

import math

import numpy as np
import pytest
import torch

import neuinv
from neuinv import forking
from neuinv.gallery import GivenMatrices, fingerprint

EYE = torch.eye(3, dtype=torch.float64)


def numbered(count):
    """Return count different multiples of the identity."""
    return torch.arange(1, count + 1, dtype=torch.float64)[:, None, None] * EYE


@pytest.mark.parametrize("count", [2, 3, 10])
def test_no_given_matrix_is_both_trained_on_and_judged_by(count):
    parts = forking.split(GivenMatrices(numbered(count)), seed=0)
    train, test = ({A[0, 0].item() for A in part} for part in (parts.train, parts.test))
    assert train and test and not train & test and len(train | test) == count


def test_a_family_is_split_by_seeds_and_sampled_from_the_training_part_alone():
    parts = forking.split(neuinv.family("gaussian", n=2), seed=3, num_train=5, num_test=4)
    assert parts.train.shape == (5, 2, 2) and parts.test.shape == (4, 2, 2)
    drawn = parts.sampler()(50, torch.Generator().manual_seed(0))
    away = (drawn[:, None] - parts.train).abs().amax(dim=(-2, -1)).min(dim=1).values
    assert drawn.shape == (50, 2, 2) and (away == 0).all()
    assert (drawn[:, None] - parts.test).abs().amax(dim=(-2, -1)).min() > 0


def test_one_given_matrix_cannot_be_split():
    with pytest.raises(ValueError, match="holds 1 matrix; a network needs at least 2"):
        forking.split(GivenMatrices(EYE), seed=0)


def test_opposite_signs_are_those_of_the_best_conditioned_members():
    A = torch.stack([torch.diag(torch.tensor(d).double()) for d in ([1.0, 9.0], [1.0, 2.0], [-1.0, 3.0])])
    plus, minus = forking.opposite_signs(A)
    assert torch.equal(plus, A[1]) and torch.equal(minus, A[2])
    assert forking.opposite_signs(A[:2]) is None
    # a sign that only rounding has is none
    assert (
        forking.opposite_signs(torch.stack([A[0], torch.diag(torch.tensor([1.0, -1e-17]).double())])) is None
    )


def test_errors_tell_the_inverse_from_zero_and_a_lost_answer():
    A = numbered(4)
    exact = forking.errors(A, torch.linalg.inv(A))
    assert exact.worst_residual < 1e-15 and exact.worst_forward < 1e-15 and "< 1e-12" in str(exact)
    zero = forking.errors(A, torch.zeros(3, 3))
    assert (zero.residual, zero.worst_residual, zero.forward, zero.worst_forward) == (1, 1, 1, 1)
    X = torch.linalg.inv(A)
    X[2, 0, 0] = torch.nan
    lost = forking.errors(A, X)
    assert lost.worst_residual == lost.worst_forward == math.inf and lost.residual < 1e-15


def test_singular_members_count_for_the_residual_and_not_for_the_forward_error():
    A = torch.cat([numbered(3), torch.ones(1, 3, 3, dtype=torch.float64)])
    found = forking.errors(A, torch.cat([torch.linalg.inv(A[:3]), torch.zeros(1, 3, 3)]))
    assert found.worst_residual == 1 and found.worst_forward < 1e-15
    assert math.isnan(forking.errors(A[3:], torch.zeros(3, 3)).forward)


@pytest.mark.parametrize("kind", ["spd", "general"])
def test_a_scheme_of_the_table_reaches_the_tolerance_and_one_step_less_does_not(kind):
    for row in forking.scheme_rows(20.0, 1e-3, kind):
        assert row.num_matmuls == row.scheme.num_matmuls
        assert row.scheme.worst_residual(20.0) <= 1e-3
        fewer = type(row.scheme)(row.scheme.num_steps - 1, kind=kind)
        assert fewer.worst_residual(20.0) > 1e-3 or type(row.scheme).__name__ == "Hyperpower"
    assert all(row.num_matmuls is None for row in forking.scheme_rows(math.inf, 1e-3, kind))


@pytest.mark.parametrize("low", [1.0, 1e-3])
def test_the_residual_is_proved_inside_the_interval_of_the_verdict_and_not_outside(low):
    A = torch.diag_embed(torch.tensor([[low, 2.0], [1.5, low], [2.0, low]], dtype=torch.float64))
    verdict = neuinv.verdict(A, tolerance=1e-2)
    (row, *_) = forking.scheme_rows(verdict.products.ratio, 1e-2, verdict.products.kind)
    assert forking.worst_residual(row.scheme, A, verdict) <= 1e-2
    assert (
        forking.worst_residual(row.scheme, torch.diag_embed(torch.tensor([[9.0, 1e-6]]).double()), verdict)
        > 0.9
    )
    assert math.isnan(forking.worst_residual(None, A, verdict))


def test_the_committed_comparison_has_every_family_of_the_gallery_once():
    values = forking.book_families()["values"]
    assert [row["name"] for row in values["families"]] == sorted(fingerprint.SETTINGS)


def test_the_comparison_is_in_the_order_of_condition_and_its_own_row_replaces_a_namesake():
    record = forking.book_families()
    verdict = neuinv.verdict(neuinv.family("wishart", n=4, aspect=8.0), samples=20)
    rows = forking.comparison(record, verdict)
    assert len(rows) == len(record["values"]["families"])
    assert [row.median for row in rows] == sorted(row.median for row in rows)
    (own,) = [row for row in rows if row.own]
    assert own.name == "wishart" and own.n == 4 and str(own).startswith("* wishart")


def test_the_record_is_looked_for_inside_the_project_only(tmp_path):
    with pytest.raises(ValueError, match="is not inside the project"):
        forking.book_families(tmp_path)


def test_a_file_is_found_in_the_present_folder_or_above_it(tmp_path, monkeypatch):
    np.save(tmp_path / "mine.npy", numbered(4).numpy())
    np.savez(tmp_path / "two.npz", A=numbered(2).numpy(), B=numbered(5).numpy())
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    assert forking.open_family("", source="mine.npy").count == 4
    assert forking.open_family("", source="two.npz:B").count == 5
    assert forking.open_family("wishart", {"n": 3}).n == 3
    with pytest.raises(FileNotFoundError, match=r"none\.npy"):
        forking.open_family("", source="none.npy")
    with pytest.raises(ValueError, match=r"source 'mine\.npy'; leave one out"):
        forking.open_family("", {"n": 3}, "mine.npy")
