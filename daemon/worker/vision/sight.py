"""What a model that takes pictures offers to whoever prepares its prompts. Knows no native library."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from daemon.worker.sampling import Logits
from daemon.worker.vision.placeholders import Placeholders

Prefill = Callable[[int], Logits]


class ImageReader(Protocol):
    def read(self, prompt: str, images: Sequence[bytes]) -> tuple[list[int], Prefill]:
        """The prompt's tokens, those of the pictures among them, and what reads all of them into an empty row.

        Raises InvalidRequest; the prefill GenerationFailed.
        """
        ...


@dataclass(frozen=True, slots=True)
class Sight:
    """The two things it takes to put pictures into a prompt."""

    reader: ImageReader
    placeholders: Placeholders
