"""Which models ran out of memory here, and how long each is left alone for that. Pure but for the clock it is given.

Invariant: a model that runs out of memory whenever it is tried again is tried less and less often, whether it dies
while it loads or when it answers, and one that has been loaded since is not held back.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from registry.model import Model
from selector.selection import Setback

# Judged: long enough for another program to end or a person to close it; at the most twice an hour.
FIRST_BACKOFF_S = 60.0
MAX_BACKOFF_S = 1800.0


@dataclass(frozen=True, slots=True)
class _Quarantine:
    model: Model
    need_bytes: int
    backoff_s: float
    until_s: float


class Setbacks:
    """Times are of one clock, whichever that is. For one thread at a time."""

    def __init__(self) -> None:
        self._held: dict[str, _Quarantine] = {}

    def add(self, model: Model, need_bytes: int, now_s: float) -> float:
        """``model`` has run out of memory; for how many seconds it is left alone.

        Several answers can fail at once, and a person can load it by name at any time: while it is left alone a failure
        only begins that time anew.
        """
        before = self._held.get(model.id)
        backoff_s = FIRST_BACKOFF_S
        if before is not None:
            was_tried_again = now_s >= before.until_s
            backoff_s = min(before.backoff_s * 2, MAX_BACKOFF_S) if was_tried_again else before.backoff_s
        self._held[model.id] = _Quarantine(model, need_bytes, backoff_s, now_s + backoff_s)
        return backoff_s

    def end(self, model_id: str, now_s: float) -> None:
        """It was loaded: whoever needs it waits no longer. Whether it can answer is still to be seen."""
        held = self._held.get(model_id)
        if held is not None:
            self._held[model_id] = replace(held, until_s=min(held.until_s, now_s))

    def forget(self, model_id: str) -> None:
        """It has answered."""
        self._held.pop(model_id, None)

    def keep_only(self, models: dict[str, Model]) -> None:
        """``models``, by id, are all there are; another one in place of one that failed has not failed."""
        for model_id, held in list(self._held.items()):
            now = models.get(model_id)
            if now is None or now.content != held.model.content:
                del self._held[model_id]

    def now(self, now_s: float) -> tuple[Setback, ...]:
        """Those that are left alone at this moment."""
        return tuple(
            Setback(model_id, held.model.device, held.need_bytes, held.until_s - now_s)
            for model_id, held in sorted(self._held.items())
            if held.until_s > now_s
        )
