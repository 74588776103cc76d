from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from daemon.api.chat import NEUTRAL, ChatRequest
from daemon.wants import Wants
from registry.errors import InvalidRequest, UnknownTask, UnsupportedParameter
from registry.model import Task
from selector.policy import Policy

HI: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}]}


def question(**fields: Any) -> Any:
    return ChatRequest.model_validate({**HI, **fields}).as_generate(max_messages=4)


def test_content_parts_become_text_and_developer_becomes_system() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    messages = question(messages=[{"role": "developer", "content": parts}]).messages
    assert messages == [{"role": "system", "content": "ab"}]


def test_a_tool_round_trip_keeps_what_the_template_needs() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = [
        {"role": "assistant", "content": None, "tool_calls": [{**call, "index": 0}], "refusal": None},
        {"role": "tool", "content": "42", "tool_call_id": "c1"},
    ]
    kept = question(messages=messages).messages
    assert kept[0] == {"role": "assistant", "content": "", "tool_calls": [call]}
    assert kept[1] == {"role": "tool", "content": "42", "tool_call_id": "c1"}


def test_nulls_count_as_absent() -> None:
    assert question(temperature=None, tools=[], stop=None, n=None, logprobs=None).stop == []


def test_max_completion_tokens_is_the_newer_name() -> None:
    assert question(max_tokens=5).max_tokens == 5
    assert question(max_tokens=5, max_completion_tokens=7).max_tokens == 7


def test_tool_choice_none_offers_no_tools() -> None:
    tools = [{"type": "function", "function": {"name": "f"}}]
    assert len(question(tools=tools).tools) == 1
    assert question(tools=tools, tool_choice="none").tools == []


@pytest.mark.parametrize("name", sorted(NEUTRAL))
def test_a_parameter_without_an_engine_behind_it_is_refused_unless_it_asks_for_nothing(name: str) -> None:
    for neutral in NEUTRAL[name]:
        question(**{name: neutral})
    with pytest.raises(UnsupportedParameter, match=name) as caught:
        question(**{name: "something special"})
    assert caught.value.param == name


def test_too_many_messages_are_refused_with_both_numbers() -> None:
    with pytest.raises(InvalidRequest, match="5 messages are more than max_messages = 4"):
        question(messages=HI["messages"] * 5)


def test_images_are_refused_for_now() -> None:
    image = [{"type": "image_url", "image_url": {"url": "data:,"}}]
    with pytest.raises(ValidationError):
        question(messages=[{"role": "user", "content": image}])


def test_a_tool_schema_that_is_nested_too_deep_is_refused() -> None:
    def nested(depth: int) -> dict[str, Any]:
        return {"a": nested(depth - 1)} if depth > 1 else {}

    def ask(depth: int) -> Any:
        return question(tools=[{"type": "function", "function": {"name": "f", "parameters": nested(depth)}}])

    assert len(ask(64).tools) == 1
    for depth in (65, 600):
        with pytest.raises(ValidationError, match="nested more than 64 deep"):
            ask(depth)


# -- what it says about the choice of a model


def wants(*, headers: dict[str, str] | None = None, **fields: Any) -> Wants:
    return ChatRequest.model_validate({**HI, **fields}).wants(**(headers or {}))


def test_a_request_that_says_nothing_wants_nothing_but_an_answer_to_its_words() -> None:
    assert wants() == Wants(turns=("hi",), context_tokens=0)


def test_a_header_counts_before_the_body_and_case_does_not_count() -> None:
    said = wants(task="code", policy="fast")
    assert (said.task, said.policy) == (Task.CODE, Policy.FAST)
    said = wants(task="code", policy="fast", headers={"task": " MATH ", "policy": "Quality"})
    assert (said.task, said.policy) == (Task.MATH, Policy.QUALITY)


def test_an_unknown_task_or_policy_is_refused_with_those_there_are() -> None:
    for arguments in ({"task": "cooking"}, {"headers": {"task": "cooking"}}, {"headers": {"task": ""}, "task": "x"}):
        with pytest.raises(UnknownTask, match="transcription"):
            wants(**arguments)
    with pytest.raises(InvalidRequest, match="balanced") as caught:
        wants(headers={"policy": "cheap"})
    assert caught.value.param == "policy"
    with pytest.raises(ValidationError, match="policy"):
        wants(policy="cheap")


@pytest.mark.parametrize(
    ("effort", "thinking"),
    [("none", False), ("minimal", False), ("low", True), ("medium", True), ("high", True), (None, None)],
)
def test_reasoning_effort_is_whether_it_reasons(effort: str | None, thinking: bool | None) -> None:
    assert wants(reasoning_effort=effort).thinking is thinking


def test_only_the_words_of_the_user_tell_the_task() -> None:
    messages = [
        {"role": "system", "content": "You write Python."},
        {"role": "user", "content": [{"type": "text", "text": "one "}, {"type": "text", "text": "two"}]},
        {"role": "assistant", "content": "def f(): pass"},
        {"role": "user", "content": "three"},
    ]
    assert wants(messages=messages).turns == ("one two", "three")


def test_the_context_is_guessed_from_every_message_and_the_answer() -> None:
    messages = [{"role": "system", "content": "x" * 300}, {"role": "user", "content": "y" * 600}]
    assert wants(messages=messages).context_tokens == 300
    assert wants(messages=messages, max_tokens=50).context_tokens == 350
    assert wants(messages=messages, max_tokens=50, max_completion_tokens=70).context_tokens == 370


def test_a_conversation_that_waits_for_a_tool_is_in_a_tool_loop() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages: list[dict[str, Any]] = [
        *HI["messages"],
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "42", "tool_call_id": "c1"},
    ]
    tools = [{"type": "function", "function": {"name": "f"}}]
    said = wants(messages=messages, tools=tools)
    assert (said.is_in_tool_loop, said.needs_tools) == (True, True)
    after = wants(messages=[*messages, {"role": "user", "content": "and now?"}], tools=tools, tool_choice="none")
    assert (after.is_in_tool_loop, after.needs_tools) == (False, False)
