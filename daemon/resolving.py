"""From a name in a request to a model that can be loaded: named, or chosen."""

from __future__ import annotations

import glob
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NoReturn

from daemon.choosing import Chooser
from daemon.decisions import Decisions
from daemon.endpoints import CHATS, Endpoint
from daemon.machine import Machine
from daemon.planning import Planner
from daemon.pool.plan import LoadPlan
from daemon.presets import Presets, without_latest
from daemon.settings import Settings
from daemon.wants import NO_WANTS, Wants, context_for, is_auto, task_for, thinking_for
from registry.errors import (
    AdapterNotFound,
    InvalidRequest,
    LoadFailed,
    ModelNotUsable,
    NoModelForTask,
    OutOfBudget,
    PinnedModelNotUsable,
    SlmregError,
    UnsupportedParameter,
)
from registry.layouts.adapters import adapter_names
from registry.model import Model, Preset, Status, Task
from registry.store import Registry
from selector.filters import reject_provider
from selector.selection import Selection, SelectionRequest

# Between a model and its adapter, in requests and answers.
ADAPTER_MARK = "@"


@dataclass(frozen=True, slots=True)
class Resolved:
    """A model ready to be leased; ``selection`` is the ledger if slmreg made the choice, kept as ``decision_id``.

    ``thinking``: whether it is to reason before it answers; None is up to its chat template. ``adapter``: the LoRA
    adapter that was asked for. ``preset``: what was named is this, and it says more than which model.
    """

    model: Model
    plan: LoadPlan
    selection: Selection | None = None
    thinking: bool | None = None
    decision_id: str | None = None
    adapter: str | None = None
    preset: Preset | None = None

    @property
    def name(self) -> str:
        """What the answer calls the model."""
        return full_name(self.model, self.adapter)


def full_name(model: Model, adapter: str | None) -> str:
    """A model's id, with the adapter if there is one."""
    return model.id if adapter is None else f"{model.id}{ADAPTER_MARK}{adapter}"


class Resolver:
    """``get`` says what a name means; ``stand_in`` which model has a task while another one is being loaded for it.

    Safe to use from several threads.
    """

    def __init__(
        self,
        registry: Registry,
        machine: Machine,
        settings: Callable[[], Settings],
        chooser: Chooser,
        planner: Planner,
        decisions: Decisions,
        presets: Presets,
        *,
        get: Callable[[str], Model],
        stand_in: Callable[[Task, str], str | None],
    ) -> None:
        self._registry = registry
        self._machine = machine
        self._settings = settings
        self._chooser = chooser
        self._plan = planner.plan
        self._decisions = decisions
        self._presets = presets
        self._get = get
        self._stand_in = stand_in

    def resolve(
        self, reference: str, wants: Wants = NO_WANTS, *, is_forced: bool = False, serves: Endpoint = CHATS
    ) -> Resolved:
        """What ``model`` in a request to an endpoint means: a preset, an id, name or alias, ``auto``, ``auto:<task>``.

        Behind a name may stand the LoRA adapter that is to be used: ``name@adapter``; or ``:latest``, which says
        nothing. ``is_forced``: a model that is named is to be loaded although it should not fit.

        Raises ModelNotFound, AdapterNotFound, ModelNotUsable, UnknownTask, NoModelForTask, PinnedModelNotUsable,
        OutOfBudget, and LoadFailed for a pinned model that is not tried again yet.
        """
        preset = self._presets.find(reference)
        if preset is not None:
            resolved = self._resolve(preset.base, wants, is_forced=is_forced, serves=serves)
            return replace(resolved, preset=preset)
        if not self._registry.candidates(reference):
            reference = without_latest(reference)
        return self._resolve(reference, wants, is_forced=is_forced, serves=serves)

    def _resolve(self, reference: str, wants: Wants, *, is_forced: bool, serves: Endpoint) -> Resolved:
        if is_auto(reference):
            return self._resolve_auto(reference.strip().lower(), wants, serves)
        model, adapter = self.with_adapter(reference)
        require_usable(model, serves)
        rejection = reject_provider(model, self._machine.without_memory())
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
        plan = self._plan(model, wants.task, is_forced=is_forced)
        return Resolved(model, plan, thinking=thinking_for(model, wants), adapter=adapter)

    def with_adapter(self, reference: str) -> tuple[Model, str | None]:
        """The model that a name means, and its adapter if one is named. Raises ModelNotFound, AdapterNotFound."""
        name, mark, adapter = reference.rpartition(ADAPTER_MARK)
        if not mark or self._registry.candidates(reference) or not self._registry.candidates(name):
            return self._get(reference), None
        model = self._get(name)
        known = adapter_names(model.adapters)
        if adapter not in known:
            raise AdapterNotFound(model.id, adapter, tuple(known))
        return model, adapter

    def _resolve_auto(self, reference: str, wants: Wants, serves: Endpoint) -> Resolved:
        task, because = task_for(reference, wants)
        if task not in serves.tasks:
            tasks = ", ".join(sorted(serves.tasks))
            raise InvalidRequest(f"This endpoint does not serve {task}, only {tasks}.", param="model")
        request = SelectionRequest(
            task,
            context_tokens=context_for(task, wants, self._settings().max_context_tokens),
            needs_tools=wants.needs_tools,
            needs_vision=wants.needs_vision,
            policy=wants.policy or self._settings().policy,
            thinking=wants.thinking,
            is_in_tool_loop=wants.is_in_tool_loop,
            deny=tuple(map(glob.escape, wants.not_these)),
        )
        selection = self._taken(request)
        if selection.pick is not None:
            selection = self._until_it_is_loaded(request, selection)
        if selection.pick is None:
            self._refuse(selection)
        model = self._get(selection.pick.model_id)
        decision_id = self._decisions.record(reference, because, selection)
        return Resolved(
            model, self._plan(model, task), selection, thinking=selection.pick.thinking, decision_id=decision_id
        )

    def _taken(self, request: SelectionRequest) -> Selection:
        """The context is an estimate of the prompt: it says which models are better off, and refuses none.

        Whether a prompt fits is for the model itself to count.
        """
        if request.context_tokens is not None:
            selection = self._chooser.select(request)
            if selection.pick is None or selection.is_fallback:
                request = replace(request, context_tokens=None)
        return self._chooser.take(request)

    def _until_it_is_loaded(self, request: SelectionRequest, selection: Selection) -> Selection:
        """While the choice is being loaded to take over a task, the model that has it answers, if it can."""
        coming = selection.chosen
        present = self._stand_in(request.task, coming) if coming is not None and not selection.pinned else None
        models = self._registry.candidates(present) if present is not None else ()
        pick = self._chooser.select_among(request, models).pick if models else None
        if pick is None:
            return selection
        return replace(selection, pick=pick, reason=f"{coming} is being loaded; until then {pick.model_id} answers.")

    def _refuse(self, selection: Selection) -> NoReturn:
        request = selection.request
        if request.thinking is not None:
            either = self._chooser.select(replace(request, thinking=None))
            if either.chosen is not None:
                does = "reasons before it answers" if request.thinking else "answers without reasoning first"
                raise UnsupportedParameter(
                    f"No model here that can do {request.task} {does}. Leave 'reasoning_effort' out.",
                    param="reasoning_effort",
                )
        if selection.pinned:
            raise _pinned_cannot(selection)
        raise NoModelForTask(selection.reason, retry_after_s=self._chooser.setback_s())


def _pinned_cannot(selection: Selection) -> SlmregError:
    """What may pass by itself is told as it is of a model that was named; what stays as it is has a code of its own."""
    why = selection.rejection
    if why is not None and why.retry_s is not None:
        return LoadFailed(selection.reason, retry_after_s=why.retry_s)
    if why is not None and why.code == "memory":
        return OutOfBudget(selection.reason)
    return PinnedModelNotUsable(selection.reason)


def require_usable(model: Model, serves: Endpoint = CHATS) -> None:
    """Raises ModelNotUsable with the reason if ``model`` cannot be loaded, or do anything that an endpoint serves."""
    if model.status is Status.MISSING:
        raise ModelNotUsable(
            f"{model.id} is missing: there is no usable model at {model.path} any more. Put it back, or take another."
        )
    if model.status is not Status.READY:
        why = " ".join(problem.message for problem in model.problems) or "See `slmreg show`."
        raise ModelNotUsable(f"{model.id} is {model.status}: {why}")
    if not serves.tasks.intersection(model.tasks):
        can = f"It can do {', '.join(model.tasks)}." if model.tasks else ""
        why = " ".join(problem.message for problem in model.problems)
        raise ModelNotUsable(f"{model.id} cannot {serves.deed}. {can or why}".strip())
