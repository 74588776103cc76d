"""Byte for byte, what a client reads of a streamed answer."""

from __future__ import annotations

import json
import math
from typing import Any

from daemon.pool.protocol import Delta, Failed, TokenLogprob, ToolCallDelta
from registry.errors import GenerationFailed
from tests.daemon.api.chats import a_tool
from tests.daemon.api.scripted import endpoint
from tests.daemon.test_answers import finished
from tests.fakes import on_loop

HI = TokenLogprob(
    token="Hi",
    bytes=[72, 105],
    logprob=-0.25,
    top=[
        TokenLogprob(token="Hi", bytes=[72, 105], logprob=-0.25),
        TokenLogprob(token="�", bytes=[240, 159], logprob=-math.inf),
    ],
)
HI_JSON = {
    "token": "Hi",
    "bytes": [72, 105],
    "logprob": -0.25,
    "top_logprobs": [
        {"token": "Hi", "bytes": [72, 105], "logprob": -0.25},
        {"token": "�", "bytes": [240, 159], "logprob": -9999.0},
    ],
}
USAGE = {
    "prompt_tokens": 100,
    "completion_tokens": 11,
    "total_tokens": 111,
    "prompt_tokens_details": {"cached_tokens": 64, "audio_tokens": 0},
    "completion_tokens_details": {
        "reasoning_tokens": 3,
        "audio_tokens": 0,
        "accepted_prediction_tokens": 0,
        "rejected_prediction_tokens": 0,
    },
}


def says(text: str = "", *, choice: int = 0, **fields: Any) -> Delta:
    return Delta("r", text, 1, choice=choice, **fields)


def calls(index: int, name: str | None, arguments: str = "") -> Delta:
    return says(tool_calls=[ToolCallDelta(index=index, name=name, arguments=arguments)])


@on_loop
async def test_a_plain_answer_byte_for_byte() -> None:
    async with endpoint(says("Hél"), says("lo\u2028"), finished()) as served:
        frames = await served.frames()
    first = json.loads(frames[0])
    assert first["id"].startswith("chatcmpl-")
    assert isinstance(first["created"], int)
    head = (
        f'{{"id":"{first["id"]}","object":"chat.completion.chunk","created":{first["created"]},"model":"a:1",'
        '"choices":[{"index":0,"delta":'
    )
    tail = ',"logprobs":null,"finish_reason":null}]}'
    assert frames == [
        head + '{"role":"assistant","content":"","refusal":null}' + tail,
        head + '{"content":"H\\u00e9l"}' + tail,
        head + '{"content":"lo\\u2028"}' + tail,
        head + '{},"logprobs":null,"finish_reason":"stop"}]}',
        "[DONE]",
    ]


@on_loop
async def test_usage_comes_last_and_is_null_before_where_it_is_asked_for() -> None:
    script = (says("Hi"), finished(cached_tokens=64, reasoning_tokens=3))
    async with endpoint(*script) as served:
        *chunks, last = await served.chunks(stream_options={"include_usage": True})
        assert all("usage" not in chunk for chunk in await served.chunks(stream_options={"include_usage": False}))
        whole = (await served.post()).json()
    assert [chunk["usage"] for chunk in chunks] == [None] * 3
    assert all(len(chunk["choices"]) == 1 for chunk in chunks)
    assert (last["choices"], last["usage"]) == ([], USAGE)
    assert whole["usage"] == USAGE


@on_loop
async def test_a_tool_call_is_announced_and_then_its_arguments_come_in_pieces() -> None:
    script = (
        says("Let me see. "),
        calls(0, "f"),
        calls(0, None, '{"a":'),
        calls(0, None, " 1}"),
        calls(1, "g", "{}"),
        finished(finish_reason="tool_calls"),
    )
    async with endpoint(*script) as served:
        chunks = await served.chunks(tools=[a_tool("f"), a_tool("g")])
        whole = (await served.post(tools=[a_tool("f"), a_tool("g")])).json()["choices"][0]
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
    first, second = (deltas[at]["tool_calls"][0].pop("id") for at in (2, 5))
    assert deltas == [
        {"role": "assistant", "content": "", "refusal": None},
        {"content": "Let me see. "},
        {"tool_calls": [{"index": 0, "type": "function", "function": {"name": "f", "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"a":'}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": " 1}"}}]},
        {"tool_calls": [{"index": 1, "type": "function", "function": {"name": "g", "arguments": "{}"}}]},
        {},
    ]
    assert first.startswith("call_")
    assert second.startswith("call_")
    assert first != second
    assert chunks[-1]["choices"][0]["finish_reason"] == whole["finish_reason"] == "tool_calls"
    assert whole["message"]["content"] == "Let me see. "
    assert [(call["type"], call["function"]) for call in whole["message"]["tool_calls"]] == [
        ("function", {"name": "f", "arguments": '{"a": 1}'}),
        ("function", {"name": "g", "arguments": "{}"}),
    ]


@on_loop
async def test_an_answer_of_nothing_but_calls_has_no_content_and_one_of_nothing_has_an_empty_one() -> None:
    async with endpoint(calls(0, "f", "{}"), finished(finish_reason="tool_calls")) as served:
        called = (await served.post(tools=[a_tool()])).json()["choices"][0]["message"]
    async with endpoint(finished()) as served:
        silent = (await served.post()).json()["choices"][0]["message"]
    assert called["content"] is None
    assert silent == {"role": "assistant", "content": "", "refusal": None}


@on_loop
async def test_reasoning_comes_beside_the_content() -> None:
    script = (says(reasoning="2 and 2"), says("4", reasoning=" is 4"), finished())
    async with endpoint(*script) as served:
        deltas = [chunk["choices"][0]["delta"] for chunk in await served.chunks()]
        whole = (await served.post()).json()["choices"][0]["message"]
    assert deltas[1:-1] == [{"reasoning_content": "2 and 2"}, {"reasoning_content": " is 4"}, {"content": "4"}]
    assert (whole["reasoning_content"], whole["content"]) == ("2 and 2 is 4", "4")


@on_loop
async def test_log_probabilities_stand_beside_the_text_they_are_of() -> None:
    script = (says(reasoning="hm", logprobs=[HI]), says("Hi", logprobs=[HI]), says(logprobs=[HI]), finished())
    async with endpoint(*script) as served:
        chunks = await served.chunks(logprobs=True, top_logprobs=2)
        whole = (await served.post(logprobs=True, top_logprobs=2)).json()["choices"][0]
        assert served.asked.top_logprobs == 2
        unasked = (await served.post()).json()["choices"][0]
    said = [(choice["delta"], choice["logprobs"]) for chunk in chunks for choice in chunk["choices"]]
    assert said[1:] == [
        ({"reasoning_content": "hm"}, None),
        ({"content": "Hi"}, {"content": [HI_JSON], "refusal": None}),
        ({"content": ""}, {"content": [HI_JSON], "refusal": None}),
        ({}, None),
    ]
    assert whole["logprobs"] == {"content": [HI_JSON, HI_JSON], "refusal": None}
    assert unasked["logprobs"] is None


@on_loop
async def test_several_answers_each_begin_go_on_and_end_under_their_number() -> None:
    script = (
        says("a", choice=1),
        says("b", choice=0),
        says("c", choice=1),
        finished(finish_reason="length", finish_reasons=["length", "stop"]),
    )
    async with endpoint(*script) as served:
        chunks = await served.chunks(n=2)
        whole = (await served.post(n=2)).json()["choices"]
        assert served.asked.choices == 2
    assert all(len(chunk["choices"]) == 1 for chunk in chunks)
    told = [(chunk["choices"][0]["index"], chunk["choices"][0]["delta"].get("content")) for chunk in chunks]
    assert told == [(0, ""), (1, ""), (1, "a"), (0, "b"), (1, "c"), (0, None), (1, None)]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks[-2:]] == ["length", "stop"]
    assert [(c["index"], c["message"]["content"], c["finish_reason"]) for c in whole] == [
        (0, "b", "length"),
        (1, "ac", "stop"),
    ]


@on_loop
async def test_an_answer_that_breaks_ends_with_the_error_and_without_done() -> None:
    script = (says("Hi"), Failed(request_id="r", code=GenerationFailed.code, message="The engine broke."))
    async with endpoint(*script) as served:
        *_, last = await served.frames()
        whole = await served.post()
    assert json.loads(last)["error"]["message"] == "The engine broke."
    assert (whole.status_code, whole.json()["error"]) == (500, json.loads(last)["error"])


@on_loop
async def test_an_answer_whose_end_never_comes_is_an_error_and_no_answer() -> None:
    async with endpoint(says("Hi")) as served:
        *_, last = await served.frames()
        whole = await served.post()
    assert json.loads(last)["error"]["code"] == "generation_failed"
    assert (whole.status_code, "broke off" in whole.json()["error"]["message"]) == (500, True)
