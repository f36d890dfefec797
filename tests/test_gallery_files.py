"""Matrices come back from every supported file as written; every other file is refused in one sentence."""

import io
import os
import pickle
import re
import struct
import zipfile

import numpy as np
import pytest
import scipy.io
import scipy.sparse
import torch
from safetensors.torch import save_file

from neuinv.gallery import MatrixFamily, files

A = np.random.default_rng(0).standard_normal((3, 4, 4))


def _npz(path, **arrays):
    np.savez(path, **arrays)


def _safetensors(path, **arrays):
    save_file({name: torch.as_tensor(array).contiguous() for name, array in arrays.items()}, path)


WRITERS = {
    "x.npy": lambda path: np.save(path, A),
    "fortran.npy": lambda path: np.save(path, np.asfortranarray(A)),
    "big-endian.npy": lambda path: np.save(path, A.astype(">f8")),
    "upper-case.NPY": lambda path: path.write_bytes(_npy_bytes(A)),
    "x.npz": lambda path: _npz(path, A=A, other=np.zeros(3)),
    "compressed.npz": lambda path: np.savez_compressed(path, only=A),
    "x.mat": lambda path: scipy.io.savemat(path, {"A": A, "b": np.zeros(3)}),
    "compressed.mat": lambda path: scipy.io.savemat(path, {"only": A}, do_compression=True),
    "x.safetensors": lambda path: _safetensors(path, A=A, b=np.zeros(3)),
}


def _npy_bytes(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def _read(path):
    return MatrixFamily.from_file(path).matrices.numpy()


@pytest.mark.parametrize("name", WRITERS)
def test_what_was_written_is_read(tmp_path, name):
    WRITERS[name](tmp_path / name)
    assert np.array_equal(_read(tmp_path / name), A)
    chosen = MatrixFamily.from_file(str(tmp_path / name))
    assert (chosen.name, chosen.n, chosen.count) == (name, 4, 3)
    assert chosen.sample(2, seed=0).dtype == torch.float64


@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("suffix", [".mtx", ".mat"])
def test_a_single_matrix_is_a_batch_of_one(tmp_path, suffix, sparse):
    matrix = scipy.sparse.csc_matrix(A[0]) if sparse else A[0]
    path = tmp_path / f"x{suffix}"
    scipy.io.mmwrite(path, matrix) if suffix == ".mtx" else scipy.io.savemat(path, {"A": matrix})
    assert np.allclose(_read(path), A[:1], rtol=1e-14)


def test_a_symmetric_mtx_file_is_read_in_full(tmp_path):
    symmetric = A[0] + A[0].T
    scipy.io.mmwrite(tmp_path / "x.mtx", symmetric, symmetry="symmetric", precision=17)
    assert np.allclose(_read(tmp_path / "x.mtx")[0], symmetric, rtol=1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_shorter_floats_are_widened(tmp_path, dtype):
    np.save(tmp_path / "x.npy", A.astype(dtype))
    assert np.array_equal(_read(tmp_path / "x.npy"), A.astype(dtype).astype(float))


def test_bfloat16_tensors_are_widened(tmp_path):
    rounded = torch.as_tensor(A).bfloat16()
    save_file({"A": rounded}, tmp_path / "x.safetensors")
    assert torch.equal(MatrixFamily.from_file(tmp_path / "x.safetensors").matrices, rounded.double())


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("x.npz", _npz),
        ("x.safetensors", _safetensors),
        ("x.mat", lambda path, **arrays: scipy.io.savemat(path, arrays)),
    ],
)
def test_an_array_is_chosen_by_its_name(tmp_path, name, write):
    path = tmp_path / name
    write(path, A=A, B=2 * A)
    assert np.array_equal(_read(path), A)
    assert np.array_equal(_read(f"{path}:B"), 2 * A)
    with pytest.raises(ValueError, match="has no array 'C'; it holds A, B"):
        _read(f"{path}:C")
    with pytest.raises(ValueError, match="names no array after the colon"):
        _read(f"{path}:")
    write(path, B=A, C=3 * A)
    with pytest.raises(ValueError, match=r"holds 2 arrays and none is named A \(B, C\); write .*:NAME"):
        _read(path)


def test_a_colon_in_a_file_name_is_part_of_it(tmp_path):
    np.save(tmp_path / "x.npy:B.npy", A)
    assert np.array_equal(_read(tmp_path / "x.npy:B.npy"), A)


@pytest.mark.parametrize("name", ["x.npy", "x.mtx"])
def test_a_name_for_a_file_of_one_array_is_refused(tmp_path, name):
    np.save(tmp_path / "x.npy", A)
    scipy.io.mmwrite(tmp_path / "x.mtx", A[0])
    with pytest.raises(ValueError, match="leave ':A' away"):
        _read(f"{tmp_path / name}:A")


ARRAYS = {
    "complex": (A + 1j, TypeError, "is complex; save its real 2n x 2n form, see neuinv.real_form"),
    "integers": (np.eye(3, dtype=int), TypeError, "holds integers; save it as floating point"),
    "truth values": (np.eye(3, dtype=bool), TypeError, "holds truth values"),
    "texts": (np.array([["a"]]), TypeError, "holds no numbers"),
    "objects": (np.array([[print]], dtype=object), TypeError, "holds Python objects, which are never loaded"),
    "records": (np.zeros((2, 2), dtype=[("x", float)]), TypeError, "holds no numbers"),
    "not square": (np.zeros((2, 3)), ValueError, "has shape (2, 3); save one (n, n) matrix"),
    "a number": (np.array(1.0), ValueError, "has shape (); save"),
    "a vector": (np.zeros(4), ValueError, "has shape (4,); save"),
    "four axes": (np.zeros((2, 2, 3, 3)), ValueError, "has shape (2, 2, 3, 3); save"),
    "batch last": (np.zeros((3, 3, 5)), ValueError, "move the last axis to the front"),
    "n = 0": (np.zeros((0, 0)), ValueError, "without entries"),
    "empty batch": (np.zeros((0, 3, 3)), ValueError, "without entries"),
    "NaN": (np.array([[np.nan]]), ValueError, "remove matrices with NaN or inf"),
    "infinity": (np.array([[np.inf]]), ValueError, "remove matrices with NaN or inf"),
}


@pytest.mark.parametrize("write", [np.save, lambda path, array: _npz(path, A=array)], ids=["npy", "npz"])
@pytest.mark.parametrize("case", ARRAYS)
def test_an_array_that_is_no_batch_of_real_matrices_is_refused(tmp_path, write, case):
    array, error, message = ARRAYS[case]
    path = tmp_path / ("x.npy" if write is np.save else "x.npz")
    write(path, array)
    with pytest.raises(error, match=re.escape(message)) as caught:
        _read(path)
    assert str(caught.value).count("\n") == 0


@pytest.mark.parametrize(
    "case", ["complex", "integers", "truth values", "not square", "batch last", "NaN", "n = 0"]
)
def test_such_an_array_is_refused_in_matlab_and_safetensors_files_too(tmp_path, case):
    array, error, message = ARRAYS[case]
    scipy.io.savemat(tmp_path / "x.mat", {"A": array})
    with pytest.raises(error, match=r"complex|integers|truth|shape|NaN"):
        _read(tmp_path / "x.mat")
    if case != "complex":  # which safetensors cannot write in double precision
        _safetensors(tmp_path / "x.safetensors", A=array)
    else:
        save_file({"A": torch.as_tensor(array).to(torch.complex64)}, tmp_path / "x.safetensors")
    with pytest.raises(error, match=re.escape(message)):
        _read(tmp_path / "x.safetensors")


@pytest.mark.parametrize(
    "value", [{"a": 1.0}, np.array([{}], dtype=object), "text"], ids=["struct", "cell", "char"]
)
def test_a_matlab_variable_that_is_no_array_of_numbers_is_refused(tmp_path, value):
    scipy.io.savemat(tmp_path / "x.mat", {"A": value})
    with pytest.raises(TypeError, match=r"objects|no numbers"):
        _read(tmp_path / "x.mat")


@pytest.mark.parametrize(
    ("matrix", "message"),
    [(A[0] + 1j, "is complex"), (np.eye(3, dtype=int), "integers"), (None, "holds no numbers")],
)
def test_an_mtx_file_without_reals_is_refused(tmp_path, matrix, message):
    path = tmp_path / "x.mtx"
    if matrix is None:
        path.write_text("%%MatrixMarket matrix coordinate pattern general\n2 2 1\n1 1\n")
    else:
        scipy.io.mmwrite(path, matrix)
    with pytest.raises(TypeError, match=message):
        _read(path)


class _Trap:
    """A pickle that leaves a file behind when it is opened."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize(
    "suffix", [".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".bin", ".joblib", ".npy", ".mat", ".npz"]
)
def test_a_pickle_is_never_opened(tmp_path, suffix):
    sprung = tmp_path / "sprung"
    path = tmp_path / f"x{suffix}"
    path.write_bytes(pickle.dumps(_Trap(sprung)))
    with pytest.raises(
        ValueError,
        match=r"may hold a pickle, which runs code when opened|is damaged or no \.(npy|mat|npz) file",
    ):
        _read(path)
    assert not sprung.exists()
    pickle.loads(path.read_bytes()).close()
    assert sprung.exists()  # the trap is a real one


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_a_pickle_inside_an_array_file_is_never_opened(tmp_path, suffix):
    sprung = tmp_path / "sprung"
    array = np.empty((1, 1), dtype=object)
    array[0, 0] = _Trap(sprung)
    path = tmp_path / f"x{suffix}"
    np.save(path, array) if suffix == ".npy" else np.savez(path, A=array)
    with pytest.raises(TypeError, match="never loaded"):
        _read(path)
    assert not sprung.exists()


@pytest.mark.parametrize(
    "header", [b"\x89HDF\r\n\x1a\n" + bytes(200), b"MATLAB 7.3 MAT-file, Platform" + bytes(200)]
)
def test_a_matlab_7_3_file_is_refused_with_advice(tmp_path, header):
    (tmp_path / "x.mat").write_bytes(header)
    with pytest.raises(ValueError, match="save it with '-v7'"):
        _read(tmp_path / "x.mat")


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("damage", ["cut", "garbage"])
def test_a_damaged_file_is_refused(tmp_path, name, damage):
    path = tmp_path / name
    WRITERS[name](path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] if damage == "cut" else b"\x07" * len(content))
    with pytest.raises(ValueError, match="write it again") as caught:
        _read(path)
    assert str(caught.value).count("\n") == 0 and name in str(caught.value)


def test_a_damaged_mtx_file_is_refused(tmp_path):
    (tmp_path / "x.mtx").write_text("%%MatrixMarket matrix array real general\n2 2\n1.0\n")
    with pytest.raises(ValueError, match="write it again"):
        _read(tmp_path / "x.mtx")


def test_an_mtx_file_that_claims_more_entries_than_it_can_hold_is_refused(tmp_path):
    (tmp_path / "x.mtx").write_text(f"%%MatrixMarket matrix coordinate real general\n2 2 {10**13}\n1 1 1.0\n")
    with pytest.raises(ValueError, match="has no room for 10000000000000 entries"):
        _read(tmp_path / "x.mtx")


def test_a_genuine_npy_file_of_version_3_is_not_called_damaged(tmp_path):
    with (tmp_path / "x.npy").open("wb") as stream:
        np.lib.format.write_array(stream, A, version=(3, 0))
    assert np.array_equal(np.load(tmp_path / "x.npy"), A)
    with pytest.raises(ValueError, match=r"is in \.npy format 3\.0, which is not read; save it again with"):
        _read(tmp_path / "x.npy")


def test_a_file_with_bytes_to_spare_is_refused(tmp_path):
    (tmp_path / "x.npy").write_bytes(_npy_bytes(A) + b"more")
    with pytest.raises(ValueError, match="should hold 384 bytes and holds 388"):
        _read(tmp_path / "x.npy")


def test_what_is_no_readable_file_is_refused(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="there is no file"):
        _read(tmp_path / "x.npy")
    (tmp_path / "folder.npy").mkdir()
    with pytest.raises(IsADirectoryError, match="is a folder"):
        _read(tmp_path / "folder.npy")
    os.mkfifo(tmp_path / "pipe.npy")
    with pytest.raises(ValueError, match="no regular file"):
        _read(tmp_path / "pipe.npy")
    (tmp_path / "empty.npy").touch()
    with pytest.raises(ValueError, match=r"empty\.npy is empty"):
        _read(tmp_path / "empty.npy")
    (tmp_path / "x.csv").write_text("1,2")
    with pytest.raises(
        ValueError, match=r"no known format; use one of \.mat, \.mtx, \.npy, \.npz, \.safetensors"
    ):
        _read(tmp_path / "x.csv")
    np.save(tmp_path / "x.npy", A)
    monkeypatch.setattr(files.os, "access", lambda *arguments: False)
    with pytest.raises(PermissionError, match="check its permissions"):
        _read(tmp_path / "x.npy")


@pytest.mark.parametrize("path", [3, None, b"x.npy", "x\0.npy"])
def test_what_is_no_path_is_refused(path):
    with pytest.raises(TypeError, match="pass a text such as"):
        _read(path)


def _npy_header(shape):
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f8", "fortran_order": False, "shape": shape})
    return stream.getvalue()


def _bomb(path):
    """Write a small .npz that declares, and would unpack to, more than the limit."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("A.npy", _npy_header((100, 3000, 3000)) + bytes(10**6))


TOO_LARGE = {
    "x.npy": lambda path: path.write_bytes(_npy_header((100, 3000, 3000))),
    "x.npz": _bomb,
    "x.mtx": lambda path: path.write_text(
        "%%MatrixMarket matrix coordinate real general\n100000 100000 1\n1 1 1.0\n"
    ),
    "x.mat": lambda path: scipy.io.savemat(path, {"A": scipy.sparse.eye_array(100_000, format="csc")}),
    "x.safetensors": lambda path: path.write_bytes(_huge_safetensors()),
}


def _huge_safetensors():
    header = b'{"A":{"dtype":"F64","shape":[100000,100000],"data_offsets":[0,80000000000]}}'
    return struct.pack("<Q", len(header)) + header


@pytest.mark.parametrize("name", TOO_LARGE)
def test_a_file_beyond_the_limit_is_refused_before_it_is_read(tmp_path, name):
    TOO_LARGE[name](tmp_path / name)
    assert (tmp_path / name).stat().st_size < 2_000_000
    # a safetensors header that promises more than the file has is refused as damaged
    with pytest.raises(
        ValueError, match=r"GiB in float64, beyond the limit of 4 GiB; split the file|is damaged"
    ):
        _read(tmp_path / name)


@pytest.mark.parametrize("name", WRITERS)
def test_the_limit_is_exact(tmp_path, monkeypatch, name):
    WRITERS[name](tmp_path / name)
    monkeypatch.setattr(files, "MAX_BYTES", A.nbytes)
    assert _read(tmp_path / name).shape == A.shape
    monkeypatch.setattr(files, "MAX_BYTES", A.nbytes - 1)
    with pytest.raises(ValueError, match="split the file"):
        _read(tmp_path / name)


def test_a_zip_member_that_unpacks_to_more_than_it_declares_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("A.npy", _npy_bytes(A) + bytes(10**7))
    with pytest.raises(ValueError, match="should hold 384 bytes and holds 10000384"):
        _read(tmp_path / "x.npz")


def test_a_safetensors_header_longer_than_the_file_is_refused(tmp_path):
    (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", 2**62) + b"{}")
    with pytest.raises(ValueError, match="its header claims"):
        _read(tmp_path / "x.safetensors")
