"""What must hold of every notebook before its printed numbers are worth comparing.

nbval passes a notebook whose outputs were stripped and never compares pictures; these
guards close both holes, and keep every notebook ready to be run with other parameters.
Each function takes notebooks and returns sentences, one a fault.
"""

import ast
import re
from pathlib import Path

import notebook_form as form

IGNORED_LIMIT = 4  # cells of the whole book whose outputs nbval does not compare
_IGNORE_MARKS = re.compile(r"^\s*#\s*(NBVAL_IGNORE_OUTPUT|PYTEST_VALIDATE_IGNORE_OUTPUT)", re.MULTILINE)
_SKIP_MARKS = re.compile(r"^\s*#\s*NBVAL_SKIP", re.MULTILINE)
_SKIP_TAGS = {"nbval-skip", "skip-execution", "nbval-raises-exception"}


def twin_faults(source, twin):
    """Say where a text notebook and its executed twin disagree, outputs included."""
    try:
        reason = form.out_of_date(Path(source), Path(twin))
    except form.NotebookError as error:
        return [str(error)]
    return [f"{Path(source).stem}: {reason}; run 'make notebooks'."] if reason else []


def orphan_faults(folder):
    """Name every .ipynb without a text source: such a notebook is edited by nobody and run by everybody."""
    return [
        f"{path.name} has no source {path.stem}.md; keep it elsewhere or make one with jupytext --to md:myst."
        for path in sorted(Path(folder).glob("*.ipynb"))
        if not path.with_suffix(".md").exists()
    ]


def execution_faults(slug, notebook):
    """Name the code cells that were not executed, that print but have no output, or that nbval skips."""
    faults = []
    for number, cell in _code_cells(notebook):
        if cell.source.strip() and cell.execution_count is None:
            faults.append(f"{slug}, cell {number} was not executed; run 'make notebooks'.")
        elif _prints(cell.source) and not cell.outputs:
            faults.append(f"{slug}, cell {number} prints but has no output; run 'make notebooks'.")
        if _tags(cell) & _SKIP_TAGS or _SKIP_MARKS.search(cell.source):
            faults.append(
                f"{slug}, cell {number} is left out of the comparison; print rounded numbers instead."
            )
    return faults


def _prints(source):
    """Whether a cell calls print for certain: at its top level, outside every branch and function."""
    return any(
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Call)
        and isinstance(statement.value.func, ast.Name)
        and statement.value.func.id == "print"
        for statement in _statements(source)
    )


def _statements(source):
    try:
        return ast.parse(source).body
    except SyntaxError:  # a cell with a line of IPython's own, such as %timeit
        return []


def parameter_faults(slug, notebook):
    """Say what the parameters cell of a notebook lacks.

    Exactly one code cell is tagged ``parameters``.  It holds annotated assignments of
    constants only, among them ``device: str = "auto"``, ``seed: int``, and ``family: str``
    or ``source: str``, unless the header says ``neuinv: {studies_matrices: false}``.
    """
    cells = [number for number, cell in _code_cells(notebook) if "parameters" in _tags(cell)]
    if len(cells) != 1:
        return [f"{slug} has {len(cells)} cells tagged parameters; tag exactly one code cell."]
    found, faults = {}, []
    for statement in _statements(notebook.cells[cells[0] - 1].source):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            found[statement.target.id] = (ast.unparse(statement.annotation), statement.value)
        else:
            text = ast.unparse(statement)
            faults.append(f"{slug}: '{text}' is no annotated parameter; write 'name: type = value'.")
    constants = {name: _constant(value) for name, (_, value) in found.items()}
    faults += [
        f"{slug}: parameter {name} has no constant as its default; give it one."
        for name, (known, _) in constants.items()
        if not known
    ]
    return (
        faults + _required_faults(slug, notebook, found, constants) + _door_faults(slug, notebook, cells[0])
    )


def _constant(node):
    """Return whether a default is a literal, and its value."""
    try:
        return True, ast.literal_eval(node)
    except (ValueError, TypeError):
        return False, None


def _required_faults(slug, notebook, found, constants):
    faults = []
    if found.get("device", [""])[0] != "str" or constants["device"] != (True, "auto"):
        faults.append(f"{slug} lacks the parameter 'device: str = \"auto\"'; add it.")
    if found.get("seed", [""])[0] != "int":
        faults.append(f"{slug} lacks the parameter 'seed: int'; add it, with a default.")
    studies = notebook.metadata.get("neuinv", {}).get("studies_matrices", True)
    if studies and "str" not in (found.get(name, [""])[0] for name in ("family", "source")):
        faults.append(
            f"{slug} lacks the parameter 'family: str' or 'source: str'; "
            "add it, or write 'neuinv: {studies_matrices: false}' in the header."
        )
    return faults


def _door_faults(slug, notebook, number):
    """The next code cell must refuse parameters that papermill brings and the notebook does not have."""
    later = [cell.source for other, cell in _code_cells(notebook) if other > number and cell.source.strip()]
    if later and re.search(r"^parameters = notebook_parameters\(\s*globals\(\)", later[0], re.MULTILINE):
        return []
    return [f"{slug}: the cell after the parameters must call 'parameters = notebook_parameters(globals())'."]


def picture_faults(slug, notebook):
    """Name the pictures with no printed number in their cell or in a code cell next to it."""
    cells = _code_cells(notebook)
    numbers = [any(re.search(r"\d", text) for text in _streams(cell)) for _, cell in cells]
    return [
        f"{slug}, cell {number} shows a picture and no cell beside it prints a number; print what it shows."
        for place, (number, cell) in enumerate(cells)
        if _has_picture(cell) and not any(numbers[max(0, place - 1) : place + 2])
    ]


def printed(cell):
    """Return the text that a code cell printed or showed as its value."""
    texts = (output.get("text") or output.get("data", {}).get("text/plain", "") for output in cell.outputs)
    return "\n".join(text.rstrip("\n") for text in texts)


def _streams(cell):
    # Only what is printed counts: the text of a picture, <Figure size 640x480>, has digits too.
    return [output.text for output in cell.outputs if output.output_type == "stream"]


def _has_picture(cell):
    return any(kind.startswith("image/") for output in cell.outputs for kind in output.get("data", {}))


def num_ignored(notebook):
    """Count the cells whose outputs nbval is told not to compare."""
    return sum(is_ignored(cell) for _, cell in _code_cells(notebook))


def is_ignored(cell):
    """Whether nbval is told not to compare the outputs of a cell."""
    return "nbval-ignore-output" in _tags(cell) or bool(_IGNORE_MARKS.search(cell.source))


def stale_notebooks(twins, current):
    """Return the slugs of executed notebooks that ran with another state of the package than ``current``."""
    return [
        path.stem
        for path in map(Path, twins)
        if (notebook := form.read_twin(path)) is not None
        and notebook.metadata.get("neuinv", {}).get("package_hash") != current
    ]


def _code_cells(notebook):
    """Return pairs (number from 1, cell) of the code cells."""
    return [(number, cell) for number, cell in enumerate(notebook.cells, 1) if cell.cell_type == "code"]


def _tags(cell):
    return set(cell.metadata.get("tags", []))
