r"""Upper bounds of norms that hold in spite of the rounding of their own evaluation.

Model of arithmetic (statement `prop-rounded-proof`): float64 with unit roundoff :math:`u = 2^{-53}`; a sum,
difference, product, quotient or square root, with or without fusion into a multiply-add, is
:math:`(1 + \delta)` times the exact value plus :math:`\eta`, with :math:`|\delta| \le u` and :math:`\eta`
at most the smallest normal number, which covers hardware that flushes subnormal results to zero; a result
that is 0 or a normal float64 number is returned exactly. The terms of a sum may be added in any order.
Not covered, and used by no library at these dtypes unless it is told to: fast
(Strassen-like) products, and emulated float64.
"""

import torch

__all__ = [
    "FLOOR",
    "SMALLEST",
    "UNIT",
    "frobenius_upper",
    "gamma",
    "inflate",
    "power_of_two",
    "product_upper",
    "scale",
    "spectral_upper",
    "subnormal_error",
]

UNIT = 2.0**-53
# Above everything that underflow can add up to, at most 2^65 n^2 times the smallest normal number 2^-1022,
# below 2^-900 for n^2 <= 2^40; and its square root is far below any tolerance.
FLOOR = 2.0**-900
SMALLEST = 2.0**-1022  # normal number


def gamma(count):
    """Return an upper bound of count u / (1 - count u), the error of a chain of that many operations."""
    return count * UNIT / (1 - count * UNIT) * (1 + 8 * UNIT)


def inflate(values, n):
    """Return ``values`` enlarged by more than n^2 + 16 roundings can have shrunk them."""
    return values * (1 + 4 * (n * n + 16) * UNIT)


def frobenius_upper(M):
    """Return upper bounds of the Frobenius norms of M (..., n, n), shape (...,)."""
    # Squares below the smallest normal number vanish; FLOOR under the root covers n^2 of them.
    return inflate(((M * M).sum(dim=(-2, -1)) + FLOOR).sqrt(), M.shape[-1])


def spectral_upper(M):
    r"""Return upper bounds of the spectral norms of M (..., n, n): no product, at most a factor sqrt(n) lost.

    The smaller of :math:`\lVert M\rVert_F` and :math:`\sqrt{\lVert M\rVert_1 \lVert M\rVert_\infty}`.
    """
    size = M.abs()
    rows, columns = size.sum(dim=-1).amax(dim=-1) + FLOOR, size.sum(dim=-2).amax(dim=-1) + FLOOR
    return torch.minimum(frobenius_upper(M), inflate(rows.sqrt() * columns.sqrt(), M.shape[-1]))


def product_upper(P, Q):
    r"""Return upper bounds of :math:`\lVert\, |P|\, |Q|\, \rVert_2` for P, Q (..., n, n), shape (...,).

    Row and column sums of the product need products with vectors only.
    """
    P, Q, n = P.abs(), Q.abs(), P.shape[-1]
    rows = (P * Q.sum(dim=-1)[..., None, :]).sum(dim=-1).amax(dim=-1) + FLOOR
    columns = (P.sum(dim=-2)[..., :, None] * Q).sum(dim=-2).amax(dim=-1) + FLOOR
    sums = inflate(rows.sqrt() * columns.sqrt(), n)
    return torch.minimum(sums, inflate(frobenius_upper(P) * frobenius_upper(Q), n))


# Integers of the same width, bits of a significand after the first, the smallest normal number. Not float16:
# its subnormals are normal numbers once converted, which every conversion respects.
LAYOUT = {
    torch.float64: (torch.int64, 52, 2.0**-1022),
    torch.float32: (torch.int32, 23, 2.0**-126),
    torch.bfloat16: (torch.int16, 7, 2.0**-126),
}


def subnormal_error(M):
    """Return by how much an entry of each M (batch, n, n) is misread where subnormals are read as zero.

    The bits tell, not a comparison: that might flush as well. Shape (batch,), float64; 0 for most matrices.
    """
    if M.dtype not in LAYOUT:
        return torch.zeros(len(M), dtype=torch.float64, device=M.device)
    integer, digits, smallest = LAYOUT[M.dtype]
    magnitude = M.contiguous().view(integer) & torch.iinfo(integer).max
    found = ((magnitude > 0) & (magnitude < 1 << digits)).any(dim=-1).any(dim=-1)
    return smallest * found.double()


def power_of_two(exponent):
    """Return 2^exponent, float64, for integers from -1022 to 1023: from its bits, since exp2 may round."""
    return ((exponent.long() + 1023) << 52).view(torch.float64)


def scale(values, exponent):
    """Return float64 ``values`` times 2^exponent, without error unless the result is subnormal or overflows.

    ``exponent`` holds integers between -2000 and 2000, one for each of the first dimension of ``values``.
    """
    shape = (-1, *[1] * (values.ndim - 1))
    if (exponent.abs() <= 1000).all():
        return values * power_of_two(exponent).reshape(shape)
    half = exponent.div(2, rounding_mode="floor")  # of like sign; 2^exponent alone may not be a number
    return values * power_of_two(half).reshape(shape) * power_of_two(exponent - half).reshape(shape)
