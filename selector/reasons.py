"""Why this model, or none, in one sentence that a person understands at once."""

from __future__ import annotations

from collections.abc import Sequence

from registry.model import Pin
from selector.appraisal import Scene, step_of
from selector.footprint import format_bytes
from selector.lineup import Top
from selector.selection import Candidate, Rejected


def name_of(candidate: Candidate) -> str:
    """Its id, and the way of answering where it has two."""
    how = {None: "", True: " (thinking)", False: " (not thinking)"}[candidate.thinking]
    return f"{candidate.model_id}{how}"


def because(pick: Candidate, top: Top, scene: Scene, *, is_held: bool) -> str:
    """For a choice that slmreg made. ``is_held``: another model took over the task only a moment ago."""
    task, best, second = scene.request.task, top.best, top.second
    if best is not None and pick is not best and pick.model_id != best.model_id:
        why_not = "and the last change was less than a minute ago" if is_held else "too little to swap for"
        return (
            f"{name_of(pick)} is loaded and good for {task} ({_points(pick)}): "
            f"{name_of(best)} is ahead by {best.utility - pick.utility:.1f}, {why_not}."
        )
    speed = f"about {pick.tokens_per_second:.0f} tok/s"
    if second is None:
        return f"{name_of(pick)} is the only one that can serve {task}: {_points(pick)}, {speed}."
    rest = (
        f"level with {name_of(second)} ({second.utility:.1f}) and before it by the tie-breaks"
        if step_of(second.utility) == step_of(pick.utility)
        else f"next {name_of(second)} with {second.utility:.1f}"
    )
    return f"{name_of(pick)} is best of {top.count} for {task}: {_points(pick)}, {speed}; {rest}."


def pinned_cannot(pin: Pin, rejection: Rejected | None) -> str:
    """For a pin that is never replaced."""
    return (
        f"{pin.model_id} is pinned for {pin.task} and cannot serve: {_why(rejection)}. A pin is never replaced: "
        f"`slmreg unpin {pin.task}` lets slmreg choose."
    )


def fallback_taken(pin: Pin, rejection: Rejected | None) -> str:
    """In front of the reason for another model."""
    return f"{pin.model_id} is pinned for {pin.task} and cannot serve ({_why(rejection)}), so slmreg chooses."


def nothing(rejected: Sequence[Rejected], scene: Scene) -> str:
    """For no model at all: what turned them away, with its numbers."""
    task = scene.request.task
    if not rejected:
        return f"No model for {task}: none is known. `slmreg roots add PATH` adds a folder of models."
    turned_away = "; ".join(f"{r.model_id} {r.message}" for r in rejected[:3])
    more = f"; and {len(rejected) - 3} more" if len(rejected) > 3 else ""
    free = format_bytes(scene.free_bytes)
    return f"No model can do {task} here now ({free} of memory for models): {turned_away}{more}."


def _why(rejection: Rejected | None) -> str:
    return f"it {rejection.message}" if rejection else "there is no such model on this machine now"


def _points(candidate: Candidate) -> str:
    """The utility and the terms that made it, largest first."""
    parts = sorted((t for t in candidate.terms.items() if t[1]), key=lambda t: (-abs(t[1]), t[0]))
    return f"utility {candidate.utility:.1f} = " + " ".join(f"{name} {points:+.1f}" for name, points in parts)
