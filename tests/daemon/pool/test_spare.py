"""The process that is kept ready, with real processes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from daemon.pool.launch import ProcessLauncher
from daemon.pool.protocol import Finished
from daemon.pool.spare import Spare
from tests.daemon.pool.processes import FAULTY_WORKER, a_load, answered, state_of, until
from tests.fakes import on_loop

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads what Linux tells about processes")


@contextlib.asynccontextmanager
async def a_launcher(**options: Any) -> AsyncIterator[ProcessLauncher]:
    launcher = ProcessLauncher(FAULTY_WORKER, keeps_spare=True, **{"spare_delay_s": 0.05, **options})
    try:
        yield launcher
    finally:
        await launcher.close()
        assert not children()


def children() -> set[int]:
    """The processes that this one has started and that live."""
    listed = Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="ascii")
    return {int(pid) for pid in listed.split() if state_of(int(pid)) not in (None, "Z")}


@on_loop
async def test_the_spare_is_ready_handed_out_and_replaced(tiny_model: Path) -> None:
    async with a_launcher() as launcher:
        await launcher.warm()
        (kept,) = children()
        worker = await launcher.start()
        assert worker.pid == kept
        await asyncio.sleep(0.2)
        assert children() == {kept}  # no second one beside a load that has not ended
        await worker.load(a_load(tiny_model))
        await until(lambda: len(children()) == 2, "the next spare")
        assert isinstance((await answered(worker))[-1], Finished)
        second = await launcher.start()
        assert second.pid != kept
        assert children() == {kept, second.pid}
        for each in (worker, second):
            await each.stop()


@on_loop
async def test_a_start_that_finds_no_spare_gets_a_fresh_process() -> None:
    async with a_launcher() as launcher:
        first, second = await launcher.start(), await launcher.start()
        assert children() == {first.pid, second.pid}
        for each in (first, second):
            await each.stop()
        await until(children, "the first spare, once both are gone")


@on_loop
async def test_a_dead_spare_is_not_handed_out() -> None:
    async with a_launcher() as launcher:
        await launcher.warm()
        (kept,) = children()
        os.kill(kept, signal.SIGKILL)
        # Not a moment for the event loop to hear of it.
        with contextlib.suppress(ChildProcessError):
            os.waitid(os.P_PID, kept, os.WEXITED | os.WNOWAIT)  # noqa: ASYNC222 - that is the point
        worker = await launcher.start()
        assert worker.pid != kept
        assert not worker.has_exited
        await worker.stop()


@on_loop
async def test_a_spare_that_dies_is_replaced() -> None:
    async with a_launcher() as launcher:
        await launcher.warm()
        (kept,) = children()
        os.kill(kept, signal.SIGKILL)
        await until(lambda: children() - {kept}, "the next spare")


@on_loop
async def test_a_spare_that_does_not_get_ready_is_ended_and_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLMREG_TEST_FAULT", "deaf")
    spare = Spare(ProcessLauncher(FAULTY_WORKER).start, delay_s=0.01, prepare_timeout_s=0.3)
    await spare.warm()  # returns all the same
    monkeypatch.delenv("SLMREG_TEST_FAULT")
    await until(lambda: any(_is_ready(pid) for pid in children()), "a spare that is of use")
    assert len(children()) == 1
    await spare.close()


def _is_ready(pid: int) -> bool:
    """Whether it has the engine's library."""
    with contextlib.suppress(OSError):
        return "onnxruntime-genai" in Path(f"/proc/{pid}/maps").read_text(encoding="utf-8")
    return False


@on_loop
async def test_spares_that_cannot_live_are_tried_less_and_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLMREG_TEST_FAULT", "exit")
    slept: list[float] = []

    async def fall_asleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 4:
            await asyncio.Event().wait()

    spare = Spare(ProcessLauncher(FAULTY_WORKER).start, delay_s=10.0, sleep=fall_asleep)
    await spare.warm()  # returns all the same
    await until(lambda: len(slept) == 4, "four attempts")
    await spare.close()
    assert slept == [20.0, 40.0, 60.0, 60.0]


@on_loop
async def test_a_command_that_does_not_exist_is_the_starts_error_and_no_storm() -> None:
    launcher = ProcessLauncher(["/nowhere/python"], keeps_spare=True, spare_delay_s=30.0)
    await launcher.warm()
    with pytest.raises(FileNotFoundError):
        await launcher.start()
    await launcher.close()


@on_loop
async def test_a_launcher_without_a_spare_starts_nothing_by_itself() -> None:
    launcher = ProcessLauncher(FAULTY_WORKER)
    await launcher.warm()
    assert not children()
    await launcher.close()


@on_loop
async def test_a_launcher_that_is_closed_while_its_spare_starts_leaves_nothing() -> None:
    for pause_s in (0.0, 0.001, 0.02, 0.1):
        async with a_launcher() as launcher:
            warming = asyncio.create_task(launcher.warm())
            await asyncio.sleep(pause_s)
        warming.cancel()


@on_loop
async def test_a_closed_launcher_still_starts_and_keeps_nothing(tiny_model: Path) -> None:
    async with a_launcher() as launcher:
        await launcher.warm()
        await launcher.close()
        assert not children()
        worker = await launcher.start()
        await worker.load(a_load(tiny_model))
        await asyncio.sleep(0.2)
        assert children() == {worker.pid}
        await worker.stop()
