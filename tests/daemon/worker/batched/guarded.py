"""Memory as Windows reserves it, made of what POSIX systems have: whoever touches what is not held ends the process."""

from __future__ import annotations

import ctypes
import mmap

import numpy as np


class Guarded:
    def __init__(self, size: int) -> None:
        self.content = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._address = np.frombuffer(self.content, np.uint8).ctypes.data
        self._protect(0, size, 0)

    def hold(self, start: int, size: int) -> None:
        self._protect(start, size, mmap.PROT_READ | mmap.PROT_WRITE)

    def give_back(self, start: int, size: int) -> None:
        self._protect(start, size, 0)

    def _protect(self, start: int, size: int, rights: int) -> None:
        """Of all pages that have a part in the range, as VirtualAlloc has it."""
        first = start // mmap.PAGESIZE * mmap.PAGESIZE
        address, size = self._address + first, start + size - first
        if ctypes.CDLL(None).mprotect(ctypes.c_void_p(address), ctypes.c_size_t(size), rights):
            raise MemoryError("out of memory")
