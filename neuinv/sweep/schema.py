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
import math
import re
import typing
from dataclasses import dataclass, replace
from pathlib import Path

from neuinv.records.parameters import annotated_parameters, check_range, refuse_unknown, typed_value
from neuinv.records.values import to_json

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
                number = float(value)
                advice = f"write {number!r}" if math.isfinite(number) else "it is too large for a float"
                raise TypeError(f"{error} YAML reads {value} as text: {advice}.") from None
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
        Not a notebook in Python, no cell tagged ``parameters`` or several, a cell that is no Python,
        or a parameter in it without annotation, or without a literal of that type as its default.
    """
    path = Path(path)
    cells, language = _cells(path)
    cells = [cell for cell in cells if cell["cell_type"] == "code"]
    tagged = [i for i, cell in enumerate(cells) if "parameters" in _tags(cell)]
    if len(tagged) != 1:
        raise ValueError(
            f"{path.name} has {len(tagged)} code cells tagged parameters; tag exactly one, "
            "whose lines read 'n: int = 4'."
        )
    hints, defaults = _parameters(path.name, "".join(cells[tagged[0]]["source"]))
    _check_language(path.name, language)
    ranges = {}
    for cell in cells[tagged[0] + 1 :]:
        ranges = _declared_ranges("".join(cell["source"]))
        if ranges is not None:
            break
    ranges = {name: allowed for name, allowed in (ranges or {}).items() if name in hints}
    return _with_defaults(Schema(path.name, hints, defaults, ranges))


def _with_defaults(schema):
    """Return ``schema`` with its defaults checked, so that one that is written out is the same value."""
    try:
        defaults = {
            name: schema.check(name, value) for name, value in schema.defaults.items() if name in schema.hints
        }
        to_json(defaults)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{schema.notebook}: a default in its parameters cell does not fit: {error}"
        ) from None
    return replace(schema, defaults=defaults)


def _check_language(notebook, language):
    if language.lower() != "python":
        raise ValueError(f"{notebook} is written in {language}; only notebooks in Python can be swept.")


def _tags(cell):
    metadata = cell.get("metadata")
    tags = metadata.get("tags") if isinstance(metadata, dict) else None
    return tags if isinstance(tags, list) else []


def _cells(path):
    """Return the cells of a notebook and the language that it says it is in."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no notebook {path.name!r} there; correct 'notebook:'.") from None
    except UnicodeDecodeError:
        text = ""
    try:
        content = json.loads(text)
        cells = content["cells"]
        if content["nbformat"] == 4 and all(
            isinstance(cell["cell_type"], str) and isinstance("".join(cell["source"]), str) for cell in cells
        ):
            kernel = content.get("metadata", {}).get("kernelspec", {})
            return cells, str(kernel.get("language") or "python")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass
    raise ValueError(f"{path.name} is not a notebook of format 4; pass an .ipynb file.")


def _statements(source):
    """Parse a cell.

    Raises
    ------
    SyntaxError
        It is not plain Python.
    """
    try:
        return ast.parse(source).body
    except (ValueError, RecursionError, MemoryError):  # a NUL, or nested too deeply
        raise SyntaxError("it cannot be parsed") from None


def _parameters(notebook, source):
    namespace = {"__builtins__": {}, "__annotations__": {}}
    # Names an annotation may use; those of typing only if an earlier cell imports them, which is not read.
    namespace |= {"typing": typing, "Literal": typing.Literal, "Optional": typing.Optional, "Any": typing.Any}
    namespace |= {kind.__name__: kind for kind in (bool, int, float, str, list, dict, tuple)}
    defaults = {}
    try:
        statements = _statements(source)
    except SyntaxError as error:
        line = f" in line {error.lineno}" if error.lineno else ""
        raise ValueError(
            f"{notebook}: its parameters cell cannot be read{line}: {error.msg}; write 'name: type = value'."
        ) from None
    for statement in statements:
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
        namespace["__annotations__"][name] = _annotation(notebook, statement.annotation)
    if not defaults:
        raise ValueError(f"{notebook} has an empty parameters cell; write 'seed: int = 0' in it.")
    return _hints(notebook, {**namespace, **defaults}), defaults


def _annotation(notebook, node):
    """Return an annotation as text if it only names types: it is evaluated, and may call nothing."""
    quoted = {id(inner) for each in ast.walk(node) if _is_literal(each) for inner in ast.walk(each.slice)}
    for inner in ast.walk(node):
        plain = isinstance(inner, ast.Name | ast.Subscript | ast.Tuple | ast.Load | ast.BitOr | ast.UnaryOp)
        plain |= isinstance(inner, ast.USub)
        plain |= isinstance(inner, ast.BinOp) and isinstance(inner.op, ast.BitOr)
        plain |= isinstance(inner, ast.Attribute) and ast.unparse(inner.value) == "typing"
        # A text elsewhere than in Literal would be evaluated in its turn.
        plain |= isinstance(inner, ast.Constant) and (inner.value in (None, ...) or id(inner) in quoted)
        if not plain:
            _refuse_annotation(notebook, f"'{ast.unparse(node)}'")
    return ast.unparse(node)


def _is_literal(node):
    return isinstance(node, ast.Subscript) and ast.unparse(node.value) in ("Literal", "typing.Literal")


def _refuse_annotation(notebook, what):
    raise ValueError(
        f"{notebook}: an annotation in its parameters cell cannot be read ({what}); "
        "use int, float, bool, str, list, dict, Literal or a union."
    ) from None


def _hints(notebook, namespace):
    try:
        return annotated_parameters(namespace)
    except (NameError, AttributeError, SyntaxError, TypeError) as error:
        _refuse_annotation(notebook, error)


def _declared_ranges(source):
    """Return the literal ranges in a call of notebook_parameters, or None when there is no such call."""
    try:
        statements = _statements(source)
    except SyntaxError:  # a cell with a line of IPython's own, such as %matplotlib
        return None
    for statement in statements:
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
