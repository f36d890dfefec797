"""Checks at the door: each refuses bad input in one sentence that says what to do instead."""

import operator

import torch

FLOATING = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def check_matrices(A, name="A", *, entries=True):
    """Return ``A`` if it is a non-empty batch of finite, real, floating, square matrices.

    Parameters
    ----------
    A : Tensor, shape (..., n, n)
        The candidate.
    name : str
        What to call it in a message.
    entries : bool
        Whether to look for NaN and infinities, which waits for the device of ``A``.

    Raises
    ------
    TypeError
        Not a dense tensor, an integer or a complex dtype.
    ValueError
        Not square, n = 0, an empty batch, or an entry that is NaN or infinite.
    """
    check_dense(A, name)
    if A.is_complex():
        raise TypeError(
            f"{name} is complex ({A.dtype}); pass its real 2n x 2n form neuinv.real_form({name})."
        )
    if A.dtype not in FLOATING:
        raise TypeError(f"{name} has dtype {A.dtype}; convert it with {name}.double().")
    if A.ndim < 2 or A.shape[-1] != A.shape[-2]:
        raise ValueError(f"{name} has shape {tuple(A.shape)}; pass square matrices (..., n, n).")
    if A.shape[-1] == 0:
        raise ValueError(f"{name} has n = 0; an inverse needs n >= 1.")
    if A.numel() == 0:
        raise ValueError(f"{name} has shape {tuple(A.shape)}, an empty batch; pass at least one matrix.")
    # One pass for the good case; the two ends of the range are NaN where any entry is.
    if entries and not all(end.isfinite() for end in torch.aminmax(A.detach())):
        finite = torch.isfinite(A)
        index = tuple(torch.nonzero(~finite)[0].tolist())
        raise ValueError(
            f"{name} has the entry {A[index].tolist()} at index {index}; remove matrices with NaN or inf."
        )
    return A


def check_dense(A, name="A"):
    """Return ``A`` if it is a tensor that holds all its entries: not sparse, not nested, not on ``meta``.

    Raises
    ------
    TypeError
        It is something else; the sentence says how to convert it.
    """
    if not isinstance(A, torch.Tensor):
        raise TypeError(
            f"{name} is a {type(A).__name__}, not a torch.Tensor; convert it with torch.as_tensor({name})."
        )
    # Nested first: such a tensor cannot even tell its shape.
    if A.is_nested:
        raise TypeError(f"{name} is a nested tensor; pass matrices of one size, one call a size.")
    if A.layout is not torch.strided:
        raise TypeError(f"{name} has the layout {A.layout}; convert it with {name}.to_dense().")
    if A.device.type == "meta":
        raise TypeError(
            f"{name} is on the device 'meta', which holds no numbers; make it on 'cpu' or 'cuda'."
        )
    return A


def check_pair(A, X, names=("A", "X")):
    """Return ``A, X`` if both pass :func:`check_matrices` and have the same n and dtype.

    Raises
    ------
    TypeError, ValueError
        As :func:`check_matrices`, sizes or dtypes differ, or the batches do not broadcast.
    """
    check_matrices(A, names[0])
    check_matrices(X, names[1])
    if A.shape[-1] != X.shape[-1]:
        raise ValueError(
            f"{names[0]} has n = {A.shape[-1]} and {names[1]} has n = {X.shape[-1]}; "
            "pass matrices of one size."
        )
    if A.dtype != X.dtype:
        raise TypeError(f"{names[0]} is {A.dtype} and {names[1]} is {X.dtype}; cast one with .to(dtype).")
    batches = tuple(A.shape[:-2]), tuple(X.shape[:-2])
    try:
        torch.broadcast_shapes(*batches)
    except RuntimeError:
        raise ValueError(
            f"{names[0]} has the batch {batches[0]} and {names[1]} has {batches[1]}; pass equal batches, "
            "or one matrix beside a batch."
        ) from None
    return A, X


def as_integer(value, name, low):
    """Return ``value`` as an int of at least ``low``; NumPy integers are welcome, bools are not.

    Raises
    ------
    TypeError
        It is no integer.
    ValueError
        It is less than ``low``.
    """
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} is {value!r}; pass an integer >= {low}.") from None
    if number < low:
        raise ValueError(f"{name} is {number}; pass an integer >= {low}.")
    return number


def resolve_device(device="auto"):
    """Return the torch device called ``device``; ``"auto"`` is the first GPU, else the CPU.

    Raises
    ------
    ValueError
        A name torch does not know, or a device that is not there.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except (RuntimeError, TypeError):
        raise ValueError(f"device {device!r} is unknown; use 'auto', 'cpu' or 'cuda'.") from None
    try:
        torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError, NotImplementedError, ImportError):
        raise ValueError(f"device {device!r} is not available here; use 'auto' or 'cpu'.") from None
    if chosen.type == "meta":
        raise ValueError("device 'meta' holds no numbers; use 'auto', 'cpu' or 'cuda'.")
    return chosen


def make_generator(seed=None, generator=None):
    """Return the CPU generator to draw from: exactly one of the two arguments is given.

    Raises
    ------
    ValueError
        Both or neither given, or a seed outside 0 ... 2**63 - 1.
    TypeError
        ``seed`` is not an integer.
    """
    if (seed is None) == (generator is None):
        raise ValueError("pass exactly one of seed= and generator=, so that the draw can be repeated.")
    if generator is not None:
        return generator
    seed = as_integer(seed, "seed", 0)
    if seed >= 2**63:
        raise ValueError(f"seed is {seed}; pass an integer in 0 ... 2**63 - 1.")
    return torch.Generator().manual_seed(seed)
