"""The frozen values of a choice: what was asked, what is so at the moment, what competed, what was turned away and why.

Invariant: a choice depends on nothing else, so that it can be made again later from the same values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from registry.experience import Evaluation, Measurement
from registry.model import Device, Pin, Task
from selector.hardware.values import Hardware
from selector.policy import Policy


@dataclass(frozen=True, slots=True)
class SelectionRequest:
    """What is asked for.

    ``context_tokens`` is what the caller needs at least (prompt and answer), None for the task's own minimum;
    ``context_limit_tokens`` the longest context a session is ever sized for, None for the model's own.
    ``max_memory_bytes`` is the most that the model may need, ``deadline_s`` the most that a whole answer may take,
    loading included. ``language`` is an ISO 639-1 code. ``allow`` and ``deny`` are globs on ids, names and aliases; an
    empty ``allow`` allows everything. ``thinking``: only candidates that do (or do not) reason before they answer.
    ``is_in_tool_loop``: the conversation waits for the result of a tool, and another model would lose the thread.
    """

    task: Task
    context_tokens: int | None = None
    needs_tools: bool = False
    context_limit_tokens: int | None = None
    policy: Policy = Policy.BALANCED
    needs_vision: bool = False
    needs_json: bool = False
    language: str | None = None
    max_memory_bytes: int | None = None
    deadline_s: float | None = None
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    thinking: bool | None = None
    is_in_tool_loop: bool = False


@dataclass(frozen=True, slots=True)
class SessionFacts:
    """One loaded session, as far as a choice depends on it. Reclaimable: idle and not kept; kept: it never goes.

    ``idle_s`` is how long nobody has used it, ``context_tokens`` what it was loaded for (None: not known),
    ``promised_bytes`` what it may still take beside what it holds.
    """

    model_id: str
    resident_bytes: int
    is_reclaimable: bool
    idle_s: float = 0.0
    context_tokens: int | None = None
    promised_bytes: int = 0
    is_kept: bool = False


@dataclass(frozen=True, slots=True)
class HeldBack:
    """A model that could not be loaded, or whose process keeps dying, and is not tried again for ``seconds_left``."""

    model_id: str
    message: str
    seconds_left: float


@dataclass(frozen=True, slots=True)
class Setback:
    """A model that ran out of memory here: neither it nor what needs as much is tried again for ``seconds_left``."""

    model_id: str
    device: Device
    need_bytes: int
    seconds_left: float


@dataclass(frozen=True, slots=True)
class LastSwap:
    """The last time that another model took over a task: which did, and how long ago."""

    model_id: str
    seconds_ago: float


@dataclass(frozen=True, slots=True)
class Preferences:
    """What people want beside quality: points by glob on id, name or alias, and points by glob on the licence.

    ``allow`` and ``deny`` are what the machine's owner lets anybody use, whatever a request allows.
    """

    models: tuple[tuple[str, float], ...] = ()
    licenses: tuple[tuple[str, float], ...] = ()
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sizing:
    """What sessions of one model get that those of the others do not; None is what they all get."""

    context_tokens: int | None = None
    threads: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What is so at the moment of a choice, beside the models themselves.

    ``memory_budget_bytes`` bounds all sessions together, ``memory_reserve_bytes`` is left to everything else (None: a
    share of the machine's). ``threads`` are those that a session would get: what was
    measured with another number counts like a sibling's. ``sizings``, by model id, are of those that get their own.
    """

    hardware: Hardware
    sessions: tuple[SessionFacts, ...] = ()
    pins: tuple[Pin, ...] = ()
    measurements: tuple[Measurement, ...] = ()
    evaluations: tuple[Evaluation, ...] = ()
    setbacks: tuple[Setback, ...] = ()
    held_back: tuple[HeldBack, ...] = ()
    last_swap: LastSwap | None = None
    preferences: Preferences = Preferences()
    memory_budget_bytes: int | None = None
    memory_reserve_bytes: int | None = None
    threads: int | None = None
    sizings: Mapping[str, Sizing] = field(default_factory=dict)

    def threads_of(self, model_id: str) -> int | None:
        """That a session of this model would get."""
        return self.sizings.get(model_id, Sizing()).threads or self.threads

    def sized(self, request: SelectionRequest, model_id: str) -> SelectionRequest:
        """``request``, with the longest context that a session of this model is sized for."""
        own = self.sizings.get(model_id, Sizing()).context_tokens
        return request if own is None else replace(request, context_limit_tokens=own)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A model in one of its ways of answering. ``terms`` are quality points, and their sum is ``utility``.

    ``thinking`` is None for a model that has only one way. ``context_tokens`` is the longest context that fits,
    ``need_bytes`` what the model needs at the context that was asked for (or at the task's minimum). ``speed_band`` is
    within which factors of ``tokens_per_second`` the truth is likely to lie. ``evidence`` is the source of each
    prediction by name.
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
    answer_s: float
    thinking: bool | None = None
    speed_band: tuple[float, float] = (1.0, 1.0)
    evidence: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rejected:
    """A model that was turned away; ``message`` has the numbers. ``thinking``: only this way of answering was.

    ``retry_s``: after so many seconds it is tried again; None: nobody knows, or never.
    """

    model_id: str
    code: str
    message: str
    thinking: bool | None = None
    retry_s: float | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """Something that would change the answer, in words, and which model it would then be."""

    what: str
    chosen: str


@dataclass(frozen=True, slots=True)
class Ledger:
    """Everything that competed, best first; everything that was turned away, by id; what would change the answer."""

    ranking: tuple[Candidate, ...]
    rejected: tuple[Rejected, ...]
    changes: tuple[Change, ...]


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The answer: ``pick`` (None: nothing can serve) and why in one sentence.

    ``pinned``: a pin decided, and ``rejection`` is why its model cannot serve; ``is_fallback``: the pinned model could
    not serve, and its pin lets slmreg choose.
    The ledger is made when it is first asked for: an answer to a chat needs the pick only.
    """

    request: SelectionRequest
    pick: Candidate | None
    reason: str
    hardware: Hardware
    pinned: bool = False
    rejection: Rejected | None = None
    is_fallback: bool = False
    make_ledger: Callable[[], Ledger] = field(repr=False, compare=False)

    @property
    def task(self) -> Task:
        return self.request.task

    @property
    def chosen(self) -> str | None:
        return self.pick.model_id if self.pick else None

    @property
    def device(self) -> Device | None:
        return self.pick.device if self.pick else None

    @property
    def context_tokens(self) -> int | None:
        return self.pick.context_tokens if self.pick else None

    @property
    def ranking(self) -> tuple[Candidate, ...]:
        return self.ledger.ranking

    @property
    def rejected(self) -> tuple[Rejected, ...]:
        return self.ledger.rejected

    @cached_property
    def ledger(self) -> Ledger:
        return self.make_ledger()
