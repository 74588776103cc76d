"""The body of POST /v1/chat/completions: what is accepted, and what is refused by name.

Invariant: a parameter that cannot be honoured is an error that names it, never ignored in silence. Values that ask for
nothing special (``n: 1``, ``presence_penalty: 0``) are honoured by doing nothing.
"""

from __future__ import annotations

import uuid
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from daemon.pool.protocol import Generate, Sampling
from daemon.wants import Wants, parse_policy, parse_task
from registry.errors import InvalidRequest, UnsupportedParameter
from selector.policy import Policy

MAX_STOP_STRINGS = 16
MAX_TOOLS = 128
MAX_TOOL_DEPTH = 64
# Of English text four and more, of code and of other scripts fewer: rather too much room than too little.
CHARACTERS_PER_TOKEN = 3

# Parameters of OpenAI's API that need an engine feature we lack, with the values that ask for nothing.
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "audio": (),
    "frequency_penalty": (0,),
    "function_call": ("none",),
    "functions": ([],),
    "logit_bias": ({},),
    "logprobs": (False,),
    "modalities": (["text"],),
    "moderation": (),
    "n": (1,),
    "parallel_tool_calls": (True,),
    "prediction": (),
    "presence_penalty": (0,),
    "response_format": ({"type": "text"},),
    "store": (False,),
    "top_logprobs": (0,),
    "verbosity": ("medium",),
    "web_search_options": (),
}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class FunctionCall(_Strict):
    name: str
    arguments: str = "{}"


class ToolCall(_Strict):
    id: str = ""
    type: Literal["function"] = "function"
    function: FunctionCall
    index: int | None = None


class TextPart(_Strict):
    type: Literal["text"]
    text: str


class ChatMessage(BaseModel):
    """One message. Clients send back what they were sent, so unknown keys of a message are left out, not refused."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[TextPart] | None = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None

    @model_validator(mode="after")
    def _says_something(self) -> ChatMessage:
        if self.content is None and not (self.role == "assistant" and self.tool_calls):
            raise ValueError(f"a message of role {self.role} needs content")
        return self

    @property
    def text(self) -> str:
        parts = self.content
        return "".join(part.text for part in parts) if isinstance(parts, list) else (parts or "")

    def as_dict(self) -> dict[str, Any]:
        """For the chat template, which knows no ``developer`` role and no content parts."""
        role = "system" if self.role == "developer" else self.role
        message: dict[str, Any] = {"role": role, "content": self.text}
        if self.name is not None:
            message["name"] = self.name
        if self.tool_calls:
            message["tool_calls"] = [call.model_dump(exclude={"index"}) for call in self.tool_calls]
        if self.tool_call_id is not None:
            message["tool_call_id"] = self.tool_call_id
        return message


def _depth(value: Any, limit: int) -> int:
    """How deeply ``value`` is nested, counted to just beyond ``limit``."""
    if limit < 0 or not isinstance(value, dict | list):
        return 0
    inner = value.values() if isinstance(value, dict) else value
    return 1 + max((_depth(item, limit - 1) for item in inner), default=0)


class ToolFunction(_Strict):
    name: str = Field(min_length=1, max_length=128)
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None

    @field_validator("parameters")
    @classmethod
    def _not_too_deep(cls, parameters: dict[str, Any] | None) -> dict[str, Any] | None:
        if _depth(parameters, MAX_TOOL_DEPTH) > MAX_TOOL_DEPTH:
            raise ValueError(f"the schema is nested more than {MAX_TOOL_DEPTH} deep")
        return parameters


class Tool(_Strict):
    type: Literal["function"]
    function: ToolFunction


class StreamOptions(_Strict):
    include_usage: bool = False
    include_obfuscation: bool = False


class ChatRequest(BaseModel):
    """OpenAI's chat completion request, with ``top_k``, ``task`` and ``policy`` beside it.

    ``task`` and ``policy`` are for the choice of ``auto``; they mean nothing for a model that is named.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    model: str = Field("auto", min_length=1, max_length=512)
    messages: list[ChatMessage] = Field(min_length=1)
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = Field(None, ge=0)
    seed: int | None = None
    stop: str | Annotated[list[str], Field(max_length=MAX_STOP_STRINGS)] | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    tools: list[Tool] = Field(default_factory=list, max_length=MAX_TOOLS)
    tool_choice: Literal["auto", "none"] | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh"] | None = None
    task: str | None = Field(None, max_length=64)
    policy: Annotated[Policy, Field(strict=False)] | None = None
    # These say who asks; nothing in the answer depends on them.
    user: str | None = None
    metadata: dict[str, str] | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    service_tier: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _without_neutral_values(cls, body: Any) -> Any:
        """Drop nulls and the parameters that ask for nothing; refuse, by name, those that ask for something."""
        if not isinstance(body, dict):
            return body
        kept = {key: value for key, value in body.items() if value is not None}
        for name in NEUTRAL.keys() & kept.keys():
            if kept.pop(name) not in NEUTRAL[name]:
                raise UnsupportedParameter(
                    f"The parameter {name!r} is not supported with this value. Leave it out.", param=name
                )
        choice = kept.get("tool_choice")
        if choice is not None and choice not in ("auto", "none"):
            raise UnsupportedParameter('\'tool_choice\' can be "auto" or "none".', param="tool_choice")
        return kept

    def wants(self, *, task: str | None = None, policy: str | None = None) -> Wants:
        """What it says about the choice of a model; ``task`` and ``policy`` stood in headers, which count first.

        Raises UnknownTask, InvalidRequest.
        """
        named = task or self.task
        offered = [] if self.tool_choice == "none" else self.tools
        texts = [message.text for message in self.messages]
        texts += [call.function.arguments for message in self.messages for call in message.tool_calls or ()]
        texts += [tool.model_dump_json(exclude_none=True) for tool in offered]
        answer_tokens = self.max_completion_tokens or self.max_tokens or 0
        return Wants(
            needs_tools=bool(offered),
            task=parse_task(named.strip().lower()) if named is not None else None,
            policy=parse_policy(policy) if policy else self.policy,
            thinking=None if self.reasoning_effort is None else self.reasoning_effort not in ("none", "minimal"),
            turns=tuple(m.text for m in self.messages if m.role == "user"),
            context_tokens=sum(map(_estimated_tokens, texts)) + answer_tokens,
            is_in_tool_loop=self.messages[-1].role == "tool",
        )

    def as_generate(self, *, max_messages: int) -> Generate:
        """Raises InvalidRequest for what single fields cannot show."""
        if len(self.messages) > max_messages:
            raise InvalidRequest(
                f"{len(self.messages)} messages are more than max_messages = {max_messages}.", param="messages"
            )
        if self.stream_options is not None and not self.stream:
            raise InvalidRequest("'stream_options' needs \"stream\": true.", param="stream_options")
        stop = [self.stop] if isinstance(self.stop, str) else list(self.stop or ())
        if not all(stop):
            raise InvalidRequest("A stop string must not be empty.", param="stop")
        offered = [] if self.tool_choice == "none" else self.tools
        return Generate(
            request_id=uuid.uuid4().hex,
            messages=[message.as_dict() for message in self.messages],
            tools=[tool.model_dump(exclude_none=True) for tool in offered],
            max_tokens=self.max_completion_tokens or self.max_tokens,
            stop=stop,
            sampling=Sampling(temperature=self.temperature, top_p=self.top_p, top_k=self.top_k, seed=self.seed),
        )


def _estimated_tokens(text: str) -> int:
    """Scripts beyond ASCII have about a token for each character."""
    ascii_only = len(text.encode("ascii", "ignore"))
    return len(text) - ascii_only + ascii_only // CHARACTERS_PER_TOKEN
