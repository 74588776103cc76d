"""A selection and a machine as the JSON objects of the command line and the HTTP API."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from selector.hardware.values import Hardware
from selector.selection import Candidate, Ledger, Rejected, Selection

_NO_LEDGER = Ledger((), (), ())


def selection_as_json(selection: Selection, hardware: Hardware, *, limit: int | None = None) -> dict[str, Any]:
    """Everything that led to the answer, with the machine it was given for.

    ``limit``: at most so many of the ranking and of what was rejected; with 0 the ledger is not even made.
    """
    ledger = selection.ledger if limit != 0 else _NO_LEDGER
    pick = selection.pick
    return {
        "task": selection.task.value,
        "policy": selection.request.policy.value,
        "chosen": selection.chosen,
        "thinking": pick.thinking if pick else None,
        "device": selection.device.value if selection.device else None,
        "context_tokens": selection.context_tokens,
        "reason": selection.reason,
        "ranking": [_candidate(candidate, pick) for candidate in ledger.ranking[:limit]],
        "rejected": [_rejected(rejected) for rejected in ledger.rejected[:limit]],
        "would_change": [{"what": change.what, "chosen": change.chosen} for change in ledger.changes],
        "pinned": selection.pinned,
        "fallback": selection.is_fallback,
        "hardware": hardware_as_json(hardware),
    }


def hardware_as_json(hardware: Hardware) -> dict[str, Any]:
    """Field by field; the enums in it are strings."""
    return asdict(hardware)


def _candidate(candidate: Candidate, pick: Candidate | None) -> dict[str, Any]:
    """``difference``: how many points it is ahead of the chosen one, mostly less than none."""
    return {
        "id": candidate.model_id,
        "thinking": candidate.thinking,
        "device": candidate.device.value,
        "context_tokens": candidate.context_tokens,
        "utility": candidate.utility,
        "difference": round(candidate.utility - pick.utility, 2) if pick else None,
        "terms": dict(candidate.terms),
        "need_bytes": candidate.need_bytes,
        "available_bytes": candidate.available_bytes,
        "tokens_per_second": candidate.tokens_per_second,
        "speed_band": list(candidate.speed_band),
        "ttft_s": candidate.ttft_s,
        "answer_s": candidate.answer_s,
        "evidence": dict(candidate.evidence),
    }


def _rejected(rejected: Rejected) -> dict[str, Any]:
    told = {"id": rejected.model_id, "code": rejected.code, "message": rejected.message}
    return told if rejected.thinking is None else {**told, "thinking": rejected.thinking}
