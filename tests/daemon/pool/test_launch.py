"""Real processes that speak the protocol and come to every kind of end; no model in them."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from daemon.pool.failures import FailureKind, WorkerFailure
from daemon.pool.launch import ProcessLauncher, WorkerProcess
from daemon.pool.protocol import Generate, Load, Ready
from registry.errors import DaemonStopping, WorkerDied
from tests.fakes import on_loop

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")

REPOSITORY = Path(__file__).parents[3]
LOAD = Load(path="/m", execution_provider="cpu", threads=1, context_tokens=256, max_concurrent=1)
ASK = Generate(request_id="r", messages=[])

# Reads a Load, then a Generate; each of the two arguments says what it does instead of answering.
SCRIPT = """
import os, sys
from daemon.pool.framing import encode, frame_size
from daemon.pool.protocol import Accepted, LoadFailed, Ready

def read():
    size = frame_size(sys.stdin.buffer.read(4))
    return sys.stdin.buffer.read(size)

def tell(message):
    os.write(1, encode(message))

def act(how):
    if how == "kill": os.kill(os.getpid(), 9)
    if how == "abort":
        os.write(2, b"terminate called after throwing an instance of 'std::bad_alloc'\\n")
        os.abort()
    if how == "garble": os.write(1, b"\\0\\0\\0\\2[]")
    if how == "refuse": tell(LoadFailed("out_of_memory", "no room for the weights"))
    if how == "refuse otherwise": tell(LoadFailed("missing_file", "no weights"))
    if how == "refuse and end":
        tell(LoadFailed("invalid_file", "x" * 1_000_000))
        os._exit(1)

read()
act(sys.argv[1])
tell(Ready(model_type="t", device="cpu", context_tokens=256, load_s=0.0, template_source="t"))
read()
tell(Accepted("r", 1))
act(sys.argv[2])
sys.stdin.buffer.read()
"""


@contextlib.asynccontextmanager
async def a_worker(at_load: str = "", at_request: str = "") -> AsyncIterator[WorkerProcess]:
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(REPOSITORY)
    try:
        worker = await ProcessLauncher([sys.executable, "-c", SCRIPT, at_load, at_request]).start()
    finally:
        os.environ.pop("PYTHONPATH") if before is None else os.environ.update(PYTHONPATH=before)
    try:
        yield worker
    finally:
        await worker.stop()


@pytest.mark.parametrize(
    ("how", "kind", "words"),
    [
        ("kill", FailureKind.KILLED, "SIGKILL"),
        ("abort", FailureKind.OUT_OF_MEMORY, "std::bad_alloc"),
        ("refuse", FailureKind.OUT_OF_MEMORY, "no room for the weights"),
        ("refuse otherwise", FailureKind.MISSING_FILE, "no weights"),
        ("garble", FailureKind.OTHER, "no message"),
    ],
)
@on_loop
async def test_a_load_that_fails_says_how_and_of_which_kind(how: str, kind: FailureKind, words: str) -> None:
    async with a_worker(how) as worker:
        with pytest.raises(WorkerFailure, match=words) as caught:
            await worker.load(LOAD)
        assert caught.value.kind is kind


@on_loop
async def test_what_a_worker_says_at_the_moment_of_its_end_is_heard() -> None:
    for _ in range(5):
        async with a_worker("refuse and end") as worker:
            with pytest.raises(WorkerFailure, match="x" * 1000) as caught:
                await worker.load(LOAD)
            assert caught.value.kind is FailureKind.INVALID_FILE


@pytest.mark.parametrize(
    ("how", "kind"),
    [("kill", FailureKind.KILLED), ("abort", FailureKind.OUT_OF_MEMORY), ("garble", FailureKind.OTHER)],
)
@on_loop
async def test_a_death_in_the_middle_of_an_answer_ends_it_and_is_told_by_kind(how: str, kind: FailureKind) -> None:
    async with a_worker(at_request=how) as worker:
        assert isinstance(await worker.load(LOAD), Ready)
        with pytest.raises(WorkerDied, match="in the middle of the answer"):
            await drained(worker)
        assert (await worker.wait()).kind is kind


@on_loop
async def test_a_kill_of_a_process_at_rest_says_nothing_about_its_model() -> None:
    async with a_worker() as worker:
        await worker.load(LOAD)
        os.kill(worker.pid, signal.SIGKILL)
        ending = await worker.wait()
        assert (ending.kind, "SIGKILL" in ending.words) == (FailureKind.OTHER, True)


@on_loop
async def test_a_stop_in_the_middle_of_an_answer_is_no_lack_of_memory() -> None:
    async with a_worker() as worker:
        await worker.load(LOAD)
        events = worker.generate(ASK)
        await anext(events)
        await worker.stop()
        with pytest.raises(DaemonStopping):
            await anext(events)
        assert (await worker.wait()).kind is FailureKind.OTHER


async def drained(worker: WorkerProcess) -> list[Any]:
    return [event async for event in worker.generate(ASK)]
