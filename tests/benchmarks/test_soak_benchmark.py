"""What the soak counts as wrong, and a short one of it."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from benchmarks.soak.clients import Outcome, Tally, ask
from benchmarks.soak.readings import Readings, left_behind, second_and_last_fifth
from benchmarks.soak.report import verdicts

ROOT = Path(__file__).parents[2]
BODY = {"model": "auto", "messages": [{"role": "user", "content": "Hi"}]}


def asked(response: httpx.Response, *, stream: bool = False) -> Tally:
    """What is counted for an answer of this kind by a client that does not leave."""
    tally = Tally()
    chance = random.Random(1)
    transport = httpx.MockTransport(lambda _: response)
    with httpx.Client(transport=transport, base_url="http://daemon") as client:
        ask(client, {**BODY, "stream": stream}, chance, tally)
    return tally


def error(status: int, code: str, message: str = "It failed. Try again.") -> httpx.Response:
    return httpx.Response(status, json={"error": {"message": message, "type": "x", "code": code, "param": None}})


def test_error_in_the_envelope_with_its_own_status_is_proper() -> None:
    assert asked(error(503, "load_failed")).counts == {(Outcome.REFUSED, "503 load_failed"): 1}


@pytest.mark.parametrize(
    "response",
    [
        error(500, "load_failed"),
        error(500, "internal_error"),
        error(500, "generation_failed", "slmreg failed on this answer: KeyError."),
        error(503, "load_failed", ""),
        httpx.Response(502, text="Bad Gateway"),
        httpx.Response(500, json={"detail": "boom"}),
    ],
)
def test_every_other_error_is_counted_against_us(response: httpx.Response) -> None:
    assert asked(response).of(Outcome.IMPROPER) == 1


@pytest.mark.parametrize(
    ("end", "outcome"),
    [
        ("data: [DONE]\n\n", Outcome.STREAMED),
        ('data: {"error": {"message": "The process died.", "code": "worker_died"}}\n\n', Outcome.BROKEN_OFF),
        ('data: {"error": {"message": "slmreg failed on it", "code": "generation_failed"}}\n\n', Outcome.IMPROPER),
        ("", Outcome.CUT_OFF),
    ],
)
def test_stream_has_to_end_with_done_or_an_error(end: str, outcome: Outcome) -> None:
    tally = asked(httpx.Response(200, text='data: {"choices": []}\n\n' + end), stream=True)
    assert tally.of(outcome) == sum(tally.counts.values()) == 1


def test_fifths_leave_the_warming_up_out() -> None:
    assert second_and_last_fifth([900, 900, 10, 10, 50, 50, 50, 50, 20, 20]) == (10, 20)
    with pytest.raises(ValueError, match="too few"):
        second_and_last_fifth([1, 2, 3])


def test_each_thing_that_must_not_be_fails_a_soak_alone() -> None:
    flat = Readings([100] * 10, [30] * 10)

    def failed(readings: Readings, *, exit_code: int = 0, left: tuple[str, ...] = (), bad: int = 0) -> int:
        tally = Tally()
        tally.count(Outcome.ANSWERED)
        for _ in range(bad):
            tally.count(Outcome.NO_ANSWER)
        return sum(not each.is_fine for each in verdicts(tally, readings, exit_code=exit_code, left=left))

    assert failed(flat) == 0
    assert failed(flat, bad=1) == 1
    assert failed(flat, exit_code=1) == 1
    assert failed(flat, left=("12 python",)) == 1
    assert failed(Readings([100] * 8 + [106] * 2, [30] * 10)) == 1
    assert failed(Readings([100] * 10, [30] * 8 + [34] * 2)) == 1


def test_process_with_the_home_of_a_daemon_is_found(tmp_path: Path) -> None:
    environment = {**os.environ, "SLMREG_HOME": str(tmp_path)}
    assert left_behind(environment) == []
    command = [sys.executable, "-c", "print(flush=True); input()"]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as orphan:
        assert orphan.stdout is not None
        orphan.stdout.readline()
        assert [line.split()[0] for line in left_behind(environment)] == [str(orphan.pid)]


@pytest.mark.skipif(sys.platform == "win32", reason="processes are killed by signals")
def test_a_short_soak_asks_and_makes_trouble() -> None:
    command = [sys.executable, "-m", "benchmarks.soak", "--minutes", "0.15", "--clients", "3"]
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=180)
    assert "ok     0 processes left behind" in done.stdout, done.stdout + done.stderr
    assert "ok     exit code 0 after SIGTERM" in done.stdout
    assert " 0 without an answer or a proper error" in done.stdout
