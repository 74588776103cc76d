"""The JSON shapes that the command line (``--json``) and ``/slmreg`` share. Apps rely on the keys; more may come."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from registry.experience import Tuning
from registry.model import Changes, FolderProblem, Markers, Model, Pin, Preset, Root, Status, Task

if TYPE_CHECKING:  # none of this is for every command
    from daemon.decisions import Decision
    from daemon.model_overrides import Applied
    from daemon.pool.account import SessionSnapshot
    from daemon.tuner import Report
    from daemon.unwritten import Trouble
    from registry.index.recovery import Recovery
    from registry.watch import WatchState

Json = dict[str, Any]


def model_json(
    model: Model,
    *,
    loaded: bool = False,
    pinned_for: Collection[Task] = (),
    measured: Json | None = None,
    failure: Json | None = None,
) -> Json:
    return {
        "id": model.id,
        "name": model.name,
        "version": model.version,
        "alias": model.alias,
        "tasks": [str(task) for task in model.tasks],
        "family": model.family,
        "model_type": model.model_type,
        "parameters": model.parameters,
        "active_parameters": model.active_parameters,
        "precision": str(model.precision),
        "block_size": model.block_size,
        "accuracy_level": model.accuracy_level,
        "execution_provider": str(model.execution_provider),
        "device": str(model.device),
        "size_bytes": model.size_bytes,
        "weight_bytes": model.weight_bytes,
        "kv_bytes_per_token": model.kv_bytes_per_token,
        "kv_precision": str(model.kv_precision),
        "context_tokens": model.context_tokens,
        "max_length": model.max_length,
        "max_output_tokens": model.max_output_tokens,
        "sliding_window": model.sliding_window,
        "vocab_size": model.vocab_size,
        "modalities": [str(modality) for modality in model.modalities],
        "has_chat_template": model.has_chat_template,
        "chat_template": model.chat_template,
        "can_reason": model.can_reason,
        "has_thinking_switch": model.has_thinking_switch,
        "languages": list(model.languages),
        "tool_markers": _markers_json(model.tool_markers),
        "reasoning_markers": _markers_json(model.reasoning_markers),
        "adapters": list(model.adapters),
        "paged_attention": model.is_paged,
        "custom_ops_library": model.custom_ops_library,
        "publisher": model.publisher,
        "license": model.license,
        "path": str(model.path),
        "locations": [str(path) for path in model.locations],
        "source": str(model.source),
        "refs": list(model.refs),
        "demo": model.is_demo,
        "status": str(model.status),
        "problems": [{"code": p.code, "message": p.message, "file": p.file} for p in model.problems],
        "content": model.content,
        "revision": model.revision,
        "missing_since": iso_time(model.missing_since_s),
        "verified_at": iso_time(model.verified_s),
        "evidence": dict(model.evidence),
        **marks_json(loaded=loaded, pinned_for=pinned_for, measured=measured, failure=failure),
    }


def marks_json(
    *, loaded: bool, pinned_for: Collection[Task], measured: Json | None = None, failure: Json | None = None
) -> Json:
    """The keys of a model, its last ones, that do not come from its folder.

    ``failure``: it could not be loaded, or its process died, a short while ago.
    """
    pins = sorted(str(task) for task in pinned_for)
    return {"measured": measured or {}, "loaded": loaded, "failure": failure, "pinned_for": pins}


def model_event_json(model: Model, status: Status) -> Json:
    """The little that an event says of a model; everything else is one request away."""
    return {
        "id": model.id,
        "alias": model.alias,
        "path": str(model.path),
        "source": str(model.source),
        "status": str(status),
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


def last_scan_json(changes: Changes, *, finished_s: float) -> Json:
    """Of a scan of everything, without the ids."""
    return {
        "at": iso_time(finished_s),
        "seconds": round(changes.seconds, 4),
        "added": len(changes.added),
        "updated": len(changes.updated),
        "missing": len(changes.missing),
        "unchanged": changes.unchanged,
        "problems": len(changes.problems),
    }


def recovery_json(recovery: Recovery) -> Json:
    """What happened to a damaged registry file when it was opened."""
    return {
        "kept": str(recovery.kept) if recovery.kept is not None else None,
        "reason": recovery.reason,
        "restored": {
            "pins": recovery.pins,
            "roots": recovery.roots,
            "hints": recovery.hints,
            "allowed_libraries": recovery.allowed_libraries,
            "verifications": recovery.verifications,
            "evaluations": recovery.evaluations,
            "api_keys": recovery.api_keys,
            "presets": recovery.presets,
        },
    }


def unwritten_json(trouble: Trouble) -> Json:
    """What cannot be written down at the moment."""
    return {"what": trouble.what, "message": trouble.message, "since": iso_time(trouble.since_s)}


def root_json(root: Root, *, models: int, problems: int, watched: WatchState | None) -> Json:
    """``watched`` is None where no daemon runs, and for a root that is switched off."""
    return {
        "path": str(root.path),
        "source": str(root.source),
        "exists": root.exists,
        "enabled": root.is_enabled,
        "added_by_user": root.added_by_user,
        "settle_s": root.settle_s,
        "models": models,
        "problems": problems,
        "watched": watch_json(watched) if watched is not None else None,
    }


def watch_json(state: WatchState) -> Json:
    return {"path": str(state.path), "method": str(state.method), "reason": state.reason}


def root_event_json(root: Root, *, is_root: bool) -> Json:
    """``is_root``: False for one that was a root until now. ``searched``: whether models are looked for there now."""
    return {
        "path": str(root.path),
        "source": str(root.source),
        "exists": root.exists,
        "enabled": root.is_enabled and is_root,
        "searched": root.exists and root.is_enabled and is_root,
    }


def pin_event_json(pin: Pin) -> Json:
    """``waiting``: ``model`` is a name that no model here has yet."""
    return {
        "task": str(pin.task),
        "model": pin.model_id,
        "waiting": pin.is_waiting,
        "pattern": pin.pattern,
        "fallback": str(pin.fallback),
    }


def override_json(applied: Applied) -> Json | None:
    """The settings for one model alone, as they stand in ``config.toml``; None if there are none."""
    if applied.pattern is None:
        return None
    return {"pattern": applied.pattern, **applied.override.said()}


def pin_json(pin: Pin, why_not: str | None) -> Json:
    """``serves``: the model that requests get by this pin now; None where ``problem`` says why it cannot."""
    return {**pin_event_json(pin), "serves": pin.model_id if why_not is None else None, "problem": why_not}


def preset_json(preset: Preset, means: str | None) -> Json:
    """``means``: the id of the model that it stands for now; None where slmreg chooses, and where that is gone."""
    return {
        "name": preset.name,
        "from": preset.base,
        "means": means,
        "system": preset.system,
        "parameters": dict(preset.parameters),
        "messages": [dict(message) for message in preset.messages],
        "modified_at": iso_time(preset.modified_s),
    }


def decision_json(decision: Decision) -> Json:
    """A recorded choice, without its ledger."""
    selection = decision.selection
    return {
        "id": decision.id,
        "at": iso_time(decision.decided_s),
        "model": decision.reference,
        "task": str(selection.task),
        "task_because": decision.task_because,
        "chosen": selection.chosen,
        "reason": selection.reason,
    }


def session_json(session: SessionSnapshot) -> Json:
    """``expires_s``: when an idle session goes by itself, in seconds from now; None: not for its age alone.

    ``pinned``: in memory, until somebody unloads it. ``warm_for``: the tasks whose best model it is kept warm as.
    ``engine_reason``: why its engine is not the batched one. ``kv_token_bytes``: what one token of a request takes.
    ``cores``: the logical CPUs it is held to while others answer too; empty: it may use all. ``max_concurrent``: how
    many requests it answers at the same time. ``row_bytes`` is what the key-value cache of each of them takes now,
    ``kept_bytes`` that of each finished sequence that is kept, ``kv_bytes`` all of it (None: nobody knows). Rooms of
    them all are ``reserved_tokens``, of at most ``cache_tokens``.
    """
    return {
        "id": session.model_id,
        "state": str(session.state),
        "pid": session.pid,
        "resident_bytes": session.resident_bytes,
        "active": session.active,
        "queued": session.queued,
        "device": session.device,
        "threads": session.threads,
        "cores": list(session.cores),
        "context_tokens": session.context_tokens,
        "engine": session.engine,
        "engine_reason": session.engine_reason,
        "kv_token_bytes": session.kv_token_bytes,
        "max_concurrent": session.max_concurrent,
        **_kv_json(session),
        "template_source": session.template_source,
        "idle_s": round(session.idle_s, 1),
        "expires_s": round(session.expires_s, 1) if session.expires_s is not None else None,
        "pinned": session.is_kept,
        "warm_for": list(session.warm_for),
        "failure": failure_json(session),
    }


def _kv_json(session: SessionSnapshot) -> Json:
    each = session.kv_token_bytes
    rows, kept = (
        None if each is None else [tokens * each for tokens in held]
        for held in (session.row_tokens, session.kept_tokens)
    )
    return {
        "row_bytes": rows,
        "kept_bytes": kept,
        "kv_bytes": None if rows is None or kept is None else sum(rows) + sum(kept),
        "reserved_tokens": session.reserved_tokens,
        "cache_tokens": session.cache_tokens or None,
    }


def tuning_json(tuning: Tuning) -> Json:
    """How a model was found to run best, where, and with which versions. None: that was not measured."""
    return {
        "threads": tuning.threads,
        "prefill_chunk_tokens": tuning.prefill_chunk_tokens,
        "max_concurrent": tuning.max_concurrent,
        "machine": tuning.machine,
        "runtime": tuning.runtime,
        "tuned_at": iso_time(tuning.tuned_s),
    }


def tuning_report_json(report: Report) -> Json:
    """``measured``: for each number of threads tokens per second, by requests at the same time (``answering``) and by
    tokens of a prompt in one call (``reading``)."""
    return {
        "id": report.tuning.model_id,
        **tuning_json(report.tuning),
        "seconds": round(report.seconds, 1),
        "measured": [
            {"threads": trial.threads, "answering": _rates(trial.step_s), "reading": _rates(trial.read_s)}
            for trial in report.trials
        ],
    }


def _rates(seconds: Mapping[int, float]) -> dict[str, float]:
    return {str(size): round(size / each, 1) for size, each in seconds.items() if each}


def failure_json(session: SessionSnapshot) -> Json | None:
    """``retry_s``: how long it is not tried again for a request; None: the next one tries at once."""
    if session.failure is None:
        return None
    retry_s = round(session.retry_s, 1) if session.retry_s is not None else None
    return {"kind": session.failure_kind, "message": session.failure, "retry_s": retry_s}


def _markers_json(markers: Markers | None) -> Json | None:
    return {"start": markers.start, "end": markers.end} if markers is not None else None


def iso_time(unix_s: float | None) -> str | None:
    """ISO 8601 in UTC, to the second."""
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="seconds") if unix_s is not None else None
