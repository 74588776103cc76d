"""The folders that a person adds: how they are remembered, and what goes with one that is removed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from registry.errors import InvalidRoot
from registry.files.listing import is_text
from registry.index.draft import Draft
from registry.index.plan import Plan
from registry.index.reconcile import with_distinct_ids
from registry.index.state import State
from registry.index.stored import StoredModel
from registry.model import Changes, Model, Source


def absolute(path: Path) -> Path:
    """Raises InvalidRoot."""
    try:
        return path.expanduser().resolve()
    except (OSError, RuntimeError) as error:
        raise InvalidRoot(f"{path} is not a usable path: {error}.") from error


def readable_directory(path: Path) -> Path:
    """``path`` without links and dots. Raises InvalidRoot."""
    root = absolute(path)
    try:
        with os.scandir(root):
            pass
    except FileNotFoundError:
        raise InvalidRoot(f"{root} does not exist. Create it first, or check the spelling.") from None
    except NotADirectoryError:
        raise InvalidRoot(f"{root} is a file, not a folder. Add the folder that holds the model folders.") from None
    except OSError as error:
        raise InvalidRoot(f"{root} cannot be read: {error.strerror or error}. Check its permissions.") from error
    if not is_text(str(root)):
        raise InvalidRoot(f"{str(root)!a} has a name that is not UTF-8. Rename it.")
    return root


def plan_without(state: State, root: Path, *, keep: Sequence[Path], now_s: float) -> Plan:
    """What was found in ``root`` and not below one of the roots in ``keep`` is forgotten.

    What is pinned or was judged is missing from then on; a model that is elsewhere too goes on there.
    """
    left: dict[int, StoredModel] = {}
    forgotten: set[int] = set()
    for row in state.models.rows.values():
        inside = [model for model in (row.declared, *row.others) if _is_only_under(model, root, keep)]
        if not inside:
            continue
        draft = Draft.of(row)
        for model in inside:
            draft.loses(str(model.path))
        draft.settle()
        if draft.folder is None and row.key not in state.kept_keys:
            forgotten.add(row.key)
        else:
            left[row.key] = draft.finished(now_s)
    rows = with_distinct_ids(state, left, forgotten=forgotten)
    problems = [path for path, each in state.problems.items() if _is_only_in(each.path, root, keep)]
    return Plan(rows, frozenset(forgotten), (), frozenset(problems), Changes())


def _is_only_under(model: Model, root: Path, keep: Sequence[Path]) -> bool:
    return model.source is Source.FOLDER and _is_only_in(model.path, root, keep)


def _is_only_in(path: Path, root: Path, keep: Sequence[Path]) -> bool:
    return path.is_relative_to(root) and not any(path.is_relative_to(other) for other in keep)
