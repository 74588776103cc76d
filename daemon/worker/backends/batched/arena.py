"""The key-value caches of all rows: for each layer one buffer [slots, kv_heads, length, head_size].

A slot is as long as the model's context, in memory that the system gives out page by page when it is first written. So
a row never has to grow into another place, and takes what it holds, not what it may come to hold: slots that nobody
wrote to cost nothing. What a row leaves behind is given back when it goes; that a page has to be given out again costs
some microseconds for each token, a thousandth of what computing it costs.
"""

from __future__ import annotations

import contextlib
import mmap
import sys
from collections.abc import Iterator, Sequence
from math import gcd
from typing import Any

import numpy as np
import numpy.typing as npt

from daemon.worker.backends.batched.capability import Cache

Buffer = npt.NDArray[Any]

# Gives the pages of a range back; macOS takes them when it needs them.
_GIVE_BACK = getattr(mmap, "MADV_FREE" if sys.platform == "darwin" else "MADV_DONTNEED", None)
# A large page, 2 MiB, would be given out for a row of some tokens.
_SMALL_PAGES = getattr(mmap, "MADV_NOHUGEPAGE", None)


class Arena:
    """``length`` is that of each slot in tokens, at least what was asked for. Slots are numbered from 0."""

    def __init__(self, caches: Sequence[Cache], *, slots: int, length: int) -> None:
        """Raises MemoryError if the system does not even give addresses for that many."""
        steps = [mmap.PAGESIZE // gcd(mmap.PAGESIZE, c.head_size * np.dtype(c.dtype).itemsize) for c in caches]
        step = max(steps)  # all are powers of two
        self.length = -(-length // step) * step
        self.slots = slots
        self.buffers: list[Buffer] = []
        self._memory: list[mmap.mmap] = []
        self._written = [0] * slots
        for cache in caches:
            shape = (slots, cache.kv_heads, self.length, cache.head_size)
            memory = _untouched(int(np.prod(shape)) * np.dtype(cache.dtype).itemsize)
            self._memory.append(memory)
            self.buffers.append(np.frombuffer(memory, cache.dtype).reshape(shape))

    def wrote(self, slot: int, length: int) -> None:
        """The first ``length`` tokens of a slot have been written."""
        self._written[slot] = max(self._written[slot], length)

    def copy(self, source: int, target: int, length: int) -> None:
        """The first ``length`` tokens of a slot into another."""
        for buffer in self.buffers:
            buffer[target, :, :length] = buffer[source, :, :length]
        self.wrote(target, length)

    def swap(self, one: int, one_length: int, other: int, other_length: int) -> None:
        """Exchange two slots, of which so many tokens count."""
        for buffer in self.buffers:
            held = buffer[one, :, :one_length].copy()
            buffer[one, :, :other_length] = buffer[other, :, :other_length]
            buffer[other, :, :one_length] = held
        self.wrote(one, other_length)
        self.wrote(other, one_length)

    def release(self, slot: int) -> None:
        """Give the memory of a slot back, where the system has a way to; what it held is lost."""
        if sys.platform == "win32" or _GIVE_BACK is None or not self._written[slot]:
            return
        self._written[slot] = 0
        for memory, (start, size) in zip(self._memory, self._spans(slot), strict=True):
            memory.madvise(_GIVE_BACK, start, size)

    def _spans(self, slot: int) -> Iterator[tuple[int, int]]:
        """First byte and size of a slot in each buffer, in whole pages."""
        for buffer in self.buffers:
            yield slot * buffer[slot].nbytes, buffer[slot].nbytes


def _untouched(size: int) -> mmap.mmap:
    try:
        memory = _mapped(size)
    except (OSError, ValueError, OverflowError) as error:
        raise MemoryError(f"the system gives no {size} bytes for a key-value cache: {error}") from error
    if sys.platform != "win32" and _SMALL_PAGES is not None:
        with contextlib.suppress(OSError):  # a system without large pages
            memory.madvise(_SMALL_PAGES)
    return memory


if sys.platform == "win32":

    def _mapped(size: int) -> mmap.mmap:
        return mmap.mmap(-1, size)

else:

    def _mapped(size: int) -> mmap.mmap:
        """Private: a shared mapping would keep the pages that are given back."""
        return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
