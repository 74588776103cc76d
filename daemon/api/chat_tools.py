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


class AllowedTools(Strict):
    mode: Literal["auto", "required"]
    tools: list[NamedTool] = Field(min_length=1, max_length=MAX_TOOLS)


class AmongTools(Strict):
    """Some of the tools: the answer may, or has to, call one of these, and is told of no other."""

    type: Literal["allowed_tools"]
    allowed_tools: AllowedTools


class ToolFields(Strict):
    tools: list[Tool] = Field(default_factory=list, max_length=MAX_TOOLS)
    tool_choice: Literal["auto", "none", "required"] | NamedTool | AmongTools = "auto"
    parallel_tool_calls: bool = True

    @model_validator(mode="before")
    @classmethod
    def _no_other_choices(cls, body: Any) -> Any:
        """Refuse by name what OpenAI has and we have not. Raises UnsupportedParameter."""
        match body.get("tool_choice") if isinstance(body, dict) else None:
            case None | "auto" | "none" | "required" | {"type": "function", "function": {"name": str()}}:
                return body
            case {"type": "allowed_tools", "allowed_tools": {"mode": str(), "tools": list()}}:
                return body
        raise UnsupportedParameter(
            '\'tool_choice\' can be "auto", "none", "required", {"type": "function", "function": {"name": ...}}, or '
            '{"type": "allowed_tools", "allowed_tools": {"mode": ..., "tools": [...]}}.',
            param="tool_choice",
        )

    @property
    def offered_tools(self) -> list[Tool]:
        if isinstance(self.tool_choice, AmongTools):
            return [tool for tool in self.tools if tool.function.name in self._chosen_names]
        return [] if self.tool_choice == "none" else self.tools

    @property
    def _choice(self) -> str:
        """In a word."""
        match self.tool_choice:
            case NamedTool():
                return "function"
            case AmongTools(allowed_tools=allowed):
                return allowed.mode
            case str(word):
                return word

    @property
    def _chosen_names(self) -> list[str]:
        """Those that the choice names."""
        match self.tool_choice:
            case NamedTool(function=function):
                return [function.name]
            case AmongTools(allowed_tools=allowed):
                return [each.function.name for each in allowed.tools]
            case _:
                return []

    def tool_fields(self) -> dict[str, Any]:
        """Those of ``Generate``. Raises InvalidRequest for a choice among tools that are not there."""
        self._check_choice()
        return {
            "tools": [tool.model_dump(exclude_none=True) for tool in self.offered_tools],
            "tool_choice": self._choice,
            "tool_name": self.tool_choice.function.name if isinstance(self.tool_choice, NamedTool) else None,
            "has_parallel_calls": self.parallel_tool_calls,
        }

    def _check_choice(self) -> None:
        """Raises InvalidRequest."""
        names = [tool.function.name for tool in self.tools]
        if self.tool_choice == "required" and not names:
            raise InvalidRequest("'tool_choice' is \"required\", and there are no 'tools'.", param="tool_choice")
        missing = next((name for name in self._chosen_names if name not in names), None)
        if missing is not None:
            there = ", ".join(names) or "none"
            raise InvalidRequest(
                f"'tool_choice' names {missing!r}, which is not among the 'tools' ({there}).", param="tool_choice"
            )
