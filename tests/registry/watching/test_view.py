from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from registry.watching.view import FolderView, concerned, folders_below, look_at, to_scan


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    path = tmp_path / "models--org--phi"
    for name in ("blobs", "refs/pr", "snapshots/abc/cpu", "snapshots/def"):
        (path / name).mkdir(parents=True)
    return path


def view(folder: Path, root: Path) -> FolderView | None:
    return look_at([folder], [root])[folder]


def is_partial(folder: Path, root: Path) -> bool:
    seen = view(folder, root)
    assert seen is not None
    return seen.is_partial


def test_a_folder_that_is_gone_looks_like_nothing(tmp_path: Path) -> None:
    assert look_at([tmp_path / "gone"], [tmp_path]) == {tmp_path / "gone": None}


@pytest.mark.parametrize("place", ["blobs", "snapshots/abc/cpu/.cache/huggingface/download/cpu"])
def test_a_hugging_face_download_makes_the_folder_it_is_for_partial_while_it_runs(
    place: str, repository: Path, tmp_path: Path
) -> None:
    snapshot = repository / "snapshots" / "abc" / "cpu"
    assert not is_partial(snapshot, tmp_path)
    (repository / place).mkdir(parents=True, exist_ok=True)
    unfinished = repository / place / "123.incomplete"
    unfinished.write_bytes(b"x")
    assert is_partial(snapshot, tmp_path)
    before = view(snapshot, tmp_path)
    unfinished.write_bytes(b"more")
    assert view(snapshot, tmp_path) != before

    long_ago_s = time.time() - 3600
    os.utime(unfinished, (long_ago_s, long_ago_s))  # it was interrupted
    assert not is_partial(snapshot, tmp_path)


def test_a_download_is_no_matter_for_the_repository_beside_it(repository: Path, tmp_path: Path) -> None:
    (repository / "blobs" / "123.incomplete").touch()
    other = tmp_path / "models--org--qwen" / "snapshots" / "abc"
    other.mkdir(parents=True)
    assert not is_partial(other, tmp_path)


@pytest.mark.parametrize("place", ["", "blobs", "refs", "refs/pr"])
def test_what_happens_around_the_snapshots_concerns_them_all(place: str, repository: Path) -> None:
    snapshots = {repository / "snapshots" / name for name in ("abc", "abc/cpu", "def")}
    assert set(concerned(repository / place)) == {repository / place, *snapshots}
    assert to_scan(repository / place, [repository.parent]) == repository


@pytest.mark.parametrize("place", ["snapshots", "snapshots/abc", "snapshots/abc/cpu", "../plain/blobs"])
def test_what_happens_anywhere_else_concerns_that_folder_alone(place: str, repository: Path) -> None:
    folder = Path(os.path.normpath(repository / place))
    assert list(concerned(folder)) == [folder]
    assert to_scan(folder, [repository.parent]) == folder


def test_a_folder_below_a_download_marker_is_looked_at_together_with_what_is_marked(tmp_path: Path) -> None:
    folder = tmp_path / "root" / "publisher" / "phi" / "v1"
    folder.mkdir(parents=True)
    roots = [tmp_path / "root"]
    (tmp_path / "download.tmp").touch()  # above the root: no matter
    assert to_scan(folder, roots) == folder
    for marked in (folder.parent, tmp_path / "root"):
        (marked / "download.tmp").touch()
        assert to_scan(folder, roots) == marked
    assert to_scan(folder / "gone", roots) == tmp_path / "root"


def test_hidden_and_linked_folders_are_not_below(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / ".git" / "objects").mkdir(parents=True)
    try:
        (tmp_path / "a" / "circle").symlink_to(tmp_path, target_is_directory=True)
    except OSError:
        pytest.skip("links are not allowed here")
    assert sorted(folders_below(tmp_path)) == [tmp_path / "a", tmp_path / "a" / "b"]
