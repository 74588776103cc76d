"""The tools of a chat, and whether the answer may, must or must not call them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from daemon.api.fields import JsonSchema, Strict
from registry.errors import InvalidRequest, UnsupportedParameter

MAX_TOOLS = 128


class ToolFunction(Strict):
    name: str = Field(min_length=1, max_length=128)
    description: str | None = None
    parameters: JsonSchema | None = None
    strict: bool | None = None


class Tool(Strict):
    type: Literal["function"]
    function: ToolFunction


class NamedFunction(Strict):
    name: str


class NamedTool(Strict):
    """The one tool that the answer has to call."""

    type: Literal["function"]
    function: NamedFunction


class ToolFields(Strict):
    tools: list[Tool] = Field(default_factory=list, max_length=MAX_TOOLS)
    tool_choice: Literal["auto", "none", "required"] | NamedTool = "auto"
    parallel_tool_calls: bool = True

    @model_validator(mode="before")
    @classmethod
    def _no_other_choices(cls, body: Any) -> Any:
        """Refuse by name what OpenAI has and we have not. Raises UnsupportedParameter."""
        match body.get("tool_choice") if isinstance(body, dict) else None:
            case None | "auto" | "none" | "required" | {"type": "function", "function": {"name": str()}}:
                return body
        raise UnsupportedParameter(
            '\'tool_choice\' can be "auto", "none", "required", or {"type": "function", "function": {"name": ...}}.',
            param="tool_choice",
        )

    @property
    def offered_tools(self) -> list[Tool]:
        return [] if self.tool_choice == "none" else self.tools

    def tool_fields(self) -> dict[str, Any]:
        """Those of ``Generate``. Raises InvalidRequest for a choice among tools that are not there."""
        choice, name = (
            ("function", self.tool_choice.function.name)
            if isinstance(self.tool_choice, NamedTool)
            else (self.tool_choice, None)
        )
        names = [tool.function.name for tool in self.tools]
        if choice == "required" and not names:
            raise InvalidRequest("'tool_choice' is \"required\", and there are no 'tools'.", param="tool_choice")
        if name is not None and name not in names:
            there = ", ".join(names) or "none"
            raise InvalidRequest(
                f"'tool_choice' names {name!r}, which is not among the 'tools' ({there}).", param="tool_choice"
            )
        return {
            "tools": [tool.model_dump(exclude_none=True) for tool in self.offered_tools],
            "tool_choice": choice,
            "tool_name": name,
            "has_parallel_calls": self.parallel_tool_calls,
        }
