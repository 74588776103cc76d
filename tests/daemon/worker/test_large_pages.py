from __future__ import annotations

import errno
import itertools
import math
import mmap
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.worker.large_pages import (
    LEAST_REGION_BYTES,
    PIECE_BYTES,
    LargePages,
    of_this_process,
    pieces_of,
    regions_in_use,
)

KB = 1024
LARGE_KB = LEAST_REGION_BYTES // KB


class Machine:
    """Lays pieces in ``piece_s`` each, and notes them; ``errors`` are what pieces meet, by address."""

    def __init__(self, *, piece_s: float = 1.0, errors: dict[int, int] | None = None) -> None:
        self.now_s = 0.0
        self.laid: list[int] = []
        self._piece_s = piece_s
        self._errors = errors or {}

    def pages(self, *pieces: int) -> LargePages:
        return LargePages(lambda: pieces, self._lay, clock=lambda: self.now_s)

    def _lay(self, piece: int) -> None:
        self.now_s += self._piece_s
        if piece in self._errors:
            raise OSError(self._errors[piece], "refused")
        self.laid.append(piece)


def run(machine: Machine, pages: LargePages) -> None:
    while math.isfinite(pages.wait_s):
        machine.now_s += pages.wait_s
        pages.go_on()


def test_every_piece_is_laid_once_and_then_there_is_nothing_to_wait_for() -> None:
    machine = Machine()
    pages = machine.pages(1, 2, 3)
    run(machine, pages)
    assert machine.laid == [1, 2, 3]
    pages.go_on()
    assert machine.laid == [1, 2, 3]


def test_it_begins_after_the_first_request_and_takes_a_fifth_of_the_time() -> None:
    machine = Machine(piece_s=2.0)
    pages = machine.pages(1, 2)
    pages.go_on()
    assert pages.wait_s == 0.5
    machine.now_s = 0.5
    pages.go_on()  # finds them, in no time here
    pages.go_on()
    assert (machine.laid, pages.wait_s) == ([1], 8.0)
    pages.go_on()
    assert machine.laid == [1]


@pytest.mark.parametrize("has_begun", [False, True])
def test_all_that_is_left_can_be_laid_at_once(has_begun: bool) -> None:
    machine = Machine(errors={2: errno.EBUSY})
    pages = machine.pages(1, 2, 3)
    if has_begun:
        machine.now_s = 0.5
        pages.go_on()
        pages.go_on()
    pages.finish()
    assert (machine.laid, pages.wait_s) == ([1, 3], math.inf)


def test_what_all_pieces_are_refused_for_ends_it_at_once() -> None:
    machine = Machine(errors={1: errno.EINVAL})
    pages = machine.pages(1, 2)
    pages.finish()
    assert (machine.laid, pages.wait_s) == ([], math.inf)


@pytest.mark.parametrize("passing", [errno.EAGAIN, errno.EBUSY])
def test_a_piece_that_is_in_use_is_left_out(passing: int) -> None:
    machine = Machine(errors={2: passing})
    run(machine, machine.pages(1, 2, 3))
    assert machine.laid == [1, 3]


@pytest.mark.parametrize("lasting", [errno.EINVAL, errno.ENOMEM, errno.ENOSYS])
def test_a_system_that_refuses_is_not_asked_again(lasting: int) -> None:
    machine = Machine(errors={2: lasting})
    run(machine, machine.pages(1, 2, 3))
    assert machine.laid == [1]


def test_a_system_that_tells_nothing_of_its_memory_ends_it() -> None:
    machine = Machine()

    def broken() -> Iterator[int]:
        raise FileNotFoundError(errno.ENOENT, "no such file")

    run(machine, LargePages(broken, machine.laid.append, clock=lambda: machine.now_s))
    assert machine.laid == []


def region(start: int, size_kb: int, used_kb: int, *, permissions: str = "rw-p", name: str = "") -> str:
    inode = 7 if name.startswith("/") else 0
    return (
        f"{start:x}-{start + size_kb * KB:x} {permissions} 00000000 00:00 {inode} {name}\n"
        f"Size:           {size_kb} kB\nRss:            {used_kb} kB\nVmFlags: rd wr mr mw me ac sd \n"
    )


def test_only_what_is_large_private_writable_and_used_is_taken() -> None:
    start = 64 * PIECE_BYTES
    sizes = LARGE_KB, LARGE_KB
    told = [
        region(0 * start, *sizes),
        region(1 * start, *sizes, name="[heap]"),
        region(2 * start, *sizes, name="/models/weights"),
        region(3 * start, *sizes, permissions="r--p"),
        region(4 * start, *sizes, permissions="rw-s"),
        region(5 * start, LARGE_KB - 4, LARGE_KB - 4),
        region(6 * start, 4 * LARGE_KB, LARGE_KB),
        region(7 * start, 2 * LARGE_KB, 2 * LARGE_KB),
    ]
    assert [first // start for first, _ in regions_in_use("".join(told))] == [0, 1, 7]
    assert list(regions_in_use(told[-1])) == [(7 * start, 7 * start + 2 * LEAST_REGION_BYTES)]


def test_pieces_are_whole_large_pages_inside_their_region() -> None:
    size = PIECE_BYTES
    assert list(pieces_of(3 * size, 5 * size)) == [3 * size, 4 * size]
    assert list(pieces_of(3 * size + 1, 5 * size)) == [4 * size]
    assert list(pieces_of(3 * size, 5 * size - 1)) == [3 * size]
    assert list(pieces_of(3 * size + 1, 4 * size)) == []


@pytest.mark.skipif(sys.platform != "linux", reason="needs transparent large pages")
def test_what_is_held_stays_the_same() -> None:
    setting = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    if not setting.exists() or "[never]" in setting.read_text():
        pytest.skip("this machine has no large pages")
    text = b"what a model has learned, again and again. "
    with mmap.mmap(-1, 2 * LEAST_REGION_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        memory[:] = (text * (len(memory) // len(text) + 1))[: len(memory)]
        pages = of_this_process(itertools.count(step=1000).__next__)  # no waiting
        while math.isfinite(pages.wait_s):
            pages.go_on()
        assert memory[:] == (text * (len(memory) // len(text) + 1))[: len(memory)]
