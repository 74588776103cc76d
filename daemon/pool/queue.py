"""Everybody who waits for a session, in order, and how many that may be."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from daemon.pool import account
from daemon.pool.lease import Waiter
from daemon.pool.limits import PoolLimits
from daemon.pool.pace import Pace
from daemon.pool.roster import Roster
from registry.errors import Overloaded, SlmregError
from registry.model import Model


class Queue:
    """Iterates in the order of arrival, but who waits in the background comes last."""

    def __init__(self, limits: Callable[[], PoolLimits], roster: Roster) -> None:
        self._limits = limits
        self._roster = roster
        self._waiters: list[Waiter] = []
        self.pace = Pace()

    def __iter__(self) -> Iterator[Waiter]:
        return iter(sorted(self._waiters, key=lambda waiter: waiter.is_background))

    def __len__(self) -> int:
        return len(self._waiters)

    def __contains__(self, waiter: Waiter) -> bool:
        return waiter in self._waiters

    def add(self, waiter: Waiter) -> None:
        """Raises Overloaded, TooBusy if there is no place for one more; there always is in the background."""
        if not waiter.is_background:
            self.check(waiter.model)
        self._waiters.append(waiter)

    def check(self, model: Model) -> None:
        """Raises Overloaded, TooBusy if there is no place for one more request for ``model``."""
        in_line = self._in_line(model.id)
        if in_line >= self._limits().max_queue:
            retry_s = self.pace.wait_s(model.id, 1, min(self._at_once(model.id), in_line))
            raise account.queue_is_full(model, in_line, self._limits(), retry_s)
        everybody = self._everybody()
        if everybody >= self._limits().max_queue_total:
            raise account.queues_are_full(everybody, self._limits(), self.pace.wait_s(model.id, 1, 1))

    def remove(self, waiter: Waiter) -> None:
        self._waiters.remove(waiter)

    def refuse(self, waiter: Waiter, error: SlmregError) -> None:
        """Tell one that it gets nothing, and why."""
        self.remove(waiter)
        waiter.fail(error)

    def clear(self, error: SlmregError) -> None:
        """Tell everybody ``error``."""
        for waiter in self._waiters:
            waiter.fail(error)
        self._waiters.clear()

    def of(self, model_id: str) -> list[Waiter]:
        """Those who wait for one model. Any thread."""
        return [waiter for waiter in tuple(self._waiters) if waiter.model.id == model_id]

    def wanted(self) -> set[str]:
        """The models that somebody waits for."""
        return {waiter.model.id for waiter in self._waiters}

    def waited_too_long(self, waiter: Waiter) -> Overloaded:
        retry_s = self.pace.wait_s(waiter.model.id, self._in_line(waiter.model.id), self._at_once(waiter.model.id))
        return account.waited_too_long(waiter.model, self._roster.serving(), self._limits(), retry_s)

    @property
    def is_crowded(self) -> bool:
        """Whether there is a model that has no place for one more request."""
        limits = self._limits()
        return self._everybody() >= limits.max_queue_total or any(
            self._in_line(session.model.id) >= limits.max_queue for session in self._roster.serving()
        )

    def _everybody(self) -> int:
        """Requests for all models, waiting and running."""
        return len(self._waiters) + sum(session.leases for session in self._roster)

    def _at_once(self, model_id: str) -> int:
        return account.at_once(self._roster.find(model_id), self._limits())

    def _in_line(self, model_id: str) -> int:
        """Requests for a model, waiting and running."""
        session = self._roster.find(model_id)
        return len(self.of(model_id)) + (session.leases if session is not None else 0)
