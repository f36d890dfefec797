"""Passes over matrices are counted as they are known to be; what the front door costs is a ratio of times."""

import pytest
import torch

from neuinv.benchmark import Cell, Measured, Quartiles, load_speed, price, speed_values
from neuinv.benchmark import environment as describe
from neuinv.benchmark.passes import count_passes
from neuinv.iterations import ScaledNewtonSchulz
from neuinv.iterations.lean import lean_inverse
from neuinv.records import write_record

A = torch.diag_embed(torch.linspace(0.1, 1, 24).reshape(3, 8))


@pytest.mark.parametrize(
    ("function", "operations", "products", "passes", "double", "traffic"),
    [
        (lambda A: A + A, 1, 0, 3, 0, 12),
        (lambda A: A.mT @ A, 1, 1, 0, 0, 0),
        (lambda A: A.mT, 0, 0, 0, 0, 0),
        (lambda A: A.double(), 1, 0, 2, 1, 12),
        (lambda A: A.clone().mul_(2.0), 2, 0, 4, 0, 16),
        (lambda A: A.abs().sum(dim=(-2, -1)), 2, 0, 3, 0, 12),
        (lambda A: torch.zeros(3), 0, 0, 0, 0, 0),
    ],
)
def test_known_calls_have_known_passes(function, operations, products, passes, double, traffic):
    found = count_passes(function, A)
    assert (found.operations, found.products) == (operations, products)
    assert (found.passes, found.double, found.traffic) == (passes, double, traffic)


def test_the_products_of_a_scheme_are_counted_and_one_step_more_takes_two():
    counts = [
        count_passes(lambda A, k=k: lean_inverse(ScaledNewtonSchulz(k), A, (0.1, 1.0)), A).products
        for k in (3, 4)
    ]
    assert counts == [ScaledNewtonSchulz(k).num_matmuls for k in (3, 4)] and counts[1] == counts[0] + 2


def test_the_front_door_passes_over_its_matrices_many_times_more_than_steps_do():
    lines = [line.split() for line in price.pass_lines(sizes=(16,))[1:]]
    passes = {(line[1], line[2]): int(line[-3]) for line in lines}
    double = {(line[1], line[2]): int(line[-2]) for line in lines}
    for kind in ("spd", "gen"):
        assert passes[kind, "front"] > 5 * passes[kind, "lean"]
        assert double[kind, "front"] > 0 == double[kind, "lean"]


def made_up(folder, front, accepted=1.0):
    """Return a record of one cell in which a scheme takes 1 s, a direct method 4 s."""
    entries = [("inv", "direct", 4.0), ("lean 1e-03 exact", "polynomial", 1.0)]
    entries += [("front 1e-03", "front", front), ("front 1e-03 unknown", "front", 3 * front)]
    rows = [
        Measured(name, group, Quartiles(time, time, time), 1e-4, 1e-4, 3.0, accepted=accepted)
        for name, group, time in entries
    ]
    cell = (Cell(64, 10.0, "spd", "float32", 8), rows, {"cpu_share": 1.0, "seconds": 1.0})
    write_record(folder, speed_values([cell], 1, describe(torch.device("cpu"))), parameters={})
    return load_speed(folder)[0]


def test_the_price_of_the_front_door_is_a_ratio_of_medians(tmp_path):
    line = price.door_lines(made_up(tmp_path / "a", 6.0), 1e-3)[1]
    assert line.split() == "64 32 1 6.00 to 6.00 1.50 to 1.50 3.00 to 3.00".split()
    # Negative control: a front door that did not prove each matrix has no price.
    assert len(price.door_lines(made_up(tmp_path / "b", 6.0, accepted=0.5), 1e-3)) == 1
