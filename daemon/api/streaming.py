"""Sending an answer while it is made, and noticing when nobody listens any more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Any, TypeVar

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from daemon.answers import Answer

T = TypeVar("T")


class ClientLeft(Exception):
    """The client closed the connection before the answer was complete."""


class EventStream(Response):
    """Server-sent events of one answer. Owns the answer: closes it when the stream ends, however it ends."""

    media_type = "text/event-stream"

    def __init__(self, answer: Answer, frames: AsyncIterator[bytes], headers: dict[str, str]) -> None:
        super().__init__(headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no", **headers})
        del self.headers["content-length"]
        self._answer = answer
        self._frames = frames

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await or_leave(self._send_all(send), receive)
        except ClientLeft:
            pass
        finally:
            await self._answer.aclose()

    async def _send_all(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async for frame in self._frames:
            await send({"type": "http.response.body", "body": frame, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def or_leave(work: Coroutine[Any, Any, T], receive: Receive) -> T:
    """Run ``work`` unless the client disconnects first: then cancel it, wait for its end and raise ClientLeft.

    The request's body must have been read already.
    """
    working = asyncio.create_task(work)
    leaving = asyncio.create_task(_disconnect(receive))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientLeft
        return working.result()
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
