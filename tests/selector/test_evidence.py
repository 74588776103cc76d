from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.experience import Evaluation, EvaluationKind, Measurement
from registry.model import Model, Precision, Task
from selector.evidence import Evidence, prior_items
from selector.hardware import Probes
from selector.quality import Quality
from selector.selection import Circumstances, Sizing
from selector.speed import MEASURED_BAND, ROOFLINE_BAND, SIBLINGS_BAND, predict_speed
from tests.selector.samples import make_machine, make_model

MACHINE = replace(make_machine(), probes=Probes(20e9, 200e9))
ONE = make_model("phi-4-mini-instruct-generic-cpu", alias="phi-4-mini", family="phi3", content="one")
SIBLING = make_model("phi-4-mini-instruct-other-cpu", alias="phi-4-mini", family="phi3", content="two")
COUSIN = make_model("phi-3.5-mini", family="phi3", content="three")
STRANGER = make_model("qwen3-1.7b", family="qwen3", content="four", precision=Precision.INT8)
EVERYBODY = (ONE, SIBLING, COUSIN, STRANGER)


def measured(model: Model, **fields: Any) -> Measurement:
    defaults: dict[str, Any] = {"threads": 4, "measured_s": 0.0, "answers": 20, "loads": 1}
    return Measurement(model_id=model.id, content=model.content, device=model.device, **(defaults | fields))


def evidence(*measurements: Measurement, threads: int | None = 4, **now: Any) -> Evidence:
    circumstances = Circumstances(hardware=MACHINE, measurements=measurements, threads=threads, **now)
    return Evidence(EVERYBODY, circumstances)


def half_as_fast(**fields: Any) -> Measurement:
    predicted = predict_speed(ONE, MACHINE)
    speeds = {
        "tokens_per_second": predicted.tokens_per_second / 2,
        "prompt_tokens_per_second": predicted.prompt_tokens_per_second / 4,
        "load_s": 2 * predicted.load_s,
    }
    return measured(ONE, **(speeds | fields))


def test_without_measurements_the_roofline_is_the_prediction() -> None:
    speed = evidence().speed(ONE)
    assert speed == predict_speed(ONE, MACHINE)
    assert speed.band == ROOFLINE_BAND


def test_what_was_measured_beats_the_prediction_more_the_oftener_it_was() -> None:
    predicted, few, many = (
        evidence(*found).speed(ONE).tokens_per_second
        for found in ((), (half_as_fast(answers=1),), (half_as_fast(answers=50),))
    )
    assert predicted / 2 < many < few < predicted
    assert many == pytest.approx(predicted / 2, rel=0.01)
    speed = evidence(half_as_fast()).speed(ONE)
    assert (speed.source, speed.band) == ("measured in 20 answers", MEASURED_BAND)
    assert speed.load_s == pytest.approx(2 * predict_speed(ONE, MACHINE).load_s)


def test_siblings_are_put_right_by_what_was_measured_and_nearer_ones_more() -> None:
    known = evidence(half_as_fast())
    ratios = [
        known.speed(model).tokens_per_second / predict_speed(model, MACHINE).tokens_per_second
        for model in (ONE, SIBLING, COUSIN, STRANGER)
    ]
    assert 0.5 <= ratios[0] < ratios[1] < ratios[2] < ratios[3] < 1
    speed = known.speed(SIBLING)
    assert speed.band == SIBLINGS_BAND
    assert speed.source == "predicted from probed 20 GB/s, put right by 1 measured of phi-4-mini"


@pytest.mark.parametrize("stale", [{"content": "changed"}, {"threads": 2}])
def test_other_content_counts_for_nothing_and_other_threads_like_a_sibling(stale: dict[str, Any]) -> None:
    speed = evidence(replace(half_as_fast(), **stale)).speed(ONE)
    assert speed.band == (SIBLINGS_BAND if "threads" in stale else ROOFLINE_BAND)


@pytest.mark.parametrize("absurd", [0.0, -1.0, math.nan, math.inf])
def test_absurd_figures_change_nothing(absurd: float) -> None:
    speed = evidence(measured(ONE, tokens_per_second=absurd)).speed(ONE)
    assert speed.tokens_per_second == predict_speed(ONE, MACHINE).tokens_per_second


def test_memory_after_loading_takes_the_place_of_the_formula() -> None:
    known = evidence(measured(ONE, resident_bytes=123))
    assert (known.loaded_bytes(ONE), known.loaded_bytes(SIBLING)) == (123, None)


def judged(score: float, items: int = 12, kind: EvaluationKind = EvaluationKind.TEST, **fields: Any) -> Evaluation:
    defaults: dict[str, Any] = {"model_id": ONE.id, "content": ONE.content, "task": Task.MATH, "evaluated_s": 0.0}
    return Evaluation(kind=kind, score=score, items=items, **(defaults | fields))


def points(quality: Quality) -> float:
    return quality.general_points + quality.speciality_points + quality.quantisation_points + quality.evaluated_points


def quality(*evaluations: Evaluation) -> Quality:
    return evidence(evaluations=evaluations).quality(ONE, Task.MATH, thinks=None)


@given(score=st.floats(0, 1), items=st.integers(1, 1000))
def test_quality_lies_between_the_prior_and_what_was_found(score: float, items: int) -> None:
    before, after = points(quality()), points(quality(judged(score, items)))
    assert min(before, 100 * score) - 1e-6 <= after <= max(before, 100 * score) + 1e-6
    assert quality(judged(score, items)).spread_points < quality().spread_points


def test_prior_counts_like_the_test_that_leaves_as_much_doubt_and_a_rating_like_three_items() -> None:
    before = points(quality())
    weight = prior_items(before / 100, quality().spread_points / 100)
    assert 8 < weight < 100
    assert points(quality(judged(1.0, round(weight)))) == pytest.approx((before + 100) / 2, abs=1)
    rated = quality(judged(1.0, 1, EvaluationKind.RATING))
    assert points(rated) == pytest.approx((weight * before + 300) / (weight + 3))
    assert rated.source.endswith("; 1 rating")


@pytest.mark.parametrize(
    ("share", "spread", "items"), [(0.5, 0.1, 25), (0.5, 0.0, 100), (0.5, 0.001, 100), (0.0, 0.2, 8), (0.5, 0.5, 8)]
)
def test_surer_prior_weighs_more_within_bounds(share: float, spread: float, items: float) -> None:
    assert prior_items(share, spread) == pytest.approx(items)


@pytest.mark.parametrize("other", [{"content": "changed"}, {"task": Task.CODE}, {"is_thinking": True}, {"items": 0}])
def test_judgements_of_something_else_do_not_count(other: dict[str, Any]) -> None:
    assert quality(replace(judged(1.0), **other)) == quality()


def test_failed_test_of_a_model_with_less_than_nothing_does_not_raise_it() -> None:
    hurt = make_model("wonder", parameters=2_000_000, weight_bytes=1_400_000, content="tiny")
    failed = replace(judged(0.0, 50), model_id=hurt.id, content="tiny")
    known = Evidence([hurt], Circumstances(hardware=MACHINE, evaluations=(failed,)))
    assert points(Evidence([hurt], Circumstances(hardware=MACHINE)).quality(hurt, Task.MATH, thinks=None)) < 0
    assert known.quality(hurt, Task.MATH, thinks=None).evaluated_points <= 0


def test_own_load_time_counts_whatever_siblings_took() -> None:
    loaded = measured(SIBLING, answers=0, load_s=100.0)
    assert evidence(loaded).speed(SIBLING).load_s == evidence(loaded, half_as_fast()).speed(SIBLING).load_s == 100.0


def test_what_was_measured_with_the_threads_that_a_model_has_of_its_own_is_its_own() -> None:
    found = half_as_fast(threads=1)
    own = evidence(found, sizings={ONE.id: Sizing(threads=1)}).speed(ONE)
    assert own.source.startswith("measured in")
    assert not evidence(found).speed(ONE).source.startswith("measured in")
    assert not evidence(found, sizings={ONE.id: Sizing(context_tokens=512)}).speed(ONE).source.startswith("measured in")
