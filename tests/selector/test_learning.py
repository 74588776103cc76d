from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.experience import Measurement
from selector.learning import after_answer, after_load, is_of, nothing_measured
from tests.selector.samples import make_model

NOTHING = nothing_measured(make_model(content="c"), threads=2)


def answer(before: Measurement, **fields: Any) -> Measurement:
    """One of 100 prompt tokens in a second and 11 tokens at 10 tokens/s, unless told otherwise."""
    defaults = {"prompt_tokens": 100, "completion_tokens": 11, "ttft_s": 1.0, "decode_s": 1.0, "is_alone": True}
    return after_answer(before, **{**defaults, "now_s": 5.0, **fields})


def test_first_answer_is_taken_as_it_is() -> None:
    one = answer(NOTHING)
    assert (one.answers, one.tokens_per_second, one.prompt_tokens_per_second, one.ttft_s) == (1, 10.0, 100.0, 1.0)
    assert (one.prompt_tokens, one.completion_tokens, one.measured_s) == (100, 11, 5.0)


def test_machine_that_became_slower_is_believed_after_some_answers() -> None:
    known = NOTHING
    for _ in range(10):
        known = answer(known)
    for _ in range(20):
        known = answer(known, decode_s=4.0)
    assert known.tokens_per_second == pytest.approx(2.5, rel=0.25)


def test_one_bad_moment_counts_at_most_twice() -> None:
    known = answer(answer(answer(NOTHING)))
    hit = answer(known, decode_s=1000.0)
    assert hit.tokens_per_second is not None
    assert hit.tokens_per_second >= 10 - 0.25 * 5


def test_answers_beside_others_teach_tokens_and_no_speed() -> None:
    known = answer(NOTHING, is_alone=False)
    assert (known.answers, known.tokens_per_second, known.ttft_s) == (0, None, None)
    assert known.completion_tokens == 11


@pytest.mark.parametrize(
    ("short", "unknown"),
    [({"completion_tokens": 3}, "tokens_per_second"), ({"prompt_tokens": 5}, "prompt_tokens_per_second")],
)
def test_short_ones_say_nothing_about_the_model(short: dict[str, Any], unknown: str) -> None:
    known = answer(NOTHING, **short)
    assert getattr(known, unknown) is None
    assert known.answers == 1


def test_load_keeps_the_last_memory_and_the_highest_peak() -> None:
    def load(before: Measurement, resident: int, peak: int | None) -> Measurement:
        return after_load(before, load_s=2.0, resident_bytes=resident, peak_bytes=peak, context_tokens=4096, now_s=1.0)

    known = load(load(NOTHING, 100, 150), 90, None)
    assert (known.loads, known.resident_bytes, known.peak_bytes, known.load_s) == (2, 90, 150, 2.0)
    assert answer(known, peak_bytes=400).peak_bytes == 400


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=40))
def test_average_stays_within_what_was_seen(seconds: list[float]) -> None:
    known = NOTHING
    for each in seconds:
        known = answer(known, decode_s=each)
    rates = [10 / each for each in seconds]
    assert known.tokens_per_second is not None
    assert min(rates) * (1 - 1e-9) <= known.tokens_per_second <= max(rates) * (1 + 1e-9)
    assert known.answers == len(seconds)


def test_measurement_belongs_to_one_content_and_device() -> None:
    model = make_model(content="c")
    assert is_of(NOTHING, model)
    assert not is_of(NOTHING, replace(model, content="d"))


def test_peak_of_another_context_does_not_count() -> None:
    long = after_load(NOTHING, load_s=1, resident_bytes=900, peak_bytes=5000, context_tokens=8192, now_s=1)
    short = after_load(long, load_s=1, resident_bytes=900, peak_bytes=1000, context_tokens=1024, now_s=2)
    assert (short.peak_bytes, short.context_tokens) == (1000, 1024)
