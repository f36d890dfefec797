"""The kernels of :mod:`neuinv.iterations.fused`, compiled by Triton where it is installed.

Below, one program instance owns one matrix, or for n <= 8 a block-diagonal tile of several: a product of such
tiles is the tile of the products, once what NaN times 0 leaves outside of the blocks is cleared.
"""

# Annotations stay text: Triton reads them so, and there is no tl before it is loaded.
from __future__ import annotations

import functools

__all__ = ["kernel"]

# Triton resolves these names when it compiles; an import here would make it a requirement of the package.
tl = None


@functools.cache
def kernel(name):
    """Return a kernel by its name, with Triton's decorator.

    Parameters
    ----------
    name : {"newton", "staged", "sums", "product"}

    Raises
    ------
    ImportError
        Triton is not installed.
    """
    global tl
    import triton
    import triton.language

    tl = triton.language
    function = {"newton": _newton, "staged": _staged, "sums": _sums, "product": _product}[name]
    if name == "product":
        return triton.jit(function)
    # Otherwise 1, and multiples of 16, would each be compiled for themselves.
    numbers = [name for name in ("batch", "n", "row", "low", "high", "count") if name in _names(function)]
    return triton.jit(
        function, do_not_specialize=numbers, do_not_specialize_on_alignment=["C"] if name == "sums" else []
    )


def _names(function):
    return function.__code__.co_varnames[: function.__code__.co_argcount]


# An undecorated function cannot be called from a kernel, so the two that follow begin with the same lines.
def _newton(
    A,
    X,
    C,
    batch,
    n,
    row,
    low,
    high,
    PACK: tl.constexpr,
    BLOCK: tl.constexpr,
    WHOLE: tl.constexpr,
    GENERAL: tl.constexpr,
    MIXED: tl.constexpr,
    LOW: tl.constexpr,
    FIRST: tl.constexpr,
    SECOND: tl.constexpr,
):
    """X <- f (X + X (I - AX)) from a I + b A, or b A^T: ``low`` steps in one precision, ``high`` in others.

    C holds, a line of length ``row`` a matrix (0: one line for all), 1 / scale, a, b and the factors f.
    """
    i, j = tl.arange(0, BLOCK)[:, None], tl.arange(0, BLOCK)[None, :]
    first = tl.program_id(0).to(tl.int64) * PACK
    if WHOLE:
        at = first * BLOCK * BLOCK + i * BLOCK + j
        eye = tl.where(i == j, 1.0, 0.0)
        unit = tl.load(A + at)
        member = first
    else:
        member = first + (i // n)
        at = member * n * n + (i % n) * n + (j % n)
        inside = (i // n == j // n) & (i // n < PACK) & (j // n < PACK) & (member < batch)
        eye = tl.where((i == j) & inside, 1.0, 0.0)
        unit = tl.load(A + at, mask=inside, other=0.0)
        member = tl.minimum(member, batch - 1)
    C += member * row
    scale = tl.load(C)
    unit = unit * scale
    start = tl.load(C + 2)
    if GENERAL:
        Y = start * tl.trans(unit)
        if PACK > 1:
            Y = tl.where(inside, Y, 0.0)
    else:
        Y = tl.load(C + 1) * eye + start * unit
    unit = -unit
    if MIXED:
        for step in range(low):
            R = tl.dot(unit, Y, acc=eye, input_precision=LOW)
            if PACK > 1:
                R = tl.where(inside, R, 0.0)
            Y = tl.load(C + 3 + step) * tl.dot(Y, R, acc=Y, input_precision=LOW)
            if PACK > 1:
                Y = tl.where(inside, Y, 0.0)
    for step in range(low, low + high):
        R = tl.dot(unit, Y, acc=eye, input_precision=FIRST)
        if PACK > 1:
            R = tl.where(inside, R, 0.0)
        Y = tl.load(C + 3 + step) * tl.dot(Y, R, acc=Y, input_precision=SECOND)
        if PACK > 1:
            Y = tl.where(inside, Y, 0.0)
    if WHOLE:
        tl.store(X + at, Y * scale)
    else:
        tl.store(X + at, Y * scale, mask=inside)


def _staged(
    A,
    X,
    C,
    batch,
    n,
    row,
    PACK: tl.constexpr,
    BLOCK: tl.constexpr,
    WHOLE: tl.constexpr,
    GENERAL: tl.constexpr,
    SIZES: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """X <- X p(I - AX) for stages p of SIZES products, from g I or g A^T.

    C holds, a line of length ``row`` a matrix (0: one line for all), 1 / scale and g; then for each stage
    1 / radius, left and right coefficients product by product, and those of the result.
    """
    i, j = tl.arange(0, BLOCK)[:, None], tl.arange(0, BLOCK)[None, :]
    first = tl.program_id(0).to(tl.int64) * PACK
    if WHOLE:
        at = first * BLOCK * BLOCK + i * BLOCK + j
        inside = i >= 0
        eye = tl.where(i == j, 1.0, 0.0)
        unit = tl.load(A + at)
        member = first
    else:
        member = first + (i // n)
        at = member * n * n + (i % n) * n + (j % n)
        inside = (i // n == j // n) & (i // n < PACK) & (j // n < PACK) & (member < batch)
        eye = tl.where((i == j) & inside, 1.0, 0.0)
        unit = tl.load(A + at, mask=inside, other=0.0)
        member = tl.minimum(member, batch - 1)
    C += member * row
    scale = tl.load(C)
    gamma = tl.load(C + 1)
    C += 2
    unit = unit * scale
    Y = gamma * eye
    R = eye - gamma * unit
    if GENERAL:
        Y = gamma * tl.trans(unit)
        if PACK > 1:
            Y = tl.where(inside, Y, 0.0)
    for stage in tl.static_range(len(SIZES)):
        if GENERAL or stage > 0:
            R = tl.dot(-unit, Y, acc=eye, input_precision=PRECISION)
        T = R * tl.load(C)
        if PACK > 1:
            T = tl.where(inside, T, 0.0)
        M = (T,)
        C += 1
        for product in tl.static_range(tl.constexpr(SIZES[stage])):
            left = tl.load(C) * eye
            right = tl.load(C + product + 2) * eye
            for k in tl.static_range(product + 1):
                left += tl.load(C + k + 1) * M[k]
                right += tl.load(C + product + 3 + k) * M[k]
            new = tl.dot(left, right, input_precision=PRECISION)
            if PACK > 1:
                new = tl.where(inside, new, 0.0)
            M = M + (new,)
            C += 2 * (product + 2)
        # X (c_0 I + rest) as c_0 X + X rest
        rest = tl.load(C + 1) * M[0]
        for k in tl.static_range(tl.constexpr(SIZES[stage])):
            rest += tl.load(C + k + 2) * M[k + 1]
        if GENERAL or stage > 0:
            Y = tl.dot(Y, rest, acc=tl.load(C) * Y, input_precision=PRECISION)
        else:
            Y = gamma * (tl.load(C) * eye + rest)
        if PACK > 1:
            Y = tl.where(inside, Y, 0.0)
        C += SIZES[stage] + 2
    if WHOLE:
        tl.store(X + at, Y * scale)
    else:
        tl.store(X + at, Y * scale, mask=inside)


def _sums(M, C, LEFT, RIGHT, total, n, count, TWO: tl.constexpr, BLOCK: tl.constexpr):
    """LEFT <- c_0 I + sum c_k M_k, and RIGHT likewise, reading each entry of the M_k once.

    M holds ``count`` stacks of ``total`` entries; C the count + 1 coefficients of LEFT, then those of RIGHT.
    """
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < total
    diagonal = (at % n) == ((at // n) % n)
    left = tl.where(diagonal, tl.load(C), 0.0)
    right = left
    if TWO:
        right = tl.where(diagonal, tl.load(C + count + 1), 0.0)
    for k in range(count):
        entries = tl.load(M + at, mask=inside, other=0.0)
        left += tl.load(C + 1 + k) * entries
        if TWO:
            right += tl.load(C + count + 2 + k) * entries
        M += total
    tl.store(LEFT + at, left, mask=inside)
    if TWO:
        tl.store(RIGHT + at, right, mask=inside)


def _product(
    A,
    B,
    D,
    OUT,
    n,
    alpha,
    beta,
    delta,
    TILE: tl.constexpr,
    DEPTH: tl.constexpr,
    EVEN: tl.constexpr,
    ADD: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """OUT <- alpha A B + beta D + delta I, a tile an instance; D is read for ADD alone."""
    tiles = tl.cdiv(n, TILE)
    start = tl.program_id(1).to(tl.int64) * n * n
    i = (tl.program_id(0) // tiles) * TILE + tl.arange(0, TILE)[:, None]
    j = (tl.program_id(0) % tiles) * TILE + tl.arange(0, TILE)[None, :]
    total = tl.zeros((TILE, TILE), dtype=tl.float32)
    for k in range(0, n, DEPTH):
        across, down = k + tl.arange(0, DEPTH)[None, :], k + tl.arange(0, DEPTH)[:, None]
        if EVEN:
            left = tl.load(A + start + i * n + across)
            right = tl.load(B + start + down * n + j)
        else:
            left = tl.load(A + start + i * n + across, mask=(i < n) & (across < n), other=0.0)
            right = tl.load(B + start + down * n + j, mask=(down < n) & (j < n), other=0.0)
        total = tl.dot(left, right, acc=total, input_precision=PRECISION)
    total = alpha * total + tl.where(i == j, delta, 0.0)
    inside = (i < n) & (j < n)
    if ADD:
        total += beta * tl.load(D + start + i * n + j, mask=inside, other=0.0)
    tl.store(OUT + start + i * n + j, total, mask=inside)
