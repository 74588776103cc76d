"""Says what became different in the registry: in the log, and to whoever follows the events.

Invariant: what is said is the difference between two looks at the registry, whoever wrote to it, so that a list and the
events after it always amount to the list as it is now.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from daemon.catalog import Catalog
from daemon.events import EventLog
from daemon.shapes import Json, model_event_json, pin_event_json, problem_json, root_event_json
from registry.model import FolderProblem, Model, Pin, Root, Status

log = logging.getLogger("slmreg")


@dataclass(frozen=True, slots=True)
class News:
    """One difference. ``said`` is what the log says of it."""

    kind: str
    data: Json
    said: str


@dataclass(frozen=True, slots=True)
class View:
    """What can be listed at one moment."""

    models: Sequence[Model] = ()
    problems: Sequence[FolderProblem] = ()
    roots: Sequence[Root] = ()
    pins: Sequence[Pin] = ()


class Announcer:
    """Looks at ``catalog`` when asked to, and tells ``events`` what is new since it last looked. Any thread."""

    def __init__(self, catalog: Catalog, events: EventLog) -> None:
        self._catalog = catalog
        self._events = events
        self._looking = threading.Lock()
        self._seen = self._view()

    def look(self) -> bool:
        """True if models or pins are not what they were. Takes about a millisecond where nothing was written."""
        with self._looking:
            before, now = self._seen, self._view()
            self._seen = now
            self._tell(differences(before, now))
            return now.models != before.models or now.pins != before.pins

    def _tell(self, news: Iterator[News]) -> None:
        most = self._events.max_events()
        first = tuple(islice(news, most + 1))
        if len(first) > most:
            count = len(first) + sum(1 for _each in news)
            log.info("registry.changed news=%d hint='too many to name here: slmreg list shows them'", count)
            self._events.reset(f"{count} changes at once: list the models again")
            return
        for each in first:
            log.log(_level(each), "%s %s", each.kind, each.said)
            self._events.publish(each.kind, each.data)

    def _view(self) -> View:
        catalog = self._catalog
        return View(catalog.models(), catalog.problems(), catalog.roots(), catalog.pins())


def differences(before: View, after: View) -> Iterator[News]:
    """From one view to the next: what went, what came, what changed."""
    if before.models != after.models:
        yield from _models(before.models, after.models)
    if before.problems != after.problems:
        yield from _problems(before.problems, after.problems)
    yield from _roots(before.roots, after.roots)
    yield from _pins(before.pins, after.pins)


def _models(before: Sequence[Model], after: Sequence[Model]) -> Iterator[News]:
    known, now = {model.id: model for model in before}, {model.id: model for model in after}
    for model_id, model in known.items():
        if _is_here(model) and not _is_here(now.get(model_id)):
            yield _of_model("model.missing", model, Status.MISSING)
    for model_id, model in now.items():
        was = known.get(model_id)
        if _is_here(model) and not _is_here(was):
            yield _of_model("model.added", model, model.status)
        elif _is_here(model) and model is not was and model != was:
            yield _of_model("model.updated", model, model.status)


def _is_here(model: Model | None) -> bool:
    return model is not None and model.status is not Status.MISSING


def _of_model(kind: str, model: Model, status: Status) -> News:
    return News(kind, model_event_json(model, status), f"id={model.id} status={status} path={model.path}")


def _problems(before: Sequence[FolderProblem], after: Sequence[FolderProblem]) -> Iterator[News]:
    known, now = frozenset(before), frozenset(after)
    for kind, problems, others in (("problem.solved", before, now), ("problem.found", after, known)):
        for each in problems:
            if each not in others:
                said = f"path={each.path} code={each.code} message={each.message!r}"
                yield News(kind, problem_json(each), said)


def _roots(before: Sequence[Root], after: Sequence[Root]) -> Iterator[News]:
    known, now = {root.path: root for root in before}, {root.path: root for root in after}
    changed = [root for root in after if root != known.get(root.path)]
    for root, is_there in (
        *((root, False) for root in before if root.path not in now),
        *((root, True) for root in changed),
    ):
        data = root_event_json(root, is_root=is_there)
        yield News("root.changed", data, f"path={root.path} searched={data['searched']}")


def _pins(before: Sequence[Pin], after: Sequence[Pin]) -> Iterator[News]:
    known, now = {pin.task: pin for pin in before}, {pin.task: pin for pin in after}
    for task in sorted({*known, *now}):
        if known.get(task) != now.get(task):
            pin = now.get(task)
            data = pin_event_json(pin) if pin is not None else {"task": str(task), "model": None, "waiting": False}
            yield News("pin.changed", data, f"task={task} model={data['model']}")


def _level(news: News) -> int:
    return logging.WARNING if news.kind == "problem.found" else logging.INFO
