"""``Tunings``: how models were found to run best here, remembered between runs.

A tuning holds for the same files, the same versions of all that computes, and the same machine.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from registry.experience import Tuning
from registry.model import Model
from registry.store import Registry
from selector.hardware import Hardware


class Tunings:
    """Safe to use from several threads. Nothing is read before the first question."""

    def __init__(self, registry: Registry, hardware: Callable[[], Hardware], runtime: Callable[[], str]) -> None:
        """``runtime`` names the versions that a tuning holds for."""
        self._registry = registry
        self._hardware = hardware
        self._runtime = runtime
        self._lock = threading.Lock()
        self._known: dict[str, Tuning] | None = None

    @property
    def machine(self) -> str:
        """The name of this one, as tunings have it."""
        cpu = self._hardware().cpu
        return f"{cpu.name}, {cpu.usable_cores} cores"

    @property
    def runtime(self) -> str:
        return self._runtime()

    def by_content(self) -> Mapping[str, Tuning]:
        """What was found of the models that are here, by what is in their folders."""
        with self._lock:
            if self._known is None:
                found = self._registry.tunings()
                here = (self.machine, self.runtime) if found else None
                self._known = {each.content: each for each in found if (each.machine, each.runtime) == here}
            return self._known

    def record(self, tuning: Tuning) -> None:
        self._registry.record_tuning(tuning)
        with self._lock:
            self._known = None

    def forget(self, model: Model) -> bool:
        """Whether there was one for what is in the folder now."""
        was_there = model.content in self.by_content()
        self._registry.forget_tunings(model.id)
        with self._lock:
            self._known = None
        return was_there
