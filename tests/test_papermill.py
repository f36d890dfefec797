"""The chapters run through papermill with other parameters, and refuse what they cannot study."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
WHY_CANNOT = ROOT / "notebooks" / "why-cannot.ipynb"


def papermill(out, records, **parameters):
    """Run the chapter in a process of its own, as a reader does."""
    given = [word for name, value in parameters.items() for word in ("-p", name, str(value))]
    return subprocess.run(
        [sys.executable, "-m", "papermill", WHY_CANNOT, out, "--no-progress-bar", *given],
        capture_output=True,
        text=True,
        cwd=out.parent,
        env={**os.environ, "NEUINV_RUN_DIR": str(records)},
    )


def printed(path):
    cells = json.loads(path.read_text())["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    return "".join("".join(output.get("text", "")) for output in outputs)


def test_the_chapter_studies_another_size_seed_and_family_and_records_it(tmp_path):
    out, records = tmp_path / "out.ipynb", tmp_path / "records"
    done = papermill(out, records, family="uniform", n=3, seed=3, num_steps=2)
    assert done.returncode == 0, done.stderr[-2000:]
    text = printed(out)
    assert "uniform: 3 x 3" in text and "violations: 0" in text and "FAILS" not in text
    assert "False" not in text
    (record,) = [json.loads(path.read_text()) for path in records.glob("*.json")]
    assert record["provenance"]["parameters"]["family"] == "uniform" and record["values"]["violations"] == 0


@pytest.mark.parametrize(
    "parameters, words",
    [
        ({"family": "fem-helmholtz", "n": 8}, "49"),
        ({"family": "gausian"}, "gaussian"),
        ({"widht": 8}, "widht"),
        ({"seed": "three"}, "seed"),
        ({"device": "tpu"}, "use 'auto', 'cpu' or 'cuda'"),
    ],
)
def test_what_the_chapter_cannot_study_is_refused_in_words(parameters, words, tmp_path):
    done = papermill(tmp_path / "out.ipynb", tmp_path, **parameters)
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode != 0 and words in last and last.startswith(("ValueError", "TypeError"))
