from __future__ import annotations

import pytest

from registry.model import Precision, Task
from selector.quality import KNOWN_SPREAD, UNKNOWN_SPREAD, Quality, estimate_quality
from tests.selector.samples import make_model


def points(quality: Quality) -> float:
    return quality.size_points + quality.speciality_points + quality.quantisation_points


@pytest.mark.parametrize("task", list(Task))
def test_larger_models_are_expected_to_be_better_at_every_task(task: Task) -> None:
    sizes = [int(b * 1e9) for b in (0.01, 0.1, 0.5, 1, 1.5, 3, 3.5, 7, 8, 14)]
    expected = [points(estimate_quality(make_model("x", parameters=size), task)) for size in sizes]
    assert expected == sorted(expected)


@pytest.mark.parametrize(
    ("name", "task", "gains"),
    [
        ("qwen2.5-coder-1.5b-instruct", Task.CODE, True),
        ("qwen2.5-coder-1.5b-instruct", Task.CHAT, False),
        ("deepseek-r1-distill-qwen-1.5b", Task.MATH, True),
        ("deepseek-r1-distill-qwen-1.5b", Task.TOOLS, False),
        ("phi-4-mini-reasoning", Task.REASONING, True),
        ("Qwen3_4B_Thinking", Task.REASONING, True),
        ("qwen2.5-math-1.5b", Task.MATH, True),
        ("llama-3.2-1b-base", Task.CHAT, False),
    ],
)
def test_speciality_in_the_name_moves_its_tasks(name: str, task: Task, gains: bool) -> None:
    quality = estimate_quality(make_model(name), task)
    assert quality.speciality is not None
    assert quality.speciality_points > 3 if gains else quality.speciality_points < -3


@pytest.mark.parametrize("name", ["encoder-decoder", "codec-1b", "databasement", "qwen2.5-1.5b-instruct"])
def test_names_that_only_look_like_a_speciality_do_not_count(name: str) -> None:
    assert estimate_quality(make_model(name), Task.CODE).speciality is None


def test_unknown_family_has_a_wide_spread() -> None:
    known = estimate_quality(make_model("qwen2.5-1.5b"), Task.CHAT)
    unknown = estimate_quality(make_model("wonder-1.5b"), Task.CHAT)
    assert unknown.spread_points == pytest.approx(known.spread_points * UNKNOWN_SPREAD / KNOWN_SPREAD)


def test_unknown_size_is_estimated_low_from_the_weights_and_said_so() -> None:
    known = estimate_quality(make_model(), Task.CHAT)
    unknown = estimate_quality(make_model(parameters=None), Task.CHAT)
    assert unknown.size_points < known.size_points
    assert unknown.spread_points > known.spread_points
    assert "estimated from the weights" in unknown.source


@pytest.mark.parametrize(
    ("precision", "billions", "task", "loss"),
    [
        (Precision.INT4, 0.5, Task.CHAT, 7.0),
        (Precision.INT4, 3.5, Task.CHAT, 4.0),
        (Precision.INT4, 14, Task.CHAT, 2.0),
        (Precision.INT4, 14, Task.TOOLS, 5.0),
        (Precision.UNKNOWN, 14, Task.CHAT, 2.0),
        (Precision.INT8, 0.5, Task.TOOLS, 0.5),
        (Precision.FP16, 0.5, Task.CHAT, 0.0),
    ],
)
def test_quantisation_costs_points(precision: Precision, billions: float, task: Task, loss: float) -> None:
    model = make_model("x", precision=precision, parameters=int(billions * 1e9))
    assert estimate_quality(model, task).quantisation_points == pytest.approx(-loss)
