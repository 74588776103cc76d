from __future__ import annotations

from dataclasses import replace

import pytest

from daemon.comparison import evaluation_json, measurement_json, prediction_json
from registry.experience import Evaluation, EvaluationKind, Measurement
from registry.model import Device, Task
from selector.footprint import need_bytes
from selector.selection import Circumstances
from tests.selector.samples import make_machine, make_model

MODEL = make_model(content="abc")
UNMEASURED = Circumstances(hardware=make_machine(), threads=4)
MEASURED = Measurement(
    model_id=MODEL.id,
    content="abc",
    device=Device.CPU,
    threads=4,
    measured_s=12.0,
    loads=1,
    load_s=2.345,
    resident_bytes=1_500_000_000,
    peak_bytes=2_000_000_000,
    context_tokens=4096,
    answers=3,
    tokens_per_second=12.34,
    prompt_tokens_per_second=None,
    ttft_s=0.5,
    prompt_tokens=99.6,
    completion_tokens=20.0,
)


def test_a_prediction_is_for_the_context_and_the_prompts_that_were_measured() -> None:
    predicted = prediction_json(MODEL, MEASURED, UNMEASURED)
    assert (predicted["context_tokens"], predicted["prompt_tokens"]) == (4096, 100)
    assert predicted["peak_bytes"] == need_bytes(MODEL, 4096)
    assert predicted["ttft_s"] == pytest.approx(100 / predicted["prompt_tokens_per_second"], rel=0.01)
    off_by = predicted["off_by"]
    assert off_by["peak_bytes"] == pytest.approx(2_000_000_000 / need_bytes(MODEL, 4096), abs=0.01)
    assert off_by["tokens_per_second"] == pytest.approx(12.34 / predicted["tokens_per_second"], abs=0.01)
    assert off_by["prompt_tokens_per_second"] is None


def test_a_prediction_knows_nothing_of_what_was_measured() -> None:
    alone = prediction_json(MODEL, None, UNMEASURED)
    beside = prediction_json(MODEL, replace(MEASURED, context_tokens=None, prompt_tokens=None), UNMEASURED)
    assert {**alone, "off_by": None} == {**beside, "off_by": None}
    assert set(alone["off_by"].values()) == {None}
    assert "predicted from" in alone["source"]


def test_what_was_measured_is_told_rounded() -> None:
    told = measurement_json(MEASURED)
    assert (told["threads"], told["load_s"], told["tokens_per_second"]) == (4, 2.35, 12.3)
    assert (told["prompt_tokens_per_second"], told["device"]) == (None, "cpu")
    assert told["measured_at"] == "1970-01-01T00:00:12+00:00"


@pytest.mark.parametrize(
    ("kind", "score", "items", "rating", "passed"),
    [
        (EvaluationKind.RATING, 0.0, 1, 1, None),
        (EvaluationKind.RATING, 0.75, 1, 4, None),
        (EvaluationKind.TEST, 18 / 24, 24, None, 18),
        (EvaluationKind.TEST, 1 / 3, 3, None, 1),
    ],
)
def test_an_evaluation_is_told_as_it_was_said(
    kind: EvaluationKind, score: float, items: int, rating: int | None, passed: int | None
) -> None:
    told = evaluation_json(
        Evaluation(
            model_id="m:1", content="c", task=Task.CODE, kind=kind, score=score, items=items, evaluated_s=1.0, notes="n"
        )
    )
    assert (told["rating"], told["passed"], told["items"]) == (rating, passed, items)
    assert (told["model"], told["task"], told["thinking"], told["notes"]) == ("m:1", "code", None, "n")
