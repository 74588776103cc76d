"""What a request of the Responses API brings in: items, and the messages of a chat that they are.

Clients send back what they were sent, so unknown keys of an item are left out, not refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag

Message = dict[str, Any]


class _Item(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)


class TextPart(_Item):
    """What a client writes, or gives back of an answer."""

    type: Literal["input_text", "output_text"]
    text: str

    def as_part(self) -> Message:
        return {"type": "text", "text": self.text}


class ImagePart(_Item):
    type: Literal["input_image"]
    image_url: str
    detail: Literal["auto", "low", "high"] | None = None

    def as_part(self) -> Message:
        return {"type": "image_url", "image_url": {"url": self.image_url, "detail": self.detail or "auto"}}


class RefusalPart(_Item):
    type: Literal["refusal"]
    refusal: str

    def as_part(self) -> Message:
        return {"type": "text", "text": self.refusal}


def _that_can_be_read(part: Any) -> Any:
    if isinstance(part, dict) and part.get("type") == "input_file":
        raise ValueError(
            "a part of type 'input_file' cannot be read here: nothing is fetched, and no file is taken apart. Send its "
            "text as 'input_text', a picture as 'input_image'"
        )
    return part


_Part = Annotated[TextPart | ImagePart | RefusalPart, Field(discriminator="type"), BeforeValidator(_that_can_be_read)]


class MessageItem(_Item):
    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    content: str | list[_Part]

    def as_message(self) -> Message:
        content = self.content
        parts = content if isinstance(content, str) else [part.as_part() for part in content]
        return {"role": self.role, "content": parts}


class CallItem(_Item):
    """A call that the model made."""

    type: Literal["function_call"]
    call_id: str
    name: str
    arguments: str

    def as_call(self) -> Message:
        return {"id": self.call_id, "type": "function", "function": {"name": self.name, "arguments": self.arguments}}


class CallOutputItem(_Item):
    type: Literal["function_call_output"]
    call_id: str
    output: str | list[Annotated[TextPart, BeforeValidator(_that_can_be_read)]]

    def as_message(self) -> Message:
        text = self.output if isinstance(self.output, str) else "".join(part.text for part in self.output)
        return {"role": "tool", "tool_call_id": self.call_id, "content": text}


class ReasoningItem(_Item):
    """What the model thought before. Chat templates leave that out of later turns, and so do we."""

    type: Literal["reasoning"]


KINDS = ("message", "function_call", "function_call_output", "reasoning")


def _kind(item: Any) -> str:
    kind = item.get("type", "message") if isinstance(item, dict) else getattr(item, "type", "message")
    return str(kind)


def _of_known_kind(item: Any) -> Any:
    if isinstance(item, dict) and _kind(item) == "item_reference":
        raise ValueError(
            "an 'item_reference' names what another server keeps. Send the item itself, or go on from the answer that "
            "it stands in with 'previous_response_id'"
        )
    if isinstance(item, dict) and _kind(item) not in KINDS:
        raise ValueError(f"items of type {_kind(item)!r:.60} are not supported; these are: {', '.join(KINDS)}")
    return item


Item = Annotated[
    Annotated[MessageItem, Tag("message")]
    | Annotated[CallItem, Tag("function_call")]
    | Annotated[CallOutputItem, Tag("function_call_output")]
    | Annotated[ReasoningItem, Tag("reasoning")],
    Discriminator(_kind),
    BeforeValidator(_of_known_kind),
]


def chat_messages(items: Iterable[Item]) -> list[Message]:
    """Calls belong to the message of the assistant that they follow, or to one of their own."""
    messages: list[Message] = []
    for item in items:
        if isinstance(item, CallItem):
            if not messages or messages[-1]["role"] != "assistant":
                messages.append({"role": "assistant", "content": None})
            messages[-1].setdefault("tool_calls", []).append(item.as_call())
        elif not isinstance(item, ReasoningItem):
            messages.append(item.as_message())
    return messages
