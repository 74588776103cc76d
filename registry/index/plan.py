"""What is to be written after a scan, and what that changes for those who watch."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from registry.index.identity import content_key, has_other_content
from registry.index.state import State
from registry.index.stored import StoredModel
from registry.model import Changes, FolderProblem, Model, ScanReport, Status


@dataclass(frozen=True, slots=True)
class Plan:
    """Only what changes: ``rows`` new and changed, ``problems`` new and changed, and what is to be deleted."""

    rows: tuple[StoredModel, ...]
    forgotten: frozenset[int]
    problems: tuple[FolderProblem, ...]
    solved: frozenset[str]
    changes: Changes

    @property
    def is_empty(self) -> bool:
        return not (self.rows or self.forgotten or self.problems or self.solved)

    def may_be_half_a_move(self, state: State) -> bool:
        """Whether what a pin of ``state`` runs would change, or turns up in the folder of another row.

        The report of a part of the roots cannot tell that from a move of which it shows one end only.
        """
        pinned = {key: state.models.rows[key] for key in state.pinned_keys}
        contents = {content_key(row.declared) for row in pinned.values() if not row.is_missing}
        changed = (row for row in self.rows if _has_new_content(state.models.rows.get(row.key), row))
        return any(row.key in pinned or content_key(row.declared) in contents for row in changed)

    def follow(self, state: State) -> State:
        problems = {path: problem for path, problem in state.problems.items() if path not in self.solved}
        problems.update((str(problem.path), problem) for problem in self.problems)
        said = state.stored_evaluations
        return replace(
            state,
            models=state.models.followed_by(self.rows, self.forgotten),
            problems=problems,
            stored_evaluations=tuple(each for each in said if each.model_key not in self.forgotten),
        )


def _has_new_content(before: StoredModel | None, row: StoredModel) -> bool:
    return not row.is_missing and (before is None or has_other_content(before.declared, row.declared))


def make_plan(
    state: State, rows: Sequence[StoredModel], report: ScanReport, *, forgotten: Collection[int] = ()
) -> Plan:
    """``rows`` may hold some that are as they were."""
    changed = tuple(row for row in rows if row != state.models.rows.get(row.key))
    problems = {str(problem.path): problem for problem in report.problems}
    covered = set(chain.from_iterable(state.problems_below(folder) for folder in report.covered))
    plan = Plan(
        rows=changed,
        forgotten=frozenset(forgotten),
        problems=tuple(each for path, each in problems.items() if state.problems.get(path) != each),
        solved=frozenset(covered - problems.keys()),
        changes=Changes(problems=report.problems, seconds=report.seconds),
    )
    return replace(plan, changes=_changes(state, plan, report))


def _changes(state: State, plan: Plan, report: ScanReport) -> Changes:
    added, updated, missing = set(), set(), set()
    before = state.models
    for row in plan.rows:
        old = before.rows.get(row.key)
        was_missing = old is None or old.is_missing
        if row.is_missing and not was_missing:
            missing.add(row.model.id)
        elif was_missing and not row.is_missing:
            added.add(row.model.id)
        elif old is not None and not row.is_missing and _looks_different(old.model, row.model):
            updated.add(row.model.id)
    old_ids = {before.rows[key].model.id for key in _keys(plan) if key in before.rows}
    taken = {row.model.id.casefold() for row in plan.rows}
    left = {each for each in old_ids if each.casefold() not in taken}
    seen = {before.at.get(str(path)) for path in chain(report.unchanged, (model.path for model in report.models))}
    news = added | updated
    changed = {row.key for row in plan.rows if row.model.id in news} | plan.forgotten
    found, solved = _problem_changes(state, plan)
    return Changes(
        added=tuple(sorted(added)),
        updated=tuple(sorted(updated)),
        missing=tuple(sorted(missing | left)),
        unchanged=len(seen - changed - {None}),
        problems=report.problems,
        found=found,
        solved=solved,
        seconds=report.seconds,
    )


def _keys(plan: Plan) -> Iterable[int]:
    return chain((row.key for row in plan.rows), plan.forgotten)


def _looks_different(old: Model, new: Model) -> bool:
    """A file that was only touched is no news."""
    return replace(old, fingerprint=new.fingerprint, verified_s=new.verified_s) != new


def _problem_changes(state: State, plan: Plan) -> tuple[tuple[FolderProblem, ...], tuple[FolderProblem, ...]]:
    """Those that stand now and did not before, and the other way round; what keeps a model from use is one too."""
    rows = [state.models.rows[key] for key in _keys(plan) if key in state.models.rows]
    new = {str(problem.path): problem for problem in plan.problems}
    paths = {*plan.solved, *new, *(str(row.path) for row in chain(rows, plan.rows))}
    old = {path: state.problems[path] for path in paths if path in state.problems}
    kept = {path: problem for path, problem in old.items() if path not in plan.solved}
    before, after = _standing(old.values(), rows), _standing({**kept, **new}.values(), plan.rows)
    found = tuple(after[key] for key in sorted(after.keys() - before.keys()))
    return found, tuple(before[key] for key in sorted(before.keys() - after.keys()))


def _standing(
    problems: Iterable[FolderProblem], rows: Iterable[StoredModel]
) -> Mapping[tuple[str, str, str], FolderProblem]:
    """By what makes a problem the same one."""
    unusable = (row.model for row in rows if row.model.status not in (Status.READY, Status.MISSING))
    of_models = (
        FolderProblem(model.path, each.code, each.message, each.file, model.status)
        for model in unusable
        for each in model.problems
    )
    return {(str(each.path), each.code, each.file or ""): each for each in chain(of_models, problems)}
