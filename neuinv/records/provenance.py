"""Where a number comes from: code, notebook, parameters, device, libraries, time."""

import ast
import hashlib
import json
import os
import platform
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib import metadata
from pathlib import Path

import neuinv

PACKAGE = Path(neuinv.__file__).resolve().parent
LIBRARIES = ("torch", "numpy", "scipy", "safetensors", "pandas", "matplotlib", "papermill", "python-flint")

# Tags by which papermill and nbclient place the parameters, leave a cell out, or let it raise.
RUN_TAGS = ("parameters", "injected-parameters", "skip-execution", "raises-exception")

# A file with one of these words may use a docstring for more than a reader; a carriage return or a form feed
# may be a line to one program and none to another.
READS_DOCSTRINGS = (b"__doc__", b"getdoc", b"register_family", b"\r", b"\f")

# What a notebook said about itself; its clock starts again when it does.
_context = {"parameters": {}, "notebook": None, "start": datetime.now(UTC), "clock": time.monotonic()}


def remember(parameters, notebook=None, seconds_ago=0.0):
    """Keep the parameters of a notebook for its records, and let its clock start now or some seconds ago."""
    _context.update(
        parameters=dict(parameters),
        notebook=notebook,
        start=datetime.now(UTC) - timedelta(seconds=seconds_ago),
        clock=time.monotonic() - seconds_ago,
    )


def provenance(parameters=None, notebook=None):
    """Return what a reader needs in order to repeat a run; no host, user or folder names.

    Parameters
    ----------
    parameters : dict, optional
        Of the run; by default those that ``notebook_parameters`` saw.
    notebook : str or Path, optional
        Slug or path; by default ``$NEUINV_NOTEBOOK``, else the slug given to ``notebook_parameters``.
    """
    parameters = _context["parameters"] if parameters is None else parameters
    notebook = notebook or os.environ.get("NEUINV_NOTEBOOK") or _context["notebook"]
    return {
        "package": {"version": neuinv.__version__, "hash": package_hash(), **_commit()},
        "notebook": _notebook(notebook),
        "parameters": parameters,
        "seed": parameters.get("seed"),
        "device": describe_device(parameters.get("device") or "auto"),
        "cpu": _cpu(),
        "system": f"{platform.system()} {platform.machine()}",
        "threads": _threads(),
        "libraries": _libraries(),
        "start": _context["start"].strftime("%Y-%m-%dT%H:%M:%SZ"),
        "wall_seconds": round(time.monotonic() - _context["clock"], 3),
    }


@cache
def package_hash():
    """Return a hash of every source and data file of the package, as 16 hexadecimal digits.

    Docstrings that only a reader sees are left out: a corrected sentence is no other code. Records from
    before this rule have hashes that took them in; hashes are only ever compared for being equal.
    """
    total = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc":
            # The length fences each file off: bytes moved from one to the next change the hash.
            content = _without_docstrings(path) if path.suffix == ".py" else path.read_bytes()
            total.update(f"{path.relative_to(PACKAGE).as_posix()}\0{len(content)}\0".encode())
            total.update(content)
    return total.hexdigest()[:16]


def _without_docstrings(path):
    """Return the bytes of a Python file without its docstrings, or all of them where code may read those."""
    content = path.read_bytes()
    if any(word in content for word in READS_DOCSTRINGS):
        return content
    try:
        nodes = list(ast.walk(ast.parse(content)))
    except (SyntaxError, ValueError):
        return content
    ends = [0]
    for line in content.split(b"\n"):
        ends.append(ends[-1] + len(line) + 1)
    # Cut from the text, whose bytes no version of Python changes, as it would those of a printed tree.
    spans = [
        (ends[first.lineno - 1] + first.col_offset, ends[first.end_lineno - 1] + first.end_col_offset)
        for first in (node.body[0] for node in nodes if _has_docstring(node))
    ]
    for start, end in sorted(spans, reverse=True):
        content = content[:start] + content[end:]
    return content


def _has_docstring(node):
    documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    return documented and ast.get_docstring(node, clean=False) is not None


def notebook_hash(path):
    """Return a hash of the cells of an .ipynb, prose included and outputs aside, as 16 hexadecimal digits.

    Raises
    ------
    ValueError
        Not a notebook.
    """
    return _short_digest([[kind, source] for kind, source, _ in _cells(path)])


def code_hash(path):
    """Return a hash of what a run of an .ipynb executes, as 16 hexadecimal digits.

    It takes in the code cells in their order and those of their tags that change a run. It leaves out prose,
    outputs and all that only shows: a corrected sentence is no other run. The kernel is that of the runner.

    Raises
    ------
    ValueError
        Not a notebook.
    """
    code = [(source, tags) for kind, source, tags in _cells(path) if kind == "code"]
    return _short_digest([[source, [tag for tag in RUN_TAGS if tag in tags]] for source, tags in code])


def _cells(path):
    """Return kind, source and tags of every cell."""
    try:
        cells = json.loads(Path(path).read_text(encoding="utf-8"))["cells"]
        # The format allows a source as one string or as a list of lines: hash the joined text.
        return [(cell["cell_type"], "".join(cell["source"]), _tags(cell)) for cell in cells]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(f"{Path(path).name} is not a notebook; pass an .ipynb file.") from None


def _tags(cell):
    metadata = cell.get("metadata")
    tags = metadata.get("tags") if isinstance(metadata, dict) else None
    return tags if isinstance(tags, list) else []


def _short_digest(value):
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]


def _notebook(notebook):
    if not notebook:
        return None
    path = Path(notebook)
    if path.suffix != ".ipynb":
        path = PACKAGE.parent / "notebooks" / f"{path.name}.ipynb"
    there = path.is_file()
    return {
        "slug": path.stem,
        "hash": notebook_hash(path) if there else None,
        "code": code_hash(path) if there else None,
    }


@cache
def _commit():
    """Return the git commit the package is at, and whether its files differ from it."""
    # A copy in site-packages below somebody else's checkout is not part of that checkout.
    if _output("git", "-C", str(PACKAGE), "ls-files", "--error-unmatch", "__init__.py") is None:
        return {"commit": None, "dirty": None}
    changes = _output("git", "-C", str(PACKAGE), "status", "--porcelain", "--", ".")
    return {
        "commit": _output("git", "-C", str(PACKAGE), "rev-parse", "--verify", "-q", "HEAD"),
        "dirty": None if changes is None else bool(changes),
    }


def _output(*command):
    """Return what a command prints, or None when it is missing, fails or hangs."""
    # Without optional locks a status running beside somebody's commit cannot get in its way.
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, env=environment)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def describe_device(device="auto"):
    """Return the type, name and driver of a torch device.

    Raises
    ------
    ValueError
        A device torch does not know or does not have.
    """
    # The CPU is there without asking torch, which takes seconds to load.
    if str(device) == "cpu":
        return {"type": "cpu", "name": _cpu(), "driver": None}

    import torch

    from neuinv._checks import resolve_device

    chosen = resolve_device(device)
    if chosen.type != "cuda":
        return {"type": chosen.type, "name": _cpu() if chosen.type == "cpu" else chosen.type, "driver": None}
    return {
        "type": "cuda",
        "name": torch.cuda.get_device_name(chosen),
        "driver": _driver(),
        "cuda": torch.version.cuda,
    }


@cache
def _driver():
    versions = _output("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
    return versions.splitlines()[0].strip() if versions else None


@cache
def _cpu():
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _threads():
    # A run that never loaded torch has none of its threads.
    torch = sys.modules.get("torch")
    return torch.get_num_threads() if torch else None


@cache
def _libraries():
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
