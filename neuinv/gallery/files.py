"""Read matrices from .npy, .npz, .mtx, .mat and .safetensors files without trusting them.

Sizes are checked on the headers, before anything is allocated; nothing is ever unpickled.
"""

import math
import os
import struct
import zipfile
from pathlib import Path

import torch

from neuinv._checks import FLOATING, check_matrices

MAX_BYTES = 4 * 2**30  # of the matrices in float64
READERS = {}
PICKLES = (".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".bin", ".joblib")
COUNT_LISTED = 8


def read_matrices(path):
    """Return the matrices of a file as (batch, n, n) in the precision of the file, and its path.

    Parameters
    ----------
    path : str or PathLike
        ``"FILE"`` or ``"FILE:NAME"``, with FILE a .npy, .npz, .mtx, .mat or .safetensors file
        of one (n, n) matrix or a batch (batch, n, n) of real floating-point numbers. Of several
        arrays the one named ``A`` is read, else the only one.

    Returns
    -------
    A : Tensor, shape (batch, n, n)
        On the CPU; float64 where torch has no such type, as for numbers in text.
    file : Path
        FILE, without NAME.

    Raises
    ------
    FileNotFoundError, IsADirectoryError, PermissionError
        No readable file there.
    TypeError
        ``path`` is no path, or the numbers are complex, integers or objects.
    ValueError
        Unknown format, a corrupt or too large file, no such array, not square, empty, or NaN
        or infinite entries.
    """
    file, name = _split(path)
    _check_file(file)
    suffix = file.suffix.lower()
    if suffix in PICKLES:
        raise ValueError(
            f"{file.name} may hold a pickle, which runs code when opened, and is not read; use numpy.save."
        )
    if suffix not in READERS:
        raise ValueError(f"{file.name} has no known format; use one of {', '.join(sorted(READERS))}.")
    with _one_sentence(file):
        A = READERS[suffix](file, name)
    return check_matrices(_as_batch(file, A), f"the array in {file.name}"), file


def _split(path):
    """Return FILE and NAME of ``"FILE:NAME"``; a file whose own name has a colon wins."""
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"path is a {type(path).__name__}; pass a text such as 'matrices.npy'.")
    text = os.fspath(path)
    if not isinstance(text, str) or "\0" in text:
        raise TypeError(f"path is {text!r}; pass a text such as 'matrices.npy'.")
    head, colon, name = text.rpartition(":")
    if colon and not os.path.exists(text) and Path(head).suffix.lower() in READERS:
        if not name:
            raise ValueError(f"{text!r} names no array after the colon; write 'FILE:NAME' or 'FILE'.")
        return Path(head), name
    return Path(text), None


def _check_file(file):
    if not file.exists():
        raise FileNotFoundError(f"there is no file {str(file)!r}; check the path.")
    if file.is_dir():
        raise IsADirectoryError(f"{str(file)!r} is a folder; pass a file.")
    if not file.is_file():
        raise ValueError(f"{str(file)!r} is no regular file; pass a file.")
    if file.stat().st_size == 0:
        raise ValueError(f"{file.name} is empty; write the matrices again.")
    if not os.access(file, os.R_OK):
        raise PermissionError(f"{file.name} cannot be read; check its permissions.")


class _one_sentence:
    """Turn whatever a format library raises on a damaged file into one sentence.

    The sentences of this module, which are subclasses defined below, pass through.
    """

    def __init__(self, file):
        self.file = file

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        if error is None or isinstance(error, (_Refusal, ModuleNotFoundError)):
            return False
        if not isinstance(error, Exception):
            return False
        if isinstance(error, PermissionError):
            raise PermissionError(f"{self.file.name} cannot be read; check its permissions.") from None
        message = f"{self.file.name} is damaged or no {self.file.suffix} file; write it again."
        raise ValueError(message) from error


class _Refusal(Exception):
    """Marks an error whose message is already the sentence for the user."""


class _ValueRefused(_Refusal, ValueError):
    pass


class _TypeRefused(_Refusal, TypeError):
    pass


def _reader(suffix):
    def decorate(function):
        READERS[suffix] = function
        return function

    return decorate


def _check_header(what, shape, code):
    """Refuse by the header alone: the shape and the numpy kind letter of the entries."""
    advice = {
        "c": "is complex; save its real 2n x 2n form, see neuinv.real_form",
        "i": "holds integers; save it as floating point, A.astype(float)",
        "u": "holds integers; save it as floating point, A.astype(float)",
        "b": "holds truth values; save it as floating point, A.astype(float)",
        "O": "holds Python objects, which are never loaded; save a plain array of numbers",
    }
    if code != "f":
        raise _TypeRefused(f"{what} {advice.get(code, 'holds no numbers; save a plain array of floats')}.")
    if len(shape) not in (2, 3) or shape[-1] != shape[-2]:
        hint = ""
        if len(shape) == 3 and shape[0] == shape[1]:
            hint = " (move the last axis to the front)"
        raise _ValueRefused(
            f"{what} has shape {tuple(shape)}; save one (n, n) matrix or a batch (batch, n, n){hint}."
        )
    if 0 in shape:
        raise _ValueRefused(f"{what} has shape {tuple(shape)}, without entries; save at least one matrix.")
    size = 8 * math.prod(shape)
    if size > MAX_BYTES:
        raise _ValueRefused(
            f"{what} has shape {tuple(shape)}, {size / 2**30:.3g} GiB in float64, beyond the limit of "
            f"{MAX_BYTES / 2**30:.3g} GiB; split the file."
        )


def _choose(file, names, wanted):
    """Return the wanted name, else ``A``, else the only one."""
    listed = ", ".join(sorted(names)[:COUNT_LISTED]) + (", ..." if len(names) > COUNT_LISTED else "")
    if wanted is not None:
        if wanted not in names:
            raise _ValueRefused(f"{file.name} has no array {wanted!r}; it holds {listed or 'none'}.")
        return wanted
    if "A" in names:
        return "A"
    if len(names) == 1:
        return next(iter(names))
    if not names:
        raise _ValueRefused(f"{file.name} holds no array; save one named A.")
    raise _ValueRefused(
        f"{file.name} holds {len(names)} arrays and none is named A ({listed}); write '{file.name}:NAME'."
    )


def _no_name(file, name):
    if name is not None:
        raise _ValueRefused(f"{file.name} holds a single array without a name; leave ':{name}' away.")


def _as_batch(file, A):
    return A[None] if A.ndim == 2 else A


def _to_tensor(array):
    import numpy as np

    kept = np.float64 if array.dtype.itemsize not in (2, 4, 8) else f"f{array.dtype.itemsize}"
    # a copy in native byte order: torch takes neither foreign bytes nor read-only memory
    return torch.from_numpy(np.array(array, dtype=kept, order="C"))


def _read_npy_stream(stream, what, available):
    """Read one .npy array from an open stream whose size in bytes is known."""
    import numpy as np

    header = np.lib.format
    version = header.read_magic(stream)
    if version == (3, 0):
        # NumPy has no public reader of this header, and writes it by itself only for fields with names.
        raise _ValueRefused(
            f"{what} is in .npy format 3.0, which is not read; save it again with numpy.save."
        )
    read_header = {(1, 0): header.read_array_header_1_0, (2, 0): header.read_array_header_2_0}[version]
    shape, fortran, dtype = read_header(stream)
    _check_header(what, shape, dtype.kind)
    expected = math.prod(shape) * dtype.itemsize
    if available - stream.tell() != expected:
        raise _ValueRefused(
            f"{what} should hold {expected} bytes and holds {available - stream.tell()}; write it again."
        )
    array = np.frombuffer(stream.read(expected), dtype=dtype)
    return _to_tensor(array.reshape(shape, order="F" if fortran else "C"))


@_reader(".npy")
def _read_npy(file, name):
    _no_name(file, name)
    with file.open("rb") as stream:
        return _read_npy_stream(stream, f"the array in {file.name}", file.stat().st_size)


@_reader(".npz")
def _read_npz(file, name):
    with zipfile.ZipFile(file) as archive:
        members = {
            entry.filename.removesuffix(".npy"): entry
            for entry in archive.infolist()
            if entry.filename.endswith(".npy")
        }
        chosen = members[_choose(file, members, name)]
        # the header is read from the decompressed stream, and only then is the size believed
        with archive.open(chosen) as stream:
            return _read_npy_stream(stream, f"the array in {file.name}", chosen.file_size)


@_reader(".mtx")
def _read_mtx(file, name):
    from neuinv.gallery import matrix_market

    _no_name(file, name)
    shape, code, complaint = matrix_market.inspect(file)
    _check_header(f"the matrix in {file.name}", shape, code)
    if complaint := complaint():
        raise _ValueRefused(f"{file.name} is damaged: {complaint}.")
    return _to_tensor(matrix_market.read(file))


_MAT_KINDS = {
    "double": "f",
    "single": "f",
    "sparse": "f",
    "logical": "b",
    "cell": "O",
    "struct": "O",
    "object": "O",
    "function": "O",
    "opaque": "O",
    "char": "S",
}


@_reader(".mat")
def _read_mat(file, name):
    from scipy import io, sparse

    with file.open("rb") as stream:
        start = stream.read(128)
    if start.startswith(b"\x89HDF") or b"MATLAB 7.3" in start[:20]:
        raise _ValueRefused(f"{file.name} is a MATLAB v7.3 file, which is not read; save it with '-v7'.")
    found = {key: (shape, kind) for key, shape, kind in io.whosmat(file)}
    chosen = _choose(file, found, name)
    shape, kind = found[chosen]
    what = f"the array in {file.name}"
    _check_header(what, shape, _MAT_KINDS.get(kind, "i"))
    A = io.loadmat(file, variable_names=[chosen])[chosen]
    A = A.toarray() if sparse.issparse(A) else A
    _check_header(what, A.shape, A.dtype.kind)  # only now is a complex array seen
    return _to_tensor(A)


@_reader(".safetensors")
def _read_safetensors(file, name):
    from safetensors import safe_open

    with file.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
    if length > file.stat().st_size:
        raise _ValueRefused(f"{file.name} is damaged: its header claims {length} bytes; write it again.")
    with safe_open(file, framework="pt") as archive:
        chosen = archive.get_slice(_choose(file, archive.keys(), name))
        dtype = chosen.get_dtype()
        code = {"F": "f", "BF": "f", "I": "i", "U": "u", "BOOL": "b", "C": "c"}.get(
            dtype.rstrip("0123456789"), "?"
        )
        _check_header(f"the array in {file.name}", chosen.get_shape(), code)
        A = chosen[:]
        return A if A.dtype in FLOATING else A.double()
