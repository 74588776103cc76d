"""What the pool tells about its loads and failures, to one who keeps the books on models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from registry.model import Model


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A load that worked. ``load_s`` is from the start of the process; memory is the process's, before any request."""

    model: Model
    threads: int
    context_tokens: int
    load_s: float
    resident_bytes: int
    peak_bytes: int | None


class Observer(Protocol):
    """Called on the event loop, between one decision and the next: what it does must be quick, and must not raise."""

    def loaded(self, load: Loaded) -> None: ...

    def ran_out_of_memory(self, model: Model, need_bytes: int) -> None:
        """``need_bytes`` is what the session was expected to need."""


class Nobody:
    """Observes nothing."""

    def loaded(self, load: Loaded) -> None:
        pass

    def ran_out_of_memory(self, model: Model, need_bytes: int) -> None:
        pass
