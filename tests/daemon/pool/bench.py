"""A pool with fakes around it, and its states as the tests wait for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from daemon.pool.budget import MemoryMeter
from daemon.pool.limits import PoolLimits
from daemon.pool.observer import Observer
from daemon.pool.plan import LoadPlan
from daemon.pool.pool import SessionPool
from daemon.pool.session import SessionState
from registry.model import Model
from tests.fakes import FakeClock, FakeLauncher, FakeWorker

LIMITS: dict[str, Any] = {
    "budget_bytes": None,
    "max_concurrent": 4,
    "max_queue": 64,
    "load_timeout_s": 5.0,
    "queue_timeout_s": 5.0,
    "drain_timeout_s": 5.0,
    "failed_retry_s": 15.0,
}
PLAN = LoadPlan(context_tokens=1024, threads=2, need_bytes=1000)


class Bench:
    """``observer`` and ``peak_bytes`` are given to the pool where a test is about them."""

    def __init__(
        self,
        launcher: FakeLauncher,
        *,
        observer: Observer | None = None,
        peak_bytes: Callable[[int], int | None] | None = None,
        **limits: Any,
    ) -> None:
        self.launcher = launcher
        self.clock = FakeClock()
        meter = MemoryMeter(launcher.available_bytes, launcher.resident_bytes)
        if peak_bytes is not None:
            meter = MemoryMeter(launcher.available_bytes, launcher.resident_bytes, peak_bytes)
        told = {"observer": observer} if observer is not None else {}
        self.limits = PoolLimits(**{**LIMITS, **limits})
        self.pool = SessionPool(launcher, lambda: self.limits, meter, self.clock, **told)

    def states(self) -> dict[str, str]:
        """Of what has a process or has failed; a model that is only waited for has neither."""
        return {s.model_id: str(s.state) for s in self.pool.snapshot() if s.state is not SessionState.UNLOADED}

    async def use(self, model: Model, plan: LoadPlan = PLAN) -> None:
        self.clock.now_s += 1
        async with self.pool.lease(model, plan):
            pass

    async def worker(self, index: int = 0) -> FakeWorker:
        """The index-th worker that was started, as soon as it has been told to load."""
        for _ in range(200):
            if len(self.launcher.workers) > index and self.launcher.workers[index].loaded:
                break
            await asyncio.sleep(0)
        return self.launcher.workers[index]

    async def until(self, states: dict[str, str]) -> None:
        for _ in range(200):
            if self.states() == states:
                return
            await asyncio.sleep(0)
        assert self.states() == states
