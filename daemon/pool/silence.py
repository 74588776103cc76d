"""When a process has said nothing for too long."""

from __future__ import annotations

from daemon.pool.protocol import PULSE_S


class Silence:
    """How long a process has said nothing, counted only while somebody was there to hear it.

    The daemon may be stopped, the laptop asleep or the event loop busy; then its ticks come late, and each counts as
    one all the same.
    """

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self.tick_s = min(PULSE_S, limit_s / 4)
        self._ticks = 0

    def heard(self) -> None:
        """It has said something."""
        self._ticks = 0

    def tick(self) -> bool:
        """``tick_s`` or more have passed: whether that was too long."""
        self._ticks += 1
        return self._ticks * self.tick_s > self.limit_s
