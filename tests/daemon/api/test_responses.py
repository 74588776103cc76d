"""The Responses API over a real pool whose worker says what the test wrote down, with the official client."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import httpx
import openai
import pytest
from fastapi import FastAPI

from daemon.api.errors import install_error_handlers
from daemon.api.responses.router import responses_router
from daemon.conversations import Bounds, Conversations
from daemon.pool.launch import Event
from daemon.pool.protocol import Delta, Failed, Generate, TokenLogprob, ToolCallDelta
from tests.daemon.test_answers import Bench, finished
from tests.fakes import on_loop

REASONED: list[Event] = [
    Delta("r", "", 2, reasoning="Let me "),
    Delta("r", "", 1, reasoning="think."),
    Delta("r", "Hel", 1),
    Delta("r", "lo", 1),
    finished(),
]
CALLS: list[Event] = [
    Delta("r", "", 1, tool_calls=[ToolCallDelta(index=0, name="get_weather")]),
    Delta("r", "", 1, tool_calls=[ToolCallDelta(index=0, arguments='{"city": ')]),
    Delta("r", "", 1, tool_calls=[ToolCallDelta(index=0, arguments='"Oslo"}')]),
    Delta("r", "", 1, tool_calls=[ToolCallDelta(index=1, name="get_time", arguments="{}")]),
    finished(finish_reason="tool_calls"),
]
WEATHER: dict[str, Any] = {"type": "function", "name": "get_weather", "parameters": {"type": "object"}}


def among(mode: str, *names: str) -> dict[str, Any]:
    return {"type": "allowed_tools", "mode": mode, "tools": [{"type": "function", "name": name} for name in names]}


@dataclass
class Responses:
    bench: Bench
    http: httpx.AsyncClient
    client: Any

    @property
    def asked(self) -> Generate:
        return cast(Generate, self.bench.launcher.asked[-1])

    async def post(self, **fields: Any) -> httpx.Response:
        return await self.http.post("/v1/responses", json={"model": "a", "input": "hi", **fields})

    async def events(self, **fields: Any) -> list[dict[str, Any]]:
        """Decoded; each has its name in both places, and the numbers count up."""
        response = await self.post(stream=True, **fields)
        assert response.headers["content-type"].startswith("text/event-stream")
        *frames, end = response.text.split("\n\n")
        assert end == ""
        events = []
        for number, frame in enumerate(frames):
            name, data = frame.split("\n")
            events.append(json.loads(data.removeprefix("data: ")))
            assert name == f"event: {events[-1]['type']}"
            assert events[-1].pop("sequence_number") == number
        return events


@asynccontextmanager
async def responses(path: Path, *script: Event, **limits: Any) -> AsyncIterator[Responses]:
    bench = Bench(*script)
    bounds = Bounds(**{"most": 10, "most_bytes": 10**6, "ttl_s": 3600.0, **limits})
    kept = Conversations(path / "kept.db", lambda: bounds)
    app = FastAPI()
    install_error_handlers(app)
    app.include_router(responses_router(bench.answers, kept, max_messages=lambda: 10))
    make: Any = openai.AsyncOpenAI
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://slmreg") as http:
        client = make(base_url="http://slmreg/v1", api_key="none", max_retries=0, http_client=http)
        yield Responses(bench, http, client)
    await bench.pool.close()
    kept.close()


@on_loop
async def test_an_answer_has_its_reasoning_and_text_as_items(tmp_path: Path) -> None:
    async with responses(tmp_path, *REASONED) as api:
        answer = await api.client.responses.create(model="a", input="hi", instructions="Be brief.")
        assert (answer.status, answer.object, answer.model, answer.error) == ("completed", "response", "a:1", None)
        assert answer.output_text == "Hello"
        reasoning, message = answer.output
        assert (reasoning.type, reasoning.content[0].text) == ("reasoning", "Let me think.")
        assert (message.role, message.status, message.content[0].annotations) == ("assistant", "completed", [])
        assert answer.usage.input_tokens == 100
        assert answer.usage.total_tokens == 100 + answer.usage.output_tokens
        assert api.asked.messages == [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "hi"},
        ]


@on_loop
async def test_only_the_allowed_tools_are_offered(tmp_path: Path) -> None:
    async with responses(tmp_path, *CALLS) as api:
        tools = [{**WEATHER, "name": "get_time"}, WEATHER]
        choice = among("required", "get_weather")
        answer = await api.client.responses.create(model="a", input="hi", tools=tools, tool_choice=choice)
        assert [tool["function"]["name"] for tool in api.asked.tools] == ["get_weather"]
        assert api.asked.tool_choice == "required"
        assert answer.tool_choice.to_dict() == choice


@on_loop
async def test_calls_of_tools_come_back_as_items_and_their_results_go_in(tmp_path: Path) -> None:
    async with responses(tmp_path, *CALLS) as api:
        answer = await api.client.responses.create(model="a", input="hi", tools=[WEATHER], tool_choice="required")
        first, second = answer.output
        assert (first.type, first.name, first.arguments) == ("function_call", "get_weather", '{"city": "Oslo"}')
        assert (second.name, second.arguments, second.status) == ("get_time", "{}", "completed")
        assert (api.asked.tool_choice, api.asked.tools[0]["function"]["name"]) == ("required", "get_weather")
        results = [{"type": "function_call_output", "call_id": first.call_id, "output": "4 degrees"}]
        await api.client.responses.create(model="a", previous_response_id=answer.id, input=results, tools=[WEATHER])
        asked, called, said = api.asked.messages
        assert asked == {"role": "user", "content": "hi"}
        assert [call["id"] for call in called["tool_calls"]] == [first.call_id, second.call_id]
        assert said == {"role": "tool", "content": "4 degrees", "tool_call_id": first.call_id}


@on_loop
async def test_a_stream_tells_each_item_from_its_beginning_to_its_end(tmp_path: Path) -> None:
    async with responses(tmp_path, *REASONED) as api:
        events = await api.events()
        assert [event["type"] for event in events] == [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.content_part.added",
            "response.reasoning_text.delta",
            "response.reasoning_text.delta",
            "response.reasoning_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.output_item.added",
            "response.content_part.added",
            "response.output_text.delta",
            "response.output_text.delta",
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.completed",
        ]
        assert events[0]["response"]["output"] == []
        assert events[2]["item"]["content"] == []
        assert events[10]["part"] == {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
        place = {key: events[11][key] for key in ("output_index", "content_index", "delta", "logprobs")}
        assert place == {"output_index": 1, "content_index": 0, "delta": "Hel", "logprobs": []}
        assert events[13]["text"] == "Hello"
        whole = events[-1]["response"]
        assert [item["id"] for item in whole["output"]] == [events[2]["item"]["id"], events[9]["item"]["id"]]


@on_loop
async def test_a_stream_of_calls_adds_up_to_their_arguments(tmp_path: Path) -> None:
    async with responses(tmp_path, *CALLS) as api:
        events = await api.events(tools=[WEATHER])
        assert [event["type"].removeprefix("response.") for event in events[2:-1]] == [
            "output_item.added",
            "function_call_arguments.delta",
            "function_call_arguments.delta",
            "function_call_arguments.done",
            "output_item.done",
            "output_item.added",
            "function_call_arguments.delta",
            "function_call_arguments.done",
            "output_item.done",
        ]
        assert events[2]["item"]["arguments"] == ""
        assert (events[5]["name"], events[5]["arguments"]) == ("get_weather", '{"city": "Oslo"}')


@on_loop
async def test_the_official_client_follows_a_stream(tmp_path: Path) -> None:
    async with responses(tmp_path, *REASONED) as api:
        async with api.client.responses.stream(model="a", input="hi") as stream:
            texts = [event.delta async for event in stream if event.type == "response.output_text.delta"]
            answer = await stream.get_final_response()
        assert texts == ["Hel", "lo"]
        assert answer.output_text == "Hello"


@on_loop
async def test_what_breaks_a_stream_is_its_last_event(tmp_path: Path) -> None:
    broken = Failed(request_id="r", code="generation_failed", message="The engine failed.")
    async with responses(tmp_path, Delta("r", "Hel", 1), broken) as api:
        *_before, failed, error = await api.events()
        assert (failed["type"], failed["response"]["status"]) == ("response.failed", "failed")
        assert failed["response"]["error"] == {"code": "generation_failed", "message": "The engine failed."}
        assert error == {"type": "error", "code": "generation_failed", "message": "The engine failed.", "param": None}
        assert (await api.http.get(f"/v1/responses/{failed['response']['id']}")).status_code == 404
        whole = await api.post()
        assert (whole.status_code, whole.json()["error"]["code"]) == (500, "generation_failed")


@on_loop
async def test_an_answer_that_was_cut_off_is_incomplete(tmp_path: Path) -> None:
    async with responses(tmp_path, Delta("r", "Hel", 1), finished(finish_reason="length")) as api:
        answer = (await api.post(max_output_tokens=1)).json()
        assert (answer["status"], answer["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
        assert answer["output"][0]["status"] == "incomplete"
        assert (await api.events())[-1]["type"] == "response.incomplete"
        assert api.asked.max_tokens is None


@on_loop
async def test_log_probabilities_stand_with_the_text(tmp_path: Path) -> None:
    token = TokenLogprob(token="Hi", bytes=[72, 105], logprob=-0.5)
    async with responses(tmp_path, Delta("r", "Hi", 1, logprobs=[token]), finished()) as api:
        answer = await api.client.responses.create(model="a", input="x", include=["message.output_text.logprobs"])
        assert [entry.logprob for entry in answer.output[0].content[0].logprobs] == [-0.5]
        assert api.asked.top_logprobs == 0


@on_loop
async def test_kept_answers_can_be_read_listed_and_deleted(tmp_path: Path) -> None:
    async with responses(tmp_path, *REASONED) as api:
        first = await api.client.responses.create(model="a", input="hi", metadata={"k": "v"})
        items = [
            {"role": "user", "content": [{"type": "input_text", "text": "and"}]},
            {"role": "user", "content": "so"},
        ]
        second = await api.client.responses.create(model="a", previous_response_id=first.id, input=items)
        assert [(m["role"], m["content"]) for m in api.asked.messages] == [
            ("user", "hi"),
            ("assistant", "Hello"),
            ("user", "and"),
            ("user", "so"),
        ]
        assert (await api.client.responses.retrieve(first.id)).metadata == {"k": "v"}
        page = await api.client.responses.input_items.list(second.id, limit=1)
        assert (page.data[0].content[0].text, page.has_more) == ("so", True)
        rest = await api.client.responses.input_items.list(second.id, after=page.data[0].id)
        assert (rest.data[0].content[0].text, rest.has_more) == ("and", False)
        await api.client.responses.delete(first.id)
        with pytest.raises(openai.NotFoundError, match="never kept"):
            await api.client.responses.retrieve(first.id)
        gone = await api.post(previous_response_id=second.id)
        assert (gone.status_code, gone.json()["error"]["param"]) == (404, "previous_response_id")


@on_loop
async def test_what_is_not_to_be_kept_is_not(tmp_path: Path) -> None:
    async with responses(tmp_path, *REASONED) as api:
        answer = (await api.post(store=False)).json()
        assert answer["store"] is False
        assert (await api.http.get(f"/v1/responses/{answer['id']}")).status_code == 404
        assert not (tmp_path / "kept.db").exists()


@on_loop
async def test_only_answers_in_the_background_could_be_cancelled(tmp_path: Path) -> None:
    async with responses(tmp_path, *REASONED) as api:
        answer = (await api.post()).json()
        refused = await api.http.post(f"/v1/responses/{answer['id']}/cancel")
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_request")
        assert (await api.http.post("/v1/responses/resp_none/cancel")).status_code == 404


@on_loop
async def test_input_may_be_every_kind_of_item(tmp_path: Path) -> None:
    items = [
        {"type": "message", "role": "developer", "content": "Be brief."},
        {"role": "user", "content": "weather?"},
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I look."}]},
        {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": "{}", "status": "completed"},
        {"type": "function_call_output", "call_id": "c1", "output": [{"type": "input_text", "text": "4"}]},
    ]
    async with responses(tmp_path, *REASONED) as api:
        assert (await api.post(input=items, tools=[{"type": "function", "name": "f"}])).status_code == 200
        system, user, assistant, tool = api.asked.messages
        assert (system["role"], user["content"], tool["content"]) == ("system", "weather?", "4")
        assert (assistant["content"], assistant["tool_calls"][0]["id"]) == ("I look.", "c1")


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"background": True}, "background", "unsupported_parameter"),
        ({"truncation": "auto"}, "truncation", "unsupported_parameter"),
        ({"conversation": "conv_1"}, "conversation", "unsupported_parameter"),
        ({"tools": [{"type": "web_search"}]}, "tools", "unsupported_parameter"),
        ({"no_such": 1}, "no_such", "unsupported_parameter"),
        ({"include": ["file_search_call.results"]}, "include.0", "invalid_request"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input.0", "invalid_request"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "x"}]}]},
            "input.0",
            "invalid_request",
        ),
        ({"input": 5}, "input", "invalid_request"),
        ({"input": [{"role": "user", "content": "hi"}] * 11}, "input", "invalid_request"),
        ({"input": []}, "input", "invalid_request"),
        ({"tool_choice": "required"}, "tool_choice", "invalid_request"),
        ({"text": {"format": {"type": "json_schema"}}}, "text.format", "invalid_request"),
        ({"max_output_tokens": 0}, "max_output_tokens", "invalid_request"),
        ({"previous_response_id": "resp_none"}, "previous_response_id", "response_not_found"),
        ({"reasoning": {"summary": "detailed"}}, "reasoning.summary", "unsupported_parameter"),
        ({"tools": [WEATHER], "tool_choice": among("auto", "get_time")}, "tool_choice", "invalid_request"),
        ({"tools": [WEATHER], "tool_choice": among("auto")}, "tool_choice", "invalid_request"),
    ],
)
@on_loop
async def test_what_cannot_be_honoured_is_named(tmp_path: Path, fields: dict[str, Any], param: str, code: str) -> None:
    async with responses(tmp_path, *REASONED) as api:
        refused = await api.post(**fields)
        assert refused.status_code == (404 if code == "response_not_found" else 400), refused.text
        error = refused.json()["error"]
        assert error["code"] == code, error
        assert error["param"].startswith(param), error
        assert not api.bench.launcher.asked


@pytest.mark.parametrize(
    ("item", "advice"),
    [
        ({"type": "item_reference", "id": "x"}, "'previous_response_id'"),
        ({"role": "user", "content": [{"type": "input_file", "file_id": "x"}]}, "'input_text'"),
        ({"type": "function_call_output", "call_id": "c", "output": [{"type": "input_file"}]}, "'input_text'"),
    ],
)
@on_loop
async def test_what_lies_elsewhere_is_refused_with_what_to_send_instead(
    tmp_path: Path, item: dict[str, Any], advice: str
) -> None:
    async with responses(tmp_path, *REASONED) as api:
        message = (await api.post(input=[item])).json()["error"]["message"]
        assert advice in message
        assert ("item_reference" if item.get("type") == "item_reference" else "input_file") in message


@on_loop
async def test_the_size_of_a_prompt_is_told_with_what_it_goes_on_from(tmp_path: Path) -> None:
    async with responses(tmp_path, *REASONED) as api:
        first = await api.client.responses.create(model="a", input="hi")
        counting = api.client.responses.input_tokens
        counted = await counting.count(
            model="a", input="and?", instructions="Be brief.", previous_response_id=first.id, tools=[WEATHER]
        )
        assert (counted.object, counted.input_tokens) == ("response.input_tokens", 100)
        assert [message["role"] for message in api.asked.messages] == ["system", "user", "assistant", "user"]
        assert (api.asked.max_tokens, len(api.asked.tools)) == (1, 1)
        assert all(session.active == 0 for session in api.bench.pool.snapshot())
        api.bench.launcher.workers[0].prompt_tokens = 5000  # type: ignore[attr-defined]
        assert (await counting.count(model="a", input="long")).input_tokens == 5000
        with pytest.raises(openai.BadRequestError, match="temperature"):
            await counting.count(model="a", input="hi", extra_body={"temperature": 1})


@on_loop
async def test_a_schema_and_an_effort_reach_the_model(tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    form = {"type": "json_schema", "name": "thing", "schema": schema, "strict": True}
    async with responses(tmp_path, *REASONED) as api:
        answer = (await api.post(text={"format": form}, reasoning={"effort": "none"}, temperature=0.5)).json()
        assert api.asked.guide is not None
        assert json.loads(api.asked.guide.text) == schema
        assert (api.asked.sampling.temperature, answer["text"]["format"]["name"]) == (0.5, "thing")
        assert answer["reasoning"] == {"effort": "none", "summary": None}
