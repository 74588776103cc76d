from __future__ import annotations

import errno
import os
import stat
import sys
from pathlib import Path

import pytest

from daemon.logs.file import LogFile, numbered


def contents(path: Path) -> list[str]:
    """The newest file first."""
    return [each.read_text() for each in (path, *(old for _number, old in numbered(path))) if each.exists()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "logs" / "slmreg.jsonl"


def test_a_full_file_is_put_aside_and_the_oldest_goes(path: Path) -> None:
    file = LogFile(path, max_bytes=4, files=3)
    for line in "abcdefg":
        file.write([line])
    assert contents(path) == ["g\n", "e\nf\n", "c\nd\n"]
    file.write(["h", "i", "j"])
    assert contents(path) == ["i\nj\n", "g\nh\n", "e\nf\n"]
    file.close()


def test_what_was_written_before_is_gone_on_from(path: Path) -> None:
    for line in ("one", "two"):
        file = LogFile(path, max_bytes=100, files=2)
        file.write([line])
        file.close()
    assert contents(path) == ["one\ntwo\n"]


def test_one_file_alone_begins_anew(path: Path) -> None:
    file = LogFile(path, max_bytes=4, files=1)
    file.write("abc")
    assert contents(path) == ["c\n"]
    file.close()


def test_a_line_that_is_longer_than_a_file_has_one_of_its_own(path: Path) -> None:
    file = LogFile(path, max_bytes=4, files=3)
    file.write(["a", "x" * 10, "b"])
    assert contents(path) == ["b\n", "x" * 10 + "\n", "a\n"]
    file.close()


def test_files_that_are_more_than_the_setting_are_removed(path: Path) -> None:
    file = LogFile(path, max_bytes=2, files=5)
    file.write("abcde")
    file.close()
    other = path.with_name("slmreg.jsonl.notes")
    other.touch()
    file = LogFile(path, max_bytes=2, files=2)
    file.write(["f"])
    assert contents(path) == ["f\n", "e\n"]
    assert other.exists()
    file.close()


@pytest.mark.skipif(sys.platform == "win32", reason="no such permissions")
def test_only_the_owner_can_read_it_whatever_the_umask(path: Path) -> None:
    path.parent.mkdir()
    path.touch(mode=0o644)
    before = os.umask(0)
    try:
        file = LogFile(path, max_bytes=2, files=2)
        file.write("ab")
    finally:
        os.umask(before)
    assert [stat.S_IMODE(each.stat().st_mode) for each in (path, path.with_name("slmreg.jsonl.1"))] == [0o600, 0o600]
    file.close()


def test_a_file_or_folder_that_was_taken_away_is_made_again(path: Path) -> None:
    file = LogFile(path, max_bytes=100, files=2)
    file.write(["one"])
    path.unlink()
    path.parent.rmdir()
    file.write(["two"])
    assert contents(path) == ["two\n"]
    file.close()


def test_a_line_that_was_cut_off_does_not_spoil_the_next_one(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = LogFile(path, max_bytes=100, files=2)
    file.write(["one"])
    write = os.write

    def full(descriptor: int, data: bytes) -> int:
        if len(data) > 2:
            return write(descriptor, bytes(data)[:2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(OSError, match="No space"):
            file.write(["two"])
    file.write(["three"])
    assert path.read_text() == "one\ntw\nthree\n"
    file.close()


def test_a_file_that_cannot_be_put_aside_now_grows_to_twice_its_size_and_no_more(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = LogFile(path, max_bytes=4, files=2)

    def held(_self: Path, _target: Path) -> Path:
        raise PermissionError(errno.EACCES, "somebody reads it")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", held)
        for line in "abcd":
            file.write([line])
        with pytest.raises(PermissionError):
            file.write(["e"])
    file.write(["f"])
    assert contents(path) == ["f\n", "a\nb\nc\nd\n"]
    file.close()
