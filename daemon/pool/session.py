"""The life of one loaded model: a table of states, and the one object that moves through it.

Invariant: only ``Session.advance`` changes a state, and a step that is not in ``ALLOWED`` raises and changes nothing.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from daemon.pool.plan import LoadPlan
from registry.model import Model

if TYPE_CHECKING:
    from daemon.pool.launch import Worker


class SessionState(StrEnum):
    UNLOADED = "unloaded"
    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"
    FAILED = "failed"


ALLOWED: dict[SessionState, frozenset[SessionState]] = {
    SessionState.UNLOADED: frozenset({SessionState.LOADING}),
    SessionState.LOADING: frozenset({SessionState.READY, SessionState.FAILED, SessionState.DRAINING}),
    SessionState.READY: frozenset({SessionState.DRAINING, SessionState.FAILED}),
    SessionState.DRAINING: frozenset({SessionState.UNLOADED}),
    SessionState.FAILED: frozenset({SessionState.UNLOADED}),
}


class IllegalStep(RuntimeError):
    """A state change that the table does not allow: a bug in the pool."""


@dataclass(slots=True, eq=False)
class Session:
    """One model in the pool.

    ``leases`` are the requests that use it now; ``released`` is set when its process may be stopped; ``task`` is there
    until the process is gone, and only then can the session be loaded again; times are of the pool's clock.
    """

    model: Model
    plan: LoadPlan
    state: SessionState = SessionState.UNLOADED
    worker: Worker | None = None
    leases: int = 0
    ready_since_s: float = 0.0
    last_used_s: float = 0.0
    failure: str | None = None
    retry_at_s: float = 0.0
    deaths: int = 0
    released: asyncio.Event = field(default_factory=asyncio.Event, repr=False)
    task: asyncio.Task[None] | None = field(default=None, repr=False)

    def advance(self, to: SessionState) -> None:
        """Take one step of the table. Raises IllegalStep."""
        if to not in ALLOWED[self.state]:
            raise IllegalStep(f"{self.model.id}: {self.state} -> {to}")
        self.state = to

    @property
    def occupies_memory(self) -> bool:
        """A session counts against the budget until its process has exited."""
        return self.worker is not None or self.state in (SessionState.LOADING, SessionState.DRAINING)

    @property
    def is_idle(self) -> bool:
        return self.state is SessionState.READY and self.leases == 0
