"""What a person decides, each inside an open transaction: in the database, and in the state that follows.

A decision that stands already changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from registry.experience import Evaluation
from registry.index import presets
from registry.index.database import Writing
from registry.index.pins import StoredPin, with_its_model
from registry.index.state import State
from registry.index.stored import StoredEvaluation, StoredModel, Verdict
from registry.index.writing import (
    delete_evaluations,
    delete_key,
    delete_library,
    delete_pin,
    delete_preset,
    delete_root,
    write_evaluation,
    write_hints,
    write_key,
    write_library,
    write_pin,
    write_preset,
    write_root,
    write_verification,
)
from registry.model import ApiKey, Hint, Preset, RootChoice, Task, Verification

# Of one model for one task; the oldest go. By then what is published about a model hardly counts any more (judged).
MAX_EVALUATIONS = 500

# -- pins


def fulfilled(state: State) -> Iterable[StoredPin]:
    """Pins that waited for a model that is here now."""
    for pin in state.stored_pins:
        if pin.reference:
            found = with_its_model(state.models, pin)
            if found is not pin:
                yield found


def set_pin(writing: Writing, pin: StoredPin) -> None:
    state = writing.now
    if pin not in state.stored_pins:
        write_pin(writing.connection, pin)
        others = (other for other in state.stored_pins if other.task is not pin.task)
        writing.after = replace(state, stored_pins=(*others, pin))


def remove_pin(writing: Writing, task: Task) -> None:
    left = tuple(pin for pin in writing.now.stored_pins if pin.task is not task)
    if left != writing.now.stored_pins:
        delete_pin(writing.connection, task)
        writing.after = replace(writing.now, stored_pins=left)


# -- roots


def choice_of(state: State, root: Path) -> RootChoice | None:
    return next((choice for choice in state.roots if choice.path == root), None)


def set_choice(writing: Writing, choice: RootChoice, *, now_s: float) -> None:
    state = writing.now
    if choice in state.roots:
        return
    write_root(writing.connection, choice, now_s=now_s)
    if choice_of(state, choice.path) is None:
        writing.after = replace(state, roots=(*state.roots, choice))
    else:
        changed = (choice if known.path == choice.path else known for known in state.roots)
        writing.after = replace(state, roots=tuple(changed))


def remove_choice(writing: Writing, root: Path) -> None:
    left = tuple(choice for choice in writing.now.roots if choice.path != root)
    if left != writing.now.roots:
        delete_root(writing.connection, root)
        writing.after = replace(writing.now, roots=left)


# -- presets


def set_preset(writing: Writing, preset: Preset) -> None:
    """In place of one whose name differs in its case only."""
    known = writing.now.presets
    if preset in known:
        return
    old = presets.find(known, preset.name)
    if old is not None:
        delete_preset(writing.connection, old.name)
    write_preset(writing.connection, preset)
    kept = (*(each for each in known if each is not old), preset)
    writing.after = replace(writing.now, presets=tuple(sorted(kept, key=lambda each: each.name)))


def remove_preset(writing: Writing, name: str) -> bool:
    """False if there was none."""
    known = writing.now.presets
    old = presets.find(known, name)
    if old is not None:
        delete_preset(writing.connection, old.name)
        writing.after = replace(writing.now, presets=tuple(each for each in known if each is not old))
    return old is not None


# -- hints, libraries, checks


def set_hints(writing: Writing, hints: Sequence[Hint]) -> None:
    if tuple(hints) != writing.now.hints:
        write_hints(writing.connection, hints)
        writing.after = replace(writing.now, hints=tuple(hints))


def allow_library(writing: Writing, sha256: str, model_id: str, *, now_s: float) -> None:
    known = writing.now.libraries
    if known.get(sha256) != model_id:
        write_library(writing.connection, sha256, model_id, now_s=now_s)
        writing.after = replace(writing.now, libraries={**known, sha256: model_id})


def disallow_library(writing: Writing, sha256: str) -> None:
    known = writing.now.libraries
    if sha256 in known:
        delete_library(writing.connection, sha256)
        left = {other: model_id for other, model_id in known.items() if other != sha256}
        writing.after = replace(writing.now, libraries=left)


def set_check(writing: Writing, row: StoredModel, check: Verification) -> None:
    write_verification(writing.connection, row.key, check)
    verdict = Verdict(check.fingerprint, check.verified_s, check.problems)
    models = writing.now.models.followed_by([replace(row, verdict=verdict)])
    writing.after = replace(writing.now, models=models)


# -- keys


def add_key(writing: Writing, key: ApiKey) -> None:
    """Its name must be new."""
    write_key(writing.connection, key)
    writing.after = replace(writing.now, keys=(*writing.now.keys, key))


def remove_key(writing: Writing, name: str) -> None:
    delete_key(writing.connection, name)
    writing.after = replace(writing.now, keys=tuple(key for key in writing.now.keys if key.name != name))


# -- evaluations


def add_evaluation(writing: Writing, row: StoredModel, said: Evaluation) -> None:
    key = write_evaluation(writing.connection, row.key, said)
    known = (*writing.now.stored_evaluations, StoredEvaluation(key, row.key, said))
    alike = [each for each in known if each.model_key == row.key and each.said.task is said.task]
    by_age = sorted(alike, key=lambda each: (each.said.evaluated_s, each.key))
    superfluous = {each.key for each in by_age[:-MAX_EVALUATIONS]}
    _keep_evaluations(writing, known, without=superfluous)


def forget_evaluations(writing: Writing, row: StoredModel, task: Task | None) -> int:
    """How many there were of this task, or of all tasks."""
    known = writing.now.stored_evaluations
    meant = (each for each in known if each.model_key == row.key and task in (None, each.said.task))
    doomed = {each.key for each in meant}
    if doomed:
        _keep_evaluations(writing, known, without=doomed)
    return len(doomed)


def _keep_evaluations(writing: Writing, known: Iterable[StoredEvaluation], *, without: Collection[int]) -> None:
    delete_evaluations(writing.connection, without)
    left = tuple(each for each in known if each.key not in without)
    writing.after = replace(writing.now, stored_evaluations=left)
