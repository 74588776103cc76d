"""Who had the machine to themselves: answers that no other answer and no load ran beside.

Invariant: belongs to the event loop, like the pool. What ran beside another at any moment was not alone, nor was that.
"""

from __future__ import annotations

from typing import Protocol


class Loads(Protocol):
    """The loads of a ``SessionPool``."""

    @property
    def loads(self) -> int:
        """Begun so far."""

    @property
    def is_loading(self) -> bool: ...


class Stay:
    """One answer's time on the machine."""

    def __init__(self, loads: Loads, *, is_alone: bool) -> None:
        self._loads = loads
        self._loads_before = loads.loads
        self._is_alone = is_alone and not loads.is_loading

    def is_joined(self) -> None:
        """Somebody else has come."""
        self._is_alone = False

    @property
    def is_alone(self) -> bool:
        """Whether nothing else has been going on so far."""
        return self._is_alone and self._loads.loads == self._loads_before


class Company:
    """All answers that are running."""

    def __init__(self, loads: Loads) -> None:
        self._loads = loads
        self._present: set[Stay] = set()

    def enter(self) -> Stay:
        """One more answer begins; it has to ``leave``, however it ends."""
        stay = Stay(self._loads, is_alone=not self._present)
        for other in self._present:
            other.is_joined()
        self._present.add(stay)
        return stay

    def leave(self, stay: Stay) -> None:
        """That answer runs no more. Doing it twice is fine."""
        self._present.discard(stay)
