"""What the hardware could do at most: measured rates, and the least time that a method could take."""

import math

import torch

from neuinv.benchmark.timing import interleaved, quartiles

__all__ = ["ceilings", "floor_time", "rate_name"]

COPIED, SIZE, TIMES = 2**30, 8192, 10  # bytes of a copy, n of a product, repetitions


def ceilings(device, copied=COPIED, size=SIZE, times=TIMES):
    """Return the rates of a large copy and of large products, measured, or nothing on a CPU.

    Parameters
    ----------
    device : torch.device
    copied, size, times : int
        Bytes of the copy, n of the products, and how often each is timed.

    Returns
    -------
    dict
        ``ceilings``: ``copy`` in bytes a second, read and written ones counted, and operations a second,
        2 n^3 a product, in ``float64``, ``float32``, ``tf32`` and ``bfloat16``. Medians, of random data.
        Empty unless the device is CUDA.
    """
    if device.type != "cuda":
        return {}
    return {"ceilings": _measured(device, copied, size, times)}


def _measured(device, copied, size, times):
    generator = torch.Generator(device=device).manual_seed(0)
    source = torch.randn(copied // 4, generator=generator, device=device)
    target = torch.empty_like(source)
    functions = {"copy": lambda: target.copy_(source)}
    work = {"copy": 2 * 4 * source.numel()}
    A = torch.randn(size, size, generator=generator, device=device)
    for name in ("float64", "float32", "tf32", "bfloat16"):
        B = A if name == "tf32" else A.to(getattr(torch, name))
        functions[name] = _product(B, "high" if name == "tf32" else "highest")
        work[name] = 2 * size**3
    interleaved(functions, 2, device)
    found, _ = interleaved(functions, times, device)
    rates = {name: work[name] / quartiles(found[name]).median for name in functions}
    functions.clear()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return {name: float(f"{rate:.4g}") for name, rate in rates.items()}


def _product(B, precision):
    def run():
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision(precision)
        try:
            return B @ B
        finally:
            torch.set_float32_matmul_precision(before)

    return run


def rate_name(method, dtype):
    """Return the rate that bounds a method, and how many products at that rate stand for one.

    Examples
    --------
    >>> rate_name("fused 1e-03 tf32x3", "float32"), rate_name("program 1e-03", "float64")
    (('tf32', 3.0), ('float64', 1.0))
    """
    last = method.split(" ")[-1]
    if last == "tf32x3":
        return "tf32", 3.0
    if last in ("tf32", "mixed", "mixed-bf16"):
        return "tf32", 1.0
    return ("bfloat16" if last in ("bfloat16", "float16") else dtype), 1.0


def floor_time(n, batch, dtype, method, matmuls, rates):
    """Return the least time for a method's products, reading A once and writing X once, and what bounds it.

    Parameters
    ----------
    n, batch : int
        Size and number of the matrices.
    dtype, method : str
        ``"float32"`` or ``"float64"``, and the name of the method, which ends in its precision.
    matmuls : float
        Products a matrix. Those of ``"mixed"`` schemes count as TF32, although some take longer.
    rates : dict
        The ``ceilings`` of a record.

    Returns
    -------
    float
        Seconds for the batch.
    str
        ``"bytes"`` or ``"flops"``.

    Examples
    --------
    >>> floor_time(2, 1, "float32", "s", 4.0, {"copy": 32.0, "float32": 32.0})
    (2.0, 'flops')
    """
    size = {"float32": 4, "float64": 8}[dtype]
    name, each = rate_name(method, dtype)
    moved = 2 * size * n * n * batch / rates["copy"]
    computed = each * matmuls * 2 * n**3 * batch / rates.get(name, math.inf)
    return max(moved, computed), "bytes" if moved >= computed else "flops"
