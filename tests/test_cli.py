"""The command line: what it prints, and one sentence with the right exit code for bad input."""

import json
import subprocess
import sys

import numpy as np
import pytest
from cases import gaussian

from neuinv import cli, families


def run(*arguments):
    return cli.main(list(map(str, arguments)))


@pytest.fixture
def pair(tmp_path):
    A = gaussian(1, 3)[0].numpy()
    if np.linalg.det(A) < 0:
        A[0] *= -1
    paths = [tmp_path / "A.npy", tmp_path / "B.npy"]
    np.save(paths[0], A)
    np.save(paths[1], A * np.array([[-1.0], [1.0], [1.0]]) + 0.1)
    assert np.linalg.det(np.load(paths[1])) < 0
    return paths


def test_families_are_listed_described_and_given_as_json(capsys):
    assert run("families") == 0
    listed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in listed] == families()
    assert run("families", "gaussian") == 0
    assert "reference:" in capsys.readouterr().out
    assert run("families", "--json") == 0
    assert {f["name"] for f in json.loads(capsys.readouterr().out)} == set(families())


def test_a_witness_is_written_and_verified(pair, tmp_path, capsys):
    path = tmp_path / "witness.json"
    assert run("witness", *pair, "-o", path) == 0
    assert "no network inverts" in capsys.readouterr().out
    assert run("verify", path) == 0
    document = json.loads(path.read_text())
    path.write_text(json.dumps(document | {"distance": (0.0).hex()}))
    assert run("verify", path) == 1
    assert "NOT valid" in capsys.readouterr().out


@pytest.mark.parametrize("which", [0, 1])
def test_an_input_is_never_overwritten(which, pair, tmp_path, capsys):
    before = pair[which].read_bytes()
    (tmp_path / "link").symlink_to(pair[which])
    for output in (pair[which], tmp_path / "link"):
        assert run("witness", *pair, "-o", output) == 2
        assert "name another file" in capsys.readouterr().err
    assert pair[which].read_bytes() == before


@pytest.mark.parametrize("arguments", [("witness",), ("frobnicate",), ("verify", "a", "b"), ()])
def test_a_wrong_command_line_is_one_line_and_exit_code_two(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        run(*arguments)
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "--help" in error


BAD = {
    "no such file": (("witness", "none.npy", "none.npy"), "none.npy"),
    "no such family": (("families", "gausian"), "gaussian"),
    "no such certificate": (("verify", "none.json"), "cannot be read"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input_is_one_sentence_on_stderr_and_exit_code_two(what, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments, words = BAD[what]
    assert run(*arguments) == 2
    captured = capsys.readouterr()
    assert words in captured.err and len(captured.err.splitlines()) == 1 and captured.out == ""


def test_a_witness_refuses_a_pair_of_one_sign_a_stack_and_a_pickle(pair, tmp_path, capsys):
    assert run("witness", pair[0], pair[0]) == 2
    assert "one positive and one negative" in capsys.readouterr().err
    np.save(tmp_path / "stack.npy", np.stack([np.eye(2)] * 3))
    assert run("witness", tmp_path / "stack.npy", pair[0]) == 2
    assert "holds 3 matrices" in capsys.readouterr().err
    (tmp_path / "A.pt").write_bytes(b"\x80\x04N.")
    assert run("witness", tmp_path / "A.pt", pair[0]) == 2
    assert "pickle" in capsys.readouterr().err.lower()


def test_a_certificate_that_cannot_be_written_is_one_sentence(pair, tmp_path, capsys):
    assert run("witness", *pair, "-o", tmp_path / "missing" / "w.json") == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize(
    "command", [[], ["families"], ["family"], ["family", "new"], ["witness"], ["verify"]]
)
def test_every_command_has_help_with_an_example(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        run(*command, "--help")
    assert stopped.value.code == 0 and "example: neuinv" in capsys.readouterr().out


def test_the_module_runs_and_unknown_commands_exit_with_two():
    done = subprocess.run([sys.executable, "-m", "neuinv", "invert"], capture_output=True, text=True)
    assert done.returncode == 2 and "Traceback" not in done.stderr
