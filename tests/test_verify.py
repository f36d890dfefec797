"""Certificates: valid as made, refused when tampered with, checked without the package that made them."""

import json
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from cases import gaussian, maps

import neuinv
from neuinv import verify
from neuinv.certificates import (
    OutputCertificate,
    ProgramCertificate,
    SingularCertificate,
    determinant_sign,
    output_certificate,
    singular_certificate,
)

VERIFY = Path(verify.__file__)


def singular(n=3, seed=0):
    A, B = gaussian(2, n, seed=seed)
    if torch.linalg.slogdet(A).sign == torch.linalg.slogdet(B).sign:
        B[0] *= -1
    return neuinv.rational_witness(A, B)


def output(n=3, name="residual"):
    return neuinv.output_witness(maps(n)[name], gaussian(1, n, seed=1)[0])


def holds(document, folder):
    path = folder / "certificate.json"
    path.write_text(json.dumps(document))
    return all(ok for _, ok in verify.verify(path))


@pytest.mark.parametrize("n", [1, 2, 5, 16])
def test_a_singular_certificate_is_exactly_singular_and_valid(n, tmp_path):
    certificate = singular(n, seed=n)
    v = [Fraction(x) for x in certificate.left_null_vector]
    S = certificate.matrix()
    assert all(sum(v[i] * S[i][j] for i in range(n)) == 0 for j in range(n))
    assert 0 <= float.fromhex(certificate.distance) < 1e-13
    assert holds(certificate.to_dict(), tmp_path)


@pytest.mark.parametrize("name", ["zero", "residual", "newton-schulz", "large constant"])
def test_an_output_certificate_is_valid_and_tight(name, tmp_path):
    A = gaussian(1, 4, seed=1)[0]
    certificate = neuinv.output_witness(maps(4)[name], A)
    assert holds(certificate.to_dict(), tmp_path)
    measured = neuinv.right_residual(A, maps(4)[name](A).detach()).item()
    assert float.fromhex(certificate.bound) == pytest.approx(measured, rel=1e-12)


def _bump(text):
    return str(int(text) + 1)


def _bump_hex(text):
    value = float.fromhex(text)
    return torch.nextafter(torch.tensor(value).double(), torch.tensor(float("inf")).double()).item().hex()


TAMPERED = {
    "numerators": lambda d: d["numerators"][0].__setitem__(0, _bump(d["numerators"][0][0])),
    "left null vector": lambda d: d["left_null_vector"].__setitem__(0, _bump(d["left_null_vector"][0])),
    "zero null vector": lambda d: d.update(left_null_vector=["0"] * len(d["left_null_vector"])),
    "distance": lambda d: d.update(distance=(0.0).hex()),
    "negative distance": lambda d: d.update(distance=(-1.0).hex()),
    "t outside": lambda d: d.update(t=(1.5).hex()),
    "t elsewhere": lambda d: d.update(t=(float.fromhex(d["t"]) * 0.999).hex()),
    "same sign": lambda d: d.update(B=d["A"]),
    "negative denominator": lambda d: d.update(denominator="-" + d["denominator"]),
    "zero denominator": lambda d: d.update(denominator="0"),
}


@pytest.mark.parametrize("what", TAMPERED)
def test_a_tampered_singular_certificate_is_refused(what, tmp_path):
    document = json.loads(json.dumps(singular().to_dict()))
    assert holds(document, tmp_path)
    TAMPERED[what](document)
    assert not holds(document, tmp_path)


def test_a_tampered_output_certificate_is_refused(tmp_path):
    good = json.loads(json.dumps(output().to_dict()))
    assert holds(good, tmp_path)
    for change in (
        {"bound": _bump_hex(_bump_hex(_bump_hex(good["bound"])))},
        {"bound": (-0.5).hex()},
        {"direction": ["0", "0", "0"]},
        {"A": [[(0.0).hex()] * 3] * 3},
    ):
        assert not holds(good | change, tmp_path)


MALFORMED = {
    "kind": ({"kind": "other"}, "checks singular-matrix"),
    "kind is a list": ({"kind": []}, "kind is"),
    "format": ({"format": "x"}, "format"),
    "version": ({"version": 99}, "version 99"),
    "A missing": ({"A": None}, "damaged"),
    "A ragged": ({"A": [["0x1p0"], []]}, "not square"),
    "A decimal number": ({"A": [[1.5]]}, "float.hex"),
    "A infinite": ({"A": [["inf"]]}, "float.hex"),
    "A not a number": ({"A": [["nan"]]}, "float.hex"),
    "A words": ({"A": [["__import__('os')"]]}, "float.hex"),
    "vector short": ({"left_null_vector": []}, "damaged"),
    "integer words": ({"denominator": "1e9"}, "decimal strings"),
    "integer underscore": ({"denominator": "1_000"}, "decimal strings"),
    "A hexadecimal without its prefix": ({"A": [["2"]]}, "float.hex"),
    "A too long for a float": ({"A": [["0x2.00000000000000000001p0"]]}, "float.hex"),
    "A decimal overflow": ({"A": [["1e999"]]}, "float.hex"),
    "version is true": ({"version": True}, "version True"),
    "version is a float": ({"version": 1.0}, "version 1.0"),
    "kind is long": ({"kind": "x" * 10_000}, r"kind is 'x{1,40}\.\.\.; this program"),
    "another statement": ({"statement": "P = NP"}, "states something else"),
    "integer huge": ({"denominator": "9" * 5000}, "digits"),
}


@pytest.mark.parametrize("what", MALFORMED)
def test_a_malformed_certificate_is_refused_in_one_sentence(what, tmp_path):
    change, words = MALFORMED[what]
    path = tmp_path / "c.json"
    path.write_text(json.dumps(singular().to_dict() | change))
    with pytest.raises(verify.CertificateError, match=words) as caught:
        verify.verify(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content, words",
    [
        (b"\x80\x04\x95", "not JSON"),
        (b"", "not JSON"),
        (b"[1]", "is not a neuinv"),
        (b"[" * 100_000, "nested|JSON"),
    ],
)
def test_a_file_that_is_no_certificate_is_refused(content, words, tmp_path):
    path = tmp_path / "c.json"
    path.write_bytes(content)
    with pytest.raises(verify.CertificateError, match=words):
        verify.verify(path)


def test_a_key_that_stands_twice_is_refused(tmp_path):
    path = tmp_path / "c.json"
    text = json.dumps(singular().to_dict())
    path.write_text(text.replace('"t":', '"t": "0x1p-1", "t":', 1))
    with pytest.raises(verify.CertificateError, match="a key stands twice"):
        verify.verify(path)


@pytest.mark.parametrize("path", [True, 3, None, b"c.json"])
def test_what_is_no_path_is_refused(path):
    with pytest.raises(verify.CertificateError, match="is not a path"):
        verify.verify(path)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(verify.CertificateError, match="not a file with contents"):
        verify.verify(tmp_path / "pipe")


def test_maker_and_checker_state_the_same():
    kinds = (SingularCertificate, OutputCertificate, ProgramCertificate)
    assert verify.STATEMENTS == {c.kind: c.statement for c in kinds}


def test_a_printed_bound_is_rounded_to_the_safe_side(tmp_path):
    """1 - 2^-30 must not be printed as 1, nor a distance as less than it is."""
    path = tmp_path / "c.json"
    output_certificate([[1.0]], [[2.0**-30]], [1.0]).save(path)
    sentence = verify.verify(path)[-1][0]
    assert 0.999999 == float(sentence.split(">= ")[1].split()[0])
    assert (
        float(verify._rounded(1 / 3, verify.ROUND_UP))
        > 1 / 3
        > float(verify._rounded(1 / 3, verify.ROUND_DOWN))
    )


def test_a_bound_of_zero_proves_nothing_and_is_refused(tmp_path):
    document = json.loads(json.dumps(output().to_dict()))
    assert not holds(document | {"bound": (0.0).hex()}, tmp_path)
    with pytest.raises(ValueError, match="proves nothing"):
        output_certificate([[2.0]], [[0.5]], [1.0])


@pytest.mark.parametrize("end", ["A", "B"])
def test_a_singular_end_is_no_change_of_sign(end, tmp_path):
    document = json.loads(json.dumps(singular(2).to_dict()))
    document[end] = [[(0.0).hex()] * 2] * 2
    path = tmp_path / "c.json"
    path.write_text(json.dumps(document))
    assert dict(verify.verify(path))["det A and det B are not 0 and have opposite signs"] is False


@pytest.mark.parametrize("t", [0.0, 1.0])
def test_an_end_of_the_segment_is_not_between(t, tmp_path):
    """The stated distance is made large enough, so that this check alone can refuse."""
    document = json.loads(json.dumps(singular().to_dict()))
    path = tmp_path / "c.json"
    path.write_text(json.dumps(document | {"t": t.hex(), "distance": (1e6).hex()}))
    failed = [sentence for sentence, ok in verify.verify(path) if not ok]
    assert failed == ["0 < t < 1"]


def test_one_invalid_certificate_among_valid_ones_decides_the_exit_code(tmp_path, capsys):
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    singular().save(good)
    bad.write_text(json.dumps(singular().to_dict() | {"distance": (0.0).hex()}))
    assert verify.main([str(bad), str(good)]) == 1
    assert verify.main([str(good), str(good)]) == 0


def test_a_missing_file_a_folder_and_an_oversized_file_are_refused(tmp_path):
    with pytest.raises(verify.CertificateError, match="cannot be read"):
        verify.verify(tmp_path / "nothing.json")
    with pytest.raises(verify.CertificateError, match="not a file with contents"):
        verify.verify(tmp_path)
    huge = tmp_path / "huge.json"
    with huge.open("wb") as file:
        file.truncate(verify.MAX_BYTES + 1)
    with pytest.raises(verify.CertificateError, match="are read"):
        verify.verify(huge)


def test_the_checker_runs_alone_and_says_so_with_its_exit_code(tmp_path):
    """Only the one file, isolated from the installed package and from the working folder."""
    checker = tmp_path / "verify.py"
    checker.write_bytes(VERIFY.read_bytes())
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    singular().save(good)
    bad.write_text(json.dumps(singular().to_dict() | {"distance": (0.0).hex()}))
    codes = []
    for path in (good, bad, tmp_path / "none.json"):
        run = subprocess.run(
            [sys.executable, "-I", checker, path], capture_output=True, text=True, cwd=tmp_path
        )
        codes.append(run.returncode)
        assert "Traceback" not in run.stderr
    assert codes == [0, 1, 2]


def test_the_determinant_signs_of_maker_and_checker_agree_and_need_no_flint():
    for n in (1, 2, 5, 9):
        for A in gaussian(10, n, seed=n):
            rows = [[Fraction(x) for x in row] for row in A.tolist()]
            expected = int(torch.linalg.slogdet(A).sign)
            assert determinant_sign(A.tolist()) == verify._determinant_sign(rows) == expected
            q = max(entry.denominator for row in rows for entry in row)
            assert verify._bareiss_sign([[int(x * q) for x in row] for row in rows]) == expected
    assert verify._bareiss_sign([[0, 1], [0, 2]]) == 0 and verify._bareiss_sign([[0, 1], [1, 0]]) == -1


@pytest.mark.parametrize("t", [0.0, 1.0, 2.0, float("nan")])
def test_the_maker_refuses_a_point_outside_the_segment(t):
    with pytest.raises(ValueError, match=r"in \(0, 1\)"):
        singular_certificate([[1.0]], [[-1.0]], t, [1.0])


@pytest.mark.parametrize(
    "A, X, direction, words",
    [
        ([[1.0]], [[1.0]], [0.0], "direction is zero"),
        ([[1.0]], [[1.0]], [1.0, 2.0], "direction has rows of"),
        ([[1.0]], [[1.0, 2.0]], [1.0], "X has rows of"),
        ([[1.0]], [[float("inf")]], [1.0], "X has an entry that is NaN"),
    ],
)
def test_the_maker_refuses_sizes_and_numbers_that_make_no_certificate(A, X, direction, words):
    with pytest.raises(ValueError, match=words):
        output_certificate(A, X, direction)


def test_bounds_beyond_float64_are_refused_or_lowered():
    a = 1.7e308
    with pytest.raises(ValueError, match="exceeds float64"):
        singular_certificate([[a, a], [a, -a]], [[a, a], [-a, a]], 1e-9, [1.0, 0.0])
    huge = output_certificate([[1e200]], [[1e200]], [1.0])
    assert float.fromhex(huge.bound) == sys.float_info.max


def test_the_makers_refuse_what_has_no_certificate():
    with pytest.raises(ValueError, match="signs 1 and 1"):
        singular_certificate([[1.0]], [[2.0]], 0.5, [1.0])
    with pytest.raises(ValueError, match="exactly singular"):
        output_certificate([[1.0, 2.0], [2.0, 4.0]], [[0.0, 0.0], [0.0, 0.0]], [1.0, 0.0])
    with pytest.raises(ValueError, match="one pair"):
        neuinv.rational_witness(torch.eye(2)[None], torch.eye(2)[None])


@pytest.mark.parametrize("n", [1, 2, 5])
def test_the_invertible_neighbour_is_invertible_and_near(n):
    certificate = singular(n, seed=n)
    rows = certificate.invertible_neighbour()
    assert determinant_sign(rows) != 0
    far = max(
        abs(Fraction(x) - y)
        for r, s in zip(rows, certificate.matrix(), strict=True)
        for x, y in zip(r, s, strict=True)
    )
    assert far < Fraction(1, 10**14)


def test_the_invertible_neighbour_of_the_zero_matrix_is_found():
    certificate = singular_certificate([[1.0]], [[-1.0]], 0.5, [1.0])
    assert certificate.matrix() == [[0]] and certificate.invertible_neighbour() != [[0.0]]


def test_saving_leaves_no_half_file(tmp_path):
    with pytest.raises(OSError):
        singular().save(tmp_path / "missing" / "c.json")
    singular().save(tmp_path / "c.json")
    assert [p.name for p in tmp_path.iterdir()] == ["c.json"]
