from __future__ import annotations

import math
from typing import Any

import pytest
from pydantic import ValidationError

from daemon.pool.protocol import Sampling
from registry.errors import InvalidRequest
from tests.daemon.api.chats import question


def test_a_request_that_says_nothing_leaves_everything_to_the_model() -> None:
    asked = question()
    assert asked.sampling == Sampling()
    assert (asked.choices, asked.max_tokens, asked.min_tokens, asked.top_logprobs) == (1, None, 0, None)
    assert (asked.stop, asked.stop_token_ids) == ([], [])


def test_nulls_count_as_absent() -> None:
    names = ("temperature", "tools", "stop", "n", "logprobs", "logit_bias", "frequency_penalty", "min_tokens", "seed")
    asked = question(**dict.fromkeys(names))
    assert (asked.stop, asked.choices, asked.sampling) == ([], 1, Sampling())


def test_every_way_to_draw_tokens_reaches_the_worker() -> None:
    given: dict[str, Any] = {
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 40,
        "min_p": 0.05,
        "seed": -7,
        "repetition_penalty": 1.1,
        "frequency_penalty": -2,
        "presence_penalty": 1.5,
        "logit_bias": {"42": -100, "0": 1.5},
    }
    assert question(**given).sampling == Sampling(**given)


def test_what_ends_an_answer_reaches_the_worker() -> None:
    asked = question(n=3, min_tokens=2, max_tokens=9, stop="END", stop_token_ids=[7, 8])
    assert (asked.choices, asked.min_tokens, asked.max_tokens) == (3, 2, 9)
    assert (asked.stop, asked.stop_token_ids) == (["END"], [7, 8])


def test_max_completion_tokens_is_the_newer_name() -> None:
    assert question(max_tokens=5).max_tokens == 5
    assert question(max_tokens=5, max_completion_tokens=7).max_tokens == 7


def test_log_probabilities_come_when_they_are_asked_for() -> None:
    assert question(logprobs=True).top_logprobs == 0
    assert question(logprobs=True, top_logprobs=20).top_logprobs == 20
    assert question(logprobs=False, top_logprobs=0).top_logprobs is None


@pytest.mark.parametrize(
    ("name", "most", "too_much"),
    [
        ("n", 16, 17),
        ("stop", ["x"] * 16, ["x"] * 17),
        ("stop_token_ids", [2**31 - 1] * 128, [0] * 129),
        ("stop_token_ids", [0], [-1]),
        ("stop_token_ids", [0], [2**31]),
        ("logit_bias", {str(token): 0 for token in range(1024)}, {str(token): 0 for token in range(1025)}),
        ("logit_bias", {"5": 100}, {"5": 100.5}),
        ("logit_bias", {"5": -100}, {"5": -101}),
        ("logit_bias", {"5": 1}, {"5": math.nan}),
        ("logit_bias", {"999999999": 1}, {"9999999999": 1}),
        ("logit_bias", {"5": 1}, {"05": 1}),
        ("logit_bias", {"5": 1}, {"hello": 1}),
        ("frequency_penalty", 2, 2.1),
        ("frequency_penalty", -2, math.nan),
        ("presence_penalty", -2, -2.1),
        ("repetition_penalty", 0.01, 0),
        ("repetition_penalty", 10, 10.1),
        ("min_p", 1, 1.1),
        ("min_p", 0, -0.1),
        ("top_k", 2**31 - 1, 2**31),
        ("top_k", 0, -1),
        ("seed", 2**63 - 1, 2**63),
        ("seed", -(2**63), -(2**63) - 1),
        ("min_tokens", 0, -1),
        ("temperature", 2, math.inf),
        ("n", 1, 0),
        ("n", 1, True),
        ("n", 1, "2"),
        ("logprobs", True, 1),
    ],
)
def test_beyond_the_limit_is_refused_by_name(name: str, most: Any, too_much: Any) -> None:
    question(**{name: most})
    with pytest.raises(ValidationError) as caught:
        question(**{name: too_much})
    assert {error["loc"][0] for error in caught.value.errors()} == {name}


def test_more_top_logprobs_than_twenty_are_refused() -> None:
    with pytest.raises(ValidationError, match="top_logprobs"):
        question(logprobs=True, top_logprobs=21)


@pytest.mark.parametrize(
    ("fields", "param", "reason"),
    [
        ({"top_logprobs": 3}, "top_logprobs", 'needs "logprobs": true'),
        ({"top_logprobs": 3, "logprobs": False}, "top_logprobs", 'needs "logprobs": true'),
        ({"min_tokens": 6, "max_tokens": 5}, "min_tokens", r"6, more than the answer may have \(5\)"),
        ({"stop": ["a", ""]}, "stop", "must not be empty"),
    ],
)
def test_what_does_not_go_together_is_refused_by_name(fields: dict[str, Any], param: str, reason: str) -> None:
    with pytest.raises(InvalidRequest, match=reason) as caught:
        question(**fields)
    assert caught.value.param == param
