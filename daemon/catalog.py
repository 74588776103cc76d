"""What the API and the command line both do with the registry and the selector; needs no sessions.

Every method is synchronous and safe to call from several threads: the API runs them off the event loop.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from daemon.choosing import Chooser
from daemon.decisions import Decisions
from daemon.machine import Machine
from daemon.planning import Planner
from daemon.presets import Presets, without_latest
from daemon.proofs import installed_runtime
from daemon.resolving import ADAPTER_MARK, Resolver
from daemon.settings import Settings
from daemon.tunings import Tunings
from registry.errors import (
    ModelNotUsable,
)
from registry.experience import Evaluation, Measurement
from registry.index.recovery import Recovery
from registry.index.roots import absolute
from registry.model import Changes, Fallback, FolderProblem, Model, Pin, Root, ScanReport, Task
from registry.scan import scan
from registry.sources import find_roots
from registry.store import Registry
from selector.hardware import Hardware
from selector.policy import Policy
from selector.quality import ways_of
from selector.selection import HeldBack, Selection, SelectionRequest, SessionFacts, Setback

GLOB_CHARACTERS = frozenset("*?[")


class Catalog:
    """The models of this machine and the choice among them."""

    def __init__(
        self,
        registry: Registry,
        machine: Machine,
        settings: Callable[[], Settings],
        environment: Mapping[str, str],
        sessions: Callable[[], Sequence[SessionFacts]] = tuple,
        *,
        measurements: Callable[[], tuple[Measurement, ...]] | None = None,
        latest: Callable[[], tuple[Measurement, ...]] | None = None,
        setbacks: Callable[[], tuple[Setback, ...]] = tuple,
        held_back: Callable[[], tuple[HeldBack, ...]] = tuple,
        stand_in: Callable[[Task, str], str | None] = lambda _task, _coming: None,
        is_proven: Callable[[Model], bool | None] = lambda _model: None,
    ) -> None:
        """``measurements``: None asks the registry; for these see ``Chooser``, for ``stand_in`` ``Resolver``,
        for ``is_proven`` ``Planner``.

        ``settings``: those of the moment. ``resolve`` and ``with_adapter`` are those of ``daemon.resolving``, ``plan``,
        ``plan_longer``, ``most_context_tokens`` and ``keep_alive_s`` of ``daemon.planning``.
        """
        self._registry = registry
        self._machine = machine
        self._settings = settings
        self._environment = environment
        self._scanning = threading.Lock()
        self.tunings = Tunings(registry, machine.hardware, installed_runtime)
        self.chooser = Chooser(
            registry,
            machine,
            settings,
            sessions=sessions,
            measurements=measurements,
            latest=latest,
            setbacks=setbacks,
            held_back=held_back,
            tunings=self.tunings.by_content,
        )
        self.decisions = Decisions(lambda: settings().max_selections)
        self.presets = Presets(registry, self._is_model)
        planner = Planner(registry, machine, settings, self.chooser, is_proven=is_proven)
        self.plan = planner.plan
        self.plan_longer = planner.plan_longer
        self.most_context_tokens = planner.most_context_tokens
        self.keep_alive_s = planner.keep_alive_s
        resolver = Resolver(
            registry,
            machine,
            settings,
            self.chooser,
            planner,
            self.decisions,
            self.presets,
            get=self.get,
            stand_in=stand_in,
        )
        self.resolve, self.with_adapter = resolver.resolve, resolver.with_adapter

    # -- what is here

    def models(self, *, include_missing: bool = True) -> tuple[Model, ...]:
        return self._registry.models(include_missing=include_missing)

    def get(self, reference: str) -> Model:
        """What a name means, in every command and request: an id, a name (its newest version), or an alias.

        An alias stands for several hardware variants, of which the selector takes the best one for this machine.
        Raises ModelNotFound with near names.
        """
        variants = self.candidates(reference)
        if not variants:
            return self._registry.get(reference)  # raises, with near names
        if len({model.name for model in variants}) > 1:
            chosen = self.chooser.select_among(SelectionRequest(Task.CHAT, policy=self.policy), variants).chosen
            return next((model for model in variants if model.id == chosen), variants[0])
        return variants[0]

    def candidates(self, reference: str) -> tuple[Model, ...]:
        """Every model that a name can mean, with or without Ollama's tag for no tag; () for none."""
        return self._registry.candidates(reference) or self._registry.candidates(without_latest(reference))

    def requested(self, reference: str) -> tuple[Model, ...]:
        """``candidates``, also of what a preset stands for."""
        preset = self.presets.find(reference)
        return self.candidates(reference if preset is None else preset.base.rpartition(ADAPTER_MARK)[0] or preset.base)

    def _is_model(self, reference: str) -> bool:
        """Whether a model is here that ``reference`` can mean, perhaps with an adapter."""
        return bool(self.candidates(reference) or self.candidates(reference.rpartition(ADAPTER_MARK)[0]))

    def problems(self) -> tuple[FolderProblem, ...]:
        return self._registry.problems()

    @property
    def recovered(self) -> Recovery | None:
        """What happened to a damaged registry since it was opened; it knows no models until the next full scan."""
        return self._registry.recovered

    def roots(self) -> tuple[Root, ...]:
        return find_roots(self._environment, self._registry.root_choices())

    def add_root(self, path: Path, *, settle_s: float | None = None) -> None:
        """Look for models in ``path`` from the next scan on, also if it was switched off. Raises InvalidRoot.

        ``settle_s``: how long its folders have to be still until they count; None is the setting for all roots.
        """
        found = self._found_by_itself(path)
        if found is not None and settle_s is None:
            self._registry.switch_root(found.path, is_enabled=True)
        else:
            self._registry.add_root(path, settle_s=settle_s)

    def remove_root(self, path: Path) -> bool:
        """Look there no more. True: it is forgotten; False: it was found by itself, and is switched off.

        Raises InvalidRoot if it is no root.
        """
        found = self._found_by_itself(path)
        if found is None:
            self._registry.remove_root(path)
        else:
            self._registry.switch_root(found.path, is_enabled=False)
        return found is None

    def _found_by_itself(self, path: Path) -> Root | None:
        there = absolute(path)
        return next((root for root in self.roots() if root.path == there and not root.added_by_user), None)

    def scan(self, under: Path | None = None) -> Changes:
        """Index every root, or only what lies ``under`` one folder of them. One scan at a time.

        Where one folder alone may mislead about what is pinned, everything is looked at after all.
        """
        with self._scanning:
            report = self._look_at(under)
            if under is not None and self._registry.may_be_half_a_move(report):
                report = self._look_at(None)
            return self._registry.apply(report)

    def _look_at(self, under: Path | None) -> ScanReport:
        registry = self._registry
        return scan(self.roots(), known=registry.known(), under=under, allowed_libraries=registry.allowed_libraries())

    # -- the choice

    def pins(self) -> tuple[Pin, ...]:
        return self._registry.pins()

    def pin(self, task: Task, reference: str, *, fallback: Fallback = Fallback.ERROR) -> Pin:
        """Pin a model that is here, or with a glob (``phi-4-mini*``) whatever is the newest that fits it.

        Raises ModelNotFound, ModelNotUsable if it cannot do the task.
        """
        if GLOB_CHARACTERS.intersection(reference) and not self.candidates(reference):
            return self._registry.pin_pattern(task, reference, fallback=fallback)
        model = self.get(reference)
        if task not in model.tasks:
            can = ", ".join(model.tasks) or "nothing"
            raise ModelNotUsable(f"{model.id} cannot do {task}; it can do {can}.")
        return self._registry.pin(task, model.id, fallback=fallback)

    def why_not(self, pin: Pin) -> str | None:
        """Why a pinned model cannot serve now; None if it can."""
        if pin.is_waiting:
            return f"no model here is called {pin.model_id} and can do {pin.task}"
        selection = self.select(SelectionRequest(pin.task, policy=self._settings().policy))
        return None if selection.pinned and selection.chosen is not None else selection.reason

    # -- what people say about models

    def evaluations(self) -> tuple[Evaluation, ...]:
        return self._registry.evaluations()

    def add_evaluation(self, reference: str, make: Callable[[Model], Evaluation]) -> Evaluation:
        """Keep what somebody found out about a model. Raises ModelNotFound, ModelNotUsable for another's task."""
        model = self.get(reference)
        evaluation = make(model)
        if evaluation.task not in model.tasks:
            can = ", ".join(model.tasks) or "nothing"
            raise ModelNotUsable(f"{model.id} cannot do {evaluation.task}; it can do {can}.")
        if evaluation.is_thinking not in (None, *ways_of(model, evaluation.task)):
            does = "never reasons" if evaluation.is_thinking else "always reasons"
            raise ModelNotUsable(f"{model.id} {does} before it answers: leave out whether it did.")
        self._registry.add_evaluation(evaluation)
        return evaluation

    def forget_evaluations(self, reference: str, task: Task | None = None) -> tuple[str, int]:
        """The model's id, and how many there were. Raises ModelNotFound."""
        model = self.get(reference)
        return model.id, self._registry.forget_evaluations(model.id, task)

    def unpin(self, task: Task) -> None:
        """Undo a pin; a task without one stays so."""
        self._registry.unpin(task)

    def hardware(self) -> Hardware:
        return self._machine.hardware()

    def hardware_with_disks(self) -> Hardware:
        """The machine, and what kind of disk each root lies on."""
        return replace(self.hardware(), disks=self._machine.disks(root.path for root in self.roots()))

    @property
    def policy(self) -> Policy:
        """That of a request which names none."""
        return self._settings().policy

    def select(self, request: SelectionRequest) -> Selection:
        """Choose for a task among everything that is here; nothing is loaded or remembered."""
        return self.chooser.select(request)
