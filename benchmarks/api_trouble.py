"""How soon a daemon acts on clients that give it trouble: those that leave, and those that are too many."""

from __future__ import annotations

import re
import selectors
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import pairwise
from threading import Event

from benchmarks.serving.figures import Figure, median
from benchmarks.serving.measures import FIRST, user
from benchmarks.serving.prompts import Prompts
from benchmarks.serving.served import (
    RECEIVED_BYTES,
    TIMEOUT_S,
    Served,
    chat,
    chat_request,
    connected,
    last_at_work_s,
)

CONNECTIONS = 200
# Of an answer that nobody waits for to the end.
LONG_TOKENS = 4000
POLL_S = 0.005
# The speed of the streams is taken for so long before anybody is refused.
BEFORE_S = 1.5
_RETRY_LATER = re.compile(rb"HTTP/1\.1 429 .*\r\nretry-after: \d+\r\n", re.DOTALL | re.IGNORECASE)


def leaving(served: Served, url: str, prompts: Prompts, rounds: int, *, is_streamed: bool) -> Figure:
    """From a client's leaving until its session is free, holds no row, and its model's process computes nothing."""
    freed_ms, stopped_ms = [], []
    for _ in range(rounds):
        body = {**chat(FIRST, [user(prompts.fresh(16))], LONG_TOKENS), "stream": is_streamed}
        if not is_streamed:
            del body["stream_options"]
        with connected(url) as connection:
            connection.sendall(chat_request(url, body))
            while not (session := served.session(FIRST))["row_bytes"]:  # it is told once a second
                time.sleep(POLL_S)
        left_s = time.perf_counter()
        freed_ms.append(1000 * (_freed_s(served) - left_s))
        stopped_ms.append(1000 * max(0.0, last_at_work_s(session["pid"]) - left_s))
    detail = f"until its row is free, most {max(freed_ms):.0f} ms; until the model rests {median(stopped_ms):.0f} ms"
    return Figure(f"{'stream' if is_streamed else 'whole'} left", median(freed_ms), "ms", 200, detail)


def _freed_s(served: Served) -> float:
    while (session := served.session(FIRST))["active"] or session["row_bytes"]:
        time.sleep(POLL_S)
    return time.perf_counter()


def refusals(served: Served, url: str, prompts: Prompts, streams: int) -> list[Figure]:
    """Streams that take all there is, and then as many connections more as make ``CONNECTIONS``.

    They ask one after the other first, and then all at once. What that does to the streams is their speed meanwhile
    against that before.
    """
    count = CONNECTIONS - streams
    request = chat_request(url, chat(FIRST, [user(prompts.fresh(16))], 1))
    asked = [chat_request(url, chat(FIRST, [user(prompts.fresh(16))], LONG_TOKENS)) for _ in range(streams)]
    pieces: list[list[float]] = [[] for _ in asked]
    is_over = Event()
    with ThreadPoolExecutor(streams) as pool:
        running = [pool.submit(_follow, url, *each, is_over) for each in zip(asked, pieces, strict=True)]
        try:
            while not all(pieces) and not any(each.done() for each in running):
                time.sleep(POLL_S)
            times_s = [time.perf_counter()]
            time.sleep(BEFORE_S)
            times_s.append(time.perf_counter())
            in_turn_ms = [each for _ in range(count) for each in _refused_ms(url, request, 1)]
            times_s.append(time.perf_counter())
            at_once_ms = _refused_ms(url, request, count)
            times_s.append(time.perf_counter())
        finally:
            is_over.set()
        for each in running:
            each.result()
    at_s = [each for stream in pieces for each in stream]
    before, during, burst = (_rate(at_s, begin_s, end_s) for begin_s, end_s in pairwise(times_s))
    return [
        Figure("refused in turn", _p95(in_turn_ms), "ms p95", 50, f"{count} more; median {median(in_turn_ms):.1f} ms"),
        Figure("refused at once", _p95(at_once_ms), "ms p95", 50, f"{count} more; median {median(at_once_ms):.0f} ms"),
        Figure(
            "streams meanwhile",
            during / before,
            "x before",
            0.9,
            f"of {streams}: {before:.0f} tokens/s before, {burst:.0f} while all come at once",
            is_floor=True,
        ),
    ]


def _follow(url: str, request: bytes, pieces_s: list[float], is_over: Event) -> None:
    """Note when each piece of a stream came, until ``is_over``. Raises SystemExit where it ends before."""
    with connected(url) as connection:
        connection.sendall(request)
        while not is_over.is_set():
            part = connection.recv(RECEIVED_BYTES)
            if not part or b"[DONE]" in part or b'"error"' in part:
                raise SystemExit(f"a stream ended before everybody was refused: {part[-300:]!r}")
            pieces_s += [time.perf_counter()] * part.count(b"data: {")


def _rate(at_s: Sequence[float], begin_s: float, end_s: float) -> float:
    return sum(begin_s <= each < end_s for each in at_s) / (end_s - begin_s)


def _refused_ms(url: str, request: bytes, count: int) -> list[float]:
    """How long each of ``count`` connections waits for its refusal, when all ask at once.

    Raises SystemExit where one is not told when to come back.
    """
    with ExitStack() as stack, selectors.DefaultSelector() as waiting:
        connections = {each.fileno(): stack.enter_context(each) for each in (connected(url) for _ in range(count))}
        for connection in connections.values():
            waiting.register(connection, selectors.EVENT_READ, time.perf_counter())
            connection.sendall(request)
        took_ms = []
        while waiting.get_map():
            for key, _ in waiting.select(TIMEOUT_S):
                took_ms.append(1000 * (time.perf_counter() - key.data))
                answer = connections[key.fd].recv(RECEIVED_BYTES)
                if not _RETRY_LATER.match(answer):
                    raise SystemExit(f"not refused: {answer[:300]!r}")
                waiting.unregister(key.fileobj)
    return took_ms


def _p95(values: Sequence[float]) -> float:
    return statistics.quantiles(values, n=20)[18]
