from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from registry.errors import InvalidRequest, UnsupportedParameter
from tests.daemon.api.chats import a_tool, question

TOOLS = [a_tool("f"), a_tool("g", strict=True, parameters={"type": "object"})]


def among(mode: str, *names: str) -> dict[str, Any]:
    tools = [{"type": "function", "function": {"name": name}} for name in names]
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": tools}}


def test_tools_are_offered_as_they_are() -> None:
    asked = question(tools=TOOLS)
    assert asked.tools == TOOLS
    assert (asked.tool_choice, asked.tool_name, asked.has_parallel_calls) == ("auto", None, True)


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        ("auto", ("auto", None)),
        ("required", ("required", None)),
        ({"type": "function", "function": {"name": "g"}}, ("function", "g")),
    ],
)
def test_the_choice_among_them_reaches_the_worker(choice: Any, told: tuple[str, str | None]) -> None:
    asked = question(tools=TOOLS, tool_choice=choice, parallel_tool_calls=False)
    assert (asked.tool_choice, asked.tool_name) == told
    assert len(asked.tools) == 2
    assert not asked.has_parallel_calls


@pytest.mark.parametrize("mode", ["auto", "required"])
def test_some_of_the_tools_can_be_allowed_and_no_other_is_offered(mode: str) -> None:
    asked = question(tools=TOOLS, tool_choice=among(mode, "g"))
    assert asked.tools == [TOOLS[1]]
    assert (asked.tool_choice, asked.tool_name) == (mode, None)


def test_tool_choice_none_offers_no_tools() -> None:
    asked = question(tools=TOOLS, tool_choice="none")
    assert (asked.tools, asked.tool_choice) == ([], "none")


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"tool_choice": "required"}, "there are no 'tools'"),
        ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, r"not among the 'tools' \(none\)"),
        (
            {"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "h"}}},
            r"'h', which is not among the 'tools' \(f, g\)",
        ),
        ({"tools": TOOLS, "tool_choice": among("auto", "f", "h")}, r"'h', which is not among the 'tools' \(f, g\)"),
    ],
)
def test_a_choice_of_what_is_not_offered_is_refused(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidRequest, match=reason) as caught:
        question(**fields)
    assert caught.value.param == "tool_choice"


@pytest.mark.parametrize(
    "choice",
    [
        {"type": "allowed_tools", "allowed_tools": {"mode": "auto"}},
        {"type": "custom", "custom": {"name": "f"}},
        {"type": "function"},
        {"type": "function", "function": {"name": 5}},
        "always",
        5,
    ],
)
def test_choices_that_are_not_ours_are_refused_by_name(choice: Any) -> None:
    with pytest.raises(UnsupportedParameter, match="tool_choice") as caught:
        question(tools=TOOLS, tool_choice=choice)
    assert caught.value.param == "tool_choice"


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [a_tool()] * 129},
        {"tools": [{"type": "custom", "custom": {"name": "f"}}]},
        {"tools": [a_tool("")]},
        {"tools": [a_tool("x" * 129)]},
        {"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "f", "more": 1}}},
        {"tools": TOOLS, "tool_choice": among("auto")},
        {"tools": TOOLS, "tool_choice": among("none", "f")},
        {"parallel_tool_calls": "no"},
    ],
)
def test_what_is_no_tool_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="tool"):
        question(**fields)


def test_as_many_tools_as_allowed_are_taken() -> None:
    assert len(question(tools=[a_tool()] * 128).tools) == 128


def test_a_tool_schema_that_is_nested_too_deep_is_refused() -> None:
    def nested(depth: int) -> dict[str, Any]:
        return {"a": nested(depth - 1)} if depth > 1 else {}

    assert len(question(tools=[a_tool(parameters=nested(64))]).tools) == 1
    for depth in (65, 600):
        with pytest.raises(ValidationError, match="nested more than 64 deep"):
            question(tools=[a_tool(parameters=nested(depth))])
