"""Who waits for a session, and what they get: a lease."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

from daemon.pool.budget import MemoryBudget
from daemon.pool.launch import Ask, Event, Worker
from daemon.pool.plan import LoadPlan
from daemon.pool.protocol import Measure
from daemon.pool.session import Session
from registry.errors import DaemonStopping, ModelUnloaded, SlmregError
from registry.model import Model


class Lease:
    """The right to use one loaded model; the session cannot go away before it is given back, unless it is cut short."""

    def __init__(self, session: Session, worker: Worker, budget: MemoryBudget, granted_s: float) -> None:
        self._session = session
        self._worker = worker
        self._budget = budget
        self.granted_s = granted_s
        self.model = session.model
        self.plan = session.plan

    @property
    def session(self) -> Session:
        """Whose lease it is, for the pool."""
        return self._session

    async def generate(self, request: Ask | Measure) -> AsyncGenerator[Event, None]:
        """The events of one answer. Close the iterator to cancel the answer.

        Raises WorkerDied, ModelUnloaded where it was cut short, DaemonStopping.
        """
        events = self._worker.generate(request)
        try:
            async for event in events:
                yield event
        except DaemonStopping:
            if self._session.cut_short is None:
                raise
            raise ModelUnloaded(self._session.cut_short) from None
        finally:
            await events.aclose()

    def peak_bytes(self) -> int | None:
        """The most that the process has held so far, where the system keeps that."""
        return self._budget.peak_bytes(self._session)


def _future() -> asyncio.Future[Lease]:
    return asyncio.get_running_loop().create_future()


@dataclass(slots=True, eq=False)
class Waiter:
    """One request for a session of ``model``; ``granted`` gets its lease, or why there is none.

    ``is_kept``: the session is to stay from the moment that it is granted. ``is_background``: nobody is kept waiting by
    it. It comes after everybody else, and makes only those go that are idle and not kept warm, and those in
    ``may_replace``.
    """

    model: Model
    plan: LoadPlan
    granted: asyncio.Future[Lease] = field(default_factory=_future)
    is_kept: bool = False
    is_background: bool = False
    may_replace: frozenset[str] = frozenset()

    def fail(self, error: SlmregError) -> None:
        if not self.granted.done():
            self.granted.set_exception(error)
