"""What a person means by a name or a pattern, and near names for one that nobody has."""

from __future__ import annotations

import difflib
import fnmatch
import re
from collections.abc import Collection
from itertools import chain, islice

from registry.index.models import Models, version_number
from registry.index.stored import StoredModel
from registry.model import Device, Model, Status, Task

_MAIN = "main"
# How many names difflib compares, which takes 20 us for each.
_MAX_COMPARED = 100
# By what they are chosen from among thousands: so many pieces of a name, of so many letters.
_MAX_PIECES, _PIECE = 6, 3


def candidates(models: Models, reference: str) -> tuple[StoredModel, ...]:
    """Every model that ``reference`` can mean, best first: that id, else that name, else that alias.

    Case does not count. Best: ready ones, then those for the CPU, then what a Hugging Face cache calls main, then the
    newest version, then what came last, then by id.
    """
    wanted = reference.strip().casefold()
    if wanted in models.ids:
        return (models.rows[models.ids[wanted]],)
    rows = [models.rows[key] for key in models.names[wanted]]
    named = [row for row in rows if row.model.name.casefold() == wanted]
    return tuple(sorted(named or rows, key=_preference))


def newest(models: Models, task: Task, pattern: str) -> StoredModel | None:
    """Of the ready models whose id, name or alias fits ``pattern`` and that can do ``task``, the newest.

    ``*``, ``?`` and ``[]`` are as in file names, and case does not count. Newest: a real model before the demo model,
    then one for the CPU, which runs anywhere, then the highest version, whatever the names (a Hugging Face revision has
    none), then what a Hugging Face cache calls main, then what came last, then by id.
    """
    fits = re.compile(fnmatch.translate(pattern.strip().casefold())).match
    found = {*models.names.where(fits), *(key for model_id, key in models.ids.items() if fits(model_id))}
    rows = (models.rows[key] for key in found)
    return min((row for row in rows if can_serve(row, task)), key=_age, default=None)


def can_serve(row: StoredModel, task: Task) -> bool:
    return row.model.status is Status.READY and task in row.model.tasks


def near(models: Models, reference: str) -> tuple[str, ...]:
    """Up to three names or aliases that look like ``reference``."""
    present = (model for model in models.listing if model.status is not Status.MISSING)
    names = {text.casefold(): text for model in present for text in (model.name, model.alias)}
    wanted = reference.strip().casefold()
    inside = [name for name in names if wanted and wanted in name]
    close = difflib.get_close_matches(wanted, _alike(wanted, names), n=3, cutoff=0.5)
    return tuple(names[name] for name in dict.fromkeys([*close, *sorted(inside)]))[:3]


def _alike(wanted: str, names: Collection[str]) -> list[str]:
    """The names that may be near ``wanted``: those with a piece of it, and first those with one that few names have."""
    if len(names) <= _MAX_COMPARED:
        return list(names)
    step = max(_PIECE, -(-len(wanted) // _MAX_PIECES))
    pieces = [wanted[start : start + _PIECE] for start in range(0, len(wanted), step)]
    found = sorted(([name for name in names if piece in name] for piece in pieces), key=len)
    return list(islice(dict.fromkeys(chain.from_iterable(found)), _MAX_COMPARED))


def _preference(row: StoredModel) -> tuple[bool, bool, bool, int, float, str]:
    model: Model = row.model
    return (
        model.status is not Status.READY,
        model.device is not Device.CPU,
        _MAIN not in model.refs,
        -version_number(model),
        -row.first_seen_s,
        model.id,
    )


def _age(row: StoredModel) -> tuple[bool, bool, int, bool, float, str]:
    model: Model = row.model
    return (
        model.is_demo,
        model.device is not Device.CPU,
        -version_number(model),
        _MAIN not in model.refs,
        -row.first_seen_s,
        model.id,
    )
