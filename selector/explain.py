"""A selection and a machine as the JSON objects of the command line and the HTTP API."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from selector.hardware.values import Hardware
from selector.selection import Candidate, Selection


def selection_as_json(selection: Selection, hardware: Hardware) -> dict[str, Any]:
    """Everything that led to the answer, with the machine it was given for."""
    return {
        "task": selection.task.value,
        "chosen": selection.chosen,
        "device": selection.device.value if selection.device else None,
        "context_tokens": selection.context_tokens,
        "reason": selection.reason,
        "ranking": [_candidate(candidate) for candidate in selection.ranking],
        "rejected": [{"id": r.model_id, "code": r.code, "message": r.message} for r in selection.rejected],
        "pinned": selection.pinned,
        "hardware": hardware_as_json(hardware),
    }


def hardware_as_json(hardware: Hardware) -> dict[str, Any]:
    """Field by field; the enums in it are strings."""
    return asdict(hardware)


def _candidate(candidate: Candidate) -> dict[str, Any]:
    return {
        "id": candidate.model_id,
        "device": candidate.device.value,
        "context_tokens": candidate.context_tokens,
        "utility": candidate.utility,
        "terms": dict(candidate.terms),
        "need_bytes": candidate.need_bytes,
        "available_bytes": candidate.available_bytes,
        "tokens_per_second": candidate.tokens_per_second,
        "ttft_s": candidate.ttft_s,
        "evidence": dict(candidate.evidence),
    }
