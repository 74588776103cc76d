"""The fits as the table that ships: plain numbers, rounded, so that the selector needs no numpy."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from registry.model import Task
from scripts.quality_priors import judged
from scripts.quality_priors.fit import SHIFTS, Fit, best_spreads, fit
from scripts.quality_priors.quantisation import quantisation_table, read_pairs
from scripts.quality_priors.scores import Score, read_scores
from scripts.quality_priors.validation import hold_out

Table = dict[str, Any]
# A shift that no model of a task has keeps its prior in the fit, and is not shipped.
_UNSEEN_SPREAD = 0.69


def build_table() -> Table:
    scores = read_scores()
    tasks = {task: [score for score in scores if score.task is task] for task in Task}
    fits = {task: fit(own, best_spreads(own)) for task, own in tasks.items() if own}
    table: Table = {"tasks": {}, "families": {}, "models": {}, "quantisation": quantisation_table(read_pairs())}
    for task in Task:
        if task in fits:
            table["tasks"][task.value] = _task(task, fits[task], tasks[task])
            _add_families(table, task, fits[task], tasks[task])
            _add_models(table, task, fits[task], tasks[task])
        else:
            table["tasks"][task.value] = judged.TASKS[task] | judged.TASK_SPREADS | {"shifts": {}}
    return table


def as_text(table: Table) -> str:
    """One line for each task, family and model, so that a change can be read."""
    parts = []
    for name, entries in table.items():
        lines = ",\n".join(f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in entries.items())
        parts.append(f"{json.dumps(name)}: {{\n{lines}\n}}")
    return "{" + ",\n".join(parts) + "}\n"


def _task(task: Task, fitted: Fit, scores: Sequence[Score]) -> Table:
    centre, line_sd, slope_sd = _line_spread(fitted)
    return {
        "at_1b": _round(fitted.weight("fixed", "at_1b")),
        "per_doubling": _round(fitted.weight("fixed", "per_doubling")),
        "centre": _round(centre),
        "slope_sd": _round(slope_sd),
        "unknown_sd": _round(_unknown_spread(fitted, line_sd, scores)),
        "model_sd": fitted.spreads.model,
        "shifts": {name: list(shift) for name, shift in judged.SHIFTS.get(task, {}).items()} | _shifts(fitted),
    }


def _unknown_spread(fitted: Fit, line_sd: float, scores: Sequence[Score]) -> float:
    """Of a family without scores: wider by as much as held-out families miss by more than expected."""
    unseen = hold_out(scores, fitted.spreads, "family")
    expected = math.hypot(line_sd, fitted.spreads.family, fitted.spreads.model)
    return max(judged.LEAST_UNKNOWN_SPREAD, expected * max(1.0, unseen.widening if unseen else 1.0))


def _line_spread(fitted: Fit) -> tuple[float, float, float]:
    """(log2 of billions where the line is known best, spread there, spread of the slope), as a known plain model."""
    at, along = np.array(-fitted.average), np.zeros(len(fitted.weights))
    at[fitted.columns["fixed", "at_1b"]] = 0
    for name in ("per_doubling", *SHIFTS):
        at[fitted.columns["fixed", name]] = 0
    along[fitted.columns["fixed", "per_doubling"]] = 1
    mean_size = float(fitted.average[fitted.columns["fixed", "per_doubling"]])
    slope = float(along @ fitted.covariance @ along)
    shared = float(at @ fitted.covariance @ along)
    lowest = float(at @ fitted.covariance @ at) - shared**2 / slope
    return mean_size - shared / slope, math.sqrt(max(0.0, lowest)), math.sqrt(slope)


def _shifts(fitted: Fit) -> Table:
    shifts = {}
    for name in SHIFTS:
        column = fitted.columns["fixed", name]
        spread = math.sqrt(fitted.covariance[column, column])
        if spread < _UNSEEN_SPREAD:
            shifts[name] = [_round(fitted.weights[column]), _round(spread)]
    return shifts


def _add_families(table: Table, task: Task, fitted: Fit, scores: Sequence[Score]) -> None:
    """Effect and spread of each family for a plain model of its own mean size."""
    for family in sorted({score.family for score in scores}):
        own = [score for score in scores if score.family == family]
        vector = np.array(fitted.average)
        for column, (kind, name) in enumerate(fitted.columns):
            if kind in ("family", "model"):
                vector[column] = float((kind, name) == ("family", family))
        vector[fitted.columns["fixed", "per_doubling"]] = np.mean([score.size for score in own])
        spread = math.sqrt(fitted.contrast_variance(vector))
        table["families"].setdefault(family, {})[task.value] = [_round(fitted.weight("family", family)), _round(spread)]


def _add_models(table: Table, task: Task, fitted: Fit, scores: Sequence[Score]) -> None:
    """Ability, its spread and the number of scores for each model in each mode."""
    counts = Counter((score.model, score.mode) for score in scores)
    for model, mode in sorted(counts):
        score = next(score for score in scores if (score.model, score.mode) == (model, mode))
        vector = fitted.vector(score)
        entry = table["models"].setdefault(model, {"family": score.family, "billions": score.billions})
        spread = math.sqrt(fitted.contrast_variance(vector))
        ability = [_round(float(vector @ fitted.weights)), _round(spread), counts[model, mode]]
        entry.setdefault(mode, {})[task.value] = ability


def _round(value: float) -> float:
    return round(float(value), 3)
