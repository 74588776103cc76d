from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry.files.replacing import replace_file

permissions = pytest.mark.skipif(os.name == "nt", reason="permissions as they are on Unix")


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    before = os.umask(0o027)
    yield
    os.umask(before)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_file_is_written_byte_for_byte_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    for text in ("the old one\n", "größer\n"):
        replace_file(path, text)
        assert path.read_bytes() == text.encode()
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_written_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_text("the old one")
    with pytest.raises(UnicodeEncodeError):
        replace_file(path, f"{'x' * 100_000}\ud800")
    assert path.read_text() == "the old one"
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError):
        replace_file(tmp_path / "folder", "text")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["file.json", "folder"]


@permissions
@pytest.mark.parametrize(
    ("before", "mode", "after"),
    [
        (None, 0o600, 0o600),
        (0o644, 0o600, 0o600),
        (None, 0o644, 0o644),
        (0o600, 0o644, 0o644),
        (None, None, 0o640),
        (0o600, None, 0o600),
        (0o666, None, 0o666),
    ],
)
def test_it_is_for_whom_the_mode_says_else_for_whom_the_old_one_was(
    before: int | None, mode: int | None, after: int, tmp_path: Path
) -> None:
    path = tmp_path / "file.json"
    if before is not None:
        path.touch()
        path.chmod(before)
    replace_file(path, "text", mode=mode)
    assert mode_of(path) == after


@permissions
def test_a_private_file_is_private_from_its_first_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda handle: modes.append(stat.S_IMODE(os.fstat(handle).st_mode)))
    replace_file(tmp_path / "file.json", "text")
    assert modes == [0o600]
