"""What a model thinks before it answers, told apart from the answer by the marks around it.

Invariant: splitting a text into other pieces changes neither part, and apart from the marks and the white space beside
them nothing is lost.
"""

from __future__ import annotations

from enum import Enum, auto

from registry.errors import InvalidModelFolder
from registry.model import Markers
from registry.reading.template import template_of

THINK = Markers("<think>", "</think>")


def reasoning_markers(template: str) -> Markers | None:
    """Those that the text of a chat template gives evidence for."""
    try:
        known = template_of(template)
    except InvalidModelFolder:  # too long to be looked at
        return None
    return known.reasoning_markers if known is not None else None


class _Phase(Enum):
    """Undecided, until it is seen whether the answer begins with a thought."""

    UNDECIDED = auto()
    THINKING = auto()
    ANSWERING = auto()


class ReasoningSplitter:
    """``is_open``: the prompt has begun the thought already. A model that begins it once more has begun it once."""

    def __init__(self, markers: Markers = THINK, *, is_open: bool = False) -> None:
        self._markers = markers
        self._is_open = is_open
        self._phase = _Phase.UNDECIDED
        self._held = ""
        self._is_after_mark = False

    @property
    def is_undecided(self) -> bool:
        """True while the answer may still begin with a thought."""
        return self._phase is _Phase.UNDECIDED and not self._is_open

    @property
    def is_reasoning(self) -> bool:
        return self._phase is _Phase.THINKING or (self._is_open and self._phase is _Phase.UNDECIDED)

    @property
    def is_answering(self) -> bool:
        """True once no thought can begin any more."""
        return self._phase is _Phase.ANSWERING

    def feed(self, text: str) -> tuple[str, str]:
        """The reasoning and the text of the answer that are known now."""
        self._held += text
        if self._phase is _Phase.UNDECIDED:
            self._decide()
        reasoning = self._take_reasoning() if self._phase is _Phase.THINKING else ""
        return reasoning, self._take_answer() if self._phase is _Phase.ANSWERING else ""

    def flush(self) -> tuple[str, str]:
        """What is left at the end of the answer; a thought may lack its end."""
        if self._is_open and self._phase is _Phase.UNDECIDED:
            self._begin(_Phase.THINKING)
        held, self._held = self._without_leading_space(), ""
        return (held.rstrip(), "") if self.is_reasoning else ("", held)

    def _decide(self) -> None:
        start = self._markers.start
        begun = self._held.lstrip()
        if begun.startswith(start):
            self._held = begun.removeprefix(start)
            self._begin(_Phase.THINKING)
        elif not start.startswith(begun):
            self._begin(_Phase.THINKING if self._is_open else _Phase.ANSWERING)

    def _begin(self, phase: _Phase) -> None:
        self._is_after_mark = phase is _Phase.THINKING or self._phase is _Phase.THINKING
        self._phase = phase

    def _take_reasoning(self) -> str:
        reasoning, end, rest = self._without_leading_space().partition(self._markers.end)
        if end:
            self._held = rest
            self._begin(_Phase.ANSWERING)
            return reasoning.rstrip()
        shown = reasoning[: _begin_of(self._markers.end, reasoning)].rstrip()
        self._held = reasoning[len(shown) :]
        self._is_after_mark = self._is_after_mark and not shown
        return shown

    def _take_answer(self) -> str:
        text, self._held = self._without_leading_space(), ""
        self._is_after_mark = self._is_after_mark and not text
        return text

    def _without_leading_space(self) -> str:
        return self._held.lstrip() if self._is_after_mark else self._held


def _begin_of(mark: str, text: str) -> int:
    """Where the end of ``text`` begins that may be the beginning of ``mark``."""
    starts = range(max(0, len(text) - len(mark) + 1), len(text))
    return next((start for start in starts if mark.startswith(text[start:])), len(text))
