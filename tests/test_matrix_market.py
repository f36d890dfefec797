"""Every number of a .mtx file is read to its end, or the file is refused by the line."""

import pytest

from neuinv.gallery import MatrixFamily


def _read(tmp_path, text):
    path = tmp_path / "x.mtx"
    path.write_bytes(text.encode())
    return MatrixFamily.from_file(path).matrices[0].tolist()


def _coordinate(value, symmetry="general"):
    return f"%%MatrixMarket matrix coordinate real {symmetry}\n% a comment\n2 2 2\n1 1 {value}\n2 2 3\n"


@pytest.mark.parametrize(
    ("text", "value"), [("1.5", 1.5), ("-.5", -0.5), ("2.", 2.0), ("15e-1", 1.5), ("1E+2", 100.0), ("7", 7.0)]
)
def test_a_number_in_any_spelling_is_read(tmp_path, text, value):
    assert _read(tmp_path, _coordinate(text)) == [[value, 0.0], [0.0, 3.0]]
    assert _read(tmp_path, _coordinate(text).replace("\n", "\r\n")) == [[value, 0.0], [0.0, 3.0]]
    array = f"%%MatrixMarket matrix array real general\n2 2\n\n{text}\n0\n 0 \n3"
    assert _read(tmp_path, array) == [[value, 0.0], [0.0, 3.0]]


@pytest.mark.parametrize(
    "text", ["1,5", "1.5D+01", "1.5abc", "1.5 7", "0x1p3", "1_0", "1e", "--1", "", "1.5;"]
)
def test_a_number_that_would_be_cut_is_refused_by_its_line(tmp_path, text):
    with pytest.raises(
        ValueError, match=r"x\.mtx is damaged: line 4 is '1 1.*write a row, a column and a number"
    ):
        _read(tmp_path, _coordinate(text))
    if text:
        with pytest.raises(ValueError, match=r"line 3 is '.*write one number"):
            _read(tmp_path, f"%%MatrixMarket matrix array real general\n1 1\n{text}\n")


@pytest.mark.parametrize("position", ["1.0 1", "1", "-1 1", "1 1 1", "a 1"])
def test_a_position_that_is_no_pair_of_integers_is_refused(tmp_path, position):
    with pytest.raises(ValueError, match="line 4 is"):
        _read(tmp_path, _coordinate("5").replace("1 1 5", f"{position} 5"))


@pytest.mark.parametrize("value", ["nan", "inf", "1e400"])
def test_a_number_that_is_not_finite_is_named_as_such(tmp_path, value):
    with pytest.raises(ValueError, match=r"NaN or inf|is damaged"):
        _read(tmp_path, _coordinate(value))


@pytest.mark.parametrize("symmetry", ["symmetric", "skew-symmetric"])
def test_an_entry_above_the_diagonal_of_a_symmetric_file_is_refused(tmp_path, symmetry):
    """The reader would add it to its mirror image: 5 and 5 make 10."""
    text = f"%%MatrixMarket matrix coordinate real {symmetry}\n2 2 2\n2 1 5\n1 2 5\n"
    with pytest.raises(
        ValueError, match=f"line 4 is outside the lower triangle that a {symmetry} file stores"
    ):
        _read(tmp_path, text)


def test_the_lower_triangle_of_a_symmetric_file_is_mirrored(tmp_path):
    text = "%%MatrixMarket matrix coordinate real {}\n2 2 {}\n2 1 5\n{}"
    assert _read(tmp_path, text.format("symmetric", 2, "1 1 3\n")) == [[3.0, 5.0], [5.0, 0.0]]
    assert _read(tmp_path, text.format("skew-symmetric", 1, "")) == [[0.0, -5.0], [5.0, 0.0]]
    with pytest.raises(ValueError, match="line 4 is outside the lower triangle"):
        _read(tmp_path, text.format("skew-symmetric", 2, "1 1 3\n"))


def test_a_number_is_read_to_its_last_digit(tmp_path):
    third = 1 / 3
    assert _read(tmp_path, _coordinate(repr(third)))[0][0] == third
