"""What the API and the command line both do with the registry and the selector; needs no sessions.

Every method is synchronous and safe to call from several threads: the API runs them off the event loop.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from daemon.machine import Machine
from daemon.pool.session import LoadPlan
from daemon.settings import Settings
from registry.errors import (
    InvalidRequest,
    ModelNotUsable,
    NoModelForTask,
    OutOfBudget,
    PinnedModelNotUsable,
    UnknownTask,
    UnsupportedParameter,
)
from registry.index.recovery import Recovery
from registry.index.roots import absolute
from registry.model import Changes, FolderProblem, Model, Pin, Root, ScanReport, Status, Task
from registry.scan import scan
from registry.sources import find_roots
from registry.store import Registry
from selector.budget import accelerator_bytes, available_bytes
from selector.filters import reject_provider
from selector.footprint import CONTEXT_STEP, footprint, format_bytes, longest_context, need_bytes
from selector.hardware import Hardware
from selector.select import select
from selector.selection import Selection, SelectionRequest, SessionFacts

AUTO = "auto"
# What a chat completion can be asked of; the others have endpoints of their own.
TEXT_TASKS = frozenset({Task.CHAT, Task.CODE, Task.REASONING, Task.MATH, Task.TOOLS})


@dataclass(frozen=True, slots=True)
class Resolved:
    """A model ready to be leased; ``selection`` is the ledger if slmreg made the choice."""

    model: Model
    plan: LoadPlan
    selection: Selection | None = None


class Catalog:
    """The models of this machine and the choice among them."""

    def __init__(
        self,
        registry: Registry,
        machine: Machine,
        settings: Settings,
        environment: Mapping[str, str],
        sessions: Callable[[], Sequence[SessionFacts]] = tuple,
    ) -> None:
        self._registry = registry
        self._machine = machine
        self._settings = settings
        self._environment = environment
        self._sessions = sessions
        self._scanning = threading.Lock()

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
            chosen = self._select(SelectionRequest(Task.CHAT), variants, ()).chosen
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

    def pin(self, task: Task, reference: str) -> Pin:
        """Pin a model that is here. Raises ModelNotFound, ModelNotUsable if it cannot do the task."""
        model = self.get(reference)
        if task not in model.tasks:
            can = ", ".join(model.tasks) or "nothing"
            raise ModelNotUsable(f"{model.id} cannot do {task}; it can do {can}.")
        self._registry.pin(task, model.id)
        return Pin(task, model.id)

    def unpin(self, task: Task) -> None:
        """Undo a pin; a task without one stays so."""
        self._registry.unpin(task)

    def hardware(self) -> Hardware:
        return self._machine.hardware()

    def hardware_with_disks(self) -> Hardware:
        """The machine, and what kind of disk each root lies on."""
        return replace(self.hardware(), disks=self._machine.disks(root.path for root in self.roots()))

    def select(self, request: SelectionRequest) -> Selection:
        """Choose for a task among everything that is here, with what the sessions hold counted.

        A pin that waits for a model that was never here binds nobody yet.
        """
        pins = [pin for pin in self.pins() if not pin.is_waiting]
        pinned = {pin.model_id for pin in pins}
        # Of what is gone, only a pinned model is worth a word.
        models = [m for m in self.models() if m.status is not Status.MISSING or m.id in pinned]
        return self._select(request, models, pins)

    def _select(self, request: SelectionRequest, models: Sequence[Model], pins: Sequence[Pin]) -> Selection:
        return select(
            replace(request, context_limit_tokens=self._settings.max_context_tokens),
            models,
            self.hardware(),
            sessions=self._sessions(),
            pins=pins,
            memory_budget_bytes=self._settings.memory_budget_bytes,
        )

    # -- from a name in a request to a model that can be loaded

    def resolve(self, reference: str, *, needs_tools: bool = False) -> Resolved:
        """What ``model`` in a request means: an id, name or alias, ``auto``, or ``auto:<task>``.

        Raises ModelNotFound, ModelNotUsable, UnknownTask, NoModelForTask, PinnedModelNotUsable, OutOfBudget.
        """
        wanted = reference.strip().lower()
        if wanted == AUTO or wanted.startswith(f"{AUTO}:"):
            return self._resolve_auto(_task_of(wanted, needs_tools), needs_tools)
        model = self.get(reference)
        require_usable(model)
        rejection = reject_provider(model, self.hardware())
        if rejection is not None:
            raise ModelNotUsable(f"{model.id} {rejection.message}.")
        if needs_tools and Task.TOOLS not in model.tasks:
            raise UnsupportedParameter(
                f"{model.id} cannot call tools: its chat template has no place for them. Leave 'tools' out, or ask for "
                "auto:tools.",
                param="tools",
            )
        return Resolved(model, self.plan(model))

    def plan(self, model: Model) -> LoadPlan:
        """Context, threads and expected bytes for loading ``model`` now. Raises OutOfBudget with the numbers.

        A model that is loaded is never out of budget: its memory is there already.
        """
        hardware, sessions = self.hardware(), self._sessions()
        available = accelerator_bytes(hardware, model)
        if available is None:
            available = available_bytes(
                hardware,
                sessions,
                for_model=model.id,
                memory_budget_bytes=self._settings.memory_budget_bytes,
            )
        context = min(longest_context(model, available), self._settings.max_context_tokens)
        if context <= 0 and not any(session.model_id == model.id for session in sessions):
            raise OutOfBudget(
                f"{model.id} needs {footprint(model, CONTEXT_STEP)}; {format_bytes(available)} are available beside "
                "the reserve. Close other programs, raise memory_budget_bytes, or choose a smaller model."
            )
        return LoadPlan(
            # A loaded session that goes away before it is used is loaded again with this.
            context_tokens=max(context, min(CONTEXT_STEP, model.context_tokens)),
            threads=self._settings.threads or hardware.cpu.usable_cores,
            need_bytes=need_bytes(model, context),
            allowed_libraries=self._allowed_libraries(model),
        )

    def _allowed_libraries(self, model: Model) -> tuple[str, ...]:
        """SHA-256 digests, for a model that has a library of custom operators."""
        return tuple(sorted(self._registry.allowed_libraries())) if model.custom_ops_library is not None else ()

    def _resolve_auto(self, task: Task, needs_tools: bool) -> Resolved:
        selection = self.select(SelectionRequest(task, needs_tools=needs_tools))
        if selection.chosen is None:
            raise (
                PinnedModelNotUsable(selection.reason) if selection.pinned else NoModelForTask(explain_none(selection))
            )
        if task not in TEXT_TASKS:
            raise InvalidRequest(f"{selection.chosen} can do {task}, but no endpoint serves that yet.", param="model")
        model = self.get(selection.chosen)
        return Resolved(model, self.plan(model), selection)


def parse_task(name: str, *, param: str = "task") -> Task:
    """Raises UnknownTask, which lists the tasks."""
    try:
        return Task(name)
    except ValueError:
        raise UnknownTask(f"There is no task {name!r}. Tasks: {', '.join(Task)}.", param=param) from None


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


def explain_none(selection: Selection) -> str:
    """Why no model can do the task: every rejection with its numbers."""
    if not selection.rejected:
        return (
            "There is no model on this machine. Add a folder of ONNX Runtime GenAI models with "
            f"`slmreg roots add PATH`, then ask again for {selection.task}."
        )
    turned_away = "; ".join(f"{r.model_id}: {r.message}" for r in selection.rejected)
    return f"No model can do {selection.task} now. {turned_away}"


def _task_of(reference: str, needs_tools: bool) -> Task:
    if ":" in reference:
        return parse_task(reference.partition(":")[2], param="model")
    return Task.TOOLS if needs_tools else Task.CHAT
