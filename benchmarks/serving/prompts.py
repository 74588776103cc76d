"""Prompts of a wanted length that have never been asked before, from the words of the made-up vocabulary."""

from __future__ import annotations

import random
from collections.abc import Callable

# " Baba" and its like are one token each in a large vocabulary, and several in a small one.
_FIRST, _SECOND, _VOWELS = "BCDFGHJKLMNPQRSTVWXYZ", "bcdfghjklm", "aeiou"
_SAMPLE_WORDS = 50


class Prompts:
    """``count`` tells the tokens of a prompt as the model reads it, its chat template included."""

    def __init__(self, seed: int, count: Callable[[str], int]) -> None:
        self._chance = random.Random(seed)
        one = count(self._words(1))
        self._word_tokens = (count(self._words(1 + _SAMPLE_WORDS)) - one) / _SAMPLE_WORDS
        self._template_tokens = one - self._word_tokens

    def fresh(self, tokens: int) -> str:
        """Of about so many tokens, those of the template among them, and at least one word."""
        return self._words(max(1, round((tokens - self._template_tokens) / self._word_tokens)))

    def _words(self, count: int) -> str:
        return "".join(self._word() for _ in range(count))

    def _word(self) -> str:
        return " " + "".join(self._chance.choice(letters) for letters in (_FIRST, _VOWELS, _SECOND, _VOWELS))
