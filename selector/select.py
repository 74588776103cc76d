"""The choice: hard filters, then a utility ledger, then ties, the incumbent, and pins above all. Pure.

Invariant: the same input gives the same answer in whatever order the models come, and every model is either ranked with
its ledger or rejected with a reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import floor

from registry.model import Model, Pin, Source, Status
from selector.budget import accelerator_bytes, available_bytes
from selector.filters import (
    least_context,
    reject_capability,
    reject_context,
    reject_memory,
    reject_provider,
    reject_status,
)
from selector.footprint import Footprint, footprint, format_bytes, longest_context
from selector.hardware.values import Hardware
from selector.quality import Quality, estimate_quality
from selector.selection import Candidate, Rejected, Selection, SelectionRequest, SessionFacts
from selector.speed import Speed, predict_speed
from selector.utility import PROFILES, total, utility_terms

# Utilities are compared in steps of this many points; within a step the tie-breaks decide. Fixed steps, and not the
# distance to the best, so that removing a loser cannot change the answer.
TIE_POINTS = 0.5
# A loaded model stays unless it is beaten by more than this many steps (2 points).
INCUMBENT_STEPS = 4


@dataclass(frozen=True, slots=True)
class _Scene:
    """Everything that all models are judged against."""

    request: SelectionRequest
    hardware: Hardware
    sessions: Sequence[SessionFacts]
    memory_budget_bytes: int | None
    has_real_model: bool
    pinned_id: str | None
    free_bytes: int
    loaded: frozenset[str]


def select(
    request: SelectionRequest,
    models: Iterable[Model],
    hardware: Hardware,
    *,
    sessions: Sequence[SessionFacts] = (),
    pins: Iterable[Pin] = (),
    memory_budget_bytes: int | None = None,
) -> Selection:
    """The best model for ``request`` here and now, with the whole ledger.

    A pin for the task wins over every score and is never replaced: if the pinned model cannot serve, nothing is chosen
    and ``reason`` says why. ``memory_budget_bytes`` bounds all sessions together.
    """
    known = {model.id: model for model in models}
    pinned_id = min((pin.model_id for pin in pins if pin.task is request.task), default=None)
    scene = _Scene(
        request=request,
        hardware=hardware,
        sessions=sessions,
        memory_budget_bytes=memory_budget_bytes,
        has_real_model=any(
            not m.is_demo and m.status is Status.READY and request.task in m.tasks for m in known.values()
        ),
        pinned_id=pinned_id,
        free_bytes=available_bytes(hardware, sessions, memory_budget_bytes=memory_budget_bytes),
        loaded=frozenset(session.model_id for session in sessions),
    )
    verdicts = [_judge(model, scene) for model in known.values()]
    candidates = [verdict for verdict in verdicts if isinstance(verdict, Candidate)]
    ranking = sorted(candidates, key=lambda c: _preference(c, known[c.model_id], c.model_id in scene.loaded))
    rejected = sorted((v for v in verdicts if isinstance(v, Rejected)), key=lambda r: r.model_id)
    chosen, reason = _choose(ranking, rejected, scene)
    return Selection(
        task=request.task,
        chosen=chosen.model_id if chosen else None,
        device=chosen.device if chosen else None,
        context_tokens=chosen.context_tokens if chosen else None,
        ranking=tuple(ranking),
        rejected=tuple(rejected),
        pinned=pinned_id is not None,
        reason=reason,
    )


def _judge(model: Model, scene: _Scene) -> Candidate | Rejected:
    """Through the filters in order, cheapest first, and then the ledger."""
    request = scene.request
    rejection = (
        reject_status(model)
        or reject_capability(request, model)
        or _reject_demo(model, scene)
        or reject_context(request, model)
        or reject_provider(model, scene.hardware)
    )
    if rejection is not None:
        return rejection
    need = footprint(model, least_context(request, model))
    available = _available(model, need, scene)
    return reject_memory(model, need, available) or _candidate(model, need, available, scene)


def _reject_demo(model: Model, scene: _Scene) -> Rejected | None:
    if not model.is_demo or not scene.has_real_model or model.id == scene.pinned_id:
        return None
    task = scene.request.task
    return Rejected(model.id, "demo_model", f"is the demo model, and a real model for {task} is here")


def _available(model: Model, need: Footprint, scene: _Scene) -> int:
    """Bytes for ``model``. A loaded one keeps at least what it was loaded for: its memory is there already."""
    on_device = accelerator_bytes(scene.hardware, model)
    available = scene.free_bytes if on_device is None else on_device
    if model.id not in scene.loaded:
        return available
    own = max(session.resident_bytes for session in scene.sessions if session.model_id == model.id)
    if on_device is None:
        available = available_bytes(
            scene.hardware, scene.sessions, for_model=model.id, memory_budget_bytes=scene.memory_budget_bytes
        )
    return max(available, own, need.total_bytes)


def _candidate(model: Model, need: Footprint, available: int, scene: _Scene) -> Candidate:
    request = scene.request
    is_loaded = model.id in scene.loaded
    quality = estimate_quality(model, request.task)
    speed = predict_speed(model, scene.hardware)
    terms = utility_terms(
        request.task,
        quality,
        speed,
        is_loaded=is_loaded,
        need_bytes=need.total_bytes,
        available_bytes=available,
    )
    longest = longest_context(model, available)
    return Candidate(
        model_id=model.id,
        device=model.device,
        context_tokens=min(longest, request.context_limit_tokens or longest),
        utility=total(terms),
        terms=terms,
        need_bytes=need.total_bytes,
        available_bytes=available,
        tokens_per_second=round(speed.tokens_per_second, 1),
        ttft_s=round(speed.ttft_s(PROFILES[request.task].prompt_tokens) + (0 if is_loaded else speed.load_s), 2),
        evidence=_evidence(quality, speed, str(need), is_loaded),
    )


def _evidence(quality: Quality, speed: Speed, need: str, is_loaded: bool) -> dict[str, str]:
    evidence = {"quality": quality.source, "speed": f"predicted from {speed.source}", "memory": need}
    if quality.speciality is not None:
        evidence["specialised"] = quality.speciality
    if is_loaded:
        evidence["loaded"] = "yes"
    return evidence


def _preference(candidate: Candidate, model: Model, is_loaded: bool) -> tuple[object, ...]:
    """Sort key, best first: utility in steps, loaded, current, smaller need, more evidence, newer version, id."""
    version = tuple(-int(part) for part in model.version.split(".") if part.isdecimal())
    return (
        -_step(candidate),
        not is_loaded,
        _is_superseded(model),
        candidate.need_bytes,
        -candidate.terms["uncertainty"],
        version,
        candidate.model_id,
    )


def _is_superseded(model: Model) -> bool:
    """Whether it is a snapshot in a Hugging Face cache that the repository has left behind."""
    return model.source is Source.HUGGING_FACE and "main" not in model.refs


def _step(candidate: Candidate) -> int:
    return floor(candidate.utility / TIE_POINTS)


def _choose(ranking: Sequence[Candidate], rejected: Sequence[Rejected], scene: _Scene) -> tuple[Candidate | None, str]:
    """The chosen candidate, and why in one sentence."""
    task = scene.request.task
    if scene.pinned_id is not None:
        return _pinned(ranking, rejected, scene.pinned_id, scene)
    if not ranking:
        return None, _nothing(rejected, scene)
    best = ranking[0]
    incumbent = next((c for c in ranking if c.model_id in scene.loaded), None)
    if incumbent is not None and incumbent is not best and _step(best) - _step(incumbent) <= INCUMBENT_STEPS:
        lead = best.utility - incumbent.utility
        return incumbent, (
            f"{incumbent.model_id} is loaded and good for {task} ({_points(incumbent)}): "
            f"{best.model_id} is ahead by {lead:.1f}, too little to swap for."
        )
    speed = f"about {best.tokens_per_second:.0f} tok/s"
    if len(ranking) == 1:
        return best, f"{best.model_id} is the only one that can serve {task}: {_points(best)}, {speed}."
    second = ranking[1]
    rest = (
        f"level with {second.model_id} ({second.utility:.1f}) and before it by the tie-breaks"
        if _step(second) == _step(best)
        else f"next {second.model_id} with {second.utility:.1f}"
    )
    return best, f"{best.model_id} is best of {len(ranking)} for {task}: {_points(best)}, {speed}; {rest}."


def _pinned(
    ranking: Sequence[Candidate], rejected: Sequence[Rejected], pinned_id: str, scene: _Scene
) -> tuple[Candidate | None, str]:
    task = scene.request.task
    chosen = next((c for c in ranking if c.model_id == pinned_id), None)
    if chosen is not None:
        return chosen, f"{pinned_id} is pinned for {task}."
    rejection = next((r for r in rejected if r.model_id == pinned_id), None)
    why = f"it {rejection.message}" if rejection else "there is no such model on this machine now"
    return None, (
        f"{pinned_id} is pinned for {task} and cannot serve: {why}. A pin is never replaced: "
        f"`slmreg unpin {task}` lets slmreg choose."
    )


def _nothing(rejected: Sequence[Rejected], scene: _Scene) -> str:
    task = scene.request.task
    if not rejected:
        return f"No model for {task}: none is known. `slmreg roots add PATH` adds a folder of models."
    turned_away = "; ".join(f"{r.model_id} {r.message}" for r in rejected[:3])
    more = f"; and {len(rejected) - 3} more" if len(rejected) > 3 else ""
    free = format_bytes(scene.free_bytes)
    return f"No model can do {task} here now ({free} of memory for models): {turned_away}{more}."


def _points(candidate: Candidate) -> str:
    """The utility and the terms that made it, largest first."""
    parts = sorted((t for t in candidate.terms.items() if t[1]), key=lambda t: (-abs(t[1]), t[0]))
    return f"utility {candidate.utility:.1f} = " + " ".join(f"{name} {points:+.1f}" for name, points in parts)
