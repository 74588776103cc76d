"""An answer as the response to its request, whole or streamed, and given up where nobody waits for it any more."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack
from typing import Any

from fastapi.responses import JSONResponse, Response
from starlette.types import Receive

from daemon.answers import Answer
from daemon.api.headers import answer_headers
from daemon.api.streaming import CLIENT_LEFT, ClientLeft, EventStream, or_leave
from daemon.shapes import Json


async def streamed(
    answer: Answer, frames: Callable[[], AsyncIterator[bytes]], stream: type[EventStream] = EventStream
) -> Response:
    """What ``frames`` makes of ``answer``, which the response closes."""
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(answer)
        response = stream(frames(), close=answer.aclose, headers=_headers(answer))
        stack.pop_all()
        return response


async def in_one(answer: Answer, whole: Callable[[], Coroutine[Any, Any, Json]], receive: Receive) -> Response:
    """What ``whole`` makes of ``answer``, which is closed. Raises SlmregError."""
    async with answer:
        try:
            return JSONResponse(await or_leave(whole(), receive), headers=_headers(answer))
        except ClientLeft:
            return Response(status_code=CLIENT_LEFT)


def _headers(answer: Answer) -> Mapping[str, str]:
    return answer_headers(answer.name, answer.task, answer.decision_id)
