"""The reference inverse that errors are measured against, and what needs the same accuracy."""

import torch

from neuinv._checks import check_matrices, check_pair
from neuinv._linalg import inverse_or_nan

# A float64 inverse has a relative error of about n kappa u; above this it is recomputed in ball arithmetic.
REFERENCE_ACCURACY = 1e-10
# Bits. Where the last does not do, rational arithmetic does; it takes 20 s at n = 48 and entries of 400 bits.
PRECISIONS = (256, 1024, 4096, 16384)
# Products of float64 numbers are multiples of 2^-2148 below 2^2048, which their sums exceed by a few bits.
EXACT_PRODUCTS = 4400
NARROW = 1e-13  # of an enclosure: its largest radius relative to its largest midpoint
EPS = torch.finfo(torch.float64).eps


def exact_inverse(A):
    """Return the inverses in float64, correct to about ``REFERENCE_ACCURACY`` relative to their norms.

    A float64 inverse is kept where its condition number and its residual vouch for it. The others are
    inverted in ball arithmetic (python-flint) at a precision that is raised until the enclosure is
    narrow, and in rational arithmetic where no precision does.

    Parameters
    ----------
    A : Tensor, shape (..., n, n)
        The matrices; their entries are taken as exact.

    Returns
    -------
    Tensor, shape (..., n, n), float64

    Raises
    ------
    TypeError, ValueError
        Bad matrices, a singular one, or one whose inverse overflows float64 (its index is named).
    ImportError
        Ball arithmetic is needed and python-flint is missing.

    Examples
    --------
    >>> import torch
    >>> exact_inverse(torch.tensor([[4.0]])).item()
    0.25
    """
    check_matrices(A)
    A = A.double()
    inverse = inverse_or_nan(A)
    unsafe = ~_trustworthy(A, inverse)
    if unsafe.any():
        inverse = inverse.clone()
        for index in map(tuple, torch.nonzero(unsafe).tolist()):
            X = _ball_inverse(A[index], index)
            if X is None:
                raise ValueError(f"A[{_name(index)}] is singular; it has no inverse to compare with.")
            inverse[index] = _scaled(*X, index).to(A.device)
    return inverse


def _trustworthy(A, inverse):
    n = A.shape[-1]
    kappa = torch.linalg.matrix_norm(A) * torch.linalg.matrix_norm(inverse)  # Frobenius: an upper bound
    # The condition number alone is not enough: pivots can grow, and a wrong inverse reports a wrong kappa.
    product = A @ inverse
    product.diagonal(dim1=-2, dim2=-1).sub_(1)
    # Written so that NaN, from a singular matrix or an overflow, counts as unsafe.
    return (n * kappa * EPS < REFERENCE_ACCURACY) & (torch.linalg.matrix_norm(product) < REFERENCE_ACCURACY)


def smallest_singular_value(A):
    r"""Return :math:`\sigma_{\min}`, correct to about ``REFERENCE_ACCURACY`` relative to itself.

    LAPACK's singular values have an error of about :math:`n u \lVert A \rVert`, which is no digit of the
    smallest one where the condition number is high; there it is :math:`1 / \lVert A^{-1} \rVert` of an
    inverse in ball arithmetic.

    Parameters
    ----------
    A : Tensor, shape (..., n, n)
        The matrices; their entries are taken as exact.

    Returns
    -------
    Tensor, shape (...,), float64
        In the unit of ``A``; exactly 0 where ``A`` is singular.

    Raises
    ------
    TypeError, ValueError
        Bad matrices.
    ImportError
        Ball arithmetic is needed and python-flint is missing.

    Examples
    --------
    >>> import torch
    >>> A = torch.tensor([[1.0, 1.0], [1.0, 1.0 + 2.0**-50]], dtype=torch.float64)
    >>> round(smallest_singular_value(A).item() * 2.0**51, 12)
    1.0
    """
    check_matrices(A)
    A = A.double()
    sigma = torch.linalg.svdvals(A)
    smallest = sigma[..., -1].clone()
    unsafe = ~(A.shape[-1] * EPS * sigma[..., 0] < REFERENCE_ACCURACY * smallest)
    for index in map(tuple, torch.nonzero(unsafe).tolist()):
        X = _ball_inverse(A[index], index)
        if X is None:
            smallest[index] = 0.0
        else:
            mantissas, exponent = X
            smallest[index] = _ldexp(1 / torch.linalg.matrix_norm(mantissas, 2), -exponent).to(A.device)
    return smallest


def exact_right_residual(A, X):
    r"""Return :math:`\lVert AX - I\rVert_2` in float64, from a product without any rounding.

    Parameters
    ----------
    A, X : Tensor, shape (..., n, n)
        Pairs; their entries are taken as exact.

    Returns
    -------
    Tensor, shape (...,), float64
        Relative accuracy 1e-12: each entry of AX - I is exact before it is rounded once. Slow (about
        n^3 microseconds), and meant to judge bounds of rounding errors.

    Raises
    ------
    TypeError, ValueError
        Bad matrices, or pairs of different sizes.
    ImportError
        python-flint is missing.

    Examples
    --------
    >>> import torch
    >>> third = torch.tensor([[1 / 3]], dtype=torch.float64)
    >>> exact_right_residual(third, torch.tensor([[3.0]], dtype=torch.float64)).item() == 2.0**-54
    True
    """
    check_pair(A, X)
    A, X = torch.broadcast_tensors(A.double(), X.double())
    n = A.shape[-1]
    pairs = zip(A.reshape(-1, n, n), X.reshape(-1, n, n), strict=True)
    R = torch.tensor([_exact_residual(*pair) for pair in pairs], dtype=torch.float64)
    unit = R.abs().amax(dim=(-2, -1)).clamp(min=1e-300)
    norm = unit * torch.linalg.matrix_norm(R / unit[:, None, None], 2)
    return norm.reshape(A.shape[:-2]).to(A.device)


def _exact_residual(A, X):
    """Return AX - I of one pair, as rows of floats."""
    import flint

    n, before = A.shape[-1], flint.ctx.prec
    try:
        flint.ctx.prec = EXACT_PRODUCTS
        R = flint.arb_mat(A.tolist()) * flint.arb_mat(X.tolist())
        return [[float(R[i, j].mid() - (i == j)) for j in range(n)] for i in range(n)]
    finally:
        flint.ctx.prec = before


def _name(index):
    return ", ".join(map(str, index)) if index else "..."


def _scaled(mantissas, exponent, index):
    X = _ldexp(mantissas, exponent)
    if not torch.isfinite(X).all():
        raise ValueError(f"A[{_name(index)}] is so small that the inverse overflows float64; rescale A.")
    return X


def _ldexp(values, exponent):
    # In two steps, because 2**exponent alone can overflow where the product does not.
    half = max(-1000, min(1000, exponent))
    return values * 2.0**half * 2.0 ** max(-1000, min(1000, exponent - half))


def _ball_inverse(matrix, index):
    """Return the inverse as (mantissas of at most 2, exponent of 2), or None where it does not exist."""
    try:
        import flint
    except ImportError:
        raise ImportError(
            f"A[{_name(index)}] is too ill-conditioned for a float64 reference inverse; "
            "install the extra neuinv[rigor] (python-flint)."
        ) from None
    rows = matrix.tolist()
    before = flint.ctx.prec
    try:
        for precision in PRECISIONS:
            flint.ctx.prec = precision
            try:
                found = _if_narrow(flint.arb_mat(rows).inv().tolist())
            except ZeroDivisionError:
                found = None
            if found is not None:
                return found
            if precision == PRECISIONS[0] and _is_singular(rows):
                return None
        return _if_narrow(_rational_inverse(rows))
    finally:
        flint.ctx.prec = before


def _if_narrow(X):
    """Return the midpoints of an enclosure as (mantissas, exponent), or None where a radius is too large."""
    import flint

    midpoints = [[ball.mid() for ball in row] for row in X]
    top = max(abs(value) for row in midpoints for value in row)
    # Relative to the norm, not to each entry: an entry that is exactly zero has no relative accuracy.
    if not all(ball.rad() <= NARROW * top for row in X for ball in row):
        return None
    mantissa, exponent = top.man_exp()
    exponent = int(exponent) + int(mantissa).bit_length()
    unit = flint.arb(2) ** -exponent
    values = [[float(value * unit) for value in row] for row in midpoints]
    return torch.tensor(values, dtype=torch.float64), exponent


def _is_singular(rows):
    """Decide it exactly, on the rows scaled to integers."""
    import flint

    ratios = [[value.as_integer_ratio() for value in row] for row in rows]
    # Denominators of floats are powers of two, so the largest is a common one.
    common = [max(q for _, q in row) for row in ratios]
    integers = [[p * (d // q) for p, q in row] for row, d in zip(ratios, common, strict=True)]
    return flint.fmpz_mat(integers).rank() < len(rows)


def _rational_inverse(rows):
    import flint

    exact = flint.fmpq_mat([[flint.fmpq(*value.as_integer_ratio()) for value in row] for row in rows])
    return [[flint.arb(value) for value in row] for row in exact.inv().tolist()]
