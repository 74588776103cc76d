"""What a real worker with a real model can do wrong, and what becomes of its requests and of itself."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from daemon.pool.failures import FailureKind, WorkerFailure
from daemon.pool.launch import ProcessLauncher
from daemon.pool.protocol import Finished
from daemon.pool.worker_process import STOP_GRACE_S
from registry.errors import DaemonStopping, WorkerDied
from tests.daemon.pool.processes import (
    FAULTY_WORKER,
    REPOSITORY,
    a_faulty_worker,
    a_load,
    a_question,
    answered,
    state_of,
    text_of,
    until,
    with_fault,
)
from tests.fakes import on_loop

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads what Linux tells about processes")

HANG_TIMEOUT_S = 2.0
ENDINGS = [
    ("crash", FailureKind.CRASHED, "was killed by SIGSEGV"),
    ("abort", FailureKind.CRASHED, "was killed by SIGABRT"),
    ("exit", FailureKind.OTHER, "ended with exit code 3"),
    ("killed", FailureKind.KILLED, "was killed by SIGKILL"),
    ("garbage", FailureKind.OTHER, "sent what is no message"),
    ("too much", FailureKind.OTHER, "sent what is no message"),
    ("half", FailureKind.OTHER, "ended with exit code 0"),
    ("child", FailureKind.OTHER, "ended with exit code 3"),
]
HANGS = [
    ("hang", FailureKind.HUNG, "said nothing for 2 s and was ended"),
    ("deaf", FailureKind.HUNG, "said nothing for 2 s and was ended"),
    ("mute", FailureKind.HUNG, "said nothing for 2 s and was ended"),
]


@pytest.mark.parametrize(("what", "kind", "words"), [*ENDINGS, *HANGS])
@on_loop
async def test_requests_of_a_worker_that_breaks_end_with_how_it_did(
    tiny_model: Path, tmp_path: Path, what: str, kind: FailureKind, words: str
) -> None:
    load = with_fault(tiny_model, tmp_path / "m", at="token", what=what)
    async with a_faulty_worker(hang_timeout_s=HANG_TIMEOUT_S) as worker:
        await worker.load(load)
        both = await asyncio.gather(answered(worker, "a"), answered(worker, "b"), return_exceptions=True)
        for error in both:
            assert isinstance(error, WorkerDied)
            assert words in error.message
        with pytest.raises(WorkerDied):
            await answered(worker, "too late")
        ending = await worker.wait()
        assert (ending.kind, words in ending.words) == (kind, True)
        assert state_of(worker.pid) is None


@pytest.mark.parametrize(("what", "kind", "words"), ENDINGS)
@on_loop
async def test_a_load_of_a_worker_that_breaks_ends_with_how_it_did(
    tiny_model: Path, tmp_path: Path, what: str, kind: FailureKind, words: str
) -> None:
    load = with_fault(tiny_model, tmp_path / "m", at="load", what=what)
    async with a_faulty_worker() as worker:
        with pytest.raises(WorkerFailure, match=words) as caught:
            await worker.load(load)
        assert caught.value.kind is kind
        assert state_of(worker.pid) is None


@pytest.mark.parametrize("at", ["load", "token"])
@on_loop
async def test_memory_that_cannot_be_had_is_told_as_that(tiny_model: Path, tmp_path: Path, at: str) -> None:
    load = with_fault(tiny_model, tmp_path / "m", at=at, what="memory")
    async with a_faulty_worker() as worker:
        if at == "load":
            with pytest.raises(WorkerFailure, match="MemoryError") as caught:
                await worker.load(load)
            assert caught.value.kind is FailureKind.OUT_OF_MEMORY
        else:
            await worker.load(load)
            with pytest.raises(WorkerDied):
                await answered(worker)
            assert (await worker.wait()).kind is FailureKind.OUT_OF_MEMORY


@pytest.mark.parametrize(
    ("what", "at"), [("flood", "load"), ("flood", "token"), ("print", "load"), ("print", "token"), ("much", "token")]
)
@on_loop
async def test_what_is_printed_or_sent_to_others_does_no_harm(
    tiny_model: Path, tmp_path: Path, what: str, at: str
) -> None:
    async with a_faulty_worker() as sound:
        await sound.load(a_load(tiny_model))
        expected = text_of(await answered(sound))
    async with a_faulty_worker() as worker:
        await worker.load(with_fault(tiny_model, tmp_path / "m", at=at, what=what))
        events = await answered(worker)
        assert isinstance(events[-1], Finished)
        assert text_of(events) == expected != ""


@on_loop
async def test_a_slow_worker_is_not_taken_for_one_that_hangs(tiny_model: Path, tmp_path: Path) -> None:
    load = with_fault(tiny_model, tmp_path / "m", at="token", what="slow", after=0)
    async with a_faulty_worker(hang_timeout_s=HANG_TIMEOUT_S) as worker:
        await worker.load(load)
        started_s = time.monotonic()
        assert isinstance((await answered(worker, max_tokens=100))[-1], Finished)
        assert time.monotonic() - started_s > HANG_TIMEOUT_S


@on_loop
async def test_a_worker_that_has_nothing_to_do_does_not_hang(tiny_model: Path) -> None:
    async with a_faulty_worker(hang_timeout_s=HANG_TIMEOUT_S) as worker:
        await worker.load(a_load(tiny_model))
        await asyncio.sleep(2 * HANG_TIMEOUT_S)
        assert isinstance((await answered(worker))[-1], Finished)


@on_loop
async def test_a_machine_that_slept_finds_its_workers_alive(tiny_model: Path) -> None:
    async with a_faulty_worker(hang_timeout_s=HANG_TIMEOUT_S) as worker:
        await worker.load(a_load(tiny_model))
        os.kill(worker.pid, signal.SIGSTOP)
        time.sleep(2 * HANG_TIMEOUT_S)  # noqa: ASYNC251 - the daemon sleeps as well
        os.kill(worker.pid, signal.SIGCONT)
        await asyncio.sleep(HANG_TIMEOUT_S / 2)
        assert isinstance((await answered(worker))[-1], Finished)


@on_loop
async def test_a_load_may_take_longer_than_a_hang_and_ends_at_once_when_it_is_given_up(
    tiny_model: Path, tmp_path: Path
) -> None:
    load = with_fault(tiny_model, tmp_path / "m", at="load", what="deaf")
    async with a_faulty_worker(hang_timeout_s=0.2) as worker:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(worker.load(load), 1.0)
        assert state_of(worker.pid) is not None
        given_up_s = time.monotonic()
        await worker.stop(at_once=True)
        assert time.monotonic() - given_up_s < STOP_GRACE_S
        assert state_of(worker.pid) is None


@on_loop
async def test_a_worker_that_is_stopped_from_outside_hangs(tiny_model: Path) -> None:
    async with a_faulty_worker(hang_timeout_s=HANG_TIMEOUT_S) as worker:
        await worker.load(a_load(tiny_model))
        os.kill(worker.pid, signal.SIGSTOP)
        assert (await worker.wait()).kind is FailureKind.HUNG


@on_loop
async def test_a_worker_that_ignores_every_request_to_end_is_gone_after_a_stop(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daemon.pool.worker_process.STOP_GRACE_S", 0.2)
    async with a_faulty_worker() as worker:
        await worker.load(with_fault(tiny_model, tmp_path / "m", at="token", what="deaf"))
        asking = asyncio.create_task(answered(worker))
        await until(lambda: _ignores_sigterm(worker.pid), "the worker to hang")
        await worker.stop()
        assert state_of(worker.pid) is None
        with pytest.raises(DaemonStopping):
            await asking


@on_loop
async def test_a_stop_at_once_overtakes_a_polite_one(tiny_model: Path, tmp_path: Path) -> None:
    async with a_faulty_worker() as worker:
        await worker.load(with_fault(tiny_model, tmp_path / "m", at="token", what="deaf"))
        asking = asyncio.create_task(answered(worker))
        await until(lambda: _ignores_sigterm(worker.pid), "the worker to hang")
        asked_s = time.monotonic()
        await asyncio.gather(worker.stop(), worker.stop(at_once=True))
        assert time.monotonic() - asked_s < STOP_GRACE_S
        assert isinstance((await asyncio.gather(asking, return_exceptions=True))[0], DaemonStopping)


@on_loop
async def test_a_polite_stop_of_an_idle_worker_is_quick_and_is_no_failure(tiny_model: Path) -> None:
    worker = await ProcessLauncher(FAULTY_WORKER).start()
    await worker.load(a_load(tiny_model))
    asked_s = time.monotonic()
    await worker.stop()
    assert time.monotonic() - asked_s < STOP_GRACE_S
    assert ((await worker.wait()).kind, (await worker.wait()).words) == (FailureKind.OTHER, "was stopped")


@on_loop
async def test_large_messages_pass_and_those_to_a_dead_worker_leave_nothing_behind(tiny_model: Path) -> None:
    large = "word " * 1_000_000
    async with a_faulty_worker() as worker:
        await worker.load(a_load(tiny_model))
        events = [e async for e in worker.generate(a_question(content=large))]
        assert len(events) == 1  # far beyond its context
        os.kill(worker.pid, signal.SIGKILL)
        with pytest.raises(WorkerDied):
            await answered(worker, "after")


# Loads a folder in a worker, says which process that is, and never ends.
DAEMON = """
import asyncio, sys
from pathlib import Path
from tests.daemon.pool.processes import FAULTY_WORKER, a_load
from daemon.pool.launch import ProcessLauncher

async def main():
    worker = await ProcessLauncher(FAULTY_WORKER).start()
    print(worker.pid, flush=True)
    await worker.load(a_load(Path(sys.argv[1])))

asyncio.run(main())
"""


@on_loop
async def test_a_killed_daemon_leaves_no_worker_even_if_that_hangs(tiny_model: Path, tmp_path: Path) -> None:
    with_fault(tiny_model, tmp_path / "m", at="load", what="deaf")
    daemon = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", DAEMON, str(tmp_path / "m")), cwd=REPOSITORY, stdout=asyncio.subprocess.PIPE
    )
    assert daemon.stdout is not None
    worker_pid = int(await daemon.stdout.readline())
    await until(lambda: _ignores_sigterm(worker_pid), "the worker to hang")
    daemon.kill()
    await daemon.wait()
    await until(lambda: state_of(worker_pid) in (None, "Z"), "the worker to be gone")


def test_nine_lives_leave_no_process_and_no_open_file(tiny_model: Path) -> None:
    async def live(launcher: ProcessLauncher, how: int) -> None:
        worker = await launcher.start()
        try:
            await worker.load(a_load(tiny_model))
            await answered(worker, max_tokens=2)
            if how == 0:
                os.kill(worker.pid, signal.SIGKILL)
                await worker.wait()
        finally:
            await worker.stop(at_once=how == 1)
        assert state_of(worker.pid) is None

    async def nine() -> tuple[int, int]:
        launcher = ProcessLauncher(FAULTY_WORKER)
        await live(launcher, 0)
        before = _open_files()
        for count in range(9):
            await live(launcher, count % 3)
        return before, _open_files()

    before, after = asyncio.run(asyncio.wait_for(nine(), 120))
    assert before == after


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def _ignores_sigterm(pid: int) -> bool:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    mask = next(line.split()[1] for line in lines if line.startswith("SigIgn:"))
    return bool(int(mask, 16) >> (signal.SIGTERM - 1) & 1)
