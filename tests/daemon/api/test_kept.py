from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI
from starlette.responses import Response, StreamingResponse

from daemon.api.kept import KeptAnswer

pytestmark = pytest.mark.anyio


class Made:
    """A route whose answer is made of ``state``, and how often it was."""

    def __init__(self, most_bytes: int) -> None:
        self.state: object = "first"
        self.times = 0
        kept = KeptAnswer(most_bytes)
        app = FastAPI()

        @app.get("/")
        def get() -> Response:
            return kept.of(self.state, self._make)

        self._client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x")

    async def get(self) -> str:
        async with self._client.stream("GET", "/") as response:
            assert response.headers["content-type"] == "application/json"
            return (await response.aread()).decode()

    def _make(self) -> StreamingResponse:
        self.times += 1
        parts = ("[", f'"{self.state}"', "]")

        async def body() -> AsyncIterator[bytes]:
            for part in parts:
                yield part.encode()

        return StreamingResponse(body(), media_type="application/json")


async def test_an_answer_is_made_again_when_what_it_was_made_from_changes() -> None:
    made = Made(most_bytes=100)
    assert [await made.get() for _ in range(3)] == ['["first"]'] * 3
    assert made.times == 1
    made.state = "second"
    assert [await made.get() for _ in range(3)] == ['["second"]'] * 3
    assert made.times == 2


async def test_one_that_is_too_long_is_not_kept() -> None:
    made = Made(most_bytes=len('["first"]') - 1)
    assert [await made.get() for _ in range(2)] == ['["first"]'] * 2
    assert made.times == 2
