"""One of the answers to a request (``n``), put together from the worker's deltas."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field

from daemon.pool.protocol import Delta, TokenLogprob, ToolCallDelta
from daemon.shapes import Json

# OpenAI's value for a token that is very unlikely.
LEAST_LOGPROB = -9999.0


@dataclass(slots=True)
class _Call:
    """A tool call as far as it has come."""

    name: str
    arguments: str
    id: str = field(default_factory=lambda: f"call_{uuid.uuid4().hex[:24]}")

    def as_json(self) -> Json:
        return {"id": self.id, "type": "function", "function": {"name": self.name, "arguments": self.arguments}}


class Choice:
    """What has come of one answer. ``reasoning_content`` is no part of OpenAI's API; DeepSeek and vLLM call it so."""

    def __init__(self, index: int, *, has_logprobs: bool = False) -> None:
        self.index = index
        self._has_logprobs = has_logprobs
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._calls: dict[int, _Call] = {}
        self._logprobs: list[Json] = []

    def take(self, delta: Delta) -> list[Json]:
        """Keep ``delta``, and say it in chunks."""
        logprobs = self._logprobs_of(delta)
        self._text.append(delta.text)
        self._reasoning.append(delta.reasoning)
        self._logprobs += logprobs
        return list(self._chunks(delta, logprobs))

    def opening(self) -> Json:
        return self._chunk({"role": "assistant", "content": "", "refusal": None})

    def closing(self, finish_reason: str) -> Json:
        return {**self._chunk({}), "finish_reason": finish_reason}

    def whole(self, finish_reason: str) -> Json:
        content, reasoning = "".join(self._text), "".join(self._reasoning)
        calls = [call.as_json() for _index, call in sorted(self._calls.items())]
        message: Json = {"role": "assistant", "content": content or (None if calls else ""), "refusal": None}
        if reasoning:
            message["reasoning_content"] = reasoning
        if calls:
            message["tool_calls"] = calls
        return {
            "index": self.index,
            "message": message,
            "logprobs": _logprobs_json(self._logprobs) if self._has_logprobs else None,
            "finish_reason": finish_reason,
        }

    def _chunks(self, delta: Delta, logprobs: list[Json]) -> Iterator[Json]:
        if delta.reasoning:
            yield self._chunk({"reasoning_content": delta.reasoning})
        if delta.text or logprobs:
            yield self._chunk({"content": delta.text}, logprobs)
        if delta.tool_calls:
            yield self._chunk({"tool_calls": [self._piece(piece) for piece in delta.tool_calls]})

    def _piece(self, piece: ToolCallDelta) -> Json:
        """A tool call's first piece says who it is, the others only add to its arguments."""
        call = self._calls.get(piece.index)
        if call is not None:
            call.arguments += piece.arguments
            return {"index": piece.index, "function": {"arguments": piece.arguments}}
        call = self._calls[piece.index] = _Call(piece.name or "", piece.arguments)
        return {"index": piece.index, **call.as_json()}

    def _logprobs_of(self, delta: Delta) -> list[Json]:
        """Those of the content: OpenAI has none for reasoning and tool calls."""
        is_content = bool(delta.text) or not (delta.reasoning or delta.tool_calls)
        return [logprob_json(token) for token in delta.logprobs] if self._has_logprobs and is_content else []

    def _chunk(self, delta: Json, logprobs: list[Json] | None = None) -> Json:
        return {
            "index": self.index,
            "delta": delta,
            "logprobs": _logprobs_json(logprobs) if logprobs else None,
            "finish_reason": None,
        }


def _logprobs_json(tokens: list[Json]) -> Json:
    return {"content": tokens, "refusal": None}


def logprob_json(token: TokenLogprob) -> Json:
    """A token as OpenAI and Ollama tell of it."""
    return {**_token_json(token), "top_logprobs": [_token_json(other) for other in token.top]}


def _token_json(token: TokenLogprob) -> Json:
    # JSON has no minus infinity.
    return {"token": token.token, "bytes": token.bytes, "logprob": max(LEAST_LOGPROB, token.logprob)}
