"""What no published score says: judgement, with a wide spread. All in logits, mean and standard deviation."""

from __future__ import annotations

from typing import Any

from registry.model import Task

# Shifts of a speciality that the scores say nothing about.
SHIFTS: dict[Task, dict[str, tuple[float, float]]] = {
    Task.CHAT: {"coding": (-0.4, 0.3), "math": (-0.8, 0.4), "base": (-1.2, 0.4)},
    Task.CODE: {"math": (-0.8, 0.4), "base": (-0.4, 0.3)},
    Task.REASONING: {"coding": (-0.2, 0.3), "math": (-0.2, 0.3), "base": (-0.3, 0.3)},
    Task.MATH: {"coding": (-0.1, 0.3), "math": (0.9, 0.4), "base": (-0.3, 0.3)},
    Task.TOOLS: {"coding": (0.0, 0.3), "math": (-0.8, 0.4), "base": (-1.5, 0.5)},
}

# Tasks with scores of two models, or of one: size alone.
TASKS: dict[Task, dict[str, Any]] = {
    Task.VISION: {"at_1b": -0.7, "per_doubling": 0.4},
    Task.EMBEDDINGS: {"at_1b": 0.6, "per_doubling": 0.15},
}
TASK_SPREADS: dict[str, float] = {"centre": 1.0, "slope_sd": 0.1, "unknown_sd": 0.6, "model_sd": 0.3}

# Families that were compared with others are the better known ones: others are not expected to be as close to the line.
LEAST_UNKNOWN_SPREAD = 0.5
