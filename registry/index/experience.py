"""Between database rows and what was seen and said of models here: measurements, proofs, tunings and evaluations."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, fields
from typing import Any

from registry.experience import EngineProof, Evaluation, EvaluationKind, Measurement, Tuning
from registry.index.rows import json_text
from registry.index.stored import StoredEvaluation
from registry.model import Device, Task

_TASKS, _KINDS, _DEVICES = frozenset(Task), frozenset(EvaluationKind), frozenset(Device)
_TUNED = tuple(field.name for field in fields(Tuning))
_MEASURED = tuple(field.name for field in fields(Measurement) if field.name not in ("model_id", "device"))


def measurement_columns(model_key: int, measured: Measurement) -> dict[str, Any]:
    numbers = {name: getattr(measured, name) for name in _MEASURED}
    return {"model_key": model_key, "device": str(measured.device), **numbers}


def measurements(rows: Iterable[Mapping[str, Any]]) -> Iterator[Measurement]:
    """From columns of ``measurements`` and the model's present id. What only a newer slmreg knows is left out."""
    for row in rows:
        if row["device"] in _DEVICES:
            numbers = {name: row[name] for name in _MEASURED}
            yield Measurement(model_id=row["model_id"], device=Device(row["device"]), **numbers)


def keyed_columns(model_key: int, found: EngineProof | Tuning) -> dict[str, Any]:
    """The key of the model's row stands in the place of its id."""
    columns = asdict(found)
    del columns["model_id"]
    return {"model_key": model_key, **columns}


def engine_proofs(rows: Iterable[Mapping[str, Any]]) -> Iterator[EngineProof]:
    """From columns of ``engine_proofs`` and the model's present id."""
    for row in rows:
        yield EngineProof(
            model_id=row["model_id"],
            content=row["content"],
            runtime=row["runtime"],
            is_proven=bool(row["is_proven"]),
            proven_s=row["proven_s"],
        )


def tunings(rows: Iterable[Mapping[str, Any]]) -> Iterator[Tuning]:
    """From columns of ``tunings`` and the model's present id."""
    for row in rows:
        yield Tuning(**{name: row[name] for name in _TUNED})


def evaluation_columns(stored: StoredEvaluation) -> dict[str, Any]:
    """``notes`` as JSON, so that whatever a person wrote can be stored."""
    said = stored.said
    texts = {"task": str(said.task), "kind": str(said.kind), "notes": json_text(said.notes)}
    return {"key": stored.key, "model_key": stored.model_key, **asdict(said), **texts}


def evaluations(rows: Iterable[Mapping[str, Any]]) -> Iterator[StoredEvaluation]:
    """What only a newer slmreg knows is left out. ValueError, KeyError, TypeError: a row makes no sense."""
    for row in rows:
        if row["task"] in _TASKS and row["kind"] in _KINDS:
            yield StoredEvaluation(int(row["key"]), int(row["model_key"]), _said(row))


def _said(row: Mapping[str, Any]) -> Evaluation:
    is_thinking = row["is_thinking"]
    return Evaluation(
        model_id=row["model_id"],
        content=row["content"],
        task=Task(row["task"]),
        kind=EvaluationKind(row["kind"]),
        score=float(row["score"]),
        items=int(row["items"]),
        evaluated_s=float(row["evaluated_s"]),
        is_thinking=None if is_thinking is None else bool(is_thinking),
        notes=json.loads(row["notes"]),
    )
