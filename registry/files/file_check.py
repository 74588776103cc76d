"""One pass over a file: its digests, and where it is full of zeros."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from registry.files.open_file import OpenFile

BLOCK_BYTES = 2 * 1024**2
# A stretch of zeros shorter than this is nothing to speak of: a vector of biases of the largest vocabularies (262,144
# tokens in fp32) may be all zero. Files of fewer bytes are judged by a quarter of what their tensors take.
LEAST_ZEROS_BYTES = 2 * 1024**2
_PAGE_BYTES = 4096
_GRANULES = 16  # zeros are looked for in pieces of this part of the least stretch
# Rows of zeros at the end of an embedding pad the vocabulary: up to 2.3 % of it in published models (DeepSeek LLM).
_LEAST_PART_OF_TENSOR = 1 / 16

Span = tuple[int, int]  # first byte, and the byte behind the last


@dataclass(frozen=True, slots=True)
class FileContent:
    """``sha256`` and git's ``blob_sha1`` (if asked for) in hexadecimal; ``zeros`` are stretches of ``least_zeros``."""

    sha256: str
    blob_sha1: str | None
    zeros: tuple[Span, ...]


def read_content(path: Path, *, least_zeros: int, with_blob_sha1: bool, on_read: Callable[[int], None]) -> FileContent:
    """Read a file once, in blocks; ``on_read`` is told the bytes of each. Raises InvalidModelFolder if it cannot be.

    Stretches of zeros are found to a sixteenth of ``least_zeros`` bytes; 0 looks for none.
    """
    sha256 = hashlib.sha256()
    zeros = _Zeros(least_zeros)
    offset = 0
    with OpenFile(path) as file:
        sha1 = hashlib.sha1(b"blob %d\0" % file.size_bytes, usedforsecurity=False) if with_blob_sha1 else None
        while block := file.read_at(offset, BLOCK_BYTES):
            sha256.update(block)
            if sha1:
                sha1.update(block)
            zeros.look_at(block, offset)
            offset += len(block)
            on_read(len(block))
    return FileContent(sha256.hexdigest(), sha1.hexdigest() if sha1 else None, zeros.found())


def least_zeros(spans: Iterable[Span]) -> int:
    """How long a stretch of zeros in a file with tensors at ``spans`` must be to mean that something is missing."""
    total = sum(end - start for start, end in spans)
    return max(_PAGE_BYTES, min(LEAST_ZEROS_BYTES, total // 4)) if total else 0


def find_lost(zeros: Iterable[Span], spans: Iterable[Span]) -> Span | None:
    """The first stretch of ``zeros`` that no file of weights with tensors at ``spans`` would have by itself.

    It reaches into several tensors, or makes up too much of one to be padding.
    """
    tensors = tuple(spans)
    least = least_zeros(tensors)
    for start, end in zeros:
        parts = [(min(end, last) - max(start, first), last - first) for first, last in tensors]
        parts = [(covered, size) for covered, size in parts if covered >= least // _GRANULES]
        if sum(covered for covered, _ in parts) < least * (_GRANULES - 2) // _GRANULES:
            continue
        if len(parts) > 1 or any(covered >= size * _LEAST_PART_OF_TENSOR for covered, size in parts):
            return start, end
    return None


class _Zeros:
    """Joins granules of zeros to stretches."""

    def __init__(self, least: int) -> None:
        self._granule = bytes(least // _GRANULES)
        self._least = least - 2 * len(self._granule)  # the granules at both ends need not be zero throughout
        self._stretches: list[Span] = []
        self._start = self._end = 0

    def look_at(self, block: bytes, offset: int) -> None:
        """``block`` is what stands at ``offset`` in the file; blocks come in their order."""
        size = len(self._granule)
        if not size:
            return
        for index in range(0, len(block) - size + 1, size):
            if not block.startswith(self._granule, index):
                continue
            if offset + index != self._end:
                self._close()
                self._start = offset + index
            self._end = offset + index + size

    def found(self) -> tuple[Span, ...]:
        self._close()
        return tuple(self._stretches)

    def _close(self) -> None:
        if self._end - self._start >= self._least > 0:
            self._stretches.append((self._start, self._end))
        self._start = self._end = 0
