"""What a person means by a name: the models with that id, name or alias, and near names for one that nobody has."""

from __future__ import annotations

import difflib
from collections.abc import Collection
from itertools import chain, islice

from registry.index.state import Models, version_number
from registry.index.stored import StoredModel
from registry.model import Device, Model, Status

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
