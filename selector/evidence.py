"""What is known about models on this machine: predictions, put right by what was measured and judged here.

Trust order for speed: measured on this model, device and thread count; else the ratio of measured to predicted of its
siblings (same alias, else same family and precision, else same device); else the roofline alone. Memory: what the
process held after loading, else the formula. Quality: the prior with local tests and ratings.

Invariant: a corrected quality lies between the prior and what was found here, and what was measured of other content
counts for nothing.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from registry.experience import Evaluation, EvaluationKind, Measurement
from registry.model import Device, Model, Task
from selector.hardware.values import Hardware
from selector.learning import is_of
from selector.quality import Quality, estimate_quality
from selector.selection import Circumstances
from selector.speed import MEASURED_BAND, SIBLINGS_BAND, Speed, predict_speed

# A prior counts like the items of a test that would leave as much doubt, p(1 - p) / spread^2, within these bounds
# (judged). Simulated: where every prior counted like 24 items, a few small tests cost 0.8 points of regret; like this
# they cost nothing, and larger ones gain as much.
FEWEST_PRIOR_ITEMS, MOST_PRIOR_ITEMS = 8.0, 100.0
# A person's rating sums up several answers (judged).
RATING_ITEMS = 3.0
# So many answers of its own weigh as much as the prediction: the first one may have come at a bad moment (judged).
OWN_HALF = 0.25
# The same for the ratios of siblings, by how near they are.
ALIAS_HALF, FAMILY_HALF, DEVICE_HALF = 0.25, 0.5, 1.0


@dataclass(frozen=True, slots=True)
class _Ratios:
    """Measured by predicted, as logarithms, of one model; None where it was not measured."""

    model_id: str
    decode: float | None
    prefill: float | None
    load: float | None


class Evidence:
    """Answers for one set of models, one machine and what was measured on it."""

    def __init__(self, models: Iterable[Model], circumstances: Circumstances) -> None:
        self._hardware: Hardware = circumstances.hardware
        self._own: dict[str, Measurement] = {}
        self._groups: dict[Hashable, list[_Ratios]] = {}
        self._evaluations: dict[tuple[str, Task], list[Evaluation]] = {}
        if circumstances.measurements or circumstances.evaluations:
            self._take_in({model.id: model for model in models}, circumstances)

    def speed(self, model: Model) -> Speed:
        """The best prediction there is, with its source and band."""
        predicted = predict_speed(model, self._hardware)
        own = self._own.get(model.id)
        if own is not None and own.tokens_per_second is not None:
            return _measured(predicted, own)
        for name, key, half in _circles(model):
            others = self._groups.get(key)
            if others and any(each.decode is not None for each in others):
                predicted = _like_siblings(predicted, others, name, half)
                break
        return predicted if own is None or own.load_s is None else replace(predicted, load_s=own.load_s)

    def loaded_bytes(self, model: Model) -> int | None:
        """Resident memory of its process after loading, if it was loaded here and computes in that memory."""
        own = self._own.get(model.id)
        return own.resident_bytes if own is not None and model.device is Device.CPU else None

    def quality(self, model: Model, task: Task, *, thinks: bool | None) -> Quality:
        """The prior, and what tests and ratings here add to it or take away."""
        prior = estimate_quality(model, task, thinks=thinks)
        found = [each for each in self._evaluations.get((model.id, task), ()) if _is_about(each, prior)]
        return _with_evaluations(prior, found) if found else prior

    def _take_in(self, models: Mapping[str, Model], circumstances: Circumstances) -> None:
        for evaluation in circumstances.evaluations:
            judged = models.get(evaluation.model_id)
            if judged is not None and judged.content == evaluation.content:
                self._evaluations.setdefault((judged.id, evaluation.task), []).append(evaluation)
        for measurement in circumstances.measurements:
            model = models.get(measurement.model_id)
            if model is None or not is_of(measurement, model):
                continue
            if circumstances.threads_of(model.id) in (None, measurement.threads):
                self._own[model.id] = measurement
            ratios = _ratios(measurement, predict_speed(model, self._hardware))
            for _name, key, _half in _circles(model):
                self._groups.setdefault(key, []).append(ratios)


def _circles(model: Model) -> Sequence[tuple[str, Hashable, float]]:
    """Who counts as a sibling, nearest first: what to call them, their key, and how much one of them weighs."""
    return (
        (model.alias, ("alias", model.alias, model.device), ALIAS_HALF),
        (f"{model.family} models", ("family", model.family, model.precision, model.device), FAMILY_HALF),
        (f"models on this {model.device}", ("device", model.device), DEVICE_HALF),
    )


def _ratios(measured: Measurement, predicted: Speed) -> _Ratios:
    return _Ratios(
        measured.model_id,
        decode=_log_ratio(measured.tokens_per_second, predicted.tokens_per_second),
        prefill=_log_ratio(measured.prompt_tokens_per_second, predicted.prompt_tokens_per_second),
        load=_log_ratio(measured.load_s, predicted.load_s),
    )


def _measured(predicted: Speed, own: Measurement) -> Speed:
    share = own.answers / (own.answers + OWN_HALF)
    decode = _log_ratio(own.tokens_per_second, predicted.tokens_per_second) or 0.0
    prefill = _log_ratio(own.prompt_tokens_per_second, predicted.prompt_tokens_per_second)
    answers = "1 answer" if own.answers == 1 else f"{own.answers} answers"
    return Speed(
        tokens_per_second=predicted.tokens_per_second * math.exp(share * decode),
        # Prompts were too short to tell: what holds for the answers holds for them, rather than nothing.
        prompt_tokens_per_second=predicted.prompt_tokens_per_second
        * math.exp(share * (decode if prefill is None else prefill)),
        load_s=own.load_s or predicted.load_s,
        source=f"measured in {answers}",
        band=MEASURED_BAND,
    )


def _like_siblings(predicted: Speed, others: Sequence[_Ratios], name: str, half: float) -> Speed:
    decode = _shrunk_mean([each.decode for each in others], half)
    prefill = _shrunk_mean([each.prefill for each in others], half)
    models = len({each.model_id for each in others})
    return Speed(
        tokens_per_second=predicted.tokens_per_second * math.exp(decode),
        prompt_tokens_per_second=predicted.prompt_tokens_per_second * math.exp(prefill),
        load_s=predicted.load_s * math.exp(_shrunk_mean([each.load for each in others], half)),
        source=f"{predicted.source}, put right by {models} measured of {name}",
        band=SIBLINGS_BAND,
    )


def _shrunk_mean(values: Sequence[float | None], half: float) -> float:
    known = [value for value in values if value is not None]
    return math.fsum(known) / (len(known) + half) if known else 0.0


def _log_ratio(measured: float | None, predicted: float) -> float | None:
    """None for what was not measured, or is no number that makes sense."""
    if measured is None or not math.isfinite(measured) or measured <= 0 or predicted <= 0:
        return None
    return math.log(measured / predicted)


def _is_about(evaluation: Evaluation, prior: Quality) -> bool:
    return evaluation.is_thinking is None or evaluation.is_thinking == prior.thinks


def _with_evaluations(prior: Quality, found: Sequence[Evaluation]) -> Quality:
    weights = [RATING_ITEMS if each.kind is EvaluationKind.RATING else float(each.items) for each in found]
    items = math.fsum(weights)
    if items <= 0:
        return prior
    share = math.fsum(w * min(1.0, max(0.0, each.score)) for w, each in zip(weights, found, strict=True)) / items
    # Less than nothing, as of a small model that quantisation has hurt, is no share that a test could meet.
    before = min(100.0, max(0.0, prior.general_points + prior.speciality_points + prior.quantisation_points))
    weight = prior_items(before / 100, prior.spread_points / 100)
    after = (weight * before + items * 100 * share) / (weight + items)
    tests = math.fsum(each.items for each in found if each.kind is EvaluationKind.TEST)
    ratings = sum(each.kind is EvaluationKind.RATING for each in found)
    here = [f"{tests:.0f} items tested here"] if tests else []
    here += [f"{ratings} rating{'s' if ratings > 1 else ''}"] if ratings else []
    return replace(
        prior,
        evaluated_points=after - before,
        spread_points=prior.spread_points * math.sqrt(weight / (weight + items)),
        source=f"{prior.source}; {', '.join(here)}",
    )


def prior_items(share: float, spread: float) -> float:
    """As how many items of a test a prior counts that expects this share of them, give or take ``spread``."""
    if spread <= 0:
        return MOST_PRIOR_ITEMS
    return min(max(share * (1 - share) / spread**2, FEWEST_PRIOR_ITEMS), MOST_PRIOR_ITEMS)
