"""Ollama's routes over a real pool whose worker says what the test wrote down."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import httpx
from fastapi import FastAPI

from daemon.api.errors import install_error_handlers
from daemon.api.ollama.answering import answering_router
from daemon.api.ollama.embedding import embedding_router
from daemon.catalog import Catalog
from daemon.loads import Loads
from daemon.pool.launch import Ask, Event
from daemon.pool.protocol import Embed, Generate
from tests.daemon.test_answers import Bench

CHAT: dict[str, Any] = {"model": "a", "messages": [{"role": "user", "content": "hi"}]}
PROMPT: dict[str, Any] = {"model": "a", "prompt": "hi"}
# Times that a test cannot know.
VARYING = ("created_at", "total_duration", "load_duration")


class Ollama:
    """``asked`` is what has reached the worker; ``bench`` has the pool."""

    def __init__(self, bench: Bench, http: httpx.AsyncClient) -> None:
        self.bench = bench
        self._http = http

    @property
    def asked(self) -> Generate:
        return cast(Generate, self.bench.launcher.asked[-1])

    @property
    def embedded(self) -> Embed:
        return cast(Embed, self.bench.launcher.asked[-1])

    @property
    def everything_asked(self) -> list[Ask]:
        return self.bench.launcher.asked

    async def post(self, path: str, body: dict[str, Any], headers: dict[str, str] | None = None) -> httpx.Response:
        return await self._http.post(f"/api/{path}", json=body, headers=headers)

    async def lines(self, path: str, body: dict[str, Any]) -> list[dict[str, Any]]:
        """Those of a stream, without what varies, which is checked to be there where it belongs."""
        response = await self.post(path, body)
        assert response.status_code == 200, response.text
        assert response.headers["content-type"] == "application/x-ndjson"
        *lines, end = response.text.split("\n")
        assert end == ""
        return [settled(json.loads(line)) for line in lines]

    async def whole(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        response = await self.post(path, {**body, "stream": False})
        assert response.status_code == 200, response.text
        return settled(response.json())


def settled(line: dict[str, Any]) -> dict[str, Any]:
    """``line`` without what varies."""
    if "error" not in line:
        assert line["created_at"].endswith("Z")
        assert all(line.get(name, 0) >= 0 for name in VARYING[1:])
    return {name: value for name, value in line.items() if name not in VARYING}


@asynccontextmanager
async def ollama(*script: Event) -> AsyncIterator[Ollama]:
    """Requests for the model ``a`` are accepted with 100 tokens of prompt and then answered by ``script``."""
    bench = Bench(*script)
    loads = Loads(cast(Catalog, bench.names), bench.pool)
    app = FastAPI()
    install_error_handlers(app)
    app.include_router(answering_router(bench.answers, loads, max_messages=lambda: 3))
    app.include_router(embedding_router(bench.answers, loads))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://slmreg") as http:
        yield Ollama(bench, http)
    await bench.pool.close()
