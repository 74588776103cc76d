"""What the pool tells about its loads and failures, to one who keeps the books on models or tells others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from daemon.pool.failures import FailureKind
from daemon.pool.session import Leaving
from registry.model import Model


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A load that worked. ``load_s`` is from the start of the process; memory is the process's, before any request.

    ``is_proven``: see ``daemon.pool.protocol.Ready``.
    """

    model: Model
    threads: int
    context_tokens: int
    load_s: float
    resident_bytes: int
    peak_bytes: int | None
    is_proven: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedLoad:
    """A session that failed; ``retry_s``: not tried again for so long."""

    model: Model
    kind: FailureKind
    message: str
    retry_s: float


class Observer(Protocol):
    """Called on the event loop, between one decision and the next: what it does must be quick, and must not raise."""

    def loaded(self, load: Loaded) -> None: ...

    def failed(self, failure: FailedLoad) -> None: ...

    def unloaded(self, model: Model, reason: Leaving, why: str) -> None:
        """Its process is gone, as it was meant to be; ``why`` says more where it was cut short."""

    def ran_out_of_memory(self, model: Model, need_bytes: int) -> None:
        """``need_bytes`` is what the session was expected to need."""


class Observers:
    """Tells several, in order; none of them is an observer of nothing."""

    def __init__(self, observers: Sequence[Observer] = ()) -> None:
        self._observers = tuple(observers)

    def loaded(self, load: Loaded) -> None:
        for each in self._observers:
            each.loaded(load)

    def failed(self, failure: FailedLoad) -> None:
        for each in self._observers:
            each.failed(failure)

    def unloaded(self, model: Model, reason: Leaving, why: str) -> None:
        for each in self._observers:
            each.unloaded(model, reason, why)

    def ran_out_of_memory(self, model: Model, need_bytes: int) -> None:
        for each in self._observers:
            each.ran_out_of_memory(model, need_bytes)
