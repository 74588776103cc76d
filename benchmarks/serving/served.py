"""The daemon as its client sees it: streams with the time of each piece, sessions, processes."""

from __future__ import annotations

import json
import math
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import httpx
import psutil

TIMEOUT_S = 120.0
POLL_S = 0.01
RECEIVED_BYTES = 65536
Message = dict[str, str]


@dataclass(frozen=True, slots=True)
class Stream:
    """One streamed answer. ``started_s``, ``pieces_s`` and ``ended_s`` are on one clock: when it was asked, when text
    came, and when all was there.
    """

    started_s: float
    pieces_s: Sequence[float]
    text: str
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    ended_s: float

    @property
    def ttft_s(self) -> float:
        return self.pieces_s[0] - self.started_s

    @property
    def tokens_per_second(self) -> float:
        """After the first token."""
        seconds = self.pieces_s[-1] - self.pieces_s[0]
        return (self.completion_tokens - 1) / seconds if seconds else math.inf  # all of it was read at once

    def tokens_between(self, since_s: float, until_s: float) -> float:
        """About how many came after the one and up to the other: a piece may have more than one."""
        pieces = sum(since_s < piece_s <= until_s for piece_s in self.pieces_s)
        return pieces * self.completion_tokens / len(self.pieces_s)

    def longest_gap_s(self, since_s: float, until_s: float) -> float:
        """Between two pieces, of which one came in that time."""
        gaps = [after - before for before, after in pairwise(self.pieces_s) if after >= since_s and before <= until_s]
        return max(gaps, default=0.0)


class Served:
    """A running daemon of process id ``pid``. Every method waits until what it asks for is there."""

    def __init__(self, url: str, pid: int) -> None:
        self._url = url
        self._process = psutil.Process(pid)
        self._client = self._connection()

    def close(self) -> None:
        self._client.close()

    def stream(self, model: str, messages: Sequence[Message], tokens: int, **more: object) -> Stream:
        """An answer of exactly ``tokens`` tokens; ``more`` are fields of the request.

        Raises SystemExit if it has fewer.
        """
        stream = parsed(*received(self._url, {**chat(model, messages, tokens), **more}))
        if stream.completion_tokens < tokens:
            raise SystemExit(f"the answer ended after {stream.completion_tokens} tokens; choose another --seed")
        return stream

    def leave(self, model: str, messages: Sequence[Message], after_s: float) -> float:
        """Ask, go after ``after_s`` without an answer; seconds until the session is free and its process is at rest."""
        with (
            self._connection() as client,
            client.stream("POST", "/v1/chat/completions", json=chat(model, messages, 64)) as response,
        ):
            if not response.is_success:
                raise SystemExit(f"refused: {response.read().decode()}")
            time.sleep(after_s)
            pid = self.session(model)["pid"]
        left_s = time.perf_counter()
        while self.session(model)["active"]:
            time.sleep(POLL_S)
        return max(time.perf_counter(), last_at_work_s(pid)) - left_s

    def sessions(self) -> list[dict[str, Any]]:
        sessions: list[dict[str, Any]] = self._client.get("/slmreg/sessions").json()
        return sessions

    def session(self, model: str) -> dict[str, Any]:
        return next(session for session in self.sessions() if session["id"].split(":")[0] == model)

    def load(self, model: str) -> None:
        self._client.post("/slmreg/load", json={"model": model}).raise_for_status()

    def unload(self, model: str) -> None:
        """Until its process is gone, and a spare one stands ready."""
        self._client.post("/slmreg/unload", json={"model": model}).raise_for_status()
        self.spare()

    def spare(self) -> psutil.Process:
        """The worker process without a model, when it has been at rest for a moment."""
        while True:
            with_model = {session["pid"] for session in self.sessions()}
            spares = [child for child in self._process.children() if child.pid not in with_model]
            if len(spares) == 1 and _is_at_rest(spares[0].pid):
                return spares[0]
            time.sleep(POLL_S)

    def wait_until_measured(self) -> None:
        """It measures the machine's speed in a quiet moment: not while we measure."""
        ends_s = time.perf_counter() + TIMEOUT_S
        while time.perf_counter() < ends_s:
            if self._client.get("/slmreg/hardware").json()["probes"]["bandwidth_bytes_per_s"] is not None:
                return
            time.sleep(0.1)

    def wait_until_suited(self, settled_s: float) -> None:
        """Until no session was exchanged for one with other threads for so long."""
        before, since_s = None, time.perf_counter()
        while time.perf_counter() - since_s < settled_s:
            now = [(session["id"], session["pid"], session["state"]) for session in self.sessions()]
            if now != before:
                before, since_s = now, time.perf_counter()
            time.sleep(0.1)

    def resident_bytes(self) -> int:
        return int(self._process.memory_info().rss)

    def _connection(self) -> httpx.Client:
        return httpx.Client(base_url=self._url, trust_env=False, timeout=TIMEOUT_S)


def received(url: str, body: Mapping[str, Any]) -> tuple[float, list[tuple[float, bytes]]]:
    """When a chat was asked for, and what came when.

    Through a bare socket, and parsed when all is there: a client library takes more of the cores for each token
    than the daemon, and they are the model's. Connected before the clock starts, as a client keeps its connection.
    """
    request = chat_request(url, body)
    arrivals: list[tuple[float, bytes]] = []
    with connected(url) as connection:
        started_s = time.perf_counter()
        connection.sendall(request)
        while part := connection.recv(RECEIVED_BYTES):
            arrivals.append((time.perf_counter(), part))
    return started_s, arrivals


def connected(url: str) -> socket.socket:
    at = httpx.URL(url)
    connection = socket.create_connection((at.host, at.port or 80), TIMEOUT_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def chat_request(url: str, body: Mapping[str, Any]) -> bytes:
    """The request for a chat, after whose answer the connection is closed."""
    data, at = json.dumps(body).encode(), httpx.URL(url)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {at.host}:{at.port}\r\nConnection: close\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    return head.encode() + data


def chat(model: str, messages: Sequence[Message], tokens: int) -> dict[str, Any]:
    return {
        "model": model,
        "messages": list(messages),
        "temperature": 0,
        "max_tokens": tokens,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def parsed(started_s: float, arrivals: Sequence[tuple[float, bytes]]) -> Stream:
    """Each event stands in a line of its own, whatever the framing around it, and came with its last byte."""
    pieces_s: list[float] = []
    text, usage, rest = "", None, b""
    for at_s, part in arrivals:
        *lines, rest = (rest + part).split(b"\n")
        for line in lines:
            if not line.startswith(b"data: {"):
                continue
            chunk = json.loads(line.removeprefix(b"data: "))
            if "error" in chunk:
                raise SystemExit(f"refused: {chunk['error']['message']}")
            usage = chunk.get("usage") or usage
            if content := "".join(choice["delta"].get("content") or "" for choice in chunk["choices"]):
                pieces_s.append(at_s)
                text += content
    if usage is None or not pieces_s:
        raise SystemExit(f"no answer: {b''.join(part for _, part in arrivals)[-300:]!r}")
    cached = usage.get("prompt_tokens_details", {}).get("cached_tokens", 0)
    return Stream(
        started_s, pieces_s, text, usage["prompt_tokens"], usage["completion_tokens"], cached, arrivals[-1][0]
    )


def last_at_work_s(pid: int, rest_s: float = 0.3) -> float:
    """When a process was last seen to use a core, before it used none for ``rest_s``."""
    process = psutil.Process(pid)
    used, at_s = _used_s(process), time.perf_counter()
    while time.perf_counter() - at_s < rest_s:
        time.sleep(POLL_S)
        if (now := _used_s(process)) > used:
            used, at_s = now, time.perf_counter()
    return at_s


def _is_at_rest(pid: int) -> bool:
    try:
        before_s = time.perf_counter()
        return last_at_work_s(pid) - before_s < POLL_S / 2
    except psutil.Error:
        return False


def _used_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
