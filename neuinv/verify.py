"""Re-check a certificate with the standard library (and python-flint, where it is installed) alone.

This file imports nothing of the package that made the certificate: it can be copied, read in ten minutes and
run by itself, ``python verify.py CERTIFICATE``.

What is checked
---------------
``singular-matrix``: det A and det B have opposite signs; 0 < t < 1; v is not 0; v^T S' = 0 in exact integer
arithmetic; S' is within ``distance`` of (1 - t) A + t B, which is printed: a witness beside the segment is
worth as much as it is near. Then v^T (S' Y - I) = -v^T for every Y, so that no network has a right residual
below 1 at S'.

``recorded-output``: det A is not 0; ||w^T (A X - I)||^2 >= bound^2 ||w||^2 in exact rational arithmetic, with
a bound above 0, which is printed rounded down.

``minimax-program``: the modulus of 1 - (1 - radius t) P(t) is at most supremum on [-1, 1], in ball arithmetic
(python-flint): the interval is bisected until, on each piece [c - h, c + h], the Taylor polynomial of
degree 2 at c and the third derivative on the piece prove it.

The file is read strictly: no key twice, numbers written as float.hex() writes them, and the statement in the
very words of this program, so that a file cannot claim anything else than what is checked.
"""

import json
import os
import stat
import sys
from decimal import ROUND_DOWN, ROUND_UP, Context, Decimal
from fractions import Fraction

FORMAT, VERSION = "neuinv-certificate", 1
MAX_BYTES = 256 * 2**20
MAX_N = 512
MAX_PRODUCTS = 16
BITS = 160  # of the ball arithmetic
MAX_PIECES = 400_000
MAX_DIGITS = 4000  # below the interpreter's own limit for turning text into integers
STATEMENTS = {
    "singular-matrix": (
        "det A and det B have opposite signs; v^T S' = 0 exactly for S' = numerators / denominator and "
        "v = left_null_vector; S' is within distance of (1 - t) A + t B. Hence v^T (S' Y - I) = -v^T, and "
        "||S' Y - I||_2 >= 1, for every matrix Y: whatever a network returns."
    ),
    "recorded-output": (
        "det A is not 0, and ||w^T (A X - I)||_2 >= bound ||w||_2 for w = direction. "
        "Hence the recorded output X has right residual ||A X - I||_2 >= bound at the invertible matrix A."
    ),
    "minimax-program": (
        "With M_0 = 1, M_1 = t, M_(j+2) = (sum_i left[j][i] M_i) (sum_i right[j][i] M_i) for each j, and "
        "P = sum_i out[i] M_i: |1 - (1 - radius t) P(t)| <= supremum < 1 for all real t in [-1, 1]. Hence, "
        "in exact arithmetic, ||I - A X P(R / radius)||_2 <= supremum for every symmetric R = I - A X with "
        "spectrum in [-radius, radius]."
    ),
}


class CertificateError(ValueError):
    """The file is not a certificate that can be checked: unreadable, malformed or too large."""


def verify(path):
    """Re-check the certificate in the file ``path``.

    Parameters
    ----------
    path : str or path-like
        A JSON file.

    Returns
    -------
    list of (str, bool)
        Each check in words, and whether it holds. The certificate is valid if all hold.

    Raises
    ------
    CertificateError
        The file cannot be read as a certificate; one sentence says why.
    """
    document = _load(path)
    checks = {
        "singular-matrix": _check_singular,
        "recorded-output": _check_output,
        "minimax-program": _check_program,
    }
    kind = document.get("kind")
    if not isinstance(kind, str) or kind not in checks:
        raise CertificateError(f"kind is {_short(kind)}; this program checks {' and '.join(checks)}.")
    if document.get("statement") != STATEMENTS[kind]:
        raise CertificateError(
            f"{path} states something else than what is checked; make the certificate anew."
        )
    return checks[kind](document)


def _load(path):
    if not isinstance(path, (str, os.PathLike)):
        raise CertificateError(f"{_short(path)} is not a path; name a certificate file.")
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise CertificateError(f"{path} is not a file with contents; name a certificate file.")
        with open(path, "rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise CertificateError(f"{path} is too large; certificates of up to {MAX_BYTES} bytes are read.")
        document = json.loads(content.decode("utf-8"), object_pairs_hook=_unique_keys)
    except OSError as error:
        raise CertificateError(
            f"{path} cannot be read: {error.strerror or error}; name a certificate file."
        ) from None
    except RecursionError:
        raise CertificateError(f"{path} is nested too deeply to be a certificate.") from None
    except ValueError as error:
        if isinstance(error, CertificateError):
            raise
        raise CertificateError(f"{path} is not JSON text ({error}); name a certificate file.") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise CertificateError(f"{path} is not a {FORMAT}: its 'format' field is missing or another.")
    version = document.get("version")
    if type(version) is not int or version != VERSION:
        raise CertificateError(f"{path} has version {_short(version)}; this program reads {VERSION}.")
    return document


def _unique_keys(pairs):
    if len(dict(pairs)) < len(pairs):
        raise CertificateError("a key stands twice in the certificate; make it anew.")
    return dict(pairs)


def _short(value):
    """Return a value for a message, cut: files and callers may hold anything."""
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _rounded(value, rounding):
    """Return a float's value in 6 digits, rounded as told: a printed bound must be one too."""
    return f"{Context(prec=6, rounding=rounding).create_decimal(Decimal(float(value))):.6g}"


def _check_singular(document):
    A = _matrix(document, "A", _number)
    n = len(A)
    B = _matrix(document, "B", _number, n)
    N = _matrix(document, "numerators", _integer, n)
    v = _vector(document, "left_null_vector", n)
    t, distance = _number(document.get("t"), "t"), _number(document.get("distance"), "distance")
    q = _integer(document.get("denominator"), "denominator")
    sign_a, sign_b = _determinant_sign(A), _determinant_sign(B)
    product = [sum(v[i] * N[i][j] for i in range(n)) for j in range(n)]
    far = None
    if q > 0:
        differences = (
            Fraction(N[i][j], q) - (1 - t) * A[i][j] - t * B[i][j] for i in range(n) for j in range(n)
        )
        far = sum(d * d for d in differences)
    return [
        ("det A and det B are not 0 and have opposite signs", sign_a * sign_b == -1),
        ("0 < t < 1", 0 < t < 1),
        ("v is not 0", any(v)),
        ("the denominator of S' is positive", q > 0),
        ("v^T S' = 0 in exact arithmetic", not any(product)),
        (
            f"S' is within {_rounded(distance, ROUND_UP)} of (1 - t) A + t B",
            far is not None and distance >= 0 and far <= distance * distance,
        ),
    ]


def _check_output(document):
    A = _matrix(document, "A", _number)
    n = len(A)
    X = _matrix(document, "X", _number, n)
    w = _vector(document, "direction", n)
    bound = _number(document.get("bound"), "bound")
    wA = [sum(w[i] * A[i][k] for i in range(n)) for k in range(n)]
    row = [sum(wA[k] * X[k][j] for k in range(n)) - w[j] for j in range(n)]
    enough = sum(x * x for x in row) >= bound * bound * sum(x * x for x in w)
    return [
        ("det A is not 0", _determinant_sign(A) != 0),
        ("w is not 0", any(w)),
        (f"||w^T (A X - I)|| >= {_rounded(bound, ROUND_DOWN)} ||w||, above 0", bound > 0 and enough),
    ]


def _check_program(document):
    try:
        import flint
    except ImportError:
        raise CertificateError(
            "a minimax-program needs ball arithmetic; install python-flint and run again."
        ) from None
    m = len(document["left"]) if isinstance(document.get("left"), list) else 0
    if not 1 <= m <= MAX_PRODUCTS:
        raise CertificateError(
            f"left is not a list of 1 ... {MAX_PRODUCTS} rows, one a product; the certificate is damaged."
        )
    left, right = (_triangle(document, side, m) for side in ("left", "right"))
    out = _row(document.get("out"), "out", m + 2)
    radius = _number(document.get("radius"), "radius")
    supremum = _number(document.get("supremum"), "supremum")
    sentence = (
        f"|1 - (1 - r t) P(t)| <= {_rounded(supremum, ROUND_UP)} on [-1, 1], r = {float(radius)!r}, m = {m}"
    )
    sane = 0 < radius < 1 and 0 < supremum < 1
    settings = flint.ctx.prec, flint.ctx.cap
    flint.ctx.prec, flint.ctx.cap = BITS, 4
    try:
        exact = [[[_ball(x) for x in row] for row in side] for side in (left, right, [out])]
        proved = sane and _bounded(*exact, _ball(radius), _ball(supremum))
    finally:
        flint.ctx.prec, flint.ctx.cap = settings
    return [("0 < radius < 1 and 0 < supremum < 1", sane), (sentence, proved)]


def _triangle(document, name, m):
    rows = document.get(name)
    if not isinstance(rows, list) or len(rows) != m:
        raise CertificateError(f"{name} is not a list of {m} rows; the certificate is damaged.")
    return [_row(row, name, j + 2) for j, row in enumerate(rows)]


def _row(entries, name, length):
    if not isinstance(entries, list) or len(entries) != length:
        raise CertificateError(f"{name} has a row that is not {length} long; the certificate is damaged.")
    return [_number(entry, name) for entry in entries]


def _ball(number):
    """A dyadic rational of at most 53 bits as a ball: an exact one, because BITS are more."""
    import flint

    return flint.arb(flint.fmpq(number.numerator, number.denominator))


def _bounded(left, right, out, radius, supremum):
    """Prove |q| <= supremum on [-1, 1] by bisection, or give up and return False."""
    import flint

    program, pieces, count = (left, right, out[0], radius), [(Fraction(-1), Fraction(1))], 0
    while pieces:
        low, high = pieces.pop()
        count += 1
        middle, half = (low + high) / 2, (high - low) / 2
        c, h = _ball(middle), _ball(half)
        a0, a1, a2, _ = _taylor(*program, c)
        if abs(a0) > supremum or count > MAX_PIECES:
            return False  # refuted at one point, or undecided
        a3 = abs(_taylor(*program, flint.arb(c, h.upper()))[3])
        # |a0 + a1 u + a2 u^2| on [-h, h] is largest at an end or at the vertex.
        worst = [abs(a0 + a1 * h + a2 * h * h), abs(a0 - a1 * h + a2 * h * h)]
        if not abs(a1) > 2 * abs(a2) * h:
            worst.append(abs(a0 - a1 * a1 / (4 * a2)) if a2 != 0 else abs(a0) + abs(a1) * h + abs(a2) * h * h)
        if all(value + a3 * h**3 <= supremum for value in worst):
            continue
        if abs(a1) > 2 * abs(a2) * h + 3 * a3 * h * h:
            # q is monotone on the piece: its ends decide, and an end that refutes ends the proof.
            if all(abs(_taylor(*program, _ball(end))[0]) <= supremum for end in (low, high)):
                continue
            return False
        pieces += [(low, middle), (middle, high)]
    return True


def _taylor(left, right, out, radius, t):
    """Return the Taylor coefficients 0 ... 3 of q at ``t``; those over a ball hold at each of its points."""
    import flint

    def combination(row):
        return sum((M * c for c, M in zip(row, powers, strict=True) if c != 0), flint.arb_series([0], prec=4))

    powers = [flint.arb_series([1], prec=4), flint.arb_series([t, 1], prec=4)]
    for a, b in zip(left, right, strict=True):
        powers.append(combination(a) * combination(b))
    q = 1 - (1 - powers[1] * radius) * combination(out)
    return [q[i] for i in range(4)]


def _determinant_sign(A):
    """Exact sign of the determinant of a matrix of dyadic rationals."""
    q = max(entry.denominator for row in A for entry in row)  # powers of two: the largest is the common one
    M = [[int(entry * q) for entry in row] for row in A]
    try:
        import flint
    except ImportError:
        return _bareiss_sign(M)
    determinant = flint.fmpz_mat(M).det()
    return (determinant > 0) - (determinant < 0)


def _bareiss_sign(M):
    """Sign of the determinant of an integer matrix by fraction-free elimination (every division is exact)."""
    M, sign, previous = [list(row) for row in M], 1, 1
    for k in range(len(M)):
        candidates = [i for i in range(k, len(M)) if M[i][k]]
        if not candidates:
            return 0
        if candidates[0] != k:
            M[k], M[candidates[0]], sign = M[candidates[0]], M[k], -sign
        for row in M[k + 1 :]:
            head = row[k]
            for j in range(k + 1, len(M)):
                row[j] = (row[j] * M[k][k] - head * M[k][j]) // previous
        previous = M[k][k]
    return sign if previous > 0 else -sign


def _number(text, name):
    """A float64 written in hexadecimal, as the exact rational that it is."""
    try:
        if not isinstance(text, str) or len(text) > 40:
            raise ValueError
        value = float.fromhex(text)
        # fromhex also reads "2", as hexadecimal, and rounds long ones: only what hex() writes is safe.
        if value.hex() != text:
            raise ValueError
        return Fraction(value)
    except (ValueError, OverflowError):
        raise CertificateError(
            f"{name} holds {_short(text)}; write finite numbers as float.hex() strings."
        ) from None


def _integer(text, name):
    digits = text[1:] if isinstance(text, str) and text[:1] == "-" else text
    if not isinstance(digits, str) or not (digits.isascii() and digits.isdigit()):
        raise CertificateError(f"{name} holds {_short(text)}; write integers as decimal strings.")
    if len(digits) > MAX_DIGITS:
        raise CertificateError(
            f"{name} holds an integer of {len(digits)} digits; at most {MAX_DIGITS} are read."
        )
    return int(text)


def _vector(document, name, n):
    entries = document.get(name)
    if not isinstance(entries, list) or len(entries) != n:
        raise CertificateError(f"{name} is not a list of {n} entries; the certificate is damaged.")
    return [_integer(entry, name) for entry in entries]


def _matrix(document, name, parse, n=None):
    rows = document.get(name)
    if not isinstance(rows, list) or not 1 <= len(rows) <= MAX_N or (n is not None and len(rows) != n):
        raise CertificateError(
            f"{name} is not a list of {n or f'1 ... {MAX_N}'} rows; the certificate is damaged."
        )
    if any(not isinstance(row, list) or len(row) != len(rows) for row in rows):
        raise CertificateError(f"{name} is not square; the certificate is damaged.")
    return [[parse(entry, name) for entry in row] for row in rows]


def main(arguments=None):
    """Check the certificates named on the command line; exit code 0 valid, 1 invalid, 2 unreadable."""
    paths = sys.argv[1:] if arguments is None else arguments
    if not paths or paths[0] in ("-h", "--help"):
        print("usage: verify CERTIFICATE...   (for example: verify witness.json)")
        return 0 if paths else 2
    code = 0
    for path in paths:
        try:
            checks = verify(path)
        except CertificateError as error:
            print(error, file=sys.stderr)
            return 2
        for sentence, holds in checks:
            print(f"{'holds' if holds else 'FAILS'}  {sentence}")
        valid = all(holds for _, holds in checks)
        print(f"{path}: {'valid' if valid else 'NOT valid'}")
        code = max(code, 0 if valid else 1)
    return code


if __name__ == "__main__":
    sys.exit(main())
