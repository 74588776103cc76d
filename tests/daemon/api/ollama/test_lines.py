"""The lines of JSON, key by key as Ollama's API reference has them, and what a whole answer has in their place."""

from __future__ import annotations

from typing import Any

import pytest

from daemon.pool.protocol import Delta, Failed, TokenLogprob, ToolCallDelta
from tests.daemon.api.ollama.served import CHAT, PROMPT, ollama
from tests.daemon.test_answers import finished
from tests.fakes import on_loop

# 100 tokens of prompt read in 0.4 s beyond the queue, 11 written in 1 s.
NUMBERS = {
    "prompt_eval_count": 100,
    "prompt_eval_duration": 400_000_000,
    "eval_count": 11,
    "eval_duration": 1_000_000_000,
}
TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}


def said(content: str, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **more}


def call(name: str, **arguments: Any) -> dict[str, Any]:
    return {"function": {"name": name, "arguments": arguments}}


@on_loop
async def test_a_chat_streams_its_text_and_ends_with_the_numbers() -> None:
    async with ollama(Delta("r", "Hel", 1), Delta("r", "lo", 1), finished()) as served:
        assert await served.lines("chat", CHAT) == [
            {"model": "a:1", "message": said("Hel"), "done": False},
            {"model": "a:1", "message": said("lo"), "done": False},
            {"model": "a:1", "message": said(""), "done": True, "done_reason": "stop", **NUMBERS},
        ]
        assert await served.whole("chat", CHAT) == {
            "model": "a:1",
            "message": said("Hello"),
            "done": True,
            "done_reason": "stop",
            **NUMBERS,
        }


@on_loop
async def test_a_prompt_streams_its_text_and_ends_with_the_numbers() -> None:
    async with ollama(Delta("r", "Hel", 1), Delta("r", "lo", 1), finished(finish_reason="length")) as served:
        assert await served.lines("generate", PROMPT) == [
            {"model": "a:1", "response": "Hel", "done": False},
            {"model": "a:1", "response": "lo", "done": False},
            {"model": "a:1", "response": "", "done": True, "done_reason": "length", **NUMBERS},
        ]
        whole = await served.whole("generate", PROMPT)
        assert whole == {"model": "a:1", "response": "Hello", "done": True, "done_reason": "length", **NUMBERS}


@on_loop
async def test_every_line_has_its_time_and_the_last_one_what_it_took() -> None:
    async with ollama(Delta("r", "x", 1), finished()) as served:
        first, last = (await served.post("chat", CHAT)).text.strip().split("\n")
        assert '"created_at":"20' in first
        assert "_duration" not in first
        assert '"total_duration":' in last
        assert '"load_duration":' in last


@on_loop
async def test_reasoning_comes_apart_as_thinking() -> None:
    script = (Delta("r", "", 1, reasoning="Hm"), Delta("r", "", 1, reasoning="m."), Delta("r", "4", 1), finished())
    async with ollama(*script) as served:
        *parts, _end = await served.lines("chat", CHAT)
        assert [part["message"] for part in parts] == [said("", thinking="Hm"), said("", thinking="m."), said("4")]
        assert (await served.whole("chat", CHAT))["message"] == said("4", thinking="Hmm.")
        first, *_ = await served.lines("generate", PROMPT)
        assert first == {"model": "a:1", "response": "", "thinking": "Hm", "done": False}
        assert (await served.whole("generate", PROMPT))["thinking"] == "Hmm."


@on_loop
async def test_a_call_comes_whole_with_its_arguments_as_an_object() -> None:
    pieces = (
        Delta("r", "Let me see. ", 1),
        Delta("r", "", 1, tool_calls=[ToolCallDelta(index=0, name="f", arguments='{"city": ')]),
        Delta("r", "", 1, tool_calls=[ToolCallDelta(index=0, arguments='"Oslo"}')]),
        Delta("r", "", 1, tool_calls=[ToolCallDelta(index=1, name="g")]),
        finished(finish_reason="tool_calls"),
    )
    async with ollama(*pieces) as served:
        *parts, end = await served.lines("chat", {**CHAT, "tools": [TOOL]})
        assert [part["message"] for part in parts] == [
            said("Let me see. "),
            said("", tool_calls=[call("f", city="Oslo")]),
            said("", tool_calls=[call("g")]),
        ]
        assert end["done_reason"] == "stop"
        whole = await served.whole("chat", {**CHAT, "tools": [TOOL]})
        assert whole["message"] == said("Let me see. ", tool_calls=[call("f", city="Oslo"), call("g")])


@pytest.mark.parametrize("arguments", ['{"city": "Os', "[1]", "[" * 100_000])
@on_loop
async def test_what_was_cut_off_before_it_was_a_call_is_text(arguments: str) -> None:
    piece = Delta("r", "", 1, tool_calls=[ToolCallDelta(index=0, name="f", arguments=arguments)])
    async with ollama(piece, finished(finish_reason="length")) as served:
        whole = await served.whole("chat", {**CHAT, "tools": [TOOL]})
        assert (whole["message"], whole["done_reason"]) == (said(arguments), "length")


@on_loop
async def test_log_probabilities_stand_beside_their_text() -> None:
    other = TokenLogprob(token="lo", bytes=[108, 111], logprob=float("-inf"))
    token = TokenLogprob(token="hi", bytes=[104, 105], logprob=-0.5, top=[other])
    told = {
        "token": "hi",
        "bytes": [104, 105],
        "logprob": -0.5,
        "top_logprobs": [{"token": "lo", "bytes": [108, 111], "logprob": -9999.0}],
    }
    async with ollama(Delta("r", "hi", 1, logprobs=[token]), finished()) as served:
        first, end = await served.lines("chat", {**CHAT, "logprobs": True, "top_logprobs": 1})
        assert first == {"model": "a:1", "message": said("hi"), "logprobs": [told], "done": False}
        assert "logprobs" not in end
        assert (await served.whole("generate", {**PROMPT, "logprobs": True, "top_logprobs": 1}))["logprobs"] == [told]
        assert "logprobs" not in await served.whole("chat", CHAT)


@on_loop
async def test_an_answer_that_breaks_says_so_in_its_last_line() -> None:
    broken = Failed(request_id="r", code="generation_failed", message="The engine broke.")
    async with ollama(Delta("r", "Hel", 1), broken) as served:
        assert await served.lines("chat", CHAT) == [
            {"model": "a:1", "message": said("Hel"), "done": False},
            {"error": "The engine broke.", "code": "generation_failed"},
        ]
        response = await served.post("chat", {**CHAT, "stream": False})
        assert (response.status_code, response.json()) == (
            500,
            {"error": "The engine broke.", "code": "generation_failed"},
        )


@on_loop
async def test_an_answer_whose_end_never_comes_is_an_error() -> None:
    async with ollama(Delta("r", "Hel", 1)) as served:
        *_, end = await served.lines("chat", CHAT)
        assert "never came" in end["error"]


@on_loop
async def test_line_breaks_in_the_text_break_no_line() -> None:
    async with ollama(Delta("r", "a\nb\u2028c\r", 1), finished()) as served:
        first, _end = await served.lines("chat", CHAT)
        assert first["message"]["content"] == "a\nb\u2028c\r"
        assert "\u2028" not in (await served.post("chat", CHAT)).text
