"""The JSON shapes that the command line (``--json``) and ``/slmreg`` share. Apps rely on the keys; more may come."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from daemon.pool.pool import SessionSnapshot
from registry.model import Changes, FolderProblem, Model, Pin, Root, Task

Json = dict[str, Any]
ENGINE = "generator"


def model_json(model: Model, *, loaded: bool = False, pinned_for: Collection[Task] = ()) -> Json:
    return {
        "id": model.id,
        "name": model.name,
        "version": model.version,
        "alias": model.alias,
        "tasks": [str(task) for task in model.tasks],
        "family": model.family,
        "model_type": model.model_type,
        "parameters": model.parameters,
        "precision": str(model.precision),
        "execution_provider": str(model.execution_provider),
        "device": str(model.device),
        "size_bytes": model.size_bytes,
        "weight_bytes": model.weight_bytes,
        "kv_bytes_per_token": model.kv_bytes_per_token,
        "context_tokens": model.context_tokens,
        "publisher": model.publisher,
        "license": model.license,
        "path": str(model.path),
        "source": str(model.source),
        "demo": model.is_demo,
        "status": str(model.status),
        "problems": [{"code": p.code, "message": p.message, "file": p.file} for p in model.problems],
        "loaded": loaded,
        "pinned_for": sorted(str(task) for task in pinned_for),
        "measured": {},
        "evidence": dict(model.evidence),
    }


def problem_json(problem: FolderProblem) -> Json:
    return {
        "path": str(problem.path),
        "code": problem.code,
        "message": problem.message,
        "file": problem.file,
        "status": str(problem.status),
    }


def changes_json(changes: Changes) -> Json:
    """Counts, as the contract has them, with the ids of what changed beside them."""
    return {
        "added": len(changes.added),
        "updated": len(changes.updated),
        "missing": len(changes.missing),
        "unchanged": changes.unchanged,
        "problems": [problem_json(problem) for problem in changes.problems],
        "seconds": round(changes.seconds, 4),
        "ids": {
            "added": list(changes.added),
            "updated": list(changes.updated),
            "missing": list(changes.missing),
        },
    }


def root_json(root: Root, *, models: int, problems: int) -> Json:
    return {
        "path": str(root.path),
        "source": str(root.source),
        "exists": root.exists,
        "added_by_user": root.added_by_user,
        "models": models,
        "problems": problems,
    }


def pin_json(pin: Pin) -> Json:
    return {"task": str(pin.task), "model": pin.model_id}


def session_json(session: SessionSnapshot, *, pinned: bool = False) -> Json:
    """``pinned``: for some task. ``expires_s`` is None: an idle session stays until its memory is needed."""
    return {
        "id": session.model_id,
        "state": str(session.state),
        "pid": session.pid,
        "resident_bytes": session.resident_bytes,
        "active": session.active,
        "queued": session.queued,
        "device": session.device,
        "threads": session.threads,
        "context_tokens": session.context_tokens,
        "engine": ENGINE,
        "idle_s": round(session.idle_s, 1),
        "expires_s": None,
        "pinned": pinned,
        "failure": session.failure,
    }
