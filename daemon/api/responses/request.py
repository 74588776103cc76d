"""The bodies of POST /v1/responses and /v1/responses/input_tokens, and the chat that they ask for.

Invariant: as for chats, a parameter that cannot be honoured is an error that names it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, TypeAdapter, ValidationError, field_validator, model_validator

from daemon import lenience
from daemon.api.chat import ChatRequest
from daemon.api.chat_sampling import MAX_TOKEN_ID, MAX_TOP_LOGPROBS
from daemon.api.chat_tools import MAX_TOOLS
from daemon.api.fields import JsonSchema, KeepAliveField, RequestBody, Strict
from daemon.api.responses.items import Item, MessageItem, chat_messages
from daemon.bounds import MAX_SECONDS
from registry.errors import InvalidRequest, UnsupportedParameter
from selector.policy import Policy

LOGPROBS = "message.output_text.logprobs"
# Parameters that nothing here can honour, with the values that ask for nothing.
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "background": (False,),
    "context_management": ([],),
    "conversation": (),
    "max_tool_calls": (),
    "moderation": (),
    "prompt": (),
    "truncation": ("disabled",),
}
# Of these, what changes nothing here: no tools run on this side, and a conversation that is too long is always refused.
HINTS = frozenset({"context_management", "max_tool_calls", "truncation"})
# The same inside of others: how wordy, and in which form what the model thought is told, which is always in full.
HINTS_INSIDE = {("text", "verbosity"): ("medium",), ("reasoning", "summary"): ("auto",)}
# Asked for by clients that keep the conversation themselves; what the model thought before is left out of it anyway.
ENCRYPTED = "reasoning.encrypted_content"
# What the fields of a chat are called here.
NAMES = {
    "max_tokens": "max_output_tokens",
    "messages": "input",
    "reasoning_effort": "reasoning.effort",
    "response_format": "text.format",
}
_ITEMS = TypeAdapter(list[Item])


# Told apart by what is given, so that what is wrong with an item is said, and not that it is no text.
Input = Annotated[
    Annotated[str, Tag("[text]")] | Annotated[list[Item], Tag("[items]")],
    Discriminator(lambda given: "[text]" if isinstance(given, str) else "[items]"),
]


class TextFormat(Strict):
    type: Literal["text", "json_object", "json_schema"] = "text"
    name: str | None = None
    description: str | None = None
    content: JsonSchema | None = Field(None, alias="schema")
    strict: bool | None = None

    def as_response_format(self) -> dict[str, Any]:
        named = {"name": self.name, "description": self.description, "schema": self.content, "strict": self.strict}
        given = {key: value for key, value in named.items() if value is not None}
        return {"type": self.type, **({"json_schema": given} if given else {})}


class TextOptions(Strict):
    format: TextFormat = TextFormat()
    verbosity: Literal["medium"] | None = None


class Reasoning(Strict):
    """``summary``: there are none; what a model thinks is told in full."""

    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh"] | None = None
    summary: Literal["auto"] | None = None


class FunctionTool(Strict):
    type: Literal["function"]
    name: str = Field(min_length=1, max_length=128)
    description: str | None = None
    parameters: JsonSchema | None = None
    strict: bool | None = None


class ChosenFunction(Strict):
    type: Literal["function"]
    name: str


class ChosenAmong(Strict):
    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: list[ChosenFunction] = Field(min_length=1, max_length=MAX_TOOLS)


class EventOptions(Strict):
    include_obfuscation: Literal[False] = False


class PromptFields(RequestBody):
    """What a model reads, and what the choice of one depends on."""

    refused = NEUTRAL
    hints = HINTS
    hints_inside = HINTS_INSIDE

    model: str = Field("auto", min_length=1, max_length=512)
    input: Input
    instructions: str | None = None
    previous_response_id: str | None = Field(None, max_length=128)
    text: TextOptions = TextOptions()
    reasoning: Reasoning = Reasoning()
    tools: list[FunctionTool] = Field(default_factory=list, max_length=MAX_TOOLS)
    tool_choice: Literal["auto", "none", "required"] | ChosenFunction | ChosenAmong = "auto"
    parallel_tool_calls: bool = True
    task: str | None = Field(None, max_length=64)
    policy: Annotated[Policy, Field(strict=False)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _only_functions(cls, body: Any) -> Any:
        """Raises UnsupportedParameter."""
        tools = body.get("tools") if isinstance(body, dict) else None
        for tool in tools if isinstance(tools, list) else ():
            if isinstance(tool, dict) and tool.get("type") != "function":
                raise UnsupportedParameter(
                    f"Tools of type {tool.get('type')!r:.60} are not there: only functions of your own can be offered.",
                    param="tools",
                )
        return body

    @property
    def items(self) -> list[Item]:
        """The input; a text is a message of the user."""
        return [MessageItem(role="user", content=self.input)] if isinstance(self.input, str) else self.input

    def as_chat(self, before: Sequence[dict[str, Any]] = ()) -> ChatRequest:
        """The chat that goes on from the items ``before``. Raises InvalidRequest, UnsupportedParameter."""
        messages = chat_messages([*_ITEMS.validate_python(list(before)), *self.items])
        if self.instructions is not None:
            messages.insert(0, {"role": "system", "content": self.instructions})
        try:
            return ChatRequest.model_validate({**self._fields(), "messages": messages})
        except ValidationError as error:
            raise _in_our_words(error) from error

    def _fields(self) -> dict[str, Any]:
        """Of the ``ChatRequest``, but for its messages."""
        return {
            "model": self.model,
            "response_format": self.text.format.as_response_format(),
            "reasoning_effort": self.reasoning.effort,
            "tools": [_chat_tool(tool) for tool in self.tools],
            "tool_choice": self._chat_tool_choice(),
            **{name: getattr(self, name) for name in ("parallel_tool_calls", "task", "policy")},
        }

    def _chat_tool_choice(self) -> Any:
        match self.tool_choice:
            case ChosenFunction():
                return _chat_choice(self.tool_choice)
            case ChosenAmong(mode=mode, tools=tools):
                return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": [*map(_chat_choice, tools)]}}
            case str(word):
                return word


class InputTokensRequest(PromptFields):
    """OpenAI's request for the size of a prompt."""


class ResponsesRequest(PromptFields):
    """OpenAI's request, with what a chat may have beside it (``task``, ``policy``, ``keep_alive``, ``top_k``, ...)."""

    store: bool = True
    stream: bool = False
    stream_options: EventOptions | None = None
    include: list[Literal["message.output_text.logprobs"]] = Field(default_factory=list)
    max_output_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = Field(None, ge=0, le=MAX_TOKEN_ID)
    min_p: float | None = Field(None, ge=0, le=1)
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    top_logprobs: int = Field(0, ge=0, le=MAX_TOP_LOGPROBS)
    keep_alive: KeepAliveField | None = Field(None, description='seconds, or text such as "5m"; -1 is for ever')
    deadline_s: float | None = Field(None, gt=0, le=MAX_SECONDS)
    # These say who asks; nothing in the answer depends on them.
    metadata: dict[str, str] = Field(default_factory=dict)
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    service_tier: str | None = None

    @field_validator("include", mode="before")
    @classmethod
    def _nothing_encrypted(cls, include: Any) -> Any:
        if isinstance(include, list) and ENCRYPTED in include and lenience.leave_out(f"include.{ENCRYPTED}"):
            return [each for each in include if each != ENCRYPTED]
        return include

    @property
    def has_logprobs(self) -> bool:
        return LOGPROBS in self.include or self.top_logprobs > 0

    def as_chat(self, before: Sequence[dict[str, Any]] = ()) -> ChatRequest:
        return super().as_chat(before).model_copy(update={"keep_alive": self.keep_alive})

    def _fields(self) -> dict[str, Any]:
        drawn = ("temperature", "top_p", "top_k", "min_p", "seed", "top_logprobs", "deadline_s")
        return {
            **super()._fields(),
            **{name: getattr(self, name) for name in drawn},
            "max_tokens": self.max_output_tokens,
            "logprobs": self.has_logprobs,
        }


def _chat_choice(chosen: ChosenFunction) -> dict[str, Any]:
    return {"type": "function", "function": {"name": chosen.name}}


def _chat_tool(tool: FunctionTool) -> dict[str, Any]:
    return {"type": "function", "function": tool.model_dump(exclude={"type"}, exclude_none=True)}


def _in_our_words(error: ValidationError) -> InvalidRequest:
    problem = error.errors()[0]
    first, *rest = map(str, problem["loc"] or ("input",))
    param = ".".join((NAMES.get(first, first), *rest))
    return InvalidRequest(f"{param}: {str(problem['msg']).removeprefix('Value error, ')}.", param=param)
