from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from registry.files.listing import FileStat, fingerprint, folders_of, is_downloading, is_link, list_files

needs_links = pytest.mark.skipif(os.name == "nt", reason="links need privileges")


def write(path: Path, content: str = "x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return path


def names(folder: Path) -> list[str]:
    return [file.name for file in list_files(folder)]


def test_files_are_listed_sorted_with_size_and_time(tmp_path: Path) -> None:
    write(tmp_path / "b", "12")
    os.utime(write(tmp_path / "a" / "c", "123"), ns=(5, 5))
    b_ns = (tmp_path / "b").stat().st_mtime_ns
    assert list_files(tmp_path) == (FileStat("a/c", 3, 5), FileStat("b", 2, b_ns))


@pytest.mark.parametrize("marker", ["genai_config.json", "inference_model.json", "download.tmp"])
def test_a_sub_folder_with_a_model_or_a_download_at_any_depth_is_not_a_part(marker: str, tmp_path: Path) -> None:
    write(tmp_path / "own" / "deep" / "file")
    write(tmp_path / "other" / "deep" / marker)
    write(tmp_path / "other" / "file")
    write(tmp_path / ".hidden" / "file")
    assert names(tmp_path) == ["own/deep/file"]


@needs_links
def test_links_count_as_what_they_lead_to_and_linked_folders_are_not_entered(tmp_path: Path) -> None:
    write(tmp_path / "elsewhere" / "file", "123")
    folder = tmp_path / "model"
    folder.mkdir()
    for name, target in (("file", "../elsewhere/file"), ("folder", "../elsewhere"), ("gone", "x"), ("self", "self")):
        (folder / name).symlink_to(target)
    assert {file.name: file.size_bytes for file in list_files(folder)} == {"file": 3, "gone": 0, "self": 0}
    with os.scandir(folder) as entries:
        found = list(entries)
    assert [entry.name for entry in folders_of(found)] == ["folder"]
    assert all(is_link(entry) for entry in found)


def test_a_fingerprint_changes_with_names_sizes_and_times_and_survives_a_move(tmp_path: Path) -> None:
    write(tmp_path / "one" / "a")
    os.utime(tmp_path / "one" / "a", ns=(1, 1))
    first = fingerprint(list_files(tmp_path / "one"))
    shutil.move(tmp_path / "one", tmp_path / "two")
    assert fingerprint(list_files(tmp_path / "two")) == first
    changed = [("b", 1, 1), ("a", 2, 1), ("a", 1, 2)]
    assert len({first, fingerprint([("a", 1, 1)]), *(fingerprint([file]) for file in changed)}) == 4


def test_a_name_that_is_no_text_has_a_fingerprint() -> None:
    assert len(fingerprint([(os.fsdecode(b"\xff"), 1, 1)])) == 32


def test_a_marker_above_a_folder_counts_up_to_the_root_but_not_in_it(tmp_path: Path) -> None:
    folder = tmp_path / "root" / "publisher" / "model" / "v1"
    folder.mkdir(parents=True)
    (tmp_path / "root" / "download.tmp").touch()
    roots = (tmp_path / "root",)
    assert not is_downloading(folder, roots)
    (folder.parent / "download.tmp").touch()
    assert is_downloading(folder, roots)


def test_a_folder_that_is_gone_cannot_be_listed(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="gone"):
        list_files(tmp_path / "gone")
