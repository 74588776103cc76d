"""The route itself: what of a request reaches whom, and how refusals look."""

from __future__ import annotations

from typing import Any, NoReturn, cast

import httpx
import pytest
from fastapi import FastAPI

from daemon.answers import Answers
from daemon.api.errors import install_error_handlers
from daemon.api.openai import openai_router
from daemon.pool.protocol import Generate
from daemon.terms import NO_TERMS, KeepAlive, Terms
from daemon.wants import Wants
from registry.errors import DaemonStopping, InvalidRequest, SlmregError
from registry.model import Task
from selector.policy import Policy
from tests.daemon.api.chats import HI, a_tool
from tests.daemon.api.test_chat_messages import a_picture
from tests.fakes import on_loop


class Refusing:
    """Answers that only remember what they were asked."""

    def __init__(self, error: SlmregError | None = None) -> None:
        self.asked: list[tuple[str, Generate, Wants, Terms]] = []
        self.error = error or DaemonStopping("The daemon is stopping.", retry_after_s=1.5)

    async def start(self, reference: str, request: Generate, wants: Wants, terms: Terms) -> NoReturn:
        self.asked.append((reference, request, wants, terms))
        raise self.error


async def post(answers: Refusing, headers: dict[str, str] | None = None, **fields: Any) -> httpx.Response:
    app = FastAPI()
    install_error_handlers(app)
    app.include_router(openai_router(cast(Answers, answers), max_messages=lambda: 2))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://slmreg") as client:
        return await client.post("/v1/chat/completions", json={**HI, **fields}, headers=headers or {})


@on_loop
async def test_headers_and_body_say_what_is_wanted_and_on_what_terms() -> None:
    answers = Refusing()
    headers = {"x-slmreg-task": "code", "x-slmreg-policy": "fast", "x-slmreg-deadline": "2.5"}
    response = await post(answers, headers, model="auto", keep_alive="5m", deadline_s=60)
    assert (response.status_code, response.headers["retry-after"]) == (503, "2")
    await post(answers)
    (reference, _request, wants, terms), (_reference, _plain, _nothing, no_terms) = answers.asked
    assert (reference, wants.task, wants.policy) == ("auto", Task.CODE, Policy.FAST)
    assert terms == Terms(KeepAlive(300.0), 2.5)
    assert no_terms == NO_TERMS


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"n": 17}, "n", "invalid_request"),
        ({"top_logprobs": 2}, "top_logprobs", "invalid_request"),
        ({"logit_bias": {"5": 101}}, "logit_bias.5", "invalid_request"),
        ({"logit_bias": {"five": 1}}, "logit_bias.five", "invalid_request"),
        ({"stop": ["x"] * 17}, "stop", "invalid_request"),
        ({"stop_token_ids": [-1]}, "stop_token_ids.0", "invalid_request"),
        ({"response_format": {"type": "xml"}}, "response_format.type", "invalid_request"),
        ({"response_format": {"type": "json_schema"}}, "response_format", "invalid_request"),
        ({"response_format": {"type": "json_object"}, "guided_regex": "a"}, "guided_regex", "invalid_request"),
        ({"guided_json": "{"}, "guided_json", "invalid_request"),
        ({"guided_choice": ["a", "b"]}, "guided_choice", "unsupported_parameter"),
        ({"tool_choice": "required"}, "tool_choice", "invalid_request"),
        ({"tool_choice": {"type": "function"}}, "tool_choice", "unsupported_parameter"),
        ({"tool_choice": {"type": "allowed_tools"}}, "tool_choice", "unsupported_parameter"),
        ({"functions": [{"name": "f"}]}, "functions", "unsupported_parameter"),
        ({"audio": {"voice": "x"}}, "audio", "unsupported_parameter"),
        ({"modalities": ["text", "audio"]}, "modalities", "unsupported_parameter"),
        ({"keep_alive": "soon"}, "keep_alive", "invalid_request"),
        ({"deadline_s": -1}, "deadline_s", "invalid_request"),
        ({"deadline_s": "soon"}, "deadline_s", "invalid_request"),
        ({"messages": HI["messages"] * 3}, "messages", "invalid_request"),
        (
            {"messages": [{"role": "user", "content": [a_picture("http://x/y.png")]}]},
            "messages.0.content.0.image_url.url",
            "invalid_request",
        ),
    ],
)
@on_loop
async def test_what_cannot_be_honoured_is_a_400_that_names_it(fields: dict[str, Any], param: str, code: str) -> None:
    answers = Refusing()
    response = await post(answers, **fields)
    error = response.json()["error"]
    assert (response.status_code, error["param"], error["code"]) == (400, param, code)
    assert error["type"] == "invalid_request_error"
    assert answers.asked == []


@pytest.mark.parametrize(
    ("fields", "blamed", "param"),
    [
        ({"response_format": {"type": "json_object"}}, "response_format", "response_format"),
        ({"guided_json": {}}, "response_format", "guided_json"),
        ({"guided_regex": "("}, "response_format", "guided_regex"),
        ({"response_format": {"type": "text"}, "guided_grammar": "x"}, "response_format", "guided_grammar"),
        ({"guided_regex": "a"}, "logit_bias", "logit_bias"),
        ({}, None, None),
    ],
)
@on_loop
async def test_what_the_worker_refuses_is_blamed_by_the_name_that_the_client_used(
    fields: dict[str, Any], blamed: str | None, param: str | None
) -> None:
    response = await post(Refusing(InvalidRequest("No.", param=blamed)), **fields)
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)


@on_loop
async def test_a_deadline_in_the_header_that_is_none_is_a_400() -> None:
    response = await post(Refusing(), {"x-slmreg-deadline": "soon"})
    assert (response.status_code, response.json()["error"]["param"]) == (400, "deadline_s")


@on_loop
async def test_pictures_and_tools_are_wanted_and_passed_on() -> None:
    answers = Refusing()
    content = [{"type": "text", "text": "What is this?"}, a_picture()]
    await post(answers, messages=[{"role": "user", "content": content}], tools=[a_tool()])
    ((_reference, request, wants, _terms),) = answers.asked
    assert (wants.needs_vision, wants.needs_tools) == (True, True)
    assert request.messages == [{"role": "user", "content": content}]
