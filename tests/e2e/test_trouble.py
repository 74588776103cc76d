"""What goes wrong between clients and a daemon, in every API that answers: who leaves, what dies, too many at once."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from registry.store import Registry
from tests.e2e.conftest import Home, Served, put, wait_for
from tests.e2e.test_access import resident_bytes

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")

LIMIT = 8
CONNECTIONS = 200
LONG = 7000
HELLO = [{"role": "user", "content": "Hello"}]
# How each API asks for a long answer.
APIS: dict[str, Any] = {
    "/v1/chat/completions": {"messages": HELLO, "max_tokens": LONG},
    "/v1/completions": {"prompt": "Hello", "max_tokens": LONG},
    "/v1/responses": {"input": "Hello", "max_output_tokens": LONG},
    "/v1/messages": {"messages": HELLO, "max_tokens": LONG},
    "/api/chat": {"messages": HELLO, "options": {"num_predict": LONG}},
    "/api/generate": {"prompt": "Hello", "options": {"num_predict": LONG}},
}
# Each as what a client may send by mistake or on purpose; all of them within the limit of a body's size but the last.
HOSTILE = {
    "malformed UTF-8": b'{"model": "\xff\xfe"}',
    "cut off": b'{"model": "slow"',
    "deep": b'{"model": ' + b"[" * 5000 + b"]" * 5000 + b"}",
    "deep under the limit": b'{"model": ' + b"[" * 100 + b"]" * 100 + b"}",
    "huge number": b'{"model": ' + b"9" * 100_000 + b"}",
    "large exponent": b'{"model": 1e999999}',
    "NaN": b'{"model": NaN}',
    "Infinity": b'{"model": "slow", "temperature": -Infinity}',
    "duplicated key": b'{"model": "slow", "model": "auto"}',
    "long string": b'{"model": "' + b"x" * 7_000_000 + b'"}',
    "10 MB string": b'{"model": "' + b"x" * 10_000_000 + b'"}',
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, slow: Path) -> Iterator[Served]:
    root = tmp_path_factory.mktemp("trouble")
    put(slow, root / "models" / "slow")
    with Registry.open(root / "home" / "registry.db") as registry:
        registry.add_root(root / "models")
    with ExitStack() as stack:
        daemon = Home(root / "home", root / "models", stack).start(max_concurrent=LIMIT, max_queue=LIMIT)
        load(daemon)
        yield daemon


def body(path: str, *, stream: bool) -> Any:
    return {"model": "slow", "stream": stream, **APIS[path]}


def load(served: Served) -> None:
    """Also where it has failed a short while ago."""
    served.post("/slmreg/load", {"model": "slow"}).raise_for_status()


def session(served: Served) -> Any:
    return served.sessions()["slow:0"]


def is_idle(served: Served) -> bool:
    return bool(session(served)["active"] == 0)


def given_up(served: Served) -> int:
    return served.home.log.read_text(encoding="utf-8").count("answer.unfinished")


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("path", APIS)
def test_a_client_that_leaves_stops_its_answer_in_every_api(served: Served, path: str, stream: bool) -> None:
    before = given_up(served)
    with httpx.Client(base_url=served.url, timeout=30) as client, ThreadPoolExecutor(1) as other:
        leave = threading.Event()

        def ask() -> None:
            if not stream:
                with pytest.raises(httpx.ReadTimeout):
                    client.post(path, json=body(path, stream=False), timeout=httpx.Timeout(30, read=0.5))
                return
            with client.stream("POST", path, json=body(path, stream=True)) as response:
                received = response.iter_raw()
                next(received)
                leave.wait(30)

        asking = other.submit(ask)
        wait_for(lambda: session(served)["active"] == 1, "the answer to begin")
        leave.set()
        asking.result(30)
    wait_for(lambda: is_idle(served), "the generation to end", timeout_s=10)
    assert given_up(served) == before + 1  # and it did not come to its end in this time


@pytest.mark.parametrize("path", APIS)
def test_a_worker_that_dies_ends_a_stream_with_an_error_in_every_api(served: Served, path: str) -> None:
    load(served)
    with httpx.stream("POST", f"{served.url}{path}", json=body(path, stream=True), timeout=60) as response:
        assert response.status_code == 200
        lines = response.iter_lines()
        first = next(lines)
        os.kill(session(served)["pid"], signal.SIGKILL)
        *_, last = (line for line in [first, *lines] if line)
    said = json.loads(last.removeprefix("data: "))
    error = said.get("error") or said.get("response", {}).get("error") or said
    assert "SIGKILL" in json.dumps(error)


def test_a_worker_that_dies_ends_a_whole_answer_with_an_error(served: Served) -> None:
    load(served)
    with ThreadPoolExecutor(len(APIS)) as pool:
        asked = [pool.submit(served.post, path, body(path, stream=False)) for path in APIS]
        wait_for(lambda: session(served)["active"] == len(APIS), "the answers to begin")
        os.kill(session(served)["pid"], signal.SIGKILL)
        answers = [each.result(60) for each in asked]
    for answer in answers:
        assert answer.status_code >= 500
        assert "SIGKILL" in answer.text


def test_beyond_the_limit_everybody_is_told_to_come_back_while_the_others_go_on(served: Served) -> None:
    load(served)
    with (
        httpx.Client(base_url=served.url, timeout=60, limits=httpx.Limits(max_connections=None)) as client,
        ThreadPoolExecutor(32) as pool,
        ExitStack() as stack,
    ):
        ask = {**body("/v1/chat/completions", stream=True), "max_tokens": 900}  # all of them fit into the cache
        accepted = [stack.enter_context(client.stream("POST", "/v1/chat/completions", json=ask)) for _ in range(LIMIT)]
        lines = [each.iter_lines() for each in accepted]
        for each in lines:
            next(each)
        paths = [[*APIS][number % len(APIS)] for number in range(CONNECTIONS - LIMIT)]
        answers = list(pool.map(lambda path: client.post(path, json=body(path, stream=False)), paths))
        assert session(served)["active"] == LIMIT
        for each in lines:
            assert "error" not in json.loads(next(filter(None, each)).removeprefix("data: "))
    assert {answer.status_code for answer in answers} <= {429, 529}  # Anthropic's APIs have a number of their own
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in answers)


def test_of_many_at_once_each_is_answered_or_told_to_come_back(served: Served) -> None:
    load(served)
    wait_for(lambda: is_idle(served), "the others to be done")
    ask = {"model": "slow", "messages": HELLO, "max_tokens": 24}
    with (
        httpx.Client(base_url=served.url, timeout=60, limits=httpx.Limits(max_connections=None)) as client,
        ThreadPoolExecutor(CONNECTIONS) as pool,
    ):
        answers = list(pool.map(lambda _: client.post("/v1/chat/completions", json=ask), range(CONNECTIONS)))
    accepted = [answer for answer in answers if answer.status_code == 200]
    assert len(accepted) >= LIMIT
    assert {answer.json()["usage"]["completion_tokens"] for answer in accepted} == {24}
    for answer in answers:
        assert answer in accepted or (answer.status_code == 429 and int(answer.headers["retry-after"]) >= 1)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_what_is_no_sensible_json_is_refused_on_every_route_and_leaves_no_memory_behind(served: Served) -> None:
    routes = served.get("/openapi.json")["paths"].items()
    paths = [path for path, methods in routes if "requestBody" in methods.get("post", {})]
    assert len(paths) > 15
    with httpx.Client(base_url=served.url, timeout=60, headers={"content-type": "application/json"}) as client:
        before = 0
        for path in paths:
            for name, content in HOSTILE.items():
                answer = client.post(path, content=content)
                is_refused = 400 <= answer.status_code < 500 or answer.status_code == 501  # what slmreg does not offer
                assert is_refused, (path, name, answer.status_code, answer.text[:300])
                assert len(answer.content) < 4000, (path, name)
            before = before or resident_bytes(served.pid)
        assert resident_bytes(served.pid) - before < 30_000_000
    assert served.get("/healthz") == {"status": "ok"}
