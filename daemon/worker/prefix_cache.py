"""Finished sequences that stay for prompts that begin like them. Pure bookkeeping: rows are only numbers here.

Invariant: a row that was handed out or dropped is not in here any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Tokens = npt.NDArray[np.int64]

# A shorter beginning is as quickly read as looked for, and every chat has that much of its template in common.
LEAST_PREFIX_TOKENS = 16


@dataclass(frozen=True, slots=True, eq=False)
class KeptRow:
    """Row ``number`` holds ``tokens`` and has room for ``room_tokens``; it was run with ``adapter``."""

    number: int
    tokens: Tokens
    room_tokens: int
    adapter: str | None


@dataclass(frozen=True, slots=True)
class Match:
    """The first ``length`` tokens of ``kept`` are those of the prompt."""

    kept: KeptRow
    length: int


class PrefixCache:
    """At most ``most_rows`` rows, in the order in which they were last used."""

    def __init__(self, most_rows: int) -> None:
        self._most_rows = most_rows
        self._rows: list[KeptRow] = []

    @property
    def reserved_tokens(self) -> int:
        """Room of all kept rows together."""
        return sum(self.room_tokens)

    @property
    def room_tokens(self) -> list[int]:
        """Room of each kept row."""
        return [kept.room_tokens for kept in self._rows]

    def __contains__(self, kept: KeptRow) -> bool:
        return kept in self._rows

    def matches(self, tokens: Sequence[int], adapter: str | None) -> list[Match]:
        """The rows that begin like ``tokens``, the longest common beginning first, the shorter row of two alike."""
        prompt = np.asarray(tokens, dtype=np.int64)
        found = [
            Match(kept, length)
            for kept in self._rows
            if kept.adapter == adapter and (length := common_length(kept.tokens, prompt)) >= LEAST_PREFIX_TOKENS
        ]
        return sorted(found, key=lambda match: (-match.length, len(match.kept.tokens)))

    def add(self, kept: KeptRow) -> list[KeptRow]:
        """Keep a row; those that have to go for it, perhaps itself."""
        self._rows.append(kept)
        dropped = self._rows[: max(0, len(self._rows) - self._most_rows)]
        self._rows = self._rows[len(dropped) :]
        return dropped

    def take(self, kept: KeptRow) -> None:
        """Hand a row out: it is not kept any more."""
        self._rows.remove(kept)

    def touch(self, kept: KeptRow) -> None:
        """Count a row as just used."""
        self._rows.remove(kept)
        self._rows.append(kept)

    def drop_oldest(self) -> KeptRow | None:
        """The row that was not used for longest, which goes; None if there is none."""
        return self._rows.pop(0) if self._rows else None


def common_length(first: Tokens | Sequence[int], second: Tokens | Sequence[int]) -> int:
    """How many tokens are the same at the beginning of both."""
    shorter = min(len(first), len(second))
    differing = np.asarray(first[:shorter], dtype=np.int64) != np.asarray(second[:shorter], dtype=np.int64)
    index = int(differing.argmax()) if shorter else 0
    return index if shorter and differing[index] else shorter
