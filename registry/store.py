"""``Registry``: the only door to the database. Models in and out as frozen values; every write is one transaction."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from registry.errors import InvalidRequest, InvalidRoot, ModelNotFound
from registry.experience import EngineProof, Evaluation, Measurement, Tuning
from registry.files.listing import exists
from registry.index import choices, presets
from registry.index.database import Database, Writing
from registry.index.door import Door
from registry.index.models import Models
from registry.index.pins import StoredPin, meant_now, with_its_model
from registry.index.plan import Plan
from registry.index.reconcile import reconcile
from registry.index.recovery import Recovery
from registry.index.reference import candidates, near
from registry.index.roots import absolute, plan_without, readable_directory
from registry.index.state import State
from registry.index.stored import StoredModel
from registry.index.writing import delete_tunings, write_engine_proof, write_measurements, write_plan, write_tuning
from registry.layouts.kinds import GENAI_CONFIG_FILE
from registry.model import (
    ApiKey,
    Changes,
    Fallback,
    FolderProblem,
    Hint,
    Model,
    Pin,
    Preset,
    RootChoice,
    ScanReport,
    Status,
    Task,
    Verification,
)

if TYPE_CHECKING:
    from sqlalchemy import Connection

# Each one is compared with what a client sends.
MAX_KEYS = 100


class Registry:
    """What is known about the models of this machine. Safe to use from several threads, beside other processes.

    Every method raises DatabaseError if the file cannot be read or written. A damaged file is put aside, and what no
    scan can find again is restored; ``recovered`` tells what happened.
    """

    def __init__(self, door: Door) -> None:
        self._door = door

    @classmethod
    def open(cls, path: Path) -> Registry:
        """The registry in ``path``, made if it is not there. Raises DatabaseError, also for a newer schema."""
        return cls(Door(path))

    def close(self) -> None:
        self._door.close()

    def __enter__(self) -> Registry:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def recovered(self) -> Recovery | None:
        """What happened to a damaged file, since this registry was opened; None if there was none."""
        return self._door.recovered

    # -- models

    def models(self, *, include_missing: bool = True) -> tuple[Model, ...]:
        """Every model that is known, by name without case, then version, oldest first."""
        models = self._door.state().models.listing
        return models if include_missing else tuple(each for each in models if each.status is not Status.MISSING)

    def candidates(self, reference: str) -> tuple[Model, ...]:
        """Every model that ``reference`` can mean, best first: that id, else that name, else that alias.

        Case does not count. Best: ready ones, then those for the CPU, then the newest version; see
        ``registry.index.reference``.
        """
        return tuple(row.model for row in candidates(self._door.state().models, reference))

    def find(self, reference: str) -> Model | None:
        """The best of ``candidates``."""
        return next(iter(self.candidates(reference)), None)

    def get(self, reference: str) -> Model:
        """The best of ``candidates``. Raises ModelNotFound with near names."""
        models = self._door.state().models
        rows = candidates(models, reference)
        if not rows:
            raise ModelNotFound(reference, near(models, reference))
        return rows[0].model

    def problems(self) -> tuple[FolderProblem, ...]:
        """Folders that are no usable models, by path."""
        problems = self._door.state().problems
        return tuple(problems[path] for path in sorted(problems))

    def known(self) -> Mapping[Path, Model]:
        """The model in each folder where one is, as that declares it: ``scan`` passes over what has not changed."""
        rows = self._door.state().models.rows.values()
        return {model.path: model for row in rows for model in row.folders}

    def apply(self, report: ScanReport) -> Changes:
        """Write down what a scan found, and say what that changed. The same report again writes nothing.

        A pin that waits for a model gets it.
        """

        def work(database: Database) -> Changes:
            shared = replace(report, models=tuple(map(database.sharing.model, report.models)))
            before = database.state()
            plan = _plan(before, shared)
            if plan.is_empty:
                return plan.changes
            with self._door.transaction(database) as writing:
                if writing.before is not before:  # somebody wrote in between
                    plan = _plan(writing.before, shared)
                if not plan.is_empty:
                    _carry_out(writing, plan)
            return plan.changes

        return self._door.safely(work)

    def may_be_half_a_move(self, report: ScanReport) -> bool:
        """Whether this report of a part of the roots is not to be applied, but one of everything in its place.

        As it is it could lead a pin to other content; see ``Plan.may_be_half_a_move``.
        """

        def work(database: Database) -> bool:
            state = database.state()
            return bool(state.pinned_keys) and _plan(state, report).may_be_half_a_move(state)

        return self._door.safely(work)

    def record_verification(self, model_id: str, verification: Verification) -> None:
        """Keep the result of a full check; with problems the model is INVALID. Raises ModelNotFound.

        It holds for as long as the model has the fingerprint that it is for.
        """
        self._door.write(
            lambda writing: choices.set_check(writing, _row(writing.before.models, model_id), verification)
        )

    def verification(self, model_id: str) -> Verification | None:
        """The last full check, which may no longer hold. Raises ModelNotFound."""
        return self._door.safely(lambda database: database.verification(_row(database.state().models, model_id).key))

    # -- roots

    def root_choices(self) -> tuple[RootChoice, ...]:
        """What a person decided about roots, in the order they did."""
        return self._door.state().roots

    def add_root(self, path: Path, *, settle_s: float | None = None) -> Path:
        """Remember a folder of models, and return it as it is remembered. Raises InvalidRoot if it cannot be read.

        One that was switched off is on again. Without ``settle_s`` one that is known keeps its own.
        """
        root = readable_directory(path)

        def change(writing: Writing) -> None:
            known = choices.choice_of(writing.before, root)
            kept_s = known.settle_s if known is not None and settle_s is None else settle_s
            choices.set_choice(writing, RootChoice(root, settle_s=kept_s), now_s=time.time())

        self._door.write(change)
        return root

    def switch_root(self, path: Path, *, is_enabled: bool) -> None:
        """Switch a root off, or on again, whether it was added or is found by itself. Raises InvalidRoot for no path.

        Nothing is marked here: the next scan of everything no longer covers a root that is off, and what was found
        in it is missing from then on, with its pins kept.
        """
        root = absolute(path)
        untouched = RootChoice(root, is_added=False)

        def change(writing: Writing) -> None:
            choice = replace(choices.choice_of(writing.before, root) or untouched, is_enabled=is_enabled)
            if choice == untouched:  # as if nobody had ever said anything
                choices.remove_choice(writing, root)
            else:
                choices.set_choice(writing, choice, now_s=time.time())

        self._door.write(change)

    def remove_root(self, path: Path) -> None:
        """Forget a folder and the models in it, unless another such folder covers them; pinned ones become missing.

        Raises InvalidRoot if ``path`` was never added.
        """
        root = absolute(path)

        def change(writing: Writing) -> None:
            added = [choice.path for choice in writing.before.roots if choice.is_added]
            if root not in added:
                known = ", ".join(map(str, added)) or "none"
                raise InvalidRoot(f"{root} is not among the added roots ({known}).")
            keep = [other for other in added if other != root]
            _carry_out(writing, plan_without(writing.before, root, keep=keep, now_s=time.time()))
            choices.remove_choice(writing, root)

        self._door.write(change)

    # -- pins

    def pins(self) -> tuple[Pin, ...]:
        """By task."""
        return self._door.state().pins

    def pin(self, task: Task, model_id: str, *, fallback: Fallback = Fallback.ERROR) -> Pin:
        """Let no other model serve ``task``. Raises ModelNotFound; the model may be missing at the moment."""
        return self._pin(lambda models: StoredPin(task, _row(models, model_id).key, fallback=fallback))

    def pin_later(self, task: Task, reference: str, *, fallback: Fallback = Fallback.ERROR) -> Pin:
        """Pin the best model with this id, name or alias that can do ``task``: now, or as soon as one is here.

        Once given, it stays with that model.
        """
        waiting = StoredPin(task, None, reference.strip(), fallback=fallback)
        return self._pin(lambda models: with_its_model(models, waiting))

    def pin_pattern(self, task: Task, pattern: str, *, fallback: Fallback = Fallback.ERROR) -> Pin:
        """Pin whatever is the newest model that fits ``pattern`` and can do ``task``, at any time; see ``newest``.

        ``phi-4-mini*`` goes over to a new version by itself, and waits while nothing fits. It keeps no model from being
        forgotten. Raises InvalidRequest for a pattern without a character.
        """
        if not pattern.strip():
            raise InvalidRequest("The pattern of a pin is empty. Write the name of a model, with * for any part of it.")
        return self._pin(lambda _models: StoredPin(task, None, pattern=pattern.strip(), fallback=fallback))

    def _pin(self, make: Callable[[Models], StoredPin]) -> Pin:
        def change(writing: Writing) -> Pin:
            pin = make(writing.before.models)
            choices.set_pin(writing, pin)
            return meant_now(writing.before.models, pin)

        return self._door.write(change)

    def unpin(self, task: Task) -> None:
        """Undo a pin; a task without one stays so."""
        self._door.write(lambda writing: choices.remove_pin(writing, task))

    # -- presets

    def presets(self) -> tuple[Preset, ...]:
        """By name."""
        return self._door.state().presets

    def find_preset(self, name: str) -> Preset | None:
        """Case does not count."""
        return presets.find(self._door.state().presets, name)

    def set_preset(self, preset: Preset) -> None:
        """Keep it in place of one with this name."""
        self._door.write(lambda writing: choices.set_preset(writing, preset))

    def remove_preset(self, name: str) -> bool:
        """Whether there was one."""
        return self._door.write(lambda writing: choices.remove_preset(writing, name))

    # -- what was seen and said of models here

    def measurements(self) -> tuple[Measurement, ...]:
        """Those that hold for what the models are now, by model, device and threads."""
        return self._door.safely(Database.measurements)

    def record_measurements(self, measurements: Iterable[Measurement]) -> None:
        """Keep these in place of older ones of the same content, device and threads; the latest 16 of each model.

        One small transaction, after which nobody reads the models again. What belongs to no model that is known is
        dropped: it may have been forgotten a moment ago. Those of content that a model has no more are kept, should
        that come back. They go with their model, and are lost when the file is damaged.
        """
        wanted = tuple(measurements)

        def change(writing: Writing) -> None:
            ids = writing.before.models.ids
            keys = ((ids.get(_folded(each.model_id)), each) for each in wanted)
            if known := [(key, each) for key, each in keys if key is not None]:
                write_measurements(writing.connection, known)
                writing.is_aside = True

        if wanted:
            self._door.write(change)

    def engine_proofs(self) -> tuple[EngineProof, ...]:
        """Those that hold for what the models are now, the latest of a model last."""
        return self._door.safely(Database.engine_proofs)

    def record_engine_proof(self, proof: EngineProof) -> None:
        """Keep it in place of an older one of the same content and runtime; the latest 8 of each model.

        As with measurements: of a model that is not known it is dropped, and it goes with its model.
        """
        self._write_aside(proof.model_id, partial(write_engine_proof, proof=proof))

    def tunings(self) -> tuple[Tuning, ...]:
        """Those that hold for what the models are now, of all machines and runtimes, the latest of a model last."""
        return self._door.safely(Database.tunings)

    def record_tuning(self, tuning: Tuning) -> None:
        """Keep it in place of an older one of the same content, runtime and machine; the latest 8 of each model.

        As with measurements: of a model that is not known it is dropped, and it goes with its model.
        """
        self._write_aside(tuning.model_id, partial(write_tuning, tuning=tuning))

    def forget_tunings(self, model_id: str) -> None:
        """Of whatever content, machine and runtime. Nothing for a model that is not known, or has none."""
        self._write_aside(model_id, delete_tunings)

    def _write_aside(self, model_id: str, write: Callable[[Connection, int], int]) -> None:
        """What ``write`` does with the key of a model that is known, and after which nobody reads the models again.

        It returns how many rows that were.
        """

        def change(writing: Writing) -> None:
            key = writing.before.models.ids.get(_folded(model_id))
            if key is not None and write(writing.connection, key):
                writing.is_aside = True

        self._door.write(change)

    def evaluations(self) -> tuple[Evaluation, ...]:
        """Those that hold for what the models are now, in the order in which they were added."""
        return self._door.state().evaluations

    def add_evaluation(self, evaluation: Evaluation) -> None:
        """Keep it beside all others; the latest 500 of a model for a task. Raises ModelNotFound.

        It goes with its model. One of content that the model has no more is kept, should that come back.
        """

        def change(writing: Writing) -> None:
            row = _row(writing.before.models, evaluation.model_id)
            choices.add_evaluation(writing, row, evaluation)

        self._door.write(change)

    def forget_evaluations(self, model_id: str, task: Task | None = None) -> int:
        """All of a model, or those for one task, whatever its content was: how many. Raises ModelNotFound."""
        return self._door.write(
            lambda writing: choices.forget_evaluations(writing, _row(writing.before.models, model_id), task)
        )

    # -- what else a person said

    def hints(self) -> tuple[Hint, ...]:
        """The entries of imported ``models.json`` files, in their order."""
        return self._door.state().hints

    def set_hints(self, hints: Iterable[Hint]) -> None:
        """Keep these in place of all that are known."""
        wanted = tuple(hints)
        self._door.write(lambda writing: choices.set_hints(writing, wanted))

    def allowed_libraries(self) -> frozenset[str]:
        """SHA-256 of the files of custom operators that may be loaded."""
        return frozenset(self._door.state().libraries)

    def allow_library(self, sha256: str, *, model_id: str) -> None:
        """Let a library with this content be loaded; ``model_id`` is noted as what it was allowed for."""
        self._door.write(lambda writing: choices.allow_library(writing, sha256, model_id, now_s=time.time()))

    def disallow_library(self, sha256: str) -> None:
        """Undo that; the next scan blocks the models that need it."""
        self._door.write(lambda writing: choices.disallow_library(writing, sha256))

    # -- who may use the daemon

    def api_keys(self) -> tuple[ApiKey, ...]:
        """In the order in which they were made."""
        return self._door.state().keys

    def add_key(self, key: ApiKey) -> None:
        """Raises InvalidRequest for a name that is taken, or one key too many."""

        def change(writing: Writing) -> None:
            known = writing.before.keys
            if any(other.name == key.name for other in known):
                raise InvalidRequest(f"There is a key {key.name!r} already. Choose another name, or revoke that one.")
            if len(known) >= MAX_KEYS:
                raise InvalidRequest(f"There are {len(known)} keys already, which is the most. Revoke one.")
            choices.add_key(writing, key)

        self._door.write(change)

    def remove_key(self, name: str) -> None:
        """Raises InvalidRequest if there is none: whoever means another one must not believe that it is gone."""

        def change(writing: Writing) -> None:
            names = [key.name for key in writing.before.keys]
            if name not in names:
                raise InvalidRequest(f"There is no key {name!r}. There are: {', '.join(names) or 'none'}.")
            choices.remove_key(writing, name)

        self._door.write(change)


def _plan(state: State, report: ScanReport) -> Plan:
    return reconcile(state, report, now_s=time.time(), is_there=_is_model_folder)


def _carry_out(writing: Writing, plan: Plan) -> None:
    write_plan(writing.connection, plan, writing.before.models)
    writing.after = plan.follow(writing.before)
    for pin in choices.fulfilled(writing.after):
        choices.set_pin(writing, pin)


def _is_model_folder(path: Path) -> bool:
    return exists(path / GENAI_CONFIG_FILE)


def _row(models: Models, model_id: str) -> StoredModel:
    key = models.ids.get(_folded(model_id))
    if key is None:
        raise ModelNotFound(model_id, near(models, model_id))
    return models.rows[key]


def _folded(model_id: str) -> str:
    return model_id.strip().casefold()
