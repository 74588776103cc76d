from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

from selector.hardware.files import (
    USUAL_BYTES,
    count,
    entries,
    link_name,
    read_count,
    read_cpu_list,
    read_text,
    read_word,
)


@pytest.mark.parametrize(
    ("text", "cpus"),
    [
        ("0-3,8,10-11\n", {0, 1, 2, 3, 8, 10, 11}),
        ("5", {5}),
        ("", set()),
        ("x,2,-,3-", {2, 3}),
        ("3-1", set()),
        ("0-99999999", set()),
    ],
)
def test_lists_of_cpus(tmp_path: Path, text: str, cpus: set[int]) -> None:
    (tmp_path / "cpus").write_text(text, encoding="utf-8")
    assert read_cpu_list(tmp_path / "cpus") == cpus


@pytest.mark.parametrize("text", ["", "-1", "max", "1 2", "²", "1" * 30, "1.5"])
def test_what_is_no_count_is_none(text: str) -> None:
    assert count(text) is None


def test_what_cannot_be_read_is_empty(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    assert (read_text(missing), read_word(missing), read_count(missing)) == ("", "", None)
    assert (entries(missing), link_name(missing), read_text(tmp_path)) == ([], None, "")
    assert read_text(Path("with\0nul")) == ""


def test_bytes_that_are_no_text_do_not_matter(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"\xff 5 \0\n")
    assert read_word(tmp_path / "file") == "� 5"


def test_a_small_file_takes_little_memory_to_read_and_a_large_one_is_read_whole(tmp_path: Path) -> None:
    (tmp_path / "small").write_text("1")
    (tmp_path / "large").write_text("x" * (USUAL_BYTES + 7))
    tracemalloc.start()
    try:
        assert read_text(tmp_path / "small") == "1"
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < 4 * USUAL_BYTES
    assert len(read_text(tmp_path / "large")) == USUAL_BYTES + 7
