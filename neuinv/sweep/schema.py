"""What a notebook accepts, read from its text: nothing of it is executed, and no kernel is started.

The names, types and defaults come from the cell tagged ``parameters``; the ranges from
the call of ``notebook_parameters`` that opens every notebook, as far as they are literals:

    n: int = 4                                                     # in the parameters cell
    parameters = notebook_parameters(globals(), n=(1, 512))        # in a cell after it

so that a range is written once and refuses a value both before a sweep starts and in
the notebook itself.  A range that is no literal is left to the notebook.
"""

import ast
import json
import re
import typing
from dataclasses import dataclass
from pathlib import Path

from neuinv.records.parameters import annotated_parameters, check_range, refuse_unknown, typed_value

# YAML 1.1 wants a point and a signed exponent in a float: 1e-3 is a piece of text there.
_FLOAT_AS_TEXT = re.compile(r"[-+]?\d+(?:\.\d*)?[eE][-+]?\d+")


@dataclass(frozen=True)
class Schema:
    """The parameters of one notebook.

    Attributes
    ----------
    notebook : str
        The notebook's name, for messages.
    hints : dict
        Name to type.
    defaults : dict
        Name to default.
    ranges : dict
        Name to ``(low, high)``, or to the values allowed, where declared by literals.
    """

    notebook: str
    hints: dict
    defaults: dict
    ranges: dict

    def check(self, name, value):
        """Return ``value``, an integer for a float turned into one, if the parameter ``name`` takes it.

        Raises
        ------
        TypeError
            The value is not of the annotated type.
        ValueError
            There is no such parameter, or the value is out of the declared range.
        """
        if name not in self.hints:
            refuse_unknown(name, self.hints)
        try:
            value = typed_value(name, value, self.hints[name])
        except TypeError as error:
            if isinstance(value, str) and _FLOAT_AS_TEXT.fullmatch(value):
                raise TypeError(f"{error} YAML reads {value} as text: write {float(value)!r}.") from None
            raise
        if name in self.ranges:
            check_range(name, value, self.ranges[name])
        return value


def read_schema(path):
    """Return the :class:`Schema` of the notebook at ``path``.

    Parameters
    ----------
    path : str or Path
        An .ipynb file.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        Not a notebook, no cell tagged ``parameters`` or several, or a parameter in it without
        annotation or without a literal as its default.
    """
    path = Path(path)
    cells = [cell for cell in _cells(path) if cell["cell_type"] == "code"]
    tagged = [i for i, cell in enumerate(cells) if "parameters" in cell.get("metadata", {}).get("tags", [])]
    if len(tagged) != 1:
        raise ValueError(
            f"{path.name} has {len(tagged)} code cells tagged parameters; tag exactly one, "
            "whose lines read 'n: int = 4'."
        )
    hints, defaults = _parameters(path.name, "".join(cells[tagged[0]]["source"]))
    ranges = {}
    for cell in cells[tagged[0] + 1 :]:
        ranges = _declared_ranges("".join(cell["source"]))
        if ranges is not None:
            break
    ranges = {name: allowed for name, allowed in (ranges or {}).items() if name in hints}
    return Schema(path.name, hints, defaults, ranges)


def _cells(path):
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no notebook {path.name!r} there; correct 'notebook:'.") from None
    except UnicodeDecodeError:
        text = ""
    try:
        cells = json.loads(text)["cells"]
        if all(
            isinstance(cell["cell_type"], str) and isinstance(cell["source"], list | str) for cell in cells
        ):
            return cells
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    raise ValueError(f"{path.name} is not a notebook; pass an .ipynb file.")


def _statements(source):
    try:
        return ast.parse(source).body
    except SyntaxError:  # a cell with a line of IPython's own, such as %matplotlib
        return []


def _parameters(notebook, source):
    namespace = {"__builtins__": {}, "__annotations__": {}}
    # Names an annotation may use; those of typing only if an earlier cell imports them, which is not read.
    namespace |= {"typing": typing, "Literal": typing.Literal, "Optional": typing.Optional, "Any": typing.Any}
    namespace |= {kind.__name__: kind for kind in (bool, int, float, str, list, dict, tuple)}
    defaults = {}
    for statement in _statements(source):
        if not (isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)):
            raise ValueError(
                f"{notebook}: '{ast.unparse(statement)}' in its parameters cell is no annotated parameter; "
                "write 'name: type = value'."
            )
        name = statement.target.id
        try:
            defaults[name] = ast.literal_eval(statement.value)
        except (ValueError, TypeError):
            raise ValueError(
                f"{notebook}: parameter {name} has no literal as its default; give it one."
            ) from None
        namespace["__annotations__"][name] = ast.unparse(statement.annotation)
    if not defaults:
        raise ValueError(f"{notebook} has an empty parameters cell; write 'seed: int = 0' in it.")
    return _hints(notebook, {**namespace, **defaults}), defaults


def _hints(notebook, namespace):
    try:
        return annotated_parameters(namespace)
    except (NameError, AttributeError, SyntaxError, TypeError) as error:
        raise ValueError(
            f"{notebook}: an annotation in its parameters cell cannot be read ({error}); "
            "use int, float, bool, str, list, dict, Literal or a union."
        ) from None


def _declared_ranges(source):
    """Return the literal ranges in a call of notebook_parameters, or None when there is no such call."""
    for statement in _statements(source):
        for node in ast.walk(statement):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("notebook_parameters"):
                return dict(_literals(node.keywords))
    return None


def _literals(keywords):
    for keyword in keywords:
        if keyword.arg is None or keyword.arg == "check_device":
            continue
        try:
            allowed = ast.literal_eval(keyword.value)
        except (ValueError, TypeError):
            continue
        if isinstance(allowed, list | set) or (isinstance(allowed, tuple) and len(allowed) == 2):
            yield keyword.arg, allowed
