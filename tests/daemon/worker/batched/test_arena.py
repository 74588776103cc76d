from __future__ import annotations

import mmap
import sys
from pathlib import Path

import numpy as np
import pytest

from daemon.worker.backends.batched.arena import Arena
from daemon.worker.backends.batched.capability import Cache

MIB = 1024 * 1024
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="reads what is resident from /proc")


def cache(*, kv_heads: int = 2, head_size: int = 64, dtype: type[np.generic] = np.float32) -> Cache:
    return Cache(past="past", present="present", kv_heads=kv_heads, head_size=head_size, dtype=dtype)


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * mmap.PAGESIZE


@on_linux
def test_slots_cost_nothing_until_they_are_written_and_little_for_a_short_row() -> None:
    before = resident_bytes()
    arena = Arena([cache() for _ in range(4)], slots=16, length=8192)  # 256 MiB
    arena.hold(3, 16)
    for buffer in arena.buffers:
        buffer[3, :, :16] = 1
    assert resident_bytes() - before < 8 * MIB


@on_linux
def test_what_a_slot_held_is_given_back() -> None:
    arena = Arena([cache() for _ in range(4)], slots=4, length=8192)
    before = resident_bytes()
    for slot in (1, 2):
        arena.hold(slot, 8192)
    for buffer in arena.buffers:
        buffer[1:3] = 1
    assert resident_bytes() - before > 30 * MIB
    arena.release(1)
    assert 14 * MIB < resident_bytes() - before < 20 * MIB
    assert all((buffer[2] == 1).all() for buffer in arena.buffers)
    arena.release(2)
    assert resident_bytes() - before < 4 * MIB


@pytest.mark.parametrize(
    ("head_size", "dtype"), [(16, np.float32), (80, np.float32), (96, np.float16), (128, np.float16)]
)
def test_slots_are_whole_pages(head_size: int, dtype: type[np.generic]) -> None:
    arena = Arena([cache(kv_heads=1, head_size=head_size, dtype=dtype)], slots=3, length=100)
    assert arena.length >= 100
    assert arena.buffers[0][1].nbytes % mmap.PAGESIZE == 0
    for slot in range(3):
        arena.hold(slot, arena.length)
        arena.buffers[0][slot] = slot + 1
    arena.release(1)
    assert (arena.buffers[0][0] == 1).all()
    assert (arena.buffers[0][2] == 3).all()


def test_swapped_rows_have_changed_places() -> None:
    arena = Arena([cache(), cache(kv_heads=1)], slots=3, length=64)
    arena.hold(0, 10)
    arena.hold(2, 30)
    for number, buffer in enumerate(arena.buffers):
        buffer[0, :, :10] = 10 + number
        buffer[2, :, :30] = 20 + number
    arena.swap(0, 10, 2, 30)
    for number, buffer in enumerate(arena.buffers):
        assert (buffer[0, :, :30] == 20 + number).all()
        assert (buffer[2, :, :10] == 10 + number).all()


def test_a_copy_is_of_its_own() -> None:
    arena = Arena([cache()], slots=2, length=64)
    arena.hold(0, 10)
    arena.buffers[0][0, :, :10] = 5
    arena.copy(0, 1, 10)
    arena.buffers[0][0, :, :10] = 6
    assert (arena.buffers[0][1, :, :10] == 5).all()


def test_more_than_there_are_addresses_for_is_a_lack_of_memory() -> None:
    with pytest.raises(MemoryError, match="key-value cache"):
        Arena([cache()], slots=2**20, length=2**40)
