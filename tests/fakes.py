"""Stand-ins for what a unit test cannot wait for: worker processes, memory and time. tests/e2e has the real ones."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, ParamSpec

from daemon.pool.account import SessionSnapshot
from daemon.pool.failures import Ending, FailureKind, WorkerFailure
from daemon.pool.launch import Ask, Event
from daemon.pool.protocol import Accepted, Delta, Failed, Finished, Load, Measure, Measured, Pulse, Ready
from daemon.pool.session import SessionState
from registry.errors import DaemonStopping, WorkerDied
from registry.model import Model, Source, Task

P = ParamSpec("P")
PATIENCE_S = 60.0


def on_loop(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """A test that is a coroutine, on an event loop of its own."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(asyncio.wait_for(test(*args, **kwargs), PATIENCE_S))

    return run


def a_model(name: str = "m", version: str = "1", **fields: Any) -> Model:
    defaults: dict[str, Any] = {
        "alias": name,
        "path": Path(f"/models/{name}"),
        "source": Source.FOLDER,
        "tasks": (Task.CHAT,),
        "weight_bytes": 1000,
        "size_bytes": 1000,
        "context_tokens": 4096,
    }
    return Model(name=name, version=version, **{**defaults, **fields})


def a_session(model_id: str = "m:1", **fields: Any) -> SessionSnapshot:
    """One that is loaded and does nothing."""
    defaults: dict[str, Any] = {
        "state": SessionState.READY,
        "pid": 7,
        "device": "cpu",
        "threads": 3,
        "engine": "generator",
        "max_concurrent": 8,
        "is_kept": False,
    }
    defaults |= dict.fromkeys(("resident_bytes", "promised_bytes", "active", "queued", "context_tokens"), 0)
    defaults |= dict.fromkeys(("idle_s", "reserved_tokens", "cache_tokens"), 0)
    defaults |= dict.fromkeys(("warm_for", "cores", "row_tokens", "kept_tokens"), ())
    defaults |= dict.fromkeys(("failure", "failure_kind", "retry_s", "expires_s"))
    defaults |= dict.fromkeys(("engine_reason", "kv_token_bytes", "template_source"))
    return SessionSnapshot(model_id=model_id, **{**defaults, **fields})


class FakeClock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class FakeWorker:
    """A worker whose load and death the test decides."""

    def __init__(self, pid: int, launcher: FakeLauncher) -> None:
        self.pid = pid
        self._launcher = launcher
        self._ended: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()
        self.may_load = asyncio.Event()
        self.may_stop = asyncio.Event()
        self.may_stop.set()
        self.load_error: str | None = None
        self.load_error_kind = FailureKind.OTHER
        self.loaded: Load | None = None
        self.cores: tuple[int, ...] = ()
        self.pulse = Pulse()
        self.was_stopped_at_once: bool | None = None
        if launcher.loads_at_once:
            self.may_load.set()

    async def load(self, message: Load) -> Ready:
        self.loaded = message
        waiting = asyncio.create_task(self.may_load.wait())
        either: set[asyncio.Future[Any]] = {waiting, self._ended}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if self._ended.done() or self.load_error is not None:
            how = self._ended.result() if self._ended.done() else Ending("ended", self.load_error_kind)
            raise WorkerFailure(self.load_error or how.words, how.kind)
        self._launcher.resident[self.pid] = self._launcher.bytes_per_model
        return Ready(
            model_type="fake",
            device="cpu",
            context_tokens=message.context_tokens,
            load_s=0.0,
            template_source="none",
            is_proven=self._launcher.is_proven,
            max_concurrent=self._launcher.max_concurrent or message.max_concurrent,
            engine=self._launcher.engine,
        )

    async def generate(self, request: Ask | Measure) -> AsyncGenerator[Event, None]:
        if isinstance(request, Measure):
            assert self.loaded is not None
            yield self._launcher.measure(self.loaded, request)
            return
        yield Accepted(request.request_id, 3)
        if self.was_stopped_at_once is not None:
            raise DaemonStopping("stopped")
        if self._ended.done():
            raise WorkerDied("ended")
        yield Delta(request.request_id, "hi", 1)
        yield Finished(
            request_id=request.request_id,
            finish_reason="stop",
            prompt_tokens=3,
            completion_tokens=1,
            queue_s=0,
            ttft_s=0,
            decode_s=0,
        )

    def use_cores(self, cores: Sequence[int]) -> None:
        self.cores = tuple(cores)

    async def wait(self) -> Ending:
        return await asyncio.shield(self._ended)

    @property
    def has_ended(self) -> bool:
        return self._ended.done()

    async def stop(self, *, at_once: bool = False) -> None:
        self.was_stopped_at_once = at_once
        await asyncio.sleep(0)
        if not at_once:
            await self.may_stop.wait()
        self.die("stopped")

    def die(self, how: str = "was killed by SIGKILL", kind: FailureKind = FailureKind.OTHER) -> None:
        self._launcher.resident.pop(self.pid, None)
        if not self._ended.done():
            self._ended.set_result(Ending(how, kind))


def _takes_a_millisecond(_load: Load, measure: Measure) -> Measured | Failed:
    return Measured(measure.request_id, [0.001] * measure.calls)


class FakeLauncher:
    """Starts FakeWorkers and keeps the books on memory."""

    def __init__(
        self,
        total_bytes: int = 10_000,
        bytes_per_model: int = 1000,
        *,
        loads_at_once: bool = True,
        max_concurrent: int = 0,
    ) -> None:
        self.total_bytes = total_bytes
        self.bytes_per_model = bytes_per_model
        self.is_proven: bool | None = None
        self.loads_at_once = loads_at_once
        self.engine = "generator"
        self.measure: Callable[[Load, Measure], Measured | Failed] = _takes_a_millisecond
        self.max_concurrent = max_concurrent
        self.workers: list[FakeWorker] = []
        self.resident: dict[int, int] = {}
        self.start_error: Exception | None = None

    async def start(self) -> FakeWorker:
        if self.start_error is not None:
            raise self.start_error
        worker = FakeWorker(len(self.workers) + 1, self)
        self.workers.append(worker)
        return worker

    async def warm(self) -> None:
        """There is nothing to keep ready."""

    async def close(self) -> None:
        """Nor to give up."""

    def available_bytes(self) -> int:
        return self.total_bytes - sum(self.resident.values())

    def resident_bytes(self, pid: int) -> int:
        return self.resident.get(pid, 0)
