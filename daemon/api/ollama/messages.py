"""Ollama's messages in OpenAI's words: pictures as data URLs, arguments of calls as text, calls with ids.

Ollama's calls need no ids, and some chat templates want them: they are numbered, and each result gets the id of the
first open call of its tool. The same chat gets the same ids each time, so that what was read of it can be used again.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from registry.errors import InvalidRequest

_STARTS = {"png": b"\x89PNG\r\n\x1a\n", "jpeg": b"\xff\xd8\xff"}
# Of a picture in base64: 12 bytes, by which its type can be told.
_HEAD_CHARACTERS = 16


class _Lenient(BaseModel):
    """Clients send back what they were sent: unknown keys are left out, not refused, and a null says nothing."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, body: Any) -> Any:
        return {key: value for key, value in body.items() if value is not None} if isinstance(body, Mapping) else body


class CalledFunction(_Lenient):
    name: str
    arguments: dict[str, Any] = Field(default_factory=dict)


class OllamaCall(_Lenient):
    function: CalledFunction
    id: str | None = None


class OllamaMessage(_Lenient):
    """``thinking`` of earlier answers is left out: reasoning models are not shown it again."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str = ""
    images: list[str] = Field(default_factory=list)
    tool_calls: list[OllamaCall] = Field(default_factory=list)
    tool_name: str | None = None
    tool_call_id: str | None = None


def openai_messages(messages: Sequence[OllamaMessage]) -> list[dict[str, Any]]:
    """Raises InvalidRequest for a picture of no known kind."""
    open_calls: list[tuple[str, str]] = []  # ids and names, oldest first
    made: list[dict[str, Any]] = []
    number = 0
    for message in messages:
        converted: dict[str, Any] = {"role": message.role, "content": content_of(message.content, message.images)}
        if message.tool_calls:
            numbered = enumerate(message.tool_calls, start=number)
            calls = [(call.id or f"call_{place}", call.function) for place, call in numbered]
            number += len(calls)
            open_calls += [(call_id, function.name) for call_id, function in calls]
            converted["tool_calls"] = [_call(call_id, function) for call_id, function in calls]
        if message.role == "tool":
            converted |= _answered(message, open_calls)
        made.append(converted)
    return made


def content_of(text: str, images: Sequence[str]) -> str | list[dict[str, Any]]:
    """Raises InvalidRequest for a picture of no known kind."""
    if not images:
        return text
    pictures = [{"type": "image_url", "image_url": {"url": _data_url(image)}} for image in images]
    return [*pictures, {"type": "text", "text": text}]


def _call(call_id: str, function: CalledFunction) -> dict[str, Any]:
    arguments = json.dumps(function.arguments, ensure_ascii=False)
    return {"id": call_id, "type": "function", "function": {"name": function.name, "arguments": arguments}}


def _answered(message: OllamaMessage, open_calls: list[tuple[str, str]]) -> dict[str, Any]:
    """What a tool's message says of the call that it answers, which is then no longer open."""
    fits = (
        (call_id, name)
        for call_id, name in open_calls
        if message.tool_call_id in (None, call_id) and message.tool_name in (None, name)
    )
    found = next(fits, None)
    if found is not None:
        open_calls.remove(found)
    call_id, name = found or (message.tool_call_id, message.tool_name)
    return {key: value for key, value in (("tool_call_id", call_id), ("name", name)) if value is not None}


def _data_url(image: str) -> str:
    """Ollama's pictures come without their type."""
    try:
        head = base64.b64decode(image[:_HEAD_CHARACTERS].encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        head = b""
    kind = next((kind for kind, start in _STARTS.items() if head.startswith(start)), None)
    if head.startswith(b"RIFF") and head.endswith(b"WEBP"):
        kind = "webp"
    if kind is None:
        raise InvalidRequest("One of the 'images' is no PNG, JPEG or WebP picture in base64.", param="images")
    return f"data:image/{kind};base64,{image}"
