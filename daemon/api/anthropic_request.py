"""The bodies of POST /v1/messages and /v1/messages/count_tokens, and the chat that they ask for.

Invariant: there is one kind of chat. A request of this API becomes a ``ChatRequest``, and what that cannot honour is an
error that names it here.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from daemon.api.anthropic_messages import BETWEEN_TEXTS, TextBlock, Turn, as_chat
from daemon.api.chat import ChatRequest
from daemon.api.chat_sampling import MAX_STOP_STRINGS, MAX_TOKEN_ID
from daemon.api.chat_tools import MAX_TOOLS
from daemon.api.fields import JsonSchema, RequestBody, Strict
from daemon.pool.protocol import Generate
from registry.errors import InvalidRequest

# What the same thing is called in OpenAI's chats, where it is another word.
NAMES = {
    "response_format": "output_config.format",
    "reasoning_effort": "thinking",
}
# Parameters that nothing here can honour, with the values that ask for nothing.
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "container": (),
    "context_management": ({}, {"edits": []}),
    "diagnostics": (),
    "inference_geo": (),
    "mcp_servers": ([],),
    "speed": ("standard",),
    "user_profile_id": (),
}
# Of these, what changes nothing in an answer.
HINTS = frozenset({"context_management", "diagnostics", "speed", "user_profile_id"})
# The same inside of another: how much is spent on an answer, and whether what the model thought is shown.
HINTS_INSIDE = {("output_config", "effort"): ("high",), ("thinking", "display"): ("summarized",)}
_LEAST_BUDGET = 1024  # Anthropic's
_CHOICES = {"auto": "auto", "any": "required", "none": "none"}


class CacheControl(Strict):
    type: Literal["ephemeral"]
    ttl: Literal["5m", "1h"] | None = None


class ClientTool(Strict):
    """One that the client runs. ``input_schema`` is held to where a call is demanded."""

    name: str = Field(pattern="^[a-zA-Z0-9_-]{1,128}$")
    type: Literal["custom"] | None = None
    description: str | None = None
    input_schema: JsonSchema
    strict: bool | None = None
    cache_control: CacheControl | None = None
    # Arguments are always sent as they are written.
    eager_input_streaming: bool | None = None

    @model_validator(mode="before")
    @classmethod
    def _is_the_clients(cls, tool: Any) -> Any:
        kind = tool.get("type") if isinstance(tool, dict) else None
        if kind not in (None, "custom"):
            raise ValueError(f"a tool of type {kind!r} runs on Anthropic's servers, which are not here")
        return tool


class ToolChoice(Strict):
    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool = False

    @model_validator(mode="after")
    def _names_a_tool(self) -> ToolChoice:
        if (self.type == "tool") != (self.name is not None):
            raise ValueError("'name' belongs to the type tool, and to no other")
        return self


class Thinking(Strict):
    """``budget_tokens`` is not held to apart: ``max_tokens`` bounds thoughts and answer together."""

    type: Literal["enabled", "disabled", "adaptive"]
    budget_tokens: int | None = Field(None, ge=_LEAST_BUDGET)
    display: Literal["summarized"] | None = None

    @model_validator(mode="after")
    def _has_its_budget(self) -> Thinking:
        if (self.type == "enabled") != (self.budget_tokens is not None):
            raise ValueError("'budget_tokens' belongs to the type enabled, and to no other")
        return self


class OutputFormat(Strict):
    type: Literal["json_schema"]
    content: JsonSchema = Field(alias="schema")


class OutputConfig(Strict):
    format: OutputFormat | None = None
    # The default: it asks for nothing.
    effort: Literal["high"] | None = None


class Metadata(Strict):
    user_id: str | None = None


class PromptFields(RequestBody):
    """What a model reads. ``cache_control`` changes nothing: what was read is kept anyway."""

    refused = NEUTRAL
    hints = HINTS
    hints_inside = HINTS_INSIDE

    model: str = Field("auto", min_length=1, max_length=512)
    messages: list[Turn] = Field(min_length=1)
    system: str | list[TextBlock] | None = None
    tools: list[ClientTool] = Field(default_factory=list, max_length=MAX_TOOLS)
    tool_choice: ToolChoice | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    cache_control: CacheControl | None = None

    def chat(self) -> tuple[ChatRequest, str]:
        """The same as OpenAI has it, and how the answer begins. Raises InvalidRequest."""
        messages, prefill = as_chat(self.messages)
        if prefill and self.thinking is not None and self.thinking.type == "enabled":
            raise InvalidRequest(
                "An answer that is to begin with thoughts cannot be begun in 'messages'. End them with a turn of the "
                "user, or leave 'thinking' out.",
                param="messages",
            )
        fields = {**self._fields(), "messages": [*self._system(), *messages]}
        try:
            return ChatRequest.model_validate(fields), prefill
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"]))
            raise InvalidRequest(f"{where}: {first['msg']}.", param=where) from error

    def _fields(self) -> dict[str, Any]:
        """Of the ``ChatRequest``, but for its messages."""
        fields: dict[str, Any] = {"model": self.model, "tools": [_openai_tool(tool) for tool in self.tools]}
        if self.tool_choice is not None:
            named = {"type": "function", "function": {"name": self.tool_choice.name}}
            fields["tool_choice"] = _CHOICES.get(self.tool_choice.type, named)
            fields["parallel_tool_calls"] = not self.tool_choice.disable_parallel_tool_use
        if self.thinking is not None:
            effort = {"enabled": "medium", "disabled": "none"}
            fields["reasoning_effort"] = effort.get(self.thinking.type)
        if self.output_config is not None and self.output_config.format is not None:
            schema = {"name": "output", "schema": self.output_config.format.content}
            fields["response_format"] = {"type": "json_schema", "json_schema": schema}
        return fields

    def _system(self) -> list[dict[str, Any]]:
        text = self.system if isinstance(self.system, str) else BETWEEN_TEXTS.join(b.text for b in self.system or ())
        return [{"role": "system", "content": text}] if text else []


class CountTokensRequest(PromptFields):
    """Anthropic's request for the size of a prompt."""


class MessagesRequest(PromptFields):
    """Anthropic's request for an answer."""

    max_tokens: int = Field(ge=1)
    stream: bool = False
    stop_sequences: list[Annotated[str, Field(min_length=1)]] = Field(default_factory=list, max_length=MAX_STOP_STRINGS)
    temperature: float | None = Field(None, ge=0, le=1)
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = Field(None, ge=0, le=MAX_TOKEN_ID)
    # These say who asks, and how soon it would be served elsewhere; nothing in the answer depends on them.
    metadata: Metadata | None = None
    service_tier: Literal["auto", "standard_only"] | None = None

    @model_validator(mode="after")
    def _has_room_beside_its_thoughts(self) -> MessagesRequest:
        budget = self.thinking.budget_tokens if self.thinking is not None else None
        if budget is not None and budget >= self.max_tokens:
            raise ValueError(
                f"'thinking.budget_tokens' ({budget}) has to be less than 'max_tokens' ({self.max_tokens})"
            )
        return self

    def _fields(self) -> dict[str, Any]:
        drawn = self.model_dump(include={"max_tokens", "temperature", "top_p", "top_k"}, exclude_none=True)
        return {**super()._fields(), **drawn, "stop": list(self.stop_sequences)}


def as_generate(chat: ChatRequest, prefill: str, *, max_messages: int) -> Generate:
    """Raises InvalidRequest."""
    return replace(chat.as_generate(max_messages=max_messages), prefill=prefill)


def _openai_tool(tool: ClientTool) -> dict[str, Any]:
    function = tool.model_dump(include={"name", "description", "strict"}, exclude_none=True)
    return {"type": "function", "function": {**function, "parameters": tool.input_schema}}
