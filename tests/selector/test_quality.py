from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.model import Model, Precision, Task
from selector.quality import TABLE, THINKING_VERBOSITY, Quality, estimate_quality
from tests.selector.samples import TEXT_TASKS, make_model

B = 1_000_000_000


def points(quality: Quality) -> float:
    return quality.general_points + quality.speciality_points + quality.quantisation_points


def full_precision(name: str, billions: float, **fields: Any) -> Model:
    return make_model(name, parameters=int(billions * B), precision=Precision.FP16, **fields)


def score(model: Model, task: Task) -> float:
    return points(estimate_quality(model, task))


@pytest.mark.parametrize("task", list(Task))
@pytest.mark.parametrize("name", ["x", "qwen2.5-instruct"])
def test_larger_models_are_expected_to_be_better_at_every_task(name: str, task: Task) -> None:
    sizes = [int(b * B) for b in (0.01, 0.1, 0.5, 1, 1.5, 3, 3.5, 7, 8, 14)]
    expected = [points(estimate_quality(make_model(name, parameters=size), task)) for size in sizes]
    assert expected == sorted(expected)


def test_what_was_published_counts_and_is_named() -> None:
    mini, phi35 = full_precision("Phi-4-mini-instruct-onnx", 3.8), full_precision("phi-3.5-mini", 3.8)
    # Of one size and one family of names; on the same benchmarks the newer is better at math and worse with tools.
    assert score(mini, Task.MATH) > score(phi35, Task.MATH) + 3
    assert score(mini, Task.TOOLS) < score(phi35, Task.TOOLS) - 3
    assert estimate_quality(mini, Task.MATH).source == "3 published scores of Phi-4-mini-instruct"


def test_listed_model_is_better_known_than_its_family_and_that_than_a_stranger() -> None:
    for task in TEXT_TASKS:
        listed, family, stranger, finetune = (
            estimate_quality(full_precision(name, 7.6), task).spread_points
            for name in ("qwen2.5-7b", "qwen2.5-9b", "wonder-7b", "wonder-qwen2.5-7b")
        )
        assert listed < family < stranger
        assert family < finetune


def test_coder_is_not_taken_for_the_general_model_of_its_size() -> None:
    coder, general = full_precision("qwen2.5-coder-7b-instruct", 7.6), full_precision("qwen2.5-7b-instruct", 7.6)
    assert score(coder, Task.CODE) > score(general, Task.CODE) + 3
    assert score(coder, Task.CHAT) < score(general, Task.CHAT)


def test_distilled_reasoner_is_not_trusted_with_tools() -> None:
    reasoner, general = full_precision("deepseek-r1-distill-qwen-14b", 14), full_precision("qwen2.5-14b", 14.7)
    assert score(reasoner, Task.MATH) > score(general, Task.MATH) + 5
    assert score(reasoner, Task.TOOLS) < score(general, Task.TOOLS)


@pytest.mark.parametrize(
    ("name", "billions", "fields", "source"),
    [
        ("qwen2.5-7b", 0.5, {}, "qwen2.5 prior for 0.5 B parameters"),  # too small for its name
        ("qwen2.5-0.5b", 0.63, {}, "3 published scores"),  # its embedding was counted twice
        ("qwen2.5-7b", 7.6, {"family": "phi"}, "prior for 7.6 B parameters"),
        ("qwen2.5-7b", 7.6, {"family": "qwen"}, "published scores of Qwen2.5-7B-Instruct"),
        ("cpu-int4", 7.6, {"alias": "qwen2.5-7b"}, "published scores of Qwen2.5-7B-Instruct"),
        ("qwen2.5-coder-7b", 7.6, {"alias": "qwen2.5-7b"}, "qwen2.5 prior for 7.6 B parameters"),
    ],
)
def test_a_name_counts_where_size_and_architecture_agree(
    name: str, billions: float, fields: dict[str, Any], source: str
) -> None:
    found = estimate_quality(full_precision(name, billions, **fields), Task.REASONING).source
    assert found.endswith(source) or found.startswith(source)


@pytest.mark.parametrize(
    ("name", "task", "gains"),
    [
        ("qwen2.5-coder-1.5b-instruct", Task.CODE, True),
        ("wonder-coder-1.5b", Task.CODE, True),
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


@pytest.mark.parametrize(
    "name", ["encoder-decoder", "codec-1b", "databasement", "qwen2.5-1.5b-instruct", "whisper-base", "x-non-thinking"]
)
def test_names_that_only_look_like_a_speciality_do_not_count(name: str) -> None:
    quality = estimate_quality(make_model(name), Task.CODE)
    assert quality.speciality is None
    assert quality.speciality_points == 0


def test_a_model_with_two_modes_is_estimated_in_each() -> None:
    model = full_precision("qwen3-4b-generic-cpu", 4)
    plain, thinking = (estimate_quality(model, Task.MATH, thinks=thinks) for thinks in (False, True))
    assert points(thinking) > points(plain) + 5
    assert (plain.verbosity, thinking.verbosity) == (1.0, THINKING_VERBOSITY)
    assert thinking.source.endswith("of Qwen3-4B, thinking")
    assert estimate_quality(model, Task.MATH) == thinking


@pytest.mark.parametrize(
    ("name", "fields", "thinks", "expected"),
    [
        ("deepseek-r1-7b", {}, False, True),  # it cannot do otherwise
        ("gpt-oss-20b", {"parameters": 20_900_000_000}, False, True),
        ("qwen2.5-1.5b", {}, True, False),  # nor can this
        ("qwen2.5-1.5b", {"can_reason": True}, None, False),
        ("wonder-1b", {"can_reason": True}, None, True),
        ("wonder-1b", {"can_reason": True}, False, False),
        ("wonder-1b", {}, True, False),
    ],
)
def test_thinking_is_chosen_only_where_there_is_a_choice(
    name: str, fields: dict[str, Any], thinks: bool | None, expected: bool
) -> None:
    assert estimate_quality(make_model(name, **fields), Task.CHAT, thinks=thinks).thinks is expected


def test_mixture_of_experts_counts_between_all_and_active_parameters() -> None:
    few, mixture, all_ = (
        estimate_quality(full_precision("wonder", billions, active_parameters=active), Task.CHAT).general_points
        for billions, active in ((3.0, None), (30.0, 3 * B), (30.0, None))
    )
    assert few < mixture < all_


def test_unknown_size_is_estimated_low_from_the_weights_and_said_so() -> None:
    known = estimate_quality(make_model(), Task.CHAT)
    unknown = estimate_quality(make_model(parameters=None), Task.CHAT)
    assert unknown.general_points < known.general_points
    assert unknown.spread_points > known.spread_points
    assert "estimated from the weights" in unknown.source


@settings(max_examples=300, deadline=None)
@given(
    name=st.sampled_from([*TABLE.models, "wonder", "qwen3-9b", "wonder-qwen3-9b", "phi-4-reasoning"]),
    task=st.sampled_from(TEXT_TASKS),
    off=st.floats(0.3, 3),
    bytes_per_parameter=st.floats(0.5, 1),
    can_reason=st.booleans(),
)
def test_unknown_size_never_raises_what_a_choice_counts(
    name: str, task: Task, off: float, bytes_per_parameter: float, can_reason: bool
) -> None:
    billions = TABLE.models[name].billions if name in TABLE.models else 4
    parameters = int(billions * off * B)
    weights = int(parameters * bytes_per_parameter)
    known, unknown = (
        estimate_quality(make_model(name, parameters=p, weight_bytes=weights, can_reason=can_reason), task)
        for p in (parameters, None)
    )
    assert points(unknown) - unknown.spread_points / 2 <= points(known) - known.spread_points / 2 + 1e-9


@pytest.mark.parametrize(
    ("fields", "billions", "task", "loss"),
    [
        ({"precision": Precision.INT4, "block_size": 32}, 0.5, Task.CHAT, 6.6),
        ({"precision": Precision.INT4, "block_size": 32}, 4, Task.CHAT, 3.1),
        ({"precision": Precision.INT4, "block_size": 128}, 4, Task.CHAT, 4.0),
        ({"precision": Precision.INT4}, 4, Task.CHAT, 4.0),
        ({"precision": Precision.INT4, "block_size": 32}, 14, Task.CHAT, 1.5),
        ({"precision": Precision.INT4, "block_size": 32}, 14, Task.TOOLS, 4.1),
        ({"precision": Precision.UNKNOWN}, 4, Task.CHAT, 4.0),
        ({"precision": Precision.INT8}, 0.5, Task.TOOLS, 0.5),
        ({"precision": Precision.FP16}, 0.5, Task.CHAT, 0.0),
    ],
)
def test_quantisation_costs_points(fields: dict[str, Any], billions: float, task: Task, loss: float) -> None:
    model = make_model("x", parameters=int(billions * B), **fields)
    assert estimate_quality(model, task).quantisation_points == pytest.approx(-loss, abs=0.05)


@pytest.mark.parametrize("task", list(Task))
def test_every_task_has_an_estimate_with_an_honest_spread(task: Task) -> None:
    for name in ("wonder", "qwen2.5-1.5b", "whisper-tiny", "Qwen3-4B", "gpt-oss-20b", "base-math-coder"):
        quality = estimate_quality(make_model(name), task)
        assert 0 < quality.general_points + quality.speciality_points < 100
        assert quality.spread_points > 0
