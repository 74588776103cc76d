"""How a daemon stops: what is being said is said to its end, what comes then is refused in words, nothing is left."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import Home, Served, put, wait_for
from tests.e2e.test_lifecycle import lives, workers_of

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")

BODY: Any = {"model": "slow", "messages": [{"role": "user", "content": "Hello"}], "temperature": 0}


def begun(served: Served, client: httpx.Client, **body: Any) -> tuple[httpx.Response, Any]:
    """A stream whose first event is there, and the lines after it."""
    request = client.build_request("POST", f"{served.url}/v1/chat/completions", json={**BODY, **body, "stream": True})
    response = client.send(request, stream=True)
    lines = response.iter_lines()
    next(lines)
    return response, lines


def test_while_answers_finish_new_requests_are_refused_in_words(home: Home, slow: Path) -> None:
    put(slow, home.models / "slow")
    served = home.start()
    served.post("/slmreg/load", {"model": "slow"}).raise_for_status()
    workers = workers_of(served)
    with httpx.Client(timeout=30) as client:
        response, lines = begun(served, client, max_tokens=800)
        served.daemon.process.send_signal(signal.SIGTERM)
        wait_for(lambda: "daemon.stopping" in home.log.read_text(), "the stop to begin")
        for _ in range(2):
            refused = client.post(f"{served.url}/v1/chat/completions", json={**BODY, "max_tokens": 1})
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "stopping")
        rest = list(lines)
        response.close()
    assert '"finish_reason":"length"' in "".join(rest)
    assert rest[-2] == "data: [DONE]"
    assert served.daemon.process.wait(20) == 0
    assert len(workers) >= 1
    assert not any(map(lives, workers))


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_it_at_once_with_all_its_processes(home: Home, slow: Path, second: signal.Signals) -> None:
    put(slow, home.models / "slow")
    served = home.start()
    served.post("/slmreg/load", {"model": "slow"}).raise_for_status()
    workers = workers_of(served)
    with httpx.Client(timeout=30) as client:
        streams = [begun(served, client, max_tokens=8000) for _ in range(4)]  # together they take a while
        served.daemon.process.send_signal(signal.SIGTERM)
        wait_for(lambda: "daemon.stopping" in home.log.read_text(), "the stop to begin")
        signalled_s = time.monotonic()
        served.daemon.process.send_signal(second)
        assert served.daemon.process.wait(20) == 0
        assert time.monotonic() - signalled_s < 10
        for response, _lines in streams:
            response.close()
    wait_for(lambda: not any(map(lives, workers)), "its processes to end")
    assert not (home.path / "run" / "daemon.json").exists()
    assert "Traceback" not in home.log.read_text()
