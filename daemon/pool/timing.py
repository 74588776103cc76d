"""What the passing of time brings about in the pool. Pure: each function says which sessions it concerns.

Figures that are judged say so; a test holds each.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

from daemon.pool.eviction import Occupant, choose_victims
from daemon.pool.session import Session, SessionState

# A client that leaves often comes back at once: its load goes on for so long (judged).
ABANDONED_AFTER_S = 5.0
# Under pressure a session that was used just now is about to be used again (judged).
SPARED_UNDER_PRESSURE_S = 5.0
# Until a session that is loaded in another way than it should be is loaded anew (judged): what came may go again.
TO_SHARE_S, TO_SPIN_S = 2.0, 120.0


def expired(sessions: Iterable[Session], now_s: float) -> Iterator[Session]:
    """Idle for as long as they were to be kept."""
    return (session for session in sessions if session.expires_in_s(now_s) == 0)


def overdue(sessions: Iterable[Session], now_s: float) -> Iterator[Session]:
    """They drain, and the time for that is over."""
    for session in sessions:
        by_s = session.drain_by_s
        if session.state is SessionState.DRAINING and by_s is not None and now_s >= by_s and session.cut_short is None:
            yield session


def abandoned(sessions: Iterable[Session], wanted: Collection[str], now_s: float) -> Iterator[Session]:
    """Loads that nobody has waited for for a while; ``wanted`` are the models that somebody waits for."""
    for session in sessions:
        if session.state is not SessionState.LOADING or session.succeeds is not None or session.model.id in wanted:
            session.unwanted_since_s = None
        elif session.unwanted_since_s is None:
            session.unwanted_since_s = now_s
        elif now_s - session.unwanted_since_s >= ABANDONED_AFTER_S:
            yield session


def pressed(occupants: Sequence[Occupant], headroom_bytes: int) -> tuple[str, ...]:
    """Idle sessions to give up where other programs took what was to be left to them."""
    if headroom_bytes >= 0:
        return ()
    idle = [each for each in occupants if each.is_idle and each.idle_s >= SPARED_UNDER_PRESSURE_S]
    return choose_victims(idle, -headroom_bytes, is_forced=True)


def unsuited(sessions: Sequence[Session], now_s: float) -> Iterator[Session]:
    """READY sessions that spin beside others, or do not although they are alone, for a while already."""
    present = [session for session in sessions if session.occupies_memory]
    is_alone = len(present) == 1
    for session in present:
        if session.state is not SessionState.READY or session.plan.is_spinning is is_alone:
            session.unsuited_since_s = None
        elif session.unsuited_since_s is None:
            session.unsuited_since_s = now_s
        elif now_s - session.unsuited_since_s >= (TO_SPIN_S if is_alone else TO_SHARE_S):
            yield session
