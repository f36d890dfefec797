"""How often a function passes over its matrices: what its operations read and write, products apart."""

from dataclasses import dataclass

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

__all__ = ["Passes", "count_passes"]

PRODUCTS = ("mm", "bmm", "addmm", "baddbmm", "matmul")


@dataclass(frozen=True)
class Passes:
    """What a call does, per entry of its matrices.

    Attributes
    ----------
    operations, products : int
        Operations of torch on whole batches, and those of them that are matrix products; views are none.
    passes : float
        Entries that the others read or write, of whole batches, over the entries of ``A``.
    double : float
        Those of them in float64.
    traffic : float
        The same in bytes an entry of ``A``, products left out.
    """

    operations: int
    products: int
    passes: float
    double: float
    traffic: float


def count_passes(function, A):
    """Return the :class:`Passes` of a call ``function(A)``, counted and not timed.

    Each operation counts as one that reads every argument and writes its result; a cache may do better.
    Tensors smaller than ``A``, such as norms, are left out.

    Parameters
    ----------
    function : callable
    A : Tensor, shape (batch, n, n)

    Examples
    --------
    >>> A = torch.eye(2)[None]
    >>> count_passes(lambda A: (A @ A) + A, A)
    Passes(operations=2, products=1, passes=3.0, double=0.0, traffic=12.0)
    """
    with _Counter(A.numel()) as counter:
        function(A)
    shares = (value / A.numel() for value in (counter.entries, counter.double, counter.bytes))
    return Passes(counter.operations, counter.products, *shares)


class _Counter(TorchDispatchMode):
    def __init__(self, size):
        super().__init__()
        self.size, self.operations, self.products = size, 0, 0
        self.entries, self.double, self.bytes = 0, 0, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        read = _tensors((args, {k: v for k, v in (kwargs or {}).items() if k != "out"}))
        written = _tensors(found)
        whole = [t for t in read + written if t.numel() >= self.size]
        if whole and not _is_view(func, read, written):
            self.operations += 1
            if func.overloadpacket.__name__ in PRODUCTS:
                self.products += 1
            else:
                self.entries += sum(t.numel() for t in whole)
                self.double += sum(t.numel() for t in whole if t.dtype == torch.float64)
                self.bytes += sum(t.numel() * t.element_size() for t in whole)
        return found


def _tensors(values):
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, torch.Tensor)]


def _is_view(func, read, written):
    """Tell whether an operation makes nothing: its result lies where an argument does, and none changed."""
    if func._schema.is_mutable:
        return False
    places = {t.untyped_storage().data_ptr() for t in read}
    return all(t.untyped_storage().data_ptr() in places for t in written)
