"""The messages of a chat: text, pictures, tool calls and their results.

Invariant: nothing that a message names is fetched; a picture comes inside the request, as a data URL.
"""

from __future__ import annotations

import binascii
import re
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, field_validator, model_validator

from daemon.api.fields import Strict

MAX_IMAGES = 16
IMAGE_TYPES = ("png", "jpeg", "webp")

_DATA_URL = re.compile(r"data:image/([a-z0-9.+-]+);base64,", re.IGNORECASE)


def check_picture(kind: str, data: str) -> None:
    """``kind`` follows "image/", ``data`` is in base64. Raises ValueError for what is no picture that can be used."""
    if kind not in IMAGE_TYPES:
        raise ValueError(f"pictures of type image/{kind} are not supported; these are: {', '.join(IMAGE_TYPES)}")
    try:
        picture = binascii.a2b_base64(data.encode(), strict_mode=True)
    except ValueError as error:  # binascii.Error, or characters beyond ASCII
        raise ValueError("the picture is not base64") from error
    if not picture:
        raise ValueError("the picture is empty")


class FunctionCall(Strict):
    name: str
    arguments: str = "{}"


class ToolCall(Strict):
    id: str = ""
    type: Literal["function"] = "function"
    function: FunctionCall
    index: int | None = None


class ImageUrl(Strict):
    url: str
    detail: Literal["auto", "low", "high"] | None = None

    @field_validator("url")
    @classmethod
    def _holds_the_picture(cls, url: str) -> str:
        head = _DATA_URL.match(url)
        if head is None:
            raise ValueError(
                "a picture has to come in the request itself, as data:image/png;base64,...; nothing is fetched from "
                "the network or from a disk"
            )
        check_picture(head[1].lower(), url[head.end() :])
        return url


class ContentPart(Strict):
    """A text, a picture, or what an assistant said instead of an answer: the one that ``type`` says."""

    type: Literal["text", "image_url", "refusal"]
    text: str | None = None
    image_url: ImageUrl | None = None
    refusal: str | None = None

    @model_validator(mode="after")
    def _is_what_it_says(self) -> ContentPart:
        given = [name for name in ("text", "image_url", "refusal") if getattr(self, name) is not None]
        if given != [self.type]:
            raise ValueError(f"a part of type {self.type} has {self.type!r} and nothing else")
        return self


class ChatMessage(BaseModel):
    """One message. Clients send back what they were sent, so unknown keys of a message are left out, not refused."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[ContentPart] | None = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None

    @model_validator(mode="after")
    def _says_something(self) -> ChatMessage:
        if self.content is None and not (self.role == "assistant" and self.tool_calls):
            raise ValueError(f"a message of role {self.role} needs content")
        if self.role != "assistant" and any(part.type == "refusal" for part in self._parts):
            raise ValueError(f"only messages of the assistant can refuse, and this one's role is {self.role}")
        if self.images and self.role != "user":
            raise ValueError(f"only messages of the user can have pictures, and this one's role is {self.role}")
        return self

    @property
    def text(self) -> str:
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text or part.refusal or "" for part in self._parts)

    @property
    def images(self) -> int:
        return sum(part.type == "image_url" for part in self._parts)

    @property
    def _parts(self) -> list[ContentPart]:
        return self.content if isinstance(self.content, list) else []

    def as_dict(self) -> dict[str, Any]:
        """For the chat template, which knows no ``developer`` role, and content parts only where pictures are."""
        message: dict[str, Any] = {"role": "system" if self.role == "developer" else self.role, "content": self.text}
        if self.images and isinstance(self.content, list):
            message["content"] = [part.model_dump(exclude_none=True) for part in self.content]
        if self.name is not None:
            message["name"] = self.name
        if self.tool_calls:
            message["tool_calls"] = [call.model_dump(exclude={"index"}) for call in self.tool_calls]
        if self.tool_call_id is not None:
            message["tool_call_id"] = self.tool_call_id
        return message
