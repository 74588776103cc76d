"""Which sessions have to go so that another model fits. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# Every load is worth at least this: a model that loads in no time is no reason to divide by zero.
_LEAST_RELOAD_S = 0.1


@dataclass(frozen=True, slots=True)
class Occupant:
    """A READY session as eviction sees it. ``reload_s`` is what loading it again would take.

    ``is_warm``: kept loaded for a task. ``is_protected``: it is not for eviction, whatever it costs.
    """

    model_id: str
    bytes: int
    idle_s: float
    is_idle: bool
    reload_s: float = 1.0
    is_warm: bool = False
    is_protected: bool = False

    @property
    def coldness(self) -> float:
        """How long it was idle, in times of what it takes to load it again."""
        return self.idle_s / max(self.reload_s, _LEAST_RELOAD_S)


def choose_victims(occupants: Sequence[Occupant], shortfall_bytes: int, *, is_forced: bool = False) -> tuple[str, ...]:
    """The sessions to drain so that at least ``shortfall_bytes`` come free, or () if all together are not enough.

    ``is_forced``: then every idle one, where all together are not enough.

    Idle before busy (a busy one finishes its answers first), warm ones after other idle ones, the coldest relative to
    its reload first; one that turns out not to be needed once a larger, later one is taken is left alone. Protected
    ones never.
    """
    if shortfall_bytes <= 0:
        return ()
    chosen: list[Occupant] = []
    order = sorted(
        (occupant for occupant in occupants if not occupant.is_protected),
        key=lambda o: (not o.is_idle, o.is_warm, -o.coldness, o.model_id),
    )
    for occupant in order:
        chosen.append(occupant)
        if sum(o.bytes for o in chosen) >= shortfall_bytes:
            return tuple(o.model_id for o in _without_spare(chosen, shortfall_bytes))
    return tuple(o.model_id for o in chosen if o.is_idle) if is_forced else ()


def _without_spare(chosen: list[Occupant], shortfall_bytes: int) -> list[Occupant]:
    """Give back, the one most worth keeping first, what the rest covers without it."""
    kept = list(chosen)
    for occupant in reversed(chosen):
        rest = sum(o.bytes for o in kept) - occupant.bytes
        if rest >= shortfall_bytes:
            kept.remove(occupant)
    return kept
