"""Pages run on another device: what agrees and what differs are recorded apart, and nothing is lost."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
from notebook_tools import DOOR, PRINTING, ROOT, write

pytest.importorskip("jupytext")
pytest.importorskip("nbclient")
pytest.importorskip("papermill")

import gpu
import notebook_form as form
from compare_pages import lines_agree

import notebooks as tool
from neuinv.records import load_records

# Obeys the environment, which is not a part of what names a run.
OBEDIENT = """\
import os
import time

time.sleep(float(os.environ.get("NEUINV_TEST_SLEEP", "0")))
if os.environ.get("NEUINV_TEST_FAIL"):
    raise RuntimeError("the device has no memory left")
"""
TAMPERED = "0.3333', on the page 'n = 3, third 0.3335'"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with two small pages, executed once."""
    folder = tmp_path_factory.mktemp("a folder")
    write(folder, DOOR, PRINTING)
    write(folder, DOOR.replace("tiny", "slow"), OBEDIENT, PRINTING, name="slow")
    assert tool.main(["refresh", "--folder", str(folder)]) == 0
    return folder


@pytest.fixture
def pages(made, tmp_path):
    """A copy of the pages that a test may damage."""
    return shutil.copytree(made, tmp_path / "pages")


@pytest.fixture
def call(pages, tmp_path):
    """Return a function that compares pages and returns the exit code."""
    options = ["--device", "cpu", "--folder", str(pages), "--results", str(tmp_path / "results")]
    return lambda *arguments: gpu.main([*options, *arguments])


@pytest.fixture
def results(tmp_path):
    return tmp_path / "results"


def slugs(folder):
    found = load_records(folder) if folder.is_dir() else []
    return sorted(record["provenance"]["notebook"]["slug"] for record in found)


def tamper(pages, page="tiny"):
    twin = pages / f"{page}.ipynb"
    twin.write_text(twin.read_text().replace("0.3333", "0.3335"))


def test_what_agrees_is_recorded_and_not_run_again(call, results, capsys, monkeypatch):
    assert call("tiny") == 0
    assert "all agree" in capsys.readouterr().out
    (record,) = load_records(results)
    values, provenance = record["values"], record["provenance"]
    assert (provenance["notebook"]["slug"], provenance["device"]["type"]) == ("tiny", "cpu")
    assert values["num_differences"] == 0 and values["num_lines"] == 1 and not values["failed"]
    assert provenance["wall_seconds"] == pytest.approx(values["seconds"], abs=5)
    monkeypatch.setattr(gpu, "_run", lambda *arguments: pytest.fail("it ran again"))
    assert call("tiny") == 0
    # Negative control: it does run where it is told to.
    with pytest.raises(pytest.fail.Exception, match="it ran again"):
        call("tiny", "--again")


def test_what_differs_is_recorded_apart_until_it_agrees(call, results, pages, capsys):
    right = (pages / "tiny.ipynb").read_text()
    tamper(pages)
    for _ in range(2):
        # It is run again each time, and has one record.
        assert call("tiny") == 1
        assert TAMPERED in (said := capsys.readouterr().out) and "1 of 1 notebooks differ" in said
        (record,) = load_records(results)
        values = record["values"]
        assert (values["num_differences"], values["num_lines"], values["failed"]) == (1, 1, False)
        assert TAMPERED in values["first_differences"][0]
        assert slugs(results / gpu.DIFFERING) == ["tiny"]
    (pages / "tiny.ipynb").write_text(right)
    assert call("tiny") == 0
    assert slugs(results / gpu.DIFFERING) == [] and slugs(results) == ["tiny"]
    assert load_records(results)[0]["values"]["num_differences"] == 0


def test_an_agreement_of_the_same_page_outlives_no_later_difference(call, results, pages):
    assert call("tiny") == 0
    tamper(pages)
    assert call("tiny", "--again") == 1
    assert [record["values"]["num_differences"] for record in load_records(results)] == [1]


def test_a_page_that_fails_is_recorded_as_failed(call, results, monkeypatch, capsys):
    monkeypatch.setenv("NEUINV_TEST_FAIL", "1")
    assert call() == 1
    assert "failed: RuntimeError: the device has no memory left" in capsys.readouterr().out
    (differing,) = load_records(results / gpu.DIFFERING)
    assert differing["values"]["failed"] and differing["values"]["num_differences"] == 1
    # Negative control: the other page did not fail.
    assert slugs(results) == ["slow", "tiny"] and slugs(results / gpu.DIFFERING) == ["slow"]


def test_long_lists_of_differences_are_cut_in_the_record(call, results, monkeypatch):
    many = tuple(f"cell 1, line {k}" for k in range(30))
    monkeypatch.setattr(gpu, "_run", lambda *arguments: gpu.Outcome(1.0, many, 40))
    assert call("tiny") == 1
    (record,) = load_records(results)
    assert record["values"]["num_differences"] == 30
    assert record["values"]["first_differences"] == list(many[: gpu.KEPT])


def test_only_the_pages_that_are_named_run(call, results, capsys):
    assert call("slow", "slow") == 0
    assert slugs(results) == ["slow"] and "1 notebooks on" in capsys.readouterr().out
    assert call("slow", "quick") == 2
    assert capsys.readouterr().err == "there is no page 'quick'; use one of slow, tiny.\n"
    assert slugs(results) == ["slow"]


def test_several_pages_run_at_a_time_and_their_lines_stay_whole(call, results, pages, capsys):
    tamper(pages, "slow")
    assert call("--jobs", "2") == 1
    lines = capsys.readouterr().out.splitlines()
    at = {name: next(k for k, line in enumerate(lines) if line.startswith(name)) for name in ("slow", "tiny")}
    assert re.fullmatch(r"slow +\d+\.\d +1", lines[at["slow"]]) and TAMPERED in lines[at["slow"] + 1]
    assert re.fullmatch(r"tiny +\d+\.\d +0", lines[at["tiny"]])
    assert slugs(results / gpu.DIFFERING) == ["slow"] and slugs(results) == ["slow", "tiny"]


def test_two_jobs_overlap_and_one_job_does_not(call, monkeypatch):
    now, most = [0], []

    def run(*_arguments):
        now[0] += 1
        time.sleep(0.3)
        most.append(now[0])
        now[0] -= 1
        return gpu.Outcome(0.1, ("another number",), 1)

    monkeypatch.setattr(gpu, "_run", run)
    assert call("--jobs", "2") == 1 and max(most) == 2
    most.clear()
    assert call() == 1 and max(most) == 1


@pytest.mark.parametrize("jobs", ["0", "-1", "many"])
def test_a_number_of_jobs_that_is_none_is_refused(call, jobs, capsys):
    with pytest.raises(SystemExit) as caught:
        call(f"--jobs={jobs}")
    assert caught.value.code == 2
    assert f"'{jobs}' pages at a time; pass an integer >= 1" in capsys.readouterr().err


@pytest.mark.parametrize("number,sleep", [(signal.SIGTERM, 300), (signal.SIGKILL, 20)])
def test_what_agrees_is_kept_when_the_command_is_killed(number, sleep, call, results, pages):
    command = [sys.executable, ROOT / "tools" / "gpu.py", "--device", "cpu", "--jobs", "2"]
    command += ["--folder", pages, "--results", results]
    environment = {**os.environ, "NEUINV_TEST_SLEEP": str(sleep), "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, cwd=ROOT)
    try:
        while slugs(results) != ["tiny"]:
            assert process.poll() is None
            time.sleep(0.1)
        process.send_signal(number)
        assert process.wait(timeout=60) != 0
    finally:
        process.kill()
    (kept,) = [path.name for path in results.rglob("record-*.json")]
    # The page that was running is neither one that differs nor one that agrees.
    assert slugs(results) == ["tiny"] and not (results / gpu.DIFFERING).exists()
    if number == signal.SIGTERM:
        assert not list(results.glob("*.partial"))
    assert call() == 0
    assert slugs(results) == ["slow", "tiny"] and not list(results.glob("*.partial"))
    assert kept in [path.name for path in results.rglob("record-*.json")]


def printed_on_the_page(results, capsys):
    """Run the cell of the page that shows the records, and return what it printed and what the page shows."""
    notebook = form.read_twin(ROOT / "notebooks" / "reproducing.ipynb")
    (cell,) = [c for c in notebook.cells if c.cell_type == "code" and "on a GPU" in c.source]
    capsys.readouterr()
    exec(cell.source, {"results": results, "load_records": load_records})
    return capsys.readouterr().out, "".join(output.text for output in cell.outputs)


def test_the_page_shows_the_committed_records(capsys):
    printed, shown = printed_on_the_page(ROOT / "book" / "results", capsys)
    assert printed == shown, "run 'python tools/notebooks.py refresh reproducing' again"


def test_the_page_tells_pages_that_agree_from_those_that_differ_and_fail(
    call, results, pages, capsys, monkeypatch
):
    folder = results.parent
    assert printed_on_the_page(folder, capsys)[0] == "no run on a GPU is recorded\n"
    options = ["--results", str(folder / "gpu")]
    assert call(*options) == 0
    printed, _ = printed_on_the_page(folder, capsys)
    assert ": 2 pages, 2 print the same\n" in printed and "\n  the same: slow " in printed
    tamper(pages)
    monkeypatch.setenv("NEUINV_TEST_FAIL", "1")
    assert call(*options, "--again") == 1
    printed, _ = printed_on_the_page(folder, capsys)
    assert ": 2 pages, 0 print the same\n" in printed
    assert "\n  slow: failed\n    at commit " in printed
    assert "\n  tiny: 1 of 1 lines differ\n    at commit " in printed
    assert "'n = 3, third 0.3333'" in printed and "the device has no memory left" in printed
    # Nothing agrees, and every page there is was run.
    assert "the same:" not in printed and "not run:" not in printed


def test_comparison_of_nothing_is_no_agreement(call, pages, capsys):
    (pages / "tiny.ipynb").unlink()
    assert call() == 2
    assert "tiny has no executed notebook" in capsys.readouterr().err
    assert gpu.main(["--device", "cpu", "--folder", str(pages / "none")]) == 2
    assert "none' has no executed notebook" in capsys.readouterr().err


def test_comparison_without_the_device_says_so(tmp_path, capsys):
    assert gpu.main(["--device", "cuda:63", "--folder", str(tmp_path)]) == 2
    assert "is not available here" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("page", "run_", "agree"),
    [
        ("r 0.1234", "r 0.1235", True),
        ("r 0.1234", "r 0.1236", False),
        ("r 9.99e-01", "r 1.00e+00", True),
        ("r 1.0e-12", "r 3.0e-12", False),
        ("r -0.01", "r 0.00", True),
        ("steps 14", "steps 15", False),
        ("all True", "all False", False),
        ("a 1.0 b 2.0", "a 1.0", False),
        ("x inf", "x 1.0", False),
    ],
)
def test_lines_agree_within_one_unit_of_the_last_digit_and_exactly_in_words(page, run_, agree):
    assert lines_agree(page, run_) is agree
