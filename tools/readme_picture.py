"""Copy the picture of README.md and the front page out of the executed notebook that drew it.

python tools/readme_picture.py
"""

import base64
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK = ROOT / "notebooks" / "why-cannot.ipynb"
FIGURE = "fig-wedge"
PICTURE = ROOT / "book" / "_static" / "wedge.png"


def drawn(notebook=NOTEBOOK, name=FIGURE):
    """Return the PNG bytes of the figure called ``name`` in an executed notebook.

    Raises
    ------
    LookupError
        The notebook has no such figure, or it was not executed.
    """
    for cell in json.loads(Path(notebook).read_text(encoding="utf-8"))["cells"]:
        if cell["metadata"].get("mystnb", {}).get("figure", {}).get("name") == name:
            for output in cell["outputs"]:
                if "image/png" in output.get("data", {}):
                    return base64.b64decode("".join(output["data"]["image/png"]))
    raise LookupError(f"{Path(notebook).name} has no picture {name!r}; run 'make notebooks'.")


if __name__ == "__main__":
    PICTURE.write_bytes(drawn())
    sys.exit(0)
