"""What Ollama's options mean here, and which of them are refused."""

from __future__ import annotations

from typing import Any

import pytest

from daemon.options import ENGINE_OPTIONS, MAX_STOPS, NEUTRAL, TO_THE_END, Options, read_options
from registry.errors import InvalidRequest, UnsupportedParameter


def test_what_is_said_of_sampling_goes_under_our_names() -> None:
    options = Options.model_validate(
        {
            "temperature": 0.5,
            "top_p": 0.9,
            "top_k": 40,
            "min_p": 0.05,
            "seed": 7,
            "repeat_penalty": 1.1,
            "frequency_penalty": 0.5,
            "presence_penalty": 0,
        }
    )
    assert options.sampling() == {
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 40,
        "min_p": 0.05,
        "seed": 7,
        "repetition_penalty": 1.1,
        "frequency_penalty": 0.5,
        "presence_penalty": 0,
    }
    assert Options().sampling() == {}


@pytest.mark.parametrize(
    ("given", "sampling"),
    [
        ({"seed": -1}, {}),
        ({"top_k": -1}, {"top_k": 0}),
        ({"repeat_last_n": 0, "repeat_penalty": 1.3}, {"repetition_penalty": 1.0}),
        ({"repeat_last_n": -1, "repeat_penalty": 1.3}, {"repetition_penalty": 1.3}),
        ({"repeat_last_n": 64}, {}),
        ({"repeat_last_n": 64, "repeat_penalty": 1}, {"repetition_penalty": 1}),
        ({"temperature": None, "no_such_option": None}, {}),
    ],
)
def test_ollamas_words_for_off_and_any_are_understood(given: dict[str, Any], sampling: dict[str, Any]) -> None:
    assert Options.model_validate(given).sampling() == sampling


@pytest.mark.parametrize(("num_predict", "max_tokens"), [(None, None), (5, 5), (-1, TO_THE_END), (-2, TO_THE_END)])
def test_an_answer_is_bounded_or_goes_to_the_end_of_the_context(
    num_predict: int | None, max_tokens: int | None
) -> None:
    assert Options.model_validate({"num_predict": num_predict}).max_tokens == max_tokens


def test_one_stop_string_is_a_list_of_one() -> None:
    assert Options.model_validate({"stop": "a"}).stop == ["a"]
    assert Options.model_validate({"stop": ["a", "b"]}).stop == ["a", "b"]


@pytest.mark.parametrize("name", sorted(ENGINE_OPTIONS))
def test_what_only_tunes_ollamas_engine_is_left_out(name: str) -> None:
    assert Options.model_validate({name: 3}) == Options()


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, (value,) in NEUTRAL.items()])
def test_values_that_ask_for_nothing_are_honoured(name: str, value: object) -> None:
    assert Options.model_validate({name: value, "mirostat_tau": 5.0}) == Options()


@pytest.mark.parametrize(
    "given",
    [
        {"mirostat": 2},
        {"typical_p": 0.7},
        {"tfs_z": 0.5},
        {"penalize_newline": False},
        {"vocab_only": True},
        {"embedding_only": True},
        {"repeat_last_n": 64, "repeat_penalty": 1.1},
        {"num_predict": 0},
        {"no_such_option": 1},
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(given: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedParameter, match=next(iter(given))) as refused:
        read_options(given, of="option")
    assert refused.value.param in given


@pytest.mark.parametrize(
    "given",
    [
        {"temperature": -1},
        {"temperature": 3},
        {"temperature": float("nan")},
        {"temperature": "hot"},
        {"temperature": "0.5"},
        {"top_p": 0},
        {"top_k": 1.5},
        {"top_k": 2**31},
        {"min_p": 2},
        {"seed": 2**63},
        {"repeat_penalty": 0},
        {"frequency_penalty": 2.1},
        {"num_predict": -3},
        {"num_ctx": 0},
        {"stop": ""},
        {"stop": ["x"] * (MAX_STOPS + 1)},
    ],
)
def test_what_makes_no_sense_is_refused_by_name(given: dict[str, Any]) -> None:
    (name,) = given
    with pytest.raises(InvalidRequest, match=f"The option '{name}' is not usable"):
        read_options(given, of="option")
