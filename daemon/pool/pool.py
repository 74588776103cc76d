"""The session pool: callers ask for a lease on a model; the pool loads, evicts and gives it.

Invariants:
* ``_decide`` has no ``await``: on the event loop it is atomic and needs no lock. Slow work (starting, loading, stopping
  a process) runs in one task per session (``daemon.pool.life``) that ends by calling ``_decide`` again.
* Only READY grants leases; a busy session that has to go drains first and is never cut off.
* A session counts against the budget until its process has exited.
* Loads start in order of arrival: while the oldest waiting load does not fit, no later one starts.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace

from daemon.pool.budget import MemoryBudget, MemoryMeter
from daemon.pool.eviction import choose_victims
from daemon.pool.failures import Ending, FailureKind, WorkerFailure
from daemon.pool.launch import Launcher, Worker
from daemon.pool.lease import Lease, Waiter
from daemon.pool.life import Lives, Steps
from daemon.pool.observer import Loaded, Nobody, Observer
from daemon.pool.plan import LoadPlan
from daemon.pool.protocol import Ready
from daemon.pool.session import Session, SessionState
from registry.errors import (
    DaemonStopping,
    LoadFailed,
    OutOfBudget,
    Overloaded,
    SlmregError,
)
from registry.model import Model
from selector.footprint import format_bytes

log = logging.getLogger("slmreg.pool")

MAX_DEATH_BACKOFF_S = 60.0
DEATHS_IN_A_ROW = 3
# A process that was killed where no more than this times its need is free was killed for memory (judged).
KILLED_FOR_MEMORY = 1.25
LEAVING = frozenset({SessionState.DRAINING, SessionState.FAILED})


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolLimits:
    """``budget_bytes`` None: only what the machine has available bounds the pool. See ``daemon.settings``."""

    budget_bytes: int | None
    max_concurrent: int
    max_queue: int
    load_timeout_s: float
    queue_timeout_s: float
    drain_timeout_s: float
    failed_retry_s: float


@dataclass(frozen=True, slots=True)
class SessionSnapshot:
    """One session at one moment, as ``slmreg ps`` shows it."""

    model_id: str
    state: SessionState
    pid: int | None
    resident_bytes: int
    active: int
    queued: int
    device: str
    threads: int
    context_tokens: int
    idle_s: float
    failure: str | None
    failure_kind: str | None = None
    retry_s: float | None = None
    engine: str | None = None
    template_source: str | None = None
    expires_s: float | None = None
    is_kept: bool = False
    warm_for: tuple[str, ...] = ()
    cores: tuple[int, ...] = ()


class SessionPool:
    """All loaded models. Belongs to one event loop."""

    def __init__(
        self,
        launcher: Launcher,
        limits: PoolLimits,
        memory: MemoryMeter,
        clock: Callable[[], float] = time.monotonic,
        observer: Observer | None = None,
    ) -> None:
        self._limits = limits
        self._budget = MemoryBudget(memory, limits.budget_bytes)
        self._clock = clock
        self._observer = observer or Nobody()
        self._lives = Lives(
            launcher,
            Steps(
                on_ready=self._on_ready,
                on_exit=self._on_exit,
                on_load_failed=self._on_load_failed,
                on_gone=self._on_gone,
            ),
            max_concurrent=limits.max_concurrent,
            load_timeout_s=limits.load_timeout_s,
            clock=clock,
        )
        self.loads = 0  # begun so far
        self._sessions: dict[str, Session] = {}
        self._waiters: list[Waiter] = []
        self._is_stopping = False

    def __repr__(self) -> str:
        parts = [f"{s.model.id} {s.state} leases={s.leases}" for s in self._sessions.values()]
        return f"<SessionPool {'; '.join(parts) or 'empty'}; waiting={len(self._waiters)}>"

    @contextlib.asynccontextmanager
    async def lease(self, model: Model, plan: LoadPlan) -> AsyncIterator[Lease]:
        """Wait until ``model`` is loaded and use it. ``plan`` counts only if it has to be loaded.

        Raises Overloaded (queue full, or waited too long), OutOfBudget (cannot fit), LoadFailed, DaemonStopping.
        """
        waiter = self._enqueue(model, plan)
        try:
            lease = await self._granted(waiter)
        except BaseException:
            self._give_up(waiter)
            raise
        try:
            yield lease
        finally:
            self._give_back(model.id)

    async def _granted(self, waiter: Waiter) -> Lease:
        """The wait for a turn is bounded by ``queue_timeout_s``, that for the own load by ``load_timeout_s``."""
        while not waiter.granted.done():
            await asyncio.wait({waiter.granted}, timeout=self._limits.queue_timeout_s)
            if not waiter.granted.done() and self._sessions[waiter.model.id].state is not SessionState.LOADING:
                raise self._waited_too_long(waiter.model)
        return waiter.granted.result()

    async def load(self, model: Model, plan: LoadPlan, *, is_kept: bool = False) -> None:
        """Load ``model`` if it is not loaded, even if a recent load failed. Raises as ``lease`` does."""
        session = self._sessions.get(model.id)
        if session is not None and session.state is SessionState.FAILED:
            session.retry_at_s = 0.0
        async with self.lease(model, plan):
            pass

    async def unload(self, model_id: str, *, at_once: bool = False) -> bool:
        """Drain and stop a session; return when its process is gone.

        False if it was not loaded, or is loaded again by now for somebody who waited.
        """
        session = self._sessions.get(model_id)
        if session is not None:
            self._forget_failure(session)
        if session is None or session.state in (SessionState.UNLOADED, SessionState.FAILED):
            return False
        self._drain(session)
        if session.task is not None:
            await asyncio.wait({session.task})
        return all(snapshot.model_id != model_id for snapshot in self.snapshot())

    def keep_only(self, models: Mapping[str, Model]) -> None:
        """``models``, by id, are all there are. A session whose model left the disk, moved or changed takes no new
        requests and goes when its answers are done."""
        for session in self._sessions.values():
            now = models.get(session.model.id)
            is_same = now is not None and (now.path, now.fingerprint) == (session.model.path, session.model.fingerprint)
            if not is_same:
                self._forget_failure(session)
            if not is_same and session.state in (SessionState.READY, SessionState.LOADING):
                self._drain(session)

    @property
    def is_loading(self) -> bool:
        """Whether a model is being loaded now, which takes the machine's cores from whoever answers."""
        return any(s.state is SessionState.LOADING for s in self._sessions.values())

    def snapshot(self) -> tuple[SessionSnapshot, ...]:
        """The sessions that are loaded, on their way, or failed, by id.

        The one method that other threads may call: it copies before it looks, and what it shows may be a moment old.
        """
        sessions = list(self._sessions.values())
        return tuple(
            self._snapshot_of(session)
            for session in sorted(sessions, key=lambda session: session.model.id)
            if session.state is not SessionState.UNLOADED
        )

    async def close(self) -> None:
        """Take no more requests, let running answers finish within ``drain_timeout_s``, stop every process."""
        self._is_stopping = True
        for waiter in self._waiters:
            waiter.fail(DaemonStopping("The daemon is stopping; it takes no new requests."))
        self._waiters.clear()
        for session in self._sessions.values():
            if session.state in (SessionState.READY, SessionState.LOADING):
                self._drain(session)
        tasks = {s.task for s in self._sessions.values() if s.task is not None}
        if tasks:
            await asyncio.wait(tasks, timeout=self._limits.drain_timeout_s)
            for session in self._sessions.values():
                session.released.set()  # whoever is still answering has had the time that was promised
            await asyncio.wait(tasks)

    # -- deciding: no await below, so every step is atomic on the event loop

    def _enqueue(self, model: Model, plan: LoadPlan) -> Waiter:
        if self._is_stopping:
            raise DaemonStopping("The daemon is stopping; it takes no new requests.")
        session = self._sessions.get(model.id)
        waiting = self._queued(model.id) + (session.leases if session is not None else 0)
        if waiting >= self._limits.max_queue:
            raise Overloaded(
                f"{model.id} has {waiting} requests already, and max_queue is {self._limits.max_queue}. Try later.",
                retry_after_s=1.0,
            )
        waiter = Waiter(model, plan, asyncio.get_running_loop().create_future())
        self._waiters.append(waiter)
        self._decide()
        return waiter

    def _give_up(self, waiter: Waiter) -> None:
        """The client left: out of the queue, or, if it was granted just now, the lease goes straight back."""
        if waiter in self._waiters:
            self._waiters.remove(waiter)
            waiter.granted.cancel()
            self._decide()
        elif waiter.granted.done() and not waiter.granted.cancelled() and waiter.granted.exception() is None:
            self._give_back(waiter.model.id)

    def _give_back(self, model_id: str) -> None:
        session = self._sessions[model_id]
        session.leases -= 1
        session.last_used_s = self._clock()
        if session.state is SessionState.DRAINING and session.leases == 0:
            session.released.set()
        self._decide()

    def _decide(self) -> None:
        """Grant, refuse, start or wait, for everybody who waits, oldest first."""
        may_load = True
        for waiter in tuple(self._waiters):
            session = self._session_for(waiter)
            if session.state is SessionState.READY and session.worker is not None:
                self._grant(waiter, session, session.worker)
            elif self._is_held_back(session):
                self._refuse(waiter, self._still_failed(session))
            elif session.state is SessionState.UNLOADED and may_load:
                may_load = self._try_load(waiter, session)

    def _session_for(self, waiter: Waiter) -> Session:
        session = self._sessions.get(waiter.model.id)
        if session is None:
            session = self._sessions[waiter.model.id] = Session(waiter.model, waiter.plan)
        if session.state is SessionState.FAILED and session.task is None and not self._is_held_back(session):
            session.advance(SessionState.UNLOADED)
        if session.state is SessionState.UNLOADED:
            session.model, session.plan = waiter.model, waiter.plan
        return session

    def _forget_failure(self, session: Session) -> None:
        if session.state is SessionState.FAILED and session.task is None:
            session.advance(SessionState.UNLOADED)

    def _is_held_back(self, session: Session) -> bool:
        return session.state is SessionState.FAILED and self._clock() < session.retry_at_s

    def _grant(self, waiter: Waiter, session: Session, worker: Worker) -> None:
        self._waiters.remove(waiter)
        session.leases += 1
        session.last_used_s = self._clock()
        waiter.granted.set_result(Lease(session, worker, self._budget))

    def _refuse(self, waiter: Waiter, error: SlmregError) -> None:
        self._waiters.remove(waiter)
        waiter.fail(error)

    def _try_load(self, waiter: Waiter, session: Session) -> bool:
        """Start the load if it fits, make room if that can be done. False: it is this load's turn, and it waits."""
        shortfall = session.plan.need_bytes - self._budget.free_bytes(self._sessions.values())
        if shortfall <= 0:
            self._start_load(session)
            return True
        if any(s.task is not None and s.state in LEAVING for s in self._sessions.values()):
            return False  # room is on its way; how much is known when those processes are gone
        is_forced = session.plan.is_forced
        victims = choose_victims(self._budget.occupants(self._sessions.values()), shortfall, is_forced=is_forced)
        for model_id in victims:
            log.info("session.evict id=%s for=%s", model_id, session.model.id)
            self._drain(self._sessions[model_id])
        if victims or self.is_loading:
            return False
        if is_forced:
            log.warning("session.forced id=%s short_bytes=%d", session.model.id, shortfall)
            self._start_load(session)
        else:
            self._refuse(waiter, self._cannot_fit(session))
        return True

    def _start_load(self, session: Session) -> None:
        session.advance(SessionState.LOADING)
        session.failure = None
        self.loads += 1
        self._lives.begin(session)

    def _drain(self, session: Session) -> None:
        if session.state is SessionState.DRAINING:
            return
        session.advance(SessionState.DRAINING)
        log.info("session.draining id=%s active=%d", session.model.id, session.leases)
        if session.leases == 0:
            session.released.set()

    # -- steps of a session's life

    def _on_ready(self, session: Session, ready: Ready, load_s: float) -> None:
        if session.state is not SessionState.LOADING:  # unloaded meanwhile
            return
        session.plan = replace(session.plan, context_tokens=ready.context_tokens)
        session.advance(SessionState.READY)
        session.ready_since_s = session.last_used_s = self._clock()
        loaded = Loaded(
            model=session.model,
            threads=session.plan.threads,
            context_tokens=ready.context_tokens,
            load_s=load_s,
            resident_bytes=self._budget.resident_bytes(session),
            peak_bytes=self._budget.peak_bytes(session),
        )
        pid = session.worker and session.worker.pid
        log.info("session.ready id=%s pid=%s seconds=%.2f", session.model.id, pid, load_s)
        self._observer.loaded(loaded)
        self._decide()

    def _on_exit(self, session: Session, ending: Ending) -> None:
        if session.state is SessionState.READY:
            self._tell_if_out_of_memory(session, ending.kind)
            # The next request loads again at once; only a model that keeps dying is held back, longer and longer.
            has_lived_well = self._clock() - session.ready_since_s > MAX_DEATH_BACKOFF_S
            session.deaths = 1 if has_lived_well else session.deaths + 1
            is_forgiven = session.deaths < DEATHS_IN_A_ROW
            backoff_s = 0.0 if is_forgiven else min(2.0**session.deaths, MAX_DEATH_BACKOFF_S)
            again = f" ({session.deaths} times in a row)" if session.deaths > 1 else ""
            self._fail(session, f"Its process {ending.words}{again}.", backoff_s)

    def _on_load_failed(self, session: Session, error: Exception) -> None:
        if session.state is not SessionState.LOADING:
            return
        if isinstance(error, WorkerFailure):
            self._tell_if_out_of_memory(session, error.kind)
        reason = (
            f"Loading took longer than load_timeout_s = {self._limits.load_timeout_s:g} s."
            if isinstance(error, TimeoutError)
            else str(error)
        )
        self._fail(session, reason, self._limits.failed_retry_s)
        for waiter in [w for w in self._waiters if w.model.id == session.model.id]:
            self._refuse(waiter, self._still_failed(session))

    def _tell_if_out_of_memory(self, session: Session, kind: FailureKind) -> None:
        # The system kills when there is nothing left: what the process held is free again, and hardly more.
        was_short = self._budget.available_bytes() < KILLED_FOR_MEMORY * session.plan.need_bytes
        if kind is FailureKind.OUT_OF_MEMORY or (kind is FailureKind.KILLED and was_short):
            self._observer.ran_out_of_memory(session.model, session.plan.need_bytes)

    def _fail(self, session: Session, reason: str, backoff_s: float) -> None:
        session.advance(SessionState.FAILED)
        session.failure = reason
        session.retry_at_s = self._clock() + backoff_s
        log.error("session.failed id=%s reason=%r retry_s=%.0f", session.model.id, reason, backoff_s)

    def _on_gone(self, session: Session) -> None:
        if session.state is SessionState.DRAINING:
            session.advance(SessionState.UNLOADED)
            log.info("session.unloaded id=%s", session.model.id)
        self._decide()

    # -- words and figures

    def _queued(self, model_id: str) -> int:
        return sum(w.model.id == model_id for w in tuple(self._waiters))

    def _still_failed(self, session: Session) -> LoadFailed:
        wait_s = max(0.0, session.retry_at_s - self._clock())
        again = f" It is tried again in {wait_s:.0f} s." if wait_s else ""
        return LoadFailed(f"{session.model.id} is not available: {session.failure}{again}", retry_after_s=wait_s)

    def _cannot_fit(self, session: Session) -> OutOfBudget:
        free = format_bytes(max(0, self._budget.free_bytes(self._sessions.values())))
        return OutOfBudget(
            f"{session.model.id} needs {format_bytes(session.plan.need_bytes)} and {free} can be had, even with every "
            "other model unloaded. Close other programs, raise memory_budget_bytes, or choose a smaller model."
        )

    def _waited_too_long(self, model: Model) -> Overloaded:
        others = ", ".join(s.model.id for s in self._sessions.values() if s.leases) or "nothing"
        return Overloaded(
            f"{model.id} was not free within queue_timeout_s = {self._limits.queue_timeout_s:g} s (busy: {others}).",
            retry_after_s=5.0,
        )

    def _snapshot_of(self, session: Session) -> SessionSnapshot:
        worker = session.worker
        return SessionSnapshot(
            model_id=session.model.id,
            state=session.state,
            pid=worker.pid if worker is not None else None,
            resident_bytes=self._budget.resident_bytes(session),
            active=min(session.leases, self._limits.max_concurrent),
            queued=self._queued(session.model.id) + max(0, session.leases - self._limits.max_concurrent),
            device=session.model.device,
            threads=session.plan.threads,
            context_tokens=session.plan.context_tokens,
            idle_s=max(0.0, self._clock() - session.last_used_s) if session.is_idle else 0.0,
            failure=session.failure,
        )
