"""`make bench`: a run that ends early keeps what it has, and bad input is one sentence."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from neuinv import benchmark

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))

import bench  # noqa: E402


def run_bench(folder, *arguments):
    """Run the command in this process with tiny cells."""
    options = ["--results", str(folder), "--device", "cpu", "--repetitions", "1", "--entries", "8"]
    return bench.main([*options, "--dtypes", "float32", "--sizes", "2", "3", *arguments])


def test_the_command_writes_one_record_and_measures_what_is_missing(tmp_path, capsys):
    assert run_bench(tmp_path, "--kappas", "10", "--minutes", "0") == 0
    assert "3 cells are left for a run with --missing" in capsys.readouterr().out
    assert run_bench(tmp_path, "--kappas", "10", "--missing") == 0
    (record,) = benchmark.load_speed(tmp_path)
    # Both records may be of the same second, which alone orders them.
    assert sorted(len(run["values"]["cells"]) - 1 for run in record.runs) == [1, 3]
    assert len(record.cells) == 4
    assert run_bench(tmp_path, "--kappas", "10", "--missing") == 0
    assert "every cell is measured already" in capsys.readouterr().out
    assert len(list(tmp_path.iterdir())) == 2


def test_a_run_that_is_killed_keeps_the_cells_it_has_finished(tmp_path, monkeypatch):
    real, calls = benchmark.run_cell, []

    def killed(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(benchmark, "run_cell", killed)
    with pytest.raises(KeyboardInterrupt):
        run_bench(tmp_path, "--kappas", "10")
    (record,) = benchmark.load_speed(tmp_path)
    assert len(record.cells) == 2 and record.runs[0]["values"]["planned"] == 4


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--sizes", "0"], "a size is 0"),
        (["--repetitions", "0"], "--repetitions and --threads must be at least 1"),
        (["--device", "gpu"], "device 'gpu' is unknown"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_two(arguments, sentence, capsys):
    assert bench.main(arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and sentence in said and said.count("\n") == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_cuda_the_command_says_so_and_exits_with_two(monkeypatch, capsys):
    monkeypatch.setenv("DEVICE", "cuda")
    assert bench.main([]) == 2
    assert capsys.readouterr().err == "error: device 'cuda' is not available here; use 'auto' or 'cpu'.\n"


def test_the_help_has_an_example(capsys):
    with pytest.raises(SystemExit):
        bench.main(["--help"])
    said = capsys.readouterr().out
    assert "example: python tools/bench.py" in said and "--missing" in said


def test_make_passes_the_device_and_the_arguments_on():
    environment = {k: v for k, v in os.environ.items() if k not in ("DEVICE", "MAKEFLAGS", "MAKELEVEL")}
    command = ["make", "-n", "bench", "DEVICE=cuda", "ARGS=--sizes 64"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert "tools/bench.py --sizes 64" in done.stdout
    # Variables of make's command line are in the environment of what it runs.
    probe = "all:\n\t@echo $$DEVICE\n"
    done = subprocess.run(
        ["make", "-f", "-", "DEVICE=cuda"], input=probe, env=environment, capture_output=True, text=True
    )
    assert done.stdout == "cuda\n"
