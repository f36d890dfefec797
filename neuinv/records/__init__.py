"""Records of runs: what was computed, from what, with what, where, and how long it took.

A notebook starts with ``parameters = notebook_parameters(globals())``, which refuses
parameters it does not have, and ends with ``neuinv.record(...)``, which writes one
small JSON file into the folder named by ``$NEUINV_RUN_DIR`` and does nothing when
that is unset.  A run of a study lives in a folder named by a hash of what it
computes, so that *resume* means *run again*.
"""

from neuinv.records.files import load_records, record, write_record
from neuinv.records.parameters import notebook_parameters
from neuinv.records.provenance import code_hash, notebook_hash, package_hash
from neuinv.records.runs import RunFolder, is_complete, partial_runs, run_folder, run_key

__all__ = [
    "RunFolder",
    "code_hash",
    "is_complete",
    "load_records",
    "notebook_hash",
    "notebook_parameters",
    "package_hash",
    "partial_runs",
    "record",
    "run_folder",
    "run_key",
    "write_record",
]
