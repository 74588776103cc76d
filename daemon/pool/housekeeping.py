"""What time and other programs bring about: who has to go now, and who is loaded in another way than it should be.

Invariant: no step has an ``await``. ``daemon.pool.timing`` says which sessions are concerned; this does it to them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

from daemon.pool import timing
from daemon.pool.budget import MemoryBudget
from daemon.pool.limits import PoolLimits
from daemon.pool.plan import LoadPlan
from daemon.pool.queue import Queue
from daemon.pool.session import Leaving, Session, SessionState
from daemon.pool.sessions import Sessions

log = logging.getLogger("slmreg.pool")

# A model that nobody has used for so long may be gone for the seconds that a load takes (judged).
RELOAD_IDLE_S = 10.0


class Housekeeping:
    """``reload`` unloads a session and has it loaded again by a plan."""

    def __init__(
        self,
        sessions: Sessions,
        queue: Queue,
        budget: MemoryBudget,
        limits: Callable[[], PoolLimits],
        *,
        reload: Callable[[Session, LoadPlan], None],
    ) -> None:
        self._sessions = sessions
        self._roster = sessions.roster
        self._queue = queue
        self._budget = budget
        self._limits = limits
        self._reload = reload

    def tick(self, now_s: float) -> None:
        """End what is over: the time to drain, the time to stay, a load that nobody waits for; and make room."""
        for session in tuple(timing.overdue(self._roster, now_s)):
            limit = f"evict_timeout_s = {self._limits().evict_timeout_s:g} s"
            self._sessions.cut(
                session, f"{session.model.id} had to make room for another model, and {limit} were over."
            )
        wanted = self._queue.wanted()
        for session in tuple(timing.expired(self._roster.serving(), now_s)):
            if session.model.id in wanted:
                continue  # it is about to be succeeded for somebody
            log.info("session.expired model=%s idle_s=%.0f", session.model.id, now_s - session.last_used_s)
            self._sessions.drain(session, Leaving.EXPIRED)
        for session in tuple(timing.abandoned(self._roster, wanted, now_s)):
            log.info("session.abandoned model=%s", session.model.id)
            self._sessions.drain(session, Leaving.ABANDONED)
        self._relieve(now_s)

    def suit(self, now_s: float) -> None:
        """Load one session anew whose threads should (not) spin, if nobody waits for anything."""
        if self._queue or self._sessions.is_loading:
            return
        for session in tuple(timing.unsuited(tuple(self._roster), now_s)):
            session.unsuited_since_s = now_s  # not again at once if it does not work out
            if session.plan.need_bytes <= self._sessions.free_bytes():
                self._sessions.succeed(session, replace(session.plan, is_spinning=not session.plan.is_spinning))
                return
            if session.is_idle and not session.plan.is_forced and now_s - session.last_used_s >= RELOAD_IDLE_S:
                self._reload(session, session.plan)
                return

    def _relieve(self, now_s: float) -> None:
        """Give up idle sessions where less than the reserve is left, one decision at a time."""
        if self._sessions.is_room_coming:
            return
        headroom_bytes = self._budget.available_bytes() if self._roster.count(SessionState.READY) else 0
        for model_id in timing.pressed(self._budget.occupants(self._roster.serving(), now_s), headroom_bytes):
            log.warning("session.pressed_out model=%s short_bytes=%d", model_id, -headroom_bytes)
            self._sessions.drain_serving(model_id, Leaving.PRESSED_OUT)
