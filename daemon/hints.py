"""``models.json`` and the registry: what a team's list of models means on this machine, and this machine's own list.

The entries are hints, kept as they were written. The first entry for a task that this machine has the memory for is
what its author would use here, so it becomes the pin of a task that has none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from daemon.catalog import Catalog
from daemon.comparison import measurement_json
from registry.experience import Measurement
from registry.manifest import FACTS_KEY, merge
from registry.model import Hint, Model, Pin, Status, Task
from registry.store import Registry
from selector.footprint import need_bytes, reserve_bytes
from selector.hardware import Hardware
from selector.selection import SelectionRequest

GIGABYTE = 1_000_000_000
_STEP_GB = 0.5
# The reserve is at most a tenth of the memory, so each round brings the sum ten times nearer to what it has to be.
_ROUNDS = 12


@dataclass(frozen=True, slots=True)
class Unmatched:
    """An entry that means nothing here now.

    ``code``: unknown_task, memory (it wants more than there is), model_not_found, or task (the model cannot do it).
    """

    name: str
    task: str | None
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Imported:
    """``entries`` were in the file, ``total`` are known now; ``pins`` are new, and may wait for their model."""

    entries: int
    total: int
    pins: tuple[Pin, ...]
    unmatched: tuple[Unmatched, ...]


def import_hints(registry: Registry, catalog: Catalog, incoming: Sequence[Hint], *, with_pins: bool = True) -> Imported:
    """Keep ``incoming`` beside the hints that are known, and pin what it says for tasks without a pin."""
    merged = merge(registry.hints(), incoming)
    registry.set_hints(merged)
    total_gb = memory_gb(catalog.hardware())
    pins = _new_pins(registry, catalog, incoming, total_gb) if with_pins else ()
    unmatched = (_unmatched(catalog, hint, total_gb) for hint in incoming)
    return Imported(len(incoming), len(merged), pins, tuple(each for each in unmatched if each is not None))


def memory_gb(hardware: Hardware) -> float:
    """The machine's memory in gigabytes (1e9 bytes), or what a container has of it."""
    memory = hardware.memory
    limits = (memory.total_bytes, memory.limit_bytes)
    return min(limit for limit in limits if limit is not None) / GIGABYTE


def _new_pins(registry: Registry, catalog: Catalog, hints: Sequence[Hint], total_gb: float) -> tuple[Pin, ...]:
    taken = {pin.task for pin in registry.pins()}
    fitting: dict[Task, Hint] = {}
    for hint in hints:
        task = _task(hint)
        if task is not None and task not in taken and (hint.min_ram_gb or 0) <= total_gb:
            fitting.setdefault(task, hint)
    return tuple(_pin(registry, catalog, task, hint.name.strip()) for task, hint in fitting.items())


def _pin(registry: Registry, catalog: Catalog, task: Task, name: str) -> Pin:
    """Now, if a model of that name is here that can do the task, else as soon as one comes."""
    model = _able(catalog, name, task)
    if model is not None:
        return registry.pin(task, model.id)
    return registry.pin_later(task, name)


def _able(catalog: Catalog, name: str, task: Task) -> Model | None:
    """What ``name`` means here, or the best of what else it can mean that does the task."""
    if not _usable(catalog, name):
        return None
    meant = (catalog.get(name), *catalog.candidates(name))
    return next((model for model in meant if model.status is Status.READY and task in model.tasks), None)


def _usable(catalog: Catalog, name: str) -> list[Model]:
    return [model for model in catalog.candidates(name) if model.status is Status.READY]


def _unmatched(catalog: Catalog, hint: Hint, total_gb: float) -> Unmatched | None:
    def because(code: str, message: str) -> Unmatched:
        return Unmatched(hint.name, hint.task, code, message)

    task, name = _task(hint), hint.name.strip()
    if task is None and (hint.task or "").strip():
        return because("unknown_task", f"There is no task {hint.task!r}. Tasks: {', '.join(Task)}.")
    if (hint.min_ram_gb or 0) > total_gb:
        return because("memory", f"It wants {hint.min_ram_gb:g} GB of memory, and this machine has {total_gb:.1f}.")
    if not _usable(catalog, name):
        return because("model_not_found", _why_none(catalog, name))
    if task is not None and _able(catalog, name, task) is None:
        return because("task", f"{catalog.get(name).id} cannot do {task}.")
    return None


def _why_none(catalog: Catalog, name: str) -> str:
    """Why no usable model has this name."""
    known = next(iter(catalog.candidates(name)), None)
    if known is None:
        return f"No model is called {name!r} here."
    why = " ".join(problem.message for problem in known.problems)
    return f"{known.id} is {known.status}. {why}".strip()


def _task(hint: Hint) -> Task | None:
    wanted = (hint.task or "").strip().casefold()
    return next((task for task in Task if task == wanted), None)


def export_hints(registry: Registry, catalog: Catalog, *, context_tokens: int) -> tuple[Hint, ...]:
    """The hints in their order, with the facts of those models that are here, and then every other usable model.

    ``context_tokens`` is the context that the memory of a model is worked out for. The demo model is left out where
    there is another: nobody should be pinned to it.
    """
    ready = [model for model in catalog.models(include_missing=False) if model.status is Status.READY]
    ready = [model for model in ready if not model.is_demo] or ready
    pinned: dict[str, list[Task]] = {}
    for pin in registry.pins():
        if not pin.is_waiting:
            pinned.setdefault(pin.model_id, []).append(pin.task)
    hardware = catalog.hardware()

    def measured(model: Model) -> tuple[Measurement, ...]:
        return catalog.chooser.measurements_of(model, catalog.chooser.threads_for(model, hardware))

    listing = _Listing(registry.find, pinned, context_tokens, measured)
    listing.keep(registry.hints(), {model.id: model for model in ready})
    # The first entry of a task is the one that gets chosen: a person's choice first, then what slmreg would choose.
    ranking = [candidate.model_id for candidate in catalog.select(SelectionRequest(Task.CHAT)).ranking]
    ranks = {model_id: rank for rank, model_id in enumerate(ranking)}
    for model in sorted(ready, key=lambda model: (model.id not in pinned, ranks.get(model.id, len(ranks)), model.id)):
        listing.add(model)
    return tuple(listing.entries)


class _Listing:
    """Entries of a file that is being made."""

    def __init__(
        self,
        find: Callable[[str], Model | None],
        pinned: dict[str, list[Task]],
        context_tokens: int,
        measured: Callable[[Model], Sequence[Measurement]],
    ) -> None:
        self.entries: list[Hint] = []
        self._find = find
        self._measured = measured
        self._pinned = pinned
        self._context_tokens = context_tokens
        self._told: dict[str, set[str]] = {}  # by model, the tasks it is listed for

    def keep(self, hints: Iterable[Hint], ready: dict[str, Model]) -> None:
        for hint in hints:
            meant = self._find(hint.name.strip())
            model = ready.get(meant.id) if meant is not None else None
            self.entries.append(hint if model is None else self._with_facts(hint, model))
            if model is not None:
                self._told.setdefault(model.id, set()).add(self.entries[-1].task or "")

    def add(self, model: Model) -> None:
        """What the list does not say yet: a pinned task, or that the model is there at all."""
        told = self._told.get(model.id, set())
        tasks = [str(task) for task in self._pinned.get(model.id, ()) if task not in told]
        if not told and not tasks:
            tasks = [self._task_of(model)]
        is_meant = (meant := self._find(model.name)) is not None and meant.id == model.id
        for task in tasks:
            hint = Hint(model.name if is_meant else model.id, task, notes="")
            self.entries.append(self._with_facts(hint, model))

    def _with_facts(self, hint: Hint, model: Model) -> Hint:
        ram_gb = least_memory_gb(model, self._context_tokens) if hint.min_ram_gb is None else hint.min_ram_gb
        task = self._task_of(model) if hint.task is None else hint.task
        facts = _facts(model, self._measured(model))
        return replace(hint, task=task, min_ram_gb=ram_gb, more={**hint.more, FACTS_KEY: facts})

    def _task_of(self, model: Model) -> str:
        return str(next(iter((*self._pinned.get(model.id, ()), *model.tasks)), ""))


def least_memory_gb(model: Model, context_tokens: int) -> float:
    """Gigabytes that a machine must have for ``model`` to fit beside the reserve, rounded up to half of one."""
    need = need_bytes(model, min(context_tokens, model.context_tokens))
    total = need
    for _ in range(_ROUNDS):
        total = need + reserve_bytes(total)
    return math.ceil(total / GIGABYTE / _STEP_GB) * _STEP_GB


def _facts(model: Model, measured: Sequence[Measurement]) -> dict[str, Any]:
    """``measured`` on this machine: a key only where it was."""
    known = {
        "id": model.id,
        "alias": model.alias,
        "precision": str(model.precision),
        "parameters": model.parameters,
        "size_bytes": model.size_bytes,
        "context_tokens": model.context_tokens,
        "content": model.content,
        "execution_provider": str(model.execution_provider),
    }
    return {**known, "measured": measurement_json(measured[0])} if measured else known
