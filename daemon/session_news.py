"""``SessionNews``: what happens to sessions, for everyone who follows the events."""

from __future__ import annotations

from daemon.events import EventLog
from daemon.pool.observer import FailedLoad, Loaded
from daemon.pool.session import Leaving
from registry.model import Model, Task


class SessionNews:
    """An observer of the pool (``daemon.pool.observer.Observer``)."""

    def __init__(self, events: EventLog) -> None:
        self._events = events

    def loaded(self, load: Loaded) -> None:
        data = {"id": load.model.id, "load_s": round(load.load_s, 3), "resident_bytes": load.resident_bytes}
        self._events.publish("session.ready", data)

    def failed(self, failure: FailedLoad) -> None:
        data = {
            "id": failure.model.id,
            "kind": str(failure.kind),
            "message": failure.message,
            "retry_s": round(failure.retry_s, 1),
        }
        self._events.publish("session.failed", data)

    def unloaded(self, model: Model, reason: Leaving, why: str) -> None:
        self._events.publish("session.unloaded", {"id": model.id, "reason": why})

    def ran_out_of_memory(self, model: Model, need_bytes: int) -> None:
        self._events.publish("model.out_of_memory", {"id": model.id, "need_bytes": need_bytes})

    def swapped(self, task: Task, before: str, after: str) -> None:
        """Another model has taken over a task."""
        self._events.publish("session.swapped", {"task": str(task), "from": before, "to": after})
