"""The frozen values of what was found out about models on this machine: measured, proven, tuned, judged.

Each holds for one ``content`` of its model. Nothing here touches the disk or the database.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from registry.model import Device, Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """What was measured of one model on one device with so many threads; it holds for this ``content`` of the model.

    Averages are exponential. ``loads`` and ``answers`` count what went into them; what belongs to neither was never
    measured and is None. ``resident_bytes`` is the process right after loading, before any request, ``peak_bytes`` the
    most it ever held, at ``context_tokens``; ``load_s`` is from the start of the process. Speeds are of requests that
    had the machine to themselves. ``measured_s`` is Unix time.
    """

    model_id: str
    content: str
    device: Device
    threads: int
    measured_s: float
    loads: int = 0
    load_s: float | None = None
    resident_bytes: int | None = None
    peak_bytes: int | None = None
    context_tokens: int | None = None
    answers: int = 0
    tokens_per_second: float | None = None
    prompt_tokens_per_second: float | None = None
    ttft_s: float | None = None
    prompt_tokens: float | None = None
    completion_tokens: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineProof:
    """Whether the batched engine gave what the generator gives; it holds for this ``content`` of the model.

    And for this ``runtime``, the versions of all that computes. ``proven_s`` is Unix time.
    """

    model_id: str
    content: str
    runtime: str
    is_proven: bool
    proven_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """How this ``content`` of a model runs best with a ``runtime`` on a ``machine``, by a short measurement.

    ``machine`` is its processor and how many cores may be used. ``prefill_chunk_tokens`` None, ``max_concurrent`` None:
    that was not measured, or made no difference. ``tuned_s`` is Unix time.
    """

    model_id: str
    content: str
    runtime: str
    machine: str
    threads: int
    prefill_chunk_tokens: int | None
    max_concurrent: int | None
    tuned_s: float


class EvaluationKind(StrEnum):
    """Where a judgement comes from: items of a test that were passed or not, or a person's rating from 1 to 5."""

    TEST = "test"
    RATING = "rating"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """How well a model did a task here; it holds for this ``content`` of the model.

    ``score`` is a share from 0 to 1: of a test, of its ``items``; of a rating (1 to 5), ``(rating - 1) / 4`` with one
    item. ``is_thinking`` is None where nobody said whether the model reasoned first. ``evaluated_s`` is Unix time.
    """

    model_id: str
    content: str
    task: Task
    kind: EvaluationKind
    score: float
    items: int
    evaluated_s: float
    is_thinking: bool | None = None
    notes: str = ""
