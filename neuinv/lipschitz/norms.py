"""Upper bounds of operator norms that hold whatever float64 rounds."""

import math

import torch
from torch.func import functional_call

EPS = torch.finfo(torch.float64).eps
# Above this many input entries a convolution's own matrix is not formed.
LARGEST_DENSE = 1024


def spectral_upper(M):
    r"""Return an upper bound of the largest singular value in a batch of matrices, rounding included.

    From a computed :math:`M \approx U \Sigma V^{*}`: :math:`\lVert M\rVert \le \lVert U\rVert\,
    \lVert\Sigma\rVert\,\lVert V\rVert + \lVert M - U\Sigma V^{*}\rVert_F`, where
    :math:`\lVert U\rVert^2 \le 1 + \lVert U^{*}U - I\rVert_F`. Whatever the quality of the computed factors
    this is a bound; only the three products round, by at most :math:`\gamma_k` times the product of the
    Frobenius norms, which is added.

    Parameters
    ----------
    M : Tensor, shape (..., m, n)
        Real or complex, of any floating dtype (converted to double precision exactly).

    Returns
    -------
    float

    Raises
    ------
    ValueError
        An entry is NaN or infinite.

    Examples
    --------
    >>> round(spectral_upper(torch.diag(torch.tensor([3.0, 4.0]))), 6)
    4.0
    """
    M = M.detach().cpu().to(torch.complex128 if M.is_complex() else torch.float64)
    if not torch.isfinite(M).all():
        raise ValueError("a weight is NaN or infinite; a bound needs finite weights.")
    if M.numel() == 0:
        return 0.0
    largest = M.abs().max().item()
    if largest == 0:
        return 0.0
    # A power of two: the division is exact, and no square under- or overflows.
    scale = 2.0 ** math.frexp(largest)[1] if largest > 2.0**-1000 else largest
    M = M / scale
    if min(M.shape[-2:]) == 1:
        squares = (M.abs() ** 2).sum(dim=(-2, -1)).max().item()
        return scale * math.sqrt(squares) * (1 + (M.shape[-1] + M.shape[-2] + 8) * EPS)
    U, sigma, Vh = torch.linalg.svd(M, full_matrices=False)
    rank = sigma.shape[-1]
    # 8 k eps exceeds gamma_k of a real or complex inner product in any order of summation.
    gamma = 8 * (max(M.shape[-2:]) + 8) * EPS
    identity = torch.eye(rank, dtype=M.dtype)
    defect_u = torch.linalg.matrix_norm(U.mH @ U - identity) + gamma * 2 * rank
    defect_v = torch.linalg.matrix_norm(Vh @ Vh.mH - identity) + gamma * 2 * rank
    rest = torch.linalg.matrix_norm(M - (U * sigma[..., None, :]) @ Vh) + gamma * 2 * rank * sigma[..., 0]
    bound = torch.sqrt((1 + defect_u) * (1 + defect_v)) * sigma[..., 0] + rest
    return scale * bound.max().item() * (1 + 16 * EPS)


def vector_upper(v, copies=1):
    """Return an upper bound of sqrt(copies) ||v||, rounding included (0 for None).

    Raises
    ------
    ValueError
        An entry is NaN or infinite.
    """
    if v is None:
        return 0.0
    v = v.detach().double().flatten()
    largest = v.abs().max().item() if v.numel() else 0.0
    if not math.isfinite(largest):
        raise ValueError("a constant is NaN or infinite; a bound needs finite constants.")
    if largest == 0:
        return 0.0
    # Scaled as above, so that no square underflows.
    scale = 2.0 ** math.frexp(largest)[1] if 2.0**-1000 < largest < 2.0**1000 else largest
    length = torch.linalg.vector_norm(v / scale).item() * (1 + (v.numel() + 8) * EPS)
    return math.sqrt(copies) * scale * length * (1 + 4 * EPS)


def dense_upper(layer, shape):
    """Return an upper bound of the norm of a layer's linear part, from its matrix; None if that is large.

    The matrix is read off column by column in float64: each entry is a weight, or a sum of few.
    """
    size = math.prod(shape)
    if size > LARGEST_DENSE:
        return None
    state = {
        name: value.detach().double().cpu()
        for name, value in [*layer.named_parameters(), *layer.named_buffers()]
    }
    with torch.no_grad():
        basis = torch.eye(size, dtype=torch.float64).reshape(size, *shape)
        origin = functional_call(layer, state, (torch.zeros(1, *shape, dtype=torch.float64),))
        if "bias" in state:
            # Without its bias the layer is linear, and nothing is rounded by subtracting it again.
            state["bias"] = torch.zeros_like(state["bias"])
            origin = functional_call(layer, state, (torch.zeros(1, *shape, dtype=torch.float64),))
        columns = functional_call(layer, state, (basis,)) - origin
    return spectral_upper(columns.flatten(1)) * (1 + 64 * EPS)


def kernel_upper(weight, groups=1):
    r"""Return an upper bound of the norm of a convolution on the whole grid: of its symbol's supremum.

    Zero padding is an extension by zeros and a stride a restriction: neither raises the norm above that
    of the convolution on all of :math:`\mathbb Z^d`, which is the supremum over frequencies of the norm of
    :math:`\hat K(\theta) = \sum_k K_k e^{i k\theta}`. With m = (size - 1)/2 an entry
    :math:`\mathrm{Re}\,u^{*}\hat K(\theta)v\,e^{-im\theta}` is a real function of exponential type m, so
    near its maximum it stays above max cos(m t) at the distance t (M. Riesz; Duffin and Schaeffer 1938):
    the maximum over N equidistant frequencies, divided by cos(pi m / N) for each dimension, bounds it.
    Dilation maps frequencies to frequencies and changes nothing. The two cheaper bounds
    :math:`\sum_k\lVert K_k\rVert` and :math:`\sqrt{\lVert K\rVert_1\lVert K\rVert_\infty}` are tried too.

    Parameters
    ----------
    weight : Tensor, shape (out, in / groups, *sizes)
        As torch stores it; a transposed convolution has the same norm.
    groups : int
        Number of independent blocks.
    """
    weight = weight.detach().double().cpu()
    blocks = weight.reshape(groups, weight.shape[0] // groups, *weight.shape[1:])
    sizes = weight.shape[2:]
    taps = blocks.flatten(3)
    absolute = taps.abs().sum(dim=-1)
    # A product of roots does not underflow where the root of a product does.
    columns, rows = absolute.sum(dim=1).amax(dim=1), absolute.sum(dim=2).amax(dim=1)
    schur = (torch.sqrt(columns) * torch.sqrt(rows)).max().item()
    schur *= 1 + (taps[0].numel() + 8) * EPS
    triangle = sum(spectral_upper(taps[..., k]) for k in range(taps.shape[-1])) * (1 + taps.shape[-1] * EPS)
    return min(schur, triangle, _symbol_upper(blocks, sizes))


def _symbol_upper(blocks, sizes):
    points = [1 if size == 1 else max(32, 16 * size) for size in sizes]
    if math.prod(points) * blocks[0, ..., 0].numel() > 2**22:
        return math.inf
    symbol = torch.fft.fftn(blocks, s=points, dim=tuple(range(3, 3 + len(sizes))))
    # Frequencies theta and -theta give conjugate matrices; both are kept, the grid is small.
    matrices = symbol.flatten(3).movedim(-1, 1)
    gap = math.prod(math.cos(math.pi * (s - 1) / 2 / N) for s, N in zip(sizes, points, strict=True))
    rounding = 64 * EPS * (1 + math.log2(math.prod(points))) * torch.linalg.vector_norm(blocks).item()
    rounding *= math.sqrt(math.prod(sizes))
    return (spectral_upper(matrices) + rounding) / gap * (1 + 16 * EPS)


def padding_multiplicity(shape, padding, mode):
    """Return how often an entry is repeated at most when a (1, 1, *shape) input is padded."""
    count = math.prod(shape)
    index = torch.arange(count, dtype=torch.float64).reshape(1, 1, *shape)
    padded = torch.nn.functional.pad(index, padding, mode=mode)
    return int(torch.bincount(padded.flatten().long(), minlength=count).max())


def windows_over_an_entry(kernel, stride, dilation):
    """Return how many pooling windows share one entry at most, over all dimensions.

    Along one dimension the tap j of window i reads i s + j t. Taps that can read the same entry differ by
    a multiple of s / gcd(s, t).
    """
    total = 1
    for k, s, t in zip(kernel, stride, dilation, strict=True):
        step = s // math.gcd(s, t)
        total *= -(-k // step)
    return total
