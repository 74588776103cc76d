"""Requests for a model that has no place for them are refused before anything is made of them, and no others."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI

from daemon.api.accounting import Accounting
from daemon.api.anthropic import anthropic_router
from daemon.api.errors import install_error_handlers
from daemon.api.openai import openai_router
from daemon.api.security import Guard
from daemon.api.turnstile import ASKING, Turnstile
from daemon.pool.protocol import Delta, Generate
from tests.daemon.api.chats import HI
from tests.daemon.api.guarded import guarded, templates
from tests.daemon.test_answers import Bench, finished
from tests.fakes import on_loop

CHATS = "/v1/chat/completions"
MAX_QUEUE = 8  # the bench's


@asynccontextmanager
async def crowded() -> AsyncIterator[tuple[Bench, httpx.AsyncClient]]:
    """The model ``a`` has as many requests as it may while this is open."""
    bench = Bench(Delta("r", "hi", 1), finished())
    app = FastAPI()
    install_error_handlers(app)
    app.include_router(openai_router(bench.answers, max_messages=lambda: 10))
    app.include_router(anthropic_router(bench.answers, max_messages=lambda: 10))
    app.add_middleware(Turnstile, answers=bench.answers)
    async with AsyncExitStack() as stack:
        client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://slmreg")
        await stack.enter_async_context(client)
        for _ in range(MAX_QUEUE):
            await stack.enter_async_context(await bench.answers.start("a", Generate(request_id="r", messages=[])))
        bench.names.wanted.clear()
        yield bench, client
    await bench.pool.close()


async def post(client: httpx.AsyncClient, path: str = CHATS, **body: Any) -> httpx.Response:
    return await client.post(path, json={**HI, **body})


@on_loop
async def test_who_has_no_place_is_told_when_to_come_again_without_a_look_at_the_rest() -> None:
    async with crowded() as (bench, client):
        for more in ({}, {"stream": True}, {"temperature": "hot"}):
            refused = await post(client, model="A", **more)
            assert (refused.status_code, refused.json()["error"]["code"]) == (429, "overloaded")
            assert int(refused.headers["retry-after"]) >= 1
        of_anthropic = await post(client, "/v1/messages", model="a:1", max_tokens=1)
        assert of_anthropic.json()["error"]["type"] == "rate_limit_error"
        assert bench.names.wanted == []


@on_loop
async def test_other_models_answer_and_so_does_this_one_when_there_is_a_place_again() -> None:
    async with crowded() as (_bench, client):
        beside = await post(client, model="b")
        assert beside.json()["choices"][0]["message"]["content"] == "hi"
        wrong = await client.post(CHATS, content=b"[1", headers={"content-type": "application/json"})
        assert wrong.json()["error"]["code"] == "invalid_json"
        no_name = await post(client, model=3)
        assert no_name.json()["error"]["param"] == "model"


@on_loop
async def test_a_name_is_looked_up_again_when_the_models_have_changed() -> None:
    async with crowded() as (bench, client):
        bench.answers.forget_meanings()
        assert (await post(client, model="a")).status_code == 429
        assert len(bench.names.wanted) == 1
        assert (await post(client, model="a")).status_code == 429


def test_who_may_not_ask_at_all_is_told_that_first(tmp_path: Path) -> None:
    with guarded(tmp_path) as app:
        outermost_first: list[Any] = [each.cls for each in app.user_middleware]
    assert outermost_first == [Accounting, Guard, Turnstile]


def test_it_stands_at_paths_that_are_there(tmp_path: Path) -> None:
    with guarded(tmp_path) as app:
        assert {("POST", path) for path in ASKING} <= set(templates(app))
