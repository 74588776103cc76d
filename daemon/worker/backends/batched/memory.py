"""Memory that is asked for in one piece and given by the system bit by bit: as it is written to, or as it is held.

Linux and macOS give out a page when it is first written. Windows counts all that a program may write as taken, whether
there is anything in it or not, and refuses what it could not also put into its page file. There only addresses are
reserved; what is going to be written has to be held before, and reading anything else ends the process.
"""

from __future__ import annotations

import contextlib
import mmap
import sys
from typing import Any, Protocol

# What there is to view as numbers.
Bytes = Any

# Gives the pages of a range back; macOS takes them when it needs them.
_GIVE_BACK = getattr(mmap, "MADV_FREE" if sys.platform == "darwin" else "MADV_DONTNEED", None)
# A large page, 2 MiB, would be given out for a row of some tokens.
_SMALL_PAGES = getattr(mmap, "MADV_NOHUGEPAGE", None)


class Memory(Protocol):
    """Offsets and sizes are in bytes. It is gone when nobody views ``content`` any more."""

    content: Bytes

    def hold(self, start: int, size: int) -> None:
        """Make a range usable; what is usable already stays as it is. Raises MemoryError."""
        ...

    def give_back(self, start: int, size: int) -> None:
        """Give a range of whole pages back to the system; what it held is lost."""
        ...


if sys.platform == "win32":
    import ctypes
    import weakref

    _COMMIT, _RESERVE, _DECOMMIT, _RELEASE, _READ_WRITE = 0x1000, 0x2000, 0x4000, 0x8000, 0x04
    _kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
    _kernel32.VirtualAlloc.restype = ctypes.c_void_p
    _kernel32.VirtualAlloc.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_uint32, ctypes.c_uint32)
    _kernel32.VirtualFree.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_uint32)

    class _Reserved:
        def __init__(self, size: int) -> None:
            self._address = _allocated(None, size, _RESERVE)
            self.content = (ctypes.c_char * size).from_address(self._address)
            weakref.finalize(self.content, _kernel32.VirtualFree, self._address, 0, _RELEASE)

        def hold(self, start: int, size: int) -> None:
            _allocated(self._address + start, size, _COMMIT)

        def give_back(self, start: int, size: int) -> None:
            _kernel32.VirtualFree(self._address + start, size, _DECOMMIT)

    def _allocated(address: int | None, size: int, kind: int) -> int:
        allocated: int | None = _kernel32.VirtualAlloc(address, size, kind, _READ_WRITE)
        if allocated is None:
            raise _lacking(size, ctypes.WinError(ctypes.get_last_error()))
        return allocated

    def reserved(size: int) -> Memory:
        """Raises MemoryError if the system does not even give addresses for that many bytes."""
        try:
            return _Reserved(size)
        except (ValueError, OverflowError, ctypes.ArgumentError) as error:
            raise _lacking(size, error) from error

else:

    class _Untouched:
        def __init__(self, size: int) -> None:
            # Private: a shared mapping would keep the pages that are given back.
            self.content = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            if _SMALL_PAGES is not None:
                with contextlib.suppress(OSError):  # a system without large pages
                    self.content.madvise(_SMALL_PAGES)

        def hold(self, start: int, size: int) -> None:
            pass

        def give_back(self, start: int, size: int) -> None:
            if _GIVE_BACK is not None:
                self.content.madvise(_GIVE_BACK, start, size)

    def reserved(size: int) -> Memory:
        """Raises MemoryError if the system does not even give addresses for that many bytes."""
        try:
            return _Untouched(size)
        except (OSError, ValueError, OverflowError) as error:
            raise _lacking(size, error) from error


def _lacking(size: int, error: Exception) -> MemoryError:
    return MemoryError(f"out of memory: the system gives no {size} bytes for a key-value cache: {error}")
