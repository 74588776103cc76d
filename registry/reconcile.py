"""What a scan means for what is known: pure, from stored models and a report to the models as they should be stored.

Rules: a model is known by its path; one that is gone is kept as MISSING and comes back with its row; one that moved
keeps its row; a known model whose folder has a problem takes over its status; of several folders with one id, the first
by path has the id and the others get one of their own.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from registry.model import Changes, FolderProblem, Model, Problem, ScanReport, Source, Status
from registry.problems import ProblemCode
from registry.rows import StoredModel


@dataclass(frozen=True, slots=True)
class Entry:
    """A model as it should be stored; ``before`` is its present row, None for a new one."""

    model: Model
    declared_name: str
    before: StoredModel | None

    @property
    def is_changed(self) -> bool:
        before = self.before
        return before is None or before.model != self.model or before.declared_name != self.declared_name


@dataclass(frozen=True, slots=True)
class Plan:
    """``entries`` are only those that change; ``problems`` are all that stand afterwards."""

    entries: tuple[Entry, ...]
    problems: tuple[FolderProblem, ...]
    changes: Changes


def reconcile(
    stored: Sequence[StoredModel],
    problems: Sequence[FolderProblem],
    report: ScanReport,
    *,
    is_there: Callable[[Path], bool] = lambda _path: True,
) -> Plan:
    """``is_there`` tells whether a folder that the report does not cover still exists; only asked about moves."""
    covered = _Covered(report.covered)
    found = {model.path: model for model in report.models}
    broken = {problem.path: problem for problem in report.problems if problem.path not in found}
    entries: list[Entry] = []
    absent: list[StoredModel] = []
    for known in stored:
        path = known.model.path
        if path in found:
            entries.append(_entry(found.pop(path), known))
        elif path in broken:
            entries.append(_entry(_with_problem(known.declared, broken[path]), known))
        else:
            absent.append(known)
    moved = _Moves(absent, covered, is_there)
    for model in sorted(found.values(), key=lambda each: each.path):
        entries.append(_entry(model, moved.claim(model)))
    for known in moved.left:
        is_gone = covered.has(known.model.path)
        entries.append(_entry(_missing(known.declared) if is_gone else known.declared, known))
    distinct = _with_distinct_ids(entries)
    standing = {each.path: each for each in problems if not covered.has(each.path)}
    standing.update({each.path: each for each in report.problems})
    return Plan(
        entries=tuple(entry for entry in distinct if entry.is_changed),
        problems=tuple(sorted(standing.values(), key=lambda each: each.path)),
        changes=_changes(distinct, report),
    )


class _Covered:
    """Whether a path lies in one of some folders."""

    def __init__(self, folders: Iterable[Path]) -> None:
        self._folders = frozenset(folders)

    def has(self, path: Path) -> bool:
        return path in self._folders or any(parent in self._folders for parent in path.parents)


class _Moves:
    """Known models that were not seen, some of which may have been seen elsewhere."""

    def __init__(self, absent: Sequence[StoredModel], covered: _Covered, is_there: Callable[[Path], bool]) -> None:
        self._absent = {known.key: known for known in absent}
        self._covered = covered
        self._is_there = is_there
        self._by_content: defaultdict[tuple[str, str], list[StoredModel]] = defaultdict(list)
        for known in absent:
            self._by_content[_content(known.declared)].append(known)

    @property
    def left(self) -> tuple[StoredModel, ...]:
        return tuple(self._absent.values())

    def claim(self, model: Model) -> StoredModel | None:
        """The row of the same model at a path where it no longer is."""
        for known in self._by_content[_content(model)]:
            if known.key in self._absent and self._is_gone(known.model):
                return self._absent.pop(known.key)
        return None

    def _is_gone(self, model: Model) -> bool:
        return model.status is Status.MISSING or self._covered.has(model.path) or not self._is_there(model.path)


def _content(model: Model) -> tuple[str, str]:
    """The id and the files; what a Foundry catalog adds depends on the place."""
    return model.id.casefold(), model.fingerprint.partition("-")[0]


def _entry(model: Model, before: StoredModel | None) -> Entry:
    return Entry(model, model.name, before)


def _with_problem(model: Model, problem: FolderProblem) -> Model:
    return replace(model, status=problem.status, problems=(Problem(problem.code, problem.message, problem.file),))


def _missing(model: Model) -> Model:
    return replace(model, status=Status.MISSING, problems=())


def _with_distinct_ids(entries: Iterable[Entry]) -> list[Entry]:
    """Ids are compared without case. Those that are here go before missing ones, real ones before the demo model."""
    taken: dict[str, Path] = {}
    distinct = []
    for entry in sorted(entries, key=_precedence):
        model = entry.model
        owner = taken.get(model.id.casefold())
        if owner is not None:
            model = _renamed(model, owner, taken)
        taken[model.id.casefold()] = model.path
        distinct.append(replace(entry, model=model))
    return distinct


def _precedence(entry: Entry) -> tuple[bool, bool, Path]:
    return entry.model.status is Status.MISSING, entry.model.source is Source.DEMO, entry.model.path


def _renamed(model: Model, owner: Path, taken: dict[str, Path]) -> Model:
    digest = hashlib.sha256(str(model.path).encode()).hexdigest()
    names = (f"{model.name}-{digest[:length]}" for length in (4, 8, 16, 64))
    name = next(name for name in names if f"{name}:{model.version}".casefold() not in taken)
    problem = Problem(
        str(ProblemCode.DUPLICATE_ID),
        f"{owner} has the id {model.id} too, so this folder is listed as {name}:{model.version}. Give one of them "
        'another "Name" in inference_model.json, or delete one.',
    )
    return replace(model, name=name, problems=(*model.problems, problem))


def _changes(entries: Sequence[Entry], report: ScanReport) -> Changes:
    added, updated, missing, unchanged = [], [], [], []
    found = {model.path for model in report.models}
    for entry in entries:
        is_missing = entry.model.status is Status.MISSING
        was_missing = entry.before is None or entry.before.model.status is Status.MISSING
        if is_missing and not was_missing:
            missing.append(entry.model.id)
        elif was_missing and not is_missing:
            added.append(entry.model.id)
        elif entry.is_changed and not is_missing:
            updated.append(entry.model.id)
        elif entry.model.path in found:
            unchanged.append(entry.model.id)
    ids = {entry.model.id for entry in entries}
    renamed = {entry.before.model.id for entry in entries if entry.before} - ids
    return Changes(
        added=tuple(sorted(added)),
        updated=tuple(sorted(updated)),
        missing=tuple(sorted({*missing, *renamed})),
        unchanged=len(unchanged),
        problems=report.problems,
        seconds=report.seconds,
    )
