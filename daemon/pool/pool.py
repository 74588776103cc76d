"""The session pool: callers ask for a lease on a model; the pool loads, evicts and gives it.

Invariants:
* ``_decide`` has no ``await``: on the event loop it is atomic and needs no lock. What it decides is done by
  ``daemon.pool.sessions``, whose every step ends by calling it again.
* Only READY grants leases; a busy session that has to go drains first, and is cut off only after ``evict_timeout_s``.
* A session counts against the budget until its process has exited.
* Loads start in order of arrival: while the oldest waiting load does not fit, no later one starts.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace

from daemon.pool import account
from daemon.pool.account import SessionSnapshot
from daemon.pool.budget import MemoryBudget, MemoryMeter
from daemon.pool.housekeeping import Housekeeping
from daemon.pool.launch import Launcher, Worker
from daemon.pool.lease import Lease, Waiter
from daemon.pool.limits import PoolLimits
from daemon.pool.loads import Loads
from daemon.pool.observer import Observer, Observers
from daemon.pool.plan import LoadPlan
from daemon.pool.queue import Queue
from daemon.pool.session import Leaving, Session, SessionState
from daemon.pool.sessions import Sessions
from registry.errors import AnswerTimedOut, DaemonStopping
from registry.model import Model, Task

log = logging.getLogger("slmreg.pool")

TICK_S = 0.5
STOPPING = "The daemon is stopping; it takes no new requests."


class SessionPool:
    """All loaded models. Belongs to one event loop, on which ``run`` has to be running."""

    def __init__(
        self,
        launcher: Launcher,
        limits: Callable[[], PoolLimits],
        memory: MemoryMeter,
        clock: Callable[[], float] = time.monotonic,
        observer: Observer | None = None,
    ) -> None:
        self._limits = limits
        self._budget = MemoryBudget(memory, lambda: limits().budget_bytes)
        self._clock = clock
        self._sessions = Sessions(
            launcher,
            limits,
            self._budget,
            observer or Observers(),
            clock=clock,
            on_change=self._decide,
            on_load_failed=self._refuse_all,
        )
        self._roster = self._sessions.roster
        self._queue = Queue(limits, self._roster)
        self._loads = Loads(self._sessions, self._queue, self._budget, limits, clock, reload=self._reload)
        self._housekeeping = Housekeeping(self._sessions, self._queue, self._budget, limits, reload=self._reload)
        self._dismissed: set[str] = set()
        self._is_stopping = False

    def __repr__(self) -> str:
        parts = [f"{s.model.id} {s.state} leases={s.leases}" for s in self._roster]
        return f"<SessionPool {'; '.join(parts) or 'empty'}; waiting={len(self._queue)}>"

    def share_cores(self, cores: Sequence[Sequence[int]]) -> None:
        """Divide these physical cores, each with its logical CPUs, among sessions that answer at the same time."""
        self._sessions.use_cores(cores)

    @property
    def is_crowded(self) -> bool:
        """Whether some requests are refused now, because there are too many."""
        return self._queue.is_crowded

    def refuse_if_full(self, model: Model) -> None:
        """What ``lease`` would do first. Raises Overloaded, TooBusy if there is no place for one more request.

        While the pool stops nobody waits for a place.
        """
        if not self._is_stopping:
            self._queue.check(model)

    async def run(self) -> None:
        """Let time pass, until it is cancelled."""
        while True:
            await asyncio.sleep(TICK_S)
            try:
                self.tick()
            except Exception:  # whatever it is, the models that are loaded must go on
                log.exception("pool.tick_failed")

    # -- what callers ask for

    @contextlib.asynccontextmanager
    async def lease(self, model: Model, plan: LoadPlan, *, within_s: float | None = None) -> AsyncIterator[Lease]:
        """Wait until ``model`` is loaded and use it; ``within_s`` is the most that this may wait.

        ``plan`` counts only if it has to be loaded, but for what counts with each request. Raises Overloaded (queue
        full, or waited too long), TooBusy, OutOfBudget (cannot fit), LoadFailed, AnswerTimedOut, DaemonStopping.
        """
        async with self._leased(self._enqueue(Waiter(model, plan)), within_s) as lease:
            yield lease

    @contextlib.asynccontextmanager
    async def _leased(self, waiter: Waiter, within_s: float | None = None) -> AsyncIterator[Lease]:
        self._dismissed.discard(waiter.model.id)
        try:
            lease = await self._granted(waiter, within_s)
        except BaseException:
            self._give_up(waiter)
            raise
        try:
            yield lease
        finally:
            self._give_back(lease)

    async def _granted(self, waiter: Waiter, within_s: float | None) -> Lease:
        """The wait for a turn is bounded by ``queue_timeout_s``, that for the own load by ``load_timeout_s``."""
        loop = asyncio.get_running_loop()
        ends_s = None if within_s is None else loop.time() + within_s
        while not waiter.granted.done():
            timeout_s = self._limits().queue_timeout_s
            if ends_s is not None:
                timeout_s = max(0.0, min(timeout_s, ends_s - loop.time()))
            await asyncio.wait({waiter.granted}, timeout=timeout_s)
            if waiter.granted.done():
                break
            if ends_s is not None and loop.time() >= ends_s:
                raise AnswerTimedOut(f"{waiter.model.id} was not free within the {within_s:g} s that the request has.")
            if not self._roster.is_loading(waiter.model.id):
                raise self._queue.waited_too_long(waiter)
        return waiter.granted.result()

    async def load(self, model: Model, plan: LoadPlan, *, is_kept: bool = False) -> None:
        """Load ``model`` if it is not loaded, even if a recent load failed. Raises as ``lease`` does.

        ``is_kept``: it stays loaded, and is not evicted, until it is unloaded by name.
        """
        session = self._roster.find(model.id)
        if session is not None:
            self._sessions.forget_failure(session)
        async with self._leased(self._enqueue(Waiter(model, plan, is_kept=is_kept))):
            pass

    async def warm(self, model: Model, plan: LoadPlan, *, may_replace: frozenset[str] = frozenset()) -> None:
        """Load ``model`` in the background: after everybody who waits, and without evicting what is in use or warm,
        but for the models in ``may_replace``. Raises as ``lease`` does.
        """
        waiter = self._enqueue(Waiter(model, plan, is_background=True, may_replace=may_replace))
        try:
            lease = await waiter.granted
        except BaseException:
            self._give_up(waiter)
            raise
        self._give_back(lease)

    def set_warm(self, tasks_of: Mapping[str, tuple[Task, ...]]) -> None:
        """From now on these are the models that stay loaded, and for which tasks; the others are as all others."""
        for session in self._roster.serving():
            session.warm_for = tasks_of.get(session.model.id, ())

    def retime(self, keep_alive_s: Callable[[Model, Task | None], float | None]) -> None:
        """The settings have changed: from now on idle sessions stay for so long, but for those that a request timed."""
        for session in self._roster:
            if not session.plan.is_timed_by_request:
                time_s = keep_alive_s(session.model, session.plan.timed_for)
                session.plan = replace(session.plan, keep_alive_s=time_s)
        self.tick()

    def retire(self, model_id: str) -> None:
        """Another model has taken over: no new requests, and it goes when its answers are done."""
        session = self._roster.find(model_id)
        if session is not None and session.state is SessionState.READY and not session.is_kept:
            self._sessions.drain(session, Leaving.REPLACED)
            self._decide()

    def is_ready(self, model_id: str) -> bool:
        session = self._roster.find(model_id)
        return session is not None and session.state is SessionState.READY

    def is_dismissed(self, model_id: str) -> bool:
        """Somebody unloaded it by name, and nobody has asked for it since."""
        return model_id in self._dismissed

    async def unload(self, model_id: str, *, at_once: bool = False, only_unused: bool = False) -> bool:
        """Drain and stop a session; return when its process is gone. ``at_once``: its answers are cut off.

        False if it was not loaded, or is loaded again by now for somebody who waited. ``only_unused``: raises
        ModelInUse, and changes nothing, where somebody uses it, waits for it, or wants it kept.
        """
        if only_unused and (why := self._why_kept(model_id)) is not None:
            raise account.in_use(model_id, why)
        self._dismissed.add(model_id)
        session = self._roster.find(model_id)
        if session is not None:
            self._sessions.forget_failure(session)
        if session is None or session.state in (SessionState.UNLOADED, SessionState.FAILED):
            return False
        session.is_kept, session.warm_for = False, ()
        leaving = [each for each in self._roster if each.model.id == model_id]
        for each in leaving:
            self._sessions.drain(each, Leaving.UNLOADED)
            if at_once:
                self._sessions.cut(each, f"{model_id} was unloaded at once, before the answer was finished.")
        tasks = {each.task for each in leaving if each.task is not None}
        if tasks:
            await asyncio.wait(tasks)
        return all(snapshot.model_id != model_id for snapshot in self.snapshot())

    def _why_kept(self, model_id: str) -> str | None:
        """What speaks against unloading it, for all who use this daemon."""
        session = self._roster.find(model_id)
        if self._queue.of(model_id) or (session is not None and session.leases):
            return "it is being used"
        if session is not None and session.is_kept:
            return "it was loaded to stay"
        if session is not None and session.warm_for:
            return f"it is kept warm for {', '.join(session.warm_for)}"
        return None

    def keep_only(self, models: Mapping[str, Model]) -> None:
        """``models``, by id, are all there are. A session whose model left the disk, moved or changed takes no new
        requests and goes when its answers are done."""
        for session in self._roster:
            now = models.get(session.model.id)
            is_same = now is not None and (now.path, now.fingerprint) == (session.model.path, session.model.fingerprint)
            if not is_same:
                self._sessions.forget_failure(session)
                session.failed_loads = session.deaths = 0
                self._queue.pace.forget(session.model.id)
            if not is_same and session.state in (SessionState.READY, SessionState.LOADING):
                session.is_kept, session.warm_for = False, ()
                self._sessions.drain(session, Leaving.CHANGED)

    @property
    def loads(self) -> int:
        """Begun so far."""
        return self._sessions.loads

    @property
    def is_loading(self) -> bool:
        """Whether a model is being loaded now, which takes the machine's cores from whoever answers."""
        return self._sessions.is_loading

    def snapshot(self) -> tuple[SessionSnapshot, ...]:
        """The sessions that are loaded, on their way, failed, or waited for, by id.

        The one method that other threads may call: it copies before it looks, and what it shows may be a moment old.
        """
        return tuple(
            self._sessions.snapshot(session, waiting=self._waiting_for(session))
            for session in sorted(self._roster, key=lambda session: session.model.id)
            if session.state is not SessionState.UNLOADED or len(self._queue.of(session.model.id))
        )

    async def close(self) -> None:
        """Take no more requests, let running answers finish within ``drain_timeout_s``, stop every process."""
        self._is_stopping = True
        self._queue.clear(DaemonStopping(STOPPING))
        for session in self._roster:
            if session.state in (SessionState.READY, SessionState.LOADING):
                self._sessions.drain(session, Leaving.STOPPING)
        tasks = {s.task for s in self._roster if s.task is not None}
        if tasks:
            await asyncio.wait(tasks, timeout=self._limits().drain_timeout_s)
            for session in self._roster:
                session.released.set()  # whoever is still answering has had the time that was promised
            await asyncio.wait(tasks)

    # -- deciding: no await below, so every step is atomic on the event loop

    def tick(self) -> None:
        """What has become due. Called now and then by ``run``."""
        self._housekeeping.tick(self._clock())
        if not self._is_stopping:
            self._housekeeping.suit(self._clock())
        self._decide()

    def _reload(self, session: Session, plan: LoadPlan) -> None:
        """Where memory does not allow it twice: unload it, and load it again, whether or not anybody waits for it."""
        self._sessions.drain(session, Leaving.REPLACED)
        waiter = Waiter(session.model, plan, is_background=True)
        self._add(waiter)
        waiter.granted.add_done_callback(self._give_back_at_once)

    def _give_back_at_once(self, granted: asyncio.Future[Lease]) -> None:
        if not granted.cancelled() and granted.exception() is None:
            self._give_back(granted.result())

    def _enqueue(self, waiter: Waiter) -> Waiter:
        self._add(waiter)
        self._decide()
        return waiter

    def _add(self, waiter: Waiter) -> None:
        """To the queue, without deciding anything yet."""
        if self._is_stopping:
            raise DaemonStopping(STOPPING)
        self._queue.add(waiter)

    def _give_up(self, waiter: Waiter) -> None:
        """The client left: out of the queue, or, if it was granted just now, the lease goes straight back."""
        if waiter in self._queue:
            self._queue.remove(waiter)
            waiter.granted.cancel()
            self._decide()
        elif waiter.granted.done() and not waiter.granted.cancelled() and waiter.granted.exception() is None:
            self._give_back(waiter.granted.result())

    def _give_back(self, lease: Lease) -> None:
        session, now_s = lease.session, self._clock()
        session.leases -= 1
        session.last_used_s = now_s
        self._queue.pace.note(session.model.id, now_s - lease.granted_s)
        if session.state is SessionState.DRAINING and session.leases == 0:
            session.released.set()
        elif session.expires_in_s(now_s) == 0 and session.model.id not in self._queue.wanted():
            self._sessions.drain(session, Leaving.EXPIRED)
        self._decide()

    def _decide(self) -> None:
        """Grant, refuse, start or wait, for everybody who waits, oldest first."""
        may_load = True
        for waiter in self._queue:
            session = self._session_for(waiter)
            if session.state is SessionState.READY and session.worker is not None:
                if session.has_room_for(waiter.plan):
                    self._grant(waiter, session, session.worker)
                elif may_load:
                    may_load = self._loads.grow(waiter, session)
            elif session.is_held_back(self._clock()):
                self._queue.refuse(waiter, account.still_failed(session, self._clock()))
            elif session.state is SessionState.UNLOADED and may_load:
                may_load = self._loads.load(waiter, session)
        self._sessions.share_cores()

    def _session_for(self, waiter: Waiter) -> Session:
        session = self._roster.find(waiter.model.id)
        if session is None:
            session = Session(waiter.model, waiter.plan)
            self._roster.add(session)
        is_over = session.state is SessionState.FAILED and not session.is_held_back(self._clock())
        if is_over and session.task is None:
            session.advance(SessionState.UNLOADED)
        if session.state is SessionState.UNLOADED:
            session.model, session.plan = waiter.model, waiter.plan
        return session

    def _grant(self, waiter: Waiter, session: Session, worker: Worker) -> None:
        self._queue.remove(waiter)
        if waiter.granted.done():
            return
        if not waiter.is_background:
            session.plan = session.plan.timed_as(waiter.plan)
        session.is_kept = session.is_kept or waiter.is_kept
        session.leases += 1
        waiter.granted.set_result(Lease(session, worker, self._budget, self._clock()))

    def _refuse_all(self, session: Session) -> None:
        """Its load has failed."""
        for waiter in self._queue.of(session.model.id):
            self._queue.refuse(waiter, account.still_failed(session, self._clock()))

    def _waiting_for(self, session: Session) -> int:
        is_serving = self._roster.find(session.model.id) is session
        return len(self._queue.of(session.model.id)) if is_serving else 0
