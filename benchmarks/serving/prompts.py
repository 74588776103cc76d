"""Prompts of a wanted length that have never been asked before, from the words of the made-up vocabulary."""

from __future__ import annotations

import random
from collections.abc import Callable

# " Baba" and its like are one token each.
_FIRST, _SECOND, _VOWELS = "BCDFGHJKLMNPQRSTVWXYZ", "bcdfghjklm", "aeiou"


class Prompts:
    """``count`` tells the tokens of a prompt as the model reads it, its chat template included."""

    def __init__(self, seed: int, count: Callable[[str], int]) -> None:
        self._chance = random.Random(seed)
        self._template_tokens = count(self._words(1)) - 1

    def fresh(self, tokens: int) -> str:
        """Of so many tokens, those of the template among them, and at least one of its own."""
        return self._words(max(1, tokens - self._template_tokens))

    def _words(self, count: int) -> str:
        return "".join(self._word() for _ in range(count))

    def _word(self) -> str:
        return " " + "".join(self._chance.choice(letters) for letters in (_FIRST, _VOWELS, _SECOND, _VOWELS))
