"""Where the matrices of a verdict come from: a family, a tensor, a file, many files."""

import os
from dataclasses import dataclass

import torch

from neuinv._checks import FLOATING, as_integer, check_matrices
from neuinv.gallery import MatrixFamily, families, family

__all__ = ["Source", "dtype_name", "read_source"]

# Given matrices beyond this are drawn from by seed: entries in float64, of 2 GiB.
LARGEST_SAMPLE = 2**28
SAMPLES = 200


@dataclass(frozen=True)
class Source:
    """The matrices that a verdict is computed on, and what is declared about those it is about.

    Attributes
    ----------
    name : str
        Of the family or file.
    parameters : dict
        Of the family; empty for given matrices.
    A : Tensor, shape (N, n, n), float64
        The sample.
    total : int or None
        How many matrices were given; None for a generator.
    dtype : torch.dtype
        Of the input, whose rounding sets the data floor.
    seed : int
    family : MatrixFamily or None
        The generator, with its declared facts; None for given matrices.
    """

    name: str
    parameters: dict
    A: torch.Tensor
    total: int | None
    dtype: torch.dtype
    seed: int
    family: MatrixFamily | None


def read_source(source, *, parameters=None, samples=None, seed=0, dtype=None):
    """Return the :class:`Source` behind what a user passes to a verdict.

    Parameters
    ----------
    source : str, PathLike, MatrixFamily, Tensor, or list of these but the family
        A family's name, a file (see ``neuinv.MatrixFamily.from_file``), matrices (..., n, n), or several
        files or tensors of one n.
    parameters : dict, optional
        Of a family given by name.
    samples : int, optional
        How many members to draw; 200 of a generator, all of the given matrices up to 2 GiB.
    seed : int
        Of the draw.
    dtype : torch.dtype, optional
        Of the input, unless given that of the tensor or file, and float64 for families.

    Raises
    ------
    TypeError, ValueError, OSError
        No such family or file, bad matrices, matrices of different sizes, parameters of given matrices,
        ``samples`` below 1, or a dtype that is not floating.
    """
    if samples is not None:
        samples = as_integer(samples, "samples", 1)
    seed = as_integer(seed, "seed", 0)
    if dtype is not None and dtype not in FLOATING:
        raise TypeError(f"dtype is {dtype}; use torch.float64, float32, bfloat16 or float16.")
    if isinstance(source, str) and source in families():
        source = family(source, **(parameters or {}))
    elif parameters:
        raise ValueError(
            f"parameters has {next(iter(parameters))!r}, and {_called(source)} is no family by name; "
            "leave the parameters away."
        )
    if isinstance(source, MatrixFamily) and not hasattr(source, "matrices"):
        A = source.sample(SAMPLES if samples is None else samples, seed=seed)
        return Source(source.name, dict(source.parameters), A, None, dtype or torch.float64, seed, source)
    name, A, given = _given(source)
    total = len(A)
    return Source(name, {}, _draw(A, samples, seed), total, dtype or given, seed, None)


def _called(source):
    if isinstance(source, str):
        return repr(source)
    return f"the {type(source).__name__}" if not isinstance(source, os.PathLike) else repr(os.fspath(source))


def _given(source):
    """Return the name, the matrices (N, n, n) in float64 and the dtype of given matrices."""
    if isinstance(source, MatrixFamily):
        return source.name, source.matrices, source.stored_dtype
    if isinstance(source, (str, os.PathLike)):
        return _from_file(source)
    if isinstance(source, (list, tuple)):
        return _joined(source)
    check_matrices(source, "the source")
    dtype = source.dtype
    return "given matrices", source.detach().cpu().double().reshape(-1, *source.shape[-2:]), dtype


def _from_file(path):
    text = os.fspath(path)
    looks_like_a_name = isinstance(text, str) and "." not in text and os.sep not in text
    if looks_like_a_name and not os.path.exists(text):
        from neuinv.gallery.parameters import unknown

        raise ValueError(unknown("family", text, families()))
    return _given(MatrixFamily.from_file(path))


def _joined(sources):
    if not sources:
        raise ValueError("the source is an empty list; pass at least one file or tensor.")
    parts = [_given(one) for one in sources]
    sizes = {part[1].shape[-1] for part in parts}
    if len(sizes) > 1:
        first, other = parts[0], next(p for p in parts if p[1].shape[-1] != parts[0][1].shape[-1])
        raise ValueError(
            f"{first[0]} has n = {first[1].shape[-1]} and {other[0]} has n = {other[1].shape[-1]}; "
            "a family has one size: pass the sizes one call each."
        )
    name = parts[0][0] if len(parts) == 1 else f"{parts[0][0]} and {len(parts) - 1} more"
    widest = max((part[2] for part in parts), key=lambda dtype: torch.finfo(dtype).eps)
    return name, torch.cat([part[1] for part in parts]), widest


def _draw(A, samples, seed):
    """Return at most ``samples`` of the matrices, at most 2 GiB, in an order that the seed decides."""
    room = max(1, LARGEST_SAMPLE // A.shape[-1] ** 2)
    count = min(len(A), room, len(A) if samples is None else samples)
    if count == len(A):
        return A
    order = torch.randperm(len(A), generator=torch.Generator().manual_seed(seed))
    return A[order[:count].sort().values]


def dtype_name(dtype):
    """Return ``"float64"`` for ``torch.float64``."""
    return str(dtype).removeprefix("torch.")
