"""Says "not now" to a request for a model whose queue is full before anything is made of the request.

It stands behind the guard: who may not ask at all is told that first. A body that is wrong in another way is told so
when there is a place again. Invariant: it refuses nobody who would not be refused a moment later, and looks at no body
while there is a place for everybody.
"""

from __future__ import annotations

import json

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from daemon.answers import Answers
from daemon.api.errors import error_response
from registry.errors import Overloaded, TooBusy

# Those that always ask the model that their body names, whatever else stands in it. Ollama's load and unload, too.
ASKING = frozenset(
    {
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/embeddings",
        "/v1/messages",
        "/v1/messages/count_tokens",
        "/v1/responses",
        "/v1/responses/input_tokens",
        "/api/embed",
        "/api/embeddings",
    }
)


class Turnstile:
    """Pure ASGI middleware. The whole body of a request for JSON comes to it in one message."""

    def __init__(self, app: ASGIApp, *, answers: Answers) -> None:
        self._app = app
        self._answers = answers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] not in ASKING or not self._answers.is_crowded:
            await self._app(scope, receive, send)
            return
        message = await receive()
        try:
            self._answers.refuse_if_full(_model_in(message))
        except (Overloaded, TooBusy) as error:
            await error_response(error, scope["path"])(scope, receive, send)
        else:
            await self._app(scope, _again(message, receive), send)


def _model_in(message: Message) -> str:
    """The name in a body, "" if there is none."""
    try:
        body = json.loads(message.get("body", b""))
    except ValueError:  # in parts, or no JSON
        return ""
    model = body.get("model") if isinstance(body, dict) else None
    return model if isinstance(model, str) else ""


def _again(message: Message, receive: Receive) -> Receive:
    """``message`` first, then what comes after it."""
    rest = [message]

    async def again() -> Message:
        return rest.pop() if rest else await receive()

    return again
