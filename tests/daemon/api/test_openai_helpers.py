"""What the official client builds on top of the endpoint: parsed answers, stream events, tools."""

from __future__ import annotations

import json
from typing import Any, Literal

import openai
import pytest
from pydantic import BaseModel

from daemon.pool.protocol import Delta, TokenLogprob, ToolCallDelta
from tests.daemon.api.scripted import endpoint
from tests.daemon.test_answers import finished
from tests.fakes import on_loop

ASK: dict[str, Any] = {"model": "a", "messages": [{"role": "user", "content": "hi"}]}


class City(BaseModel):
    name: str
    size: Literal["small", "large"]


class Weather(BaseModel):
    """The weather of a city."""

    city: str


PARIS = City(name="Paris", size="large")


def in_pieces(text: str, choice: int = 0) -> list[Delta]:
    return [Delta("r", text[at : at + 5], 1, choice=choice) for at in range(0, len(text), 5)]


@on_loop
async def test_an_answer_is_parsed_into_the_model_it_was_asked_for() -> None:
    async with endpoint(*in_pieces(PARIS.model_dump_json()), finished()) as served:
        answer = await served.client.chat.completions.parse(**ASK, response_format=City)
        guide = served.asked.guide
    assert answer.choices[0].message.parsed == PARIS
    assert guide is not None
    assert guide.kind == "json_schema"
    schema = json.loads(guide.text)
    assert (set(schema["required"]), schema["additionalProperties"]) == ({"name", "size"}, False)


@on_loop
async def test_an_answer_that_was_cut_off_is_not_parsed() -> None:
    async with endpoint(*in_pieces('{"name": "Par'), finished(finish_reason="length")) as served:
        with pytest.raises(openai.LengthFinishReasonError):
            await served.client.chat.completions.parse(**ASK, response_format=City)


@on_loop
async def test_stream_events_end_in_the_parsed_answer() -> None:
    text = PARIS.model_dump_json()
    async with (
        endpoint(*in_pieces(text), finished()) as served,
        served.client.chat.completions.stream(
            **ASK, response_format=City, stream_options={"include_usage": True}
        ) as stream,
    ):
        events = [event async for event in stream]
        final = await stream.get_final_completion()
    assert "".join(event.delta for event in events if event.type == "content.delta") == text
    assert [event.parsed for event in events if event.type == "content.done"] == [PARIS]
    assert final.choices[0].message.parsed == PARIS
    assert final.choices[0].finish_reason == "stop"
    assert final.usage.prompt_tokens_details.cached_tokens == 0


@on_loop
async def test_streamed_tool_calls_are_put_together_and_parsed() -> None:
    pieces = [
        ToolCallDelta(index=0, name="Weather"),
        ToolCallDelta(index=0, arguments='{"city": "Pa'),
        ToolCallDelta(index=0, arguments='ris"}'),
        ToolCallDelta(index=1, name="Weather", arguments='{"city": "Oslo"}'),
    ]
    script = [Delta("r", "", 1, tool_calls=[piece]) for piece in pieces]
    tool = openai.pydantic_function_tool(Weather)
    async with endpoint(*script, finished(finish_reason="tool_calls")) as served:
        async with served.client.chat.completions.stream(**ASK, tools=[tool], tool_choice="required") as stream:
            events = [event async for event in stream]
            final = await stream.get_final_completion()
        whole = await served.client.chat.completions.parse(**ASK, tools=[tool])
        assert served.asked.tools[0]["function"]["strict"] is True
    done = [event for event in events if event.type == "tool_calls.function.arguments.done"]
    assert [event.parsed_arguments for event in done] == [Weather(city="Paris"), Weather(city="Oslo")]
    for answer in (final, whole):
        calls = answer.choices[0].message.tool_calls
        assert [call.function.parsed_arguments.city for call in calls] == ["Paris", "Oslo"]
        assert len({call.id for call in calls}) == 2


@on_loop
async def test_the_tools_loop_sends_back_what_it_was_sent() -> None:
    call = ToolCallDelta(index=0, name="Weather", arguments='{"city": "Paris"}')
    script = (Delta("r", "", 1, reasoning="I call it.", tool_calls=[call]), finished(finish_reason="tool_calls"))
    tool = openai.pydantic_function_tool(Weather)
    async with endpoint(*script) as served:
        first = await served.client.chat.completions.create(**ASK, tools=[tool])
        message = first.choices[0].message
        result = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "sunny"}
        await served.client.chat.completions.create(
            model="a", messages=[*ASK["messages"], message, result], tools=[tool]
        )
        sent = served.asked.messages
    assert sent[1]["tool_calls"][0]["function"] == {"name": "Weather", "arguments": '{"city": "Paris"}'}
    assert sent[1]["tool_calls"][0]["id"] == sent[2]["tool_call_id"]


@on_loop
async def test_several_answers_and_their_log_probabilities_are_typed() -> None:
    token = TokenLogprob(token="a", bytes=[97], logprob=-0.5, top=[TokenLogprob(token="b", bytes=[98], logprob=-1.5)])
    script = [Delta("r", "a", 1, choice=choice, logprobs=[token]) for choice in (0, 1, 1)]
    async with endpoint(*script, finished(finish_reasons=["stop", "tool_calls"])) as served:
        asked = {**ASK, "n": 2, "logprobs": True, "top_logprobs": 1}
        whole = await served.client.chat.completions.create(**asked)
        async with served.client.chat.completions.stream(**asked) as stream:
            final = await stream.get_final_completion()
    for answer in (whole, final):
        assert [choice.message.content for choice in answer.choices] == ["a", "aa"]
        assert [choice.finish_reason for choice in answer.choices] == ["stop", "tool_calls"]
        logprobs = [choice.logprobs.content for choice in answer.choices]
        assert [len(tokens) for tokens in logprobs] == [1, 2]
        assert (logprobs[1][1].token, logprobs[1][1].top_logprobs[0].logprob) == ("a", -1.5)
