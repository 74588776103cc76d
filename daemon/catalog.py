"""What the API and the command line both do with the registry and the selector; needs no sessions.

Every method is synchronous and safe to call from several threads: the API runs them off the event loop.
"""

from __future__ import annotations

import glob
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

from daemon.choosing import Chooser, memory_budget
from daemon.decisions import Decisions
from daemon.machine import Machine
from daemon.pool.plan import LoadPlan
from daemon.settings import Settings
from daemon.wants import NO_WANTS, Wants, context_for, is_auto, task_for, thinking_for
from registry.errors import (
    InvalidRequest,
    ModelNotUsable,
    NoModelForTask,
    OutOfBudget,
    PinnedModelNotUsable,
    UnsupportedParameter,
)
from registry.index.recovery import Recovery
from registry.index.roots import absolute
from registry.model import (
    Changes,
    Evaluation,
    Fallback,
    FolderProblem,
    Measurement,
    Model,
    Pin,
    Root,
    ScanReport,
    Status,
    Task,
)
from registry.scan import scan
from registry.sources import find_roots
from registry.store import Registry
from selector.budget import accelerator_bytes, available_bytes
from selector.filters import is_meant, reject_provider
from selector.footprint import CONTEXT_STEP, footprint, format_bytes, longest_context, need_bytes
from selector.hardware import Hardware
from selector.policy import Policy
from selector.quality import ways_of
from selector.selection import HeldBack, Selection, SelectionRequest, SessionFacts, Setback

GLOB_CHARACTERS = frozenset("*?[")
# What a chat completion can be asked of; the others have endpoints of their own.
TEXT_TASKS = frozenset({Task.CHAT, Task.CODE, Task.REASONING, Task.MATH, Task.TOOLS, Task.VISION})
# Of a model that is loaded although it should not fit.
FORCED_CONTEXT_TOKENS = 2048


@dataclass(frozen=True, slots=True)
class Resolved:
    """A model ready to be leased; ``selection`` is the ledger if slmreg made the choice, kept as ``decision_id``.

    ``thinking``: whether it is to reason before it answers; None is up to its chat template.
    """

    model: Model
    plan: LoadPlan
    selection: Selection | None = None
    thinking: bool | None = None
    decision_id: str | None = None


class Catalog:
    """The models of this machine and the choice among them."""

    def __init__(
        self,
        registry: Registry,
        machine: Machine,
        settings: Settings,
        environment: Mapping[str, str],
        sessions: Callable[[], Sequence[SessionFacts]] = tuple,
        *,
        measurements: Callable[[], tuple[Measurement, ...]] | None = None,
        latest: Callable[[], tuple[Measurement, ...]] | None = None,
        setbacks: Callable[[], tuple[Setback, ...]] = tuple,
        held_back: Callable[[], tuple[HeldBack, ...]] = tuple,
        stand_in: Callable[[Task, str], str | None] = lambda _task, _coming: None,
    ) -> None:
        """``measurements``: None asks the registry; for these see ``Chooser``. ``stand_in``: which model has a task
        while another one is being loaded for it.
        """
        self._registry = registry
        self._machine = machine
        self._settings = settings
        self._environment = environment
        self._stand_in = stand_in
        self._scanning = threading.Lock()
        self.chooser = Chooser(
            registry,
            machine,
            settings,
            sessions=sessions,
            measurements=measurements,
            latest=latest,
            setbacks=setbacks,
            held_back=held_back,
        )
        self.decisions = Decisions(settings.max_selections)

    # -- what is here

    def models(self, *, include_missing: bool = True) -> tuple[Model, ...]:
        return self._registry.models(include_missing=include_missing)

    def get(self, reference: str) -> Model:
        """What a name means, in every command and request: an id, a name (its newest version), or an alias.

        An alias stands for several hardware variants, of which the selector takes the best one for this machine.
        Raises ModelNotFound with near names.
        """
        variants = self._registry.candidates(reference)
        if not variants:
            return self._registry.get(reference)  # raises, with near names
        if len({model.name for model in variants}) > 1:
            chosen = self.chooser.select_among(SelectionRequest(Task.CHAT, policy=self.policy), variants).chosen
            return next((model for model in variants if model.id == chosen), variants[0])
        return variants[0]

    def candidates(self, reference: str) -> tuple[Model, ...]:
        """Every model that a name can mean; () for none."""
        return self._registry.candidates(reference)

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
        selection = self.select(SelectionRequest(pin.task, policy=self._settings.policy))
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
        return self._settings.policy

    def select(self, request: SelectionRequest) -> Selection:
        """Choose for a task among everything that is here; nothing is loaded or remembered."""
        return self.chooser.select(request)

    # -- from a name in a request to a model that can be loaded

    def resolve(self, reference: str, wants: Wants = NO_WANTS, *, is_forced: bool = False) -> Resolved:
        """What ``model`` in a request means: an id, name or alias, ``auto``, or ``auto:<task>``.

        ``is_forced``: a model that is named is to be loaded although it should not fit.

        Raises ModelNotFound, ModelNotUsable, UnknownTask, NoModelForTask, PinnedModelNotUsable, OutOfBudget.
        """
        if is_auto(reference):
            return self._resolve_auto(reference.strip().lower(), wants)
        model = self.get(reference)
        require_usable(model)
        rejection = reject_provider(model, self.hardware())
        if rejection is not None:
            raise ModelNotUsable(f"{model.id} {rejection.message}.")
        if wants.needs_vision and Task.VISION not in model.tasks:
            raise UnsupportedParameter(
                f"{model.id} takes no pictures. Leave them out, or ask for auto:vision.", param="messages"
            )
        if wants.needs_tools and Task.TOOLS not in model.tasks:
            raise UnsupportedParameter(
                f"{model.id} cannot call tools: its chat template has no place for them. Leave 'tools' out, or ask for "
                "auto:tools.",
                param="tools",
            )
        plan = self.plan(model, wants.task, is_forced=is_forced)
        return Resolved(model, plan, thinking=thinking_for(model, wants))

    def plan(self, model: Model, task: Task | None = None, *, is_forced: bool = False) -> LoadPlan:
        """Context, threads and expected bytes for loading ``model`` now, and how long it stays after a ``task``.

        Raises OutOfBudget with the numbers.

        A model that is loaded is never out of budget: its memory is there already. ``is_forced``: load it, at the least
        context, although the estimate says that it does not fit.
        """
        hardware, sessions = self.hardware(), self.chooser.sessions()
        threads = self.chooser.threads_on(hardware)
        loaded_bytes = self.chooser.loaded_bytes(model, threads)
        available = accelerator_bytes(hardware, model)
        if available is None:
            available = available_bytes(
                hardware,
                sessions,
                for_model=model.id,
                memory_budget_bytes=memory_budget(self._settings, lambda: hardware),
                memory_reserve_bytes=self._settings.memory_reserve_bytes,
            )
        context = min(longest_context(model, available, loaded_bytes=loaded_bytes), self._settings.max_context_tokens)
        does_fit = context > 0 or any(session.model_id == model.id for session in sessions)
        if not does_fit and not is_forced:
            need = footprint(model, CONTEXT_STEP, loaded_bytes=loaded_bytes)
            held = ", ".join(sorted(session.model_id for session in sessions if not session.is_reclaimable))
            raise OutOfBudget(
                f"{model.id} needs {need}; {format_bytes(available)} are available beside the reserve"
                f"{f' and what is busy or kept loaded ({held})' if held else ''}. Close other programs, raise "
                "memory_budget_bytes, choose a smaller model, or `slmreg load --force` it."
            )
        if not does_fit:
            context = min(FORCED_CONTEXT_TOKENS, self._settings.max_context_tokens, model.context_tokens)
        return LoadPlan(
            # A loaded session that goes away before it is used is loaded again with this.
            context_tokens=max(context, min(CONTEXT_STEP, model.context_tokens)),
            threads=threads,
            need_bytes=need_bytes(model, context, loaded_bytes=loaded_bytes),
            allowed_libraries=self._allowed_libraries(model),
            is_forced=is_forced and not does_fit,
            keep_alive_s=self._keep_alive_s(model, task),
        )

    def _keep_alive_s(self, model: Model, task: Task | None) -> float | None:
        """By the model, else by the task, else as for all; None is for ever."""
        for pattern, seconds in self._settings.keep_alive_models.items():
            if is_meant(model, pattern):
                return seconds
        if task in self._settings.keep_alive_tasks:
            return self._settings.keep_alive_tasks[task]
        return self._settings.keep_alive

    def _allowed_libraries(self, model: Model) -> tuple[str, ...]:
        """SHA-256 digests, for a model that has a library of custom operators."""
        return tuple(sorted(self._registry.allowed_libraries())) if model.custom_ops_library is not None else ()

    def _resolve_auto(self, reference: str, wants: Wants) -> Resolved:
        task, because = task_for(reference, wants)
        request = SelectionRequest(
            task,
            context_tokens=context_for(task, wants, self._settings.max_context_tokens),
            needs_tools=wants.needs_tools,
            needs_vision=wants.needs_vision,
            policy=wants.policy or self._settings.policy,
            thinking=wants.thinking,
            is_in_tool_loop=wants.is_in_tool_loop,
            deny=tuple(map(glob.escape, wants.not_these)),
        )
        selection = self._taken(request)
        if selection.pick is not None:
            selection = self._until_it_is_loaded(request, selection)
        if selection.pick is None:
            self._refuse(selection)
        model = self.get(selection.pick.model_id)
        if task not in TEXT_TASKS:
            raise InvalidRequest(f"{model.id} can do {task}, but no endpoint serves that yet.", param="model")
        decision_id = self.decisions.record(reference, because, selection)
        return Resolved(
            model, self.plan(model, task), selection, thinking=selection.pick.thinking, decision_id=decision_id
        )

    def _taken(self, request: SelectionRequest) -> Selection:
        """The context is an estimate of the prompt: it says which models are better off, and refuses none.

        Whether a prompt fits is for the model itself to count.
        """
        if request.context_tokens is not None:
            selection = self.chooser.select(request)
            if selection.pick is None or selection.is_fallback:
                request = replace(request, context_tokens=None)
        return self.chooser.take(request)

    def _until_it_is_loaded(self, request: SelectionRequest, selection: Selection) -> Selection:
        """While the choice is being loaded to take over a task, the model that has it answers, if it can."""
        coming = selection.chosen
        present = self._stand_in(request.task, coming) if coming is not None and not selection.pinned else None
        models = self._registry.candidates(present) if present is not None else ()
        pick = self.chooser.select_among(request, models).pick if models else None
        if pick is None:
            return selection
        return replace(selection, pick=pick, reason=f"{coming} is being loaded; until then {pick.model_id} answers.")

    def _refuse(self, selection: Selection) -> NoReturn:
        request = selection.request
        if request.thinking is not None:
            either = self.chooser.select(replace(request, thinking=None))
            if either.chosen is not None:
                does = "reasons before it answers" if request.thinking else "answers without reasoning first"
                raise UnsupportedParameter(
                    f"No model here that can do {request.task} {does}. Leave 'reasoning_effort' out.",
                    param="reasoning_effort",
                )
        if selection.pinned:
            raise PinnedModelNotUsable(selection.reason)
        raise NoModelForTask(selection.reason, retry_after_s=self.chooser.setback_s())


def require_usable(model: Model) -> None:
    """Raises ModelNotUsable with the reason if ``model`` cannot be loaded or cannot answer a chat."""
    if model.status is Status.MISSING:
        raise ModelNotUsable(
            f"{model.id} is missing: there is no usable model at {model.path} any more. Put it back, or take another."
        )
    if model.status is not Status.READY:
        why = " ".join(problem.message for problem in model.problems) or "See `slmreg show`."
        raise ModelNotUsable(f"{model.id} is {model.status}: {why}")
    if not TEXT_TASKS.intersection(model.tasks):
        can = f"It can do {', '.join(model.tasks)}." if model.tasks else ""
        why = " ".join(problem.message for problem in model.problems)
        raise ModelNotUsable(f"{model.id} cannot answer a chat. {can or why}".strip())
