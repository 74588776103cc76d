"""The sessions and the steps of their lives: what the pool has decided is done here, and what came of it is told back.

Invariant: no step has an ``await``; whatever changed, ``on_change`` is called once it is done. Slow work (starting,
loading, stopping a process) runs in one task per session (``daemon.pool.life``).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from daemon.pool.account import SessionSnapshot, snapshot_of
from daemon.pool.budget import MemoryBudget
from daemon.pool.cores import divide_cores
from daemon.pool.failures import Ending, FailureKind, WorkerFailure
from daemon.pool.launch import Launcher
from daemon.pool.life import Lives, Steps
from daemon.pool.limits import PoolLimits
from daemon.pool.observer import FailedLoad, Loaded, Observer
from daemon.pool.plan import LoadPlan
from daemon.pool.protocol import Ready
from daemon.pool.roster import Roster
from daemon.pool.session import Failure, Leaving, Session, SessionState

log = logging.getLogger("slmreg.pool")

MAX_DEATH_BACKOFF_S = 60.0
MAX_LOAD_BACKOFF_S = 1800.0
DEATHS_IN_A_ROW = 3
# A process that was killed where no more than this times its need is free was killed for memory (judged).
KILLED_FOR_MEMORY = 1.25
LEAVING = frozenset({SessionState.DRAINING, SessionState.FAILED})


class Sessions:
    """``on_load_failed`` is told of a session whose load failed, for those who wait for it."""

    def __init__(
        self,
        launcher: Launcher,
        limits: Callable[[], PoolLimits],
        budget: MemoryBudget,
        observer: Observer,
        *,
        clock: Callable[[], float],
        on_change: Callable[[], None],
        on_load_failed: Callable[[Session], None],
    ) -> None:
        self._limits = limits
        self._budget = budget
        self._observer = observer
        self._clock = clock
        self._on_change = on_change
        self._tell_of_failure = on_load_failed
        steps = Steps(
            on_ready=self._on_ready,
            on_exit=self._on_exit,
            on_load_failed=self._on_load_failed,
            on_gone=self._on_gone,
        )
        self._lives = Lives(launcher, steps, limits=limits, clock=clock)
        self._cores: Sequence[Sequence[int]] = ()
        self.roster = Roster()
        self.loads = 0  # begun so far

    def __iter__(self) -> Iterator[Session]:
        return iter(self.roster)

    @property
    def is_loading(self) -> bool:
        return self.roster.count(SessionState.LOADING) > 0

    @property
    def is_room_coming(self) -> bool:
        """Processes are on their way out; how much they give back is known when they are gone."""
        return any(s.task is not None and s.state in LEAVING for s in self)

    def free_bytes(self) -> int:
        return self._budget.free_bytes(self)

    def snapshot(self, session: Session, *, waiting: int) -> SessionSnapshot:
        """``waiting``: requests that have no lease on it yet."""
        return snapshot_of(
            session,
            resident_bytes=self._budget.resident_bytes(session),
            promised_bytes=self._budget.promised_bytes(session) if session.occupies_memory else 0,
            waiting=waiting,
            limits=self._limits(),
            now_s=self._clock(),
        )

    # -- what the pool has decided

    def start(self, session: Session) -> None:
        """Begin to load. It spins if it is alone; beside running answers it keeps to a few cores."""
        if session.succeeds is None:
            is_alone = not any(each.occupies_memory for each in self if each is not session)
            session.plan = replace(session.plan, is_spinning=is_alone)
        session.advance(SessionState.LOADING)
        session.failure = session.cut_short = session.drain_by_s = session.unwanted_since_s = None
        session.cores = divide_cores(self._cores, self._answering(), [session.model.id])[session.model.id]
        self.loads += 1
        self._lives.begin(session)

    def succeed(self, session: Session, plan: LoadPlan) -> None:
        """Load its model a second time, by another plan, to take over from it."""
        successor = Session(
            session.model, replace(plan, is_forced=False), succeeds=session, failed_loads=session.failed_loads
        )
        self.roster.add_successor(successor)
        self.start(successor)

    def drain(self, session: Session, leaving: Leaving, *, by_s: float | None = None) -> None:
        """No new requests; it goes when its answers are done, at ``by_s`` at the latest if that is given."""
        if session.state not in (SessionState.READY, SessionState.LOADING):
            return
        session.advance(SessionState.DRAINING)
        session.leaving, session.drain_by_s = leaving, by_s
        log.info("session.draining model=%s reason=%s active=%d", session.model.id, leaving, session.leases)
        if session.leases == 0:
            session.released.set()

    def drain_serving(self, model_id: str, leaving: Leaving, *, by_s: float | None = None) -> None:
        session = self.roster.find(model_id)
        if session is not None:
            self.drain(session, leaving, by_s=by_s)

    def cut(self, session: Session, why: str) -> None:
        """Stop it now, whoever still answers."""
        if session.leases:
            log.warning("session.cut_short model=%s active=%d", session.model.id, session.leases)
        session.cut_short = why
        session.released.set()

    def forget_failure(self, session: Session) -> None:
        """It may be tried again at once."""
        if session.state is SessionState.FAILED and session.failure is not None:
            session.failure = replace(session.failure, retry_at_s=0.0)

    # -- cores

    def use_cores(self, cores: Sequence[Sequence[int]]) -> None:
        """The physical cores that sessions share from now on, each with its logical CPUs."""
        self._cores = cores
        self.share_cores()

    def share_cores(self) -> None:
        """Sessions that answer at the same time have cores of their own, unless one of them spins on all."""
        serving = [s for s in self.roster.serving() if s.state is SessionState.READY and s.worker is not None]
        answering = self._answering()
        if any(s.plan.is_spinning for s in serving if s.leases):
            answering = answering[:1]
        shares = divide_cores(self._cores, answering, ())
        for session in serving:
            cores = shares.get(session.model.id, ())
            if cores != session.cores and session.worker is not None:
                session.cores = cores
                session.worker.use_cores(cores)

    def _answering(self) -> list[str]:
        """Models that answer now, those that were loaded first in front."""
        busy = [s for s in self.roster.serving() if s.leases and s.worker is not None]
        return [s.model.id for s in sorted(busy, key=lambda s: s.ready_since_s)]

    # -- what came of it

    def _on_ready(self, session: Session, ready: Ready, load_s: float) -> None:
        if session.state is not SessionState.LOADING:  # unloaded meanwhile
            return
        session.is_at_limit = ready.is_longest and ready.context_tokens < session.plan.context_tokens
        is_proven = session.plan.is_proven if ready.is_proven is None else ready.is_proven
        session.plan = replace(session.plan, context_tokens=ready.context_tokens, is_proven=is_proven)
        session.ready, session.load_s, session.cores = ready, load_s, ()
        session.failed_loads = 0
        session.advance(SessionState.READY)
        session.ready_since_s = session.last_used_s = self._clock()
        if session.succeeds is not None:
            self._take_over(session, session.succeeds)
        pid = session.worker and session.worker.pid
        log.info("session.ready model=%s pid=%s duration_s=%.2f", session.model.id, pid, load_s)
        self._observer.loaded(
            Loaded(
                model=session.model,
                threads=session.plan.threads,
                context_tokens=ready.context_tokens,
                load_s=load_s,
                resident_bytes=self._budget.resident_bytes(session),
                peak_bytes=self._budget.peak_bytes(session),
                is_proven=ready.is_proven,
            )
        )
        self._on_change()

    def _take_over(self, successor: Session, before: Session) -> None:
        """From one moment to the next all new requests go to ``successor``; the other one finishes what it has."""
        if before.state is not SessionState.READY:
            self.drain(successor, Leaving.REPLACED)
            return
        self.roster.take_over(successor)
        successor.is_kept, successor.warm_for = before.is_kept, before.warm_for
        successor.last_used_s = before.last_used_s
        successor.plan = replace(successor.plan, keep_alive_s=before.plan.keep_alive_s)
        self.drain(before, Leaving.REPLACED)

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
            kind = FailureKind.TIMED_OUT
            reason = f"Loading took longer than load_timeout_s = {self._limits().load_timeout_s:g} s."
        session.failed_loads += 1
        backoff_s = min(self._limits().failed_retry_s * 2.0 ** (session.failed_loads - 1), MAX_LOAD_BACKOFF_S)
        self._fail(session, kind, reason, backoff_s)
        if session.succeeds is None:
            self._tell_of_failure(session)
        else:
            session.succeeds.failed_loads, session.succeeds.failure = session.failed_loads, session.failure

    def _tell_if_out_of_memory(self, session: Session, kind: FailureKind) -> None:
        # The system kills when there is nothing left: what the process held is free again, and hardly more.
        was_short = self._budget.available_bytes() < KILLED_FOR_MEMORY * session.plan.need_bytes
        if kind is FailureKind.OUT_OF_MEMORY or (kind is FailureKind.KILLED and was_short):
            self._observer.ran_out_of_memory(session.model, session.plan.need_bytes)

    def _fail(self, session: Session, kind: FailureKind, reason: str, backoff_s: float) -> None:
        session.advance(SessionState.FAILED)
        session.is_kept = False
        session.failure = Failure(kind, reason, self._clock() + backoff_s)
        log.error("session.failed model=%s kind=%s reason=%r retry_s=%.0f", session.model.id, kind, reason, backoff_s)
        if session.succeeds is None:
            self._observer.failed(FailedLoad(model=session.model, kind=kind, message=reason, retry_s=backoff_s))

    def _on_gone(self, session: Session) -> None:
        if session.state is SessionState.DRAINING:
            session.advance(SessionState.UNLOADED)
            log.info("session.unloaded model=%s", session.model.id)
            if self.roster.find(session.model.id) is session:
                why = session.cut_short or str(session.leaving)
                self._observer.unloaded(session.model, session.leaving, why)
        session.ready = None
        self.roster.forget(session)
        self._on_change()
