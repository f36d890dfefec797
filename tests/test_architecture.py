"""The package keeps its own rules: who imports whom, and what is documented.

Each rule is a function from source text to a list of complaints, so that it can be shown an offender.
"""

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "neuinv"
LAYERS = {
    "_checks": -1,
    "_files": -1,
    "_linalg": -1,
    # laws of random matrices, on NumPy and SciPy alone: the spectrum of a sample uses its tail estimator
    "gaussian_tail": -1,
    "gallery": 0,
    "spectrum": 0,
    "iterations": 0,
    "metrics": 0,
    "lipschitz": 0,
    "records": 0,
    "certificates": 0,
    "exact_maps": 0,
    "laws": 0,
    "networks": 1,
    "learned_start": 1,
    "criterion": 1,
    # how a GPU repeats a step of a training
    "graphs": 0,
    # below the ensembles, which return its results
    "training": 1,
    "witnesses": 2,
    "lipschitz_price": 2,
    "ensembles": 2,
    "canonical": 2,
    "inverse": 2,
    "scaling": 3,
    "sweep": 3,
    "forking": 3,
    "family_cells": 3,
    "family_calls": 2,
    "family_tables": 3,
    "plotting": 3,
    "benchmark": 3,
    "peers": 3,
    "cli": 4,
    "__main__": 5,
}
# Whatever else a module needs it imports where it is used: it is an optional extra, or slow to load.
BASE = {"torch", "numpy", "scipy", "safetensors", "tqdm", "neuinv"}
MAX_LINES = 400


def modules():
    """Map dotted name below neuinv to file, the package itself left out."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if name:
            found[name] = path
    return found


def imports(source, package="neuinv"):
    """Return (dotted name, is it read when the module is) for every import in ``source``."""
    found = []

    def visit(node, at_import):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        if isinstance(node, ast.Import):
            found.extend((alias.name, at_import) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join([package] * (node.level > 0) + [node.module] * bool(node.module))
            inside = base == "neuinv"
            found.extend((f"{base}.{a.name}" if inside else base, at_import) for a in node.names)
        for child in ast.iter_child_nodes(node):
            function = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            visit(child, at_import and not function)

    visit(ast.parse(source), True)
    return found


def import_complaints(name, source):
    """Return what the imports of the module ``name`` (below neuinv) break."""
    own = name.split(".")[0]
    if own != "verify" and own not in LAYERS:
        return [f"{name} has no layer; add it to LAYERS in tests/test_architecture.py"]
    complaints = []
    for imported, at_import in imports(source):
        top, _, rest = imported.partition(".")
        target = rest.split(".")[0]
        if top in ("notebooks", "tests", "tools"):
            complaints.append(f"{name} imports {imported}, which is not part of the package")
        elif own == "verify" and top not in {*sys.stdlib_module_names, "flint"}:
            complaints.append(f"verify imports {imported}; it uses the standard library and flint alone")
        elif at_import and top not in {*sys.stdlib_module_names, *BASE}:
            complaints.append(f"{name} imports {imported} when it is read; import it where it is used")
        elif own in ("witnesses", "training", "ensembles") and target == "networks":
            complaints.append(f"{name} imports networks; it takes any callable")
        elif top == "neuinv" and target in LAYERS and target != own and LAYERS[target] >= LAYERS[own]:
            complaints.append(f"{name} (layer {LAYERS[own]}) imports {target} (layer {LAYERS[target]})")
    return complaints


def docstring_complaints(name, source):
    """Return the public names without a docstring, and those that raise without saying so."""
    complaints = []

    def visit(node, prefix):
        for child in node.body:
            function = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef))
            if not (function or isinstance(child, ast.ClassDef)) or child.name.startswith("_"):
                continue
            text, label = ast.get_docstring(child), f"{prefix}.{child.name}"
            again = any(ast.unparse(d).endswith((".setter", "overload")) for d in child.decorator_list)
            if text is None and not again:
                complaints.append(f"{label} has no docstring")
            elif function and raises(child) and not re.search(r"^Raises\n-+$", text or "", re.MULTILINE):
                complaints.append(f"{label} raises and its docstring has no Raises section")
            if not function:
                visit(child, label)

    visit(ast.parse(source), name)
    return complaints


def raises(node):
    """Tell whether a function's own body, nested functions left out, raises an exception that it names."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Raise) and child.exc is not None:
            return True
        if not isinstance(child, (ast.FunctionDef, ast.Lambda)) and raises(child):
            return True
    return False


def run_python(*arguments):
    """Run a fresh interpreter in the root of the project."""
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("name", modules())
def test_a_module_imports_only_lower_layers(name):
    assert import_complaints(name, modules()[name].read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("name", "source", "complaint"),
    [
        ("metrics", "from neuinv.witnesses import sign_witness", "layer 0.*imports witnesses"),
        ("metrics", "def f():\n    from neuinv import cli", "layer 0.*imports cli"),
        ("metrics", "from .inverse import approximate_inverse", "layer 0.*imports inverse"),
        ("metrics", "import neuinv.iterations", r"imports iterations \(layer 0\)"),
        ("_checks", "from neuinv import gallery", "imports gallery"),
        ("gallery.mimo", "from neuinv.criterion import verdict", "imports criterion"),
        ("witnesses", "def f():\n    import neuinv.networks as nets", "takes any callable"),
        ("training", "from neuinv import networks", "takes any callable"),
        ("ensembles", "from neuinv.networks import make_network", "takes any callable"),
        ("verify", "def f():\n    import torch", "standard library and flint"),
        ("verify", "from neuinv._checks import check_matrices", "standard library and flint"),
        ("plotting", "import matplotlib.pyplot as plt", "import it where it is used"),
        ("gallery.base", "try:\n    import pypower\nexcept ImportError:\n    pass", "where it is used"),
        ("verify", "import flint", "where it is used"),
        ("cli", "def f():\n    import notebooks.why", "not part of the package"),
        ("novelty", "import math", "has no layer"),
    ],
)
def test_a_forbidden_import_is_caught(name, source, complaint):
    (found,) = import_complaints(name, source)
    assert re.search(complaint, found)


def test_permitted_imports_pass():
    source = "import math, torch\nfrom neuinv._checks import a\ndef f():\n    import matplotlib, skfem\n"
    assert import_complaints("metrics", source) == []
    assert import_complaints("verify", "import json\ndef f():\n    import flint\n") == []
    assert import_complaints("criterion", "from neuinv import metrics, __version__") == []
    typing_only = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import matplotlib\n"
    assert import_complaints("plotting", typing_only) == []


@pytest.mark.parametrize("arguments", [["-c", "import neuinv"], ["-m", "neuinv", "--help"]], ids=str)
def test_starting_the_package_loads_no_heavy_module(arguments):
    done = run_python("-X", "importtime", *arguments)
    assert done.returncode == 0, done.stderr[-500:]
    loaded = set(re.findall(r"\|\s+([\w.]+)$", done.stderr, re.MULTILINE))
    assert "neuinv" in loaded
    assert not loaded & {"torch", "numpy", "scipy", "matplotlib", "pandas"}


def test_a_heavy_import_would_be_seen():
    done = run_python("-X", "importtime", "-c", "import numpy")
    assert re.search(r"\|\s+numpy$", done.stderr, re.MULTILINE)


@pytest.mark.parametrize("name", ["", *modules()])
def test_every_name_a_module_announces_exists(name):
    if name == "__main__":
        return
    module = importlib.import_module(f"neuinv.{name}" if name else "neuinv")
    announced = getattr(module, "__all__", [])
    assert len(set(announced)) == len(announced)
    assert [missing for missing in announced if not hasattr(module, missing)] == []


def test_a_name_that_does_not_exist_is_refused():
    import neuinv

    with pytest.raises(AttributeError, match="no attribute 'invrse'"):
        neuinv.invrse  # noqa: B018


@pytest.mark.parametrize("name", modules())
def test_public_names_are_documented_and_say_what_they_raise(name):
    assert docstring_complaints(name, modules()[name].read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("def f():\n    pass", "m.f has no docstring"),
        ("class C:\n    pass", "m.C has no docstring"),
        ("class C:\n    'x'\n    def g(self):\n        return 1", "m.C.g has no docstring"),
        ("def f():\n    'x'\n    raise ValueError('no')", "m.f raises"),
        ("def f():\n    'Raises'\n    if 1:\n        raise ValueError('no')", "m.f raises"),
    ],
)
def test_a_missing_docstring_is_caught(source, complaint):
    (found,) = docstring_complaints("m", source)
    assert found.startswith(complaint)


def test_private_nested_and_reraising_functions_need_no_raises_section():
    source = '''
def _f():
    raise ValueError
def g():
    "x"
    try:
        h = lambda: 1
    except OSError:
        raise
def k():
    """x

    Raises
    ------
    ValueError
        Always.
    """
    raise ValueError
'''
    assert docstring_complaints("m", source) == []


@pytest.mark.parametrize("folder", ["neuinv", "tests", "tools"])
def test_source_files_stay_short(folder):
    lines = {p: len(p.read_text(encoding="utf-8").splitlines()) for p in (ROOT / folder).rglob("*.py")}
    assert lines
    assert {str(path): count for path, count in lines.items() if count > MAX_LINES} == {}
