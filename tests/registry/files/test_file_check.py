from __future__ import annotations

import os
from pathlib import Path

import pytest

from registry.files.file_check import BLOCK_BYTES, LEAST_ZEROS_BYTES, Span, find_lost, least_zeros, read_content

MIB = 1024**2


def zeros_in(file: Path, least: int) -> tuple[Span, ...]:
    return read_content(file, least_zeros=least, with_blob_sha1=False, on_read=lambda _: None).zeros


def file_with(path: Path, *parts: bytes) -> Path:
    path.write_bytes(b"".join(parts))
    return path


def test_a_stretch_over_several_blocks_is_one(tmp_path: Path) -> None:
    noise = b"\1" * (BLOCK_BYTES - MIB)
    file = file_with(tmp_path / "f", noise, bytes(4 * MIB), noise)
    assert zeros_in(file, 2 * MIB) == ((len(noise), len(noise) + 4 * MIB),)


def test_stretches_at_odd_places_are_found_to_a_sixteenth(tmp_path: Path) -> None:
    file = file_with(tmp_path / "f", b"\1" * 12_345, bytes(2 * MIB), b"\1" * 777)
    ((start, end),) = zeros_in(file, 2 * MIB)
    granule = 2 * MIB // 16
    assert 12_345 <= start < 12_345 + granule
    assert 12_345 + 2 * MIB - granule < end <= 12_345 + 2 * MIB


def test_short_stretches_and_files_without_weights_do_not_count(tmp_path: Path) -> None:
    file = file_with(tmp_path / "f", b"\1" * 100, bytes(MIB), b"\1" * 100)
    assert zeros_in(file, 2 * MIB) == ()
    assert zeros_in(file, 0) == ()


def test_an_empty_file_has_the_digest_of_nothing(tmp_path: Path) -> None:
    content = read_content(file_with(tmp_path / "f"), least_zeros=4096, with_blob_sha1=True, on_read=lambda _: None)
    assert content.sha256.startswith("e3b0c44298fc")
    assert content.blob_sha1 == "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"  # git hash-object -t blob /dev/null
    assert content.zeros == ()


def test_every_byte_is_told(tmp_path: Path) -> None:
    counts: list[int] = []
    file = file_with(tmp_path / "f", os.urandom(5 * MIB + 3))
    read_content(file, least_zeros=0, with_blob_sha1=False, on_read=counts.append)
    assert sum(counts) == 5 * MIB + 3
    assert max(counts) <= BLOCK_BYTES


@pytest.mark.parametrize(
    ("zeros", "spans", "is_lost"),
    [
        ((0, 4 * MIB), [(0, 4 * MIB)], True),  # one tensor, all of it
        ((90 * MIB, 100 * MIB), [(0, 100 * MIB)], True),  # a tenth of a tensor
        ((97 * MIB, 100 * MIB), [(0, 100 * MIB)], False),  # padding of a vocabulary
        ((97 * MIB, 103 * MIB), [(0, 100 * MIB), (100 * MIB, 200 * MIB)], True),  # over the border of two
        ((97 * MIB, 101 * MIB), [(0, 100 * MIB), (101 * MIB, 200 * MIB)], False),  # padding and a gap
        ((200 * MIB, 300 * MIB), [(0, 100 * MIB)], False),  # behind all tensors
        ((0, 4 * MIB), [], False),  # not a file of weights
    ],
)
def test_what_counts_as_lost_weights(zeros: Span, spans: list[Span], is_lost: bool) -> None:
    assert find_lost([zeros], spans) == (zeros if is_lost else None)


def test_small_files_are_judged_by_a_quarter_of_their_tensors() -> None:
    assert least_zeros([(0, 100_000)]) == 25_000
    assert least_zeros([(0, 4000)]) == 4096
    assert least_zeros([(0, 10**9)]) == LEAST_ZEROS_BYTES
    assert least_zeros([]) == 0
