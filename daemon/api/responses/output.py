"""The items of an answer, and the events that tell how they come to be.

Invariant: the events add up to the items, and each item that was begun is finished before the next one begins.
"""

from __future__ import annotations

import copy
import uuid
from collections.abc import Iterator

from daemon.api.choices import logprob_json
from daemon.pool.protocol import Delta, ToolCallDelta
from daemon.shapes import Json


class Output:
    """Put together from the worker's deltas. Events come without their sequence numbers."""

    def __init__(self, *, has_logprobs: bool) -> None:
        self._has_logprobs = has_logprobs
        self._items: list[Json] = []
        self._open: Json | None = None
        self._call: int | None = None

    @property
    def items(self) -> list[Json]:
        return self._items

    def take(self, delta: Delta) -> Iterator[Json]:
        """What ``delta`` adds."""
        if delta.reasoning:
            yield from self._add_text("reasoning", delta.reasoning, [])
        if delta.text or (delta.logprobs and not delta.tool_calls and not delta.reasoning):
            tokens = [logprob_json(token) for token in delta.logprobs] if self._has_logprobs else []
            yield from self._add_text("message", delta.text, tokens)
        for piece in delta.tool_calls:
            yield from self._add_call(piece)

    def finish(self, status: str = "completed") -> Iterator[Json]:
        """Nothing more comes; ``status`` is that of the last item."""
        yield from self._close(status)

    def _add_text(self, kind: str, text: str, logprobs: list[Json]) -> Iterator[Json]:
        if self._open is None or self._open["type"] != kind:
            yield from self._close()
            yield from self._begin(_message() if kind == "message" else _reasoning())
            yield {"type": "response.content_part.added", **self._part_place(), "part": copy.deepcopy(self._part())}
        part = self._part()
        part["text"] += text
        more: Json = {}
        if kind == "message":
            part["logprobs"] += logprobs
            more = {"logprobs": logprobs}
        yield {"type": f"{_event_of(part)}.delta", **self._part_place(), "delta": text, **more}

    def _add_call(self, piece: ToolCallDelta) -> Iterator[Json]:
        if self._call != piece.index:
            yield from self._close()
            self._call = piece.index
            yield from self._begin(_call(piece.name or ""))
        item = self._opened()
        if piece.arguments:
            item["arguments"] += piece.arguments
            yield {"type": "response.function_call_arguments.delta", **self._place(), "delta": piece.arguments}

    def _begin(self, item: Json) -> Iterator[Json]:
        self._items.append(item)
        self._open = item
        empty = {**item, "content": []} if "content" in item else dict(item)
        yield {"type": "response.output_item.added", "output_index": len(self._items) - 1, "item": empty}

    def _close(self, status: str = "completed") -> Iterator[Json]:
        item = self._open
        if item is None:
            return
        item["status"] = status
        if item["type"] == "function_call":
            done = {"name": item["name"], "arguments": item["arguments"]}
            yield {"type": "response.function_call_arguments.done", **self._place(), **done}
        else:
            part = self._part()
            more = {"logprobs": part["logprobs"]} if "logprobs" in part else {}
            yield {"type": f"{_event_of(part)}.done", **self._part_place(), "text": part["text"], **more}
            yield {"type": "response.content_part.done", **self._part_place(), "part": part}
        yield {"type": "response.output_item.done", "output_index": len(self._items) - 1, "item": item}
        self._open = self._call = None

    def _opened(self) -> Json:
        if self._open is None:
            raise RuntimeError("no item is open")
        return self._open

    def _part(self) -> Json:
        part: Json = self._opened()["content"][0]
        return part

    def _place(self) -> Json:
        return {"item_id": self._opened()["id"], "output_index": len(self._items) - 1}

    def _part_place(self) -> Json:
        return {**self._place(), "content_index": 0}


def _message() -> Json:
    part: Json = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
    return {"id": _id("msg"), "type": "message", "status": "in_progress", "role": "assistant", "content": [part]}


def _reasoning() -> Json:
    part: Json = {"type": "reasoning_text", "text": ""}
    return {"id": _id("rs"), "type": "reasoning", "status": "in_progress", "summary": [], "content": [part]}


def _call(name: str) -> Json:
    identity = {"id": _id("fc"), "call_id": _id("call"), "name": name}
    return {**identity, "type": "function_call", "status": "in_progress", "arguments": ""}


def _event_of(part: Json) -> str:
    return f"response.{part['type']}"


def _id(kind: str) -> str:
    return f"{kind}_{uuid.uuid4().hex}"
