"""Who waits for a session, and what they get: a lease."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from daemon.pool.budget import MemoryBudget
from daemon.pool.launch import Ask, Event, Worker
from daemon.pool.plan import LoadPlan
from daemon.pool.session import Session
from registry.errors import SlmregError
from registry.model import Model


class Lease:
    """The right to use one loaded model; the session cannot go away before it is given back."""

    def __init__(self, session: Session, worker: Worker, budget: MemoryBudget) -> None:
        self._session = session
        self._worker = worker
        self._budget = budget
        self.model = session.model
        self.plan = session.plan

    def generate(self, request: Ask) -> AsyncGenerator[Event, None]:
        """The events of one answer. Raises WorkerDied. Close the iterator to cancel the answer."""
        return self._worker.generate(request)

    def peak_bytes(self) -> int | None:
        """The most that the process has held so far, where the system keeps that."""
        return self._budget.peak_bytes(self._session)


@dataclass(slots=True, eq=False)
class Waiter:
    """One request for a session of ``model``; ``granted`` gets its lease, or why there is none."""

    model: Model
    plan: LoadPlan
    granted: asyncio.Future[Lease]

    def fail(self, error: SlmregError) -> None:
        if not self.granted.done():
            self.granted.set_exception(error)
