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
    """One loaded model."""

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

    def close(self, row: int) -> None:
        """Give the row's cache back."""
        ...
