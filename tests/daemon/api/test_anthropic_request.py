"""What of an Anthropic request reaches the worker, and what is refused by name."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from daemon.api.anthropic_request import NEUTRAL, MessagesRequest, as_generate
from daemon.pool.protocol import Generate, Guide
from daemon.wants import Wants
from registry.errors import InvalidRequest, UnsupportedParameter
from tests.daemon.api.scripted import endpoint
from tests.daemon.api.test_chat_messages import PNG
from tests.daemon.test_answers import finished
from tests.fakes import on_loop

HI = {"role": "user", "content": "hi"}
TOOL = {"name": "f", "description": "does it", "input_schema": {"type": "object"}}
CALL = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": "é"}}
PICTURE: dict[str, Any] = {
    "type": "image",
    "source": {"type": "base64", "media_type": "image/png", "data": PNG.partition(",")[2]},
}
DOCUMENT: dict[str, Any] = {
    "type": "document",
    "source": {"type": "text", "media_type": "text/plain", "data": "It rains."},
}


def a_picture(**source: Any) -> dict[str, Any]:
    return {**PICTURE, "source": {**PICTURE["source"], **source}}


def a_document(**source: Any) -> dict[str, Any]:
    return {**DOCUMENT, "source": {**DOCUMENT["source"], **source}}


def request(**fields: Any) -> MessagesRequest:
    return MessagesRequest.model_validate({"max_tokens": 10, "messages": [HI], **fields})


def asked(**fields: Any) -> Generate:
    return as_generate(*request(**fields).chat(), max_messages=10)


def wants(**fields: Any) -> Wants:
    return request(**fields).chat()[0].wants()


def text(said: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": said, **more}


# -- turns


def test_a_system_prompt_comes_first_as_one_text() -> None:
    assert asked(system="Be brief.").messages == [{"role": "system", "content": "Be brief."}, HI]
    blocks = [text("Be"), text("brief.", cache_control={"type": "ephemeral"})]
    assert asked(system=blocks).messages[0] == {"role": "system", "content": "Be\n\nbrief."}
    assert asked(system="").messages == asked(system=[]).messages == [HI]


def test_turns_of_the_same_role_are_one() -> None:
    turns = [HI, {"role": "user", "content": [text("and")]}, {"role": "assistant", "content": "yes"}, HI]
    assert asked(messages=turns).messages == [
        {"role": "user", "content": "hi\n\nand"},
        {"role": "assistant", "content": "yes"},
        HI,
    ]


def test_a_last_turn_of_the_assistant_is_how_the_answer_begins() -> None:
    begun = asked(messages=[HI, {"role": "assistant", "content": [text("The answer is")]}])
    assert (begun.messages, begun.prefill) == ([HI], "The answer is")
    assert asked().prefill == ""


@pytest.mark.parametrize(
    "turns",
    [
        [{"role": "assistant", "content": "alone"}],
        [HI, {"role": "assistant", "content": [CALL]}],
    ],
)
def test_what_an_answer_cannot_go_on_from_is_refused(turns: list[Any]) -> None:
    with pytest.raises(InvalidRequest, match="end with a turn of the user") as caught:
        asked(messages=turns)
    assert caught.value.param == "messages"


def test_an_answer_cannot_be_begun_and_reason_first() -> None:
    thinking = {"type": "enabled", "budget_tokens": 1024}
    with pytest.raises(InvalidRequest, match="'thinking'"):
        asked(max_tokens=2000, thinking=thinking, messages=[HI, {"role": "assistant", "content": "So"}])


def test_calls_and_their_results_keep_their_order_and_ids() -> None:
    results = [
        {"type": "tool_result", "tool_use_id": "toolu_1", "content": "42"},
        {"type": "tool_result", "tool_use_id": "toolu_2", "content": [text("no"), text("way")], "is_error": True},
        {"type": "tool_result", "tool_use_id": "toolu_3"},
        text("and now?"),
    ]
    thought = {"type": "thinking", "thinking": "hm", "signature": "s"}
    turns = [
        HI,
        {"role": "assistant", "content": [thought, {"type": "redacted_thinking", "data": "x"}, text("I look."), CALL]},
        {"role": "user", "content": results},
    ]
    call, *answers = asked(messages=turns).messages[1:]
    assert call["content"] == "I look."
    (made,) = call["tool_calls"]
    assert (made["id"], made["function"]) == ("toolu_1", {"name": "f", "arguments": '{"a": "é"}'})
    assert answers == [
        {"role": "tool", "content": "42", "tool_call_id": "toolu_1"},
        {"role": "tool", "content": "Error: no\n\nway", "tool_call_id": "toolu_2"},
        {"role": "tool", "content": "", "tool_call_id": "toolu_3"},
        {"role": "user", "content": "and now?"},
    ]


def test_pictures_are_passed_on_as_data_urls() -> None:
    (message,) = asked(messages=[{"role": "user", "content": [PICTURE, text("What is it?")]}]).messages
    assert message["content"] == [
        {"type": "image_url", "image_url": {"url": PNG}},
        {"type": "text", "text": "What is it?"},
    ]
    assert wants(messages=[{"role": "user", "content": [PICTURE]}]).needs_vision


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({}, "It rains."),
        ({"title": "Weather", "citations": {"enabled": False}}, "Document: Weather\nIt rains."),
        ({"title": "Weather", "context": "of today"}, "Document: Weather\nof today\nIt rains."),
        ({"title": None, "context": None, "cache_control": {"type": "ephemeral"}}, "It rains."),
    ],
)
def test_a_document_that_is_text_is_text_of_the_prompt(more: dict[str, Any], told: str) -> None:
    document = {**DOCUMENT, **more}
    (message,) = asked(messages=[{"role": "user", "content": [document, text("Does it?")]}]).messages
    assert message["content"] == f"{told}\n\nDoes it?"
    (message,) = asked(messages=[{"role": "user", "content": [PICTURE, document]}]).messages
    assert message["content"][1] == {"type": "text", "text": told}


@pytest.mark.parametrize(
    ("role", "block", "reason"),
    [
        ("user", {"type": "image", "source": {"type": "url", "url": "https://x/y.png"}}, "nothing is fetched"),
        ("user", {"type": "image", "source": {"type": "file", "file_id": "f"}}, "nothing is fetched"),
        ("user", a_picture(media_type="image/gif"), "image/gif are not supported"),
        ("user", a_picture(media_type="text/png"), "not supported"),
        ("user", a_picture(data="%%"), "not base64"),
        ("user", a_document(type="url", url="https://x/y.pdf"), "source 'url' cannot be read"),
        ("user", a_document(type="base64", media_type="application/pdf"), "source 'base64' cannot be read"),
        ("user", a_document(media_type="text/html"), "media_type"),
        ("user", {**DOCUMENT, "citations": {"enabled": True}}, "Leave 'citations' out"),
        ("assistant", DOCUMENT, "a turn of the assistant has no document"),
        ("user", {"type": "tool_result", "tool_use_id": "t", "content": [PICTURE]}, "text"),
        ("user", CALL, "a turn of the user has no tool_use"),
        ("user", {"type": "thinking", "thinking": "x"}, "a turn of the user has no thinking"),
        ("assistant", PICTURE, "a turn of the assistant has no image"),
        ("assistant", {"type": "tool_result", "tool_use_id": "t"}, "a turn of the assistant has no tool_result"),
        ("assistant", {**CALL, "input": "{}"}, "input"),
        ("system", text("x"), "role"),
    ],
)
def test_a_block_that_cannot_be_used_is_refused_with_the_reason(role: str, block: Any, reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        asked(messages=[{"role": role, "content": [block]}, HI])


# -- everything else


def test_how_tokens_are_drawn_reaches_the_worker() -> None:
    made = asked(max_tokens=7, temperature=0.5, top_p=0.9, top_k=40, stop_sequences=["END", "\n\n"])
    assert (made.max_tokens, made.stop) == (7, ["END", "\n\n"])
    assert (made.sampling.temperature, made.sampling.top_p, made.sampling.top_k) == (0.5, 0.9, 40)


def test_tools_are_offered_in_openais_shape() -> None:
    (tool,) = asked(tools=[{**TOOL, "type": "custom", "cache_control": {"type": "ephemeral"}}]).tools
    assert tool == {
        "type": "function",
        "function": {"name": "f", "description": "does it", "parameters": {"type": "object"}},
    }


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        ({"type": "auto"}, ("auto", None, True)),
        ({"type": "auto", "disable_parallel_tool_use": True}, ("auto", None, False)),
        ({"type": "any"}, ("required", None, True)),
        ({"type": "tool", "name": "f"}, ("function", "f", True)),
        ({"type": "none"}, ("none", None, True)),
    ],
)
def test_the_choice_among_tools_reaches_the_worker(choice: Any, told: Any) -> None:
    made = asked(tools=[TOOL], tool_choice=choice)
    assert (made.tool_choice, made.tool_name, made.has_parallel_calls) == told
    assert bool(made.tools) == (choice["type"] != "none")


@pytest.mark.parametrize(
    ("thinking", "wanted"),
    [
        (None, None),
        ({"type": "enabled", "budget_tokens": 1024}, True),
        ({"type": "enabled", "budget_tokens": 1024, "display": "summarized"}, True),
        ({"type": "adaptive"}, None),
        ({"type": "disabled"}, False),
    ],
)
def test_whether_it_reasons_first_is_wanted(thinking: Any, wanted: bool | None) -> None:
    assert wants(max_tokens=2000, thinking=thinking).thinking is wanted


def test_an_output_format_is_held_to() -> None:
    schema = {"type": "object"}
    made = asked(output_config={"format": {"type": "json_schema", "schema": schema}, "effort": "high"})
    assert made.guide == Guide(kind="json_schema", text=json.dumps(schema))


@pytest.mark.parametrize("name", sorted(NEUTRAL))
def test_what_nothing_here_can_honour_is_refused_unless_it_asks_for_nothing(name: str) -> None:
    for neutral in (None, *NEUTRAL[name]):
        asked(**{name: neutral})
    with pytest.raises(UnsupportedParameter, match=name) as caught:
        asked(**{name: "something special"})
    assert caught.value.param == name


def test_what_changes_nothing_is_taken() -> None:
    fields: dict[str, Any] = {
        "metadata": {"user_id": "me"},
        "service_tier": "auto",
        "cache_control": {"type": "ephemeral", "ttl": "1h"},
    }
    assert asked(**fields).messages == [HI]


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": None}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"temperature": 1.1}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"top_k": -1}, "top_k"),
        ({"stop_sequences": [""]}, "stop_sequences"),
        ({"stop_sequences": ["x"] * 17}, "stop_sequences"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "runs on Anthropic's servers"),
        ({"tools": [{**TOOL, "defer_loading": True}]}, "tools.0.defer_loading"),
        ({"tools": [{**TOOL, "name": "no name"}]}, "tools.0.name"),
        ({"tool_choice": {"type": "tool"}}, "tool_choice"),
        ({"tool_choice": {"type": "any", "name": "f"}}, "tool_choice"),
        ({"tool_choice": {"type": "any"}}, "tool_choice"),
        ({"tool_choice": {"type": "tool", "name": "g"}, "tools": [TOOL]}, "'g'"),
        ({"thinking": {"type": "enabled"}}, "thinking"),
        ({"thinking": {"type": "enabled", "budget_tokens": 1023}}, "thinking.budget_tokens"),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, "less than 'max_tokens'"),
        ({"thinking": {"type": "disabled", "budget_tokens": 1024}}, "thinking"),
        ({"thinking": {"type": "adaptive", "display": "omitted"}}, "thinking.display"),
        ({"output_config": {"effort": "low"}}, "output_config.effort"),
        ({"mcp_servers": [{}]}, "mcp_servers"),
        ({"no_such_thing": 1}, "no_such_thing"),
        ({"messages": [HI] + [{"role": "assistant", "content": "x"}, HI] * 5}, "max_messages"),
    ],
)
@on_loop
async def test_what_cannot_be_honoured_is_a_400_that_names_it(fields: dict[str, Any], says: str) -> None:
    async with endpoint(finished()) as served:
        response = await served.post_to("/v1/messages", {"model": "a", "max_tokens": 10, "messages": [HI], **fields})
        assert served.all_asked == []
    assert_error(response, "invalid_request_error", says)


@on_loop
async def test_a_conversation_on_the_server_is_refused_as_their_client_expects_it() -> None:
    async with endpoint(finished()) as served:
        body = {"model": "a", "max_tokens": 10, "messages": [HI], "thread": {"type": "create"}}
        response = await served.post_to("/v1/messages", body)
    assert response.json()["error"]["details"] == {"error_code": "thread_unsupported_request"}


def assert_error(response: httpx.Response, kind: str, says: str) -> None:
    body = response.json()
    assert (response.status_code, body["type"], body["error"]["type"]) == (400, "error", kind)
    assert says in body["error"]["message"]
    assert set(body["error"]) == {"type", "message", "details"}
