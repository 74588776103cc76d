"""The choice: hard filters, then a utility ledger, then ties, the incumbent, and pins above all. Pure.

Invariant: the same input gives the same answer in whatever order the models come, and every model is either ranked with
its ledger or rejected with a reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from threading import Lock
from weakref import ReferenceType, ref

from registry.model import Fallback, Model, Pin, Status
from selector.appraisal import Prospect, Scene, appraise, settle, step_of, ways
from selector.evidence import Evidence
from selector.lineup import Lineup, Top
from selector.reasons import because, fallback_taken, nothing, pinned_cannot
from selector.selection import Candidate, Circumstances, Ledger, Rejected, Selection, SelectionRequest
from selector.what_if import changes

# A loaded model stays unless it is beaten by more than this many steps of half a point (2 points); in the middle of a
# tool loop by more than 5 points.
INCUMBENT_STEPS = 4
TOOL_LOOP_STEPS = 10
# One that nobody has used for so long is no incumbent any more.
INCUMBENT_IDLE_S = 300.0
# After one model took over from another, the task stays with it at least so long.
LEAST_SWAP_S = 60.0
_KEPT_LINEUPS = 16


def select(request: SelectionRequest, models: Iterable[Model], circumstances: Circumstances) -> Selection:
    """The best model for ``request`` here and now, with the whole ledger.

    A pin for the task wins over every score. If its model cannot serve, nothing is chosen and ``reason`` says why,
    unless the pin itself says that slmreg is to choose then.
    """
    return Field(models, circumstances).select(request, circumstances)


class Field:
    """Models that were appraised on one machine, for choice after choice among them: 1,000 take under a millisecond.

    It holds for as long as ``holds_for`` says so; what changes from moment to moment is an argument of ``select``.
    """

    def __init__(self, models: Iterable[Model], circumstances: Circumstances) -> None:
        self._source = models
        self._known = tuple({model.id: model for model in models}.values())
        self._circumstances = circumstances
        self._lasting = _lasting(circumstances)
        self._evidence = Evidence(self._known, circumstances)
        self._lineups: dict[tuple[SelectionRequest, str | None], Lineup] = {}
        self._lock = Lock()

    def holds_for(self, models: Iterable[Model], circumstances: Circumstances) -> bool:
        """Whether these are the same models (the very same object), machine, measurements and preferences."""
        return models is self._source and self._lasting == _lasting(circumstances)

    def select(self, request: SelectionRequest, circumstances: Circumstances) -> Selection:
        """See ``select``. ``circumstances`` may differ in memory, sessions, pins and setbacks."""
        pin = _pin_for(request, circumstances)
        scene = Scene.of(request, circumstances)
        lineup = self._lineup(request, pin)

        def selection(
            pick: Candidate | None, reason: str, *, pinned: bool = False, rejection: Rejected | None = None
        ) -> Selection:
            return Selection(
                request=request,
                pick=pick,
                reason=reason,
                hardware=circumstances.hardware,
                pinned=pinned,
                rejection=rejection,
                is_fallback=pin is not None and not pinned,
                make_ledger=partial(_ledger_of, ref(self), self._known, request, circumstances),
            )

        if pin is None:
            return selection(*self._best(lineup, scene))
        pick = _pinned(pin, lineup, scene)
        if pick is not None:
            return selection(pick, f"{pin.model_id} is pinned for {pin.task}.", pinned=True)
        rejection = lineup.rejection_of(pin.model_id, scene)
        if pin.fallback is Fallback.ERROR:
            return selection(None, pinned_cannot(pin, rejection), pinned=True, rejection=rejection)
        best, reason = self._best(lineup, scene)
        return selection(best, f"{fallback_taken(pin, rejection)} {reason}")

    def ledger(self, request: SelectionRequest, circumstances: Circumstances, *, is_deep: bool = True) -> Ledger:
        """Everything that competed. ``is_deep``: also what would change the answer, which takes more choices."""
        scene = Scene.of(request, circumstances)
        lineup = self._lineup(request, _pin_for(request, circumstances))
        ranking = lineup.ranking(scene)
        return Ledger(
            ranking,
            _once_each(lineup.rejections(scene), {candidate.model_id for candidate in ranking}),
            changes(request, circumstances, lineup.prospects, self.select) if is_deep else (),
        )

    def _lineup(self, request: SelectionRequest, pin: Pin | None) -> Lineup:
        pinned_id = pin.model_id if pin is not None else None
        key = (replace(request, is_in_tool_loop=False), pinned_id)  # which no appraisal depends on
        with self._lock:
            lineup = self._lineups.pop(key, None)
            if lineup is None:
                lineup = Lineup(_appraised(request, self._known, self._circumstances, self._evidence, pinned_id))
                if len(self._lineups) >= _KEPT_LINEUPS:
                    del self._lineups[next(iter(self._lineups))]
            self._lineups[key] = lineup  # in the order of last use
            return lineup

    def _best(self, lineup: Lineup, scene: Scene) -> tuple[Candidate | None, str]:
        top = lineup.top(scene)
        if top.best is None:
            rejected = self.ledger(scene.request, scene.circumstances, is_deep=False).rejected
            return None, nothing(rejected, scene)
        pick = _incumbent(top, scene) or top.best
        return pick, because(pick, top, scene, is_held=_is_held(top, scene))


def _pin_for(request: SelectionRequest, circumstances: Circumstances) -> Pin | None:
    pins = (pin for pin in circumstances.pins if pin.task is request.task)
    return min(pins, key=lambda pin: pin.model_id, default=None)


def _pinned(pin: Pin, lineup: Lineup, scene: Scene) -> Candidate | None:
    """The better of its ways of answering, if it can serve."""
    settled = [settle(prospect, scene) for prospect in lineup.of(pin.model_id)]
    fit = [each for each in settled if isinstance(each, Candidate)]
    return max(fit, key=lambda c: (step_of(c.utility), c.thinking is not True), default=None)


def _incumbent(top: Top, scene: Scene) -> Candidate | None:
    """The loaded candidate that stays although another is ahead; None if the best is to be taken."""
    best, incumbent = top.best, next(iter(top.loaded), None)
    if best is None or incumbent is None or best.model_id == incumbent.model_id:
        return None
    if _is_held(top, scene):
        return incumbent
    if scene.sessions[incumbent.model_id].idle_s >= INCUMBENT_IDLE_S:
        return None
    steps = TOOL_LOOP_STEPS if scene.request.is_in_tool_loop else INCUMBENT_STEPS
    return incumbent if step_of(best.utility) - step_of(incumbent.utility) <= steps else None


def _is_held(top: Top, scene: Scene) -> bool:
    """Whether nothing is loaded for the task now, because what took it over a moment ago is still there."""
    swap = scene.circumstances.last_swap
    if swap is None or swap.seconds_ago >= LEAST_SWAP_S:
        return False
    return any(each.model_id == swap.model_id for each in top.loaded)


def _appraised(
    request: SelectionRequest,
    models: Sequence[Model],
    circumstances: Circumstances,
    evidence: Evidence,
    pinned_id: str | None,
) -> Iterator[Prospect | Rejected]:
    """Every model in each of its ways; the demo model stands aside where a real one is, unless it is pinned."""
    has_real = any(not m.is_demo and m.status is Status.READY and request.task in m.tasks for m in models)
    for model in models:
        if model.is_demo and has_real and model.id != pinned_id and request.task in model.tasks:
            message = f"is the demo model, and a real model for {request.task} is here"
            yield Rejected(model.id, "demo_model", message)
            continue
        for way in ways(model, request):
            yield appraise(model, way, request, circumstances, evidence)


def _ledger_of(
    field: ReferenceType[Field], models: Sequence[Model], request: SelectionRequest, circumstances: Circumstances
) -> Ledger:
    """Perhaps long after the choice: the field may be gone, and is laid out again from the same values."""
    return (field() or Field(models, circumstances)).ledger(request, circumstances)


def _once_each(rejected: Iterable[Rejected], ranked: set[str]) -> tuple[Rejected, ...]:
    """By id. A model that is turned away in all of its ways is told of once; one way only where another fits."""
    by_id: dict[str, list[Rejected]] = {}
    for each in rejected:
        by_id.setdefault(each.model_id, []).append(each)
    told = []
    for model_id in sorted(by_id):
        if model_id in ranked:
            told += by_id[model_id]
        else:
            told.append(replace(by_id[model_id][0], thinking=None))
    return tuple(told)


def _lasting(circumstances: Circumstances) -> tuple[object, ...]:
    """The part of the circumstances that an appraisal rests on."""
    hardware = circumstances.hardware
    devices = tuple(replace(device, memory_available_bytes=None) for device in hardware.accelerators)
    return (
        hardware.cpu,
        hardware.probes,
        hardware.execution_providers,
        devices,
        circumstances.measurements,
        circumstances.evaluations,
        circumstances.preferences,
        circumstances.threads,
        circumstances.sizings,
    )
