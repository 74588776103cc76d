"""The key-value caches of all rows: for each layer one buffer [slots, kv_heads, length, head_size].

A slot is as long as the model's context, in memory that the system gives out when it is needed
(``daemon.worker.backends.batched.memory``). So a row never has to grow into another place, and takes what it holds, not
what it may come to hold: slots that nobody wrote to cost nothing. What a row leaves behind is given back when it goes;
that a page has to be given out again costs some microseconds for each token, a thousandth of what computing it costs.

Invariant: of a slot, nothing is read or written beyond the tokens it holds.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Sequence
from math import gcd
from typing import Any

import numpy as np
import numpy.typing as npt

from daemon.worker.backends.batched.capability import Cache
from daemon.worker.backends.batched.memory import Memory, reserved

Buffer = npt.NDArray[Any]

# Memory is held for so many tokens at once.
_STEP_TOKENS = 256


class Arena:
    """``length`` is that of each slot in tokens, at least what was asked for. Slots are numbered from 0."""

    def __init__(
        self, caches: Sequence[Cache], *, slots: int, length: int, reserve: Callable[[int], Memory] = reserved
    ) -> None:
        """Raises MemoryError if the system does not even give addresses for that many."""
        steps = [mmap.PAGESIZE // gcd(mmap.PAGESIZE, c.head_size * np.dtype(c.dtype).itemsize) for c in caches]
        step = max(steps)  # all are powers of two
        self.length = -(-length // step) * step
        self.slots = slots
        self.buffers: list[Buffer] = []
        self._memory: list[Memory] = []
        self._held = [0] * slots
        for cache in caches:
            shape = (slots, cache.kv_heads, self.length, cache.head_size)
            memory = reserve(int(np.prod(shape)) * np.dtype(cache.dtype).itemsize)
            self._memory.append(memory)
            self.buffers.append(np.frombuffer(memory.content, cache.dtype).reshape(shape))

    def hold(self, slot: int, length: int) -> None:
        """Have memory for the first ``length`` tokens of a slot, before they are written. Raises MemoryError."""
        held = self._held[slot]
        if length <= held:
            return
        length = min(-(-length // _STEP_TOKENS) * _STEP_TOKENS, self.length)
        for buffer, memory in zip(self.buffers, self._memory, strict=True):
            token_bytes, head_bytes = buffer.strides[2], buffer.strides[1]
            for head in range(buffer.shape[1]):
                start = slot * buffer.strides[0] + head * head_bytes + held * token_bytes
                memory.hold(start, (length - held) * token_bytes)
        self._held[slot] = length

    def copy(self, source: int, target: int, length: int) -> None:
        """The first ``length`` tokens of a slot into another. Raises MemoryError."""
        self.hold(target, length)
        for buffer in self.buffers:
            buffer[target, :, :length] = buffer[source, :, :length]

    def swap(self, one: int, one_length: int, other: int, other_length: int) -> None:
        """Exchange two slots, of which so many tokens count. Raises MemoryError, with nothing exchanged."""
        self.hold(one, other_length)
        self.hold(other, one_length)
        for buffer in self.buffers:
            held = buffer[one, :, :one_length].copy()
            buffer[one, :, :other_length] = buffer[other, :, :other_length]
            buffer[other, :, :one_length] = held

    def release(self, slot: int) -> None:
        """Give the memory of a slot back, where the system has a way to; what it held is lost."""
        if not self._held[slot]:
            return
        self._held[slot] = 0
        for buffer, memory in zip(self.buffers, self._memory, strict=True):
            memory.give_back(slot * buffer.strides[0], buffer.strides[0])
