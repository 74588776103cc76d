"""How well a model can be expected to do a task, in points from 0 to 100, before anyone has tried it here.

    q = 100 x logistic(c0 + c1 x log2(billions of parameters) + shift of its speciality)

``SIZE_PRIORS`` for chat, code, reasoning, math and tools, and the shifts of reasoning and coding models, were fitted to
513 published scores of about 50 instruction-tuned models from 0.36 to 30 B parameters: per task, ridge regression of
logit(score) on log2(parameters), speciality, and one offset for each benchmark and harness. Everything marked "judged"
has no such evidence. A table of fitted models can stand in front of ``estimate_quality`` without changing its callers.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from registry.model import Model, Precision, Task
from selector.footprint import parameter_bounds

# Spread of ability around the line, in logits: models of the families in the fit, and of any other (judged).
KNOWN_SPREAD = 0.3
UNKNOWN_SPREAD = 0.6
# More when the number of parameters is an estimate (judged).
ESTIMATED_SIZE_SPREAD = 0.2

# c0 at one billion parameters and c1 per doubling.
SIZE_PRIORS: Mapping[Task, tuple[float, float]] = {
    Task.CHAT: (-0.46, 0.51),
    Task.CODE: (-1.33, 0.46),
    Task.REASONING: (-1.02, 0.39),
    Task.MATH: (-0.13, 0.43),
    Task.TOOLS: (0.00, 0.22),
    Task.VISION: (-0.70, 0.40),  # judged
    Task.TRANSCRIPTION: (2.40, 0.20),  # judged, 100 - word error rate
    Task.EMBEDDINGS: (0.60, 0.15),  # judged
}

KNOWN_FAMILIES = (
    *("qwen2.5", "qwen3", "phi-3", "phi-4", "gemma-2", "gemma-3", "llama-3.1", "llama-3.2", "mistral"),
    *("smollm2", "smollm3", "gpt-oss", "deepseek-r1", "whisper"),
)


@dataclass(frozen=True, slots=True)
class Speciality:
    """What a model was trained for, by a word of its name. ``shifts`` are logits; ``verbosity`` multiplies answers."""

    name: str
    words: re.Pattern[str]
    shifts: Mapping[Task, float]
    verbosity: float = 1.0


SPECIALITIES = (
    Speciality(
        "reasoning",
        re.compile(r"\b(r1|qwq|reason\w*|think\w*|openthinker\d*)\b"),
        # Fitted on thinking modes and R1 distillations, for chat and tools on the distillations alone.
        {Task.REASONING: 0.95, Task.MATH: 1.6, Task.CODE: 1.3, Task.CHAT: -0.6, Task.TOOLS: -0.35},
        verbosity=6.0,  # they write 5-10 times more tokens before they answer
    ),
    Speciality(
        "coding",
        re.compile(r"\b(code(?!c)\w*|coding|starcoder\d*)\b"),
        {Task.CODE: 1.0, Task.CHAT: -0.4, Task.REASONING: -0.2, Task.MATH: -0.1},  # code fitted, the others judged
    ),
    Speciality(
        "math",
        re.compile(r"\b(math\w*)\b"),
        {Task.MATH: 0.9, Task.CHAT: -0.8, Task.CODE: -0.8, Task.TOOLS: -0.8},  # judged
    ),
    Speciality(
        "base model",
        re.compile(r"\bbase\b"),
        {Task.CHAT: -1.2, Task.TOOLS: -1.5, Task.CODE: -0.4, Task.REASONING: -0.3, Task.MATH: -0.3},  # judged
    ),
)

# Points lost to int4 by billions of parameters, from the tables of mlx-lm and Meta; between them along log2.
INT4_LOSS = ((1.0, 7.0), (3.5, 4.0), (8.0, 2.0))
INT4_TOOLS_LOSS = 3.0
INT8_LOSS = 0.5


@dataclass(frozen=True, slots=True)
class Quality:
    """Points by size alone, what the speciality adds, what quantisation costs (<= 0), and the estimate's spread."""

    size_points: float
    speciality_points: float
    quantisation_points: float
    spread_points: float
    source: str
    speciality: Speciality | None = None


def estimate_quality(model: Model, task: Task) -> Quality:
    """The expectation for ``task``. An unknown number of parameters is counted at the fewest its weights allow."""
    parameters = max(1e6, parameter_bounds(model)[0]) / 1e9
    c0, c1 = SIZE_PRIORS[task]
    by_size = c0 + c1 * math.log2(parameters)
    words = _words(model)
    speciality = next((s for s in SPECIALITIES if s.words.search(words)), None)
    q_size = _logistic(by_size)
    q = _logistic(by_size + (speciality.shifts.get(task, 0.0) if speciality else 0.0))
    is_known = any(family in words for family in KNOWN_FAMILIES)
    spread = (KNOWN_SPREAD if is_known else UNKNOWN_SPREAD) + (0.0 if model.parameters else ESTIMATED_SIZE_SPREAD)
    size = f"{parameters:.2g} B parameters" + ("" if model.parameters else ", estimated from the weights")
    return Quality(
        size_points=100 * q_size,
        speciality_points=100 * (q - q_size),
        quantisation_points=-_quantisation_loss(model.precision, parameters, task),
        spread_points=100 * q * (1 - q) * spread,
        source=f"prior for {size}",
        speciality=speciality,
    )


def _quantisation_loss(precision: Precision, billions: float, task: Task) -> float:
    """Points; weights of unknown type count as int4."""
    if precision is Precision.INT8:
        return INT8_LOSS
    if precision not in (Precision.INT4, Precision.UNKNOWN):
        return 0.0
    extra = INT4_TOOLS_LOSS if task is Task.TOOLS else 0.0
    return _interpolate(INT4_LOSS, billions) + extra


def _interpolate(points: tuple[tuple[float, float], ...], x: float) -> float:
    """Linear in log2(x) between ``points``, constant beyond them: a step could rank a model below a smaller one."""
    if x <= points[0][0]:
        return points[0][1]
    for (x0, y0), (x1, y1) in pairwise(points):
        if x <= x1:
            return y0 + (y1 - y0) * math.log2(x / x0) / math.log2(x1 / x0)
    return points[-1][1]


def _words(model: Model) -> str:
    """Name, alias and family in lower case; underscores would count as letters."""
    return f"{model.name} {model.alias} {model.family}".lower().replace("_", "-")


def _logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x))
