"""Predicted and measured side by side: how far off was the prediction?

The predictions here know nothing of what was measured of any model, or the comparison would mean nothing.
"""

from __future__ import annotations

from typing import Any

from daemon.shapes import iso_time
from registry.experience import Evaluation, Measurement
from registry.model import Model
from selector.evidence import Evidence
from selector.footprint import need_bytes
from selector.selection import Circumstances

# The prompt that a first token is predicted for where none was measured.
USUAL_PROMPT_TOKENS = 512


def prediction_json(model: Model, measured: Measurement | None, unmeasured: Circumstances) -> dict[str, Any]:
    """What was to be expected, for the context and the prompts that were measured, and measured by predicted as
    ``off_by`` (1.0 is right; None where one of them is missing)."""
    speed = Evidence([model], unmeasured).speed(model)
    context = (measured.context_tokens if measured else None) or min(8192, model.context_tokens)
    prompt = (measured.prompt_tokens if measured else None) or USUAL_PROMPT_TOKENS
    predicted: dict[str, float | None] = {
        "tokens_per_second": round(speed.tokens_per_second, 1),
        "prompt_tokens_per_second": round(speed.prompt_tokens_per_second, 1),
        "ttft_s": round(speed.ttft_s(round(prompt)), 3),
        "load_s": round(speed.load_s, 2),
        "peak_bytes": need_bytes(model, context),
    }
    return {
        **predicted,
        "context_tokens": context,
        "prompt_tokens": round(prompt),
        "source": speed.source,
        "off_by": {name: _ratio(getattr(measured, name, None), value) for name, value in predicted.items()},
    }


def measurement_json(measured: Measurement) -> dict[str, Any]:
    """What the key ``measured`` of a model holds."""
    return {
        "device": str(measured.device),
        "threads": measured.threads,
        "loads": measured.loads,
        "load_s": _rounded(measured.load_s, 2),
        "resident_bytes": measured.resident_bytes,
        "peak_bytes": measured.peak_bytes,
        "context_tokens": measured.context_tokens,
        "answers": measured.answers,
        "tokens_per_second": _rounded(measured.tokens_per_second, 1),
        "prompt_tokens_per_second": _rounded(measured.prompt_tokens_per_second, 1),
        "ttft_s": _rounded(measured.ttft_s, 3),
        "prompt_tokens": _rounded(measured.prompt_tokens, 0),
        "completion_tokens": _rounded(measured.completion_tokens, 0),
        "measured_at": iso_time(measured.measured_s),
    }


def evaluation_json(evaluation: Evaluation) -> dict[str, Any]:
    """``rating`` (1 to 5) or ``passed`` of ``items``."""
    is_rating = evaluation.kind == "rating"
    return {
        "model": evaluation.model_id,
        "task": str(evaluation.task),
        "kind": str(evaluation.kind),
        "rating": round(1 + 4 * evaluation.score) if is_rating else None,
        "passed": None if is_rating else round(evaluation.score * evaluation.items),
        "items": evaluation.items,
        "score": round(evaluation.score, 4),
        "thinking": evaluation.is_thinking,
        "notes": evaluation.notes,
        "evaluated_at": iso_time(evaluation.evaluated_s),
    }


def _ratio(measured: float | None, predicted: float | None) -> float | None:
    return round(measured / predicted, 2) if measured and predicted else None


def _rounded(value: float | None, digits: int) -> float | None:
    return round(value, digits) if value is not None else None
