"""Writing the page of a new family from the template."""

import re
from dataclasses import dataclass
from pathlib import Path

from neuinv._files import write_whole
from neuinv.forking.toc import CAPTION, listed, with_page

__all__ = ["NewPage", "find_project", "new_page"]

TEMPLATES = Path(__file__).resolve().parent.parent / "templates"
NAME = re.compile(r"[a-z]+(-[a-z]+)*")
MARKS = ("_config.yml", "_toc.yml", "notebooks")


@dataclass(frozen=True)
class NewPage:
    """A page that is about to be written; nothing is changed before :meth:`write`.

    Attributes
    ----------
    name : str
        Of the family and of the page.
    root : Path
        Folder of the project.
    text : str
        Of the page.
    toc : str
        Of the table of contents, with the page.
    source : str or None
        File of matrices as the page names it, None for a function.
    """

    name: str
    root: Path
    text: str
    toc: str
    source: str | None

    @property
    def path(self):
        """Where the page goes."""
        return self.root / "notebooks" / f"{self.name}.md"

    def write(self):
        """Write the page, then the table of contents; where the second fails the page is taken back.

        Raises
        ------
        OSError
            The project cannot be written to; it is then as it was.
        """
        new = not self.path.exists()
        try:
            write_whole(self.path, self.text.encode())
            # Not the text layer: it would change the line ends.
            write_whole(self.root / "_toc.yml", self.toc.encode())
        except OSError as error:
            if new:
                self.path.unlink(missing_ok=True)
            reason = error.strerror or str(error)
            raise OSError(
                f"{self.root.name}/ cannot be written to ({reason}); make it writable, or use a copy of it."
            ) from None

    def report(self, *, dry=False):
        """Return what was done, or with ``dry`` what would be, and what comes next, as lines."""
        verb = "would write" if dry else "wrote"
        lines = [f"{verb} notebooks/{self.name}.md, listed in _toc.yml under {CAPTION!r}"]
        if self.source is not None and Path(self.source).is_absolute():
            lines.append(f"note: {self.source} is outside the project; the page runs on this machine only")
        edit = f"edit the cell tagged family in notebooks/{self.name}.md, then run"
        return [*lines, f"next: {edit if self.source is None else 'run'}", "    make notebooks book"]


def find_project(start="."):
    """Return the folder of the project that ``start`` lies in.

    Parameters
    ----------
    start : path-like
        A folder; it and the folders above it are looked at.

    Returns
    -------
    Path

    Raises
    ------
    ValueError
        None of them is the folder of this project.
    """
    start = Path(start).resolve()
    for folder in (start, *start.parents):
        if all((folder / mark).exists() for mark in MARKS):
            return folder
    raise ValueError(
        f"{start.name or start}/ is not inside the project, a folder with {', '.join(MARKS)}; "
        "change to a clone of the project and run the command there."
    )


def new_page(name, *, start=".", source=None):
    """Prepare the page of a new family.

    Parameters
    ----------
    name : str
        Lower-case words joined by hyphens; of the family and of the page.
    start : path-like
        A folder inside the project.
    source : str, optional
        A file of matrices, relative to ``start``; the page then reads it, and has no function to edit.

    Returns
    -------
    NewPage
        Call its :meth:`NewPage.write`.

    Raises
    ------
    ValueError
        A malformed name, the name of a family or of a page, a folder outside the project, a file that holds
        no matrices, or a table of contents that cannot be understood.
    TypeError, OSError
        As ``neuinv.MatrixFamily.from_file``.
    """
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ValueError(
            f"name {name!r} is malformed; use lower-case words joined by hyphens, without digits, "
            "such as my-family."
        )
    root = find_project(start)
    contents = (root / "_toc.yml").read_bytes()
    try:
        contents = contents.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"_toc.yml is no UTF-8 text ({error}); save it as UTF-8 first.") from None
    place = None if source is None else _place(source, start, root)
    page = NewPage(name, root, _filled(name, place), with_page(contents, f"notebooks/{name}"), place)
    _check_free(page, contents)
    return page


def _check_free(page, contents):
    from neuinv.gallery import families

    if page.name in families():
        raise ValueError(
            f"{page.name!r} is a family of the gallery; choose another name (neuinv families lists them)."
        )
    for path in (page.path, page.path.with_suffix(".ipynb")):
        # A page as the template makes it, and not in the table of contents, is one that a kill left behind.
        half_done = page.toc != contents and path.suffix == ".md" and _holds(path, page.text)
        if path.exists() and not half_done:
            raise ValueError(f"notebooks/{path.name} exists; choose another name, or remove that file first.")
    taken = [entry for entry in listed(contents) if entry.split("/")[-1] == page.name]
    if taken and taken != [f"notebooks/{page.name}"]:
        raise ValueError(f"{page.name!r} is the page {taken[0]} of the book; choose another name.")


def _holds(path, text):
    return path.is_file() and path.read_bytes() == text.encode()


def _place(source, start, root):
    """Return the file's name as the page writes it, relative to the project where it lies inside."""
    from neuinv.gallery import MatrixFamily

    path = Path(start, source)
    count = MatrixFamily.from_file(path).count  # refuses what holds no matrices, in its own words
    if count < 2:
        raise ValueError(f"{source} holds 1 matrix; a page needs a family of at least 2, half to train on.")
    path = path.resolve()
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()


def _filled(name, place):
    """Return the template with the cell of a function, or the cell of a file."""

    def read(file):
        return (TEMPLATES / file).read_text(encoding="utf-8")

    cell = read("family-function.md" if place is None else "family-file.md")
    text = read("family.md").replace("@CELL@\n", cell)
    return text.replace("@SOURCE@", "" if place is None else _quoted(place)).replace("@NAME@", name)


def _quoted(place):
    """Return the inside of a Python string literal in double quotes."""
    return place.replace("\\", "\\\\").replace('"', '\\"')
