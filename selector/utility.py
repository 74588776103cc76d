"""What a model is worth for a task, as a ledger: named terms in quality points whose sum is the utility.

Invariant: every term is continuous and depends on its own candidate alone, so that adding or removing another candidate
never changes a utility, and more memory or a faster machine never lowers one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from registry.model import Task
from selector.policy import Policy
from selector.quality import Quality
from selector.speed import Speed

UNCERTAINTY_PER_POINT = 0.5
# Beyond the slowest bearable answer each doubling costs this much on top.
TOO_SLOW_PER_DOUBLING = 20.0
# A load is paid once for several answers.
LOAD_SHARE = 0.25
POLICY_FACTORS: Mapping[Policy, float] = {Policy.FAST: 2.0, Policy.BALANCED: 1.0, Policy.QUALITY: 0.5}
# Memory is free of charge up to this share of what is available, then costs up to MEMORY_LOSS.
MEMORY_FREE_SHARE = 0.85
MEMORY_LOSS = 6.0


@dataclass(frozen=True, slots=True)
class TaskProfile:
    """What a task usually takes (all judged): least context, a typical prompt and answer, and how long is too long.

    No points are lost up to ``good_s``; then ``loss_per_doubling``, and much more beyond ``bearable_s``.
    """

    least_context_tokens: int
    prompt_tokens: int
    completion_tokens: int
    good_s: float
    bearable_s: float
    loss_per_doubling: float


PROFILES: Mapping[Task, TaskProfile] = {
    Task.CHAT: TaskProfile(4096, 512, 200, 10, 60, 6),
    Task.CODE: TaskProfile(8192, 1024, 400, 20, 120, 5),
    Task.REASONING: TaskProfile(8192, 512, 500, 60, 400, 4),
    Task.MATH: TaskProfile(2048, 256, 300, 20, 120, 5),
    Task.TOOLS: TaskProfile(8192, 1024, 80, 6, 30, 6),
    Task.VISION: TaskProfile(2048, 1024, 150, 15, 90, 5),
    Task.TRANSCRIPTION: TaskProfile(448, 1500, 150, 20, 120, 5),
    Task.EMBEDDINGS: TaskProfile(512, 512, 1, 2, 30, 5),
}


def quality_terms(quality: Quality) -> dict[str, float]:
    """What the model is worth before anybody waits for it. In hundredths of a point, so that what is shown adds up."""
    terms = {
        "Q": quality.general_points,
        "specialised": quality.speciality_points,
        "quant": quality.quantisation_points,
        "evaluated": quality.evaluated_points,
        "uncertainty": -UNCERTAINTY_PER_POINT * quality.spread_points,
    }
    return {name: rounded(points) for name, points in terms.items()}


def rounded(points: float) -> float:
    return round(points, 2) + 0.0


def total(terms: Mapping[str, float]) -> float:
    return round(math.fsum(terms.values()), 2)


def answer_s(task: Task, quality: Quality, speed: Speed, *, is_loaded: bool) -> float:
    """A typical answer of the task from request to last token, with the whole load where that comes first."""
    profile = PROFILES[task]
    seconds = speed.answer_s(profile.prompt_tokens, round(profile.completion_tokens * quality.verbosity))
    return seconds if is_loaded else seconds + speed.load_s


def latency_loss(task: Task, policy: Policy, seconds: float) -> float:
    """Points lost to waiting so long for an answer; nothing is won by being faster than good."""
    profile = PROFILES[task]
    beyond_good = max(0.0, math.log2(seconds / profile.good_s))
    beyond_bearable = max(0.0, math.log2(seconds / profile.bearable_s))
    return POLICY_FACTORS[policy] * profile.loss_per_doubling * beyond_good + TOO_SLOW_PER_DOUBLING * beyond_bearable


def memory_loss(need_bytes: int, available_bytes: int) -> float:
    """0 up to 85% of what is available, then a straight line to 6 points at all of it."""
    share = need_bytes / max(1, available_bytes)
    return MEMORY_LOSS * min(1.0, max(0.0, (share - MEMORY_FREE_SHARE) / (1 - MEMORY_FREE_SHARE)))
