"""What a verdict may be asked about: bad sources are refused in a sentence, files and options are read."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

import neuinv
from neuinv import cli
from neuinv.criterion import verdict


@pytest.mark.parametrize(
    ("source", "options", "error", "sentence"),
    [
        (torch.eye(2, dtype=torch.complex128), {}, TypeError, "is complex .*real_form"),
        (torch.eye(2, dtype=torch.int64), {}, TypeError, r"convert it with .*double\(\)"),
        (torch.full((2, 2), math.nan), {}, ValueError, "remove matrices with NaN"),
        (torch.ones(2, 3), {}, ValueError, r"pass square matrices"),
        (torch.ones(0, 3, 3), {}, ValueError, "empty batch"),
        (np.eye(2), {}, TypeError, "torch.as_tensor"),
        ([torch.eye(2), torch.eye(3)], {}, ValueError, "n = 2 and .* n = 3; a family has one size"),
        ([], {}, ValueError, "empty list"),
        ("gausian", {}, ValueError, "did you mean gaussian"),
        ("no-such-file.npy", {}, FileNotFoundError, "there is no file"),
        ("model.pt", {}, FileNotFoundError, "there is no file"),
        ("gaussian", {"parameters": {"m": 3}}, ValueError, "'m' is no known parameter"),
        (torch.eye(2), {"parameters": {"n": 3}}, ValueError, "leave the parameters away"),
        ("gaussian", {"tolerance": 1.0}, ValueError, r"tolerance is 1; pass a number in \(0, 1\)"),
        ("gaussian", {"tolerance": math.nan}, ValueError, "tolerance is nan"),
        ("gaussian", {"tolerance": "tiny"}, TypeError, "tolerance is 'tiny'"),
        ("gaussian", {"samples": 0}, ValueError, "samples is 0"),
        ("gaussian", {"dtype": torch.int32}, TypeError, "use torch.float64"),
    ],
)
def test_a_bad_source_is_refused_in_a_sentence(source, options, error, sentence):
    with pytest.raises(error, match=sentence) as caught:
        verdict(source, **options)
    assert str(caught.value).count("\n") == 0


def write(folder, name, A):
    np.save(folder / name, A.numpy())
    return str(folder / name)


def test_many_files_are_one_family_and_keep_the_coarsest_precision(tmp_path):
    A = neuinv.family("markov", lake="4x4").sample(6, seed=0)
    first, second = write(tmp_path, "a.npy", A[:4]), write(tmp_path, "b.npy", A[4:].float())
    found = verdict([first, second])
    assert found.source.name == "a.npy and 1 more" and found.measurements.count == 6
    assert found.source.dtype == torch.float32
    other = write(tmp_path, "c.npy", torch.eye(3, dtype=torch.float64))
    with pytest.raises(ValueError, match=r"a.npy has n = 16 and c.npy has n = 3"):
        verdict([first, other])


def test_a_file_of_twenty_gigabytes_is_refused_unread(tmp_path):
    path = tmp_path / "large.npy"
    header = {"descr": "<f8", "fortran_order": False, "shape": (50_000, 224, 224)}
    with path.open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, header)
        stream.truncate(stream.tell() + 8 * 50_000 * 224 * 224)  # sparse: no byte of it is on the disk
    assert path.stat().st_size > 20e9
    with pytest.raises(ValueError, match=r"large.npy .* GiB .* beyond the limit .* split the file"):
        verdict(path)


def test_a_mat_file_of_several_arrays_asks_which(tmp_path):
    from scipy import io

    path = tmp_path / "two.mat"
    io.savemat(path, {"K": np.eye(3) * 2, "M": np.eye(3)})
    with pytest.raises(
        ValueError, match=r"holds 2 arrays and none is named A \(K, M\); write 'two.mat:NAME'"
    ):
        verdict(path)
    assert verdict(f"{path}:K").measurements.low == 2
    (tmp_path / "new.mat").write_bytes(b"MATLAB 7.3 MAT-file" + bytes(200))
    with pytest.raises(ValueError, match=r"v7\.3 file, which is not read; save it with '-v7'"):
        verdict(tmp_path / "new.mat")


def run(capsys, *arguments):
    code = cli.main(["verdict", *map(str, arguments)])
    return code, *capsys.readouterr()


def test_the_command_prints_a_verdict_and_exits_with_one_where_it_is_cannot(capsys):
    code, out, err = run(capsys, "wishart", "-p", "n=4", "-p", "aspect=3", "--samples", "30")
    assert code == 0 and err == "" and out.startswith("wishart(n=4, aspect=3.0, ridge=0.0): 30 members")
    assert "POLYNOMIAL" in out
    code, out, _ = run(capsys, "wishart", "-p", "n=4", "-p", "aspect=1", "--samples", "30", "--json")
    assert code == 1 and json.loads(out)["recommendation"] == "cannot"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["wishart", "-p", "n"], "'n' is no pair; write KEY=VALUE"),
        (["wishart", "-p", "n=2.5"], "n = '2.5' of family 'wishart' is not an integer"),
        (["wishart", "-p", "m=2"], "'m' is no known parameter"),
        (["power-grid-ac", "-p", "common=2"], "no truth value; write true or false"),
        (["a.npy", "-p", "n=2"], "-p n=2 is for families, and a.npy is none"),
        (["wishart", "--dtype", "int8"], "--dtype is 'int8'; use one of float64"),
        (["wishart", "--samples", "8", "--figure", "a.gif"], "a.gif does not end in .png"),
    ],
)
def test_a_bad_option_is_refused_in_a_sentence_with_code_two(capsys, arguments, sentence):
    code, _, err = run(capsys, *arguments)
    assert code == 2 and sentence in err and err.count("\n") == 1 and "Traceback" not in err


def test_the_command_draws_a_figure_and_never_over_an_input(capsys, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib").use("agg")
    path = write(tmp_path, "a.npy", neuinv.family("shift").sample(20, seed=0))
    figure = tmp_path / "a.png"
    assert run(capsys, path, "--figure", figure)[0] == 0
    assert figure.read_bytes().startswith(b"\x89PNG")
    before = Path(path).read_bytes()
    code, _, err = run(capsys, path, "--figure", path)
    assert code == 2 and "an input" in err and Path(path).read_bytes() == before
