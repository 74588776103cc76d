"""Whether a model is to reason before it answers: OpenAI's ``reasoning_effort``, and what vLLM and llama.cpp have."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from daemon import lenience
from daemon.api.fields import Strict
from registry.errors import InvalidRequest

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh"]

# In the errors of what comes after the body: which field asked for it.
EFFORT = "reasoning_effort"
SWITCH = "chat_template_kwargs.enable_thinking"


class TemplateOptions(Strict):
    """Of the variables that chat templates know, the one that many share; the others are no business of a client."""

    enable_thinking: bool | None = None

    @model_validator(mode="before")
    @classmethod
    def _what_is_known(cls, options: Any) -> Any:
        if not isinstance(options, dict):
            return options
        known = cls.model_fields
        return {
            name: value
            for name, value in options.items()
            if name in known or not lenience.leave_out(f"chat_template_kwargs.{name}")
        }


class ThinkingFields(Strict):
    """Either of them, or both where they say the same. Raises InvalidRequest where they do not."""

    reasoning_effort: Effort | None = None
    chat_template_kwargs: TemplateOptions = Field(TemplateOptions(), description="only enable_thinking")

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> ThinkingFields:
        switch, effort = self.chat_template_kwargs.enable_thinking, self._thinking_by_effort
        if switch is not None and effort is not None and switch is not effort:
            raise InvalidRequest(
                f"'{SWITCH}' says {str(switch).lower()}, and '{EFFORT}' says {self.reasoning_effort}. Leave one out.",
                param=SWITCH,
            )
        return self

    @property
    def thinking(self) -> bool | None:
        """None: it was not said."""
        by_effort = self._thinking_by_effort
        return self.chat_template_kwargs.enable_thinking if by_effort is None else by_effort

    @property
    def thinking_name(self) -> str:
        """The field that says it."""
        return SWITCH if self.reasoning_effort is None else EFFORT

    @property
    def _thinking_by_effort(self) -> bool | None:
        return None if self.reasoning_effort is None else self.reasoning_effort not in ("none", "minimal")
