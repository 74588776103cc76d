"""Connections of the web server that nobody can hold for long by sending little, or fill by sending much.

uvicorn bounds neither how long the headers of a request may be nor how long they, and the body after them, may take.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from daemon.access_settings import AccessSettings

# Requests that a client sends before the first one is answered; hardly any client does.
MAX_PIPELINED = 16
# For the last words on a connection to arrive: closed at once, with something left to read, it would be reset.
LINGER_S = 5.0
# Of a header beside its name and value: ": " and the end of the line.
_HEADER_EXTRA_BYTES = 4


@dataclass(frozen=True, slots=True)
class _Why:
    """Why a connection is closed."""

    status: int
    code: str
    message: str


_UNREADABLE = _Why(400, "invalid_http", "This is no HTTP request.")
_TOO_LARGE = _Why(431, "headers_too_large", "The headers are more, or longer, than max_headers or max_header_bytes.")
_TOO_SLOW = _Why(408, "request_timeout", "The request took longer to arrive than header_timeout_s or body_timeout_s.")
_TOO_MANY = _Why(503, "too_many_connections", "There are max_connections connections already. Try again later.")
_PIPELINED = _Why(400, "invalid_http", "Too many requests were sent before the first one was answered.")


class _Unwelcome(Exception):
    """Ends the parser's work on a request; ``BoundedConnection`` knows why."""


class BoundedConnection(HttpToolsProtocol):
    """uvicorn's protocol, with the limits of ``settings``."""

    def __init__(self, settings: AccessSettings, **server: Any) -> None:
        super().__init__(**server)
        self._settings = settings
        self.timeout_keep_alive = math.ceil(settings.idle_timeout_s)
        self._deadline: asyncio.TimerHandle | None = None
        # What came in since something of it could be handed on: the parser keeps it.
        self._held_bytes = 0
        self._head_bytes = 0
        self._why = _UNREADABLE
        self._is_ending = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._arrives_within(self._settings.header_timeout_s)
        if len(self.connections) > self._settings.max_connections:
            self._end(_TOO_MANY)

    def connection_lost(self, exc: Exception | None) -> None:
        self._has_arrived()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_ending:
            return
        self._held_bytes += len(data)
        if self._deadline is None:  # the next request on this connection begins
            self._arrives_within(self._settings.header_timeout_s)
        super().data_received(data)
        if self._held_bytes > self._settings.max_header_bytes:
            self._end(_TOO_LARGE)

    def send_400_response(self, msg: str) -> None:
        self._end(self._why)

    # -- what the parser finds

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_bytes = 0

    def on_url(self, url: bytes) -> None:
        self._count_head(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count_head(len(name) + len(value) + _HEADER_EXTRA_BYTES)
        if len(self.headers) >= self._settings.max_headers:
            self._refuse(_TOO_LARGE)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if len(self.pipeline) >= MAX_PIPELINED:
            self._refuse(_PIPELINED)
        self._held_bytes = 0
        self._arrives_within(self._settings.body_timeout_s)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._held_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._held_bytes = 0
        self._has_arrived()
        super().on_message_complete()

    # -- limits

    def _count_head(self, length: int) -> None:
        self._head_bytes += length
        if self._head_bytes > self._settings.max_header_bytes:
            self._refuse(_TOO_LARGE)

    def _refuse(self, why: _Why) -> None:
        self._why = why
        raise _Unwelcome

    def _arrives_within(self, seconds: float) -> None:
        self._has_arrived()
        self._deadline = self.loop.call_later(seconds, self._out_of_time)

    def _has_arrived(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _out_of_time(self) -> None:
        self._deadline = None
        if self._is_our_turn():  # what comes after the request that is being answered may take its time
            self._arrives_within(self._settings.header_timeout_s)
        else:
            self._end(_TOO_SLOW)

    def _is_our_turn(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete and not self.cycle.more_body

    def _end(self, why: _Why) -> None:
        """Say why, unless nobody asked anything or an answer has begun, and close."""
        if self._is_ending or self.transport.is_closing():
            return
        has_begun = self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete
        is_silent = why is _TOO_SLOW and self.cycle is None and not self._held_bytes
        if not has_begun and not is_silent:
            self.transport.write(_response(why))
        self._is_ending = True
        self._give_up()
        if has_begun or is_silent or why is _TOO_MANY:
            self.transport.close()
        else:
            self.transport.write_eof()
        self._has_arrived()
        self._deadline = self.loop.call_later(LINGER_S, self.transport.abort)

    def _give_up(self) -> None:
        """For whoever works on a request of this connection the client is gone."""
        self._unset_keepalive_if_required()
        self.pipeline.clear()
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()


def _response(why: _Why) -> bytes:
    kind = "server_error" if why.status >= 500 else "invalid_request_error"
    body = json.dumps({"error": {"message": why.message, "type": kind, "param": None, "code": why.code}}).encode()
    head = b"content-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body)
    return STATUS_LINE[why.status] + head + body


def bounded_by(settings: Callable[[], AccessSettings]) -> Any:
    """What makes the server's connections, each with the limits of its beginning; uvicorn calls it like a class."""
    return lambda **server: BoundedConnection(settings(), **server)
