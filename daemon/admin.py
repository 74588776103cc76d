"""What ``/slmreg`` answers and what the command line prints: the catalog's values in the contract's JSON shapes.

The command line calls this directly when no daemon runs, and through HTTP when one does, so both say the same.
"""

from __future__ import annotations

import os
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from daemon.catalog import Catalog
from daemon.comparison import evaluation_json, measurement_json, prediction_json
from daemon.listing import Listing, Marks, Record, encode
from daemon.model_query import EVERY_MODEL, ModelQuery
from daemon.resolving import full_name
from daemon.shapes import (
    Json,
    changes_json,
    decision_json,
    failure_json,
    model_json,
    override_json,
    pin_json,
    preset_json,
    problem_json,
    root_json,
    tuning_json,
)
from daemon.wants import parse_task
from registry.errors import InvalidRequest
from registry.experience import Evaluation, EvaluationKind
from registry.model import Fallback, Model, Preset, Task
from selector.explain import hardware_as_json, selection_as_json
from selector.learning import is_of
from selector.selection import SelectionRequest

if TYPE_CHECKING:
    from daemon.pool.account import SessionSnapshot
    from daemon.upkeep import Upkeep


MOST_RATING = 5
# Of one test; more say nothing more.
MOST_ITEMS = 100_000
MOST_NOTES = 2000


class Admin:
    """Synchronous; one method per operation of the contract that needs no loaded session."""

    def __init__(
        self,
        catalog: Catalog,
        *,
        sessions: Callable[[], Sequence[SessionSnapshot]] = tuple,
        upkeep: Upkeep | None = None,
        listing: Listing | None = None,
    ) -> None:
        """In a daemon: ``sessions``, what is loaded and what failed; ``upkeep``, which scans and tells what changes."""
        self._catalog = catalog
        self._sessions = sessions
        self._upkeep = upkeep
        self._listing = listing or Listing()

    def models(self, query: ModelQuery = EVERY_MODEL) -> list[Json]:
        """The known models that are wanted, also missing and unusable ones; by id where nothing else is said."""
        marks = self._marks()
        return [_shaped(model, marks) for model in query.of(self._catalog.models(), marks)]

    def encoded_models(
        self, query: ModelQuery = EVERY_MODEL, *, offset: int = 0, limit: int | None = None
    ) -> tuple[Iterator[list[Record]], int]:
        """A page of the ``models`` that are wanted with each one's JSON encoded; and how many are wanted.

        What everybody asks for, all of them by id, is made much faster for many.
        """
        models, marks = self._catalog.models(), self._marks()
        if query == EVERY_MODEL:
            return self._listing.records(models, marks, offset=offset, limit=limit), len(models)
        wanted = query.of(models, marks)
        page = wanted[offset:] if limit is None else wanted[offset : offset + limit]
        return ([(model, encode(_shaped(model, marks)))] for model in page), len(wanted)

    def all_encoded(self) -> tuple[object, Iterator[list[Record]]]:
        """Every model as in ``encoded_models``, behind what is equal as long as that says the same."""
        models, marks = self._catalog.models(), self._marks()
        return (self._listing.version_of(models), marks), self._listing.records(models, marks)

    def model(self, reference: str) -> Json:
        """Everything about one model, also what was predicted of it and what people and tests say."""
        model, chooser = self._catalog.get(reference), self._catalog.chooser
        unmeasured = chooser.unmeasured()
        measured = chooser.measured(model, chooser.threads_for(model, unmeasured.hardware))
        return {
            **_shaped(model, self._marks()),
            "override": override_json(chooser.override_of(model)),
            **self._running_json(model),
            "predicted": prediction_json(model, measured, unmeasured),
            "evaluations": [evaluation_json(e) for e in self._catalog.evaluations() if e.model_id == model.id],
        }

    def _running_json(self, model: Model) -> Json:
        """How it runs, if it is loaded, or would: ``tuned`` None is as all models do."""
        session = next((each for each in self._sessions() if each.model_id == model.id), None)
        tuned = self._catalog.chooser.tuned(model)
        return {
            "engine": session.engine if session is not None else None,
            "engine_reason": session.engine_reason if session is not None else None,
            "threads": self._catalog.chooser.threads_for(model, self._catalog.hardware()),
            "tuned": tuning_json(tuned) if tuned is not None else None,
        }

    def encoded_model(self, reference: str) -> tuple[str, Record]:
        """What a request may call ``model``, which may be ``name@adapter``: its full name, and the model's JSON."""
        model, adapter = self._catalog.with_adapter(reference)
        return full_name(model, adapter), (model, encode(_shaped(model, self._marks())))

    def most_tokens(self, model: Model) -> int:
        """Of prompt and answer together, as it is built and by the settings, whatever memory allows."""
        return min(model.context_tokens, self._catalog.most_context_tokens(model))

    def problems(self) -> list[Json]:
        """Folders that are not usable models, and what to do about each."""
        return [problem_json(problem) for problem in self._catalog.problems()]

    def scan(self) -> Json:
        return changes_json((self._upkeep or self._catalog).scan())

    def roots(self) -> list[Json]:
        """Every place where models are looked for, or would be, with how many models and problems lie under it."""
        models = sorted(str(model.path) for model in self._catalog.models(include_missing=False))
        problems = sorted(str(problem.path) for problem in self._catalog.problems())
        watched = {state.path: state for state in self._upkeep.watching()} if self._upkeep is not None else {}
        return [
            root_json(
                root,
                models=_count_under(root.path, models),
                problems=_count_under(root.path, problems),
                watched=watched.get(root.path),
            )
            for root in self._catalog.roots()
        ]

    def add_root(self, path: str, *, settle_s: float | None = None) -> None:
        """Look for models in a folder from the next scan on."""
        self._catalog.add_root(Path(path), settle_s=settle_s)

    def remove_root(self, path: str) -> Json:
        """Look there no more. ``switched_off``: it was found by itself, and is remembered as one not to search."""
        return {"removed": path, "switched_off": not self._catalog.remove_root(Path(path))}

    def select(self, task: str, *, limit: int | None = None, **wishes: Any) -> Json:
        """A choice and its ledger. ``wishes`` are fields of SelectionRequest; ``limit``: see ``selection_as_json``."""
        given = {name: value for name, value in wishes.items() if value is not None}
        request = SelectionRequest(parse_task(task), **{"policy": self._catalog.policy, **given})
        selection = self._catalog.select(request)
        return selection_as_json(selection, selection.hardware, limit=limit)

    def selections(self, limit: int) -> list[Json]:
        """The last choices made for requests, newest first, without their ledgers."""
        return [decision_json(decision) for decision in self._catalog.decisions.newest(limit)]

    def selection(self, decision_id: str) -> Json:
        """One of them with its ledger, as it was then. Raises SelectionNotFound."""
        decision = self._catalog.decisions.get(decision_id)
        selection = decision.selection
        return {**selection_as_json(selection, selection.hardware), **decision_json(decision)}

    def pins(self) -> list[Json]:
        """With what each means now, and why it cannot serve, if so."""
        return [pin_json(pin, self._catalog.why_not(pin)) for pin in self._catalog.pins()]

    def pin(self, task: str, reference: str, *, fallback: str = Fallback.ERROR) -> Json:
        pin = self._catalog.pin(parse_task(task), reference, fallback=Fallback(fallback))
        self._announce()
        return pin_json(pin, self._catalog.why_not(pin))

    def presets(self) -> list[Json]:
        """With the model that each means now."""
        return [self._preset_json(preset) for preset in self._catalog.presets.all()]

    def preset(self, name: str) -> Json:
        """Raises PresetNotFound."""
        return self._preset_json(self._catalog.presets.get(name))

    def find_preset(self, name: str) -> Json | None:
        preset = self._catalog.presets.find(name)
        return None if preset is None else self._preset_json(preset)

    def create_preset(self, name: str, base: str, **said: Any) -> Json:
        """``said``: as for ``daemon.presets.Presets.create``."""
        return self._preset_json(self._catalog.presets.create(name, base, **said))

    def remove_preset(self, name: str) -> Json:
        return {"removed": self._catalog.presets.remove(name)}

    def _preset_json(self, preset: Preset) -> Json:
        known = self._catalog.requested(preset.name)
        return preset_json(preset, known[0].id if known else None)

    def evaluations(self) -> list[Json]:
        """What people and tests say about models, in the order it was said."""
        return [evaluation_json(evaluation) for evaluation in self._catalog.evaluations()]

    def evaluate(
        self,
        reference: str,
        task: str,
        *,
        rating: int | None = None,
        passed: int | None = None,
        items: int | None = None,
        thinking: bool | None = None,
        notes: str = "",
    ) -> Json:
        """Keep a rating from 1 to 5, or how many of a test's items were passed. Raises InvalidRequest for neither."""
        wanted = parse_task(task)
        kind, score, count = _score(rating, passed, items)
        if len(notes) > MOST_NOTES:
            raise InvalidRequest(
                f"The notes have {len(notes)} characters; at most {MOST_NOTES} are kept.", param="notes"
            )
        # They are shown in terminals, which control characters would command.
        notes = "".join(character if character.isprintable() else " " for character in notes)
        evaluation = self._catalog.add_evaluation(
            reference,
            lambda model: Evaluation(
                model_id=model.id,
                content=model.content,
                task=wanted,
                kind=kind,
                score=score,
                items=count,
                evaluated_s=time.time(),
                is_thinking=thinking,
                notes=notes,
            ),
        )
        return evaluation_json(evaluation)

    def forget_evaluations(self, reference: str, task: str | None = None) -> Json:
        wanted = parse_task(task) if task is not None else None
        model_id, count = self._catalog.forget_evaluations(reference, wanted)
        return {"model": model_id, "task": task, "forgotten": count}

    def unpin(self, task: str) -> None:
        self._catalog.unpin(parse_task(task))
        self._announce()

    def hardware(self) -> Json:
        return hardware_as_json(self._catalog.hardware_with_disks())

    def _announce(self) -> None:
        if self._upkeep is not None:
            self._upkeep.look()

    def _marks(self) -> Marks:
        pinned: dict[str, list[Task]] = {}
        for pin in self._catalog.pins():
            if not pin.is_waiting:
                pinned.setdefault(pin.model_id, []).append(pin.task)
        sessions = self._sessions()
        loaded = frozenset(session.model_id for session in sessions if session.state == "ready")
        failed = {session.model_id: failure_json(session) for session in sessions}
        failures = {model_id: failure for model_id, failure in failed.items() if failure is not None}
        return Marks(loaded, pinned, self._measured(), failures)

    def _measured(self) -> dict[str, Json]:
        """By id, only of those that were measured as they are now; without a look at the machine."""
        newest = self._catalog.chooser.newest_measurements()
        known = {model_id: next(iter(self._catalog.candidates(model_id)), None) for model_id in newest}
        return {
            model_id: measurement_json(newest[model_id])
            for model_id, model in known.items()
            if model is not None and is_of(newest[model_id], model)
        }


def _shaped(model: Model, marks: Marks) -> Json:
    return model_json(
        model,
        loaded=model.id in marks.loaded,
        pinned_for=marks.pinned.get(model.id, ()),
        measured=marks.measured.get(model.id),
        failure=marks.failures.get(model.id),
    )


def _score(rating: int | None, passed: int | None, items: int | None) -> tuple[EvaluationKind, float, int]:
    """Kind, share from 0 to 1, and items."""
    if rating is not None and passed is None and items is None:
        if not 1 <= rating <= MOST_RATING:
            raise InvalidRequest(f"A rating is from 1 (useless) to 5 (perfect); {rating} is not.", param="rating")
        return EvaluationKind.RATING, (rating - 1) / (MOST_RATING - 1), 1
    if rating is None and passed is not None and items is not None:
        if not 0 <= passed <= items or not 1 <= items <= MOST_ITEMS:
            raise InvalidRequest(
                f"{passed} of {items} items cannot be: passed is from 0 to items, items from 1 to {MOST_ITEMS}.",
                param="passed",
            )
        return EvaluationKind.TEST, passed / items, items
    raise InvalidRequest(
        "Say either how good it was, from 1 to 5 (rating), or how many items of a test were passed (passed, of).",
        param="rating",
    )


def _count_under(root: Path, paths: Sequence[str]) -> int:
    """How many of the sorted ``paths`` are ``root`` or lie below it."""
    folder = str(root).rstrip(os.sep) + os.sep
    below = bisect_left(paths, folder[:-1] + chr(ord(os.sep) + 1)) - bisect_left(paths, folder)
    return below + paths.count(str(root))
