"""Random pieces that several families share, drawn so that every machine gets the same ones."""

import torch

from neuinv._linalg import det_sign


def normal(shape, generator):
    """Standard normal numbers, float64, on the CPU."""
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def uniform(shape, generator, low=0.0, high=1.0):
    """Numbers uniform on [low, high), float64, on the CPU."""
    return low + (high - low) * torch.rand(shape, generator=generator, dtype=torch.float64)


def haar(batch, n, generator, special=False):
    """Return Haar-distributed orthogonal matrices (batch, n, n).

    QR of a Gaussian matrix, with the signs of R's diagonal made positive: LAPACK's own choice of
    signs is neither Haar nor the same in every build. With ``special`` the first column is
    flipped where needed, so that det = 1.
    """
    Q, R = torch.linalg.qr(normal((batch, n, n), generator))
    Q = Q * torch.where(R.diagonal(dim1=-2, dim2=-1) < 0, -1.0, 1.0)[:, None, :]
    if special:
        Q[:, :, 0] *= det_sign(Q)[:, None]
    return Q


def subset(count, size, generator):
    """Return ``size`` distinct indices below ``count``, in random order.

    The order of uniform draws rather than ``torch.randperm``, whose algorithm changed between
    releases of torch.
    """
    return torch.rand(count, generator=generator, dtype=torch.float64).argsort(stable=True)[:size]
