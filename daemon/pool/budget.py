"""What the sessions hold of the machine's memory, and what may still be loaded.

Invariant: a session counts from the start of its load until its process has exited, with what it was expected to need
or with what it really holds, whichever is more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from daemon.pool.eviction import Occupant
from daemon.pool.session import Session, SessionState


@dataclass(frozen=True, slots=True)
class MemoryMeter:
    """How the pool sees memory: bytes that may still be taken (reserve already off), and a process's resident bytes.

    ``peak_bytes`` is the most that a process ever held, None where the system does not keep it.
    """

    available_bytes: Callable[[], int]
    resident_bytes: Callable[[int], int]
    peak_bytes: Callable[[int], int | None] = lambda _pid: None


class MemoryBudget:
    """``budget_bytes`` None: only what the machine has available is the bound."""

    def __init__(self, meter: MemoryMeter, budget_bytes: int | None) -> None:
        self._meter = meter
        self._budget_bytes = budget_bytes

    def free_bytes(self, sessions: Iterable[Session]) -> int:
        """What may still be loaded: available memory less what sessions that are loading have yet to take."""
        occupying = [session for session in sessions if session.occupies_memory]
        loading = [session for session in occupying if session.state is SessionState.LOADING]
        still_to_take = sum(max(0, s.plan.need_bytes - self.resident_bytes(s)) for s in loading)
        free = self._meter.available_bytes() - still_to_take
        if self._budget_bytes is None:
            return free
        return min(free, self._budget_bytes - sum(self._counted_bytes(session) for session in occupying))

    def available_bytes(self) -> int:
        """What the machine has left beyond its reserve, whatever the budget is."""
        return self._meter.available_bytes()

    def occupants(self, sessions: Iterable[Session]) -> list[Occupant]:
        """READY sessions and what stopping each gives back: under a budget the share that it is counted with."""
        weigh = self.resident_bytes if self._budget_bytes is None else self._counted_bytes
        return [
            Occupant(session.model.id, weigh(session), session.last_used_s, session.is_idle)
            for session in sessions
            if session.state is SessionState.READY
        ]

    def resident_bytes(self, session: Session) -> int:
        """What its process holds now; 0 without one."""
        worker = session.worker
        return self._meter.resident_bytes(worker.pid) if worker is not None else 0

    def peak_bytes(self, session: Session) -> int | None:
        """The most that its process ever held; None without one, or where that is not known."""
        worker = session.worker
        return self._meter.peak_bytes(worker.pid) if worker is not None else None

    def _counted_bytes(self, session: Session) -> int:
        return max(session.plan.need_bytes, self.resident_bytes(session))
