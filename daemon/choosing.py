"""``Chooser``: asks the selector, with everything that is so at the moment.

What was appraised is kept for as long as models, machine, measurements and preferences stay as they are, so that a
choice among thousands takes a millisecond. Safe to use from several threads.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from daemon.config.present import Derived
from daemon.machine import Machine
from daemon.model_overrides import Applied, override_of
from daemon.settings import Settings
from registry.experience import Measurement, Tuning
from registry.model import Device, Model, Pin, Status, Task
from registry.store import Registry
from selector.budget import ceiling_bytes
from selector.hardware import Hardware
from selector.learning import is_of
from selector.selection import (
    Circumstances,
    HeldBack,
    LastSwap,
    Preferences,
    Selection,
    SelectionRequest,
    SessionFacts,
    Setback,
    Sizing,
)

if TYPE_CHECKING:
    from selector.select import Field


@dataclass(frozen=True, slots=True)
class _Holder:
    """Which model a task was given last, and when it took over from another one (None: it never did)."""

    model_id: str
    swapped_s: float | None = None


def memory_budget(settings: Settings, hardware: Callable[[], Hardware]) -> int | None:
    """Bytes that all sessions together may need by the settings; None: there is no such bound."""
    share = settings.memory_share
    bounds = (settings.memory_budget_bytes, None if share is None else int(share * ceiling_bytes(hardware())))
    return min((bound for bound in bounds if bound is not None), default=None)


def _preferences(settings: Settings) -> Preferences:
    return Preferences(
        models=tuple(settings.model_points.items()),
        licenses=tuple(settings.license_points.items()),
        allow=settings.allow,
        deny=settings.deny,
    )


class Chooser:
    """The choice among everything that the registry knows."""

    def __init__(
        self,
        registry: Registry,
        machine: Machine,
        settings: Callable[[], Settings],
        *,
        sessions: Callable[[], Sequence[SessionFacts]] = tuple,
        measurements: Callable[[], tuple[Measurement, ...]] | None = None,
        latest: Callable[[], tuple[Measurement, ...]] | None = None,
        setbacks: Callable[[], tuple[Setback, ...]] = tuple,
        held_back: Callable[[], tuple[HeldBack, ...]] = tuple,
        tunings: Callable[[], Mapping[str, Tuning]] = dict,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``measurements``: None asks the registry, which knows what some daemon wrote down. ``latest``: the same to
        the last answer, where those change less often than they could. ``tunings``: how models were found to run best,
        by content.
        """
        self._registry = registry
        self._machine = machine
        self._settings = settings
        self._sessions = sessions
        self._measurements = measurements or registry.measurements
        self._latest = latest or self._measurements
        self._setbacks = setbacks
        self._held_back = held_back
        self._tunings = tunings
        self._clock = clock
        self._preferences = Derived(settings, _preferences)
        self._lock = threading.Lock()
        self._field: Field | None = None
        self._listing: tuple[Model, ...] = ()
        self._competitors: tuple[Model, ...] = ()
        self._gone: frozenset[str] = frozenset()
        self._gone_but_pinned: frozenset[str] = frozenset()
        self._holders: dict[Task, _Holder] = {}
        self._sized: tuple[tuple[object, ...], Mapping[str, Sizing]] = ((None, None, None), {})

    def select(self, request: SelectionRequest) -> Selection:
        """Choose for a task. A pin that waits for a model that was never here binds nobody yet."""
        return self._choose(request, last_swap=self._last_swap(request.task))

    def take(self, request: SelectionRequest) -> Selection:
        """The same, for a request that is going to be answered by the choice: a swap is remembered."""
        selection = self.select(request)
        if selection.chosen is not None and not selection.pinned:
            self.remember(request.task, selection.chosen)
        return selection

    def remember(self, task: Task, model_id: str) -> None:
        """A model has a task from now on; if another one had it, that was a swap."""
        with self._lock:
            before = self._holders.get(task)
            if before is None:
                self._holders[task] = _Holder(model_id)
            elif before.model_id != model_id:
                self._holders[task] = _Holder(model_id, self._clock())

    def select_among(self, request: SelectionRequest, models: Sequence[Model]) -> Selection:
        """Choose among these alone, whatever is pinned."""
        from selector.select import select

        return select(self._limited(request), models, self._circumstances(pins=()))

    def prepare(self) -> None:
        """Appraise now what the next request would have to appraise."""
        self.select(SelectionRequest(Task.CHAT, policy=self._settings().policy))

    def sessions(self) -> Sequence[SessionFacts]:
        return self._sessions()

    def setback_s(self) -> float | None:
        """Until the first of the models that failed may be tried again; None if there are none."""
        left = [setback.seconds_left for setback in self._setbacks()]
        return min((*left, *(each.seconds_left for each in self._held_back())), default=None)

    def threads_on(self, hardware: Hardware) -> int:
        """That a session gets."""
        return self._settings().threads or hardware.cpu.usable_cores

    def override_of(self, model: Model) -> Applied:
        """The settings for it alone."""
        return override_of(model, self._settings().models)

    def tuned(self, model: Model) -> Tuning | None:
        """How it was found to run best here, as it is now."""
        return self._tunings().get(model.content) if model.content else None

    def threads_for(self, model: Model, hardware: Hardware) -> int:
        """That a session of ``model`` gets: as the settings say for it alone, else for all, else as was found to be
        fastest, else as many as there are cores.
        """
        said = self.override_of(model).override.threads or self._settings().threads
        tuned = self.tuned(model) if said is None else None
        return said or (self.threads_on(hardware) if tuned is None else tuned.threads)

    def newest_measurements(self) -> dict[str, Measurement]:
        """By model id, the last that was measured of each, with whatever threads that was."""
        return {each.model_id: each for each in sorted(self._latest(), key=lambda each: each.measured_s)}

    def measurements_of(self, model: Model, threads: int) -> tuple[Measurement, ...]:
        """What was measured of a model as it is now, that with so many threads first."""
        found = [each for each in self._latest() if is_of(each, model)]
        return tuple(sorted(found, key=lambda each: (each.threads != threads, -each.measured_s)))

    def measured(self, model: Model, threads: int) -> Measurement | None:
        """What was measured of a model as it is now with just so many threads."""
        own = next(iter(self.measurements_of(model, threads)), None)
        return own if own is not None and own.threads == threads else None

    def loaded_bytes(self, model: Model, threads: int) -> int | None:
        """What its process held in RAM after loading, if it was loaded here with so many threads."""
        own = self.measured(model, threads)
        return own.resident_bytes if own is not None and model.device is Device.CPU else None

    def unmeasured(self) -> Circumstances:
        """What a prediction rests on that knows nothing of what was measured."""
        return replace(self._circumstances(pins=()), measurements=(), evaluations=())

    def _choose(self, request: SelectionRequest, *, last_swap: LastSwap | None) -> Selection:
        from selector.select import Field  # a command that chooses nothing does without

        # A name that was only announced (an imported list) binds nobody yet; a pattern is a person's word at any time.
        pins = tuple(pin for pin in self._registry.pins() if not pin.is_waiting or pin.pattern is not None)
        now = replace(self._circumstances(pins=pins), last_swap=last_swap)
        with self._lock:
            models = self._models(pins)
            if self._field is None or not self._field.holds_for(models, now):
                self._field = Field(models, now)
            field = self._field
        return field.select(self._limited(request), now)

    def _models(self, pins: Sequence[Pin]) -> tuple[Model, ...]:
        """Of what is gone, only a pinned model is worth a word. The same object for as long as nothing changes."""
        listing = self._registry.models()
        if listing is not self._listing:
            self._gone = frozenset(model.id for model in listing if model.status is Status.MISSING)
        gone_but_pinned = self._gone.intersection(pin.model_id for pin in pins)
        if listing is not self._listing or gone_but_pinned != self._gone_but_pinned:
            self._listing, self._gone_but_pinned = listing, gone_but_pinned
            self._competitors = tuple(m for m in listing if m.status is not Status.MISSING or m.id in gone_but_pinned)
        return self._competitors

    def _limited(self, request: SelectionRequest) -> SelectionRequest:
        return replace(request, context_limit_tokens=self._settings().max_context_tokens)

    def _circumstances(self, *, pins: tuple[Pin, ...]) -> Circumstances:
        hardware = self._machine.hardware()
        return Circumstances(
            hardware=hardware,
            sessions=tuple(self._sessions()),
            pins=pins,
            measurements=self._measurements(),
            evaluations=self._registry.evaluations(),
            setbacks=self._setbacks(),
            held_back=self._held_back(),
            preferences=self._preferences(),
            memory_budget_bytes=memory_budget(self._settings(), lambda: hardware),
            memory_reserve_bytes=self._settings().memory_reserve_bytes,
            threads=self.threads_on(hardware),
            sizings=self._sizings(),
        )

    def _sizings(self) -> Mapping[str, Sizing]:
        """Of the models that do not get what all get; the same for as long as what they are made of stays so."""
        settings, tunings = self._settings(), self._tunings()
        models = self._registry.models() if settings.models or tunings else ()
        made_of = (settings, tunings, models)
        if any(one is not other for one, other in zip(made_of, self._sized[0], strict=True)):
            sizings = {model.id: self._sizing(model) for model in models}
            self._sized = (made_of, {id: sizing for id, sizing in sizings.items() if sizing != Sizing()})
        return self._sized[1]

    def _sizing(self, model: Model) -> Sizing:
        own = self.override_of(model).override
        tuned = self.tuned(model) if self._settings().threads is None else None
        return Sizing(own.context_tokens, own.threads or (tuned.threads if tuned is not None else None))

    def _last_swap(self, task: Task) -> LastSwap | None:
        holder = self._holders.get(task)
        if holder is None or holder.swapped_s is None:
            return None
        return LastSwap(holder.model_id, self._clock() - holder.swapped_s)
