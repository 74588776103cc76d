"""Pins as they are kept, and what each of them means among the models that are here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from registry.index.models import Models
from registry.index.reference import can_serve, candidates, newest
from registry.model import Fallback, Pin, Task

_FALLBACKS = frozenset(Fallback)


@dataclass(frozen=True, slots=True)
class StoredPin:
    """Of a row, wherever that goes; or of what a ``pattern`` means at the moment; or of no model yet.

    ``reference`` is then the id, name or alias that is waited for.
    """

    task: Task
    model_key: int | None
    reference: str | None = None
    pattern: str | None = None
    fallback: Fallback = Fallback.ERROR


def meant_now(models: Models, pin: StoredPin) -> Pin:
    """Of a row that is missing too; waiting where nothing matches a pattern, or nobody answers to a reference."""
    if pin.pattern is not None:
        row = newest(models, pin.task, pin.pattern)
    else:
        row = models.rows[pin.model_key] if pin.model_key is not None else None
    return Pin(
        task=pin.task,
        model_id=row.model.id if row else pin.pattern or pin.reference or "",
        is_waiting=row is None,
        pattern=pin.pattern,
        fallback=pin.fallback,
    )


def pin_columns(pin: StoredPin) -> dict[str, Any]:
    return {**asdict(pin), "task": str(pin.task), "fallback": str(pin.fallback)}


def stored_pin(columns: Mapping[str, Any]) -> StoredPin:
    """An older slmreg wrote down neither patterns nor fallbacks. ValueError, KeyError: they make no sense."""
    fallback = columns.get("fallback")
    return StoredPin(
        task=Task(columns["task"]),
        model_key=columns["model_key"],
        reference=columns["reference"],
        pattern=columns.get("pattern"),
        # What only a newer slmreg does in its place is no reason to use another model than the pinned one.
        fallback=Fallback(fallback) if fallback in _FALLBACKS else Fallback.ERROR,
    )


def with_its_model(models: Models, pin: StoredPin) -> StoredPin:
    """A pin with a reference: of the best model that this can mean and that can do the task now, else as it is."""
    rows = candidates(models, pin.reference or "")
    row = next((row for row in rows if can_serve(row, pin.task)), None)
    return replace(pin, model_key=row.key, reference=None) if row else pin
