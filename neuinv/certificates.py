"""Certificates in exact arithmetic: made here, checked by the independent program ``neuinv.verify``.

Standard library only. A float64 is a dyadic rational, so every matrix of floats is an exact rational matrix.
"""

import json
import math
import sys
from dataclasses import asdict, dataclass
from fractions import Fraction

from neuinv._files import write_whole

__all__ = [
    "OutputCertificate",
    "ProgramCertificate",
    "SingularCertificate",
    "output_certificate",
    "program_certificate",
    "singular_certificate",
]

FORMAT, VERSION = "neuinv-certificate", 1
# Unit vectors become integer vectors with this many bits, more than a float64 has.
DIRECTION_BITS = 60


class _Certificate:
    """Saving, shared by the two kinds."""

    def to_dict(self):
        """Return the certificate as plain JSON values (numbers as exact strings)."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "kind": self.kind,
            "statement": self.statement,
            **asdict(self),
        }

    def save(self, path):
        """Write the certificate as JSON: aside first, then renamed, so that no half file is ever left.

        Raises
        ------
        ValueError
            The name is empty, or of something else than a file.
        OSError
            The folder is missing, read-only or full.
        """
        text = json.dumps(self.to_dict(), indent=1) + "\n"
        write_whole(path, text.encode())


@dataclass(frozen=True)
class SingularCertificate(_Certificate):
    """An exactly singular rational matrix S' = numerators / denominator beside the segment from A to B.

    ``A``, ``B``, ``t`` and ``distance`` are float64 in hexadecimal, the others integers in decimal:
    all are exact. ``distance`` bounds the spectral norm of S' - ((1 - t) A + t B).
    """

    A: tuple
    B: tuple
    t: str
    left_null_vector: tuple
    numerators: tuple
    denominator: str
    distance: str

    kind = "singular-matrix"
    statement = (
        "det A and det B have opposite signs; v^T S' = 0 exactly for S' = numerators / denominator and "
        "v = left_null_vector; S' is within distance of (1 - t) A + t B. Hence v^T (S' Y - I) = -v^T, and "
        "||S' Y - I||_2 >= 1, for every matrix Y: whatever a network returns."
    )

    def matrix(self):
        """Return S' as a list of rows of :class:`fractions.Fraction`."""
        q = int(self.denominator)
        return [[Fraction(int(entry), q) for entry in row] for row in self.numerators]

    def invertible_neighbour(self):
        """Return a matrix of floats next to S' that is invertible in exact arithmetic.

        The entries of S' are rounded; if that leaves a singular matrix, entries are moved by one unit in the
        last place, one after the other, until the exact determinant is not 0.

        Returns
        -------
        list of n lists of n floats

        Raises
        ------
        ValueError
            All entries were moved and the determinant is still 0.
        """
        rows = [[float(entry) for entry in row] for row in self.matrix()]
        n = len(rows)
        # The diagonal first: moving it makes even the zero matrix invertible.
        for i, j in sorted(((i, j) for i in range(n) for j in range(n)), key=lambda ij: ij[0] != ij[1]):
            if determinant_sign(rows) != 0:
                return rows
            rows[i][j] = math.nextafter(rows[i][j], math.inf)
        if determinant_sign(rows) != 0:
            return rows
        raise ValueError(
            "no invertible matrix was found one unit of rounding away; choose another pair A, B."
        )


@dataclass(frozen=True)
class OutputCertificate(_Certificate):
    """A recorded output X of a map at the invertible matrix A, with a lower bound of its right residual.

    ``A``, ``X`` and ``bound`` are float64 in hexadecimal, ``direction`` integers in decimal.
    """

    A: tuple
    X: tuple
    direction: tuple
    bound: str

    kind = "recorded-output"
    statement = (
        "det A is not 0, and ||w^T (A X - I)||_2 >= bound ||w||_2 for w = direction. "
        "Hence the recorded output X has right residual ||A X - I||_2 >= bound at the invertible matrix A."
    )


@dataclass(frozen=True)
class ProgramCertificate(_Certificate):
    """A straight-line program with a bound of its residual on an interval; all numbers in hexadecimal."""

    left: tuple
    right: tuple
    out: tuple
    radius: str
    supremum: str

    kind = "minimax-program"
    statement = (
        "With M_0 = 1, M_1 = t, M_(j+2) = (sum_i left[j][i] M_i) (sum_i right[j][i] M_i) for each j, and "
        "P = sum_i out[i] M_i: |1 - (1 - radius t) P(t)| <= supremum < 1 for all real t in [-1, 1]. Hence, "
        "in exact arithmetic, ||I - A X P(R / radius)||_2 <= supremum for every symmetric R = I - A X with "
        "spectrum in [-radius, radius]."
    )


def singular_certificate(A, B, t, left_null_vector):
    """Build the certificate from nested lists of floats and an approximate left null vector.

    Parameters
    ----------
    A, B : list of n lists of n floats
        The ends of the segment.
    t : float
        In (0, 1), with (1 - t) A + t B nearly singular.
    left_null_vector : list of n floats
        Approximate; it is rounded to integers, and S' is made singular for the rounded vector.

    Returns
    -------
    SingularCertificate

    Raises
    ------
    ValueError
        The exact determinants of A and B do not have opposite signs, t is not in (0, 1), sizes differ, the
        vector is zero or a number is not finite, or S' is farther from the segment than float64 can say.

    Examples
    --------
    >>> singular_certificate([[1.0]], [[-1.0]], 0.5, [1.0]).matrix()
    [[Fraction(0, 1)]]
    """
    _check_sizes(len(A), A=A, B=B, left_null_vector=[left_null_vector])
    if not 0 < t < 1:
        raise ValueError(f"t is {t}; pass a number in (0, 1), so that S lies between A and B.")
    signs = determinant_sign(A), determinant_sign(B)
    if signs[0] * signs[1] >= 0:
        raise ValueError(
            f"the exact determinants of A and B have signs {signs[0]} and {signs[1]}; "
            "a sign witness needs one positive and one negative."
        )
    n = len(A)
    s = Fraction(t)
    S = [[(1 - s) * Fraction(A[i][j]) + s * Fraction(B[i][j]) for j in range(n)] for i in range(n)]
    v = _integer_direction(left_null_vector)
    v_squared = sum(x * x for x in v)
    N, q = _common_denominator(S)
    product = [sum(v[i] * N[i][j] for i in range(n)) for j in range(n)]  # q v^T S
    numerators = [[N[i][j] * v_squared - v[i] * product[j] for j in range(n)] for i in range(n)]
    denominator = q * v_squared
    shrink = math.gcd(denominator, *(entry for row in numerators for entry in row))
    distance = _sqrt_upwards(Fraction(sum(x * x for x in product), q * q * v_squared))
    return SingularCertificate(
        A=_hex_rows(A),
        B=_hex_rows(B),
        t=float(t).hex(),
        left_null_vector=tuple(map(str, v)),
        numerators=tuple(tuple(str(entry // shrink) for entry in row) for row in numerators),
        denominator=str(denominator // shrink),
        distance=distance.hex(),
    )


def output_certificate(A, X, direction):
    """Build the certificate of a recorded output from nested lists of floats.

    Parameters
    ----------
    A, X : list of n lists of n floats
        The matrix and the recorded output.
    direction : list of n floats
        A vector w for which ||w^T (A X - I)|| / ||w|| is large; any one is valid.

    Returns
    -------
    OutputCertificate

    Raises
    ------
    ValueError
        A is exactly singular: use a :class:`SingularCertificate`. Or sizes differ, the direction is zero, a
        number is not finite, or the residual is 0 in this direction, so that nothing would be proved.

    Examples
    --------
    >>> float.fromhex(output_certificate([[2.0]], [[0.0]], [1.0]).bound)
    1.0
    """
    _check_sizes(len(A), A=A, X=X, direction=[direction])
    if determinant_sign(A) == 0:
        raise ValueError("A is exactly singular; every output has right residual >= 1 there.")
    n = len(A)
    w = _integer_direction(direction)
    wA = [sum(w[i] * Fraction(A[i][k]) for i in range(n)) for k in range(n)]
    row = [sum(wA[k] * Fraction(X[k][j]) for k in range(n)) - w[j] for j in range(n)]
    ratio = Fraction(sum(x * x for x in row), sum(x * x for x in w))
    if ratio == 0:
        raise ValueError("direction gives the bound 0, which proves nothing; pass another one.")
    return OutputCertificate(
        A=_hex_rows(A), X=_hex_rows(X), direction=tuple(map(str, w)), bound=_sqrt_downwards(ratio).hex()
    )


def program_certificate(program):
    """Return the certificate of a program; making it proves nothing, :mod:`neuinv.verify` checks it.

    Parameters
    ----------
    program : Program
        Anything with the attributes ``left``, ``right``, ``out``, ``radius`` and ``supremum``.

    Returns
    -------
    ProgramCertificate
    """
    return ProgramCertificate(
        left=_hex_rows(program.left),
        right=_hex_rows(program.right),
        out=_hex_rows([program.out])[0],
        radius=float(program.radius).hex(),
        supremum=float(program.supremum).hex(),
    )


def _check_sizes(n, **arrays):
    """Refuse what is not n numbers a row, finite, and a vector (an array of one row) that is zero."""
    for name, rows in arrays.items():
        if any(len(row) != n for row in rows) or len(rows) not in (1, n) or n == 0:
            sizes = sorted({len(row) for row in rows})
            raise ValueError(f"{name} has rows of {sizes} numbers where n = {n}; pass n numbers a row.")
        if not all(math.isfinite(x) for row in rows for x in row):
            raise ValueError(f"{name} has an entry that is NaN or infinite; pass finite numbers.")
    if not any(arrays[name := list(arrays)[-1]][0]):
        raise ValueError(f"{name} is zero; pass a vector that has a direction.")


def determinant_sign(rows):
    """Return the exact sign (-1, 0, 1) of the determinant of a matrix of floats, by Bareiss elimination."""
    M, _ = _common_denominator([[Fraction(x) for x in row] for row in rows])
    n, sign, previous = len(M), 1, 1
    for k in range(n):
        pivot = next((i for i in range(k, n) if M[i][k] != 0), None)
        if pivot is None:
            return 0
        if pivot != k:
            M[k], M[pivot], sign = M[pivot], M[k], -sign
        for i in range(k + 1, n):
            for j in range(k + 1, n):
                M[i][j] = (M[i][j] * M[k][k] - M[i][k] * M[k][j]) // previous
        previous = M[k][k]
    return sign if previous > 0 else -sign


def _common_denominator(rows):
    q = math.lcm(*(entry.denominator for row in rows for entry in row))
    return [[entry.numerator * (q // entry.denominator) for entry in row] for row in rows], q


def _integer_direction(vector):
    largest = max(abs(x) for x in vector)
    v = [round(Fraction(x) / Fraction(largest) * 2**DIRECTION_BITS) for x in vector]
    shrink = math.gcd(*v)
    return [x // shrink for x in v]


def _hex_rows(rows):
    return tuple(tuple(float(x).hex() for x in row) for row in rows)


def _sqrt_upwards(value):
    if value > Fraction(sys.float_info.max) ** 2:
        raise ValueError("the distance to the segment exceeds float64; divide A and B by a common factor.")
    root = _float_sqrt(value)
    while Fraction(root) ** 2 < value:
        root = math.nextafter(root, math.inf)
    return root


def _sqrt_downwards(value):
    if value > Fraction(sys.float_info.max) ** 2:
        return sys.float_info.max
    root = _float_sqrt(value)
    while Fraction(root) ** 2 > value:
        root = math.nextafter(root, 0.0)
    return root


def _float_sqrt(value):
    # An integer root of 4^shift value keeps 64 bits, also where float(value) would under- or overflow.
    shift = max(0, 64 - (value.numerator.bit_length() - value.denominator.bit_length()) // 2)
    root = math.isqrt(value.numerator * 4**shift // value.denominator)
    return float(min(Fraction(root, 2**shift), Fraction(sys.float_info.max)))
