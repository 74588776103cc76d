"""Lays the weights in large pages, where the system has them: how fast they are read is what bounds a model.

Linux with transparent large pages; elsewhere there is nothing to do. Measured with int4 weights of 0.5B on two cores:
1.17 times the tokens for one row, 1.12 for four and eight. A piece is copied to another place, which takes from 0.3 ms
to 6 ms (in a virtual machine, memory that was never used): done while loading it would double the time of the load. So
it is done afterwards, between the calls, in a small part of the time.

Invariant: nothing that is held changes by it but its place in the machine.
"""

from __future__ import annotations

import ctypes
import errno
import math
import mmap
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

PIECE_BYTES = 2 * 1024 * 1024
# Weights lie in regions larger than that; what Python holds does not.
LEAST_REGION_BYTES = 16 * PIECE_BYTES
# Where less of a region is in use, pages would be given out that nobody asked for.
_LEAST_USED = 0.95
# Not at once: who waited for the model comes first.
_BEGINS_AFTER_S = 0.5
# As many times as long as a piece took pass before the next one.
_PAUSES = 4
_MADV_COLLAPSE = 25  # linux/mman.h, since 6.1; what came before does the same in its own time
# A page is in use elsewhere just now. Any other error is there for all pieces.
_PASSING = frozenset({errno.EAGAIN, errno.EBUSY})
_SETTING = Path("/sys/kernel/mm/transparent_hugepage/enabled")
_REGION = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) rw-p \S+ \S+ 0(?: .*)?\n((?:\w+:.*\n)+)", re.MULTILINE)


class LargePages:
    """``find`` gives the addresses of all pieces there are; ``lay`` does one of them, and raises OSError."""

    def __init__(
        self,
        find: Callable[[], Iterable[int]],
        lay: Callable[[int], None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._find = find
        self._lay = lay
        self._clock = clock
        self._left: Iterator[int] | None = None
        self._next_at_s: float | None = clock() + _BEGINS_AFTER_S

    @property
    def wait_s(self) -> float:
        """Until there is something to do; infinite when all is done."""
        return math.inf if self._next_at_s is None else max(0.0, self._next_at_s - self._clock())

    def go_on(self) -> None:
        """Lay one more piece, if it is time. To find them all is as much work as one."""
        if self.wait_s > 0:
            return
        started_s = self._clock()
        is_done = self._is_done()
        ended_s = self._clock()
        self._next_at_s = None if is_done else ended_s + _PAUSES * (ended_s - started_s)

    def finish(self) -> None:
        """Lay all that is left, without pauses."""
        while self._next_at_s is not None and not self._is_done():
            pass
        self._next_at_s = None

    def _is_done(self) -> bool:
        try:
            if self._left is None:
                self._left = iter(list(self._find()))
                return False
            piece = next(self._left, None)
            if piece is not None:
                self._lay(piece)
        except OSError as error:
            return error.errno not in _PASSING
        return piece is None


def regions_in_use(smaps: str) -> Iterator[tuple[int, int]]:
    """First address and end of what is large and nearly all in use, of the text of /proc/PID/smaps."""
    for start, end, lines in _REGION.findall(smaps):
        first, behind = int(start, 16), int(end, 16)
        used = re.search(r"^Rss: +(\d+) kB", lines, re.MULTILINE)
        least_bytes = max(LEAST_REGION_BYTES, _LEAST_USED * (behind - first))
        if used is not None and 1024 * int(used[1]) >= least_bytes:
            yield first, behind


def pieces_of(first: int, behind: int) -> range:
    """The addresses of the large pages that lie in a region."""
    return range(-(-first // PIECE_BYTES) * PIECE_BYTES, behind - PIECE_BYTES + 1, PIECE_BYTES)


if sys.platform == "linux":
    _libc = ctypes.CDLL(None, use_errno=True)

    def of_this_process(clock: Callable[[], float] = time.monotonic) -> LargePages:
        """All that can be laid in large pages, once it is begun."""
        return LargePages(_found, lambda piece: _advise(piece, PIECE_BYTES, _MADV_COLLAPSE), clock=clock)

    def _found() -> Iterator[int]:
        """Asks the system for large pages, too: it lays some itself where it cannot be told to."""
        if "[never]" in _SETTING.read_text(encoding="ascii"):
            return
        smaps = Path("/proc/self/smaps").read_text(encoding="utf-8", errors="replace")
        for first, behind in regions_in_use(smaps):
            _advise(first, behind - first, mmap.MADV_HUGEPAGE)
            yield from pieces_of(first, behind)

    def _advise(first: int, size: int, advice: int) -> None:
        if _libc.madvise(ctypes.c_void_p(first), ctypes.c_size_t(size), advice):
            raise OSError(ctypes.get_errno(), "the system refuses large pages")

else:

    def of_this_process(clock: Callable[[], float] = time.monotonic) -> LargePages:
        """Nothing that could be done."""
        return LargePages(list, lambda piece: None, clock=clock)
