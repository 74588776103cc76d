"""Sending an answer while it is made, and noticing when nobody listens any more; and long lists without a long wait."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from daemon.api.errors import error_body
from daemon.api.outbox import Outbox
from registry.errors import GenerationFailed, SlmregError

log = logging.getLogger("slmreg.api")

T = TypeVar("T")
DONE = b"data: [DONE]\n\n"
CLIENT_LEFT = 499  # nginx's number for it; nobody is there to read it


class ClientLeft(Exception):
    """The client closed the connection, or stopped reading, before the answer was complete."""


class EventStream(Response):
    """Server-sent events. Calls ``close`` when the stream ends, however it ends.

    A client that takes nothing for ``stuck_s``, with every buffer on the way to it full, counts as gone.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        frames: AsyncIterator[bytes],
        *,
        close: Callable[[], Awaitable[None]],
        headers: Mapping[str, str] | None = None,
        stuck_s: float | None = None,
    ) -> None:
        super().__init__(headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no", **(headers or {})})
        del self.headers["content-length"]
        self._frames = frames
        self._close = close
        self._stuck_s = stuck_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await or_leave(self._send_all(send), receive)
        except ClientLeft:
            pass
        finally:
            await self._close()

    async def _send_all(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        outbox = Outbox()
        filling = asyncio.create_task(outbox.fill(self._frames))
        try:
            is_last = False
            while not is_last:
                frames, is_last = await outbox.take()
                if is_last:
                    await filling  # raises what the frames broke with
                await self._send_in_time(send, frames, is_last=is_last)
        finally:
            filling.cancel()
            await asyncio.gather(filling, return_exceptions=True)

    async def _send_in_time(self, send: Send, frames: bytes, *, is_last: bool) -> None:
        try:
            async with asyncio.timeout(self._stuck_s):
                await send({"type": "http.response.body", "body": frames, "more_body": not is_last})
        except TimeoutError:
            raise ClientLeft from None


def openai_error_frame(error: SlmregError) -> bytes:
    return event_frame(error_body(error))


class LineStream(EventStream):
    """JSON objects, one a line, as Ollama streams them."""

    media_type = "application/x-ndjson"


async def ending_in_words(
    frames: AsyncIterator[bytes], error_frame: Callable[[SlmregError], bytes] = openai_error_frame
) -> AsyncIterator[bytes]:
    """``frames``; where they break, the error is the last event, as ``error_frame`` has it, and nothing follows."""
    try:
        async for frame in frames:
            yield frame
    except SlmregError as error:
        yield error_frame(error)
    except Exception as error:
        log.exception("stream.bug")
        yield error_frame(GenerationFailed(f"slmreg failed on this answer: {type(error).__name__}."))


def line_frame(body: Any) -> bytes:
    """One line of NDJSON, in ASCII."""
    return json.dumps(body, separators=(",", ":")).encode() + b"\n"


def event_frame(body: Any, name: str | None = None) -> bytes:
    """One event, with its ``name`` if the API has such.

    In ASCII: some clients split lines also at U+2028 and the like, which JSON may hold as they are.
    """
    head = b"" if name is None else b"event: %b\n" % name.encode()
    return head + b"data: " + json.dumps(body, separators=(",", ":")).encode() + b"\n\n"


def json_list(head: bytes, parts: Iterator[Sequence[bytes]], tail: bytes) -> StreamingResponse:
    """``head``, the encoded values with commas between them, ``tail``: sent in parts, so never all in memory.

    Taking a part may take about a millisecond: it is done on the event loop.
    """

    async def body() -> AsyncIterator[bytes]:
        before = head
        for part in parts:
            if part:
                yield before + b",".join(part)
                before = b","
        yield (b"" if before == b"," else head) + tail

    return StreamingResponse(body(), media_type="application/json")


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
