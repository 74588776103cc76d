"""One answer in Ollama's words, whole or as a stream of lines.

Invariant: both say the same; the pieces of a stream add up to the whole answer, of which the last line has the numbers.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from daemon.answers import Answer
from daemon.api.choices import logprob_json
from daemon.api.envelopes import OLLAMA_PREFIX
from daemon.api.errors import error_body
from daemon.api.streaming import ending_in_words, line_frame
from daemon.pool.protocol import Delta, Finished, ToolCallDelta
from daemon.shapes import Json
from registry.errors import GenerationFailed

NANOSECONDS = 1_000_000_000

# How a piece of an answer is said: its text, its reasoning, and whole tool calls.
Shape = Callable[[str, str, Sequence[Json]], Json]


def as_message(text: str, thinking: str, calls: Sequence[Json]) -> Json:
    """As /api/chat says it."""
    message: Json = {"role": "assistant", "content": text}
    if thinking:
        message["thinking"] = thinking
    if calls:
        message["tool_calls"] = list(calls)
    return {"message": message}


def as_response(text: str, thinking: str, _calls: Sequence[Json]) -> Json:
    """As /api/generate says it, where there are no tools to call."""
    return {"response": text, "thinking": thinking} if thinking else {"response": text}


@dataclass(frozen=True, slots=True)
class _Piece:
    text: str = ""
    thinking: str = ""
    calls: Sequence[Json] = ()
    logprobs: Sequence[Json] = ()

    def __bool__(self) -> bool:
        return bool(self.text or self.thinking or self.calls or self.logprobs)


class Lines:
    """``whole`` or ``frames`` can be used once. ``asked_s`` is when the request came, by ``time.monotonic``."""

    def __init__(self, answer: Answer, shape: Shape, *, asked_s: float, has_logprobs: bool = False) -> None:
        self._answer = answer
        self._shape = shape
        self._has_logprobs = has_logprobs
        self._asked_s = asked_s
        self._loaded_s = time.monotonic()
        self._calls = _Calls()
        self._finished: Finished | None = None

    async def aclose(self) -> None:
        """Stop generating, if it still is."""
        await self._answer.aclose()

    async def whole(self) -> Json:
        """Raises SlmregError."""
        text, thinking = "", ""
        calls: list[Json] = []
        logprobs: list[Json] = []
        async for piece in self._pieces():
            text += piece.text
            thinking += piece.thinking
            calls += piece.calls
            logprobs += piece.logprobs
        return self._line(_Piece(text, thinking, calls, logprobs), self._end())

    def frames(self) -> AsyncIterator[bytes]:
        """Lines; the last one has ``done``, or an error if the answer breaks."""
        return ending_in_words(self._frames(), lambda error: line_frame(error_body(error, OLLAMA_PREFIX)))

    async def _frames(self) -> AsyncIterator[bytes]:
        async for piece in self._pieces():
            if piece:
                yield line_frame(self._line(piece))
        yield line_frame(self._line(_Piece(), self._end()))

    async def _pieces(self) -> AsyncIterator[_Piece]:
        async for event in self._answer:
            if isinstance(event, Finished):
                self._finished = event
                yield _piece(self._calls.rest())
            else:
                yield _piece(self._calls.take(event.tool_calls), event, has_logprobs=self._has_logprobs)

    def _end(self) -> Finished:
        if self._finished is None:
            raise GenerationFailed("The answer broke off: its end never came. Ask again.")
        return self._finished

    def _line(self, piece: _Piece, end: Finished | None = None) -> Json:
        line = {**head(self._answer.name), **self._shape(piece.text, piece.thinking, piece.calls)}
        if piece.logprobs:
            line["logprobs"] = list(piece.logprobs)
        return {**line, "done": False} if end is None else {**line, **self._closing(end)}

    def _closing(self, end: Finished) -> Json:
        """Durations in nanoseconds. Loading includes waiting for one's turn."""
        return {
            "done": True,
            "done_reason": "length" if end.finish_reason == "length" else "stop",
            "total_duration": _nanoseconds(time.monotonic() - self._asked_s),
            "load_duration": _nanoseconds(self._loaded_s - self._asked_s),
            "prompt_eval_count": self._answer.prompt_tokens,
            "prompt_eval_duration": _nanoseconds(end.ttft_s - end.queue_s),
            "eval_count": end.completion_tokens,
            "eval_duration": _nanoseconds(end.decode_s),
        }


def head(model: str) -> Json:
    """What every line begins with: which model, and the time (RFC 3339, UTC)."""
    now = datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")
    return {"model": model, "created_at": f"{now}Z"}


def loaded(model: str, shape: Shape, *, is_unloading: bool) -> Json:
    """The answer to an empty prompt or chat."""
    done = {"done": True, "done_reason": "unload" if is_unloading else "load"}
    return {**head(model), **shape("", "", ()), **done}


def _piece(calls: tuple[list[Json], str], delta: Delta | None = None, *, has_logprobs: bool = False) -> _Piece:
    whole, broken = calls
    if delta is None:
        return _Piece(broken, "", whole)
    # As in OpenAI's API, those of the content.
    is_content = bool(delta.text) or not (delta.reasoning or delta.tool_calls)
    logprobs = [logprob_json(token) for token in delta.logprobs] if has_logprobs and is_content else []
    return _Piece(broken + delta.text, delta.reasoning, whole, logprobs)


class _Calls:
    """Tool calls, which Ollama sends whole: each is held back until the next one begins, or the answer ends."""

    def __init__(self) -> None:
        self._index: int | None = None
        self._name = ""
        self._arguments = ""

    def take(self, pieces: Sequence[ToolCallDelta]) -> tuple[list[Json], str]:
        """The calls that are whole now, and the text of those that are no calls after all."""
        whole: list[Json] = []
        broken = ""
        for piece in pieces:
            if piece.index != self._index:
                calls, text = self.rest()
                whole, broken = [*whole, *calls], broken + text
                self._index, self._name = piece.index, piece.name or ""
            self._arguments += piece.arguments
        return whole, broken

    def rest(self) -> tuple[list[Json], str]:
        """The call that is held back, if there is one; its text where its arguments were cut off or are none."""
        if self._index is None:
            return [], ""
        name, arguments = self._name, self._arguments
        self._index, self._name, self._arguments = None, "", ""
        try:
            value = json.loads(arguments or "{}")
        except (ValueError, RecursionError):
            value = None
        return ([{"function": {"name": name, "arguments": value}}], "") if isinstance(value, dict) else ([], arguments)


def _nanoseconds(seconds: float) -> int:
    return max(0, round(seconds * NANOSECONDS))
