"""A file is written whole, where the user said, and nothing else takes its place."""

import os
import stat

import pytest

from neuinv._files import write_whole


def test_what_was_written_is_there_and_nothing_else(tmp_path):
    for content in (b"first", b"second"):
        write_whole(tmp_path / "x.json", content)
        assert (tmp_path / "x.json").read_bytes() == content
    assert os.listdir(tmp_path) == ["x.json"]


@pytest.mark.parametrize("there", [True, False])
def test_a_link_stays_a_link_and_its_target_is_written(tmp_path, there):
    (tmp_path / "data").mkdir()
    target, link = tmp_path / "data" / "real.json", tmp_path / "link.json"
    if there:
        target.write_bytes(b"old")
    link.symlink_to(target)
    write_whole(link, b"new")
    assert link.is_symlink() and target.read_bytes() == b"new" and not target.is_symlink()


def test_a_pipe_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="pipe' is no regular file; pass the name of a file"):
        write_whole(tmp_path / "pipe", b"new")
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode) and os.listdir(tmp_path) == ["pipe"]


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("", ValueError, "path '' names no file"),
        (".", ValueError, r"path '\.' names no file"),
        ("..", ValueError, r"'\.\.' is a folder"),
        ("/", ValueError, "names no file"),
        ("folder", ValueError, "'folder' is a folder; pass the name of a file"),
        ("missing/x.json", FileNotFoundError, "there is no folder '.*missing'; make it first"),
        ("file/x.json", NotADirectoryError, r"file/x\.json'$"),
    ],
)
def test_a_name_that_is_no_place_for_a_file_is_refused(tmp_path, monkeypatch, name, error, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(error, match=message) as caught:
        write_whole(name, b"new")
    assert "partial" not in str(caught.value) and "\n" not in str(caught.value)
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only for root")
def test_a_folder_that_cannot_be_written_is_an_error_about_the_name_asked_for(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError, match=r"x\.json'$"):
        write_whole(tmp_path / "x.json", b"new")
    tmp_path.chmod(0o700)
