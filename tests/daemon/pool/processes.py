"""Real workers for the pool's tests, and what the system knows about their processes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from daemon.pool.launch import ProcessLauncher, WorkerProcess
from daemon.pool.protocol import Delta, Generate, Load, Sampling
from daemon.pool.worker_process import Event

REPOSITORY = Path(__file__).parents[3]
FAULTY_WORKER = (sys.executable, "-P", str(REPOSITORY / "tests" / "faulty_worker.py"))
WAIT_S = 30.0


@contextlib.asynccontextmanager
async def a_faulty_worker(**options: Any) -> AsyncIterator[WorkerProcess]:
    worker = await ProcessLauncher(FAULTY_WORKER, **options).start()
    try:
        yield worker
    finally:
        await worker.stop(at_once=True)


def with_fault(model: Path, folder: Path, **fault: Any) -> Load:
    """A copy of ``model`` that has the fault, and the message that loads it."""
    shutil.copytree(model, folder)
    folder.joinpath("fault.json").write_text(json.dumps({"after": 3, **fault}), encoding="utf-8")
    return a_load(folder)


def a_load(folder: Path) -> Load:
    return Load(path=str(folder), execution_provider="cpu", threads=1, context_tokens=1024, max_concurrent=4)


def a_question(request_id: str = "r", content: str = "Hello there", **fields: Any) -> Generate:
    messages = [{"role": "user", "content": content}]
    given = {"max_tokens": 20, "sampling": Sampling(temperature=1, seed=1), **fields}
    return Generate(request_id=request_id, messages=messages, **given)


async def answered(worker: WorkerProcess, request_id: str = "r", **fields: Any) -> list[Event]:
    return [event async for event in worker.generate(a_question(request_id, **fields))]


def text_of(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, Delta))


def state_of(pid: int) -> str | None:
    """The system's letter for what a process does, None when it is gone: Z has ended and nobody has asked how."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return None


async def until(condition: Callable[[], Any], what: str) -> None:
    deadline_s = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline_s, f"waited {WAIT_S} s in vain for {what}"
        await asyncio.sleep(0.01)
