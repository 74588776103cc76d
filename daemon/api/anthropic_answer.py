"""One answer in Anthropic's words: blocks of thoughts, text and calls, whole or as a stream of named events.

Invariants: blocks do not overlap, each ends before the next begins; the whole answer is what the events add up to.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

from daemon.answers import Answer
from daemon.api.completion import require_end
from daemon.api.envelopes import anthropic_envelope
from daemon.api.errors import status_of
from daemon.api.streaming import ending_in_words, event_frame
from daemon.pool.protocol import Delta, Finished
from daemon.shapes import Json
from registry.errors import GenerationFailed, SlmregError

# Where Anthropic's API proves that thoughts are its own. Clients send it back, and some leave out what has none.
SIGNATURE = "unsigned"
_STOP_REASONS = {"stop": "end_turn", "tool_calls": "tool_use", "length": "max_tokens"}


class Blocks:
    """What has come of an answer, and the events that tell it."""

    def __init__(self) -> None:
        self.content: list[Json] = []
        self._open: Any = None  # what the last block belongs to: a kind, or the number of a call
        self._arguments: dict[int, str] = {}  # by the index of the block

    def take(self, delta: Delta) -> Iterator[Json]:
        """The events of one more delta."""
        if delta.reasoning:
            yield from self._enter("thinking", {"type": "thinking", "thinking": "", "signature": ""})
            yield self._add("thinking", "thinking_delta", delta.reasoning)
        if delta.text:
            yield from self._enter("text", {"type": "text", "text": ""})
            yield self._add("text", "text_delta", delta.text)
        for piece in delta.tool_calls:
            call = {"type": "tool_use", "id": f"toolu_{uuid.uuid4().hex[:24]}", "name": piece.name or "", "input": {}}
            yield from self._enter(piece.index, call)
            if piece.arguments:
                index = len(self.content) - 1
                self._arguments[index] = self._arguments.get(index, "") + piece.arguments
                yield self._delta({"type": "input_json_delta", "partial_json": piece.arguments})

    def close(self) -> Iterator[Json]:
        """The end of the block that is open, if one is."""
        if self._open is None:
            return
        if self._open == "thinking":
            self.content[-1]["signature"] = SIGNATURE
            yield self._delta({"type": "signature_delta", "signature": SIGNATURE})
        yield {"type": "content_block_stop", "index": len(self.content) - 1}
        self._open = None

    def whole(self, *, is_cut_off: bool) -> list[Json]:
        """All blocks. What was written of the arguments of a call that ``is_cut_off`` is no JSON, and left out.

        Raises GenerationFailed for a call whose arguments are no JSON object although it was ended.
        """
        for index, text in self._arguments.items():
            block = self.content[index]
            try:
                block["input"] = _object(text)
            except ValueError as error:
                if not is_cut_off:
                    raise GenerationFailed(
                        f"The model called {block['name']!r} with arguments that are no JSON object. Ask again, or "
                        "demand the call with 'tool_choice', which holds it to the schema."
                    ) from error
        return self.content

    def _enter(self, belongs_to: str | int, block: Json) -> Iterator[Json]:
        if self._open == belongs_to:
            return
        yield from self.close()
        self._open = belongs_to
        self.content.append(block)
        yield {"type": "content_block_start", "index": len(self.content) - 1, "content_block": dict(block)}

    def _add(self, key: str, kind: str, text: str) -> Json:
        self.content[-1][key] += text
        return self._delta({"type": kind, key: text})

    def _delta(self, delta: Json) -> Json:
        return {"type": "content_block_delta", "index": len(self.content) - 1, "delta": delta}


class MessageAnswer:
    """``whole`` or ``frames`` can be used once. ``max_tokens`` is what was asked for."""

    def __init__(self, answer: Answer, *, max_tokens: int) -> None:
        self._answer = answer
        self._max_tokens = max_tokens
        self._blocks = Blocks()
        self._finished: Finished | None = None
        self._id = f"msg_{uuid.uuid4().hex[:24]}"

    async def whole(self) -> Json:
        """The whole answer as one ``message``. Raises SlmregError."""
        async for _event in self._block_events():
            pass
        end = require_end(self._finished)
        content = self._blocks.whole(is_cut_off=end.finish_reason == "length")
        return {**self._message(content), **self._stop(end), "usage": self._usage(end)}

    def frames(self) -> AsyncIterator[bytes]:
        """The answer as named server-sent events, ending with ``message_stop``, or with an ``error`` if it breaks."""
        return ending_in_words(self._frames(), error_frame)

    async def aclose(self) -> None:
        await self._answer.aclose()

    async def _frames(self) -> AsyncIterator[bytes]:
        yield _frame({"type": "message_start", "message": self._message([])})
        # The prompt may take a while to read: say that something is coming.
        yield _frame({"type": "ping"})
        async for event in self._block_events():
            yield _frame(event)
        end = require_end(self._finished)
        yield _frame({"type": "message_delta", "delta": self._stop(end), "usage": self._usage(end)})
        yield _frame({"type": "message_stop"})

    async def _block_events(self) -> AsyncIterator[Json]:
        async for event in self._answer:
            if isinstance(event, Finished):
                self._finished = event
            else:
                for told in self._blocks.take(event):
                    yield told
        for told in self._blocks.close():
            yield told

    def _message(self, content: list[Json]) -> Json:
        """As it begins: how much of the prompt was read before shows only at the end."""
        return {
            "id": self._id,
            "type": "message",
            "role": "assistant",
            "model": self._answer.name,
            "content": content,
            "stop_reason": None,
            "stop_sequence": None,
            "usage": _usage_json(self._answer.prompt_tokens, cached=0, written=0),
        }

    def _stop(self, end: Finished) -> Json:
        reason = _STOP_REASONS.get(end.finish_reason, "end_turn")
        if end.finish_reason == "stop" and end.stop_string is not None:
            reason = "stop_sequence"
        if end.finish_reason == "length" and end.completion_tokens < self._max_tokens:
            reason = "model_context_window_exceeded"
        return {"stop_reason": reason, "stop_sequence": end.stop_string}

    def _usage(self, end: Finished) -> Json:
        usage = _usage_json(self._answer.prompt_tokens, cached=end.cached_tokens, written=end.completion_tokens)
        return {**usage, "output_tokens_details": {"thinking_tokens": end.reasoning_tokens}}


def error_frame(error: SlmregError) -> bytes:
    return _frame(anthropic_envelope(error.message, status=status_of(error), code=error.code))


def _frame(event: Json) -> bytes:
    return event_frame(event, event["type"])


def _usage_json(prompt_tokens: int, *, cached: int, written: int) -> Json:
    """Tokens of the prompt are those that were read, beside those that had been read before."""
    return {
        "input_tokens": prompt_tokens - cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": cached,
        "output_tokens": written,
    }


def _object(text: str) -> Json:
    """Raises ValueError for what is no JSON object."""
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError("no object")
    return value
