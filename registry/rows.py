"""Between the columns of a database row and the frozen values of ``registry.model``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from registry.model import (
    Device,
    ExecutionProvider,
    FolderProblem,
    Model,
    Precision,
    Problem,
    Source,
    Status,
    Task,
)
from registry.problems import ProblemCode


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A model as the registry knows it. ``key`` is its row; ``declared_name`` is what its folder calls it."""

    key: int
    declared_name: str
    model: Model
    missing_since_s: float | None

    @property
    def declared(self) -> Model:
        """The model as its folder declares it, whether or not another folder has the same id."""
        if self.model.name == self.declared_name:
            return self.model
        kept = tuple(problem for problem in self.model.problems if problem.code != ProblemCode.DUPLICATE_ID)
        return replace(self.model, name=self.declared_name, problems=kept)


def model_columns(model: Model, declared_name: str) -> dict[str, Any]:
    return {
        "model_id": model.id,
        "declared_name": declared_name,
        "name": model.name,
        "version": model.version,
        "alias": model.alias,
        "path": str(model.path),
        "source": str(model.source),
        "status": str(model.status),
        "problems": _json([[problem.code, problem.message, problem.file] for problem in model.problems]),
        "tasks": _json([str(task) for task in model.tasks]),
        "family": model.family,
        "model_type": model.model_type,
        "parameters": model.parameters,
        "precision": str(model.precision),
        "accuracy_level": model.accuracy_level,
        "execution_provider": str(model.execution_provider),
        "device": str(model.device),
        "size_bytes": model.size_bytes,
        "weight_bytes": model.weight_bytes,
        "context_tokens": model.context_tokens,
        "kv_bytes_per_token": model.kv_bytes_per_token,
        "vocab_size": model.vocab_size,
        "publisher": model.publisher,
        "license": model.license,
        "fingerprint": model.fingerprint,
        "evidence": _json(dict(model.evidence)),
    }


def stored_model(row: Mapping[str, Any]) -> StoredModel:
    model = Model(
        name=row["name"],
        version=row["version"],
        alias=row["alias"],
        path=Path(row["path"]),
        source=Source(row["source"]),
        status=Status(row["status"]),
        problems=tuple(Problem(*problem) for problem in json.loads(row["problems"])),
        tasks=tuple(Task(task) for task in json.loads(row["tasks"])),
        family=row["family"],
        model_type=row["model_type"],
        parameters=row["parameters"],
        precision=Precision(row["precision"]),
        accuracy_level=row["accuracy_level"],
        execution_provider=ExecutionProvider(row["execution_provider"]),
        device=Device(row["device"]),
        size_bytes=row["size_bytes"],
        weight_bytes=row["weight_bytes"],
        context_tokens=row["context_tokens"],
        kv_bytes_per_token=row["kv_bytes_per_token"],
        vocab_size=row["vocab_size"],
        publisher=row["publisher"],
        license=row["license"],
        fingerprint=row["fingerprint"],
        evidence=json.loads(row["evidence"]),
    )
    return StoredModel(row["key"], row["declared_name"], model, row["missing_since_s"])


def problem_columns(problem: FolderProblem) -> dict[str, Any]:
    return {
        "path": str(problem.path),
        "code": problem.code,
        "message": problem.message,
        "file": problem.file,
        "status": str(problem.status),
    }


def folder_problem(row: Mapping[str, Any]) -> FolderProblem:
    return FolderProblem(Path(row["path"]), row["code"], row["message"], row["file"], Status(row["status"]))


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
