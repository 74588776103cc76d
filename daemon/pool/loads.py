"""Which load begins now, and what has to go for it.

Invariants: no step has an ``await``; a load begins only where it fits, unless a person forces it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import replace

from daemon.pool import account
from daemon.pool.budget import MemoryBudget
from daemon.pool.eviction import Occupant, choose_victims
from daemon.pool.lease import Waiter
from daemon.pool.limits import PoolLimits
from daemon.pool.plan import LoadPlan
from daemon.pool.queue import Queue
from daemon.pool.session import Leaving, Session, SessionState
from daemon.pool.sessions import Sessions
from registry.errors import SlmregError

log = logging.getLogger("slmreg.pool")


class Loads:
    """Each step is for one who waits, and says whether those behind may load too.

    ``reload`` unloads a session and has it loaded again by a plan, without deciding anything at once.
    """

    def __init__(
        self,
        sessions: Sessions,
        queue: Queue,
        budget: MemoryBudget,
        limits: Callable[[], PoolLimits],
        clock: Callable[[], float],
        *,
        reload: Callable[[Session, LoadPlan], None],
    ) -> None:
        self._sessions = sessions
        self._roster = sessions.roster
        self._queue = queue
        self._budget = budget
        self._limits = limits
        self._clock = clock
        self._reload = reload

    def load(self, waiter: Waiter, session: Session) -> bool:
        """Start the load, or make room for it. False: everybody behind has to wait for this one."""
        shortfall = session.plan.need_bytes - self._sessions.free_bytes()
        if shortfall <= 0:
            self._sessions.start(session)
            return True
        if self._sessions.is_room_coming:
            return False
        if self._drop_unwanted_loads():
            return False
        is_forced = session.plan.is_forced
        victims = choose_victims(self._occupants_for(waiter), shortfall, is_forced=is_forced)
        self._evict(victims, session)
        if victims or self._sessions.is_loading:
            return False
        if is_forced:
            log.warning("session.forced model=%s short_bytes=%d", session.model.id, shortfall)
            self._sessions.start(session)
        else:
            self._queue.refuse(waiter, self._cannot_fit(session))
        return True

    def grow(self, waiter: Waiter, session: Session) -> bool:
        """Load a READY session's model again, with the context that ``waiter`` needs: beside itself where memory allows
        that, else when its answers are done. False: everybody behind has to wait for this one.
        """
        if session.is_growth_held_back(self._clock()):
            self._queue.refuse(waiter, account.could_not_grow(session, self._clock()))
            return True
        if self._roster.is_loading(session.model.id):
            return True
        shortfall = waiter.plan.need_bytes - self._sessions.free_bytes()
        if shortfall <= 0:
            log.info("session.grow model=%s context_tokens=%d", session.model.id, waiter.plan.context_tokens)
            self._sessions.succeed(session, replace(waiter.plan, is_spinning=session.plan.is_spinning))
            return True
        if self._sessions.is_room_coming or self._drop_unwanted_loads():
            return False
        victims = () if session.is_idle else choose_victims(self._idle_beside(session), shortfall)
        self._evict(victims, session)
        if not victims:
            log.info("session.grow_after_drain model=%s active=%d", session.model.id, session.leases)
            self._reload(session, waiter.plan)
        return False

    def _evict(self, victims: Iterable[str], session: Session) -> None:
        for model_id in victims:
            log.info("session.evict model=%s for=%s", model_id, session.model.id)
            by_s = self._clock() + self._limits().evict_timeout_s
            self._sessions.drain_serving(model_id, Leaving.EVICTED, by_s=by_s)

    def _occupants_for(self, waiter: Waiter) -> list[Occupant]:
        """All but sessions that somebody waits to see succeeded: without them their successors would be for nothing."""
        occupants = self._budget.occupants(self._roster.serving(), self._clock())
        occupants = [each for each in occupants if not self._roster.is_loading(each.model_id)]
        if not waiter.is_background:
            return occupants
        return [each for each in occupants if _may_go_for(waiter, each)]

    def _idle_beside(self, session: Session) -> list[Occupant]:
        """For a session that can also wait for its own end, nobody else's answers have to end."""
        occupants = self._budget.occupants(self._roster.serving(), self._clock())
        return [each for each in occupants if each.is_idle and not each.is_warm and each.model_id != session.model.id]

    def _cannot_fit(self, session: Session) -> SlmregError:
        now_s, present = self._clock(), self._roster.serving()
        could_go = [each.bytes for each in self._budget.occupants(present, now_s) if not each.is_protected]
        is_busy = any(each.leases for each in present)
        retry_s = self._queue.pace.wait_s(session.model.id, 1, 1) if is_busy else None
        return account.cannot_fit(session, self._sessions.free_bytes() + sum(could_go), present, retry_s)

    def _drop_unwanted_loads(self) -> bool:
        """Stop loads that nobody waits for, because somebody waits for the memory."""
        loading = [session for session in self._roster if session.state is SessionState.LOADING]
        unwanted = [session for session in loading if not self._is_wanted(session)]
        for session in unwanted:
            self._sessions.drain(session, Leaving.ABANDONED)
        return bool(unwanted)

    def _is_wanted(self, loading: Session) -> bool:
        """Of a successor, whether somebody waits who cannot have the session that serves now."""
        before = loading.succeeds
        waiting = self._queue.of(loading.model.id)
        return any(before is None or not before.has_room_for(waiter.plan) for waiter in waiting)


def _may_go_for(waiter: Waiter, occupant: Occupant) -> bool:
    """A load in the background disturbs nobody, but for the model it is to replace."""
    return occupant.model_id in waiter.may_replace or (occupant.is_idle and not occupant.is_warm)
