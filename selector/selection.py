"""The frozen values of a choice: what was asked, what competed, what was turned away and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from registry.model import Device, Task


@dataclass(frozen=True, slots=True)
class SelectionRequest:
    """``context_tokens`` is what the caller needs at least (prompt and answer), None for the task's own minimum.

    ``context_limit_tokens`` is the longest context a session is ever sized for, None for the model's own.
    """

    task: Task
    context_tokens: int | None = None
    needs_tools: bool = False
    context_limit_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class SessionFacts:
    """One loaded session, as far as a choice depends on it. Reclaimable: idle and not pinned in memory."""

    model_id: str
    resident_bytes: int
    is_reclaimable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A model that could serve. ``terms`` are quality points, and their sum is ``utility``.

    ``context_tokens`` is the longest context that fits, ``need_bytes`` what the model needs at the context that was
    asked for (or at the task's minimum), ``evidence`` the source of each prediction by name.
    """

    model_id: str
    device: Device
    context_tokens: int
    utility: float
    terms: Mapping[str, float]
    need_bytes: int
    available_bytes: int
    tokens_per_second: float
    ttft_s: float
    evidence: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rejected:
    """A model that was turned away; ``message`` has the numbers."""

    model_id: str
    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The answer: ``chosen`` (None: nothing can serve), why in one sentence, and the whole ledger, best first."""

    task: Task
    chosen: str | None
    device: Device | None
    context_tokens: int | None
    ranking: tuple[Candidate, ...]
    rejected: tuple[Rejected, ...]
    pinned: bool
    reason: str
