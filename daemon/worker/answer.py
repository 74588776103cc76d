"""One answer's way from tokens to what a client sees: reasoning, tool calls, and text that ends before a stop string.

    token -> characters -> reasoning | the rest -> tool calls | visible text -> cut at stop strings

Invariant: no special token is ever shown. Those that mark reasoning or calls are visible to the steps that look for
them, and to no other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from daemon.pool.protocol import ToolCallDelta
from daemon.worker.reasoning import ReasoningSplitter
from daemon.worker.text import Detokenizer, StopMatcher, TextDecoder
from daemon.worker.tools.parser import ToolCallParser


@dataclass(frozen=True, slots=True)
class Pieces:
    """What is known of an answer after one more token. False where that is nothing new."""

    text: str = ""
    reasoning: str = ""
    tool_calls: list[ToolCallDelta] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.text or self.reasoning or self.tool_calls)


class AnswerText:
    """``reasoning`` and ``tools`` None: such a thing is not looked for.

    ``reasoning_marks`` and ``tool_marks`` are the special tokens, by id, that stand for marks of one or the other.
    """

    def __init__(
        self,
        decoder: TextDecoder,
        stops: Sequence[str] = (),
        *,
        reasoning: ReasoningSplitter | None = None,
        tools: ToolCallParser | None = None,
        reasoning_marks: Mapping[int, str] | None = None,
        tool_marks: Mapping[int, str] | None = None,
    ) -> None:
        self._detokenizer = Detokenizer(decoder)
        self._stops = StopMatcher(stops)
        self._reasoning = reasoning
        self._tools = tools
        self._reasoning_marks = reasoning_marks or {}
        self._tool_marks = tool_marks or {}
        self._undecided_tokens = 0
        self.reasoning_tokens = 0

    @property
    def is_stopped(self) -> bool:
        """True once there is no more to show: a stop string was met, or all calls were made that may be."""
        return self._stops.is_stopped or (self._tools is not None and self._tools.is_full)

    @property
    def stop_string(self) -> str | None:
        """The stop string that was met, if one was."""
        return self._stops.stopped_by

    @property
    def is_reasoning(self) -> bool:
        return self._reasoning is not None and self._reasoning.is_reasoning

    @property
    def may_begin_reasoning(self) -> bool:
        """True until it is clear whether the model reasons first."""
        return self._reasoning is not None and self._reasoning.is_undecided

    @property
    def has_tool_calls(self) -> bool:
        return self._tools is not None and self._tools.has_calls

    def push(self, token: int) -> Pieces:
        """What ``token`` completes, often nothing."""
        was_reasoning = self.is_reasoning
        pieces = self._pieces(self._characters(token), is_end=False)
        self._count(was_reasoning=was_reasoning)
        return pieces

    def flush(self) -> Pieces:
        """What is still held back; call it at the end of the answer."""
        return self._pieces(self._detokenizer.flush(), is_end=True)

    def _characters(self, token: int) -> str:
        mark = self._visible_marks().get(token)
        return self._detokenizer.push(token) if mark is None else self._detokenizer.flush() + mark

    def _visible_marks(self) -> Mapping[int, str]:
        is_answering = self._reasoning is None or self._reasoning.is_answering
        if is_answering:
            return self._tool_marks
        return self._reasoning_marks if self.is_reasoning else {**self._tool_marks, **self._reasoning_marks}

    def _pieces(self, text: str, *, is_end: bool) -> Pieces:
        reasoning = ""
        if self._reasoning is not None:
            reasoning, text = self._reasoning.feed(text)
            if is_end:
                last_reasoning, last_text = self._reasoning.flush()
                reasoning, text = reasoning + last_reasoning, text + last_text
        calls: list[ToolCallDelta] = []
        if self._tools is not None and not self._stops.is_stopped:
            text, calls = self._tools.feed(text)
            if is_end:
                last_text, last_calls = self._tools.flush()
                text, calls = text + last_text, calls + last_calls
        text = self._stops.push(text)
        return Pieces(text + (self._stops.flush() if is_end else ""), reasoning, calls)

    def _count(self, *, was_reasoning: bool) -> None:
        """A token belongs to the reasoning if any part of it does, those of the marks included."""
        if self.may_begin_reasoning:
            self._undecided_tokens += 1
        elif was_reasoning or self.is_reasoning:
            self.reasoning_tokens += 1 + self._undecided_tokens
            self._undecided_tokens = 0
