"""Text that arrives in pieces, for readers that are written as if it were all there.

A reader is a generator. It yields where it has to wait for more text, and decides nothing before it has seen enough: so
what it reads cannot depend on how the text was split.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TypeVar

T = TypeVar("T")
# Yields where more text is needed.
Reading = Generator[None, None, T]

_SPACE = " \t\r\n"


class Feed:
    """``position`` may be set back to where it was since the last ``forget``."""

    def __init__(self) -> None:
        self._text = ""
        self.position = 0
        self.is_ended = False

    def add(self, text: str) -> None:
        self._text += text

    def end(self) -> None:
        """No more text will come."""
        self.is_ended = True

    def forget(self) -> None:
        """Let go of the text before ``position``."""
        self._text, self.position = self._text[self.position :], 0

    @property
    def rest(self) -> str:
        """What has arrived and was not read."""
        return self._text[self.position :]

    def peek(self) -> Reading[str]:
        """The next character, which stays; empty at the end."""
        while self.position >= len(self._text) and not self.is_ended:
            yield
        return self._text[self.position : self.position + 1]

    def take(self, expected: str) -> Reading[bool]:
        """Whether ``expected`` comes next; if so, it was read."""
        while True:
            if self._text.startswith(expected, self.position):
                self.position += len(expected)
                return True
            if self.is_ended or not expected.startswith(self.rest):
                return False
            yield

    def skip(self, characters: str = _SPACE) -> Reading[None]:
        while (character := (yield from self.peek())) and character in characters:
            self.position += 1

    def take_while(self, belongs: Callable[[str], bool], *, most: int) -> Reading[str]:
        """The next characters, at most so many, that ``belongs`` is true of."""
        taken = ""
        while len(taken) < most and (character := (yield from self.peek())) and belongs(character):
            taken += character
            self.position += 1
        return taken

    def until(self, mark: str) -> Reading[str | None]:
        """The text before ``mark``, which is read too; None, and nothing read, where it does not come."""
        begin = self.position
        while (found := self._text.find(mark, begin)) < 0:
            if self.is_ended:
                return None
            begin = max(begin, len(self._text) - len(mark) + 1)
            yield
        text = self._text[self.position : found]
        self.position = found + len(mark)
        return text
