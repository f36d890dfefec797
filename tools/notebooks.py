"""Execute the text notebooks: ``notebooks/x.md`` becomes ``notebooks/x.ipynb``, with bytes that repeat.

    python tools/notebooks.py refresh            those whose source differs from the executed twin
    python tools/notebooks.py refresh --all      every notebook
    python tools/notebooks.py refresh --check    write nothing; exit 1 when something is out of date

Contents are compared, never file times.  A notebook that fails leaves its old twin as it was.
"""

import argparse
import os
import re
import sys
import tempfile
import time
from pathlib import Path

import notebook_form as form

from neuinv._files import write_whole

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "notebooks"
CELL_TIMEOUT = 900  # seconds; a default run of a whole notebook takes 40


def main(arguments=None):
    """Run the command line and return its exit code: 0 fine, 1 failed or out of date, 2 misuse."""
    options = _parse(arguments)
    folder = Path(options.folder)
    if not folder.is_dir():
        print(f"there is no folder {options.folder!r}; pass one that holds text notebooks.", file=sys.stderr)
        return 2
    sources = sorted(folder.glob("*.md"))
    unknown = [slug for slug in options.slugs if slug not in {source.stem for source in sources}]
    if unknown:
        print(
            f"there is no notebook {unknown[0]!r} in {folder.name}/; leave out the suffix.", file=sys.stderr
        )
        return 2
    _warn_orphans(folder)
    chosen = [source for source in sources if not options.slugs or source.stem in options.slugs]
    return max([_refresh(source, options) for source in chosen], default=0)


def _parse(arguments):
    parser = argparse.ArgumentParser(
        description="Execute the text notebooks and write their .ipynb twins.",
        epilog="example: python tools/notebooks.py refresh --all why-cannot",
    )
    parser.add_argument("verb", choices=["refresh"])
    parser.add_argument("slugs", nargs="*", help="notebooks by name; none means every notebook")
    parser.add_argument("--all", action="store_true", help="also those that are up to date")
    parser.add_argument(
        "--check", action="store_true", help="write nothing and exit 1 when a twin would change"
    )
    parser.add_argument("--folder", default=str(FOLDER), help="where the notebooks are")
    parser.add_argument("--timeout", type=int, default=CELL_TIMEOUT, help="seconds a cell may take")
    # Intermixed: plain parsing takes an option between the verb and the names for the end of the names.
    return parser.parse_intermixed_args(arguments)


def _warn_orphans(folder):
    for path in sorted(folder.glob("*.ipynb")):
        if not path.with_suffix(".md").exists():
            print(
                f"{path.name:32} has no source {path.stem}.md; keep it elsewhere or run jupytext --to md:myst"
            )


def _refresh(source, options):
    """Bring the twin of one source up to date, or with ``--check`` say what would be done."""
    twin = source.with_suffix(".ipynb")
    try:
        reason = form.out_of_date(source, twin) or ("asked for" if options.all else None)
        if reason is None:
            print(f"{source.stem:32} up to date", flush=True)
            return 0
        if options.check and not options.all:
            print(f"{source.stem:32} would run: {reason}", flush=True)
            return 1
        print(f"{source.stem:32} running: {reason} ", end="", flush=True)
        began = time.monotonic()
        content = execute(source, timeout=options.timeout)
        seconds = f"... {time.monotonic() - began:.1f} s"
        if options.check:
            same = twin.exists() and twin.read_bytes() == content
            print(seconds, "and nothing changes" if same else "and the twin would change", flush=True)
            return int(not same)
        write_whole(twin, content)
        print(seconds, flush=True)
    except form.NotebookError as error:
        print(f"... failed\n{error}", flush=True)
        return 1
    return 0


def execute(source, *, timeout=CELL_TIMEOUT):
    """Run a text notebook in a fresh kernel of this interpreter and return the bytes of its twin.

    Parameters
    ----------
    source : Path
        The .md file.
    timeout : int
        Seconds that one cell may take.

    Raises
    ------
    form.NotebookError
        The source is unreadable, a cell fails, or an output would not repeat elsewhere.
    """
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    notebook = form.read_source(source)
    with tempfile.TemporaryDirectory(prefix="neuinv-") as settings:
        client = NotebookClient(
            notebook,
            kernel_manager_class=_kernel_manager(settings),
            timeout=timeout,
            coalesce_streams=True,
            record_timing=False,
            resources={"metadata": {"path": str(source.resolve().parent)}},
        )
        try:
            client.execute(env=kernel_environment(Path(settings)))
        except CellExecutionError as error:
            message = f"{error.ename}: {_first_line(error.evalue)}"
            raise form.NotebookError(_place(source, notebook) + message) from None
        except CellTimeoutError:
            message = f"takes more than {timeout} s; make it smaller, or pass --timeout."
            raise form.NotebookError(_place(source, notebook) + message) from None
        except DeadKernelError:
            message = "the kernel died; is there enough memory?"
            raise form.NotebookError(_place(source, notebook) + message) from None
    return form.finish(source, notebook)


def _kernel_manager(settings):
    """Return a class of kernel managers that start this very interpreter, in private."""
    from ipykernel.kernelspec import get_kernel_dict
    from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager

    class ThisInterpreter(KernelSpecManager):
        """A user's own kernel called python3 may be another Python: never look at it."""

        def get_kernel_spec(self, kernel_name):
            return KernelSpec(**get_kernel_dict())

    class Manager(AsyncKernelManager):
        def __init__(self, **settled):
            super().__init__(kernel_spec_manager=ThisInterpreter(), **settled)
            # Sockets in a private folder: no port that another user of the machine could reach.
            if os.name == "posix":
                self.transport, self.ip = "ipc", os.path.join(settings, "kernel")

    return Manager


def kernel_environment(settings):
    """Return the environment of a kernel: the package of this checkout, no personal settings, no records."""
    # A fixed salt makes the identifiers inside an SVG figure repeat.
    (settings / "matplotlibrc").write_text("svg.hashsalt: neuinv\n", encoding="utf-8")
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = {
        **os.environ,
        "IPYTHONDIR": str(settings / "ipython"),
        "MATPLOTLIBRC": str(settings / "matplotlibrc"),
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        "PYTHONPATH": path,
    }
    for name in ("NEUINV_RUN_DIR", "MPLBACKEND", "PYTHONSTARTUP", "PYTHONWARNINGS"):
        environment.pop(name, None)
    return environment


def _place(source, notebook):
    """Say which cell was running: the last code cell that has begun."""
    begun = [index for index, cell in enumerate(notebook.cells) if cell.get("execution_count")]
    failed = [index for index in begun if _has_error(notebook.cells[index])]
    index = (failed or begun or [0])[-1]
    return form.cell_name(source, notebook, index) + ": "


def _has_error(cell):
    return any(output.output_type == "error" for output in cell.outputs)


def _first_line(text):
    lines = re.sub(r"\x1b\[[0-9;]*m", "", text).strip().splitlines()
    return lines[0] if lines else ""


if __name__ == "__main__":
    sys.exit(main())
