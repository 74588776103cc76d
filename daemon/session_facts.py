"""What a choice among models has to know of the pool's sessions: what is loaded, and what is not to be tried now."""

from __future__ import annotations

from collections.abc import Sequence

from daemon.pool.account import SessionSnapshot
from daemon.pool.session import SessionState
from selector.selection import HeldBack, SessionFacts


def session_facts(sessions: Sequence[SessionSnapshot]) -> tuple[SessionFacts, ...]:
    """Of those that are loaded, or soon will be."""
    return tuple(_facts(s) for s in sessions if s.state in (SessionState.READY, SessionState.LOADING))


def _facts(session: SessionSnapshot) -> SessionFacts:
    return SessionFacts(
        session.model_id,
        session.resident_bytes,
        is_reclaimable=session.active == 0 and session.queued == 0 and not session.is_kept,
        # One that is kept warm has its task, however long nobody asked.
        idle_s=0.0 if session.warm_for else session.idle_s,
        context_tokens=session.context_tokens,
        promised_bytes=session.promised_bytes,
        is_kept=session.is_kept,
    )


def held_back(sessions: Sequence[SessionSnapshot]) -> tuple[HeldBack, ...]:
    """Those that failed, until they are tried again."""
    return tuple(HeldBack(s.model_id, s.failure, s.retry_s) for s in sessions if s.failure is not None and s.retry_s)


def is_busy(sessions: Sequence[SessionSnapshot]) -> bool:
    """Whether anybody waits for an answer."""
    return any(session.active or session.queued for session in sessions)
