"""The statements that change the database, each inside a transaction that ``registry.store`` holds open.

SQLModel is imported in the functions: this module is imported by readers too, and they never need it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from registry.database import Snapshot
from registry.model import FolderProblem, Source, Status, Task
from registry.reconcile import Entry, Plan
from registry.rows import StoredModel, model_columns, problem_columns

if TYPE_CHECKING:
    from sqlmodel import Session


def write_plan(session: Session, plan: Plan, before: Snapshot, *, now_s: float) -> None:
    """Nothing at all if nothing changed, so that readers may keep what they have."""
    from registry.tables import ScanRow

    if plan.entries:
        _write_models(session, plan.entries, now_s)
    if plan.problems != before.problems:
        _write_problems(session, plan.problems)
    if before.scanned_at_s is None or plan.entries:
        session.merge(ScanRow(key=1, finished_at_s=now_s))


def write_root(session: Session, root: Path, *, now_s: float) -> None:
    from registry.tables import RootRow

    session.add(RootRow(path=str(root), added_at_s=now_s))


def delete_root(session: Session, root: Path, before: Snapshot, *, keep: Sequence[Path], now_s: float) -> None:
    """With what was found in it, except below the roots in ``keep``; a model that is pinned is marked missing."""
    from sqlmodel import col, delete, update

    from registry.tables import ModelRow, ProblemRow, RootRow

    session.execute(delete(RootRow).where(col(RootRow.path) == str(root)))
    inside = [
        stored
        for stored in before.models
        if stored.model.source is Source.FOLDER and _is_only_under(stored.model.path, root, keep)
    ]
    for stored in inside:
        same_row = col(ModelRow.key) == stored.key
        if stored.key in before.pinned_keys:
            session.execute(
                update(ModelRow)
                .where(same_row)
                .values(status=str(Status.MISSING), problems="[]", missing_since_s=now_s)
            )
        else:
            session.execute(delete(ModelRow).where(same_row))
    for problem in before.problems:
        if _is_only_under(problem.path, root, keep):
            session.execute(delete(ProblemRow).where(col(ProblemRow.path) == str(problem.path)))


def write_pin(session: Session, task: Task, model_key: int) -> None:
    from registry.tables import PinRow

    session.merge(PinRow(task=str(task), model_key=model_key))


def delete_pin(session: Session, task: Task) -> None:
    from sqlmodel import col, delete

    from registry.tables import PinRow

    session.execute(delete(PinRow).where(col(PinRow.task) == str(task)))


def _write_models(session: Session, entries: Iterable[Entry], now_s: float) -> None:
    from sqlmodel import col, update

    from registry.tables import ModelRow

    known = [(entry.before, entry) for entry in entries if entry.before is not None]
    for before, entry in known:
        if before.model.id != entry.model.id:
            # Ids are unique and may be swapped between rows: free them all before any is given.
            free = f"\n{before.key}"
            session.execute(update(ModelRow).where(col(ModelRow.key) == before.key).values(model_id=free))
    for before, entry in known:
        values = {
            **model_columns(entry.model, entry.declared_name),
            "missing_since_s": _missing_since(entry, before, now_s),
        }
        session.execute(update(ModelRow).where(col(ModelRow.key) == before.key).values(**values))
    session.add_all(
        ModelRow(**model_columns(entry.model, entry.declared_name)) for entry in entries if entry.before is None
    )


def _missing_since(entry: Entry, before: StoredModel, now_s: float) -> float | None:
    if entry.model.status is not Status.MISSING:
        return None
    return now_s if before.missing_since_s is None else before.missing_since_s


def _write_problems(session: Session, problems: Iterable[FolderProblem]) -> None:
    from sqlmodel import delete

    from registry.tables import ProblemRow

    session.execute(delete(ProblemRow))
    session.add_all(ProblemRow(**problem_columns(problem)) for problem in problems)


def _is_only_under(path: Path, root: Path, keep: Sequence[Path]) -> bool:
    return path.is_relative_to(root) and not any(path.is_relative_to(other) for other in keep)
