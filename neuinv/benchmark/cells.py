"""One cell of the benchmark: matrices of one size, condition number, kind and dtype, and every method."""

import time
from dataclasses import dataclass

import torch

from neuinv.benchmark.methods import methods_for
from neuinv.benchmark.timing import Quartiles, interleaved, quartiles, time_once
from neuinv.gallery import family

__all__ = ["Cell", "Measured", "environment", "plan_cells", "run_cell"]

SIZES = {"cpu": (2, 4, 8, 16, 32, 64, 128, 256, 512), "cuda": (2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)}
KAPPAS = (10.0, 100.0, 1e3, 1e4)
# Entries of a batch, in float32 half a MB on the CPU, whose caches are small, and 64 MB on CUDA.
ENTRIES = {"cpu": 2**17, "cuda": 2**24}
MOST_MATRICES = {"cpu": 2**12, "cuda": 2**20}
MOST_DISTINCT = 256
REPETITIONS = 20
# A method that would take longer in all its repetitions has fewer, but not fewer than FEWEST.
SECONDS = {"cpu": float("inf"), "cuda": 0.3}
FEWEST = 3
SQUARINGS = 12  # sqrt(1024)^(1 / 2^12) - 1 is 0.08 %


@dataclass(frozen=True)
class Cell:
    """What is measured together: ``batch`` matrices n x n with spectrum in [1/kappa, 1]."""

    n: int
    kappa: float
    kind: str  # "spd" or "general"
    dtype: str  # "float32" or "float64"
    batch: int

    @property
    def distinct(self):
        """How many different matrices the residuals are measured on; the batch repeats them."""
        return max(4, min(MOST_DISTINCT, 2048 // self.n))


@dataclass(frozen=True)
class Measured:
    """One method in one cell; times in seconds for the whole batch, residuals right and dimensionless."""

    method: str
    group: str
    time: Quartiles | None  # None where the method failed
    residual_median: float
    residual_worst: float
    matmuls: float
    check_matmuls: float = 0.0
    accepted: float = 1.0  # share of the matrices with a proof, for the front door
    direct: float = 0.0  # share that the front door left to a direct solver
    note: str = ""


def plan_cells(device, sizes=None, kappas=KAPPAS, dtypes=("float32", "float64"), entries=None):
    """Return the cells of a device, small condition numbers first, and of each small matrices first.

    On CUDA, where a run may have to end early, kappa <= 100, float32 and n >= 32 come before the others, in
    this order of importance.

    Parameters
    ----------
    device : {"cpu", "cuda"}
        The type of device.
    sizes, kappas, dtypes : sequence
        Of n (by default powers of 2 up to 512, on CUDA 1024), of condition numbers, and of the names of
        dtypes.
    entries : int, optional
        Entries n * n * batch of a batch, at most, unless one matrix has more.

    Raises
    ------
    ValueError
        A size below 1, a condition number below 2, an unknown dtype, or nothing to measure.

    Examples
    --------
    >>> len(plan_cells("cpu")), plan_cells("cpu", sizes=[64])[0].batch
    (144, 32)
    """
    sizes = SIZES[device] if sizes is None else sizes
    for n in sizes:
        if n < 1:
            raise ValueError(f"a size is {n}; pass integers >= 1.")
    for kappa in kappas:
        if not 2 <= kappa <= 1e6:
            raise ValueError(f"a condition number is {kappa:g}; pass numbers from 2 to 1e6.")
    for dtype in dtypes:
        if dtype not in ("float32", "float64"):
            raise ValueError(f"a dtype is {dtype!r}; use float32 or float64.")
    entries, most = ENTRIES[device] if entries is None else entries, MOST_MATRICES[device]
    cells = [
        Cell(n, float(kappa), kind, dtype, max(1, min(most, entries // (n * n))))
        for kappa in sorted(kappas)
        for n in sorted(sizes)
        for kind in ("spd", "general")
        for dtype in dtypes
    ]
    if not cells:
        raise ValueError("there is no cell to measure; name at least one size, condition number and dtype.")
    if device == "cuda":
        cells.sort(key=lambda cell: (cell.kappa > 100, cell.dtype != "float32", cell.n < 32))
    return cells


def run_cell(cell, device, repetitions=REPETITIONS, seed=0):
    """Measure every method on one cell.

    Each method runs twice before it is timed, once for its residuals on the different matrices of the cell
    and once on the batch.

    Parameters
    ----------
    cell : Cell
    device : torch.device
    repetitions : int
        How often each method is timed, in random orders; on CUDA slow ones less often, which ``note`` says.
    seed : int
        Of matrices and orders.

    Returns
    -------
    list of Measured
        A method that raised has no time and says why in ``note``.
    dict
        ``cpu_share``, and the ``seconds`` that the cell took.
    """
    began = time.perf_counter()
    dtype = getattr(torch, cell.dtype)
    source = family("prescribed-spectrum", n=cell.n, kappa=cell.kappa, kind=cell.kind)
    sample = source.sample(cell.distinct, seed=seed, dtype=dtype, device=device)
    times = -(-cell.batch // cell.distinct)
    A = sample.repeat(times, 1, 1)[: cell.batch].contiguous()
    square = sample.double().square().sum(dim=(-2, -1))
    smallest = float((cell.kappa**-2 / square).min())
    found, functions = {}, {}
    for method in methods_for(cell.kind, cell.kappa, dtype, cell.n, smallest, device):
        found[method.name] = measured = _measure(method, sample)
        if not measured.note and _runs(method, A, found):
            functions[method.name] = lambda run=method.run: run(A)
    counts = {name: _repetitions(function, repetitions, device) for name, function in functions.items()}
    recorded, share = interleaved(functions, counts, device, seed)
    if device.type == "cuda":
        torch.cuda.empty_cache()
    rows = [
        _timed(row, recorded[name], repetitions) if name in recorded else row for name, row in found.items()
    ]
    return rows, {"cpu_share": share, "seconds": time.perf_counter() - began}


def _repetitions(function, repetitions, device):
    """Return how often a function that has run before is timed."""
    if SECONDS[device.type] == float("inf"):
        return repetitions
    once = max(time_once(function, device), 1e-9)
    return max(min(FEWEST, repetitions), min(repetitions, int(SECONDS[device.type] / once)))


def _timed(row, times, repetitions):
    note = "" if len(times) == repetitions else f"{len(times)} repetitions"
    return Measured(**{**vars(row), "time": quartiles(times), "note": note})


def _measure(method, sample):
    """Return the residuals of a method on the sample, and what it says about itself."""
    try:
        result = method.run(sample)
    except Exception as error:  # whatever a compiler or a library raises, the other methods go on
        return _failed(method, error)
    more = {"matmuls": method.num_matmuls}
    if method.group == "product":
        return Measured(method.name, method.group, None, float("nan"), float("nan"), **more)
    if method.group == "front":
        share = len(sample)
        more = {
            "matmuls": float(result.num_matmuls),
            "check_matmuls": float(result.num_check_matmuls),
            "accepted": float(result.accepted.double().mean()),
            "direct": sum(status.direct for status in result.status) / share,
        }
        result = result.X
    residual = _right_residual(sample, result)
    return Measured(method.name, method.group, None, float(residual.median()), float(residual.max()), **more)


def _failed(method, error):
    note = type(error).__name__.lstrip("_")
    return Measured(
        method.name, method.group, None, float("inf"), float("inf"), method.num_matmuls, note=note
    )


def _runs(method, A, found):
    """Warm up on the batch; a method that fails there, for want of memory say, gets a note."""
    try:
        method.run(A)
        return True
    except Exception as error:
        found[method.name] = _failed(method, error)
        return False


def _right_residual(A, X):
    """Return ||AX - I||_2 in float64, infinite where X is not finite."""
    R = A.double() @ X.double()
    R.diagonal(dim1=-2, dim2=-1).sub_(1)
    finite = torch.isfinite(R).all(dim=-1).all(dim=-1)
    R = torch.where(finite[:, None, None], R, 0.0)
    # From R^T R: half of the digits are lost for the small singular values, none for the largest.
    gram = R.mT @ R
    slow = gram.is_cuda and gram.shape[-1] > 32
    norm = (_largest_eigenvalue(gram) if slow else torch.linalg.eigvalsh(gram)[:, -1].clamp(min=0)).sqrt()
    return torch.where(finite, norm, torch.inf)


def _largest_eigenvalue(G):
    """Return that of G (batch, n, n), symmetric and semidefinite, or at most 0.1 % more.

    By repeated squaring: the Frobenius norm of G^(2^k) is at most sqrt(n) times its largest eigenvalue. A
    library's eigenvalues of large matrices would take longer on CUDA than all the methods.
    """
    logarithm, power = torch.zeros(len(G), dtype=G.dtype, device=G.device), 1.0
    for _ in range(SQUARINGS):
        size = torch.linalg.matrix_norm(G).clamp(min=torch.finfo(G.dtype).tiny)
        logarithm += size.log() / power
        G = G / size[:, None, None]
        G, power = G @ G, 2 * power
    size = torch.linalg.matrix_norm(G).clamp(min=torch.finfo(G.dtype).tiny)
    return (logarithm + size.log() / power).exp()


def environment(device):
    """Return versions, libraries and settings that decide how fast torch is on a device.

    Returns
    -------
    dict
        Of strings and numbers.
    """
    build = torch.__config__.show().splitlines()
    lines = [line.strip(" -") for line in build if "Math Kernel" in line or "MKL-DNN" in line]
    blas = [part.strip() for line in build for part in line.split(",") if "BLAS_INFO" in part]
    found = {
        "threads": torch.get_num_threads(),
        "blas": ", ".join(dict.fromkeys(blas)),
        "libraries": lines,
        "mkl": torch.backends.mkl.is_available(),
        "mkldnn": torch.backends.mkldnn.is_available(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
    }
    if device.type == "cuda":
        found |= {
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
            "magma": torch.cuda.has_magma,
            "preferred_linalg_library": str(torch.backends.cuda.preferred_linalg_library()),
            "memory_gib": round(torch.cuda.get_device_properties(device).total_memory / 2**30, 1),
            "multiprocessors": torch.cuda.get_device_properties(device).multi_processor_count,
        }
    return found
