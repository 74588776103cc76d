"""What the scheduler knows about an engine: rows of tokens, and the logits of their last positions.

A row is one sequence with its key-value cache. Rows are named by numbers that the backend gives out. Whatever goes
wrong inside comes out as ``GenerationFailed``, and only the row it happened in is affected.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from daemon.worker.sampling import Logits
from registry.errors import GenerationFailed


class Backend(Protocol):
    """One loaded model. The logits that a call gives are good until the next call."""

    @property
    def can_copy(self) -> bool:
        """Whether ``copy`` works here."""
        ...

    @property
    def can_verify(self) -> bool:
        """Whether ``verify`` works here, at less than the cost of as many calls of ``decode``."""
        ...

    @property
    def can_resize(self) -> bool:
        """Whether ``resize`` works here: a row takes memory for what it holds, not for what it has room for."""
        ...

    @property
    def least_room_tokens(self) -> int:
        """What a row takes memory for at least, whatever room it is opened with."""
        ...

    def open(self, room_tokens: int, adapter: str | None = None) -> int:
        """A new, empty row whose cache has room for ``room_tokens``, for the model with a LoRA ``adapter`` or without.

        Raises GenerationFailed.
        """
        ...

    def extend(self, row: int, tokens: Sequence[int]) -> Logits:
        """Append ``tokens`` to a row; the logits, shape [vocab], of its last position. Raises GenerationFailed."""
        ...

    def decode(self, batch: Sequence[tuple[int, int]]) -> list[Logits | GenerationFailed]:
        """Append one token to each row of ``batch`` (row, token); for each its logits, or why it failed."""
        ...

    def verify(self, row: int, tokens: Sequence[int]) -> Logits:
        """Append ``tokens`` to a row; the logits, shape [tokens, vocab], of each of their positions.

        Raises GenerationFailed, always so without ``can_verify``.
        """
        ...

    def rewind(self, row: int, length: int) -> None:
        """Keep the first ``length`` tokens of a row.

        Raises GenerationFailed where the model cannot (its state is not one entry a token); the row is of no use then.
        """
        ...

    def resize(self, row: int, room_tokens: int) -> None:
        """Give a row room for ``room_tokens``, at least what it holds.

        Raises GenerationFailed, always so without ``can_resize``.
        """
        ...

    def copy(self, row: int, length: int, room_tokens: int) -> int:
        """A new row with room for ``room_tokens``, which begins with the first ``length`` tokens of ``row``.

        Its adapter is that of ``row``. Raises GenerationFailed, always so without ``can_copy``.
        """
        ...

    def close(self, row: int) -> None:
        """Give the row's cache back."""
        ...
