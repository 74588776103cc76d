"""What a client reads of a message, byte for byte, and what a whole one says."""

from __future__ import annotations

import json
from typing import Any

import pytest

from daemon.api.errors import error_response
from daemon.pool.protocol import Delta, Failed, ToolCallDelta
from registry.errors import GenerationFailed, WorkerDied
from tests.daemon.api.scripted import Endpoint, endpoint
from tests.daemon.test_answers import finished
from tests.fakes import on_loop

ASK: dict[str, Any] = {"model": "a", "max_tokens": 50, "messages": [{"role": "user", "content": "hi"}]}


def says(text: str = "", **fields: Any) -> Delta:
    return Delta("r", text, 1, **fields)


def calls(index: int, name: str | None, arguments: str = "") -> Delta:
    return says(tool_calls=[ToolCallDelta(index=index, name=name, arguments=arguments)])


async def raw(served: Endpoint, **fields: Any) -> str:
    response = await served.post_to("/v1/messages", {**ASK, "stream": True, **fields})
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/event-stream")
    return response.text


async def events(served: Endpoint, **fields: Any) -> list[dict[str, Any]]:
    """Decoded; the name of each is its type."""
    told = []
    for event in (await raw(served, **fields)).split("\n\n")[:-1]:
        name, data = event.split("\n")
        told.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {told[-1]['type']}"
    return told


async def whole(served: Endpoint, **fields: Any) -> Any:
    response = await served.post_to("/v1/messages", {**ASK, **fields})
    assert response.status_code == 200, response.text
    return response.json()


@on_loop
async def test_a_plain_answer_byte_for_byte() -> None:
    async with endpoint(says("Hél"), says("lo\u2028"), finished(cached_tokens=64)) as served:
        text = await raw(served)
    message_id = json.loads(text.split("\n")[1].removeprefix("data: "))["message"]["id"]
    assert message_id.startswith("msg_")
    assert text == (
        "event: message_start\n"
        f'data: {{"type":"message_start","message":{{"id":"{message_id}","type":"message","role":"assistant",'
        '"model":"a:1","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":100,'
        '"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":0}}}\n\n'
        'event: ping\ndata: {"type":"ping"}\n\n'
        "event: content_block_start\n"
        'data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}\n\n'
        "event: content_block_delta\n"
        'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"H\\u00e9l"}}\n\n'
        "event: content_block_delta\n"
        'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"lo\\u2028"}}\n\n'
        'event: content_block_stop\ndata: {"type":"content_block_stop","index":0}\n\n'
        "event: message_delta\n"
        'data: {"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":'
        '{"input_tokens":36,"cache_creation_input_tokens":0,"cache_read_input_tokens":64,"output_tokens":11,'
        '"output_tokens_details":{"thinking_tokens":0}}}\n\n'
        'event: message_stop\ndata: {"type":"message_stop"}\n\n'
    )


@on_loop
async def test_thoughts_text_and_calls_are_blocks_one_after_the_other() -> None:
    script = (
        says(reasoning="I call"),
        says(reasoning=" it."),
        says("Let me see."),
        calls(0, "f"),
        calls(0, None, '{"a":'),
        calls(0, None, " 1}"),
        calls(1, "g", "{}"),
        finished(finish_reason="tool_calls", reasoning_tokens=3),
    )
    async with endpoint(*script) as served:
        start, ping, *blocks, delta, stop = await events(served)
        message = await whole(served)
    opened = [event["content_block"] for event in blocks if "content_block" in event]
    ids = [block.pop("id") for block in opened if block["type"] == "tool_use"]
    assert [event.get("content_block") or event.get("delta") or event["type"] for event in blocks] == [
        {"type": "thinking", "thinking": "", "signature": ""},
        {"type": "thinking_delta", "thinking": "I call"},
        {"type": "thinking_delta", "thinking": " it."},
        {"type": "signature_delta", "signature": "unsigned"},
        "content_block_stop",
        {"type": "text", "text": ""},
        {"type": "text_delta", "text": "Let me see."},
        "content_block_stop",
        {"type": "tool_use", "name": "f", "input": {}},
        {"type": "input_json_delta", "partial_json": '{"a":'},
        {"type": "input_json_delta", "partial_json": " 1}"},
        "content_block_stop",
        {"type": "tool_use", "name": "g", "input": {}},
        {"type": "input_json_delta", "partial_json": "{}"},
        "content_block_stop",
    ]
    assert [event["index"] for event in blocks] == [0] * 5 + [1] * 3 + [2] * 4 + [3] * 3
    assert (start["type"], ping["type"], stop["type"]) == ("message_start", "ping", "message_stop")
    assert delta["delta"] == {"stop_reason": "tool_use", "stop_sequence": None}
    assert delta["usage"]["output_tokens_details"] == {"thinking_tokens": 3}
    assert all(each.startswith("toolu_") for each in ids)
    assert len(set(ids)) == 2
    assert message["content"][:2] == [
        {"type": "thinking", "thinking": "I call it.", "signature": "unsigned"},
        {"type": "text", "text": "Let me see."},
    ]
    assert [(block["name"], block["input"]) for block in message["content"][2:]] == [("f", {"a": 1}), ("g", {})]
    assert (message["stop_reason"], message["usage"]) == ("tool_use", delta["usage"])


@on_loop
async def test_an_answer_of_nothing_has_no_blocks() -> None:
    async with endpoint(finished()) as served:
        assert [event["type"] for event in await events(served)] == [
            *("message_start", "ping", "message_delta", "message_stop")
        ]
        assert (await whole(served))["content"] == []


@pytest.mark.parametrize(
    ("end", "reason", "sequence"),
    [
        ({"finish_reason": "stop"}, "end_turn", None),
        ({"finish_reason": "stop", "stop_string": "END"}, "stop_sequence", "END"),
        ({"finish_reason": "length", "completion_tokens": 50}, "max_tokens", None),
        ({"finish_reason": "length", "completion_tokens": 49}, "model_context_window_exceeded", None),
    ],
)
@on_loop
async def test_why_an_answer_ended_is_told_in_their_words(
    end: dict[str, Any], reason: str, sequence: str | None
) -> None:
    async with endpoint(says("x"), finished(**end)) as served:
        message, delta = await whole(served), (await events(served))[-2]["delta"]
    assert (message["stop_reason"], message["stop_sequence"]) == (reason, sequence)
    assert delta == {"stop_reason": reason, "stop_sequence": sequence}


@on_loop
async def test_arguments_that_are_no_json_are_an_error_unless_they_were_cut_off() -> None:
    for arguments in ('{"a": ', "[1]"):
        script = (calls(0, "f", arguments), finished(finish_reason="tool_calls"))
        async with endpoint(*script) as served:
            broken = await served.post_to("/v1/messages", ASK)
        assert (broken.status_code, broken.json()["error"]["type"]) == (500, "api_error")
        assert "'f'" in broken.json()["error"]["message"]
    async with endpoint(calls(0, "f", '{"a": '), finished(finish_reason="length", completion_tokens=50)) as served:
        cut = await whole(served)
    assert (cut["content"][0]["input"], cut["stop_reason"]) == ({}, "max_tokens")


@on_loop
async def test_a_stream_that_breaks_ends_with_an_error_event() -> None:
    script = (says("Hi"), Failed(request_id="r", code=GenerationFailed.code, message="The engine broke."))
    async with endpoint(*script) as served:
        text = await raw(served)
        response = await served.post_to("/v1/messages", ASK)
    error = {"type": "api_error", "message": "The engine broke.", "details": {"error_code": "generation_failed"}}
    name, data = text.split("\n\n")[-2].split("\n")
    assert (name, json.loads(data.removeprefix("data: "))) == ("event: error", {"type": "error", "error": error})
    assert (response.status_code, response.json()) == (500, {"type": "error", "error": error})


@on_loop
async def test_an_answer_whose_end_never_comes_is_an_error() -> None:
    async with endpoint(says("Hi")) as served:
        assert (await events(served))[-1]["type"] == "error"
        assert (await served.post_to("/v1/messages", ASK)).status_code == 500
        assert served.active == 0


@on_loop
async def test_tokens_are_counted_without_an_answer() -> None:
    asked = {"model": "a", "messages": ASK["messages"], "system": "Be brief."}
    async with endpoint(says("never read"), finished()) as served:
        response = await served.post_to("/v1/messages/count_tokens", asked)
        assert (response.status_code, response.json()) == (200, {"input_tokens": 100})
        assert response.headers["x-slmreg-model"] == "a:1"
        assert (served.asked.max_tokens, served.active) == (1, 0)
        assert served.asked.messages[0] == {"role": "system", "content": "Be brief."}
        refused = await served.post_to("/v1/messages/count_tokens", {**asked, "max_tokens": 5})
    assert (refused.status_code, refused.json()["error"]["type"]) == (400, "invalid_request_error")


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [(WorkerDied("It died."), 502, "api_error"), (GenerationFailed("It broke."), 500, "api_error")],
)
def test_errors_of_the_server_are_told_apart_by_their_codes(error: Any, status: int, kind: str) -> None:
    response = error_response(error, "/v1/messages")
    body = json.loads(bytes(response.body))
    assert (response.status_code, body["error"]["type"], body["error"]["details"]["error_code"]) == (
        status,
        kind,
        error.code,
    )
