"""The turns of a conversation as Anthropic has them: text, documents, pictures, calls, their results, and thoughts.

Invariant: what a turn shows or says either reaches the model or is refused by name; only thoughts of earlier answers
are left out, as chat templates leave them out. ``cache_control`` asks for nothing here: whatever a model has read is
kept for prompts that begin like it, without being asked.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from daemon.api.chat_messages import check_picture
from daemon.api.fields import not_too_deep
from registry.errors import InvalidRequest

# Between blocks of text, which a chat template has no form for.
BETWEEN_TEXTS = "\n\n"


class Block(BaseModel):
    """Clients send back what they were sent, so unknown keys of a block are left out, not refused."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)


class TextBlock(Block):
    type: Literal["text"]
    text: str


class ImageSource(Block):
    type: Literal["base64"]
    media_type: str
    data: str

    @field_validator("type", mode="before")
    @classmethod
    def _is_in_the_request(cls, kind: Any) -> Any:
        if kind in ("url", "file"):
            raise ValueError("a picture has to come in the request itself, in base64; nothing is fetched")
        return kind

    @field_validator("data")
    @classmethod
    def _is_a_picture(cls, data: str, info: ValidationInfo) -> str:
        kind, _, name = str(info.data.get("media_type", "image/png")).partition("/")
        check_picture(name if kind == "image" else f"{kind}/{name}", data)
        return data


class ImageBlock(Block):
    type: Literal["image"]
    source: ImageSource

    @property
    def url(self) -> str:
        return f"data:{self.source.media_type};base64,{self.source.data}"


class Citations(Block):
    enabled: Literal[False] = False

    @field_validator("enabled", mode="before")
    @classmethod
    def _are_not_asked_for(cls, enabled: Any) -> Any:
        if enabled is True:
            raise ValueError("models here do not say where in a document they read something. Leave 'citations' out")
        return enabled


class DocumentSource(Block):
    type: Literal["text"]
    media_type: Literal["text/plain"] = "text/plain"
    data: str

    @model_validator(mode="before")
    @classmethod
    def _is_text(cls, source: Any) -> Any:
        kind = source.get("type") if isinstance(source, dict) else None
        if isinstance(kind, str) and kind != "text":
            raise ValueError(
                f"documents of the source {kind!r:.60} cannot be read here: nothing is fetched, and no file is taken "
                "apart. Send the text of it, as a source of the type text"
            )
        return source


class DocumentBlock(Block):
    """A text with a name. What it says is read, where in it an answer comes from is not told: no citations."""

    type: Literal["document"]
    source: DocumentSource
    title: str | None = None
    context: str | None = None
    citations: Citations | None = None

    @property
    def text(self) -> str:
        """What is said of it before it, each in a line, as there is no other place for that."""
        said = (f"Document: {self.title}" if self.title else None, self.context or None, self.source.data)
        return "\n".join(part for part in said if part is not None)


class ToolUseBlock(Block):
    type: Literal["tool_use"]
    id: str
    name: str
    input: Annotated[dict[str, Any], AfterValidator(not_too_deep)] = Field(default_factory=dict)


class ToolResultBlock(Block):
    """Its content can only be text: chat templates have no place for a picture in a result."""

    type: Literal["tool_result"]
    tool_use_id: str
    content: str | list[TextBlock] = ""
    is_error: bool = False

    @property
    def text(self) -> str:
        """That it is an error has no other place than its text."""
        text = self.content if isinstance(self.content, str) else BETWEEN_TEXTS.join(b.text for b in self.content)
        return f"Error: {text}" if self.is_error else text


class ThinkingBlock(Block):
    type: Literal["thinking", "redacted_thinking"]


AnyBlock = Annotated[
    TextBlock | ImageBlock | DocumentBlock | ToolUseBlock | ToolResultBlock | ThinkingBlock,
    Field(discriminator="type"),
]


class Turn(Block):
    role: Literal["user", "assistant"]
    content: str | list[AnyBlock]

    @model_validator(mode="after")
    def _belongs_to_its_role(self) -> Turn:
        foreign = (ToolUseBlock, ThinkingBlock) if self.role == "user" else (ToolResultBlock, ImageBlock, DocumentBlock)
        wrong = next((block.type for block in self.blocks if isinstance(block, foreign)), None)
        if wrong is not None:
            raise ValueError(f"a turn of the {self.role} has no {wrong}")
        return self

    @property
    def blocks(self) -> Sequence[AnyBlock]:
        if isinstance(self.content, str):
            return (TextBlock(type="text", text=self.content),)
        return self.content


def as_chat(turns: Sequence[Turn]) -> tuple[list[dict[str, Any]], str]:
    """OpenAI's messages, and how the answer begins: what a last turn of the assistant says; else "".

    Turns of the same role that follow each other are one. Raises InvalidRequest.
    """
    together = [
        (role, [block for turn in group for block in turn.blocks])
        for role, group in groupby(turns, key=lambda turn: turn.role)
    ]
    prefill = ""
    if together[-1][0] == "assistant":
        blocks = together.pop()[1]
        if not together or any(isinstance(block, ToolUseBlock) for block in blocks):
            raise InvalidRequest(
                "'messages' has to end with a turn of the user, or with the beginning of an answer to one.",
                param="messages",
            )
        prefill = _text_of(blocks)
    return [message for role, blocks in together for message in _messages(role, blocks)], prefill


def _messages(role: str, blocks: Sequence[AnyBlock]) -> Iterator[dict[str, Any]]:
    """Of one turn: results of tools are messages of their own."""
    if role == "assistant":
        calls = [_call(block) for block in blocks if isinstance(block, ToolUseBlock)]
        yield {"role": role, "content": _text_of(blocks), **({"tool_calls": calls} if calls else {})}
        return
    for is_result, group in groupby(blocks, key=lambda block: isinstance(block, ToolResultBlock)):
        if is_result:
            results = [block for block in group if isinstance(block, ToolResultBlock)]
            yield from ({"role": "tool", "tool_call_id": each.tool_use_id, "content": each.text} for each in results)
        else:
            yield {"role": role, "content": _content(list(group))}


def _content(blocks: Sequence[AnyBlock]) -> str | list[dict[str, Any]]:
    if not any(isinstance(block, ImageBlock) for block in blocks):
        return _text_of(blocks)
    return [
        {"type": "image_url", "image_url": {"url": block.url}}
        if isinstance(block, ImageBlock)
        else {"type": "text", "text": block.text}
        for block in blocks
        if isinstance(block, TextBlock | DocumentBlock | ImageBlock)
    ]


def _text_of(blocks: Sequence[AnyBlock]) -> str:
    return BETWEEN_TEXTS.join(block.text for block in blocks if isinstance(block, TextBlock | DocumentBlock))


def _call(block: ToolUseBlock) -> dict[str, Any]:
    arguments = json.dumps(block.input, ensure_ascii=False)
    return {"id": block.id, "type": "function", "function": {"name": block.name, "arguments": arguments}}
