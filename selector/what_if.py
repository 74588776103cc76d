"""What would change the answer: more free memory, another policy, no pin, or a loaded model that is let go.

Invariant: every change that is told of was tried: the choice was made again under it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from registry.model import Device
from selector.appraisal import Prospect, Scene, settle
from selector.footprint import format_bytes
from selector.policy import Policy
from selector.selection import Candidate, Change, Circumstances, Selection, SelectionRequest
from selector.utility import MEMORY_FREE_SHARE

Choose = Callable[[SelectionRequest, Circumstances], Selection]
# How many models that lack memory are tried, the most promising first.
MOST_TRIED = 3


def changes(
    request: SelectionRequest,
    circumstances: Circumstances,
    prospects: Sequence[Prospect],
    choose: Choose,
) -> tuple[Change, ...]:
    """What would make another model the choice, each with that model's id."""
    now = choose(request, circumstances).chosen
    found = []
    if any(pin.task is request.task for pin in circumstances.pins):
        rest = tuple(pin for pin in circumstances.pins if pin.task is not request.task)
        found.append(("without the pin", request, replace(circumstances, pins=rest)))
    else:
        found += _with_more_memory(request, circumstances, prospects)
        found += [
            (f"with the policy {policy}", replace(request, policy=policy), circumstances)
            for policy in Policy
            if policy is not request.policy
        ]
        if circumstances.sessions:
            let_go = tuple(replace(session, idle_s=float("inf")) for session in circumstances.sessions)
            found.append(
                (
                    "once what is loaded has been idle for 5 minutes",
                    request,
                    replace(circumstances, sessions=let_go, last_swap=None),
                )
            )
    told: dict[str, Change] = {}
    for what, asked, then in found:
        chosen = choose(asked, then).chosen
        if chosen is not None and chosen != now and chosen not in told:
            told[chosen] = Change(what, chosen)
    return tuple(told.values())


def _with_more_memory(
    request: SelectionRequest, circumstances: Circumstances, prospects: Sequence[Prospect]
) -> Iterator[tuple[str, SelectionRequest, Circumstances]]:
    """For the best of those that do not fit into RAM now, the least memory beside what is free that lets them in."""
    scene = Scene.of(request, circumstances)
    lacking = [p for p in prospects if p.model.device is Device.CPU and not isinstance(settle(p, scene), Candidate)]
    lacking.sort(key=lambda prospect: (-prospect.bound, prospect.model.id))
    tries = sorted(lacking[:MOST_TRIED], key=lambda prospect: prospect.need.total_bytes)
    for prospect in tries:
        # Enough that it is not held against the model that it fills all there is.
        more = int(prospect.need.total_bytes / MEMORY_FREE_SHARE) + 1 - scene.free_bytes
        if more > 0 and prospect.need.total_bytes <= (request.max_memory_bytes or prospect.need.total_bytes):
            yield f"with {format_bytes(more)} more free memory", request, _with_more(circumstances, more)


def _with_more(circumstances: Circumstances, more_bytes: int) -> Circumstances:
    """On a machine of more memory, with a budget to match."""
    memory, budget = circumstances.hardware.memory, circumstances.memory_budget_bytes
    larger = replace(
        memory,
        available_bytes=memory.available_bytes + more_bytes,
        total_bytes=memory.total_bytes + more_bytes,
        limit_bytes=None if memory.limit_bytes is None else memory.limit_bytes + more_bytes,
    )
    return replace(
        circumstances,
        hardware=replace(circumstances.hardware, memory=larger),
        memory_budget_bytes=None if budget is None else budget + more_bytes,
    )
