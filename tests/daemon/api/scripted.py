"""The endpoints over a real pool whose worker says what the test wrote down, and OpenAI's official client for them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import httpx
import openai
from fastapi import FastAPI

from daemon.api.anthropic import anthropic_router
from daemon.api.completions import completions_router
from daemon.api.errors import install_error_handlers
from daemon.api.openai import openai_router
from daemon.api.reasoning import reasoning_router
from daemon.catalog import Catalog
from daemon.pool.launch import Event
from daemon.pool.protocol import Generate
from daemon.wants import Wants
from tests.daemon.api.chats import HI
from tests.daemon.test_answers import Bench


class Endpoint:
    """``POST`` to it, or use ``client``; ``asked`` is what has reached the worker."""

    def __init__(self, bench: Bench, http: httpx.AsyncClient) -> None:
        self._bench = bench
        self._http = http
        # Untyped: its overloads do not take parameters from a dict, and newer ones name another httpx.
        make: Any = openai.AsyncOpenAI
        self.client: Any = make(base_url="http://slmreg/v1", api_key="none", max_retries=0, http_client=http)

    @property
    def asked(self) -> Generate:
        return self.all_asked[-1]

    @property
    def all_asked(self) -> list[Generate]:
        return cast(list[Generate], self._bench.launcher.asked)

    async def post(self, **fields: Any) -> httpx.Response:
        return await self.post_to("/v1/chat/completions", {"model": "a", **HI, **fields})

    async def post_to(self, path: str, body: dict[str, Any], headers: dict[str, str] | None = None) -> httpx.Response:
        return await self._http.post(path, json=body, headers=headers or {})

    @property
    def script(self) -> tuple[Event, ...]:
        """What every request is answered by, from its acceptance on; set it before the first one."""
        return self._bench.launcher.script

    @script.setter
    def script(self, script: tuple[Event, ...]) -> None:
        self._bench.launcher.script = script

    @property
    def wanted(self) -> Wants:
        """What the last request said about the choice of a model."""
        return self._bench.names.wanted[-1]

    @property
    def active(self) -> int:
        """Answers that were not given back."""
        return sum(session.active for session in self._bench.pool.snapshot())

    async def frames(self, **fields: Any) -> list[str]:
        """The events of a stream, without the ``data:`` before and the empty line after each."""
        response = await self.post(stream=True, **fields)
        assert response.status_code == 200, response.text
        assert response.headers["content-type"].startswith("text/event-stream")
        *events, end = response.text.split("\n\n")
        assert end == ""
        assert all(event.startswith("data: ") and "\n" not in event for event in events)
        return [event.removeprefix("data: ") for event in events]

    async def chunks(self, **fields: Any) -> list[dict[str, Any]]:
        """The same, decoded, without the ``[DONE]`` at the end."""
        *events, done = await self.frames(**fields)
        assert done == "[DONE]"
        return [json.loads(event) for event in events]


@asynccontextmanager
async def endpoint(*script: Event) -> AsyncIterator[Endpoint]:
    """Every request for the model ``a`` is accepted with 100 tokens of prompt and then answered by ``script``."""
    bench = Bench(*script)
    app = FastAPI()
    install_error_handlers(app)
    app.include_router(openai_router(bench.answers, max_messages=lambda: 10))
    app.include_router(completions_router(bench.answers))
    app.include_router(anthropic_router(bench.answers, max_messages=lambda: 10))
    app.include_router(reasoning_router(bench.answers, cast(Catalog, None), bench.pool))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://slmreg") as http:
        yield Endpoint(bench, http)
    await bench.pool.close()
