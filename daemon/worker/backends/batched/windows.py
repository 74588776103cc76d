"""Which rows lie where. One call advances rows that lie side by side, so those that advance together are brought there.

Pure: a slot is a place, a length is how many tokens lie in it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import accumulate


def best_window(advancing: Collection[int], lengths: Mapping[int, int], slots: int) -> int:
    """First slot of the window that holds the rows of the slots ``advancing``, and no others, for the least copying.

    ``lengths`` are those of all rows, by slot. Rows outside have to come in, others inside have to go out.
    """
    size = len(advancing)
    inside = [0 if slot in advancing else lengths.get(slot, 0) for slot in range(slots)]
    outside = [lengths[slot] if slot in advancing else 0 for slot in range(slots)]
    others, movers = [0, *accumulate(inside)], [0, *accumulate(outside)]
    total = movers[-1]

    def cost(start: int) -> int:
        end = start + size
        return total - (movers[end] - movers[start]) + others[end] - others[start]

    # Of windows that cost the same, one where a row is at its place already even if it is empty.
    return min(range(slots - size + 1), key=lambda start: (cost(start), -_kept(advancing, start, size)))


def exchanges(advancing: Collection[int], start: int) -> list[tuple[int, int]]:
    """Pairs of slots (inside, outside) to swap so that the window at ``start`` holds exactly the advancing rows."""
    window = range(start, start + len(advancing))
    free = [slot for slot in window if slot not in advancing]
    return list(zip(free, sorted(slot for slot in advancing if slot not in window), strict=True))


def nearest(free: Collection[int], window: tuple[int, int]) -> int:
    """The free slot that lies closest to the rows of ``window`` (first slot and the one behind the last)."""
    first, end = window
    return min(free, key=lambda slot: (max(first - slot, slot - end + 1, 0), slot))


def _kept(advancing: Collection[int], start: int, size: int) -> int:
    return sum(slot in advancing for slot in range(start, start + size))
