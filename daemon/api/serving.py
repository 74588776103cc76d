"""The way of every answer to its client: begin it, say it in one API's words, whole or as a stream, and close it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any, Protocol

from fastapi import Request
from fastapi.responses import JSONResponse, Response

from daemon.answers import Answer
from daemon.api.headers import answer_headers
from daemon.api.streaming import CLIENT_LEFT, ClientLeft, EventStream, or_leave
from daemon.shapes import Json
from registry.errors import ContextLengthExceeded


class Telling(Protocol):
    """An answer in the words of one API. Either ``whole`` or ``frames`` is used, once; ``aclose`` ends it, always."""

    async def whole(self) -> Json: ...

    def frames(self) -> AsyncIterator[bytes]: ...

    async def aclose(self) -> None: ...


async def respond(
    request: Request,
    starting: Coroutine[Any, Any, Answer],
    in_words: Callable[[Answer], Telling],
    *,
    is_stream: bool,
    stream: type[EventStream] = EventStream,
) -> Response:
    """What ``starting`` comes to, told ``in_words``; nothing goes on once the client has left.

    Raises SlmregError for what is refused before an answer begins, and for one that breaks and is no stream.
    """
    try:
        answer = await or_leave(starting, request.receive)
    except ClientLeft:
        return Response(status_code=CLIENT_LEFT)
    telling = in_words(answer)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(telling.aclose)
        headers = answer_headers(answer.name, answer.task, answer.decision_id)
        if is_stream:
            response = stream(telling.frames(), close=telling.aclose, headers=headers)
            stack.pop_all()  # the response closes the answer
            return response
        try:
            return JSONResponse(await or_leave(telling.whole(), request.receive), headers=headers)
        except ClientLeft:
            return Response(status_code=CLIENT_LEFT)


async def count(request: Request, starting: Coroutine[Any, Any, Answer], in_words: Callable[[int], Json]) -> Response:
    """The tokens of the prompt that ``starting`` begins to answer, exact also where it is too long for the model.

    Raises SlmregError.
    """
    try:
        answer = await or_leave(starting, request.receive)
    except ClientLeft:
        return Response(status_code=CLIENT_LEFT)
    except ContextLengthExceeded as too_long:
        return JSONResponse(in_words(too_long.prompt_tokens))
    async with answer:
        headers = answer_headers(answer.name, answer.task, answer.decision_id)
        return JSONResponse(in_words(answer.prompt_tokens), headers=headers)
