"""The model behind the table, for each task on its own (one ability for all tasks is wrong):

    logit(score) = at_1b + per_doubling x log2(billions) + thinking + reasoner + coding
                   + family + model in its mode + benchmark in its harness + noise

All terms have normal priors, so the fit is a ridge regression with an exact posterior. The standard deviations of
family, model, benchmark and noise are those with the highest marginal likelihood on a grid. What all models of a task
share (the offsets of its benchmarks) does not matter for a choice: spreads are those of the difference to the average
model of the data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from scripts.quality_priors.scores import Score

Array = NDArray[np.float64]

SHIFTS = ("thinking", "reasoning", "coding")
# Prior standard deviations of at_1b, per_doubling and the shifts, in logits.
_FIXED_SPREADS = (10.0, 10.0, 1.0, 0.7, 1.0)
_GRIDS = {
    "family": (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8),
    "model": (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5),
    "benchmark": (0.3, 0.5, 0.7, 1.0, 1.3, 1.6),
    "noise": (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6),
}
# Where a task has few scores the standard deviations are held near these, within a factor of about two.
_EXPECTED = {"family": 0.25, "model": 0.25, "benchmark": 0.8, "noise": 0.25}
_LOG_WIDTH = 0.7
_ABSENT = 1e-6


@dataclass(frozen=True, slots=True)
class Spreads:
    """Standard deviations in logits."""

    family: float = 0.2
    model: float = 0.2
    benchmark: float = 1.0
    noise: float = 0.3


@dataclass(frozen=True, slots=True)
class Fit:
    """The posterior of one task. ``weights`` and ``covariance`` are in the order of ``columns``."""

    spreads: Spreads
    columns: dict[tuple[str, object], int]
    weights: Array
    covariance: Array
    average: Array

    def weight(self, kind: str, name: object = "") -> float:
        return float(self.weights[self.columns[kind, name]])

    def has(self, kind: str, name: object) -> bool:
        return (kind, name) in self.columns

    def vector(self, score: Score, *, with_benchmark: bool = False) -> Array:
        """The row of the regression for ``score``; what the fit has not seen is left out."""
        return _row(score, self.columns, with_benchmark=with_benchmark)

    def contrast_variance(self, vector: Array) -> float:
        """Of the difference to the average model."""
        difference = vector - self.average
        return float(difference @ self.covariance @ difference)

    def unseen_variance(self, score: Score) -> float:
        """What a new family, a new model and a new benchmark add to the variance of a score."""
        spreads, unseen = self.spreads, 0.0
        unseen += 0 if self.has("family", score.family) else spreads.family**2
        unseen += 0 if self.has("model", _model(score)) else spreads.model**2
        return unseen + (0 if self.has("benchmark", score.benchmark) else spreads.benchmark**2)


def fit(scores: Sequence[Score], spreads: Spreads) -> Fit:
    columns = _columns(scores)
    design = np.array([_row(score, columns, with_benchmark=True) for score in scores])
    logits = np.array([score.logit for score in scores])
    precision = design.T @ design / spreads.noise**2 + np.diag(1 / _variances(columns, spreads))
    covariance = np.linalg.inv(precision)
    known = {_model(score): score for score in scores}
    average = np.mean([_row(score, columns, with_benchmark=False) for score in known.values()], axis=0)
    return Fit(spreads, columns, covariance @ design.T @ logits / spreads.noise**2, covariance, average)


def best_spreads(scores: Sequence[Score]) -> Spreads:
    """By coordinate ascent of the marginal likelihood over the grids."""
    return _ascend(scores, Spreads(), tuple(_GRIDS))


def size_only_spreads(scores: Sequence[Score]) -> Spreads:
    """The simpler model to compare with: size, thinking and speciality, but no family and no model."""
    return _ascend(scores, Spreads(family=_ABSENT, model=_ABSENT), ("benchmark", "noise"))


def _ascend(scores: Sequence[Score], start: Spreads, names: Sequence[str]) -> Spreads:
    likelihood = _likelihood(scores)

    def merit(spreads: Spreads) -> float:
        away = (np.log(getattr(spreads, name) / _EXPECTED[name]) / _LOG_WIDTH for name in names)
        return likelihood(spreads) - sum(float(step) ** 2 for step in away) / 2

    best = start
    while True:
        before = best
        for name in names:
            best = max((replace(best, **{name: value}) for value in _GRIDS[name]), key=merit)
        if best == before:
            return best


def _likelihood(scores: Sequence[Score]) -> Callable[[Spreads], float]:
    columns = _columns(scores)
    design = np.array([_row(score, columns, with_benchmark=True) for score in scores])
    logits = np.array([score.logit for score in scores])

    def log_likelihood(spreads: Spreads) -> float:
        noise = spreads.noise**2 * np.eye(len(logits))
        root = np.linalg.cholesky((design * _variances(columns, spreads)) @ design.T + noise)
        return float(-np.sum(np.linalg.solve(root, logits) ** 2) / 2 - np.log(np.diag(root)).sum())

    return log_likelihood


def _columns(scores: Sequence[Score]) -> dict[tuple[str, object], int]:
    names: list[tuple[str, object]] = [("fixed", name) for name in ("at_1b", "per_doubling", *SHIFTS)]
    names += [("family", name) for name in sorted({score.family for score in scores})]
    names += [("model", name) for name in sorted({_model(score) for score in scores})]
    names += [("benchmark", name) for name in sorted({score.benchmark for score in scores})]
    return {name: index for index, name in enumerate(names)}


def _row(score: Score, columns: dict[tuple[str, object], int], *, with_benchmark: bool) -> Array:
    row = np.zeros(len(columns))
    row[: len(_FIXED_SPREADS)] = (1, score.size, score.mode == "thinking", score.is_reasoner, score.is_coder)
    levels: list[tuple[str, object]] = [("family", score.family), ("model", _model(score))]
    if with_benchmark:
        levels.append(("benchmark", score.benchmark))
    for level in levels:
        if level in columns:
            row[columns[level]] = 1
    return row


def _variances(columns: dict[tuple[str, object], int], spreads: Spreads) -> Array:
    fixed = [spread**2 for spread in _FIXED_SPREADS]
    return np.array([*fixed, *(getattr(spreads, kind) ** 2 for kind, _ in list(columns)[len(fixed) :])])


def _model(score: Score) -> tuple[str, str]:
    return score.model, score.mode
