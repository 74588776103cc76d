"""How far off is the fit for what it has not seen? One score, one model or one family is held out at a time."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from statistics import fmean

from scripts.quality_priors.fit import Spreads, fit
from scripts.quality_priors.scores import Score

HELD_OUT: dict[str, Callable[[Score], Hashable]] = {
    "score": lambda score: score,
    "model": lambda score: score.model,
    "family": lambda score: score.family,
}


@dataclass(frozen=True, slots=True)
class Miss:
    """A model in one mode against its prediction over the same benchmarks; ``spreads`` is in expected spreads."""

    points: float
    spreads: float


@dataclass(frozen=True, slots=True)
class Accuracy:
    """``mean_points`` is the mean absolute error, ``within_1`` and ``within_2`` the shares of misses within spreads."""

    count: int
    mean_points: float
    within_1: float
    within_2: float
    widening: float

    @classmethod
    def of(cls, misses: Sequence[Miss]) -> Accuracy:
        return cls(
            count=len(misses),
            mean_points=fmean(abs(miss.points) for miss in misses),
            within_1=fmean(abs(miss.spreads) <= 1 for miss in misses),
            within_2=fmean(abs(miss.spreads) <= 2 for miss in misses),
            widening=math.sqrt(fmean(miss.spreads**2 for miss in misses)),
        )


def hold_out(scores: Sequence[Score], spreads: Spreads, what: str) -> Accuracy | None:
    """None where there is nothing to learn from: one family, or no score whose model and benchmark have another."""
    key = HELD_OUT[what]
    groups: dict[Hashable, list[Score]] = defaultdict(list)
    for score in scores:
        groups[key(score)].append(score)
    misses = [
        miss
        for held in groups.values()
        if len(held) < len(scores)
        for miss in _misses([s for s in scores if s not in held], held, spreads, needs_model=what == "score")
    ]
    return Accuracy.of(misses) if misses else None


def _misses(rest: Sequence[Score], held: Sequence[Score], spreads: Spreads, *, needs_model: bool) -> list[Miss]:
    """Scores of a benchmark that nothing else was measured on say nothing about a model."""
    fitted = fit(rest, spreads)
    by_mode: dict[tuple[str, str], list[Score]] = defaultdict(list)
    for score in held:
        known = fitted.has("model", (score.model, score.mode))
        if fitted.has("benchmark", score.benchmark) and (known or not needs_model):
            by_mode[score.model, score.mode].append(score)
    misses = []
    for group in by_mode.values():
        errors, points, variances = [], [], []
        for score in group:
            vector = fitted.vector(score, with_benchmark=True)
            expected = float(vector @ fitted.weights)
            errors.append(score.logit - expected)
            points.append(100 * (score.share - 1 / (1 + math.exp(-expected))))
            variances.append(float(vector @ fitted.covariance @ vector) + fitted.unseen_variance(score))
        spread = math.sqrt(fmean(variances) + spreads.noise**2 / len(group))
        misses.append(Miss(fmean(points), fmean(errors) / spread))
    return misses
