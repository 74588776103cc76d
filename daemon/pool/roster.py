"""All sessions of the pool: the one that serves each model, and those beside it.

Invariant: at most one session serves a model. Beside it can be one that is loading to succeed it, and any number that
were succeeded and finish their answers; a session beside is forgotten when its process is gone.
"""

from __future__ import annotations

from collections.abc import Iterator

from daemon.pool.session import Session, SessionState


class Roster:
    def __init__(self) -> None:
        self._serving: dict[str, Session] = {}
        self._beside: list[Session] = []

    def __iter__(self) -> Iterator[Session]:
        """Those beside first. Other threads may iterate: what they see is a copy, maybe a moment old."""
        return iter((*tuple(self._beside), *list(self._serving.values())))

    def find(self, model_id: str) -> Session | None:
        """The session that serves a model, in whatever state; None if there never was one."""
        return self._serving.get(model_id)

    def serving(self) -> tuple[Session, ...]:
        return tuple(self._serving.values())

    def add(self, session: Session) -> None:
        self._serving[session.model.id] = session

    def add_successor(self, session: Session) -> None:
        self._beside.append(session)

    def take_over(self, successor: Session) -> Session:
        """``successor`` serves from now on; the session that did."""
        model_id = successor.model.id
        before = self._serving[model_id]
        self._beside.remove(successor)
        self._beside.append(before)
        self._serving[model_id] = successor
        successor.succeeds = None
        return before

    def forget(self, session: Session) -> None:
        """Its process is gone: one beside is needed no more, one that serves can be loaded again."""
        if session in self._beside:
            self._beside.remove(session)

    def is_loading(self, model_id: str) -> bool:
        """Whether a session of a model is on its way, to serve it or to take over."""
        return any(each.model.id == model_id and each.state is SessionState.LOADING for each in self)

    def count(self, state: SessionState) -> int:
        return sum(session.state is state for session in self)
