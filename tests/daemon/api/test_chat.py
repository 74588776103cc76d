from __future__ import annotations

import math
from typing import Any

import pytest
from pydantic import ValidationError

from daemon.api.chat import NEUTRAL
from daemon.api.headers import DEADLINE_HEADER, wishes_in
from daemon.terms import NO_TERMS, KeepAlive, Terms
from daemon.wants import Wants
from registry.errors import InvalidRequest, UnknownTask, UnsupportedParameter
from registry.model import Task
from selector.policy import Policy
from tests.daemon.api.chats import HI, a_chat, question


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


# -- on what terms it is answered


def test_a_request_that_says_nothing_is_answered_on_the_terms_of_the_settings() -> None:
    assert a_chat().terms() == NO_TERMS


@pytest.mark.parametrize(
    ("said", "seconds"),
    [(300, 300.0), (0, 0.0), (0.5, 0.5), (-1, None), ("5m", 300.0), ("1h30m", 5400.0), ("-1", None)],
)
def test_keep_alive_is_seconds_or_a_text(said: float | str, seconds: float | None) -> None:
    assert a_chat(keep_alive=said).terms() == Terms(keep_alive=KeepAlive(seconds))


@pytest.mark.parametrize("said", ["soon", "", True, [5], {}])
def test_a_keep_alive_that_is_no_time_is_refused(said: Any) -> None:
    with pytest.raises(ValidationError, match="is no time") as caught:
        a_chat(keep_alive=said)
    assert caught.value.errors()[0]["loc"] == ("keep_alive",)


def test_a_deadline_in_the_header_counts_before_the_body() -> None:
    assert a_chat(deadline_s=20).terms() == Terms(deadline_s=20)
    assert a_chat(deadline_s=20).terms(wishes_in({DEADLINE_HEADER: " 2.5 "})) == Terms(deadline_s=2.5)


@pytest.mark.parametrize("deadline", [0, -1, 1e6 + 1, math.inf, math.nan])
def test_a_deadline_that_is_none_is_refused(deadline: float) -> None:
    a_chat(deadline_s=1e6)
    with pytest.raises(ValidationError, match="deadline_s"):
        a_chat(deadline_s=deadline)
    for text in (str(deadline), "soon"):
        with pytest.raises(InvalidRequest, match="number of seconds above 0 and up to 1000000") as caught:
            wishes_in({DEADLINE_HEADER: text})
        assert caught.value.param == "deadline_s"


# -- what it says about the choice of a model


def wants(*, headers: dict[str, str] | None = None, **fields: Any) -> Wants:
    return a_chat(**fields).wants(wishes_in({f"x-slmreg-{name}": value for name, value in (headers or {}).items()}))


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


@pytest.mark.parametrize(("said", "thinking"), [({"enable_thinking": False}, False), ({"enable_thinking": True}, True)])
def test_so_is_the_switch_that_chat_templates_share(said: dict[str, bool], thinking: bool) -> None:
    assert wants(chat_template_kwargs=said).thinking is thinking
    agreed = wants(chat_template_kwargs=said, reasoning_effort="high" if thinking else "none")
    assert agreed.thinking is thinking
    for nothing in ({}, {"enable_thinking": None}, None):
        assert wants(chat_template_kwargs=nothing).thinking is None


@pytest.mark.parametrize(("switch", "effort"), [(True, "minimal"), (False, "low")])
def test_a_switch_that_contradicts_the_effort_is_refused(switch: bool, effort: str) -> None:
    with pytest.raises(InvalidRequest, match="Leave one out") as caught:
        question(chat_template_kwargs={"enable_thinking": switch}, reasoning_effort=effort)
    assert caught.value.param == "chat_template_kwargs.enable_thinking"


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
