"""What the tests of notebooks and of the book share: the tools of this checkout, and a tiny notebook."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "notebooks"
# The tools are scripts, not part of the package: they are imported from where they are.
sys.path.insert(0, str(ROOT / "tools"))

HEADER = """\
---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
kernelspec:
  display_name: Python 3 (ipykernel)
  language: python
  name: python3
---
"""
PARAMETERS = """\
family: str = "gaussian"
n: int = 3
seed: int = 0
device: str = "auto"
"""
DOOR = """\
from neuinv.records import notebook_parameters

parameters = notebook_parameters(globals(), "tiny", n=(1, 8))
"""
PRINTING = 'print(f"n = {n}, third {1 / 3:.4f}")\n'


def text_of(*cells, parameters=PARAMETERS, header=HEADER):
    """Return the text of a notebook: a title, a parameters cell, then code cells."""
    fence = "```{code-cell} ipython3\n"
    parts = [header, "# Tiny\n", f"{fence}:tags: [parameters]\n\n{parameters}```\n"]
    return "\n".join(parts + [f"{fence}{cell}```\n" for cell in cells])


def write(folder, *cells, name="tiny", **options):
    """Write a text notebook into a folder and return its path."""
    path = Path(folder) / f"{name}.md"
    path.write_text(text_of(*cells, **options), encoding="utf-8")
    return path


def run(*command, cwd=ROOT, **environment):
    """Run a program with this interpreter and this checkout, and return what it printed and its exit code."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    settings = {**os.environ, "PYTHONPATH": path, "JUPYTER_PREFER_ENV_PATH": "1", "OMP_NUM_THREADS": "1"}
    settings.pop("NEUINV_RUN_DIR", None)
    return subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=cwd,
        env={**settings, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )
