"""What the bodies of Ollama's requests have in common. A null says nothing, as there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, ConfigDict, Field, ValidationError, model_validator

from daemon import lenience
from daemon.api.chat import ChatRequest
from daemon.api.errors import first_wrong
from daemon.api.fields import JsonSchema, KeepAliveField, RequestBody, Strict, with_nulls
from daemon.api.headers import Wishes
from daemon.options import TO_THE_END, Options, unsupported_in
from daemon.terms import Terms
from registry.errors import InvalidRequest, UnsupportedParameter

MAX_NAME = 512
# What OpenAI's API and ours call things, and what a client of Ollama's knows them as.
OLLAMAS_NAMES = {
    "max_tokens": "num_predict",
    "reasoning_effort": "think",
    "repetition_penalty": "repeat_penalty",
    "response_format": "format",
}

# Older clients say ``name``.
ModelName = Annotated[str, Field(min_length=1, max_length=MAX_NAME, validation_alias=AliasChoices("model", "name"))]


class Body(Strict):
    model_config = ConfigDict(json_schema_extra=with_nulls)

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, body: Any) -> Any:
        return {key: value for key, value in body.items() if value is not None} if isinstance(body, Mapping) else body


class ReadingBody(RequestBody):
    """What asks for something, and changes nothing that is kept."""

    @model_validator(mode="before")
    @classmethod
    def _options_that_there_are(cls, body: Any) -> Any:
        options = body.get("options") if isinstance(body, Mapping) else None
        if not isinstance(options, Mapping):
            return body
        left_out = [name for name in unsupported_in(options) if lenience.leave_out(f"options.{name}")]
        return {**body, "options": {name: value for name, value in options.items() if name not in left_out}}


class AnswerBody(ReadingBody):
    """What chats and single prompts have in common."""

    model: ModelName
    stream: bool = True
    format: Literal["", "json"] | JsonSchema = ""
    options: Options = Options()
    keep_alive: KeepAliveField | None = Field(None, description='seconds, or text such as "5m"; -1 is for ever')
    think: bool | Literal["", "low", "medium", "high"] | None = None
    logprobs: bool = False
    top_logprobs: int = 0

    @model_validator(mode="before")
    @classmethod
    def _never_cut(cls, body: Any) -> Any:
        """Raises UnsupportedParameter."""
        why = "a chat that does not fit is refused here, and never cut"
        return without(body, ("shift", "truncate"), why=why, are_hints=True)

    @property
    def is_unloading(self) -> bool:
        return self.keep_alive is not None and self.keep_alive.seconds == 0

    def as_chat(self, messages: list[dict[str, Any]], **fields: Any) -> ChatRequest:
        """The same in OpenAI's words. Raises ValidationError, InvalidRequest."""
        return ChatRequest.model_validate(
            {
                "model": self.model,
                "messages": messages,
                "stream": self.stream,
                "response_format": self._response_format(),
                "reasoning_effort": self._reasoning_effort(),
                "logprobs": self.logprobs,
                "top_logprobs": self.top_logprobs,
                "stop": self.options.stop,
                "max_tokens": None if self.options.max_tokens == TO_THE_END else self.options.max_tokens,
                **self.options.sampling(),
                **fields,
            }
        )

    def terms(self, wishes: Wishes) -> Terms:
        return Terms(self.keep_alive, wishes.deadline_s, self.options.num_ctx)

    def _response_format(self) -> dict[str, Any] | None:
        if isinstance(self.format, dict):
            return {"type": "json_schema", "json_schema": {"name": "format", "schema": self.format}}
        return {"type": "json_object"} if self.format == "json" else None

    def _reasoning_effort(self) -> str | None:
        if isinstance(self.think, bool):
            return "medium" if self.think else "none"
        return self.think or None


def without(body: Any, names: tuple[str, ...], *, why: str, are_hints: bool = False) -> Any:
    """``body`` without those of ``names`` that ask for nothing, as false and empty values do.

    Raises UnsupportedParameter for one that asks for something, unless they ``are_hints`` and may be left out.
    """
    if not isinstance(body, Mapping):
        return body
    for name in names:
        if body.get(name) and not (are_hints and lenience.leave_out(name)):
            raise UnsupportedParameter(f"{name!r} is not supported: {why}. Leave it out.", param=name)
    return {key: value for key, value in body.items() if key not in names}


@contextmanager
def in_ollamas_words() -> Iterator[None]:
    """What is refused in here is blamed by the name that Ollama's clients use."""
    try:
        yield
    except ValidationError as error:
        raise _renamed(first_wrong(error.errors())) from None
    except InvalidRequest as error:
        raise _renamed(error) from None


def _renamed(error: InvalidRequest) -> InvalidRequest:
    ours = error.param or ""
    if ours in OLLAMAS_NAMES:
        error.param = OLLAMAS_NAMES[ours]
        error.message = error.message.replace(ours, error.param)
    return error
