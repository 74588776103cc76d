"""The session pool: callers ask for a lease on a model; the pool loads, evicts and gives it.

Invariants:
* ``_decide`` has no ``await``: on the event loop it is atomic and needs no lock. Slow work (starting, loading, stopping
  a process) runs in one task per session (``daemon.pool.life``) that ends by calling ``_decide`` again.
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

from daemon.pool import account, timing
from daemon.pool.account import SessionSnapshot, snapshot_of
from daemon.pool.budget import MemoryBudget, MemoryMeter
from daemon.pool.cores import divide_cores
from daemon.pool.eviction import Occupant, choose_victims
from daemon.pool.failures import Ending, FailureKind, WorkerFailure
from daemon.pool.launch import Launcher, Worker
from daemon.pool.lease import Lease, Waiter
from daemon.pool.life import Lives, Steps
from daemon.pool.limits import PoolLimits
from daemon.pool.observer import FailedLoad, Loaded, Observer, Observers
from daemon.pool.pace import Pace
from daemon.pool.plan import LoadPlan
from daemon.pool.protocol import Ready
from daemon.pool.roster import Roster
from daemon.pool.session import Failure, Session, SessionState
from registry.errors import AnswerTimedOut, DaemonStopping, SlmregError
from registry.model import Model, Task

log = logging.getLogger("slmreg.pool")

TICK_S = 0.5
MAX_DEATH_BACKOFF_S = 60.0
MAX_LOAD_BACKOFF_S = 1800.0
DEATHS_IN_A_ROW = 3
# A process that was killed where no more than this times its need is free was killed for memory (judged).
KILLED_FOR_MEMORY = 1.25
LEAVING = frozenset({SessionState.DRAINING, SessionState.FAILED})
STOPPING = "The daemon is stopping; it takes no new requests."


class SessionPool:
    """All loaded models. Belongs to one event loop, on which ``run`` has to be running."""

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
        self._observer = observer or Observers()
        steps = Steps(
            on_ready=self._on_ready,
            on_exit=self._on_exit,
            on_load_failed=self._on_load_failed,
            on_gone=self._on_gone,
        )
        self._lives = Lives(launcher, steps, limits=limits, clock=clock)
        self.loads = 0  # begun so far
        self._roster = Roster()
        self._waiters: list[Waiter] = []
        self._pace = Pace()
        self._dismissed: set[str] = set()
        self._cores: Sequence[Sequence[int]] = ()
        self._is_stopping = False

    def __repr__(self) -> str:
        parts = [f"{s.model.id} {s.state} leases={s.leases}" for s in self._roster]
        return f"<SessionPool {'; '.join(parts) or 'empty'}; waiting={len(self._waiters)}>"

    def share_cores(self, cores: Sequence[Sequence[int]]) -> None:
        """Divide these physical cores, each with its logical CPUs, among sessions that answer at the same time."""
        self._cores = cores
        self._share_cores()

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

        ``plan`` counts only if it has to be loaded, but for its ``keep_alive_s``. Raises Overloaded (queue full, or
        waited too long), TooBusy, OutOfBudget (cannot fit), LoadFailed, AnswerTimedOut, DaemonStopping.
        """
        async with self._leased(self._enqueue(model, plan), within_s) as lease:
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
            timeout_s = self._limits.queue_timeout_s
            if ends_s is not None:
                timeout_s = max(0.0, min(timeout_s, ends_s - loop.time()))
            await asyncio.wait({waiter.granted}, timeout=timeout_s)
            if waiter.granted.done():
                break
            if ends_s is not None and loop.time() >= ends_s:
                raise AnswerTimedOut(f"{waiter.model.id} was not free within the {within_s:g} s that the request has.")
            session = self._roster.find(waiter.model.id)
            if session is None or session.state is not SessionState.LOADING:
                retry_s = self._pace.wait_s(
                    waiter.model.id, self._in_line(waiter.model.id), self._limits.max_concurrent
                )
                raise account.waited_too_long(waiter.model, self._roster.serving(), self._limits, retry_s)
        return waiter.granted.result()

    async def load(self, model: Model, plan: LoadPlan, *, is_kept: bool = False) -> None:
        """Load ``model`` if it is not loaded, even if a recent load failed. Raises as ``lease`` does.

        ``is_kept``: it stays loaded, and is not evicted, until it is unloaded by name.
        """
        session = self._roster.find(model.id)
        if session is not None:
            self._forget_failure(session)
        async with self._leased(self._enqueue(model, plan, is_kept=is_kept)):
            pass

    async def warm(self, model: Model, plan: LoadPlan, *, may_replace: frozenset[str] = frozenset()) -> None:
        """Load ``model`` in the background: after everybody who waits, and without evicting what is in use or warm,
        but for the models in ``may_replace``. Raises as ``lease`` does.
        """
        waiter = self._enqueue(model, plan, is_background=True, may_replace=may_replace)
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

    def retire(self, model_id: str) -> None:
        """Another model has taken over: no new requests, and it goes when its answers are done."""
        session = self._roster.find(model_id)
        if session is not None and session.state is SessionState.READY and not session.is_kept:
            self._drain(session)
            self._decide()

    def is_ready(self, model_id: str) -> bool:
        session = self._roster.find(model_id)
        return session is not None and session.state is SessionState.READY

    def is_dismissed(self, model_id: str) -> bool:
        """Somebody unloaded it by name, and nobody has asked for it since."""
        return model_id in self._dismissed

    async def unload(self, model_id: str, *, at_once: bool = False) -> bool:
        """Drain and stop a session; return when its process is gone. ``at_once``: its answers are cut off.

        False if it was not loaded, or is loaded again by now for somebody who waited.
        """
        self._dismissed.add(model_id)
        session = self._roster.find(model_id)
        if session is not None:
            self._forget_failure(session)
        if session is None or session.state in (SessionState.UNLOADED, SessionState.FAILED):
            return False
        session.is_kept, session.warm_for = False, ()
        leaving = [each for each in self._roster if each.model.id == model_id]
        for each in leaving:
            self._drain(each)
            if at_once:
                self._cut(each, f"{model_id} was unloaded at once, before the answer was finished.")
        tasks = {each.task for each in leaving if each.task is not None}
        if tasks:
            await asyncio.wait(tasks)
        return all(snapshot.model_id != model_id for snapshot in self.snapshot())

    def keep_only(self, models: Mapping[str, Model]) -> None:
        """``models``, by id, are all there are. A session whose model left the disk, moved or changed takes no new
        requests and goes when its answers are done."""
        for session in self._roster:
            now = models.get(session.model.id)
            is_same = now is not None and (now.path, now.fingerprint) == (session.model.path, session.model.fingerprint)
            if not is_same:
                self._forget_failure(session)
                session.failed_loads = session.deaths = 0
                self._pace.forget(session.model.id)
            if not is_same and session.state in (SessionState.READY, SessionState.LOADING):
                session.is_kept, session.warm_for = False, ()
                self._drain(session)

    @property
    def is_loading(self) -> bool:
        """Whether a model is being loaded now, which takes the machine's cores from whoever answers."""
        return any(s.state is SessionState.LOADING for s in self._roster)

    def snapshot(self) -> tuple[SessionSnapshot, ...]:
        """The sessions that are loaded, on their way, failed, or waited for, by id.

        The one method that other threads may call: it copies before it looks, and what it shows may be a moment old.
        """
        return tuple(
            self._snapshot_of(session)
            for session in sorted(self._roster, key=lambda session: session.model.id)
            if session.state is not SessionState.UNLOADED or self._queued(session.model.id)
        )

    async def close(self) -> None:
        """Take no more requests, let running answers finish within ``drain_timeout_s``, stop every process."""
        self._is_stopping = True
        for waiter in self._waiters:
            waiter.fail(DaemonStopping(STOPPING))
        self._waiters.clear()
        for session in self._roster:
            if session.state in (SessionState.READY, SessionState.LOADING):
                self._drain(session)
        tasks = {s.task for s in self._roster if s.task is not None}
        if tasks:
            await asyncio.wait(tasks, timeout=self._limits.drain_timeout_s)
            for session in self._roster:
                session.released.set()  # whoever is still answering has had the time that was promised
            await asyncio.wait(tasks)

    # -- deciding: no await below, so every step is atomic on the event loop

    def tick(self) -> None:
        """What has become due. Called now and then by ``run``."""
        now_s = self._clock()
        for session in tuple(timing.overdue(self._roster, now_s)):
            limit = f"evict_timeout_s = {self._limits.evict_timeout_s:g} s"
            self._cut(session, f"{session.model.id} had to make room for another model, and {limit} were over.")
        for session in tuple(timing.expired(self._roster.serving(), now_s)):
            log.info("session.expired id=%s idle_s=%.0f", session.model.id, now_s - session.last_used_s)
            self._drain(session)
        for session in tuple(timing.abandoned(self._roster, self._wanted(), now_s)):
            log.info("session.abandoned id=%s", session.model.id)
            self._drain(session)
        self._relieve(now_s)
        self._suit(now_s)
        self._decide()

    def _relieve(self, now_s: float) -> None:
        """Give up idle sessions where less than the reserve is left, one decision at a time."""
        if any(s.task is not None and s.state in LEAVING for s in self._roster):
            return
        headroom_bytes = self._budget.available_bytes() if self._roster.count(SessionState.READY) else 0
        for model_id in timing.pressed(self._budget.occupants(self._roster.serving(), now_s), headroom_bytes):
            log.warning("session.pressed_out id=%s short_bytes=%d", model_id, -headroom_bytes)
            self._drain_serving(model_id)

    def _suit(self, now_s: float) -> None:
        """Load anew, beside itself, one session whose threads should (not) spin, if nobody waits for anything."""
        if self._waiters or self.is_loading or self._is_stopping:
            return
        for session in tuple(timing.unsuited(tuple(self._roster), now_s)):
            session.unsuited_since_s = now_s  # not again at once if it does not work out
            if session.plan.need_bytes > self._budget.free_bytes(self._roster):
                continue
            plan = replace(session.plan, is_spinning=not session.plan.is_spinning, is_forced=False)
            successor = Session(session.model, plan, succeeds=session)
            self._roster.add_successor(successor)
            self._start_load(successor)
            return

    def _enqueue(
        self,
        model: Model,
        plan: LoadPlan,
        *,
        is_kept: bool = False,
        is_background: bool = False,
        may_replace: frozenset[str] = frozenset(),
    ) -> Waiter:
        if self._is_stopping:
            raise DaemonStopping(STOPPING)
        if not is_background:
            self._check_queues(model)
        granted: asyncio.Future[Lease] = asyncio.get_running_loop().create_future()
        waiter = Waiter(model, plan, granted, is_kept, is_background, may_replace)
        self._waiters.append(waiter)
        self._decide()
        return waiter

    def _check_queues(self, model: Model) -> None:
        at_once = self._limits.max_concurrent
        waiting = self._in_line(model.id)
        if waiting >= self._limits.max_queue:
            retry_s = self._pace.wait_s(model.id, 1, min(at_once, waiting))
            raise account.queue_is_full(model, waiting, self._limits, retry_s)
        everybody = len(self._waiters) + sum(session.leases for session in self._roster)
        if everybody >= self._limits.max_queue_total:
            raise account.queues_are_full(everybody, self._limits, self._pace.wait_s(model.id, 1, 1))

    def _give_up(self, waiter: Waiter) -> None:
        """The client left: out of the queue, or, if it was granted just now, the lease goes straight back."""
        if waiter in self._waiters:
            self._waiters.remove(waiter)
            waiter.granted.cancel()
            self._decide()
        elif waiter.granted.done() and not waiter.granted.cancelled() and waiter.granted.exception() is None:
            self._give_back(waiter.granted.result())

    def _give_back(self, lease: Lease) -> None:
        session, now_s = lease.session, self._clock()
        session.leases -= 1
        session.last_used_s = now_s
        self._pace.note(session.model.id, now_s - lease.granted_s)
        if session.state is SessionState.DRAINING and session.leases == 0:
            session.released.set()
        elif session.expires_in_s(now_s) == 0 and session.model.id not in self._wanted():
            self._drain(session)
        self._decide()

    def _decide(self) -> None:
        """Grant, refuse, start or wait, for everybody who waits, oldest first."""
        may_load = True
        for waiter in sorted(self._waiters, key=lambda waiter: waiter.is_background):
            session = self._session_for(waiter)
            if session.state is SessionState.READY and session.worker is not None:
                self._grant(waiter, session, session.worker)
            elif session.is_held_back(self._clock()):
                self._refuse(waiter, account.still_failed(session, self._clock()))
            elif session.state is SessionState.UNLOADED and may_load:
                may_load = self._try_load(waiter, session)
        self._share_cores()

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

    def _forget_failure(self, session: Session) -> None:
        if session.state is SessionState.FAILED and session.failure is not None:
            session.failure = replace(session.failure, retry_at_s=0.0)

    def _grant(self, waiter: Waiter, session: Session, worker: Worker) -> None:
        self._waiters.remove(waiter)
        if waiter.granted.done():
            return
        if not waiter.is_background:
            session.plan = replace(session.plan, keep_alive_s=waiter.plan.keep_alive_s)
        session.is_kept = session.is_kept or waiter.is_kept
        session.leases += 1
        waiter.granted.set_result(Lease(session, worker, self._budget, self._clock()))

    def _refuse(self, waiter: Waiter, error: SlmregError) -> None:
        self._waiters.remove(waiter)
        waiter.fail(error)

    def _try_load(self, waiter: Waiter, session: Session) -> bool:
        """Start the load, or make room for it. False: everybody behind has to wait for this one."""
        shortfall = session.plan.need_bytes - self._budget.free_bytes(self._roster)
        if shortfall <= 0:
            self._start_load(session)
            return True
        if any(s.task is not None and s.state in LEAVING for s in self._roster):
            return False  # room is on its way; how much is known when those processes are gone
        if self._drop_unwanted_loads():
            return False
        is_forced = session.plan.is_forced
        victims = choose_victims(self._occupants_for(waiter), shortfall, is_forced=is_forced)
        for model_id in victims:
            log.info("session.evict id=%s for=%s", model_id, session.model.id)
            self._drain_serving(model_id, by_s=self._clock() + self._limits.evict_timeout_s)
        if victims or self.is_loading:
            return False
        if is_forced:
            log.warning("session.forced id=%s short_bytes=%d", session.model.id, shortfall)
            self._start_load(session)
        else:
            self._refuse(waiter, self._cannot_fit(session))
        return True

    def _occupants_for(self, waiter: Waiter) -> list[Occupant]:
        occupants = self._budget.occupants(self._roster.serving(), self._clock())
        if not waiter.is_background:
            return occupants
        return [each for each in occupants if _may_go_for(waiter, each)]

    def _cannot_fit(self, session: Session) -> SlmregError:
        now_s, present = self._clock(), self._roster.serving()
        could_go = [each.bytes for each in self._budget.occupants(present, now_s) if not each.is_protected]
        is_busy = any(each.leases for each in present)
        retry_s = self._pace.wait_s(session.model.id, 1, 1) if is_busy else None
        return account.cannot_fit(session, self._budget.free_bytes(self._roster) + sum(could_go), present, retry_s)

    def _drop_unwanted_loads(self) -> bool:
        """Stop loads that nobody waits for, because somebody waits for the memory."""
        wanted = self._wanted()
        unwanted = [s for s in self._roster if s.state is SessionState.LOADING]
        unwanted = [s for s in unwanted if s.succeeds is not None or s.model.id not in wanted]
        for session in unwanted:
            self._drain(session)
        return bool(unwanted)

    def _start_load(self, session: Session) -> None:
        others = [each for each in self._roster if each is not session and each.occupies_memory]
        if session.succeeds is None:
            session.plan = replace(session.plan, is_spinning=not others)
        session.advance(SessionState.LOADING)
        session.failure = session.cut_short = session.drain_by_s = session.unwanted_since_s = None
        session.cores = divide_cores(self._cores, self._answering(), [session.model.id])[session.model.id]
        self.loads += 1
        self._lives.begin(session)

    def _drain_serving(self, model_id: str, *, by_s: float | None = None) -> None:
        session = self._roster.find(model_id)
        if session is not None:
            self._drain(session)
            session.drain_by_s = by_s

    def _drain(self, session: Session) -> None:
        if session.state not in (SessionState.READY, SessionState.LOADING):
            return
        session.advance(SessionState.DRAINING)
        log.info("session.draining id=%s active=%d", session.model.id, session.leases)
        if session.leases == 0:
            session.released.set()

    def _cut(self, session: Session, why: str) -> None:
        """Stop it now, whoever still answers."""
        if session.leases:
            log.warning("session.cut_short id=%s active=%d", session.model.id, session.leases)
        session.cut_short = why
        session.released.set()

    # -- steps of a session's life

    def _on_ready(self, session: Session, ready: Ready, load_s: float) -> None:
        if session.state is not SessionState.LOADING:  # unloaded meanwhile
            return
        now_s = self._clock()
        session.plan = replace(session.plan, context_tokens=ready.context_tokens)
        session.ready, session.load_s, session.cores = ready, load_s, ()
        session.failed_loads = 0
        session.advance(SessionState.READY)
        session.ready_since_s = session.last_used_s = now_s
        if session.succeeds is not None:
            self._take_over(session, session.succeeds)
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

    def _take_over(self, successor: Session, before: Session) -> None:
        """From one moment to the next all new requests go to ``successor``; the other one finishes what it has."""
        if before.state is not SessionState.READY:
            self._drain(successor)
            return
        self._roster.take_over(successor)
        successor.is_kept, successor.warm_for = before.is_kept, before.warm_for
        successor.last_used_s = before.last_used_s
        successor.plan = replace(successor.plan, keep_alive_s=before.plan.keep_alive_s)
        self._drain(before)

    def _on_exit(self, session: Session, ending: Ending) -> None:
        if session.state is SessionState.READY:
            self._tell_if_out_of_memory(session, ending.kind)
            # The next request loads again at once; only a model that keeps dying is held back, longer and longer.
            has_lived_well = self._clock() - session.ready_since_s > MAX_DEATH_BACKOFF_S
            session.deaths = 1 if has_lived_well else session.deaths + 1
            is_forgiven = session.deaths < DEATHS_IN_A_ROW
            backoff_s = 0.0 if is_forgiven else min(2.0**session.deaths, MAX_DEATH_BACKOFF_S)
            again = f" ({session.deaths} times in a row)" if session.deaths > 1 else ""
            self._fail(session, ending.kind, f"Its process {ending.words}{again}.", backoff_s)

    def _on_load_failed(self, session: Session, error: Exception) -> None:
        if session.state is not SessionState.LOADING:
            return
        kind, reason = FailureKind.OTHER, str(error)
        if isinstance(error, WorkerFailure):
            kind = error.kind
            self._tell_if_out_of_memory(session, kind)
        elif isinstance(error, TimeoutError):
            reason = f"Loading took longer than load_timeout_s = {self._limits.load_timeout_s:g} s."
        session.failed_loads += 1
        backoff_s = min(self._limits.failed_retry_s * 2.0 ** (session.failed_loads - 1), MAX_LOAD_BACKOFF_S)
        self._fail(session, kind, reason, backoff_s)
        if session.succeeds is not None:
            return
        for waiter in [w for w in self._waiters if w.model.id == session.model.id]:
            self._refuse(waiter, account.still_failed(session, self._clock()))

    def _tell_if_out_of_memory(self, session: Session, kind: FailureKind) -> None:
        # The system kills when there is nothing left: what the process held is free again, and hardly more.
        was_short = self._budget.available_bytes() < KILLED_FOR_MEMORY * session.plan.need_bytes
        if kind is FailureKind.OUT_OF_MEMORY or (kind is FailureKind.KILLED and was_short):
            self._observer.ran_out_of_memory(session.model, session.plan.need_bytes)

    def _fail(self, session: Session, kind: FailureKind, reason: str, backoff_s: float) -> None:
        session.advance(SessionState.FAILED)
        session.is_kept = False
        session.failure = Failure(kind, reason, self._clock() + backoff_s)
        log.error("session.failed id=%s kind=%s reason=%r retry_s=%.0f", session.model.id, kind, reason, backoff_s)
        if session.succeeds is None:
            self._observer.failed(FailedLoad(model=session.model, kind=kind, message=reason, retry_s=backoff_s))

    def _on_gone(self, session: Session) -> None:
        if session.state is SessionState.DRAINING:
            session.advance(SessionState.UNLOADED)
            log.info("session.unloaded id=%s", session.model.id)
            if self._roster.find(session.model.id) is session:
                self._observer.unloaded(session.model, session.cut_short or "unloaded")
        session.ready = None
        self._roster.forget(session)
        self._decide()

    # -- cores and figures

    def _answering(self) -> list[str]:
        """Models that answer now, those that were loaded first in front."""
        busy = [s for s in self._roster.serving() if s.leases and s.worker is not None]
        return [s.model.id for s in sorted(busy, key=lambda s: s.ready_since_s)]

    def _share_cores(self) -> None:
        """Sessions that answer at the same time have cores of their own, unless one of them spins on all."""
        serving = [s for s in self._roster.serving() if s.state is SessionState.READY and s.worker is not None]
        answering = self._answering()
        if any(s.plan.is_spinning for s in serving if s.leases):
            answering = answering[:1]
        shares = divide_cores(self._cores, answering, ())
        for session in serving:
            cores = shares.get(session.model.id, ())
            if cores != session.cores and session.worker is not None:
                session.cores = cores
                session.worker.use_cores(cores)

    def _wanted(self) -> set[str]:
        return {waiter.model.id for waiter in self._waiters}

    def _queued(self, model_id: str) -> int:
        return sum(w.model.id == model_id for w in tuple(self._waiters))

    def _in_line(self, model_id: str) -> int:
        """Requests for a model, waiting and running."""
        session = self._roster.find(model_id)
        return self._queued(model_id) + (session.leases if session is not None else 0)

    def _snapshot_of(self, session: Session) -> SessionSnapshot:
        is_serving = self._roster.find(session.model.id) is session
        return snapshot_of(
            session,
            resident_bytes=self._budget.resident_bytes(session),
            promised_bytes=self._budget.promised_bytes(session) if session.occupies_memory else 0,
            waiting=self._queued(session.model.id) if is_serving else 0,
            limits=self._limits,
            now_s=self._clock(),
        )


def _may_go_for(waiter: Waiter, occupant: Occupant) -> bool:
    """A load in the background disturbs nobody, but for the model it is to replace."""
    return occupant.model_id in waiter.may_replace or (occupant.is_idle and not occupant.is_warm)
