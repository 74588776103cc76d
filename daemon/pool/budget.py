"""What the sessions hold of the machine's memory, and what may still be loaded.

Invariant: a session counts from the start of its load until its process has exited, with what it was expected to need
or with what it really holds, whichever is more: what it has not taken yet is promised to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from daemon.pool.eviction import Occupant
from daemon.pool.session import Session, SessionState
from registry.model import Device


@dataclass(frozen=True, slots=True)
class MemoryMeter:
    """How the pool sees memory: bytes that may still be taken (reserve already off), and a process's resident bytes.

    ``available_bytes`` is below 0 where less than the reserve is left. ``peak_bytes`` is the most that a process ever
    held, None where the system does not keep it.
    """

    available_bytes: Callable[[], int]
    resident_bytes: Callable[[int], int]
    peak_bytes: Callable[[int], int | None] = lambda _pid: None


class MemoryBudget:
    """``budget_bytes``: the bound at the moment; None: only what the machine has available is one."""

    def __init__(self, meter: MemoryMeter, budget_bytes: Callable[[], int | None]) -> None:
        self._meter = meter
        self._budget_bytes = budget_bytes

    def free_bytes(self, sessions: Iterable[Session]) -> int:
        """What may still be loaded: available memory less what sessions have yet to take."""
        occupying = [session for session in sessions if session.occupies_memory]
        free = self._meter.available_bytes() - sum(map(self.promised_bytes, occupying))
        budget_bytes = self._budget_bytes()
        if budget_bytes is None:
            return free
        return min(free, budget_bytes - sum(map(self.counted_bytes, occupying)))

    def available_bytes(self) -> int:
        """What the machine has left beyond its reserve, whatever the budget is; below 0 where that is touched."""
        return self._meter.available_bytes()

    def occupants(self, sessions: Iterable[Session], now_s: float) -> list[Occupant]:
        """READY sessions and what stopping each gives back: what it holds and what it was promised."""
        return [
            Occupant(
                session.model.id,
                self.counted_bytes(session),
                max(0.0, now_s - session.last_used_s),
                session.is_idle,
                reload_s=session.load_s,
                is_warm=bool(session.warm_for),
                is_protected=session.is_kept,
            )
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

    def promised_bytes(self, session: Session) -> int:
        """What it may still take. What a model needs on an accelerator is not taken from the machine's memory, except
        while it is loaded and its weights pass through there."""
        if session.state is SessionState.FAILED:
            return 0  # it takes nothing more, unlike one that still answers, or loads until it is stopped
        if session.model.device is not Device.CPU and session.state is not SessionState.LOADING:
            return 0
        return max(0, session.plan.need_bytes - self.resident_bytes(session))

    def counted_bytes(self, session: Session) -> int:
        """What it holds and what it was promised."""
        return self.resident_bytes(session) + self.promised_bytes(session)
