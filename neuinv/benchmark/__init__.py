"""Time methods of inversion against each other, at equal measured residual.

:func:`plan_cells` says which cells a device measures, :func:`run_cell` measures one, and
:func:`load_speed` reads what ``make bench`` recorded; :func:`break_even` compares the fastest direct method
with the fastest polynomial scheme among those whose measured right residual is small enough.
"""

from neuinv.benchmark.ceilings import ceilings, floor_time
from neuinv.benchmark.cells import Cell, Measured, environment, plan_cells, run_cell
from neuinv.benchmark.methods import Method, gauss_jordan, methods_for
from neuinv.benchmark.results import SpeedRecord, break_even, fastest, load_speed, speed_values
from neuinv.benchmark.timing import Quartiles, interleaved, quartiles

__all__ = [
    "Cell",
    "Measured",
    "Method",
    "Quartiles",
    "SpeedRecord",
    "break_even",
    "ceilings",
    "environment",
    "fastest",
    "floor_time",
    "gauss_jordan",
    "interleaved",
    "load_speed",
    "methods_for",
    "plan_cells",
    "quartiles",
    "run_cell",
    "speed_values",
]
