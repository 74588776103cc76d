"""The rows of one backend inside one budget of tokens: those that requests run in, and those that are kept.

Invariants: the rooms of all open rows together never exceed the budget; a kept row is handed to one request at most and
never to one with another adapter; kept rows make way, the one not used for longest first, before a request waits.

Where a backend can resize rows, one that is kept has no more room than it has tokens, and gets another one when it is
taken; elsewhere it keeps the room it was opened with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from daemon.worker.backends.base import Backend
from daemon.worker.prefix_cache import LEAST_PREFIX_TOKENS, KeptRow, Match, PrefixCache
from daemon.worker.rooms import Room
from registry.errors import GenerationFailed

# A prompt's last tokens are always read, since the logits come from there. One alone goes through other kernels, whose
# logits differ by up to 0.1 (int4 on CPU, two or more agree in every bit): a repeated prompt would get another answer.
REREAD_TOKENS = 4
# A row that is taken loses what it held beyond the common beginning. It must not lose more than three quarters for it.
_LEAST_SHARE_KEPT = 0.25


@dataclass(frozen=True, slots=True)
class Row:
    """Row ``number`` of the backend. The first ``held_tokens`` of its request were in it when it was opened."""

    number: int
    room_tokens: int
    adapter: str | None
    held_tokens: int


class RowBudget:
    """Opens rows for requests, from kept ones where their tokens begin alike."""

    def __init__(self, backend: Backend, *, budget_tokens: int, kept_rows: int) -> None:
        self._backend = backend
        self._budget_tokens = budget_tokens
        self._keeps = kept_rows > 0
        self._kept = PrefixCache(kept_rows)
        self._can_rewind = True
        self.running_tokens = 0

    @property
    def reserved_tokens(self) -> int:
        """Room of all open rows together, running and kept."""
        return self.running_tokens + self._kept.reserved_tokens

    @property
    def kept_tokens(self) -> list[int]:
        """Of each kept row, the tokens that it takes memory for."""
        return self._kept.room_tokens

    def open(self, tokens: Sequence[int], room: Room, *, adapter: str | None, can_reuse: bool) -> Row | None:
        """A row for a request that will read ``tokens``; None as long as there is no room beside those that run.

        Raises GenerationFailed if the backend cannot open one.
        """
        row = self._reused(tokens, room, adapter) if self._keeps and can_reuse else None
        if row is None and self.running_tokens + room.tokens <= self._budget_tokens:
            row = self._fresh(room.tokens, adapter)
        if row is not None:
            self.running_tokens += row.room_tokens
        return row

    def close(self, row: Row) -> None:
        """Give a row back for good."""
        self.running_tokens -= row.room_tokens
        self._backend.close(row.number)

    def keep(self, row: Row, tokens: Sequence[int]) -> None:
        """Give back a row that holds ``tokens``, for others that begin like it."""
        if not self._keeps or len(tokens) < LEAST_PREFIX_TOKENS:
            self.close(row)
            return
        self.running_tokens -= row.room_tokens
        room_tokens = row.room_tokens
        if self._backend.can_resize:
            room_tokens = len(tokens)
            self._backend.resize(row.number, room_tokens)
        kept = KeptRow(row.number, np.asarray(tokens, dtype=np.int64), room_tokens, row.adapter)
        for dropped in self._kept.add(kept):
            self._backend.close(dropped.number)

    def outgrow(self, row: Row, tokens: Sequence[int]) -> None:
        """Give back a full row that holds ``tokens``, worth keeping only where a larger one can begin with a copy."""
        if self._backend.can_copy:
            self.keep(row, tokens)
        else:
            self.close(row)

    def grown(self, row: Row, room_tokens: int) -> Row | None:
        """The same row with room for so much; None where that cannot be, or not beside the others that run."""
        more = room_tokens - row.room_tokens
        if not self._backend.can_resize or self.running_tokens + more > self._budget_tokens:
            return None
        self._drop_until_there_is(more)
        self._backend.resize(row.number, room_tokens)
        self.running_tokens += more
        return replace(row, room_tokens=room_tokens)

    def held_elsewhere(self, tokens: Sequence[int], adapter: str | None) -> Match | None:
        """The kept row that holds most of the beginning of ``tokens``, where it can be copied."""
        matches = self._kept.matches(tokens[:-REREAD_TOKENS], adapter) if self._backend.can_copy else []
        return matches[0] if matches else None

    def begin_with(self, row: Row, number: int, length: int) -> Row:
        """A row as large as ``row``, instead of it, that begins with the first ``length`` tokens of row ``number``.

        It is empty where that cannot be copied. Raises GenerationFailed if there is none; ``row`` is closed then, too.
        """
        self.close(row)
        try:
            copy, held_tokens = self._backend.copy(number, length, row.room_tokens), length
        except GenerationFailed:
            copy, held_tokens = self._backend.open(row.room_tokens, row.adapter), 0
        self.running_tokens += row.room_tokens
        return Row(copy, row.room_tokens, row.adapter, held_tokens)

    def _reused(self, tokens: Sequence[int], room: Room, adapter: str | None) -> Row | None:
        for match in self._kept.matches(tokens[:-REREAD_TOKENS], adapter):
            if match.kept not in self._kept:
                continue  # it had to make way for a copy that then failed
            row = self._copied(match, room) or self._taken(match, room)
            if row is not None:
                return row
        return None

    def _copied(self, match: Match, room: Room) -> Row | None:
        kept = match.kept
        if not self._backend.can_copy or not self._fits_beside(kept, room.tokens):
            return None
        self._kept.touch(kept)
        self._drop_until_there_is(room.tokens)
        try:
            number = self._backend.copy(kept.number, match.length, room.tokens)
        except GenerationFailed:
            return None
        return Row(number, room.tokens, kept.adapter, match.length)

    def _taken(self, match: Match, room: Room) -> Row | None:
        kept = match.kept
        is_whole = match.length == len(kept.tokens)
        is_worth_it = match.length >= _LEAST_SHARE_KEPT * len(kept.tokens) or not self._fits_beside(kept, room.tokens)
        has_right_room = self._has_right_room(kept, room)
        if not (has_right_room and is_worth_it and (is_whole or self._can_rewind)):
            return None
        self._kept.take(kept)
        if not is_whole and not self._rewound(kept, match.length):
            return None
        if not self._backend.can_resize:
            return Row(kept.number, kept.room_tokens, kept.adapter, match.length)
        self._drop_until_there_is(room.tokens)
        self._backend.resize(kept.number, room.tokens)
        return Row(kept.number, room.tokens, kept.adapter, match.length)

    def _has_right_room(self, kept: KeptRow, room: Room) -> bool:
        if self._backend.can_resize:
            return self.running_tokens + room.tokens <= self._budget_tokens
        return room.least_tokens <= kept.room_tokens <= room.most_tokens

    def _rewound(self, kept: KeptRow, length: int) -> bool:
        """Cut a row that was taken; a model that cannot do that is not asked again."""
        try:
            self._backend.rewind(kept.number, length)
        except GenerationFailed:
            self._can_rewind = False
            self._backend.close(kept.number)
            return False
        return True

    def _fresh(self, room_tokens: int, adapter: str | None) -> Row:
        self._drop_until_there_is(room_tokens)
        try:
            number = self._backend.open(room_tokens, adapter)
        except GenerationFailed:
            # The memory may be short although the budget is not.
            if not self._drop_oldest():
                raise
            return self._fresh(room_tokens, adapter)
        return Row(number, room_tokens, adapter, 0)

    def _fits_beside(self, kept: KeptRow, room_tokens: int) -> bool:
        return self.running_tokens + kept.room_tokens + room_tokens <= self._budget_tokens

    def _drop_until_there_is(self, room_tokens: int) -> None:
        while self.reserved_tokens + room_tokens > self._budget_tokens and self._drop_oldest():
            pass

    def _drop_oldest(self) -> bool:
        dropped = self._kept.drop_oldest()
        if dropped is not None:
            self._backend.close(dropped.number)
        return dropped is not None
