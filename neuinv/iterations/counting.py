"""Matrix products, measured."""

from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from neuinv._checks import check_matrices

__all__ = ["count_matmuls"]

# Operators that do the work of matrix products and that torch's counter passes over in silence.
UNCOUNTED = ("linalg_", "_linalg_", "cholesky", "lu_", "triangular_solve", "geqrf", "ormqr", "lstsq")
HARMLESS = ("linalg_vector_norm", "linalg_cross", "linalg_diagonal")


def count_matmuls(callable, A):
    """Return how many n x n by n x n matrix products a callable makes on each matrix of a batch.

    Measured with torch's flop counter while the callable runs once on ``A``: every ``@``, linear layer and
    convolution, in units of the :math:`2n^3` operations of one product. Sums, transposes, elementwise maps
    and matrix-vector products count nothing.

    Parameters
    ----------
    callable : callable
        From (..., n, n) to anything: a scheme, a network, a lambda.
    A : Tensor, shape (..., n, n)
        The matrices to run it on.

    Returns
    -------
    float
        Matrix products a matrix; a whole number for a polynomial scheme.

    Raises
    ------
    TypeError, ValueError
        Bad matrices; or the callable factorises, solves or inverts, which the counter cannot see.

    Examples
    --------
    >>> import torch
    >>> count_matmuls(lambda A: A @ (A @ A), torch.eye(4).expand(3, 4, 4))
    2.0
    """
    check_matrices(A)
    watch = _Uncounted()
    with FlopCounterMode(display=False) as counter, watch:
        callable(A)
    if watch.seen:
        raise ValueError(
            f"the callable uses torch's {watch.seen[0]}, whose work torch's counter does not see; "
            "count only what is built from matrix products."
        )
    n = A.shape[-1]
    return counter.get_total_flops() / (2 * n**3 * (A.numel() // n**2))


class _Uncounted(TorchDispatchMode):
    """Note every operator that the counter would count as nothing."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        if name.startswith(UNCOUNTED) and not name.startswith(HARMLESS):
            self.seen.append(name)
        return func(*args, **(kwargs or {}))
