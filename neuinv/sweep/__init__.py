"""Sweeps of a notebook over parameters, on one machine or many, which a kill cannot corrupt.

A run is a folder whose name is a hash of the notebook's cells, all of its parameters
and the package.  It is written aside by a process of its own and renamed into place
when every byte is on the disk, so a run is there or not, whatever is killed; a run that
is there is never computed again, so to resume is to run again.

>>> from neuinv.sweep import load_study
>>> load_study("why-cannot", profile="smoke", folder="nowhere")
Traceback (most recent call last):
...
FileNotFoundError: the study 'why-cannot' has no profile 'smoke' there; ...
"""

from neuinv.sweep.collect import Study, collect, load_study
from neuinv.sweep.compare import Agreement, agreement, parameter_key, result_columns, summarize
from neuinv.sweep.coverage import Coverage, coverage, run_name
from neuinv.sweep.driver import Result, prepare, run_plan
from neuinv.sweep.engines import Serial, connect, start_local
from neuinv.sweep.plan import Plan, Run, read_plan
from neuinv.sweep.progress import Progress
from neuinv.sweep.schema import Schema, read_schema
from neuinv.sweep.spec import Spec, read_spec
from neuinv.sweep.status import Status, read_status

__all__ = [
    # plan
    "Plan",
    "Run",
    "Schema",
    "Spec",
    "read_plan",
    "read_schema",
    "read_spec",
    # run
    "Progress",
    "Result",
    "Serial",
    "connect",
    "prepare",
    "run_plan",
    "start_local",
    # read
    "Agreement",
    "Coverage",
    "Status",
    "Study",
    "agreement",
    "collect",
    "coverage",
    "load_study",
    "parameter_key",
    "read_status",
    "result_columns",
    "run_name",
    "summarize",
]
