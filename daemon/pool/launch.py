"""How a pool gets its workers: what a worker and a launcher are, and the launcher of real processes."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Sequence
from typing import Protocol

from daemon.pool.child import start_child
from daemon.pool.failures import Ending
from daemon.pool.protocol import Load, Measure, Pulse, Ready
from daemon.pool.spare import SPARE_DELAY_S, Spare
from daemon.pool.worker_process import Ask, Event, WorkerProcess

# -P keeps the working directory off the import path: a folder called "daemon" there must not become our code.
WORKER_COMMAND = (sys.executable, "-P", "-m", "daemon.worker.main")
HANG_TIMEOUT_S = 120.0


class Worker(Protocol):
    """One process with one model."""

    @property
    def pid(self) -> int: ...

    @property
    def pulse(self) -> Pulse:
        """Its latest sign of life, up to a second old; an empty one before there was any."""
        ...

    async def load(self, message: Load) -> Ready:
        """Load the model. Raises WorkerFailure if it cannot, or if the process ends first."""

    def generate(self, request: Ask | Measure) -> AsyncGenerator[Event, None]:
        """The events of one request. Closing the iterator early cancels the request. Raises WorkerDied."""

    def use_cores(self, cores: Sequence[int]) -> None:
        """Run only on these from now on, where the system can do that; empty: on all. Does nothing before ``load``."""

    async def wait(self) -> Ending:
        """Return, when the process has ended, how it ended."""

    async def stop(self, *, at_once: bool = False) -> None:
        """End the process, politely and then not (``at_once``: not), and return when it is gone."""


class Launcher(Protocol):
    async def start(self) -> Worker:
        """A worker process without a model. Raises OSError if none can be started."""

    async def warm(self) -> None:
        """Get ready for the first ``start``."""

    async def close(self) -> None:
        """Give up what was kept ready. The workers that were started are not touched."""


class ProcessLauncher:
    """Starts real worker processes, one of them ahead of time if it ``keeps_spare``; then it has to be closed.

    ``hang_timeout_s``: a loaded worker that says nothing for so long is ended. ``spare_delay_s``: how long after a load
    the next spare is begun.
    """

    def __init__(
        self,
        command: Sequence[str] = WORKER_COMMAND,
        *,
        keeps_spare: bool = False,
        hang_timeout_s: float = HANG_TIMEOUT_S,
        spare_delay_s: float = SPARE_DELAY_S,
    ) -> None:
        self._command = tuple(command)
        self._hang_timeout_s = hang_timeout_s
        self._spare = Spare(self._start, delay_s=spare_delay_s) if keeps_spare else None

    async def start(self) -> WorkerProcess:
        if self._spare is None:
            return await self._start()
        worker = self._spare.take() or await self._start()
        self._spare.follow(worker)
        self._spare.keep()
        return worker

    async def warm(self) -> None:
        if self._spare is not None:
            await self._spare.warm()

    async def close(self) -> None:
        if self._spare is not None:
            await self._spare.close()

    async def _start(self) -> WorkerProcess:
        return WorkerProcess(await start_child(self._command), hang_timeout_s=self._hang_timeout_s)


__all__ = ["Ask", "Event", "Launcher", "ProcessLauncher", "Worker", "WorkerProcess"]
