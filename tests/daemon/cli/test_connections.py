"""The web server's connections, over real sockets; the application behind them only says what it got."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from daemon.access_settings import AccessSettings
from daemon.cli.connections import MAX_PIPELINED, bounded_by
from tests.fakes import on_loop

LONG_S = 15.0
GET = b"GET / HTTP/1.1\r\nhost: x\r\n"
POST = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\n"


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    def close(self) -> None:
        self._writer.close()

    async def status(self) -> tuple[int, str]:
        """Of the next response, and its body or the code in it."""
        head = await asyncio.wait_for(self._reader.readuntil(b"\r\n\r\n"), LONG_S)
        length = next(int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"content-length:"))
        body = (await asyncio.wait_for(self._reader.readexactly(length), LONG_S)).decode()
        status = int(head.split(b" ")[1])
        return status, json.loads(body)["error"]["code"] if status >= 400 else body

    async def is_closed(self) -> bool:
        """Also if by a reset: the other side had something left to read."""
        try:
            return await asyncio.wait_for(self._reader.read(), LONG_S) == b""
        except ConnectionResetError:
            return True


async def echo(scope: Any, receive: Any, send: Any) -> None:
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message["body"]
        if not message["more_body"]:
            break
    text = b"%d headers, %d bytes" % (len(scope["headers"]), len(body))
    headers = [(b"content-length", str(len(text)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": text})


@asynccontextmanager
async def serving(app: Any = echo, **settings: Any) -> AsyncIterator[Any]:
    """What connects to it."""
    chosen = AccessSettings(**{"header_timeout_s": LONG_S, "body_timeout_s": LONG_S, **settings})
    config = uvicorn.Config(app, http=bounded_by(lambda: chosen), ws="none", log_config=None, lifespan="off")
    config.load()
    state = ServerState()
    loop = asyncio.get_running_loop()
    make: Any = config.http_protocol_class
    server = await loop.create_server(lambda: make(config=config, server_state=state, app_state={}), "127.0.0.1", 0)
    clients: list[Client] = []

    async def connect(data: bytes = b"") -> Client:
        client = Client(*await asyncio.open_connection(*server.sockets[0].getsockname()))
        clients.append(client)
        await client.send(data)
        return client

    try:
        yield connect
    finally:
        server.close()
        for client in clients:
            client.close()
        await asyncio.gather(*(client.is_closed() for client in clients))


@on_loop
async def test_requests_within_the_limits_are_answered_one_after_the_other() -> None:
    async with serving(max_headers=16, max_header_bytes=1024) as connect:
        client = await connect(GET + b"a: b\r\n" * 15 + b"\r\n")
        assert await client.status() == (200, "16 headers, 0 bytes")
        await client.send(POST + b"1234" + POST + b"5678")
        assert [await client.status() for _ in range(2)] == [(200, "2 headers, 4 bytes")] * 2
        chunked = POST.replace(b"content-length: 4", b"transfer-encoding: chunked")
        await client.send(chunked + b"1\r\nx\r\n" * 2000 + b"0\r\n\r\n")
        assert await client.status() == (200, "2 headers, 2000 bytes")


@pytest.mark.parametrize(
    "head",
    [
        GET + b"a: b\r\n" * 16 + b"\r\n",
        GET + b"a: " + b"b" * 1024 + b"\r\n\r\n",
        GET + b"a: " + b"b" * 300_000,
        GET + b"b" * 300_000,
        b"GET /" + b"x" * 1024 + b" HTTP/1.1\r\nhost: x\r\n\r\n",
        POST.replace(b"content-length: 4", b"transfer-encoding: chunked") + b"0\r\na: " + b"b" * 300_000,
    ],
    ids=["many", "long", "without end", "a name without end", "a long path", "a trailer without end"],
)
@on_loop
async def test_headers_that_are_too_many_or_too_long_are_a_431(head: bytes) -> None:
    async with serving(max_headers=16, max_header_bytes=1024) as connect:
        client = await connect(head)
        assert await client.status() == (431, "headers_too_large")
        assert await client.is_closed()


@on_loop
async def test_headers_and_bodies_that_do_not_come_are_a_408() -> None:
    async with serving(header_timeout_s=0.05, body_timeout_s=0.05) as connect:
        for sent in (GET + b"a: ", POST + b"12"):
            client = await connect(sent)
            assert await client.status() == (408, "request_timeout")
            assert await client.is_closed()


@on_loop
async def test_a_connection_that_never_asks_anything_is_closed_without_a_word() -> None:
    async with serving(header_timeout_s=0.05) as connect:
        client = await connect()
        assert await client.is_closed()


@on_loop
async def test_dripping_does_not_prolong_it() -> None:
    async with serving(header_timeout_s=0.2) as connect:
        client = await connect(GET)

        async def drip() -> None:
            while True:
                await client.send(b"a: b\r\n")
                await asyncio.sleep(0.01)

        dripping = asyncio.create_task(drip())
        assert await client.status() == (408, "request_timeout")
        dripping.cancel()
        await asyncio.gather(dripping, return_exceptions=True)


@on_loop
async def test_an_answer_that_takes_longer_than_a_request_may_is_not_cut_off() -> None:
    ends = asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await ends.wait()
        await echo(scope, receive, send)

    async with serving(slow, header_timeout_s=0.02, body_timeout_s=0.02) as connect:
        client = await connect(GET + b"\r\n" + GET)  # and the beginning of another
        asyncio.get_running_loop().call_later(0.1, ends.set)
        assert await client.status() == (200, "1 headers, 0 bytes")


@on_loop
async def test_one_connection_too_many_is_a_503() -> None:
    async with serving(max_connections=8) as connect:
        first = [await connect(GET) for _ in range(8)]
        assert await (await connect()).status() == (503, "too_many_connections")
        await first[0].send(b"\r\n")
        assert (await first[0].status())[0] == 200


@on_loop
async def test_what_is_no_http_and_too_many_at_once_are_a_400() -> None:
    async with serving() as connect:
        assert await (await connect(b"\x16\x03\x01 hello\r\n\r\n")).status() == (400, "invalid_http")
        client = await connect((GET + b"\r\n") * (MAX_PIPELINED + 5))
        statuses = [await client.status()]
        assert statuses[0] in ((400, "invalid_http"), (200, "1 headers, 0 bytes"))
