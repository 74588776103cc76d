"""Rows that lie side by side in one arena, and advance together in one call."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from daemon.worker.backends.batched.arena import Arena
from daemon.worker.backends.batched.calls import Calls
from daemon.worker.backends.batched.windows import best_window, exchanges, nearest
from daemon.worker.reasons import failed_at_request
from daemon.worker.sampling import Logits
from registry.errors import GenerationFailed


@dataclass(slots=True, eq=False)
class _Row:
    """Holds ``length`` tokens of at most ``room_tokens``, in one slot of the arena."""

    slot: int
    room_tokens: int
    length: int = 0


class BatchedBackend:
    """A ``daemon.worker.backends.base.Backend`` over one decoder.

    What ``decode`` gives is good until the next call of any kind. Rows are moved in the arena as they come and go:
    those that decode together lie side by side.
    """

    can_copy = True
    can_resize = True
    least_room_tokens = 0

    def __init__(self, calls: Calls, arena: Arena, *, context_tokens: int, can_verify: bool) -> None:
        self.can_verify = can_verify
        self._calls = calls
        self._arena = arena
        self._context_tokens = context_tokens
        self._rows: dict[int, _Row] = {}
        self._numbers = itertools.count()
        self._window = (0, 0)

    def open(self, room_tokens: int, adapter: str | None = None) -> int:
        if adapter is not None:
            raise GenerationFailed(f"The adapter {adapter!r:.100} cannot be used in a batch.")
        self._check_room(room_tokens)
        taken = {row.slot for row in self._rows.values()}
        free = [slot for slot in range(self._arena.slots) if slot not in taken]
        if not free:
            raise GenerationFailed(f"All {self._arena.slots} rows are in use.")
        number = next(self._numbers)
        self._rows[number] = _Row(nearest(free, self._window), room_tokens)
        return number

    def extend(self, row: int, tokens: Sequence[int]) -> Logits:
        last: Logits = self._read(self._rows[row], tokens)[-1]
        return last

    def verify(self, row: int, tokens: Sequence[int]) -> Logits:
        if not self.can_verify:
            raise GenerationFailed("This model tells the logits of the last position only.")
        return self._read(self._rows[row], tokens, wants_all=True)

    def decode(self, batch: Sequence[tuple[int, int]]) -> list[Logits | GenerationFailed]:
        results: dict[int, Logits | GenerationFailed] = {}
        fitting: list[tuple[int, int]] = []
        for number, token in batch:
            refused = self._why_not(self._rows[number], [token])
            if refused is None:
                fitting.append((number, token))
            else:
                results[number] = refused
        if fitting:
            results |= self._step(fitting)
        return [results[number] for number, _ in batch]

    def rewind(self, row: int, length: int) -> None:
        kept = self._rows[row]
        if not 0 <= length <= kept.length:
            raise GenerationFailed(f"A row of {kept.length} tokens cannot be cut to {length}.")
        kept.length = length

    def resize(self, row: int, room_tokens: int) -> None:
        resized = self._rows[row]
        self._check_room(room_tokens)
        if room_tokens < resized.length:
            raise GenerationFailed(f"A row of {resized.length} tokens has no room in {room_tokens}.")
        resized.room_tokens = room_tokens

    def copy(self, row: int, length: int, room_tokens: int) -> int:
        source = self._rows[row]
        if length > min(source.length, room_tokens):
            raise GenerationFailed(f"{length} tokens are more than the row has, or the copy has room for.")
        number = self.open(room_tokens)
        copied = self._rows[number]
        try:
            self._arena.copy(source.slot, copied.slot, length)
        except MemoryError as error:
            self.close(number)
            raise failed_at_request(error) from error
        copied.length = length
        return number

    def close(self, row: int) -> None:
        closed = self._rows.pop(row, None)
        if closed is not None:
            self._arena.release(closed.slot)

    def _check_room(self, room_tokens: int) -> None:
        if room_tokens > self._context_tokens:
            raise GenerationFailed(f"A row of {room_tokens} tokens is over the {self._context_tokens} of the model.")

    def _read(self, row: _Row, tokens: Sequence[int], *, wants_all: bool = False) -> Logits:
        refused = self._why_not(row, tokens)
        if refused is not None:
            raise refused
        try:
            self._arena.hold(row.slot, row.length + len(tokens))
            logits = self._calls.read(row.slot, tokens, row.length, wants_all=wants_all)
        except Exception as error:
            raise failed_at_request(error) from error
        row.length += len(tokens)
        return logits

    def _why_not(self, row: _Row, tokens: Sequence[int]) -> GenerationFailed | None:
        """Why a row cannot take ``tokens``; None if it can."""
        if not tokens:
            return GenerationFailed("There is nothing to read.")
        # Not all kernels look: some read what lies beyond the table.
        if min(tokens) < 0 or max(tokens) >= self._calls.vocab_size:
            return GenerationFailed(f"The model has no token beyond {self._calls.vocab_size - 1}, and none below 0.")
        length = row.length + len(tokens)
        if length <= row.room_tokens:
            return None
        return GenerationFailed(f"{length} tokens are over the max length of the row, {row.room_tokens}.")

    def _step(self, batch: Sequence[tuple[int, int]]) -> dict[int, Logits | GenerationFailed]:
        """One call for all; if it fails one for each, as only one of them may be the reason."""
        try:
            start = self._bring_together([number for number, _ in batch])
            ordered = sorted(batch, key=lambda pair: self._rows[pair[0]].slot)
            rows = [self._rows[number] for number, _ in ordered]
            for row in rows:
                self._arena.hold(row.slot, row.length + 1)
            logits = self._calls.step(start, [token for _, token in ordered], [row.length for row in rows])
        except Exception as error:
            if len(batch) == 1:
                return {batch[0][0]: failed_at_request(error)}
            # Each call's logits are only good until the next one.
            return {number: _kept(self._step([(number, token)])[number]) for number, token in batch}
        for row in rows:
            row.length += 1
        return {number: logits[place] for place, (number, _) in enumerate(ordered)}

    def _bring_together(self, numbers: Sequence[int]) -> int:
        """Move rows until these, and no others, lie side by side; returns the slot of the first."""
        by_slot = {row.slot: row for row in self._rows.values()}
        advancing = {self._rows[number].slot for number in numbers}
        lengths = {slot: row.length for slot, row in by_slot.items()}
        start = best_window(advancing, lengths, self._arena.slots)
        for inside, outside in exchanges(advancing, start):
            leaving, coming = by_slot.get(inside), by_slot[outside]
            self._arena.swap(inside, leaving.length if leaving else 0, outside, coming.length)
            coming.slot = inside
            if leaving is None:
                self._arena.release(outside)
            else:
                leaving.slot = outside
        self._window = (start, start + len(numbers))
        return start


def _kept(result: Logits | GenerationFailed) -> Logits | GenerationFailed:
    return result if isinstance(result, GenerationFailed) else result.copy()
