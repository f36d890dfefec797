"""The real form of complex matrices."""

import torch

from neuinv._checks import check_dense


def real_form(Z):
    """Return the real form [[Re Z, -Im Z], [Im Z, Re Z]] of complex matrices.

    It preserves products and inverses: ``real_form(Z @ W) = real_form(Z) @ real_form(W)``, and
    its singular values are those of Z, each twice.

    Parameters
    ----------
    Z : Tensor, shape (..., n, n)
        Complex matrices.

    Returns
    -------
    Tensor, shape (..., 2n, 2n)
        Real, in the precision of ``Z``.

    Raises
    ------
    TypeError
        ``Z`` is no dense complex tensor.
    ValueError
        ``Z`` is not square.

    Examples
    --------
    >>> import torch
    >>> real_form(torch.tensor([[1 + 2j]]))
    tensor([[ 1., -2.],
            [ 2.,  1.]])
    """
    check_dense(Z, "Z")
    if not Z.is_complex():
        raise TypeError(f"Z is real ({Z.dtype}); use it as it is, only a complex matrix has a real form.")
    if Z.ndim < 2 or Z.shape[-1] != Z.shape[-2]:
        raise ValueError(f"Z has shape {tuple(Z.shape)}; pass square matrices (..., n, n).")
    top = torch.cat([Z.real, -Z.imag], dim=-1)
    bottom = torch.cat([Z.imag, Z.real], dim=-1)
    return torch.cat([top, bottom], dim=-2)
