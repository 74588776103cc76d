"""One model in one of its ways of answering, against one request: first what does not change from moment to moment,
then what does.

    appraise: status, capability, provider, quality, speed, preferences   (kept for as long as models and machine stay)
    settle:   memory, load, deadline, setbacks                            (at every choice)

Invariant: a prospect's utility, once it is settled, is never more than its ``bound``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import floor

from registry.model import Device, Model, Source
from selector.budget import accelerator_bytes, available_bytes
from selector.evidence import Evidence
from selector.filters import (
    has_room,
    is_meant,
    least_context,
    matches,
    reject_capability,
    reject_context,
    reject_deadline,
    reject_held_back,
    reject_language,
    reject_lists,
    reject_memory,
    reject_provider,
    reject_setback,
    reject_status,
    reject_thinking,
)
from selector.footprint import Footprint, footprint, longest_context
from selector.languages import speaks
from selector.quality import Quality, ways_of
from selector.selection import Candidate, Circumstances, Preferences, Rejected, SelectionRequest, SessionFacts
from selector.speed import Speed
from selector.utility import (
    LOAD_SHARE,
    PROFILES,
    answer_s,
    latency_loss,
    memory_loss,
    quality_terms,
    rounded,
    total,
)

# A language is asked for and nobody says whether the model knows it (judged).
UNKNOWN_LANGUAGE_POINTS = -4.0
# Utilities are compared in steps of this many points. Fixed steps, and not the distance to the best, so that removing a
# loser cannot change the answer.
TIE_POINTS = 0.5


@dataclass(frozen=True, slots=True)
class Prospect:
    """A model that may serve, but for what changes from moment to moment.

    ``base`` are the terms that stand. ``cold_loss`` and ``warm_loss`` are what waiting costs, loading included or not.
    """

    model: Model
    thinking: bool | None
    quality: Quality
    speed: Speed
    need: Footprint
    base: Mapping[str, float]
    cold_loss: float
    warm_loss: float
    points: float

    @property
    def bound(self) -> float:
        """The most that its utility can be while the model is not loaded."""
        return round(self.points - self.cold_loss, 2)


@dataclass(frozen=True, slots=True)
class Scene:
    """What all prospects are settled against. ``sessions``: those with the context that the request asks for."""

    request: SelectionRequest
    circumstances: Circumstances
    sessions: Mapping[str, SessionFacts]
    free_bytes: int

    @classmethod
    def of(cls, request: SelectionRequest, circumstances: Circumstances) -> Scene:
        return cls(
            request,
            circumstances,
            {session.model_id: session for session in circumstances.sessions if has_room(session, request)},
            available_bytes(
                circumstances.hardware,
                circumstances.sessions,
                memory_budget_bytes=circumstances.memory_budget_bytes,
                memory_reserve_bytes=circumstances.memory_reserve_bytes,
            ),
        )

    def available_bytes(self, model: Model, need_bytes: int, *, is_cold: bool = False) -> int:
        """Bytes for ``model``. A loaded one keeps at least what it was loaded for: its memory is there already.

        ``is_cold``: for another one that would take its memory from the same place and is not loaded.
        """
        now = self.circumstances
        on_device = None if model.device is Device.CPU else accelerator_bytes(now.hardware, model)
        available = self.free_bytes if on_device is None else on_device
        session = None if is_cold else self.sessions.get(model.id)
        if session is not None:
            if on_device is None:
                available = available_bytes(
                    now.hardware,
                    now.sessions,
                    for_model=model.id,
                    memory_budget_bytes=now.memory_budget_bytes,
                    memory_reserve_bytes=now.memory_reserve_bytes,
                )
            available = max(available, session.resident_bytes, need_bytes)
        most = self.request.max_memory_bytes
        return available if most is None else min(available, most)


def ways(model: Model, request: SelectionRequest) -> tuple[bool | None, ...]:
    """In which ways a model can answer: with reasoning first and without, or its only one (None)."""
    if not model.has_thinking_switch:
        return (None,)
    return (False, True) if len(ways_of(model, request.task)) > 1 else (None,)


def appraise(
    model: Model,
    thinking: bool | None,
    request: SelectionRequest,
    circumstances: Circumstances,
    evidence: Evidence,
) -> Prospect | Rejected:
    """Through the filters in order, cheapest first, and then the terms that stand."""
    request = circumstances.sized(request, model.id)
    rejection = (
        reject_status(model)
        or reject_lists(request, circumstances.preferences, model)
        or reject_capability(request, model)
        or reject_context(request, model)
        or reject_provider(model, circumstances.hardware)
        or reject_language(request, model)
    )
    if rejection is not None:
        return rejection
    quality = evidence.quality(model, request.task, thinks=thinking)
    turned_away = reject_thinking(request, model, quality.thinks, thinking)
    if turned_away is not None:
        return turned_away
    speed = evidence.speed(model)
    base = quality_terms(quality) | _wishes(model, request, circumstances.preferences)
    warm_s = answer_s(request.task, quality, speed, is_loaded=True)
    warm, cold = (
        rounded(latency_loss(request.task, request.policy, seconds))
        for seconds in (warm_s, warm_s + LOAD_SHARE * speed.load_s)
    )
    need = footprint(model, least_context(request, model), loaded_bytes=evidence.loaded_bytes(model))
    return Prospect(model, thinking, quality, speed, need, base, cold, warm, total(base))


def settle(prospect: Prospect, scene: Scene) -> Candidate | Rejected:
    """Whether there is room and time for it now, and then the whole ledger of its terms."""
    model, need = prospect.model, prospect.need
    request = scene.circumstances.sized(scene.request, model.id)
    session = scene.sessions.get(model.id)
    is_loaded = session is not None
    available = scene.available_bytes(model, need.total_bytes)
    seconds = answer_s(request.task, prospect.quality, prospect.speed, is_loaded=is_loaded)
    rejection = (
        reject_memory(model, need, available)
        or reject_held_back(model, scene.circumstances.held_back)
        or reject_setback(model, need, scene.circumstances.setbacks, is_loaded=is_loaded)
        or reject_deadline(request, model, seconds, prospect.thinking)
    )
    if rejection is not None:
        return rejection
    loss = prospect.warm_loss if is_loaded else prospect.cold_loss
    terms = {
        **prospect.base,
        "latency": -loss + 0.0,
        "memory": -rounded(memory_loss(need.total_bytes, available)) + 0.0,
    }
    has = session.context_tokens if session is not None else None
    longest = has or longest_context(model, available, loaded_bytes=need.loaded_bytes)
    speed = prospect.speed
    return Candidate(
        model_id=model.id,
        device=model.device,
        thinking=prospect.thinking,
        context_tokens=min(longest, request.context_limit_tokens or longest),
        utility=total(terms),
        terms=terms,
        need_bytes=need.total_bytes,
        available_bytes=available,
        tokens_per_second=round(speed.tokens_per_second, 1),
        ttft_s=round(speed.ttft_s(PROFILES[request.task].prompt_tokens) + (0 if is_loaded else speed.load_s), 2),
        answer_s=round(seconds, 2),
        speed_band=speed.band,
        evidence=_evidence(prospect, is_loaded=is_loaded),
    )


def _wishes(model: Model, request: SelectionRequest, preferences: Preferences) -> dict[str, float]:
    """Terms for what people want beside quality; only those that are not 0."""
    terms = {
        "preference": sum(points for glob, points in preferences.models if is_meant(model, glob)),
        "license": sum(points for glob, points in preferences.licenses if matches(model.license or "unknown", glob)),
    }
    if request.language is not None and speaks(model, request.language) is None:
        terms["language"] = UNKNOWN_LANGUAGE_POINTS
    return {name: rounded(points) for name, points in terms.items() if points}


def _evidence(prospect: Prospect, *, is_loaded: bool) -> dict[str, str]:
    quality = prospect.quality
    evidence = {"quality": quality.source, "speed": prospect.speed.source, "memory": str(prospect.need)}
    if quality.speciality is not None:
        evidence["specialised"] = quality.speciality
    if is_loaded:
        evidence["loaded"] = "yes"
    return evidence


def step_of(utility: float) -> int:
    """Utilities are compared in steps; within a step the tie-breaks decide."""
    return floor(utility / TIE_POINTS)


def preference(candidate: Candidate, model: Model, *, is_loaded: bool) -> tuple[object, ...]:
    """Sort key, best first: utility in steps, loaded, and then ``standing``."""
    standing = standing_of(model, candidate.thinking, candidate.need_bytes, candidate.terms["uncertainty"])
    return (-step_of(candidate.utility), not is_loaded, standing)


def standing_of(model: Model, thinking: bool | None, need_bytes: int, uncertainty: float) -> tuple[object, ...]:
    """Tie-breaks: answers at once, current, smaller need, more evidence, newer version, id."""
    version = tuple(-int(part) for part in model.version.split(".") if part.isdecimal())
    return (thinking is True, _is_superseded(model), need_bytes, -uncertainty, version, model.id)


def _is_superseded(model: Model) -> bool:
    """Whether it is a snapshot in a Hugging Face cache that the repository has left behind."""
    return model.source is Source.HUGGING_FACE and "main" not in model.refs
