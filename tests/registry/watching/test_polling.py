from __future__ import annotations

import os
import queue
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from registry.watching.polling import FolderPoll, FolderTree

# Every folder is listed at least once in so many looks.
ALL_LOOKS = 10


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "root"
    for name in ("a/1", "a/2", "b/1"):
        (path / name).mkdir(parents=True)
        (path / name / "model.onnx").write_bytes(b"x")
    for each in (path, *path.rglob("*")):
        os.utime(each, (1e9, 1e9))  # long ago, so that whatever a test does changes the time
    return path


@pytest.fixture
def tree(root: Path) -> FolderTree:
    """One that has looked so often that it relies on the times of folders."""
    tree = FolderTree(root)
    for _ in range(3):
        assert tree.look() == ()
    return tree


def test_nothing_has_changed_where_nothing_happened(tree: FolderTree) -> None:
    assert {tree.look() for _ in range(2 * ALL_LOOKS)} == {()}


Change = Callable[[Path], object]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda root: (root / "a/1/new.json").touch(), {"a/1"}),
        (lambda root: (root / "a/1/model.onnx").unlink(), {"a/1"}),
        (lambda root: (root / "a/1/model.onnx").rename(root / "a/2/moved.onnx"), {"a/1", "a/2"}),
        (lambda root: (root / "catalog.json").touch(), {""}),
        (lambda root: (root / "a/1").rename(root / "b/2"), {"a/1", "b/2"}),
        (lambda root: shutil.rmtree(root / "a"), {"a"}),
        (lambda root: (root / "c/d/e").mkdir(parents=True), {"c", "c/d", "c/d/e"}),
        (lambda root: (root / ".hidden/x").mkdir(parents=True), set()),
    ],
)
def test_what_comes_and_goes_is_seen_at_the_next_look_and_once(
    change: Change, expected: set[str], root: Path, tree: FolderTree
) -> None:
    change(root)
    # Everything below a folder that is gone is gone with it; whether it is said too does not matter.
    changed = {path for path in tree.look() if path.parent not in {root / name for name in expected} or path.exists()}
    assert changed == {root / name for name in expected}
    assert {tree.look() for _ in range(ALL_LOOKS)} == {()}


def test_a_file_that_is_written_in_place_is_seen_within_ten_looks(root: Path, tree: FolderTree) -> None:
    (root / "a/1/model.onnx").write_bytes(b"changed")
    assert [path for _ in range(ALL_LOOKS) for path in tree.look()] == [root / "a/1"]


def test_a_change_that_leaves_the_time_of_the_folder_is_seen_where_the_folder_just_changed(
    root: Path, tree: FolderTree
) -> None:
    """Times can be coarse: two changes within two seconds look like one."""
    (root / "a/1/first.json").touch()
    assert tree.look() == (root / "a/1",)
    status = (root / "a/1").stat()
    (root / "a/1/second.json").touch()
    os.utime(root / "a/1", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert tree.look() == (root / "a/1",)


def test_a_link_to_a_folder_is_not_entered(root: Path, tree: FolderTree) -> None:
    try:
        (root / "a/1/circle").symlink_to(root, target_is_directory=True)
    except OSError:
        pytest.skip("links are not allowed here")
    assert tree.look() == (root / "a/1",)


def test_a_linked_file_is_the_file_it_points_to(root: Path) -> None:
    try:
        (root / "a/1/link.onnx").symlink_to(root.parent / "blob")
    except OSError:
        pytest.skip("links are not allowed here")
    tree = FolderTree(root)
    tree.look()
    (root.parent / "blob").write_bytes(b"here now")
    assert [path for _ in range(ALL_LOOKS) for path in tree.look()] == [root / "a/1"]


def test_a_root_that_is_gone_is_nothing_to_tell(root: Path, tree: FolderTree) -> None:
    root.rename(root.parent / "away")
    assert tree.look() == ()
    (root.parent / "away").rename(root)
    assert {tree.look() for _ in range(ALL_LOOKS)} == {()}


def test_a_poll_tells_of_its_root_first_and_of_changes_then(root: Path) -> None:
    told: queue.Queue[Path] = queue.Queue()
    poll = FolderPoll(root, told.put, 0.01)
    poll.start()
    try:
        assert poll.is_alive
        assert told.get(timeout=20) == root
        (root / "a/1/new.json").touch()
        assert told.get(timeout=20) == root / "a/1"
    finally:
        poll.stop()
    assert not poll.is_alive
