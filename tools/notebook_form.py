"""The form of a notebook: reading the text, comparing the twins, writing bytes that repeat."""

import base64
import hashlib
import json
import re
import struct
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # the package of this checkout, whatever else is installed

from neuinv.records.provenance import package_hash  # noqa: E402

SLUG = re.compile(r"[a-z]+(-[a-z]+)*")
_CONFLICT = re.compile(r"^(<{7}|>{7}|\|{7}) ", re.MULTILINE)
_ADDRESS = re.compile(r"\bat 0x[0-9a-fA-F]+")
_WIDGET = "application/vnd.jupyter.widget-view+json"
_METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"file_extension": ".py", "mimetype": "text/x-python", "name": "python"},
}
# Said by the tool, not by the author of the text.
_COMPUTED = ("package_hash", "outputs_hash")


class NotebookError(Exception):
    """One sentence a reader can act on: which notebook, which cell, what is wrong, what to do."""


def read_source(path):
    """Return the notebook that a text file describes, in normal form and without outputs.

    Raises
    ------
    NotebookError
        The name or the text is not one of a notebook.
    """
    import jupytext

    if not SLUG.fullmatch(path.stem):
        raise NotebookError(
            f"{path.name}: name a notebook in lower case, words joined by hyphens, no numbers."
        )
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise NotebookError(f"{path.name} cannot be read ({error}); restore it as UTF-8 text.") from None
    if _CONFLICT.search(text):
        raise NotebookError(f"{path.name} holds the marks of a merge conflict; resolve it first.")
    try:
        notebook = jupytext.reads(text, fmt={"extension": ".md", "format_name": "myst"})
    except Exception as error:  # the parsers of YAML and MyST have no common base class
        reason = " ".join(str(error).split())
        raise NotebookError(
            f"{path.name} is not a MyST notebook ({reason}); correct its header or cell."
        ) from None
    return _normal(notebook)


def _normal(notebook):
    """Give a notebook fixed metadata and cell names that depend on the contents alone."""
    own = {
        key: value
        for key, value in notebook.metadata.items()
        if key not in ("jupytext", "widgets", *_METADATA)
    }
    notebook.metadata = type(notebook.metadata)({**own, **_copy(_METADATA)})
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    count = {}
    for cell in notebook.cells:
        # Content, not position: a cell put in the middle leaves the names of the others alone.
        name = hashlib.sha256(f"{cell.cell_type}\0{cell.source}".encode()).hexdigest()[:12]
        count[name] = count.get(name, 0) + 1
        cell.id = name if count[name] == 1 else f"{name}-{count[name]}"
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return notebook


def _copy(value):
    return json.loads(json.dumps(value))


def read_twin(path):
    """Return an executed notebook, or None when the file is missing or is no notebook."""
    import nbformat

    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text)
        nbformat.validate(content)
        return nbformat.v4.reads(text) if content["nbformat"] == 4 else None
    except (OSError, ValueError, AttributeError, KeyError, TypeError, nbformat.ValidationError):
        return None


def out_of_date(source, twin):
    """Return why the twin of a text notebook must be executed again, or None when they agree.

    Raises
    ------
    NotebookError
        As :func:`read_source`.
    """
    notebook = read_source(source)
    executed = read_twin(twin)
    if executed is None:
        return "it is damaged" if twin.exists() else "it is new"
    difference = first_difference(notebook, executed)
    if difference:
        return difference
    if executed.metadata.get("neuinv", {}).get("outputs_hash") != outputs_hash(executed):
        return "its outputs were edited"
    if [cell.get("id") for cell in executed.cells] != [cell.id for cell in notebook.cells]:
        return "another program saved it"
    return None if serialize(executed) == twin.read_bytes() else "another program saved it"


def first_difference(notebook, executed):
    """Say where the text and the executed notebook differ first, outputs aside; None when nowhere."""
    if _own_metadata(notebook) != _own_metadata(executed):
        return "its header changed"
    if len(notebook.cells) != len(executed.cells):
        return f"it has {len(notebook.cells)} cells, the executed one {len(executed.cells)}"
    for number, (cell, other) in enumerate(zip(notebook.cells, executed.cells, strict=True), start=1):
        if (cell.cell_type, cell.source, cell.metadata) != (other.cell_type, other.source, other.metadata):
            return f"cell {number} changed"
    return None


def _own_metadata(notebook):
    metadata = _copy(notebook.metadata)
    for key in _COMPUTED:
        metadata.get("neuinv", {}).pop(key, None)
    return {key: value for key, value in metadata.items() if value != {}}


def cell_name(source, notebook, index):
    """Return how a message calls a cell: its number in the notebook and its first line."""
    first = (notebook.cells[index].source.strip().splitlines() or [""])[0]
    return f"{source.stem}, cell {index + 1} ({first[:50]!r})"


def finish(source, notebook):
    """Check the outputs of an executed notebook, bring them to normal form and return the file's bytes.

    Raises
    ------
    NotebookError
        An output that would differ in the next run or on another machine.
    """
    number = 0
    for index, cell in enumerate(notebook.cells):
        cell.metadata.pop("execution", None)
        if cell.cell_type != "code":
            continue
        if cell.source.strip():
            number += 1
            cell.execution_count = number
        for output in cell.outputs:
            fault = _fault(output)
            if fault:
                raise NotebookError(f"{cell_name(source, notebook, index)}: {fault}")
            _tidy(output, number)
    notebook.metadata.pop("widgets", None)
    notebook.metadata.update(_copy(_METADATA))  # the kernel has written its own version there
    stamp = {"package_hash": package_hash(), "outputs_hash": outputs_hash(notebook)}
    notebook.metadata["neuinv"] = {**notebook.metadata.get("neuinv", {}), **stamp}
    return serialize(notebook)


def _fault(output):
    """Return what keeps an output from repeating, as the end of a sentence, or None."""
    if output.output_type == "stream" and output.name == "stderr":
        line = (output.text.strip().splitlines() or [""])[-1]
        return f"prints on stderr ({line[:80]!r}); remove the cause of the warning or the progress bar."
    data = output.get("data", {})
    if _WIDGET in data:
        return "shows a widget, which a printed page cannot; print text instead."
    texts = [output.get("text", ""), output.get("evalue", "")]
    texts += [str(value) for kind, value in data.items() if not kind.startswith("image/")]
    text = "\n".join(texts)
    if _ADDRESS.search(text):
        return "prints a memory address; print the value, or end with 'plt.show()' or '_ = ...'."
    for folder in (str(ROOT), str(Path.home()), sys.prefix):
        # The home folder of a system account can be /, which is in every path.
        if len(folder) > 3 and folder in text:
            return "prints a path of this machine; print the file's name alone."
    return None


def _tidy(output, number):
    output.pop("transient", None)
    if output.output_type == "execute_result":
        output.execution_count = number
    if output.output_type == "error":
        # The frames name folders of this machine; the sentence is what the page shows.
        output.traceback = [f"{output.ename}: {output.evalue}"]
    data = output.get("data", {})
    if "image/png" in data:
        data["image/png"] = base64.b64encode(bare_png(base64.b64decode(data["image/png"]))).decode() + "\n"
    if "image/svg+xml" in data:
        data["image/svg+xml"] = re.sub(r"\s*<dc:date>.*?</dc:date>", "", data["image/svg+xml"])


def bare_png(content):
    """Return a PNG without its text and time chunks, which name programs and dates."""
    kept, position = [content[:8]], 8
    while position < len(content):
        (length,) = struct.unpack(">I", content[position : position + 4])
        end = position + 12 + length
        if content[position + 4 : position + 8] not in (b"tEXt", b"zTXt", b"iTXt", b"tIME"):
            kept.append(content[position:end])
        position = end
    return b"".join(kept)


def outputs_hash(notebook):
    """Return a hash of everything the code cells of a notebook show, as 16 hexadecimal digits."""
    outputs = [[cell.execution_count, cell.outputs] for cell in notebook.cells if cell.cell_type == "code"]
    return hashlib.sha256(json.dumps(outputs, sort_keys=True).encode()).hexdigest()[:16]


def serialize(notebook):
    """Return the one spelling of a notebook as bytes: sorted keys, one space, newline at the end."""
    import nbformat

    return (nbformat.writes(notebook, version=4).rstrip("\n") + "\n").encode()
