"""The route, driven as a web server drives it: every byte that is sent, and what happens when nobody reads."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from fastapi import FastAPI

from daemon.api.errors import install_error_handlers
from daemon.api.events import events_router
from daemon.api.streaming import EventStream
from daemon.events import EventLog
from tests.fakes import PATIENCE_S, on_loop


class Client:
    """One request to ``/slmreg/events``. ``leave`` closes the connection."""

    def __init__(self, app: FastAPI, *, query: str = "", headers: dict[str, str] | None = None) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self._sent: asyncio.Queue[bytes] = asyncio.Queue()
        self._event = b""
        self._incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._incoming.put_nowait({"type": "http.request", "body": b"", "more_body": False})
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "GET",
            "path": "/slmreg/events",
            "raw_path": b"/slmreg/events",
            "query_string": query.encode(),
            "headers": [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()],
            "client": None,
            "server": None,
            "scheme": "http",
        }
        self._running = asyncio.ensure_future(app(scope, self._incoming.get, self._take))

    async def _take(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
            return
        for event in message["body"].splitlines(keepends=True):
            self._event += event
            if event == b"\n":
                self._sent.put_nowait(self._event)
                self._event = b""
        if not message.get("more_body", False):
            self._sent.put_nowait(self._event)

    async def next(self) -> str:
        """The next event; "" at the end."""
        return (await asyncio.wait_for(self._sent.get(), PATIENCE_S)).decode("ascii")

    async def end(self) -> None:
        await asyncio.wait_for(self._running, PATIENCE_S)

    async def leave(self) -> None:
        self._incoming.put_nowait({"type": "http.disconnect"})
        await self.end()


@pytest.fixture
def log() -> EventLog:
    return EventLog(max_events=lambda: 3, max_followers=lambda: 2)


@pytest.fixture
def app(log: EventLog) -> FastAPI:
    return make_app(log)


def make_app(log: EventLog, *, heartbeat_s: float = PATIENCE_S) -> FastAPI:
    app = FastAPI()
    install_error_handlers(app)
    app.include_router(events_router(log, heartbeat_s=lambda: heartbeat_s))
    return app


def position(opening: str) -> str:
    (line,) = [line for line in opening.splitlines() if line.startswith("id: ")]
    return line.removeprefix("id: ")


@on_loop
async def test_a_follower_hears_at_once_where_it_is_and_then_each_event(log: EventLog, app: FastAPI) -> None:
    client = Client(app)
    opening = await client.next()
    assert opening == f"retry: 2000\nid: {position(opening)}\n\n"
    assert (client.status, client.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert client.headers["cache-control"] == "no-cache"
    log.publish("model.added", {"id": "ü:1"})
    start = position(opening).partition("-")[0]
    assert await client.next() == f'id: {start}-1\nevent: model.added\ndata: {{"id":"\\u00fc:1"}}\n\n'
    await client.leave()


@on_loop
async def test_a_client_resumes_by_header_or_query_and_the_header_is_newer(log: EventLog, app: FastAPI) -> None:
    first = Client(app)
    start = position(await first.next())
    log.publish("one", {})
    log.publish("two", {})
    after_one = start.replace("-0", "-1")
    await first.leave()
    for query, headers, expected in (
        (f"last_event_id={start}", {}, ["one", "two"]),
        ("", {"Last-Event-ID": start}, ["one", "two"]),
        (f"last_event_id={start}", {"Last-Event-ID": after_one}, ["two"]),
        ("last_event_id=unknown", {}, ["registry.reset"]),
    ):
        client = Client(app, query=query, headers=headers)
        await client.next()
        sent = "".join([await client.next() for _ in expected])
        assert [line.removeprefix("event: ") for line in sent.splitlines() if line.startswith("event: ")] == expected
        await client.leave()


@on_loop
async def test_silence_is_broken_by_comments(log: EventLog) -> None:
    client = Client(make_app(log, heartbeat_s=0.01))
    await client.next()
    assert [(await client.next())[0] for _ in range(2)] == [":", ":"]
    await client.leave()


@on_loop
async def test_a_client_that_leaves_gives_its_place_back(log: EventLog, app: FastAPI) -> None:
    clients = [Client(app), Client(app)]
    for client in clients:
        await client.next()
    refused = Client(app)
    assert "max_subscribers" in await refused.next()
    assert (refused.status, refused.headers["retry-after"]) == (429, "5")
    assert log.followers == 2
    await clients[0].leave()
    assert log.followers == 1
    await clients[1].leave()
    assert log.followers == 0


@on_loop
async def test_the_end_of_the_daemon_ends_every_stream_properly(log: EventLog, app: FastAPI) -> None:
    client = Client(app)
    await client.next()
    log.close()
    assert await client.next() == ""
    await client.end()
    assert log.followers == 0


@on_loop
async def test_a_client_that_stops_reading_counts_as_gone() -> None:
    is_closed = asyncio.Event()

    async def frames() -> AsyncIterator[bytes]:
        while True:
            yield b"data: x\n\n"

    async def close() -> None:
        is_closed.set()

    async def never_read(message: Any) -> None:
        if message["type"] == "http.response.body":
            await asyncio.get_running_loop().create_future()

    async def never_leave() -> Any:
        await asyncio.get_running_loop().create_future()

    with contextlib.suppress(asyncio.CancelledError):
        await EventStream(frames(), close=close, stuck_s=0.01)({}, never_leave, never_read)
    assert is_closed.is_set()
