"""A worker process that was started before anybody needed it, so that a load does not wait for an interpreter.

Invariant: at most one spare lives, and none is handed out that has ended.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from daemon.pool.worker_process import WorkerProcess

log = logging.getLogger("slmreg.worker")

# A new one takes 0.3 s of one core: not while somebody waits for a load, or for the first words after it.
SPARE_DELAY_S = 2.0
MAX_BACKOFF_S = 60.0
# For imports of 0.2 s, where the disk is slow and the machine busy.
PREPARE_TIMEOUT_S = 60.0


class Spare:
    """Keeps one worker ready. ``start`` makes a fresh one; the next is begun ``delay_s`` after the last was taken and
    has loaded its model. One that ends by itself, or is not ready after ``prepare_timeout_s``, is replaced later and
    later, up to ``MAX_BACKOFF_S``."""

    def __init__(
        self,
        start: Callable[[], Awaitable[WorkerProcess]],
        *,
        delay_s: float = SPARE_DELAY_S,
        prepare_timeout_s: float = PREPARE_TIMEOUT_S,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._start = start
        self._delay_s = delay_s
        self._prepare_timeout_s = prepare_timeout_s
        self._sleep = sleep
        self._worker: WorkerProcess | None = None
        self._newest: WorkerProcess | None = None
        self._was_tried = asyncio.Event()
        self._was_taken = asyncio.Event()
        self._keeping: asyncio.Task[None] | None = None

    async def warm(self) -> None:
        """Begin to keep one, and return when the first is ready or could not be had."""
        self.keep()
        await self._was_tried.wait()

    def keep(self) -> None:
        """Begin to keep one, if that has not begun."""
        if self._keeping is None:
            self._keeping = asyncio.create_task(self._keep(), name="spare-worker")

    def take(self) -> WorkerProcess | None:
        """The spare, if there is one that lives; from now on it is the caller's."""
        worker, self._worker = self._worker, None
        if worker is None:
            return None
        self._was_taken.set()
        return None if worker.has_exited else worker

    def follow(self, worker: WorkerProcess) -> None:
        """``worker`` is about to load: no new spare is begun before it is done."""
        self._newest = worker

    async def close(self) -> None:
        """End the spare and keep none any more."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        if self._worker is not None:
            await self._worker.stop(at_once=True)
            self._worker = None

    async def _keep(self) -> None:
        failures = 0
        while True:
            await self._quiet()
            failures = 0 if await self._try_one() else failures + 1
            self._was_tried.set()
            if failures:
                await self._sleep(min(self._delay_s * 2.0 ** min(failures, 10), MAX_BACKOFF_S))

    async def _quiet(self) -> None:
        """Return when the newest worker has loaded and ``delay_s`` have passed in which none came after it."""
        while (newest := self._newest) is not None:
            await newest.settled()
            await self._sleep(self._delay_s)
            if self._newest is newest:
                self._newest = None

    async def _try_one(self) -> bool:
        """Start a spare and stay with it until it is taken; False if it could not start, or was no use."""
        self._was_taken.clear()
        try:
            worker = self._worker = await self._start()
        except OSError as error:
            log.warning("spare.not_started error=%s", error)
            return False
        await self._taken_or_useless(worker)
        if self._worker is not worker:
            return True
        self._worker = None
        log.warning("spare.useless pid=%d has_ended=%s", worker.pid, worker.has_exited)
        await worker.stop(at_once=True)
        return False

    async def _taken_or_useless(self, worker: WorkerProcess) -> None:
        """Return when it was taken, has ended, or has not got ready in time."""
        try:
            async with asyncio.timeout(self._prepare_timeout_s):
                await worker.prepared()
        except TimeoutError:
            return
        self._was_tried.set()
        either = [asyncio.create_task(worker.wait()), asyncio.create_task(self._was_taken.wait())]
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in either:
                task.cancel()
