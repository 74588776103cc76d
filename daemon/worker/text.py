"""From tokens to text that is safe to show: whole characters, no special tokens, nothing of a stop string."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

_REPLACEMENT = "\ufffd"
# A character is at most four bytes and a token at least one, but tokens may end inside characters several times in a
# row: what is still broken after twice as many is broken for good.
_MOST_HELD_TOKENS = 8


class TextDecoder(Protocol):
    """What a tokenizer must offer to turn an answer into text."""

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ``ids`` without special tokens; U+FFFD where bytes are no character (yet)."""
        ...

    def is_silent(self, token: int) -> bool:
        """True for special and unknown tokens, which have no text."""
        ...


class Detokenizer:
    """Turns tokens into text one at a time, holding back the bytes of an unfinished character.

    Each piece is the difference between two decodings that start at the last tokens already shown, because what a token
    looks like may depend on the one before it (a space in front of a word). The library's own stream is not used: it
    drops whole tokens that follow bytes which never became a character.
    """

    def __init__(self, decoder: TextDecoder) -> None:
        self._decoder = decoder
        self._shown: list[int] = []
        self._pending: list[int] = []

    def push(self, token: int) -> str:
        """The text that ``token`` completes, often empty."""
        if self._decoder.is_silent(token):
            return ""
        self._pending.append(token)
        text = self._pending_text()
        if text.endswith(_REPLACEMENT) and len(self._pending) < _MOST_HELD_TOKENS:
            return ""
        self._shown, self._pending = self._pending, []
        return text

    def flush(self) -> str:
        """What is still held back, as it is; call it at the end of the answer."""
        if not self._pending:
            return ""
        text = self._pending_text()
        self._shown, self._pending = self._pending, []
        return text

    def _pending_text(self) -> str:
        before = self._decoder.decode(self._shown) if self._shown else ""
        return self._decoder.decode(self._shown + self._pending)[len(before) :]


class StopMatcher:
    """Cuts a text at the first stop string, however the text is split into pieces.

    The string that is complete first ends the text; of several that end at the same place, the longest. Text that may
    be the beginning of a stop string is held back until that is known.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = [stop for stop in stops if stop]
        self._held = ""
        self.stopped_by: str | None = None

    @property
    def is_stopped(self) -> bool:
        return self.stopped_by is not None

    def push(self, text: str) -> str:
        """The text that can be shown now; empty once stopped."""
        if self.is_stopped:
            return ""
        text = self._held + text
        starts = ((text.find(stop), stop) for stop in self._stops)
        matches = [(start + len(stop), start, stop) for start, stop in starts if start >= 0]
        if matches:
            _, start, self.stopped_by = min(matches)
            self._held = ""
            return text[:start]
        keep = max((_overlap(text, stop) for stop in self._stops), default=0)
        cut = len(text) - keep
        self._held = text[cut:]
        return text[:cut]

    def flush(self) -> str:
        """What was held back and turned out to be no stop string; call it at the end of the answer."""
        text, self._held = self._held, ""
        return text


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of ``text`` that is a beginning, but not the whole, of ``stop``."""
    start = max(0, len(text) - len(stop) + 1)
    while (start := text.find(stop[0], start)) >= 0:
        if stop.startswith(text[start:]):
            return len(text) - start
        start += 1
    return 0
