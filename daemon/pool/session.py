"""The life of one loaded model: a table of states, and the one object that moves through it.

Invariant: only ``Session.advance`` changes a state, and a step that is not in ``ALLOWED`` raises and changes nothing.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from daemon.pool.failures import FailureKind
from daemon.pool.plan import LoadPlan
from registry.model import Model, Task

if TYPE_CHECKING:
    from daemon.pool.launch import Worker
    from daemon.pool.protocol import Ready


class SessionState(StrEnum):
    UNLOADED = "unloaded"
    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"
    FAILED = "failed"


class Leaving(StrEnum):
    """Why a session goes as it is meant to.

    ``EVICTED`` for another model, ``PRESSED_OUT`` for other programs, ``EXPIRED`` after its keep-alive, ``REPLACED`` by
    another way to load it or another model for its task, ``CHANGED``: its files are no more what they were.
    """

    UNLOADED = "unloaded"
    EVICTED = "evicted"
    PRESSED_OUT = "pressed_out"
    EXPIRED = "expired"
    ABANDONED = "abandoned"
    REPLACED = "replaced"
    CHANGED = "changed"
    STOPPING = "stopping"


ALLOWED: dict[SessionState, frozenset[SessionState]] = {
    SessionState.UNLOADED: frozenset({SessionState.LOADING}),
    SessionState.LOADING: frozenset({SessionState.READY, SessionState.FAILED, SessionState.DRAINING}),
    SessionState.READY: frozenset({SessionState.DRAINING, SessionState.FAILED}),
    SessionState.DRAINING: frozenset({SessionState.UNLOADED}),
    SessionState.FAILED: frozenset({SessionState.UNLOADED}),
}


class IllegalStep(RuntimeError):
    """A state change that the table does not allow: a bug in the pool."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a session failed, and when it may be tried again, by the pool's clock."""

    kind: FailureKind
    message: str
    retry_at_s: float


@dataclass(slots=True, eq=False)
class Session:
    """One model in the pool.

    ``leases`` are the requests that use it now; ``released`` is set when its process may be stopped, and ``cut_short``
    says why if it must not wait for anybody; ``task`` is there until the process is gone, and only then can the session
    be loaded again. ``is_kept``: a person loaded it to stay; ``warm_for``: the tasks whose best model it is kept warm
    for. ``failed_loads`` and ``deaths`` count those in a row. ``leaving`` is why it drains, ``drain_by_s`` when whoever
    still answers is cut off, ``unwanted_since_s`` since when nobody waits for the load, ``unsuited_since_s`` since when
    it is loaded in another way than it should be. ``succeeds`` is the session that this one takes over from once it is
    ready; ``failure`` of a READY one is why another could not take over from it. ``is_at_limit``: the model takes no
    more context than this, whatever it is loaded for. Times are of the pool's clock.
    """

    model: Model
    plan: LoadPlan
    state: SessionState = SessionState.UNLOADED
    worker: Worker | None = None
    ready: Ready | None = None
    leases: int = 0
    load_s: float = 0.0
    ready_since_s: float = 0.0
    last_used_s: float = 0.0
    is_kept: bool = False
    warm_for: tuple[Task, ...] = ()
    failure: Failure | None = None
    failed_loads: int = 0
    deaths: int = 0
    leaving: Leaving = Leaving.UNLOADED
    drain_by_s: float | None = None
    cut_short: str | None = None
    unwanted_since_s: float | None = None
    unsuited_since_s: float | None = None
    succeeds: Session | None = None
    is_at_limit: bool = False
    cores: tuple[int, ...] = ()
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

    @property
    def stays(self) -> bool:
        """Whether no keep-alive ends it."""
        return self.is_kept or bool(self.warm_for) or self.plan.keep_alive_s is None

    def expires_in_s(self, now_s: float) -> float | None:
        """Seconds until it is unloaded if nobody uses it any more; None: it stays, or is in use."""
        if not self.is_idle or self.stays or self.plan.keep_alive_s is None:
            return None
        return max(0.0, self.last_used_s + self.plan.keep_alive_s - now_s)

    def has_room_for(self, plan: LoadPlan) -> bool:
        """Whether its context is as long as a request needs it, or cannot be made longer."""
        return self.is_at_limit or self.plan.context_tokens >= min(plan.least_context_tokens, plan.context_tokens)

    def is_growth_held_back(self, now_s: float) -> bool:
        """Another could not take over from it a short while ago, and that is not tried again yet."""
        return self.state is SessionState.READY and self.failure is not None and now_s < self.failure.retry_at_s

    def is_held_back(self, now_s: float) -> bool:
        """It failed a short while ago, and is not tried again yet."""
        return self.state is SessionState.FAILED and self.failure is not None and now_s < self.failure.retry_at_s
