"""Every request is counted, timed and logged once, however it ends: answered, refused by the guard, or left alone.

Invariant: of what a client sends only the method and the route's template are told; never a path, a query or a body.
"""

from __future__ import annotations

import logging
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from daemon.api.scopes import template_of
from daemon.api.streaming import CLIENT_LEFT
from daemon.metrics.book import Metrics
from daemon.metrics.families import OTHER

log = logging.getLogger("slmreg.access")

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# What other programs ask over and over: worth a line only to who looks for it.
PROBES = frozenset({"/healthz", "/readyz", "/metrics"})
_MODEL_HEADER = b"x-slmreg-model"


class Accounting:
    """Pure ASGI middleware, around the guard."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = _Answer(send)
        began_s = time.monotonic()
        self._metrics.request_began()
        try:
            await self._app(scope, receive, answer.send)
        except Exception:
            answer.status = answer.status or 500  # it goes out further up
            raise
        finally:
            self._account(scope, answer, time.monotonic() - began_s)

    def _account(self, scope: Scope, answer: _Answer, seconds: float) -> None:
        method = scope["method"] if scope["method"] in METHODS else OTHER
        route = template_of(method, scope["path"]) or OTHER
        status = answer.status or CLIENT_LEFT
        self._metrics.request_ended(route=route, method=method, status=status, seconds=seconds)
        level = logging.DEBUG if route in PROBES and status < 400 else logging.INFO
        model = answer.model
        log.log(
            level,
            "request.done method=%s route=%s status=%d duration_ms=%.1f" + (" model=%s" if model is not None else ""),
            method,
            route,
            status,
            1000 * seconds,
            *(() if model is None else (model,)),
        )


class _Answer:
    """Passes an answer on, and remembers its status and the model that it names."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status: int | None = None
        self.model: str | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            named = (value for name, value in message.get("headers", ()) if name.lower() == _MODEL_HEADER)
            self.model = next((value.decode("latin-1") for value in named), None)
        await self._send(message)
