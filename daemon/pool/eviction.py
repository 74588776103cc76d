"""Which sessions have to go so that another model fits. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Occupant:
    """A READY session as eviction sees it."""

    model_id: str
    bytes: int
    last_used_s: float
    is_idle: bool


def choose_victims(occupants: Sequence[Occupant], shortfall_bytes: int, *, is_forced: bool = False) -> tuple[str, ...]:
    """The sessions to drain so that at least ``shortfall_bytes`` come free, or () if all together are not enough.

    ``is_forced``: then every idle one, for a load that is tried all the same.

    Idle before busy (a busy one finishes its answers first), least recently used before others; one that turns out
    not to be needed once a larger, later one is taken is left alone.
    """
    if shortfall_bytes <= 0:
        return ()
    chosen: list[Occupant] = []
    for occupant in sorted(occupants, key=lambda o: (not o.is_idle, o.last_used_s, o.model_id)):
        chosen.append(occupant)
        if sum(o.bytes for o in chosen) >= shortfall_bytes:
            return tuple(o.model_id for o in _without_spare(chosen, shortfall_bytes))
    return tuple(o.model_id for o in chosen if o.is_idle) if is_forced else ()


def _without_spare(chosen: list[Occupant], shortfall_bytes: int) -> list[Occupant]:
    """Give back, most recently used first, what the rest covers without it."""
    kept = list(chosen)
    for occupant in reversed(chosen):
        rest = sum(o.bytes for o in kept) - occupant.bytes
        if rest >= shortfall_bytes:
            kept.remove(occupant)
    return kept
